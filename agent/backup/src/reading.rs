//! What of a host's series can be read, and restoring it: never outside of an empty directory that the caller names.

use std::path::{Path, PathBuf};

use jiff::Timestamp;
use tenure_policy::bundles::VaultPlace;
use tenure_trust::vault_wire::{Answer, GenerationFacts, Request, SealedSlot};
use tenure_trust::{GenerationId, Hash, Point, SeriesId, View};

use crate::engine::{self, RestoreReport, RestoreRequest, Unlock};
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
    empty(to)?;
    let link = Link::connect(machine, place)?;
    let copies = copies(&link, machine, series)?;
    let copy = choose(&copies, which).ok_or_else(|| BackupError::NoCopy(series.clone()))?;
    let request = RestoreRequest { subset: paths.to_vec(), target: to.to_owned(), writers: None };
    let report = with_copy(&link, machine, series, copy, |repository, snapshot| {
        Ok(engine::restore(repository, snapshot, &request)?)
    })?;
    Ok((copy.clone(), report))
}

/// An existing empty directory, or one that is made now.
fn empty(to: &Path) -> Result<(), BackupError> {
    let target = |why| BackupError::Target { path: to.to_owned(), why };
    match std::fs::symlink_metadata(to) {
        Ok(meta) if !meta.is_dir() => Err(target("is no directory")),
        Ok(_) => match std::fs::read_dir(to).map_err(BackupError::io("list", to))?.next() {
            None => Ok(()),
            Some(_) => Err(target("is not empty")),
        },
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            std::fs::create_dir(to).map_err(BackupError::io("make", to))
        }
        Err(e) => Err(BackupError::io("look at", to)(e)),
    }
}
