//! A year in a second: schedule and judge over virtual time, through both changes of clocks, month ends, the leap day,
//! forty hours without the machine, a vault away for most of a window and a clock forty days ahead. Calendar vectors come
//! from Python's standard library.

#[cfg(test)]
mod fleet;

use std::collections::{BTreeMap, BTreeSet};

use fleet::{Fleet, at, backup_content, host, seal, sealed};
use jiff::civil::{Date, date};
use jiff::{SignedDuration, Timestamp, ToSpan};
use tenure_areas::backup::schedule::{self, Due, Known, Ledger, What};
use tenure_obligations::input::{Content, HostBackups, HostSlot, HostSlotState};
use tenure_obligations::{Change, Obligation, Reason, Standing, State, carry};
use tenure_policy::bundles::BackupSection;
use tenure_policy::calendar::{Period, Zone};
use tenure_trust::vault_wire::{GenerationFacts, GenerationState, SeriesFacts, VaultFacts};
use tenure_trust::{GenerationId, Hash, MachineRole, SlotId};

const VECTORS: &str = include_str!("calendar/vectors.json");

#[derive(serde::Deserialize)]
struct Vectors {
    first: Date,
    moments: BTreeMap<String, BTreeMap<String, Vec<i64>>>,
    purges: Vec<Purge>,
}

#[derive(serde::Deserialize)]
struct Purge {
    zone: String,
    ends: Date,
    months: u32,
    gone_by: i64,
}

fn vectors() -> Vectors {
    serde_json::from_str(VECTORS).expect("the fixture is what vectors.py prints")
}

#[test]
fn moments_of_slots_are_those_of_another_calendar() {
    let Vectors { first, moments, .. } = vectors();
    let mut compared = 0;
    let series = World::new("Europe/London", at("2027-01-01T00:00:00Z")).section().series[0].series.clone();
    for (name, times) in &moments {
        let zone = Zone::named(name).unwrap();
        for (time, epochs) in times {
            for (day, epoch) in epochs.iter().enumerate() {
                let slot = SlotId {
                    series: series.clone(),
                    date: first.checked_add((day as i64).days()).unwrap(),
                    at: time.parse().unwrap(),
                    manual: false,
                };
                let ours = schedule::moment(&zone, &slot).as_second();
                assert_eq!(ours, *epoch, "{name} {slot}");
                compared += 1;
            }
        }
    }
    assert!(compared > 4000, "{compared}");
}

#[test]
fn purge_dates_are_those_of_another_calendar() {
    for Purge { zone, ends, months, gone_by } in vectors().purges {
        let mut fleet = World::new(&zone, at("2027-01-01T00:00:00Z")).fleet;
        let tenant = fleet.book.tenants.values_mut().next().unwrap();
        (tenant.ends, tenant.purge_within) = (Some(ends), Period::months(months));
        tenant.promises.iter_mut().for_each(|promise| promise.within = None);
        let next = fleet.row("purge").next.map(Timestamp::as_second);
        assert_eq!(next, Some(gone_by), "{zone}: {ends} and {months} months");
    }
}

/// A host, a vault and a controller in virtual time.
struct World {
    fleet: Fleet,
    zone: Zone,
    ledger: Ledger,
    backups: HostBackups,
    vault: VaultFacts,
    /// When each slot was sealed; more than once is a fault.
    seals: BTreeMap<SlotId, Vec<Timestamp>>,
    missed: BTreeSet<SlotId>,
    now: Timestamp,
    /// The host is on.
    on: bool,
    /// The vault can be reached.
    reached: bool,
    /// By how much the host's clock is ahead.
    ahead: SignedDuration,
    rows: Vec<Obligation>,
    changes: Vec<Change>,
}

/// The nightly time that the zone's changes of clocks skip and double.
fn odd_time(zone: &str) -> &'static str {
    if zone == "Europe/London" { "01:30" } else { "02:30" }
}

impl World {
    fn new(zone: &str, now: Timestamp) -> Self {
        let mut fleet = Fleet::in_order(now);
        fleet.book.timezone = zone.to_owned();
        fleet.book.heartbeat_seconds = 3600;
        for policy in fleet.hosts.values_mut() {
            (policy.firewall, policy.ssh_access, policy.patch) = (None, None, None);
            for series in policy.backup.iter_mut().flat_map(|backup| &mut backup.series) {
                if series.at.len() == 1 {
                    series.at = vec![odd_time(zone).parse().expect("a time")];
                }
            }
        }
        for tenant in fleet.book.tenants.values_mut() {
            let known = ["backup.server", "backup.nightly", "backup.ring", "backup.offhost", "purge"];
            tenant.promises.retain(|promise| known.contains(&promise.means.as_str()));
        }
        for reported in fleet.machines.values_mut() {
            reported.admitted = Some(now);
        }
        let section = fleet.hosts[&host("web1")].backup.clone().expect("it is backed up");
        let since = section.series.iter().map(|one| (one.series.clone(), now)).collect();
        let backups = HostBackups { slots: Vec::new(), drills: Vec::new(), ..fleet.web_backups().clone() };
        let vault = VaultFacts { series: Vec::new(), ..fleet.vault().clone() };
        Self {
            fleet,
            zone: Zone::named(zone).expect("a zone"),
            ledger: Ledger { since, known: BTreeMap::new() },
            backups,
            vault,
            seals: BTreeMap::new(),
            missed: BTreeSet::new(),
            now,
            on: true,
            reached: true,
            ahead: SignedDuration::ZERO,
            rows: Vec::new(),
            changes: Vec::new(),
        }
    }

    fn section(&self) -> BackupSection {
        self.fleet.hosts[&host("web1")].backup.clone().expect("it is backed up")
    }

    fn hosts_clock(&self) -> Timestamp {
        self.now.checked_add(self.ahead).expect("in range")
    }

    /// The host does what its schedule asks for until nothing is due; gives when it will look again, by true time.
    fn work(&mut self) -> Option<Timestamp> {
        let section = self.section();
        for _ in 0..200 {
            let now = self.hosts_clock();
            let mut wait = None;
            let mut idle = true;
            for due in schedule::due(&section, &self.ledger, now, &self.zone) {
                match due {
                    Due::Run(slot) => self.run(slot),
                    Due::Missed(slot) => {
                        self.missed.insert(slot.clone());
                        self.know(slot, What::Missed, HostSlotState::Missed);
                    }
                    Due::Wait(until) => {
                        wait = until.checked_sub(self.ahead).ok();
                        continue;
                    }
                }
                idle = false;
            }
            if idle {
                return wait;
            }
        }
        unreachable!("the schedule never rests at {}", self.now);
    }

    fn know(&mut self, slot: SlotId, what: What, state: HostSlotState) {
        self.ledger.known.insert(slot.clone(), Known { what, at: self.hosts_clock() });
        self.backups.slots.retain(|known| known.slot != slot);
        self.backups.slots.push(HostSlot { slot, state });
    }

    /// A run that takes no time; the vault takes only dates that are open by its own clock.
    fn run(&mut self, slot: SlotId) {
        let open = schedule::moment(&self.zone, &slot) <= self.now && self.now < self.zone.closes(slot.date);
        if !open || !self.reached {
            let tries = match self.ledger.known.get(&slot).map(|known| known.what) {
                Some(What::Failed { tries }) => tries + 1,
                _ => 1,
            };
            let why = if open { "the vault does not answer" } else { "the date is not open at the vault" };
            let why = why.to_owned();
            return self.know(slot, What::Failed { tries }, HostSlotState::Failed { why });
        }
        self.seals.entry(slot.clone()).or_default().push(self.now);
        self.missed.remove(&slot);
        self.hold(&slot);
        let seal = seal(&slot, self.now);
        self.know(slot, What::Sealed, HostSlotState::Sealed(seal));
    }

    fn hold(&mut self, slot: &SlotId) {
        let place = self.vault.series.iter().position(|facts| facts.series == slot.series);
        let place = place.unwrap_or_else(|| {
            self.vault.series.push(SeriesFacts { series: slot.series.clone(), generations: Vec::new() });
            self.vault.series.len() - 1
        });
        let generations = &mut self.vault.series[place].generations;
        let id = GenerationId { date: slot.date, number: 1 };
        if generations.last().is_none_or(|last| last.id != id) {
            generations.push(GenerationFacts {
                id,
                state: GenerationState::Candidate,
                opened: self.now,
                closed: None,
                slots: Vec::new(),
                objects: 1,
                bytes: 1,
            });
        }
        generations.last_mut().expect("it was just pushed").slots.push(sealed(slot, self.now));
    }

    /// The vault closes what is over and erases what is superseded.
    fn turn(&mut self) {
        for series in &mut self.vault.series {
            for generation in &mut series.generations {
                if self.zone.closes(generation.id.date) <= self.now {
                    generation.state = GenerationState::Current;
                }
            }
            let current: Vec<Date> = series
                .generations
                .iter()
                .filter(|generation| generation.state == GenerationState::Current)
                .map(|generation| generation.id.date)
                .collect();
            let superseded =
                |old: Date| current.iter().any(|new| *new > old && new.weekday() == old.weekday());
            series.generations.retain(|generation| !superseded(generation.id.date));
        }
        let today = self.zone.date_of(self.now);
        let oldest = today.checked_sub(40.days()).expect("in range");
        self.backups.slots.retain(|slot| slot.slot.date > oldest);
        self.ledger.known.retain(|slot, _| slot.date > oldest);
    }

    /// Records go to the controller, which judges; every change of state must have another reason than before.
    fn judge(&mut self) {
        self.fleet.now = self.now;
        let vault = Content::Vault(Box::new(self.vault.clone()));
        let spoken = [
            (self.on, "web1", MachineRole::Host, "backup", backup_content(self.backups.clone(), self.now)),
            (true, "vault1", MachineRole::Vault, "vault", vault),
        ];
        for (speaks, name, role, area, content) in spoken {
            if !speaks {
                continue;
            }
            let observed = if role == MachineRole::Host { self.hosts_clock() } else { self.now };
            self.fleet.machine(name, role).last_contact = Some(self.now);
            let newest = self.fleet.newest(name, role, area);
            (newest.observed_at, newest.received_at, newest.content) = (observed, self.now, content);
        }
        let mut rows = self.fleet.judge().obligations;
        let changes = carry(&Standing::all(&self.rows), &mut rows, self.now);
        for change in &changes {
            let before = self.rows.iter().find(|row| row.promise == change.promise);
            if let Some(before) = before {
                let keys = |why: &[Reason]| why.iter().map(Reason::key).collect::<Vec<_>>();
                assert_ne!(keys(&before.why), keys(&change.why), "{} unexplained: {change:?}", self.now);
            }
        }
        self.changes.extend(changes);
        self.rows = rows;
    }

    /// Time passes until then: by the hour, and at whatever moment the schedule asks for.
    fn until(&mut self, end: &str) {
        let end = at(end);
        while self.now < end {
            let wait = if self.on { self.work() } else { None };
            self.turn();
            self.judge();
            let hour = (self.now.as_second() / 3600 + 1) * 3600;
            let next = Timestamp::from_second(hour).expect("in range");
            self.now = wait.filter(|wait| *wait > self.now).map_or(next, |wait| wait.min(next)).min(end);
        }
    }

    fn state(&self, duty: &str) -> State {
        self.row(duty).state
    }

    fn row(&self, duty: &str) -> &Obligation {
        self.rows.iter().find(|row| row.duty == duty).expect("a row")
    }

    fn why(&self, duty: &str) -> String {
        self.row(duty).why.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
    }
}

fn year(zone: &str) {
    let mut world = World::new(zone, at("2027-01-01T12:00:00Z"));
    world.until("2027-01-02T12:00:00Z");
    // the first nightly slot was on the 2nd, so that the ring is full on the 8th
    assert_eq!(world.state("backup.ring"), State::Due);
    assert!(world.why("backup.ring").contains("full on 2027-01-08"), "{}", world.why("backup.ring"));
    assert_eq!(world.state("backup.offhost"), State::Met);
    world.until("2027-01-08T20:00:00Z");
    assert_eq!(world.state("backup.ring"), State::Met, "{}", world.why("backup.ring"));
    world.until("2027-06-10T10:00:00Z");
    assert_eq!(world.state("backup.nightly"), State::Met);

    // forty hours off
    world.on = false;
    let before = world.changes.len();
    world.until("2027-06-12T02:00:00Z");
    for duty in ["backup.server", "backup.nightly", "backup.ring", "backup.offhost"] {
        assert_eq!(world.state(duty), State::Unknown, "{duty}");
        assert!(world.why(duty).contains("silent"), "{duty}: {}", world.why(duty));
    }
    assert!(world.changes[before..].iter().all(|change| change.to != Some(State::Met)));
    world.on = true;
    world.until("2027-06-12T12:00:00Z");
    assert_eq!(world.state("backup.nightly"), State::Overdue, "yesterday's was lost");
    assert_eq!(world.state("backup.ring"), State::Overdue);
    assert!(world.why("backup.ring").contains("2027-06-11"), "{}", world.why("backup.ring"));
    world.until("2027-06-20T12:00:00Z");
    assert_eq!((world.state("backup.nightly"), world.state("backup.ring")), (State::Met, State::Met));
    let off: Vec<&SlotId> = world.missed.iter().collect();
    assert!(
        off.iter().all(|slot| slot.date >= date(2027, 6, 10) && slot.date <= date(2027, 6, 12)),
        "{off:?}"
    );
    assert!(!off.is_empty());

    // the vault away for all but the end of a night's window: due all the time, then made good
    world.until("2027-06-21T00:30:00Z");
    world.reached = false;
    for moment in ["2027-06-21T00:35:00Z", "2027-06-21T02:10:00Z", "2027-06-21T03:50:00Z"] {
        world.until(moment);
        assert_eq!(world.state("backup.nightly"), State::Due, "{moment}: {}", world.why("backup.nightly"));
    }
    world.reached = true;
    world.until("2027-06-21T04:25:00Z");
    assert_eq!(world.state("backup.nightly"), State::Met, "{}", world.why("backup.nightly"));

    // the host's clock forty days ahead for a day and a half
    world.until("2027-09-07T00:00:00Z");
    world.ahead = SignedDuration::from_hours(24 * 40);
    world.until("2027-09-08T12:00:00Z");
    assert_eq!(world.state("backup.nightly"), State::Unknown);
    assert!(world.why("backup.nightly").contains("ahead of its receipt"), "{}", world.why("backup.nightly"));
    world.ahead = SignedDuration::ZERO;
    world.until("2027-09-20T12:00:00Z");
    assert_eq!((world.state("backup.nightly"), world.state("backup.ring")), (State::Met, State::Met));

    // through the second change of clocks, the year's end and the leap day
    world.until("2028-03-05T12:00:00Z");
    assert_eq!((world.state("backup.nightly"), world.state("backup.ring")), (State::Met, State::Met));

    slots_are_those_of_the_calendar(&world);
}

/// Every slot of the calendar was sealed exactly once at its moment, or was lost while the host was off or ahead.
fn slots_are_those_of_the_calendar(world: &World) {
    let Vectors { first, moments, .. } = vectors();
    let (mut kept, mut lost) = (0, 0);
    for series in &world.section().series {
        for time in &series.at {
            let epochs = &moments[world.zone.name()][&time.to_string()];
            for (day, epoch) in epochs.iter().enumerate() {
                let date = first.checked_add((day as i64).days()).expect("in range");
                let due = Timestamp::from_second(*epoch).expect("in range");
                let (from, to) = (at("2027-01-01T12:00:00Z"), at("2028-03-05T11:00:00Z"));
                if due < from || due > to {
                    continue;
                }
                let slot = SlotId { series: series.series.clone(), date, at: *time, manual: false };
                let disturbed = |from, to| due > at(from) && due < at(to);
                let odd = disturbed("2027-06-10T09:00:00Z", "2027-06-12T02:00:01Z")
                    || disturbed("2027-06-21T00:29:59Z", "2027-06-21T03:50:00Z")
                    || disturbed("2027-09-06T19:00:00Z", "2027-09-08T12:00:01Z");
                match world.seals.get(&slot).map(Vec::as_slice) {
                    Some([once]) if *once == due => kept += 1,
                    Some([once]) if odd => {
                        let late = once.duration_since(due);
                        assert!(late < SignedDuration::from_hours(4), "{slot} {late}");
                        kept += 1;
                    }
                    None if odd => lost += 1,
                    other => unreachable!("{slot} due {due}: {other:?}"),
                }
            }
        }
    }
    assert!(kept > 3000 && lost > 8, "{kept} kept, {lost} lost");
    let expected = |slot: &SlotId| world.section().series.iter().any(|one| one.at.contains(&slot.at));
    assert!(world.seals.iter().all(|(slot, times)| times.len() == 1 && expected(slot)));
}

#[test]
fn a_year_in_amsterdam() {
    year("Europe/Amsterdam");
}

#[test]
fn a_year_in_london() {
    year("Europe/London");
}

#[test]
fn a_seal_of_the_areas_facts_is_read_as_it_is_written() {
    use tenure_areas::backup::facts::{DrillFact, Facts, SLOTS, SealFact, Since, SlotFact, SlotState};
    let world = World::new("Europe/London", at("2027-01-01T00:00:00Z"));
    let one = world.section().series[0].clone();
    let slot = SlotId { series: one.series.clone(), date: date(2027, 1, 1), at: one.at[0], manual: false };
    let (now, hash) = (world.now, Hash::of(b"x"));
    let seal = SealFact {
        seal: hash,
        snapshot: hash,
        root: hash,
        receipt: hash,
        generation: GenerationId { date: slot.date, number: 1 },
        at: now,
        unreadable: 2,
    };
    let states = [
        SlotState::Running,
        SlotState::Sealed(seal),
        SlotState::Failed { why: "dump".into() },
        SlotState::Missed,
    ];
    let fact = |state| SlotFact { slot: slot.clone(), state, at: now, tries: 1 };
    let facts = Facts {
        slots: states.into_iter().map(fact).collect(),
        drills: vec![DrillFact {
            at: now,
            held: true,
            what: "rows".into(),
            took_ms: 5,
            slot: slot.clone(),
            tables: 1,
            rows: 4,
        }],
        since: vec![Since { series: one.series.clone(), since: now }],
        machine: Some(hash),
        boot: Some(hash),
        ..Facts::default()
    };
    let report = fleet::report("backup", now, Some(serde_json::to_value(&facts).unwrap()));
    let ours = HostBackups::of(&report).unwrap();
    let kinds: Vec<_> = ours.slots.iter().map(|slot| slot.state.clone()).collect();
    assert!(matches!(
        kinds.as_slice(),
        [HostSlotState::Running, HostSlotState::Sealed(seal), HostSlotState::Failed { why }, HostSlotState::Missed]
            if seal.unreadable == 2 && seal.seal == hash && why == "dump"
    ));
    assert_eq!((ours.drills[0].took_ms, ours.drills[0].held), (5, true));
    assert_eq!((ours.since[0].since, ours.machine, ours.boot), (now, Some(hash), Some(hash)));
    assert_eq!(SLOTS, tenure_obligations::input::SLOTS_TOLD);
}
