//! Finds the files that sshd_config includes, directly or not, as glob(3) does: bounded in number and size, whatever they say.

use std::collections::{BTreeMap, VecDeque};

use tenure_trust::neutral_bytes;

use super::config;

/// Files that are read, and their bytes in all.
const MAX_FILES: usize = 300;
const MAX_BYTES: usize = 2 * 1024 * 1024;
/// Patterns that are gone after.
const MAX_PATTERNS: usize = 1_000;
/// Paths that one pattern may name while it is expanded.
const MAX_PATHS: usize = 1_000;

/// Reads directories and files of the host.
pub(super) trait Files {
    /// The names in a directory; none when there is no such directory. `Err` says why it cannot be told.
    fn names(&mut self, directory: &str) -> Result<Vec<String>, String>;
    /// The text of a file; `None` when there is no such file. `Err` says why it cannot be read.
    fn text(&mut self, path: &str) -> Result<Option<Vec<u8>>, String>;
}

/// What was found.
pub(super) struct Included {
    /// Path and text.
    pub(super) files: Vec<(String, Vec<u8>)>,
    /// What could not be read, and why; neutralised.
    pub(super) unread: Vec<String>,
}

/// All files that the main file's text leads to.
pub(super) fn collect(main: &[u8], host: &mut impl Files) -> Included {
    let mut files: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    let mut unread = Vec::new();
    let mut tell = |what: &str, why: &str| {
        let text = neutral_bytes(format!("{what}: {why}").as_bytes(), 300);
        if !unread.contains(&text) && unread.len() < MAX_FILES {
            unread.push(text);
        }
    };
    let mut patterns: VecDeque<String> = config::includes(main).into();
    let (mut seen, mut bytes) = (std::collections::BTreeSet::new(), 0);
    while let Some(pattern) = patterns.pop_front() {
        // The scan tells of the others, with their places.
        if !config::is_plain(&pattern) || !seen.insert(pattern.clone()) {
            continue;
        }
        if seen.len() > MAX_PATTERNS {
            tell(&pattern, "too many files are included");
            break;
        }
        let paths = expand(&pattern, host).unwrap_or_else(|(place, why)| {
            tell(&place, &why);
            Vec::new()
        });
        for path in paths {
            if path == config::MAIN || files.contains_key(&path) {
                continue;
            }
            match host.text(&path) {
                Ok(None) => {}
                Ok(Some(text)) if files.len() < MAX_FILES && bytes + text.len() <= MAX_BYTES => {
                    bytes += text.len();
                    patterns.extend(config::includes(&text));
                    files.insert(path, text);
                }
                Ok(Some(_)) => tell(&path, "too many files are included"),
                Err(why) => tell(&path, &why),
            }
        }
    }
    Included { files: files.into_iter().collect(), unread }
}

/// The paths that a pattern names; `Err` with the directory that cannot be listed.
fn expand(pattern: &str, host: &mut impl Files) -> Result<Vec<String>, (String, String)> {
    let mut paths = vec![String::new()];
    for part in pattern.split('/').skip(1) {
        if !part.contains(['*', '?']) {
            paths.iter_mut().for_each(|path| path.extend(["/", part]));
            continue;
        }
        let mut next = Vec::new();
        for path in paths {
            let directory = if path.is_empty() { "/" } else { &path };
            let names = host.names(directory).map_err(|why| (directory.to_owned(), why))?;
            let hits = names.iter().filter(|name| config::named(part, name));
            next.extend(hits.map(|name| format!("{path}/{name}")));
            if next.len() > MAX_PATHS {
                return Err((pattern.to_owned(), "too many files are included".into()));
            }
        }
        paths = next;
    }
    Ok(paths)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Tree(Vec<(&'static str, &'static str)>);

    impl Files for Tree {
        fn names(&mut self, directory: &str) -> Result<Vec<String>, String> {
            if directory.ends_with("shut") {
                return Err("shut".into());
            }
            let below = |path: &&str| {
                let rest = path.strip_prefix(directory.trim_end_matches('/'))?.strip_prefix('/')?;
                rest.split('/').next().map(ToOwned::to_owned)
            };
            let mut names: Vec<String> = self.0.iter().filter_map(|(path, _)| below(path)).collect();
            names.dedup();
            Ok(names)
        }
        fn text(&mut self, path: &str) -> Result<Option<Vec<u8>>, String> {
            Ok(self.0.iter().find(|(p, _)| *p == path).map(|(_, text)| text.as_bytes().to_vec()))
        }
    }

    #[test]
    fn wildcards_in_any_component_and_circles_end() {
        let mut tree = Tree(vec![
            ("/etc/ssh/a/x.conf", "Include /opt/*/s?h/*.conf /nowhere /shut/*"),
            ("/opt/app/ssh/1.conf", "Include a/*.conf"),
            ("/opt/app/ssh/.2.conf", ""),
            ("/opt/app/sh/3.conf", ""),
        ]);
        let found = collect(b"Include a/*.conf\n", &mut tree);
        let paths: Vec<_> = found.files.iter().map(|(path, _)| path.as_str()).collect();
        assert_eq!(paths, ["/etc/ssh/a/x.conf", "/opt/app/ssh/1.conf"]);
        assert_eq!(found.unread, ["/shut: shut"]);
    }

    #[test]
    fn too_many_are_told() {
        let main: String = (0..MAX_PATTERNS + 5).map(|n| format!("Include /x/{n}\n")).collect();
        let found = collect(main.as_bytes(), &mut Tree(vec![]));
        assert!(found.unread[0].ends_with("too many files are included"), "{:?}", found.unread);
    }
}
