//! Names of files as restic writes them in JSON: any bytes, in the escapes of Go's `strconv.Quote`.

use std::fmt::Write as _;

use super::error::Fault;

/// The escaped text of any bytes.
pub(crate) fn quote(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len() + 8);
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '"' => out.push_str("\\\""),
                '\\' => out.push_str("\\\\"),
                '\n' => out.push_str("\\n"),
                '\t' => out.push_str("\\t"),
                '\r' => out.push_str("\\r"),
                c if c < ' ' || c == '\x7f' => {
                    let _ = write!(out, "\\x{:02x}", u32::from(c));
                }
                c => out.push(c),
            }
        }
        for byte in chunk.invalid() {
            let _ = write!(out, "\\x{byte:02x}");
        }
    }
    out
}

/// The bytes of an escaped text.
pub(crate) fn unquote(text: &str) -> Result<Vec<u8>, Fault> {
    if !text.contains('\\') {
        return Ok(text.as_bytes().to_vec());
    }
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        out.extend_from_slice(&rest.as_bytes()[..at]);
        let code = rest[at + 1..].chars().next().ok_or(Fault::Name)?;
        rest = &rest[at + 1 + code.len_utf8()..];
        let mut number = |digits: usize, radix: u32| {
            let text = rest.get(..digits).filter(|text| text.chars().all(|c| c.is_digit(radix)));
            let text = text.ok_or(Fault::Name)?;
            rest = &rest[digits..];
            u32::from_str_radix(text, radix).map_err(|_| Fault::Name)
        };
        match code {
            'a' => out.push(7),
            'b' => out.push(8),
            'f' => out.push(12),
            'n' => out.push(b'\n'),
            'r' => out.push(b'\r'),
            't' => out.push(b'\t'),
            'v' => out.push(11),
            '\\' | '\'' | '"' => out.push(code as u8),
            'x' => out.push(u8::try_from(number(2, 16)?).map_err(|_| Fault::Name)?),
            'u' | 'U' => {
                let c = char::from_u32(number(if code == 'u' { 4 } else { 8 }, 16)?).ok_or(Fault::Name)?;
                out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
            }
            '0'..='7' => {
                let high = (code as u32 - u32::from('0')) * 64;
                out.push(u8::try_from(high + number(2, 8)?).map_err(|_| Fault::Name)?);
            }
            _ => return Err(Fault::Name),
        }
    }
    out.extend_from_slice(rest.as_bytes());
    Ok(out)
}

/// Whether a file of a directory can have this name.
pub(crate) fn is_name(name: &[u8]) -> bool {
    !name.is_empty()
        && name.len() <= 255
        && name != b"."
        && name != b".."
        && !name.contains(&b'/')
        && !name.contains(&0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_bytes_come_back(bytes: Vec<u8>) {
            prop_assert_eq!(unquote(&quote(&bytes)).unwrap(), bytes);
        }

        #[test]
        fn any_text_is_taken_or_refused(text in "[\\\\xuU0-9a-fé\"n]{0,12}") {
            let _ = unquote(&text);
        }
    }

    #[test]
    fn escapes_of_go_are_read() {
        let text = r#"a\a\b\f\n\r\t\v\\\'\"\x00\xff\101é\u00e9\U0001f600"#;
        let bytes = b"a\x07\x08\x0c\n\r\t\x0b\\'\"\x00\xffA\xc3\xa9\xc3\xa9\xf0\x9f\x98\x80";
        assert_eq!(unquote(text).unwrap(), bytes);
        for bad in
            [r"\", r"\x1", r"\xg0", r"\u12", r"\ud800", r"\U00110000", r"\8", r"\400", r"\q", r"\x+1", "\\xé"]
        {
            assert_eq!(unquote(bad), Err(Fault::Name), "{bad}");
        }
    }

    #[test]
    fn names_that_lead_elsewhere_are_none() {
        for bad in [&b""[..], b".", b"..", b"a/b", b"/", b"a\0", &[b'x'; 256]] {
            assert!(!is_name(bad));
        }
        assert!(is_name(b"...") && is_name(b"\xff\n"));
    }
}
