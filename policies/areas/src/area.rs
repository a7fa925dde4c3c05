//! The one shape of every area: desired, observe, plan, guard, act.

use jiff::Timestamp;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tenure_trust::neutral_bytes;

use crate::port::{HostRead, HostWrite, ManagedFile, PortError};

/// When a decision is made. Passed in by the shell; nothing below asks a clock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Now {
    /// Wall clock.
    pub wall: Timestamp,
    /// Milliseconds since boot, suspend included (CLOCK_BOOTTIME).
    pub since_boot_ms: u64,
    /// The kernel's boot id: which boot `since_boot_ms` counts from.
    pub boot_id: String,
}

/// Why an area could not be judged. Never compliant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, serde::Deserialize, thiserror::Error)]
#[error("{doing}: {reason}")]
pub struct Unknown {
    /// What was being looked at.
    pub doing: String,
    /// Why that failed, as text (already neutralised).
    pub reason: String,
}

impl Unknown {
    /// An unknown; the reason may quote what came from the host and is made harmless and short.
    pub fn new(doing: impl Into<String>, reason: impl std::fmt::Display) -> Self {
        Self { doing: doing.into(), reason: neutral_bytes(reason.to_string().as_bytes(), 500) }
    }
    /// An unknown from a port's error.
    pub fn from_port(doing: impl Into<String>, error: &PortError) -> Self {
        Self::new(doing, error)
    }
}

/// Who made a change, where the kernel tells.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Actor {
    /// Process id in the host.
    pub pid: u32,
    /// The process's name (comm), neutralised.
    pub comm: String,
}

/// Whether a finding makes the host drifted or is only worth knowing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Weight {
    /// The host is not as the policy says.
    Drift,
    /// This part of the area cannot be judged (stale lists, a state that cannot be read): never compliant.
    Unknown,
    /// The host is as the policy says; a person should know this all the same.
    Note,
}

/// Something seen that differs from the policy or that no policy names.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Finding {
    /// Kind, a stable word with hyphens (`unmanaged-key`, `foreign-table`, …).
    pub kind: String,
    /// Where, e.g. a path with line, a table, an account.
    pub place: String,
    /// What and why it matters, one sentence.
    pub what: String,
    /// Does it make the host drifted?
    pub weight: Weight,
    /// When the change happened, where something tells (notifications carry it).
    pub at: Option<Timestamp>,
    /// Who did it, where the kernel tells.
    pub by: Option<Actor>,
}

/// Something under way; not drift until its limit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pending {
    /// What, e.g. `firewall trial g13`.
    pub what: String,
    /// Until when.
    pub until: Timestamp,
    /// What a person can do now, if anything.
    pub next: Option<String>,
}

/// What to do, decided; printed, hashed and then executed unchanged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, serde::Deserialize)]
#[must_use]
pub struct Plan<Step> {
    /// In this order.
    pub steps: Vec<Step>,
    /// What differs, with and without a step against it.
    pub findings: Vec<Finding>,
    /// What is under way.
    pub pending: Option<Pending>,
}

impl<Step> Plan<Step> {
    /// Nothing to do.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }
}

/// A plan that the guard let through. Only [`AreaSpec::guard`] implementations make one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Approved<Step>(Plan<Step>);

impl<Step> Approved<Step> {
    /// To be called by a guard that has found no reason against the plan.
    pub fn by_guard(plan: Plan<Step>) -> Self {
        Self(plan)
    }
    /// The plan, unchanged.
    pub fn plan(&self) -> &Plan<Step> {
        &self.0
    }
}

/// Why a plan is not carried out although the mode would allow it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, serde::Deserialize, thiserror::Error)]
#[error("{what}; {hint}")]
#[serde(deny_unknown_fields)]
pub struct Refusal {
    /// Kind, a stable word with hyphens (`management-path-cut`, …).
    pub kind: String,
    /// The rule or step that is the reason, e.g. a rule id.
    pub rule: Option<String>,
    /// What would happen.
    pub what: String,
    /// What to do next.
    pub hint: String,
}

/// What came of one step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Done {
    /// The step, in words.
    pub step: String,
    /// The error, if it did not work.
    pub error: Option<String>,
}

/// What carrying out a plan did: infallible, errors are part of it. Stops at the first failed step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, serde::Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub struct ActReport {
    /// One entry per step that was begun.
    pub done: Vec<Done>,
}

/// What a pass saw of the host before it acts.
#[derive(Debug, Clone)]
pub enum Look<Facts> {
    /// All that [`AreaSpec::observe`] sees.
    Whole(Facts),
    /// Enough to put back what stood there: nothing is judged by it and nothing of it is reported.
    Part(Facts),
}

/// One area. A new area is one folder, one line in the list, one section of `HostPolicy`.
pub trait AreaSpec {
    /// The area's name in records and on screens.
    const NAME: &'static str;
    /// Its section of the host's policy.
    type Section;
    /// What the host should be, compiled from the section.
    type Desired;
    /// What the host is: normalised, sorted, without what changes by itself (counters, handles, ages).
    type Facts: Serialize + DeserializeOwned + Clone + PartialEq;
    /// One thing to do; `Display` is the line that a person reads.
    type Step: Serialize + Clone + PartialEq + std::fmt::Display;

    /// Compiles the section. Pure.
    fn desired(section: &Self::Section) -> Self::Desired;
    /// Looks at the host. Changes nothing.
    ///
    /// # Errors
    /// [`Unknown`] when the host cannot be judged.
    fn observe(host: &dyn HostRead, desired: &Self::Desired) -> Result<Self::Facts, Unknown>;
    /// The first look of a pass that may act. When something of ours was changed, what only tells how the rest stands may be
    /// left for the look after acting, so that it is back the sooner.
    ///
    /// # Errors
    /// As [`Self::observe`].
    fn first_look(host: &dyn HostRead, desired: &Self::Desired) -> Result<Look<Self::Facts>, Unknown> {
        Self::observe(host, desired).map(Look::Whole)
    }
    /// Decides. Pure; also run by the controller on reported facts.
    fn plan(desired: &Self::Desired, facts: &Self::Facts, now: &Now) -> Plan<Self::Step>;
    /// Lets the plan through or refuses it. Pure.
    ///
    /// # Errors
    /// [`Refusal`] when carrying it out would lock people out or break a promise.
    fn guard(
        desired: &Self::Desired,
        plan: Plan<Self::Step>,
        facts: &Self::Facts,
    ) -> Result<Approved<Self::Step>, Refusal>;
    /// What Tenure must remember about what it saw (`/var/lib/tenure/<area>/…`), e.g. since when an update waits.
    /// Its own memory and no change of the host, so it is written in every mode. Empty when `facts` show it remembered.
    fn memory(_desired: &Self::Desired, _facts: &Self::Facts, _now: &Now) -> Vec<ManagedFile> {
        Vec::new()
    }
    /// Carries the plan out in seconds, or starts an operation.
    fn act(approved: &Approved<Self::Step>, host: &dyn HostWrite) -> ActReport;
    /// When to look again although no bell rings, e.g. at the next time of a schedule. Pure.
    fn wake(_desired: &Self::Desired, _facts: &Self::Facts, _now: &Now) -> Option<Timestamp> {
        None
    }
    /// What to do to give the host back as it stood before the first `apply` (`tenure-agent lift`).
    fn lift(desired: &Self::Desired, facts: &Self::Facts) -> Plan<Self::Step>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_quotes_nothing_that_steers_a_terminal() {
        let error = serde_json::from_str::<Finding>("{\"\u{9b}2Jkind\u{feff}\": 1}").unwrap_err();
        let unknown = Unknown::new("reading", &error);
        assert!(unknown.reason.contains("\\u{9b}2Jkind\\u{feff}"), "{}", unknown.reason);
        let failed = PortError::Failed { doing: "asking".into(), why: "\u{1b}[2J".repeat(1000) };
        let unknown = Unknown::from_port("asking", &failed);
        assert!(!unknown.reason.contains('\u{1b}') && unknown.reason.chars().count() <= 500);
    }
}
