//! Backups of a host: the run of one slot from key to receipt, dumps, reading back, restoring, drills, and the engine that
//! writes restic's repository format. When a run is due is decided elsewhere (`tenure-areas`).

pub mod drill;
pub mod dump;
pub mod engine;
pub mod error;
pub mod escrow;
pub mod job;
pub mod keys;
pub mod machine;
pub mod postgres;
pub mod reading;
pub mod scratch;
pub mod session;
pub mod source;
pub mod steps;
pub mod transport;
