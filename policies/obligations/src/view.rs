//! What is shown: one type for each table, the same for the controller's interface, its pages and the operator's tool.
//! All texts of machines and persons in it are still hostile; whoever prints makes them neutral.

use jiff::Timestamp;
use jiff::civil::Date;
use serde::{Deserialize, Serialize};
use tenure_areas::area::Actor;
use tenure_areas::pass::Verdict;
use tenure_trust::enrol::IngestFinding;
use tenure_trust::{FleetName, HostName, Owner, PolicyVersion, SetName, SlotTime, VaultName};

use crate::history::PastDrift;
use crate::input::Agreed;
use crate::reason::Reason;
use crate::state::{Counts, Obligation, RecordRef, State};

/// Everything that one judgement says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Judgement {
    /// Of what, when.
    pub head: Head,
    /// Every duty of every tenant, the worst first.
    pub obligations: Vec<Obligation>,
    /// Every machine, by what needs a person first.
    pub hosts: Vec<HostRow>,
    /// The week of copies.
    pub backups: Backups,
    /// What is not as the policy says.
    pub drift: Vec<DriftRow>,
    /// Hosts of which that is not known. A controller of before says nothing of them.
    #[serde(default)]
    pub unjudged: Vec<UnjudgedRow>,
    /// What records told of drift, the newest of each host, also when newer records say that all is well.
    pub history: Vec<PastDrift>,
    /// How current each host's software is.
    pub patches: Vec<PatchRow>,
    /// What the next judgement must be given: the slots on which host and vault have agreed and neither denies it since.
    /// Nobody is shown it.
    #[serde(skip)]
    pub agreed: Agreed,
}

/// Of what a judgement is, and when it was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// The fleet.
    pub fleet: FleetName,
    /// IANA zone in which dates are meant.
    pub timezone: String,
    /// The policy version.
    pub version: Option<PolicyVersion>,
    /// The moment of judging, by the controller's clock.
    pub at: Timestamp,
    /// How many duties are in which state, over all tenants.
    pub counts: Counts,
}

/// Answer of `GET /api/v1/obligations`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ObligationsView {
    /// Of what, when; its counts are those of the rows.
    pub head: Head,
    /// The rows.
    pub obligations: Vec<Obligation>,
}

/// Answer of `GET /api/v1/hosts`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HostsView {
    /// Of what, when.
    pub head: Head,
    /// The rows.
    pub hosts: Vec<HostRow>,
}

/// Answer of `GET /api/v1/backups`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BackupsView {
    /// Of what, when.
    pub head: Head,
    /// The week.
    pub backups: Backups,
}

/// Answer of `GET /api/v1/drift`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DriftView {
    /// Of what, when.
    pub head: Head,
    /// The rows.
    pub drift: Vec<DriftRow>,
    /// Hosts of which it is not known whether they are as the policy says. A controller of before says nothing of them.
    #[serde(default)]
    pub unjudged: Vec<UnjudgedRow>,
    /// What records told of drift, the newest of each host, newest first. A controller of before says nothing of it.
    #[serde(default)]
    pub history: Vec<PastDrift>,
}

/// Answer of `GET /api/v1/patches`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PatchesView {
    /// Of what, when.
    pub head: Head,
    /// The rows.
    pub patches: Vec<PatchRow>,
}

impl Judgement {
    /// The duties, of one tenant or of all.
    pub fn obligations_view(&self, tenant: Option<&tenure_trust::TenantId>) -> ObligationsView {
        let mine = |row: &&Obligation| tenant.is_none_or(|tenant| row.tenant == *tenant);
        let obligations: Vec<Obligation> = self.obligations.iter().filter(mine).cloned().collect();
        let head = Head { counts: Counts::of(&obligations), ..self.head.clone() };
        ObligationsView { head, obligations }
    }

    /// The machines.
    pub fn hosts_view(&self) -> HostsView {
        HostsView { head: self.head.clone(), hosts: self.hosts.clone() }
    }

    /// The week of copies.
    pub fn backups_view(&self) -> BackupsView {
        BackupsView { head: self.head.clone(), backups: self.backups.clone() }
    }

    /// The drift.
    pub fn drift_view(&self) -> DriftView {
        DriftView {
            head: self.head.clone(),
            drift: self.drift.clone(),
            unjudged: self.unjudged.clone(),
            history: self.history.clone(),
        }
    }

    /// The patches.
    pub fn patches_view(&self) -> PatchesView {
        PatchesView { head: self.head.clone(), patches: self.patches.clone() }
    }
}

/// One machine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HostRow {
    /// Its name.
    pub host: HostName,
    /// Where it stands.
    pub site: Option<String>,
    /// The vault on it.
    pub vault: Option<VaultName>,
    /// As a whole: the worst of what follows.
    pub state: State,
    /// Why it is not met.
    pub why: Vec<Reason>,
    /// When something was heard of it last.
    pub last_contact: Option<Timestamp>,
    /// The policy version that it judges by, as its newest record says.
    pub policy: Option<PolicyVersion>,
    /// Each area as judged here.
    pub areas: Vec<AreaRow>,
    /// What was wrong with its chains, by kind; how often.
    pub chain: Vec<(IngestFinding, u32)>,
    /// Its newest record.
    pub record: Option<RecordRef>,
}

/// One area of a machine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AreaRow {
    /// Its name.
    pub area: String,
    /// `observe` or `enforce`; none when the policy has no such section.
    pub mode: Option<String>,
    /// The verdict; none when it could not be judged.
    pub verdict: Option<Verdict>,
    /// What the host itself said, when that is something else.
    pub claimed: Option<String>,
}

/// Something that is not as the policy says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DriftRow {
    /// Where.
    pub host: HostName,
    /// In which area.
    pub area: String,
    /// Has it been mended since?
    pub mended: bool,
    /// The finding's kind.
    pub kind: String,
    /// Which file, table, account.
    pub place: String,
    /// What.
    pub what: String,
    /// When it happened, or when it was seen.
    pub at: Option<Timestamp>,
    /// Who did it, where the kernel told.
    pub by: Option<Actor>,
    /// The record that says it.
    pub record: Option<RecordRef>,
}

/// A host of which some or all is not known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnjudgedRow {
    /// Which.
    pub host: HostName,
    /// Which areas of its policy.
    pub areas: Vec<String>,
    /// Why. Never empty.
    pub why: Vec<Reason>,
}

/// How current one host's software is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PatchRow {
    /// Which host.
    pub host: HostName,
    /// The state against the policy's deadlines.
    pub state: State,
    /// Why, when something is wrong or waits.
    pub why: Vec<Reason>,
    /// Security updates that wait.
    pub security: u32,
    /// The one that waits longest.
    pub oldest: Option<String>,
    /// Since when.
    pub since: Option<Timestamp>,
    /// When its deadline is.
    pub deadline: Option<Timestamp>,
    /// Other updates that wait.
    pub others: u32,
    /// Since when a reboot is needed.
    pub reboot_since: Option<Timestamp>,
    /// When the package lists last changed.
    pub lists: Option<Timestamp>,
    /// The running kernel.
    pub kernel: Option<String>,
    /// The record that says it.
    pub record: Option<RecordRef>,
}

/// Seven days of copies.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backups {
    /// The days, oldest first; the last is today.
    pub days: Vec<Date>,
    /// One row for each owner on each host.
    pub rows: Vec<BackupRow>,
    /// The vaults.
    pub vaults: Vec<VaultRow>,
}

/// The copies of one owner on one host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupRow {
    /// Whose.
    pub owner: Owner,
    /// Of which host.
    pub host: HostName,
    /// In which vault.
    pub vault: VaultName,
    /// The worst of its cells; due while there is no copy of this week; at least unknown while host or vault cannot be
    /// believed, whatever they said before.
    pub state: State,
    /// Why host or vault cannot be believed now. A controller of before says nothing of it.
    #[serde(default)]
    pub why: Vec<Reason>,
    /// One list a day, of [`Backups::days`].
    pub days: Vec<Vec<Cell>>,
    /// Bytes that the vault holds.
    pub bytes: Option<u64>,
    /// When the vault took the newest copy.
    pub newest: Option<Timestamp>,
    /// When the vault took the oldest copy that it still holds.
    pub oldest: Option<Timestamp>,
    /// The newest drills of its dumps.
    pub drilled: Drilled,
}

/// What is known of drills.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Drilled {
    /// The host cannot be believed now.
    Unknown,
    /// Nothing of it is dumped.
    Nothing,
    /// There was none of one of its dumps.
    Never,
    /// Of its dumps the one that counts, a failed one before the oldest: when, how long it took, and whether it held.
    Last(DrillRow),
}

/// A drill.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DrillRow {
    /// When.
    pub at: Timestamp,
    /// Did it hold?
    pub held: bool,
    /// Milliseconds that it took.
    pub took_ms: u64,
}

/// One slot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cell {
    /// Of which set.
    pub set: SetName,
    /// Its time.
    pub at: SlotTime,
    /// What it is.
    pub sign: Sign,
    /// Why, when it is not a copy.
    pub why: Option<Reason>,
}

/// What a slot is, as a sign.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sign {
    /// Nobody expects it.
    Blank,
    /// Still to come.
    ToCome,
    /// Host and vault agree, sealed, verified.
    Sealed,
    /// Files are missing in it.
    Partial,
    /// Last week's copy is kept.
    Kept,
    /// No copy was made.
    Missed,
    /// Host and vault differ, or one is silent.
    Unknown,
}

impl Sign {
    /// As a character.
    pub const fn symbol(self) -> &'static str {
        match self {
            Self::Blank => " ",
            Self::ToCome => "·",
            Self::Sealed => "●",
            Self::Partial => "◐",
            Self::Kept => "▲",
            Self::Missed => "○",
            Self::Unknown => "?",
        }
    }

    /// As a letter, where there are no such characters or no colours.
    pub const fn letter(self) -> &'static str {
        match self {
            Self::Blank => " ",
            Self::ToCome => ".",
            Self::Sealed => "S",
            Self::Partial => "P",
            Self::Kept => "K",
            Self::Missed => "M",
            Self::Unknown => "?",
        }
    }

    /// In words.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Blank => "not expected",
            Self::ToCome => "still to come",
            Self::Sealed => "host and vault agree, sealed, verified",
            Self::Partial => "partial",
            Self::Kept => "last week's kept, stale",
            Self::Missed => "missed",
            Self::Unknown => "host and vault differ or silent",
        }
    }
}

/// One vault.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VaultRow {
    /// Its name.
    pub vault: VaultName,
    /// On which host.
    pub host: HostName,
    /// Why it cannot be judged.
    pub why: Option<Reason>,
    /// Bytes in use on its file system.
    pub used_bytes: Option<u64>,
    /// Bytes of its file system.
    pub total_bytes: Option<u64>,
    /// Copies that it holds.
    pub copies: u32,
    /// Its newest record.
    pub record: Option<RecordRef>,
}
