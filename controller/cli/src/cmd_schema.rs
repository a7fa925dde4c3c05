//! `tenure schema`: the JSON Schema of the policy language, for editors.

use crate::failure::Failure;
use crate::output::{Exit, Output};

/// Arguments of `schema`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

/// Prints it.
pub(crate) fn run(_: &Args, out: &mut Output) -> Result<Exit, Failure> {
    out.product(format_args!("{:#}\n", tenure_policy::schema::json_schema()));
    Ok(Exit::Clean)
}
