//! A repository in a directory of this machine: for tests, benchmarks and recovery.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use tenure_trust::Hash;
use tenure_trust::backup::{Object, ObjectKind};

use super::repository::Created;
use super::store::{Folder, MAX_CONFIG, ObjectSink, ObjectSource, StoreError};

/// restic's layout below a directory.
#[derive(Debug)]
pub struct LocalRepository {
    root: PathBuf,
    sequence: AtomicU64,
}

impl LocalRepository {
    /// A repository that stands there.
    pub fn at(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into(), sequence: AtomicU64::new(0) }
    }

    /// Stores a new one in a directory that is absent or empty.
    ///
    /// # Errors
    /// When something of it cannot be made.
    pub fn found(root: impl Into<PathBuf>, created: &Created) -> Result<Self, StoreError> {
        let this = Self::at(root);
        for folder in ["keys", "data", "index", "snapshots"] {
            let path = this.root.join(folder);
            fs::create_dir_all(&path).map_err(|why| failed("making", &path, why))?;
        }
        let key = Hash::of(&created.key_file);
        this.write(&this.place(ObjectKind::Key, &key), &created.key_file)?;
        this.write(&this.root.join("config"), &created.config)?;
        Ok(this)
    }

    fn place(&self, kind: ObjectKind, name: &Hash) -> PathBuf {
        let hex = name.to_string();
        match kind {
            ObjectKind::Config => self.root.join("config"),
            ObjectKind::Data => self.root.join("data").join(&hex[..2]).join(&hex),
            _ => self.root.join(Folder(kind).to_string()).join(&hex),
        }
    }

    /// Temporary, fsync, rename, fsync of the directory.
    fn write(&self, path: &Path, bytes: &[u8]) -> Result<u64, StoreError> {
        let number = self.sequence.fetch_add(1, Ordering::Relaxed) + 1;
        let parent = path.parent().unwrap_or(&self.root);
        let temporary = self.root.join(format!("{number}.tmp"));
        let all = || -> io::Result<()> {
            let mut file = File::create(&temporary)?;
            file.write_all(bytes)?;
            file.sync_all()?;
            match fs::rename(&temporary, path) {
                Err(why) if why.kind() == io::ErrorKind::NotFound => {
                    fs::create_dir_all(parent)?;
                    fs::rename(&temporary, path)?;
                }
                renamed => renamed?,
            }
            File::open(parent)?.sync_all()
        };
        all().map_err(|why| failed("storing", path, why))?;
        Ok(number)
    }
}

impl ObjectSink for LocalRepository {
    fn put(&self, object: &Object, bytes: &[u8]) -> Result<u64, StoreError> {
        self.write(&self.place(object.kind, &object.name), bytes)
    }
}

impl ObjectSource for LocalRepository {
    fn config(&self) -> Result<Vec<u8>, StoreError> {
        let path = self.root.join("config");
        let size = fs::metadata(&path).map_err(|why| failed("reading", &path, why))?.len();
        if size > MAX_CONFIG as u64 {
            return Err(failed("reading", &path, io::ErrorKind::FileTooLarge.into()));
        }
        fs::read(&path).map_err(|why| failed("reading", &path, why))
    }

    fn list(&self, kind: ObjectKind) -> Result<Vec<Object>, StoreError> {
        let folder = self.root.join(Folder(kind).to_string());
        let mut found = Vec::new();
        let mut folders = vec![folder];
        while let Some(folder) = folders.pop() {
            let listing = |why| failed("listing", &folder, why);
            for entry in fs::read_dir(&folder).map_err(listing)? {
                let entry = entry.map_err(listing)?;
                let meta = entry.metadata().map_err(listing)?;
                if meta.is_dir() && kind == ObjectKind::Data {
                    folders.push(entry.path());
                } else if let Some(name) = entry.file_name().to_str().and_then(|name| name.parse().ok()) {
                    found.push(Object { kind, name, size: meta.len() });
                }
            }
        }
        Ok(found)
    }

    fn read(&self, kind: ObjectKind, name: &Hash, offset: u64, into: &mut [u8]) -> Result<(), StoreError> {
        let path = self.place(kind, name);
        let mut read = || File::open(&path)?.read_exact_at(into, offset);
        read().map_err(|why| failed("reading", &path, why))
    }
}

fn failed(doing: &'static str, path: &Path, why: io::Error) -> StoreError {
    StoreError { doing, what: path.display().to_string(), why: why.into() }
}
