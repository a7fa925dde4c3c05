//! What is given to nft stays as it was, byte for byte: the documents beside this file were written before the renderer was
//! built from the `nftables` crate's types, and real nft took them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use super::*;
use crate::firewall::compile::{HostBits, compile};
use crate::firewall::samples::{web, web_wider};
use crate::firewall::table::{IcmpType, Transport};
use crate::firewall::transaction;

/// What every function that writes for nft wrote, one command a line.
const DOCUMENTS: &str = include_str!("nft_documents.txt");

/// A table with every kind of match and end, one and several values of each.
fn everything() -> Table {
    let net = |text: &str| text.parse().unwrap();
    let icmp = |number, name: &str| IcmpType { number, name: name.into() };
    let matches = vec![
        Match::InLoopback,
        Match::OutLoopback,
        Match::CtKnown,
        Match::CtInvalid,
        Match::CtDnat,
        Match::Family(Family::V4),
        Match::Family(Family::V6),
        Match::NotLocal,
        Match::Protocol(47),
        Match::Icmp(Family::V4, vec![icmp(8, "echo-request")]),
        Match::Icmp(Family::V6, vec![icmp(1, "destination-unreachable"), icmp(2, "packet-too-big")]),
        Match::HopLimit(255),
        Match::SourceIn("n_office_4".into()),
        Match::SourceIn("n_office_6".into()),
        Match::DestinationIn("n_office_4".into()),
        Match::DestinationIn("n_office_6".into()),
        Match::SourceV6(vec![net("fe80::/10")]),
        Match::DestinationV6(vec![net("ff02::1/128"), net("ff02::1:ff00:0/104")]),
        Match::SourcePort(Transport::Udp, 547),
        Match::DestinationPorts(Transport::Tcp, vec![(22, 22)]),
        Match::DestinationPorts(Transport::Udp, vec![(53, 53), (60_000, 65_535)]),
        Match::Uids(vec![0]),
        Match::Uids(vec![1000, u32::MAX]),
        Match::Limit { rate: 5, burst: 10 },
    ];
    let ends = [
        Then::Accept,
        Then::Drop,
        Then::RejectReset,
        Then::RejectProhibited,
        Then::Jump("other".into()),
        Then::Log("in".into()),
    ];
    let ends = ends.into_iter().map(|then| Rule {
        matches: vec![],
        counter: Some("d_input".into()),
        then,
        comment: Some("rule:a \"quoted\" \u{e9}".into()),
    });
    let one = |m| Rule { matches: vec![m], counter: None, then: Then::Accept, comment: None };
    let rules = matches.into_iter().map(one).chain(ends).collect();
    let v4 = vec![net4("0.0.0.0/0"), net4("192.0.2.7/32")];
    let v6 = vec![net("::/0"), net("2001:db8::1/128")];
    Table {
        counters: BTreeSet::from(["d_input".into()]),
        sets: BTreeMap::from([
            ("n_office_4".into(), AddressSet::V4(v4)),
            ("n_office_6".into(), AddressSet::V6(v6)),
            ("n_none_4".into(), AddressSet::V4(vec![])),
        ]),
        chains: BTreeMap::from([("forward".into(), rules), ("other".into(), vec![])]),
    }
}

fn net4(text: &str) -> ipnet::Ipv4Net {
    text.parse().unwrap()
}

/// Every document over three pairs of tables.
fn documents() -> String {
    let compiled = |section| compile(&section, &HostBits::assumed(&section)).unwrap();
    let (open, narrow, wide, all) = (Table::open(), compiled(web()), compiled(web_wider()), everything());
    let mut out = String::new();
    let mut write = |name: &str, document: String| {
        let value: Value = serde_json::from_str(&document).unwrap();
        assert_eq!(value.to_string(), document, "nothing but one JSON document");
        writeln!(out, "== {name}").unwrap();
        for command in value["nftables"].as_array().unwrap() {
            writeln!(out, "{command}").unwrap();
        }
    };
    write("warm", transaction::warm());
    write("lift", transaction::lift());
    for (name, old, new) in
        [("open-web", &open, &narrow), ("web-wider", &narrow, &wide), ("all-web", &all, &narrow)]
    {
        let (old, new) = (Numbered::new(11, old), Numbered::new(12, new));
        write(&format!("{name} first trial"), transaction::first_trial(old, new, 60));
        write(&format!("{name} replace confirmed"), transaction::replace(&Shown::Confirmed(old)));
        write(&format!("{name} replace staged"), transaction::replace(&Shown::Staged { old, new }));
        write(&format!("{name} stage"), transaction::stage(old, new));
        write(&format!("{name} switch"), transaction::switch(old, new, 60));
        write(&format!("{name} confirm"), transaction::confirm(old, new));
        write(&format!("{name} abandon"), transaction::abandon(old, new));
        write(&format!("{name} unstage"), transaction::unstage(old, new));
    }
    out
}

#[test]
fn documents_are_what_they_were() {
    let now = documents();
    for (number, (line, was)) in now.lines().zip(DOCUMENTS.lines()).enumerate() {
        assert_eq!(line, was, "line {} of nft_documents.txt", number + 1);
    }
    assert_eq!(now.lines().count(), DOCUMENTS.lines().count());
}

/// The crate cannot say these, so they are made by hand.
#[test]
fn exceptions_are_as_nft_wants_them() {
    assert_eq!(
        live_set(7, 60).to_string(),
        r#"{"set":{"elem":[{"elem":{"timeout":60,"val":"ipv4"}},{"elem":{"timeout":60,"val":"ipv6"}}],"family":"inet","flags":["timeout"],"name":"g7_live","table":"tenure","type":"nf_proto"}}"#
    );
    assert_eq!(set_named("x").to_string(), r#"{"set":{"family":"inet","name":"x","table":"tenure"}}"#);
    assert_eq!(
        counter_object("d").to_string(),
        r#"{"counter":{"family":"inet","name":"d","table":"tenure"}}"#
    );
}

/// A hash set is seeded anew each time it is made: without sorting, one of these would differ.
#[test]
fn flags_have_one_order() {
    let table = everything();
    for _ in 0..64 {
        for set in set_objects(Numbered::new(1, &table)) {
            assert_eq!(set["set"]["flags"], json!(["constant", "interval"]));
        }
    }
}
