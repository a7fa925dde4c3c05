//! What dpkg, apt and our own memory say to the area `patch`.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::sync::LazyLock;

use tenure_areas::patch::facts::{Seen, Waiting};
use tenure_areas::patch::version::compare;
use tenure_areas::patch::{Patch, SEEN, parse};
use tenure_policy::resolved::PatchSection;

use crate::check::{self, printable};
use crate::host::{Host, at, now};
use crate::policy::WEB;

static SECTION: LazyLock<PatchSection> = LazyLock::new(|| WEB.patch.expect("the example has patches"));

const PACKAGES: &str = "base-files\t12.4+deb12u11\tamd64\tii \nlinux-image-6.1.0-30-amd64\t6.1.124-1\tamd64\tii \nheld\t1:2.0-1\tall\thi \nold\t1.0~rc1\tall\trc \nhalf\t1\tall\tiU \n";
const INST: &str = "Reading package lists...\nInst base-files [12.4+deb12u11] (12.4+deb12u15 Debian:12.15/oldstable [amd64])\nInst libgcrypt20 [1.10.1-3] (1.10.1-3+deb12u1 Debian:12.15/oldstable, Debian-Security:12/oldstable-security [amd64]) []\nInst linux-image-6.1.0-30-amd64 (6.1.124-1 Debian-Security:12/stable-security [amd64])\nConf base-files (12.4+deb12u15 Debian:12.15/oldstable [amd64])\n";

fn calm() -> Host {
    Host::default()
        .file("/var/lib/apt/lists/deb_dists_bookworm_InRelease", "x")
        .file("/run/reboot-required", "")
        .file("/run/reboot-required.pkgs", "linux-image-6.1.0-30-amd64\n")
        .file(SEEN, memories().remove(0))
        .answer("packages", PACKAGES)
        .answer("upgrades", INST)
        .answer("kernel", "6.1.0-29-amd64\n")
}

fn judge(host: &Host) {
    check::area::<Patch>(host, &SECTION, &now(), &[]);
}

/// What `apt-get --simulate` prints.
pub fn apt(hostile: &[u8]) {
    match parse::upgrades(hostile) {
        Err(why) => printable(&why, 1000),
        Ok(upgrades) => {
            let lines = hostile.split(|b| *b == b'\n').filter(|line| line.starts_with(b"Inst ")).count();
            assert_eq!(upgrades.len(), lines, "an upgrade is left out");
            assert!(upgrades.len() <= 2000 && upgrades.is_sorted());
        }
    }
    judge(&calm().answer("upgrades", hostile));
}

/// What `dpkg-query` prints, and the names in the system's mark for a reboot.
pub fn dpkg(hostile: &[u8]) {
    match parse::packages(hostile) {
        Err(why) => printable(&why, 1000),
        Ok(packages) => {
            for package in packages {
                printable(&package.name, 600);
                printable(&package.version, 600);
                assert!(!(package.is_installed() && package.is_broken()));
            }
        }
    }
    judge(&calm().answer("packages", hostile));
    judge(&calm().answer("kernel", hostile).file("/run/reboot-required.pkgs", hostile));
}

/// The head of an archive's Release file.
pub fn release(hostile: &[u8]) {
    if let Some(release) = parse::release(hostile) {
        printable(&release.origin, 600);
    }
    judge(&calm().file("/var/lib/apt/lists/deb_dists_bookworm_InRelease", hostile));
}

/// Our memory of what waits.
pub fn seen(hostile: &[u8]) {
    judge(&calm().file(SEEN, hostile));
}

/// Three lines as versions: an order is an order.
pub fn version(hostile: &[u8]) {
    let text = String::from_utf8_lossy(hostile);
    let mut lines = text.split('\n');
    let [a, b, c] = [(); 3].map(|()| lines.next().unwrap_or_default());
    for (a, b, c) in [(a, b, c), (b, c, a), (c, a, b), (b, a, c)] {
        assert_eq!(compare(a, a), Ordering::Equal, "{a}");
        assert_eq!(compare(a, b), compare(b, a).reverse(), "{a} and {b}");
        if compare(a, b).is_le() && compare(b, c).is_le() {
            assert!(compare(a, c).is_le(), "{a} to {b} to {c}");
        }
    }
}

/// As apt printed it on Debian 12.
pub fn simulations() -> Vec<Vec<u8>> {
    vec![INST.as_bytes().to_vec()]
}

/// The head of Debian's own.
pub fn releases() -> Vec<Vec<u8>> {
    let text = "-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\nOrigin: Debian\nLabel: Debian-Security\nSuite: oldstable-security\nVersion: 12\nCodename: bookworm-security\nDate: Sat, 22 Nov 2025 19:27:56 UTC\nValid-Until: Sat, 29 Nov 2025 19:27:56 UTC\nSHA256:\n 00 1 main/x\n";
    vec![text.as_bytes().to_vec()]
}

/// Packages in every state.
pub fn package_lists() -> Vec<Vec<u8>> {
    vec![PACKAGES.as_bytes().to_vec()]
}

/// One update and a reboot.
pub fn memories() -> Vec<Vec<u8>> {
    let waiting = Waiting {
        installed: Some("1.10.1-3".into()),
        since: at(1_799_000_000),
        listed: Some(at(1_798_000_000)),
    };
    let upgrades = BTreeMap::from([("libgcrypt20".to_owned(), waiting)]);
    vec![serde_json::to_vec(&Seen { upgrades, reboot: Some(at(1_799_000_000)) }).expect("plain data")]
}

/// Versions of every form.
pub fn versions() -> Vec<Vec<u8>> {
    ["1.0~rc1\n1.0\n1.0-1+b1", "2:1.2-a-1\n12.4+deb12u11\n1:0", "0:1.0\n1.0-0\n1.00"]
        .map(|text| text.as_bytes().to_vec())
        .to_vec()
}
