//! sshd_config(5): which setting stands where, in the order in which sshd reads. Used to name the file and line that
//! overrides ours and to see whether ours is read at all; what counts in the end is what sshd itself says.

use serde::{Deserialize, Serialize};
use tenure_trust::neutral_bytes;

use super::DROP_IN;
use super::effective::glob;

/// sshd's main file.
pub const MAIN: &str = "/etc/ssh/sshd_config";
/// The directory of its drop-ins.
pub const DIRECTORY: &str = "/etc/ssh/sshd_config.d";

/// The most settings, and the most includes of files elsewhere, that are kept: drop-ins may be included again and again.
pub const MAX_SETTINGS: usize = 10_000;
/// sshd goes no deeper (servconf.c, SERVCONF_MAX_DEPTH) and refuses such a configuration.
const MAX_DEPTH: usize = 16;
/// Includes and files that they name which are gone through in all, each time anew.
const MAX_VISITS: usize = 2_000;
/// Bytes that are gone through in all, each time anew.
const MAX_BYTES: usize = 4 * 1024 * 1024;

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
    /// Includes of files outside of the drop-ins' directory (`file:line pattern`).
    pub elsewhere: Vec<String>,
    /// Includes that were not gone into (`file:line pattern: why`).
    pub unread: Vec<String>,
}

/// Reads the main file and those that it includes, directly or not (path and text, any order).
pub fn scan(main: &[u8], included: &[(String, Vec<u8>)]) -> Scan {
    let mut files: Vec<_> = included.iter().map(|(path, text)| (path.as_str(), text.as_slice())).collect();
    if !included.iter().any(|(path, _)| path == DROP_IN) {
        // Absent as yet: where it would be read is what is asked.
        files.push((DROP_IN, &[]));
    }
    files.sort_unstable();
    let mut scanner = Scanner {
        files,
        way: vec![MAIN],
        visits: 0,
        bytes: 0,
        ours_read: false,
        out: Scan { settings: vec![], reading: Reading::Never, elsewhere: vec![], unread: vec![] },
    };
    scanner.file(MAIN, main, None);
    scanner.out
}

/// The patterns of all Includes of a text, absolute (a relative one is meant beneath /etc/ssh).
pub fn includes(text: &[u8]) -> Vec<String> {
    let directives = directives(text).into_iter().filter(|(_, keyword, _)| keyword == "include");
    directives.flat_map(|(_, _, patterns)| patterns).map(|pattern| absolute(&pattern)).collect()
}

/// An Include's pattern as an absolute one.
pub fn absolute(pattern: &str) -> String {
    if pattern.starts_with('/') { pattern.to_owned() } else { format!("/etc/ssh/{pattern}") }
}

/// Does an absolute pattern of an Include name this path, as glob(3) does: component by component, no leading dot by a wildcard?
pub fn names(pattern: &str, path: &str) -> bool {
    let (patterns, parts): (Vec<&str>, Vec<&str>) = (pattern.split('/').collect(), path.split('/').collect());
    patterns.len() == parts.len() && patterns.iter().zip(&parts).all(|(pattern, part)| named(pattern, part))
}

/// The same for one component.
pub fn named(pattern: &str, part: &str) -> bool {
    glob(pattern, part) && (!part.starts_with('.') || pattern.starts_with('.'))
}

/// Patterns with sets of characters or escapes are not gone into.
pub fn is_plain(pattern: &str) -> bool {
    !pattern.contains(['[', '\\'])
}

/// Does a keyword (in lower case) decide about who gets in and how they prove who they are?
pub fn decides_login(keyword: &str) -> bool {
    const WORDS: [&str; 27] = [
        "allowgroups",
        "allowusers",
        "authenticationmethods",
        "authorizedkeys",
        "authorizedprincipals",
        "casignature",
        "challengeresponse",
        "denygroups",
        "denyusers",
        "dsaauthentication",
        "gssapi",
        "hostbased",
        "ignorerhosts",
        "ignoreuserknownhosts",
        "kbdinteractive",
        "kerberos",
        "keyboardinteractive",
        "passwordauthentication",
        "permitemptypasswords",
        "permitrootlogin",
        "permituserenvironment",
        "pubkey",
        "revokedkeys",
        "skeyauthentication",
        "strictmodes",
        "trustedusercakeys",
        "usepam",
    ];
    WORDS.iter().any(|word| keyword.starts_with(word))
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
    files: Vec<(&'a str, &'a [u8])>,
    /// The file that is read, after those that led to it.
    way: Vec<&'a str>,
    visits: usize,
    bytes: usize,
    ours_read: bool,
    out: Scan,
}

impl<'a> Scanner<'a> {
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
                        let place = format!("{path}:{line} {pattern}");
                        self.include(&place, pattern, within.as_deref());
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

    fn include(&mut self, place: &str, pattern: &str, within: Option<&str>) {
        let pattern = absolute(pattern);
        if !pattern.starts_with(&format!("{DIRECTORY}/")) {
            keep(&mut self.out.elsewhere, place);
        }
        let room = self.visits < MAX_VISITS && self.bytes < MAX_BYTES;
        let why = match (is_plain(&pattern), self.way.len() <= MAX_DEPTH, room) {
            (false, ..) => Some("a pattern with [] or \\ is not read here"),
            (_, false, _) => Some("sshd reads no file that is included so deeply"),
            (_, _, false) => Some("too many files are included"),
            _ => None,
        };
        if let Some(why) = why {
            return keep(&mut self.out.unread, &format!("{place}: {why}"));
        }
        self.visits += 1;
        for (file, text) in self.files.clone() {
            // sshd takes the first value of a keyword: what is read again and again by then changes nothing.
            if !names(&pattern, file) || (self.out.settings.len() == MAX_SETTINGS && file != DROP_IN) {
                continue;
            }
            self.visits += 1;
            if file == DROP_IN {
                self.read_ours(within);
            } else if self.way.contains(&file) {
                keep(&mut self.out.unread, &format!("{place}: sshd refuses a file that includes itself"));
            } else {
                self.bytes += text.len();
                self.way.push(file);
                self.file(file, text, within);
                self.way.pop();
            }
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

fn keep(list: &mut Vec<String>, text: &str) {
    if list.len() < MAX_SETTINGS {
        list.push(neutral_bytes(text.as_bytes(), 300));
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
        assert_eq!((all.settings.len(), all.reading), (MAX_SETTINGS, Reading::First));
        assert!(all.unread[0].ends_with("too many files are included"), "{:?}", all.unread.first());
        let one = read("X11\u{1b}Use\u{feff} yes\n", &[]);
        assert_eq!(one.settings[0].0.keyword, "x11\\u{1b}use\\u{feff}");
    }

    #[test]
    fn includes_are_followed_however_deep_and_told_where_they_are_not() {
        let files = [
            ("z.conf", "Include more/*.conf\nInclude sshd_config.d/[a-b].conf"),
            ("../more/x.conf", "Match LocalPort 2222\n  Include deep"),
            ("../deep", "PasswordAuthentication yes\n"),
            ("../unused", "UsePAM no\n"),
            ("../more/.hidden.conf", "UsePAM no\n"),
        ]
        .map(|(name, text)| {
            let path =
                name.strip_prefix("../").map_or(format!("{DIRECTORY}/{name}"), |n| format!("/etc/ssh/{n}"));
            (path, text.as_bytes().to_vec())
        });
        let main = b"Include /etc/ssh/sshd_config.d/*.conf\n";
        assert_eq!(
            includes(files[0].1.as_slice()),
            ["/etc/ssh/more/*.conf", "/etc/ssh/sshd_config.d/[a-b].conf"]
        );
        let seen = scan(main, &files);
        let places: Vec<_> = seen.settings.iter().map(|(s, _)| s.place()).collect();
        assert_eq!(
            (places, seen.reading),
            (vec!["/etc/ssh/deep:1 in `Match LocalPort 2222`".into()], Reading::First)
        );
        assert_eq!(
            seen.elsewhere,
            [format!("{DIRECTORY}/z.conf:1 more/*.conf"), "/etc/ssh/more/x.conf:2 deep".into()]
        );
        assert_eq!(seen.unread.len(), 1, "{:?}", seen.unread);

        let circle = [(format!("{DIRECTORY}/z.conf"), b"UsePAM no\nInclude sshd_config.d/*.conf\n".to_vec())];
        let seen = scan(main, &circle);
        assert_eq!(seen.settings.len(), 1);
        assert!(seen.unread[0].ends_with("includes itself"), "{:?}", seen.unread);
        let stairs =
            |n: usize| (format!("/etc/ssh/{n}"), format!("UsePAM no\nInclude {}\n", n + 1).into_bytes());
        let seen = scan(b"Include 1\n", &(1..30).map(stairs).collect::<Vec<_>>());
        assert_eq!(seen.settings.len(), MAX_DEPTH);
        assert!(seen.unread[0].ends_with("included so deeply"), "{:?}", seen.unread);
    }

    #[test]
    fn what_decides_about_logins_is_known_by_its_keyword() {
        for keyword in [
            "authorizedkeyscommanduser",
            "kbdinteractiveauthentication",
            "gssapistrictacceptorcheck",
            "usepam",
        ] {
            assert!(decides_login(keyword), "{keyword}");
        }
        for keyword in ["x11forwarding", "forcecommand", "allowtcpforwarding", "permittty"] {
            assert!(!decides_login(keyword), "{keyword}");
        }
    }
}
