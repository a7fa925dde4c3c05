//! The area against the fake host: days with runs, interruptions, requests, refusals and hostile files.

use jiff::SignedDuration;
use tenure_policy::bundles::{DumpSection, SeriesSection, VaultPlace};
use tenure_policy::resolved::Mode;
use tenure_policy::scalars::SqlName;
use tenure_trust::{HostName, Owner, SeriesId, SetName, TenantId, VaultName};

use super::facts::{DrillFact, DrilledDump, Remembered, RunRequest, Since, SlotState};
use super::*;
use crate::area::Weight;
use crate::fake::FakeHost;
use crate::pass::{Report, Verdict, pass};

const MINUTE: u64 = 60_000;
const HOUR: u64 = 60 * MINUTE;

fn series(owner: Owner, set: SetName, at: &str) -> SeriesSection {
    let series = SeriesId {
        vault: VaultName::new("vault1").unwrap(),
        host: HostName::new("web1").unwrap(),
        owner,
        set,
    };
    SeriesSection {
        series,
        at: vec![at.parse().unwrap()],
        paths: Vec::new(),
        exclude: Vec::new(),
        dumps: Vec::new(),
    }
}

/// The host's server set at 11:00 UTC, a tenant's at 11:30 UTC, its nightly set at 03:30.
pub(crate) fn scheduled() -> Scheduled {
    let tenant = || Owner::Tenant(TenantId::new("acme").unwrap());
    let mut section = samples::section(
        vec![
            series(Owner::Host, SetName::Server, "11:00"),
            series(tenant(), SetName::Server, "11:30"),
            series(tenant(), SetName::Nightly, "03:30"),
        ],
        4 * 3600,
    );
    let place = VaultPlace { host: HostName::new("vault1").unwrap(), addresses: Vec::new(), port: 8022 };
    section.vaults.insert(VaultName::new("vault1").unwrap(), place);
    Scheduled {
        fleet: FleetName::new("fleet").unwrap(),
        timezone: "UTC".into(),
        zone: Zone::named("UTC").unwrap(),
        section,
    }
}

/// The fake host (at noon of 22 November 2026) that had this policy since then.
pub(crate) fn host_since(since: &str) -> FakeHost {
    let host = FakeHost::debian();
    let since = |series: SeriesId| Since { series, since: since.parse().unwrap() };
    let mut all: Vec<Since> = scheduled().section.series.into_iter().map(|s| since(s.series)).collect();
    all.sort();
    let bytes = serde_json::to_vec(&Remembered { since: all, slots: Vec::new() }).unwrap();
    host.write_as(LEDGER, bytes, 0, 0o600);
    host
}

/// A person asks for a run of the n-th series.
pub(crate) fn ask(host: &FakeHost, id: &str, series: usize) {
    let request = RunRequest {
        id: RunId::new(id).unwrap(),
        series: scheduled().section.series[series].series.clone(),
        at: host.now().wall,
    };
    host.write_as(&format!("{REQUESTS}/{id}.json"), serde_json::to_vec(&request).unwrap(), 0, 0o600);
}

pub(crate) fn turn(host: &FakeHost) -> Report {
    pass::<Backup>(&scheduled(), Mode::Enforce, host, host, &|| host.now())
}

fn facts(host: &FakeHost) -> Facts {
    turn(host).facts_of::<Backup>().unwrap()
}

fn states(host: &FakeHost) -> Vec<(String, String)> {
    let word = |state: &SlotState| match state {
        SlotState::Running => "running".to_owned(),
        SlotState::Sealed(_) => "sealed".into(),
        SlotState::Failed { why } => format!("failed: {why}"),
        SlotState::Missed => "missed".into(),
    };
    let slots = facts(host).slots.into_iter();
    slots.map(|fact| (format!("{} {}", fact.slot.series.path(), fact.slot.at), word(&fact.state))).collect()
}

#[test]
fn one_job_after_the_other_the_hosts_own_first() {
    let host = host_since("2026-11-22T00:00:00Z");
    let first = turn(&host);
    // Also drift: 03:30 was over when the host looked for the first time, its four hours had passed.
    assert!(first.verdict == Verdict::Drifted && first.pending.is_some(), "{first:#?}");
    assert_eq!(
        first.done.iter().map(|d| d.step.as_str()).collect::<Vec<_>>(),
        ["begin the backup vault1:web1/web1/server 2026-11-22 11:00"]
    );
    assert_eq!(host.running_job().unwrap().as_str(), "20261122-1100-server-web1-ef7fd5d4-1");
    assert!(turn(&host).repeats(&first), "while it runs nothing is news");
    assert!(host.end_job(None));
    let second = turn(&host);
    assert_eq!(second.done.len(), 1, "{second:#?}");
    assert!(host.running_job().unwrap().as_str().starts_with("20261122-1130-server-acme-"));
    assert!(host.end_job(None));
    let end = turn(&host);
    assert_eq!(end.verdict, Verdict::Drifted);
    assert_eq!(end.findings[0].kind, "backup-missed");
    let states = states(&host);
    assert_eq!(
        states.iter().map(|(s, w)| format!("{s} {w}")).collect::<Vec<_>>(),
        ["acme/web1/server 11:30 sealed", "web1/web1/server 11:00 sealed", "acme/web1/nightly 03:30 missed",]
    );
    let next = Backup::wake(&scheduled(), &facts(&host), &host.now()).unwrap();
    assert_eq!(next.to_string(), "2026-11-23T03:30:00Z");
}

#[test]
fn a_killed_job_goes_on_and_one_that_dies_again_and_again_is_given_up() {
    let host = host_since("2026-11-22T10:30:00Z");
    let _ = turn(&host);
    let run = host.running_job().unwrap();
    for _ in 1..journal::MOST_STARTS {
        assert!(host.kill_job());
        let report = turn(&host);
        assert_eq!(report.done[0].step, "go on with the backup vault1:web1/web1/server 2026-11-22 11:00");
        assert_eq!(host.running_job().as_ref(), Some(&run), "the same run");
    }
    assert!(host.kill_job());
    let report = turn(&host);
    assert!(
        report.findings.iter().any(|f| f.kind == "backup-failed" && f.what.contains("ended 5 times")),
        "{report:#?}"
    );
    assert_eq!(host.running_job().unwrap().as_str().split('-').nth(3), Some("acme"), "others go on");
    host.end_job(None);
    host.advance_ms(2 * MINUTE);
    let _ = turn(&host);
    assert!(host.running_job().unwrap().as_str().ends_with("-2"), "the slot is tried with a new run");
}

#[test]
fn what_was_opened_can_be_sealed_until_its_date_closes_and_no_longer() {
    let host = host_since("2026-11-22T10:30:00Z");
    let _ = turn(&host);
    host.kill_job();
    host.advance_ms(6 * HOUR);
    assert!(turn(&host).done[0].step.starts_with("go on with"), "the window is over, the generation is open");
    host.kill_job();
    // 30 hours after the start of the date.
    host.advance_ms(12 * HOUR + 1000);
    let report = turn(&host);
    assert!(report.done.iter().all(|d| !d.step.starts_with("go on")), "{report:#?}");
    let host_slot = states(&host).into_iter().find(|(slot, _)| slot == "web1/web1/server 11:00").unwrap();
    assert_eq!(host_slot.1, "failed: it was interrupted and could not go on in time");
}

#[test]
fn a_clock_that_was_far_ahead_for_a_moment_forgets_no_copy() {
    let host = host_since("2026-11-22T10:30:00Z");
    for _ in 0..2 {
        let _ = turn(&host);
        host.end_job(None);
    }
    let known = states(&host);
    assert_eq!(known.iter().filter(|(_, word)| word == "sealed").count(), 2, "{known:?}");
    // 09:00 two months later: no window is open, and the files of old runs go.
    let right = host.now();
    let hours = SignedDuration::from_hours(60 * 24 - 3);
    let ahead = Now { wall: right.wall.checked_add(hours).unwrap(), ..right };
    let report = pass::<Backup>(&scheduled(), Mode::Enforce, &host, &host, &|| ahead.clone());
    assert!(report.done.iter().all(|done| done.step.starts_with("remove the files")), "{report:#?}");
    assert!(host.all_files().keys().all(|path| !path.contains("/jobs/2026")), "only the memory is left");
    assert_eq!(states(&host), known, "NTP set it right");
    assert_eq!((turn(&host).verdict, host.running_job()), (Verdict::Compliant, None), "nothing runs again");
}

#[test]
fn a_request_is_begun_once_and_an_old_one_is_given_up() {
    let host = FakeHost::debian();
    let _ = turn(&host);
    ask(&host, "r-1", 2);
    let report = turn(&host);
    assert_eq!(report.done[0].step, "begin the backup vault1:acme/web1/nightly 2026-11-22 12:00 by hand");
    host.end_job(None);
    assert_eq!((turn(&host).verdict, host.running_job()), (Verdict::Compliant, None));
    // Killed between the start and the removal of the request: it is not run again.
    ask(&host, "r-1", 2);
    assert_eq!((turn(&host).verdict, host.running_job()), (Verdict::Compliant, None));
    ask(&host, "r-2", 0);
    let seen = Backup::observe(&host, &scheduled()).unwrap();
    let next = Backup::wake(&scheduled(), &seen, &host.now()).unwrap();
    let waits = next.duration_since(host.now().wall);
    assert!(waits.as_secs() <= 15, "a request that waits is looked at soon, not in {waits}");
    host.advance_ms(2 * HOUR);
    let report = turn(&host);
    assert_eq!(report.done[0].step, "give up the request r-1".replace("r-1", "r-2"));
    assert_eq!(host.running_job(), None);
}

#[test]
fn a_failed_run_is_drift_until_a_later_one_works() {
    let host = host_since("2026-11-22T11:15:00Z");
    let _ = turn(&host);
    host.end_job(Some("pg_dump ended with 1\u{1b}[2J"));
    let report = turn(&host);
    assert_eq!((report.verdict, report.findings.len()), (Verdict::Drifted, 1));
    assert_eq!(
        report.findings[0].what,
        "2026-11-22 11:30: pg_dump ended with 1\\u{1b}[2J; it is tried again"
    );
    host.advance_ms(2 * MINUTE);
    let _ = turn(&host);
    host.end_job(None);
    let report = turn(&host);
    assert_eq!((report.verdict, report.findings), (Verdict::Compliant, Vec::new()));
}

#[test]
fn the_guard_refuses_a_copy_that_nobody_could_open_and_one_to_nowhere() {
    for (kind, spoil) in [
        ("no-recovery", (|s: &mut Scheduled| s.section.recipients.truncate(1)) as fn(&mut Scheduled)),
        ("no-place", |s| s.section.vaults.clear()),
    ] {
        let host = host_since("2026-11-22T00:00:00Z");
        let mut desired = scheduled();
        spoil(&mut desired);
        let report = pass::<Backup>(&desired, Mode::Enforce, &host, &host, &|| host.now());
        assert_eq!((report.verdict, report.refusal.unwrap().kind.as_str()), (Verdict::Drifted, kind));
        assert_eq!(host.running_job(), None);
    }
    let host = host_since("2026-11-22T00:00:00Z");
    let report = pass::<Backup>(&scheduled(), Mode::Observe, &host, &host, &|| host.now());
    assert_eq!((report.verdict, host.running_job()), (Verdict::Drifted, None), "observing begins no job");
}

#[test]
fn a_job_beyond_its_limit_is_drift() {
    let host = host_since("2026-11-22T11:15:00Z");
    let _ = turn(&host);
    host.advance_ms(12 * HOUR + 1000);
    let report = turn(&host);
    assert!(report.findings.iter().any(|f| f.kind == "job-too-long" && f.weight == Weight::Drift));
    assert_eq!(report.pending, None);
}

#[test]
fn what_cannot_be_read_is_unknown_and_no_job_begins() {
    let run = "20261122-1100-server-web1-ef7fd5d4-1";
    let journal = format!("{}/{run}.jsonl", spec::JOBS);
    for (path, text) in [
        (LEDGER, "{"),
        (&format!("{}/{run}.json", spec::JOBS), "{}"),
        (&journal, "{\"at\":1}\n"),
        (&format!("{REQUESTS}/x.json"), "[]"),
        (&format!("{DRILL_DIR}/x.json"), "nothing"),
    ] {
        let host = host_since("2026-11-22T00:00:00Z");
        let _ = turn(&host);
        host.kill_job();
        host.write_as(path, text, 0, 0o600);
        let report = turn(&host);
        assert_eq!((report.verdict, host.running_job()), (Verdict::Unknown, None), "{path}");
    }
    // A line that was never whole is no fault: the machine lost power while it was written.
    let host = host_since("2026-11-22T00:00:00Z");
    let _ = turn(&host);
    host.kill_job();
    let torn = [host.content(&journal).unwrap(), b"{\"at\":\"2026-".to_vec()].concat();
    host.write_as(&journal, torn, 0, 0o600);
    assert!(turn(&host).pending.is_some());
}

#[test]
fn events_tell_each_change_once() {
    let host = host_since("2026-11-22T00:00:00Z");
    let before = facts(&host);
    host.end_job(None);
    let after = facts(&host);
    let told: Vec<_> = events(&before, &after).into_iter().map(|(name, _)| name).collect();
    assert_eq!(told, ["backup_sealed"]);
    assert_eq!(events(&after, &after), []);
    assert_eq!(events(&Facts::default(), &before)[0].0, "backup_missed");
}

#[test]
fn names_of_runs_differ_for_each_slot_and_try() {
    let slot = |owner: &str, manual| {
        let mut series = scheduled().section.series[1].series.clone();
        series.owner = Owner::Tenant(TenantId::new(owner).unwrap());
        SlotId { series, date: jiff::civil::date(2026, 11, 22), at: "11:30".parse().unwrap(), manual }
    };
    let long = "a".repeat(63);
    let names = [
        run_id(&slot("acme", false), 1),
        run_id(&slot("acme", false), 2),
        run_id(&slot("acme", true), 1),
        run_id(&slot(&long, false), 1),
        run_id(&slot(&long[1..], false), 1),
        run_id(&slot(&format!("{}-b", "a".repeat(29)), false), 1),
    ];
    let all: std::collections::BTreeSet<_> = names.iter().collect();
    assert_eq!(all.len(), names.len(), "{names:?}");
}

#[test]
fn a_week_later_the_files_of_a_run_go_and_its_memory_stays() {
    let host = host_since("2026-11-22T11:15:00Z");
    let _ = turn(&host);
    host.end_job(None);
    for _ in 0..40 {
        host.advance_ms(6 * HOUR);
        let _ = turn(&host);
        host.end_job(None);
    }
    let facts = facts(&host);
    assert!(host.all_files().keys().all(|path| !path.contains("/jobs/20261122-")));
    let first = facts.slots.last().unwrap();
    assert!(
        matches!(first.state, SlotState::Sealed(_)) && first.slot.date == jiff::civil::date(2026, 11, 22)
    );
}

/// A drill of this owner's part of `main`, on a day of November.
fn drilled(owner: Owner, day: u8, held: bool) -> DrillFact {
    let series = SeriesId { owner, ..scheduled().section.series[0].series.clone() };
    let dump = Some(DrilledDump { series, database: SqlName::new("main").unwrap() });
    let at = format!("2026-11-{day:02}T09:00:00Z").parse().unwrap();
    DrillFact { at, held, what: "main: rows".into(), took_ms: 1, dump, slot: None, tables: 1, rows: 4 }
}

#[test]
fn a_drill_that_failed_stands_until_one_of_the_same_dump_holds() {
    let tenant = || Owner::Tenant(TenantId::new("acme").unwrap());
    let mut desired = scheduled();
    let main = DumpSection { database: SqlName::new("main").unwrap(), only: Vec::new(), without: Vec::new() };
    desired.section.series.iter_mut().for_each(|series| series.dumps = vec![main.clone()]);
    let failed = |drills: Vec<DrillFact>| {
        let facts = Facts { drills, ..Facts::default() };
        let found = super::plan::plan(&desired, &facts, FakeHost::debian().now().wall);
        let found = found.findings.into_iter().filter(|finding| finding.kind == "drill-failed");
        found.map(|finding| finding.place).collect::<Vec<_>>()
    };
    // the host's was drilled later and held: the tenant's has still failed
    let places = failed(vec![drilled(Owner::Host, 21, true), drilled(tenant(), 20, false)]);
    assert!(places.len() == 1 && places[0].contains("acme") && places[0].ends_with(" main"), "{places:?}");
    assert_eq!(failed(vec![drilled(tenant(), 21, true), drilled(tenant(), 20, false)]), [""; 0]);
    assert_eq!(failed(vec![drilled(tenant(), 20, false), drilled(Owner::Host, 20, false)]).len(), 2);
    // one from later than now was made by a clock that was ahead
    assert_eq!(failed(vec![drilled(tenant(), 30, true), drilled(tenant(), 20, false)]).len(), 1);
}

#[test]
fn however_many_dumps_are_drilled_the_last_of_each_is_told() {
    let tenant = |n: u8| Owner::Tenant(TenantId::new(format!("t{n}")).unwrap());
    let mut drills: Vec<DrillFact> = (0..40).map(|n| drilled(tenant(n), 22, true)).collect();
    drills.extend((0..40).map(|n| drilled(tenant(n), 21, false)));
    let told = super::observe::told(drills.clone());
    assert_eq!(told, drills[..40]);
    let one = vec![drilled(tenant(1), 22, true); 30];
    assert_eq!(super::observe::told(one).len(), 20);
}

#[test]
fn a_drill_that_an_earlier_release_wrote_down_is_read_and_proves_nothing() {
    let mut old = serde_json::to_value(drilled(Owner::Host, 20, false)).unwrap();
    let slot = SlotId {
        series: scheduled().section.series[0].series.clone(),
        date: jiff::civil::date(2026, 11, 20),
        at: "11:00".parse().unwrap(),
        manual: false,
    };
    old.as_object_mut().unwrap().remove("dump");
    old["slot"] = serde_json::to_value(&slot).unwrap();
    let read: DrillFact = serde_json::from_value(old).unwrap();
    assert_eq!((read.dump, read.slot), (None, Some(slot)));
}
