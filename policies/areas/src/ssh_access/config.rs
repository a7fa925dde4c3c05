//! sshd_config(5): which setting stands where, in the order in which sshd reads. Used to name the file and line that
//! overrides ours and to see whether ours is read at all; what counts in the end is what sshd itself says.

use serde::{Deserialize, Serialize};
use tenure_trust::neutral_bytes;

use super::DROP_IN;

/// sshd's main file.
pub const MAIN: &str = "/etc/ssh/sshd_config";
/// The directory of its drop-ins.
pub const DIRECTORY: &str = "/etc/ssh/sshd_config.d";

/// The most settings, and the most includes of files elsewhere, that are kept: drop-ins may be included again and again.
pub const MAX_SETTINGS: usize = 10_000;

/// One setting.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Setting {
    /// File.
    pub file: String,
    /// Line, from 1.
    pub line: u32,
    /// Keyword in lower case, neutralised.
    pub keyword: String,
    /// Arguments, neutralised.
    pub args: Vec<String>,
    /// The criteria of the Match block it stands in.
    pub within: Option<String>,
}

impl Setting {
    /// `file:line`, with the block.
    pub fn place(&self) -> String {
        match &self.within {
            Some(criteria) => format!("{}:{} in `Match {criteria}`", self.file, self.line),
            None => format!("{}:{}", self.file, self.line),
        }
    }
}

/// How sshd comes to read our drop-in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reading {
    /// By an Include before every other setting.
    First,
    /// Not known: the main file cannot be read or is not to be trusted.
    Unseen,
    /// By an Include, but after settings that therefore win.
    Late,
    /// Only for some connections: the Include stands in a Match block.
    Sometimes,
    /// Not at all.
    Never,
}

/// What the configuration files say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scan {
    /// Every setting in reading order, those of our own drop-in left out; `true` for those read before ours.
    pub settings: Vec<(Setting, bool)>,
    /// How our drop-in is read.
    pub reading: Reading,
    /// Includes of files elsewhere (`file:line pattern`), which are not looked into.
    pub elsewhere: Vec<String>,
}

/// Reads the main file and the drop-ins (path and text, any order).
pub fn scan(main: &[u8], drop_ins: &[(String, Vec<u8>)]) -> Scan {
    let mut drop_ins: Vec<_> = drop_ins.iter().collect();
    drop_ins.sort();
    let mut scanner = Scanner {
        drop_ins,
        ours_read: false,
        out: Scan { settings: vec![], reading: Reading::Never, elsewhere: vec![] },
    };
    scanner.file(MAIN, main, None);
    scanner.out
}

/// The directives of one text: line, keyword in lower case, arguments. Quotes hold blanks; `#` starts a comment.
pub fn directives(text: &[u8]) -> Vec<(u32, String, Vec<String>)> {
    let lines = text.split(|b| *b == b'\n').zip(1u32..);
    lines
        .filter_map(|(line, number)| {
            let line = String::from_utf8_lossy(line);
            let line = line.trim_matches([' ', '\t', '\r', '\u{c}']);
            let end = line.find([' ', '\t', '=', '"']).unwrap_or(line.len());
            let (keyword, rest) = line.split_at(end);
            if keyword.is_empty() || keyword.starts_with('#') {
                return None;
            }
            // One `=` may stand between keyword and arguments.
            let rest = rest.trim_start_matches([' ', '\t']);
            let rest = rest.strip_prefix('=').unwrap_or(rest);
            Some((number, keyword.to_ascii_lowercase(), arguments(rest)))
        })
        .collect()
}

/// Does an Include pattern read the drop-in directory's `*.conf`, or our file by name?
pub fn reads_directory(pattern: &str) -> bool {
    let absolute = if pattern.starts_with('/') { pattern.to_owned() } else { format!("/etc/ssh/{pattern}") };
    absolute == format!("{DIRECTORY}/*.conf") || absolute == format!("{DIRECTORY}/*") || absolute == DROP_IN
}

fn arguments(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut chars = text.chars().peekable();
    while let Some(&c) = chars.peek() {
        match c {
            ' ' | '\t' => {
                chars.next();
            }
            '#' => break,
            '"' => {
                chars.next();
                words.push(chars.by_ref().take_while(|c| *c != '"').collect());
            }
            _ => {
                let mut word = String::new();
                while let Some(&c) = chars.peek().filter(|c| !matches!(c, ' ' | '\t')) {
                    word.push(c);
                    chars.next();
                }
                words.push(word);
            }
        }
    }
    words
}

struct Scanner<'a> {
    drop_ins: Vec<&'a (String, Vec<u8>)>,
    ours_read: bool,
    out: Scan,
}

impl Scanner<'_> {
    /// A Match block ends with the file that it was opened in (measured with OpenSSH 9.2).
    fn file(&mut self, path: &str, text: &[u8], outer: Option<&str>) {
        let mut within = outer.map(ToOwned::to_owned);
        for (line, keyword, args) in directives(text) {
            match keyword.as_str() {
                "match" => {
                    let criteria = neutral_bytes(args.join(" ").as_bytes(), 200);
                    let all = criteria.eq_ignore_ascii_case("all");
                    within = if all { outer.map(ToOwned::to_owned) } else { Some(criteria) };
                }
                "include" => {
                    for pattern in &args {
                        self.include(path, line, pattern, within.as_deref());
                    }
                }
                _ => {
                    if self.out.settings.len() == MAX_SETTINGS {
                        continue;
                    }
                    let keyword = neutral_bytes(keyword.as_bytes(), 100);
                    let args = args.iter().map(|a| neutral_bytes(a.as_bytes(), 200)).collect();
                    let file = neutral_bytes(path.as_bytes(), 200);
                    let setting = Setting { file, line, keyword, args, within: within.clone() };
                    self.out.settings.push((setting, !self.ours_read));
                }
            }
        }
    }

    fn include(&mut self, path: &str, line: u32, pattern: &str, within: Option<&str>) {
        if !reads_directory(pattern) || path != MAIN {
            if self.out.elsewhere.len() == MAX_SETTINGS {
                return;
            }
            let text = format!("{path}:{line} {pattern}");
            self.out.elsewhere.push(neutral_bytes(text.as_bytes(), 300));
            return;
        }
        for (file, text) in self.drop_ins.clone() {
            // sshd takes the first value of a keyword: what is read again and again by then changes nothing.
            if self.out.settings.len() == MAX_SETTINGS && file != DROP_IN {
                continue;
            }
            if file == DROP_IN {
                self.read_ours(within);
            } else if file.ends_with(".conf") || pattern.ends_with("/*") {
                self.file(file, text, within);
            }
        }
        // Absent as yet: where it would be read is what is asked.
        if !self.drop_ins.iter().any(|(file, _)| file == DROP_IN) {
            self.read_ours(within);
        }
    }

    fn read_ours(&mut self, within: Option<&str>) {
        if self.out.reading != Reading::Never && self.out.reading != Reading::Sometimes {
            return;
        }
        self.out.reading = match within {
            Some(_) => Reading::Sometimes,
            None if self.out.settings.is_empty() => Reading::First,
            None => Reading::Late,
        };
        self.ours_read |= within.is_none();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(main: &str, drop_ins: &[(&str, &str)]) -> Scan {
        let path = |name: &str| format!("{DIRECTORY}/{name}");
        let files: Vec<_> = drop_ins.iter().map(|(n, t)| (path(n), t.as_bytes().to_vec())).collect();
        scan(main.as_bytes(), &files)
    }

    #[test]
    fn says_how_ours_is_read() {
        let include = "Include /etc/ssh/sshd_config.d/*.conf\n";
        let table = [
            (format!("# c\n\n{include}UsePAM yes\n"), Reading::First),
            ("include sshd_config.d/*.conf".to_owned(), Reading::First),
            (format!("PasswordAuthentication yes\n{include}"), Reading::Late),
            (format!("Match User a\n{include}"), Reading::Sometimes),
            (format!("Match User a\nX11Forwarding no\nMatch all\n{include}"), Reading::Late),
            ("UsePAM yes\n#Include /etc/ssh/sshd_config.d/*.conf\n".to_owned(), Reading::Never),
            ("Include /etc/ssh/other/*.conf".to_owned(), Reading::Never),
        ];
        for (main, reading) in table {
            assert_eq!(read(&main, &[]).reading, reading, "{main}");
            assert_eq!(read(&main, &[("00-tenure.conf", "X y")]).reading, reading, "{main}");
        }
        let earlier = [("00-a.conf", "PasswordAuthentication yes"), ("00-tenure.conf", "")];
        assert_eq!(read(include, &earlier).reading, Reading::Late);
        let later = [("50-cloud.conf", "PasswordAuthentication yes"), ("00-tenure.conf", "")];
        assert_eq!(read(include, &later).reading, Reading::First);
    }

    #[test]
    fn names_file_line_and_block() {
        let scan = read(
            "Include /etc/ssh/sshd_config.d/*.conf\nMatch User admin Address 10.0.0.0/8\n  PasswordAuthentication=yes # why\n",
            &[("00-tenure.conf", "AllowUsers a"), ("50-x.conf", "AllowUsers \"b c\" d\u{202e}")],
        );
        let (first, before) = &scan.settings[0];
        assert_eq!(first.args, ["b c", "d\\u{202e}"]);
        assert!(!before);
        let (second, _) = &scan.settings[1];
        assert_eq!(second.place(), "/etc/ssh/sshd_config:3 in `Match User admin Address 10.0.0.0/8`");
        assert_eq!((second.keyword.as_str(), second.args[0].as_str()), ("passwordauthentication", "yes"));
    }

    #[test]
    fn a_hostile_file_is_bounded_and_harmless() {
        let main = "Include sshd_config.d/*.conf\n".repeat(2000) + "X11\u{1b}Use yes\n";
        let drop_in = "AllowUsers a\n".repeat(2000);
        let all = read(&main, &[("50-x.conf", &drop_in)]);
        assert_eq!((all.settings.len(), all.reading), (MAX_SETTINGS, Reading::Late));
        let one = read("X11\u{1b}Use\u{feff} yes\n", &[]);
        assert_eq!(one.settings[0].0.keyword, "x11\\u{1b}use\\u{feff}");
    }

    #[test]
    fn includes_elsewhere_are_told_not_followed() {
        let scan = read(
            "Include /etc/ssh/sshd_config.d/*.conf /home/a/x\n",
            &[("z.conf", "Include sshd_config.d/*.conf")],
        );
        assert_eq!(scan.elsewhere.len(), 2);
        assert_eq!(scan.reading, Reading::First);
    }
}
