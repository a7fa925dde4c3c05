//! What a machine holds of its fleet: the signed policy it has taken, and the chain of what it has stated.
//! Used by agent and vault. The chain on disk is the spool as well: nothing leaves it until somebody has taken it in.

pub mod admissions;
pub mod chain;
pub mod export;
pub mod identity;
mod segment;
pub mod ssh_key;
pub mod store;
pub mod tail;
pub mod uplink;

pub use admissions::Admitted;
pub use chain::{ChainError, ChainStore, Repair};
pub use export::{ExportError, export, export_as};
pub use identity::Identity;
pub use store::{BundleStore, Offered, Places, StoreError};
pub use tail::newest_first;
pub use uplink::{LinkError, LinkStatus, Notice, Ticket, Uplink};
