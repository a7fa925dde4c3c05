//! `open`: a generation begins or goes on. What is frozen (config, key, escrow) is on disk before the journal says that
//! the generation is there; nothing of it is there when something does not fit.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use tenure_trust::vault_wire::{MAX_FROZEN, Open, RefusalCode};
use tenure_trust::{GenerationId, Hash, Object, ObjectKind};

use super::books::Books;
use super::entry::{Entry, FIRST_CHECK, What};
use super::fault::Fault;
use super::series::{Series, sync_dir};
use super::{Store, Terms, place};
use crate::ring::{Event, Frozen, Opening, SlotKey};

/// The most bytes of one recipient's copy of the password.
const MAX_ESCROW: usize = 16 << 10;
/// The most recipients.
const MAX_RECIPIENTS: usize = 32;
/// What an armored age file begins with.
const ARMOR: &str = "-----BEGIN AGE ENCRYPTED FILE-----";

/// What `open` brings, checked.
#[derive(Debug, Clone)]
pub struct Brought {
    config: Vec<u8>,
    key: Vec<u8>,
    /// Recipient and age file, sorted.
    escrow: Vec<(String, String)>,
    frozen: Frozen,
}

/// A series of which older dates were closed, with what was written down.
pub type Closed = (Arc<Series>, Vec<Event>);

/// A generation that takes objects.
#[derive(Debug, Clone)]
pub struct Opened {
    /// Its series.
    pub series: Arc<Series>,
    /// Which.
    pub generation: GenerationId,
    /// The slot that is being filled.
    pub slot: SlotKey,
    /// Its books.
    pub books: Arc<Books>,
    /// The receipt, when the slot was accepted before.
    pub sealed: Option<String>,
    /// What was written down.
    pub events: Vec<Event>,
}

impl Brought {
    /// Checks form and sizes, and that every recipient of the policy has the password.
    ///
    /// # Errors
    /// `Malformed`, `TooLarge` or `NoEscrow`.
    pub fn check(open: &Open, recipients: &[String]) -> Result<Self, Fault> {
        let bytes = |what: &str, text: &str| {
            let bytes = STANDARD
                .decode(text)
                .map_err(|_| Fault::refused(RefusalCode::Malformed, format!("the {what} is not base64")))?;
            match bytes.len() {
                0 => Err(Fault::refused(RefusalCode::Malformed, format!("the {what} is empty"))),
                n if n > MAX_FROZEN => {
                    Err(Fault::refused(RefusalCode::TooLarge, format!("the {what} has {n} bytes")))
                }
                _ => Ok(bytes),
            }
        };
        let (config, key) = (bytes("config", &open.config)?, bytes("key file", &open.key)?);
        let missing = |what: &str| Err(Fault::refused(RefusalCode::NoEscrow, what));
        if open.escrow.len() > MAX_RECIPIENTS {
            return Err(Fault::refused(RefusalCode::TooLarge, "more recipients than there can be"));
        }
        let mut escrow: Vec<(String, String)> =
            open.escrow.iter().map(|e| (e.recipient.clone(), e.text.clone())).collect();
        escrow.sort();
        let plain = |name: &str| {
            name.len() <= 200 && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
        };
        if escrow.windows(2).any(|pair| pair[0].0 == pair[1].0) {
            return missing("a recipient stands twice");
        }
        if escrow.iter().any(|(name, text)| {
            !name.starts_with("age1") || !plain(name) || !text.starts_with(ARMOR) || text.len() > MAX_ESCROW
        }) {
            return missing("what a recipient should have is no age file");
        }
        let lacks = recipients.iter().any(|name| !escrow.iter().any(|(known, _)| known == name));
        if lacks || recipients.len() < 2 {
            return missing("not every recovery recipient of the policy has the password");
        }
        let names = escrow.iter().map(|(name, _)| name.clone()).collect();
        let frozen = Frozen { config: Hash::of(&config), key: Hash::of(&key), recipients: names };
        Ok(Self { config, key, escrow, frozen })
    }
}

impl Store {
    /// Begins a generation or goes on with it.
    ///
    /// # Errors
    /// A refusal, with nothing begun; or the disk.
    pub fn open_generation(&self, terms: &Terms, open: &Open, now: Timestamp) -> Result<Opened, Fault> {
        let brought = Brought::check(open, &terms.recipients)?;
        let id = &open.slot.series;
        let slot = SlotKey::of(&open.slot);
        let at = (open.slot.date, slot);
        // Nothing is made for a series that will be refused.
        if self.get(id).is_none() {
            crate::ring::Ring::default().open(&terms.rules, now, at, open.number, &brought.frozen)?;
            self.room(terms, id, open.estimate, 0)?;
        }
        let series = self.make(id)?;
        let mut events = close(&series, terms, open, &brought, now)?;
        let (generation, sealed) = series.change(now, |ring| {
            let opening = ring.open(&terms.rules, now, at, open.number, &brought.frozen)?;
            let (generation, own, sealed) = match opening {
                Opening::Sealed(generation, slot) => (generation, Vec::new(), Some(slot)),
                Opening::GoesOn(generation, own) => (generation, own, None),
                Opening::Begins(generation, _, own) => {
                    let last = ring.iter().filter_map(|(_, g)| g.last_sealed()).max_by_key(|s| s.received);
                    self.room(terms, id, open.estimate.max(last.map_or(0, |s| s.bytes)), 0)?;
                    self.place(&series, generation, &brought, now)?;
                    (generation, own, None)
                }
            };
            events.extend(own.iter().cloned());
            Ok((own, (generation, sealed)))
        })?;
        let books = series.books(generation)?;
        let (_, held) = books.held();
        match sealed {
            None if events.iter().any(|e| matches!(e, Event::Open { .. })) => series.grow(held),
            None => self.room(terms, id, open.estimate, held)?,
            Some(_) => {}
        }
        let sealed = sealed.map(|slot| series.receipt(generation, slot)).transpose()?;
        Ok(Opened { series, generation, slot, books, sealed, events })
    }

    /// Closes the older dates of a series for one that is about to begin, whether it can begin then or not: what becomes of
    /// them may make the room. Gives what was written down.
    ///
    /// # Errors
    /// A refusal, with nothing closed; or the disk.
    pub fn close_before(&self, terms: &Terms, open: &Open, now: Timestamp) -> Result<Option<Closed>, Fault> {
        let brought = Brought::check(open, &terms.recipients)?;
        let Some(series) = self.get(&open.slot.series) else { return Ok(None) };
        let events = close(&series, terms, open, &brought, now)?;
        Ok(Some((series, events)))
    }

    /// Will it fit: `expected` bytes and a fifth more, of which `held` are there already?
    fn room(
        &self,
        terms: &Terms,
        of: &tenure_trust::SeriesId,
        expected: u64,
        held: u64,
    ) -> Result<(), Fault> {
        let need = expected.saturating_add(expected / 5).saturating_sub(held);
        self.fits(terms, of, need)
    }

    /// Do so many more bytes fit the owner's quota and the vault's floor?
    pub(super) fn fits(&self, terms: &Terms, of: &tenure_trust::SeriesId, more: u64) -> Result<(), Fault> {
        let (free, _) = self.space()?;
        let no = |what: &str| Err(Fault::refused(RefusalCode::NoRoom, what));
        if free.saturating_sub(terms.keep_free) < more {
            return no("the vault's disk has no room for it");
        }
        if self.owned_bytes(of).saturating_add(more) > terms.quota {
            return no("the owner's quota has no room for it");
        }
        Ok(())
    }

    /// Puts the new generation's directory in place, whole.
    fn place(
        &self,
        series: &Series,
        generation: GenerationId,
        brought: &Brought,
        now: Timestamp,
    ) -> Result<(), Fault> {
        let tmp = self.temporary("generation");
        let made = make(&tmp, brought, now);
        let moved = made.and_then(|()| {
            let to = series.place(generation);
            unknown_but_empty(&to)?;
            // Left by a vault that ended before the journal knew of it: it never was.
            match fs::remove_dir_all(&to) {
                Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                    return Err(Fault::disk("remove", &to)(e));
                }
                _ => {}
            }
            fs::rename(&tmp, &to).map_err(Fault::disk("place", &to))?;
            sync_dir(&series.dir)
        });
        if moved.is_err() {
            // The first error is the one to tell; what is left is emptied at the next start.
            let _ = fs::remove_dir_all(&tmp);
        }
        moved
    }
}

fn close(
    series: &Series,
    terms: &Terms,
    open: &Open,
    brought: &Brought,
    now: Timestamp,
) -> Result<Vec<Event>, Fault> {
    let at = (open.slot.date, SlotKey::of(&open.slot));
    series.change(now, |ring| {
        let opening = ring.open(&terms.rules, now, at, open.number, &brought.frozen)?;
        let before = if let Opening::Begins(_, before, _) = opening { before } else { Vec::new() };
        Ok((before.clone(), before))
    })
}

/// A directory that the series' journal does not know may be one that nothing was brought to. One with more in it means that
/// the journal has lost lines, and what was accepted is not given up for that.
fn unknown_but_empty(dir: &Path) -> Result<(), Fault> {
    let seals = dir.join("seals");
    let sealed = match fs::read_dir(&seals) {
        Ok(mut entries) => entries.next().is_some(),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => false,
        Err(e) => return Err(Fault::disk("list", &seals)(e)),
    };
    let journal = dir.join("objects.journal");
    let brought = match fs::read(&journal) {
        // config and key file
        Ok(bytes) => bytes.iter().filter(|byte| **byte == b'\n').count() > 2,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => false,
        Err(e) => return Err(Fault::disk("read", &journal)(e)),
    };
    if sealed || brought {
        let why = "it holds what was brought, and the series' journal does not know of it";
        return Err(Fault::Damaged { path: dir.into(), why: why.into() });
    }
    Ok(())
}

fn make(dir: &Path, brought: &Brought, now: Timestamp) -> Result<(), Fault> {
    let below = ["", "escrow", "seals", "repo", "repo/keys", "repo/index", "repo/snapshots", "repo/data"];
    for part in below {
        let path = dir.join(part);
        fs::create_dir(&path).map_err(Fault::disk("make", &path))?;
    }
    let mut lines = String::new();
    let mut check = FIRST_CHECK.to_owned();
    let frozen = [(ObjectKind::Config, &brought.config), (ObjectKind::Key, &brought.key)];
    for (sequence, (kind, bytes)) in (1..).zip(frozen) {
        let object = Object { kind, name: Hash::of(bytes), size: bytes.len() as u64 };
        write(&dir.join("repo").join(place::beneath(&object)), bytes)?;
        let at = Timestamp::from_millisecond(now.as_millisecond()).unwrap_or(now);
        let (line, own) = Entry { sequence, at, what: What::Object(object) }.line(&check);
        lines.push_str(&line);
        lines.push('\n');
        check = own;
    }
    for (recipient, text) in &brought.escrow {
        write(&dir.join("escrow").join(format!("{recipient}.age")), text.as_bytes())?;
    }
    write(&dir.join("objects.journal"), lines.as_bytes())?;
    for part in below.iter().rev() {
        sync_dir(&dir.join(part))?;
    }
    Ok(())
}

/// Writes a file that must not exist, durably; its directory is synced by the caller.
pub(super) fn write(path: &Path, bytes: &[u8]) -> Result<(), Fault> {
    let failed = |e| Fault::disk("write", path)(e);
    let mut file: File =
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(failed)?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(Fault::disk("write", path))
}
