//! What is signed, by whom, and how a holder checks it: ids, envelopes, roles, versions, index, record chain.
//! Knows an area only as a name. Pure: no file, socket, clock, environment or process.

pub mod hash;
pub mod ids;
pub mod text;

pub use hash::Hash;
pub use ids::{AreaName, Epoch, FleetName, HostName, IdError, PersonName, PolicyVersion, Seq, TenantId};
pub use text::{neutral, neutral_bytes};
