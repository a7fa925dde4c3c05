//! The twenty rules of POLICY.md: each refuses what it must, with place and words, and accepts what it may.

use std::collections::BTreeMap;

use tenure_policy::resolved::{HostPolicy, Mode, Peers, Users};
use tenure_policy::{Fault, FaultCode, Faults, Set, load, load_standalone};

/// A set without faults that uses every section; the rules change one thing in it.
const GOOD: &str = r#"tenure: 1
fleet: acme
timezone: Europe/Amsterdam
valid_for: 90d
networks:
  office: [203.0.113.0/24, "2001:db8:10::/48"]
  ci: [203.0.114.40]
  resolvers: [198.51.100.53]
people:
  marit: { keys: ["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBOH73hTuuvKYuTqVJLVNEtrm3RtxwjgXzChjEee33nY marit"], from: [office], until: "2027-06-30" }
  jeroen: { keys: ["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHkb/yh3rz9ggHo2GlCkGMlX77aKTAXwa7WMLfN5FZTz jeroen"], from: [office], until: "2027-06-30" }
machines:
  deploy-bot: { keys: ["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIDTscU3cNrJjyV2PVTqTOPTHmvZK5RRQLBx7Z/eUacwn ci"], from: [ci], until: "2027-03-31", owner: marit, command: /usr/local/bin/deploy }
groups: { ops: [marit, jeroen] }
services: { app: [tcp/8000-8010] }
management: { who: [ops], confirm: { by: [person], within: 60s } }
recovery: { recipients: [age1t4kfruqgwdqka8au87hdq63xdqvqg5er4w9ajf9mdpxupuffwgksg8e5n5, age1hfgpja8dqnp3rlpsxnqddysgu6t9wujs9gckvuha5nfe234cdass5fzjm5] }
vaults:
  vault1: { host: vault1, port: 8422, store: /srv/vault, keep_free: 100 GiB, quota: 400 GiB }
profiles:
  base:
    mode: { firewall: enforce, access: enforce, backup: enforce }
    firewall:
      outbound:
        - { allow: [dns], to: [resolvers] }
    access:
      logins: [{ who: [ops], as: admin }]
    patch: { security_within: 7d, reboot_within: 14d, lists_within: 2d }
  web:
    firewall:
      inbound:
        - { allow: [https, app], from: [anywhere] }
      outbound:
        - { allow: [postgresql], to: [db], users: [www-data] }
    access:
      logins: [{ who: [deploy-bot], as: deploy }]
    backup:
      server: { at: ["06:00", "14:00", "22:00"], paths: [/] }
      nightly: { at: ["03:30"], paths: [/srv/app] }
      catch_up: 4h
      to: [vault1]
      ring: weekday
      erase_after: 3d
  db:
    firewall:
      inbound:
        - { allow: [postgresql], from: [web] }
hosts:
  web1: { profiles: [base, web], addresses: [198.51.100.11, "2001:db8:1::11"], site: Amsterdam }
  db1: { profiles: [base, db], addresses: [198.51.100.12], site: Amsterdam, databases: { main: { postgresql: app, socket: /run/postgresql } } }
  vault1: { profiles: [base], addresses: [198.51.100.7], site: Delft }
tenants:
  client:
    contract: { role: processor, started: "2021-03-01", ends: null, purge_within: 1 month, breach_notice_within: 48h, contact: dpo@client.example, terms: "2021-03-01" }
    promises:
      - { says: "drie keer per dag", means: backup.server, at_least: 3 per day }
      - { says: "elders", means: backup.offhost }
      - { says: "weg na een maand", means: purge, within: 1 month }
    stores:
      files: { host: web1, path: /srv/app/client, user: client }
    classes:
      uploads: { in: files, keep_at_most: 2 years }
waivers:
  - { what: patch.security_within, hosts: [db1], until: "2026-12-15", owner: jeroen, because: "vendor pins 15.4" }
tests:
  - { from: 192.0.2.77, to: web1, accept: [https], drop: [ssh] }
  - { from: 198.51.100.11, to: db1, accept: [postgresql] }
  - { from: 192.0.2.77, to: db1, drop: [postgresql] }
  - { login: marit, from: 203.0.113.9, to: web1, as: admin, expect: accept }
  - { login: marit, from: 192.0.2.77, to: web1, as: admin, expect: drop }
  - { login: deploy-bot, from: 203.0.114.40, to: web1, as: deploy, expect: accept }
  - { login: deploy-bot, from: 203.0.113.9, to: web1, as: deploy, expect: drop }
"#;

fn files(text: &str) -> BTreeMap<String, String> {
    BTreeMap::from([("fleet.yaml".to_owned(), text.to_owned())])
}

/// The good set with one piece of text changed.
fn changed(from: &str, to: &str) -> String {
    assert!(GOOD.contains(from), "the good set has no {from:?}");
    GOOD.replacen(from, to, 1)
}

fn good(text: &str) -> Set {
    load(&files(text)).map_err(|faults| faults.to_string()).expect("a set without faults")
}

fn bad(text: &str) -> Faults {
    load(&files(text)).expect_err("a set with faults")
}

/// The changed set is refused with a fault of this kind that says so, at the line of `to`, with a hint or a name.
fn refused(from: &str, to: &str, code: FaultCode, says: &str) -> Fault {
    let text = changed(from, to);
    let faults = bad(&text);
    let found = faults.iter().find(|fault| fault.code == code && fault.what.contains(says));
    assert!(found.is_some(), "no fault {code:?} says {says:?}:\n{faults}");
    let fault = found.expect("seen just now").clone();
    assert!(fault.snippet.is_some(), "the fault shows its line: {fault}");
    fault
}

fn host(set: &Set, name: &str) -> HostPolicy {
    set.host_policy(&name.parse().expect("a host name")).expect("the set has the host")
}

#[test]
fn the_good_set_is_good() {
    good(GOOD);
}

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
fn rule_10_periods_and_odd_times() {
    for bare in ["5m", "5M"] {
        refused(
            "security_within: 7d",
            &format!("security_within: {bare}"),
            FaultCode::BadValue,
            "minutes or months",
        );
    }
    for wrong in ["7 d", "1month", "0d", "1.5h"] {
        refused("security_within: 7d", &format!("security_within: {wrong}"), FaultCode::BadValue, "period");
    }
    let set = good(&changed("security_within: 7d", "security_within: 2 weeks").replacen(
        "at: [\"03:30\"]",
        "at: [\"02:30\"]",
        1,
    ));
    assert_eq!(host(&set, "db1").patch.expect("patch").security_within_seconds, 14 * 86_400);
    let notes = set.notes("2026-11-22T12:00:00Z".parse().expect("a time"));
    let odd = notes.iter().find(|note| note.what.starts_with("02:30")).expect("a warning");
    for part in [
        "does not exist on 2027-03-28",
        "comes twice on 2027-10-31",
        "does not exist on 2028-03-26",
        "2028-10-29",
    ] {
        assert!(odd.what.contains(part), "{odd}");
    }
    assert!(
        !good(GOOD)
            .notes("2026-11-22T12:00:00Z".parse().expect("a time"))
            .iter()
            .any(|note| note.what.starts_with("03:30"))
    );
}

#[test]
fn rule_11_classes_have_a_period_and_a_manner() {
    refused("{ in: files, keep_at_most: 2 years }", "{ in: files }", FaultCode::Rule, "says no period");
    refused(
        "keep_at_most: 2 years }",
        "keep_at_most: 2 years, then: anonymise }",
        FaultCode::Rule,
        "nothing says how",
    );
    refused(
        "keep_at_most: 2 years }",
        "keep_at_most: 2 years, set: { name: \"\" } }",
        FaultCode::Rule,
        "not anonymised",
    );
    refused(
        "keep_at_most: 2 years }",
        "keep_at_most: 2 years, keep_at_least: 3 years }",
        FaultCode::Rule,
        "at least 3 years",
    );
    refused("in: files, keep", "in: file, keep", FaultCode::UnknownName, "did you mean \"files\"?");
    good(&changed("keep_at_most: 2 years }", "keep_at_least: 2 years }"));
    good(&changed(
        "keep_at_most: 2 years }",
        "keep_at_most: 2 years, then: anonymise, set: { name: \"\", user_id: 1 } }",
    ));
}

/// The good set with a second store in the database of db1.
fn with_rows(store: &str, class: &str) -> String {
    changed("user: client }", &format!("user: client }}\n      rows: {store}"))
        .replacen("keep_at_most: 2 years }", &format!("keep_at_most: 2 years }}\n      reports: {class}"), 1)
        .replacen("means: backup.server, at_least: 3 per day", "means: firewall.both_ways", 1)
        .replacen("means: backup.offhost", "means: retention", 1)
}

#[test]
fn rule_12_filters_are_columns_and_values() {
    let class = "{ in: rows, table: problem, age_from: created, keep_at_most: 2 years }";
    let filter = |filter: &str| {
        with_rows(
            &format!("{{ host: db1, database: main, schema: public, shared: true, where: {filter} }}"),
            class,
        )
    };
    for good_filter in [
        "{ problem: { cobrand: [oxfordshire] } }",
        "{ problem: { body: [2237], gone: null } }",
        "{ problem: { name: { like: \"x-%\" } } }",
    ] {
        good(&filter(good_filter));
    }
    for sql in [
        "\"cobrand = 'x'\"",
        "{ problem: \"1=1\" }",
        "{ problem: { \"cobrand; --\": [x] } }",
        "{ problem: { cobrand: [] } }",
    ] {
        bad(&filter(sql));
    }
    assert!(bad(&filter("{ users: { id: [1] } }")).iter().any(|f| f.what.contains("which rows are theirs")));
}

#[test]
fn rule_13_a_place_has_exactly_one_tenant() {
    let second = |store: &str| {
        let contract = "contract: { role: processor, started: \"2021-03-01\", ends: null, purge_within: 1 month, breach_notice_within: 48h, contact: a@b.example, terms: \"2021-03-01\" }";
        let tenant = format!("tenants:\n  other:\n    {contract}\n    stores:\n      s: {store}\n");
        changed("tenants:\n", &tenant)
    };
    for taken in [
        "{ host: web1, path: /srv/app/client }",
        "{ host: web1, path: /srv/app/client/x }",
        "{ host: web1, path: /srv }",
    ] {
        let faults = bad(&second(taken));
        assert!(faults.iter().any(|f| f.what.contains("belongs to tenant")), "{taken}: {faults}");
    }
    good(&second("{ host: web1, path: /srv/app/client2 }"));
    good(&second("{ host: vault1, path: /srv/app/client }"));
    let both = |a: &str, b: &str| {
        let class = "{ in: rows, table: problem, age_from: created, keep_at_most: 2 years }";
        let text = with_rows(a, class);
        let at = text.find("tenants:\n").expect("tenants") + "tenants:\n".len();
        let other = second(b);
        let start = other.find("  other:").expect("the other");
        let end = other.find("  client:").expect("the client");
        format!("{}{}{}", &text[..at], &other[start..end], &text[at..])
    };
    let shared =
        "{ host: db1, database: main, schema: public, shared: true, where: { problem: { cobrand: [x] } } }";
    good(&both(shared, &shared.replace("[x]", "[z]")));
    for (a, b) in [
        (shared, "{ host: db1, database: main, schema: public }"),
        ("{ host: db1, database: main, schema: public }", "{ host: db1, database: main, schema: public }"),
        ("{ host: db1, database: main, schema: public }", "{ host: db1, database: main }"),
    ] {
        let faults = bad(&both(a, b));
        assert!(faults.iter().any(|f| f.what.contains("belongs to tenant")), "{a} {b}: {faults}");
    }
    good(&both("{ host: db1, database: main, schema: one }", "{ host: db1, database: main, schema: two }"));
}

#[test]
fn rule_14_removing_what_has_open_duties_is_refused() {
    let before = good(GOOD);
    let after = |text: &str| before.refuse_removals(&good(text));
    assert!(after(GOOD).is_empty());
    let tenant_start = GOOD.find("tenants:").expect("tenants");
    let tenant_end = GOOD.find("waivers:").expect("waivers");
    let without_tenant = format!("{}{}", &GOOD[..tenant_start], &GOOD[tenant_end..]);
    let faults = after(&without_tenant);
    assert_eq!(faults.len(), 1, "{faults}");
    assert!(
        faults.to_string().contains("purge certificate") && faults.to_string().contains("client"),
        "{faults}"
    );
    // a class that is renamed away, with its data still there
    let faults = after(&changed("uploads: {", "documents: {"));
    assert!(faults.to_string().contains("uploads"), "{faults}");
    // `ends:` starts a clock and removes nothing
    let ended = good(&changed("ends: null", "ends: \"2026-12-31\""));
    assert!(before.refuse_removals(&ended).is_empty());
    assert_eq!(host(&ended, "web1"), host(&before, "web1"));
    // a host that is backed up cannot go either
    let gone = GOOD.replace("web1", "web2");
    let faults = after(&gone);
    assert!(faults.iter().any(|f| f.what.contains("host web1")), "{faults}");
}

#[test]
fn rule_15_promises_must_be_attainable() {
    let cannot = |from: &str, to: &str, says: &str| refused(from, to, FaultCode::Unattainable, says);
    cannot("at_least: 3 per day", "at_least: 4 per day", "web1 has 3 a day");
    cannot("at: [\"06:00\", \"14:00\", \"22:00\"]", "at: [\"06:00\"]", "web1 has 1 a day");
    cannot("site: Delft", "site: Amsterdam", "another machine at another site");
    cannot(", backup: enforce }", " }", "only observed");
    cannot("erase_after: 3d", "erase_after: 30d", "copies live too long");
    cannot("paths: [/] }", "paths: [/srv] }", "the whole server");
    cannot("means: purge, within: 1 month", "means: purge, within: 2 weeks", "purge_within is 1 month");
}

#[test]
fn rule_15_the_worst_case_is_printed() {
    let set = good(GOOD);
    let worst = |means: &str| {
        set.promises().iter().find(|p| p.means == means).expect("the promise").worst_case.clone()
    };
    assert_eq!(worst("backup.server"), "web1 3 a day, at worst 8 h between two");
    assert_eq!(worst("backup.offhost"), "web1 (Amsterdam) to vault1 (Delft)");
    assert_eq!(
        worst("purge"),
        "gone within 1 month; copies: ring 7 d + close 30 h + erase_after 3d + look 1 d = 12 d 6 h"
    );
    // rows of shared tables leave copies with the ring: promised or not, that must fit the contract
    let class = "{ in: rows, table: problem, age_from: created, keep_at_most: 2 years }";
    let shared =
        "{ host: web1, database: main, schema: public, shared: true, where: { problem: { cobrand: [x] } } }";
    let text = with_rows(shared, class)
        .replacen(
            "site: Amsterdam }",
            "site: Amsterdam, databases: { main: { postgresql: app, socket: /run/postgresql } } }",
            1,
        )
        .replacen("paths: [/srv/app] }", "paths: [/srv/app], databases: [main] }", 1)
        .replacen("means: purge, within: 1 month", "means: firewall.both_ways", 1);
    good(&text);
    let faults = bad(&text.replacen("erase_after: 3d", "erase_after: 30d", 1));
    assert!(
        faults.iter().any(|f| f.code == FaultCode::Unattainable && f.what.contains("shared store")),
        "{faults}"
    );
}

#[test]
fn rule_15_access_is_promised_only_where_it_is_enforced() {
    let promise = "means: access.key_and_address";
    good(&changed("means: backup.offhost", promise));
    let text = changed("means: backup.offhost", promise).replacen("access: enforce, ", "", 1);
    let faults = bad(&text);
    assert!(
        faults.iter().any(|f| f.code == FaultCode::Unattainable && f.what.contains("firewall and access")),
        "{faults}"
    );
}

#[test]
fn rule_16_no_secret_stands_in_a_policy() {
    refused(
        "fleet: acme",
        "fleet: acme # -----BEGIN OPENSSH PRIVATE KEY-----",
        FaultCode::Rule,
        "private key",
    );
    refused(
        "command: /usr/local/bin/deploy",
        "command: /usr/bin/psql postgresql://a:b@db/x",
        FaultCode::Rule,
        "password",
    );
    refused(
        "age1hfgpja8dqnp3rlpsxnqddysgu6t9wujs9gckvuha5nfe234cdass5fzjm5",
        "AGE-SECRET-KEY-1QQPQQ",
        FaultCode::Rule,
        "secret key",
    );
    good(GOOD);
}

#[test]
fn rule_17_sudo_is_none_or_refused_by_name_until_it_works() {
    good(&changed("as: deploy }", "as: deploy, sudo: none }"));
    refused("as: deploy }", "as: deploy, sudo: all }", FaultCode::NotYet, "sudo");
    for escape in [
        "/bin/sh",
        "/usr/bin/vim /etc/motd",
        "/usr/bin/systemctl restart *",
        "systemctl restart app",
        "/usr/bin/python3 x.py",
    ] {
        refused("as: deploy }", &format!("as: deploy, sudo: [\"{escape}\"] }}"), FaultCode::Rule, "");
    }
    let faults = bad(&changed("as: deploy }", "as: deploy, sudo: [\"/usr/bin/systemctl reload app\"] }"));
    assert_eq!(
        faults.iter().map(|f| f.code).collect::<Vec<_>>(),
        [FaultCode::NotYet],
        "a good command is only not yet"
    );
}

#[test]
fn rule_18_recipients_ends_owners_and_reasons() {
    let one = "recovery: { recipients: [age1t4kfruqgwdqka8au87hdq63xdqvqg5er4w9ajf9mdpxupuffwgksg8e5n5] }";
    let two = GOOD.lines().find(|line| line.starts_with("recovery:")).expect("recovery");
    refused(two, one, FaultCode::Rule, "one recovery recipient");
    refused(two, "", FaultCode::MissingKey, "without recovery");
    refused(
        "age1hfgpja8dqnp3rlpsxnqddysgu6t9wujs9gckvuha5nfe234cdass5fzjm5",
        "age1t4kfruqgwdqka8au87hdq63xdqvqg5er4w9ajf9mdpxupuffwgksg8e5n5",
        FaultCode::DefinedTwice,
        "same recipient",
    );
    refused("sg8e5n5,", "sg8e5n6,", FaultCode::BadValue, "slip");
    refused(", until: \"2027-03-31\", owner", ", owner", FaultCode::MissingKey, "until");
    refused("until: \"2026-12-15\", ", "", FaultCode::MissingKey, "until");
    refused("owner: jeroen, ", "", FaultCode::MissingKey, "owner");
    refused("owner: jeroen, ", "owner: ops, ", FaultCode::UnknownName, "ops");
    refused(", because: \"vendor pins 15.4\"", "", FaultCode::MissingKey, "because");
    refused("owner: marit, command", "owner: deploy-bot, command", FaultCode::UnknownName, "deploy-bot");
    // an end is the end of its day in the policy's zone
    let access = host(&good(GOOD), "web1").ssh_access.expect("access");
    let marit = access.logins.iter().find(|login| login.who.as_str() == "marit").expect("marit");
    assert_eq!(marit.until.to_string(), "2027-06-30T21:59:59Z");
}

#[test]
fn rule_19_what_is_opened_is_tested_both_ways() {
    let lines: Vec<&str> = GOOD
        .lines()
        .filter(|line| line.starts_with("  - { from") || line.starts_with("  - { login"))
        .collect();
    assert_eq!(lines.len(), 7);
    for (line, says) in lines.iter().zip([
        "inbound rules of profile web have no test at all",
        "inbound rules of profile db have no test that shows that it opens what it should",
        "inbound rules of profile db have no test that shows what stays closed",
        "login of ops as admin (profile base) has no test that shows that it opens",
        "login of ops as admin (profile base) has no test that shows what stays closed",
        "login of deploy-bot as deploy (profile web) has no test that shows that it opens",
        "login of deploy-bot as deploy (profile web) has no test that shows what stays closed",
    ]) {
        let text = changed(&format!("{line}\n"), "");
        let faults = bad(&text);
        assert!(
            faults.iter().any(|f| f.code == FaultCode::Rule && f.what.contains(says)),
            "{line}\n{faults}"
        );
        assert_eq!(faults.len(), 1, "{faults}");
        // one's own host can do without
        assert!(load_standalone(&files(&text)).is_ok());
    }
    refused("from: 198.51.100.11, to: db1", "from: web1, to: db1", FaultCode::Rule, "literal address");
    refused(
        "{ login: marit, from: 203.0.113.9, to: web1,",
        "{ login: ops, from: 203.0.113.9, to: web1,",
        FaultCode::Rule,
        "is a group",
    );
    refused("drop: [postgresql] }", "drop: [postgres] }", FaultCode::UnknownName, "postgres");
}

#[test]
fn rule_19_what_cannot_be_enforced_yet_is_refused_by_name() {
    let not_yet = |from: &str, to: &str, says: &str| {
        let hint = refused(from, to, FaultCode::NotYet, says).hint;
        assert!(hint.is_some(), "{says} has a hint");
    };
    not_yet("by: [person]", "by: [vault1]", "enrolment");
    not_yet("mode: { firewall: enforce,", "mode: { firewall: permissive,", "permissive");
    not_yet("backup: enforce }", "backup: enforce, patch: enforce }", "patch");
    not_yet(
        "logins: [{ who: [ops], as: admin }]",
        "accounts: { admin: { groups: [adm] } }\n      logins: [{ who: [ops], as: admin }]",
        "accounts",
    );
    not_yet(
        "logins: [{ who: [ops], as: admin }]",
        "unmanaged_keys: quarantine\n      logins: [{ who: [ops], as: admin }]",
        "quarantine",
    );
    // what is only not judged yet is said, not refused
    let set = good(&changed("means: backup.offhost", "means: web.encrypted"));
    let promise = set.promises().iter().find(|p| p.means == "web.encrypted").expect("the promise");
    assert_eq!(promise.worst_case, "unknown: no probe yet");
    assert!(
        set.notes("2026-11-22T12:00:00Z".parse().expect("a time"))
            .iter()
            .any(|note| note.what.contains("nothing makes them yet"))
    );
    refused("means: backup.offhost", "means: backup.offsite", FaultCode::UnknownName, "duty");
}

#[test]
fn rule_20_a_file_is_a_value_and_parts_add_up() {
    let start = GOOD.find("  client:\n").expect("the tenant") + "  client:\n".len();
    let end = GOOD.find("waivers:").expect("waivers");
    let tenant: String = GOOD[start..end].lines().map(|line| format!("{}\n", &line[4..])).collect();
    let rest = format!("{}{}", &GOOD[..GOOD.find("tenants:").expect("tenants")], &GOOD[end..]);
    let mut parts = files(&rest);
    parts.insert("tenants/client.yaml".to_owned(), tenant);
    let set = load(&parts).unwrap_or_else(|faults| panic!("{faults}"));
    assert_eq!(host(&set, "web1"), host(&good(GOOD), "web1"));
    assert_eq!(set.promises().len(), 3);
    parts.insert("tenants/client.yml".to_owned(), "x: 1\n".to_owned());
    let faults = load(&parts).expect_err("a file with another name is no part");
    assert!(faults.iter().any(|fault| fault.code == FaultCode::UnknownFile), "{faults}");
    for word in ["on", "yes", "no", "off", "y", "n"] {
        bad(&changed("fleet: acme", &format!("fleet: acme\n{word}: 1")));
    }
}
