//! A policy set that has passed every check: what `check` tells and what `sign` asks for first.

use std::path::Path;

use tenure_policy::Set;

use crate::failure::Failure;
use crate::output::Output;
use crate::set_files;

/// A set without faults and how much was read.
pub(crate) struct Checked {
    /// The set.
    pub(crate) set: Set,
    /// Files that were read.
    pub(crate) files: usize,
}

/// Reads and checks a set; when something is wrong, tells every fault and gives none.
pub(crate) fn load(path: &Path, out: &mut Output) -> Result<Option<Checked>, Failure> {
    let texts = set_files::load(path)?;
    match tenure_policy::load(&texts) {
        Ok(set) => Ok(Some(Checked { set, files: texts.len() })),
        Err(faults) => {
            out.value(&serde_json::json!({ "faults": faults }));
            for fault in &faults {
                out.fault(fault);
            }
            let (faults, files) = (faults.len(), texts.len());
            let end = |number| if number == 1 { "" } else { "s" };
            out.fault(format_args!("{faults} fault{} in {files} file{}", end(faults), end(files)));
            Ok(None)
        }
    }
}
