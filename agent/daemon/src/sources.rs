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
    /// The offer that was looked at last, by size and time of its files, and what came of it: looking again at the very
    /// same files would only write the same floor again.
    seen: Option<(Offer, Result<Held, NotTaken>)>,
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
        if let Some((seen, result)) = &self.seen
            && *seen == offer
        {
            return result.clone();
        }
        let taken = self.store.offer::<HostPolicy>(&self.drop, now);
        let result = taken.map(|o| Held::new(o.policy, self.from())).map_err(|e| not_taken(&e));
        if let Ok(held) = &result {
            self.held = Some(held.clone());
        }
        self.seen = Some((offer, result.clone()));
        result
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
        Ok(Self { path, host, confirm_within })
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

    fn proved(&self) -> Timestamp {
        Timestamp::UNIX_EPOCH
    }

    fn resume(&mut self, _now: Timestamp) -> Result<Option<Held>, NotTaken> {
        Ok(None)
    }

    fn take(&mut self, _now: Timestamp) -> Result<Held, NotTaken> {
        let texts = texts(&self.path).map_err(|e| NotTaken {
            what: format!("cannot use the policy in {}: {}", text::path(&self.path), journal::chain(&e)),
            hint: match e {
                FileError::Unsafe { .. } => {
                    Some("whoever can write there decides what root does on this host".into())
                }
                _ => None,
            },
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
