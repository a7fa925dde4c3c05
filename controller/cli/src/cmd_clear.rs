//! `tenure clear`: a person has looked at a copy that a vault set aside, and orders that it be taken. The order is signed
//! here, and the vault alone judges and carries it out, once.

use std::collections::BTreeSet;
use std::path::PathBuf;

use hyper::Method;
use jiff::SignedDuration;
use tenure_obligations::view::BackupsView;
use tenure_trust::order::{MAX_ORDERS, MAX_REASON, verify_clear};
use tenure_trust::{
    FleetName, GenerationId, Order, OrderKind, OrderList, SeriesId, Signed, Statement, VaultName, neutral,
};

use crate::cmd_admit::Keys;
use crate::cmd_root::{self, whole_seconds};
use crate::failure::Failure;
use crate::output::{Exit, Output};
use crate::remote::Remote;
use crate::{clock, files};

/// The most bytes of a list: 4 KiB for each order.
const LIST: u64 = (MAX_ORDERS as u64) * 4096;

/// Arguments of `clear`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Whose copies: OWNER/HOST/SET, as `tenure backups` names them where a copy was set aside
    series: String,
    /// Which copy: DATE.NUMBER
    generation: GenerationId,
    /// Why it is to be taken as it is, in your words
    #[arg(long, value_name = "TEXT")]
    reason: String,
    /// The vault that holds it; without it the one that the controller knows
    #[arg(long, value_name = "NAME")]
    vault: Option<VaultName>,
    /// For so many days the order may be carried out
    #[arg(long, value_name = "DAYS", default_value_t = 7, value_parser = clap::value_parser!(u8).range(1..=31))]
    days: u8,
    /// The root that the vault has: says at once whether it will obey
    #[arg(long, value_name = "FILE")]
    root: Option<PathBuf>,
    /// Do not bring it to the controller: add it to this list, to be carried into the vault's drop directory as
    /// orders.json
    #[arg(long, value_name = "FILE", requires = "vault", requires = "root")]
    out: Option<PathBuf>,
    #[command(flatten)]
    keys: Keys,
    #[command(flatten)]
    remote: Remote,
}

/// Signs, brings.
pub(crate) fn run(args: &Args, out: &mut Output) -> Result<Exit, Failure> {
    let doing = format!("clear {} {}", args.series, args.generation);
    if args.reason.trim().is_empty() || args.reason.len() > MAX_REASON {
        let why = format!("--reason has 1 to {MAX_REASON} bytes");
        return Err(Failure::because(doing, why).exit(Exit::Usage));
    }
    let root = args.root.as_deref().map(cmd_root::read).transpose()?;
    let (fleet, vault) = match (&root, &args.vault) {
        (Some(root), Some(vault)) => (root.fleet.clone(), vault.clone()),
        _ => known(args, &doing)?,
    };
    let series = series(args, vault.clone(), &doing)?;
    let now = whole_seconds(clock::now());
    let until = now + SignedDuration::from_hours(24 * i64::from(args.days));
    let what =
        OrderKind::Clear { vault: vault.clone(), series: series.path(), generation: args.generation, until };
    let order = Order { schema: Order::SCHEMA, fleet, issued: now, what, reason: args.reason.clone() };
    let signed = args.keys.sign(&order)?;
    let text = signed.to_json();
    if let Some(root) = &root {
        verify_clear(root, Some(&vault), now, text.as_bytes())
            .map_err(|why| Failure::refused(&doing, &why))?;
    }
    bring(args, &signed, text, &doing)?;
    out.value(&serde_json::json!({
        "vault": vault, "series": series.path(), "generation": args.generation.to_string(), "until": until,
        "order": signed.hash(),
    }));
    let place = match &args.out {
        Some(path) => {
            format!(", in {}, for the drop directory of {vault}", neutral(&path.display().to_string()))
        }
        None => String::new(),
    };
    out.line(format_args!(
        "ordered {vault} to take {} {} as the copy of its weekday in place of the one before, until {until}{place}",
        series.path(),
        args.generation
    ));
    Ok(Exit::Clean)
}

fn series(args: &Args, vault: VaultName, doing: &str) -> Result<SeriesId, Failure> {
    SeriesId::from_path(vault, &args.series).map_err(|error| Failure::new(doing, &error).exit(Exit::Usage))
}

/// Fleet and vault as the controller has them. That it names another vault than the one that holds the copy leads to an
/// order that nobody carries out.
fn known(args: &Args, doing: &str) -> Result<(FleetName, VaultName), Failure> {
    let view: BackupsView = args.remote.get(doing, "/api/v1/backups")?;
    if let Some(vault) = &args.vault {
        return Ok((view.head.fleet, vault.clone()));
    }
    let vaults: BTreeSet<&VaultName> = view
        .backups
        .rows
        .iter()
        .filter(|row| {
            let id = SeriesId::from_path(row.vault.clone(), &args.series);
            id.is_ok_and(|id| (&id.owner, &id.host) == (&row.owner, &row.host))
        })
        .map(|row| &row.vault)
        .collect();
    match vaults.iter().collect::<Vec<_>>().as_slice() {
        [vault] => Ok((view.head.fleet.clone(), (**vault).clone())),
        [] => {
            let hint =
                "`tenure backups` lists what is expected; `tenure-vault generations` what a vault holds";
            Err(Failure::because(doing, "the controller knows no such series").hint(hint))
        }
        _ => Err(Failure::because(doing, "several vaults hold copies of it").hint("give --vault NAME")),
    }
}

fn bring(args: &Args, signed: &Signed<Order>, text: String, doing: &str) -> Result<(), Failure> {
    let Some(path) = &args.out else {
        let told = args.remote.send(doing, Method::POST, "/api/v1/orders", text.into_bytes());
        return told.map(|_: serde_json::Value| ());
    };
    let mut list = match files::read_if_there(path, LIST)? {
        None => OrderList::default(),
        Some(bytes) => serde_json::from_slice(&bytes).map_err(|error| {
            let doing = format!("read the list of orders {}", path.display());
            Failure::new(doing, &error).hint("name a list that `tenure clear --out` wrote, or a new file")
        })?,
    };
    let held =
        |text: &String| Signed::<Order>::parse(text.as_bytes()).is_ok_and(|s| s.hash() == signed.hash());
    if !list.orders.iter().any(held) {
        list.orders.push(text);
    }
    if list.orders.len() > MAX_ORDERS {
        let why = format!("the list has {MAX_ORDERS} orders, and a vault looks at no more");
        return Err(
            Failure::because(doing, why).hint("begin a new list: those that were carried out are done")
        );
    }
    let bytes = serde_json::to_vec(&list).map_err(|error| Failure::new(doing, &error))?;
    files::replace(path, &bytes, 0o644)
}
