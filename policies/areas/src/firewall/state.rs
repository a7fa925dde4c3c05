//! What the firewall keeps on disk: the confirmed ruleset, the trial under way, what was refused, and what a person confirmed.
//! Each is one small file put in place whole; the rulesets travel inside them, so that every one of them can be loaded again.

use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tenure_trust::Hash;

use super::nft::Numbered;
use super::table::Table;
use crate::area::Now;
use crate::port::{Beneath, HostRead, ManagedFile, ManagedPath, Owner, PortError};

/// The confirmed ruleset: what is restored, and loaded at boot.
pub const CONFIRMED: &str = "/var/lib/tenure/firewall/confirmed.json";
/// What is to be [`CONFIRMED`]: written before the kernel is asked to keep it, and put in its place after, which needs no room.
pub const NEXT: &str = "/var/lib/tenure/firewall/confirmed.next.json";
/// The trial under way.
pub const TRIAL: &str = "/var/lib/tenure/firewall/trial.json";
/// The ruleset whose trial nobody confirmed: not tried again until an operator asks (`tenure-agent apply` removes this file).
pub const REFUSED: &str = "/var/lib/tenure/firewall/refused.json";
/// Present once a ruleset was confirmed: from then on a host without [`CONFIRMED`] boots with the baseline, never with nothing.
pub const ENFORCED: &str = "/var/lib/tenure/firewall/enforced";
/// What `tenure-agent confirm` leaves for the next pass.
pub const CONFIRM: &str = "/run/tenure/firewall/confirm.json";
/// How often others' changes were undone lately.
pub const RESTORES: &str = "/run/tenure/firewall/restores.json";

/// 65,536 intervals of IPv6, twice (a trial keeps both rulesets), stay below this.
const MAX_STATE: usize = 16 * 1024 * 1024;

/// A ruleset with its number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ruleset {
    /// Number, from 1; 0 is what stood there before.
    pub number: u32,
    /// [`Table::hash`] of `table`.
    pub hash: Hash,
    /// Content.
    pub table: Table,
}

impl Ruleset {
    /// A table under a number.
    pub fn new(number: u32, table: Table) -> Self {
        Self { number, hash: table.hash(), table }
    }
    /// For rendering.
    pub fn numbered(&self) -> Numbered<'_> {
        Numbered { number: self.number, table: &self.table, hash: self.hash }
    }
    fn whole(&self) -> bool {
        self.table.hash() == self.hash
    }
}

/// [`CONFIRMED`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Confirmed {
    /// Since when.
    pub at: Timestamp,
    /// What.
    pub ruleset: Ruleset,
}

/// [`TRIAL`], written before anything is loaded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Trial {
    /// On trial.
    pub new: Ruleset,
    /// What the kernel falls back to.
    pub over: Ruleset,
    /// When it began; a confirmation is only believed if given after this.
    pub from: Timestamp,
    /// When the kernel falls back.
    pub until: Timestamp,
    /// The same on the clock of this boot, milliseconds.
    pub until_boot_ms: u64,
    /// Which boot that is.
    pub boot_id: String,
}

impl Trial {
    /// Whole seconds that are left, 0 when it is over.
    pub fn left(&self, now: &Now) -> u32 {
        if self.boot_id != now.boot_id {
            return 0;
        }
        u32::try_from(self.until_boot_ms.saturating_sub(now.since_boot_ms).div_ceil(1000)).unwrap_or(u32::MAX)
    }
}

/// [`REFUSED`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Refused {
    /// Number that the trial had.
    pub number: u32,
    /// Content that was tried.
    pub hash: Hash,
    /// Why: `nobody confirmed it in time`, `the host restarted during the trial`.
    pub why: String,
    /// When that was seen.
    pub at: Timestamp,
}

/// [`CONFIRM`]: a person's word, typed in a session opened after the switch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConfirmRequest {
    /// Number of the trial.
    pub number: u32,
    /// Its hash.
    pub hash: Hash,
    /// Who, as the shell knows it.
    pub by: String,
    /// When.
    pub at: Timestamp,
}

/// [`RESTORES`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Restores {
    /// Begin of the minute that is counted.
    pub since: Timestamp,
    /// Restores in it.
    pub count: u32,
    /// The last one.
    pub last: Timestamp,
}

impl Restores {
    /// One more, now.
    pub fn next(previous: Option<&Self>, now: Timestamp) -> Self {
        match previous {
            Some(p) if now >= p.since && now.duration_since(p.since).as_secs() < 60 => {
                Self { since: p.since, count: p.count.saturating_add(1), last: now }
            }
            _ => Self { since: now, count: 1, last: now },
        }
    }
}

/// A state file as read: there, not there, or there and not to be believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kept<T> {
    /// Whole.
    Some(T),
    /// No such file.
    None,
    /// Not readable as what it should be.
    Broken(String),
}

impl<T> Kept<T> {
    /// What is there; a broken file is noted in `faults` and then counts as absent.
    pub fn or_note(self, path: &str, faults: &mut Vec<String>) -> Option<T> {
        match self {
            Self::Some(value) => Some(value),
            Self::None => None,
            Self::Broken(why) => {
                faults.push(format!("{path}: {why}"));
                None
            }
        }
    }
}

/// Reads one of the files above.
///
/// # Errors
/// [`PortError`] when the host cannot be read; a file that is not what it should be is [`Kept::Broken`].
pub fn read<T: DeserializeOwned>(host: &dyn HostRead, path: &str) -> Result<Kept<T>, PortError> {
    let Some((root, name)) = path.rsplit_once('/') else { return Ok(Kept::None) };
    match host.file(&Beneath::new(root, name), Owner::Root, MAX_STATE) {
        Ok(bytes) => Ok(parse(&bytes)),
        Err(PortError::Absent { .. }) => Ok(Kept::None),
        Err(PortError::Untrusted { why, .. }) => Ok(Kept::Broken(why)),
        Err(PortError::TooLarge { limit, .. }) => Ok(Kept::Broken(format!("larger than {limit} bytes"))),
        Err(error) => Err(error),
    }
}

/// Parses the bytes of one of the files above.
pub fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Kept<T> {
    match serde_json::from_slice(bytes) {
        Ok(value) => Kept::Some(value),
        Err(error) => Kept::Broken(format!("not what Tenure wrote there (line {})", error.line())),
    }
}

/// A confirmed ruleset whose hash holds.
pub fn whole_confirmed(kept: Kept<Confirmed>) -> Kept<Confirmed> {
    match kept {
        Kept::Some(c) if !c.ruleset.whole() => Kept::Broken("its hash does not fit its content".into()),
        other => other,
    }
}

/// A trial whose hashes hold.
pub fn whole_trial(kept: Kept<Trial>) -> Kept<Trial> {
    match kept {
        Kept::Some(t) if !t.new.whole() || !t.over.whole() => {
            Kept::Broken("its hash does not fit its content".into())
        }
        other => other,
    }
}

/// One of the files above, to be put in place.
pub(super) fn file<T: Serialize>(path: &str, value: &T) -> ManagedFile {
    ManagedFile { path: managed(path), bytes: serde_json::to_vec(value).unwrap_or_default(), mode: 0o600 }
}

/// One of the paths above.
pub(super) fn managed(path: &str) -> ManagedPath {
    ManagedPath::new(path).expect("the constants above lie in managed places")
}

/// [`ENFORCED`], to be put in place.
pub(super) fn marker() -> ManagedFile {
    ManagedFile {
        path: managed(ENFORCED),
        bytes: b"a ruleset was confirmed on this host\n".to_vec(),
        mode: 0o600,
    }
}
