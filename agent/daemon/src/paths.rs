//! Where things stand on a host, in one place. Tests put them elsewhere.

use std::path::{Path, PathBuf};

/// The configuration file.
pub const CONFIG: &str = "/etc/tenure/agent.yaml";
/// The anchor of trust, placed by a person.
pub const ROOT: &str = "/etc/tenure/trust/root.json";
/// The agent's state.
pub const STATE: &str = "/var/lib/tenure";
/// What lives until the next boot.
pub const RUN: &str = "/run/tenure";

/// The agent's places.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Paths {
    /// Survives a boot: `/var/lib/tenure`.
    pub state: PathBuf,
    /// Does not: `/run/tenure`.
    pub run: PathBuf,
    /// The anchor of trust.
    pub root: PathBuf,
}

impl Paths {
    /// The places of a real host.
    pub fn of_host() -> Self {
        Self { state: STATE.into(), run: RUN.into(), root: ROOT.into() }
    }

    /// The places below a test's own directory.
    #[cfg(test)]
    pub(crate) fn below(dir: &Path) -> Self {
        Self { state: dir.join("lib"), run: dir.join("run"), root: dir.join("root.json") }
    }

    /// The one lock.
    pub fn lock(&self) -> PathBuf {
        self.state.join("lock")
    }

    /// The agent's socket.
    pub fn socket(&self) -> PathBuf {
        self.run.join("agent.sock")
    }

    /// A file or directory of the state.
    pub fn state(&self, beneath: impl AsRef<Path>) -> PathBuf {
        self.state.join(beneath)
    }
}
