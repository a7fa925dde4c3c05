//! What dpkg-query and `apt-get --simulate` print, and the head of an archive's Release file, read line by line. The text
//! may be hostile.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use tenure_trust::neutral_bytes;

use super::facts::Upgrade;

const NAME: usize = 150;
const UPGRADES: usize = 2000;
/// The head of a Release file is a few lines.
const HEAD: usize = 16 * 1024;

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
        listed: None,
    })
}

/// Debian's security archive is labelled so; others (Ubuntu) name their suite `…-security`.
fn is_security(origin: &str) -> bool {
    let (label, suite) = origin.split_once(':').unwrap_or(("", origin));
    label == "Debian-Security" || suite.ends_with("-security")
}

/// What an archive says of one of its lists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Release {
    /// As `apt-get --simulate` names it: `Label:Version/Suite`.
    pub origin: String,
    /// When the archive made the list.
    pub date: Timestamp,
}

/// The head of an `InRelease` or `Release` file, up to its lists of hashes; none when it tells no label or no date.
pub fn release(bytes: &[u8]) -> Option<Release> {
    let head = &bytes[..bytes.len().min(HEAD)];
    let text = String::from_utf8_lossy(head);
    let fields: Vec<(&str, &str)> = text
        .lines()
        .take_while(|line| !["MD5Sum:", "SHA1:", "SHA256:", "SHA512:"].contains(&line.trim_end()))
        .filter_map(|line| line.split_once(':'))
        .map(|(key, value)| (key, value.trim()))
        .collect();
    let field = |name: &str| {
        let found = fields.iter().find(|(key, value)| key.eq_ignore_ascii_case(name) && !value.is_empty());
        found.map(|(_, value)| *value)
    };
    let suite = field("Suite").or(field("Codename"))?;
    let version = field("Version").map(|version| format!("{version}/")).unwrap_or_default();
    let origin = format!("{}:{version}{suite}", field("Label")?);
    Some(Release { origin: neutral_bytes(origin.as_bytes(), NAME), date: date(field("Date")?)? })
}

/// `Sat, 09 Nov 2024 10:20:33 UTC`: the format of Release files is fixed, whatever the host's language.
fn date(text: &str) -> Option<Timestamp> {
    let text = [" UTC", " GMT", " +0000"].iter().find_map(|zone| text.strip_suffix(zone))?;
    let civil = DateTime::strptime("%a, %d %b %Y %H:%M:%S", text.trim()).ok()?;
    Some(civil.to_zoned(TimeZone::UTC).ok()?.timestamp())
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
    fn the_head_of_a_release_file_is_read() {
        // The beginning of Debian's own, as apt keeps it.
        let signed = "-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\nOrigin: Debian\nLabel: Debian-Security\n\
            Suite: oldstable-security\nVersion: 12\nCodename: bookworm-security\n\
            Date: Sat, 22 Nov 2025 19:27:56 UTC\nValid-Until: Sat, 29 Nov 2025 19:27:56 UTC\nAcquire-By-Hash: yes\n\
            SHA256:\n 00 1 x\nDate: Mon, 01 Jan 2001 00:00:00 UTC\n";
        let read = release(signed.as_bytes()).unwrap();
        assert_eq!(read.origin, "Debian-Security:12/oldstable-security");
        assert_eq!(read.date.to_string(), "2025-11-22T19:27:56Z");
        let lab = release(b"Label: L\nSuite: s\nDate: Mon, 16 Nov 2026 07:00:00 +0000\n").unwrap();
        assert_eq!(lab.origin, "L:s", "without a version apt writes none");
        for bad in [
            "",
            "Label: L\nSuite: s\n",
            "Label: L\nSuite: s\nDate: yesterday\n",
            "Label: L\nSuite: s\nDate: Mon, 16 Nov 2026 07:00:00 CET\n",
            "Suite: s\nDate: Mon, 16 Nov 2026 07:00:00 UTC\n",
            "SHA256:\nLabel: L\nSuite: s\nDate: Mon, 16 Nov 2026 07:00:00 UTC\n",
        ] {
            assert_eq!(release(bad.as_bytes()), None, "{bad:?}");
        }
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
