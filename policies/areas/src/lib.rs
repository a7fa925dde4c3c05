//! Areas of the loop: what a host should be, what it is, and what to do about the difference.
//! Pure: decides from facts that a port read; the shell's ports act.

pub mod addresses;
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

use area::AreaSpec;

/// The names of all areas, in the order in which a host is set up. Each stands in the laws, in the agent's list of lanes and
/// in the controller's judging, and tests of theirs hold them to this list.
pub const AREAS: [&str; 4] =
    [firewall::Firewall::NAME, ssh_access::SshAccess::NAME, patch::Patch::NAME, backup::Backup::NAME];

#[cfg(test)]
mod hostile_tests;
#[cfg(test)]
mod laws;
