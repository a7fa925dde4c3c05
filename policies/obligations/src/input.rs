//! What is judged: policies that were verified, what machines reported last, and when that came. Plain data, so that
//! any store can fill it.

use std::collections::BTreeMap;

use jiff::Timestamp;
use jiff::civil::Date;
use serde::{Deserialize, Serialize};
use tenure_areas::backup::facts::DrilledDump;
use tenure_areas::pass::Report;
use tenure_policy::bundles::{DutyBook, VaultPolicy};
use tenure_policy::resolved::HostPolicy;
use tenure_trust::enrol::IngestFinding;
use tenure_trust::vault_wire::VaultFacts;
use tenure_trust::{
    AreaName, Epoch, Hash, HostName, MachineRole, PolicyVersion, SeriesId, SlotId, SlotTime, VerdictTag,
};

use crate::history::PastDrift;
use crate::state::RecordRef;

/// Everything that a judgement rests on.
#[derive(Debug, Clone)]
pub struct Input<'a> {
    /// What is promised to whom.
    pub book: &'a DutyBook,
    /// The version that the index gives the book.
    pub version: Option<PolicyVersion>,
    /// The verified bundles of hosts.
    pub hosts: &'a BTreeMap<HostName, HostPolicy>,
    /// The verified bundles of vaults, by the host that each runs on.
    pub vaults: &'a BTreeMap<HostName, VaultPolicy>,
    /// What each admitted machine reported, by name and role.
    pub machines: &'a BTreeMap<(HostName, MachineRole), Reported>,
    /// When the index of that version was signed.
    pub issued: Option<Timestamp>,
    /// Since when a series is in the policy, where that is known: slots before are not expected.
    pub series_since: &'a BTreeMap<SeriesId, Timestamp>,
    /// What host and vault agreed on before: [`crate::view::Judgement::agreed`] of the judgement before.
    pub agreed: &'a Agreed,
    /// Drift that records told of, older ones too.
    pub history: &'a [PastDrift],
    /// The controller's clock.
    pub now: Timestamp,
}

/// Slots on which host and vault have agreed: by series, date and time. Only of hosts that have more slots than they can
/// tell: others say it again with each record.
pub type Agreed = BTreeMap<SeriesId, BTreeMap<(Date, SlotTime), AgreedSeal>>;

/// What both said of a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AgreedSeal {
    /// Hash of the seal's payload bytes.
    pub seal: Hash,
    /// Files that could not be read, by whoever said more.
    pub unreadable: u64,
}

/// What one machine in one role reported.
#[derive(Debug, Clone, Default)]
pub struct Reported {
    /// When an operator admitted its keys: slots before that are not expected.
    pub admitted: Option<Timestamp>,
    /// When its newest record was received, by the controller's clock.
    pub last_contact: Option<Timestamp>,
    /// What was wrong with its chain, oldest first.
    pub findings: Vec<ChainFinding>,
    /// The newest record of each area.
    pub areas: BTreeMap<AreaName, Newest>,
}

/// Something wrong with a chain, when it was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChainFinding {
    /// What.
    pub what: IngestFinding,
    /// In which chain; a machine that is admitted anew begins the next, and the finding is history.
    pub epoch: Epoch,
    /// How often.
    pub count: u32,
    /// When last, by the controller's clock.
    pub at: Timestamp,
}

/// The newest record of an area with what its payload says.
#[derive(Debug, Clone)]
pub struct Newest {
    /// Which record.
    pub record: RecordRef,
    /// When the facts were seen, by the machine's clock.
    pub observed_at: Timestamp,
    /// When the record was received, by the controller's clock.
    pub received_at: Timestamp,
    /// The policy version that the machine judged against.
    pub policy: Option<PolicyVersion>,
    /// What the machine itself says. A claim: the facts are judged again here.
    pub verdict: Option<VerdictTag>,
    /// What the payload says.
    pub content: Content,
}

/// A payload as far as it could be read.
#[derive(Debug, Clone)]
pub enum Content {
    /// It was deleted, or never came.
    Missing,
    /// It is not what the area's payload should be.
    Unreadable,
    /// Whoever judged by it ended by a fault of this program's: nothing is judged by it.
    Fault,
    /// An agent's report.
    Report(Box<Report>),
    /// An agent's report of its backups, with the facts.
    Backups(Box<Report>, Box<HostBackups>),
    /// A vault's facts.
    Vault(Box<VaultFacts>),
}

impl Content {
    /// Reads the payload of an agent's area record.
    pub fn of_agent(bytes: Option<&[u8]>) -> Self {
        let Some(bytes) = bytes else { return Self::Missing };
        let Ok(report) = serde_json::from_slice::<Report>(bytes) else { return Self::Unreadable };
        match HostBackups::of(&report) {
            Some(backups) => Self::Backups(Box::new(report), Box::new(backups)),
            None => Self::Report(Box::new(report)),
        }
    }

    /// Reads the payload of a vault's area record: `{"facts": VaultFacts, …}`.
    pub fn of_vault(bytes: Option<&[u8]>) -> Self {
        #[derive(Deserialize)]
        struct Outer {
            facts: VaultFacts,
        }
        let Some(bytes) = bytes else { return Self::Missing };
        serde_json::from_slice(bytes).map_or(Self::Unreadable, |Outer { facts }| Self::Vault(Box::new(facts)))
    }

    /// Why it says nothing, where it does not.
    pub(crate) const fn lacks(&self) -> Option<&'static str> {
        match self {
            Self::Missing => Some("the facts beside the record are not here"),
            Self::Unreadable => Some("what came is no report"),
            Self::Fault => Some("judging by what came ended by a fault of the controller's own"),
            Self::Report(_) | Self::Backups(..) | Self::Vault(_) => None,
        }
    }
}

impl Newest {
    /// What it says of backups, when it does.
    pub fn backups(&self) -> Option<&HostBackups> {
        match &self.content {
            Content::Backups(_, backups) => Some(backups),
            _ => None,
        }
    }

    /// The report of an agent's area.
    pub fn report(&self) -> Option<&Report> {
        match &self.content {
            Content::Report(report) | Content::Backups(report, _) => Some(report),
            Content::Missing | Content::Unreadable | Content::Fault | Content::Vault(_) => None,
        }
    }
}

/// What a host says of its backups.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct HostBackups {
    /// Slots of the last weeks, in any order.
    pub slots: Vec<HostSlot>,
    /// Drills of the last months, in any order.
    pub drills: Vec<HostDrill>,
    /// Since when the host expects each series.
    #[serde(default)]
    pub since: Vec<HostSince>,
    /// The machine's id, hashed.
    pub machine: Option<Hash>,
    /// The kernel's boot id, hashed.
    pub boot: Option<Hash>,
}

/// Since when a host expects a series, as it says: a reason why slots before are not there, believed as long as the vault
/// holds nothing older.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostSince {
    /// Which.
    pub series: SeriesId,
    /// Since when, by the host's clock.
    pub since: Timestamp,
}

/// A host tells so many slots at most (`tenure_areas::backup::facts::SLOTS`): of older ones it says nothing.
pub const SLOTS_TOLD: usize = 400;

/// A slot as the host sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostSlot {
    /// Which.
    pub slot: SlotId,
    /// What became of it.
    pub state: HostSlotState,
}

/// What became of a slot on the host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HostSlotState {
    /// Nothing yet.
    Open,
    /// A run is under way.
    Running,
    /// It has the vault's receipt.
    Sealed(HostSeal),
    /// No run of it worked.
    Failed {
        /// Why the last one did not, as the host says.
        why: String,
    },
    /// No run was made in its time.
    Missed,
}

/// A seal as the host knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostSeal {
    /// Hash of the seal's payload bytes.
    pub seal: Hash,
    /// The snapshot that counts.
    pub snapshot: Hash,
    /// The root over the generation's objects.
    pub root: Hash,
    /// When, by the host's clock.
    pub at: Timestamp,
    /// Files that could not be read.
    pub unreadable: u64,
}

/// A drill as the host tells it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostDrill {
    /// When it ended, by the host's clock.
    pub at: Timestamp,
    /// Did the restored data show what it must?
    pub held: bool,
    /// What it was about and what came of it, in words.
    pub what: String,
    /// Milliseconds from the vault to the last comparison.
    pub took_ms: u64,
    /// Which dump was tried. One that names none proves nothing.
    #[serde(default)]
    pub dump: Option<DrilledDump>,
}

impl HostBackups {
    /// What a report of the area `backup` says.
    pub fn of(report: &Report) -> Option<Self> {
        (report.area.as_str() == "backup").then_some(())?;
        serde_json::from_value(report.facts.clone()?).ok()
    }
}
