//! The way to a directory, one step at a time: which links are followed and whose directories are trusted.

use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{Mode, OFlags, PROC_SUPER_MAGIC, ResolveFlags, fstat, fstatfs, openat2, readlinkat};

use super::{FileError, Kind};
use crate::text;

/// Links followed on one way at most; more is a loop or a trick.
const LINKS: usize = 8;

/// What every directory on the way must be.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Trust {
    /// Anything; links only where root alone could have placed them, and none of /proc.
    LinksOfRoot,
    /// Root's or, for a program that is not root, its own user's, and writable by nobody else: nobody but these two can
    /// change what the path means.
    RootOnly,
}

/// Opens the directory at an absolute path (O_PATH) and returns the path without links.
pub(super) fn walk(path: &Path, trust: Trust) -> Result<(OwnedFd, PathBuf), FileError> {
    let mut todo = names(path)?;
    let mut links = 0;
    let (mut dir, mut at) = (top()?, PathBuf::from("/"));
    check(&dir, &at, trust)?;
    while let Some(name) = todo.pop() {
        let next_path = at.join(&name);
        let next = step(&dir, &name, &next_path)?;
        let stat = fstat(&next).map_err(|e| FileError::io("look at", &next_path, e))?;
        match Kind::of(stat.st_mode) {
            Kind::Directory => {
                check(&next, &next_path, trust)?;
                (dir, at) = (next, next_path);
            }
            Kind::Symlink => {
                links += 1;
                let around = fstat(&dir).map_err(|e| FileError::io("look at", &at, e))?;
                let magic = fstatfs(&next).map_err(|e| FileError::io("look at", &next_path, e))?.f_type
                    == PROC_SUPER_MAGIC;
                if magic
                    || links > LINKS
                    || stat.st_uid != 0
                    || fault(around.st_uid, around.st_mode, &at).is_some()
                {
                    return Err(FileError::Link { path: next_path });
                }
                let target = readlinkat(&next, "", Vec::new())
                    .map_err(|e| FileError::io("read the link", &next_path, e))?;
                let target: OsString = std::os::unix::ffi::OsStringExt::from_vec(target.into_bytes());
                todo.append_names(&plain(&at.join(target)))?;
                (dir, at) = (top()?, PathBuf::from("/"));
            }
            kind => return Err(FileError::WrongKind { path: next_path, kind, wanted: Kind::Directory }),
        }
    }
    Ok((dir, at))
}

/// What would let somebody else than root (or the program's own user) change this file or directory, and how to mend it.
pub(super) fn fault(uid: u32, mode: u32, path: &Path) -> Option<FileError> {
    let (why, mend) = if uid != 0 && uid != own_uid() {
        (format!("is owned by uid {uid} and not by root"), "chown root:")
    } else if mode & 0o022 != 0 {
        let others = match mode & 0o022 {
            0o020 => "its group",
            0o002 => "everybody",
            _ => "its group and everybody",
        };
        (format!("can be changed by {others} (mode {:04o})", mode & 0o7777), "chmod go-w")
    } else {
        return None;
    };
    Some(FileError::Unsafe { path: path.into(), why, mend: format!("{mend} {}", text::shell_word(path)) })
}

/// The user that this program works as.
pub(super) fn own_uid() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// Path components still to walk, next one last.
struct Todo(Vec<OsString>);

impl Todo {
    fn pop(&mut self) -> Option<OsString> {
        self.0.pop()
    }

    fn append_names(&mut self, path: &Path) -> Result<(), FileError> {
        self.0.extend(names(path)?.0);
        Ok(())
    }
}

fn names(path: &Path) -> Result<Todo, FileError> {
    let bad = |why| FileError::BadPath { path: path.into(), why };
    if !path.is_absolute() {
        return Err(bad("it must start with /"));
    }
    let mut out = Vec::new();
    for part in path.components() {
        match part {
            Component::Normal(name) => out.push(name.to_owned()),
            Component::RootDir | Component::CurDir => {}
            Component::ParentDir | Component::Prefix(_) => return Err(bad("it must not have .. in it")),
        }
    }
    out.reverse();
    Ok(Todo(out))
}

/// Resolves `..` by text alone, which is right here because everything before it has no links left.
fn plain(path: &Path) -> PathBuf {
    let mut out = PathBuf::from("/");
    for part in path.components() {
        match part {
            Component::Normal(name) => out.push(name),
            Component::ParentDir => {
                out.pop();
            }
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    out
}

fn top() -> Result<OwnedFd, FileError> {
    rustix::fs::open("/", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .map_err(|e| FileError::io("open", Path::new("/"), e))
}

/// One name, its link not followed (O_PATH|O_NOFOLLOW opens the link itself).
fn step(dir: &OwnedFd, name: &OsString, path: &Path) -> Result<OwnedFd, FileError> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat2(dir, name.as_os_str(), flags, Mode::empty(), ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS)
        .map_err(|e| FileError::io("open", path, e))
}

fn check(dir: &OwnedFd, path: &Path, trust: Trust) -> Result<(), FileError> {
    if trust == Trust::LinksOfRoot {
        return Ok(());
    }
    let stat = fstat(dir).map_err(|e| FileError::io("look at", path, e))?;
    fault(stat.st_uid, stat.st_mode, path).map_or(Ok(()), Err)
}
