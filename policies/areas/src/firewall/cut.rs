//! Finds tracked connections that the ruleset in force would not let begin: known connections survive a change of rules, so what a
//! trial opened, or what a confirmed ruleset takes away, must be cut by deleting its entry.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::evaluate::{Packet, Sender, Tracked, walk};
use super::table::{Hook, Table};
use crate::port::Flow;

/// The flows that the table denies. `addresses` are this host's own; flows between others (forwarded) and ICMP are left alone.
///
/// Which end opened a connection is not always known (those entered from /proc/net/tcp), so one that leaves from this host is also
/// kept when the table would let it begin from the other end.
pub fn denied(table: &Table, flows: &[Flow], addresses: &[IpAddr]) -> Vec<Flow> {
    let own: BTreeSet<IpAddr> = addresses.iter().copied().collect();
    let judged = |flow: &&Flow| !matches!(flow.protocol, 1 | 58);
    let mut out: Vec<Flow> = flows
        .iter()
        .filter(judged)
        .filter(|flow| match (own.contains(&flow.src), own.contains(&flow.dst)) {
            (true, true) | (false, false) => false,
            (false, true) => !comes_in(table, flow),
            (true, false) => !goes_out(table, flow) && !comes_in(table, &turned(flow)),
        })
        .cloned()
        .collect();
    out.sort_unstable();
    out.dedup();
    out
}

fn comes_in(table: &Table, flow: &Flow) -> bool {
    let packet = Packet { local: true, ..first(flow, Sender::Nobody) };
    walk(table, Hook::Prerouting, &packet).accept && walk(table, Hook::Input, &packet).accept
}

fn goes_out(table: &Table, flow: &Flow) -> bool {
    walk(table, Hook::Output, &first(flow, Sender::Anyone)).accept
}

fn turned(flow: &Flow) -> Flow {
    Flow { protocol: flow.protocol, src: flow.dst, dst: flow.src, sport: flow.dport, dport: flow.sport }
}

fn first(flow: &Flow, sender: Sender) -> Packet {
    Packet {
        src: flow.src,
        dst: flow.dst,
        protocol: flow.protocol,
        sport: flow.sport,
        dport: flow.dport,
        icmp: None,
        tracked: Tracked::New,
        dnat: false,
        local: false,
        loopback: false,
        hop_limit: 64,
        sender,
    }
}
