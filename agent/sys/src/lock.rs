//! The one lock: only one process at a time works on a state directory.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, Mode, OFlags, ResolveFlags, flock, openat2};
use rustix::io::Errno;

use crate::files::{CheckedDir, FileError};
use crate::proc::Process;
use crate::text;

/// Held while it lives; the kernel lets go of it when the process ends, however it ends.
#[derive(Debug)]
pub struct Lock {
    /// None once it was handed on.
    file: Option<File>,
}

impl Drop for Lock {
    /// Lets go in so many words: a process that is being started holds copies of all files until it executes, and a lock
    /// that goes by closing alone would live on in them (flock(2)).
    fn drop(&mut self) {
        if let Some(file) = &self.file {
            let _ = flock(file, FlockOperation::Unlock);
        }
    }
}

/// Why the lock was not taken.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Somebody else has it.
    #[error("{} is held by {holder}", text::path(path))]
    Held {
        /// The lock file.
        path: PathBuf,
        /// The holder as far as it is known: `process 4711 (tenure-agent)`.
        holder: String,
        /// The holder's process id, if it wrote one.
        pid: Option<u32>,
    },
    /// The lock file cannot be used.
    #[error("cannot take the lock")]
    File(#[from] FileError),
}

impl Lock {
    /// Takes the lock at once or says who holds it. The file is made if there is none; its directory must be root's.
    ///
    /// # Errors
    /// `LockError::Held` with the holder; or the file cannot be opened or written.
    pub fn take(path: &Path) -> Result<Self, LockError> {
        Self::take_saying(path, &std::process::id().to_string())
    }

    /// The same with this text in the file instead of the process's id, at most [`SAID`] bytes, for whoever asks
    /// [`Lock::said`].
    ///
    /// # Errors
    /// As [`Lock::take`].
    pub fn take_saying(path: &Path, text: &str) -> Result<Self, LockError> {
        let mut file = open(path)?;
        let failed = |source: std::io::Error| FileError::Io { doing: "lock", path: path.into(), source };
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => return Err(held(path, &mut file)),
            Err(e) => return Err(failed(e.into()).into()),
        }
        file.set_len(0).map_err(failed)?;
        file.seek(SeekFrom::Start(0)).map_err(failed)?;
        writeln!(file, "{text}").map_err(failed)?;
        Ok(Self { file: Some(file) })
    }

    /// What the holder of a lock says; none when nobody holds it.
    ///
    /// # Errors
    /// When the file cannot be opened or read.
    pub fn said(path: &Path) -> Result<Option<Vec<u8>>, LockError> {
        let file = match open(path) {
            Err(LockError::File(e)) if e.is_missing() => return Ok(None),
            opened => opened?,
        };
        let failed =
            |source: std::io::Error| FileError::Io { doing: "read the lock", path: path.into(), source };
        match flock(&file, FlockOperation::NonBlockingLockShared) {
            Ok(()) => return Ok(None),
            Err(Errno::WOULDBLOCK) => {}
            Err(e) => return Err(failed(e.into()).into()),
        }
        let mut said = Vec::new();
        file.take(SAID).read_to_end(&mut said).map_err(failed)?;
        Ok(Some(said))
    }

    /// The locked file, to be inherited by a process that holds the lock from then on: the lock goes when the last of
    /// its holders has closed it.
    pub fn into_file(mut self) -> File {
        self.file.take().expect("only this takes it out, and it ends the lock's life")
    }
}

/// The most bytes that a holder says.
const SAID: u64 = 4096;

fn open(path: &Path) -> Result<File, LockError> {
    let failed = |source: std::io::Error| FileError::Io { doing: "lock", path: path.into(), source };
    let bad = || FileError::BadPath { path: path.into(), why: "it must name a file" };
    let parent = CheckedDir::open(path.parent().ok_or_else(bad)?)?;
    let name = path.file_name().ok_or_else(bad)?;
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let inside = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let file =
        openat2(parent.fd(), name, flags, Mode::RUSR | Mode::WUSR, inside).map_err(|e| failed(e.into()))?;
    Ok(File::from(file))
}

fn held(path: &Path, file: &mut File) -> LockError {
    let mut written = String::new();
    let pid = match file.take(16).read_to_string(&mut written) {
        Ok(_) => written.trim().parse().ok(),
        Err(_) => None,
    };
    let name =
        pid.and_then(|pid| Process::read(pid).ok()).map(|p| format!(" ({})", text::neutral(&p.comm, 64)));
    let holder = match pid {
        Some(pid) => format!("process {pid}{}", name.unwrap_or_default()),
        None => "a process that did not say which".into(),
    };
    LockError::Held { path: path.into(), holder, pid }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_taker_is_told_who_holds_it() {
        let dir = tempfile::tempdir_in("/run").expect("root");
        let path = dir.path().join("lock");
        let first = Lock::take(&path).expect("free");
        let Err(LockError::Held { holder, pid, .. }) = Lock::take(&path) else { panic!("taken twice") };
        assert_eq!(pid, Some(std::process::id()));
        assert!(holder.starts_with(&format!("process {} (", std::process::id())), "{holder}");
        // As in a child that was forked and has not executed yet.
        let _copy = first.file.as_ref().expect("held").try_clone().expect("a copy");
        drop(first);
        Lock::take(&path).expect("free again");
    }

    #[test]
    fn a_link_in_place_of_the_lock_is_not_followed() {
        let dir = tempfile::tempdir_in("/run").expect("root");
        std::os::unix::fs::symlink("/etc/passwd", dir.path().join("lock")).expect("link");
        assert!(matches!(Lock::take(&dir.path().join("lock")), Err(LockError::File(_))));
    }
}
