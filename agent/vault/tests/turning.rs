//! A ring on disk over weeks, with a vault that dies at each point of a turn: which copy can be read is known at every moment.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test may fail here; clippy sees only `#[test]` itself"
)]

mod common;

use std::fs;
use std::path::{Path, PathBuf};

use common::*;
use jiff::civil::{Date, date};
use jiff::{SignedDuration, Timestamp, ToSpan};
use tenure_link::Identity;
use tenure_policy::calendar::Zone;
use tenure_sys::files::Roots;
use tenure_trust::vault_wire::{AsideReason, GenerationState};
use tenure_trust::*;
use tenure_vault::ring::{Found, Looked, Rules, State};
use tenure_vault::store::{self, Again, Fault, Signer, Store, Terms};

const MONDAY: Date = date(2026, 11, 23);

/// A vault that is started anew for everything it does.
struct Disk {
    dir: tempfile::TempDir,
    identity: Identity,
}

impl Disk {
    fn new() -> Self {
        let dir = tempfile::tempdir_in("/run").expect("these tests run as root");
        let state = dir.path().join("state");
        let roots = Roots::new([dir.path()]).unwrap();
        roots.make_dir(&state, 0o700).unwrap();
        let identity = Identity::create(&state, &roots, &host("vault1")).unwrap();
        Self { dir, identity }
    }

    fn start(&self) -> Store {
        Store::open(&self.dir.path().join("store"), vault_name()).unwrap().0
    }

    fn place(&self, id: GenerationId) -> PathBuf {
        self.dir.path().join("store").join(id_of().path()).join(id.to_string())
    }

    /// A run of this date's 06:00 with these bytes in its pack.
    fn run(&self, date: Date, pack: &[u8]) -> Result<GenerationId, Fault> {
        let store = self.start();
        let slot = SlotId { series: id_of(), date, at: "06:00".parse().unwrap(), manual: false };
        let now = rules().zone.slot(date, slot.at);
        let opened = store.open_generation(&terms(), &open(slot.clone()), now)?;
        let mut objects = frozen();
        let mut upto = 0;
        for (kind, bytes) in [
            (ObjectKind::Data, pack),
            (ObjectKind::Index, b"an index".as_slice()),
            (ObjectKind::Snapshot, b"a snapshot".as_slice()),
        ] {
            let object = object(kind, bytes);
            let mut incoming = store.begin_put(&terms(), &opened, &object)?;
            incoming.write(bytes)?;
            upto = store.finish_put(&opened, incoming, now)?;
            objects.push(object);
        }
        let seal = seal(&slot, opened.generation, &objects, Hash::of(b"a snapshot"), upto);
        let text = Signed::new(&seal, &[&key(10)]).to_json();
        let signer = Signer { identity: &self.identity, uptime: 1 };
        store.seal(&terms(), &opened, &text, &key(10).public(), signer, now)?;
        Ok(opened.generation)
    }

    /// Decides what is due a day later and writes it down; nothing of it is carried out yet.
    fn due(&self, date: Date) {
        let store = self.start();
        let series = store.get(&id_of()).expect("it lies there");
        let now = evening(date);
        turned(&series, &rules(), now);
    }

    /// The first half of it: the date is closed, and nobody has looked at what it holds again.
    fn close(&self, date: Date) {
        let store = self.start();
        let series = store.get(&id_of()).expect("it lies there");
        let now = evening(date);
        let nothing = Looked::default();
        series.change(now, |ring| Ok((ring.due(&rules(), now, None, &nothing).events, ()))).unwrap();
        assert_eq!(self.start().get(&id_of()).unwrap().erasing(), [], "nothing is given up for it yet");
    }

    /// Goes on with what is being erased, as every start does.
    fn erase(&self, date: Date) {
        let store = self.start();
        let series = store.get(&id_of()).expect("it lies there");
        for id in series.erasing() {
            series.erase(id, evening(date)).unwrap();
        }
    }

    fn state(&self, id: GenerationId) -> Option<State> {
        let store = self.start();
        store.get(&id_of()).and_then(|series| series.ring().get(id).map(|g| g.state))
    }

    /// The packs that the books of a generation have and the disk gives back as they came.
    fn packs(&self, id: GenerationId) -> Vec<Vec<u8>> {
        let store = self.start();
        let Some(series) = store.get(&id_of()) else { return Vec::new() };
        let Ok(books) = series.books(id) else { return Vec::new() };
        let data = books.objects(u64::MAX).into_iter().filter(|(object, _)| object.kind == ObjectKind::Data);
        data.map(|(object, _)| {
            let name = object.name.to_string();
            let bytes = fs::read(self.place(id).join("repo/data").join(&name[..2]).join(&name)).unwrap();
            assert_eq!(Hash::of(&bytes), object.name);
            bytes
        })
        .collect()
    }
}

fn id_of() -> SeriesId {
    series("web1", None)
}

fn rules() -> Rules {
    Rules {
        at: vec!["06:00".parse().unwrap()],
        catch_up: SignedDuration::from_hours(6),
        zone: Zone::named("Europe/Amsterdam").unwrap(),
    }
}

fn terms() -> Terms {
    Terms {
        fleet: fleet(),
        rules: rules(),
        quota: 1 << 30,
        keep_free: 0,
        recipients: RECIPIENTS.map(str::to_owned).to_vec(),
    }
}

/// When nothing can come any more for this date.
fn evening(date: Date) -> Timestamp {
    rules().zone.slot(date.tomorrow().unwrap(), "05:00".parse().unwrap())
}

fn week(n: i32) -> Date {
    MONDAY.checked_add((7 * n).days()).unwrap()
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy(&entry.path(), &to),
            false => drop(fs::copy(entry.path(), to).unwrap()),
        }
    }
}

#[test]
fn a_week_later_the_new_copy_is_promoted_and_only_then_the_old_one_is_erased() {
    let disk = Disk::new();
    let old = disk.run(week(0), b"the first monday").unwrap();
    assert_eq!(disk.state(old), Some(State::Candidate));
    disk.due(week(0));
    assert_eq!(disk.state(old), Some(State::Current));
    let new = disk.run(week(1), b"the second monday").unwrap();
    assert_eq!((disk.state(old), disk.state(new)), (Some(State::Current), Some(State::Candidate)));
    assert_eq!(disk.packs(old), [b"the first monday"], "untouched beside the candidate");
    disk.due(week(1));
    assert_eq!((disk.state(old), disk.state(new)), (Some(State::Erasing), Some(State::Current)));
    assert!(disk.place(old).join("repo").exists(), "written down before it is done");
    disk.erase(week(1));
    assert_eq!((disk.state(old), disk.state(new)), (None, Some(State::Current)));
    assert!(!disk.place(old).join("repo").exists() && !disk.place(old).join("escrow").exists());
    assert_eq!(disk.packs(new), [b"the second monday"]);
    let facts = disk.start().get(&id_of()).unwrap().facts();
    assert_eq!(facts.iter().filter(|g| g.state == GenerationState::Current).count(), 1);
}

#[test]
fn killed_at_any_point_of_a_turn_a_whole_copy_can_be_read_and_the_turn_ends() {
    // The first points are cuts of the journal's line that promotes: a torn one never was.
    let points =
        ["no line", "half a line", "all but its end", "line", "a pack gone", "books gone", "all gone"];
    for point in points {
        let disk = Disk::new();
        let old = disk.run(week(0), b"the first monday").unwrap();
        disk.due(week(0));
        let new = disk.run(week(1), b"the second monday").unwrap();
        let store = disk.dir.path().join("store").join(id_of().path());
        let journal = fs::read_dir(&store)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .find(|path| path.is_file())
            .expect("the series' journal");
        disk.close(week(1));
        assert_eq!((disk.state(old), disk.state(new)), (Some(State::Current), Some(State::Closed)));
        let before = fs::read(&journal).unwrap();
        disk.due(week(1));
        let after = fs::read(&journal).unwrap();
        let cut = match point {
            "no line" => before.len(),
            "half a line" => (before.len() + after.len()) / 2,
            "all but its end" => after.len() - 1,
            _ => after.len(),
        };
        fs::write(&journal, &after[..cut]).unwrap();
        let place = disk.place(old);
        match point {
            "a pack gone" => fs::remove_dir_all(place.join("repo/data")).unwrap(),
            "books gone" => {
                fs::remove_dir_all(place.join("repo")).unwrap();
                fs::remove_dir_all(place.join("escrow")).unwrap();
                fs::remove_file(place.join("objects.journal")).unwrap();
            }
            "all gone" => fs::remove_dir_all(&place).unwrap(),
            _ => {}
        }
        // As it is found at the start.
        assert_eq!(disk.packs(new), [b"the second monday"], "{point}");
        if cut < after.len() {
            assert_eq!((disk.state(old), disk.packs(old).len()), (Some(State::Current), 1), "{point}");
        } else {
            assert_eq!(disk.state(new), Some(State::Current), "{point}");
        }
        // It goes on by itself, and a second time nothing is left to do.
        for _ in 0..2 {
            disk.due(week(1));
            disk.erase(week(1));
            assert_eq!((disk.state(old), disk.state(new)), (None, Some(State::Current)), "{point}");
            assert_eq!(disk.packs(new), [b"the second monday"], "{point}");
            assert!(!place.join("repo").exists(), "{point}");
        }
        let next = disk.run(week(2), b"the third monday").unwrap();
        disk.due(week(2));
        assert_eq!(disk.state(next), Some(State::Current), "{point}");
    }
}

#[test]
fn a_failed_week_leaves_the_accepted_copy_and_a_small_one_waits_for_an_order() {
    let disk = Disk::new();
    let mut last = Vec::new();
    for day in 0..4 {
        let date = MONDAY.checked_add(day.days()).unwrap();
        last.push(disk.run(date, &[day as u8; 4000]).unwrap());
        disk.due(date);
    }
    let opened = |date: Date| {
        let slot = SlotId { series: id_of(), date, at: "06:00".parse().unwrap(), manual: false };
        let now = rules().zone.slot(date, slot.at);
        disk.start().open_generation(&terms(), &open(slot), now).unwrap().generation
    };
    let failed = opened(week(1));
    disk.due(week(1).tomorrow().unwrap());
    disk.erase(week(1).tomorrow().unwrap());
    assert_eq!(disk.state(failed), Some(State::Aside(AsideReason::Failed)));
    assert_eq!(disk.packs(last[0]), [vec![0; 4000]], "the old copy stays");
    let small = disk.run(week(2), b"half of it is gone").unwrap();
    disk.due(week(2));
    disk.erase(week(2));
    assert_eq!(disk.state(small), Some(State::Aside(AsideReason::Anomalous)));
    assert_eq!(disk.packs(last[0]), [vec![0; 4000]]);
    let store = disk.start();
    let now = evening(week(2));
    let series = store.get(&id_of()).unwrap();
    let mut looked = Looked::default();
    let clear = |looked: &Looked| {
        let order = Hash::of(b"an order");
        let due = series.change(now, |ring| {
            let due = ring.clear(small, order, now, looked)?;
            Ok((due.events.clone(), due))
        });
        due.unwrap()
    };
    let asked = clear(&looked);
    assert_eq!(
        (asked.events.len(), asked.wants.as_slice()),
        (0, [small].as_slice()),
        "it is looked at first"
    );
    let Again::Seen(seal, found, None) = series.look_again(small, || true).unwrap() else { panic!("lost") };
    looked.note(small, seal, found);
    clear(&looked);
    disk.erase(week(2));
    assert_eq!((disk.state(small), disk.state(last[0])), (Some(State::Current), None));
    assert_eq!(disk.packs(small), [b"half of it is gone"]);
}

#[test]
fn a_journal_that_was_put_back_from_an_older_copy_costs_nothing_that_was_accepted() {
    let disk = Disk::new();
    let first = disk.run(week(0), b"the first monday").unwrap();
    disk.due(week(0));
    let store = disk.dir.path().join("store").join(id_of().path());
    let kept = disk.dir.path().join("kept");
    copy(&store, &kept);
    let second = disk.run(week(1), b"the second monday").unwrap();
    for entry in fs::read_dir(&kept).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_file() {
            fs::copy(entry.path(), store.join(entry.file_name())).unwrap();
        }
    }
    assert_eq!(disk.state(second), None, "the journal no longer knows it");
    let refused = disk.run(week(1), b"the second monday, once more");
    assert!(matches!(refused, Err(Fault::Damaged { .. })), "{refused:?}");
    assert!(fs::read_dir(disk.place(second).join("seals")).unwrap().count() > 0, "and it is still there");
    assert_eq!(disk.packs(first), [b"the first monday"]);
}

#[test]
fn a_journal_that_is_lost_or_cannot_be_read_begins_no_new_ring_and_stops_no_vault() {
    let disk = Disk::new();
    let first = disk.run(week(0), b"the first monday").unwrap();
    disk.due(week(0));
    let root = disk.dir.path().join("store");
    let journal = root.join(id_of().path()).join("series.journal");
    let kept = fs::read(&journal).unwrap();
    let nothing: fn(&Path) = |_| ();
    for (what, spoil) in [
        ("lost", nothing),
        ("empty", |path: &Path| fs::write(path, "").unwrap()),
        ("no file", |path: &Path| fs::create_dir(path).unwrap()),
    ] {
        fs::remove_file(&journal).unwrap();
        spoil(&journal);
        let (_, notes) = Store::open(&root, vault_name()).unwrap();
        assert!(!notes.is_empty(), "{what}: it is told");
        let refused = disk.run(week(1), b"the second monday");
        assert!(matches!(refused, Err(Fault::Damaged { .. })), "{what}: {refused:?}");
        let seen = store::look(&root, &vault_name()).unwrap();
        assert!(seen.iter().any(|s| s.id == id_of() && s.damaged.is_some()), "{what}: {seen:?}");
        match fs::remove_file(&journal) {
            Ok(()) => {}
            Err(_) => fs::remove_dir(&journal).unwrap(),
        }
        fs::write(&journal, &kept).unwrap();
        assert_eq!(disk.packs(first), [b"the first monday"], "{what}");
    }
    disk.run(week(1), b"the second monday").unwrap();
}

/// A file of a generation that `open` or a put left there.
fn file(disk: &Disk, of: GenerationId, part: &str) -> PathBuf {
    let place = disk.place(of);
    match part {
        "pack" => {
            let name = Hash::of(b"the second monday").to_string();
            place.join("repo/data").join(&name[..2]).join(name)
        }
        "index" => place.join("repo/index").join(Hash::of(b"an index").to_string()),
        "key file" => place.join("repo/keys").join(Hash::of(b"the key file").to_string()),
        "config" => place.join("repo/config"),
        "escrow" => place.join("escrow").join(format!("{}.age", RECIPIENTS[1])),
        other => unreachable!("{other}"),
    }
}

/// What it is, what it does to a generation's directory, and the words by which it is told.
type Harm<'a> = (&'a str, &'a dyn Fn(&Path), &'a str);

#[test]
fn what_rots_or_is_lost_between_seal_and_promotion_costs_the_older_copy_nothing() {
    let rot = |path: &Path| {
        let mut bytes = fs::read(path).unwrap();
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        fs::write(path, bytes).unwrap();
    };
    let lose = |path: &Path| fs::remove_file(path).unwrap();
    let cut = |path: &Path| fs::write(path, b"").unwrap();
    let harms: [Harm<'_>; 7] = [
        ("pack", &rot, "is not what was accepted"),
        ("pack", &lose, "is not there"),
        ("pack", &cut, "has 0 bytes"),
        ("index", &rot, "is not what was accepted"),
        ("key file", &lose, "is not there"),
        ("config", &rot, "is not what was accepted"),
        ("escrow", &lose, "is not there"),
    ];
    for (part, harm, expected) in harms {
        let disk = Disk::new();
        let old = disk.run(week(0), b"the first monday").unwrap();
        disk.due(week(0));
        let new = disk.run(week(1), b"the second monday").unwrap();
        disk.close(week(1));
        let path = file(&disk, new, part);
        let good = fs::read(&path).unwrap();
        harm(&path);
        let series = disk.start().get(&id_of()).unwrap();
        let again = series.look_again(new, || true).unwrap();
        let Again::Seen(_, Found::Spoilt, Some(what)) = again else { panic!("{part}: {again:?}") };
        assert!(what.contains(expected), "{part}: {what}");
        disk.due(week(1));
        disk.erase(week(1));
        let states = (disk.state(old), disk.state(new));
        assert_eq!(states, (Some(State::Current), Some(State::Aside(AsideReason::Spoilt))), "{part}");
        assert_eq!(disk.packs(old), [b"the first monday"], "{part}: byte for byte");
        let facts = disk.start().get(&id_of()).unwrap().facts();
        assert!(facts.iter().any(|g| g.state == GenerationState::Aside(AsideReason::Spoilt)), "{part}");

        // A person's order takes it only when it is whole again.
        let series = disk.start().get(&id_of()).unwrap();
        let clear = || {
            let Again::Seen(seal, found, _) = series.look_again(new, || true).unwrap() else { panic!() };
            let mut looked = Looked::default();
            looked.note(new, seal, found);
            series.change(evening(week(1)), |ring| {
                Ok((ring.clear(new, Hash::of(b"an order"), evening(week(1)), &looked)?.events, ()))
            })
        };
        assert!(matches!(clear(), Err(Fault::Refused(_))), "{part}");
        assert_eq!(disk.packs(old), [b"the first monday"], "{part}");
        fs::write(&path, good).unwrap();
        clear().unwrap();
        assert_eq!(disk.state(new), Some(State::Current), "{part}");
    }
}

#[test]
fn looking_again_is_stopped_in_the_middle_and_begun_anew() {
    let disk = Disk::new();
    let old = disk.run(week(0), b"the first monday").unwrap();
    disk.due(week(0));
    let new = disk.run(week(1), b"the second monday").unwrap();
    disk.close(week(1));
    let left = std::cell::Cell::new(2);
    let series = disk.start().get(&id_of()).unwrap();
    let stopped = series.look_again(new, || {
        left.set(left.get() - 1);
        left.get() > 0
    });
    assert_eq!(stopped.unwrap(), Again::Stopped);
    assert_eq!((disk.state(old), disk.state(new)), (Some(State::Current), Some(State::Closed)));
    // What was found of another seal says nothing of this one.
    let mut looked = Looked::default();
    looked.note(new, Hash::of(b"another seal"), Found::Whole);
    let due = series.with_ring(|ring| ring.due(&rules(), evening(week(1)), None, &looked));
    assert_eq!((due.events.len(), due.wants), (0, vec![new]));
    disk.due(week(1));
    disk.erase(week(1));
    assert_eq!((disk.state(old), disk.state(new)), (None, Some(State::Current)));
}

/// The vault dies when the generation's directory stands and the series' journal does not know of it yet: it never was, and
/// the host begins it again.
#[test]
fn what_was_placed_and_not_written_down_is_begun_again() {
    let disk = Disk::new();
    let slot = SlotId { series: id_of(), date: MONDAY, at: "06:00".parse().unwrap(), manual: false };
    let now = rules().zone.slot(MONDAY, slot.at);
    let begin = |store: &Store| store.open_generation(&terms(), &open(slot.clone()), now);
    let id = begin(&disk.start()).unwrap().generation;
    let place = disk.place(id);
    assert!(place.join("repo/config").exists(), "it was placed");
    let journal = place.with_file_name("series.journal");
    let text = fs::read_to_string(&journal).unwrap();
    let kept: Vec<&str> = text.split_inclusive('\n').filter(|line| !line.contains("\"open\"")).collect();
    assert_eq!(text.lines().count(), kept.len() + 1, "one line says that it began: {text}");
    fs::write(&journal, kept.concat()).unwrap();
    let store = disk.start();
    let series = store.get(&id_of()).unwrap();
    assert!(series.ring().get(id).is_none(), "nobody knows of it");
    let again = begin(&store).unwrap();
    assert_eq!((again.generation, again.books.last()), (id, 2), "config and key file, and nothing else");
    drop((again, series, store));
    assert_eq!(disk.run(MONDAY, b"a pack").unwrap(), id, "and it is filled as any other");
}
