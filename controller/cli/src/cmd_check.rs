//! `tenure check SET`: is this policy set whole, do its tests hold, and can it keep what it promises? Every fault at once.

use std::path::PathBuf;

use tenure_policy::duties::Judged;
use tenure_policy::resolve::Promised;
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
    /// Tell every promise with the duty it means and the worst case that the policy leads to
    #[arg(long)]
    promises: bool,
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
    if args.promises {
        for promise in promises {
            out.line(format_args!("{}: {}  \"{}\"", promise.tenant, promise.means, neutral(&promise.says)));
            out.line(format_args!("    {}", neutral(&promise.worst_case)));
        }
    }
    out.line(format_args!("{}, {}, {}", count(files, "file"), count(tests, "test"), say_promises(promises)));
    Ok(Exit::Clean)
}

/// How many promises the policy can keep, and how many nothing or only a person can judge.
fn say_promises(promises: &[Promised]) -> String {
    let judged = |by: Judged| promises.iter().filter(|promise| promise.judged == by).count();
    let (person, nothing) = (judged(Judged::Attested), judged(Judged::NoProbe));
    let mut said = format!("{} attainable", count(promises.len() - person - nothing, "promise"));
    if person > 0 {
        said.push_str(&format!(", {person} for a person to answer"));
    }
    if nothing > 0 {
        said.push_str(&format!(", {nothing} without a probe"));
    }
    said
}
