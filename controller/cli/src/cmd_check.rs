//! `tenure check SET`: is this policy set whole, do its tests hold, and can it keep what it promises? Every fault at once.

use std::path::PathBuf;

use tenure_trust::neutral;

use crate::checked::{self, count};
use crate::clock;
use crate::failure::Failure;
use crate::output::{Exit, Output};

/// Arguments of `check`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The policy's file, or its directory
    #[arg(value_name = "SET", default_value = ".")]
    set: PathBuf,
}

/// Checks the set; 78 when something is wrong.
pub(crate) fn run(args: &Args, out: &mut Output) -> Result<Exit, Failure> {
    let Some(checked) = checked::load(&args.set, out)? else { return Ok(Exit::Config) };
    let (files, tests, promises) = (checked.files, checked.set.tests().len(), checked.set.promises());
    let notes = checked.set.notes(clock::now());
    out.value(&serde_json::json!({
        "faults": [],
        "files": files,
        "tests": tests,
        "promises": promises,
        "notes": notes,
    }));
    for note in &notes {
        out.line(neutral(&note.to_string()));
    }
    out.line(format_args!(
        "{}, {}, {} attainable",
        count(files, "file"),
        count(tests, "test"),
        count(promises.len(), "promise"),
    ));
    Ok(Exit::Clean)
}
