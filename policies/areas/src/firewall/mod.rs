//! The area `firewall`: one table `inet tenure`, default drop both ways, changed by a trial that the kernel itself ends.
//! `docs/FIREWALL.md` has the proved sequence. Pure: compiles, compares, decides and proves; ports read and act.

pub mod boot;
pub mod compile;
pub mod cut;
mod describe;
pub mod evaluate;
pub mod facts;
mod findings;
mod fixed;
pub mod guard;
pub mod in_force;
pub mod listing;
pub mod nft;
mod observe;
mod plan;
pub mod state;
pub mod step;
pub mod table;
pub mod transaction;

use tenure_policy::resolved::FirewallSection;

pub use compile::{CompileError, HostBits, compile};
pub use facts::Facts;
pub use step::{Action, Purpose, Step};
pub use table::Table;

use crate::area::{ActReport, Approved, AreaSpec, Done, Finding, Now, Plan, Refusal, Unknown};
use crate::port::{HostRead, HostWrite};

/// The area.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Firewall;

impl AreaSpec for Firewall {
    const NAME: &'static str = "firewall";
    type Section = FirewallSection;
    /// The section itself: compiling it needs the host's uids, which are facts.
    type Desired = FirewallSection;
    type Facts = Facts;
    type Step = Step;

    fn desired(section: &FirewallSection) -> FirewallSection {
        section.clone()
    }

    fn observe(host: &dyn HostRead, desired: &FirewallSection) -> Result<Facts, Unknown> {
        observe::observe(host, desired)
    }

    fn plan(desired: &FirewallSection, facts: &Facts, now: &Now) -> Plan<Step> {
        plan::plan(desired, facts, now)
    }

    fn guard(desired: &FirewallSection, plan: Plan<Step>, facts: &Facts) -> Result<Approved<Step>, Refusal> {
        if plan.steps.iter().any(|step| step.purpose == Purpose::Load) {
            let table = compile(desired, &facts.host).map_err(|error| Refusal {
                kind: "not-compiled".into(),
                rule: error.rule(),
                what: error.to_string(),
                hint: error.hint().into(),
            })?;
            guard::management_stays(desired, &table, facts.ssh_ports.as_deref().unwrap_or(&[]))?;
        }
        if plan.steps.iter().any(|step| step.purpose == Purpose::Baseline) {
            guard::baseline_stays(desired, facts.ssh_ports.as_deref().unwrap_or(&[]))?;
        }
        Ok(Approved::by_guard(plan))
    }

    fn act(approved: &Approved<Step>, host: &dyn HostWrite) -> ActReport {
        let mut report = ActReport::default();
        for step in &approved.plan().steps {
            let error = step.carry_out(host).err().map(|error| error.to_string());
            let failed = error.is_some();
            report.done.push(Done { step: step.line.clone(), error });
            if failed {
                break;
            }
        }
        report
    }

    fn lift(_desired: &FirewallSection, facts: &Facts) -> Plan<Step> {
        let mut steps = Vec::new();
        if facts.own != facts::Own::Absent {
            let line = "take table inet tenure away; nothing of others is touched";
            steps.push(Step::load(Purpose::Lift, line, transaction::lift()));
        } else if facts.foreign.iter().any(facts::ForeignChain::is_warm_up) {
            steps.push(Step::load(Purpose::Lift, step::COOL, transaction::cool()));
        }
        let kept = [
            (facts.trial.is_some(), state::TRIAL),
            (facts.next, state::NEXT),
            (facts.confirm.is_some(), state::CONFIRM),
            (facts.refused.is_some(), state::REFUSED),
            (facts.restores.is_some(), state::RESTORES),
            (facts.enforced, state::ENFORCED),
            (facts.confirmed.is_some(), state::CONFIRMED),
        ];
        steps.extend(kept.into_iter().filter(|(there, _)| *there).map(|(_, path)| Step::remove(path)));
        Plan { steps, findings: Vec::<Finding>::new(), pending: None }
    }
}

#[cfg(test)]
pub(crate) mod crash_tests;
#[cfg(test)]
mod full_disk_tests;
#[cfg(test)]
mod plan_tests;
#[cfg(test)]
pub(crate) mod samples;
