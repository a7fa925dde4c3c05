//! Whole sets through [`crate::read`].

use std::collections::BTreeMap;

use crate::read::read;
use crate::written::Network;

pub(crate) const COMPLETE: &str = include_str!("../tests/complete.yaml");

pub(crate) fn files(list: &[(&str, &str)]) -> BTreeMap<String, String> {
    list.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned())).collect()
}

#[test]
fn the_complete_example_is_read_whole() {
    let written = read(&files(&[("fleet.yaml", COMPLETE)])).unwrap_or_else(|faults| panic!("{faults}"));
    assert_eq!(written.fleet.as_str(), "soworker");
    assert_eq!((written.networks.len(), written.people.len(), written.machines.len()), (4, 2, 1));
    assert_eq!((written.profiles.len(), written.hosts.len(), written.vaults.len()), (4, 4, 1));
    assert_eq!((written.tenants.len(), written.waivers.len(), written.tests.len()), (2, 1, 8));
    assert_eq!(written.people.values().next().map(|p| p.at.to_string()).as_deref(), Some("fleet.yaml:15:3"));
    let mirrors = written.networks.values().find(|n| matches!(n.value, Network::Names(_)));
    assert!(mirrors.is_some());
}
