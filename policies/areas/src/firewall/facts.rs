//! What is seen of the firewall on a host, normalised: nothing in it changes by itself, and the rulesets' content stays out of it.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;
use tenure_trust::Hash;

use super::compile::HostBits;
use super::state::{ConfirmRequest, Confirmed, Refused, Restores, Trial};
use super::transaction::WARM_TABLE;
use crate::area::Actor;
use crate::port::Flow;

/// Most differences that are told one by one.
pub const MAX_DIFFERENCES: usize = 40;
/// Most foreign base chains, and most changes by others, that are told.
pub const MAX_FOREIGN: usize = 100;

/// Observed state of the area.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Facts {
    /// Our table in the kernel.
    pub own: Own,
    /// Whether the trial's live set still holds both families; absent without a trial in the kernel.
    pub live: Option<bool>,
    /// The confirmed ruleset on disk.
    pub confirmed: Option<Summary>,
    /// The trial on disk.
    pub trial: Option<TrialFacts>,
    /// Does something stand where a ruleset that is being confirmed is written?
    #[serde(default)]
    pub next: bool,
    /// A person's confirmation, waiting.
    pub confirm: Option<ConfirmRequest>,
    /// The ruleset that is not tried again.
    pub refused: Option<Refused>,
    /// How often others' changes were undone lately.
    pub restores: Option<Restores>,
    /// Was a ruleset ever confirmed here?
    pub enforced: bool,
    /// State files that could not be believed.
    pub faults: Vec<String>,
    /// What the compiler needs to know.
    pub host: HostBits,
    /// Container engines' bridges.
    pub bridges: Vec<String>,
    /// Does the kernel pass on packets that are not for this host, of either family?
    pub passes_on: bool,
    /// Base chains of tables that neither are `inet tenure` nor stand in the policy's `neighbours`; those of the table that a
    /// warm-up has are among them, since it is gone before anybody looks.
    pub foreign: Vec<ForeignChain>,
    /// Ports where an SSH server listens that others can reach; only asked when a ruleset may go on trial.
    pub ssh_ports: Option<Vec<u16>>,
    /// Changes by others since our last one, newest last; only asked when our table is not as it should be.
    pub changes: Vec<Change>,
    /// What only this host needs: contents and connections. Not part of what is sent.
    #[serde(skip)]
    pub here: Here,
}

/// A ruleset without its content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Summary {
    /// Number.
    pub number: u32,
    /// Content.
    pub hash: Hash,
}

/// A trial without its contents.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrialFacts {
    /// On trial.
    pub new: Summary,
    /// What the kernel falls back to.
    pub over: Summary,
    /// Begin.
    pub from: Timestamp,
    /// End.
    pub until: Timestamp,
    /// End on the clock of the boot, milliseconds.
    pub until_boot_ms: u64,
    /// Which boot.
    pub boot_id: String,
}

/// Our table in the kernel, named by what it equals.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Own {
    /// There is none.
    Absent,
    /// The confirmed ruleset, exactly.
    Confirmed,
    /// The trial's old ruleset, exactly; its new one is not there. (Only where that is not the confirmed one.)
    Old,
    /// Both of the trial's rulesets, the old one in force, no live set.
    Staged,
    /// Both of the trial's rulesets and the live set.
    OnTrial,
    /// The trial's new ruleset, in force for good.
    NewConfirmed,
    /// No state on disk, and exactly what the policy wants, under this number.
    Wanted {
        /// Number.
        number: u32,
    },
    /// No state on disk, and exactly the built-in baseline for the policy's management networks.
    Baseline,
    /// Something else.
    Differs {
        /// Of the listing in normal form.
        hash: Hash,
        /// How it differs from what should be there.
        differences: Vec<String>,
    },
}

/// A base chain of another program.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ForeignChain {
    /// Family.
    pub family: String,
    /// Table.
    pub table: String,
    /// Chain.
    pub chain: String,
    /// `filter`, `nat`, `route`.
    pub kind: String,
    /// Hook.
    pub hook: String,
    /// Priority.
    pub priority: i64,
    /// Policy, where it has one.
    pub policy: Option<String>,
}

impl ForeignChain {
    /// Is it of the table that a first trial has for a moment?
    pub fn is_warm_up(&self) -> bool {
        self.family == "inet" && self.table == WARM_TABLE
    }
}

/// A change of the ruleset by somebody else.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Change {
    /// When.
    pub at: Timestamp,
    /// Generation that it made.
    pub generation: u32,
    /// Who, where the kernel told.
    pub by: Option<Actor>,
}

/// What stays on the host.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Here {
    /// With content.
    pub confirmed: Option<Confirmed>,
    /// With content.
    pub trial: Option<Trial>,
    /// What is being confirmed, whole.
    pub next: Option<Confirmed>,
    /// Tracked connections; asked only when a trial ends.
    pub flows: Vec<Flow>,
    /// This host's own addresses; read only with `flows`.
    pub addresses: Vec<IpAddr>,
}
