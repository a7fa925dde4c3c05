//! What a job is given: everything that it must know, written down before it starts, so that it needs no policy.

use serde::{Deserialize, Serialize};
use tenure_policy::bundles::{DatabasePlace, SeriesSection, VaultPlace};
use tenure_policy::scalars::{AbsolutePath, SqlName};
use tenure_trust::{FleetName, RunId, SlotId};

use super::Scheduled;

/// The directory of jobs: `RUN.json`, `RUN.jsonl` and the lock of the one that runs.
pub const JOBS: &str = "/var/lib/tenure/jobs";
/// The largest specification that is read.
pub const SPEC_LIMIT: usize = 1 << 20;

/// One run of one slot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JobSpec {
    /// The run.
    pub run: RunId,
    /// Which slot it fills.
    pub slot: SlotId,
    /// Who asked, when it was a person.
    pub request: Option<RunId>,
    /// The fleet.
    pub fleet: FleetName,
    /// IANA zone of the policy.
    pub timezone: String,
    /// What belongs to the series.
    pub series: SeriesSection,
    /// Where its vault is.
    pub vault: VaultPlace,
    /// The databases that its dumps name.
    pub databases: std::collections::BTreeMap<SqlName, DatabasePlace>,
    /// Every database that some series of this host dumps: others on the host make a server set incomplete.
    pub dumped: Vec<DatabasePlace>,
    /// Places of other owners, to be left out by device and inode too.
    pub foreign: Vec<AbsolutePath>,
    /// age recipients of the generation's password.
    pub recipients: Vec<String>,
    /// Bytes a second, where limited.
    pub upload_bytes_per_second: Option<u64>,
}

impl JobSpec {
    /// What a job of this slot is given; none when the section lacks what it needs, which the guard says.
    pub fn of(scheduled: &Scheduled, run: RunId, slot: SlotId, request: Option<RunId>) -> Option<Self> {
        let section = &scheduled.section;
        let series = section.series.iter().find(|s| s.series == slot.series)?.clone();
        let vault = section.vaults.get(&slot.series.vault)?.clone();
        let named = series
            .dumps
            .iter()
            .map(|d| Some((d.database.clone(), section.databases.get(&d.database)?.clone())));
        let databases = named.collect::<Option<_>>()?;
        let others = section.series.iter().filter(|s| s.series.owner != slot.series.owner);
        let mut foreign: Vec<AbsolutePath> = others.flat_map(|s| s.paths.iter().cloned()).collect();
        foreign.retain(|path| !series.paths.contains(path));
        foreign.sort();
        foreign.dedup();
        Some(Self {
            run,
            slot,
            request,
            fleet: scheduled.fleet.clone(),
            timezone: scheduled.timezone.clone(),
            series,
            vault,
            databases,
            dumped: section.databases.values().cloned().collect(),
            foreign,
            recipients: section.recipients.clone(),
            upload_bytes_per_second: section.upload_bytes_per_second,
        })
    }

    /// Where the specification of a run stands.
    pub fn path(run: &RunId) -> String {
        format!("{JOBS}/{run}.json")
    }

    /// Where its journal stands.
    pub fn journal(run: &RunId) -> String {
        format!("{JOBS}/{run}.jsonl")
    }
}
