//! Laws of the ring over sequences of events, and the days of a backup server one by one.

use std::collections::BTreeMap;

use jiff::civil::{Date, date};
use jiff::{SignedDuration, Timestamp, ToSpan};
use proptest::prelude::*;
use tenure_policy::calendar::Zone;
use tenure_trust::vault_wire::{AsideReason, RefusalCode};
use tenure_trust::{GenerationId, Hash, SlotTime};

use super::*;

fn at(hour: u8, minute: u8) -> SlotTime {
    SlotTime::new(hour, minute).unwrap()
}

fn slot(hour: u8) -> SlotKey {
    SlotKey { at: at(hour, 0), manual: false }
}

fn rules() -> Rules {
    Rules {
        at: vec![at(6, 0), at(14, 0), at(22, 0)],
        catch_up: SignedDuration::from_hours(6),
        zone: Zone::named("Europe/Amsterdam").unwrap(),
    }
}

fn frozen(n: u8) -> Frozen {
    Frozen { config: Hash::of(&[n]), key: Hash::of(&[n, n]), recipients: vec!["a".into(), "b".into()] }
}

/// A series with the books that a shell would keep, checking the laws at every event.
#[derive(Clone)]
struct Sim {
    ring: Ring,
    log: Vec<(Timestamp, Event)>,
    now: Timestamp,
    sequence: u64,
}

impl Sim {
    fn new(now: Timestamp) -> Self {
        Self { ring: Ring::default(), log: Vec::new(), now, sequence: 2 }
    }

    fn to(&mut self, date: Date, hour: u8, minute: u8) -> &mut Self {
        let moment = rules().moment(date, SlotKey { at: at(hour, minute), manual: false });
        self.now = self.now.max(moment);
        self
    }

    fn take(&mut self, events: &[Event]) {
        for event in events {
            let before = self.ring.clone();
            self.ring.apply(self.now, event).unwrap_or_else(|broken| panic!("{broken}: {event:?}"));
            law_of_one_event(&before, &self.ring, event);
            self.log.push((self.now, event.clone()));
        }
    }

    fn tick(&mut self) {
        self.tick_with(Found::Whole);
    }

    /// What is due, with this found in what has to be looked at.
    fn tick_with(&mut self, found: Found) {
        let mut looked = Looked::default();
        loop {
            let due = self.ring.due(&rules(), self.now, None, &looked);
            self.take(&due.events);
            assert!(
                !due.events.iter().any(|e| matches!(e, Event::Promote { generation, .. }
                    if due.wants.contains(generation))),
                "promoted before it was looked at"
            );
            if due.wants.is_empty() {
                break;
            }
            for id in due.wants {
                looked.note(id, self.seal_of(id), found);
            }
        }
        let again = self.ring.due(&rules(), self.now, None, &looked);
        assert_eq!(again, Due::default(), "what is due is due once");
    }

    fn seal_of(&self, id: GenerationId) -> Hash {
        self.ring.get(id).and_then(Generation::last_sealed).expect("it has an accepted slot").seal
    }

    /// A person's order, with this found.
    fn clear(&mut self, id: GenerationId, found: Found) -> Result<(), Refusal> {
        let mut looked = Looked::default();
        let asked = self.ring.clear(id, Hash::of(b"order"), self.now, &looked)?;
        assert_eq!(asked, Due { events: Vec::new(), wants: vec![id] });
        looked.note(id, self.seal_of(id), found);
        let due = self.ring.clear(id, Hash::of(b"order"), self.now, &looked)?;
        self.take(&due.events);
        Ok(())
    }

    fn open(&mut self, date: Date, slot: SlotKey, number: u32, key: u8) -> Result<GenerationId, Refusal> {
        match self.ring.open(&rules(), self.now, (date, slot), number, &frozen(key))? {
            Opening::Sealed(id, _) => Ok(id),
            Opening::GoesOn(id, events) => {
                self.take(&events);
                Ok(id)
            }
            Opening::Begins(id, before, own) => {
                self.take(&before);
                self.take(&own);
                Ok(id)
            }
        }
    }

    fn seal(&mut self, id: GenerationId, slot: SlotKey, objects: u64, bad: u64) -> Result<(), Refusal> {
        let seal = Hash::of(format!("{id} {slot} {objects}").as_bytes());
        if self.ring.seal(id, slot, seal)?.is_some() {
            return Ok(());
        }
        let upto = self.sequence + 1;
        self.sequence += 2;
        let event = Event::Seal {
            generation: id,
            slot,
            seal,
            snapshot: Hash::of(b"snapshot"),
            root: Hash::of(b"root"),
            upto,
            objects,
            bytes: objects * 1000,
            sequence: self.sequence,
            unreadable: bad,
        };
        self.take(&[event]);
        Ok(())
    }

    /// A day with one good slot, to its end.
    fn day(&mut self, date: Date, objects: u64, bad: u64) -> GenerationId {
        self.to(date, 6, 1);
        let id = self.open(date, slot(6), 1, 1).expect("open");
        self.seal(id, slot(6), objects, bad).expect("sealed");
        self.to(date.tomorrow().unwrap(), 5, 0);
        self.tick();
        id
    }

    fn state(&self, id: GenerationId) -> Option<State> {
        self.ring.get(id).map(|g| g.state)
    }
}

fn law_of_one_event(before: &Ring, after: &Ring, event: &Event) {
    let currents = |ring: &Ring| {
        let mut cells: BTreeMap<i8, Vec<GenerationId>> = BTreeMap::new();
        for (id, g) in ring.iter().filter(|(_, g)| g.state == State::Current) {
            assert!(!g.sealed.is_empty(), "{id} is a copy and nothing was ever accepted in it");
            cells.entry(id.date.weekday().to_monday_zero_offset()).or_default().push(id);
        }
        assert!(cells.values().all(|ids| ids.len() == 1), "two copies of one cell: {cells:?}");
        cells
    };
    let (was, is) = (currents(before), currents(after));
    for (cell, ids) in &was {
        match is.get(cell) {
            Some(now) if now == ids => {}
            Some(now) => assert!(
                matches!(event, Event::Promote { generation, .. } if *generation == now[0]),
                "the copy of a cell changes by promotion only: {event:?}"
            ),
            None => panic!("a cell lost its copy by {event:?}"),
        }
    }
    match event {
        Event::EraseBegin { generation } => {
            let state = before.get(*generation).unwrap().state;
            assert!(matches!(state, State::Superseded | State::Aside(_)), "{state:?} is being erased");
            if let State::Aside(_) = state {
                let gone = before.get(*generation).unwrap().worth();
                let kept = |(id, g): (GenerationId, &Generation)| {
                    id > *generation
                        && id.date.weekday() == generation.date.weekday()
                        && (g.state == State::Current
                            || (matches!(g.state, State::Aside(_)) && g.worth() >= gone))
                };
                assert!(before.iter().any(kept), "{generation} goes, and nothing stands in for it");
            }
            if state == State::Superseded {
                let cell = generation.date.weekday().to_monday_zero_offset();
                assert!(is.contains_key(&cell), "the last copy of a cell is being erased");
            }
        }
        Event::Promote { generation, .. } => {
            assert!(!before.get(*generation).unwrap().sealed.is_empty(), "promoted unverified");
        }
        _ => {}
    }
    for (id, g) in before.iter() {
        if let Some(now) = after.get(id) {
            assert!(g.sealed.iter().all(|(k, s)| now.sealed.get(k) == Some(s)), "an accepted slot changed");
        } else {
            assert_eq!(g.state, State::Erasing, "{id} is gone and was not being erased");
        }
    }
}

const MONDAY: Date = date(2026, 11, 23);

#[test]
fn a_week_fills_seven_cells_and_the_next_monday_replaces_the_first() {
    let mut sim = Sim::new("2026-11-22T12:00:00Z".parse().unwrap());
    let days: Vec<_> = (0..7).map(|n| sim.day(MONDAY.checked_add(n.days()).unwrap(), 100, 0)).collect();
    assert!(days.iter().all(|id| sim.state(*id) == Some(State::Current)), "{:?}", sim.ring);
    let next = MONDAY.checked_add(7.days()).unwrap();
    sim.to(next, 6, 1);
    let new = sim.open(next, slot(6), 1, 2).unwrap();
    sim.seal(new, slot(6), 90, 0).unwrap();
    assert_eq!(sim.state(days[0]), Some(State::Current), "the old copy stays until the new one is closed");
    sim.to(next.tomorrow().unwrap(), 5, 0).tick();
    assert_eq!(sim.state(new), Some(State::Current));
    assert_eq!(sim.state(days[0]), Some(State::Erasing), "erased after the promotion, not before");
    sim.take(&[Event::Erased { generation: days[0], files: 1, bytes: 1 }]);
    assert_eq!(sim.ring.iter().count(), 7);
}

#[test]
fn a_date_closes_when_its_slots_are_over_when_the_next_begins_or_after_thirty_hours() {
    let mut sim = Sim::new("2026-11-22T12:00:00Z".parse().unwrap());
    sim.to(MONDAY, 6, 0);
    let id = sim.open(MONDAY, slot(6), 1, 1).unwrap();
    sim.seal(id, slot(6), 100, 0).unwrap();
    sim.to(MONDAY, 23, 0).tick();
    assert_eq!(sim.state(id), Some(State::Candidate), "22:00 can still be begun");
    let mut three = sim.clone();
    let late = three.open(MONDAY, slot(22), 1, 1).unwrap();
    three.seal(late, slot(22), 110, 0).unwrap();
    three.tick();
    assert_eq!(three.state(id), Some(State::Candidate), "a person can still ask for a copy");
    let by_hand = SlotKey { at: at(23, 30), manual: true };
    three.to(MONDAY, 23, 30).open(MONDAY, by_hand, 1, 1).unwrap();
    three.seal(id, by_hand, 110, 0).unwrap();
    three.to(MONDAY.tomorrow().unwrap(), 4, 30).tick();
    assert_eq!(
        three.state(id),
        Some(State::Current),
        "06:00 and 22:00 sealed, 14:00 missed: nothing can come"
    );
    let mut begun = sim.clone();
    begun.open(MONDAY, slot(22), 1, 1).unwrap();
    begun.to(MONDAY.tomorrow().unwrap(), 5, 30).tick();
    assert_eq!(begun.state(id), Some(State::Candidate), "a run is under way");
    begun.to(MONDAY.tomorrow().unwrap(), 6, 0).tick();
    assert_eq!(begun.state(id), Some(State::Current), "and is waited for until 30 h after the date's start");
    let next = MONDAY.tomorrow().unwrap();
    sim.open(MONDAY, slot(22), 1, 1).unwrap();
    sim.to(next, 5, 56);
    let tuesday = sim.open(next, slot(6), 1, 1).unwrap();
    assert_eq!(
        sim.state(id),
        Some(State::Closed),
        "the next date's first open closes, and waits for no look"
    );
    sim.tick();
    assert_eq!(sim.state(id), Some(State::Current));
    assert_eq!(sim.state(tuesday), Some(State::Candidate));
    assert_eq!(sim.open(MONDAY, slot(22), 1, 1).unwrap_err().code, RefusalCode::DateNotOpen);
    assert_eq!(sim.seal(id, slot(22), 1, 0).unwrap_err().code, RefusalCode::DateNotOpen);
}

#[test]
fn a_date_takes_so_many_slots_by_hand_and_every_scheduled_one() {
    let mut sim = Sim::new("2026-11-22T12:00:00Z".parse().unwrap());
    let by_hand = |n: u8| SlotKey { at: at(7 + n / 60, n % 60), manual: true };
    for n in 0..144 {
        sim.to(MONDAY, 7 + n / 60, n % 60).open(MONDAY, by_hand(n), 1, 1).unwrap();
    }
    let refused = sim.to(MONDAY, 9, 24).open(MONDAY, by_hand(144), 1, 1).unwrap_err();
    assert_eq!(refused.code, RefusalCode::DateNotOpen);
    let id = sim.open(MONDAY, by_hand(143), 1, 1).unwrap();
    sim.seal(id, by_hand(143), 100, 0).unwrap();
    sim.to(MONDAY, 14, 0).open(MONDAY, slot(14), 1, 1).unwrap();
    sim.seal(id, slot(14), 100, 0).unwrap();
}

#[test]
fn what_fails_is_set_aside_and_the_old_copy_stays() {
    let mut sim = Sim::new("2026-11-22T12:00:00Z".parse().unwrap());
    let first = sim.day(MONDAY, 100, 0);
    for n in 1..4 {
        sim.day(MONDAY.checked_add(n.days()).unwrap(), 100, 0);
    }
    let again = MONDAY.checked_add(7.days()).unwrap();
    sim.to(again, 6, 0);
    let failed = sim.open(again, slot(6), 1, 1).unwrap();
    sim.to(again.tomorrow().unwrap(), 6, 0).tick();
    assert_eq!(sim.state(failed), Some(State::Aside(AsideReason::Failed)));
    assert_eq!(sim.state(first), Some(State::Current));
    let partial = sim.day(MONDAY.checked_add(14.days()).unwrap(), 100, 3);
    assert_eq!(sim.state(partial), Some(State::Aside(AsideReason::Partial)));
    assert_eq!(sim.state(failed), Some(State::Erasing), "a second one aside sends the first away");
    sim.take(&[Event::Erased { generation: failed, files: 0, bytes: 0 }]);
    let small = sim.day(MONDAY.checked_add(21.days()).unwrap(), 20, 0);
    assert_eq!(sim.state(small), Some(State::Aside(AsideReason::Anomalous)));
    assert_eq!(sim.state(first), Some(State::Current), "three bad weeks cost nothing");
    sim.clear(small, Found::Whole).unwrap();
    assert_eq!(sim.state(small), Some(State::Current));
    assert_eq!(sim.state(first), Some(State::Erasing));
    let refused = sim.clear(small, Found::Whole).unwrap_err();
    assert_eq!(refused.code, RefusalCode::BadOrder);
}

#[test]
fn what_fails_takes_no_accepted_copy_away_even_where_none_was_ever_promoted() {
    let mut sim = Sim::new("2026-11-22T12:00:00Z".parse().unwrap());
    let week = |n: i32| MONDAY.checked_add((7 * n).days()).unwrap();
    let partial = sim.day(week(0), 100, 3);
    assert_eq!(sim.state(partial), Some(State::Aside(AsideReason::Partial)));
    let fail = |sim: &mut Sim, date: Date| {
        let id = sim.to(date, 6, 0).open(date, slot(6), 1, 1).unwrap();
        sim.to(date.tomorrow().unwrap(), 6, 0).tick();
        id
    };
    let failed = fail(&mut sim, week(1));
    assert_eq!(sim.state(partial), Some(State::Aside(AsideReason::Partial)), "it is all there is");
    let second = fail(&mut sim, week(2));
    assert_eq!(sim.state(failed), Some(State::Erasing), "of what holds nothing the last is enough");
    let next = sim.day(week(3), 90, 1);
    assert_eq!(sim.state(partial), Some(State::Erasing), "another of its worth stands in for it");
    assert_eq!(
        (sim.state(second), sim.state(next)),
        (Some(State::Erasing), Some(State::Aside(AsideReason::Partial)))
    );
    let whole = sim.day(week(4), 90, 0);
    assert_eq!((sim.state(whole), sim.state(next)), (Some(State::Current), Some(State::Erasing)));
}

#[test]
fn what_the_disk_lost_is_set_aside_and_the_old_copy_stays_until_a_whole_one_comes() {
    let mut sim = Sim::new("2026-11-22T12:00:00Z".parse().unwrap());
    let week = |n: i32| MONDAY.checked_add((7 * n).days()).unwrap();
    let sealed = |sim: &mut Sim, date: Date, found| {
        sim.to(date, 6, 1);
        let id = sim.open(date, slot(6), 1, 1).unwrap();
        sim.seal(id, slot(6), 100, 0).unwrap();
        sim.to(date.tomorrow().unwrap(), 5, 0).tick_with(found);
        id
    };
    let spoilt = Some(State::Aside(AsideReason::Spoilt));
    let none_yet = sealed(&mut sim, week(0), Found::Spoilt);
    assert_eq!(sim.state(none_yet), spoilt);
    let partial = sim.day(week(1), 100, 1);
    assert_eq!(sim.state(none_yet), Some(State::Erasing), "one that lacks a file stands in for it");
    let second = sealed(&mut sim, week(2), Found::Spoilt);
    assert_eq!((sim.state(partial), sim.state(second)), (Some(State::Aside(AsideReason::Partial)), spoilt));
    let whole = sim.day(week(3), 100, 0);
    assert_eq!((sim.state(whole), sim.state(second)), (Some(State::Current), Some(State::Erasing)));
    let third = sealed(&mut sim, week(4), Found::Spoilt);
    assert_eq!((sim.state(whole), sim.state(third)), (Some(State::Current), spoilt));
    assert!(sim.clear(third, Found::Spoilt).is_err());
    // While one waits to be looked at, its own cell waits and no other.
    for n in 0..2 {
        let date = week(5).checked_add(n.days()).unwrap();
        sim.to(date, 6, 1);
        let id = sim.open(date, slot(6), 1, 1).unwrap();
        sim.seal(id, slot(6), 100, 0).unwrap();
    }
    sim.to(week(5).checked_add(2.days()).unwrap(), 5, 0);
    let due = sim.ring.due(&rules(), sim.now, None, &Looked::default());
    assert_eq!(due.wants.len(), 2, "{due:?}");
    let mut stale = Looked::default();
    stale.note(due.wants[0], Hash::of(b"another seal"), Found::Whole);
    let asked = sim.ring.due(&rules(), sim.now, None, &stale);
    assert_eq!(asked, due, "what was found holds for the seal up to which it was looked at");
    let mut looked = Looked::default();
    looked.note(due.wants[1], sim.seal_of(due.wants[1]), Found::Whole);
    sim.take(&due.events);
    let due = sim.ring.due(&rules(), sim.now, None, &looked);
    sim.take(&due.events);
    assert_eq!((sim.state(due.wants[0]), sim.state(whole)), (Some(State::Closed), Some(State::Current)));
}

#[test]
fn a_lost_key_begins_the_next_number_and_one_of_both_is_the_copy() {
    let mut sim = Sim::new("2026-11-22T12:00:00Z".parse().unwrap());
    sim.to(MONDAY, 6, 0);
    let one = sim.open(MONDAY, slot(6), 1, 1).unwrap();
    sim.seal(one, slot(6), 100, 0).unwrap();
    sim.to(MONDAY, 14, 0);
    assert_eq!(sim.open(MONDAY, slot(14), 1, 9).unwrap_err().code, RefusalCode::Frozen);
    let two = sim.open(MONDAY, slot(14), 2, 9).unwrap();
    assert_eq!(sim.state(one), Some(State::Candidate), "one date is open as a whole");
    assert!(sim.ring.takes(two) && !sim.ring.takes(one), "and takes objects in its newest number alone");
    let refused = sim.open(MONDAY, slot(14), 1, 1).unwrap_err();
    assert_eq!(refused.code, RefusalCode::Frozen, "whoever has the older keys goes on to the next number");
    sim.seal(two, slot(14), 100, 0).unwrap();
    assert_eq!(sim.open(MONDAY, slot(6), 2, 9).unwrap(), one, "06:00 holds a copy, whatever the number");
    sim.to(MONDAY.tomorrow().unwrap(), 5, 0).tick();
    assert_eq!(sim.state(two), Some(State::Current));
    assert_eq!(sim.state(one), Some(State::Aside(AsideReason::Replaced)));
    sim.day(MONDAY.checked_add(7.days()).unwrap(), 100, 0);
    assert_eq!(sim.state(one), Some(State::Erasing));
    assert_eq!(sim.state(two), Some(State::Erasing));
}

#[test]
fn a_slot_is_open_from_its_time_for_its_catch_up_by_the_zones_clock() {
    let rules = rules();
    let open = |date, key, time: &str| rules.is_open(date, key, time.parse().unwrap());
    assert!(
        !open(MONDAY, slot(6), "2026-11-23T04:54:59Z"),
        "06:00 in Amsterdam is 05:00 UTC, five minutes early"
    );
    assert!(open(MONDAY, slot(6), "2026-11-23T04:55:00Z"));
    assert!(open(MONDAY, slot(6), "2026-11-23T11:05:00Z"));
    assert!(!open(MONDAY, slot(6), "2026-11-23T11:05:01Z"));
    assert!(!open(MONDAY, slot(7), "2026-11-23T06:00:00Z"), "no such slot");
    let by_hand = SlotKey { at: at(7, 13), manual: true };
    assert!(open(MONDAY, by_hand, "2026-11-23T06:13:00Z"));
    // 2027-03-28 02:30 does not exist in Amsterdam and comes an hour later; 2027-10-31 02:30 comes twice and counts once
    let night = Rules { at: vec![at(2, 30)], ..rules.clone() };
    let key = SlotKey { at: at(2, 30), manual: false };
    assert_eq!(night.moment(date(2027, 3, 28), key).to_string(), "2027-03-28T01:30:00Z");
    assert_eq!(night.moment(date(2027, 10, 31), key).to_string(), "2027-10-31T00:30:00Z");
}

#[test]
fn what_cannot_follow_is_no_journal() {
    let id = |number| GenerationId { date: MONDAY, number };
    let Frozen { config, key, recipients } = frozen(1);
    let open = |number| Event::Open { generation: id(number), config, key, recipients: recipients.clone() };
    let close = Event::Close { generation: id(1), why: CloseReason::Late };
    let promote = Event::Promote { generation: id(1), supersedes: None, order: None };
    let bad: [&[Event]; 7] = [
        &[open(0)],
        &[open(2), open(1)],
        &[open(1), open(1)],
        std::slice::from_ref(&close),
        &[open(1), promote.clone()],
        &[open(1), close.clone(), promote],
        &[open(1), close.clone(), Event::EraseBegin { generation: id(1) }],
    ];
    for events in bad {
        let mut ring = Ring::default();
        let last = events.iter().map(|e| ring.apply(Timestamp::UNIX_EPOCH, e)).last().unwrap();
        assert!(last.is_err(), "{events:?}");
    }
}

#[derive(Clone, Debug)]
enum Move {
    Wait(i64),
    Open {
        day: i8,
        slot: usize,
        number: u32,
        key: u8,
        manual: bool,
    },
    Seal {
        pick: usize,
        slot: usize,
        objects: u64,
        bad: bool,
        manual: bool,
    },
    Tick,
    /// The disk does not give back what was accepted.
    Rot,
    Clear(usize, bool),
    Erased(usize),
}

fn moves() -> impl Strategy<Value = Move> {
    prop_oneof![
        4 => (10i64..2000).prop_map(Move::Wait),
        6 => (-1i8..2, 0usize..4, 1u32..4, 0u8..2, any::<bool>())
            .prop_map(|(day, slot, number, key, manual)| Move::Open { day, slot, number, key, manual }),
        6 => (0usize..3, 0usize..4, prop_oneof![90u64..110, 1u64..30], prop::bool::weighted(0.1), any::<bool>())
            .prop_map(|(pick, slot, objects, bad, manual)| Move::Seal { pick, slot, objects, bad, manual }),
        3 => Just(Move::Tick),
        1 => Just(Move::Rot),
        1 => (0usize..10, any::<bool>()).prop_map(|(pick, whole)| Move::Clear(pick, whole)),
        1 => (0usize..10).prop_map(Move::Erased),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn no_sequence_of_events_breaks_a_law(steps in prop::collection::vec(moves(), 1..200)) {
        let mut sim = Sim::new("2026-10-20T12:00:00Z".parse().unwrap());
        let hours = [6, 14, 22, 9];
        let mut promoted_once: BTreeMap<i8, bool> = BTreeMap::new();
        let mut accepted: std::collections::BTreeSet<i8> = std::collections::BTreeSet::new();
        for step in steps {
            match step {
                Move::Wait(minutes) => sim.now = sim.now.checked_add(minutes.minutes()).unwrap(),
                Move::Open { day, slot, number, key, manual } => {
                    let date = rules().zone.date_of(sim.now).checked_add(i32::from(day).days()).unwrap();
                    // refused or not: the laws are looked at with every event
                    let _ = sim.open(date, SlotKey { at: at(hours[slot], 0), manual }, number, key);
                }
                Move::Seal { pick, slot, objects, bad, manual } => {
                    let ids: Vec<_> = sim.ring.iter().rev().map(|(id, _)| id).collect();
                    if let Some(id) = ids.get(pick) {
                        let _ = sim.seal(*id, SlotKey { at: at(hours[slot], 0), manual }, objects, u64::from(bad));
                    }
                }
                Move::Tick => sim.tick(),
                Move::Rot => sim.tick_with(Found::Spoilt),
                Move::Clear(pick, whole) => {
                    let id = sim.ring.iter().map(|(id, _)| id).nth(pick);
                    if let Some(id) = id {
                        let found = if whole { Found::Whole } else { Found::Spoilt };
                        let cleared = sim.clear(id, found);
                        prop_assert!(whole || cleared.is_err(), "what is lost in part is never taken");
                    }
                }
                Move::Erased(pick) => {
                    let id = sim.ring.iter().filter(|(_, g)| g.state == State::Erasing).map(|(id, _)| id).nth(pick);
                    if let Some(generation) = id {
                        sim.take(&[Event::Erased { generation, files: 1, bytes: 1 }]);
                    }
                }
            }
            let holding = sim.ring.iter().filter(|(_, g)| g.state != State::Erasing && !g.sealed.is_empty());
            let holding: std::collections::BTreeSet<i8> =
                holding.map(|(id, _)| id.date.weekday().to_monday_zero_offset()).collect();
            prop_assert!(accepted.is_subset(&holding), "a cell had an accepted slot and has none");
            accepted = holding;
            for (id, g) in sim.ring.iter() {
                if g.state == State::Current {
                    promoted_once.insert(id.date.weekday().to_monday_zero_offset(), true);
                }
            }
            for cell in promoted_once.keys() {
                let has = sim.ring.iter().any(|(id, g)| {
                    id.date.weekday().to_monday_zero_offset() == *cell && g.state == State::Current
                });
                prop_assert!(has, "cell {cell} had a copy and has none");
            }
        }
        let mut again = Ring::default();
        for (at, event) in &sim.log {
            again.apply(*at, event).unwrap();
        }
        prop_assert_eq!(again, sim.ring, "the same journal gives the same state");
    }
}
