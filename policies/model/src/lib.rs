//! The policy language: YAML as a person writes it → parsed → resolved sections per machine.
//! Pure: takes a map of texts and reads no file; knows no area's types.

pub mod addresses;
pub mod bundles;
pub mod calendar;
pub mod clocks;
pub mod duties;
pub mod fault;
pub mod fmt;
#[cfg(test)]
mod hostile_tests;
pub mod names;
pub mod nearest;
pub mod plain;
pub mod read;
#[cfg(test)]
mod read_tests;
pub mod reference;
pub mod resolve;
pub mod resolved;
pub mod resolved_backup;
pub mod scalars;
pub mod schema;
pub mod services;
pub mod shape;
pub mod sizes;
pub mod slots;
pub mod tree;
#[cfg(test)]
mod tree_tests;
pub mod written;

pub use fault::{Fault, FaultCode, Faults, Place, Spanned};
pub use read::{Reading, read};
pub use resolve::{Set, load, load_standalone};
pub use written::Written;
