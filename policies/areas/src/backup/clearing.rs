//! Which runs' files go: a run that has ended is remembered in the ledger, its files are for who looks at how it went. Pure.

use std::collections::BTreeMap;

use jiff::{Timestamp, ToSpan};
use tenure_policy::calendar::{Zone, parse_date};
use tenure_trust::RunId;

use super::facts::Facts;
use super::observe::{number_of, slot_part};
use super::spec::JOBS;

/// Of each slot the files of so many runs are kept: the last one carries the number of the next, and who waits for the
/// one before still reads why it failed.
const TRIES: usize = 2;
/// Files of so many runs that have ended are kept at most.
pub(super) const KEPT: usize = 300;
/// Files of so many runs go in one pass.
pub(super) const AT_ONCE: usize = 250;
/// After so many days the files of a run go, counted from its slot's date.
const DAYS: i64 = 8;

/// The runs whose files go in this pass, of each slot the oldest first, and whether there are more of them than go at once.
pub(super) fn now(facts: &Facts, now: Timestamp) -> (Vec<&RunId>, bool) {
    let mut numbers: BTreeMap<&str, Vec<u32>> = BTreeMap::new();
    for run in facts.over.iter().chain(facts.runs.iter().map(|run| &run.run)) {
        numbers.entry(slot_part(run)).or_default().push(number_of(run));
    }
    let followed = |run: &RunId| {
        let later = |of: &&Vec<u32>| of.iter().filter(|n| **n > number_of(run)).count();
        numbers.get(slot_part(run)).as_ref().map_or(0, later) >= TRIES
    };
    let running = |run: &RunId| facts.running.as_ref().is_some_and(|job| job.run == *run);
    let mut over: Vec<&RunId> = facts.over.iter().filter(|run| !running(run)).collect();
    over.sort_by_key(|run| (slot_part(run), number_of(run)));
    let (mut gone, kept): (Vec<_>, Vec<_>) =
        over.into_iter().partition(|run| is_old(run, now) || followed(run));
    gone.extend(&kept[..kept.len().saturating_sub(KEPT)]);
    let more = gone.len() > AT_ONCE || facts.unseen.is_some();
    gone.truncate(AT_ONCE);
    (gone, more)
}

/// What is said while there are too many.
pub(super) fn words(facts: &Facts) -> String {
    let all = (facts.over.len() + facts.runs.len()) as u64 + facts.unseen.unwrap_or(0);
    format!(
        "{JOBS} has the files of {all} runs; those of {AT_ONCE} that have ended go in each pass until {KEPT} are left; \
         runs begin meanwhile, and what became of slots is remembered"
    )
}

/// Is its slot so old that the memory is enough? A name without a date was given by nobody here.
fn is_old(run: &RunId, now: Timestamp) -> bool {
    let date = run
        .as_str()
        .get(..8)
        .and_then(|d| parse_date(&format!("{}-{}-{}", d.get(..4)?, d.get(4..6)?, d.get(6..8)?)).ok());
    let Some(date) = date else { return true };
    date.checked_add(DAYS.days()).is_ok_and(|end| end < Zone::utc().date_of(now))
}
