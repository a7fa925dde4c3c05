//! Directories of configuration and policy: what root obeys must be root's, all the way down to it.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use super::read::{BaseDir, Expect, File, Kind, Owner};
use super::walk::{Trust, fault, walk};
use super::{FileError, Stat};

/// How deep a set of files may nest.
const DEPTH: usize = 8;

/// A directory that is root's (or the program's own user's) and writable by nobody else, like all above it. No link on its way could be placed by
/// somebody else.
#[derive(Debug)]
pub struct CheckedDir(BaseDir);

impl CheckedDir {
    /// Opens and checks the directory and all above it.
    ///
    /// # Errors
    /// `FileError::Unsafe` with the command that mends it; or it is missing or no directory.
    pub fn open(path: &Path) -> Result<Self, FileError> {
        let (dir, path) = walk(path, Trust::RootOnly)?;
        Ok(Self(BaseDir::of(dir, path)))
    }

    /// Reads one file of root's at an absolute path whose directories are all checked.
    ///
    /// # Errors
    /// As `open` and `read`.
    pub fn read_file(path: &Path, limit: u64) -> Result<File, FileError> {
        let bad = || FileError::BadPath { path: path.into(), why: "it must name a file" };
        let (dir, name) = (path.parent().ok_or_else(bad)?, path.file_name().ok_or_else(bad)?);
        Self::open(dir)?.read(Path::new(name), limit)
    }

    /// Its path without links.
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// The open directory, for what this crate does beside reading.
    pub(crate) fn fd(&self) -> &std::os::fd::OwnedFd {
        self.0.fd()
    }

    /// Reads a file directly in it or in a directory of it; the file and the directories between are checked too.
    ///
    /// # Errors
    /// As `BaseDir::read`, and when somebody else than root could change the file.
    pub fn read(&self, beneath: &Path, limit: u64) -> Result<File, FileError> {
        let mut at = PathBuf::new();
        for part in beneath.parent().unwrap_or(Path::new("")).components() {
            at.push(part);
            check(&self.0.stat(&at)?, &self.path().join(&at))?;
        }
        let path = self.path().join(beneath);
        check(&self.0.stat(beneath)?, &path)?;
        // Whose it may be is judged by `check`, of the open file too.
        let expect = Expect { owner: Owner::Anybody, limit, one_link: true };
        let file = self.0.read(beneath, &expect)?;
        check(&file.stat, &path)?;
        Ok(file)
    }

    /// Every file below with this extension, by path relative to the directory. Names that begin with a dot are left
    /// out, as editors leave their copies there.
    ///
    /// # Errors
    /// As `read`; when there are more than `files` files or more than `bytes` bytes in all.
    pub fn texts(
        &self,
        extension: &str,
        files: usize,
        bytes: u64,
    ) -> Result<BTreeMap<PathBuf, Vec<u8>>, FileError> {
        let mut out = BTreeMap::new();
        let mut left = bytes;
        let mut todo = vec![PathBuf::new()];
        while let Some(dir) = todo.pop() {
            let here = if dir.as_os_str().is_empty() { Path::new(".") } else { &dir };
            check(&self.0.stat(here)?, &self.path().join(&dir))?;
            for entry in self.0.list(here, files)? {
                let beneath: PathBuf = dir.join(&entry.name);
                if entry.name.as_encoded_bytes().starts_with(b".") {
                    continue;
                }
                let wanted = beneath.extension() == Some(OsStr::new(extension));
                match entry.kind {
                    Kind::Directory if dir.components().count() < DEPTH => todo.push(beneath),
                    Kind::Directory => {
                        let why = "it is nested too deep";
                        return Err(FileError::BadPath { path: self.path().join(beneath), why });
                    }
                    // Any other kind with the right name is refused by `read`, never skipped.
                    _ if wanted => {
                        let file = self.read(&beneath, left)?;
                        left -= file.bytes.len() as u64;
                        out.insert(beneath, file.bytes);
                        if out.len() > files {
                            return Err(FileError::TooMany { path: self.path().into(), limit: files });
                        }
                    }
                    _ => {}
                }
            }
        }
        Ok(out)
    }
}

fn check(stat: &Stat, path: &Path) -> Result<(), FileError> {
    if stat.kind == Kind::Symlink {
        return Err(FileError::Link { path: path.into() });
    }
    fault(stat.uid, stat.mode, path).map_or(Ok(()), Err)
}
