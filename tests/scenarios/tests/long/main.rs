//! Scenarios that mostly wait, in one program so that they wait side by side.

mod backup_faults;
mod killed;
mod lies;
mod rows;
mod runs;
