//! Files handled by root in places that others may write to: nothing is followed that somebody else placed.

mod checked;
mod read;
mod walk;
mod write;

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

pub use checked::CheckedDir;
pub use read::{BaseDir, Entry, Expect, File, Kind, Owner, Stat};
pub use write::{Put, Roots};

use crate::text;

/// Why a file was not read or written. Every kind names its path.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The kernel refused.
    #[error("cannot {doing} {}", text::path(path))]
    Io {
        /// What was being done, as a verb.
        doing: &'static str,
        /// To which file.
        path: PathBuf,
        /// What the kernel said.
        source: std::io::Error,
    },
    /// A path that is relative where it must be absolute, or has `..` or nothing in it.
    #[error("{} is not a plain path of the kind wanted here: {why}", text::path(path))]
    BadPath {
        /// The path.
        path: PathBuf,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A symbolic or magic link on the way, or a way out of the directory.
    #[error("{} goes through a link that is not followed here", text::path(path))]
    Link {
        /// The path.
        path: PathBuf,
    },
    /// A FIFO, device, socket or directory where a file was wanted.
    #[error("{} is a {kind}, not a {wanted}", text::path(path))]
    WrongKind {
        /// The path.
        path: PathBuf,
        /// What it is.
        kind: Kind,
        /// What it should be.
        wanted: Kind,
    },
    /// Another name for the same file exists: it may be somebody else's file.
    #[error("{} has {count} hard links, one is wanted", text::path(path))]
    HardLinks {
        /// The path.
        path: PathBuf,
        /// How many names it has.
        count: u64,
    },
    /// Not owned by who should own it.
    #[error("{} is owned by uid {owner}, which is not expected here", text::path(path))]
    WrongOwner {
        /// The path.
        path: PathBuf,
        /// Who owns it.
        owner: u32,
    },
    /// More bytes than the caller takes.
    #[error("{} is larger than {limit} bytes", text::path(path))]
    TooLarge {
        /// The path.
        path: PathBuf,
        /// The limit in bytes.
        limit: u64,
    },
    /// More entries than the caller takes.
    #[error("{} has more than {limit} entries", text::path(path))]
    TooMany {
        /// The directory.
        path: PathBuf,
        /// The limit.
        limit: usize,
    },
    /// Somebody else than root could change it.
    #[error("{} {why}: mend it with `{mend}`", text::path(path))]
    Unsafe {
        /// The file or directory.
        path: PathBuf,
        /// Who could change it, in words.
        why: String,
        /// The command that mends it.
        mend: String,
    },
    /// Not below a directory that may be written.
    #[error("{} is outside of what may be written", text::path(path))]
    Outside {
        /// The path.
        path: PathBuf,
    },
    /// A mode with set-uid, set-gid or sticky bit.
    #[error("mode {mode:o} for {} is not a plain one", text::path(path))]
    BadMode {
        /// The path.
        path: PathBuf,
        /// The mode asked for.
        mode: u32,
    },
}

impl FileError {
    /// Nothing stands at this path, nor could: a directory on the way is missing or is none.
    pub fn is_missing(&self) -> bool {
        use std::io::ErrorKind::{NotADirectory, NotFound};
        matches!(self, Self::Io { source, .. } if matches!(source.kind(), NotFound | NotADirectory))
    }

    /// What a person can do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Io { .. } => {
                "look at that place as root: is it there, whose is it, is the disk full or read-only?"
            }
            Self::BadPath { .. } => "correct the path, or what stands there",
            Self::Link { .. } => "put the thing itself there instead of a link to it",
            Self::WrongKind { .. } => "move it away and put what is wanted in its place",
            Self::HardLinks { .. } => "replace it by a copy of its own, so that no other name leads to it",
            Self::WrongOwner { .. } => "find out who put it there; make it root's if it is yours",
            Self::TooLarge { .. } | Self::TooMany { .. } => "is it the right one? make it smaller",
            Self::Unsafe { .. } => "whoever can write there decides what root does on this host",
            Self::Outside { .. } | Self::BadMode { .. } => {
                "report it: the program should not have asked for this"
            }
        }
    }

    /// The path that it is about.
    pub fn path(&self) -> &Path {
        match self {
            Self::Io { path, .. }
            | Self::BadPath { path, .. }
            | Self::Link { path }
            | Self::WrongKind { path, .. }
            | Self::HardLinks { path, .. }
            | Self::WrongOwner { path, .. }
            | Self::TooLarge { path, .. }
            | Self::TooMany { path, .. }
            | Self::Unsafe { path, .. }
            | Self::Outside { path }
            | Self::BadMode { path, .. } => path,
        }
    }

    /// An error of the kernel; links on the way (ELOOP, EXDEV of openat2(2)) become their own kind.
    fn io(doing: &'static str, path: &Path, errno: rustix::io::Errno) -> Self {
        match errno {
            rustix::io::Errno::LOOP | rustix::io::Errno::XDEV => Self::Link { path: path.into() },
            errno => Self::Io { doing, path: path.into(), source: errno.into() },
        }
    }
}
