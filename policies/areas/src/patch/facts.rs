//! What is seen of a host's software.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// The facts of the area.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Facts {
    /// How many packages are installed.
    pub installed: u32,
    /// Packages that are unpacked, half installed or half configured: `name status`.
    pub broken: Vec<String>,
    /// Packages that an administrator holds back.
    pub held: Vec<String>,
    /// What apt would install now.
    pub upgrades: Vec<Upgrade>,
    /// When the package lists last changed, as far as files tell.
    pub lists: Option<Timestamp>,
    /// Why the machine should be started again.
    pub reboot: Vec<String>,
    /// Time of the system's own mark that a reboot is needed (/run/reboot-required).
    pub reboot_marked: Option<Timestamp>,
    /// The running kernel's release.
    pub kernel: String,
    /// The memory as it stands.
    pub seen: Seen,
}

/// One package that apt would install in another version.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Upgrade {
    /// Package, with `:arch` where apt writes it.
    pub package: String,
    /// Installed version; none for a new package.
    pub installed: Option<String>,
    /// Version that apt would install.
    pub candidate: String,
    /// Archives that have it, `Label:Version/Suite`.
    pub origins: Vec<String>,
    /// Is it from an archive of security updates?
    pub security: bool,
    /// `Date:` of the archive's list that has it: it waits at least since then. Of several archives the earliest, of several
    /// lists of one archive the latest; looked up for security updates only, none where no list tells.
    #[serde(default)]
    pub listed: Option<Timestamp>,
}

/// Since when things wait.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub struct Seen {
    /// By package.
    pub upgrades: BTreeMap<String, Waiting>,
    /// Since when a reboot is needed.
    pub reboot: Option<Timestamp>,
}

/// Since when a package waits for a security update. A newer candidate does not start it anew; installing one does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Waiting {
    /// The version that was installed.
    pub installed: Option<String>,
    /// First seen here.
    pub since: Timestamp,
    /// `Date:` of the oldest list that was seen to have an update for what is installed.
    #[serde(default)]
    pub listed: Option<Timestamp>,
}

impl Waiting {
    /// It waits at least since this moment: what is known for sure, and never later than it was first seen.
    pub fn at_least_since(&self) -> Timestamp {
        self.listed.map_or(self.since, |listed| listed.min(self.since))
    }
}
