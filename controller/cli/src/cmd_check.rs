//! `tenure check SET`: is this policy set whole, and does it keep what it promises? Every fault at once.

use std::path::PathBuf;

use tenure_areas::set_tests;
use tenure_policy::Faults;
use tenure_trust::neutral;

use crate::clock;
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
    let now = clock::now();
    let set = match tenure_policy::load(&files) {
        Ok(set) => set,
        Err(faults) => return Ok(tell(faults, files.len(), out)),
    };
    let failed = set_tests::run(&set, now);
    if !failed.is_empty() {
        return Ok(tell(failed.with_sources(&files), files.len(), out));
    }
    let (tests, promises, notes) = (set.tests().len(), set.promises(), set.notes(now));
    out.value(&serde_json::json!({
        "faults": [],
        "files": files.len(),
        "tests": tests,
        "promises": promises,
        "notes": notes,
    }));
    for note in &notes {
        out.line(neutral(&note.to_string()));
    }
    out.line(format_args!(
        "{}, {}, {} attainable",
        count(files.len(), "file"),
        count(tests, "test"),
        count(promises.len(), "promise"),
    ));
    Ok(Exit::Clean)
}

/// Tells what is wrong with a set.
pub(crate) fn tell(faults: Faults, files: usize, out: &mut Output) -> Exit {
    out.value(&serde_json::json!({ "faults": faults }));
    for fault in &faults {
        out.fault(fault);
    }
    out.fault(format_args!("{} in {}", count(faults.len(), "fault"), count(files, "file")));
    Exit::Config
}

/// `1 file`, `2 files`.
pub(crate) fn count(number: usize, word: &str) -> String {
    format!("{number} {word}{}", if number == 1 { "" } else { "s" })
}
