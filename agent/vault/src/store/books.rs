//! The books of one generation: which object the vault has taken, in which order and when. An object that is not in them
//! does not exist, whatever lies on the disk. Puts of several channels share one sync of the journal.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use tenure_trust::{Hash, Object, ObjectKind, Point, backup};

use super::entry::{Entry, FIRST_CHECK, What};
use super::fault::Fault;
use super::lines::{LineFile, whole_lines};
use super::place;

/// The most bytes of a journal: about two million objects.
const MAX_JOURNAL: u64 = 256 << 20;

/// The books of a generation.
#[derive(Debug)]
pub struct Books {
    repo: PathBuf,
    inner: Mutex<Inner>,
    turn: Condvar,
}

#[derive(Debug)]
struct Inner {
    /// None while the leader of a group writes.
    journal: Option<LineFile>,
    entries: Vec<Entry>,
    /// Kind and name → place in `entries`.
    index: HashMap<(ObjectKind, Hash), usize>,
    /// Places in `entries` of the packs, by the first byte of their name.
    packs: Vec<Vec<usize>>,
    /// Places of everything that is no pack: few.
    others: Vec<usize>,
    check: String,
    bytes: u64,
    objects: u64,
    waiting: Vec<Ticket>,
    next_ticket: u64,
    /// Results of tickets whose owners have not come back yet.
    done: HashMap<u64, Result<u64, String>>,
    /// Everything up to here was read back and hashed.
    verified: u64,
    /// What the disk did not give back as it came.
    spoilt: HashSet<(ObjectKind, Hash)>,
}

#[derive(Debug)]
struct Ticket {
    number: u64,
    what: What,
    at: Timestamp,
}

/// What was found when the books were opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Cut {
    /// Bytes at the end of the journal that were cut: they had never counted.
    pub bytes: u64,
}

impl Books {
    /// Opens the books of the generation in `dir`. `floor` is the sequence number up to which the series' journal knows
    /// of entries: a journal that ends before it was changed.
    ///
    /// # Errors
    /// `Damaged`, or the disk.
    pub(super) fn open(dir: &Path, floor: u64, verified: u64) -> Result<(Self, Option<Cut>), Fault> {
        let path = dir.join("objects.journal");
        let (mut journal, bytes) =
            LineFile::open(&path, MAX_JOURNAL).map_err(Fault::disk("open the journal", &path))?;
        let mut inner = Inner {
            journal: None,
            entries: Vec::new(),
            index: HashMap::new(),
            packs: vec![Vec::new(); 256],
            others: Vec::new(),
            check: FIRST_CHECK.into(),
            bytes: 0,
            objects: 0,
            waiting: Vec::new(),
            next_ticket: 0,
            done: HashMap::new(),
            verified,
            spoilt: HashSet::new(),
        };
        let mut good = 0;
        for line in whole_lines(&bytes).0 {
            match Entry::parse(line, &inner.check) {
                Some((entry, check)) if entry.sequence == inner.entries.len() as u64 + 1 => {
                    inner.take(entry, check);
                    good += line.len() as u64 + 1;
                }
                _ => break,
            }
        }
        let cut = bytes.len() as u64 - good;
        if (inner.entries.len() as u64) < floor {
            let why = format!("it ends at {} and has been at {floor}", inner.entries.len());
            return Err(Fault::Damaged { path, why });
        }
        if cut > 0 {
            journal.cut(good).map_err(Fault::disk("cut the journal", &path))?;
        }
        inner.journal = Some(journal);
        let books = Self { repo: dir.join("repo"), inner: Mutex::new(inner), turn: Condvar::new() };
        Ok((books, (cut > 0).then_some(Cut { bytes: cut })))
    }

    /// The last sequence number.
    pub fn last(&self) -> u64 {
        self.lock().entries.len() as u64
    }

    /// Objects and their bytes.
    pub fn held(&self) -> (u64, u64) {
        let inner = self.lock();
        (inner.objects, inner.bytes)
    }

    /// Is this very object in the books, and as far as is known whole on the disk?
    pub fn has(&self, object: &Object) -> bool {
        let inner = self.lock();
        inner.find(object).is_some() && !inner.spoilt.contains(&(object.kind, object.name))
    }

    /// This object was read back and is not what came: it may come again, under the number that it has.
    pub fn spoilt(&self, object: &Object) {
        self.lock().spoilt.insert((object.kind, object.name));
    }

    /// The sequence number that a point means; none when there is no such state yet. `sealed`: up to where the last seal
    /// counts.
    pub fn resolve(&self, point: Point, sealed: Option<u64>) -> Option<u64> {
        let inner = self.lock();
        match point {
            Point::Sequence(sequence) => Some(sequence.min(inner.entries.len() as u64)),
            Point::LastSeal => sealed,
            Point::Time(time) => Some(inner.entries.partition_point(|entry| entry.at <= time) as u64),
        }
    }

    /// The object of this kind and name, if it was taken by `upto`, and when.
    pub fn look(&self, kind: ObjectKind, name: &Hash, upto: u64) -> Option<(Object, Timestamp)> {
        let inner = self.lock();
        let entry = inner.entries.get(*inner.index.get(&(kind, *name))?)?;
        match &entry.what {
            What::Object(object) if entry.sequence <= upto => Some((object.clone(), entry.at)),
            _ => None,
        }
    }

    /// The objects taken by `upto`, in their order.
    pub fn objects(&self, upto: u64) -> Vec<(Object, Timestamp)> {
        let inner = self.lock();
        let until = usize::try_from(upto).unwrap_or(usize::MAX).min(inner.entries.len());
        let objects = inner.entries[..until].iter().filter_map(|entry| match &entry.what {
            What::Object(object) => Some((object.clone(), entry.at)),
            What::Seal(_) => None,
        });
        objects.collect()
    }

    /// First bytes of the names of the packs taken by `upto`, in their order.
    pub fn pack_dirs(&self, upto: u64) -> Vec<u8> {
        let inner = self.lock();
        // The first of a byte was taken before the others of it.
        let by =
            |places: &Vec<usize>| places.first().is_some_and(|place| inner.entries[*place].sequence <= upto);
        (0..=u8::MAX).filter(|first| by(&inner.packs[usize::from(*first)])).collect()
    }

    /// Is there a pack whose name begins with this byte, taken by `upto`?
    pub fn has_pack_dir(&self, first: u8, upto: u64) -> bool {
        let inner = self.lock();
        let place = inner.packs[usize::from(first)].first();
        place.is_some_and(|place| inner.entries[*place].sequence <= upto)
    }

    /// The packs of one directory taken by `upto`, in their order.
    pub fn packs(&self, first: u8, upto: u64) -> Vec<(Object, Timestamp)> {
        let inner = self.lock();
        inner.listed(&inner.packs[usize::from(first)], upto, ObjectKind::Data)
    }

    /// The objects of a kind that is no pack taken by `upto`, in their order.
    pub fn kind(&self, kind: ObjectKind, upto: u64) -> Vec<(Object, Timestamp)> {
        let inner = self.lock();
        inner.listed(&inner.others, upto, kind)
    }

    /// Root, count and bytes of the objects up to there, by these books.
    pub fn root(&self, upto: u64) -> (Hash, u64, u64) {
        let objects = self.objects(upto);
        let bytes = objects.iter().map(|(object, _)| object.size).sum();
        (backup::object_root(objects.iter().map(|(object, _)| object)), objects.len() as u64, bytes)
    }

    /// Where a seal was written down, if it was.
    pub fn seal_entry(&self, seal: &Hash) -> Option<u64> {
        let inner = self.lock();
        let mut found = inner.entries.iter().filter(|entry| entry.what == What::Seal(*seal));
        found.next().map(|entry| entry.sequence)
    }

    /// Up to where everything was read back and hashed.
    pub fn verified(&self) -> u64 {
        self.lock().verified
    }

    /// Everything up to there was read back and hashed.
    pub fn set_verified(&self, upto: u64) {
        let mut inner = self.lock();
        inner.verified = inner.verified.max(upto);
    }

    /// Writes an entry down durably and gives its sequence number; an object that is there already keeps the one it has.
    /// The caller has put the object in place; its directory is synced here, together with those of other channels.
    ///
    /// # Errors
    /// When the disk refuses: nothing counts then.
    pub(super) fn add(&self, what: What, at: Timestamp) -> Result<u64, Fault> {
        let at = Timestamp::from_millisecond(at.as_millisecond()).unwrap_or(at);
        let mut inner = self.lock();
        let number = inner.next_ticket;
        inner.next_ticket += 1;
        inner.waiting.push(Ticket { number, what, at });
        loop {
            if let Some(result) = inner.done.remove(&number) {
                return result.map_err(|why| Fault::Disk {
                    doing: "write an entry of",
                    path: self.repo.with_file_name("objects.journal"),
                    source: std::io::Error::new(kind_of(&why), why),
                });
            }
            let Some(journal) = inner.journal.take() else {
                inner = self.turn.wait(inner).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            inner = self.lead(inner, journal);
        }
    }

    /// Writes everything that waits in one go.
    fn lead<'a>(&'a self, mut inner: MutexGuard<'a, Inner>, mut journal: LineFile) -> MutexGuard<'a, Inner> {
        let group = std::mem::take(&mut inner.waiting);
        let (mut lines, mut check) = (String::new(), inner.check.clone());
        let mut sequence = inner.entries.len() as u64;
        let mut fresh: Vec<(Entry, String)> = Vec::new();
        let mut places: Vec<(u64, u64)> = Vec::new();
        let mut dirs: BTreeSet<PathBuf> = BTreeSet::new();
        for ticket in group {
            let known = match &ticket.what {
                What::Object(object) => inner.find(object),
                What::Seal(_) => None,
            };
            let twin = || fresh.iter().find(|(e, _)| e.what == ticket.what).map(|(e, _)| e.sequence);
            if let Some(place) = known.or_else(twin) {
                if let What::Object(object) = &ticket.what {
                    // Its new bytes stand under the same name: what is written again is believed again.
                    dirs.extend(place::dirs(&self.repo, object));
                    inner.spoilt.remove(&(object.kind, object.name));
                }
                places.push((ticket.number, place));
                continue;
            }
            if let What::Object(object) = &ticket.what {
                dirs.extend(place::dirs(&self.repo, object));
            }
            sequence += 1;
            // Time never goes back in the books: views by time depend on it.
            let before = fresh.last().map(|(e, _)| e.at).or(inner.entries.last().map(|e| e.at));
            let at = before.map_or(ticket.at, |before| before.max(ticket.at));
            let entry = Entry { sequence, at, what: ticket.what };
            let (line, own) = entry.line(&check);
            lines.push_str(&line);
            lines.push('\n');
            check = own;
            places.push((ticket.number, sequence));
            fresh.push((entry, check.clone()));
        }
        drop(inner);
        let written = dirs
            .iter()
            .try_for_each(|dir| File::open(dir).and_then(|dir| dir.sync_all()))
            .and_then(|()| if lines.is_empty() { Ok(()) } else { journal.append(lines.as_bytes()) });
        let mut inner = self.lock();
        match written {
            Ok(()) => {
                for (entry, check) in fresh {
                    inner.take(entry, check);
                }
                inner.done.extend(places.into_iter().map(|(number, place)| (number, Ok(place))));
            }
            Err(error) => {
                let why = error.to_string();
                inner.done.extend(places.into_iter().map(|(number, _)| (number, Err(why.clone()))));
            }
        }
        inner.journal = Some(journal);
        self.turn.notify_all();
        inner
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn take(&mut self, entry: Entry, check: String) {
        if let What::Object(object) = &entry.what {
            let place = self.entries.len();
            self.index.entry((object.kind, object.name)).or_insert(place);
            match object.kind {
                ObjectKind::Data => self.packs[usize::from(object.name.as_bytes()[0])].push(place),
                _ => self.others.push(place),
            }
            self.objects += 1;
            self.bytes += object.size;
        }
        self.entries.push(entry);
        self.check = check;
    }

    fn listed(&self, places: &[usize], upto: u64, kind: ObjectKind) -> Vec<(Object, Timestamp)> {
        let entries = places.iter().map(|place| &self.entries[*place]);
        let taken = entries.take_while(|entry| entry.sequence <= upto);
        let objects = taken.filter_map(|entry| match &entry.what {
            What::Object(object) if object.kind == kind => Some((object.clone(), entry.at)),
            _ => None,
        });
        objects.collect()
    }

    fn find(&self, object: &Object) -> Option<u64> {
        let entry = self.entries.get(*self.index.get(&(object.kind, object.name))?)?;
        matches!(&entry.what, What::Object(known) if known == object).then_some(entry.sequence)
    }
}

/// The kernel's kind of error survives the way through a text, as far as it matters.
fn kind_of(why: &str) -> std::io::ErrorKind {
    if why.contains("os error 28") || why.contains("os error 122") {
        std::io::ErrorKind::StorageFull
    } else {
        std::io::ErrorKind::Other
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn object(n: u32) -> Object {
        Object { kind: ObjectKind::Data, name: Hash::of(&n.to_be_bytes()), size: u64::from(n) }
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_700_000_000 + seconds).unwrap()
    }

    fn books(dir: &Path) -> Books {
        for n in 0..200 {
            place::dirs(&dir.join("repo"), &object(n))
                .iter()
                .for_each(|d| std::fs::create_dir_all(d).unwrap());
        }
        Books::open(dir, 0, 0).unwrap().0
    }

    #[test]
    fn many_channels_get_each_its_own_number_and_all_survive() {
        let dir = tempfile::tempdir().unwrap();
        let books = Arc::new(books(dir.path()));
        let threads: Vec<_> = (0..8u32)
            .map(|t| {
                let books = books.clone();
                std::thread::spawn(move || {
                    (0..20)
                        .map(|n| books.add(What::Object(object(t * 20 + n)), at(0)).unwrap())
                        .collect::<Vec<_>>()
                })
            })
            .collect();
        let mut all: Vec<u64> = threads.into_iter().flat_map(|t| t.join().unwrap()).collect();
        all.sort_unstable();
        assert_eq!(all, (1..=160).collect::<Vec<_>>());
        let known = books.look(ObjectKind::Data, &object(3).name, 160);
        let again = books.add(What::Object(object(3)), at(9)).unwrap();
        assert!(known.is_some() && again <= 160 && books.last() == 160, "it keeps its number");
        let root = books.root(160);
        drop(books);
        let (again, cut) = Books::open(dir.path(), 160, 0).unwrap();
        assert_eq!((again.last(), cut, again.root(160)), (160, None, root));
    }

    #[test]
    fn what_a_directory_lists_is_what_all_objects_say_at_every_moment() {
        let dir = tempfile::tempdir().unwrap();
        let books = books(dir.path());
        std::fs::create_dir(dir.path().join("repo/index")).unwrap();
        for n in 0..150 {
            let kind = if n % 5 == 0 { ObjectKind::Index } else { ObjectKind::Data };
            let object = Object { kind, ..object(n) };
            books.add(What::Object(object), at(0)).unwrap();
        }
        for upto in [0, 1, 2, 40, 149, 150, u64::MAX] {
            let all = books.objects(upto);
            let packs = |first: u8| {
                let of = |o: &Object| o.kind == ObjectKind::Data && o.name.as_bytes()[0] == first;
                all.iter().filter(|(o, _)| of(o)).cloned().collect::<Vec<_>>()
            };
            let dirs: Vec<u8> = (0..=u8::MAX).filter(|first| !packs(*first).is_empty()).collect();
            assert_eq!(books.pack_dirs(upto), dirs, "{upto}");
            for first in 0..=u8::MAX {
                assert_eq!(books.packs(first, upto), packs(first), "{upto}");
                assert_eq!(books.has_pack_dir(first, upto), dirs.contains(&first), "{upto}");
            }
            let index: Vec<_> = all.iter().filter(|(o, _)| o.kind == ObjectKind::Index).cloned().collect();
            assert_eq!(books.kind(ObjectKind::Index, upto), index, "{upto}");
        }
    }

    #[test]
    fn a_torn_end_is_cut_and_told_and_a_lost_one_is_damage() {
        let dir = tempfile::tempdir().unwrap();
        let first = books(dir.path());
        for n in 0..3 {
            first.add(What::Object(object(n)), at(i64::from(n))).unwrap();
        }
        drop(first);
        let path = dir.path().join("objects.journal");
        let whole = std::fs::read(&path).unwrap();
        for cut in [1, 30, 100] {
            std::fs::write(&path, &whole[..whole.len() - cut]).unwrap();
            let (books, told) = Books::open(dir.path(), 0, 0).unwrap();
            assert_eq!(books.last(), 2);
            assert!(told.is_some());
            assert_eq!(books.add(What::Object(object(9)), at(9)).unwrap(), 3, "and it goes on behind");
        }
        std::fs::write(&path, &whole[..whole.len() - 1]).unwrap();
        assert!(
            matches!(Books::open(dir.path(), 3, 0), Err(Fault::Damaged { .. })),
            "3 has been acknowledged"
        );
        let mut changed = whole.clone();
        changed[40] ^= 1;
        std::fs::write(&path, &changed).unwrap();
        assert!(matches!(Books::open(dir.path(), 3, 0), Err(Fault::Damaged { .. })));
        std::fs::write(&path, &whole).unwrap();
        assert!(Books::open(dir.path(), 3, 0).is_ok());
    }

    #[test]
    fn a_view_by_time_or_number_shows_what_was_there() {
        let dir = tempfile::tempdir().unwrap();
        let books = books(dir.path());
        for n in 0..3 {
            books.add(What::Object(object(n)), at(i64::from(n) * 10)).unwrap();
        }
        books.add(What::Object(object(3)), at(5)).unwrap();
        assert_eq!(books.resolve(Point::Time(at(10)), None), Some(2));
        assert_eq!(books.resolve(Point::Time(at(-1)), None), Some(0));
        assert_eq!(
            books.resolve(Point::Time(at(20)), None),
            Some(4),
            "a clock set back moves nothing before"
        );
        assert_eq!(books.resolve(Point::Sequence(99), None), Some(4));
        assert_eq!(books.resolve(Point::LastSeal, None), None);
        assert!(books.look(ObjectKind::Data, &object(2).name, 2).is_none());
        assert!(books.look(ObjectKind::Data, &object(2).name, 3).is_some());
        assert!(books.look(ObjectKind::Index, &object(2).name, 3).is_none());
    }
}
