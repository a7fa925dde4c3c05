//! Walks the compiled table as the kernel would: one packet in, a verdict and the rule that gave it out.
//! Used by the policy's tests, by `tenure check`, and to find tracked connections that the ruleset in force denies.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use tenure_policy::resolved::Protocol;

use super::table::{Family, Hook, Match, Rule, Table, Then};

/// For which process a packet goes out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sender {
    /// No local process (or one that no rule names).
    Nobody,
    /// This uid.
    Uid(u32),
    /// Any: a rule for some accounts counts as a match. The answer is "may anybody".
    Anyone,
}

/// What connection tracking says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tracked {
    /// A first packet.
    New,
    /// A reply, or related to a known connection.
    Known,
    /// Fits no connection.
    Invalid,
}

/// One packet at a hook.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packet {
    /// Source.
    pub src: IpAddr,
    /// Destination.
    pub dst: IpAddr,
    /// Protocol number in IP.
    pub protocol: u8,
    /// Source port, for TCP and UDP.
    pub sport: u16,
    /// Destination port, for TCP and UDP.
    pub dport: u16,
    /// Message type, for ICMP and ICMPv6.
    pub icmp: Option<u8>,
    /// Connection tracking.
    pub tracked: Tracked,
    /// Its destination was translated.
    pub dnat: bool,
    /// The destination is an address of this host.
    pub local: bool,
    /// Over the loopback interface.
    pub loopback: bool,
    /// IPv6 hop limit.
    pub hop_limit: u8,
    /// Who sends it (hook output).
    pub sender: Sender,
}

/// What becomes of a packet, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Decision {
    /// Let through?
    pub accept: bool,
    /// The comment of the rule that decided: `rule:<id>`, `block:<network>`, `default:<hook>`, or a fixed rule's name.
    pub by: String,
}

impl Decision {
    /// The id of the policy's rule that decided, if one did.
    pub fn rule(&self) -> Option<&str> {
        self.by.strip_prefix("rule:")
    }
}

/// A new connection from `src` to `dst` (an address of this host): judged before translation and again at input.
pub fn inbound(table: &Table, src: IpAddr, dst: IpAddr, protocol: Protocol, port: u16) -> Decision {
    let packet = Packet { local: true, ..first_packet(src, dst, protocol, port, Sender::Nobody) };
    match walk(table, Hook::Prerouting, &packet) {
        Decision { accept: true, .. } => walk(table, Hook::Input, &packet),
        refused => refused,
    }
}

/// A new connection from this host (`src` one of its addresses) to `dst`.
pub fn outbound(
    table: &Table,
    src: IpAddr,
    dst: IpAddr,
    protocol: Protocol,
    port: u16,
    sender: Sender,
) -> Decision {
    walk(table, Hook::Output, &first_packet(src, dst, protocol, port, sender))
}

/// Walks one hook. A hook that the table does not judge lets everything through.
pub fn walk(table: &Table, hook: Hook, packet: &Packet) -> Decision {
    if !table.has(hook) {
        return Decision { accept: true, by: format!("{hook} is not judged") };
    }
    // A base chain's policy is drop; our chains end with a verdict, so this is reached only by a table that is not ours.
    chain(table, hook.name(), packet, 0)
        .unwrap_or_else(|| Decision { accept: false, by: format!("policy of {hook}") })
}

/// A first packet, from an ephemeral port, to somewhere that is not this host.
pub fn first_packet(src: IpAddr, dst: IpAddr, protocol: Protocol, port: u16, sender: Sender) -> Packet {
    let protocol = match protocol {
        Protocol::Tcp => 6,
        Protocol::Udp => 17,
    };
    Packet {
        src,
        dst,
        protocol,
        sport: 49_152,
        dport: port,
        icmp: None,
        tracked: Tracked::New,
        dnat: false,
        local: false,
        loopback: false,
        hop_limit: 64,
        sender,
    }
}

/// nft allows 16 nested jumps; our tables nest one.
const MAX_DEPTH: u8 = 16;

fn chain(table: &Table, name: &str, packet: &Packet, depth: u8) -> Option<Decision> {
    let rules = table.chains.get(name)?;
    for rule in rules.iter().filter(|rule| rule.matches.iter().all(|m| holds(table, m, packet))) {
        match &rule.then {
            Then::Accept => return Some(decision(true, rule)),
            Then::Drop | Then::RejectReset | Then::RejectProhibited => return Some(decision(false, rule)),
            Then::Jump(target) if depth < MAX_DEPTH => {
                if let Some(decided) = chain(table, target, packet, depth + 1) {
                    return Some(decided);
                }
            }
            Then::Jump(_) | Then::Log(_) => {}
        }
    }
    None
}

fn decision(accept: bool, rule: &Rule) -> Decision {
    Decision { accept, by: rule.comment.clone().unwrap_or_default() }
}

/// Limits are taken as not reached.
fn holds(table: &Table, m: &Match, packet: &Packet) -> bool {
    let in_set = |name: &str, address| table.sets.get(name).is_some_and(|set| set.contains(address));
    match m {
        Match::InLoopback | Match::OutLoopback => packet.loopback,
        Match::CtKnown => packet.tracked == Tracked::Known,
        Match::CtInvalid => packet.tracked == Tracked::Invalid,
        Match::CtDnat => packet.dnat,
        Match::Family(family) => family_of(packet.src) == *family,
        Match::NotLocal => !packet.local,
        Match::Protocol(protocol) => packet.protocol == *protocol,
        Match::Icmp(family, types) => {
            let protocol = match family {
                Family::V4 => 1,
                Family::V6 => 58,
            };
            packet.protocol == protocol && types.iter().any(|t| Some(t.number) == packet.icmp)
        }
        Match::HopLimit(limit) => family_of(packet.src) == Family::V6 && packet.hop_limit == *limit,
        Match::SourceIn(set) => in_set(set, packet.src),
        Match::DestinationIn(set) => in_set(set, packet.dst),
        Match::SourceV6(nets) => {
            matches!(packet.src, IpAddr::V6(a) if nets.iter().any(|net| net.contains(&a)))
        }
        Match::DestinationV6(nets) => {
            matches!(packet.dst, IpAddr::V6(a) if nets.iter().any(|net| net.contains(&a)))
        }
        Match::SourcePort(transport, port) => packet.protocol == transport.number() && packet.sport == *port,
        Match::DestinationPorts(transport, ranges) => {
            packet.protocol == transport.number()
                && ranges.iter().any(|(first, last)| (*first..=*last).contains(&packet.dport))
        }
        Match::Uids(uids) => match packet.sender {
            Sender::Nobody => false,
            Sender::Uid(uid) => uids.contains(&uid),
            Sender::Anyone => true,
        },
        Match::Limit { .. } => true,
    }
}

fn family_of(address: IpAddr) -> Family {
    match address {
        IpAddr::V4(_) => Family::V4,
        IpAddr::V6(_) => Family::V6,
    }
}

#[cfg(test)]
#[path = "evaluate_tests.rs"]
mod tests;
