//! What is signed, by whom, and how a holder checks it: ids, envelopes, roles, versions, index, record chain.
//! Knows an area only as a name. Pure: no file, socket, clock, environment or process.

pub mod admission;
pub mod backup;
pub mod enrol;
pub mod envelope;
pub mod hash;
pub mod ids;
pub mod index;
pub mod ingest;
pub mod keys;
pub mod kind;
pub mod order;
pub mod own_seal;
pub mod probe;
pub mod record;
pub mod refused;
pub mod root;
pub mod ssh_text;
pub mod statement;
pub mod text;
pub mod vault_pages;
pub mod vault_wire;
pub mod verify_chain;
pub mod view;

pub use admission::{Admission, AdmissionBook, AdmissionList, MachineRole, Order, OrderKind};
pub use backup::{
    GenerationId, Object, ObjectKind, Owner, Receipt, Seal, SealClaims, SeriesId, SetName, SlotId, SlotTime,
};
pub use envelope::{Envelope, Signed};
pub use hash::Hash;
pub use ids::{
    AreaName, Epoch, EventName, FleetName, HostName, IdError, JudgeVersion, KeyName, PersonName,
    PolicyVersion, ReasonTag, RootVersion, RunId, Seq, TenantId, VaultName,
};
pub use index::{Arrival, Floor, Index, verify_bundle, verify_index};
pub use keys::{KeyFault, KeyId, NamedKey, PublicKey, Signature, SigningKey};
pub use kind::Kind;
pub use order::{Clear, OrderList};
pub use own_seal::{NoSeal, OwnSeal, own_seal};
pub use record::{
    About, Chain, Commitment, Draft, ExportHeader, ExportLine, Link, Payload, Record, VerdictTag,
};
pub use refused::Refused;
pub use root::{Role, RoleKeys, Root};
pub use ssh_text::SshKeyText;
pub use statement::{Bundle, Standing, Statement, Verified};
pub use text::{neutral, neutral_bytes};
pub use verify_chain::{ChainFault, ChainReport, ChainVerifier, Expected, Finding};
pub use view::{Point, View};

#[cfg(test)]
mod chain_tests;
#[cfg(test)]
mod refusal_tests;
