//! A year of the ring: a host's schedule and time floor, the vault's rings and its witnessed clock over virtual time,
//! through both changes of clocks, the leap day, forty hours off and a clock forty days ahead on either side. Pure.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test may fail here; clippy sees only `#[test]` itself"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::civil::{Date, Weekday, date};
use jiff::{SignedDuration, Timestamp, ToSpan};
use tenure_areas::backup::schedule::{self, Due, Known, Ledger, What};
use tenure_policy::bundles::{BackupSection, SeriesSection};
use tenure_policy::calendar::Zone;
use tenure_policy::clocks::{Floor, Witnessed};
use tenure_policy::slots::later;
use tenure_policy::written::{BackupKeys, Ring as Kind};
use tenure_trust::{GenerationId, Hash, HostName, Owner, SeriesId, SetName, SlotId, TenantId, VaultName};
use tenure_vault::ring::{Event, Found, Frozen, Looked, Opening, Ring, Rules, SlotKey, State};

const CATCH_UP: u64 = 4 * 3600;
const FORTY_DAYS: SignedDuration = SignedDuration::from_hours(40 * 24);
const RIGHT: SignedDuration = SignedDuration::ZERO;
const DAYS: [Weekday; 7] = [
    Weekday::Monday,
    Weekday::Tuesday,
    Weekday::Wednesday,
    Weekday::Thursday,
    Weekday::Friday,
    Weekday::Saturday,
    Weekday::Sunday,
];

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// The host's own server set three times a day, a tenant's nightly one.
fn section(nightly: &str) -> BackupSection {
    let series = |owner, set, at: &[&str]| SeriesSection {
        series: SeriesId {
            vault: VaultName::new("vault1").unwrap(),
            host: HostName::new("web1").unwrap(),
            owner,
            set,
        },
        at: at.iter().map(|at| at.parse().unwrap()).collect(),
        paths: Vec::new(),
        exclude: Vec::new(),
        dumps: Vec::new(),
    };
    let tenant = Owner::Tenant(TenantId::new("acme").unwrap());
    BackupSection {
        series: vec![
            series(Owner::Host, SetName::Server, &["06:00", "14:00", "22:00"]),
            series(tenant, SetName::Nightly, &[nightly]),
        ],
        vaults: BTreeMap::new(),
        databases: BTreeMap::new(),
        catch_up_seconds: CATCH_UP,
        ring: Kind::Weekday,
        keys: BackupKeys::KeepWithCopy,
        upload_bytes_per_second: None,
        recipients: vec!["age1a".into(), "age1b".into()],
        drill: None,
    }
}

/// A series at the vault.
struct Kept {
    rules: Rules,
    ring: Ring,
    log: Vec<(Timestamp, Event)>,
}

impl Kept {
    /// Takes an event over and holds it to the laws.
    fn take(&mut self, now: Timestamp, event: &Event) {
        let currents = |ring: &Ring| DAYS.map(|day| ring.current(day));
        let before = currents(&self.ring);
        self.ring.apply(now, event).unwrap_or_else(|broken| panic!("{now} {broken}: {event:?}"));
        let after = currents(&self.ring);
        let all = self.ring.iter().filter(|(_, g)| g.state == State::Current).count();
        assert_eq!(all, after.iter().flatten().count(), "{now}: two copies of one weekday");
        for (old, new) in before.iter().zip(&after).filter(|(old, new)| old != new) {
            let Event::Promote { generation, supersedes, .. } = event else { panic!("{now}: {event:?}") };
            assert_eq!((*new, *old), (Some(*generation), *supersedes), "{now}: a weekday lost its copy");
            let whole = self.ring.get(*generation).unwrap();
            assert!(whole.sealed.values().any(|sealed| sealed.unreadable == 0), "{generation}");
            let week = |old: GenerationId| old.date.checked_add(7.days()).unwrap() <= generation.date;
            assert!(old.is_none_or(week), "{now}: {old:?} is replaced within its week by {generation}");
        }
        if let Event::EraseBegin { generation } = event {
            let stands = self.ring.current(generation.date.weekday());
            assert!(
                stands.is_some_and(|id| id > *generation),
                "{now}: nothing newer stands for {generation}"
            );
        }
        self.log.push((now, event.clone()));
    }

    /// What is due, with what has to be looked at looked at, and what is given up erased.
    fn turn(&mut self, now: Timestamp) {
        let mut looked = Looked::default();
        loop {
            let due = self.ring.due(&self.rules, now, None, &looked);
            due.events.iter().for_each(|event| self.take(now, event));
            if due.wants.is_empty() {
                break;
            }
            for id in due.wants {
                let seal = self.ring.get(id).and_then(|g| g.last_sealed()).unwrap().seal;
                looked.note(id, seal, Found::Whole);
            }
        }
        let erasing = self.ring.iter().filter(|(_, g)| g.state == State::Erasing);
        for generation in erasing.map(|(id, _)| id).collect::<Vec<_>>() {
            self.take(now, &Event::Erased { generation, files: 1, bytes: 1 });
        }
    }

    /// A whole run of a slot.
    fn run(&mut self, now: Timestamp, slot: &SlotId, sequence: u64) -> Result<(), String> {
        let key = SlotKey::of(slot);
        let config = Hash::of(slot.date.to_string().as_bytes());
        let frozen = Frozen { config, key: config, recipients: vec!["age1a".into(), "age1b".into()] };
        let opening = self.ring.open(&self.rules, now, (slot.date, key), 1, &frozen);
        let (generation, events) = match opening.map_err(|refused| refused.what)? {
            Opening::Sealed(id, key) => panic!("{now}: {id} {key} is asked for twice"),
            Opening::GoesOn(id, events) => (id, events),
            Opening::Begins(id, before, own) => (id, [before, own].concat()),
        };
        events.iter().for_each(|event| self.take(now, event));
        let seal = Hash::of(slot.to_string().as_bytes());
        assert!(self.ring.seal(generation, key, seal).map_err(|refused| refused.what)?.is_none());
        let event = Event::Seal {
            generation,
            slot: key,
            seal,
            snapshot: seal,
            root: seal,
            upto: sequence - 1,
            objects: 100,
            bytes: 100_000,
            sequence,
            unreadable: 0,
        };
        self.take(now, &event);
        Ok(())
    }

    fn is_full(&self) -> bool {
        DAYS.iter().all(|day| self.ring.current(*day).is_some())
    }
}

/// A machine's clock: by how much it is ahead, and since when it runs.
struct Clock {
    ahead: SignedDuration,
    booted: Timestamp,
}

impl Clock {
    fn wall(&self, now: Timestamp) -> Timestamp {
        later(now, self.ahead)
    }

    fn boot(&self, now: Timestamp) -> Duration {
        Duration::try_from(now.duration_since(self.booted)).unwrap()
    }
}

struct Year {
    now: Timestamp,
    zone: Zone,
    section: BackupSection,
    on: bool,
    host: Clock,
    floor: Floor,
    ledger: Ledger,
    vault: Clock,
    witnessed: Witnessed,
    kept: BTreeMap<SeriesId, Kept>,
    sequence: u64,
    /// When each slot was sealed.
    sealed: BTreeMap<SlotId, Timestamp>,
}

impl Year {
    fn new(zone: &str, nightly: &str, now: Timestamp) -> Self {
        let (zone, section) = (Zone::named(zone).unwrap(), section(nightly));
        let kept = |one: &SeriesSection| {
            let catch_up = SignedDuration::from_secs(i64::try_from(CATCH_UP).unwrap());
            let rules = Rules { at: one.at.clone(), catch_up, zone: zone.clone() };
            (one.series.clone(), Kept { rules, ring: Ring::default(), log: Vec::new() })
        };
        let mut floor = Floor::new(now);
        floor.bound(Some(Timestamp::MAX));
        Self {
            now,
            on: true,
            host: Clock { ahead: RIGHT, booted: now },
            floor,
            ledger: Ledger {
                since: section.series.iter().map(|one| (one.series.clone(), now)).collect(),
                known: BTreeMap::new(),
            },
            vault: Clock { ahead: RIGHT, booted: now },
            witnessed: Witnessed::new(now, Duration::ZERO),
            kept: section.series.iter().map(kept).collect(),
            sequence: 2,
            sealed: BTreeMap::new(),
            zone,
            section,
        }
    }

    /// The moment as the vault asks for it before everything that it does.
    fn vaults_moment(&mut self) -> Option<Timestamp> {
        self.witnessed.judge(self.vault.wall(self.now), self.vault.boot(self.now))
    }

    fn until(&mut self, end: &str) {
        let end = at(end);
        while self.now < end {
            let wait = if self.on { self.lane() } else { None };
            if let Some(moment) = self.vaults_moment() {
                self.kept.values_mut().for_each(|kept| kept.turn(moment));
            }
            let hour = Timestamp::from_second((self.now.as_second() / 3600 + 1) * 3600).unwrap();
            self.now = wait.filter(|wait| *wait > self.now).map_or(hour, |wait| wait.min(hour)).min(end);
        }
    }

    /// The host's passes until nothing is due, and its note of the time.
    fn lane(&mut self) -> Option<Timestamp> {
        loop {
            let (now, wrong) = self.floor.judge(self.host.wall(self.now));
            let (mut wait, mut idle) = (None, true);
            for due in schedule::due(&self.section, &self.ledger, now, &self.zone) {
                match due {
                    Due::Run(_) if wrong => {}
                    Due::Run(slot) => {
                        let what = self.run(&slot);
                        self.ledger.known.insert(slot, Known { what, at: self.host.wall(self.now) });
                        idle = false;
                    }
                    Due::Missed(slot) => {
                        self.ledger.known.insert(slot, Known { what: What::Missed, at: now });
                        idle = false;
                    }
                    Due::Wait(until) => wait = Some(later(self.now, until.duration_since(now))),
                }
            }
            if idle {
                self.floor.note(self.host.wall(self.now), self.host.boot(self.now));
                return wait.filter(|_| !wrong);
            }
        }
    }

    fn run(&mut self, slot: &SlotId) -> What {
        let tries = match self.ledger.known.get(slot).map(|known| known.what) {
            Some(What::Failed { tries }) => tries + 1,
            _ => 1,
        };
        let Some(moment) = self.vaults_moment() else { return What::Failed { tries } };
        self.sequence += 2;
        let kept = self.kept.get_mut(&slot.series).unwrap();
        if kept.run(moment, slot, self.sequence).is_err() {
            return What::Failed { tries };
        }
        let before = self.sealed.insert(slot.clone(), self.now);
        assert_eq!(before, None, "{slot} is sealed twice");
        What::Sealed
    }

    fn events(&self) -> usize {
        self.kept.values().map(|kept| kept.log.len()).sum()
    }

    fn is_full(&self) -> bool {
        self.kept.values().all(Kept::is_full)
    }
}

fn year(zone: &str, nightly: &str, by_a_person: bool) {
    let mut year = Year::new(zone, nightly, at("2027-01-01T12:00:00Z"));
    year.until("2027-01-09T12:00:00Z");
    assert!(year.is_full());

    // forty hours off
    year.until("2027-06-10T10:00:00Z");
    year.on = false;
    year.until("2027-06-12T02:00:00Z");
    assert!(year.is_full());
    year.on = true;
    year.host.booted = year.now;
    let kept = year.floor.at();
    year.floor = Floor::new(kept);
    year.floor.bound(Some(Timestamp::MAX));

    // the host's clock ahead for forty minutes, then the vault's; 06:00 in Amsterdam comes meanwhile
    year.until("2027-08-03T03:50:00Z");
    year.host.ahead = FORTY_DAYS;
    let (floor, events) = (year.floor.at(), year.events());
    year.until("2027-08-03T04:30:00Z");
    assert_eq!((year.floor.at(), year.events()), (floor, events), "nothing of then is open at the vault");
    year.host.ahead = RIGHT;
    year.until("2027-08-20T03:50:00Z");
    year.vault.ahead = FORTY_DAYS;
    let (floor, events) = (year.witnessed.floor(), year.events());
    year.until("2027-08-20T04:30:00Z");
    assert_eq!(
        (year.witnessed.floor(), year.events()),
        (floor, events),
        "it begins, closes and erases nothing"
    );
    year.vault.ahead = RIGHT;

    // the host's for a day and a half: it stands still until a person removes its floor
    year.until("2027-09-06T18:00:00Z");
    year.host.ahead = FORTY_DAYS;
    year.until("2027-09-08T06:00:00Z");
    year.host.ahead = RIGHT;
    assert!(year.floor.judge(year.now).1);
    let sealed = year.sealed.len();
    year.until("2027-09-10T09:00:00Z");
    assert_eq!(year.sealed.len(), sealed);
    assert!(year.is_full());
    year.floor = Floor::new(Timestamp::UNIX_EPOCH);
    year.floor.bound(Some(Timestamp::MAX));

    // the vault's for a day and a half: what is open closes early, and nothing more is taken or erased
    year.until("2027-11-16T18:00:00Z");
    let (events, sealed) = (year.events(), year.sealed.len());
    year.vault.ahead = FORTY_DAYS;
    year.until("2027-11-16T18:59:00Z");
    assert_eq!(year.events(), events);
    year.until("2027-11-18T06:00:00Z");
    assert!(year.events() > events, "it was believed after an hour");
    assert!(year.is_full());
    year.vault.ahead = RIGHT;
    let events = year.events();
    let mended = if by_a_person { "2027-11-20T09:00:00Z" } else { "2027-12-28T04:30:00Z" };
    year.until(mended);
    assert_eq!((year.events(), year.sealed.len()), (events, sealed), "it waits");
    if by_a_person {
        year.witnessed = Witnessed::new(Timestamp::UNIX_EPOCH, year.vault.boot(year.now));
    }

    // through the year's end and the leap day
    year.until("2028-03-06T12:00:00Z");
    assert!(year.is_full());
    let lost = [
        ("2027-06-10T10:00:00Z", "2027-06-12T02:00:00Z"),
        ("2027-09-06T18:00:00Z", "2027-09-10T09:00:00Z"),
        ("2027-11-16T18:00:00Z", if by_a_person { mended } else { "2027-12-28T06:00:00Z" }),
    ];
    let late =
        [("2027-08-03T03:50:00Z", "2027-08-03T04:30:00Z"), ("2027-08-20T03:50:00Z", "2027-08-20T04:30:00Z")];
    every_day_is_kept(&year, &lost, &late);
}

/// Every date that nothing disturbed has all its slots, at their moments, in one generation that became the copy of its
/// weekday once, and replaced the one of the week before.
fn every_day_is_kept(year: &Year, lost: &[(&str, &str)], late: &[(&str, &str)]) {
    let within = |spans: &[(&str, &str)], from: Timestamp, to: Timestamp| {
        spans.iter().any(|(begins, ends)| from < at(ends) && to >= at(begins))
    };
    let whole = |date: Date| {
        let start = year.zone.moment(date, jiff::civil::Time::midnight());
        !within(lost, start, year.zone.closes(date))
    };
    let mut whole_days = 0;
    for one in &year.section.series {
        let kept = &year.kept[&one.series];
        let mut promoted: BTreeMap<Date, Vec<Option<GenerationId>>> = BTreeMap::new();
        for (_, event) in &kept.log {
            if let Event::Promote { generation, supersedes, .. } = event {
                promoted.entry(generation.date).or_default().push(*supersedes);
            }
        }
        assert!(promoted.values().all(|times| times.len() == 1), "promoted twice");
        let mut day = date(2027, 1, 2);
        while day < date(2028, 3, 5) {
            if whole(day) {
                whole_days += 1;
                for slot in schedule::slots_of(one, day) {
                    let due = schedule::moment(&year.zone, &slot);
                    let after = year.sealed.get(&slot).map(|sealed| sealed.duration_since(due));
                    let after = after.unwrap_or_else(|| panic!("{slot} was lost"));
                    let most = if within(late, due, due) { 3600 } else { 0 };
                    assert!(
                        (0..=most).contains(&after.as_secs()),
                        "{slot} was sealed {after} after its time"
                    );
                }
                let before = day.checked_sub(7.days()).unwrap();
                let copy = |date| GenerationId { date, number: 1 };
                let expected = promoted.get(&before).map(|_| copy(before));
                let times = promoted.get(&day).unwrap_or_else(|| panic!("{day} never became the copy"));
                if expected.is_some() || before < date(2027, 1, 1) {
                    assert_eq!(times[0], expected, "{day}");
                }
            }
            day = day.tomorrow().unwrap();
        }
        let erased: BTreeSet<GenerationId> = (kept.log.iter())
            .filter_map(|(_, event)| match event {
                Event::Erased { generation, .. } => Some(*generation),
                _ => None,
            })
            .collect();
        assert!(promoted.contains_key(&date(2028, 2, 29)) && erased.len() + 9 > promoted.len());
    }
    assert!(whole_days > 2 * 360, "{whole_days}");
}

#[test]
fn a_year_of_the_ring_in_amsterdam() {
    year("Europe/Amsterdam", "02:30", true);
}

#[test]
fn a_year_of_the_ring_in_london() {
    year("Europe/London", "01:30", false);
}

/// docs/centre.md, 11: both believed the same wrong time, and a person mends both and moves the series away.
#[test]
fn a_date_that_has_not_come_is_waited_for_unless_a_person_moves_the_series() {
    let mut year = Year::new("Europe/Amsterdam", "02:30", at("2027-01-01T12:00:00Z"));
    year.until("2027-02-01T11:30:00Z");
    (year.host.ahead, year.vault.ahead) = (FORTY_DAYS, FORTY_DAYS);
    // 14:00 of 13 March comes, an hour and a half later.
    year.until("2027-02-01T14:00:00Z");
    let server = year.section.series[0].series.clone();
    let far = |year: &Year| year.kept[&server].ring.newest().map(|id| id.date);
    assert_eq!(far(&year), Some(date(2027, 3, 13)));
    (year.host.ahead, year.vault.ahead) = (RIGHT, RIGHT);
    year.floor = Floor::new(Timestamp::UNIX_EPOCH);
    year.witnessed = Witnessed::new(Timestamp::UNIX_EPOCH, year.vault.boot(year.now));
    let sealed = |year: &Year| year.sealed.keys().filter(|slot| slot.series == server).count();
    let before = sealed(&year);
    year.until("2027-02-03T12:00:00Z");
    assert_eq!((sealed(&year), year.is_full()), (before, true), "refused, and every copy is there");
    year.kept.get_mut(&server).unwrap().ring = Ring::default();
    year.until("2027-02-03T14:00:00Z");
    assert_eq!((sealed(&year), far(&year)), (before + 1, Some(date(2027, 2, 3))), "begun anew");
}
