//! A generation's keys on the host: one directory each, `/var/lib/tenure/keys/<owner>/<host>/<set>/<generation>/`. The
//! password is written last, so a directory without one is a key that was never used. `accepted` stands beside it once
//! the vault has receipted a slot of the generation.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use jiff::civil::Date;
use tenure_sys::files::{BaseDir, CheckedDir, FileError, Put, Roots};
use tenure_trust::vault_wire::Escrow;
use tenure_trust::{GenerationId, SeriesId};

use crate::engine::{self, MasterKey, Password};
use crate::error::BackupError;
use crate::escrow;

const LIMIT: u64 = 256 << 10;
const CACHE_LIMIT: u64 = 1 << 30;
/// Says that the vault has receipted a slot.
const ACCEPTED: &str = "accepted";
/// Generations of one series that are looked at.
const GENERATIONS: usize = 1000;

/// The keys of one generation.
pub struct GenerationKeys {
    /// Of which.
    pub generation: GenerationId,
    /// What opens the repository.
    pub master: MasterKey,
    /// The repository's `config`.
    pub config: Vec<u8>,
    /// Its key file.
    pub key_file: Vec<u8>,
    /// The password for each recipient.
    pub escrow: Vec<Escrow>,
}

impl std::fmt::Debug for GenerationKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "GenerationKeys({})", self.generation)
    }
}

/// Every key of this host.
#[derive(Debug, Clone)]
pub struct KeyStore {
    root: PathBuf,
    roots: Roots,
}

impl KeyStore {
    /// The keys below the directory of state.
    ///
    /// # Errors
    /// When the directory cannot be made.
    pub fn open(state: &Path) -> Result<Self, BackupError> {
        let root = state.join("keys");
        let roots = Roots::new([&root])?;
        roots.make_dir(&root, 0o700)?;
        Ok(Self { root, roots })
    }

    fn dir(&self, series: &SeriesId, generation: GenerationId) -> PathBuf {
        self.root.join(series.path()).join(generation.to_string())
    }

    /// The generations of a series that this host can open, oldest first.
    ///
    /// # Errors
    /// When they cannot be listed.
    pub fn list(&self, series: &SeriesId) -> Result<Vec<GenerationId>, BackupError> {
        let dir = self.root.join(series.path());
        let entries = match BaseDir::open(&dir).and_then(|dir| dir.list(Path::new("."), GENERATIONS)) {
            Ok(entries) => entries,
            Err(e) if e.is_missing() => return Ok(Vec::new()),
            Err(e) => return Err(e.into()),
        };
        let ids = entries.iter().filter_map(|entry| entry.name.to_str()?.parse().ok());
        let mut ids: Vec<GenerationId> = ids.filter(|id| self.is_whole(series, *id)).collect();
        ids.sort();
        Ok(ids)
    }

    fn is_whole(&self, series: &SeriesId, generation: GenerationId) -> bool {
        self.has(series, generation, "password")
    }

    fn has(&self, series: &SeriesId, generation: GenerationId, name: &str) -> bool {
        BaseDir::open(&self.dir(series, generation))
            .and_then(|dir| dir.exists(Path::new(name)))
            .unwrap_or(false)
    }

    /// The keys of a generation; none when there are none. What is damaged is as good as lost.
    ///
    /// # Errors
    /// When they cannot be read for another reason.
    pub fn load(
        &self,
        series: &SeriesId,
        generation: GenerationId,
    ) -> Result<Option<GenerationKeys>, BackupError> {
        let dir = match CheckedDir::open(&self.dir(series, generation)) {
            Ok(dir) => dir,
            Err(e) if e.is_missing() => return Ok(None),
            Err(e) => return Err(e.into()),
        };
        let read = |name: &str| match dir.read(Path::new(name), LIMIT) {
            Ok(file) => Ok(Some(file.bytes)),
            Err(e) if e.is_missing() => Ok(None),
            Err(e) => Err(BackupError::from(e)),
        };
        let (Some(_), Some(master), Some(config), Some(key_file), Some(escrow)) =
            (read("password")?, read("master")?, read("config")?, read("key")?, read("escrow.json")?)
        else {
            return Ok(None);
        };
        let (Ok(master), Ok(escrow)) = (MasterKey::from_bytes(&master), serde_json::from_slice(&escrow))
        else {
            return Ok(None);
        };
        Ok(Some(GenerationKeys { generation, master, config, key_file, escrow }))
    }

    /// Makes the keys of a generation and writes them down durably, the password last.
    ///
    /// # Errors
    /// No randomness, no room, a recipient that is none.
    pub fn make(
        &self,
        series: &SeriesId,
        generation: GenerationId,
        recipients: &[String],
        now: Timestamp,
    ) -> Result<GenerationKeys, BackupError> {
        let password = Password::draw()?;
        let escrow: Vec<Escrow> =
            recipients.iter().map(|to| escrow::encrypt(&password, to)).collect::<Result<_, _>>()?;
        let made = engine::create(&password, now, series.host.as_str(), "root")?;
        let mut dir = self.root.clone();
        for name in series.path().split('/').chain([generation.to_string().as_str()]) {
            dir.push(name);
            self.roots.make_dir(&dir, 0o700)?;
        }
        let text = serde_json::to_vec(&escrow).map_err(|e| BackupError::Record(e.to_string()))?;
        for (name, bytes) in [
            ("config", made.config.as_slice()),
            ("key", &made.key_file),
            ("escrow.json", &text),
            ("master", made.master.bytes()),
            ("password", password.text().as_bytes()),
        ] {
            self.roots.put(&Put::own(&dir.join(name), bytes, 0o600))?;
        }
        Ok(GenerationKeys {
            generation,
            master: made.master,
            config: made.config,
            key_file: made.key_file,
            escrow,
        })
    }

    /// The keys for a date: those that there are, else new ones. `lost` is a number whose keys this host does not have
    /// although the vault has opened it: the next number begins. So it does when the policy names a recipient that does
    /// not have the password: whom a generation is for is frozen when it begins.
    ///
    /// # Errors
    /// As [`KeyStore::load`] and [`KeyStore::make`].
    pub fn of_date(
        &self,
        series: &SeriesId,
        date: Date,
        lost: u32,
        recipients: &[String],
        now: Timestamp,
    ) -> Result<GenerationKeys, BackupError> {
        let newest = self.list(series)?.into_iter().rfind(|id| id.date == date && id.number > lost);
        if let Some(id) = newest
            && let Some(keys) = self.load(series, id)?
            && recipients.iter().all(|name| keys.escrow.iter().any(|known| known.recipient == *name))
        {
            return Ok(keys);
        }
        let number = newest.map_or(lost + 1, |id| id.number + 1);
        self.make(series, GenerationId { date, number }, recipients, now)
    }

    /// The directory cache of the last run of a generation.
    pub fn cache(&self, series: &SeriesId, generation: GenerationId) -> Option<Vec<u8>> {
        let dir = CheckedDir::open(&self.dir(series, generation)).ok()?;
        Some(dir.read(Path::new("cache"), CACHE_LIMIT).ok()?.bytes)
    }

    /// Keeps the directory cache; without it the next run is only slower.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn keep_cache(&self, series: &SeriesId, id: GenerationId, bytes: &[u8]) -> Result<(), BackupError> {
        Ok(self.roots.put(&Put::own(&self.dir(series, id).join("cache"), bytes, 0o600))?)
    }

    /// Bytes of the series' last sealed generation, which the next one will need again; the vault adds what it may grow by.
    /// Unknown is a mebibyte.
    pub fn last_size(&self, series: &SeriesId) -> u64 {
        let dir = CheckedDir::open(&self.root.join(series.path()));
        let text = dir
            .and_then(|dir| dir.read(Path::new("last-size"), 32))
            .map(|file| file.bytes)
            .unwrap_or_default();
        std::str::from_utf8(&text).ok().and_then(|t| t.trim().parse().ok()).unwrap_or(1 << 20)
    }

    /// Remembers it. An estimate that cannot be kept is only a worse one.
    pub fn note_size(&self, series: &SeriesId, bytes: u64) {
        let text = bytes.to_string();
        let path = self.root.join(series.path()).join("last-size");
        let _ = self.roots.put(&Put::own(&path, text.as_bytes(), 0o600));
    }

    /// Remembers that the vault has receipted a slot of this generation; without its keys there is nothing to remember.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn note_accepted(&self, series: &SeriesId, generation: GenerationId) -> Result<(), BackupError> {
        if !self.is_whole(series, generation) || self.has(series, generation, ACCEPTED) {
            return Ok(());
        }
        Ok(self.roots.put(&Put::own(&self.dir(series, generation).join(ACCEPTED), b"", 0o600))?)
    }

    /// Forgets the keys of what a receipt states as gone, of dates before this one. A vault's word alone is not enough,
    /// and what it merely does not name is kept: a later generation of the same weekday that is not gone must have been
    /// accepted, by what this host has seen itself.
    ///
    /// # Errors
    /// As [`KeyStore::list`] and [`KeyStore::forget`].
    pub fn forget_gone(
        &self,
        series: &SeriesId,
        gone: &[GenerationId],
        before: Date,
    ) -> Result<Vec<GenerationId>, BackupError> {
        let known = self.list(series)?;
        let follows = |old: GenerationId| {
            known.iter().any(|new| {
                *new > old
                    && new.date.weekday() == old.date.weekday()
                    && !gone.contains(new)
                    && self.has(series, *new, ACCEPTED)
            })
        };
        let old = known.iter().copied().filter(|id| id.date < before && gone.contains(id) && follows(*id));
        old.map(|id| self.forget(series, id).map(|()| id)).collect()
    }

    /// Overwrites and removes the keys of a generation; absent is fine.
    ///
    /// # Errors
    /// When one of them cannot be overwritten.
    pub fn forget(&self, series: &SeriesId, generation: GenerationId) -> Result<(), BackupError> {
        let dir = self.dir(series, generation);
        // The password first: without it nothing counts any more.
        for name in ["password", "master", "key", "config", "escrow.json", "cache", ACCEPTED] {
            let path = dir.join(name);
            match overwrite(&path) {
                Ok(()) => drop(self.roots.remove(&path)?),
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
                Err(e) => return Err(BackupError::io("overwrite", path)(e)),
            }
        }
        match std::fs::remove_dir(&dir) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(BackupError::io("remove", dir)(e)),
            _ => Ok(()),
        }
    }
}

fn overwrite(path: &Path) -> std::io::Result<()> {
    let mut file: File = OpenOptions::new().write(true).open(path)?;
    let mut left = file.metadata()?.len();
    let zeros = [0; 4096];
    while left > 0 {
        let n = left.min(zeros.len() as u64);
        file.write_all(&zeros[..usize::try_from(n).unwrap_or(0)])?;
        left -= n;
    }
    file.sync_all()
}

/// A directory that root alone uses, made when it is missing.
pub(crate) fn private_dir(state: &Path, name: &str) -> Result<PathBuf, FileError> {
    let dir = state.join(name);
    Roots::new([&dir])?.make_dir(&dir, 0o700)?;
    Ok(dir)
}

#[cfg(test)]
#[path = "keys_tests.rs"]
mod tests;
