//! Our own writer and reader of restic's repository format, version 2. A library: it knows objects, trees and files,
//! and no policy, network, process or clock. Stock `restic check --read-data` is its judge.
//!
//! All functions block, use threads of their own, and return when these have ended:
//!
//! ```text
//! create(&Password, Timestamp, hostname, username)     -> Created { config, key_file, master, id }   stores nothing
//! open(&dyn ObjectSource, Unlock::Password | ::Master) -> Repository            Unlock::Master costs nothing
//! backup(&Repository, &dyn ObjectSink, &BackupRequest) -> BackupReport          the snapshot is stored last
//! snapshots(&Repository)                               -> Vec<Snapshot>         snapshot(&Repository, &id) -> one
//! ls(&Repository, &snapshot, &path, &mut FnMut(&Entry) -> ControlFlow)          path "/" is all of it
//! dump(&Repository, &snapshot, &path, &mut dyn Write)  -> bytes                 one file
//! restore(&Repository, &snapshot, &RestoreRequest)     -> RestoreReport         overwrites nothing
//! check(&Repository, Sample)                           -> CheckReport           or the first thing out of order
//! ```
//!
//! **A run.** `create`; store `config` and key file by the store's own `open`; then for each slot of the generation
//! `open` with the cached [`MasterKey`], `backup()` with the last report's `cache`, and `check` over a *view* with
//! [`Sample::Share`]. A backup counts when [`backup()`] has returned: what a failed run left behind names nothing, and the
//! next run uses or ignores it. Whether it may be counted although something is lacking ([`BackupReport::lacks`]) is for
//! the caller to judge.
//!
//! **Ports.** [`ObjectSink::put`] is called by two threads at once and returns when the object is durable.
//! [`ObjectSource::read`] asks for parts of at most a mebibyte (more only for single huge blobs), by up to five threads;
//! during a backup it is asked for the index files, and for trees where a directory has changed.
//! [`LocalRepository`] is both, over a directory.
//!
//! **Memory.** Whatever the source holds: packs in the making and on their way (five times 16 MiB at most), and about
//! 10 MiB a reading thread, of which there are at most four; beside it 48 bytes a blob of the repository once something
//! has changed. One directory with very many entries needs about a kilobyte for each.

mod backup;
mod blobs;
mod cache;
mod check;
mod chunker;
mod dir;
mod error;
mod file;
mod index;
mod keys;
mod listing;
mod local;
mod names;
mod pack;
mod place;
mod polynomial;
mod queue;
mod read;
mod repository;
mod request;
mod restore;
mod seal;
mod sealer;
mod snapshot;
mod stamp;
mod stat;
mod store;
mod targets;
#[cfg(test)]
mod tests;
mod tree;
mod walk;
mod writer;

pub use backup::backup;
pub use check::check;
pub use error::{EngineError, Fault};
pub use index::parse_index;
pub use keys::{MasterKey, Password};
pub use listing::{Entry, EntryKind, dump, ls};
pub use local::LocalRepository;
pub use pack::parse_pack_header;
pub use repository::{Created, Repository, Unlock, create, open};
pub use request::{
    BackupReport, BackupRequest, CheckReport, Exclude, LACKS, Lack, LackKind, RestoreReport, RestoreRequest,
    Sample, VirtualFile,
};
pub use restore::{open_target, restore, restore_into};
pub use snapshot::{Snapshot, parse_snapshot, snapshot, snapshots};
pub use store::{MAX_CONFIG, ObjectSink, ObjectSource, StoreError};
pub use tree::parse_tree;
