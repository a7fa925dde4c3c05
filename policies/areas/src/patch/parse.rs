//! What dpkg-query and `apt-get --simulate` print, read line by line. The text may be hostile.

use tenure_trust::neutral_bytes;

use super::facts::Upgrade;

const NAME: usize = 150;
const UPGRADES: usize = 2000;

/// One line of dpkg-query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Package {
    /// Name.
    pub name: String,
    /// Version.
    pub version: String,
    /// `db:Status-Abbrev`: wanted and present state, e.g. `ii`, `hi`, `rc`, `iU`.
    pub status: String,
}

impl Package {
    /// Installed whole.
    pub fn is_installed(&self) -> bool {
        self.status.get(1..2) == Some("i") && self.status.len() == 2
    }
    /// Held back by an administrator.
    pub fn is_held(&self) -> bool {
        self.status.starts_with('h')
    }
    /// Neither whole nor gone nor only its configuration.
    pub fn is_broken(&self) -> bool {
        !self.is_installed() && !matches!(self.status.get(1..), Some("n" | "c"))
    }
}

/// `name\tversion\tarch\tstatus` lines.
///
/// # Errors
/// In words, when a line is not of this form or there is none: an empty host has no packages and no dpkg.
pub fn packages(bytes: &[u8]) -> Result<Vec<Package>, String> {
    let mut packages = Vec::new();
    for line in String::from_utf8_lossy(bytes).lines() {
        let fields: Vec<&str> = line.split('\t').collect();
        let [name, version, _, status] = fields[..] else {
            return Err(format!("dpkg-query printed `{}`", neutral_bytes(line.as_bytes(), 80)));
        };
        let short = |text: &str| neutral_bytes(text.trim().as_bytes(), NAME);
        packages.push(Package { name: short(name), version: short(version), status: short(status) });
    }
    if packages.is_empty() { Err("dpkg-query printed no package".into()) } else { Ok(packages) }
}

/// The `Inst` lines: `Inst name [installed] (candidate Label:Version/Suite, … [arch]) […]`.
///
/// # Errors
/// In words, when an `Inst` line is not of this form, or there are more than 2,000.
pub fn upgrades(bytes: &[u8]) -> Result<Vec<Upgrade>, String> {
    let text = String::from_utf8_lossy(bytes);
    let mut upgrades = Vec::new();
    for line in text.lines().filter_map(|line| line.strip_prefix("Inst ")) {
        let upgrade = upgrade(line)
            .ok_or_else(|| format!("apt-get printed `Inst {}`", neutral_bytes(line.as_bytes(), 120)))?;
        upgrades.push(upgrade);
        if upgrades.len() > UPGRADES {
            return Err(format!("apt-get would install more than {UPGRADES} packages"));
        }
    }
    upgrades.sort();
    Ok(upgrades)
}

fn upgrade(line: &str) -> Option<Upgrade> {
    let (package, rest) = line.split_once(' ')?;
    let (installed, rest) = match rest.strip_prefix('[') {
        Some(rest) => {
            let (version, rest) = rest.split_once("] ")?;
            (Some(version), rest)
        }
        None => (None, rest),
    };
    let inside = rest.strip_prefix('(')?;
    let inside = &inside[..inside.find(')')?];
    let (candidate, archives) = inside.split_once(' ')?;
    // The architecture ends it: ` [amd64]`.
    let archives = archives.rsplit_once('[').map_or(archives, |(archives, _)| archives);
    let short = |text: &str| neutral_bytes(text.trim().as_bytes(), NAME);
    let mut origins: Vec<String> =
        archives.split(',').map(short).filter(|o| !o.is_empty()).take(20).collect();
    origins.sort();
    if package.is_empty() || candidate.is_empty() {
        return None;
    }
    let security = origins.iter().any(|origin| is_security(origin));
    Some(Upgrade {
        package: short(package),
        installed: installed.map(short),
        candidate: short(candidate),
        origins,
        security,
    })
}

/// Debian's security archive is labelled so; others (Ubuntu) name their suite `…-security`.
fn is_security(origin: &str) -> bool {
    let (label, suite) = origin.split_once(':').unwrap_or(("", origin));
    label == "Debian-Security" || suite.ends_with("-security")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_apt_printed_on_debian_12() {
        let text = "Reading package lists...\n\
            Inst base-files [12.4+deb12u11] (12.4+deb12u15 Debian:12.15/oldstable [amd64])\n\
            Inst libgcrypt20-dev [1.10.1-3] (1.10.1-3+deb12u1 Debian:12.15/oldstable, Debian-Security:12/oldstable-security [amd64]) []\n\
            Inst libc6:i386 [2.36-9] (2.36-9+deb12u9 Debian:12.9/stable [i386]) [locales:amd64 ]\n\
            Inst linux-image-6.1.0-29-amd64 (6.1.123-1 Debian-Security:12/stable-security [amd64])\n\
            Conf base-files (12.4+deb12u15 Debian:12.15/oldstable [amd64])\n";
        let found = upgrades(text.as_bytes()).unwrap();
        let brief: Vec<_> =
            found.iter().map(|u| (u.package.as_str(), u.installed.as_deref(), u.security)).collect();
        assert_eq!(
            brief,
            [
                ("base-files", Some("12.4+deb12u11"), false),
                ("libc6:i386", Some("2.36-9"), false),
                ("libgcrypt20-dev", Some("1.10.1-3"), true),
                ("linux-image-6.1.0-29-amd64", None, true),
            ]
        );
        assert_eq!(found[2].origins, ["Debian-Security:12/oldstable-security", "Debian:12.15/oldstable"]);
    }

    #[test]
    fn what_is_not_understood_is_an_error_and_not_an_empty_list() {
        for text in ["Inst", "Inst x", "Inst x [1] y", "Inst x [1 (2 D [a])", "Inst x (2", "Inst x ()"] {
            let got = upgrades(format!("{text}\n").as_bytes());
            assert!(got.is_err() || text == "Inst", "{text}: {got:?}");
        }
        assert_eq!(upgrades(b"").unwrap(), []);
        assert!(packages(b"").is_err() && packages(b"one\ttwo\n").is_err());
    }

    #[test]
    fn states_of_packages() {
        let text = b"a\t1\tall\tii \nb\t1\tall\thi \nc\t1\tall\trc \nd\t1\tall\tiU \ne\t1\tall\tiF\nf\t\tall\tun \ng\t1\tall\tiiR\n";
        let found = packages(text).unwrap();
        let pick = |test: fn(&Package) -> bool| -> String {
            found.iter().filter(|p| test(p)).map(|p| p.name.as_str()).collect()
        };
        assert_eq!(pick(Package::is_installed), "ab");
        assert_eq!(pick(Package::is_held), "b");
        assert_eq!(pick(Package::is_broken), "deg");
    }
}
