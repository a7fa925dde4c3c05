//! Texts from outside, made safe for a log, a terminal or an error message.

use std::path::Path;

/// The bytes as one line of at most `limit` characters: control characters, bidirectional marks and bytes that are
/// not UTF-8 are written as escapes, line ends as a blank.
pub fn neutral(bytes: &[u8], limit: usize) -> String {
    let text = String::from_utf8_lossy(bytes);
    let mut out = String::new();
    for (count, c) in text.trim().chars().enumerate() {
        if count >= limit {
            out.push('…');
            break;
        }
        match c {
            '\n' | '\r' | '\t' => out.push(' '),
            '\'' | '"' | '\\' => out.push(c),
            c => out.extend(c.escape_debug()),
        }
    }
    out
}

/// A path as it may be shown: `neutral` with room for the longest path.
pub fn path(path: &Path) -> String {
    neutral(path.as_os_str().as_encoded_bytes(), 4096)
}

/// A path as one word of a shell command that a person may copy.
pub fn shell_word(word: &Path) -> String {
    let text = path(word);
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+:@%".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        text
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_steers_a_terminal_passes() {
        let shown = neutral(b"a\x1b[31mb\x07\xffc\nd \xe2\x80\xae end", 100);
        assert!(shown.chars().all(|c| !c.is_control() && c != '\u{202e}'), "{shown:?}");
        assert!(shown.starts_with("a\\u{1b}[31mb"), "{shown:?}");
        assert_eq!(neutral(&[b'x'; 50], 10).chars().count(), 11);
    }

    #[test]
    fn a_copied_command_is_one_word() {
        assert_eq!(shell_word(Path::new("/etc/tenure")), "/etc/tenure");
        assert_eq!(shell_word(Path::new("/a b;'c")), r"'/a b;'\''c'");
    }
}
