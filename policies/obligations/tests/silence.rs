//! Silence and two histories: what rests on them is unknown in every table, and never green.

#[cfg(test)]
mod fleet;

use fleet::{Fleet, at, host, sunday};
use jiff::civil::date;
use tenure_areas::pass::Verdict;
use tenure_obligations::State;
use tenure_obligations::input::{ChainFinding, Content, HostSlotState};
use tenure_obligations::view::{Drilled, HostRow, Sign};
use tenure_trust::enrol::IngestFinding;
use tenure_trust::{Epoch, MachineRole, SetName, SlotId};

const HOST: MachineRole = MachineRole::Host;
const VAULT: MachineRole = MachineRole::Vault;

#[test]
fn silence_is_unknown_after_three_heartbeats_and_never_before() {
    let mut fleet = Fleet::in_order(sunday());
    let patience = 3 * i64::from(fleet.book.heartbeat_seconds);
    fleet.later(patience - 60);
    assert_eq!(fleet.state("access.secured"), State::Met);
    fleet.later(1);
    for duty in [
        "access.secured",
        "patch.security",
        "backup.server",
        "backup.nightly",
        "backup.ring",
        "backup.offhost",
    ] {
        assert_eq!(fleet.state(duty), State::Unknown, "{duty}");
        assert!(fleet.why(duty).contains("silent for 45 min"), "{duty}: {}", fleet.why(duty));
    }
    let judged = fleet.judge();
    assert!(judged.obligations.iter().all(|row| row.state != State::Met || row.duty == "purge"));
    assert!(judged.hosts.iter().all(|row| row.state == State::Unknown));
    for row in &judged.backups.rows {
        assert_eq!((row.state, &row.drilled), (State::Unknown, &Drilled::Unknown), "{row:?}");
        let why: Vec<String> = row.why.iter().map(ToString::to_string).collect();
        assert_eq!(why, ["vault1 as vault silent for 45 min 1 s", "web1 silent for 45 min 1 s"]);
    }
    assert_eq!(judged.backups.rows.len(), 2);
    let unjudged: Vec<_> = judged.unjudged.iter().map(|row| (row.host.as_str(), row.why.len())).collect();
    assert_eq!(unjudged, [("ctl1", 1), ("vault1", 1), ("web1", 1)], "{:?}", judged.unjudged);
    let cells = judged.backups.rows.iter().flat_map(|row| row.days.iter().flatten());
    // what both said before they fell silent stands; nothing new can be green
    assert!(cells.clone().any(|cell| cell.sign == Sign::Sealed));
}

#[test]
fn one_silent_side_makes_copies_unknown() {
    for (name, role) in [("web1", HOST), ("vault1", VAULT)] {
        let mut fleet = Fleet::in_order(sunday());
        fleet.machine(name, role).last_contact = Some(at("2026-11-22T10:00:00Z"));
        for duty in ["backup.server", "backup.nightly", "backup.ring", "backup.offhost"] {
            assert_eq!(fleet.state(duty), State::Unknown, "{name} silent: {duty}");
        }
        let other = if role == HOST { State::Unknown } else { State::Met };
        assert_eq!(fleet.state("access.secured"), other);
        let judged = fleet.judge();
        for row in &judged.backups.rows {
            assert_eq!((row.state, row.why.len()), (State::Unknown, 1), "{name} silent: {row:?}");
            // what the other side says of itself is known
            assert_eq!(row.drilled == Drilled::Unknown, role == HOST, "{name} silent: {row:?}");
        }
        let unjudged = judged.unjudged.iter().any(|row| row.host == host("web1"));
        assert_eq!(unjudged, role == HOST, "{:?}", judged.unjudged);
    }
}

#[test]
fn two_histories_of_host_or_vault_are_no_green_row_of_copies() {
    for (name, role) in [("web1", HOST), ("vault1", VAULT)] {
        let mut fleet = Fleet::in_order(sunday());
        assert!(fleet.judge().backups.rows.iter().all(|row| row.state == State::Met && row.why.is_empty()));
        let fork = ChainFinding { what: IngestFinding::Fork, epoch: Epoch(1), count: 1, at: sunday() };
        fleet.machine(name, role).findings.push(fork);
        let rows = fleet.judge().backups.rows;
        for row in &rows {
            let why = row.why.iter().map(ToString::to_string).collect::<String>();
            assert!(row.state == State::Unknown && why.contains("two histories"), "{name}: {row:?}");
        }
        assert_eq!(rows.len(), 2);
    }
}

#[test]
fn what_is_worse_than_unknown_stays_so_in_silence() {
    let mut fleet = Fleet::in_order(sunday());
    let is = |slot: &SlotId| slot.series.set == SetName::Nightly && slot.date == date(2026, 11, 20);
    fleet.vault_forgets(is);
    fleet.host_slots(|slot| is(slot).then_some(HostSlotState::Missed));
    fleet.machine("web1", HOST).last_contact = Some(at("2026-11-22T10:00:00Z"));
    let rows = fleet.judge().backups.rows;
    assert!(rows.iter().all(|row| row.state == State::Overdue && row.why.len() == 1), "{rows:?}");
}

#[test]
fn a_host_of_whose_backups_nothing_is_known_is_not_in_order() {
    let row = |fleet: &Fleet| fleet.judge().hosts.into_iter().find(|row| row.host == host("web1")).unwrap();
    let fleet = Fleet::in_order(sunday());
    let area = |row: &HostRow| row.areas.iter().find(|area| area.area == "backup").unwrap().verdict;
    let web = row(&fleet);
    // the run of 14:00
    assert_eq!((web.state, area(&web)), (State::Due, Some(Verdict::Pending)), "{web:?}");
    let quiet = row(&Fleet::in_order(at("2026-11-22T19:03:00Z")));
    assert_eq!((quiet.state, area(&quiet)), (State::Met, Some(Verdict::Compliant)), "{quiet:?}");
    let vault = fleet.judge().hosts.into_iter().find(|row| row.host == host("vault1")).unwrap();
    assert_eq!((vault.state, vault.areas[3].mode.as_deref()), (State::Met, None), "it backs nothing up");
    let mut mute = fleet.clone();
    mute.newest("web1", HOST, "backup").received_at = at("2026-11-22T10:00:00Z");
    let mut unreadable = fleet;
    unreadable.newest("web1", HOST, "backup").content = Content::Unreadable;
    for fleet in [mute, unreadable] {
        let web = row(&fleet);
        let why = web.why.iter().map(ToString::to_string).collect::<String>();
        assert!(web.state == State::Unknown && why.contains("backup"), "{web:?}");
        assert_eq!(area(&web), None);
        let unjudged = fleet.judge().unjudged;
        let web = unjudged.iter().find(|row| row.host == host("web1")).unwrap();
        assert_eq!((web.areas.as_slice(), web.why.len()), (&["backup".to_owned()][..], 1));
    }
}

#[test]
fn an_area_that_is_not_spoken_of_is_unknown_although_the_host_speaks() {
    let mut fleet = Fleet::in_order(sunday());
    fleet.newest("web1", HOST, "firewall").received_at = at("2026-11-22T10:00:00Z");
    assert_eq!(fleet.state("access.secured"), State::Unknown);
    assert!(fleet.why("access.secured").contains("said nothing of firewall since"));
    assert_eq!(fleet.state("patch.security"), State::Met);
    let mut fleet = Fleet::in_order(sunday());
    fleet.newest("web1", HOST, "patch").content = Content::Missing;
    assert_eq!(fleet.state("patch.security"), State::Unknown);
    let mut fleet = Fleet::in_order(sunday());
    fleet.newest("web1", HOST, "backup").content = Content::Unreadable;
    assert_eq!(fleet.state("backup.nightly"), State::Unknown);
}
