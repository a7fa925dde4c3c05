//! Writing as root: only below directories that the caller names, whole or not at all, durable when it returns.

use std::ffi::{OsStr, OsString};
use std::io::Write;
use std::os::fd::OwnedFd;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{
    AtFlags, Gid, Mode, OFlags, RenameFlags, ResolveFlags, Uid, fchmod, fchown, fsync, mkdirat, openat2,
    renameat, renameat_with, statat, unlinkat,
};
use rustix::io::Errno;

use super::walk::{Trust, own_uid, walk};
use super::{BaseDir, FileError, Kind};

const INSIDE: ResolveFlags =
    ResolveFlags::BENEATH.union(ResolveFlags::NO_SYMLINKS).union(ResolveFlags::NO_MAGICLINKS);

/// Directories below which root may write. Every directory on the way to a file must be root's alone, which leaves
/// out homes; `/root` and `/home` are refused by name too.
#[derive(Debug, Clone)]
pub struct Roots(Vec<PathBuf>);

/// A file as it should stand.
#[derive(Debug, Clone, Copy)]
pub struct Put<'a> {
    /// Absolute; its directory exists.
    pub path: &'a Path,
    /// The whole content.
    pub bytes: &'a [u8],
    /// Permission bits, at most 0o777.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

impl<'a> Put<'a> {
    /// A file of the program's own user: root's for the agent, its own for a service that runs as one.
    pub fn own(path: &'a Path, bytes: &'a [u8], mode: u32) -> Self {
        let gid = rustix::process::getegid().as_raw();
        Self { path, bytes, mode, uid: own_uid(), gid }
    }
}

impl Roots {
    /// Takes the directories.
    ///
    /// # Errors
    /// `FileError::BadPath` for a relative path, one with `..`, `/` itself, or one in a home.
    pub fn new<P: Into<PathBuf>>(roots: impl IntoIterator<Item = P>) -> Result<Self, FileError> {
        let roots: Vec<PathBuf> = roots.into_iter().map(Into::into).collect();
        for root in &roots {
            plain(root)?;
            let home = root.starts_with("/home") || root.starts_with("/root");
            if home || root.parent().is_none() {
                let why = "a home or / is never managed";
                return Err(FileError::BadPath { path: root.clone(), why });
            }
        }
        Ok(Self(roots))
    }

    /// Writes the file: afterwards the path has the new content, owner and mode, durably; or everything is as before.
    ///
    /// # Errors
    /// When the path is outside, its directory could be changed by others, or the kernel refuses (a full disk leaves
    /// the old file).
    pub fn put(&self, file: &Put<'_>) -> Result<(), FileError> {
        if file.mode & !0o777 != 0 {
            return Err(FileError::BadMode { path: file.path.into(), mode: file.mode });
        }
        let (dir, name) = self.place(file.path)?;
        let temporary = beside(&name, "tmp");
        // A writer that was killed left it; nobody else writes in this directory.
        remove_at(&dir, &temporary, file.path)?;
        let written = write_all(&dir, &temporary, file).and_then(|()| {
            renameat(&dir, &temporary, &dir, &name).map_err(|e| FileError::io("replace", file.path, e))
        });
        if let Err(error) = written {
            // The first error is the one to tell; the left-over is removed by the next put.
            let _ = remove_at(&dir, &temporary, file.path);
            return Err(error);
        }
        sync(&dir, file.path)
    }

    /// Makes a directory of the program's own user with this mode below (or at) a root; one that stands there gets the mode.
    ///
    /// # Errors
    /// When something else stands there, or as `put`.
    pub fn make_dir(&self, path: &Path, mode: u32) -> Result<(), FileError> {
        if mode & !0o777 != 0 || mode & 0o022 != 0 {
            return Err(FileError::BadMode { path: path.into(), mode });
        }
        let (dir, name) = self.place(path)?;
        match mkdirat(&dir, &name, Mode::RWXU) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(e) => return Err(FileError::io("make the directory", path, e)),
        }
        self.open_dir(path, mode)
    }

    /// Gives a directory that stands there to the program's own user, with this mode.
    ///
    /// # Errors
    /// When there is none, or as `put`.
    pub fn open_dir(&self, path: &Path, mode: u32) -> Result<(), FileError> {
        if mode & !0o777 != 0 || mode & 0o022 != 0 {
            return Err(FileError::BadMode { path: path.into(), mode });
        }
        let (dir, name) = self.place(path)?;
        let failed = |e| FileError::io("open the directory", path, e);
        let stat = statat(&dir, &name, AtFlags::SYMLINK_NOFOLLOW).map_err(failed)?;
        match Kind::of(stat.st_mode) {
            Kind::Directory => {}
            kind => return Err(FileError::WrongKind { path: path.into(), kind, wanted: Kind::Directory }),
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let made = openat2(&dir, &name, flags, Mode::empty(), INSIDE).map_err(failed)?;
        fchown(&made, Some(Uid::from_raw(own_uid())), Some(rustix::process::getegid())).map_err(failed)?;
        fchmod(&made, Mode::from_raw_mode(mode)).map_err(failed)?;
        sync(&dir, path)
    }

    /// Removes a file or link; false when there was none.
    ///
    /// # Errors
    /// When it is a directory, or as `put`.
    pub fn remove(&self, path: &Path) -> Result<bool, FileError> {
        let (dir, name) = self.place(path)?;
        let removed = remove_at(&dir, &name, path)?;
        if removed {
            sync(&dir, path)?;
        }
        Ok(removed)
    }

    /// Puts a regular file in the place of another in the same directory, durably. Nothing is written anew, so that it needs no
    /// room on the disk.
    ///
    /// # Errors
    /// When it is missing or no regular file, the other name is a directory or in another one, or as `put`.
    pub fn replace(&self, from: &Path, to: &Path) -> Result<(), FileError> {
        if from.parent() != to.parent() {
            let why = "it must be in the directory of the file that takes its place";
            return Err(FileError::BadPath { path: to.into(), why });
        }
        let (dir, name) = self.place(from)?;
        let (_, other) = self.place(to)?;
        let mode = statat(&dir, &name, AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|e| FileError::io("look at", from, e))?
            .st_mode;
        let kind = Kind::of(mode);
        if kind != Kind::File {
            return Err(FileError::WrongKind { path: from.into(), kind, wanted: Kind::File });
        }
        renameat(&dir, &name, &dir, &other).map_err(|e| FileError::io("replace", to, e))?;
        sync(&dir, to)
    }

    /// Renames a file out of the way, in its directory, to a name that starts with a dot and ends in
    /// `.tenure-aside` with a number; returns the new path. Nothing that stands there is replaced.
    ///
    /// # Errors
    /// When it is missing, a hundred were set aside already, or as `put`.
    pub fn set_aside(&self, path: &Path) -> Result<PathBuf, FileError> {
        let (dir, name) = self.place(path)?;
        for number in 0..100 {
            let aside = beside(&name, &format!("aside-{number}"));
            match renameat_with(&dir, &name, &dir, &aside, RenameFlags::NOREPLACE) {
                Ok(()) => {
                    sync(&dir, path)?;
                    return Ok(path.with_file_name(aside));
                }
                Err(Errno::EXIST) => {}
                Err(e) => return Err(FileError::io("set aside", path, e)),
            }
        }
        Err(FileError::TooMany { path: path.with_file_name(beside(&name, "aside")), limit: 100 })
    }

    /// The file's directory, open, all of it root's alone, and the file's name.
    fn place(&self, path: &Path) -> Result<(OwnedFd, OsString), FileError> {
        plain(path)?;
        if !self.0.iter().any(|root| path.starts_with(root)) {
            return Err(FileError::Outside { path: path.into() });
        }
        let bad = || FileError::BadPath { path: path.into(), why: "it must name a file" };
        let (parent, name) = (path.parent().ok_or_else(bad)?, path.file_name().ok_or_else(bad)?);
        let (dir, resolved) = walk(parent, Trust::RootOnly)?;
        if resolved.starts_with("/home") || resolved.starts_with("/root") {
            return Err(FileError::Outside { path: resolved });
        }
        Ok((dir, name.to_owned()))
    }
}

/// A name that no directory of snippets (`*.conf`, sudoers.d, systemd) takes for its own.
fn beside(name: &OsStr, what: &str) -> OsString {
    let mut out = OsString::from(".");
    out.push(name);
    out.push(format!(".tenure-{what}"));
    out
}

fn plain(path: &Path) -> Result<(), FileError> {
    let bad = |why| Err(FileError::BadPath { path: path.into(), why });
    if !path.is_absolute() {
        return bad("it must start with /");
    }
    if path.components().any(|part| part == Component::ParentDir) {
        return bad("it must not have .. in it");
    }
    Ok(())
}

fn write_all(dir: &OwnedFd, name: &OsStr, file: &Put<'_>) -> Result<(), FileError> {
    let failed = |e| FileError::io("write", file.path, e);
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let open = openat2(dir, name, flags, Mode::RUSR | Mode::WUSR, INSIDE).map_err(failed)?;
    let mut open = std::fs::File::from(open);
    open.write_all(file.bytes).map_err(|source| FileError::Io {
        doing: "write",
        path: file.path.into(),
        source,
    })?;
    fchown(&open, Some(Uid::from_raw(file.uid)), Some(Gid::from_raw(file.gid))).map_err(failed)?;
    fchmod(&open, Mode::from_raw_mode(file.mode)).map_err(failed)?;
    fsync(&open).map_err(failed)
}

fn remove_at(dir: &OwnedFd, name: &OsStr, path: &Path) -> Result<bool, FileError> {
    match unlinkat(dir, name, AtFlags::empty()) {
        Ok(()) => Ok(true),
        Err(Errno::NOENT) => Ok(false),
        Err(Errno::ISDIR) => {
            Err(FileError::WrongKind { path: path.into(), kind: Kind::Directory, wanted: Kind::File })
        }
        Err(e) => Err(FileError::io("remove", path, e)),
    }
}

/// The directory was opened as a reference (O_PATH), which cannot be synced: open it again through itself.
fn sync(dir: &OwnedFd, path: &Path) -> Result<(), FileError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let failed = |e| FileError::io("make durable", path, e);
    let open = openat2(dir, ".", flags, Mode::empty(), INSIDE).map_err(failed)?;
    fsync(&open).map_err(failed)
}

impl BaseDir {
    /// Whether any name stands at this path, whatever it is.
    ///
    /// # Errors
    /// When the way there cannot be walked.
    pub fn exists(&self, beneath: &Path) -> Result<bool, FileError> {
        match self.stat(beneath) {
            Ok(_) => Ok(true),
            Err(e) if e.is_missing() => Ok(false),
            Err(e) => Err(e),
        }
    }
}
