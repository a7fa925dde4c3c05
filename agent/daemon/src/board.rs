//! What the agent knows of itself, for whoever asks: the last pass of every area, recent events, policy and evidence.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tenure_areas::area::{Done, Finding, Pending, Refusal, Unknown};
use tenure_areas::pass::{Report, Verdict};
use tenure_policy::resolved::Mode;
use tenure_sys::clock;
use tenure_trust::PolicyVersion;

use crate::areas::Area;
use crate::bell::Reason;

/// How many events are remembered; older ones are in the records.
const EVENTS: usize = 200;

/// One area as its last pass left it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AreaStatus {
    /// Which.
    pub area: Area,
    /// What the policy lets it do; `observe` while it is lifted.
    pub mode: Mode,
    /// Was it given back by `lift`, so that it only observes until the next `apply`?
    pub lifted: bool,
    /// What the last pass said.
    pub verdict: Verdict,
    /// When the facts were seen.
    pub observed_at: Timestamp,
    /// What differs.
    pub findings: Vec<Finding>,
    /// What is under way.
    pub pending: Option<Pending>,
    /// Why the last plan was not carried out.
    pub refusal: Option<Refusal>,
    /// Why it could not be judged.
    pub unknown: Option<Unknown>,
    /// What the last pass did.
    pub done: Vec<Done>,
    /// How many passes there were since the agent started.
    pub passes: u64,
    /// How many of them answered a person.
    pub answered: u64,
    /// How long the last one took, in microseconds.
    pub took_us: u64,
    /// Which bells it answered.
    pub reasons: Vec<Reason>,
}

/// A change that somebody made, and what became of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Event {
    /// In which area.
    pub area: Area,
    /// Restored or only reported.
    pub outcome: Outcome,
    /// What was found.
    pub finding: Finding,
    /// When the pass that tells of it ended.
    pub at: Timestamp,
    /// From the change, as far as its time is known, to its end, in milliseconds.
    pub after_ms: Option<u64>,
}

/// What became of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// The policy changed and the host with it.
    Applied,
    /// The host is again as the policy says.
    Restored,
    /// Told and left as it is.
    Reported,
}

/// Where the policy in force stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PolicyStatus {
    /// Where it came from.
    pub from: String,
    /// Its version; none on a standalone host.
    pub version: Option<PolicyVersion>,
    /// When it expires; an expired policy keeps being enforced.
    pub until: Option<Timestamp>,
    /// The beginning of its hash.
    pub hash: String,
    /// How often every lane looks without a bell, in seconds.
    pub heartbeat_seconds: u32,
}

/// Where the chain of records stands.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EvidenceStatus {
    /// Number of the last record; 0 when there is none.
    pub last: u64,
    /// How many could not be written since the last one that was.
    pub lost: u32,
    /// Why the last one could not be written.
    pub failing: Option<String>,
}

#[derive(Debug, Default)]
struct State {
    areas: BTreeMap<Area, AreaStatus>,
    /// Areas of which the policy has no section.
    absent: Vec<Area>,
    events: VecDeque<Event>,
    /// Findings that were reported already, so that a pass that only repeats them makes no event.
    known: BTreeMap<Area, Vec<(String, String)>>,
    /// What is under way in an area, and the end of the pass that first saw it, in milliseconds since boot.
    under_way: BTreeMap<Area, (String, u64)>,
    policy: Option<PolicyStatus>,
    policy_fault: Option<String>,
    evidence: EvidenceStatus,
}

/// The board. Clones are the same board.
#[derive(Debug, Clone, Default)]
pub struct Board(Arc<(Mutex<State>, Condvar)>);

/// Everything on the board at one moment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Overview {
    /// One entry per area with a section, in the order of [`Area::ALL`].
    pub areas: Vec<AreaStatus>,
    /// Areas of which the policy has no section.
    pub absent: Vec<Area>,
    /// The policy in force.
    pub policy: Option<PolicyStatus>,
    /// Why the policy that was offered last was not taken.
    pub policy_fault: Option<String>,
    /// The records.
    pub evidence: EvidenceStatus,
}

/// What a lane adds to a report.
#[derive(Debug, Clone)]
pub struct Turn {
    /// Which area.
    pub area: Area,
    /// Was it lifted?
    pub lifted: bool,
    /// Which bells it answered.
    pub reasons: Vec<Reason>,
    /// How long it took.
    pub took: Duration,
    /// From the first bell that it answered to its end.
    pub since_bell: Duration,
    /// When it ended.
    pub ended: Timestamp,
    /// The same in milliseconds since boot.
    pub ended_boot_ms: u64,
}

impl Board {
    /// An empty board.
    pub fn new() -> Self {
        Self::default()
    }

    /// Shows what a pass found and did.
    pub fn show(&self, turn: Turn, report: &Report) {
        let mut state = self.lock();
        state.remember(&turn, report);
        state.note_under_way(&turn, report);
        let (passes, answered) = state.areas.get(&turn.area).map_or((0, 0), |a| (a.passes, a.answered));
        let asked = u64::from(turn.reasons.contains(&Reason::Operator));
        let status = AreaStatus {
            area: turn.area,
            mode: report.mode,
            lifted: turn.lifted,
            verdict: report.verdict,
            observed_at: report.observed_at,
            findings: report.findings.clone(),
            pending: report.pending.clone(),
            refusal: report.refusal.clone(),
            unknown: report.unknown.clone(),
            done: report.done.clone(),
            passes: passes + 1,
            answered: answered + asked,
            took_us: u64::try_from(turn.took.as_micros()).unwrap_or(u64::MAX),
            reasons: turn.reasons,
        };
        state.absent.retain(|a| *a != turn.area);
        state.areas.insert(turn.area, status);
        self.0.1.notify_all();
    }

    /// Shows that the policy has no section for an area.
    pub fn show_absent(&self, area: Area) {
        let mut state = self.lock();
        state.areas.remove(&area);
        if !state.absent.contains(&area) {
            state.absent.push(area);
            state.absent.sort();
        }
        self.0.1.notify_all();
    }

    /// Shows the policy in force.
    pub fn show_policy(&self, policy: PolicyStatus) {
        let mut state = self.lock();
        state.policy = Some(policy);
        state.policy_fault = None;
    }

    /// Shows why a policy was not taken; none when there is nothing to tell any more.
    pub fn show_policy_fault(&self, fault: Option<String>) {
        self.lock().policy_fault = fault;
    }

    /// Shows how the chain of records stands.
    pub fn show_evidence(&self, evidence: EvidenceStatus) {
        self.lock().evidence = evidence;
    }

    /// Everything at this moment.
    pub fn overview(&self) -> Overview {
        let state = self.lock();
        Overview {
            areas: state.areas.values().cloned().collect(),
            absent: state.absent.clone(),
            policy: state.policy.clone(),
            policy_fault: state.policy_fault.clone(),
            evidence: state.evidence.clone(),
        }
    }

    /// The last events, oldest first.
    pub fn events(&self) -> Vec<Event> {
        self.lock().events.iter().cloned().collect()
    }

    /// How many passes an area has had.
    pub fn passes(&self, area: Area) -> u64 {
        self.lock().areas.get(&area).map_or(0, |a| a.passes)
    }

    /// When the pass ended that first saw what is under way in an area, in milliseconds since boot: what that pass began,
    /// it began before.
    pub fn under_way_since(&self, area: Area) -> Option<u64> {
        self.lock().under_way.get(&area).map(|(_, since)| *since)
    }

    /// Waits until this holds of the board, at most so long; says whether it does.
    pub fn wait_until(&self, at_most: Duration, holds: impl Fn(&Overview) -> bool) -> bool {
        let deadline = clock::monotonic().saturating_add(at_most);
        loop {
            if holds(&self.overview()) {
                return true;
            }
            let left = deadline.saturating_sub(clock::monotonic());
            if left.is_zero() {
                return false;
            }
            // Looks again at least every 50 ms: a change between the look and the wait is not missed for long.
            let state = self.lock();
            let left = left.min(Duration::from_millis(50));
            drop(self.0.1.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner));
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn note_under_way(&mut self, turn: &Turn, report: &Report) {
        match &report.pending {
            None => {
                self.under_way.remove(&turn.area);
            }
            Some(pending) => {
                let known = self.under_way.get(&turn.area).is_some_and(|(what, _)| *what == pending.what);
                if !known {
                    self.under_way.insert(turn.area, (pending.what.clone(), turn.ended_boot_ms));
                }
            }
        }
    }

    fn remember(&mut self, turn: &Turn, report: &Report) {
        let known = self.known.remove(&turn.area).unwrap_or_default();
        let fresh = report
            .findings
            .iter()
            .filter(|f| !known.iter().any(|(kind, place)| *kind == f.kind && *place == f.place))
            .map(|f| (Outcome::Reported, f));
        // What differs when a policy comes, a person asks or a trial ends is what they want changed, and nobody's drift.
        let wanted =
            turn.reasons.iter().any(|r| matches!(r, Reason::Policy | Reason::Operator | Reason::TrialDue));
        let outcome = if wanted { Outcome::Applied } else { Outcome::Restored };
        let mended = report.mended.iter().map(|f| (outcome, f));
        for (outcome, finding) in mended.chain(fresh) {
            let after = finding.at.map(|at| turn.ended.duration_since(at).as_millis());
            // A file tells the time of its change to the second only; the event about it came at once.
            let told = turn.reasons.iter().any(|r| matches!(r, Reason::FileEvent | Reason::KernelEvent));
            let bell = i128::try_from(turn.since_bell.as_millis()).unwrap_or(i128::MAX);
            let after = match (outcome, told) {
                (_, true) => after.map(|ms| ms.min(bell)),
                (Outcome::Restored, false) => after,
                // Found by looking and not by being told: how long it took says nothing.
                (Outcome::Reported | Outcome::Applied, false) => None,
            };
            let event = Event {
                area: turn.area,
                outcome,
                finding: finding.clone(),
                at: turn.ended,
                after_ms: after.and_then(|ms| u64::try_from(ms).ok()),
            };
            if self.events.len() == EVENTS {
                self.events.pop_front();
            }
            self.events.push_back(event);
        }
        let now_known = report.findings.iter().map(|f| (f.kind.clone(), f.place.clone())).collect();
        self.known.insert(turn.area, now_known);
    }
}
