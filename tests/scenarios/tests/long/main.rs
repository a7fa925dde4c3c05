//! Scenarios that are long or mostly wait, in one program so that they run side by side.

mod ansible;
mod backup;
mod backup_faults;
mod busy;
mod clear;
mod demo;
mod killed;
mod lies;
mod linked;
mod look;
mod recovery;
mod rows;
mod runs;
mod told;
