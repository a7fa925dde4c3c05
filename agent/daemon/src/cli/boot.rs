//! `boot`: before the network is up, the last confirmed ruleset by its hash, else the baseline; no daemon, no lock, no
//! waiting. A host that never confirmed a ruleset is left as it is.

use std::path::Path;

use tenure_areas::firewall::boot::{Boot, choose};
use tenure_areas::firewall::state::{CONFIRMED, ENFORCED};
use tenure_areas::port::{Beneath, Command, HostRead, HostWrite, Owner, PortError, PortResult};
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
    let first = choose(confirmed, enforced, section.as_ref());
    let line = load(&host, first, &|why| choose(Err(why), true, section.as_ref()), out).map_err(|e| {
        Failure::of("cannot load the ruleset", &e).hint(
            "the host has no packet filter of Tenure's now; `tenure-agent run` tries again when it starts",
        )
    })?;
    out.line(&line);
    Ok(Exit::Clean)
}

/// Loads what was chosen; a confirmed ruleset that the kernel does not take is answered with what `instead` chooses.
fn load(
    host: &dyn HostWrite,
    chosen: Boot,
    instead: &dyn Fn(String) -> Boot,
    out: Output,
) -> PortResult<String> {
    match chosen {
        Boot::Nothing => Ok("no ruleset was ever confirmed on this host: nothing is loaded".into()),
        Boot::Baseline { json, why } => {
            out.warning(&why);
            host.tell(&Command::NftLoad { json })?;
            Ok("loaded the baseline".into())
        }
        Boot::Confirmed { number, json } => match host.tell(&Command::NftLoad { json }) {
            Ok(()) => Ok(format!("loaded the confirmed ruleset g{number}")),
            Err(e) => {
                let fallback = instead(format!("g{number} does not load: {e}"));
                if matches!(fallback, Boot::Baseline { .. }) {
                    return load(host, fallback, &|_| Boot::Nothing, out);
                }
                Err(e)
            }
        },
    }
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

#[cfg(test)]
mod tests {
    use tenure_areas::fake::FakeHost;

    use super::*;

    #[test]
    fn a_confirmed_ruleset_that_does_not_load_is_answered_with_the_baseline() {
        let host = FakeHost::debian();
        let broken = Boot::Confirmed { number: 7, json: "{}".into() };
        let line =
            load(&host, broken, &|why| choose(Err(why), true, None), Output { json: false, quiet: true });
        assert_eq!(line.as_deref(), Ok("loaded the baseline"));
        assert!(host.reaches("192.0.2.77", 22) && !host.reaches("192.0.2.77", 443));
    }
}
