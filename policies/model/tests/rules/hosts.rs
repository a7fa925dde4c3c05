//! Rules 1 to 9: what is refused while reading, names, and what opens a host.

use std::collections::BTreeSet;

use tenure_policy::resolved::{Mode, Peers, Users};
use tenure_policy::{FaultCode, Set, load};

use crate::{GOOD, bad, changed, files, good, host, refused};

#[test]
fn rule_01_nothing_absent_opens_anything() {
    refused("from: [anywhere] }", "from: [] }", FaultCode::Empty, "empty");
    refused("from: [anywhere] }", "from: null }", FaultCode::NoValue, "null");
    refused(", from: [anywhere] }", " }", FaultCode::MissingKey, "from");
    refused("to: [db], users: [www-data] }", "to: [db], users: [] }", FaultCode::Empty, "empty");
    refused("who: [ops], as: admin", "who: [], as: admin", FaultCode::Empty, "empty");
    refused("hosts: [db1], until", "hosts: [], until", FaultCode::Empty, "empty");
    refused("ci: [203.0.114.40]", "ci: [0.0.0.0/0]", FaultCode::BadValue, "everywhere");
    refused("ci: [203.0.114.40]", "ci: [0.0.0.0/1, 128.0.0.0/1]", FaultCode::Rule, "everywhere");
    refused("from: [ci], until", "from: [anywhere], until", FaultCode::Rule, "anywhere cannot stand here");
    let web1 = host(&good(GOOD), "web1").firewall.expect("a firewall");
    let rule = |id: &str| web1.inbound.iter().find(|rule| rule.id.as_str() == id).expect("the rule").clone();
    assert_eq!(rule("web/inbound/1").from, Peers::Anywhere);
    let dns = web1.outbound.iter().find(|rule| rule.id.as_str() == "base/outbound/1").expect("the rule");
    assert_eq!(dns.users, Users::Every);
}

#[test]
fn rule_02_values_that_parsers_read_differently_are_refused() {
    refused("at: [\"03:30\"]", "at: [03:30]", FaultCode::MustQuote, "03:30");
    refused("until: \"2027-06-30\"", "until: 2027-06-30", FaultCode::MustQuote, "2027-06-30");
    refused("fleet: acme", "fleet: on", FaultCode::MustQuote, "on");
    refused("office: [203.0.113.0/24", "office: &x [203.0.113.0/24", FaultCode::Anchor, "");
    refused("fleet: acme", "fleet: !!str acme", FaultCode::Tag, "");
    refused("fleet: acme", "fleet: acme\nfleet: acme", FaultCode::DuplicateKey, "fleet");
    refused("from: [office], until", "from: office, until", FaultCode::NotAList, "list");
    // faults of reading and of meaning come at once
    let text = changed("to: [resolvers] }", "to: [resolver] }").replacen("at: [\"03:30\"]", "at: [03:30]", 1);
    let codes: Vec<FaultCode> = bad(&text).iter().map(|fault| fault.code).collect();
    assert_eq!(codes, [FaultCode::UnknownName, FaultCode::MustQuote]);
}

#[test]
fn rule_02_faults_of_one_profile_come_all_at_once() {
    let text = changed("allow: [https, app], from", "allow: [htps, app], from")
        .replacen("to: [db], users", "to: [dbb], users", 1)
        .replacen("mode: { firewall: enforce,", "mode: { firewall: enforced,", 1)
        .replacen("to: [resolvers] }", "to: [resolver] }", 1)
        .replacen("drop: [ssh] }", "drop: [shh] }", 1)
        .replacen("from: [office], until", "from: [], until", 1);
    let told = bad(&text).to_string();
    for word in ["\"htps\"", "\"dbb\"", "enforced", "\"resolver\"", "\"shh\"", "empty"] {
        assert!(told.contains(word), "{word} is not told in\n{told}");
    }
    // what is only unreadable is not called unknown
    assert!(!told.contains("unknown person"), "{told}");
}

#[test]
fn rule_02_names_of_a_file_that_cannot_be_read_are_not_called_unknown() {
    let at = GOOD.find("hosts:\n").expect("hosts");
    let mut parts = files(&GOOD[at..]);
    parts.insert("main.yaml".to_owned(), format!("{}x: [", &GOOD[..at]));
    let faults = load(&parts).expect_err("one file is broken");
    assert_eq!(faults.iter().map(|f| f.code).collect::<Vec<_>>(), [FaultCode::Syntax], "{faults}");
}

#[test]
fn rule_03_one_name_space_and_no_raw_addresses() {
    refused(
        "  ci: [203.0.114.40]",
        "  ci: [203.0.114.40]\n  db1: [203.0.114.41]",
        FaultCode::DefinedTwice,
        "\"db1\"",
    );
    refused(
        "  ci: [203.0.114.40]",
        "  ci: [203.0.114.40]\n  web: [203.0.114.41]",
        FaultCode::DefinedTwice,
        "\"web\"",
    );
    refused(
        "  ci: [203.0.114.40]",
        "  ci: [203.0.114.40]\n  anywhere: [203.0.114.41]",
        FaultCode::Rule,
        "anywhere",
    );
    refused("to: [resolvers]", "to: [198.51.100.53/32]", FaultCode::BadValue, "198.51.100.53/32");
    let fault =
        refused("to: [resolvers]", "to: [resolver]", FaultCode::UnknownName, "did you mean \"resolvers\"?");
    assert_eq!(fault.place.to_string(), "fleet.yaml:25:32");
    refused(
        "groups: { ops: [marit, jeroen] }",
        "groups: { ops: [marit, jeroen], marit: [jeroen] }",
        FaultCode::DefinedTwice,
        "marit",
    );
    refused("[198.51.100.12]", "[198.51.100.11]", FaultCode::Rule, "198.51.100.11");
    // a profile is a name for the hosts that have it, a host for its addresses
    let db1 =
        host(&good(&changed("from: [web] }", "from: [web, vault1] }")), "db1").firewall.expect("a firewall");
    let said = |name: &str| {
        db1.networks[&name.parse().expect("a name")].iter().map(|n| n.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(said("web"), ["198.51.100.11/32", "2001:db8:1::11/128"]);
    assert_eq!(said("vault1"), ["198.51.100.7/32"]);
}

#[test]
fn rule_04_rules_add_up_and_a_scalar_is_said_once() {
    let two = changed("  db:\n    firewall:", "  db:\n    patch: { security_within: 3d }\n    firewall:");
    let faults = bad(&two);
    let fault = faults.iter().next().expect("a fault");
    assert!(fault.what.contains("patch.security_within is 3d here and 7d at fleet.yaml:28:"), "{fault}");
    assert_eq!(faults.len(), 1);
    // the host alone cannot override either, but with a reason it can, over both
    let host_says = |because: &str| {
        two.replacen(
            "site: Amsterdam, databases",
            &format!("site: Amsterdam, patch: {{ security_within: 5d }}{because}, databases"),
            1,
        )
    };
    let faults = bad(&host_says(""));
    assert!(
        faults.iter().any(|fault| fault.hint.as_deref().is_some_and(|hint| hint.contains("because:"))),
        "{faults}"
    );
    let set = good(&host_says(", because: vendor"));
    assert_eq!(host(&set, "db1").patch.expect("patch").security_within_seconds, 5 * 86_400);
    let why = set.explain(&"db1".parse().expect("a name"), "patch.security_within").expect("the host");
    assert!(
        why[0].reason.contains("because: vendor") && why[0].reason.contains("overriding 7d of profile base"),
        "{why:?}"
    );
    // lists add up over profiles and host; block is kept apart
    let more = changed(
        "site: Delft }",
        "site: Delft, firewall: { outbound: [{ allow: [ntp], to: [resolvers] }], block: [ci] } }",
    );
    let vault1 = host(&good(&more), "vault1").firewall.expect("a firewall");
    let ids: Vec<&str> = vault1.outbound.iter().map(|rule| rule.id.as_str()).collect();
    assert_eq!(ids, ["base/outbound/1", "vault1/outbound/1"]);
    assert_eq!(vault1.blocks.iter().map(|b| b.as_str()).collect::<Vec<_>>(), ["ci"]);
    // absent is observe
    assert_eq!(host(&good(GOOD), "web1").modes.patch, Mode::Observe);
}

#[test]
fn rule_05_a_tenant_cannot_open_or_log_in() {
    for key in [
        "firewall: { inbound: [{ allow: [https], from: [anywhere] }] }",
        "access: { logins: [{ who: [ops], as: root }] }",
        "mode: { firewall: observe }",
        "networks: { x: [192.0.2.1] }",
        "backup: { erase_after: 30d }",
        "patch: { security_within: 30d }",
        "waivers: [{ what: patch.security_within, hosts: [web1], until: \"2027-12-15\", owner: marit, because: x }]",
        "management: { who: [client] }",
        "vaults: { theirs: { host: web1, port: 8422, store: /srv, keep_free: 1 GiB, quota: 1 GiB } }",
        "people: { mallory: { keys: [x], from: [office], until: \"2027-06-30\" } }",
    ] {
        let name = key.split(':').next().expect("a key");
        refused(
            "    stores:\n      files",
            &format!("    {key}\n    stores:\n      files"),
            FaultCode::UnknownKey,
            name,
        );
    }
    // it can demand: a duty that the hosts keep is accepted
    good(&changed(
        "{ says: \"elders\", means: backup.offhost }",
        "{ says: \"elders\", means: firewall.both_ways }",
    ));
}

#[test]
fn rule_05_a_tenant_cannot_lengthen_what_the_fleet_keeps() {
    let before = good(GOOD);
    // Whoever is content with less: a month for updates (the hosts have a week), once a day (three times), a quarter for
    // the copies (a month).
    let content = changed(
        "    stores:\n      files",
        "      - { says: \"a\", means: patch.security, within: 30d }\n      - { says: \"b\", means: purge, within: 3 months }\n      \
         - { says: \"c\", means: backup.server, at_least: 1 per day }\n    stores:\n      files",
    );
    let after = good(&content);
    for name in ["web1", "db1", "vault1"] {
        assert_eq!(host(&after, name), host(&before, name), "{name}");
    }
    let worst = |set: &Set, means: &str| -> BTreeSet<String> {
        set.promises().iter().filter(|p| p.means == means).map(|p| p.worst_case.clone()).collect()
    };
    for means in ["backup.server", "purge"] {
        assert_eq!(worst(&after, means), worst(&before, means), "{means} is kept as it was");
    }
    assert_eq!(
        worst(&after, "patch.security"),
        ["overdue is said 7 d after an update came out".to_owned()].into()
    );
    // And whoever demands more than is kept is refused, not served.
    refused(
        "    stores:\n      files",
        "      - { says: \"a\", means: patch.security, within: 2d }\n    stores:\n      files",
        FaultCode::Unattainable,
        "7 d for security updates",
    );
}

#[test]
fn rule_06_ssh_is_opened_by_logins_alone() {
    for service in ["ssh", "tcp/22", "tcp/20-30"] {
        refused(
            "allow: [https, app], from",
            &format!("allow: [https, {service}], from"),
            FaultCode::Rule,
            "opens SSH",
        );
    }
    good(&changed("allow: [dns], to: [resolvers]", "allow: [dns, ssh], to: [resolvers]"));
    let set = good(GOOD);
    let web1 = host(&set, "web1").firewall.expect("a firewall");
    let ssh: Vec<(&str, &Peers)> = web1
        .inbound
        .iter()
        .filter(|rule| rule.id.as_str().starts_with("implied:"))
        .map(|rule| (rule.id.as_str(), &rule.from))
        .collect();
    let from = |name: &str| Peers::Networks(vec![name.parse().expect("a name")]);
    assert_eq!(ssh, [("implied:ssh/admin/1", &from("office")), ("implied:ssh/deploy/1", &from("ci"))]);
    let why = set
        .explain(&"web1".parse().expect("a name"), "firewall.inbound.implied:ssh/deploy")
        .expect("the host");
    assert_eq!(why.len(), 1);
    assert_eq!(why[0].value, "tcp/22 from ci");
    assert!(why[0].reason.contains("deploy-bot") && why[0].reason.contains("profile web"), "{why:?}");
    // the management path: people of `who` who log in there
    let paths: Vec<String> =
        web1.management.iter().map(|path| format!("{} {}", path.person, path.account)).collect();
    assert_eq!(paths, ["jeroen admin", "marit admin"]);
    // and a host that is enforced without one is refused
    refused("management: { who: [ops],", "management: { who: [fleur],", FaultCode::UnknownName, "fleur");
    let nobody = changed("logins: [{ who: [ops], as: admin }]", "logins: [{ who: [deploy-bot], as: admin }]");
    assert!(
        bad(&nobody).iter().any(|f| f.code == FaultCode::Rule && f.what.contains("nobody of management.who"))
    );
}

#[test]
fn rule_07_services_are_names_or_ports() {
    refused("allow: [https, app], from", "allow: [htps, app], from", FaultCode::UnknownName, "htps");
    refused("services: { app:", "services: { https:", FaultCode::DefinedTwice, "shipped");
    refused("app: [tcp/8000-8010]", "app: [tcp/8010-8000]", FaultCode::BadValue, "tcp/8010-8000");
    refused("allow: [https, app], from", "allow: [https, https], from", FaultCode::DefinedTwice, "https");
    let web1 = host(&good(GOOD), "web1").firewall.expect("a firewall");
    let ports: Vec<String> = web1.inbound[0].ports.iter().map(|p| tenure_policy::services::say(*p)).collect();
    assert_eq!(ports, ["tcp/443", "tcp/8000-8010"]);
}

#[test]
fn rule_08_networks_by_name_are_refused_by_name_until_they_work() {
    let hint = refused(
        "ci: [203.0.114.40]",
        "ci: [203.0.114.40]\n  mirrors: { names: [mirror.example.net] }",
        FaultCode::NotYet,
        "DNS names",
    )
    .hint;
    assert_eq!(hint.as_deref(), Some("write its addresses"));
    let many = (0..65).map(|i| format!("m{i}.example.net")).collect::<Vec<_>>().join(", ");
    refused(
        "ci: [203.0.114.40]",
        &format!("ci: [203.0.114.40]\n  mirrors: {{ names: [{many}] }}"),
        FaultCode::TooMany,
        "at most 64",
    );
}

#[test]
fn rule_09_containers_are_refused_by_name_until_they_work() {
    let bridges = "  db:\n    firewall:\n      containers: { bridges: { acme-net: br-acme } }\n";
    refused("  db:\n    firewall:\n", bridges, FaultCode::NotYet, "containers");
    // a bridge is a name of the one name space all the same
    refused(
        "  db:\n    firewall:\n",
        &bridges.replace("acme-net", "office"),
        FaultCode::DefinedTwice,
        "\"office\"",
    );
    good(GOOD);
}

#[test]
fn management_is_told_30_days_before_its_logins_end() {
    let set =
        good(&changed("from: [office], until: \"2027-06-30\"", "from: [office], until: \"2027-01-15\""));
    let told = |now: &str| {
        let notes = set.notes(now.parse().expect("a time"));
        notes.into_iter().filter(|note| note.what.contains("of management, ends on")).collect::<Vec<_>>()
    };
    // The day's last second in Amsterdam is 22:59:59 in UTC.
    assert_eq!(told("2026-12-16T22:59:58Z"), []);
    let soon = told("2026-12-16T22:59:59Z");
    assert_eq!(soon.len(), 1, "jeroen's last longer: {soon:?}");
    assert!(soon[0].what.contains("every login of marit") && soon[0].what.contains("2027-01-15"), "{soon:?}");
    assert_eq!((soon[0].place.line, told("2027-01-15T22:59:58Z").len()), (10, 1), "{soon:?}");
    assert_eq!(told("2027-01-15T22:59:59Z"), [], "they have ended");
    // The machine key's end is nobody's way in of management.
    assert_eq!(told("2027-03-20T00:00:00Z"), []);
}
