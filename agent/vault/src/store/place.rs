//! Where things lie below a series' directory (BACKUP.md, the layout).

use std::path::{Path, PathBuf};

use tenure_trust::{Object, ObjectKind};

use crate::ring::SlotKey;

/// The directory for what is not whole yet, on the store's own file system. No owner can have this name.
pub(super) const TMP: &str = ".tmp";
/// Tells this store from others ([`super::marker`]).
pub(super) const MARKER: &str = ".store.json";
/// The journal of a series.
pub(super) const SERIES_JOURNAL: &str = "series.journal";

/// An object's path below `repo`, as restic has it.
pub fn beneath(object: &Object) -> PathBuf {
    let name = object.name.to_string();
    match object.kind {
        ObjectKind::Config => "config".into(),
        ObjectKind::Key => Path::new("keys").join(name),
        ObjectKind::Data => Path::new("data").join(&name[..2]).join(name),
        ObjectKind::Index => Path::new("index").join(name),
        ObjectKind::Snapshot => Path::new("snapshots").join(name),
    }
}

/// The directories whose sync makes the object's name durable, inner one first.
pub(super) fn dirs(repo: &Path, object: &Object) -> Vec<PathBuf> {
    match object.kind {
        ObjectKind::Config => vec![repo.into()],
        ObjectKind::Key => vec![repo.join("keys")],
        ObjectKind::Data => vec![repo.join("data").join(&object.name.to_string()[..2]), repo.join("data")],
        ObjectKind::Index => vec![repo.join("index")],
        ObjectKind::Snapshot => vec![repo.join("snapshots")],
    }
}

/// A slot's seal below the generation's directory.
pub(super) fn seal(slot: SlotKey) -> PathBuf {
    Path::new("seals").join(format!("{}.dsse", slot.file()))
}

/// A slot's receipt below the generation's directory.
pub(super) fn receipt(slot: SlotKey) -> PathBuf {
    Path::new("seals").join(format!("{}.receipt.dsse", slot.file()))
}
