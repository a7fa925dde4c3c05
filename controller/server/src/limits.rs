//! What the controller bears with, and how often it looks by itself. Tests have other limits than a fleet.

use std::time::Duration;

/// How long and how much.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Time for a TLS handshake.
    pub handshake: Duration,
    /// Time for the head of a request, also of the next one on a connection that stays.
    pub head: Duration,
    /// Time for the body of a request.
    pub body: Duration,
    /// The longest time between two judgements that nobody asks for; with each heartbeat of the policy, if that is less.
    pub judge: Duration,
    /// A judgement is shown again for so long: many pages at once cost one.
    pub fresh: Duration,
    /// Bytes of records that one machine may send in a day (UTC): many times what a host has to say, and what it kept
    /// over weeks without a controller.
    pub budget: u64,
    /// Free bytes of the disk below which heartbeats are taken and no more; below a quarter of it, nothing.
    pub floor: u64,
}

impl Default for Limits {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self {
            handshake: seconds(10),
            head: seconds(30),
            body: seconds(60),
            judge: seconds(60),
            fresh: seconds(2),
            budget: 512 << 20,
            floor: 256 << 20,
        }
    }
}
