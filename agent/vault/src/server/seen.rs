//! A view as one session sees it: what was taken by its point, with escrow and seals beside; nothing of it moves meanwhile.

use std::collections::BTreeSet;
use std::fs::File as DiskFile;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use russh_sftp::protocol::{File, FileAttributes, StatusCode};
use rustix::fs::{Mode, OFlags, ResolveFlags, openat2};
use tenure_trust::{GenerationId, Object, ObjectKind, SeriesId, View};

use super::locks::Locks;
use super::sftp::{Answered, MAX_VIEWS};
use super::view::seconds;
use crate::ring::State;
use crate::store::Books;
use crate::vault::Vault;

/// A view that this session looks at.
pub(super) struct Seen {
    pub(super) books: Arc<Books>,
    pub(super) upto: u64,
    pub(super) repo: PathBuf,
    pub(super) series: SeriesId,
    pub(super) generation: GenerationId,
    /// File names of the slots that were sealed by then.
    pub(super) sealed: BTreeSet<String>,
    pub(super) locks: Locks,
}

impl Seen {
    /// Blocking.
    pub(super) fn open(vault: &Vault, view: &View) -> Answered<Self> {
        let series = vault.store.get(&view.series).ok_or(StatusCode::NoSuchFile)?;
        let sealed = series
            .with_ring(|ring| {
                let generation = ring.get(view.generation).filter(|g| readable_state(Some(g.state)));
                generation.map(|g| g.last_sealed().map(|sealed| sealed.upto))
            })
            .ok_or(StatusCode::NoSuchFile)?;
        let books = series.books(view.generation).map_err(|_| StatusCode::Failure)?;
        let upto = books.resolve(view.point, sealed).ok_or(StatusCode::NoSuchFile)?;
        let sealed = series.with_ring(|ring| {
            let slots = ring.get(view.generation).into_iter().flat_map(|generation| &generation.sealed);
            slots.filter(|(_, sealed)| sealed.upto <= upto).map(|(slot, _)| slot.file()).collect()
        });
        Ok(Self {
            sealed,
            books,
            upto,
            repo: series.place(view.generation).join("repo"),
            series: view.series.clone(),
            generation: view.generation,
            locks: Locks::default(),
        })
    }

    pub(super) fn config(&self) -> Answered<(Object, Timestamp)> {
        // It is always the first.
        let all = self.books.objects(self.upto.min(1));
        all.into_iter().find(|(object, _)| object.kind == ObjectKind::Config).ok_or(StatusCode::NoSuchFile)
    }

    /// The escrow for one recipient: frozen since the generation was opened.
    pub(super) fn escrow(&self, recipient: &str) -> Answered<(DiskFile, FileAttributes)> {
        self.beside("escrow", &format!("{recipient}.age"))
    }

    /// The seal of a slot that was accepted by then.
    pub(super) fn seal(&self, slot: &str) -> Answered<(DiskFile, FileAttributes)> {
        match self.sealed.contains(slot) {
            true => self.beside("seals", &format!("{slot}.dsse")),
            false => Err(StatusCode::NoSuchFile),
        }
    }

    pub(super) fn seals(&self) -> Vec<File> {
        let known = |slot: &String| Some(File::new(format!("{slot}.dsse"), self.seal(slot).ok()?.1));
        self.sealed.iter().filter_map(known).collect()
    }

    fn beside(&self, dir: &str, name: &str) -> Answered<(DiskFile, FileAttributes)> {
        let opened = open_beneath(&self.repo.with_file_name(dir), Path::new(name));
        let opened = opened.map_err(|_| StatusCode::NoSuchFile)?;
        let size = opened.metadata().map_err(|_| StatusCode::Failure)?.len();
        Ok((opened, file(size, 0, false)))
    }

    pub(super) fn escrows(&self) -> Answered<Vec<File>> {
        let listed =
            std::fs::read_dir(self.repo.with_file_name("escrow")).map_err(|_| StatusCode::NoSuchFile)?;
        let names = listed.flatten().take(MAX_VIEWS).filter_map(|entry| entry.file_name().into_string().ok());
        let known = names.filter_map(|name| {
            let (_, attributes) = self.escrow(name.strip_suffix(".age")?).ok()?;
            Some(File::new(name, attributes))
        });
        Ok(known.collect())
    }
}

pub(super) fn files(objects: Vec<(Object, Timestamp)>) -> Vec<File> {
    objects.iter().map(|(object, at)| File::new(object.name.to_string(), of_object(object, *at))).collect()
}

pub(super) fn readable_state(state: Option<State>) -> bool {
    matches!(
        state,
        Some(State::Candidate | State::Closed | State::Current | State::Aside(_) | State::Superseded)
    )
}

pub(super) fn directory(writable: bool) -> FileAttributes {
    attributes(0, if writable { 0o040_700 } else { 0o040_500 }, 0)
}

pub(super) fn file(size: u64, at: u32, writable: bool) -> FileAttributes {
    attributes(size, if writable { 0o100_600 } else { 0o100_400 }, at)
}

pub(super) fn of_object(object: &Object, at: Timestamp) -> FileAttributes {
    file(object.size, seconds(at), false)
}

fn attributes(size: u64, mode: u32, at: u32) -> FileAttributes {
    FileAttributes {
        size: Some(size),
        uid: Some(0),
        gid: Some(0),
        permissions: Some(mode),
        atime: Some(at),
        mtime: Some(at),
        ..FileAttributes::empty()
    }
}

/// Opens a file of the repository; the way never leaves it and follows no link.
pub(super) fn open_beneath(repo: &Path, path: &Path) -> std::io::Result<DiskFile> {
    let dir = DiskFile::open(repo)?;
    let inside = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(DiskFile::from(openat2(&dir, path, flags, Mode::empty(), inside)?))
}
