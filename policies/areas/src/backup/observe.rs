//! Looks at memory, jobs, requests and drills. The files are root's, and their content is parsed like any other's.

use std::collections::{BTreeMap, BTreeSet};

use tenure_trust::{Hash, RunId, SlotId};

use super::facts::{
    DRILLS, DUMPS, DrillFact, Facts, Remembered, RunFact, RunRequest, RunningJob, SLOTS, SlotFact, SlotState,
};
use super::journal::{self, JOURNAL_LIMIT, Standing};
use super::spec::{JOBS, JobSpec, SPEC_LIMIT};
use super::{DRILL_DIR, LEDGER, REQUESTS, Scheduled};
use crate::area::Unknown;
use crate::port::{Beneath, HostRead, Owner, PortError, Query};

const LEDGER_LIMIT: usize = 1 << 20;
const SMALL: usize = 64 << 10;
/// Names in a directory that are taken in. A pass begins one run at most and removes more than that, so that only what
/// somebody else puts there comes near it.
pub const NAMES: usize = 200_000;
/// Runs whose files are looked at in one pass, the newest first; of older ones their number alone is told.
pub(super) const RUNS: usize = 2000;
/// Files of requests, or of drills, that are looked at in one pass.
const FILES: usize = 1000;

pub(super) fn observe(host: &dyn HostRead, _: &Scheduled) -> Result<Facts, Unknown> {
    let (remembered, hash) = ledger(host)?;
    let running = running(host)?;
    let mut slots: BTreeMap<SlotId, SlotFact> =
        remembered.slots.into_iter().map(|fact| (fact.slot.clone(), fact)).collect();
    let mut runs = Vec::new();
    let mut over = Vec::new();
    let mut asked = Vec::new();
    let all = all_runs(host)?;
    // Names begin with their slot's date and time.
    let (unseen, seen) = all.split_at(all.len().saturating_sub(RUNS));
    let newest = newest_tries(seen);
    for run in seen {
        let Some(spec) = spec(host, run)? else { continue };
        asked.extend(spec.request.clone());
        let is_running = running.as_ref().is_some_and(|job| job.run == *run);
        let known = slots.get(&spec.slot);
        let tries = number_of(run).max(known.map_or(0, |fact| fact.tries));
        let (state, at) = match standing(host, run)? {
            // The job's last words may come after its receipt.
            Standing::Sealed(seal) => {
                let at = seal.at;
                over.push(run.clone());
                (SlotState::Sealed(seal), at)
            }
            Standing::Failed { why, at } => {
                over.push(run.clone());
                (SlotState::Failed { why }, at)
            }
            Standing::Begun { starts, opened } => {
                // Given up before: what was begun then goes on no more. Nor does what a later run has followed: it had
                // ended, and its journal went before its specification did.
                let followed = newest.get(slot_part(run)).is_some_and(|n| *n > number_of(run));
                let given_up =
                    followed || known.is_some_and(|f| f.tries >= number_of(run) && ended(&f.state));
                if given_up && !is_running {
                    over.push(run.clone());
                    continue;
                }
                let at =
                    running.as_ref().filter(|_| is_running).map_or(jiff::Timestamp::UNIX_EPOCH, |j| j.since);
                runs.push(RunFact { run: run.clone(), slot: spec.slot.clone(), starts, opened });
                (SlotState::Running, at)
            }
        };
        // Names sort `-10` before `-9`, and the files of a later run may be gone: an older one has no say any more.
        let superseded =
            known.is_some_and(|f| number_of(run) < f.tries && matches!(f.state, SlotState::Failed { .. }));
        if superseded && matches!(state, SlotState::Failed { .. }) {
            continue;
        }
        let fact = SlotFact { slot: spec.slot.clone(), state, at, tries };
        match slots.get(&spec.slot) {
            Some(known) if !replaces(&fact, known) => {}
            _ => drop(slots.insert(spec.slot, fact)),
        }
    }
    let mut slots: Vec<SlotFact> = slots.into_values().collect();
    slots.sort_by(|a, b| newest_first(&a.slot, &b.slot));
    slots.truncate(SLOTS);
    runs.sort_by(|a, b| a.run.cmp(&b.run));
    over.sort();
    let mut requests = requests(host)?;
    requests.retain(|request| !asked.contains(&request.id));
    Ok(Facts {
        slots,
        drills: drills(host)?,
        since: remembered.since,
        runs,
        running,
        requests,
        over,
        unseen: (!unseen.is_empty()).then_some(unseen.len() as u64),
        remembered: hash,
        machine: id(host, &Beneath::of("/etc/machine-id")),
        boot: id(host, &Beneath::new("/proc", "sys/kernel/random/boot_id")),
    })
}

/// The order of slots in facts and memory.
pub(super) fn newest_first(a: &SlotId, b: &SlotId) -> std::cmp::Ordering {
    (b.date, b.at, b.manual).cmp(&(a.date, a.at, a.manual)).then_with(|| a.series.cmp(&b.series))
}

fn ended(state: &SlotState) -> bool {
    !matches!(state, SlotState::Running)
}

/// A receipt is final; after that what is under way, then the later word.
fn replaces(new: &SlotFact, known: &SlotFact) -> bool {
    match (&new.state, &known.state) {
        (_, SlotState::Sealed(_)) => matches!(new.state, SlotState::Sealed(_)),
        (SlotState::Sealed(_) | SlotState::Running, _) => true,
        (_, SlotState::Running) => false,
        _ => new.tries >= known.tries,
    }
}

/// The number at the end of a run's name.
pub(super) fn number_of(run: &RunId) -> u32 {
    run.as_str().rsplit_once('-').and_then(|(_, n)| n.parse().ok()).unwrap_or(1)
}

/// What a run's name says of its slot: everything before the number.
pub(super) fn slot_part(run: &RunId) -> &str {
    run.as_str().rsplit_once('-').map_or(run.as_str(), |(slot, _)| slot)
}

/// The highest number of each slot.
fn newest_tries(runs: &[RunId]) -> BTreeMap<&str, u32> {
    let mut newest = BTreeMap::new();
    for run in runs {
        let number = newest.entry(slot_part(run)).or_default();
        *number = number_of(run).max(*number);
    }
    newest
}

/// Every run that has a specification, sorted.
fn all_runs(host: &dyn HostRead) -> Result<Vec<RunId>, Unknown> {
    let names = names(host, JOBS)?.into_iter();
    let mut runs: Vec<RunId> =
        names.filter_map(|name| RunId::new(name.strip_suffix(".json")?).ok()).collect();
    runs.sort();
    Ok(runs)
}

/// The memory. One that cannot be read must not be taken for an empty one: slots would be run twice.
pub(super) fn ledger(host: &dyn HostRead) -> Result<(Remembered, Option<Hash>), Unknown> {
    let doing = || format!("reading {LEDGER}");
    match host.file(&Beneath::of(LEDGER), Owner::Root, LEDGER_LIMIT) {
        Ok(bytes) => {
            let remembered = serde_json::from_slice(&bytes)
                .map_err(|e| Unknown::new(doing(), format_args!("{e}; remove it to begin anew")))?;
            Ok((remembered, Some(Hash::of(&bytes))))
        }
        Err(PortError::Absent { .. }) => Ok((Remembered::default(), None)),
        Err(error) => Err(Unknown::from_port(doing(), &error)),
    }
}

fn running(host: &dyn HostRead) -> Result<Option<RunningJob>, Unknown> {
    let doing = "looking for the job that runs";
    let answer = host.ask(&Query::Job).map_err(|e| Unknown::from_port(doing, &e))?;
    serde_json::from_slice(&answer).map_err(|e| Unknown::new(doing, e))
}

fn spec(host: &dyn HostRead, run: &RunId) -> Result<Option<JobSpec>, Unknown> {
    let path = JobSpec::path(run);
    match host.file(&Beneath::of(&path), Owner::Root, SPEC_LIMIT) {
        Ok(bytes) => {
            let spec: JobSpec = serde_json::from_slice(&bytes)
                .map_err(|e| Unknown::new(format!("reading {path}"), format_args!("{e}; remove it")))?;
            if spec.run != *run {
                return Err(Unknown::new(format!("reading {path}"), "it is another run's; remove it"));
            }
            Ok(Some(spec))
        }
        Err(PortError::Absent { .. }) => Ok(None),
        Err(error) => Err(Unknown::from_port(format!("reading {path}"), &error)),
    }
}

fn standing(host: &dyn HostRead, run: &RunId) -> Result<Standing, Unknown> {
    let path = JobSpec::journal(run);
    match host.file(&Beneath::of(&path), Owner::Root, JOURNAL_LIMIT) {
        Ok(bytes) => {
            let lines = journal::parse(&bytes)
                .map_err(|why| Unknown::new(format!("reading {path}"), format_args!("{why}; remove it")))?;
            Ok(journal::standing(&lines))
        }
        Err(PortError::Absent { .. }) => Ok(Standing::Begun { starts: 0, opened: false }),
        Err(error) => Err(Unknown::from_port(format!("reading {path}"), &error)),
    }
}

fn requests(host: &dyn HostRead) -> Result<Vec<RunRequest>, Unknown> {
    let mut requests: Vec<RunRequest> = files(host, REQUESTS, End::First)?;
    requests.sort_by(|a, b| (a.at, &a.id).cmp(&(b.at, &b.id)));
    requests.truncate(100);
    Ok(requests)
}

pub(super) fn drills(host: &dyn HostRead) -> Result<Vec<DrillFact>, Unknown> {
    let mut drills: Vec<DrillFact> = files(host, DRILL_DIR, End::Last)?;
    drills.sort_by_key(|drill| std::cmp::Reverse(drill.at));
    Ok(told(drills))
}

/// Of each dump the last drill, so that none hides another's; then others while there is room. Newest first, as they come.
pub(super) fn told(drills: Vec<DrillFact>) -> Vec<DrillFact> {
    let mut dumps = BTreeSet::new();
    let of = |drill: &DrillFact| drill.dump.as_ref().map(|d| (d.series.owner.clone(), d.database.clone()));
    let (mut told, mut older): (Vec<_>, Vec<_>) =
        drills.into_iter().partition(|drill| of(drill).is_some_and(|dump| dumps.insert(dump)));
    told.truncate(DUMPS);
    older.truncate(DRILLS.saturating_sub(told.len()));
    told.append(&mut older);
    told.sort_by_key(|drill| std::cmp::Reverse(drill.at));
    told
}

/// Which files of a directory with more than [`FILES`] are looked at.
#[derive(Clone, Copy)]
enum End {
    First,
    Last,
}

/// Every `.json` of a directory that is of this form; both directories name files by when they were made.
fn files<T: serde::de::DeserializeOwned>(
    host: &dyn HostRead,
    dir: &str,
    end: End,
) -> Result<Vec<T>, Unknown> {
    let mut found = Vec::new();
    let mut names = names(host, dir)?;
    names.retain(|name| name.ends_with(".json") && !name.starts_with('.'));
    let skip = match end {
        End::First => 0,
        End::Last => names.len().saturating_sub(FILES),
    };
    for name in names.into_iter().skip(skip).take(FILES) {
        let path = Beneath::new(dir, name);
        let doing = || format!("reading {}", path.path());
        match host.file(&path, Owner::Root, SMALL) {
            Ok(bytes) => found.push(
                serde_json::from_slice(&bytes)
                    .map_err(|e| Unknown::new(doing(), format_args!("{e}; remove it")))?,
            ),
            Err(PortError::Absent { .. }) => {}
            Err(error) => return Err(Unknown::from_port(doing(), &error)),
        }
    }
    Ok(found)
}

fn names(host: &dyn HostRead, dir: &str) -> Result<Vec<String>, Unknown> {
    match host.dir(&Beneath::new(dir, ""), NAMES) {
        Ok(entries) => Ok(entries.into_iter().map(|entry| entry.name).collect()),
        Err(PortError::Absent { .. }) => Ok(Vec::new()),
        Err(PortError::TooLarge { .. }) => {
            let why = format!("it has more than {NAMES} names: move away what is not Tenure's");
            Err(Unknown::new(format!("listing {dir}"), why))
        }
        Err(error) => Err(Unknown::from_port(format!("listing {dir}"), &error)),
    }
}

fn id(host: &dyn HostRead, path: &Beneath) -> Option<Hash> {
    let bytes = host.file(path, Owner::Any, 256).ok()?;
    Some(Hash::of(bytes.trim_ascii()))
}
