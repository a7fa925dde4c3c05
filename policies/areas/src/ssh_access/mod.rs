//! Area `ssh_access`: who logs in by SSH, as whom, from where. Keys lie in a directory of root's, a drop-in that
//! sshd reads first closes every other way, and what counts is what sshd itself says for each account and address.

pub mod accounts;
mod act;
pub mod beside;
pub mod config;
pub mod effective;
pub mod facts;
mod guard;
mod include;
pub mod journal;
pub mod keys;
pub mod matrix;
mod observe;
pub mod others;
mod plan;
mod questions;
pub mod render;
pub mod state;
pub mod step;
mod trial;

use tenure_policy::resolved::SshAccessSection;

use crate::area::{ActReport, Approved, AreaSpec, Look, Now, Plan, Refusal, Unknown};
use crate::port::{HostRead, HostWrite};
pub use facts::Facts;
pub use step::Step;

/// Our drop-in. sshd takes the first value that it meets, so its name sorts first.
pub const DROP_IN: &str = "/etc/ssh/sshd_config.d/00-tenure.conf";
/// The directory of key files, one per account. Readable by all (0755, files 0644): sshd reads as the account.
pub const KEYS: &str = "/etc/ssh/tenure/keys";
/// What stood at our places before the first change, for `lift`.
pub const BEFORE: &str = "/var/lib/tenure/before/ssh_access.json";
/// The hash of the drop-in with which sshd was last told to read its configuration.
pub const RELOADED: &str = "/var/lib/tenure/ssh_access/reloaded";

/// The area.
#[derive(Debug, Clone, Copy)]
pub struct SshAccess;

/// What the host should be: the section; what of it holds at a time is decided by `plan`, because logins end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Desired {
    /// The policy's section.
    pub section: SshAccessSection,
}

impl AreaSpec for SshAccess {
    const NAME: &'static str = "ssh_access";
    type Section = SshAccessSection;
    type Desired = Desired;
    type Facts = Facts;
    type Step = Step;

    fn desired(section: &SshAccessSection) -> Desired {
        Desired { section: section.clone() }
    }
    fn observe(host: &dyn HostRead, desired: &Desired) -> Result<Facts, Unknown> {
        observe::observe(host, desired)
    }
    fn first_look(host: &dyn HostRead, desired: &Desired) -> Result<Look<Facts>, Unknown> {
        observe::first_look(host, desired)
    }
    fn plan(desired: &Desired, facts: &Facts, now: &Now) -> Plan<Step> {
        plan::passable(trial::plan(desired, facts, now), facts)
    }
    fn guard(desired: &Desired, plan: Plan<Step>, facts: &Facts) -> Result<Approved<Step>, Refusal> {
        guard::guard(desired, plan, facts)
    }
    fn act(approved: &Approved<Step>, host: &dyn HostWrite) -> ActReport {
        act::act(&approved.plan().steps, host)
    }
    fn lift(_: &Desired, facts: &Facts) -> Plan<Step> {
        plan::lift(facts)
    }
}

#[cfg(test)]
mod crash_tests;
#[cfg(test)]
mod first_look_tests;
#[cfg(test)]
mod planted_tests;
#[cfg(test)]
pub(crate) mod tests;
#[cfg(test)]
mod trial_tests;
