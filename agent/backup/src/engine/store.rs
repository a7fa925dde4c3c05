//! Where objects go and come from: two ports, so that code that reads cannot write.

use std::fmt;

use tenure_trust::Hash;
use tenure_trust::backup::{Object, ObjectKind};

/// Takes objects. Several threads call at once; each call blocks until the object is kept for good or refused.
pub trait ObjectSink: Sync {
    /// Keeps an object whose name is the SHA-256 of `bytes`. The same object may come twice.
    ///
    /// Returns the store's own sequence number, once object and journal are durable.
    ///
    /// # Errors
    /// Whatever keeps it from being durable; the engine then ends the run and counts nothing.
    fn put(&self, object: &Object, bytes: &[u8]) -> Result<u64, StoreError>;
}

/// Gives objects back. Several threads call at once; every call blocks.
pub trait ObjectSource: Sync {
    /// The repository's `config`, at most [`MAX_CONFIG`] bytes.
    ///
    /// # Errors
    /// When it cannot be read, or is larger.
    fn config(&self) -> Result<Vec<u8>, StoreError>;

    /// Every object of a kind (never asked for [`ObjectKind::Config`]) with its size, in any order.
    ///
    /// # Errors
    /// When it cannot be listed whole.
    fn list(&self, kind: ObjectKind) -> Result<Vec<Object>, StoreError>;

    /// Fills `into` with the object's bytes from `offset` on.
    ///
    /// # Errors
    /// When it is absent, shorter, or cannot be read. Whether the bytes are the right ones is the engine's business.
    fn read(&self, kind: ObjectKind, name: &Hash, offset: u64, into: &mut [u8]) -> Result<(), StoreError>;
}

/// Bytes of the largest `config` or key file that is read.
pub const MAX_CONFIG: usize = 64 << 10;

/// What a store says when it does not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[error("{doing} {what}")]
pub struct StoreError {
    /// What was being done, such as `storing`.
    pub doing: &'static str,
    /// To which object or place.
    pub what: String,
    /// Why it failed.
    #[source]
    pub why: Box<dyn std::error::Error + Send + Sync>,
}

impl StoreError {
    /// An error about one object.
    pub fn new(
        doing: &'static str,
        kind: ObjectKind,
        name: &Hash,
        why: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self { doing, what: format!("{}/{name}", Folder(kind)), why: why.into() }
    }
}

/// restic's folder of a kind.
pub(crate) struct Folder(pub(crate) ObjectKind);

impl fmt::Display for Folder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            ObjectKind::Config => "config",
            ObjectKind::Key => "keys",
            ObjectKind::Data => "data",
            ObjectKind::Index => "index",
            ObjectKind::Snapshot => "snapshots",
        })
    }
}
