//! Everything that can keep the engine from doing what it was asked: a closed list, each with what to do next.

use std::io;
use std::path::PathBuf;

use tenure_trust::Hash;

use super::store::StoreError;

/// Why the engine did not do what it was asked. Texts from the repository stand in it only neutralised.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The store refused or lost something.
    #[error("the store of the repository failed")]
    Store(#[from] StoreError),
    /// No key file opens with this password, or the master key is another repository's.
    #[error("the key does not open this repository")]
    WrongKey,
    /// The machine gave no random bytes.
    #[error("drawing random bytes")]
    Random(#[source] getrandom::Error),
    /// An object is not what its name, its authentication code or its format says.
    #[error("{object} is damaged: {fault}")]
    Damaged {
        /// Which: folder and name, or the blob.
        object: String,
        /// How it shows.
        fault: Fault,
    },
    /// Something that a tree or the index names is not in the repository.
    #[error("{what} is missing from the repository")]
    Missing {
        /// What is named and absent.
        what: String,
    },
    /// Something in the repository is larger, deeper or more than is taken in.
    #[error("{what} is beyond the limit of {limit}")]
    Limit {
        /// What.
        what: &'static str,
        /// The most that is taken in.
        limit: u64,
    },
    /// A blob did not decrypt and decompress to what went in, on this machine.
    #[error("what was just encrypted reads back as something else")]
    Unfaithful,
    /// A path of the request is not fit.
    #[error("the path {} {why}", path.display())]
    Path {
        /// The path.
        path: PathBuf,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The snapshot has no such path.
    #[error("the snapshot has no {}", path.display())]
    NoSuchPath {
        /// The path as asked for.
        path: PathBuf,
    },
    /// There is no such snapshot.
    #[error("there is no snapshot {0}")]
    NoSuchSnapshot(Hash),
    /// A file or directory of this machine.
    #[error("{doing} {}", path.display())]
    Io {
        /// What was being done.
        doing: &'static str,
        /// To which path.
        path: PathBuf,
        /// Why it failed.
        #[source]
        why: io::Error,
    },
    /// The directory cache names trees that the repository does not have. [`super::backup()`] then runs without it.
    #[error("the directory cache does not fit the repository")]
    StaleCache,
    /// A thread of the engine ended by a panic: a defect of ours.
    #[error("a worker of the backup engine ended unexpectedly")]
    Worker,
}

/// How damage shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The SHA-256 of the bytes is not the name.
    #[error("its bytes do not have the hash that it is named by")]
    Hash,
    /// Poly1305 over the bytes is not what stands behind them.
    #[error("its authentication code is wrong")]
    Authentication,
    /// Shorter than its format allows, or than the index says.
    #[error("it is cut short")]
    Short,
    /// zstd refuses it, or it has another length than stated.
    #[error("it does not decompress")]
    Compression,
    /// Not the JSON that it must be, or values in it that cannot be.
    #[error("it is not well formed")]
    Form,
    /// Two entries of one name, or a name that is none: empty, `.`, `..`, with `/` or a zero byte.
    #[error("it has a name that no file can have")]
    Name,
    /// The pack's own header and the index differ.
    #[error("its header and the index differ")]
    Header,
    /// Of a version or kind that is not ours to read.
    #[error("it is of a version that is not read here")]
    Version,
}

impl EngineError {
    /// What to do next.
    pub const fn hint(&self) -> &'static str {
        match self {
            Self::Store(_) => "see to the vault and the network, then run it again: nothing was counted",
            Self::WrongKey => "take the password of this generation: from the host's keys or from the escrow",
            Self::Random(_) => "see to /dev/urandom on this machine",
            Self::Damaged { .. } | Self::Missing { .. } => {
                "restore from another generation, and look into the vault's disk"
            }
            Self::Limit { .. } => {
                "the repository was not written by Tenure, or the source is beyond its limits"
            }
            Self::Unfaithful => "test this machine's memory: it does not compute the same thing twice",
            Self::Path { .. } => "give an absolute path without `.`, `..` and symbolic links",
            Self::NoSuchPath { .. } => "list the snapshot to see what it holds",
            Self::NoSuchSnapshot(_) => "list the snapshots of this generation",
            Self::Io { .. } => "see to the path, then run it again",
            Self::StaleCache => "remove the directory cache and run it again",
            Self::Worker => "report it with the journal of this run",
        }
    }

    pub(crate) fn blob(id: &Hash, fault: Fault) -> Self {
        Self::Damaged { object: format!("blob {id}"), fault }
    }

    pub(crate) fn damaged(object: impl Into<String>, fault: Fault) -> Self {
        Self::Damaged { object: object.into(), fault }
    }
}
