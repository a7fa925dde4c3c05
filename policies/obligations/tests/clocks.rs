//! Wrong clocks over virtual time: how far a host's floor rises, and what a vault's clock that is ahead costs.

#[cfg(test)]
mod fleet;
#[cfg(test)]
mod world;

use fleet::at;
use jiff::SignedDuration;
use tenure_obligations::State;
use tenure_trust::vault_wire::GenerationState;
use world::{FORTY_DAYS, World};

/// A ring that is full, on 11 January 2027.
fn full() -> World {
    let mut world = World::new("Europe/Amsterdam", at("2027-01-01T12:00:00Z"));
    world.until("2027-01-11T12:50:00Z");
    world.stand(State::Met, State::Met);
    assert!(world.vault.is_full());
    world
}

#[test]
fn no_clock_carries_a_hosts_floor_beyond_the_policy_that_it_holds() {
    let mut world = full();
    // Nothing is signed any more: the policy of the 1st lasts until 1 April.
    world.signed_every = SignedDuration::from_hours(24 * 1000);
    world.until("2027-03-12T10:00:00Z");
    world.host.ahead = FORTY_DAYS;
    world.until("2027-03-13T22:00:00Z");
    let end = at("2027-04-01T12:00:00Z");
    assert_eq!(world.host.floor.at(), end);
    world.host.ahead = SignedDuration::ZERO;
    let seals = world.seals.len();
    world.until("2027-04-01T11:00:00Z");
    world.all_unknown("ahead of its receipt");
    assert_eq!((world.seals.len(), world.host.judge(world.now)), (seals, (end, true)));
    world.until("2027-04-01T14:00:00Z");
    assert!(!world.host.judge(world.now).1, "twenty days and not forty");
    assert!(world.seals.len() > seals);
}

#[test]
fn a_vaults_clock_that_is_ahead_for_forty_minutes_costs_nothing() {
    let mut world = full();
    let (floor, held, seals) = (world.vault.clock.floor(), world.vault.holds(), world.seals.len());
    world.vault.ahead = FORTY_DAYS;
    // 14:00 in Amsterdam comes meanwhile.
    world.until("2027-01-11T13:30:00Z");
    world.all_unknown("vault1 as vault saw is 40 d ahead");
    assert_eq!(
        (world.vault.clock.floor(), world.vault.holds()),
        (floor, held),
        "it closes and erases nothing"
    );
    assert_eq!(world.seals.len(), seals, "nor does it take anything");
    world.vault.ahead = SignedDuration::ZERO;
    world.until("2027-01-11T14:05:00Z");
    world.stand(State::Met, State::Met);
    assert!(world.seals.len() > seals, "made good");
    world.until("2027-01-12T12:00:00Z");
    assert_eq!(world.state("backup.server"), State::Due, "{}", world.why("backup.server"));
    world.until("2027-01-12T22:00:00Z");
    assert_eq!(world.state("backup.server"), State::Met, "{}", world.why("backup.server"));
}

#[test]
fn a_vaults_clock_that_is_believed_while_it_is_ahead_takes_nothing_until_a_person_mends_it() {
    let mut world = full();
    world.until("2027-01-14T00:00:00Z");
    let (held, seals) = (world.vault.holds(), world.seals.len());
    let open = |world: &World| {
        let held = world.vault.holds();
        held.iter().filter(|(_, state)| *state == GenerationState::Candidate).count()
    };
    assert!(open(&world) > 0, "the 13th is open");
    world.vault.ahead = FORTY_DAYS;
    world.until("2027-01-14T00:59:00Z");
    assert_eq!(world.vault.holds(), held);
    world.until("2027-01-14T01:01:00Z");
    assert_eq!(open(&world), 0, "believed, so that it is over");
    assert!(world.vault.is_full(), "what was erased for it has a newer copy of its weekday");
    world.until("2027-01-15T12:00:00Z");
    world.all_unknown("vault1 as vault saw is 40 d ahead");
    assert_eq!(world.seals.len(), seals, "no slot of now is open by it");

    let held = world.vault.holds();
    world.vault.ahead = SignedDuration::ZERO;
    world.until("2027-01-20T12:00:00Z");
    world.stand(State::Overdue, State::Overdue);
    let why = world.why("backup.nightly");
    assert!(why.contains("failed: the vault's clock is not believed"), "{why}");
    assert_eq!((world.vault.holds(), world.seals.len()), (held, seals), "it holds what it held");

    world.vault.forget_clock(world.now);
    world.until("2027-01-20T14:05:00Z");
    assert!(world.seals.len() > seals, "14:00 is taken");
    world.until("2027-01-28T12:00:00Z");
    world.stand(State::Met, State::Met);
    assert!(world.vault.is_full());
}
