//! The store: series below one directory, what is not whole yet beside them. Blocking; the server calls it from threads
//! of its own. Nothing here knows a key to the data.

mod again;
mod books;
mod entry;
mod fault;
mod lines;
mod marker;
mod opening;
mod place;
mod put;
mod seal;
mod series;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tenure_sys::files::{CheckedDir, FileError, Roots};
use tenure_trust::vault_wire::SeriesFacts;
use tenure_trust::{FleetName, Owner, SeriesId, VaultName};

pub use again::Again;
pub use books::Books;
pub use fault::Fault;
pub use marker::claim;
pub use opening::{Brought, Closed, Opened};
pub use place::beneath;
pub use put::Incoming;
pub use seal::{Signer, Taken};
pub use series::{Note, Series};

use crate::ring::{Ring, Rules};

/// The most series of a store.
const MAX_SERIES: usize = 20_000;

/// What the policy in force says of a series and of the store that it is in.
#[derive(Debug, Clone)]
pub struct Terms {
    /// The fleet.
    pub fleet: FleetName,
    /// Its times.
    pub rules: Rules,
    /// Bytes for its owner.
    pub quota: u64,
    /// Bytes that stay free.
    pub keep_free: u64,
    /// Who must have each generation's password, sorted.
    pub recipients: Vec<String>,
}

/// The store of a vault.
#[derive(Debug)]
pub struct Store {
    root: PathBuf,
    vault: VaultName,
    series: Mutex<BTreeMap<SeriesId, Arc<Series>>>,
    /// Series that lie here and could not be loaded, and why: nothing of them is served or changed.
    unread: BTreeMap<SeriesId, String>,
    temporary: AtomicU64,
}

impl Store {
    /// Opens the store, empties what was not whole, and loads every series that lies there. One that cannot be loaded is
    /// told and keeps no other from being served.
    ///
    /// # Errors
    /// When the directory is not the vault's own, or the disk refuses.
    pub fn open(root: &Path, vault: VaultName) -> Result<(Self, Vec<Note>), Fault> {
        own_dir(root)?;
        let tmp = root.join(place::TMP);
        match fs::remove_dir_all(&tmp) {
            Ok(()) => {}
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
            Err(e) => return Err(Fault::disk("empty", &tmp)(e)),
        }
        fs::create_dir(&tmp).map_err(Fault::disk("make", &tmp))?;
        series::sync_dir(root)?;
        let mut notes = Vec::new();
        let (mut found, mut unread) = (BTreeMap::new(), BTreeMap::new());
        for path in paths(root)? {
            let dir = root.join(&path);
            let Ok(id) = SeriesId::from_path(vault.clone(), &path) else { continue };
            if !dir.join(place::SERIES_JOURNAL).exists() && !series::holds_more(&dir, &Ring::default()) {
                continue;
            }
            match Series::load(id.clone(), dir.clone()) {
                Ok((series, told)) => {
                    notes.extend(told);
                    found.insert(id, Arc::new(series));
                }
                Err(fault) => {
                    let what = format!("the series cannot be read, so nothing of it is served: {fault}");
                    notes.push(Note { path: dir, what });
                    unread.insert(id, fault.to_string());
                }
            }
        }
        let series = Mutex::new(found);
        Ok((Self { root: root.into(), vault, series, unread, temporary: AtomicU64::new(0) }, notes))
    }

    /// The vault's name.
    pub fn vault(&self) -> &VaultName {
        &self.vault
    }

    /// The directory.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// A series that lies here.
    pub fn get(&self, id: &SeriesId) -> Option<Arc<Series>> {
        self.lock().get(id).cloned()
    }

    /// All of them, sorted.
    pub fn all(&self) -> Vec<Arc<Series>> {
        self.lock().values().cloned().collect()
    }

    /// What it holds, as the vault's records say.
    pub fn facts(&self) -> Vec<SeriesFacts> {
        let all = self.all();
        all.iter().map(|s| SeriesFacts { series: s.id.clone(), generations: s.facts() }).collect()
    }

    /// Bytes free and bytes in all on its file system.
    ///
    /// # Errors
    /// When the kernel does not tell.
    pub fn space(&self) -> Result<(u64, u64), Fault> {
        let stat = rustix::fs::statvfs(&self.root)
            .map_err(|e| Fault::disk("ask for the free space of", &self.root)(e.into()))?;
        Ok((stat.f_bavail.saturating_mul(stat.f_frsize), stat.f_blocks.saturating_mul(stat.f_frsize)))
    }

    /// Bytes of an owner. The hosts' own data is one owner for each host.
    pub fn owned_bytes(&self, of: &SeriesId) -> u64 {
        let same = |id: &SeriesId| match (&of.owner, &id.owner) {
            (Owner::Host, Owner::Host) => of.host == id.host,
            (ours, theirs) => ours == theirs,
        };
        self.all().iter().filter(|s| same(&s.id)).map(|s| s.bytes()).sum()
    }

    /// The series, made when it is new.
    fn make(&self, id: &SeriesId) -> Result<Arc<Series>, Fault> {
        let mut held = self.lock();
        if let Some(series) = held.get(id) {
            return Ok(series.clone());
        }
        let mut dir = self.root.clone();
        if let Some(why) = self.unread.get(id) {
            return Err(Fault::Damaged { path: dir.join(id.path()), why: why.clone() });
        }
        for part in id.path().split('/') {
            let above = dir.clone();
            dir.push(part);
            match fs::create_dir(&dir) {
                Ok(()) => series::sync_dir(&above)?,
                Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(e) => return Err(Fault::disk("make", &dir)(e)),
            }
        }
        // A journal that stood there was loaded at the start; this one is new, and nothing in it is left over.
        let (series, _) = Series::load(id.clone(), dir)?;
        let series = Arc::new(series);
        held.insert(id.clone(), series.clone());
        Ok(series)
    }

    /// A name on the store's file system that nothing has.
    fn temporary(&self, what: &str) -> PathBuf {
        let number = self.temporary.fetch_add(1, Ordering::Relaxed);
        self.root.join(place::TMP).join(format!("{what}-{number}"))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<SeriesId, Arc<Series>>> {
        self.series.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A series as its journal tells it to somebody who only reads.
#[derive(Debug, Clone)]
pub struct Seen {
    /// Which.
    pub id: SeriesId,
    /// Its ring.
    pub ring: Ring,
    /// Why nothing of it is changed, if that is so.
    pub damaged: Option<String>,
}

/// Reads every series' journal below the store and changes nothing.
///
/// # Errors
/// When the disk refuses.
pub fn look(root: &Path, vault: &VaultName) -> Result<Vec<Seen>, Fault> {
    let mut seen = Vec::new();
    for path in paths(root)? {
        let Ok(id) = SeriesId::from_path(vault.clone(), &path) else { continue };
        let journal = root.join(&path).join(place::SERIES_JOURNAL);
        let unread = |why: String| Seen { id: id.clone(), ring: Ring::default(), damaged: Some(why) };
        let bytes = match fs::read(&journal) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                if series::holds_more(&root.join(&path), &Ring::default()) {
                    seen.push(unread("its journal is not there, and copies are".to_owned()));
                }
                continue;
            }
            Err(e) => {
                seen.push(unread(Fault::disk("read", &journal)(e).to_string()));
                continue;
            }
        };
        let read = series::replay(&bytes, series::genesis(&id));
        // A half line at the end may be one that a vault at work is writing.
        let changed = read.left > 0 || series::holds_more(&root.join(&path), &read.ring);
        let damaged = changed.then(|| "its journal was changed".to_owned());
        seen.push(Seen { id, ring: read.ring, damaged });
    }
    Ok(seen)
}

/// The directory is the vault's own and nobody else can write in it; it is made below one of its own.
fn own_dir(root: &Path) -> Result<(), FileError> {
    match CheckedDir::open(root) {
        Ok(_) => Ok(()),
        Err(error) if error.is_missing() => Roots::new([root])?.make_dir(root, 0o700),
        Err(error) => Err(error),
    }
}

/// The paths `a/b/c` of directories three deep, of plain names.
fn paths(root: &Path) -> Result<Vec<String>, Fault> {
    let mut level = vec![String::new()];
    for _ in 0..3 {
        let mut next = Vec::new();
        for above in level {
            let dir = root.join(&above);
            let failed = || Fault::disk("list", &dir);
            for entry in fs::read_dir(&dir).map_err(failed())? {
                let entry = entry.map_err(failed())?;
                let plain = entry.file_name().into_string().ok().filter(|n| tenure_trust::ids::is_label(n));
                if let (Some(name), true) = (plain, entry.file_type().map_err(failed())?.is_dir()) {
                    next.push(if above.is_empty() { name } else { format!("{above}/{name}") });
                }
            }
            if next.len() > MAX_SERIES {
                return Err(FileError::TooMany { path: root.into(), limit: MAX_SERIES }.into());
            }
        }
        level = next;
    }
    level.sort();
    Ok(level)
}
