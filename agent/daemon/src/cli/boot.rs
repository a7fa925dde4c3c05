//! `boot`: before the network is up, the last confirmed ruleset by its hash, else the baseline; no daemon, no lock, no
//! waiting. A host that never confirmed a ruleset is left as it is.

use std::path::Path;

use tenure_areas::firewall::boot::{Boot, choose};
use tenure_areas::firewall::state::{CONFIRMED, ENFORCED};
use tenure_areas::port::{Beneath, Command, HostRead, HostWrite, Owner, PortError};
use tenure_link::{BundleStore, Places};
use tenure_policy::resolved::{FirewallSection, HostPolicy};
use tenure_sys::clock;

use super::{Exit, Failure};
use crate::config::Config;
use crate::linux::{ChangeLog, LinuxHost};
use crate::output::Output;
use crate::paths::Paths;

/// Largest confirmed ruleset that is read, in bytes.
const LIMIT: usize = 16 << 20;

/// Loads what there is to load.
pub(super) fn boot(config: &Path, out: Output) -> Result<Exit, Failure> {
    let host = LinuxHost::new(ChangeLog::new());
    let confirmed = match host.file(&beneath(CONFIRMED), Owner::Root, LIMIT) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(PortError::Absent { .. }) => Ok(None),
        Err(e) => Err(e.to_string()),
    };
    // A mark that cannot be looked at counts: in doubt the host boots closed.
    let enforced = !matches!(host.stat(&beneath(ENFORCED)), Err(PortError::Absent { .. }));
    let section = section(config);
    let (json, line) = match choose(confirmed, enforced, section.as_ref()) {
        Boot::Confirmed { number, json } => (json, format!("loaded the confirmed ruleset g{number}")),
        Boot::Baseline { json, why } => {
            out.warning(&why);
            (json, "loaded the baseline".into())
        }
        Boot::Nothing => {
            out.line("no ruleset was ever confirmed on this host: nothing is loaded");
            return Ok(Exit::Clean);
        }
    };
    host.tell(&Command::NftLoad { json }).map_err(|e| {
        Failure::of("cannot load the ruleset", &e).hint(
            "the host has no packet filter of Tenure's now; `tenure-agent run` tries again when it starts",
        )
    })?;
    out.line(&line);
    Ok(Exit::Clean)
}

/// The firewall section of the last policy that was taken; the baseline needs it to know the management networks.
fn section(config: &Path) -> Option<FirewallSection> {
    let config = Config::read(config).ok()?;
    let paths = Paths::of_host();
    let places = Places { root: paths.root, state: paths.state };
    let store = BundleStore::open(&places, config.host).ok()?;
    let held = store.held::<HostPolicy>(clock::wall()).ok()??;
    held.value().firewall.clone()
}

fn beneath(path: &str) -> Beneath {
    let (root, name) = path.rsplit_once('/').unwrap_or(("/", path));
    Beneath::new(root, name)
}
