//! A vault that is away for long: each try of a slot is a run with files of its own. They stay few, a host that has too
//! many of them gets rid of them by itself, and backups go on meanwhile.

use std::collections::BTreeSet;

use tenure_policy::bundles::SeriesSection;
use tenure_policy::resolved::Mode;
use tenure_trust::{Hash, Owner, SetName, TenantId};

use super::facts::{Remembered, SealFact, Since, SlotFact, SlotState};
use super::journal::{Line, RunStep};
use super::tests::{scheduled, turn};
use super::*;
use crate::fake::FakeHost;
use crate::pass::{FACTS_LIMIT, Report, Verdict, pass};

const MINUTE: u64 = 60_000;
/// More files than these never stand for long: two for each of 300 runs, and what is under way.
const FEW: usize = 604;
const WHY: &str = "reaching the vault vault1 at 192.0.2.7 port 8022 failed: no route to host; see to the vault and the \
                   network between here and there, and look at `tenure-vault status`";

/// Two sets of each of 15 tenants, a time of day each.
fn thirty() -> Scheduled {
    let mut desired = scheduled();
    let one = desired.section.series[1].clone();
    let of = |n: usize| {
        let tenant = Owner::Tenant(TenantId::new(format!("tenant{:02}", n / 2)).unwrap());
        let (set, at) =
            if n.is_multiple_of(2) { (SetName::Server, "11:30") } else { (SetName::Nightly, "03:30") };
        let series = tenure_trust::SeriesId { owner: tenant, set, ..one.series.clone() };
        SeriesSection { series, at: vec![at.parse().unwrap()], ..one.clone() }
    };
    desired.section.series = (0..30).map(of).collect();
    desired
}

/// The fake host (at noon of 22 November 2026) that had this policy for a month.
fn host_of(desired: &Scheduled) -> FakeHost {
    let host = FakeHost::debian();
    let since = "2026-10-22T00:00:00Z".parse().unwrap();
    let mut all: Vec<Since> =
        desired.section.series.iter().map(|s| Since { series: s.series.clone(), since }).collect();
    all.sort();
    let bytes = serde_json::to_vec(&Remembered { since: all, slots: Vec::new() }).unwrap();
    host.write_as(LEDGER, bytes, 0, 0o600);
    host
}

fn look(desired: &Scheduled, host: &FakeHost) -> Report {
    pass::<Backup>(desired, Mode::Enforce, host, host, &|| host.now())
}

/// What a pass does, with one look: this many passes take long.
fn quick(desired: &Scheduled, host: &FakeHost) -> Facts {
    let facts = Backup::observe(host, desired).unwrap_or_else(|unknown| panic!("{unknown:?}"));
    let memory = Backup::memory(desired, &facts, &host.now());
    memory.iter().for_each(|file| host.put(file).unwrap());
    let plan = Backup::plan(desired, &facts, &host.now());
    let approved = Backup::guard(desired, plan, &facts).unwrap_or_else(|refusal| panic!("{refusal:?}"));
    let done = Backup::act(&approved, host).done;
    assert!(done.iter().all(|done| done.error.is_none()), "{done:?}");
    facts
}

fn files(host: &FakeHost) -> usize {
    host.all_files().keys().filter(|path| path.starts_with(spec::JOBS)).count()
}

fn stands(host: &FakeHost, run: &RunId) -> bool {
    host.content(&JobSpec::path(run)).is_some()
}

/// The files of a run as they stand on disk.
fn place(host: &FakeHost, desired: &Scheduled, slot: &SlotId, number: u32, steps: Vec<RunStep>) -> RunId {
    let run = run_id(slot, number);
    let spec = JobSpec::of(desired, run.clone(), slot.clone(), None).unwrap();
    host.write_as(&JobSpec::path(&run), serde_json::to_vec(&spec).unwrap(), 0, 0o600);
    let at = desired.zone.slot(slot.date, slot.at);
    let lines = steps.into_iter().map(|step| serde_json::to_string(&Line { at, step }).unwrap() + "\n");
    host.write_as(&JobSpec::journal(&run), lines.collect::<String>(), 0, 0o600);
    run
}

fn failed() -> Vec<RunStep> {
    vec![RunStep::Planned, RunStep::Failed { why: WHY.into() }]
}

/// The n-th series' slot so many days before the fake host's first day.
fn slot(desired: &Scheduled, series: usize, days: i64) -> SlotId {
    let section = &desired.section.series[series];
    let date = jiff::civil::date(2026, 11, 22).checked_sub(jiff::ToSpan::days(days)).unwrap();
    SlotId { series: section.series.clone(), date, at: section.at[0], manual: false }
}

#[test]
fn ten_days_without_the_vault_leave_few_files_and_the_next_run_seals() {
    let mut desired = thirty();
    desired.section.catch_up_seconds = 3600;
    let host = host_of(&desired);
    let end = host.now().wall.checked_add(jiff::SignedDuration::from_hours(240)).unwrap();
    let mut begun: BTreeSet<RunId> = BTreeSet::new();
    while host.now().wall < end {
        let facts = quick(&desired, &host);
        let there = files(&host);
        assert!(there <= FEW, "{there} files of {} runs", begun.len());
        if let Some(run) = host.running_job() {
            assert!(begun.insert(run.clone()), "{run} has begun before");
            host.advance_ms(2000);
            assert!(host.end_job(Some(WHY)));
            continue;
        }
        let wake = Backup::wake(&desired, &facts, &host.now()).unwrap();
        let wait = wake.duration_since(host.now().wall).as_millis();
        host.advance_ms(u64::try_from(wait).unwrap().max(1000));
    }
    assert!(begun.len() > 1500, "{} runs", begun.len());
    let numbers = begun.iter().map(observe::number_of).max();
    assert!(numbers > Some(4), "a slot is tried until its window ends: {numbers:?}");
    // The vault is back.
    host.advance_ms(24 * 60 * MINUTE);
    let mut sealed = 0;
    while sealed < 30 {
        let _ = look(&desired, &host);
        if host.running_job().is_some() {
            assert!(host.end_job(None));
            sealed += 1;
        } else {
            host.advance_ms(10 * MINUTE);
        }
    }
    let report = look(&desired, &host);
    let facts = report.facts_of::<Backup>().unwrap();
    let whole = facts.slots.iter().filter(|fact| matches!(fact.state, SlotState::Sealed(_))).count();
    assert_eq!((whole, report.findings.len()), (30, 0), "{:#?}", report.findings);
}

#[test]
fn a_host_that_has_too_many_files_gets_rid_of_them_and_goes_on_meanwhile() {
    let desired = thirty();
    let host = host_of(&desired);
    for days in 1..=8 {
        for series in 0..30 {
            (1..=13).for_each(|n| drop(place(&host, &desired, &slot(&desired, series, days), n, failed())));
        }
    }
    let opened = RunStep::Opened {
        generation: tenure_trust::GenerationId { date: jiff::civil::date(2026, 11, 22), number: 1 },
        sequence: 3,
    };
    let can_go_on = place(&host, &desired, &slot(&desired, 0, 0), 1, vec![RunStep::Planned, opened]);
    assert_eq!(files(&host), 2 * (8 * 30 * 13 + 1));
    let first = look(&desired, &host);
    assert_eq!(first.unknown, None);
    assert_eq!(host.running_job().as_ref(), Some(&can_go_on), "what was interrupted goes on at once");
    let told = first.findings.iter().find(|f| f.kind == "backup-files").expect("it is said");
    assert_eq!((first.verdict, told.place.as_str()), (Verdict::Drifted, spec::JOBS));
    assert!(told.what.contains("2871 runs"), "{}", told.what);
    let facts = first.facts_of::<Backup>().unwrap();
    let wake = Backup::wake(&desired, &facts, &host.now()).unwrap();
    assert!(wake.duration_since(host.now().wall).as_secs() <= 15, "the next pass comes soon");
    for _ in 0..12 {
        let before = files(&host);
        let report = look(&desired, &host);
        assert!(report.verdict != Verdict::Unknown && stands(&host, &can_go_on), "{:?}", report.unknown);
        assert!(before - files(&host) <= 2 * clearing::AT_ONCE, "a pass has its bounds");
    }
    assert!(files(&host) <= FEW, "{} files", files(&host));
    let rest = look(&desired, &host);
    assert!(rest.done.is_empty() && rest.findings.iter().all(|f| f.kind != "backup-files"), "{rest:#?}");
    host.end_job(None);
    let after = look(&desired, &host).facts_of::<Backup>().unwrap();
    let filled = after.of(&slot(&desired, 0, 0)).unwrap();
    assert!(matches!(filled.state, SlotState::Sealed(_)), "{filled:?}");
    // What became of the slots whose files have gone is known, with the number of their tries.
    assert_eq!(after.of(&slot(&desired, 4, 5)).map(|fact| fact.tries), Some(13));
}

#[test]
fn of_a_slot_the_last_two_runs_keep_their_files() {
    let host = tests::host_since("2026-11-22T11:15:00Z");
    let mut runs = Vec::new();
    for number in 1..=4_u32 {
        let _ = turn(&host);
        runs.push(host.running_job().unwrap());
        assert_eq!(observe::number_of(&runs[runs.len() - 1]), number);
        let _ = turn(&host);
        let there: Vec<bool> = runs.iter().map(|run| stands(&host, run)).collect();
        let expected: Vec<bool> = (1..=number).map(|n| n + 1 >= number).collect();
        assert_eq!(there, expected, "run {number} and the one before it");
        host.end_job(Some(WHY));
        host.advance_ms(30 * MINUTE);
    }
    // Its window is over: the last words of the last two stand, and the memory has the number.
    host.advance_ms(240 * MINUTE);
    let facts = turn(&host).facts_of::<Backup>().unwrap();
    assert_eq!(facts.over.iter().map(observe::number_of).collect::<Vec<_>>(), [3, 4]);
    assert_eq!(facts.slots.iter().map(|fact| fact.tries).max(), Some(4));
}

#[test]
fn the_tenth_try_has_the_last_word() {
    let desired = scheduled();
    let host = tests::host_since("2026-11-22T11:15:00Z");
    let why = |n: u32| vec![RunStep::Planned, RunStep::Failed { why: format!("try {n}") }];
    (9..=10).for_each(|n| drop(place(&host, &desired, &slot(&desired, 1, 0), n, why(n))));
    let facts = Backup::observe(&host, &desired).unwrap();
    let fact = &facts.slots[0];
    assert_eq!((&fact.state, fact.tries), (&SlotState::Failed { why: "try 10".into() }, 10));
}

#[test]
fn half_of_what_was_to_go_does_not_begin_again() {
    let desired = scheduled();
    let host = tests::host_since("2026-11-22T11:15:00Z");
    let (one, two) = (slot(&desired, 1, 0), RunStep::Planned);
    let first = place(&host, &desired, &one, 1, failed());
    place(&host, &desired, &one, 2, failed());
    let last = place(&host, &desired, &one, 3, vec![two]);
    // The power went between a journal and its specification.
    host.delete(&JobSpec::journal(&first));
    let report = turn(&host);
    assert_eq!(host.running_job().as_ref(), Some(&last), "{report:#?}");
    assert!(!stands(&host, &first));
}

#[test]
fn a_run_that_is_under_way_keeps_its_files_whatever_else_stands() {
    let desired = scheduled();
    let host = tests::host_since("2026-11-22T11:15:00Z");
    let _ = turn(&host);
    let run = host.running_job().unwrap();
    // The job has its receipt and still forgets old keys.
    let one = slot(&desired, 1, 0);
    let words = String::from_utf8(host.content(&JobSpec::journal(&run)).unwrap()).unwrap();
    let line = Line { at: host.now().wall, step: RunStep::Receipted(receipt(&one)) };
    let words = format!("{words}{}\n", serde_json::to_string(&line).unwrap());
    host.write_as(&JobSpec::journal(&run), words, 0, 0o600);
    (2..=5).for_each(|n| drop(place(&host, &desired, &one, n, failed())));
    let _ = turn(&host);
    assert!(stands(&host, &run) && host.running_job().as_ref() == Some(&run));
}

#[test]
fn facts_of_a_host_with_many_copies_fit_into_a_record() {
    let desired = thirty();
    let host = host_of(&desired);
    for days in 0..20 {
        for series in 0..30 {
            let one = slot(&desired, series, days);
            let steps = vec![RunStep::Planned, RunStep::Receipted(receipt(&one))];
            place(&host, &desired, &one, 1, steps);
        }
    }
    let report = look(&desired, &host);
    let bytes = serde_json::to_vec(&report.facts).unwrap().len();
    assert!(report.facts.is_some() && bytes < FACTS_LIMIT, "{bytes}: {:?}", report.unknown);
    let facts = report.facts_of::<Backup>().unwrap();
    let sealed = |fact: &&SlotFact| matches!(fact.state, SlotState::Sealed(_));
    assert_eq!(facts.slots.iter().filter(sealed).count(), facts::SLOTS);
}

fn receipt(slot: &SlotId) -> SealFact {
    let hash = Hash::of(slot.to_string().as_bytes());
    SealFact {
        seal: hash,
        snapshot: hash,
        root: hash,
        receipt: hash,
        generation: tenure_trust::GenerationId { date: slot.date, number: 1 },
        at: "2026-11-22T11:59:00Z".parse().unwrap(),
        unreadable: 0,
    }
}
