//! Records and the chain that they form: what a host states, in order, each naming the one before it.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::admission::MachineRole;
use crate::envelope::{Envelope, Signed, Written};
use crate::hash::Hash;
use crate::ids::{AreaName, Epoch, EventName, HostName, JudgeVersion, PolicyVersion, ReasonTag, Seq};
use crate::keys::{PublicKey, SigningKey};
use crate::kind::Kind;
use crate::refused::Refused;
use crate::statement::Statement;

/// One link of a host's chain. It holds no personal data: facts travel as a payload beside it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// Schema of this statement.
    pub schema: u32,
    /// Whose record it is.
    pub host: HostName,
    /// Whose of that machine: its agent's, or its vault's, which has a chain of its own.
    #[serde(default, skip_serializing_if = "is_host")]
    pub role: MachineRole,
    /// Which chain of this host.
    pub epoch: Epoch,
    /// Its place, from 1, without gaps.
    pub seq: Seq,
    /// Hash of the payload bytes of the envelope before it; of the first, `Chain::genesis`.
    pub prev: Hash,
    /// What it is about.
    pub about: About,
    /// The policy version judged against; none without a policy and for a standalone host.
    pub policy: Option<PolicyVersion>,
    /// Which code judged.
    pub judge: JudgeVersion,
    /// When the facts were observed, by the host's clock (order goes by `seq`, never by this).
    pub observed_at: Timestamp,
    /// The verdict; none for an event.
    pub verdict: Option<VerdictTag>,
    /// Why, in fixed words.
    pub reason: Option<ReasonTag>,
    /// What the payload beside it must hash to.
    pub payload: Commitment,
    /// How many records before this one could not be written.
    pub lost: u32,
}

impl Statement for Record {
    const KIND: Kind = Kind::Record;
    const SCHEMA: u32 = 1;
}

/// What a record is about: `{"area":"firewall"}` or `{"event":"policy_refused"}`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum About {
    /// A pass of an area.
    Area(AreaName),
    /// Something that happened to the agent or that it saw.
    Event(EventName),
}

impl fmt::Display for About {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            About::Area(area) => area.fmt(f),
            About::Event(event) => event.fmt(f),
        }
    }
}

/// A verdict without its details.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VerdictTag {
    /// As the policy says.
    Compliant,
    /// It was not, and now is, seen by a second observation.
    Remediated,
    /// An operation is under way.
    Pending,
    /// Not as the policy says.
    Drifted,
    /// It could not be seen. Never counts as compliant.
    Unknown,
    /// The plan was refused by the guard.
    Refused,
}

impl fmt::Display for VerdictTag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            VerdictTag::Compliant => "compliant",
            VerdictTag::Remediated => "remediated",
            VerdictTag::Pending => "pending",
            VerdictTag::Drifted => "drifted",
            VerdictTag::Unknown => "unknown",
            VerdictTag::Refused => "refused",
        })
    }
}

/// SHA-256(salt ‖ bytes) of a payload: binds it without telling what it is, also not by guessing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Commitment(Hash);

/// What stands beside a record: deletable without breaking the chain.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Payload {
    #[serde(with = "base64_text")]
    salt: Vec<u8>,
    #[serde(with = "base64_text")]
    bytes: Vec<u8>,
}

impl Payload {
    /// The most bytes of a payload: the facts of an area (256 KiB) and what was planned and done.
    pub const MAX: usize = 512 << 10;
    /// Bytes of salt.
    pub const SALT: usize = 32;

    /// A payload with a salt from the shell's random source, fresh for each.
    ///
    /// # Errors
    /// `TooLarge` above `Payload::MAX`.
    pub fn new(salt: [u8; Self::SALT], bytes: Vec<u8>) -> Result<Self, Refused> {
        if bytes.len() > Self::MAX {
            return Err(Refused::TooLarge { size: bytes.len(), limit: Self::MAX });
        }
        Ok(Self { salt: salt.to_vec(), bytes })
    }

    /// The facts as they were committed to.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The salt, for whoever keeps salt and facts in columns of their own.
    pub fn salt(&self) -> &[u8] {
        &self.salt
    }

    /// What the record says of it.
    pub fn commitment(&self) -> Commitment {
        Commitment(Hash::of_parts([&self.salt[..], &self.bytes[..]]))
    }

    /// True when this is the payload that was committed to. The salt has one length, so that no bytes can be shifted
    /// from one to the other.
    pub fn opens(&self, commitment: &Commitment) -> bool {
        self.salt.len() == Self::SALT && self.commitment() == *commitment
    }
}

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Payload({} bytes)", self.bytes.len())
    }
}

/// What a lane says; the chain adds host, place and hash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Draft {
    /// What it is about.
    pub about: About,
    /// The policy version judged against.
    pub policy: Option<PolicyVersion>,
    /// Which code judged.
    pub judge: JudgeVersion,
    /// When the facts were observed.
    pub observed_at: Timestamp,
    /// The verdict; none for an event.
    pub verdict: Option<VerdictTag>,
    /// Why, in fixed words.
    pub reason: Option<ReasonTag>,
}

/// Where a host's chain stands. Pure: whoever writes the link down durably then calls `advance`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Chain {
    /// Whose chain.
    pub host: HostName,
    /// Whose of that machine.
    #[serde(default, skip_serializing_if = "is_host")]
    pub role: MachineRole,
    /// Which of its chains.
    pub epoch: Epoch,
    /// The place of the next record.
    pub next: Seq,
    /// What the next record names as before it.
    pub prev: Hash,
}

/// A record ready to be written down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// The record.
    pub record: Record,
    /// The record, signed.
    pub signed: Signed<Record>,
    /// What stands beside it.
    pub payload: Payload,
}

impl Chain {
    /// The start of a host's chain.
    pub fn begin(host: HostName, epoch: Epoch) -> Self {
        Self::begin_as(host, MachineRole::Host, epoch)
    }

    /// The start of the chain of a machine in a role.
    pub fn begin_as(host: HostName, role: MachineRole, epoch: Epoch) -> Self {
        let prev = Self::genesis_as(&host, role, epoch);
        Self { host, role, epoch, next: Seq(1), prev }
    }

    /// What the first record names as before it: a hash that no other chain starts with.
    pub fn genesis(host: &HostName, epoch: Epoch) -> Hash {
        Self::genesis_as(host, MachineRole::Host, epoch)
    }

    /// The same for a machine in a role.
    pub fn genesis_as(host: &HostName, role: MachineRole, epoch: Epoch) -> Hash {
        Hash::of(
            match role {
                MachineRole::Host => format!("tenure chain {host} {epoch}"),
                other => format!("tenure chain {host} {other} {epoch}"),
            }
            .as_bytes(),
        )
    }

    /// The next record, signed with the host's identity key. The chain itself does not move.
    pub fn link(&self, draft: Draft, payload: Payload, lost: u32, key: &SigningKey) -> Link {
        let Draft { about, policy, judge, observed_at, verdict, reason } = draft;
        let record = Record {
            schema: Record::SCHEMA,
            host: self.host.clone(),
            role: self.role,
            epoch: self.epoch,
            seq: self.next,
            prev: self.prev,
            about,
            policy,
            judge,
            observed_at,
            verdict,
            reason,
            payload: payload.commitment(),
            lost,
        };
        Link { signed: Signed::new(&record, &[key]), record, payload }
    }

    /// Moves on after the link has been written down durably.
    pub fn advance(&mut self, link: &Link) {
        self.next = Seq(link.record.seq.0.saturating_add(1));
        self.prev = link.signed.hash();
    }
}

impl Link {
    /// The line of an export and of the chain on disk, without its line end.
    pub fn line(&self) -> String {
        ExportLine { record: self.signed.envelope().clone(), payload: Some(self.payload.clone()) }.to_json()
    }
}

/// First line of an export: whose chain follows. It is not signed; a verifier brings the public key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExportHeader {
    /// Always `tenure-chain`.
    pub format: String,
    /// Schema of the export.
    pub schema: u32,
    /// Whose chain.
    pub host: HostName,
    /// Whose of that machine.
    #[serde(default, skip_serializing_if = "is_host")]
    pub role: MachineRole,
    /// The chain of the first record.
    pub epoch: Epoch,
    /// The host's identity key, as it says.
    pub key: PublicKey,
}

impl ExportHeader {
    /// The value of `format`.
    pub const FORMAT: &'static str = "tenure-chain";

    /// The header of an export.
    pub fn new(host: HostName, epoch: Epoch, key: PublicKey) -> Self {
        Self { format: Self::FORMAT.into(), schema: 1, host, role: MachineRole::Host, epoch, key }
    }

    /// The line, without its line end.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("a header is only texts and numbers")
    }

    /// Reads a first line.
    ///
    /// # Errors
    /// `Malformed` or `SchemaTooNew`.
    pub fn parse(line: &[u8]) -> Result<Self, Refused> {
        let header: Self = serde_json::from_slice(line).map_err(Refused::malformed)?;
        if header.format != Self::FORMAT {
            return Err(Refused::malformed("it is not an exported chain"));
        }
        if header.schema > 1 {
            return Err(Refused::SchemaTooNew { found: header.schema, known: 1 });
        }
        Ok(header)
    }
}

/// One line of an export after the header: `{"record": envelope, "payload": {salt, bytes} | null}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExportLine {
    /// The signed record, not yet verified.
    pub record: Envelope,
    /// The payload, unless it was deleted.
    pub payload: Option<Payload>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenLine {
    record: Written,
    payload: Option<Payload>,
}

impl ExportLine {
    /// The most bytes of a line.
    pub const MAX: usize = (Payload::MAX + (64 << 10)) / 3 * 4;

    /// Reads a line. Nothing is verified by this.
    ///
    /// # Errors
    /// `TooLarge` or `Malformed`.
    pub fn parse(line: &[u8]) -> Result<Self, Refused> {
        if line.len() > Self::MAX {
            return Err(Refused::TooLarge { size: line.len(), limit: Self::MAX });
        }
        let written: WrittenLine = serde_json::from_slice(line).map_err(Refused::malformed)?;
        let WrittenLine { record, payload } = written;
        Ok(Self { record: Envelope::from_written(record)?, payload })
    }

    /// The line, without its line end.
    pub fn to_json(&self) -> String {
        let written = WrittenLine { record: self.record.written(), payload: self.payload.clone() };
        serde_json::to_string(&written).expect("a line is only texts")
    }

    /// The record inside, **not verified**: for the host's own reading of its own disk after a restart.
    ///
    /// # Errors
    /// `Refused`, when it is no record.
    pub fn unverified(&self) -> Result<Record, Refused> {
        let signed = Signed::<Record>::of(self.record.clone())?;
        crate::statement::read(signed.envelope().payload())
    }

    /// The record inside, when `key` and nobody else signed it.
    ///
    /// # Errors
    /// `UnknownKey`, `BadSignature`, `Malformed` for an unsigned one, or a fault of form.
    pub fn verified(&self, key: &PublicKey) -> Result<Record, Refused> {
        let signed = Signed::<Record>::of(self.record.clone())?;
        let by = signed.envelope().check(|id| match id == key.id() {
            true => Ok(*key),
            false => Err(Refused::UnknownKey { key: id }),
        })?;
        if by.is_empty() {
            return Err(Refused::malformed("nobody signed the record"));
        }
        crate::statement::read(signed.envelope().payload())
    }
}

fn is_host(role: &MachineRole) -> bool {
    *role == MachineRole::Host
}

mod base64_text {
    use super::{Deserialize, Deserializer, Engine, STANDARD, Serializer};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(bytes))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        STANDARD.decode(String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}
