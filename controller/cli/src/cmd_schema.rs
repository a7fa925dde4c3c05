//! `tenure schema`: the policy language for editors (JSON Schema) or for people (every key as a page).

use tenure_policy::{reference, schema};

use crate::failure::Failure;
use crate::output::{Exit, Output};

/// Arguments of `schema`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Print every key with its meaning as Markdown instead
    #[arg(long)]
    reference: bool,
}

/// Prints it.
pub(crate) fn run(args: &Args, out: &mut Output) -> Result<Exit, Failure> {
    match args.reference {
        true => out.product(reference::reference()),
        false => out.product(format_args!("{:#}\n", schema::json_schema())),
    }
    Ok(Exit::Clean)
}
