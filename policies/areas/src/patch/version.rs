//! Order of Debian versions, deb-version(7): epoch, upstream version, revision; `~` sorts before the end of a part.

use std::cmp::Ordering;

/// Compares two versions as `dpkg --compare-versions` does. Texts that are no versions compare by the same rules.
pub fn compare(a: &str, b: &str) -> Ordering {
    let (a, b) = (split(a), split(b));
    number(a.0, b.0).then_with(|| part(a.1, b.1)).then_with(|| part(a.2, b.2))
}

/// Epoch (empty when absent), upstream version, revision (empty when absent, which is the same as `0`).
fn split(version: &str) -> (&str, &str, &str) {
    let version = version.trim();
    let (epoch, rest) = version.split_once(':').unwrap_or(("", version));
    let (upstream, revision) = rest.rsplit_once('-').unwrap_or((rest, ""));
    (epoch, upstream, revision)
}

/// Alternately the longest prefix without digits, by [`weight`], and the longest prefix of digits, as a number.
fn part(mut a: &str, mut b: &str) -> Ordering {
    while !a.is_empty() || !b.is_empty() {
        let (text_a, rest_a) = a.split_at(a.find(|c: char| c.is_ascii_digit()).unwrap_or(a.len()));
        let (text_b, rest_b) = b.split_at(b.find(|c: char| c.is_ascii_digit()).unwrap_or(b.len()));
        let (mut left, mut right) = (text_a.chars(), text_b.chars());
        loop {
            let (l, r) = (left.next(), right.next());
            match weight(l).cmp(&weight(r)) {
                Ordering::Equal if l.is_none() && r.is_none() => break,
                Ordering::Equal => {}
                other => return other,
            }
        }
        let end = |text: &str| text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let ((digits_a, after_a), (digits_b, after_b)) =
            (rest_a.split_at(end(rest_a)), rest_b.split_at(end(rest_b)));
        match number(digits_a, digits_b) {
            Ordering::Equal => (a, b) = (after_a, after_b),
            other => return other,
        }
    }
    Ordering::Equal
}

/// `~` before the end, the end before letters, letters before everything else.
fn weight(c: Option<char>) -> i64 {
    match c {
        Some('~') => -1,
        None => 0,
        Some(c) if c.is_ascii_alphabetic() => i64::from(u32::from(c)),
        Some(c) => i64::from(u32::from(c)) + 256,
    }
}

/// Digits of any length, by value.
fn number(a: &str, b: &str) -> Ordering {
    let (a, b) = (a.trim_start_matches('0'), b.trim_start_matches('0'));
    a.len().cmp(&b.len()).then_with(|| a.cmp(b))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `a < b`, each judged so by `dpkg --compare-versions`.
    pub(crate) const RISING: [(&str, &str); 20] = [
        ("1.0", "1.1"),
        ("1.9", "1.10"),
        ("1.0~rc1", "1.0"),
        ("1.0~~", "1.0~"),
        ("1.0", "1.0a"),
        ("1.0a", "1.0+"),
        ("1.0", "1.0-1"),
        ("1.0-1", "1.0-2"),
        ("1.0-1~deb12u1", "1.0-1"),
        ("3.0.14-1~deb12u1", "3.0.15-1~deb12u1"),
        ("12.4+deb12u11", "12.4+deb12u15"),
        ("9:1.0", "10:0.1"),
        ("99", "1:0"),
        ("1.10.1-3", "1.10.1-3+deb12u1"),
        ("2.36-9+deb12u9", "2.36-9+deb12u10"),
        ("1.0-1", "1.0-1+b1"),
        ("5.2.15-2+b8", "5.2.15-2+b13"),
        ("1.2-a-1", "1.2-b-1"),
        ("6.1.119-1", "6.1.123-1"),
        ("1.99999999999999999999999998", "1.99999999999999999999999999"),
    ];
    /// Judged equal by dpkg.
    pub(crate) const EQUAL: [(&str, &str); 5] =
        [("1.0", "1.0"), ("1.0", "0:1.0"), ("1.0", "1.0-0"), ("1.00", "1.0"), ("1.01", "1.1")];

    #[test]
    fn versions_rise_as_dpkg_says() {
        for (a, b) in RISING {
            assert_eq!(compare(a, b), Ordering::Less, "{a} < {b}");
            assert_eq!(compare(b, a), Ordering::Greater, "{b} > {a}");
        }
        for (a, b) in EQUAL {
            assert_eq!(compare(a, b), Ordering::Equal, "{a} = {b}");
        }
    }
}
