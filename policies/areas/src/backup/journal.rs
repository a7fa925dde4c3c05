//! The step journal of a run, `/var/lib/tenure/jobs/RUN.jsonl`: one line a step, each durable before the next begins.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tenure_trust::{GenerationId, Hash, neutral_bytes};

use super::facts::SealFact;

/// The largest journal that is read.
pub const JOURNAL_LIMIT: usize = 1 << 20;
/// A run that was begun so often and never ended is given up.
pub const MOST_STARTS: u32 = 5;

/// One line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Line {
    /// When, by the host's clock.
    pub at: Timestamp,
    /// What was done.
    pub step: RunStep,
}

/// A step that is done and durable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum RunStep {
    /// A process began with the run: at first, and again after the one before was killed.
    Planned,
    /// The generation's key is on this host's disk.
    KeyMade {
        /// Of which generation.
        generation: GenerationId,
    },
    /// The vault has opened the generation.
    Opened {
        /// Which.
        generation: GenerationId,
        /// The vault's last number in it.
        sequence: u64,
    },
    /// Every dump is whole: exit status and trailer were looked at.
    Dumped {
        /// How many.
        dumps: u32,
        /// Bytes of them.
        bytes: u64,
    },
    /// The snapshot is in the vault.
    Stored {
        /// restic's id.
        snapshot: Hash,
        /// The vault's number of it.
        upto: u64,
        /// Files and directories.
        files: u64,
        /// Their bytes.
        source_bytes: u64,
        /// Files that could not be read.
        unreadable: u64,
        /// Files that changed while they were read, twice.
        changed: u64,
        /// The first of what is lacking, in words.
        lacks: Vec<String>,
    },
    /// It was read back through a view.
    SelfChecked {
        /// Up to which of the vault's numbers.
        upto: u64,
    },
    /// The seal is written down and goes out.
    SealSent {
        /// Hash of its payload.
        seal: Hash,
        /// The envelope, to be sent again as it is.
        envelope: String,
    },
    /// The vault's receipt was verified: the slot is filled.
    Receipted(SealFact),
    /// Keys of generations that have left their cells were overwritten and removed.
    Forgot {
        /// Which.
        generations: Vec<GenerationId>,
    },
    /// It did not work; nothing of it counts.
    Failed {
        /// Why, with what to do.
        why: String,
    },
}

impl RunStep {
    /// Its word, for screens.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Planned => "planned",
            Self::KeyMade { .. } => "key made",
            Self::Opened { .. } => "opened",
            Self::Dumped { .. } => "dumped",
            Self::Stored { .. } => "stored",
            Self::SelfChecked { .. } => "read back",
            Self::SealSent { .. } => "seal sent",
            Self::Receipted(_) => "receipted",
            Self::Forgot { .. } => "old keys removed",
            Self::Failed { .. } => "failed",
        }
    }
}

/// How a run stands by its journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// It can go on.
    Begun {
        /// How often a process began with it.
        starts: u32,
        /// The vault has opened its generation.
        opened: bool,
    },
    /// It has the receipt.
    Sealed(SealFact),
    /// It has ended without.
    Failed {
        /// Why.
        why: String,
        /// When.
        at: Timestamp,
    },
}

/// Reads a journal. A last line that was never whole is none.
///
/// # Errors
/// In words, when a whole line is not of this form.
pub fn parse(bytes: &[u8]) -> Result<Vec<Line>, String> {
    let mut lines = Vec::new();
    for (number, line) in bytes.split_inclusive(|b| *b == b'\n').enumerate() {
        let Some(line) = line.strip_suffix(b"\n") else { break };
        let line = serde_json::from_slice(line)
            .map_err(|e| format!("line {}: {}", number + 1, neutral_bytes(e.to_string().as_bytes(), 200)))?;
        lines.push(line);
    }
    Ok(lines)
}

/// What a journal says of its run.
pub fn standing(lines: &[Line]) -> Standing {
    let mut starts = 0u32;
    let mut opened = false;
    let mut last = Timestamp::UNIX_EPOCH;
    let mut end = None;
    for line in lines {
        last = line.at;
        match &line.step {
            RunStep::Planned => starts = starts.saturating_add(1),
            RunStep::Opened { .. } => opened = true,
            RunStep::Receipted(seal) => return Standing::Sealed(seal.clone()),
            RunStep::Failed { why } => {
                end = Some(Standing::Failed { why: neutral_bytes(why.as_bytes(), 300), at: line.at });
            }
            _ => {}
        }
    }
    match end {
        Some(end) => end,
        None if starts >= MOST_STARTS => {
            Standing::Failed { why: format!("its process ended {starts} times without a word"), at: last }
        }
        None => Standing::Begun { starts, opened },
    }
}
