//! restic's snapshots: which tree, of which paths, when.

use std::path::PathBuf;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tenure_trust::backup::{Object, ObjectKind};
use tenure_trust::{Hash, neutral};

use super::error::{EngineError, Fault};
use super::repository::Repository;
use super::request::BackupRequest;

/// Snapshots of one repository that are read at most: a generation has a few.
const SNAPSHOTS: usize = 10_000;

/// A snapshot as it stands in the repository. Its time is its writer's word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// restic's id: the hash of the file.
    pub id: Hash,
    /// Its root tree.
    pub tree: Hash,
    /// When it was made.
    pub time: Timestamp,
    /// Of which host; control characters are neutralised, here and below.
    pub hostname: String,
    /// The paths that were asked for.
    pub paths: Vec<PathBuf>,
    /// Its tags.
    pub tags: Vec<String>,
}

/// The JSON; what restic writes beside it is not of interest.
#[derive(Serialize, Deserialize)]
struct Written {
    time: Timestamp,
    tree: Hash,
    #[serde(default)]
    paths: Vec<String>,
    #[serde(default)]
    hostname: String,
    #[serde(default)]
    username: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    tags: Vec<String>,
}

/// The JSON of a new snapshot.
pub(crate) fn encode(request: &BackupRequest, tree: &Hash) -> Result<Vec<u8>, EngineError> {
    let path = |path: &PathBuf| path.to_string_lossy().into_owned();
    let virtual_files = request.virtual_files.iter().map(|file| &file.path);
    let written = Written {
        time: request.started,
        tree: *tree,
        paths: request.paths.iter().chain(virtual_files).map(path).collect(),
        hostname: request.hostname.clone(),
        username: request.username.clone(),
        tags: request.tags.clone(),
    };
    serde_json::to_vec(&written).map_err(|_| EngineError::Unfaithful)
}

/// Reads the JSON of a snapshot.
///
/// # Errors
/// `Form` when it is not one.
pub fn parse_snapshot(id: Hash, json: &[u8]) -> Result<Snapshot, Fault> {
    let written: Written = serde_json::from_slice(json).map_err(|_| Fault::Form)?;
    Ok(Snapshot {
        id,
        tree: written.tree,
        time: written.time,
        hostname: neutral(&written.hostname),
        paths: written.paths.into_iter().map(|path| neutral(&path).into()).collect(),
        tags: written.tags.iter().map(|tag| neutral(tag)).collect(),
    })
}

/// Every snapshot of a repository, oldest first by its own word.
///
/// # Errors
/// `Store`, `Limit`, and `Damaged` when one of them cannot be read.
pub fn snapshots(repository: &Repository<'_>) -> Result<Vec<Snapshot>, EngineError> {
    let listed = repository.source.list(ObjectKind::Snapshot)?;
    if listed.len() > SNAPSHOTS {
        return Err(EngineError::Limit { what: "the number of snapshots", limit: SNAPSHOTS as u64 });
    }
    let mut found = listed.iter().map(|object| load(repository, object)).collect::<Result<Vec<_>, _>>()?;
    found.sort_by_key(|snapshot| (snapshot.time, snapshot.id));
    Ok(found)
}

/// One snapshot by its id.
///
/// # Errors
/// `NoSuchSnapshot`, `Store`, `Damaged`.
pub fn snapshot(repository: &Repository<'_>, id: &Hash) -> Result<Snapshot, EngineError> {
    let listed = repository.source.list(ObjectKind::Snapshot)?;
    let object = listed.iter().find(|object| object.name == *id);
    load(repository, object.ok_or(EngineError::NoSuchSnapshot(*id))?)
}

fn load(repository: &Repository<'_>, object: &Object) -> Result<Snapshot, EngineError> {
    let json = repository.file(object)?;
    parse_snapshot(object.name, &json)
        .map_err(|fault| EngineError::damaged(format!("snapshots/{}", object.name), fault))
}
