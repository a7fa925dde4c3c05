//! Finds the programs that were built into the same target directory as the running test.

use std::path::PathBuf;

use crate::Result;

/// The path of a built program of this workspace, in the profile of the running one.
///
/// # Errors
/// When it was not built: then a scenario must fail and not pass.
pub fn built(name: &str) -> Result<PathBuf> {
    let running = std::env::current_exe()?;
    // target/PROFILE/deps/TEST, or target/PROFILE/PROGRAM
    let mut folder = running.as_path();
    while let Some(parent) = folder.parent() {
        let program = parent.join(name);
        if program.is_file() {
            return Ok(program);
        }
        if parent.ends_with("target") {
            break;
        }
        folder = parent;
    }
    Err(format!("program {name} is not built beside {}: make test builds all first", running.display())
        .into())
}

/// The bytes of a built program.
///
/// # Errors
/// When it was not built or cannot be read.
pub fn bytes(name: &str) -> Result<Vec<u8>> {
    let path = built(name)?;
    std::fs::read(&path).map_err(|source| format!("read {}: {source}", path.display()).into())
}
