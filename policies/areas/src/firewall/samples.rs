//! Sections for the tests of this area: two by hand, and a strategy that makes any.

use std::collections::BTreeMap;

use proptest::prelude::*;
use tenure_policy::names::{NetworkName, RuleId, UnixUser};
use tenure_policy::resolved::{
    Addresses, Confirm, ConfirmBy, FirewallSection, InboundRule, ManagementPath, OutboundRule, Peers, Ports,
    Protocol, Users,
};

pub(crate) fn network(name: &str) -> NetworkName {
    NetworkName::new(name).expect("a valid literal")
}

pub(crate) fn tcp(port: u16) -> Ports {
    Ports { protocol: Protocol::Tcp, first: port, last: port }
}

pub(crate) fn inbound(id: &str, ports: Vec<Ports>, from: &[&str]) -> InboundRule {
    let from = if from.is_empty() {
        Peers::Anywhere
    } else {
        Peers::Networks(from.iter().map(|name| network(name)).collect())
    };
    InboundRule { id: RuleId::new(id).expect("a valid literal"), ports, from }
}

/// SSH from the office, HTTPS from anywhere, DNS to the resolvers, HTTP for `deploy`.
pub(crate) fn web() -> FirewallSection {
    let addresses = |v4: &str, v6: &str| Addresses {
        v4: vec![v4.parse().expect("a valid literal")],
        v6: vec![v6.parse().expect("a valid literal")],
    };
    let dns = [Protocol::Tcp, Protocol::Udp].map(|protocol| Ports { protocol, first: 53, last: 53 });
    FirewallSection {
        networks: BTreeMap::from([
            (network("office"), addresses("203.0.113.0/24", "2001:db8:10::/48")),
            (network("resolvers"), addresses("198.51.100.53/32", "2001:db8:53::53/128")),
            (network("bad"), addresses("192.0.2.66/32", "2001:db8:bad::/48")),
        ]),
        inbound: vec![
            inbound("implied:ssh/admin", vec![tcp(22)], &["office"]),
            inbound("web/inbound/1", vec![tcp(80), tcp(443)], &[]),
        ],
        outbound: vec![
            OutboundRule {
                id: RuleId::new("base/outbound/1").expect("a valid literal"),
                ports: dns.to_vec(),
                to: Peers::Networks(vec![network("resolvers")]),
                users: Users::Every,
            },
            OutboundRule {
                id: RuleId::new("web/outbound/1").expect("a valid literal"),
                ports: vec![tcp(80)],
                to: Peers::Anywhere,
                users: Users::Named(vec![UnixUser::new("deploy").expect("a valid literal")]),
            },
        ],
        blocks: vec![network("bad")],
        management: vec![ManagementPath {
            person: "marit".parse().expect("a valid literal"),
            from: vec![network("office")],
            account: UnixUser::new("admin").expect("a valid literal"),
        }],
        confirm: Confirm { within_seconds: 60, by: ConfirmBy::Person },
        neighbours: vec!["docker".into()],
    }
}

/// As [`web`], with one more port.
pub(crate) fn web_wider() -> FirewallSection {
    let mut section = web();
    section.inbound.push(inbound("web/inbound/2", vec![tcp(8443)], &["office"]));
    section
}

/// Any section with at most four networks, as the resolver makes them: names that resolve, lists that are not empty.
pub(super) fn any_section() -> impl Strategy<Value = FirewallSection> {
    let names = ["alpha", "beta", "gamma", "office"];
    let v4 = (any::<u32>(), 4u32..=32).prop_map(|(bits, length)| {
        let first = std::net::Ipv4Addr::from_bits(bits & (u32::MAX << (32 - length)));
        format!("{first}/{length}").parse().expect("a network without host bits")
    });
    let v6 = (any::<u128>(), 8u32..=128).prop_map(|(bits, length)| {
        let first = std::net::Ipv6Addr::from_bits(bits & (u128::MAX << (128 - length)));
        format!("{first}/{length}").parse().expect("a network without host bits")
    });
    let addresses = (prop::collection::vec(v4, 0..4), prop::collection::vec(v6, 0..4))
        .prop_map(|(v4, v6)| Addresses { v4, v6 });
    let networks = prop::collection::vec(addresses, names.len()..=names.len())
        .prop_map(move |all| names.iter().map(|n| network(n)).zip(all).collect::<BTreeMap<_, _>>());
    let peers = prop_oneof![
        1 => Just(Peers::Anywhere),
        3 => prop::sample::subsequence(names.to_vec(), 1..=3)
            .prop_map(|some| Peers::Networks(some.into_iter().map(network).collect())),
    ];
    let port = prop_oneof![1u16..100, 0u16..=u16::MAX, Just(u16::MAX)];
    let ports =
        (prop_oneof![Just(Protocol::Tcp), Just(Protocol::Udp)], port, prop_oneof![Just(0u16), 1u16..2000])
            .prop_map(|(protocol, first, span)| Ports { protocol, first, last: first.saturating_add(span) });
    let ports = prop::collection::vec(ports, 1..4);
    let users = prop_oneof![
        Just(Users::Every),
        prop::sample::subsequence(vec!["app", "deploy"], 1..=2).prop_map(|some| Users::Named(
            some.into_iter().map(|n| UnixUser::new(n).expect("a valid literal")).collect()
        )),
    ];
    let inbound = prop::collection::vec((ports.clone(), peers.clone()), 0..5).prop_map(|rules| {
        let rule = |(i, (ports, from))| InboundRule {
            id: RuleId::new(format!("x/inbound/{i}")).expect("a valid literal"),
            ports,
            from,
        };
        rules.into_iter().enumerate().map(rule).collect::<Vec<_>>()
    });
    let outbound = prop::collection::vec((ports, peers, users), 0..5).prop_map(|rules| {
        let rule = |(i, (ports, to, users))| OutboundRule {
            id: RuleId::new(format!("x/outbound/{i}")).expect("a valid literal"),
            ports,
            to,
            users,
        };
        rules.into_iter().enumerate().map(rule).collect::<Vec<_>>()
    });
    let blocks = prop::sample::subsequence(names[..3].to_vec(), 0..=1)
        .prop_map(|some| some.into_iter().map(network).collect::<Vec<_>>());
    (networks, inbound, outbound, blocks).prop_map(|(networks, inbound, outbound, blocks)| FirewallSection {
        networks,
        inbound,
        outbound,
        blocks,
        ..FirewallSection { networks: BTreeMap::new(), ..web() }
    })
}
