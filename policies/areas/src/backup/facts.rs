//! What is seen of a host's backups: slots and what became of them, runs that were begun, drills.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tenure_policy::scalars::SqlName;
use tenure_trust::{GenerationId, Hash, Owner, RunId, SeriesId, SlotId};

use super::schedule::{Known, Ledger, What};

/// The facts of the area.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Facts {
    /// Slots that something is known of, newest first; 40 days before the newest copy and [`SLOTS`] at most.
    pub slots: Vec<SlotFact>,
    /// Drills, newest first: the last of each dump, at most [`DUMPS`] of them, and others up to [`DRILLS`].
    pub drills: Vec<DrillFact>,
    /// Since when each series is expected.
    pub since: Vec<Since>,
    /// Runs that were begun and have not ended.
    pub runs: Vec<RunFact>,
    /// The job that runs now.
    pub running: Option<RunningJob>,
    /// What people asked for and nobody has begun.
    pub requests: Vec<RunRequest>,
    /// Runs that have ended and whose files can go.
    pub over: Vec<RunId>,
    /// Older runs that were not looked at, because so many have files here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unseen: Option<u64>,
    /// Hash of the memory's bytes; none when there is no memory yet.
    pub remembered: Option<Hash>,
    /// The machine's id (`/etc/machine-id`), hashed, to tell machines apart.
    pub machine: Option<Hash>,
    /// The kernel's boot id, hashed: two "machines" with one boot id are one machine.
    pub boot: Option<Hash>,
}

/// Slots in the facts at most: they fit into a payload.
pub const SLOTS: usize = 400;
/// Drills in the facts at most, where no more dumps are drilled.
pub const DRILLS: usize = 20;
/// Dumps whose last drill is in the facts at most.
pub const DUMPS: usize = 64;
/// Slots are remembered for so many days, counted back from the newest copy.
pub const REMEMBERED_DAYS: i64 = 40;

/// A slot and what became of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SlotFact {
    /// Which.
    pub slot: SlotId,
    /// What became of it.
    pub state: SlotState,
    /// When, by the host's clock.
    pub at: Timestamp,
    /// How many runs were begun for it.
    pub tries: u32,
}

/// What became of a slot on the host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum SlotState {
    /// A run is under way, or was begun and can go on.
    Running,
    /// It has the vault's receipt.
    Sealed(SealFact),
    /// No run of it worked.
    Failed {
        /// Why the last one did not, neutralised.
        why: String,
    },
    /// No run was made in its time.
    Missed,
}

/// A seal that the vault accepted, as the host knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SealFact {
    /// Hash of the seal's payload bytes.
    pub seal: Hash,
    /// The snapshot that counts.
    pub snapshot: Hash,
    /// The root over the generation's objects.
    pub root: Hash,
    /// Hash of the receipt's payload bytes.
    pub receipt: Hash,
    /// The generation that holds it.
    pub generation: GenerationId,
    /// When the receipt was verified, by the host's clock.
    pub at: Timestamp,
    /// Files that could not be read.
    pub unreadable: u64,
}

/// A restore that was tried.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DrillFact {
    /// When it ended, by the host's clock.
    pub at: Timestamp,
    /// Did the restored data show what it must?
    pub held: bool,
    /// What it was about and what came of it, in words.
    pub what: String,
    /// Milliseconds from the vault to the last comparison.
    pub took_ms: u64,
    /// What was tried. One that an earlier release wrote down names nothing, and proves nothing.
    #[serde(default)]
    pub dump: Option<DrilledDump>,
    /// The copy that was restored; none when it did not come so far.
    #[serde(default)]
    pub slot: Option<SlotId>,
    /// Tables whose rows were counted.
    pub tables: u64,
    /// Rows in all of them.
    pub rows: u64,
}

/// The dump that a drill tried: of this database, out of this series.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DrilledDump {
    /// Out of which series, and so of which owner.
    pub series: SeriesId,
    /// The database's name in the policy.
    pub database: SqlName,
}

impl DrilledDump {
    /// Is it this owner's part of this database? Sets and vaults of one owner hold the same dump.
    pub fn is(&self, owner: &Owner, database: &SqlName) -> bool {
        self.series.owner == *owner && self.database == *database
    }
}

/// Since when a series is expected on this host.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Since {
    /// Which.
    pub series: SeriesId,
    /// The first policy that had it.
    pub since: Timestamp,
}

/// A run that has not ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunFact {
    /// Which.
    pub run: RunId,
    /// For which slot.
    pub slot: SlotId,
    /// How often a process began with it.
    pub starts: u32,
    /// The vault has opened its generation for it: the slot can be sealed until the date closes.
    pub opened: bool,
}

/// The job that runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunningJob {
    /// Its run.
    pub run: RunId,
    /// Since when.
    pub since: Timestamp,
}

/// What a person asked for: a run of this series now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunRequest {
    /// Its name, and its file's.
    pub id: RunId,
    /// Which series.
    pub series: SeriesId,
    /// When it was asked.
    pub at: Timestamp,
}

/// What the area remembers: `/var/lib/tenure/backup/ledger.json`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Remembered {
    /// Since when each series is expected, sorted.
    pub since: Vec<Since>,
    /// Slots that have ended, newest first.
    pub slots: Vec<SlotFact>,
}

impl Facts {
    /// As the schedule needs it.
    pub fn ledger(&self) -> Ledger {
        let known = self.slots.iter().map(|fact| {
            let what = match &fact.state {
                SlotState::Running => What::Running,
                SlotState::Sealed(_) => What::Sealed,
                SlotState::Failed { .. } => What::Failed { tries: fact.tries },
                SlotState::Missed => What::Missed,
            };
            (fact.slot.clone(), Known { what, at: fact.at })
        });
        let since = self.since.iter().map(|s| (s.series.clone(), s.since));
        Ledger { since: since.collect(), known: known.collect() }
    }

    /// What is known of a slot.
    pub fn of(&self, slot: &SlotId) -> Option<&SlotFact> {
        self.slots.iter().find(|fact| fact.slot == *slot)
    }
}
