//! The agent: keeps a host as its signed policy says. Bells wake lanes, lanes make passes, one recorder writes the chain;
//! people come through the socket and the command line. Decisions are made in `tenure-areas`, not here.

pub mod bell;
pub mod config;
pub mod host;
pub mod journal;
pub mod linux;
pub mod output;
pub mod pace;
pub mod paths;
pub mod session;
pub mod sockets;
pub mod time_floor;
