//! The off-host backup server: takes backups in, keeps journals of what it took, turns the ring, and shows read-only
//! views. It has no key to the data. What it decides is pure (`ring`, `in_force`, the names of views); the rest carries
//! it out.

pub mod cli;
pub mod config;
pub mod in_force;
pub mod journal;
pub mod keys;
pub mod orders;
pub mod policy;
mod put_off;
pub mod records;
pub mod ring;
pub mod run;
pub mod server;
pub mod store;
pub mod vault;
pub mod witness;
