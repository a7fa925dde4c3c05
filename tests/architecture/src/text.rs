//! Our own files as text: what git has, and Rust without its comments.

use std::fs;
use std::path::Path;

/// One of our files.
#[derive(Debug, Clone)]
pub struct Source {
    /// Path from the repository's root.
    pub path: String,
    /// Its text.
    pub text: String,
}

/// Every text file that git has or would take, by path.
///
/// # Panics
/// When git fails: then no rule can be checked.
#[must_use]
pub fn our_files() -> Vec<Source> {
    let argv =
        ["git", "-c", "safe.directory=*", "ls-files", "-z", "--cached", "--others", "--exclude-standard"];
    let listed = tenure_lab::run(&argv, 60).expect("git runs");
    assert!(listed.ok(), "git ls-files failed: {}", listed.stderr);
    let root = tenure_lab::repository();
    let mut files: Vec<Source> = listed
        .stdout
        .split('\0')
        .filter(|path| !path.is_empty())
        .filter_map(|path| Some(Source { path: path.to_owned(), text: read(&root, path)? }))
        .collect();
    files.sort_by(|a, b| a.path.cmp(&b.path));
    files.dedup_by(|a, b| a.path == b.path);
    assert!(!files.is_empty(), "git lists no file");
    files
}

/// Our Rust files.
#[must_use]
pub fn rust_files() -> Vec<Source> {
    our_files().into_iter().filter(|file| file.path.ends_with(".rs")).collect()
}

// A file that git knows and that is deleted, or that is not text, has no rules.
fn read(root: &Path, path: &str) -> Option<String> {
    fs::read_to_string(root.join(path)).ok()
}

/// Rust text with `//` comments blanked; line numbers stay. A `//` inside a string literal is kept.
#[must_use]
pub fn without_comments(text: &str) -> String {
    text.lines().map(|line| format!("{}\n", &line[..comment_start(line)])).collect()
}

fn comment_start(line: &str) -> usize {
    let mut quoted = false;
    let mut before = ' ';
    for (at, c) in line.char_indices() {
        match c {
            '"' if before != '\\' => quoted = !quoted,
            '/' if before == '/' && !quoted => return at - 1,
            _ => {}
        }
        before = c;
    }
    line.len()
}

/// The string literals of Rust text without comments, each with the line where it begins. Escapes stay as they are written.
#[must_use]
pub fn literals(text: &str) -> Vec<(usize, String)> {
    let chars: Vec<char> = text.chars().collect();
    let (mut out, mut at, mut line) = (Vec::new(), 0, 1);
    while at < chars.len() {
        match chars[at] {
            '\n' => line += 1,
            // A character, not a lifetime: it ends with the next quote but one.
            '\'' if chars.get(at + 1) == Some(&'\\') => {
                at += 2;
                while at + 1 < chars.len() && chars[at + 1] != '\'' {
                    at += 1;
                }
                at += 1;
            }
            '\'' if chars.get(at + 2) == Some(&'\'') => at += 2,
            '"' => {
                let hashes = chars[..at].iter().rev().take_while(|c| **c == '#').count();
                let raw = chars[..at - hashes].last() == Some(&'r');
                let (begins, mut literal) = (line, String::new());
                at += 1;
                while at < chars.len() {
                    let closes = chars[at] == '"'
                        && (!raw
                            || chars[at + 1..].iter().take(hashes).filter(|c| **c == '#').count() == hashes);
                    if closes {
                        break;
                    }
                    if chars[at] == '\\' && !raw {
                        literal.push(chars[at]);
                        at += 1;
                    }
                    let Some(c) = chars.get(at) else { break };
                    line += usize::from(*c == '\n');
                    literal.push(*c);
                    at += 1;
                }
                out.push((begins, literal));
            }
            _ => {}
        }
        at += 1;
    }
    out
}

/// The lines of `text` that contain `word` as a whole word, numbered from one.
#[must_use]
pub fn named(text: &str, word: &str) -> Vec<usize> {
    let inside = |c: char| c.is_alphanumeric() || c == '_';
    let hit = |line: &str| {
        line.match_indices(word).any(|(at, _)| {
            let before = line[..at].chars().next_back();
            let after = line[at + word.len()..].chars().next();
            !before.is_some_and(inside) && !after.is_some_and(inside)
        })
    };
    text.lines().enumerate().filter(|(_, line)| hit(line)).map(|(n, _)| n + 1).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_go_and_strings_stay() {
        assert_eq!(without_comments("a // b\nlet u = \"http://x\"; // c\n"), "a \nlet u = \"http://x\"; \n");
    }

    #[test]
    fn literals_are_found_with_their_lines() {
        let text = "let a = \"one\";\nlet q = '\"'; let e = '\\''; let b = r#\"two \" still\"#;\nfn f<'a>(x: &'a str) { g(\"three\\\" \\\n  more\", 'x', \"four\") }";
        let found = literals(text);
        let texts: Vec<&str> = found.iter().map(|(_, text)| text.as_str()).collect();
        assert_eq!(texts, ["one", "two \" still", "three\\\" \\\n  more", "four"]);
        assert_eq!(found.iter().map(|(line, _)| *line).collect::<Vec<_>>(), [1, 2, 3, 4]);
    }

    #[test]
    fn words_are_whole() {
        assert_eq!(named("use nix::fs;\nunix();\n_nix\n", "nix"), [1]);
    }
}
