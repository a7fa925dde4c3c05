//! A host with more slots than it can tell: what host and vault agreed on stays agreed while neither denies it, and the
//! vault's word alone counts for nothing.

#[cfg(test)]
mod fleet;

use fleet::{Fleet, sunday};
use jiff::civil::{Date, date};
use tenure_obligations::input::{HostSlot, HostSlotState, SLOTS_TOLD};
use tenure_obligations::view::Sign;
use tenure_obligations::{Reason, State};
use tenure_trust::{Hash, SlotId};

/// The first date that the host still tells of.
const TOLD_FROM: Date = date(2026, 11, 20);

/// A host that has made so many copies by hand today that its list is full.
fn full() -> Fleet {
    let mut fleet = Fleet::in_order(sunday());
    let series = fleet.web_backups().slots[0].slot.series.clone();
    let by_hand = (0..SLOTS_TOLD).map(|n| {
        let time = format!("{:02}:{:02}", 1 + n / 60, n % 60).parse().expect("a time of day");
        let slot = SlotId { series: series.clone(), date: date(2026, 11, 22), at: time, manual: true };
        HostSlot { slot, state: HostSlotState::Missed }
    });
    fleet.web_backups().slots.extend(by_hand);
    fleet
}

/// It no longer tells of what is older than that.
fn forgetful(mut fleet: Fleet) -> Fleet {
    fleet.host_forgets(|slot| slot.date < TOLD_FROM);
    fleet
}

fn count(fleet: &Fleet, sign: Sign) -> usize {
    let rows = fleet.judge().backups.rows;
    rows.iter().flat_map(|row| row.days.iter().flatten()).filter(|cell| cell.sign == sign).count()
}

#[test]
fn what_both_said_stays_when_the_host_cannot_say_it_again() {
    let mut fleet = full();
    assert_eq!(fleet.state("backup.ring"), State::Met, "{}", fleet.why("backup.ring"));
    let (sealed, agreed) = (count(&fleet, Sign::Sealed), fleet.judge().agreed);
    assert_eq!(agreed.len(), 4, "every series of host and tenant");
    fleet.agreed = agreed.clone();
    let mut fleet = forgetful(fleet);
    for _ in 0..3 {
        assert_eq!((fleet.state("backup.ring"), count(&fleet, Sign::Sealed)), (State::Met, sealed));
        let again = fleet.judge().agreed;
        assert_eq!(again, agreed, "it is remembered on and on");
        fleet.agreed = again;
    }
    // A record of the host's that nobody can read denies nothing.
    let mut mute = fleet.clone();
    mute.web_backups().slots.clear();
    assert_eq!(mute.judge().agreed, agreed);
    // What is older than anybody looks at is forgotten.
    fleet.later(24 * 3600 * 20);
    assert!(fleet.judge().agreed.is_empty());
}

#[test]
fn the_vaults_word_alone_counts_for_nothing() {
    let fleet = forgetful(full());
    assert_eq!(fleet.state("backup.ring"), State::Unknown, "{}", fleet.why("backup.ring"));
    assert!(fleet.why("backup.ring").contains("the host says nothing of"), "{}", fleet.why("backup.ring"));
    let unknown = count(&fleet, Sign::Unknown);
    assert!(unknown > 10, "{unknown}");
    let rows = fleet.judge().backups.rows;
    assert!(rows.iter().all(|row| row.state == State::Unknown), "{rows:?}");
    let agreed = fleet.judge().agreed;
    assert!(agreed.values().flat_map(|of| of.keys()).all(|(date, _)| *date >= TOLD_FROM), "{agreed:?}");
}

#[test]
fn a_host_that_tells_everything_needs_no_memory() {
    let mut fleet = Fleet::in_order(sunday());
    assert!(fleet.judge().agreed.is_empty());
    fleet.host_forgets(|slot| slot.date < TOLD_FROM);
    assert_eq!(fleet.state("backup.ring"), State::Overdue, "it could say so, and does not");
}

#[test]
fn either_sides_other_word_ends_it() {
    let mut before = full();
    before.agreed = before.judge().agreed;
    let day = date(2026, 11, 18);
    let of_day = |fleet: &Fleet| {
        let agreed = fleet.judge().agreed;
        agreed.values().flat_map(|of| of.keys()).filter(|(date, _)| *date == day).count()
    };
    assert_eq!(of_day(&before), 8, "four slots of each owner");

    let mut vault = forgetful(before.clone());
    for generation in vault.vault().series.iter_mut().flat_map(|series| &mut series.generations) {
        for slot in generation.slots.iter_mut().filter(|slot| slot.slot.date == day) {
            slot.seal = Hash::of(b"another");
        }
    }
    assert_eq!((vault.state("backup.ring"), of_day(&vault)), (State::Unknown, 0));

    // It cannot say that it lacks nothing when the host said so.
    let mut partial = full();
    for slot in &mut partial.web_backups().slots {
        if let HostSlotState::Sealed(seal) = &mut slot.state {
            seal.unreadable = u64::from(slot.slot.date == day);
        }
    }
    partial.agreed = partial.judge().agreed;
    let partials = count(&partial, Sign::Partial);
    assert_eq!((partials, count(&forgetful(partial), Sign::Partial)), (8, 8));

    let mut host = before.clone();
    host.host_slots(|slot| (slot.date == day && !slot.manual).then_some(HostSlotState::Missed));
    assert_eq!(of_day(&host), 0, "the host denies it");

    // A vault that does not have it now holds no copy now; when it comes back it is the one that was agreed on.
    let mut away = forgetful(before);
    let held = away.vault().clone();
    away.vault_forgets(|slot| slot.date == day);
    assert_eq!((away.state("backup.ring"), of_day(&away)), (State::Overdue, 8));
    let slot = away.judge().obligations.into_iter().find(|row| row.duty == "backup.ring").unwrap();
    assert!(slot.why.iter().any(|why| matches!(why, Reason::WeekdayLacks { date, .. } if *date == day)));
    *away.vault() = held;
    assert_eq!((away.state("backup.ring"), of_day(&away)), (State::Met, 8));
}
