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
use tenure_vault::ring::{Rules, State};
use tenure_vault::store::{Fault, Signer, Store, Terms};

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
        series.change(now, |ring| Ok((ring.due(&rules(), now, None), ()))).unwrap();
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
    series.change(now, |ring| Ok((ring.clear(small, Hash::of(b"an order"), now)?, ()))).unwrap();
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
