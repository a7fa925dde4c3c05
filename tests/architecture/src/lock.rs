//! Cargo.lock: every package of every platform, with its source and hash, without asking anybody.

use std::fs;

/// One package of the lock.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Locked {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Where it comes from; none for our own.
    pub source: Option<String>,
    /// The hash of its archive.
    pub checksum: Option<String>,
    /// Names of the packages that it names, also of those that no feature of ours switches on.
    pub names: Vec<String>,
}

/// Everything in Cargo.lock.
///
/// # Panics
/// When it cannot be read or has another form: then no rule can be checked.
#[must_use]
pub fn locked() -> Vec<Locked> {
    let text = fs::read_to_string(tenure_lab::repository().join("Cargo.lock")).expect("Cargo.lock");
    let packages = parse(&text);
    assert!(packages.len() > 100, "Cargo.lock was not read: {} packages", packages.len());
    assert_eq!(packages.len(), text.matches("[[package]]").count(), "a package of Cargo.lock was not read");
    packages
}

fn parse(text: &str) -> Vec<Locked> {
    let mut out = Vec::new();
    for part in text.split("[[package]]").skip(1) {
        let value = |key: &str| {
            let start = format!("{key} = \"");
            part.lines().find_map(|line| line.strip_prefix(&start)?.strip_suffix('"')).map(str::to_owned)
        };
        if let (Some(name), Some(version)) = (value("name"), value("version")) {
            let names = part.lines().filter_map(|line| line.strip_prefix(" \"")?.split([' ', '"']).next());
            let names = names.map(str::to_owned).collect();
            out.push(Locked { name, version, source: value("source"), checksum: value("checksum"), names });
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_are_read_with_and_without_a_source() {
        let text = "version = 4\n\n[[package]]\nname = \"ours\"\nversion = \"0.1.0\"\ndependencies = [\n \"x\",\n]\n\n\
                    [[package]]\nname = \"x\"\nversion = \"1.2.3\"\nsource = \"git+https://x\"\nchecksum = \"ab\"\n";
        let read = parse(text);
        assert_eq!(read.len(), 2);
        assert_eq!((read[0].name.as_str(), read[0].source.as_deref()), ("ours", None));
        assert_eq!((read[0].names.as_slice(), read[1].names.len()), (["x".to_owned()].as_slice(), 0));
        assert_eq!(
            (read[1].source.as_deref(), read[1].checksum.as_deref()),
            (Some("git+https://x"), Some("ab"))
        );
    }
}
