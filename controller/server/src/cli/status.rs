//! `status`: what this controller holds, read beside the running one.

use std::path::Path;

use serde::Serialize;

use super::output::Output;
use super::{Exit, Failure, block_on, who};
use crate::app::Places;
use crate::config::Config;
use crate::store::{Access, ChainHead, FindingRow, Store};

#[derive(Serialize)]
struct Status {
    host: String,
    policy: Option<u64>,
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
        let policy = store.policy(&Access::Local).await?.map(|(_, floor)| floor.version.0);
        let status = Status {
            host: config.host.to_string(),
            policy,
            records: store.record_count(&Access::Local).await?,
            chains: store.heads(&Access::Local).await?,
            findings: store.findings(&Access::Local, None).await?,
        };
        store.close().await;
        Ok(status)
    })?;
    let version = status.policy.map_or("none".into(), |version| format!("version {version}"));
    out.line(&format!("controller {}   policy {version}   {} records", status.host, status.records));
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
