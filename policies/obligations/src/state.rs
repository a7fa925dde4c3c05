//! What is said of a duty: its state, why, since and until when, and which records it rests on.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tenure_trust::{Epoch, Hash, HostName, MachineRole, PolicyVersion, Seq, TenantId};

use crate::reason::Reason;

/// The state of a duty. Ordered from what matters least to what matters most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[must_use]
pub enum State {
    /// No machine can check it; a person answers for it.
    NotCheckable,
    /// Kept, seen in fresh facts.
    Met,
    /// Suspended for a while by a waiver with an owner and an end.
    Waived,
    /// Not kept yet, and its time has not passed.
    Due,
    /// It cannot be seen. Never counts as kept.
    Unknown,
    /// Its time has passed.
    Overdue,
    /// Seen to be not kept.
    Broken,
}

impl State {
    /// Every state, the worst first.
    pub const WORST_FIRST: [Self; 7] =
        [Self::Broken, Self::Overdue, Self::Unknown, Self::Due, Self::Waived, Self::Met, Self::NotCheckable];

    /// The word of DESIGN §2.
    pub const fn word(self) -> &'static str {
        match self {
            Self::NotCheckable => "not checkable",
            Self::Met => "met",
            Self::Waived => "waived",
            Self::Due => "due",
            Self::Unknown => "unknown",
            Self::Overdue => "overdue",
            Self::Broken => "broken",
        }
    }

    /// A sign beside the word, so that nothing is said by colour alone.
    pub const fn sign(self) -> &'static str {
        match self {
            Self::NotCheckable => "–",
            Self::Met => "✓",
            Self::Waived => "~",
            Self::Due => "…",
            Self::Unknown => "?",
            Self::Overdue => "!",
            Self::Broken => "✗",
        }
    }

    /// Must somebody do something now?
    pub const fn is_bad(self) -> bool {
        matches!(self, Self::Broken | Self::Overdue | Self::Unknown)
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

/// Names a record.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct RecordRef {
    /// Whose.
    pub host: HostName,
    /// In which role.
    pub role: MachineRole,
    /// In which of its chains.
    pub epoch: Epoch,
    /// Its place.
    pub seq: Seq,
    /// Hash of its payload bytes.
    pub hash: Hash,
}

impl fmt::Display for RecordRef {
    /// `web1#212`; of a vault's chain `vault1/vault#90`; of a later chain `web1.2#7`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.host)?;
        if self.role != MachineRole::Host {
            write!(f, "/{}", self.role)?;
        }
        if self.epoch.0 > 1 {
            write!(f, ".{}", self.epoch)?;
        }
        write!(f, "#{}", self.seq)
    }
}

/// What a judgement rests on.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Evidence {
    /// A record.
    Record(RecordRef),
    /// The policy itself.
    Policy(Option<PolicyVersion>),
}

impl fmt::Display for Evidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Record(record) => write!(f, "{record}"),
            Self::Policy(Some(version)) => write!(f, "policy g{version}"),
            Self::Policy(None) => f.write_str("policy"),
        }
    }
}

/// One duty of one tenant with its state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Obligation {
    /// Whose contract.
    pub tenant: TenantId,
    /// Its place among the tenant's promises, from 0.
    pub promise: u32,
    /// The duty (a name of `tenure_policy::duties::DUTIES`).
    pub duty: String,
    /// Their words; of a waived part the hosts that it is about.
    pub says: String,
    /// The state.
    pub state: State,
    /// Why, what matters most first. Never empty.
    pub why: Vec<Reason>,
    /// Since when it is so, where that is known.
    pub since: Option<Timestamp>,
    /// When the next thing comes due, where something does.
    pub next: Option<Timestamp>,
    /// Which records it rests on, sorted.
    pub evidence: Vec<Evidence>,
}

/// How many duties are in which state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Counts {
    /// Seen to be not kept.
    pub broken: u32,
    /// Its time has passed.
    pub overdue: u32,
    /// Cannot be seen.
    pub unknown: u32,
    /// Its time has not passed.
    pub due: u32,
    /// Kept.
    pub met: u32,
    /// Suspended.
    pub waived: u32,
    /// A person answers for it.
    pub not_checkable: u32,
}

impl Counts {
    /// Counts.
    pub fn of<'a>(obligations: impl IntoIterator<Item = &'a Obligation>) -> Self {
        let mut counts = Self::default();
        for obligation in obligations {
            *counts.place(obligation.state) += 1;
        }
        counts
    }

    /// How many are in this state.
    pub fn get(self, state: State) -> u32 {
        let mut counts = self;
        *counts.place(state)
    }

    /// Is there anything broken, overdue or unknown?
    pub fn any_bad(self) -> bool {
        self.broken + self.overdue + self.unknown > 0
    }

    fn place(&mut self, state: State) -> &mut u32 {
        match state {
            State::Broken => &mut self.broken,
            State::Overdue => &mut self.overdue,
            State::Unknown => &mut self.unknown,
            State::Due => &mut self.due,
            State::Met => &mut self.met,
            State::Waived => &mut self.waived,
            State::NotCheckable => &mut self.not_checkable,
        }
    }
}

impl fmt::Display for Counts {
    /// `1 overdue · 1 unknown · 2 due · 3 met`; what is 0 is left out.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts: Vec<String> = State::WORST_FIRST
            .iter()
            .map(|state| (self.get(*state), state.word()))
            .filter(|(count, _)| *count > 0)
            .map(|(count, word)| format!("{count} {word}"))
            .collect();
        match parts.as_slice() {
            [] => f.write_str("nothing is promised"),
            some => f.write_str(&some.join(" · ")),
        }
    }
}
