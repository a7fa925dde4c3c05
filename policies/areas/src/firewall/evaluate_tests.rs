//! The evaluator agrees with a naive reading of the section, and with what the policy's words mean.

use std::net::IpAddr;

use proptest::prelude::*;
use tenure_policy::names::{NetworkName, UnixUser};
use tenure_policy::resolved::{FirewallSection, Peers, Ports, Users};

use super::*;
use crate::firewall::compile::{HostBits, compile};
use crate::firewall::samples::{any_section, web};

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn is_in(section: &FirewallSection, name: &NetworkName, address: IpAddr) -> bool {
    let networks = &section.networks[name];
    match address {
        IpAddr::V4(a) => networks.v4.iter().any(|net| net.contains(&a)),
        IpAddr::V6(a) => networks.v6.iter().any(|net| net.contains(&a)),
    }
}

fn reads(
    section: &FirewallSection,
    peers: &Peers,
    ports: &[Ports],
    far: IpAddr,
    protocol: Protocol,
    port: u16,
) -> bool {
    let who = match peers {
        Peers::Anywhere => true,
        Peers::Networks(names) => names.iter().any(|name| is_in(section, name, far)),
    };
    who && ports.iter().any(|p| p.protocol == protocol && (p.first..=p.last).contains(&port))
}

fn blocked(section: &FirewallSection, far: IpAddr) -> bool {
    section.blocks.iter().any(|name| is_in(section, name, far))
}

/// DHCP is let through whatever the policy says, from its own ports only; a naive reading leaves those ports out.
fn naive_in(section: &FirewallSection, far: IpAddr, protocol: Protocol, port: u16) -> bool {
    !blocked(section, far)
        && section.inbound.iter().any(|r| reads(section, &r.from, &r.ports, far, protocol, port))
}

fn naive_out(
    section: &FirewallSection,
    far: IpAddr,
    protocol: Protocol,
    port: u16,
    user: Option<&str>,
) -> bool {
    let for_user = |users: &Users| match users {
        Users::Every => true,
        Users::Named(names) => user.is_some_and(|user| names.iter().any(|n| n.as_str() == user)),
    };
    !blocked(section, far)
        && section
            .outbound
            .iter()
            .any(|r| for_user(&r.users) && reads(section, &r.to, &r.ports, far, protocol, port))
}

/// Addresses inside and outside of the section's networks, and ports at the edges of its rules.
fn probes(section: &FirewallSection) -> (Vec<IpAddr>, Vec<u16>) {
    let mut addresses = vec![ip("192.0.2.1"), ip("2001:db8::1"), ip("0.0.0.0"), ip("255.255.255.255")];
    for networks in section.networks.values() {
        for net in &networks.v4 {
            addresses.extend([IpAddr::V4(net.network()), IpAddr::V4(net.broadcast())]);
            addresses.extend(net.broadcast().to_bits().checked_add(1).map(|b| IpAddr::V4(b.into())));
        }
        for net in &networks.v6 {
            addresses.extend([IpAddr::V6(net.network()), IpAddr::V6(net.broadcast())]);
            addresses.extend(net.network().to_bits().checked_sub(1).map(|b| IpAddr::V6(b.into())));
        }
    }
    let ranges =
        section.inbound.iter().flat_map(|r| &r.ports).chain(section.outbound.iter().flat_map(|r| &r.ports));
    let mut ports: Vec<u16> = vec![0, 22, 65535];
    for p in ranges {
        ports.extend([p.first, p.last, p.first.saturating_sub(1), p.last.saturating_add(1)]);
    }
    ports.retain(|port| ![67, 68, 546, 547].contains(port));
    (addresses, ports)
}

proptest! {
    #[test]
    fn agrees_with_a_naive_reading(section in any_section()) {
        let host = HostBits::assumed(&section);
        let table = compile(&section, &host).unwrap();
        let (addresses, ports) = probes(&section);
        for far in addresses {
            let here = if far.is_ipv4() { ip("10.0.0.1") } else { ip("fd00::1") };
            for port in &ports {
                for protocol in [Protocol::Tcp, Protocol::Udp] {
                    let wanted = naive_in(&section, far, protocol, *port);
                    prop_assert_eq!(inbound(&table, far, here, protocol, *port).accept, wanted, "in {} {:?}/{}", far, protocol, port);
                    for user in [None, Some("app"), Some("deploy")] {
                        let uid = user.and_then(|u| host.uids.get(&UnixUser::new(u).unwrap()).copied());
                        let sender = uid.map_or(Sender::Nobody, Sender::Uid);
                        // an account that no rule names is like no account
                        let named = uid.and(user);
                        let wanted = naive_out(&section, far, protocol, *port, named);
                        prop_assert_eq!(outbound(&table, here, far, protocol, *port, sender).accept, wanted, "out {} {:?}/{} {:?}", far, protocol, port, user);
                    }
                }
            }
        }
    }
}

#[test]
fn a_decision_names_its_rule() {
    let section = web();
    let table = compile(&section, &HostBits::assumed(&section)).unwrap();
    let here = |v6: bool| if v6 { ip("2001:db8:1::11") } else { ip("198.51.100.11") };
    let cases = [
        ("203.0.113.9", 22, "rule:implied:ssh/admin"),
        ("2001:db8:10::9", 22, "rule:implied:ssh/admin"),
        ("192.0.2.77", 22, "default:prerouting"),
        ("192.0.2.77", 443, "rule:web/inbound/1"),
        ("192.0.2.66", 443, "block:bad"),
        ("2001:db8:bad::1", 443, "block:bad"),
    ];
    for (from, port, by) in cases {
        let from = ip(from);
        assert_eq!(inbound(&table, from, here(from.is_ipv6()), Protocol::Tcp, port).by, by, "{from} {port}");
    }
    let out = |to: &str, port, sender| {
        let to = ip(to);
        outbound(&table, here(to.is_ipv6()), to, Protocol::Tcp, port, sender)
    };
    assert_eq!(out("198.51.100.53", 53, Sender::Nobody).rule(), Some("base/outbound/1"));
    assert_eq!(out("192.0.2.1", 80, Sender::Anyone).rule(), Some("web/outbound/1"));
    assert!(!out("192.0.2.1", 80, Sender::Nobody).accept);
    assert_eq!(out("192.0.2.1", 80, Sender::Uid(5)).by, "default:output");
    assert_eq!(out("192.0.2.66", 80, Sender::Anyone).by, "block:bad");
}

#[test]
fn known_connections_and_icmp_errors_pass_and_invalid_ones_do_not() {
    let section = web();
    let table = compile(&section, &HostBits::assumed(&section)).unwrap();
    let base = Packet {
        local: true,
        ..first_packet(ip("192.0.2.77"), ip("198.51.100.11"), Protocol::Tcp, 9, Sender::Nobody)
    };
    for hook in [Hook::Prerouting, Hook::Input, Hook::Output] {
        let verdict = |packet| walk(&table, hook, &packet).accept;
        assert!(verdict(Packet { tracked: Tracked::Known, ..base }), "{hook}");
        assert!(!verdict(Packet { tracked: Tracked::Invalid, dport: 443, ..base }), "{hook}");
        assert!(verdict(Packet { protocol: 1, icmp: Some(3), tracked: Tracked::Invalid, ..base }), "{hook}");
        assert!(!verdict(base), "{hook}");
        assert!(verdict(Packet { loopback: true, ..base }), "{hook}");
    }
    let neighbour = Packet {
        src: ip("fe80::1"),
        dst: ip("ff02::1:ff00:1"),
        protocol: 58,
        icmp: Some(135),
        hop_limit: 255,
        ..base
    };
    assert!(walk(&table, Hook::Input, &neighbour).accept);
    assert!(!walk(&table, Hook::Input, &Packet { hop_limit: 64, ..neighbour }).accept, "off-link");
    assert!(!walk(&table, Hook::Input, &Packet { icmp: Some(137), ..neighbour }).accept, "redirect");
    assert!(walk(&table, Hook::Prerouting, &Packet { local: false, ..base }).accept, "not for us");
    assert!(!walk(&table, Hook::Forward, &Packet { local: false, ..base }).accept);
    assert!(walk(&table, Hook::Forward, &Packet { local: false, dnat: true, ..base }).accept, "published");
}
