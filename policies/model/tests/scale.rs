//! A set of a thousand hosts loads and resolves; what a profile used as a network stands for is made once, not for each.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use tenure_policy::load;

/// `count` web hosts with one database profile that lets all of them in.
fn fleet(count: usize) -> BTreeMap<String, String> {
    let example = |name: &str| {
        let path = format!("{}/../examples/soworker/{name}", env!("CARGO_MANIFEST_DIR"));
        std::fs::read_to_string(path).expect("the example can be read")
    };
    let mut hosts = String::from("hosts:\n");
    for i in 0..count {
        let (a, b) = (i / 250, i % 250 + 1);
        let _ = writeln!(
            hosts,
            "  node{i}: {{ profiles: [base, peer], addresses: [10.9.{a}.{b}], site: Delft }}"
        );
    }
    let more = "profiles:\n  peer:\n    firewall:\n      inbound:\n        - { allow: [tcp/7000], from: [peer] }\n\
                tests:\n  - { from: 10.9.0.1, to: node0, accept: [tcp/7000], drop: [ssh] }\n";
    BTreeMap::from([
        ("fleet.yaml".to_owned(), example("fleet.yaml")),
        ("local.yaml".to_owned(), example("local.yaml")),
        ("tenants/example-client.yaml".to_owned(), example("tenants/example-client.yaml")),
        ("more.yaml".to_owned(), format!("{more}{hosts}")),
    ])
}

#[test]
fn a_thousand_hosts_load_and_resolve() {
    let files = fleet(1000);
    let set = load(&files).unwrap_or_else(|faults| panic!("{faults}"));
    assert_eq!(set.hosts().count(), 1003);
    let policy = set.host_policy(&"node999".parse().expect("a name")).expect("the set has the host");
    let section = policy.firewall.expect("a firewall");
    // 250 neighbouring addresses merge into few intervals
    let peers = &section.networks[&"peer".parse().expect("a name")];
    assert!(peers.len() < 60, "{} intervals", peers.len());
    assert!(peers.contains("10.9.3.250".parse().expect("an address")));
    assert!(!peers.contains("10.9.3.251".parse().expect("an address")));
}

#[test]
fn a_set_full_of_unknown_names_is_refused_in_time() {
    let mut files = fleet(2);
    let networks: String =
        (0..2000).map(|i| format!("  net{i:05}: [10.{}.{}.0/24]\n", i / 250, i % 250)).collect();
    files.insert("networks.yaml".to_owned(), format!("networks:\n{networks}"));
    let names: String = (0..40_000).map(|i| format!("        - nut{i:05}\n")).collect();
    let rules = format!("profiles:\n  wild:\n    firewall:\n      block:\n{names}");
    files.insert("wild.yaml".to_owned(), rules);
    let faults = load(&files).expect_err("nothing has these names");
    assert_eq!(faults.len(), tenure_policy::fault::MAX_FAULTS);
}

#[test]
fn what_is_wrong_with_a_profile_is_told_once_for_all_its_hosts() {
    let mut files = fleet(1000);
    for text in files.values_mut() {
        *text = text.replace(", lists_within: 2d }", " }").replace("to: [clocks]", "to: [clock]");
    }
    let faults = load(&files).expect_err("a deadline is missing, and a name is unknown");
    let told: Vec<String> = faults.iter().map(|fault| fault.what.clone()).collect();
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(told[0].contains("\"clock\"") && told[1].contains("lists_within"), "{told:?}");
}
