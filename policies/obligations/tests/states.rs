//! Each rule of judging: what is in order, what each thing taken away turns into, and why.

#[cfg(test)]
mod fleet;

use fleet::{Fleet, at, host, patched, sunday};
use jiff::civil::date;
use tenure_obligations::input::{ChainFinding, Content, HostSince, HostSlot, HostSlotState};
use tenure_obligations::view::{Drilled, Sign};
use tenure_obligations::{Reason, State};
use tenure_policy::bundles::WaiverFacts;
use tenure_policy::calendar::Period;
use tenure_trust::enrol::IngestFinding;
use tenure_trust::vault_wire::{AsideReason, GenerationState};
use tenure_trust::{Epoch, Hash, MachineRole, Owner, PersonName, SetName, SlotId, SlotTime};

const HOST: MachineRole = MachineRole::Host;

#[test]
fn a_fleet_in_order_is_met_due_and_honest_about_what_nobody_sees() {
    let fleet = Fleet::in_order(sunday());
    let states: Vec<_> = fleet.judge().obligations.iter().map(|row| (row.duty.clone(), row.state)).collect();
    let of = |duty: &str| states.iter().find(|(name, _)| name == duty).unwrap().1;
    for met in [
        "access.secured",
        "access.key_and_address",
        "patch.security",
        "backup.nightly",
        "backup.offhost",
        "backup.ring",
        "purge",
    ] {
        assert_eq!(of(met), State::Met, "{met}: {}", fleet.why(met));
    }
    // 14:03: 06:00 is sealed, 14:00 runs, 22:00 is still to come
    let server = fleet.row("backup.server");
    assert_eq!(
        (server.state, fleet.why("backup.server").as_str()),
        (State::Due, "web1 server: 1 of 3 (06:00 ok)")
    );
    assert_eq!(server.next, Some(at("2026-11-23T01:00:00Z")), "22:00 and four hours to catch up");
    for unknown in ["retention", "web.encrypted", "passwords.hashed", "isolation", "data.minimal"] {
        assert_eq!(
            (of(unknown), fleet.why(unknown).as_str()),
            (State::Unknown, "no probe yet: nothing looks at this")
        );
    }
    for person in ["agreement", "location"] {
        assert_eq!(
            (of(person), fleet.why(person).as_str()),
            (State::NotCheckable, "a person answers for it")
        );
    }
    assert_eq!(fleet.why("purge"), "contract runs, no end set");
    let evidence = fleet.row("backup.offhost").evidence;
    let names: Vec<String> = evidence.iter().map(ToString::to_string).collect();
    assert_eq!(names, ["vault1/vault#200", "web1#203"]);
}

#[test]
fn the_worst_comes_first() {
    let states: Vec<State> =
        Fleet::in_order(sunday()).judge().obligations.iter().map(|row| row.state).collect();
    assert!(states.windows(2).all(|pair| pair[0] >= pair[1]), "{states:?}");
}

#[test]
fn a_clock_forty_days_off_is_unknown_both_ways() {
    for (observed, word) in [("2027-01-01T13:00:00Z", "ahead"), ("2026-10-13T13:00:00Z", "behind")] {
        let mut fleet = Fleet::in_order(sunday());
        fleet.newest("web1", HOST, "patch").observed_at = at(observed);
        assert_eq!(fleet.state("patch.security"), State::Unknown);
        assert!(fleet.why("patch.security").contains(word), "{}", fleet.why("patch.security"));
    }
}

#[test]
fn two_histories_are_unknown_until_the_machine_is_admitted_anew() {
    let mut fleet = Fleet::in_order(sunday());
    let fork = ChainFinding { what: IngestFinding::Fork, epoch: Epoch(1), count: 1, at: sunday() };
    fleet.machine("web1", HOST).findings.push(fork);
    assert_eq!(fleet.state("access.secured"), State::Unknown);
    assert!(fleet.why("access.secured").contains("two histories"));
    for newest in fleet.machine("web1", HOST).areas.values_mut() {
        newest.record.epoch = Epoch(2);
    }
    assert_eq!(fleet.state("access.secured"), State::Met);
}

#[test]
fn a_replay_and_a_gap_alone_are_told_and_change_no_state() {
    let mut fleet = Fleet::in_order(sunday());
    for what in [IngestFinding::Replay, IngestFinding::Gap, IngestFinding::Gap] {
        fleet.machine("web1", HOST).findings.push(ChainFinding {
            what,
            epoch: Epoch(1),
            count: 1,
            at: sunday(),
        });
    }
    assert_eq!(fleet.state("access.secured"), State::Met);
    let web = fleet.judge().hosts.into_iter().find(|row| row.host == host("web1")).unwrap();
    assert_eq!(web.chain, [(IngestFinding::Gap, 2), (IngestFinding::Replay, 1)]);
}

#[test]
fn a_host_cannot_merely_claim() {
    let mut fleet = Fleet::in_order(sunday());
    let fake = tenure_areas::fake::FakeHost::debian();
    let policy = fleet.hosts[&host("web1")].clone();
    let mut report = fleet::firewall_on(&fake, &policy);
    // the facts of a flushed firewall under the word "compliant"
    let mut facts = report.facts.clone().unwrap();
    facts["own"] = serde_json::json!("absent");
    report.facts = Some(facts);
    fleet.newest("web1", HOST, "firewall").content = Content::Report(Box::new(report));
    assert_eq!(fleet.state("access.secured"), State::Broken);
    assert!(fleet.why("access.secured").contains("the table is gone"), "{}", fleet.why("access.secured"));
    let judged = fleet.judge();
    let web = judged.hosts.iter().find(|row| row.host == host("web1")).unwrap();
    let area = web.areas.iter().find(|area| area.area == "firewall").unwrap();
    assert_eq!((web.state, area.claimed.as_deref()), (State::Broken, Some("compliant")));
    assert_eq!(judged.drift[0].what, "the table is gone");
}

#[test]
fn a_version_signed_a_moment_ago_is_taken_over_before_it_is_missed() {
    let mut fleet = Fleet::in_order(sunday());
    let wider = fleet.hosts.get_mut(&host("web1")).unwrap();
    wider.firewall.as_mut().unwrap().inbound.pop();
    fleet.version = Some(tenure_trust::PolicyVersion(8));
    fleet.issued = Some(at("2026-11-22T13:00:00Z"));
    assert_eq!(fleet.state("access.secured"), State::Due);
    assert!(fleet.why("access.secured").contains("taking over policy g8"));
    fleet.issued = Some(at("2026-11-22T10:00:00Z"));
    assert_eq!(fleet.state("access.secured"), State::Broken);
}

#[test]
fn host_and_vault_must_name_the_same_seal_snapshot_and_root() {
    for part in 0..3 {
        let mut fleet = Fleet::in_order(sunday());
        let seals = fleet.vault().series.iter_mut().flat_map(|series| &mut series.generations);
        for slot in seals.flat_map(|generation| &mut generation.slots) {
            let other = Hash::of(b"other");
            match part {
                0 => slot.seal = other,
                1 => slot.snapshot = other,
                _ => slot.root = other,
            }
        }
        assert_eq!(fleet.state("backup.nightly"), State::Broken);
        assert!(fleet.why("backup.nightly").contains("name different copies"));
        let rows = fleet.judge().backups.rows;
        assert!(rows.iter().all(|row| row.state == State::Broken));
    }
}

#[test]
fn one_sided_is_due_for_a_while_and_overdue_after() {
    let nightly =
        |slot: &tenure_trust::SlotId| slot.series.set == SetName::Nightly && slot.date == date(2026, 11, 22);
    // 03:30 local is 02:30 UTC, sealed at 02:34; the other side has not said so yet
    let mut early = Fleet::in_order(at("2026-11-22T02:50:00Z"));
    early.vault_forgets(nightly);
    assert_eq!(early.state("backup.nightly"), State::Due, "{}", early.why("backup.nightly"));
    let mut late = Fleet::in_order(sunday());
    late.vault_forgets(nightly);
    assert_eq!(late.state("backup.nightly"), State::Overdue);
    assert!(late.why("backup.nightly").contains("the vault holds none"));
    let mut early = Fleet::in_order(at("2026-11-22T02:50:00Z"));
    early.host_forgets(nightly);
    assert_eq!(early.state("backup.nightly"), State::Due, "{}", early.why("backup.nightly"));
    let mut late = Fleet::in_order(sunday());
    late.host_forgets(nightly);
    assert_eq!(late.state("backup.nightly"), State::Overdue);
    assert!(late.why("backup.nightly").contains("the host says nothing of"));
}

#[test]
fn a_missed_and_a_failed_run_are_overdue_with_their_words() {
    let is =
        |slot: &tenure_trust::SlotId| slot.series.set == SetName::Nightly && slot.date == date(2026, 11, 22);
    let mut fleet = Fleet::in_order(sunday());
    fleet.vault_forgets(is);
    fleet.host_slots(|slot| {
        is(slot).then(|| HostSlotState::Failed { why: "dump\u{1b}[2J of main ended early".into() })
    });
    assert_eq!(fleet.state("backup.nightly"), State::Overdue);
    let why = fleet.why("backup.nightly");
    assert!(why.contains("failed: dump\\u{1b}[2J of main ended early"), "{why}");
    fleet.host_slots(|slot| is(slot).then_some(HostSlotState::Missed));
    assert!(fleet.why("backup.nightly").contains("03:30: missed"));
    let signs: Vec<Sign> = fleet.judge().backups.rows[0].days[6].iter().map(|cell| cell.sign).collect();
    assert_eq!(signs, [Sign::Sealed, Sign::ToCome, Sign::ToCome, Sign::Missed]);
}

#[test]
fn a_run_that_failed_in_its_window_is_due_with_its_words() {
    let mut fleet = Fleet::in_order(sunday());
    let told = fleet.web_backups();
    let of_six = told.slots.iter().map(|slot| slot.slot.clone());
    let of_six = of_six.filter(|slot| slot.series.set == SetName::Server && slot.date == date(2026, 11, 22));
    let failed = of_six.map(|slot| HostSlot {
        slot: SlotId { at: SlotTime::new(14, 0).unwrap(), ..slot },
        state: HostSlotState::Failed { why: "the vault refuses:\u{1b}[2J no room".into() },
    });
    let failed: Vec<HostSlot> = failed.collect();
    told.slots.extend(failed);
    let row = fleet.row("backup.server");
    let why = fleet.why("backup.server");
    assert_eq!((row.state, row.next), (State::Due, Some(at("2026-11-23T01:00:00Z"))), "{why}");
    assert!(
        why.contains("14:00: is tried again, failed so far: the vault refuses:\\u{1b}[2J no room"),
        "{why}"
    );
    let view = fleet.judge().backups;
    let row = view.rows.iter().find(|row| row.days[6].iter().any(|cell| cell.why.is_some())).unwrap();
    assert_eq!((row.state, row.days[6][1].sign), (State::Due, Sign::ToCome));
}

#[test]
fn yesterday_counts_too() {
    let is = |slot: &tenure_trust::SlotId| {
        slot.series.set == SetName::Server && slot.date == date(2026, 11, 21) && slot.at.hour() == 14
    };
    let mut fleet = Fleet::in_order(sunday());
    fleet.vault_forgets(is);
    fleet.host_forgets(is);
    assert_eq!(fleet.state("backup.server"), State::Overdue);
    assert!(
        fleet.why("backup.server").contains("2026-11-21 14:00: missed"),
        "{}",
        fleet.why("backup.server")
    );
}

#[test]
fn a_partial_copy_is_none_of_the_three_a_day() {
    let mut fleet = Fleet::in_order(sunday());
    for slot in &mut fleet.web_backups().slots {
        if let HostSlotState::Sealed(seal) = &mut slot.state
            && slot.slot.series.set == SetName::Nightly
        {
            seal.unreadable = 3;
        }
    }
    assert_eq!(fleet.state("backup.nightly"), State::Overdue);
    assert!(fleet.why("backup.nightly").contains("partial: 3 files could not be read"));
}

#[test]
fn a_copy_set_aside_leaves_last_weeks() {
    let mut fleet = Fleet::in_order(sunday());
    for series in &mut fleet.vault().series {
        for generation in series.generations.iter_mut().filter(|g| g.id.date == date(2026, 11, 18)) {
            generation.state = GenerationState::Aside(AsideReason::Anomalous);
        }
    }
    assert_eq!(fleet.state("backup.ring"), State::Overdue);
    assert!(fleet.why("backup.ring").contains("no copy of 2026-11-18"), "{}", fleet.why("backup.ring"));
    let row = &fleet.judge().backups.rows[0];
    assert!(row.days[2].iter().all(|cell| cell.sign == Sign::Kept), "{:?}", row.days[2]);
    let whys: Vec<String> = row.days[2].iter().map(|cell| cell.why.as_ref().unwrap().to_string()).collect();
    for why in &whys {
        assert!(
            why.contains("; `tenure clear ") && why.ends_with(" 2026-11-18.1 --reason TEXT` takes it"),
            "{why}"
        );
    }
    assert!(whys[0].contains("/web1/server 2026") && whys[3].contains("/web1/nightly 2026"), "{whys:?}");
}

#[test]
fn a_copy_that_the_vaults_disk_lost_a_part_of_counts_no_more_and_nobody_is_told_to_take_it() {
    let mut fleet = Fleet::in_order(sunday());
    for series in &mut fleet.vault().series {
        for generation in series.generations.iter_mut().filter(|g| g.id.date == date(2026, 11, 18)) {
            generation.state = GenerationState::Aside(AsideReason::Spoilt);
        }
    }
    assert_eq!(fleet.state("backup.ring"), State::Overdue);
    let row = &fleet.judge().backups.rows[0];
    assert!(row.days[2].iter().all(|cell| cell.sign == Sign::Kept), "{:?}", row.days[2]);
    for cell in &row.days[2] {
        let why = cell.why.as_ref().unwrap().to_string();
        assert!(why.contains("the vault's disk lost a part of it"), "{why}");
        assert!(why.contains("; look at the disk of ") && !why.contains("tenure clear"), "{why}");
    }
}

#[test]
fn a_young_ring_is_due_with_the_date_on_which_it_is_full() {
    let mut fleet = Fleet::in_order(sunday());
    let admitted = at("2026-11-20T08:00:00Z");
    fleet.machine("web1", HOST).admitted = Some(admitted);
    fleet.web_backups().slots.retain(|slot| {
        slot.slot.date >= date(2026, 11, 20) && slot.slot.at.hour() != 3
            || slot.slot.date > date(2026, 11, 20)
    });
    fleet.vault_forgets(|slot| {
        slot.date < date(2026, 11, 20) || slot.date == date(2026, 11, 20) && slot.at.hour() < 9
    });
    fleet.host_forgets(|slot| slot.date == date(2026, 11, 20) && slot.at.hour() < 9);
    let row = fleet.row("backup.ring");
    assert_eq!(row.state, State::Due);
    // the nightly set began on the 21st, so it is full on the 27th
    assert_eq!(fleet.why("backup.ring"), "web1 nightly: 2 of 7 weekdays, full on 2026-11-27");
    assert_eq!(row.next, Some(at("2026-11-27T22:59:59Z")));
    // slots before the admission are not expected
    assert_eq!(fleet.state("backup.server"), State::Due);
    assert_eq!(fleet.state("backup.nightly"), State::Met);
    let row = &fleet.judge().backups.rows[0];
    assert!(row.days[0].iter().all(|cell| cell.sign == Sign::Blank));
}

#[test]
fn a_week_of_which_nothing_has_come_is_due_and_not_met() {
    let mut fleet = Fleet::in_order(sunday());
    assert!(fleet.judge().backups.rows.iter().all(|row| row.state == State::Met));
    fleet.machine("web1", HOST).admitted = Some(fleet.now);
    fleet.host_forgets(|_| true);
    fleet.vault_forgets(|_| true);
    let rows = fleet.judge().backups.rows;
    let cells: Vec<Sign> =
        rows.iter().flat_map(|row| row.days.iter().flatten()).map(|cell| cell.sign).collect();
    assert!(cells.contains(&Sign::ToCome), "{cells:?}");
    assert!(cells.iter().all(|sign| matches!(sign, Sign::Blank | Sign::ToCome)), "{cells:?}");
    assert!(!rows.is_empty() && rows.iter().all(|row| row.state == State::Due), "{rows:?}");
}

#[test]
fn a_series_that_is_new_on_the_host_is_expected_from_then_on_unless_the_vault_knows_better() {
    let mut fleet = Fleet::in_order(sunday());
    let series = fleet.hosts[&host("web1")].backup.as_ref().unwrap().series.clone();
    let since =
        series.iter().map(|one| HostSince { series: one.series.clone(), since: at("2026-11-22T09:00:00Z") });
    fleet.web_backups().since = since.collect();
    fleet.web_backups().slots.clear();
    let with_copies = fleet.clone();
    fleet.vault().series.clear();
    assert_eq!(fleet.state("backup.nightly"), State::Due);
    assert_eq!(fleet.why("backup.nightly"), "web1 nightly: the first is still to come");
    assert_eq!(fleet.state("backup.ring"), State::Due);
    assert_eq!(with_copies.state("backup.nightly"), State::Overdue, "the vault holds older ones");
}

#[test]
fn two_names_of_one_machine_are_one_machine() {
    for boot in [true, false] {
        let mut fleet = Fleet::in_order(sunday());
        let ours = fleet.web_backups().clone();
        match boot {
            true => fleet.vault().boot = ours.boot.unwrap(),
            false => fleet.vault().machine = ours.machine.unwrap(),
        }
        assert_eq!(fleet.state("backup.offhost"), State::Unknown);
        assert_eq!(fleet.why("backup.offhost"), "web1 and vault1 are one machine");
    }
    let mut fleet = Fleet::in_order(sunday());
    fleet.web_backups().machine = None;
    assert_eq!(fleet.state("backup.offhost"), State::Unknown);
}

#[test]
fn one_site_is_broken_and_no_site_unknown() {
    let mut fleet = Fleet::in_order(sunday());
    fleet.book.machines.get_mut(&host("vault1")).unwrap().site = Some("Amsterdam".into());
    assert_eq!(fleet.state("backup.offhost"), State::Broken);
    fleet.book.machines.get_mut(&host("vault1")).unwrap().site = None;
    assert_eq!(fleet.state("backup.offhost"), State::Unknown);
}

#[test]
fn security_updates_have_an_age_and_a_deadline() {
    let mut fleet = Fleet::in_order(sunday());
    let waits = |since| Content::Report(Box::new(patched(sunday(), vec![("openssl", at(since))])));
    fleet.newest("web1", HOST, "patch").content = waits("2026-11-20T13:00:00Z");
    let row = fleet.row("patch.security");
    assert_eq!((row.state, row.next), (State::Due, Some(at("2026-11-27T13:00:00Z"))));
    fleet.newest("web1", HOST, "patch").content = waits("2026-11-13T13:00:00Z");
    let row = fleet.row("patch.security");
    assert_eq!((row.state, row.since), (State::Overdue, Some(at("2026-11-20T13:00:00Z"))));
    assert_eq!(fleet.why("patch.security"), "web1: openssl waits, limit 7 d");
    let patches = fleet.judge().patches;
    assert_eq!((patches[0].state, patches[0].security), (State::Overdue, 1));
    assert_eq!(patches[0].oldest.as_deref(), Some("openssl"));
}

#[test]
fn old_lists_are_unknown_although_nothing_waits() {
    let mut fleet = Fleet::in_order(sunday());
    let old = at("2026-11-18T13:00:00Z");
    fleet.newest("web1", HOST, "patch").content = Content::Report(Box::new(patched(old, Vec::new())));
    assert_eq!(fleet.state("patch.security"), State::Unknown);
    assert!(fleet.why("patch.security").contains("package lists"));
}

#[test]
fn a_waiver_excuses_what_it_names_where_it_names_it_until_it_ends() {
    let mut fleet = Fleet::in_order(sunday());
    let since = at("2026-11-01T13:00:00Z");
    fleet.newest("web1", HOST, "patch").content =
        Content::Report(Box::new(patched(sunday(), vec![("openssl", since)])));
    let waiver = WaiverFacts {
        what: "patch.security_within".into(),
        hosts: vec![host("web1")],
        until: at("2026-12-15T22:59:59Z"),
        owner: PersonName::new("jeroen").unwrap(),
        because: "vendor pins 15.4, ticket 812".into(),
    };
    fleet.book.waivers = vec![waiver.clone()];
    let row = fleet.row("patch.security");
    assert_eq!((row.state, row.next), (State::Waived, Some(waiver.until)));
    assert_eq!(fleet.why("patch.security"), "web1: jeroen: vendor pins 15.4, ticket 812");
    // it makes nothing seen that is not
    fleet.machine("web1", HOST).last_contact = Some(at("2026-11-22T10:00:00Z"));
    assert_eq!(fleet.state("patch.security"), State::Unknown);
    fleet.machine("web1", HOST).last_contact = Some(sunday());
    fleet.book.waivers[0].hosts = vec![host("vault1")];
    assert_eq!(fleet.state("patch.security"), State::Overdue);
    fleet.book.waivers[0] = WaiverFacts { until: at("2026-11-22T13:00:00Z"), ..waiver };
    assert_eq!(fleet.state("patch.security"), State::Overdue);
}

#[test]
fn a_waiver_of_copies_excuses_lateness_and_nothing_that_is_broken() {
    let mut fleet = Fleet::in_order(sunday());
    let is = |slot: &SlotId| slot.series.set == SetName::Nightly && slot.date == date(2026, 11, 22);
    fleet.book.waivers = vec![WaiverFacts {
        what: "backup.nightly".into(),
        hosts: vec![host("web1")],
        until: at("2026-12-15T22:59:59Z"),
        owner: PersonName::new("jeroen").unwrap(),
        because: "the vault moves".into(),
    }];
    let mut late = fleet.clone();
    late.vault_forgets(is);
    late.host_slots(|slot| is(slot).then_some(HostSlotState::Missed));
    assert_eq!(late.state("backup.nightly"), State::Waived);
    let seals = fleet.vault().series.iter_mut().flat_map(|series| &mut series.generations);
    for slot in seals.flat_map(|generation| &mut generation.slots) {
        slot.seal = Hash::of(b"other");
    }
    assert_eq!(fleet.state("backup.nightly"), State::Broken, "{}", fleet.why("backup.nightly"));
}

#[test]
fn what_came_at_a_time_ahead_of_the_controllers_clock_is_not_fresh() {
    // the clock was put back by so much since: a few seconds are nothing, forty days are no sign of life
    for (back, states) in [(240, [State::Met, State::Met]), (40 * 86400, [State::Unknown, State::Unknown])] {
        let mut fleet = Fleet::in_order(sunday());
        fleet.later(-back);
        let now = fleet.now;
        let seen = ["access.secured", "patch.security"].map(|duty| fleet.state(duty));
        assert_eq!(seen, states, "{}", fleet.why("access.secured"));
        if back > 300 {
            let why = fleet.why("access.secured");
            assert!(
                why.contains("heard of last at 2026-11-22") && why.contains("ahead of this clock"),
                "{why}"
            );
            // one area alone
            fleet.machine("web1", HOST).last_contact = Some(now);
            assert_eq!(fleet.state("access.secured"), State::Unknown);
        }
    }
}

#[test]
fn a_contract_that_ends_has_a_date_in_the_fleets_zone_with_months_clamped() {
    let mut fleet = Fleet::in_order(sunday());
    let tenant = fleet.book.tenants.values_mut().next().unwrap();
    tenant.ends = Some(date(2027, 1, 31));
    tenant.purge_within = Period::parse("1 month").unwrap();
    let row = fleet.row("purge");
    // the last second of 28 February in Amsterdam
    assert_eq!((row.state, row.next), (State::Due, Some(at("2027-02-28T22:59:59Z"))));
    fleet.now = at("2027-02-28T22:59:59Z");
    assert_eq!(fleet.state("purge"), State::Due);
    fleet.now = at("2027-02-28T23:00:00Z");
    let row = fleet.row("purge");
    assert_eq!((row.state, row.since), (State::Overdue, Some(at("2027-02-28T22:59:59Z"))));
}

#[test]
fn the_week_has_a_row_for_each_owner_and_a_cell_for_each_slot() {
    let backups = Fleet::in_order(sunday()).judge().backups;
    assert_eq!(backups.days.first(), Some(&date(2026, 11, 16)));
    let owners: Vec<&Owner> = backups.rows.iter().map(|row| &row.owner).collect();
    assert!(matches!(owners.as_slice(), [Owner::Tenant(_), Owner::Host]), "{owners:?}");
    for row in &backups.rows {
        assert!(row.days.iter().all(|day| day.len() == 4), "{row:?}");
        assert!(row.days[..6].iter().flatten().all(|cell| cell.sign == Sign::Sealed));
        assert!(matches!(&row.drilled, Drilled::Last(drill) if drill.took_ms == 6100), "{row:?}");
    }
    assert_eq!((backups.vaults.len(), backups.vaults[0].used_bytes), (1, Some(1 << 40)));
}

#[test]
fn every_reason_is_said_in_one_harmless_line() {
    let mut fleet = Fleet::in_order(sunday());
    fleet.book.tenants.values_mut().next().unwrap().promises[0].says = "a\u{202e}b".into();
    fleet.later(100_000);
    for row in fleet.judge().obligations {
        assert!(!row.why.is_empty(), "{row:?}");
        for why in &row.why {
            let text = why.to_string();
            assert_eq!(tenure_trust::neutral(&text), text);
            let json = serde_json::to_string(why).unwrap();
            assert_eq!(serde_json::from_str::<Reason>(&json).unwrap(), *why);
        }
    }
}
