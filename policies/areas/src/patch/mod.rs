//! Area `patch`: how current the software is. Observes only; installing stays with apt and whoever runs it.
//!
//! Since when an update waits is Tenure's own memory (`/var/lib/tenure/patch/seen.json`), written in every mode: when it was
//! first seen, and the date of the oldest list of the archive that had it (docs/decisions/0006).

pub mod facts;
mod observe;
pub mod parse;
mod plan;
pub mod version;

use serde::Serialize;
use tenure_policy::resolved::PatchSection;

use crate::area::{ActReport, Approved, AreaSpec, Now, Plan, Refusal, Unknown};
use crate::port::{HostRead, HostWrite, ManagedFile};
pub use facts::Facts;

/// Since when each update and a needed reboot wait.
pub const SEEN: &str = "/var/lib/tenure/patch/seen.json";

/// The area.
#[derive(Debug, Clone, Copy)]
pub struct Patch;

/// What the area does to a host: nothing. There is no value of this type.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub enum Step {}

impl std::fmt::Display for Step {
    fn fmt(&self, _: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match *self {}
    }
}

impl AreaSpec for Patch {
    const NAME: &'static str = "patch";
    type Section = PatchSection;
    type Desired = PatchSection;
    type Facts = Facts;
    type Step = Step;

    fn desired(section: &PatchSection) -> PatchSection {
        *section
    }
    fn observe(host: &dyn HostRead, _: &PatchSection) -> Result<Facts, Unknown> {
        observe::observe(host)
    }
    fn plan(desired: &PatchSection, facts: &Facts, now: &Now) -> Plan<Step> {
        Plan { steps: Vec::new(), findings: plan::findings(desired, facts, now.wall), pending: None }
    }
    fn guard(_: &PatchSection, plan: Plan<Step>, _: &Facts) -> Result<Approved<Step>, Refusal> {
        Ok(Approved::by_guard(plan))
    }
    fn memory(_: &PatchSection, facts: &Facts, now: &Now) -> Vec<ManagedFile> {
        plan::memory(facts, now.wall)
    }
    fn act(_: &Approved<Step>, _: &dyn HostWrite) -> ActReport {
        ActReport::default()
    }
    fn lift(_: &PatchSection, _: &Facts) -> Plan<Step> {
        Plan { steps: Vec::new(), findings: Vec::new(), pending: None }
    }
}

#[cfg(test)]
pub(crate) mod tests;
