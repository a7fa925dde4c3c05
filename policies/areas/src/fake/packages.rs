//! The fake host's package database, printed as dpkg-query and apt-get print theirs.

use std::fmt::Write as _;

/// One installed package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FakePackage {
    /// Name.
    pub name: String,
    /// Installed version.
    pub version: String,
    /// What apt would install instead: version and archive, e.g. `("3.0.15-1", "Debian-Security:12/stable-security")`.
    pub candidate: Option<(String, String)>,
}

pub(super) fn debian() -> Vec<FakePackage> {
    let package = |name: &str, version: &str| FakePackage {
        name: name.into(),
        version: version.into(),
        candidate: None,
    };
    vec![
        package("base-files", "12.4+deb12u12"),
        package("linux-image-6.1.0-28-amd64", "6.1.119-1"),
        package("openssl", "3.0.14-1~deb12u1"),
        package("openssh-server", "1:9.2p1-2+deb12u5"),
    ]
}

/// `dpkg-query -W -f '${Package}\t${Version}\t${Architecture}\t${db:Status-Abbrev}\n'`.
pub(super) fn dpkg_query(packages: &[FakePackage]) -> Vec<u8> {
    let mut out = String::new();
    for FakePackage { name, version, .. } in packages {
        writeln!(out, "{name}\t{version}\tamd64\tii ").expect("writing to a String cannot fail");
    }
    out.into_bytes()
}

/// `apt-get --simulate dist-upgrade`.
pub(super) fn apt_simulate(packages: &[FakePackage]) -> Vec<u8> {
    let mut out =
        String::from("Reading package lists...\nBuilding dependency tree...\nCalculating upgrade...\n");
    for FakePackage { name, version, candidate } in packages {
        if let Some((new, archive)) = candidate {
            writeln!(out, "Inst {name} [{version}] ({new} {archive} [amd64])")
                .expect("writing to a String cannot fail");
        }
    }
    for FakePackage { name, candidate, .. } in packages {
        if let Some((new, archive)) = candidate {
            writeln!(out, "Conf {name} ({new} {archive} [amd64])").expect("writing to a String cannot fail");
        }
    }
    out.into_bytes()
}
