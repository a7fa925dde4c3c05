//! The one real host: files, netlink, and the few programs that are asked.

pub mod conntrack;
mod fault;
pub mod host;
pub mod jobs;
mod listeners;
mod memo;
mod netlink;
pub mod nftables;
mod recent;
mod ruleset;
mod sock_diag;
mod sshd;
pub mod watch;

#[cfg(test)]
mod tests;

pub use host::LinuxHost;
pub use jobs::JobBell;
pub use netlink::NetlinkError;
pub use watch::{Change, ChangeLog, Watcher};
