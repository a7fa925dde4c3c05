//! Which keys a machine has: admissions and revocations that operators signed, and the book of those that hold.
//! A key that no admission names does not exist.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::envelope::{Envelope, Signed};
use crate::hash::Hash;
use crate::ids::{Epoch, FleetName, HostName, VaultName};
use crate::keys::{KeyId, PublicKey};
use crate::kind::Kind;
use crate::refused::Refused;
use crate::root::Root;
use crate::ssh_text::SshKeyText;
use crate::statement::{self, Statement, Verified};

/// What a machine's keys are for. One machine can have several roles, each with keys of its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MachineRole {
    /// An agent's.
    #[default]
    Host,
    /// A vault's.
    Vault,
    /// A person's key to read backups when a host is dead.
    Recovery,
}

impl MachineRole {
    /// Its word.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Host => "host",
            Self::Vault => "vault",
            Self::Recovery => "recovery",
        }
    }
}

impl fmt::Display for MachineRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// An operator's statement that a name has these keys.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Admission {
    /// Schema of this statement.
    pub schema: u32,
    /// The fleet.
    pub fleet: FleetName,
    /// The machine's name in the policy; of a recovery key a name of its own.
    pub name: HostName,
    /// What the keys are for.
    pub role: MachineRole,
    /// Signs records, seals, receipts and enrolments.
    pub identity: PublicKey,
    /// The SSH key as `ssh-ed25519 BASE64`: a host's client key, a vault's host key, a recovery key.
    pub ssh: SshKeyText,
    /// SHA-256 of the DER SubjectPublicKeyInfo of the key in its TLS certificates.
    pub tls: Hash,
    /// Which of its chains begins with these keys.
    pub epoch: Epoch,
    /// The identity key that these keys replace.
    pub replaces: Option<KeyId>,
    /// For a recovery key: the hosts whose backups it may read.
    pub reads: BTreeSet<HostName>,
    /// When it was signed.
    pub issued: Timestamp,
}

impl Statement for Admission {
    const KIND: Kind = Kind::Admission;
    const SCHEMA: u32 = 1;
}

/// A signed instruction of operators.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Order {
    /// Schema of this statement.
    pub schema: u32,
    /// The fleet.
    pub fleet: FleetName,
    /// When it was signed.
    pub issued: Timestamp,
    /// What is to be done.
    pub what: OrderKind,
    /// Why, in a person's words.
    pub reason: String,
}

/// The closed list of orders. (Purge and hold come with purging.)
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum OrderKind {
    /// This identity key, and the SSH and TLS keys admitted with it, count no longer.
    Revoke {
        /// Whose key it was.
        name: HostName,
        /// In which role.
        role: MachineRole,
        /// The identity key.
        key: KeyId,
    },
    /// A generation that was set aside becomes the copy of its cell.
    Clear {
        /// In which vault.
        vault: VaultName,
        /// `<owner>/<host>/<set>`.
        series: String,
        /// The generation.
        generation: crate::backup::GenerationId,
        /// Until when it may be carried out.
        until: Timestamp,
    },
}

impl Statement for Order {
    const KIND: Kind = Kind::Order;
    const SCHEMA: u32 = 1;
}

/// What a controller hands on so that each machine can judge keys for itself. Nothing in it is believed unverified.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdmissionList {
    /// Admissions as DSSE JSON.
    pub admissions: Vec<String>,
    /// Revocations as DSSE JSON.
    pub revocations: Vec<String>,
}

/// The most admissions and revocations of one list that are looked at.
pub const MAX_ADMISSIONS: usize = 40_000;

/// The admissions that hold, judged by this holder itself.
#[derive(Clone, Debug, Default)]
pub struct AdmissionBook {
    held: BTreeMap<(HostName, MachineRole), Verified<Admission>>,
}

impl AdmissionBook {
    /// Judges a list under the root. Of each name and role the latest admission counts (higher epoch, then later
    /// issue), and none when its key is revoked, also when the list brings it again. What is refused is told beside
    /// and changes nothing else.
    pub fn judge(
        root: &Verified<Root>,
        list: &AdmissionList,
        revoked: &BTreeSet<KeyId>,
    ) -> (Self, Vec<Refused>) {
        let mut refused = Vec::new();
        // What is beyond the limit is not looked at; what is within it still holds.
        let size = list.admissions.len() + list.revocations.len();
        if size > MAX_ADMISSIONS {
            refused.push(Refused::TooLarge { size, limit: MAX_ADMISSIONS });
        }
        let mut gone = revoked.clone();
        for text in list.revocations.iter().take(MAX_ADMISSIONS) {
            match verify_order(root, text.as_bytes()) {
                Ok(order) => match &order.what {
                    OrderKind::Revoke { key, .. } => {
                        gone.insert(*key);
                    }
                    OrderKind::Clear { .. } => {
                        refused.push(Refused::malformed("an order of another kind among the revocations"));
                    }
                },
                Err(why) => refused.push(why),
            }
        }
        let mut held: BTreeMap<(HostName, MachineRole), Verified<Admission>> = BTreeMap::new();
        for text in list.admissions.iter().take(MAX_ADMISSIONS) {
            let admission = match verify_admission(root, text.as_bytes()) {
                Ok(admission) => admission,
                Err(why) => {
                    refused.push(why);
                    continue;
                }
            };
            let place = (admission.name.clone(), admission.role);
            let later = held
                .get(&place)
                .is_none_or(|known| (known.epoch, known.issued) < (admission.epoch, admission.issued));
            if later {
                held.insert(place, admission);
            }
        }
        // Only now: that the latest is revoked brings none back that it replaced.
        held.retain(|_, admission| !gone.contains(&admission.identity.id()));
        (Self { held }, refused)
    }

    /// The admission of this name in this role.
    pub fn of(&self, name: &HostName, role: MachineRole) -> Option<&Verified<Admission>> {
        self.held.get(&(name.clone(), role))
    }

    /// Whose SSH key this is.
    pub fn by_ssh(&self, key: &SshKeyText) -> Option<&Verified<Admission>> {
        self.held.values().find(|admission| admission.ssh == *key)
    }

    /// Whose TLS key this is (hash of its SubjectPublicKeyInfo).
    pub fn by_tls(&self, key: &Hash) -> Option<&Verified<Admission>> {
        self.held.values().find(|admission| admission.tls == *key)
    }

    /// All of them, by name and role.
    pub fn iter(&self) -> impl Iterator<Item = &Verified<Admission>> {
        self.held.values()
    }
}

/// Verifies one admission under the root.
///
/// # Errors
/// `Refused` with the rule that it breaks.
pub fn verify_admission(root: &Verified<Root>, bytes: &[u8]) -> Result<Verified<Admission>, Refused> {
    verify(root, bytes, |admission: &Admission| &admission.fleet)
}

/// Verifies one order under the root.
///
/// # Errors
/// `Refused` with the rule that it breaks.
pub fn verify_order(root: &Verified<Root>, bytes: &[u8]) -> Result<Verified<Order>, Refused> {
    verify(root, bytes, |order: &Order| &order.fleet)
}

fn verify<T: Statement>(
    root: &Verified<Root>,
    bytes: &[u8],
    fleet: impl Fn(&T) -> &FleetName,
) -> Result<Verified<T>, Refused> {
    let signed = Signed::<T>::parse(bytes)?;
    let by = root.signed_by(signed.envelope())?;
    let value: T = statement::read(signed.envelope().payload())?;
    if *fleet(&value) != root.fleet {
        return Err(Refused::WrongFleet { ours: root.fleet.clone(), found: fleet(&value).clone() });
    }
    let standing = statement::Standing::Signed {
        version: crate::PolicyVersion(root.version.0),
        by,
        until: root.expires,
    };
    Ok(Verified::new(value, signed.hash(), standing))
}

/// Verifies something that a machine signs with its own key (`Seal`, `Receipt`, `Enrolment`, `ProbeAnswer`).
///
/// # Errors
/// `UnknownKey` when another key signed, `Malformed` when nobody did, `BadSignature`, or a fault of form.
pub fn verify_machine<T: Statement>(key: &PublicKey, bytes: &[u8]) -> Result<T, Refused> {
    let envelope: Envelope = Signed::<T>::parse(bytes)?.envelope().clone();
    let by = envelope.check(|id| match id == key.id() {
        true => Ok(*key),
        false => Err(Refused::UnknownKey { key: id }),
    })?;
    if by.is_empty() {
        return Err(Refused::malformed("nobody signed it"));
    }
    statement::read(envelope.payload())
}
