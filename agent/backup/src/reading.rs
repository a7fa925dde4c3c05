//! What of a host's series can be read, and restoring it: never outside of an empty directory that the caller names.

use std::io::ErrorKind;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use rustix::fs::{Dir, Mode, mkdirat};
use rustix::io::Errno;
use tenure_policy::bundles::VaultPlace;
use tenure_trust::vault_wire::{Answer, GenerationFacts, Request, SealedSlot};
use tenure_trust::{GenerationId, Hash, Point, SeriesId, View};

use crate::engine::{self, EngineError, RestoreReport, RestoreRequest, Unlock};
use crate::error::BackupError;
use crate::keys::KeyStore;
use crate::machine::Machine;
use crate::transport::{self, Link};

/// A copy that can be restored.
#[derive(Debug, Clone)]
pub struct Copy {
    /// In which generation.
    pub generation: GenerationId,
    /// The slot that it fills.
    pub sealed: SealedSlot,
    /// This host has the key.
    pub openable: bool,
}

/// Which copy is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Which {
    /// The newest.
    Newest,
    /// restic's id, or its beginning.
    Snapshot(String),
    /// The newest that the vault had taken by then.
    At(Timestamp),
}

/// What the vault holds of a series.
///
/// # Errors
/// `Transport`, `Refused`.
pub fn inventory(link: &Link, series: &SeriesId) -> Result<Vec<GenerationFacts>, BackupError> {
    match link.typed()?.ask(&Request::Inventory { series: series.clone() })? {
        Answer::Inventory { generations } => Ok(generations),
        other => Err(transport::unexpected(&other)),
    }
}

/// The copies of a series, oldest first.
///
/// # Errors
/// As [`inventory`]; when the keys cannot be listed.
pub fn copies(link: &Link, machine: &Machine, series: &SeriesId) -> Result<Vec<Copy>, BackupError> {
    let keys = KeyStore::open(&machine.state)?.list(series)?;
    let generations = inventory(link, series)?;
    let mut copies: Vec<Copy> = (generations.into_iter())
        .flat_map(|facts| facts.slots.into_iter().map(move |sealed| (facts.id, sealed)))
        .map(|(generation, sealed)| Copy { generation, openable: keys.contains(&generation), sealed })
        .collect();
    copies.sort_by_key(|copy| copy.sealed.received);
    Ok(copies)
}

/// The copy that is meant, of those that this host can open.
pub fn choose<'c>(copies: &'c [Copy], which: &Which) -> Option<&'c Copy> {
    let mut openable = copies.iter().rev().filter(|copy| copy.openable);
    match which {
        Which::Newest => openable.next(),
        Which::Snapshot(id) => {
            openable.find(|copy| copy.sealed.snapshot.to_string().starts_with(id.as_str()))
        }
        Which::At(at) => openable.find(|copy| copy.sealed.received <= *at),
    }
}

/// Opens the repository that holds a copy as it stood when that was sealed, and does something with it.
///
/// # Errors
/// `NoCopy` when its keys are gone; what `with` says.
pub fn with_copy<T>(
    link: &Link,
    machine: &Machine,
    series: &SeriesId,
    copy: &Copy,
    with: impl FnOnce(&engine::Repository<'_>, &Hash) -> Result<T, BackupError>,
) -> Result<T, BackupError> {
    let keys = KeyStore::open(&machine.state)?.load(series, copy.generation)?;
    let keys = keys.ok_or_else(|| BackupError::NoCopy(series.clone()))?;
    let point = Point::Sequence(copy.sealed.sequence);
    let view = link.view(&View { series: series.clone(), generation: copy.generation, point })?;
    let repository = engine::open(&view, Unlock::Master(&keys.master))?;
    with(&repository, &copy.sealed.snapshot)
}

/// Restores a copy, or some paths of it, into an empty directory.
///
/// # Errors
/// `Target` when the directory is not empty; what the engine says.
pub fn restore(
    machine: &Machine,
    place: &VaultPlace,
    series: &SeriesId,
    which: &Which,
    paths: &[PathBuf],
    to: &Path,
) -> Result<(Copy, RestoreReport), BackupError> {
    // Opened before anything takes time: what stands at this path later does not matter.
    let target = empty(to)?;
    let link = Link::connect(machine, place)?;
    let copies = copies(&link, machine, series)?;
    let copy = choose(&copies, which).ok_or_else(|| BackupError::NoCopy(series.clone()))?;
    let request = RestoreRequest { subset: paths.to_vec(), target: to.to_owned(), writers: None };
    let report = with_copy(&link, machine, series, copy, |repository, snapshot| {
        Ok(engine::restore_into(repository, snapshot, &request, target)?)
    })?;
    Ok((copy.clone(), report))
}

/// An existing empty directory, or one that is made now. No link is followed on the way.
fn empty(to: &Path) -> Result<OwnedFd, BackupError> {
    let target = |why| BackupError::Target { path: to.to_owned(), why };
    let opened = match engine::open_target(to) {
        Err(EngineError::Io { why, .. }) if why.kind() == ErrorKind::NotFound => {
            let (Some(parent), Some(name)) = (to.parent(), to.file_name()) else {
                return Err(target("is not there"));
            };
            let parent = engine::open_target(parent)?;
            let mode = Mode::from_raw_mode(0o700);
            mkdirat(&parent, name, mode).map_err(|e| BackupError::io("make", to)(e.into()))?;
            engine::open_target(to)
        }
        opened => opened,
    };
    let opened = opened.map_err(|error| match &error {
        EngineError::Io { why, .. } if why.raw_os_error() == Some(Errno::LOOP.raw_os_error()) => {
            target("has a symbolic link on its way: name the place itself")
        }
        EngineError::Io { why, .. } if why.kind() == ErrorKind::NotADirectory => target("is no directory"),
        _ => error.into(),
    })?;
    let mut entries = Dir::read_from(&opened).map_err(|e| BackupError::io("list", to)(e.into()))?;
    let dots = |entry: &rustix::io::Result<rustix::fs::DirEntry>| {
        entry.as_ref().is_ok_and(|entry| matches!(entry.file_name().to_bytes(), b"." | b".."))
    };
    match entries.find(|entry| !dots(entry)) {
        None => Ok(opened),
        Some(Ok(_)) => Err(target("is not empty")),
        Some(Err(e)) => Err(BackupError::io("list", to)(e.into())),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_target_is_empty_real_and_the_same_whatever_stands_at_its_path_later() {
        let desk = tempfile::tempdir().unwrap();
        let path = |name: &str| desk.path().join(name);
        let why = |to: &Path| match empty(to) {
            Err(BackupError::Target { why, .. }) => why,
            other => panic!("{other:?}"),
        };
        std::fs::create_dir_all(path("full/x")).unwrap();
        std::fs::write(path("file"), "x").unwrap();
        symlink(path("full"), path("link")).unwrap();
        assert_eq!(why(&path("full")), "is not empty");
        assert_eq!(why(&path("file")), "is no directory");
        for way in ["link", "link/x", "link/new"] {
            assert!(why(&path(way)).contains("symbolic link"), "{way}");
        }
        assert!(!path("full/new").exists());
        empty(&path("new")).unwrap();
        let target = empty(&path("new")).expect("made, and still empty");
        // Swapped while the vault is asked: what was opened is what is written to.
        std::fs::rename(path("new"), path("moved")).unwrap();
        symlink(path("full"), path("new")).unwrap();
        mkdirat(&target, "here", Mode::from_raw_mode(0o700)).unwrap();
        assert!(path("moved/here").is_dir() && !path("full/here").exists());
    }
}
