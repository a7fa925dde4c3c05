//! Why the store did not do what it was asked: a refusal in the words of the channel, or the disk.

use std::io;
use std::path::{Path, PathBuf};

use tenure_sys::text;
use tenure_trust::vault_wire::{RefusalCode, VaultRefusal};

use crate::ring::{Broken, Refusal};

/// Why nothing was done.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// A rule says no.
    #[error("{}", .0.what)]
    Refused(Refusal),
    /// The disk says no.
    #[error("cannot {doing} {}", text::path(path))]
    Disk {
        /// What was being done, as a verb.
        doing: &'static str,
        /// With which file.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// A journal holds what was never written so.
    #[error("the journal {} was changed: {why}", text::path(path))]
    Damaged {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// A decision of our own does not fit the journal.
    #[error("an event does not fit the journal")]
    Broken(#[from] Broken),
    /// The store that the policy names is not the one that was used there.
    #[error("the store {} {why}: it is not the one used before; is the disk mounted?", text::path(path))]
    NotOurs {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// The directory of the store cannot be used.
    #[error("cannot use the store")]
    File(#[from] tenure_sys::files::FileError),
}

impl Fault {
    /// A refusal.
    pub fn refused(code: RefusalCode, what: impl Into<String>) -> Self {
        Self::Refused(Refusal::new(code, what))
    }

    /// For `map_err`: what was being done, to what.
    pub fn disk(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Disk { doing, path: path.into(), source }
    }

    /// What a person can do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Refused(refusal) => refusal.code.hint(),
            Self::Disk { .. } => "look at the vault's disk: free space, mode, errors in the kernel's log",
            Self::Damaged { .. } | Self::Broken(_) => {
                "nothing of this series is changed or erased any more; stop the vault and move its directory out of the store"
            }
            Self::NotOurs { .. } => {
                "mount it; where that store is gone for good, remove stores.json in the vault's state \
                 (/var/lib/tenure-vault) and a new one begins: no copy of the old one is there then"
            }
            Self::File(_) => "check owner and mode of the path named",
        }
    }

    /// As the host is told: what the disk said stays here.
    pub fn told(&self) -> VaultRefusal {
        match self {
            Self::Refused(Refusal { code, what }) => VaultRefusal { code: *code, what: what.clone() },
            Self::Disk { source, .. } if is_full(source) => {
                VaultRefusal { code: RefusalCode::Disk, what: "the vault's disk is full".into() }
            }
            Self::Disk { .. } | Self::NotOurs { .. } | Self::File(_) => {
                VaultRefusal { code: RefusalCode::Disk, what: "the vault could not write or read".into() }
            }
            Self::Damaged { .. } | Self::Broken(_) => {
                VaultRefusal { code: RefusalCode::Disk, what: "a journal of this series is damaged".into() }
            }
        }
    }
}

impl From<Refusal> for Fault {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}
