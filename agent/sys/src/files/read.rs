//! Reading beneath a directory that somebody else may write to.
//!
//! openat2(2) with BENEATH, NO_SYMLINKS and NO_MAGICLINKS keeps the way inside; it does not stop hard links, FIFOs or
//! devices, so kind, owner and link count are looked at before a byte is read.

use std::fmt;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Dir, FileType, Mode, OFlags, ResolveFlags, fstat, openat2};

use super::FileError;
use super::walk::{Trust, walk};

const INSIDE: ResolveFlags =
    ResolveFlags::BENEATH.union(ResolveFlags::NO_SYMLINKS).union(ResolveFlags::NO_MAGICLINKS);

/// A directory below which paths are read. Its own path may have links only where root alone placed them.
#[derive(Debug)]
pub struct BaseDir {
    dir: OwnedFd,
    path: PathBuf,
}

/// What a file must be before it is read.
#[derive(Debug, Clone, Copy)]
pub struct Expect<'a> {
    /// Who may own it.
    pub owner: Owner<'a>,
    /// Largest size in bytes.
    pub limit: u64,
    /// Refuse a file that has other names too.
    pub one_link: bool,
}

/// Who may own a file.
#[derive(Debug, Clone, Copy)]
pub enum Owner<'a> {
    /// Anybody: the caller judges the `Stat` that comes with the bytes.
    Anybody,
    /// One of these uids; an empty list is nobody.
    OneOf(&'a [u32]),
}

/// A file's bytes and what it was while they were read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// The whole content.
    pub bytes: Vec<u8>,
    /// From the same open file.
    pub stat: Stat,
}

/// What is known about a file, directory or link without opening it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stat {
    /// What it is.
    pub kind: Kind,
    /// Permission bits with set-uid, set-gid and sticky (0o7777).
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Bytes.
    pub size: u64,
    /// Hard links.
    pub links: u64,
    /// Device and inode: what it is whatever its name.
    pub id: (u64, u64),
    /// Last change of the content; a time beyond jiff's years is cut to the first or last of them.
    pub modified: jiff::Timestamp,
    /// Last change of content, owner, mode or links, which nobody can set; cut likewise.
    pub changed: jiff::Timestamp,
}

/// What stands at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
    /// A FIFO, socket or device.
    Special,
}

/// One name in a directory.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Entry {
    /// Its name, any bytes but `/` and NUL.
    pub name: std::ffi::OsString,
    /// What it is.
    pub kind: Kind,
}

impl Expect<'_> {
    /// Root's file with one name.
    pub const fn roots(limit: u64) -> Self {
        Self { owner: Owner::OneOf(&[0]), limit, one_link: true }
    }
}

impl BaseDir {
    /// Opens the directory.
    ///
    /// # Errors
    /// When it is missing, is no directory, or its path goes through a link that somebody else could have placed.
    pub fn open(path: &Path) -> Result<Self, FileError> {
        let (dir, path) = walk(path, Trust::LinksOfRoot)?;
        Ok(Self { dir, path })
    }

    pub(super) fn of(dir: OwnedFd, path: PathBuf) -> Self {
        Self { dir, path }
    }

    pub(super) fn fd(&self) -> &OwnedFd {
        &self.dir
    }

    /// Its path without links.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads a whole file beneath it.
    ///
    /// # Errors
    /// Whatever keeps it from being what is expected; `FileError::is_missing` when there is none.
    pub fn read(&self, beneath: &Path, expect: &Expect<'_>) -> Result<File, FileError> {
        let path = self.path.join(beneath);
        // First as a mere reference: opening a device or FIFO for reading can already do something.
        let seen = self.stat(beneath)?;
        judge(&seen, &path, expect)?;
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::NOCTTY | OFlags::CLOEXEC;
        let open = openat2(&self.dir, relative(beneath)?, flags, Mode::empty(), INSIDE)
            .map_err(|e| FileError::io("open", &path, e))?;
        let stat = Stat::of(&fstat(&open).map_err(|e| FileError::io("look at", &path, e))?);
        judge(&stat, &path, expect)?;
        let mut bytes = Vec::with_capacity(usize::try_from(stat.size.min(1 << 20)).unwrap_or(0));
        std::fs::File::from(open)
            .take(expect.limit.saturating_add(1))
            .read_to_end(&mut bytes)
            .map_err(|source| FileError::Io { doing: "read", path: path.clone(), source })?;
        if bytes.len() as u64 > expect.limit {
            return Err(FileError::TooLarge { path, limit: expect.limit });
        }
        Ok(File { bytes, stat })
    }

    /// Looks at what stands beneath it without opening it; a link at the end is described, not followed.
    ///
    /// # Errors
    /// When nothing stands there or the way goes through a link.
    pub fn stat(&self, beneath: &Path) -> Result<Stat, FileError> {
        let path = self.path.join(beneath);
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = openat2(&self.dir, relative(beneath)?, flags, Mode::empty(), INSIDE)
            .map_err(|e| FileError::io("look at", &path, e))?;
        Ok(Stat::of(&fstat(&fd).map_err(|e| FileError::io("look at", &path, e))?))
    }

    /// The names in a directory beneath it (`.` is itself), sorted.
    ///
    /// # Errors
    /// When it is no directory, cannot be read, or has more than `limit` names.
    pub fn list(&self, beneath: &Path, limit: usize) -> Result<Vec<Entry>, FileError> {
        let path = self.path.join(beneath);
        let failed = |e| FileError::io("list", &path, e);
        let flags =
            OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let dir = match openat2(&self.dir, relative(beneath)?, flags, Mode::empty(), INSIDE) {
            Ok(dir) => dir,
            // Something else stands there, or a directory on the way is none: only the second is nothing at all.
            Err(rustix::io::Errno::NOTDIR) => {
                return Err(match self.stat(beneath)?.kind {
                    Kind::Symlink => FileError::Link { path },
                    kind => FileError::WrongKind { path, kind, wanted: Kind::Directory },
                });
            }
            Err(e) => return Err(failed(e)),
        };
        let mut out = Vec::new();
        for entry in Dir::read_from(&dir).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name().to_bytes();
            if name == b"." || name == b".." {
                continue;
            }
            if out.len() >= limit {
                return Err(FileError::TooMany { path, limit });
            }
            let name = std::ffi::OsString::from_vec(name.to_vec());
            // Some file systems do not say what a name is.
            let kind = match entry.file_type() {
                FileType::Unknown => self.stat(&beneath.join(&name))?.kind,
                known => Kind::of_type(known),
            };
            out.push(Entry { name, kind });
        }
        out.sort();
        Ok(out)
    }
}

impl Kind {
    pub(super) fn of(mode: u32) -> Self {
        Self::of_type(FileType::from_raw_mode(mode))
    }

    fn of_type(kind: FileType) -> Self {
        match kind {
            FileType::RegularFile => Self::File,
            FileType::Directory => Self::Directory,
            FileType::Symlink => Self::Symlink,
            _ => Self::Special,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::File => "regular file",
            Self::Directory => "directory",
            Self::Symlink => "symbolic link",
            Self::Special => "FIFO, socket or device",
        })
    }
}

impl Stat {
    fn of(stat: &rustix::fs::Stat) -> Self {
        Self {
            kind: Kind::of(stat.st_mode),
            mode: stat.st_mode & 0o7777,
            uid: stat.st_uid,
            gid: stat.st_gid,
            size: u64::try_from(stat.st_size).unwrap_or(0),
            links: stat.st_nlink,
            id: (stat.st_dev, stat.st_ino),
            modified: time(stat.st_mtime, stat.st_mtime_nsec),
            changed: time(stat.st_ctime, stat.st_ctime_nsec),
        }
    }
}

fn time(seconds: i64, nanos: u64) -> jiff::Timestamp {
    let edge = if seconds < 0 { jiff::Timestamp::MIN } else { jiff::Timestamp::MAX };
    jiff::Timestamp::new(seconds, i32::try_from(nanos).unwrap_or(0)).unwrap_or(edge)
}

/// `openat2` itself refuses absolute paths under BENEATH, but as a link; say what it is.
fn relative(path: &Path) -> Result<&Path, FileError> {
    if path.as_os_str().is_empty() || path.is_absolute() {
        return Err(FileError::BadPath { path: path.into(), why: "it must be relative and not empty" });
    }
    Ok(path)
}

fn judge(stat: &Stat, path: &Path, expect: &Expect<'_>) -> Result<(), FileError> {
    let path = || path.to_path_buf();
    match stat.kind {
        Kind::File => {}
        Kind::Symlink => return Err(FileError::Link { path: path() }),
        kind => return Err(FileError::WrongKind { path: path(), kind, wanted: Kind::File }),
    }
    if let Owner::OneOf(owners) = expect.owner
        && !owners.contains(&stat.uid)
    {
        return Err(FileError::WrongOwner { path: path(), owner: stat.uid });
    }
    if expect.one_link && stat.links != 1 {
        return Err(FileError::HardLinks { path: path(), count: stat.links });
    }
    if stat.size > expect.limit {
        return Err(FileError::TooLarge { path: path(), limit: expect.limit });
    }
    Ok(())
}
