//! A tenant's duties judged from records of hosts and vaults: state, reasons, next date. Whether host and vault agree,
//! deadlines and silence are judged here and nowhere else. Pure: whoever calls brings policies, facts and the time.

mod access;
mod areas;
mod believed;
mod changes;
mod copies;
mod counted;
mod drills;
mod grid;
pub mod history;
pub mod input;
mod judge;
mod offhost;
mod patches;
mod promise;
mod purge;
pub mod reason;
mod ring;
mod rows;
pub mod say;
mod slots;
pub mod state;
mod vaults;
pub mod view;
mod waivers;

pub use changes::{Change, Standing, carry};
pub use input::{HostBackups, Input, Newest, Reported};
pub use judge::judge;
pub use reason::Reason;
pub use state::{Counts, Evidence, Obligation, RecordRef, State};
