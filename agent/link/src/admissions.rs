//! The admissions that this machine believes: a list that somebody handed over, judged here under the root.

use std::collections::BTreeSet;
use std::path::Path;

use tenure_sys::files::{BaseDir, Expect, Owner};
use tenure_trust::admission::MAX_ADMISSIONS;
use tenure_trust::{AdmissionBook, AdmissionList, KeyId, Refused, Root, Verified};

use crate::store::StoreError;

/// The name of the list, in a drop directory and in the state of the link.
pub const FILE: &str = "admissions.json";
/// The most bytes of a list: 2 KiB for each.
const LIMIT: u64 = (MAX_ADMISSIONS as u64) * 2048;

/// What was found in a list.
#[derive(Debug, Default)]
pub struct Admitted {
    /// The admissions that hold.
    pub book: AdmissionBook,
    /// What was refused; it changed nothing else.
    pub refused: Vec<Refused>,
}

/// Reads and judges the list in a directory. Who put it there does not matter: the signatures do. A missing list is an
/// empty one.
///
/// # Errors
/// When the file cannot be read safely, or is no list at all.
pub fn read(
    directory: &Path,
    root: &Verified<Root>,
    revoked: &BTreeSet<KeyId>,
) -> Result<Admitted, StoreError> {
    let path = directory.join(FILE);
    let expect = Expect { owner: Owner::Anybody, limit: LIMIT, one_link: false };
    let file = match BaseDir::open(directory).and_then(|dir| dir.read(Path::new(FILE), &expect)) {
        Ok(file) => file,
        Err(error) if error.is_missing() => return Ok(Admitted::default()),
        Err(error) => return Err(error.into()),
    };
    let list: AdmissionList = serde_json::from_slice(&file.bytes).map_err(|e| StoreError::Refused {
        what: "list of admissions",
        path,
        source: Refused::malformed(e),
    })?;
    let (book, refused) = AdmissionBook::judge(root, &list, revoked);
    Ok(Admitted { book, refused })
}

#[cfg(test)]
mod tests;
