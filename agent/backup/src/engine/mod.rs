//! Our own writer and reader of restic's repository format, version 2. A library: it knows objects, trees and files,
//! and no policy, network, process or clock. Stock `restic check --read-data` is its judge.
//!
//! Functions (all blocking; they use threads of their own and return when these have ended):
//!
//! | function | does |
//! |---|---|
//! | `create` | makes `config`, key file and master key of a new repository; stores nothing |
//! | `open` | opens a repository by password or cached master key |
//! | `backup()` | walks paths, stores what is new through an [`ObjectSink`], returns a [`BackupReport`] |
//! | `snapshots`, `ls`, `dump` | list snapshots, list a snapshot, write one of its files to a `Write` |
//! | `restore` | writes a snapshot or a part of it below a directory |
//! | `check` | index whole, every tree present, every blob's place known, a sample decrypted and hashed |
//!
//! A backup counts when [`backup()`] has returned: its snapshot is the last object that it stores. What a failed run left
//! behind names nothing, and the next run uses or ignores it. Whether the snapshot may be *counted* although something
//! is lacking ([`BackupReport::lacks`]) is for the caller to judge.

mod error;
mod file;
mod keys;
mod local;
mod polynomial;
mod repository;
mod request;
mod seal;
mod snapshot;
mod store;

pub use error::{EngineError, Fault};
pub use keys::{MasterKey, Password};
pub use local::LocalRepository;
pub use repository::{Created, Repository, Unlock, create, open};
pub use request::{
    BackupReport, BackupRequest, CheckReport, Exclude, LACKS, Lack, LackKind, RestoreReport, RestoreRequest,
    Sample, VirtualFile,
};
pub use snapshot::{Snapshot, parse_snapshot, snapshot, snapshots};
pub use store::{MAX_CONFIG, ObjectSink, ObjectSource, StoreError};
