//! `status`: what this controller holds, read beside the running one.

use std::path::Path;

use serde::Serialize;
use tenure_sys::clock;
use tenure_trust::{Arrival, Floor};

use crate::app::{NOT_HANDED_ON, Places, not_believed, read_root};
use crate::config::Config;
use crate::journal;
use crate::shelf::Set;
use crate::store::{Access, ChainHead, FindingRow, PolicyFiles, Store};

use super::output::Output;
use super::{Exit, Failure, block_on, who};

#[derive(Serialize)]
struct Status {
    host: String,
    policy: Option<u64>,
    /// Why the policy that is held is not handed on.
    policy_refused: Option<String>,
    records: u64,
    chains: Vec<ChainHead>,
    findings: Vec<FindingRow>,
}

/// Shows it.
pub(super) fn run(config: &Path, places: &Places, out: Output) -> Result<Exit, Failure> {
    let config = Config::read(config)?;
    who::become_owner(&places.state)?;
    let status = block_on(async {
        let store = Store::open(&places.state).await?;
        let held = store.policy(&Access::Local).await?;
        let policy = held.as_ref().map(|(_, floor)| floor.version.0);
        let policy_refused = held.and_then(|(files, floor)| refused(&config, places, files, &floor));
        let status = Status {
            host: config.host.to_string(),
            policy,
            policy_refused,
            records: store.record_count(&Access::Local).await?,
            chains: store.heads(&Access::Local).await?,
            findings: store.findings(&Access::Local, None).await?,
        };
        store.close().await;
        Ok(status)
    })?;
    let version = status.policy.map_or("none".into(), |version| format!("version {version}"));
    out.line(&format!("controller {}   policy {version}   {} records", status.host, status.records));
    if let Some(refused) = &status.policy_refused {
        out.line(&format!("{refused}; {NOT_HANDED_ON}"));
    }
    for chain in &status.chains {
        out.line(&format!(
            "{} ({})   epoch {}   record {}   received {}",
            chain.machine, chain.role, chain.epoch, chain.seq, chain.received_at
        ));
    }
    for finding in &status.findings {
        out.line(&format!(
            "finding   {} ({})   {}   {}   {} times, last {}",
            finding.machine, finding.role, finding.kind, finding.what, finding.count, finding.last_at
        ));
    }
    out.document(&status);
    Ok(Exit::Clean)
}

/// Why the set that is held is not handed on by a controller under the root that stands there now.
fn refused(config: &Config, places: &Places, files: PolicyFiles, floor: &Floor) -> Option<String> {
    match read_root(&places.root) {
        Ok((root, _)) => Set::verify(&root, floor, Arrival::Held, clock::wall(), &config.host, files)
            .err()
            .map(|refused| not_believed(floor, &refused)),
        Err(error) => Some(journal::chain(&error)),
    }
}
