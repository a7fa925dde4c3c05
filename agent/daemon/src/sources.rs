//! The two places that policies come from: signed bundles in a drop directory, and root's own directory.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use tenure_link::{Admitted, BundleStore, Places, StoreError};
use tenure_policy::resolved::HostPolicy;
use tenure_sys::files::{BaseDir, CheckedDir, FileError};
use tenure_sys::text;
use tenure_trust::{HostName, Verified};

use crate::journal;
use crate::paths::Paths;
use crate::policy_in_force::Held;
use crate::policy_source::{NotTaken, PolicySource};

/// Most files and bytes of a policy set.
const FILES: usize = 1000;
const BYTES: u64 = 16 << 20;

/// Signed bundles: `index.json` and `<host>.bundle.json` in a drop directory.
#[derive(Debug)]
pub struct Bundles {
    store: BundleStore,
    drop: PathBuf,
    host: HostName,
    /// The offer that was taken last, by size and time of its files: looking again at the very same files would only write
    /// the same floor again.
    seen: Option<(Offer, Held)>,
    held: Option<Held>,
}

/// Two files by size and time; absent is a state as well.
type Offer = [Option<(u64, Timestamp, (u64, u64))>; 2];

impl Bundles {
    /// Opens the store below the directory of state and the root that a person placed.
    ///
    /// # Errors
    /// When there is no root, or root or floor cannot be believed.
    pub fn open(paths: &Paths, drop: PathBuf, host: HostName) -> Result<Self, NotTaken> {
        let places = Places { root: paths.root.clone(), state: paths.state.clone() };
        let store = BundleStore::open(&places, host.clone()).map_err(|e| not_taken(&e))?;
        Ok(Self { store, drop, host, seen: None, held: None })
    }

    /// What would be in force after taking what lies in the drop directory now. Writes and makes nothing.
    ///
    /// # Errors
    /// As taking it.
    pub fn look(paths: &Paths, drop: PathBuf, host: HostName, now: Timestamp) -> Result<Held, NotTaken> {
        let places = Places { root: paths.root.clone(), state: paths.state.clone() };
        let store = BundleStore::look(&places, host.clone()).map_err(|e| not_taken(&e))?;
        let bundles = Self { store, drop, host, seen: None, held: None };
        let held = bundles.store.held(now).map_err(|e| not_taken(&e))?;
        let verified = match held {
            Some(held) if bundles.offer() == [None, None] => held,
            _ => bundles.store.examine(&bundles.drop, now).map_err(|e| not_taken(&e))?,
        };
        Ok(Held::new(verified, bundles.from()))
    }

    fn offer(&self) -> Offer {
        let dir = BaseDir::open(&self.drop).ok();
        ["index.json".to_owned(), format!("{}.bundle.json", self.host)].map(|name| {
            let stat = dir.as_ref()?.stat(Path::new(&name)).ok()?;
            Some((stat.size, stat.modified, stat.id))
        })
    }

    fn from(&self) -> String {
        format!("bundles in {}", text::path(&self.drop))
    }
}

impl PolicySource for Bundles {
    fn watched(&self) -> &Path {
        &self.drop
    }

    fn proved(&self) -> Timestamp {
        self.store.floor().latest
    }

    fn resume(&mut self, now: Timestamp) -> Result<Option<Held>, NotTaken> {
        let held: Option<Verified<HostPolicy>> = self.store.held(now).map_err(|e| not_taken(&e))?;
        self.held = held.map(|verified| Held::new(verified, self.from()));
        Ok(self.held.clone())
    }

    fn take(&mut self, now: Timestamp) -> Result<Held, NotTaken> {
        let offer = self.offer();
        if let (true, Some(held)) = (offer == [None, None], &self.held) {
            // Nothing is offered: what was taken stays, that is no fault.
            return Ok(held.clone());
        }
        if let Some((seen, held)) = &self.seen
            && *seen == offer
        {
            return Ok(held.clone());
        }
        let taken = self.store.offer::<HostPolicy>(&self.drop, now).map_err(|e| not_taken(&e))?;
        let held = Held::new(taken.policy, self.from());
        self.held = Some(held.clone());
        // A refusal is not kept: a full disk gets room, a clock is set right, and the same files may be taken then.
        self.seen = Some((offer, held.clone()));
        Ok(held)
    }

    fn admissions(&mut self, now: Timestamp) -> Result<Option<Admitted>, NotTaken> {
        self.store.admissions(&self.drop, now).map(Some).map_err(|e| not_taken(&e))
    }
}

fn not_taken(error: &StoreError) -> NotTaken {
    NotTaken { what: journal::chain(error), hint: Some(error.hint().into()) }
}

/// The administrator's own policy set on a standalone host.
#[derive(Debug)]
pub struct Directory {
    path: PathBuf,
    host: HostName,
    confirm_within: Option<u32>,
}

impl Directory {
    /// Reads from this directory; a host that has taken signed policy does not.
    ///
    /// # Errors
    /// When this host has taken signed policy: how to leave.
    pub fn open(
        paths: &Paths,
        path: PathBuf,
        host: HostName,
        confirm_within: Option<u32>,
    ) -> Result<Self, NotTaken> {
        if has_taken_bundles(paths) {
            return Err(NotTaken {
                what: format!(
                    "the policy in {} is not used: this host takes signed policy, which an unsigned one must not replace",
                    text::path(&path)
                ),
                hint: Some(format!(
                    "sign it and deliver the bundle; or, to leave for good: `systemctl stop tenure-agent`, \
                     `tenure-agent lift`, and remove {}",
                    text::path(&paths.state("policy"))
                )),
            });
        }
        // What it leads to is what would be watched; one that is not there yet is judged as it is named.
        let place = path.canonicalize().unwrap_or_else(|_| path.clone());
        if is_systems(&place) {
            return Err(NotTaken {
                what: format!(
                    "the policy in {} is not used: the directory is the system's, and all of it would be read and watched",
                    text::path(&path)
                ),
                hint: Some("move the set into a directory of its own, e.g. /etc/tenure/policy".into()),
            });
        }
        Ok(Self { path, host, confirm_within })
    }
}

/// A directory that belongs to the system as a whole and is nobody's policy set (hier(7)).
fn is_systems(path: &Path) -> bool {
    const TOP: &[&str] = &[
        "bin", "boot", "dev", "etc", "home", "lib", "lib32", "lib64", "media", "mnt", "opt", "proc", "root",
        "run", "sbin", "srv", "sys", "tmp", "usr", "var",
    ];
    const BELOW: &[(&str, &[&str])] = &[
        ("etc", &["ssh", "systemd", "tenure"]),
        ("usr", &["bin", "games", "include", "lib", "lib64", "libexec", "local", "sbin", "share", "src"]),
        ("var", &["backups", "cache", "lib", "local", "log", "mail", "opt", "spool", "tmp"]),
    ];
    let names: Vec<&str> = path.components().skip(1).filter_map(|part| part.as_os_str().to_str()).collect();
    match names.as_slice() {
        [] => true,
        ["dev" | "proc" | "sys", ..] => true,
        [top] => TOP.contains(top),
        [top, below] => BELOW.iter().any(|(of, names)| of == top && names.contains(below)),
        _ => false,
    }
}

/// Has this host ever taken a signed bundle? A floor that cannot be looked at counts.
fn has_taken_bundles(paths: &Paths) -> bool {
    match BaseDir::open(&paths.state("policy")).and_then(|dir| dir.stat(Path::new("floor.json"))) {
        Ok(_) => true,
        Err(e) => !e.is_missing(),
    }
}

impl PolicySource for Directory {
    fn watched(&self) -> &Path {
        &self.path
    }

    fn has_folders(&self) -> bool {
        true
    }

    fn proved(&self) -> Timestamp {
        Timestamp::UNIX_EPOCH
    }

    fn resume(&mut self, _now: Timestamp) -> Result<Option<Held>, NotTaken> {
        Ok(None)
    }

    fn take(&mut self, _now: Timestamp) -> Result<Held, NotTaken> {
        let texts = texts(&self.path).map_err(|e| NotTaken {
            what: format!("cannot use the policy in {}: {}", text::path(&self.path), journal::chain(&e)),
            hint: Some(e.hint().into()),
        })?;
        let policy = resolve(&texts, &self.host).map_err(|NotTaken { what, hint }| NotTaken {
            what: format!("the policy in {} is refused:\n{what}", text::path(&self.path)),
            hint,
        })?;
        let from = format!("{} (standalone)", text::path(&self.path));
        Ok(Held::new(Verified::local(policy), from).confirm_within(self.confirm_within))
    }
}

/// The set's texts by relative path; every file and directory must be root's and writable by nobody else.
fn texts(path: &Path) -> Result<BTreeMap<String, String>, FileError> {
    let dir = CheckedDir::open(path)?;
    let mut files = dir.texts("yaml", FILES, BYTES)?;
    files.extend(dir.texts("yml", FILES, BYTES)?);
    files
        .into_iter()
        .map(|(name, bytes)| {
            let bad = || FileError::BadPath { path: path.join(&name), why: "it is not UTF-8" };
            let content = String::from_utf8(bytes).map_err(|_| bad())?;
            Ok((name.to_str().ok_or_else(bad)?.to_owned(), content))
        })
        .collect()
}

fn resolve(texts: &BTreeMap<String, String>, host: &HostName) -> Result<HostPolicy, NotTaken> {
    let set = tenure_policy::load_standalone(texts).map_err(|faults| NotTaken {
        what: faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"),
        hint: Some("`tenure check` shows the same on your own machine".into()),
    })?;
    set.host_policy(host).ok_or_else(|| NotTaken {
        what: format!("it has no host {host}"),
        hint: Some(format!(
            "hosts of the set: {}",
            set.hosts().map(ToString::to_string).collect::<Vec<_>>().join(", ")
        )),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_of_the_system_is_no_policy_set() {
        let paths = Paths { state: "/run/none/state".into(), ..Paths::of_host() };
        let open = |path: &str| {
            let host = HostName::new("web1").expect("a name");
            Directory::open(&paths, path.into(), host, None).map(drop).map_err(|e| (e.what, e.hint.is_some()))
        };
        for path in
            ["/", "/etc", "/usr", "/usr/share", "/var/lib", "/run", "/srv", "/proc/self", "/proc/1/root/x"]
        {
            let (what, hint) = open(path).expect_err(path);
            assert!(what.contains("the directory is the system's") && hint, "{path}: {what}");
        }
        for path in [
            "/etc/tenure/policy",
            "/srv/policy",
            "/root/policy",
            "/usr/local/policy",
            "/var/policy",
            "/policy",
        ] {
            open(path).expect(path);
        }
        let dir = tempfile::tempdir_in("/run").expect("root's directory");
        let link = dir.path().join("policy");
        std::os::unix::fs::symlink("/", &link).expect("linked");
        assert!(open(&link.display().to_string()).is_err(), "a link to one is one");
    }
}
