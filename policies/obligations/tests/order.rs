//! A judgement does not depend on the order in which anything was told, and carrying dates on explains every change.

#[cfg(test)]
mod fleet;

use fleet::{Fleet, sunday};
use proptest::prelude::*;
use tenure_obligations::input::HostSlotState;
use tenure_obligations::{Standing, State, carry};
use tenure_trust::{MachineRole, SlotId};

/// Some slots take another turn, so that there is something to judge.
fn disturbed(seed: u64) -> Fleet {
    let mut fleet = Fleet::in_order(sunday());
    let odd = |slot: &SlotId, n: u64| {
        let hash = tenure_trust::Hash::of(format!("{seed} {slot}").as_bytes());
        u64::from(hash.as_bytes()[0]) % 7 == n
    };
    fleet.host_slots(|slot| odd(slot, 0).then_some(HostSlotState::Missed));
    fleet.vault_forgets(|slot| odd(slot, 0) || odd(slot, 1));
    fleet.host_forgets(|slot| odd(slot, 2));
    fleet
}

fn shuffle<T>(list: &mut [T], seed: u64) {
    let mut state = seed | 1;
    for n in (1..list.len()).rev() {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        list.swap(n, (state >> 33) as usize % (n + 1));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn order_changes_nothing(seed in any::<u64>(), shuffled in any::<u64>()) {
        let fleet = disturbed(seed);
        let mut other = fleet.clone();
        shuffle(&mut other.web_backups().slots, shuffled);
        shuffle(&mut other.vault().series, shuffled);
        for series in &mut other.vault().series {
            shuffle(&mut series.generations, shuffled);
            for generation in &mut series.generations {
                shuffle(&mut generation.slots, shuffled);
            }
        }
        let web = other.hosts.values_mut().find_map(|policy| policy.backup.as_mut()).unwrap();
        shuffle(&mut web.series, shuffled);
        prop_assert_eq!(fleet.judge().obligations, other.judge().obligations);
        prop_assert_eq!(fleet.judge().backups.rows, other.judge().backups.rows);
    }

    /// Whatever is taken away, nothing becomes better.
    #[test]
    fn knowing_less_never_makes_a_duty_met(seed in any::<u64>(), which in 0usize..3) {
        let fleet = disturbed(seed);
        let mut less = fleet.clone();
        match which {
            0 => { less.machines.remove(&(fleet::host("web1"), MachineRole::Host)); }
            1 => { less.machines.remove(&(fleet::host("vault1"), MachineRole::Vault)); }
            _ => less.machine("web1", MachineRole::Host).areas.clear(),
        }
        let key = |row: &tenure_obligations::Obligation| (row.tenant.clone(), row.promise);
        let before: std::collections::BTreeMap<_, _> =
            fleet.judge().obligations.iter().map(|row| (key(row), row.state)).collect();
        for row in less.judge().obligations.iter().filter(|row| row.state == State::Met) {
            prop_assert_eq!(before[&key(row)], State::Met, "{:?}", row);
        }
    }
}

#[test]
fn a_state_keeps_its_date_and_a_change_has_its_reason() {
    let mut fleet = Fleet::in_order(sunday());
    let mut first = fleet.judge().obligations;
    let changes = carry(&[], &mut first, fleet.now);
    assert_eq!(changes.len(), first.len());
    assert!(first.iter().all(|row| row.since.is_some()));
    fleet.later(600);
    let mut second = fleet.judge().obligations;
    assert!(carry(&Standing::all(&first), &mut second, fleet.now).is_empty());
    let since = |rows: &[tenure_obligations::Obligation], duty: &str| {
        rows.iter().find(|row| row.duty == duty).unwrap().since
    };
    assert_eq!(since(&second, "access.secured"), Some(sunday()), "it stands as it stood");
    fleet.later(100_000);
    let mut third = fleet.judge().obligations;
    let changes = carry(&Standing::all(&second), &mut third, fleet.now);
    let access = changes.iter().find(|change| change.duty == "access.secured").unwrap();
    assert_eq!((access.from, access.to), (Some(State::Met), Some(State::Unknown)));
    assert!(access.why[0].to_string().contains("silent"));
    assert!(changes.iter().all(|change| change.from != change.to && !change.why.is_empty()));
}

#[test]
fn another_duty_in_the_place_of_one_stands_since_it_is_there() {
    let mut fleet = Fleet::in_order(sunday());
    let mut first = fleet.judge().obligations;
    carry(&[], &mut first, fleet.now);
    let mut before = Standing::all(&first);
    let place = before.iter().position(|row| row.duty == "access.secured").unwrap();
    let state = before[place].state;
    "other.duty".clone_into(&mut before[place].duty);
    fleet.later(600);
    let mut second = fleet.judge().obligations;
    let changes = carry(&before, &mut second, fleet.now);
    let told: Vec<_> = changes.iter().map(|change| (change.duty.as_str(), change.from, change.to)).collect();
    assert_eq!(told, [("access.secured", None, Some(state)), ("other.duty", Some(state), None)]);
    let row = second.iter().find(|row| row.duty == "access.secured").unwrap();
    assert_eq!(row.since, Some(fleet.now));
}
