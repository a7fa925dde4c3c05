//! The proof finds every cut and names it; it agrees with the evaluator on samples.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use proptest::prelude::*;
use tenure_policy::resolved::{Addresses, Peers, Protocol};

use super::*;
use crate::firewall::compile::{HostBits, compile};
use crate::firewall::evaluate;
use crate::firewall::samples::{any_section, inbound, network, tcp, web};

fn judged(section: &FirewallSection) -> Result<(), Refusal> {
    management_stays(section, &compile(section, &HostBits::assumed(section)).unwrap(), &[])
}

#[test]
fn an_open_path_passes() {
    assert_eq!(judged(&web()), Ok(()));
}

#[test]
fn it_is_proved_where_the_server_listens() {
    let section = web();
    let table = compile(&section, &HostBits::assumed(&section)).unwrap();
    for listening in [&[][..], &[22], &[22, 2222], &[2222, 22]] {
        assert_eq!(management_stays(&section, &table, listening), Ok(()), "{listening:?}");
    }
    let refusal = management_stays(&section, &table, &[2222, 2200]).unwrap_err();
    assert_eq!(refusal.kind, "ssh-listens-elsewhere");
    assert!(
        refusal.what.contains("SSH listens on tcp/2200, tcp/2222 and the policy opens tcp/22"),
        "{refusal:?}"
    );
    assert!(refusal.what.contains("cut off marit"), "{refusal:?}");
    let mut closed = section.clone();
    closed.inbound.clear();
    let table = compile(&closed, &HostBits::assumed(&closed)).unwrap();
    let refusal = management_stays(&closed, &table, &[2222]).unwrap_err();
    assert_eq!(refusal.kind, "management-path-cut", "the policy itself opens nothing");
}

#[test]
fn every_way_to_cut_it_is_refused_by_name() {
    type Change = fn(&mut FirewallSection);
    let cases: [(&str, Change, &str, &str); 6] = [
        ("no rule", |s| s.inbound.clear(), "management-path-cut", "default:prerouting"),
        (
            "another port",
            |s| s.inbound[0].ports = vec![tcp(2222)],
            "management-path-cut",
            "default:prerouting",
        ),
        ("blocked", |s| s.blocks.push(network("office")), "management-path-cut", "block:office"),
        (
            "a part of it blocked, in one family",
            |s| {
                let part = Addresses { v4: vec![], v6: vec!["2001:db8:10:7::/64".parse().unwrap()] };
                s.networks.insert(network("part"), part);
                s.blocks = vec![network("part")];
            },
            "management-path-cut",
            "block:part",
        ),
        (
            "only half let in",
            |s| {
                let half = Addresses {
                    v4: vec!["203.0.113.0/25".parse().unwrap()],
                    v6: vec!["2001:db8:10::/48".parse().unwrap()],
                };
                s.networks.insert(network("half"), half);
                s.inbound[0].from = Peers::Networks(vec![network("half")]);
            },
            "management-path-cut",
            "default:prerouting",
        ),
        ("nobody named", |s| s.management.clear(), "no-management-path", ""),
    ];
    for (what, change, kind, rule) in cases {
        let mut section = web();
        change(&mut section);
        let refusal = judged(&section).expect_err(what);
        assert_eq!(
            (refusal.kind.as_str(), refusal.rule.as_deref().unwrap_or_default()),
            (kind, rule),
            "{what}"
        );
    }
}

#[test]
fn two_halves_make_a_whole() {
    let mut section = web();
    for (name, net) in [("low", "203.0.113.0/25"), ("high", "203.0.113.128/25")] {
        let half =
            Addresses { v4: vec![net.parse().unwrap()], v6: vec!["2001:db8:10::/48".parse().unwrap()] };
        section.networks.insert(network(name), half);
    }
    section.inbound = vec![inbound("a", vec![tcp(22)], &["low"]), inbound("b", vec![tcp(22)], &["high"])];
    assert_eq!(judged(&section), Ok(()));
    section.inbound.pop();
    let refusal = judged(&section).unwrap_err();
    assert!(refusal.what.contains("203.0.113.128"), "{}", refusal.what);
}

#[test]
fn replies_must_get_out() {
    let section = web();
    let mut table = compile(&section, &HostBits::assumed(&section)).unwrap();
    table.chains.get_mut("output").unwrap().retain(|rule| rule.comment.as_deref() != Some("ct"));
    let refusal = management_stays(&section, &table, &[]).unwrap_err();
    assert_eq!(refusal.kind, "management-path-cut");
    assert!(refusal.what.contains("output"), "{}", refusal.what);
}

proptest! {
    /// What the proof lets through, the evaluator accepts at both ends and in the middle; what it refuses, it can show.
    #[test]
    fn agrees_with_the_evaluator(mut section in any_section()) {
        section.inbound.push(inbound("implied:ssh/x", vec![tcp(22)], &["office"]));
        let table = compile(&section, &HostBits::assumed(&section)).unwrap();
        let office = &section.networks[&network("office")];
        let mut far: Vec<IpAddr> = Vec::new();
        for net in &office.v4 {
            let (a, b) = (net.network().to_bits(), net.broadcast().to_bits());
            far.extend([a, a + (b - a) / 2, b].map(|bits| IpAddr::V4(Ipv4Addr::from_bits(bits))));
        }
        for net in &office.v6 {
            let (a, b) = (net.network().to_bits(), net.broadcast().to_bits());
            far.extend([a, a + (b - a) / 2, b].map(|bits| IpAddr::V6(Ipv6Addr::from_bits(bits))));
        }
        let reached = |a: &IpAddr| {
            let here = if a.is_ipv4() { IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1)) } else { IpAddr::V6(Ipv6Addr::LOCALHOST) };
            evaluate::inbound(&table, *a, here, Protocol::Tcp, 22).accept
        };
        match management_stays(&section, &table, &[]) {
            Ok(()) => prop_assert!(far.iter().all(reached)),
            Err(refusal) if refusal.kind == "no-management-path" => prop_assert!(far.is_empty()),
            // only a block can cut it here, and blocks lie anywhere inside the network
            Err(refusal) => prop_assert!(refusal.rule.unwrap().starts_with("block:") && !section.blocks.is_empty()),
        }
    }

    #[test]
    fn difference_and_intersection_split(a in ranges_strategy(), b in ranges_strategy()) {
        let (both, only) = (intersection(&a, &b), difference(&a, &b));
        for point in 0..70u128 {
            let is_in = |ranges: &Ranges| ranges.iter().any(|(first, last)| (*first..=*last).contains(&point));
            prop_assert_eq!(is_in(&both), is_in(&a) && is_in(&b));
            prop_assert_eq!(is_in(&only), is_in(&a) && !is_in(&b));
        }
    }
}

fn ranges_strategy() -> impl Strategy<Value = Ranges> {
    prop::collection::btree_set(0u128..64, 0..10).prop_map(|points| {
        let points: Vec<u128> = points.into_iter().collect();
        points.chunks_exact(2).map(|pair| (pair[0], pair[1])).collect()
    })
}
