//! The rules that every table has, whatever the policy says: ICMP, neighbour discovery, DHCP, and the defaults at the end.

use ipnet::Ipv6Net;

use super::table::{Family, Hook, IcmpType, Match, Rule, Then, Transport};

pub(super) fn accept(matches: Vec<Match>, comment: &str) -> Rule {
    Rule { matches, counter: None, then: Then::Accept, comment: Some(comment.into()) }
}

pub(super) fn jump(chain: &str) -> Rule {
    Rule { matches: vec![], counter: None, then: Then::Jump(chain.into()), comment: None }
}

pub(super) fn default_drop(hook: Hook) -> Vec<Rule> {
    vec![
        Rule {
            matches: vec![Match::Limit { rate: 10, burst: 20 }],
            counter: None,
            then: Then::Log(format!("{hook} drop")),
            comment: Some(format!("log:{hook}")),
        },
        Rule {
            matches: vec![],
            counter: Some(format!("d_{hook}")),
            then: Then::Drop,
            comment: Some(format!("default:{hook}")),
        },
    ]
}

/// Refuses: a reset for TCP first, because an IPv6 connect hangs to its timeout on ICMP alone (measured).
pub(super) fn reject(matches: Vec<Match>, counter: &str, comment: &str) -> [Rule; 2] {
    let rule =
        |matches, then| Rule { matches, counter: Some(counter.into()), then, comment: Some(comment.into()) };
    let mut tcp = matches.clone();
    tcp.push(Match::Protocol(6));
    [rule(tcp, Then::RejectReset), rule(matches, Then::RejectProhibited)]
}

pub(super) fn link_local() -> Ipv6Net {
    Ipv6Net::new_assert(std::net::Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0), 10)
}

/// All_DHCP_Relay_Agents_and_Servers (RFC 8415 section 7.1).
pub(super) fn dhcp6_servers() -> Ipv6Net {
    Ipv6Net::new_assert(std::net::Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 1, 2), 128)
}

fn icmp4(types: &[(u8, &str)]) -> Match {
    Match::Icmp(Family::V4, named(types))
}

fn icmp6(types: &[(u8, &str)]) -> Match {
    Match::Icmp(Family::V6, named(types))
}

fn named(types: &[(u8, &str)]) -> Vec<IcmpType> {
    types.iter().map(|(number, name)| IcmpType { number: *number, name: (*name).into() }).collect()
}

const UNREACHABLE: (u8, &str) = (3, "destination-unreachable");
const EXCEEDED: (u8, &str) = (11, "time-exceeded");
const PROBLEM: (u8, &str) = (12, "parameter-problem");
const ECHO: (u8, &str) = (8, "echo-request");
const ERRORS6: [(u8, &str); 4] =
    [(1, "destination-unreachable"), (2, "packet-too-big"), (3, "time-exceeded"), (4, "parameter-problem")];
const ECHO6: (u8, &str) = (128, "echo-request");
const MLD: [(u8, &str); 4] = [
    (130, "mld-listener-query"),
    (131, "mld-listener-report"),
    (132, "mld-listener-done"),
    (143, "mld2-listener-report"),
];
const ROUTER_SOLICIT: (u8, &str) = (133, "nd-router-solicit");
const ROUTER_ADVERT: (u8, &str) = (134, "nd-router-advert");
const NEIGHBOUR_SOLICIT: (u8, &str) = (135, "nd-neighbor-solicit");
const NEIGHBOUR_ADVERT: (u8, &str) = (136, "nd-neighbor-advert");

pub(super) fn icmp_in() -> Vec<Rule> {
    let limit = Match::Limit { rate: 50, burst: 100 };
    let ping =
        |echo, comment| Rule { counter: Some("r_ping".into()), ..accept(vec![echo, limit.clone()], comment) };
    vec![
        // errors a host must hear are never rate limited and never dropped by connection tracking
        accept(vec![icmp4(&[UNREACHABLE, EXCEEDED, PROBLEM])], "icmp4:errors"),
        accept(vec![icmp6(&ERRORS6)], "icmp6:errors"),
        // redirects (137) are not accepted
        accept(
            vec![icmp6(&[ROUTER_ADVERT, NEIGHBOUR_SOLICIT, NEIGHBOUR_ADVERT]), Match::HopLimit(255)],
            "icmp6:nd-ra",
        ),
        accept(vec![icmp6(&MLD), Match::SourceV6(vec![link_local()])], "icmp6:mld"),
        ping(icmp4(&[ECHO]), "icmp4:echo"),
        ping(icmp6(&[ECHO6]), "icmp6:echo"),
    ]
}

pub(super) fn icmp_out() -> Vec<Rule> {
    let mut out6 = ERRORS6.to_vec();
    out6.push(ECHO6);
    out6.extend(MLD);
    out6.extend([ROUTER_SOLICIT, NEIGHBOUR_SOLICIT, NEIGHBOUR_ADVERT]);
    out6.sort_unstable();
    vec![
        accept(vec![icmp4(&[UNREACHABLE, ECHO, EXCEEDED, PROBLEM])], "icmp4:out"),
        accept(vec![icmp6(&out6)], "icmp6:out"),
    ]
}

pub(super) fn dhcp_in() -> Vec<Rule> {
    vec![
        accept(
            vec![
                Match::Family(Family::V4),
                Match::SourcePort(Transport::Udp, 67),
                Match::DestinationPorts(Transport::Udp, vec![(68, 68)]),
            ],
            "dhcp4:client",
        ),
        accept(
            vec![
                Match::SourceV6(vec![link_local()]),
                Match::DestinationV6(vec![link_local()]),
                Match::SourcePort(Transport::Udp, 547),
                Match::DestinationPorts(Transport::Udp, vec![(546, 546)]),
            ],
            "dhcp6:client",
        ),
    ]
}
