//! Areas of the loop: what a host should be, what it is, and what to do about the difference.
//! Pure: decides from facts that a port read; the shell's ports act.

mod addresses;
pub mod area;
pub mod backup;
pub mod fake;
pub mod firewall;
pub mod pass;
pub mod patch;
pub mod port;
pub mod set_tests;
pub mod ssh_access;
pub mod ssh_servers;

#[cfg(test)]
mod hostile_tests;
#[cfg(test)]
mod laws;
