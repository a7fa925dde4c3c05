//! What can happen to a series: the closed list of lines in its journal.

use std::fmt;

use serde::{Deserialize, Serialize};
use tenure_trust::vault_wire::AsideReason;
use tenure_trust::{GenerationId, Hash, SlotId, SlotTime};

/// A slot inside one generation: the date is the generation's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SlotKey {
    /// The time as the policy has it; of a manual slot the minute in which it was begun.
    pub at: SlotTime,
    /// Made by a person.
    pub manual: bool,
}

impl SlotKey {
    /// The key of a whole slot.
    pub fn of(slot: &SlotId) -> Self {
        Self { at: slot.at, manual: slot.manual }
    }

    /// Its name in file names: `0600`, `1012-manual`.
    pub fn file(self) -> String {
        let manual = if self.manual { "-manual" } else { "" };
        format!("{}{manual}", self.at.digits())
    }
}

impl fmt::Display for SlotKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let manual = if self.manual { " by hand" } else { "" };
        write!(f, "{}{manual}", self.at)
    }
}

/// One event of a series.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Event {
    /// A generation begins; config, key and recipients are frozen from here.
    Open {
        /// Which.
        generation: GenerationId,
        /// Hash of the repository's `config`.
        config: Hash,
        /// Hash of its key file.
        key: Hash,
        /// Who has its password, sorted.
        recipients: Vec<String>,
    },
    /// A run began to fill a slot while it was open.
    Begin {
        /// Of which generation.
        generation: GenerationId,
        /// Which slot.
        slot: SlotKey,
    },
    /// A slot was accepted.
    Seal {
        /// Of which generation.
        generation: GenerationId,
        /// Which slot.
        slot: SlotKey,
        /// Hash of the seal's payload.
        seal: Hash,
        /// The snapshot that counts.
        snapshot: Hash,
        /// The root by the vault's own journal.
        root: Hash,
        /// Objects are counted, read back and hashed up to here.
        upto: u64,
        /// How many.
        objects: u64,
        /// Their bytes.
        bytes: u64,
        /// The receipt's own sequence number.
        sequence: u64,
        /// Files that the host could not read.
        unreadable: u64,
    },
    /// It takes no more.
    Close {
        /// Which.
        generation: GenerationId,
        /// Why now.
        why: CloseReason,
    },
    /// It is the copy of its cell from here on.
    Promote {
        /// Which.
        generation: GenerationId,
        /// The copy before it, which is superseded.
        supersedes: Option<GenerationId>,
        /// The order by which a person cleared it, if one did.
        order: Option<Hash>,
    },
    /// It is not taken; the old copy stays.
    Aside {
        /// Which.
        generation: GenerationId,
        /// Why.
        reason: AsideReason,
    },
    /// Its objects are being erased. (A hold will block this line.)
    EraseBegin {
        /// Which.
        generation: GenerationId,
    },
    /// Its objects are gone.
    Erased {
        /// Which.
        generation: GenerationId,
        /// How many files were erased.
        files: u64,
        /// Their bytes.
        bytes: u64,
    },
}

impl Event {
    /// The generation that it is about.
    pub fn generation(&self) -> GenerationId {
        match self {
            Self::Open { generation, .. }
            | Self::Begin { generation, .. }
            | Self::Seal { generation, .. }
            | Self::Close { generation, .. }
            | Self::Promote { generation, .. }
            | Self::Aside { generation, .. }
            | Self::EraseBegin { generation }
            | Self::Erased { generation, .. } => *generation,
        }
    }
}

/// Why a generation was closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CloseReason {
    /// Every slot of its date is sealed or can be no more.
    Complete,
    /// The next date began.
    NextDate,
    /// 30 hours after its date's start.
    Late,
}
