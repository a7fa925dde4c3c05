//! Scenarios that are long or mostly wait, in one program so that they run side by side.

mod after_faults;
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
mod runs;
mod told;
