//! The steps of the area. Their order in a plan is what keeps the way in open at every moment between them.

use std::fmt;

use serde::Serialize;

use crate::port::{KeyDirectory, ManagedFile, ManagedPath};

/// One thing to do.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Step {
    /// Write down what stands at our places before the first change.
    Keep {
        /// The file to write.
        file: ManagedFile,
    },
    /// Let sshd pass a directory again on its way to the key files.
    OpenDirectory {
        /// Which.
        which: KeyDirectory,
    },
    /// Put an account's key file.
    PutKeys {
        /// Whose.
        account: String,
        /// The file to write.
        file: ManagedFile,
        /// Are old keys left in it until sshd has read the new drop-in?
        bridge: bool,
    },
    /// Remove a key file that no login needs.
    RemoveKeys {
        /// Which.
        path: ManagedPath,
    },
    /// Put the drop-in.
    PutDropIn {
        /// The file to write.
        file: ManagedFile,
        /// Which one it is.
        is: DropIn,
    },
    /// Remove the drop-in, where none stood before.
    RemoveDropIn {
        /// Which.
        path: ManagedPath,
    },
    /// Ask sshd whether it accepts its configuration; if not, undo the drop-in and stop.
    Test {
        /// How to undo it.
        undo: Undo,
    },
    /// Have the running sshd read its configuration.
    Reload,
    /// Forget that sshd has read this drop-in, before it is written anew.
    Unsettle {
        /// The note's place.
        path: ManagedPath,
    },
    /// Note that sshd has read this drop-in.
    Settle {
        /// The file to write.
        file: ManagedFile,
    },
    /// Write down how far a change is.
    Record {
        /// What that says.
        what: String,
        /// The file to write.
        file: ManagedFile,
    },
    /// Forget what was written down.
    Forget {
        /// The place.
        path: ManagedPath,
    },
}

/// Which drop-in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum DropIn {
    /// The policy's, which closes every other way in.
    Policy,
    /// A trial's: old and new ways in side by side. Takes nothing away.
    Beside,
    /// The one that stood there before.
    Old,
}

/// How to undo a drop-in that sshd does not accept.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Undo {
    /// Leave ours: what stood there was somebody else's edit, or nothing was changed.
    Nothing,
    /// Put back what sshd accepted before.
    PutBack(ManagedFile),
    /// There was none before.
    Remove(ManagedPath),
}

impl Step {
    /// Does it open this directory?
    pub(super) fn opens(&self, path: &str) -> bool {
        matches!(self, Self::OpenDirectory { which } if which.path() == path)
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Keep { file } => write!(f, "keep what stands here in {}", file.path.as_str()),
            Self::OpenDirectory { which } => write!(f, "give {} to root, mode 0755", which.path()),
            Self::PutKeys { account, file, bridge: false } => {
                write!(f, "write the keys of {account} to {}", file.path.as_str())
            }
            Self::PutKeys { account, file, bridge: true } => {
                write!(f, "add the new keys of {account} to {}", file.path.as_str())
            }
            Self::RemoveKeys { path } => write!(f, "remove the key file {}", path.as_str()),
            Self::PutDropIn { file, is: DropIn::Policy } => write!(f, "write {}", file.path.as_str()),
            Self::PutDropIn { file, is: DropIn::Beside } => {
                write!(f, "write {} so that old and new ways in are open side by side", file.path.as_str())
            }
            Self::PutDropIn { file, is: DropIn::Old } => {
                write!(f, "put the old {} back", file.path.as_str())
            }
            Self::RemoveDropIn { path } => write!(f, "remove {}", path.as_str()),
            Self::Test { .. } => write!(f, "test the configuration with sshd -t"),
            Self::Reload => write!(f, "have sshd read its configuration (open sessions stay)"),
            Self::Unsettle { path } => write!(f, "drop the note {}", path.as_str()),
            Self::Settle { file } => write!(f, "note in {} what sshd has read", file.path.as_str()),
            Self::Record { what, file } => write!(f, "{what}, in {}", file.path.as_str()),
            Self::Forget { path } => write!(f, "drop {}", path.as_str()),
        }
    }
}
