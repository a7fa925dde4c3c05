//! What is asked of the engine and what it answers: plain values.

use std::collections::BTreeSet;
use std::fs::File;
use std::path::PathBuf;

use jiff::Timestamp;
use tenure_trust::Hash;

/// A backup to be made.
#[derive(Debug, Default)]
pub struct BackupRequest {
    /// When the run began: the snapshot's time.
    pub started: Timestamp,
    /// The host's name in the snapshot.
    pub hostname: String,
    /// The user in the snapshot.
    pub username: String,
    /// Tags of the snapshot.
    pub tags: Vec<String>,
    /// Absolute paths, each with all below it. None of them is followed through a symbolic link.
    pub paths: Vec<PathBuf>,
    /// What is left out.
    pub exclude: Exclude,
    /// Files that stand in no file system, such as dumps.
    pub virtual_files: Vec<VirtualFile>,
    /// [`BackupReport::cache`] of the last run of the same generation; anything else is ignored.
    pub cache: Option<Vec<u8>>,
    /// Threads that read and compress; one a core, at most four, when none.
    pub workers: Option<usize>,
}

/// What a backup leaves out, without a word in the report: the policy asked for it.
#[derive(Clone, Debug, Default)]
pub struct Exclude {
    /// Absolute paths; what is below them is left out too.
    pub paths: BTreeSet<PathBuf>,
    /// Device and inode, by whatever path they are reached.
    pub inodes: BTreeSet<(u64, u64)>,
}

/// A file of the snapshot whose bytes come from an open regular file, read from its start.
#[derive(Debug)]
pub struct VirtualFile {
    /// Its absolute path in the snapshot, such as `/dumps/main.pgdump`; below none of [`BackupRequest::paths`].
    pub path: PathBuf,
    /// Where its bytes come from.
    pub file: File,
    /// Its permissions in the snapshot, such as `0o600`.
    pub mode: u32,
}

/// What a finished backup is.
#[derive(Clone, Debug)]
pub struct BackupReport {
    /// restic's id of the snapshot.
    pub snapshot: Hash,
    /// Its root tree.
    pub tree: Hash,
    /// The store's sequence number of the snapshot, the last object of the run.
    pub sequence: u64,
    /// Files in the snapshot.
    pub files: u64,
    /// Directories in it.
    pub directories: u64,
    /// Bytes of the files in it.
    pub source_bytes: u64,
    /// Bytes of files that were read for it: 0 where nothing changed.
    pub read_bytes: u64,
    /// Objects stored by this run.
    pub new_objects: u64,
    /// Their bytes.
    pub new_bytes: u64,
    /// What could not be read, as [`LackKind::Unreadable`], [`LackKind::Missing`] and [`LackKind::Beyond`].
    pub unreadable: u64,
    /// Files that changed while they were read, twice.
    pub changed: u64,
    /// Files that went away between being listed and being read.
    pub vanished: u64,
    /// The first [`LACKS`] of them all, sorted by path.
    pub lacks: Vec<Lack>,
    /// Pseudo file systems that were met and left out: their directories are in the snapshot, empty.
    pub left_out: Vec<PathBuf>,
    /// For [`BackupRequest::cache`] of the next run of the same generation.
    pub cache: Vec<u8>,
}

/// Lacks that a report names; all are counted.
pub const LACKS: usize = 1000;

/// Something of the source that the snapshot does not hold as it was.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Lack {
    /// Where.
    pub path: PathBuf,
    /// What.
    pub kind: LackKind,
    /// The system's words.
    pub why: String,
}

/// What a lack is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LackKind {
    /// It is there and cannot be read: it is not in the snapshot.
    Unreadable,
    /// One of the request's paths does not exist, or leads through a symbolic link.
    Missing,
    /// It lies too deep or is too large: it is not in the snapshot.
    Beyond,
    /// It changed while it was read, twice: the second reading is in the snapshot.
    Changed,
    /// It went away before it was read.
    Vanished,
}

/// What to restore, and to where.
#[derive(Clone, Debug, Default)]
pub struct RestoreRequest {
    /// Absolute paths of the snapshot, each with all below it; everything when empty.
    pub subset: Vec<PathBuf>,
    /// An existing directory: `/srv/app` of the snapshot becomes `srv/app` below it.
    pub target: PathBuf,
    /// Threads that write; two when none.
    pub writers: Option<usize>,
}

/// What was restored.
#[derive(Clone, Debug, Default)]
pub struct RestoreReport {
    /// Files written, hard links among them.
    pub files: u64,
    /// Directories made.
    pub directories: u64,
    /// Bytes written.
    pub bytes: u64,
    /// What could not be restored as it was: all are counted.
    pub failed: u64,
    /// The first [`LACKS`] of them.
    pub lacks: Vec<Lack>,
}

/// How much of the data a check decrypts and hashes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Sample {
    /// None of it: index and trees only.
    Nothing,
    /// This share of the packs, drawn by the seed.
    Share {
        /// From 0 to 1. At least one pack is taken.
        share: f64,
        /// Which ones: another seed, other packs.
        seed: u64,
    },
    /// All of it.
    All,
}

/// What a check found in order. Anything out of order is an error.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CheckReport {
    /// Snapshots whose trees were walked.
    pub snapshots: u64,
    /// Trees decrypted, each once.
    pub trees: u64,
    /// Blobs in the index.
    pub blobs: u64,
    /// Packs in the index.
    pub packs: u64,
    /// Packs read whole: hash, header and every blob.
    pub packs_read: u64,
    /// Bytes of them.
    pub bytes_read: u64,
}
