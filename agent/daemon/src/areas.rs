//! The areas that this agent keeps, as one list; what is generic in `tenure-areas` becomes one object type here.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tenure_areas::area::{Approved, AreaSpec, Done, Finding, Now, Pending, Refusal, Unknown};
use tenure_areas::backup::{Backup, Scheduled};
use tenure_areas::firewall::Firewall;
use tenure_areas::pass::{PlanLines, Report, pass, plan_hash};
use tenure_areas::patch::Patch;
use tenure_areas::port::{HostRead, HostWrite};
use tenure_areas::ssh_access::SshAccess;
use tenure_policy::resolved::{HostPolicy, Mode};
use tenure_trust::AreaName;

/// An area of this agent.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, clap::ValueEnum,
)]
#[serde(rename_all = "snake_case")]
#[value(rename_all = "snake_case")]
pub enum Area {
    /// The packet filter.
    Firewall,
    /// Who may log in by SSH.
    SshAccess,
    /// How current the software is.
    Patch,
    /// Copies in the vault.
    Backup,
}

impl Area {
    /// All of them, in the order in which a host is set up.
    pub const ALL: [Self; 4] = [Self::Firewall, Self::SshAccess, Self::Patch, Self::Backup];

    /// Its name in records and on screens.
    pub fn word(self) -> &'static str {
        match self {
            Self::Firewall => Firewall::NAME,
            Self::SshAccess => SshAccess::NAME,
            Self::Patch => Patch::NAME,
            Self::Backup => Backup::NAME,
        }
    }

    /// Its name as an id.
    pub fn name(self) -> AreaName {
        AreaName::new(self.word()).expect("an area's name is a valid area name")
    }

    /// How often it looks while something is under way, where nothing rings when that comes about.
    pub fn looks_every(self) -> Option<Duration> {
        match self {
            // Somebody logs in: sshd tells the journal and nobody else.
            Self::SshAccess => Some(Duration::from_secs(1)),
            Self::Firewall | Self::Patch | Self::Backup => None,
        }
    }

    /// What the policy lets it do.
    pub fn mode(self, policy: &HostPolicy) -> Mode {
        match self {
            Self::Firewall => policy.modes.firewall,
            Self::SshAccess => policy.modes.ssh_access,
            Self::Patch => policy.modes.patch,
            Self::Backup => policy.modes.backup,
        }
    }

    /// What the host should be in this area; none when the policy has no section for it.
    pub fn compile(self, policy: &HostPolicy) -> Option<Box<dyn Desired>> {
        fn of<A: AreaSpec + 'static>(section: &A::Section) -> Box<dyn Desired> {
            Box::new(Compiled::<A>(A::desired(section)))
        }
        match self {
            Self::Firewall => policy.firewall.as_ref().map(of::<Firewall>),
            Self::SshAccess => policy.ssh_access.as_ref().map(of::<SshAccess>),
            Self::Patch => policy.patch.as_ref().map(of::<Patch>),
            Self::Backup => Scheduled::of(policy).as_ref().map(of::<Backup>),
        }
    }
}

impl fmt::Display for Area {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// What a host should be in one area, compiled once and held for every pass.
pub trait Desired {
    /// One turn of the loop.
    fn pass(&self, mode: Mode, read: &dyn HostRead, write: &dyn HostWrite, now: &dyn Fn() -> Now) -> Report;
    /// When to look again although no bell rings, by what a pass has found.
    fn wake(&self, report: &Report, now: &Now) -> Option<jiff::Timestamp>;
    /// What a pass in mode `enforce` would do. Changes nothing, not even the agent's own memory.
    ///
    /// # Errors
    /// [`Unknown`] when the host cannot be judged.
    fn look(&self, read: &dyn HostRead, now: &Now) -> Result<Look, Unknown>;
    /// Gives the host back as it stood before the first apply, as far as the area itself can.
    ///
    /// # Errors
    /// [`Unknown`] when the host cannot be judged.
    fn lift(&self, read: &dyn HostRead, write: &dyn HostWrite) -> Result<Vec<Done>, Unknown>;
}

/// What a pass would do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Look {
    /// Steps and their hash.
    pub plan: PlanLines,
    /// What differs.
    pub findings: Vec<Finding>,
    /// What is under way.
    pub pending: Option<Pending>,
    /// Why the guard would not let the plan through.
    pub refusal: Option<Refusal>,
    /// What the host is.
    pub facts: serde_json::Value,
}

struct Compiled<A: AreaSpec>(A::Desired);

impl<A: AreaSpec> Desired for Compiled<A> {
    fn pass(&self, mode: Mode, read: &dyn HostRead, write: &dyn HostWrite, now: &dyn Fn() -> Now) -> Report {
        pass::<A>(&self.0, mode, read, write, now)
    }

    fn wake(&self, report: &Report, now: &Now) -> Option<jiff::Timestamp> {
        A::wake(&self.0, &report.facts_of::<A>()?, now)
    }

    fn look(&self, read: &dyn HostRead, now: &Now) -> Result<Look, Unknown> {
        let facts = A::observe(read, &self.0)?;
        let plan = A::plan(&self.0, &facts, now);
        let view = PlanLines {
            hash: plan_hash::<A>(&plan),
            steps: plan.steps.iter().map(ToString::to_string).collect(),
        };
        let (findings, pending) = (plan.findings.clone(), plan.pending.clone());
        let refusal = if plan.is_empty() { None } else { A::guard(&self.0, plan, &facts).err() };
        let facts = serde_json::to_value(&facts)
            .map_err(|e| Unknown { doing: "writing down the facts".into(), reason: e.to_string() })?;
        Ok(Look { plan: view, findings, pending, refusal, facts })
    }

    fn lift(&self, read: &dyn HostRead, write: &dyn HostWrite) -> Result<Vec<Done>, Unknown> {
        let facts = A::observe(read, &self.0)?;
        let plan = A::lift(&self.0, &facts);
        // Lifting takes away what Tenure holds; the guard speaks for what the policy wants, which no longer counts here.
        Ok(A::act(&Approved::by_guard(plan), write).done)
    }
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum;

    use super::*;

    #[test]
    fn every_area_under_the_laws_has_a_lane_and_no_other() {
        assert_eq!(Area::ALL.map(Area::word), tenure_areas::AREAS);
        assert_eq!(Area::value_variants(), Area::ALL);
    }
}
