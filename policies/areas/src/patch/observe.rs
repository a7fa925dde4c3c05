//! Looks at packages, pending upgrades, package lists, kernel and the system's reboot mark.

use std::collections::BTreeMap;

use jiff::Timestamp;
use tenure_trust::{neutral, neutral_bytes};

use super::facts::{Facts, Seen, Upgrade};
use super::parse::{self, Package, Release};
use super::{SEEN, version};
use crate::area::Unknown;
use crate::port::{Beneath, HostRead, Owner, PortError, Query};

const LISTS: &str = "/var/lib/apt/lists";
/// Written by apt's own timer after a run that succeeded.
const STAMPS: [&str; 2] =
    ["/var/lib/apt/periodic/update-success-stamp", "/var/lib/apt/periodic/update-stamp"];
const REBOOT: &str = "/run/reboot-required";
const REBOOT_PACKAGES: &str = "/run/reboot-required.pkgs";
const SMALL: usize = 64 * 1024;
const SEEN_LIMIT: usize = 1024 * 1024;
/// Largest Release file; Debian's are some 250 KB.
const RELEASE: usize = 8 << 20;

pub(super) fn observe(host: &dyn HostRead) -> Result<Facts, Unknown> {
    let ask = |query: Query, doing: &str| host.ask(&query).map_err(|error| Unknown::from_port(doing, &error));
    let unread = |doing: &str, reason: String| Unknown::new(doing, reason);

    let packages = parse::packages(&ask(Query::Packages, "listing the packages")?)
        .map_err(|why| unread("listing the packages", why))?;
    let mut upgrades = parse::upgrades(&ask(Query::PendingUpgrades, "asking apt for upgrades")?)
        .map_err(|why| unread("asking apt for upgrades", why))?;
    let kernel = neutral_bytes(ask(Query::Kernel, "asking for the running kernel")?.trim_ascii(), 100);
    let names = |test: fn(&Package) -> bool, with_status: bool| -> Vec<String> {
        let text =
            |p: &Package| if with_status { format!("{} {}", p.name, p.status) } else { p.name.clone() };
        let mut names: Vec<String> = packages.iter().filter(|p| test(p)).map(text).take(200).collect();
        names.sort();
        names
    };
    if upgrades.iter().any(|u| u.security) {
        date(host, &mut upgrades)?;
    }
    let (marked, mut reboot) = reboot_mark(host);
    reboot.extend(newer_kernel(&packages, &kernel));
    Ok(Facts {
        installed: u32::try_from(packages.iter().filter(|p| p.is_installed()).count()).unwrap_or(u32::MAX),
        broken: names(Package::is_broken, true),
        held: names(Package::is_held, false),
        upgrades,
        lists: lists(host)?,
        reboot,
        reboot_marked: marked,
        kernel,
        seen: seen(host)?,
    })
}

/// When the archives made the lists that have these security updates.
fn date(host: &dyn HostRead, upgrades: &mut [Upgrade]) -> Result<(), Unknown> {
    let mut dates: BTreeMap<String, Timestamp> = BTreeMap::new();
    for name in list_names(host, |n| n.ends_with("InRelease") || n.ends_with("_Release"))? {
        // One that cannot be read tells no date; how old the lists are is judged beside this.
        let Ok(bytes) = host.file(&Beneath::new(LISTS, name), Owner::Root, RELEASE) else { continue };
        let Some(Release { origin, date }) = parse::release(&bytes) else { continue };
        // Two lists of the same name (mirrors, components): whichever has the update, it waits since the later date.
        dates.entry(origin).and_modify(|known| *known = date.max(*known)).or_insert(date);
    }
    for upgrade in upgrades.iter_mut().filter(|u| u.security) {
        // Every archive that apt names has it, so the earliest counts.
        upgrade.listed = upgrade.origins.iter().filter_map(|origin| dates.get(origin).copied()).min();
    }
    Ok(())
}

fn list_names(host: &dyn HostRead, wanted: fn(&str) -> bool) -> Result<Vec<String>, Unknown> {
    match host.dir(&Beneath::new(LISTS, ""), 10_000) {
        Ok(entries) => Ok(entries.into_iter().map(|e| e.name).filter(|name| wanted(name)).collect()),
        Err(PortError::Absent { .. }) => Ok(Vec::new()),
        Err(error) => Err(Unknown::from_port("looking at the package lists", &error)),
    }
}

/// The newest sign that lists came in: a list that changed, or the stamp of apt's timer. `lists/partial` changes on a
/// failed attempt too and is no sign.
fn lists(host: &dyn HostRead) -> Result<Option<Timestamp>, Unknown> {
    let mut newest = None;
    let is_list = |n: &str| n.ends_with("InRelease") || n.ends_with("_Release") || n.ends_with("_Packages");
    for name in list_names(host, is_list)? {
        newest = newest.max(mtime(host, &Beneath::new(LISTS, name)));
    }
    // Without a list a stamp says nothing.
    if newest.is_some() {
        for stamp in STAMPS {
            newest = newest.max(mtime(host, &Beneath::of(stamp)));
        }
    }
    Ok(newest)
}

fn reboot_mark(host: &dyn HostRead) -> (Option<Timestamp>, Vec<String>) {
    let Some(at) = mtime(host, &Beneath::of(REBOOT)) else { return (None, Vec::new()) };
    let text = host.file(&Beneath::of(REBOOT_PACKAGES), Owner::Root, SMALL).unwrap_or_default();
    let text = String::from_utf8_lossy(&text).into_owned();
    let mut packages: Vec<String> = text
        .lines()
        .map(|line| neutral_bytes(line.trim().as_bytes(), 100))
        .filter(|l| !l.is_empty())
        .take(100)
        .collect();
    packages.sort();
    packages.dedup();
    if packages.is_empty() {
        packages.push(format!("{REBOOT} is there"));
    }
    (Some(at), packages)
}

/// A kernel package whose release is newer than the one that runs. A new build of the same release is told by the
/// system's mark only, and a host without kernel packages (a container) has none to compare.
fn newer_kernel(packages: &[Package], running: &str) -> Option<String> {
    let releases = packages.iter().filter(|p| p.is_installed()).filter_map(|p| {
        let release = p.name.strip_prefix("linux-image-")?;
        let release = release.strip_suffix("-unsigned").unwrap_or(release);
        (release.starts_with(|c: char| c.is_ascii_digit()) && !release.ends_with("-dbg")).then_some(release)
    });
    let newest = releases.max_by(|a, b| version::compare(a, b))?;
    let newer = version::compare(newest, running).is_gt();
    newer.then(|| format!("kernel {newest} is installed and {} runs", neutral(running)))
}

/// A memory that cannot be read must not be taken for an empty one: everything would be new again.
fn seen(host: &dyn HostRead) -> Result<Seen, Unknown> {
    let doing = || format!("reading {SEEN}");
    match host.file(&Beneath::of(SEEN), Owner::Root, SEEN_LIMIT) {
        Ok(bytes) => {
            let anew = |why: &dyn std::fmt::Display| {
                Unknown::new(doing(), format_args!("{why}; remove it to begin counting anew"))
            };
            let seen: Seen = serde_json::from_slice(&bytes).map_err(|e| anew(&e))?;
            // It goes into the facts as it is: only what we could have written ourselves.
            let ours = |name: &String| neutral(name) == *name;
            let steering = !seen.upgrades.iter().all(|(name, w)| ours(name) && w.installed.iter().all(ours));
            if steering {
                return Err(anew(&"it names what no package is called"));
            }
            Ok(seen)
        }
        Err(PortError::Absent { .. }) => Ok(Seen::default()),
        Err(error) => Err(Unknown::from_port(doing(), &error)),
    }
}

fn mtime(host: &dyn HostRead, at: &Beneath) -> Option<Timestamp> {
    Timestamp::from_second(host.stat(at).ok()?.mtime).ok()
}
