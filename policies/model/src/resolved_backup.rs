//! What one host backs up, when and whereto, merged from its profiles: what promises are judged by. Who owns what of
//! it stands in the signed [`crate::bundles::BackupSection`].

use std::collections::BTreeMap;

use jiff::civil::Time;
use serde::Serialize;
use tenure_trust::HostName;

use crate::calendar::{DAY, Period};
use crate::scalars::{AbsolutePath, SqlName, VaultName};
use crate::slots::CLOSE_LAG;
use crate::written::{BackupKeys, Ring};

/// [`CLOSE_LAG`] in seconds.
const CLOSE_LAG_SECONDS: u64 = CLOSE_LAG.as_secs().unsigned_abs();

/// How often holders are looked at for what must be gone.
pub const LOOK_SECONDS: u64 = DAY;

/// The backups of one host.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct HostBackup {
    /// Whether they are to be made.
    pub enforced: bool,
    /// The sets, by name (`server`, `nightly`).
    pub sets: BTreeMap<&'static str, HostBackupSet>,
    /// Seconds after its time within which a missed run is caught up.
    pub catch_up_seconds: u64,
    /// Whereto, sorted.
    #[serde(serialize_with = "names")]
    pub to: Vec<VaultName>,
    /// How copies are kept.
    pub ring: Ring,
    /// How long a superseded copy stays before it is erased.
    pub erase_after: Period,
    /// How long the host keeps the key of a copy.
    pub keys: BackupKeys,
    /// Bytes a second, where limited.
    pub upload_bytes_per_second: Option<u64>,
    /// Whether restoring is proved at intervals.
    pub drilled: bool,
}

/// One set of a host's backups.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct HostBackupSet {
    /// At which times, sorted.
    pub at: Vec<Time>,
    /// Which paths, sorted.
    #[serde(serialize_with = "names")]
    pub paths: Vec<AbsolutePath>,
    /// Which paths inside those are left out, sorted.
    #[serde(serialize_with = "names")]
    pub exclude: Vec<AbsolutePath>,
    /// Which databases, sorted.
    #[serde(serialize_with = "names")]
    pub databases: Vec<SqlName>,
}

fn names<S: serde::Serializer, T: ToString>(list: &[T], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(list.iter().map(ToString::to_string))
}

/// A vault, with the host it stands on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VaultPlace {
    /// On which host.
    pub host: HostName,
    /// Where that host stands, if said.
    pub site: Option<String>,
}

impl HostBackup {
    /// The longest that a row which was deleted on the host lives on in copies: the generation that still has it is
    /// superseded when the same cell of the ring closes again, waits `erase_after`, and is looked for.
    pub fn longest_life_seconds(&self) -> u64 {
        ring_seconds(self.ring) + CLOSE_LAG_SECONDS + self.erase_after.longest_seconds() + LOOK_SECONDS
    }

    /// The sum of [`Self::longest_life_seconds`], for people.
    pub fn say_longest_life(&self) -> String {
        format!(
            "ring {} d + close 30 h + erase_after {} + look 1 d = {}",
            ring_seconds(self.ring) / DAY,
            self.erase_after,
            crate::calendar::say_seconds(self.longest_life_seconds())
        )
    }
}

/// How long until a cell is written again: a week; of two weekly cells, two weeks.
fn ring_seconds(ring: Ring) -> u64 {
    match ring {
        Ring::Weekday => 7 * DAY,
        Ring::Weekly => 14 * DAY,
    }
}
