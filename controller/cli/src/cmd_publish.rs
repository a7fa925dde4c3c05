//! `tenure publish`: brings what `tenure sign` wrote to the controller, which verifies it whole before it hands it on.

use std::collections::BTreeMap;
use std::path::PathBuf;

use hyper::Method;
use serde::{Deserialize, Serialize};
use tenure_trust::{HostName, neutral};

use crate::failure::Failure;
use crate::files;
use crate::output::{Exit, Output};
use crate::remote::Remote;

/// The JSON form of the largest envelope.
const LIMIT: u64 = 16 << 20;
/// What belongs to a signed set.
const ENDS: [&str; 3] = [".bundle.json", ".vault.json", ".duty.json"];

/// Arguments of `publish`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The directory that `tenure sign --out` wrote
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    #[command(flatten)]
    remote: Remote,
}

#[derive(Serialize, Deserialize)]
struct Published {
    version: Option<u64>,
    expires: Option<jiff::Timestamp>,
    hosts: Vec<HostName>,
    vaults: Vec<HostName>,
}

/// Reads and brings.
pub(crate) fn run(args: &Args, out: &mut Output) -> Result<Exit, Failure> {
    let doing = format!("publish {}", args.dir.display());
    let mut set = BTreeMap::new();
    let entries = std::fs::read_dir(&args.dir).map_err(|error| Failure::file("read", &args.dir, &error))?;
    for entry in entries {
        let path = entry.map_err(|error| Failure::file("read", &args.dir, &error))?.path();
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
        if name == "index.json" || ENDS.iter().any(|end| name.ends_with(end)) {
            let text = String::from_utf8(files::read(&path, LIMIT)?);
            let text = text.map_err(|error| Failure::new(format_args!("read {}", path.display()), &error))?;
            set.insert(name.to_owned(), text);
        }
    }
    if !set.contains_key("index.json") {
        let hint = "give the directory that `tenure sign --out` wrote";
        return Err(Failure::because(doing, "there is no index.json in it").hint(hint));
    }
    let body = serde_json::json!({ "files": set }).to_string().into_bytes();
    let published: Published = args.remote.send(&doing, Method::PUT, "/api/v1/policy", body)?;
    out.value(&published);
    let list = |names: &[HostName]| match names {
        [] => "none".to_owned(),
        some => some.iter().map(HostName::as_str).collect::<Vec<_>>().join(", "),
    };
    out.line(format_args!(
        "published version {} from {}, until {}",
        published.version.unwrap_or(0),
        neutral(&args.dir.display().to_string()),
        published.expires.map_or_else(|| "–".to_owned(), |until| until.to_string())
    ));
    out.line(format_args!("hosts {}; vaults {}", list(&published.hosts), list(&published.vaults)));
    Ok(Exit::Clean)
}
