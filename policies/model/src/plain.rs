//! Which unquoted values YAML 1.1 and YAML 1.2 (or two parsers) read differently: POLICY.md rule 2.
//! YAML 1.1: yaml.org/type; YAML 1.2.2: section 10.3.2.

/// Why an unquoted value must be quoted; `None` when every parser reads it alike.
pub fn ambiguous(text: &str) -> Option<&'static str> {
    if is_old_bool(text) {
        return Some("YAML 1.1 reads it as true or false, YAML 1.2 as a text");
    }
    if matches!(text, "True" | "TRUE" | "False" | "FALSE") {
        return Some("write true or false, or quote it");
    }
    if matches!(text, "~" | "Null" | "NULL") {
        return Some("it means null: write null where that is meant, or quote it");
    }
    if matches!(text, "=" | "<<") {
        return Some("YAML 1.1 gives it a meaning of its own");
    }
    if is_date(text) {
        return Some("YAML 1.1 reads it as a date");
    }
    if is_sexagesimal(text) {
        return Some("YAML 1.1 reads it as a number to the base of 60");
    }
    odd_number(text)
}

/// A whole number that both read alike: digits without leading zero, perhaps a minus.
pub fn is_integer(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    match digits.as_bytes() {
        b"0" => text == "0",
        [b'1'..=b'9', rest @ ..] => rest.iter().all(u8::is_ascii_digit),
        _ => false,
    }
}

/// A fraction that both read alike: `1.5`.
pub fn is_float(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let Some((whole, part)) = digits.split_once('.') else { return false };
    is_integer(whole)
        && !whole.starts_with('-')
        && !part.is_empty()
        && part.bytes().all(|b| b.is_ascii_digit())
}

fn is_old_bool(text: &str) -> bool {
    const WORDS: [&str; 6] = ["y", "n", "yes", "no", "on", "off"];
    let lower = text.to_ascii_lowercase();
    let title = || {
        let mut chars = text.chars();
        chars.next().is_some_and(|c| c.is_ascii_uppercase()) && chars.all(|c| c.is_ascii_lowercase())
    };
    WORDS.contains(&lower.as_str()) && (text == lower || text == lower.to_ascii_uppercase() || title())
}

/// `2027-06-30`, also with a time behind it.
fn is_date(text: &str) -> bool {
    let bytes = text.as_bytes();
    let digits =
        |from: usize| bytes[from.min(bytes.len())..].iter().take_while(|b| b.is_ascii_digit()).count();
    if digits(0) != 4 || bytes.get(4) != Some(&b'-') {
        return false;
    }
    let month = digits(5);
    if !(1..=2).contains(&month) || bytes.get(5 + month) != Some(&b'-') {
        return false;
    }
    let day = digits(6 + month);
    (1..=2).contains(&day) && matches!(bytes.get(6 + month + day), None | Some(b'T' | b't' | b' ' | b'\t'))
}

/// `22:00`, `190:20:30.15`.
fn is_sexagesimal(text: &str) -> bool {
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    let mut parts = unsigned.split(':');
    let first = parts.next().is_some_and(|p| {
        p.starts_with(|c: char| c.is_ascii_digit()) && p.bytes().all(|b| b.is_ascii_digit() || b == b'_')
    });
    let rest: Vec<&str> = parts.collect();
    let last = rest.len().saturating_sub(1);
    first
        && !rest.is_empty()
        && rest.iter().enumerate().all(|(i, part)| {
            let whole = if i == last { part.split('.').next().unwrap_or(part) } else { part };
            let fraction = &part[whole.len()..];
            (1..=2).contains(&whole.len())
                && whole.bytes().all(|b| b.is_ascii_digit())
                && fraction.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'_'))
        })
}

/// Numbers that are read as octal, hexadecimal, with underscores, with exponents, as infinity, or not at all.
fn odd_number(text: &str) -> Option<&'static str> {
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    if matches!(unsigned, ".inf" | ".Inf" | ".INF") || matches!(text, ".nan" | ".NaN" | ".NAN") {
        return Some("YAML reads it as a number that is none");
    }
    let starts_like_a_number =
        matches!(unsigned.as_bytes(), [b'0'..=b'9', ..] | [b'.', b'0'..=b'9' | b'_', ..]);
    if !starts_like_a_number || is_integer(text) || is_float(text) {
        return None;
    }
    let all =
        |digits: &str, ok: fn(u8) -> bool| !digits.is_empty() && digits.bytes().all(|b| ok(b) || b == b'_');
    if let Some(digits) = unsigned.strip_prefix("0x") {
        return all(digits, |b| b.is_ascii_hexdigit()).then_some("YAML reads it as a hexadecimal number");
    }
    if let Some(digits) = unsigned.strip_prefix("0o") {
        return all(digits, |b| b.is_ascii_digit())
            .then_some("YAML 1.2 reads it as an octal number, YAML 1.1 as a text");
    }
    if let Some(digits) = unsigned.strip_prefix("0b") {
        return all(digits, |b| matches!(b, b'0' | b'1'))
            .then_some("YAML 1.1 reads it as a binary number, YAML 1.2 as a text");
    }
    if all(unsigned, |b| b.is_ascii_digit()) {
        return Some(match (unsigned.contains('_'), unsigned.starts_with('0') && unsigned != "0") {
            (true, _) => "YAML 1.1 reads it as a number, YAML 1.2 as a text",
            (_, true) => "YAML 1.1 reads it as an octal number, YAML 1.2 as a decimal one",
            _ => "write the number without a sign, or quote it",
        });
    }
    let mantissa = unsigned.split(['e', 'E']).next().unwrap_or(unsigned);
    let exponent = unsigned[mantissa.len()..].get(1..);
    let fraction = mantissa.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'_'))
        && mantissa.bytes().filter(|b| *b == b'.').count() <= 1;
    let power = exponent.is_none_or(|e| {
        let digits = e.strip_prefix(['-', '+']).unwrap_or(e);
        !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit())
    });
    (fraction && power).then_some("YAML 1.1 and 1.2 read such a number differently")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_two_parsers_read_differently_is_known() {
        for text in [
            "y",
            "Y",
            "yes",
            "Yes",
            "YES",
            "n",
            "no",
            "NO",
            "on",
            "On",
            "off",
            "OFF",
            "True",
            "FALSE",
            "~",
            "Null",
            "NULL",
            "=",
            "<<",
            "22:00",
            "1:30",
            "190:20:30.15",
            "+1:30",
            "010",
            "00",
            "-010",
            "0o10",
            "0x1F",
            "0b11",
            "1_000",
            "1_0.5",
            "1e3",
            "1.5e3",
            "12e-3",
            ".5",
            "5.",
            "+12",
            "-0",
            ".inf",
            "-.inf",
            ".NaN",
            "2027-06-30",
            "2027-6-3",
            "2027-06-30T10:00:00Z",
            "2027-06-30 10:00",
            "0.",
            "01.5",
            "_1_".trim_start_matches('_'),
        ] {
            assert!(ambiguous(text).is_some(), "{text}");
        }
    }

    #[test]
    fn what_all_read_alike_needs_no_quotes() {
        for text in [
            "true",
            "false",
            "null",
            "0",
            "12",
            "-7",
            "1.5",
            "office",
            "7d",
            "2 years",
            "100 GiB",
            "20 MB/s",
            "3 per day",
            "203.0.113.0/24",
            "198.51.100.53",
            "2001:db8::1",
            "::1",
            "tcp/8000-8010",
            "yEs",
            "oN",
            "nope",
            "0xyz",
            "1e",
            "2027-06",
            "2027-06-30x",
            "a=b",
            "<<a",
            "",
            "-",
            ".",
            "..",
            "1.2.3",
            "60s",
            "0o",
            "10:99:zz",
            "marit@laptop",
        ] {
            assert_eq!(ambiguous(text), None, "{text}");
        }
    }
}
