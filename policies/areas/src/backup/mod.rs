//! Area `backup`: copies of what the policy names, at their times, in the vault. This area decides which run begins; the
//! run itself is a job (`tenure-agent job RUN`), seen by later passes as under way.
//!
//! What became of slots is Tenure's own memory ([`LEDGER`]), written in every mode.

mod clearing;
mod events;
pub mod facts;
pub mod journal;
mod observe;
mod plan;
pub mod schedule;
pub mod spec;
mod told;

use serde::Serialize;
use tenure_policy::bundles::BackupSection;
use tenure_policy::calendar::Zone;
use tenure_policy::resolved::HostPolicy;
use tenure_trust::{FleetName, RunId, SlotId};

use crate::area::{ActReport, Approved, AreaSpec, Done, Now, Plan, Refusal, Unknown};
use crate::port::{Command, HostRead, HostWrite, ManagedFile, ManagedPath, PortResult};
pub use events::events;
pub use facts::Facts;
pub use observe::NAMES;
pub use plan::{JOB_LIMIT, run_id};
use spec::JobSpec;
pub use told::{remembered, told};

/// What became of slots.
pub const LEDGER: &str = "/var/lib/tenure/backup/ledger.json";
/// What people asked for, a file each.
pub const REQUESTS: &str = "/var/lib/tenure/backup/requests";
/// What drills found, a file each.
pub const DRILL_DIR: &str = "/var/lib/tenure/backup/drills";

/// The area.
#[derive(Debug, Clone, Copy)]
pub struct Backup;

/// The area's section with what the schedule and the seals need of the policy around it.
#[derive(Debug, Clone)]
pub struct Scheduled {
    /// The fleet.
    pub fleet: FleetName,
    /// The zone's name, as the policy has it.
    pub timezone: String,
    /// The zone.
    pub zone: Zone,
    /// What is backed up.
    pub section: BackupSection,
}

impl Scheduled {
    /// Of a host's policy; none when it backs nothing up. A zone that this release does not know counts as UTC: signing
    /// refuses such a policy.
    pub fn of(policy: &HostPolicy) -> Option<Self> {
        let section = policy.backup.clone()?;
        let zone = Zone::named(&policy.timezone).unwrap_or_else(|_| Zone::utc());
        Some(Self { fleet: policy.fleet.clone(), timezone: policy.timezone.clone(), zone, section })
    }
}

/// What the area does to a host.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Step {
    /// A job begins.
    Start {
        /// Its run.
        run: RunId,
        /// The slot that it fills.
        slot: SlotId,
        /// A run that was interrupted goes on.
        resume: bool,
        /// Who asked, when a person did.
        request: Option<RunId>,
        /// What it is given; none when the policy lacks what it needs, which the guard refuses.
        spec: Option<Box<JobSpec>>,
    },
    /// A request that nobody could begin is given up.
    Drop {
        /// Which.
        request: RunId,
    },
    /// The files of a run that has ended are removed; the memory knows what became of it.
    Clear {
        /// Which.
        run: RunId,
    },
}

impl Step {
    fn start(desired: &Scheduled, run: RunId, slot: SlotId, request: Option<RunId>, resume: bool) -> Self {
        let spec = JobSpec::of(desired, run.clone(), slot.clone(), request.clone()).map(Box::new);
        Self::Start { run, slot, resume, request, spec }
    }

    fn begins(&self) -> Option<(&RunId, &SlotId, Option<&JobSpec>)> {
        match self {
            Self::Start { run, slot, spec, .. } => Some((run, slot, spec.as_deref())),
            Self::Drop { .. } | Self::Clear { .. } => None,
        }
    }

    fn carry_out(&self, host: &dyn HostWrite) -> PortResult<()> {
        match self {
            Self::Start { run, resume, request, spec, .. } => {
                // What an interrupted run was given stays as it was.
                if let (false, Some(spec)) = (resume, spec) {
                    let bytes = serde_json::to_vec(spec).expect("plain data has a JSON form");
                    host.put(&ManagedFile {
                        path: ManagedPath::new(JobSpec::path(run))?,
                        bytes,
                        mode: 0o600,
                    })?;
                }
                host.tell(&Command::StartJob { run: run.clone() })?;
                request.iter().try_for_each(|request| remove_request(host, request))
            }
            Self::Drop { request } => remove_request(host, request),
            Self::Clear { run } => {
                // The specification last: without it nobody looks at the journal.
                host.remove(&ManagedPath::new(JobSpec::journal(run))?)?;
                host.remove(&ManagedPath::new(JobSpec::path(run))?)
            }
        }
    }
}

fn remove_request(host: &dyn HostWrite, request: &RunId) -> PortResult<()> {
    host.remove(&ManagedPath::new(format!("{REQUESTS}/{request}.json"))?)
}

impl std::fmt::Display for Step {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Start { slot, resume: true, .. } => write!(f, "go on with the backup {slot}"),
            Self::Start { slot, .. } => write!(f, "begin the backup {slot}"),
            Self::Drop { request } => write!(f, "give up the request {request}"),
            Self::Clear { run } => write!(f, "remove the files of the run {run}"),
        }
    }
}

impl AreaSpec for Backup {
    const NAME: &'static str = "backup";
    type Section = Scheduled;
    type Desired = Scheduled;
    type Facts = Facts;
    type Step = Step;

    fn desired(section: &Scheduled) -> Scheduled {
        section.clone()
    }
    fn observe(host: &dyn HostRead, desired: &Scheduled) -> Result<Facts, Unknown> {
        observe::observe(host, desired)
    }
    fn plan(desired: &Scheduled, facts: &Facts, now: &Now) -> Plan<Step> {
        plan::plan(desired, facts, now.wall)
    }
    fn guard(desired: &Scheduled, plan: Plan<Step>, facts: &Facts) -> Result<Approved<Step>, Refusal> {
        plan::guard(desired, plan, facts)
    }
    fn memory(desired: &Scheduled, facts: &Facts, now: &Now) -> Vec<ManagedFile> {
        plan::memory(desired, facts, now.wall)
    }
    fn act(approved: &Approved<Step>, host: &dyn HostWrite) -> ActReport {
        let mut report = ActReport::default();
        for step in &approved.plan().steps {
            let error = step.carry_out(host).err().map(|e| e.to_string());
            let failed = error.is_some();
            report.done.push(Done { step: step.to_string(), error });
            if failed {
                break;
            }
        }
        report
    }
    fn wake(desired: &Scheduled, facts: &Facts, now: &Now) -> Option<jiff::Timestamp> {
        plan::wake(desired, facts, now.wall)
    }
    fn lift(_: &Scheduled, _: &Facts) -> Plan<Step> {
        // Copies in the vault are not this host's to take back.
        Plan { steps: Vec::new(), findings: Vec::new(), pending: None }
    }
}

#[cfg(test)]
mod outage_tests;
#[cfg(test)]
pub(crate) mod samples;
#[cfg(test)]
pub(crate) mod tests;
