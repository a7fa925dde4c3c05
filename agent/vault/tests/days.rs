//! A store over days: what its receipts state as gone, also after a restart and never what is merely absent; and a date
//! whose recovery recipients change.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test may fail here; clippy sees only `#[test]` itself"
)]

mod common;

use common::*;
use jiff::civil::{Date, date};
use jiff::{SignedDuration, Timestamp, ToSpan};
use tenure_link::Identity;
use tenure_policy::calendar::Zone;
use tenure_sys::files::Roots;
use tenure_trust::admission::verify_machine;
use tenure_trust::vault_wire::{AsideReason, Escrow, Open, RefusalCode};
use tenure_trust::*;
use tenure_vault::ring::{Rules, State};
use tenure_vault::store::{Fault, Opened, Signer, Store, Terms};

const MONDAY: Date = date(2026, 11, 23);

/// A store that is opened anew for everything that is done with it.
struct Disk {
    dir: tempfile::TempDir,
    identity: Identity,
}

impl Disk {
    fn new() -> Self {
        let dir = tempfile::tempdir_in("/run").expect("these tests run as root");
        let roots = Roots::new([dir.path()]).unwrap();
        let identity = Identity::create(dir.path(), &roots, &host("vault1")).unwrap();
        Self { dir, identity }
    }

    fn store(&self) -> Store {
        Store::open(&self.dir.path().join("store"), vault_name()).unwrap().0
    }

    /// A run of 06:00 and its receipt.
    fn run(&self, day: i64) -> Receipt {
        let slot = slot(day, "06:00");
        let (store, terms) = (self.store(), terms(RECIPIENTS));
        let opened = store.open_generation(&terms, &open(slot.clone()), moment(&slot)).unwrap();
        self.fill(&store, &terms, &opened, &slot)
    }

    fn fill(&self, store: &Store, terms: &Terms, opened: &Opened, slot: &SlotId) -> Receipt {
        let mut objects = frozen();
        let mut upto = 0;
        for kind in [ObjectKind::Data, ObjectKind::Index, ObjectKind::Snapshot] {
            let bytes = format!("{kind:?} of {slot}").into_bytes();
            let object = object(kind, &bytes);
            let mut incoming = store.begin_put(terms, opened, &object).unwrap();
            incoming.write(&bytes).unwrap();
            upto = store.finish_put(opened, incoming, moment(slot)).unwrap();
            objects.push(object);
        }
        let snapshot = objects.last().expect("three").name;
        let seal = seal(slot, opened.generation, &objects, snapshot, upto);
        let text = Signed::new(&seal, &[&key(10)]).to_json();
        let signer = Signer { identity: &self.identity, uptime: 1 };
        let taken = store.seal(terms, opened, &text, &key(10).public(), signer, moment(slot)).unwrap();
        verify_machine(&self.identity.public().key, taken.receipt.as_bytes()).expect("the vault signed it")
    }

    /// The turn of a morning, up to its end.
    fn turn(&self, day: i64, at: &str) {
        let store = self.store();
        let series = store.get(&id_of()).expect("it lies there");
        let now = moment(&slot(day, at));
        turned(&series, &rules(), now);
        for id in series.erasing() {
            series.erase(id, now).unwrap();
        }
    }

    fn state(&self, id: GenerationId) -> Option<State> {
        self.store().get(&id_of()).and_then(|series| series.ring().get(id).map(|g| g.state))
    }
}

fn id_of() -> SeriesId {
    series("web1", None)
}

fn slot(day: i64, at: &str) -> SlotId {
    let date = MONDAY.checked_add(day.days()).unwrap();
    SlotId { series: id_of(), date, at: at.parse().unwrap(), manual: false }
}

fn moment(slot: &SlotId) -> Timestamp {
    rules().moment(slot.date, tenure_vault::ring::SlotKey::of(slot))
}

fn rules() -> Rules {
    Rules {
        at: ["06:00", "14:00"].map(|at| at.parse().unwrap()).to_vec(),
        catch_up: SignedDuration::from_hours(6),
        zone: Zone::named("Europe/Amsterdam").unwrap(),
    }
}

fn terms(recipients: [&str; 2]) -> Terms {
    let recipients = recipients.map(str::to_owned).to_vec();
    Terms { fleet: fleet(), rules: rules(), quota: 1 << 30, keep_free: 0, recipients }
}

#[test]
fn a_receipt_states_what_has_left_its_cell_and_never_what_is_absent() {
    let disk = Disk::new();
    let old = disk.run(0).generation;
    disk.turn(1, "05:00");
    let monday = disk.run(7);
    assert_eq!(monday.gone, [], "the older one is the copy of its cell still");
    disk.turn(8, "05:00");
    assert_eq!((disk.state(old), disk.state(monday.generation)), (None, Some(State::Current)));
    let tuesday = disk.run(8);
    assert_eq!(tuesday.gone, [old]);
    disk.turn(9, "05:00");
    let wednesday = disk.run(9);
    assert_eq!(wednesday.gone, [old], "it is said again: the receipt before may have been lost");
    // The same host at a vault whose disk is not there: it holds one generation and states nothing of the others.
    assert_eq!(Disk::new().run(9).gone, []);
}

#[test]
fn a_new_recipient_is_refused_in_the_open_number_and_begins_the_next_one() {
    const NEW: [&str; 2] = ["age1first", "age1third"];
    let next = |number, at: &str, recipients: [&str; 2]| {
        let asked = open(slot(0, at));
        let text = asked.escrow[0].text.clone();
        let escrow = recipients.map(|recipient| Escrow { recipient: recipient.into(), text: text.clone() });
        Open { number, escrow: escrow.to_vec(), ..asked }
    };
    let begin =
        |disk: &Disk, asked: &Open| disk.store().open_generation(&terms(NEW), asked, moment(&asked.slot));
    for filled in [true, false] {
        let disk = Disk::new();
        let one = disk.run(0).generation;
        for recipients in [RECIPIENTS, NEW] {
            let code = match begin(&disk, &next(1, "14:00", recipients)).unwrap_err() {
                Fault::Refused(refusal) => refusal.code,
                other => unreachable!("{other}"),
            };
            let expected = if recipients == NEW { RefusalCode::Frozen } else { RefusalCode::NoEscrow };
            assert_eq!(code, expected);
        }
        let (store, asked) = (disk.store(), next(2, "14:00", NEW));
        let opened = store.open_generation(&terms(NEW), &asked, moment(&asked.slot)).unwrap();
        let two = opened.generation;
        assert_eq!((one.number, two.number, two.date), (1, 2, one.date));
        if filled {
            let receipt = disk.fill(&store, &terms(NEW), &opened, &asked.slot);
            assert_eq!(receipt.generation, two);
        }
        drop(store);
        disk.turn(1, "07:00");
        let aside = if filled { (one, AsideReason::Replaced) } else { (two, AsideReason::Failed) };
        let current = if filled { two } else { one };
        assert_eq!(disk.state(aside.0), Some(State::Aside(aside.1)));
        assert_eq!(disk.state(current), Some(State::Current), "what was accepted of the date is its copy");
    }
}

/// Books of nine numbers a date, each with millions of objects, would be the vault's memory: only the newest number takes
/// objects, and only its books stay in memory unread.
#[test]
fn a_later_number_ends_what_the_one_before_takes_and_its_books_are_let_go() {
    let disk = Disk::new();
    let store = disk.store();
    let first = open(slot(0, "06:00"));
    let now = moment(&first.slot);
    let one = store.open_generation(&terms(RECIPIENTS), &first, now).unwrap();
    let pack = object(ObjectKind::Data, b"a pack");
    assert!(store.begin_put(&terms(RECIPIENTS), &one, &pack).is_ok());
    let mut coming = store.begin_put(&terms(RECIPIENTS), &one, &pack).unwrap();
    let second = Open { number: 2, ..open(slot(0, "14:00")) };
    let now = moment(&second.slot);
    let two = store.open_generation(&terms(RECIPIENTS), &second, now).unwrap();
    assert_eq!((one.generation.number, two.generation.number), (1, 2));
    let code = |fault: Fault| match fault {
        Fault::Refused(refusal) => refusal.code,
        other => unreachable!("{other}"),
    };
    let refused = store.begin_put(&terms(RECIPIENTS), &one, &pack).unwrap_err();
    assert_eq!(code(refused), RefusalCode::DateNotOpen);
    coming.write(b"a pack").unwrap();
    let refused = store.finish_put(&one, coming, now).unwrap_err();
    assert_eq!(code(refused), RefusalCode::DateNotOpen, "nor what was on its way");
    let back = Open { number: 1, ..open(slot(0, "14:00")) };
    let refused = store.open_generation(&terms(RECIPIENTS), &back, now).unwrap_err();
    assert_eq!(code(refused), RefusalCode::Frozen, "the host goes on to the next number");
    let held = [&one, &two].map(|opened| std::sync::Arc::downgrade(&opened.books));
    let series = one.series.clone();
    drop((one, two));
    series.tidy();
    assert_eq!(held.map(|books| books.upgrade().is_some()), [false, true]);
}
