//! Which job begins, what is remembered, what is not as it should be. Pure.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp, ToSpan};
use tenure_policy::scalars::SqlName;
use tenure_policy::slots::BY_HAND;
use tenure_trust::{Hash, Owner, RunId, SlotId, neutral_bytes};

use super::facts::{
    DrillFact, Facts, REMEMBERED_DAYS, Remembered, RunFact, RunRequest, SLOTS, Since, SlotFact, SlotState,
};
use super::observe::newest_first;
use super::schedule::{self, Due};
use super::spec::{JOBS, JobSpec};
use super::{LEDGER, Scheduled, Step, clearing};
use crate::area::{Approved, Finding, Pending, Plan, Refusal, Weight};
use crate::port::{ManagedFile, ManagedPath};

/// Longer than this no job runs; then it is drift.
pub const JOB_LIMIT: SignedDuration = SignedDuration::from_hours(12);
/// A request that nobody could begin for so long is given up.
const REQUEST_LIMIT: SignedDuration = SignedDuration::from_hours(1);

pub(super) fn plan(desired: &Scheduled, facts: &Facts, now: Timestamp) -> Plan<Step> {
    let mut steps: Vec<Step> = Vec::new();
    let stale = |request: &&RunRequest| now.duration_since(request.at).abs() > REQUEST_LIMIT;
    steps.extend(facts.requests.iter().filter(stale).map(|r| Step::Drop { request: r.id.clone() }));
    let mut pending = None;
    let mut findings = standing(desired, facts, now);
    match &facts.running {
        Some(job) => {
            let until = job.since.checked_add(JOB_LIMIT).unwrap_or(Timestamp::MAX);
            if now < until {
                let next = format!(
                    "follow it with `tenure-agent backup list`; its steps are in {}",
                    JobSpec::journal(&job.run)
                );
                pending = Some(Pending { what: format!("job {}", job.run), until, next: Some(next) });
            } else {
                let what = format!(
                    "it runs for more than {} h: look at its journal, and end its process",
                    JOB_LIMIT.as_hours()
                );
                findings.push(finding("job-too-long", job.run.as_str(), what, Some(job.since)));
            }
        }
        None => steps.extend(next_start(desired, facts, now)),
    }
    let (gone, crowded) = clearing::now(facts, now);
    steps.extend(gone.into_iter().map(|run| Step::Clear { run: run.clone() }));
    findings.extend(crowded.then(|| finding("backup-files", JOBS, clearing::words(facts), None)));
    Plan { steps, findings, pending }
}

/// The one job that begins now, if any: what was interrupted goes on first, then what people asked for, then what is due,
/// in the order of the section (the host's own first, then owners by name).
fn next_start(desired: &Scheduled, facts: &Facts, now: Timestamp) -> Option<Step> {
    let zone = &desired.zone;
    let place = |slot: &SlotId| desired.section.series.iter().position(|s| s.series == slot.series);
    let mut interrupted: Vec<&RunFact> = facts.runs.iter().filter(|run| goes_on(desired, run, now)).collect();
    interrupted.sort_by_key(|run| (place(&run.slot), &run.slot));
    if let Some(run) = interrupted.first() {
        return Some(Step::start(desired, run.run.clone(), run.slot.clone(), None, true));
    }
    let ledger = facts.ledger();
    let asked = facts.requests.iter().find_map(|request| {
        let fresh = now.duration_since(request.at).abs() <= REQUEST_LIMIT;
        let series = desired.section.series.iter().find(|s| fresh && s.series == request.series)?;
        let slot = schedule::by_hand(&desired.section, series, &ledger, now, zone)?;
        Some((slot, Some(request.id.clone())))
    });
    let due = || {
        schedule::due(&desired.section, &ledger, now, zone).into_iter().find_map(|due| match due {
            Due::Run(slot) => Some((slot, None)),
            Due::Missed(_) | Due::Wait(_) => None,
        })
    };
    let (slot, request) = asked.or_else(due)?;
    let run = run_id(&slot, facts.of(&slot).map_or(0, |fact| fact.tries).saturating_add(1));
    Some(Step::start(desired, run, slot, request, false))
}

/// Can an interrupted run still fill its slot?
fn goes_on(desired: &Scheduled, run: &RunFact, now: Timestamp) -> bool {
    let known = desired.section.series.iter().any(|s| s.series == run.slot.series);
    let least = if run.slot.manual { BY_HAND.as_secs().unsigned_abs() } else { 0 };
    let window = schedule::window_ends(&desired.zone, &run.slot, desired.section.catch_up_seconds.max(least));
    known && (now < window || (run.opened && now < desired.zone.closes(run.slot.date)))
}

/// The name of a slot's n-th run: never used twice on a host.
pub fn run_id(slot: &SlotId, number: u32) -> RunId {
    let series = &slot.series;
    let owner = match &series.owner {
        tenure_trust::Owner::Host => series.host.as_str(),
        tenure_trust::Owner::Tenant(tenant) => tenant.as_str(),
    };
    // Names of labels may be long: what tells series apart is the hash.
    let short = owner.get(..30).unwrap_or(owner).trim_end_matches('-');
    let tag = Hash::of(series.to_string().as_bytes()).to_string();
    let hand = if slot.manual { "m" } else { "" };
    let date = slot.date.to_string().replace('-', "");
    let text = format!("{date}-{}{hand}-{}-{short}-{}-{number}", slot.at.digits(), series.set, &tag[..8]);
    RunId::new(text).expect("digits, labels and hyphens, 80 characters at most")
}

/// What the area must remember, if that is not what stands on disk.
pub(super) fn memory(desired: &Scheduled, facts: &Facts, now: Timestamp) -> Vec<ManagedFile> {
    let ledger = facts.ledger();
    let mut since: Vec<Since> = (desired.section.series.iter())
        .map(|s| Since { series: s.series.clone(), since: ledger.since(&s.series, now) })
        .collect();
    since.sort();
    since.dedup();
    // A clock that is ahead makes no copy old: only the days of copies that the vault took since do.
    let sealed = facts.slots.iter().filter(|fact| matches!(fact.state, SlotState::Sealed(_)));
    let newest = sealed.map(|fact| fact.slot.date).max();
    let today = desired.zone.date_of(now);
    let oldest = newest.map_or(today, |newest| newest.min(today)).checked_sub(REMEMBERED_DAYS.days());
    let young = |slot: &SlotId| oldest.as_ref().is_ok_and(|oldest| slot.date >= *oldest);
    let mut slots: Vec<SlotFact> = Vec::new();
    for fact in facts.slots.iter().filter(|fact| young(&fact.slot)) {
        match &fact.state {
            SlotState::Running => {}
            // A mark from later than now was made by a clock that was ahead.
            SlotState::Failed { .. } | SlotState::Missed if fact.at > now => {}
            _ => slots.push(fact.clone()),
        }
    }
    // What was begun and cannot go on has failed.
    let running = |run: &RunFact| facts.running.as_ref().is_some_and(|job| job.run == run.run);
    for run in facts.runs.iter().filter(|run| !running(run) && !goes_on(desired, run, now)) {
        let tries = facts.of(&run.slot).map_or(1, |fact| fact.tries);
        let why = "it was interrupted and could not go on in time".to_owned();
        slots.retain(|fact| fact.slot != run.slot);
        slots.push(SlotFact { slot: run.slot.clone(), state: SlotState::Failed { why }, at: now, tries });
    }
    for due in schedule::due(&desired.section, &ledger, now, &desired.zone) {
        if let Due::Missed(slot) = due {
            slots.retain(|fact| fact.slot != slot);
            slots.push(SlotFact { slot, state: SlotState::Missed, at: now, tries: 0 });
        }
    }
    slots.sort_by(|a, b| newest_first(&a.slot, &b.slot));
    slots.truncate(SLOTS);
    let bytes = serde_json::to_vec(&Remembered { since, slots }).expect("plain data has a JSON form");
    if facts.remembered == Some(Hash::of(&bytes)) {
        return Vec::new();
    }
    let path = ManagedPath::new(LEDGER).expect("a literal in a managed place");
    vec![ManagedFile { path, bytes, mode: 0o600 }]
}

/// The newest slot of each series whose time has come, where it holds no whole copy.
fn standing(desired: &Scheduled, facts: &Facts, now: Timestamp) -> Vec<Finding> {
    let mut findings = Vec::new();
    for series in &desired.section.series {
        let newest = facts.slots.iter().find(|fact| {
            let ended = !matches!(fact.state, SlotState::Running) && fact.at <= now;
            fact.slot.series == series.series
                && ended
                && (!fact.slot.manual || matches!(fact.state, SlotState::Sealed(_)))
        });
        let Some(fact) = newest else { continue };
        let place = series.series.to_string();
        let slot = format!("{} {}", fact.slot.date, fact.slot.at);
        match &fact.state {
            SlotState::Failed { why } => {
                let again =
                    now < schedule::window_ends(&desired.zone, &fact.slot, desired.section.catch_up_seconds);
                let then = if again { "; it is tried again" } else { "" };
                findings.push(finding(
                    "backup-failed",
                    &place,
                    format!("{slot}: {}{then}", neutral_bytes(why.as_bytes(), 300)),
                    Some(fact.at),
                ));
            }
            SlotState::Missed => {
                let what = format!(
                    "{slot}: no run was made in its time; `tenure-agent backup run` makes a copy now"
                );
                findings.push(finding("backup-missed", &place, what, Some(fact.at)));
            }
            SlotState::Sealed(seal) if seal.unreadable > 0 => {
                let what =
                    format!("{slot}: {} files could not be read and are not in the copy", seal.unreadable);
                findings.push(finding("backup-partial", &place, what, Some(fact.at)));
            }
            SlotState::Sealed(_) | SlotState::Running => {}
        }
    }
    findings.extend(failed_drills(desired, facts, now));
    findings
}

/// Each dump of the policy whose last drill failed, whatever other drills came to since.
fn failed_drills(desired: &Scheduled, facts: &Facts, now: Timestamp) -> Vec<Finding> {
    let series = desired.section.series.iter();
    let dumps: BTreeSet<(&Owner, &SqlName)> =
        series.flat_map(|one| one.dumps.iter().map(|dump| (&one.series.owner, &dump.database))).collect();
    let failed = dumps.into_iter().filter_map(|(owner, database)| {
        let of = |drill: &&DrillFact| drill.dump.as_ref().is_some_and(|dump| dump.is(owner, database));
        let last =
            facts.drills.iter().filter(of).filter(|drill| drill.at <= now).max_by_key(|drill| drill.at)?;
        let dump = last.dump.as_ref().filter(|_| !last.held)?;
        let place = format!("{} {}", dump.series, dump.database);
        let what = neutral_bytes(last.what.as_bytes(), 300);
        Some(finding("drill-failed", &place, what, Some(last.at)))
    });
    failed.collect()
}

pub(super) fn guard(desired: &Scheduled, plan: Plan<Step>, facts: &Facts) -> Result<Approved<Step>, Refusal> {
    let refusal = |kind: &str, rule: Option<String>, what: String, hint: &str| {
        Err(Refusal { kind: kind.into(), rule, what, hint: hint.into() })
    };
    let starts: Vec<_> = plan.steps.iter().filter_map(Step::begins).collect();
    if let (Some((run, _, _)), Some(job)) = (starts.first(), &facts.running) {
        let what = format!("{run} would run beside {}", job.run);
        return refusal("job-under-way", None, what, "wait for its end");
    }
    if starts.len() > 1 {
        return refusal(
            "two-jobs",
            None,
            "two jobs would begin at once".into(),
            "report this: it is a fault of ours",
        );
    }
    if let Some((_, slot, spec)) = starts.first() {
        if desired.section.recipients.len() < 2 {
            let what = "fewer than two recipients could open the copy when this host is gone".to_owned();
            return refusal("no-recovery", None, what, "name two recovery recipients in the policy");
        }
        if spec.is_none() {
            let what = format!("the policy does not say where {} is or where its databases are", slot.series);
            return refusal(
                "no-place",
                Some(slot.series.to_string()),
                what,
                "name the vault's host and the databases in the policy",
            );
        }
    }
    Ok(Approved::by_guard(plan))
}

/// When to look again without a bell.
pub(super) fn wake(desired: &Scheduled, facts: &Facts, now: Timestamp) -> Option<Timestamp> {
    if facts.running.is_some() || !facts.requests.is_empty() || clearing::now(facts, now).1 {
        // A job's end rings; this is for one that was begun by an agent that is gone, for a request that waits for a
        // minute of its own, and for files that are too many to go at once.
        return now.checked_add(SignedDuration::from_secs(15)).ok();
    }
    schedule::due(&desired.section, &facts.ledger(), now, &desired.zone).into_iter().find_map(|due| match due
    {
        Due::Wait(until) => Some(until),
        Due::Run(_) | Due::Missed(_) => None,
    })
}

fn finding(kind: &str, place: &str, what: String, at: Option<Timestamp>) -> Finding {
    Finding { kind: kind.into(), place: place.into(), what, weight: Weight::Drift, at, by: None }
}
