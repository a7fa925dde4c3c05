//! `tenure explain HOST [KEY]`: the resolved values of a host, where each comes from and why.

use std::path::PathBuf;

use tenure_policy::Set;
use tenure_policy::fault::harmless;
use tenure_policy::resolve::Explained;
use tenure_trust::HostName;

use crate::failure::Failure;
use crate::output::{Exit, Output};
use crate::set_files;

/// Arguments of `explain`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The host, by its name in the policy
    host: HostName,
    /// The value, or the beginning of its name: firewall.inbound, access.logins, patch; left out: all
    #[arg(default_value = "")]
    key: String,
    /// The policy's file, or its directory
    #[arg(long, value_name = "SET", default_value = ".")]
    policy: PathBuf,
}

/// Explains; 78 when the set has faults.
pub(crate) fn run(args: &Args, out: &mut Output) -> Result<Exit, Failure> {
    let files = set_files::load(&args.policy)?;
    let doing =
        || format!("explain {} of {}", if args.key.is_empty() { "everything" } else { &args.key }, args.host);
    let set = match tenure_policy::load_standalone(&files) {
        Ok(set) => set,
        Err(faults) => {
            out.value(&serde_json::json!({ "faults": faults }));
            for fault in &faults {
                out.fault(fault);
            }
            return Ok(Exit::Config);
        }
    };
    let Some(found) = set.explain(&args.host, &args.key) else {
        return Err(
            Failure::because(doing(), format!("the policy has no host {}", args.host)).hint(hosts(&set))
        );
    };
    if found.is_empty() {
        let all = set.explain(&args.host, "").unwrap_or_default();
        return Err(Failure::because(doing(), "nothing resolved has this name").hint(keys(&all)));
    }
    out.value(&serde_json::json!({ "answers_from": "policy", "host": args.host, "values": found }));
    out.line(format_args!("from policy {}, not from what is live on {}", args.policy.display(), args.host));
    let width = found.iter().map(|entry| entry.key.chars().count()).max().unwrap_or(0);
    for entry in &found {
        out.line(format_args!("{:width$}  {}", harmless(&entry.key), harmless(&entry.value)));
        out.line(format_args!("{:width$}  {}  {}", "", entry.origin, harmless(&entry.reason)));
    }
    Ok(Exit::Clean)
}

fn hosts(set: &Set) -> String {
    let names: Vec<&str> = set.hosts().take(20).map(HostName::as_str).collect();
    format!("hosts are: {}", names.join(", "))
}

/// The first two words of every key, each once.
fn keys(all: &[Explained]) -> String {
    let mut keys: Vec<String> =
        all.iter().map(|entry| entry.key.splitn(3, '.').take(2).collect::<Vec<_>>().join(".")).collect();
    keys.dedup();
    format!("values are: {}", keys.join(", "))
}
