//! Enrolment: the one-time token that an operator hands to a machine, what the machine states of its keys, and the
//! messages of the machines' listener (DESIGN §6, THREATS "Enrolment").

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::admission::MachineRole;
use crate::hash::Hash;
use crate::ids::{Epoch, FleetName, HostName, Seq};
use crate::keys::PublicKey;
use crate::kind::Kind;
use crate::refused::Refused;
use crate::ssh_text::SshKeyText;
use crate::statement::Statement;

/// Paths of the machines' listener. Without a client certificate only the first two answer.
pub mod paths {
    /// POST [`super::EnrolRequest`] → [`super::EnrolAnswer`]; redeems the token.
    pub const ENROL: &str = "/v1/enrol";
    /// POST [`super::CertificateRequest`] → [`super::CertificateAnswer`]; for an enrolled or admitted key.
    pub const CERTIFICATE: &str = "/v1/certificate";
    /// GET → the signed index (DSSE JSON).
    pub const INDEX: &str = "/v1/policy/index";
    /// GET → the asking machine's own bundle (DSSE JSON); `/v1/policy/vault` for a vault's.
    pub const BUNDLE: &str = "/v1/policy/bundle";
    /// GET → [`crate::AdmissionList`].
    pub const ADMISSIONS: &str = "/v1/admissions";
    /// GET → [`crate::OrderList`]; for vaults.
    pub const ORDERS: &str = "/v1/orders";
    /// POST lines of [`crate::ExportLine`] → [`super::IngestAnswer`].
    pub const RECORDS: &str = "/v1/records";
}

/// What an operator hands to a machine, on a way of its own: it lets the machine ask once, and brings the anchor along.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Invitation {
    /// 1.
    pub schema: u32,
    /// The fleet.
    pub fleet: FleetName,
    /// The machine's name.
    pub name: HostName,
    /// Its role.
    pub role: MachineRole,
    /// Where the controller's machines' listener is: `HOST:PORT` or `[V6]:PORT`, tried in order.
    pub controllers: Vec<String>,
    /// The name in the controller's certificate.
    pub server_name: String,
    /// The controller's CA certificate, PEM.
    pub ca: String,
    /// The root of trust (DSSE JSON).
    pub root: String,
    /// The one-time secret, 64 hexadecimal digits. The controller keeps only its hash.
    pub secret: String,
    /// After this the secret is worth nothing.
    pub until: Timestamp,
    /// The chain that a machine of this name and role begins with it: after an admission the next, so that one that lost
    /// its state does not contradict the records that are held.
    #[serde(default = "first")]
    pub epoch: Epoch,
}

const fn first() -> Epoch {
    Epoch(1)
}

impl std::fmt::Debug for Invitation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Invitation({} as {}, secret not shown)", self.name, self.role)
    }
}

impl Invitation {
    /// Reads the file that an operator handed over.
    ///
    /// # Errors
    /// `Malformed`, `SchemaTooNew`, `TooLarge` above 256 KiB.
    pub fn parse(bytes: &[u8]) -> Result<Self, Refused> {
        const LIMIT: usize = 256 << 10;
        if bytes.len() > LIMIT {
            return Err(Refused::TooLarge { size: bytes.len(), limit: LIMIT });
        }
        let read: Self = serde_json::from_slice(bytes).map_err(Refused::malformed)?;
        if read.schema > 1 {
            return Err(Refused::SchemaTooNew { found: read.schema, known: 1 });
        }
        Ok(read)
    }
}

/// What a machine states of its own keys, signed with the identity key in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Enrolment {
    /// Schema of this statement.
    pub schema: u32,
    /// The fleet.
    pub fleet: FleetName,
    /// The machine's name.
    pub name: HostName,
    /// Its role.
    pub role: MachineRole,
    /// Its identity key.
    pub identity: PublicKey,
    /// Its SSH key.
    pub ssh: SshKeyText,
    /// SHA-256 of the SubjectPublicKeyInfo of its TLS key.
    pub tls: Hash,
    /// The chain that begins with these keys.
    pub epoch: Epoch,
}

impl Statement for Enrolment {
    const KIND: Kind = Kind::Enrolment;
    const SCHEMA: u32 = 1;
}

/// The text that people compare on both sides: the first 100 bits of the hash of the enrolment's payload, in groups
/// (RFC 4648 base32), such as `K5QX-2MTR-…`.
pub fn fingerprint(enrolment: &Hash) -> String {
    const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let bits = |n: usize| {
        let value = (0..5).fold(0usize, |sum, k| {
            let bit = n * 5 + k;
            sum << 1 | usize::from(enrolment.as_bytes()[bit / 8] >> (7 - bit % 8) & 1)
        });
        char::from(ALPHABET[value])
    };
    let mut text = String::new();
    for n in 0..20 {
        if n > 0 && n % 4 == 0 {
            text.push('-');
        }
        text.push(bits(n));
    }
    text
}

/// Redeems a token.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EnrolRequest {
    /// The token's secret.
    pub secret: String,
    /// The machine's [`Enrolment`] (DSSE JSON).
    pub enrolment: String,
}

impl std::fmt::Debug for EnrolRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("EnrolRequest(secret not shown)")
    }
}

/// The token was redeemed; an operator must compare and admit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EnrolAnswer {
    /// [`fingerprint`] as the controller computes it from what it received.
    pub fingerprint: String,
}

/// Asks for a certificate of a day. Answered once an admission names the keys.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CertificateRequest {
    /// The machine's [`Enrolment`] (DSSE JSON): says who asks; the admission must name the same keys.
    pub enrolment: String,
    /// PKCS #10 request, PEM, by the TLS key. Its own signature shows that the asker holds the key.
    pub csr: String,
}

/// Either a certificate, or that nobody has admitted the machine yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum CertificateAnswer {
    /// Nobody has admitted it yet.
    Waiting,
    /// Here it is.
    Issued {
        /// PEM.
        certificate: String,
        /// The admission (DSSE JSON).
        admission: String,
    },
}

/// What came of records that were sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum IngestAnswer {
    /// All lines are on disk; this is the last.
    Taken {
        /// Its chain.
        epoch: Epoch,
        /// Its place.
        seq: Seq,
        /// Hash of its payload bytes.
        hash: Hash,
    },
    /// Nothing of this request was taken.
    Refused {
        /// Why.
        finding: IngestFinding,
        /// What the controller has: send from the one after it.
        epoch: Epoch,
        /// Place of the last record that it has; 0 when it has none.
        seq: Seq,
    },
}

/// Why records were not taken; each is a finding of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IngestFinding {
    /// Records are missing between what is held and what came.
    Gap,
    /// Another record with the same place is held: two histories.
    Fork,
    /// It was held already: the same again. Harmless; the sender goes on behind it.
    Replay,
    /// A chain of the same epoch begins anew.
    Reset,
    /// Not signed by the admitted key, or of another machine.
    Foreign,
    /// Not a record, or too large.
    Malformed,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fingerprint_is_base32_of_the_first_hundred_bits() {
        // computed with: printf '' | sha256sum | cut -c1-26 | xxd -r -p | base32
        assert_eq!(fingerprint(&Hash::of(b"")), "4OYM-IQUY-7QOB-JGX3-6TEJ");
        assert_ne!(fingerprint(&Hash::of(b"a")), fingerprint(&Hash::of(b"")));
    }

    #[test]
    fn a_secret_is_never_shown() {
        let request = EnrolRequest { secret: "5ec4e7".into(), enrolment: String::new() };
        assert!(!format!("{request:?}").contains("5ec4e7"));
    }
}
