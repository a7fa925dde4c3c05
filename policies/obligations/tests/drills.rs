//! `backup.drill`: each dump is proved by its own drills.

#[cfg(test)]
mod fleet;

use fleet::{Fleet, at, host, sunday};
use tenure_obligations::input::HostDrill;
use tenure_obligations::view::Drilled;
use tenure_obligations::{Reason, State};
use tenure_trust::{MachineRole, Owner};

const HOST: MachineRole = MachineRole::Host;

#[test]
fn drills_are_met_late_failed_and_not_believed_from_the_future() {
    let mut fleet = Fleet::in_order(sunday());
    let promise = &mut fleet.book.tenants.values_mut().next().unwrap().promises;
    promise[0].means = "backup.drill".into();
    assert_eq!(fleet.state("backup.drill"), State::Met);
    let told = fleet.web_backups().drills.clone();
    assert!(told.iter().any(|drill| owner_of(drill) == &Owner::Host) && told.len() == 2, "{told:?}");
    let drilled = |text: &str, held| told.iter().map(|drill| again(drill, text, held)).collect::<Vec<_>>();
    fleet.web_backups().drills =
        [drilled("2026-11-21T03:00:00Z", false), drilled("2026-11-01T03:00:00Z", true)].concat();
    assert_eq!(fleet.state("backup.drill"), State::Broken);
    assert!(fleet.why("backup.drill").contains("3,999 of 4,000 rows"));
    fleet.web_backups().drills = drilled("2026-10-01T03:00:00Z", true);
    assert_eq!(fleet.state("backup.drill"), State::Overdue);
    fleet.web_backups().drills = drilled("2027-01-01T03:00:00Z", true);
    assert_eq!(fleet.state("backup.drill"), State::Overdue, "admitted 40 days ago, never drilled");
    fleet.machine("web1", HOST).admitted = Some(at("2026-11-10T03:00:00Z"));
    assert_eq!(fleet.state("backup.drill"), State::Due);
}

fn owner_of(drill: &HostDrill) -> &Owner {
    &drill.dump.as_ref().expect("each drill here names its dump").series.owner
}

/// The same dump, drilled at another time.
fn again(drill: &HostDrill, text: &str, held: bool) -> HostDrill {
    HostDrill { at: at(text), held, what: "3,999 of 4,000 rows".into(), ..drill.clone() }
}

#[test]
fn no_drill_of_one_dump_stands_for_another() {
    let mut fleet = Fleet::in_order(sunday());
    fleet.book.tenants.values_mut().next().unwrap().promises[0].means = "backup.drill".into();
    let told = fleet.web_backups().drills.clone();
    let (hosts, tenants): (Vec<_>, Vec<_>) = told.into_iter().partition(|one| owner_of(one) == &Owner::Host);
    let (hosts, tenants) = (&hosts[0], &tenants[0]);
    let cell = |fleet: &Fleet, owner: &Owner| {
        let rows = fleet.judge().backups.rows;
        rows.into_iter().find(|row| row.owner == *owner).unwrap().drilled
    };
    let held = |drilled: &Drilled| match drilled {
        Drilled::Last(row) => Some(row.held),
        _ => None,
    };
    // the tenant's failed, and the host's was drilled after it and held
    let failed = again(tenants, "2026-11-21T03:00:00Z", false);
    fleet.web_backups().drills = vec![again(hosts, "2026-11-21T03:01:00Z", true), failed.clone()];
    let row = fleet.row("backup.drill");
    assert_eq!(row.state, State::Broken, "{}", fleet.why("backup.drill"));
    assert!(matches!(&row.why[0], Reason::DrillFailed { dump: Some(_), .. }), "{:?}", row.why);
    assert_eq!(held(&cell(&fleet, owner_of(tenants))), Some(false));
    assert_eq!(held(&cell(&fleet, &Owner::Host)), Some(true));
    // a drill of another owner's dump is none of the tenant's, nor is one that does not say of what
    let mut nameless = again(tenants, "2026-11-21T03:02:00Z", true);
    nameless.dump = None;
    fleet.web_backups().drills = vec![again(hosts, "2026-11-21T03:01:00Z", true), nameless];
    assert_eq!(fleet.state("backup.drill"), State::Overdue, "{}", fleet.why("backup.drill"));
    assert!(fleet.why("backup.drill").contains("not drilled yet"), "{}", fleet.why("backup.drill"));
    assert_eq!(cell(&fleet, owner_of(tenants)), Drilled::Never);
    // what the tenant shares with others is in the host's
    fleet.web_backups().drills = vec![again(tenants, "2026-11-21T03:01:00Z", true)];
    assert_eq!(fleet.state("backup.drill"), State::Overdue);
    // held again
    fleet.web_backups().drills = vec![
        failed,
        again(hosts, "2026-11-21T03:01:00Z", true),
        again(tenants, "2026-11-22T03:00:00Z", true),
    ];
    assert_eq!(fleet.state("backup.drill"), State::Met, "{}", fleet.why("backup.drill"));
    assert_eq!(held(&cell(&fleet, owner_of(tenants))), Some(true));
}

#[test]
fn an_owner_of_whom_nothing_is_dumped_has_nothing_to_drill() {
    let mut fleet = Fleet::in_order(sunday());
    fleet.book.tenants.values_mut().next().unwrap().promises[0].means = "backup.drill".into();
    let web = fleet.hosts.get_mut(&host("web1")).unwrap();
    web.backup.as_mut().unwrap().series.iter_mut().for_each(|one| one.dumps.clear());
    assert_eq!(fleet.state("backup.drill"), State::Unknown);
    assert_eq!(fleet.why("backup.drill"), "the policy of web1 has no dump of a database");
    assert!(fleet.judge().backups.rows.iter().all(|row| row.drilled == Drilled::Nothing));
}
