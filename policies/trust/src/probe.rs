//! Confirming a firewall trial from another host: the question, and the prober's signed answer.
//!
//! The host on trial connects to the prober's listener and writes one line of [`ProbeQuestion`]; the prober opens *new*
//! connections to the host's SSH port from its own addresses and answers one line, a signed [`ProbeAnswer`] with the
//! nonce of the question.

use std::net::IpAddr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::hash::Hash;
use crate::ids::HostName;
use crate::kind::Kind;
use crate::refused::Refused;
use crate::statement::Statement;

/// The most bytes of a question or an answer, the line end included.
pub const MAX_LINE: usize = 64 << 10;
/// The most addresses of one question.
pub const MAX_ADDRESSES: usize = 16;

/// What the host on trial asks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProbeQuestion {
    /// 1.
    pub schema: u32,
    /// Who asks.
    pub host: HostName,
    /// 32 random bytes as a hash; it is answered back and never used twice.
    pub nonce: Hash,
    /// Where to connect: the asking host's own addresses, which the prober compares with its policy.
    pub addresses: Vec<IpAddr>,
    /// Which port.
    pub port: u16,
}

impl ProbeQuestion {
    /// Reads a line.
    ///
    /// # Errors
    /// `Malformed`, `SchemaTooNew`, `TooLarge`.
    pub fn parse(line: &[u8]) -> Result<Self, Refused> {
        if line.len() > MAX_LINE {
            return Err(Refused::TooLarge { size: line.len(), limit: MAX_LINE });
        }
        let question: Self = serde_json::from_slice(line).map_err(Refused::malformed)?;
        if question.schema > 1 {
            return Err(Refused::SchemaTooNew { found: question.schema, known: 1 });
        }
        if question.addresses.len() > MAX_ADDRESSES || question.addresses.is_empty() {
            return Err(Refused::malformed("no addresses, or too many"));
        }
        Ok(question)
    }
}

/// What the prober saw, signed with its identity key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProbeAnswer {
    /// Schema of this statement.
    pub schema: u32,
    /// Who probed.
    pub prober: HostName,
    /// Who asked.
    pub host: HostName,
    /// The question's nonce.
    pub nonce: Hash,
    /// When, by the prober's clock.
    pub at: Timestamp,
    /// One entry per address asked about, in that order.
    pub reached: Vec<Reached>,
}

impl Statement for ProbeAnswer {
    const KIND: Kind = Kind::Probe;
    const SCHEMA: u32 = 1;
}

/// What came of one new connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reached {
    /// To which address.
    pub to: IpAddr,
    /// From which of the prober's addresses, when it connected.
    pub from: Option<IpAddr>,
    /// From which of the prober's ports: the host finds the connection in its own tracking table.
    pub from_port: u16,
    /// An SSH banner came (`SSH-2.0-…`).
    pub banner: bool,
}
