//! `tenure root create`: the anchor that a person places on every machine. `tenure root show` reads one.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use jiff::{SignedDuration, Timestamp};
use tenure_trust::{
    FleetName, Kind, NamedKey, Role, RoleKeys, Root, RootVersion, Signed, SigningKey, Verified, neutral,
};

use crate::failure::Failure;
use crate::output::{Exit, Output};
use crate::passphrase::Source;
use crate::{clock, files, keyfile};

/// The longest life of a root, in days.
const LONGEST: u32 = 3660;

/// Arguments of `root`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Make the first root: which keys may sign what
    Create(Create),
    /// Show a root and check it
    Show {
        /// The root
        file: PathBuf,
    },
}

#[derive(Debug, clap::Args)]
struct Create {
    /// The fleet that it anchors
    #[arg(long)]
    fleet: FleetName,
    /// Public key that may sign roots; once for each
    #[arg(long, value_name = "PUB", required = true)]
    root_key: Vec<PathBuf>,
    /// How many of them must sign a root
    #[arg(long, default_value_t = 1)]
    root_threshold: u32,
    /// Public key that may sign policy; once for each
    #[arg(long, value_name = "PUB", required = true)]
    policy_key: Vec<PathBuf>,
    /// How many of them must sign a policy
    #[arg(long, default_value_t = 1)]
    policy_threshold: u32,
    /// Public key that may sign admissions of machines; once for each
    #[arg(long, value_name = "PUB")]
    admission_key: Vec<PathBuf>,
    /// How many of them must sign an admission
    #[arg(long, default_value_t = 1)]
    admission_threshold: u32,
    /// Public key that may sign orders (revoke, clear); once for each
    #[arg(long, value_name = "PUB")]
    order_key: Vec<PathBuf>,
    /// How many of them must sign an order
    #[arg(long, default_value_t = 1)]
    order_threshold: u32,
    /// Secret root key to sign with; once for each
    #[arg(long, value_name = "KEY", required = true)]
    key: Vec<PathBuf>,
    /// Days until it expires
    #[arg(long, default_value_t = 730, value_parser = clap::value_parser!(u32).range(1..=i64::from(LONGEST)))]
    days: u32,
    /// File to write
    #[arg(long, default_value = "root.json")]
    out: PathBuf,
    #[command(flatten)]
    passphrase: Source,
}

/// Makes or shows a root.
pub(crate) fn run(args: &Args, out: &mut Output) -> Result<Exit, Failure> {
    match &args.verb {
        Verb::Create(create) => make(create, out),
        Verb::Show { file } => {
            let root = read(file)?;
            show(&root, out);
            Ok(Exit::Clean)
        }
    }
}

/// Reads a root and checks it against its own threshold.
pub(crate) fn read(path: &Path) -> Result<Verified<Root>, Failure> {
    let bytes = files::read(path, Kind::Root.max_payload() as u64 * 2)?;
    Root::anchor(&bytes)
        .map_err(|refused| Failure::refused(format_args!("take the root {}", path.display()), &refused))
}

fn make(args: &Create, out: &mut Output) -> Result<Exit, Failure> {
    let issued = whole_seconds(clock::now());
    let expires = issued
        .checked_add(SignedDuration::from_hours(24 * i64::from(args.days)))
        .map_err(|error| Failure::new("compute when the root expires", &error))?;
    let mut roles = BTreeMap::from([
        (Role::Root, role(args.root_threshold, &args.root_key)?),
        (Role::Policy, role(args.policy_threshold, &args.policy_key)?),
    ]);
    // a role without keys is left out: then nobody may sign such a thing
    let others = [
        (Role::Admission, args.admission_threshold, &args.admission_key),
        (Role::Order, args.order_threshold, &args.order_key),
    ];
    for (name, threshold, keys) in others.into_iter().filter(|(_, _, keys)| !keys.is_empty()) {
        roles.insert(name, role(threshold, keys)?);
    }
    let root = Root { schema: 1, version: RootVersion(1), fleet: args.fleet.clone(), issued, expires, roles };
    let keys = args
        .key
        .iter()
        .enumerate()
        .map(|(number, path)| keyfile::open(path, &args.passphrase, number))
        .collect::<Result<Vec<SigningKey>, Failure>>()?;
    let signed = Signed::new(&root, &keys.iter().collect::<Vec<_>>());
    let root = Root::anchor_signed(&signed).map_err(|refused| Failure::refused("make the root", &refused))?;
    files::write_new(&args.out, format!("{}\n", signed.to_json()).as_bytes(), 0o644)?;
    show(&root, out);
    out.line(format_args!(
        "written {}; place it on every machine as /etc/tenure/trust/root.json",
        neutral(&args.out.display().to_string())
    ));
    Ok(Exit::Clean)
}

fn role(threshold: u32, paths: &[PathBuf]) -> Result<RoleKeys, Failure> {
    let keys = paths.iter().map(|path| keyfile::read_public(path)).collect::<Result<Vec<NamedKey>, _>>()?;
    Ok(RoleKeys { threshold, keys })
}

fn show(root: &Verified<Root>, out: &mut Output) {
    out.value(&serde_json::json!({ "root": root.value(), "hash": root.hash() }));
    out.line(format_args!(
        "root    {} of fleet {}, expires {}, hash {}",
        root.version,
        root.fleet,
        root.expires,
        root.hash().short()
    ));
    for (role, keys) in &root.roles {
        let names: BTreeSet<_> = keys.keys.iter().map(|named| named.name.as_str()).collect();
        let names = names.into_iter().collect::<Vec<_>>().join(", ");
        out.line(format_args!("{:<7} {} of {}: {names}", role.to_string(), keys.threshold, keys.keys.len()));
    }
}

/// Signed times are whole seconds: nobody needs more, and they are easier to read.
pub(crate) fn whole_seconds(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}
