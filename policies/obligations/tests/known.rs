//! What the controller knows itself: vault facts in pages, and since when it has handed a series on.

#[cfg(test)]
mod fleet;

use fleet::{Fleet, at, host, sunday};
use tenure_obligations::history::{PastDrift, Told};
use tenure_obligations::input::{Content, HostSince};
use tenure_obligations::{Evidence, RecordRef, State};
use tenure_trust::vault_pages::{page_area, page_hash};
use tenure_trust::vault_wire::VaultFacts;
use tenure_trust::{AreaName, Epoch, Hash, MachineRole, Seq};

/// The same facts as head and pages, one series each, as a vault with many records them: pages first.
fn paged(fleet: &mut Fleet) -> Vec<AreaName> {
    let whole = fleet.vault().clone();
    let page = |series| VaultFacts { series: vec![series], ..whole.clone() };
    let pages: Vec<VaultFacts> = whole.series.iter().cloned().map(page).collect();
    let head = VaultFacts { series: vec![], pages: pages.iter().map(page_hash).collect(), ..whole };
    let newest = fleet.newest("vault1", MachineRole::Vault, "vault").clone();
    let mut areas = Vec::new();
    for (number, page) in pages.into_iter().enumerate() {
        let mut record = newest.clone();
        record.record.seq = Seq(100 + number as u64);
        record.record.hash = Hash::of(format!("page {number}").as_bytes());
        record.content = Content::Vault(Box::new(page));
        // A page was said when it changed, long ago: the head's hash vouches for it.
        record.received_at = at("2026-11-20T00:00:00Z");
        let area = page_area(number).expect("the example has few series");
        fleet.machine("vault1", MachineRole::Vault).areas.insert(area.clone(), record);
        areas.push(area);
    }
    let record = fleet.newest("vault1", MachineRole::Vault, "vault");
    record.record.seq = Seq(200);
    record.content = Content::Vault(Box::new(head));
    areas
}

#[test]
fn facts_in_pages_are_judged_as_if_they_came_in_one() {
    let whole = Fleet::in_order(sunday());
    let mut fleet = whole.clone();
    let areas = paged(&mut fleet);
    assert!(areas.len() > 1);
    let (one, many) = (whole.judge(), fleet.judge());
    let states = |judged: &tenure_obligations::view::Judgement| -> Vec<_> {
        judged.obligations.iter().map(|row| (row.duty.clone(), row.state, row.why.clone())).collect()
    };
    assert_eq!(states(&many), states(&one));
    assert_eq!(many.backups.vaults[0].copies, one.backups.vaults[0].copies);
    let row = many.obligations.iter().find(|row| row.duty == "backup.nightly").unwrap();
    let names =
        |e: &Evidence| matches!(e, Evidence::Record(r) if r.role == MachineRole::Vault && r.seq < Seq(200));
    assert!(row.evidence.iter().any(names), "the page that says it: {:?}", row.evidence);
}

#[test]
fn a_page_that_is_missing_or_another_than_the_head_names_makes_it_unknown() {
    let mut fleet = Fleet::in_order(sunday());
    let areas = paged(&mut fleet);
    assert_eq!(fleet.state("backup.nightly"), State::Met);
    let mut missing = fleet.clone();
    missing.machine("vault1", MachineRole::Vault).areas.remove(&areas[1]);
    assert_eq!(missing.state("backup.nightly"), State::Unknown);
    assert!(missing.why("backup.nightly").contains("page 2 of"), "{}", missing.why("backup.nightly"));

    let mut older = fleet.clone();
    let record = older.newest("vault1", MachineRole::Vault, areas[0].as_str());
    let Content::Vault(facts) = &mut record.content else { panic!("a page") };
    facts.series[0].generations.clear();
    let mut newer = older.clone();
    assert_eq!(older.state("backup.nightly"), State::Unknown, "the head names another");
    newer.newest("vault1", MachineRole::Vault, areas[0].as_str()).record.seq = Seq(201);
    assert!(!newer.why("backup.nightly").contains("page"), "said after the head: the next head follows");
}

#[test]
fn a_host_cannot_claim_that_it_is_expected_of_it_only_from_now_on() {
    let mut fleet = Fleet::in_order(sunday());
    let section = fleet.hosts[&host("web1")].backup.clone().unwrap();
    fleet.vault().series.clear();
    fleet.web_backups().slots.clear();
    let since = |at| {
        move |series: &tenure_policy::bundles::SeriesSection| HostSince {
            series: series.series.clone(),
            since: at,
        }
    };
    fleet.web_backups().since = section.series.iter().map(since(at("2026-11-22T09:00:00Z"))).collect();
    assert_eq!(fleet.state("backup.nightly"), State::Due, "nobody knows better");
    let handed_on = |fleet: &mut Fleet, when| {
        fleet.series_since = section.series.iter().map(|one| (one.series.clone(), when)).collect();
    };
    handed_on(&mut fleet, at("2026-11-15T09:00:00Z"));
    assert_eq!(fleet.state("backup.nightly"), State::Overdue, "the series is a week old");
    handed_on(&mut fleet, at("2026-11-22T08:50:00Z"));
    assert_eq!(fleet.state("backup.nightly"), State::Due, "it is as young as the host says");
    assert_eq!(fleet.state("backup.ring"), State::Due);
    // Policy is pulled a little later than it is handed on: a slot between is not expected, one an hour later is.
    fleet.web_backups().since = section.series.iter().map(since(at("2026-11-22T02:31:00Z"))).collect();
    handed_on(&mut fleet, at("2026-11-22T02:29:00Z"));
    assert_eq!(fleet.state("backup.nightly"), State::Due);
    handed_on(&mut fleet, at("2026-11-22T01:00:00Z"));
    assert_eq!(fleet.state("backup.nightly"), State::Overdue);
}

/// A record of this host that told of drift.
fn past(name: &str, seq: u64, received: &str) -> PastDrift {
    let record = RecordRef {
        host: host(name),
        role: MachineRole::Host,
        epoch: Epoch(1),
        seq: Seq(seq),
        hash: Hash::of(name.as_bytes()),
    };
    PastDrift {
        host: host(name),
        area: "firewall".into(),
        times: 1,
        first_at: at(received),
        observed_at: at(received),
        received_at: at(received),
        told: Told::default(),
        record,
    }
}

#[test]
fn the_newest_drift_of_each_host_of_the_book_is_shown_in_whatever_order_it_came() {
    let mut fleet = Fleet::in_order(sunday());
    fleet.history = (1..=30).map(|seq| past("web1", seq, "2026-11-22T12:00:00Z")).collect();
    fleet.history.push(past("vault1", 7, "2026-11-22T11:00:00Z"));
    fleet.history.push(past("gone1", 8, "2026-11-22T12:30:00Z"));
    let mut expected: Vec<_> = (11..=30).rev().map(|seq| (host("web1"), Seq(seq))).collect();
    expected.push((host("vault1"), Seq(7)));
    let shown = |fleet: &Fleet| -> Vec<_> {
        let view = fleet.judge().drift_view();
        view.history.into_iter().map(|row| (row.host, row.record.seq)).collect()
    };
    assert_eq!(shown(&fleet), expected);
    fleet.history.reverse();
    assert_eq!(shown(&fleet), expected);
}
