//! What the area keeps on disk: the trial under way, the section whose logins were proved, and the one that was given up.
//! Each is one small file put in place whole. Nothing of it closes a way in by being lost.

use std::net::IpAddr;

use jiff::{SignedDuration, Timestamp};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tenure_policy::names::UnixUser;
use tenure_policy::resolved::{Login, SshAccessSection};
use tenure_trust::{Hash, PersonName, neutral_bytes};

use super::Desired;
use super::facts::{Before, Place};
use super::journal::Seen;
use crate::area::{Now, Unknown};
use crate::port::{Beneath, HostRead, ManagedFile, ManagedPath, Owner, PortError, Query};

/// The trial under way, written before anything of it is done.
pub const TRIAL: &str = "/var/lib/tenure/ssh_access/trial.json";
/// The section in force, and who has logged in by it.
pub const PROVED: &str = "/var/lib/tenure/ssh_access/proved.json";
/// The section by which nobody logged in in time: not tried again until an operator asks (`tenure-agent apply` removes this file).
pub const REFUSED: &str = "/var/lib/tenure/ssh_access/refused.json";

/// A section with a thousand logins stays below this; a trial keeps old texts beside it.
const MAX_STATE: usize = 8 * 1024 * 1024;
/// How long a seen login speaks for its key: who has not logged in for longer may have lost it.
const PROOF_LASTS: SignedDuration = SignedDuration::from_hours(30 * 24);

/// [`TRIAL`]: old and new ways in stand side by side.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Trial {
    /// What is tried.
    pub section: SshAccessSection,
    /// What stood at our places, to go back to.
    pub old: Before,
    /// The drop-in that lets old and new ways in.
    pub drop_in: String,
    /// When it began.
    pub from: Timestamp,
    /// The same on the clock of this boot, milliseconds: only logins after it count.
    pub from_boot_ms: u64,
    /// When it goes back to `old`.
    pub until: Timestamp,
    /// The same on the clock of this boot, milliseconds.
    pub until_boot_ms: u64,
    /// Which boot that is.
    pub boot_id: String,
    /// Who has logged in, and from then on the old ways are being closed.
    pub closing: Option<Closing>,
}

/// The old ways are closed; once more it is looked whether the one that was proved still gets in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Closing {
    /// Who got in.
    pub proof: Proof,
    /// When is looked again.
    pub until: Timestamp,
    /// The same on the clock of the boot in which it was written, milliseconds.
    pub until_boot_ms: u64,
    /// Which boot that is.
    pub boot_id: String,
}

/// A login that was seen: this person got in by this key from there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Proof {
    /// Who, by the policy.
    pub who: PersonName,
    /// As whom.
    pub account: UnixUser,
    /// `SHA256:…`.
    pub fingerprint: String,
    /// From which address.
    pub from: IpAddr,
    /// When.
    pub at: Timestamp,
}

/// [`PROVED`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Proved {
    /// What is enforced.
    pub section: SshAccessSection,
    /// Who has got in by it.
    pub by: Vec<Proof>,
    /// Since when it is in force.
    pub at: Timestamp,
}

/// [`REFUSED`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Refused {
    /// [`hash_of`] what was tried.
    pub hash: Hash,
    /// Why it was given up.
    pub why: String,
    /// When that was seen.
    pub at: Timestamp,
}

/// The state on disk, and the logins seen since a trial began.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// Under way.
    pub trial: Option<Trial>,
    /// In force.
    pub proved: Option<Proved>,
    /// Given up.
    pub refused: Option<Refused>,
    /// Logins by key since the trial began, oldest first; only asked for while nobody has been seen yet.
    pub seen: Vec<Seen>,
    /// Why the journal could not be read.
    pub journal_fault: Option<String>,
}

impl Trial {
    /// Milliseconds that are left, 0 when it is over.
    pub fn left_ms(&self, now: &Now) -> u64 {
        if self.boot_id == now.boot_id { self.until_boot_ms.saturating_sub(now.since_boot_ms) } else { 0 }
    }
}

impl Closing {
    /// Is it time for the second look?
    pub fn is_due(&self, now: &Now) -> bool {
        self.boot_id != now.boot_id || now.since_boot_ms >= self.until_boot_ms
    }
}

impl Proof {
    /// Does this login of the policy let in whom the proof shows, from where it shows?
    pub fn is_of(&self, login: &Login) -> bool {
        login.command.is_none()
            && login.who == self.who
            && login.account == self.account
            && login.from.iter().any(|net| net.contains(&self.from))
            && fingerprints(login).any(|print| print == self.fingerprint)
    }

    /// Is it young enough to speak for its key?
    pub fn is_fresh(&self, now: Timestamp) -> bool {
        now.duration_since(self.at) < PROOF_LASTS
    }
}

/// `SHA256:…` of each key of a login.
pub fn fingerprints(login: &Login) -> impl Iterator<Item = String> {
    login.keys.iter().filter_map(|key| super::keys::parse_line(key.as_bytes())).map(|key| key.fingerprint())
}

/// Names what a section lets in: its logins and whose are management's. How long a trial lasts makes no other section.
pub fn hash_of(section: &SshAccessSection) -> Hash {
    let SshAccessSection { logins, management, confirm_within_seconds: _, unmanaged_keys: _ } = section;
    Hash::of(&serde_json::to_vec(&(logins, management)).expect("logins are plain data"))
}

/// Does `new` let in everybody whom `old` lets in at `now`, by the same keys and from everywhere they came from?
pub fn takes_nothing_away(old: &SshAccessSection, new: &SshAccessSection, now: Timestamp) -> bool {
    let kept = |login: &Login| {
        login.keys.iter().all(|key| {
            login.from.iter().all(|net| {
                new.logins.iter().any(|l| {
                    l.account == login.account
                        && l.command == login.command
                        && l.until >= login.until
                        && l.keys.contains(key)
                        && l.from.iter().any(|wider| wider.contains(net))
                })
            })
        })
    };
    old.logins.iter().filter(|login| super::render::lasts(login, now)).all(kept)
}

impl Record {
    /// Reads the state, and the logins since a trial began.
    ///
    /// # Errors
    /// [`Unknown`] when the disk cannot be read. A file that is not what Tenure wrote counts as absent and is told.
    pub(super) fn look(host: &dyn HostRead) -> Result<(Self, Vec<Place>), Unknown> {
        let mut faults = Vec::new();
        let mut record = Self {
            trial: read(host, TRIAL, &mut faults)?,
            proved: read(host, PROVED, &mut faults)?,
            refused: read(host, REFUSED, &mut faults)?,
            ..Self::default()
        };
        if let Some(trial) = record.trial.as_ref().filter(|trial| trial.closing.is_none()) {
            match host.ask(&Query::SshdJournal { since_boot_ms: trial.from_boot_ms }) {
                Ok(bytes) => record.seen = super::journal::parse(&bytes),
                Err(error) => {
                    record.journal_fault = Some(neutral_bytes(error.to_string().as_bytes(), 300));
                }
            }
        }
        Ok((record, faults))
    }

    /// Everybody who gets in by any section in play: sshd is asked about all of them, and first about the address from
    /// which somebody was seen to come.
    pub(super) fn in_play(&self, desired: &Desired) -> Desired {
        let mut section = desired.section.clone();
        let mut others = Vec::new();
        if let Some(trial) = &self.trial {
            others.extend(trial.section.logins.iter().cloned());
            let proof = trial.closing.as_ref().map(|closing| &closing.proof);
            let shown = proof.and_then(|proof| {
                let login = trial.section.logins.iter().find(|login| proof.is_of(login))?;
                Some(Login { from: vec![proof.from.into()], ..login.clone() })
            });
            section.logins.splice(0..0, shown);
        }
        others.extend(self.proved.iter().flat_map(|proved| proved.section.logins.iter().cloned()));
        for login in others {
            if !section.logins.contains(&login) {
                section.logins.push(login);
            }
        }
        Desired { section }
    }
}

fn read<T: DeserializeOwned>(
    host: &dyn HostRead,
    path: &str,
    faults: &mut Vec<Place>,
) -> Result<Option<T>, Unknown> {
    let why = match host.file(&Beneath::of(path), Owner::Root, MAX_STATE) {
        Ok(bytes) => match serde_json::from_slice(&bytes) {
            Ok(value) => return Ok(Some(value)),
            Err(error) => format!("not what Tenure wrote there (line {})", error.line()),
        },
        Err(PortError::Absent { .. }) => return Ok(None),
        Err(error @ PortError::Failed { .. }) => {
            return Err(Unknown::from_port(format!("reading {path}"), &error));
        }
        Err(error) => error.to_string(),
    };
    let why = neutral_bytes(why.as_bytes(), 300);
    faults.push(Place { path: path.into(), why, mtime: None });
    Ok(None)
}

/// One of the files above, to be put in place.
pub(super) fn file<T: Serialize>(path: &str, value: &T) -> ManagedFile {
    let bytes = serde_json::to_vec(value).expect("plain data with text keys");
    ManagedFile { path: managed(path), bytes, mode: 0o600 }
}

/// One of the paths above.
pub(super) fn managed(path: &str) -> ManagedPath {
    ManagedPath::new(path).expect("the constants above lie in managed places")
}
