//! A policy set that has passed every check: what `check` tells and what `sign` asks for first.

use std::path::Path;

use tenure_areas::set_tests;
use tenure_policy::{Faults, Set};

use crate::clock;
use crate::failure::Failure;
use crate::output::{Output, progress};
use crate::set_files;

/// A set without faults and how much was read.
pub(crate) struct Checked {
    /// The set.
    pub(crate) set: Set,
    /// Files that were read.
    pub(crate) files: usize,
}

/// Reads and checks a set and runs its tests; when something is wrong, tells every fault and gives none.
pub(crate) fn load(path: &Path, out: &mut Output) -> Result<Option<Checked>, Failure> {
    let checking = progress("checking the policy set");
    let texts = set_files::load(path)?;
    let faults = match tenure_policy::load(&texts) {
        Ok(set) => {
            let failed = set_tests::run(&set, clock::now());
            if failed.is_empty() {
                return Ok(Some(Checked { set, files: texts.len() }));
            }
            failed.with_sources(&texts)
        }
        Err(faults) => faults,
    };
    drop(checking);
    tell(&faults, texts.len(), out);
    Ok(None)
}

/// Tells what is wrong with a set.
pub(crate) fn tell(faults: &Faults, files: usize, out: &mut Output) {
    out.value(&serde_json::json!({ "faults": faults }));
    for fault in faults {
        out.fault(fault);
    }
    out.fault(format_args!("{} in {}", count(faults.len(), "fault"), count(files, "file")));
}

/// `1 file`, `2 files`.
pub(crate) fn count(number: usize, word: &str) -> String {
    format!("{number} {word}{}", if number == 1 { "" } else { "s" })
}
