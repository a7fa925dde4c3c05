//! One series on disk: its hash-chained journal, its ring in memory, its generations' directories. Everything that
//! changes the ring goes through the journal first.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tenure_trust::vault_wire::GenerationFacts;
use tenure_trust::{GenerationId, Hash, SeriesId};

use super::books::Books;
use super::fault::Fault;
use super::lines::{LineFile, whole_lines};
use super::place;
use crate::ring::{Event, Ring, SlotKey, State};

/// The most bytes of a series' journal: some decades.
const MAX_JOURNAL: u64 = 256 << 20;

/// A line of the journal: what happened at once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Line {
    /// From 1.
    pub seq: u64,
    /// Hash of the line before it; of the first, of the series' name.
    pub prev: Hash,
    /// By the vault's clock.
    pub at: Timestamp,
    /// In this order.
    pub events: Vec<Event>,
}

/// A series.
#[derive(Debug)]
pub struct Series {
    /// Which.
    pub id: SeriesId,
    /// Its directory.
    pub dir: PathBuf,
    shelf: Mutex<Shelf>,
    /// Bytes of all its generations, for the owner's quota.
    bytes: AtomicU64,
}

#[derive(Debug)]
struct Shelf {
    ring: Ring,
    journal: LineFile,
    next: u64,
    prev: Hash,
    books: BTreeMap<GenerationId, Arc<Books>>,
    /// Why nothing of it may be changed, if that is so.
    damaged: Option<String>,
}

/// What was found not whole when a series was loaded; told in journal and records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// Where.
    pub path: PathBuf,
    /// What.
    pub what: String,
}

impl Series {
    /// Loads a series from its directory, which exists; its journal is made when there is none.
    ///
    /// # Errors
    /// When the disk refuses. A damaged journal is no error: the series is there and refuses every change.
    pub fn load(id: SeriesId, dir: PathBuf) -> Result<(Self, Vec<Note>), Fault> {
        let path = dir.join(place::SERIES_JOURNAL);
        let fresh = !path.exists();
        let (mut journal, bytes) =
            LineFile::open(&path, MAX_JOURNAL).map_err(Fault::disk("open the journal", &path))?;
        if fresh {
            sync_dir(&dir)?;
        }
        let mut notes = Vec::new();
        let begin = genesis(&id);
        let Replayed { ring, next, prev, good, left, torn } = replay(&bytes, begin);
        let mut damaged = None;
        match (left, torn) {
            (0, false) => {}
            // One append is one line, and its end is written last: a line with its end that does not follow was changed.
            (0, true) => {
                journal.cut(good).map_err(Fault::disk("cut the journal", &path))?;
                let what = format!("cut {} bytes of a line that was never whole", bytes.len() as u64 - good);
                notes.push(Note { path: path.clone(), what });
            }
            (lines, _) => damaged = Some(format!("{lines} lines at its end do not follow the ones before")),
        }
        if damaged.is_none() && holds_more(&dir, &ring) {
            damaged =
                Some("it does not know copies that were accepted here: it is lost, or an older one".into());
        }
        if let Some(why) = &damaged {
            notes.push(Note { path, what: format!("the journal was changed: {why}") });
        }
        let shelf = Shelf { ring, journal, next, prev, books: BTreeMap::new(), damaged };
        let series = Self { id, dir, shelf: Mutex::new(shelf), bytes: AtomicU64::new(0) };
        series.count(&mut notes);
        Ok((series, notes))
    }

    /// Bytes that it holds.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// So many bytes came.
    pub fn grow(&self, bytes: u64) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// The ring as it is.
    pub fn ring(&self) -> Ring {
        self.lock().ring.clone()
    }

    /// Reads the ring without copying it.
    pub fn with_ring<T>(&self, read: impl FnOnce(&Ring) -> T) -> T {
        read(&self.lock().ring)
    }

    /// Its generations as others are told.
    pub fn facts(&self) -> Vec<GenerationFacts> {
        let shelf = self.lock();
        shelf.ring.facts(&self.id, |id| {
            let goes_on = shelf.ring.get(id).is_some_and(|g| g.state == State::Candidate);
            shelf.books.get(&id).filter(|_| goes_on).map(|books| books.held())
        })
    }

    /// Decides and writes down what was decided, in one step that nobody else comes between. Returns what `decide`
    /// returns beside the events.
    ///
    /// # Errors
    /// What `decide` refuses; a damaged journal; the disk. The ring is as before then.
    pub fn change<T>(
        &self,
        now: Timestamp,
        decide: impl FnOnce(&Ring) -> Result<(Vec<Event>, T), Fault>,
    ) -> Result<T, Fault> {
        let mut shelf = self.lock();
        shelf.sound()?;
        let (events, value) = decide(&shelf.ring)?;
        shelf.write(now, events)?;
        Ok(value)
    }

    /// The books of a generation that is not erased.
    ///
    /// # Errors
    /// When there is none, or its journal is damaged.
    pub fn books(&self, id: GenerationId) -> Result<Arc<Books>, Fault> {
        let mut shelf = self.lock();
        if let Some(books) = shelf.books.get(&id) {
            return Ok(books.clone());
        }
        // What takes no more is read beside whatever else is done; what does has one keeper from its first moment.
        if shelf.ring.get(id).is_none_or(|generation| generation.state == State::Candidate) {
            let books = Arc::new(self.open_books(&shelf.ring, id)?.0);
            shelf.books.insert(id, books.clone());
            return Ok(books);
        }
        let ring = shelf.ring.clone();
        drop(shelf);
        let books = Arc::new(self.open_books(&ring, id)?.0);
        let mut shelf = self.lock();
        match shelf.ring.get(id).is_some_and(|generation| generation.state != State::Erasing) {
            true => Ok(shelf.books.entry(id).or_insert(books).clone()),
            false => Ok(books),
        }
    }

    /// Lets go of books that nobody reads and that take no more.
    pub fn tidy(&self) {
        let mut shelf = self.lock();
        let Shelf { ring, books, .. } = &mut *shelf;
        books.retain(|id, books| {
            // None can be had meanwhile without the lock that is held here.
            ring.takes(*id) || Arc::strong_count(books) > 1
        });
    }

    /// The directory of a generation.
    pub fn place(&self, id: GenerationId) -> PathBuf {
        self.dir.join(id.to_string())
    }

    /// The receipt of an accepted slot.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn receipt(&self, id: GenerationId, slot: SlotKey) -> Result<String, Fault> {
        let path = self.place(id).join(place::receipt(slot));
        let mut text = String::new();
        File::open(&path)
            .and_then(|file| file.take(64 << 10).read_to_string(&mut text))
            .map_err(Fault::disk("read the receipt", &path))?;
        Ok(text)
    }

    /// Generations that are being erased.
    pub fn erasing(&self) -> Vec<GenerationId> {
        let shelf = self.lock();
        if shelf.damaged.is_some() {
            return Vec::new();
        }
        let erasing = shelf.ring.iter().filter(|(_, g)| g.state == State::Erasing);
        erasing.map(|(id, _)| id).collect()
    }

    /// Erases the objects of a generation that the journal says is being erased; goes on where an earlier try stopped.
    /// Seals and receipts stay: they are evidence and hold no data.
    ///
    /// # Errors
    /// When the disk refuses; it is tried again later.
    pub fn erase(&self, id: GenerationId, now: Timestamp) -> Result<(u64, u64), Fault> {
        let dir = self.place(id);
        let held = self.lock().ring.get(id).and_then(|g| g.last_sealed().map(|s| (s.objects, s.bytes)));
        let before = self.total_of(id);
        self.lock().books.remove(&id);
        for part in ["repo", "escrow"] {
            let path = dir.join(part);
            match fs::remove_dir_all(&path) {
                Ok(()) => {}
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
                Err(e) => return Err(Fault::disk("erase", &path)(e)),
            }
        }
        let journal = dir.join("objects.journal");
        match fs::remove_file(&journal) {
            Ok(()) => {}
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
            Err(e) => return Err(Fault::disk("erase", &journal)(e)),
        }
        if dir.exists() {
            sync_dir(&dir)?;
        }
        let (files, bytes) = before.or(held).unwrap_or_default();
        self.change(now, |_| Ok((vec![Event::Erased { generation: id, files, bytes }], ())))?;
        let less = |known: u64| Some(known.saturating_sub(bytes));
        // The closure always gives a value, so the update cannot fail.
        let _ = self.bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
        Ok((files, bytes))
    }

    fn total_of(&self, id: GenerationId) -> Option<(u64, u64)> {
        if !self.place(id).join("objects.journal").exists() {
            return None;
        }
        let shelf = self.lock();
        match shelf.books.get(&id) {
            Some(books) => Some(books.held()),
            None => self.open_books(&shelf.ring, id).ok().map(|(books, _)| books.held()),
        }
    }

    fn open_books(&self, ring: &Ring, id: GenerationId) -> Result<(Books, Option<super::books::Cut>), Fault> {
        let path = self.place(id);
        let Some(generation) = ring.get(id) else {
            return Err(Fault::Damaged { path, why: "there is no such generation".into() });
        };
        let last = generation.last_sealed();
        // config and key were on disk before the generation was written down
        let floor = last.map_or(2, |sealed| sealed.sequence);
        Books::open(&path, floor, last.map_or(0, |sealed| sealed.upto))
    }

    /// Counts what its generations hold, and looks for torn journals at once.
    fn count(&self, notes: &mut Vec<Note>) {
        let mut shelf = self.lock();
        let ids: Vec<(GenerationId, State)> = shelf.ring.iter().map(|(id, g)| (id, g.state)).collect();
        let mut sum = 0;
        for (id, state) in ids.into_iter().filter(|(_, state)| *state != State::Erasing) {
            let opened = self.open_books(&shelf.ring, id);
            match opened {
                Ok((books, cut)) => {
                    if let Some(cut) = cut {
                        let what = format!("cut {} bytes of lines that had never counted", cut.bytes);
                        notes.push(Note { path: self.place(id).join("objects.journal"), what });
                    }
                    sum += books.held().1;
                    if state == State::Candidate {
                        shelf.books.insert(id, Arc::new(books));
                    }
                }
                Err(fault) => notes.push(Note { path: self.place(id), what: fault.to_string() }),
            }
        }
        self.bytes.store(sum, Ordering::Relaxed);
    }

    fn lock(&self) -> MutexGuard<'_, Shelf> {
        self.shelf.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Does a copy stand in the directory of a series that was accepted once and that its ring knows nothing of? What was
/// erased has no list of objects any more; what was begun and never written down has no receipt.
pub(super) fn holds_more(dir: &Path, ring: &Ring) -> bool {
    let Ok(entries) = fs::read_dir(dir) else { return false };
    entries.flatten().any(|entry| {
        let id = entry.file_name().to_str().and_then(|name| name.parse::<GenerationId>().ok());
        id.is_some_and(|id| ring.get(id).is_none())
            && entry.path().join("objects.journal").exists()
            && fs::read_dir(entry.path().join("seals")).is_ok_and(|seals| {
                seals.flatten().any(|seal| seal.file_name().to_string_lossy().ends_with(".receipt.dsse"))
            })
    })
}

impl Shelf {
    fn sound(&self) -> Result<(), Fault> {
        match &self.damaged {
            None => Ok(()),
            Some(why) => Err(Fault::Damaged { path: self.journal.path().into(), why: why.clone() }),
        }
    }

    /// One line with all events, durable before the ring moves.
    fn write(&mut self, at: Timestamp, events: Vec<Event>) -> Result<(), Fault> {
        if events.is_empty() {
            return Ok(());
        }
        let mut ring = self.ring.clone();
        for event in &events {
            ring.apply(at, event)?;
        }
        let line = Line { seq: self.next, prev: self.prev, at, events };
        let mut bytes = serde_json::to_vec(&line)
            .map_err(|e| Fault::Damaged { path: self.journal.path().into(), why: e.to_string() })?;
        let hash = Hash::of(&bytes);
        bytes.push(b'\n');
        let path = self.journal.path().to_path_buf();
        self.journal.append(&bytes).map_err(Fault::disk("write to the journal", &path))?;
        (self.ring, self.next, self.prev) = (ring, self.next + 1, hash);
        Ok(())
    }
}

/// What a journal's bytes say.
#[derive(Debug)]
pub(super) struct Replayed {
    /// The state after its good lines.
    pub ring: Ring,
    /// Number of the next line.
    pub next: u64,
    /// What the next line names as before it.
    pub prev: Hash,
    /// Bytes of good lines.
    pub good: u64,
    /// Whole lines behind them that do not follow.
    pub left: usize,
    /// Does it end in the middle of a line?
    pub torn: bool,
}

/// What the first line of a series names as before it.
pub(super) fn genesis(series: &SeriesId) -> Hash {
    Hash::of(format!("tenure series {series}").as_bytes())
}

/// Replays a journal up to the first line that does not follow.
pub(super) fn replay(bytes: &[u8], begin: Hash) -> Replayed {
    let mut out = Replayed { ring: Ring::default(), next: 1, prev: begin, good: 0, left: 0, torn: false };
    let (lines, rest) = whole_lines(bytes);
    for line in lines {
        if out.left > 0 || !out.takes(line) {
            out.left += 1;
        }
    }
    out.torn = !rest.is_empty();
    out
}

impl Replayed {
    fn takes(&mut self, line: &[u8]) -> bool {
        let Ok(read) = serde_json::from_slice::<Line>(line) else { return false };
        if (read.seq, read.prev) != (self.next, self.prev) {
            return false;
        }
        let mut ring = self.ring.clone();
        if read.events.is_empty() || read.events.iter().any(|event| ring.apply(read.at, event).is_err()) {
            return false;
        }
        (self.ring, self.next, self.prev) = (ring, self.next + 1, Hash::of(line));
        self.good += line.len() as u64 + 1;
        true
    }
}

/// Makes what was done in a directory durable.
///
/// # Errors
/// When the disk refuses.
pub(super) fn sync_dir(dir: &Path) -> Result<(), Fault> {
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(Fault::disk("make durable", dir))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tenure_trust::{HostName, Owner, SetName, SlotTime, VaultName};

    use super::*;
    use crate::ring::CloseReason;

    fn id() -> SeriesId {
        SeriesId {
            vault: VaultName::new("vault1").unwrap(),
            host: HostName::new("web1").unwrap(),
            owner: Owner::Host,
            set: SetName::Server,
        }
    }

    fn now() -> Timestamp {
        "2026-11-23T06:00:00Z".parse().unwrap()
    }

    fn generation() -> GenerationId {
        "2026-11-23.1".parse().unwrap()
    }

    fn open() -> Vec<Event> {
        let slot = SlotKey { at: SlotTime::new(6, 0).unwrap(), manual: false };
        vec![
            Event::Open {
                generation: generation(),
                config: Hash::of(b"c"),
                key: Hash::of(b"k"),
                recipients: vec!["age1a".into(), "age1b".into()],
            },
            Event::Begin { generation: generation(), slot },
        ]
    }

    fn journal() -> (tempfile::TempDir, Vec<u8>) {
        let dir = tempfile::tempdir().unwrap();
        let (series, _) = Series::load(id(), dir.path().into()).unwrap();
        series.change(now(), |_| Ok((open(), ()))).unwrap();
        let close = Event::Close { generation: generation(), why: CloseReason::Late };
        series.change(now(), |_| Ok((vec![close], ()))).unwrap();
        let bytes = fs::read(dir.path().join(place::SERIES_JOURNAL)).unwrap();
        (dir, bytes)
    }

    #[test]
    fn a_journal_gives_the_same_ring_again_and_a_torn_line_is_cut_and_told() {
        let (dir, bytes) = journal();
        let path = dir.path().join(place::SERIES_JOURNAL);
        let (series, _) = Series::load(id(), dir.path().into()).unwrap();
        assert_eq!(series.ring().get(generation()).unwrap().state, State::Closed);
        fs::write(&path, &bytes[..bytes.len() - 5]).unwrap();
        let (series, notes) = Series::load(id(), dir.path().into()).unwrap();
        assert_eq!(series.ring().get(generation()).unwrap().state, State::Candidate);
        assert!(notes.iter().any(|note| note.what.contains("never whole")), "{notes:?}");
    }

    #[test]
    fn a_changed_line_stops_every_change_and_erases_nothing() {
        let (dir, bytes) = journal();
        let path = dir.path().join(place::SERIES_JOURNAL);
        let mut changed = bytes.clone();
        changed[30] ^= 1;
        fs::write(&path, &changed).unwrap();
        let (series, notes) = Series::load(id(), dir.path().into()).unwrap();
        assert!(notes.iter().any(|note| note.what.contains("changed")), "{notes:?}");
        let refused = series.change(now(), |_| Ok((open(), ())));
        assert!(matches!(refused, Err(Fault::Damaged { .. })));
        assert_eq!(fs::read(&path).unwrap(), changed, "it stays as it is, for a person to look at");
    }

    #[test]
    fn a_whole_last_line_that_does_not_follow_is_never_cut() {
        let (dir, bytes) = journal();
        let path = dir.path().join(place::SERIES_JOURNAL);
        let mut changed = bytes.clone();
        let last = bytes.len() - 30;
        changed[last] ^= 1;
        fs::write(&path, &changed).unwrap();
        let (series, notes) = Series::load(id(), dir.path().into()).unwrap();
        assert!(notes.iter().any(|note| note.what.contains("changed")), "{notes:?}");
        assert!(matches!(series.change(now(), |_| Ok((Vec::new(), ()))), Err(Fault::Damaged { .. })));
        assert_eq!(fs::read(&path).unwrap(), changed);
    }

    proptest! {
        #[test]
        fn no_byte_of_a_journal_can_be_changed_unnoticed(at in 0usize..2000, to: u8) {
            let (_dir, bytes) = journal();
            let whole = replay(&bytes, genesis(&id()));
            prop_assert_eq!(whole.left, 0);
            let mut changed = bytes.clone();
            let at = at % (bytes.len() - 1);
            changed[at] = to;
            let read = replay(&changed, genesis(&id()));
            prop_assert!(changed == bytes || read.left > 0 || read.torn || read.prev != whole.prev);
        }

        #[test]
        fn any_bytes_do_no_harm(bytes: Vec<u8>) {
            let read = replay(&bytes, genesis(&id()));
            prop_assert!(read.good <= bytes.len() as u64);
        }
    }
}
