//! `put`: one object, hashed while it comes, whole on disk before its name is, and in the books before it is answered.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use jiff::Timestamp;
use sha2::{Digest, Sha256};
use tenure_trust::vault_wire::{MAX_OBJECT, RefusalCode};
use tenure_trust::{Hash, Object, ObjectKind};

use super::entry::What;
use super::fault::Fault;
use super::opening::Opened;
use super::{Store, Terms, place};

/// An object that is coming.
#[derive(Debug)]
pub struct Incoming {
    object: Object,
    hash: Sha256,
    came: u64,
    /// None for one that is in the books already: it is hashed all the same.
    file: Option<(File, PathBuf)>,
}

impl Store {
    /// May it come? The bytes have to be read either way.
    ///
    /// # Errors
    /// A refusal, or the disk.
    pub fn begin_put(&self, terms: &Terms, opened: &Opened, object: &Object) -> Result<Incoming, Fault> {
        match object.kind {
            ObjectKind::Data | ObjectKind::Index | ObjectKind::Snapshot => {}
            ObjectKind::Config | ObjectKind::Key => {
                let what = "config and key are frozen";
                return Err(Fault::refused(RefusalCode::KindNotAllowed, what));
            }
        }
        if object.size > MAX_OBJECT {
            return Err(Fault::refused(RefusalCode::TooLarge, "an object is too large"));
        }
        takes(opened)?;
        let hash = Sha256::new();
        if opened.books.has(object) {
            return Ok(Incoming { object: object.clone(), hash, came: 0, file: None });
        }
        self.fits(terms, &opened.series.id, object.size)?;
        let path = self.temporary("object");
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
            .map_err(Fault::disk("make", &path))?;
        Ok(Incoming { object: object.clone(), hash, came: 0, file: Some((file, path)) })
    }

    /// Everything came: it counts when this returns its sequence number.
    ///
    /// # Errors
    /// `HashMismatch`, a generation closed meanwhile, or the disk. Nothing counts then.
    pub fn finish_put(&self, opened: &Opened, incoming: Incoming, now: Timestamp) -> Result<u64, Fault> {
        let mut parts = incoming.taken();
        let kept = keep(opened, &mut parts, now);
        if kept.is_err()
            && let Some((_, path)) = &parts.file
        {
            // Under its temporary name only; what was placed and is not in the books is replaced by the next put.
            let _ = fs::remove_file(path);
        }
        kept
    }
}

fn keep(opened: &Opened, parts: &mut Parts, now: Timestamp) -> Result<u64, Fault> {
    let Parts { object, hash, came, file } = parts;
    let found = Hash::from_bytes(std::mem::take(hash).finalize().into());
    if found != object.name || *came != object.size {
        return Err(Fault::refused(RefusalCode::HashMismatch, "the bytes do not hash to the name"));
    }
    takes(opened)?;
    if let Some((open, path)) = file {
        open.sync_all().map_err(Fault::disk("write", path))?;
        let to = opened.series.place(opened.generation).join("repo").join(place::beneath(object));
        if object.kind == ObjectKind::Data
            && let Some(dir) = to.parent()
        {
            match fs::create_dir(dir) {
                Err(e) if e.kind() != std::io::ErrorKind::AlreadyExists => {
                    return Err(Fault::disk("make", dir)(e));
                }
                _ => {}
            }
        }
        fs::rename(&*path, &to).map_err(Fault::disk("place", &to))?;
    }
    let before = opened.books.last();
    let sequence = opened.books.add(What::Object(object.clone()), now)?;
    if sequence > before {
        opened.series.grow(object.size);
    }
    Ok(sequence)
}

impl Incoming {
    /// Takes the next bytes.
    ///
    /// # Errors
    /// The disk. What comes after is only hashed.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        self.hash.update(bytes);
        self.came += bytes.len() as u64;
        if let Some((file, path)) = &mut self.file {
            file.write_all(bytes).map_err(Fault::disk("write", path))?;
        }
        Ok(())
    }

    /// Apart, so that dropping does not remove the file.
    fn taken(mut self) -> Parts {
        Parts {
            object: self.object.clone(),
            hash: std::mem::take(&mut self.hash),
            came: self.came,
            file: self.file.take(),
        }
    }
}

struct Parts {
    object: Object,
    hash: Sha256,
    came: u64,
    file: Option<(File, PathBuf)>,
}

impl Drop for Incoming {
    fn drop(&mut self) {
        if let Some((_, path)) = self.file.take() {
            // A connection ended in the middle; if this fails the next start empties the directory.
            let _ = fs::remove_file(path);
        }
    }
}

/// Does the generation still take objects?
fn takes(opened: &Opened) -> Result<(), Fault> {
    match opened.series.with_ring(|ring| ring.takes(opened.generation)) {
        true => Ok(()),
        false => Err(Fault::refused(
            RefusalCode::DateNotOpen,
            "this generation is closed, or a later one has begun",
        )),
    }
}
