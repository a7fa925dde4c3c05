//! Hostile text made harmless: what comes from a host or a client may reach a terminal, a log or a page only through here.

use std::fmt::Write as _;

/// The text with everything that could steer a terminal or reorder a line written as `\u{…}`:
/// control characters (C0, DEL, C1; line feed and tab too), bidirectional and other format characters
/// (Unicode UAX #9, category Cf), line and paragraph separators, tags and non-characters.
/// Doing it twice changes nothing.
pub fn neutral(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if is_harmful(c) {
            write!(out, "\\u{{{:x}}}", u32::from(c)).expect("writing to a String cannot fail");
        } else {
            out.push(c);
        }
    }
    out
}

/// As [`neutral`], from bytes of any encoding, and at most `max` characters long (then `…` at its end).
pub fn neutral_bytes(bytes: &[u8], max: usize) -> String {
    // Every character is at most four bytes, so that nothing behind this can matter.
    let head = &bytes[..bytes.len().min(max.saturating_mul(4).saturating_add(4))];
    let text = neutral(&String::from_utf8_lossy(head));
    shortened(text, max)
}

/// The text, cut to at most `max` characters with `…` as the last when something is missing.
pub fn shortened(text: String, max: usize) -> String {
    if text.chars().count() <= max {
        return text;
    }
    let mut cut: String = text.chars().take(max.saturating_sub(1)).collect();
    cut.push('…');
    cut
}

fn is_harmful(c: char) -> bool {
    c.is_control()
        || matches!(u32::from(c),
            0x00ad | 0x0600..=0x0605 | 0x061c | 0x06dd | 0x070f | 0x180e
            | 0x200b..=0x200f | 0x2028..=0x202e | 0x2060..=0x206f
            | 0xfe00..=0xfe0f | 0xfeff | 0xfff0..=0xfffb
            | 0xe0000..=0xe0fff)
        || u32::from(c) & 0xfffe == 0xfffe
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_steers_a_terminal_or_turns_a_line_around_is_written_out() {
        let table = [
            ("plain ASCII, Ünïcode and 漢字", "plain ASCII, Ünïcode and 漢字"),
            ("\u{1b}[2Jgone", "\\u{1b}[2Jgone"),
            ("\u{9b}31mred", "\\u{9b}31mred"),
            ("a\nb\tc\r", "a\\u{a}b\\u{9}c\\u{d}"),
            ("admin\u{202e}toor", "admin\\u{202e}toor"),
            ("a\u{2066}b\u{2069}\u{200b}\u{feff}", "a\\u{2066}b\\u{2069}\\u{200b}\\u{feff}"),
            ("x\u{2028}y\u{e0041}", "x\\u{2028}y\\u{e0041}"),
            ("\u{7f}\u{ffff}", "\\u{7f}\\u{ffff}"),
        ];
        for (hostile, harmless) in table {
            assert_eq!(neutral(hostile), harmless);
            assert_eq!(neutral(harmless), harmless, "twice is once");
        }
    }

    #[test]
    fn bytes_are_cut_and_never_break() {
        assert_eq!(neutral_bytes(b"\xff\xfe\x1b", 10), "\u{fffd}\u{fffd}\\u{1b}");
        assert_eq!(neutral_bytes(&[b'a'; 100], 5), "aaaa…");
        assert_eq!(neutral_bytes("ééééé".as_bytes(), 5), "ééééé");
        assert_eq!(neutral_bytes(b"abc", 0).chars().count(), 1);
    }
}
