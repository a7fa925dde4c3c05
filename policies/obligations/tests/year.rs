//! A year in a second: schedule, memory, time floor and judge over virtual time, through both changes of clocks, month
//! ends, the leap day, forty hours without the machine, a vault away for most of a window and a host's clock forty days
//! ahead, for forty minutes and for a day and a half. Calendar vectors come from Python's standard library.

#[cfg(test)]
mod fleet;
#[cfg(test)]
mod world;

use std::collections::BTreeMap;

use fleet::at;
use jiff::civil::{Date, date};
use jiff::{SignedDuration, Timestamp, ToSpan};
use tenure_areas::backup::schedule;
use tenure_obligations::State;
use tenure_obligations::input::{HostBackups, HostSlotState};
use tenure_policy::calendar::{Period, Zone};
use tenure_trust::{GenerationId, Hash, SlotId};
use world::{FORTY_DAYS, World};

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

/// What becomes of a host whose clock was believed while it was ahead, and is right again.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mended {
    /// A person removes the file of the time floor.
    ByAPerson,
    /// Nobody does anything: it waits until its floor is reached.
    ByTime,
}

fn year(zone: &str, mended: Mended) {
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
    world.host.on = false;
    let before = world.changes.len();
    world.until("2027-06-12T02:00:00Z");
    world.all_unknown("silent");
    assert!(world.changes[before..].iter().all(|change| change.to != Some(State::Met)));
    world.host.power_on(world.now);
    assert!(!world.host.judge(world.now).1, "a clock that went on while the machine was off is right");
    world.until("2027-06-12T12:00:00Z");
    world.stand(State::Overdue, State::Overdue);
    assert!(world.why("backup.ring").contains("2027-06-11"), "{}", world.why("backup.ring"));
    world.until("2027-06-20T12:00:00Z");
    world.stand(State::Met, State::Met);
    let off: Vec<&SlotId> = world.host.missed().collect();
    assert!(
        off.iter().all(|slot| slot.date >= date(2027, 6, 10) && slot.date <= date(2027, 6, 12)),
        "{off:?}"
    );
    assert!(!off.is_empty());

    // the vault away for all but the end of a night's window: due all the time, then made good
    world.until("2027-06-21T00:30:00Z");
    world.vault.reached = false;
    for moment in ["2027-06-21T00:35:00Z", "2027-06-21T02:10:00Z", "2027-06-21T03:50:00Z"] {
        world.until(moment);
        assert_eq!(world.state("backup.nightly"), State::Due, "{moment}: {}", world.why("backup.nightly"));
    }
    world.vault.reached = true;
    world.until("2027-06-21T04:25:00Z");
    assert_eq!(world.state("backup.nightly"), State::Met, "{}", world.why("backup.nightly"));

    forty_minutes_ahead(&mut world);
    a_day_and_a_half_ahead(&mut world, mended);

    // through the second change of clocks, the year's end and the leap day
    world.until("2028-03-05T12:00:00Z");
    world.stand(State::Met, State::Met);
    slots_are_those_of_the_calendar(&world, mended);
}

/// NTP corrects the host's clock within the hour: its records of then are not believed, and nothing else comes of it.
fn forty_minutes_ahead(world: &mut World) {
    world.until("2027-08-03T11:50:00Z");
    let (floor, seals) = (world.host.floor.at(), world.seals.len());
    let held = world.vault.holds();
    world.host.ahead = FORTY_DAYS;
    world.until("2027-08-03T12:30:00Z");
    world.all_unknown("ahead of its receipt");
    assert_eq!((world.host.floor.at(), world.seals.len()), (floor, seals), "neither believed nor sealed by");
    assert_eq!(world.vault.holds(), held);
    world.host.ahead = SignedDuration::ZERO;
    assert!(!world.host.judge(world.now).1);
    // 14:00 in Amsterdam came meanwhile and is made good; whatever was sealed before is still known.
    world.until("2027-08-03T14:00:00Z");
    world.stand(State::Met, State::Met);
    assert_eq!(world.host.missed().count(), 0, "what the wrong clock missed is forgotten");
}

/// An hour is longer than NTP needs, so that it is believed: the floor rises by forty days, and until a person removes it
/// or the time comes, the host says that its clock is wrong and begins nothing (docs/decisions/0010).
fn a_day_and_a_half_ahead(world: &mut World, mended: Mended) {
    world.until("2027-09-06T18:00:00Z");
    world.stand(State::Met, State::Met);
    let (floor, seals, changes) = (world.host.floor.at(), world.seals.len(), world.changes.len());
    world.host.ahead = FORTY_DAYS;
    world.until("2027-09-06T18:59:00Z");
    assert_eq!(world.host.floor.at(), floor);
    world.until("2027-09-06T19:01:00Z");
    assert_eq!(world.host.floor.at(), at("2027-10-16T19:00:00Z"), "it went on evenly for an hour");
    world.until("2027-09-08T06:00:00Z");
    world.all_unknown("ahead of its receipt");
    world.host.ahead = SignedDuration::ZERO;
    let (believed, wrong) = world.host.judge(world.now);
    assert!(wrong && believed > at("2027-10-18T04:59:00Z"), "{believed}");
    world.until("2027-09-10T09:00:00Z");
    world.all_unknown("ahead of its receipt");

    let over = match mended {
        Mended::ByAPerson => {
            world.host.forget_floor();
            "2027-09-10T11:00:00Z"
        }
        Mended::ByTime => {
            let held = world.vault.holds();
            world.until("2027-10-18T04:00:00Z");
            world.all_unknown("ahead of its receipt");
            assert_eq!(world.vault.holds(), held, "nothing came, so that nothing was closed or erased");
            "2027-10-18T14:00:00Z"
        }
    };
    let until = world.now;
    assert!(world.vault.is_full(), "each day of the week has the copy that it had");
    assert_eq!(world.seals.len(), seals, "no slot was filled");
    // Each of the four rows changed once, at the first record of the wrong clock.
    let mut changed: Vec<_> =
        world.changes[changes..].iter().map(|c| (c.duty.as_str(), c.to, c.at)).collect();
    changed.sort_unstable();
    let duties = ["backup.nightly", "backup.offhost", "backup.ring", "backup.server"];
    assert_eq!(changed, duties.map(|duty| (duty, Some(State::Unknown), at("2027-09-06T18:00:00Z"))));

    world.until(over);
    assert!(!world.host.judge(world.now).1, "{}: it heals", world.now);
    world.stand(State::Overdue, State::Overdue);
    assert!(world.why("backup.ring").contains("in place of"), "{}", world.why("backup.ring"));
    // A week later every day of the week has a new copy.
    let week = until.checked_add(SignedDuration::from_hours(9 * 24)).expect("in range");
    world.until(&week.to_string());
    world.stand(State::Met, State::Met);
}

/// When slots may be late, and whether they may be lost.
struct Odd {
    from: &'static str,
    to: &'static str,
    lost: bool,
}

/// Every slot of the calendar was sealed exactly once at its moment, or was late or lost while something was in its way.
fn slots_are_those_of_the_calendar(world: &World, mended: Mended) {
    let Vectors { first, moments, .. } = vectors();
    let to = match mended {
        Mended::ByAPerson => "2027-09-10T09:00:01Z",
        Mended::ByTime => "2027-10-18T06:00:01Z",
    };
    let odd = [
        Odd { from: "2027-06-10T09:00:00Z", to: "2027-06-12T02:00:01Z", lost: true },
        Odd { from: "2027-06-21T00:29:59Z", to: "2027-06-21T03:50:00Z", lost: false },
        Odd { from: "2027-08-03T11:49:59Z", to: "2027-08-03T12:30:00Z", lost: false },
        Odd { from: "2027-09-06T17:59:59Z", to, lost: true },
    ];
    let (mut kept, mut late, mut lost) = (0, 0, 0);
    for series in &world.section().series {
        for time in &series.at {
            let epochs = &moments[world.host.scheduled.zone.name()][&time.to_string()];
            for (day, epoch) in epochs.iter().enumerate() {
                let date = first.checked_add((day as i64).days()).expect("in range");
                let due = Timestamp::from_second(*epoch).expect("in range");
                let (from, to) = (at("2027-01-01T12:00:00Z"), at("2028-03-05T11:00:00Z"));
                if due < from || due > to {
                    continue;
                }
                let slot = SlotId { series: series.series.clone(), date, at: *time, manual: false };
                let odd = odd.iter().find(|odd| due > at(odd.from) && due < at(odd.to));
                match (world.seals.get(&slot).map(Vec::as_slice), odd) {
                    (Some([once]), _) if *once == due => kept += 1,
                    (Some([once]), Some(_)) => {
                        let after = once.duration_since(due);
                        assert!(after < SignedDuration::from_hours(4), "{slot} {after}");
                        late += 1;
                    }
                    (None, Some(Odd { lost: true, .. })) => lost += 1,
                    (other, _) => unreachable!("{slot} due {due}: {other:?}"),
                }
            }
        }
    }
    assert!(kept > 3000 && late > 0 && lost > 8, "{kept} kept, {late} late, {lost} lost");
    let expected = |slot: &SlotId| world.section().series.iter().any(|one| one.at.contains(&slot.at));
    assert!(world.seals.iter().all(|(slot, times)| times.len() == 1 && expected(slot)));
}

#[test]
fn a_year_in_amsterdam() {
    year("Europe/Amsterdam", Mended::ByAPerson);
}

#[test]
fn a_year_in_london() {
    year("Europe/London", Mended::ByTime);
}
#[test]
fn a_seal_of_the_areas_facts_is_read_as_it_is_written() {
    use tenure_areas::backup::facts::{
        DrillFact, DrilledDump, Facts, SLOTS, SealFact, Since, SlotFact, SlotState,
    };
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
            dump: Some(DrilledDump {
                series: one.series.clone(),
                database: tenure_policy::scalars::SqlName::new("main").unwrap(),
            }),
            slot: Some(slot.clone()),
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
    assert_eq!(ours.drills[0].dump, facts.drills[0].dump);
    assert_eq!((ours.since[0].since, ours.machine, ours.boot), (now, Some(hash), Some(hash)));
    assert_eq!(SLOTS, tenure_obligations::input::SLOTS_TOLD);
}
