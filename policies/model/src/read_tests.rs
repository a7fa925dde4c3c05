//! Whole sets through [`crate::read`].

use std::collections::BTreeMap;

use crate::fault::{FaultCode, Faults};
use crate::read::{MAX_FILES, MAX_SET, read, read_all};
use crate::written::{Network, Written};

pub(crate) const COMPLETE: &str = include_str!("../tests/complete.yaml");

pub(crate) fn files(list: &[(&str, &str)]) -> BTreeMap<String, String> {
    list.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned())).collect()
}

fn complete() -> Written {
    read(&files(&[("fleet.yaml", COMPLETE)])).unwrap_or_else(|faults| panic!("{faults}"))
}

/// The faults of the complete example with one text replaced, as `code line:column`.
fn broken(from: &str, to: &str) -> (Vec<String>, Faults) {
    assert_eq!(COMPLETE.matches(from).count(), 1, "{from:?} must stand once in the example");
    let faults = match read(&files(&[("fleet.yaml", &COMPLETE.replace(from, to))])) {
        Err(faults) => faults,
        Ok(_) => panic!("{to:?} in place of {from:?} was taken"),
    };
    (faults.iter().map(|f| format!("{:?} {}:{}", f.code, f.place.line, f.place.column)).collect(), faults)
}

#[test]
fn the_complete_example_is_read_whole() {
    let written = complete();
    assert_eq!(written.fleet.as_str(), "soworker");
    assert_eq!((written.networks.len(), written.people.len(), written.machines.len()), (4, 2, 1));
    assert_eq!((written.profiles.len(), written.hosts.len(), written.vaults.len()), (4, 4, 1));
    assert_eq!((written.tenants.len(), written.waivers.len(), written.tests.len()), (2, 1, 8));
    let marit = written.people.values().find(|p| p.at.line == 15).expect("marit stands in line 15");
    assert_eq!(marit.at.to_string(), "fleet.yaml:15:3");
    assert!(written.networks.values().any(|n| matches!(n.value, Network::Names(_))));
}

#[test]
fn a_selector_that_is_missing_empty_or_null_is_refused() {
    use FaultCode::{Empty, MissingKey, NoValue, NotAList};
    let rule = "{ allow: [postgresql], from: [web] }";
    let table: &[(&str, &str, FaultCode)] = &[
        (rule, "{ allow: [postgresql] }", MissingKey),
        (rule, "{ allow: [postgresql], from: }", NoValue),
        (rule, "{ allow: [postgresql], from: null }", NoValue),
        (rule, "{ allow: [postgresql], from: [] }", Empty),
        (rule, "{ allow: [postgresql], from: web }", NotAList),
        (rule, "{ allow: [], from: [web] }", Empty),
        ("{ allow: [postgresql], to: [db] }", "{ allow: [postgresql] }", MissingKey),
        ("{ allow: [postgresql], to: [db] }", "{ allow: [postgresql], to: [] }", Empty),
        ("to: [mirrors], users: [_apt]", "to: [mirrors], users: []", Empty),
        ("to: [mirrors], users: [_apt]", "to: [mirrors], users: null", NoValue),
        ("{ who: [ops], as: admin, sudo: all }", "{ as: admin, sudo: all }", MissingKey),
        ("{ who: [ops], as: admin, sudo: all }", "{ who: [], as: admin }", Empty),
        ("hosts: [db1], until:", "until:", MissingKey),
        ("hosts: [db1], until:", "hosts: null, until:", NoValue),
        ("management: { who: [ops], ", "management: { ", MissingKey),
        ("jeroen@nuc\"],   from: [office]", "jeroen@nuc\"],   from: []", Empty),
        ("marit@laptop\"], from: [office]", "marit@laptop\"]", MissingKey),
    ];
    for (from, to, code) in table {
        let (found, faults) = broken(from, to);
        assert_eq!(faults.iter().map(|f| f.code).collect::<Vec<_>>(), [*code], "{to}: {found:?}");
    }
}

#[test]
fn every_kind_of_value_that_is_none_has_its_place_and_hint() {
    let table: &[(&str, &str, &str, &str)] = &[
        ("valid_for: 90d", "valid_for: 90", "BadValue 5:12", "is not a period"),
        (
            "environment: production, site: \"Delft",
            "environment: 12, site: \"Delft",
            "MustQuote 76:71",
            "12 must be quoted",
        ),
        ("valid_for: 90d", "valid_for: 3m", "BadValue 5:12", "3m"),
        ("timezone: Europe/Amsterdam", "timezone: [Europe/Amsterdam]", "NotAValue 4:11", "found a list"),
        ("port: 8441", "port: \"8441\"", "BadValue 20:33", "without quotes"),
        ("port: 8441", "port: 0", "BadValue 20:33", "a port"),
        (
            "ring: weekday                       # or weekly",
            "ring: weekdays",
            "BadValue 53:13",
            "did you mean \"weekday\"",
        ),
        (
            "unmanaged_keys: report              #",
            "unmanaged_keys: ignore #",
            "BadValue 37:23",
            "report, quarantine",
        ),
        ("host: ctl1, port", "hsot: ctl1, port", "MissingKey 20:13", "did you mean \"host\""),
        (
            "erase_after: 3d\n      limits",
            "erase_afer: 3d\n      limits",
            "UnknownKey 54:7",
            "did you mean \"erase_after\"",
        ),
        ("resolvers: [198.51.100.53,", "resolvers: [198.51.100.53/24,", "BadValue 9:15", "bits set"),
        ("resolvers: [198.51.100.53,", "Resolvers: [198.51.100.53,", "BadValue 9:3", "lower-case"),
        ("[\"06:00\", \"14:00\", \"22:00\"]", "[06:00, 14:00, 22:00]", "MustQuote 49:23", "base of 60"),
        ("keep_at_least: 2 years", "keep_at_least: 2years", "BadValue 91:85", "a space"),
        (
            "ends: null, purge_within: 1 month, breach_notice_within: 48h, contact: dpo@client.example",
            "purge_within: 1 month, breach_notice_within: 48h, contact: dpo@client.example",
            "MissingKey 81:15",
            "\"ends\"",
        ),
        ("from: [anywhere]", "from: [anywhere, office]", "BadValue 42:42", "alone"),
        ("sudo: all", "sudo: some", "BadValue 36:48", "none, all"),
        ("paths: [\"/\"]", "paths: [srv]", "BadValue 49:59", "absolute path"),
    ];
    let mut wrong = Vec::new();
    for (from, to, first, says) in table {
        let (found, faults) = broken(from, to);
        let said = faults.iter().any(|f| format!("{f}").contains(says));
        if !found.iter().any(|f| f == first) || !said {
            wrong.push(format!("{to}: {found:?}\n{faults}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn files_of_their_own_are_the_same_values_moved_out() {
    let host =
        "{ profiles: [base], addresses: [198.51.100.5], environment: production, site: \"Amsterdam\" }";
    let office = "[203.0.113.0/24, \"2001:db8:10::/48\"]";
    let fleet =
        COMPLETE.replace(&format!("  ctl1:   {host}\n"), "").replace(&format!("  office:    {office}\n"), "");
    assert_eq!(fleet.lines().count() + 2, COMPLETE.lines().count());
    let waivers = fleet.find("waivers:").expect("stands in the example");
    let tests = fleet.find("tests:").expect("stands in the example");
    let set = files(&[
        ("fleet.yaml", &fleet[..waivers]),
        ("zz-waivers.yaml", &fleet[waivers..tests]),
        ("tests.yaml", &fleet[tests..]),
        ("hosts/ctl1.yaml", host),
        ("networks/office.yaml", office),
    ]);
    let written = read(&set).unwrap_or_else(|faults| panic!("{faults}"));
    assert_eq!(written, complete());
}

#[test]
fn parts_add_up_and_lists_join() {
    let more = "networks: { lab: [192.0.2.0/24] }\ntests:\n  - { from: 192.0.2.1, to: web1, drop: [ssh] }\n";
    let written =
        read(&files(&[("demo.yaml", more), ("fleet.yaml", COMPLETE)])).unwrap_or_else(|f| panic!("{f}"));
    assert_eq!((written.networks.len(), written.tests.len()), (5, 9));
}

#[test]
fn a_name_defined_twice_is_refused_with_both_places() {
    let set = files(&[
        ("fleet.yaml", COMPLETE),
        ("more.yaml", "networks: { office: [192.0.2.0/24] }\nvalid_for: 30d\nfleet: soworker\n"),
        ("hosts/web1.yaml", "{ profiles: [base], addresses: [192.0.2.1] }\n"),
    ]);
    let faults = read(&set).expect_err("office, web1 and valid_for stand twice");
    let shown: Vec<String> = faults.iter().map(|f| format!("{:?} {} {}", f.code, f.place, f.what)).collect();
    assert_eq!(
        shown,
        [
            "DefinedTwice hosts/web1.yaml:1:1 \"web1\" is defined twice, first in fleet.yaml:74:3",
            "DefinedTwice more.yaml:1:13 \"office\" is defined twice, first in fleet.yaml:8:3",
            "DefinedTwice more.yaml:2:1 \"valid_for\" is defined twice, first in fleet.yaml:5:1",
        ]
    );
}

#[test]
fn a_file_that_is_no_part_is_named() {
    for (path, says) in [
        ("notes.txt", "*.yaml"),
        ("hosts/web1.yml", "rename it to hosts/web1.yaml"),
        ("hosts/a/b.yaml", "directories"),
        ("servers/web1.yaml", "hosts"),
        ("tests/web1.yaml", "directories"),
        (".yaml", "*.yaml"),
        ("hosts/.yaml", "directories"),
    ] {
        let faults = read(&files(&[("fleet.yaml", COMPLETE), (path, "a: 1\n")])).expect_err(path);
        assert_eq!(faults.iter().map(|f| f.code).collect::<Vec<_>>(), [FaultCode::UnknownFile], "{path}");
        assert!(faults.to_string().contains(says), "{faults}");
    }
    let faults = read(&files(&[
        ("fleet.yaml", COMPLETE),
        ("hosts/Web 1.yaml", "{ profiles: [base], addresses: [192.0.2.1] }"),
    ]));
    assert!(faults.is_err_and(|f| f.to_string().contains("is not a host name")));
}

#[test]
fn a_broken_file_stops_only_itself() {
    let set = files(&[
        ("fleet.yaml", &COMPLETE.replace("port: 8441", "port: x")),
        ("hosts/web2.yaml", "{ profiles: [base"),
        ("more.yaml", "networks: { lab: [on] }\n"),
    ]);
    let faults = read(&set).expect_err("three files, three faults");
    use FaultCode::*;
    assert_eq!(faults.iter().map(|f| f.code).collect::<Vec<_>>(), [BadValue, Syntax, MustQuote], "{faults}");
}

#[test]
fn what_a_broken_main_file_would_have_said_is_not_called_missing() {
    let set = files(&[("fleet.yaml", "tenure: [\n"), ("more.yaml", "networks: { lab: [192.0.2.0/24] }\n")]);
    let reading = read_all(&set);
    assert!(reading.partial && reading.may_have("hosts", "web1"));
    let faults = reading.finish(&set).expect_err("is broken");
    assert_eq!(faults.iter().map(|f| f.code).collect::<Vec<_>>(), [FaultCode::Syntax], "{faults}");
}

#[test]
fn the_rest_is_there_for_the_rules_of_meaning() {
    let text =
        COMPLETE.replace("valid_for: 90d", "valid_for: soon").replace("site: \"Delft DC2\"", "site: [x]");
    let reading = read_all(&files(&[("fleet.yaml", &text)]));
    assert_eq!(reading.faults.len(), 2, "{}", reading.faults);
    let written = reading.written.as_ref().expect("the rest can be read");
    // a host whose site could not be read is still a host whose rules are looked at
    assert_eq!((written.hosts.len(), written.people.len()), (4, 2));
    assert!(reading.may_have("hosts", "vault1") && !reading.may_have("hosts", "vault2"));
    assert!(reading.finish(&BTreeMap::new()).is_err());
}

#[test]
fn many_files_beside_many_names_cost_no_more_than_their_bytes() {
    let names: String = (0..40_000).map(|i| format!("  n{i}: [192.0.2.1]\n")).collect();
    let mut set = files(&[("fleet.yaml", &format!("networks:\n{names}"))]);
    set.extend((0..MAX_FILES - 1).map(|i| (format!("networks/m{i}.yaml"), "[192.0.2.1]\n".to_owned())));
    let reading = read_all(&set);
    assert_eq!(reading.names["networks"].len(), 40_000 + MAX_FILES - 1);
}

#[test]
fn a_set_has_an_end() {
    let many: BTreeMap<String, String> =
        (0..=MAX_FILES).map(|i| (format!("{i}.yaml"), "a: 1".to_owned())).collect();
    assert_eq!(
        read(&many).expect_err("too many").iter().map(|f| f.code).collect::<Vec<_>>(),
        [FaultCode::TooMany]
    );
    let large: BTreeMap<String, String> =
        (0..9).map(|i| (format!("{i}.yaml"), "a".repeat(MAX_SET / 8))).collect();
    assert_eq!(
        read(&large).expect_err("too large").iter().map(|f| f.code).collect::<Vec<_>>(),
        [FaultCode::TooLarge]
    );
    assert_eq!(
        read(&BTreeMap::new()).expect_err("empty").iter().map(|f| f.code).collect::<Vec<_>>(),
        [FaultCode::EmptyFile]
    );
}
