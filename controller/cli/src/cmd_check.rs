//! `tenure check SET`: is this policy set whole, and does it keep what it promises? Every fault at once.

use std::path::PathBuf;

use crate::failure::Failure;
use crate::output::{Exit, Output};
use crate::set_files;

/// Arguments of `check`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The policy's file, or its directory
    #[arg(value_name = "SET", default_value = ".")]
    set: PathBuf,
}

/// Checks the set; 78 when something is wrong.
pub(crate) fn run(args: &Args, out: &mut Output) -> Result<Exit, Failure> {
    let files = set_files::load(&args.set)?;
    match tenure_policy::read(&files) {
        Ok(written) => {
            let (files, tests) = (files.len(), written.tests.len());
            out.value(&serde_json::json!({ "faults": [], "files": files, "tests": tests }));
            out.line(format_args!("{}, {}", count(files, "file"), count(tests, "test")));
            Ok(Exit::Clean)
        }
        Err(faults) => {
            out.value(&serde_json::json!({ "faults": faults }));
            for fault in &faults {
                out.fault(fault);
            }
            out.fault(format_args!("{} in {}", count(faults.len(), "fault"), count(files.len(), "file")));
            Ok(Exit::Config)
        }
    }
}

/// `1 file`, `2 files`.
fn count(number: usize, word: &str) -> String {
    format!("{number} {word}{}", if number == 1 { "" } else { "s" })
}
