//! Rules 10 to 20: time, tenants and their data, promises, secrets, tests, files.

use tenure_policy::{FaultCode, load, load_standalone};

use crate::{GOOD, bad, changed, files, good, host, refused};

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
    // left out or said, to check sets nothing; nor does deleting
    for then in ["then: check, ", "then: delete, "] {
        let set = format!("keep_at_most: 2 years, {then}set: {{ name: \"\" }} }}");
        refused("keep_at_most: 2 years }", &set, FaultCode::Rule, "not anonymised");
    }
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
    // nor a vault, also when every host backs up elsewhere by now
    let other = changed("  vault1: { host: vault1, port", "  vault9: { host: vault1, port")
        .replace("to: [vault1]", "to: [vault9]");
    let faults = after(&other);
    let [fault] = faults.iter().collect::<Vec<_>>()[..] else { panic!("{faults}") };
    assert_eq!(fault.what, "vault vault1 is dropped while it holds copies");
    assert!(fault.hint.as_ref().is_some_and(|hint| hint.contains("certified as erased")), "{fault}");
    let both = changed(
        "quota: 400 GiB }",
        "quota: 400 GiB }\n  vault9: { host: vault9, port: 8422, store: /srv/vault, keep_free: 1 GiB, quota: 1 GiB }",
    );
    let machine = "hosts:\n  vault9: { profiles: [base], addresses: [198.51.100.9], site: Delft }\n";
    let both = both.replacen("hosts:\n", machine, 1).replace("to: [vault1]", "to: [vault9]");
    assert!(after(&both).is_empty(), "it stays, and nothing goes there");
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
    // how long rows live in copies is computed from what is declared, never claimed
    let says = "rows of a shared store live in copies too long for purge_within 1 month: ring 7 d + close 30 h + \
                erase_after 30d + look 1 d = 39 d 6 h";
    assert!(faults.iter().any(|f| f.code == FaultCode::Unattainable && f.what == says), "{faults}");
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
    not_yet("ring: weekday", "ring: weekly", "ring weekly");
    // what is only not judged yet is said, not refused
    let set = good(&changed("means: backup.offhost", "means: web.encrypted"));
    let promise = set.promises().iter().find(|p| p.means == "web.encrypted").expect("the promise");
    assert_eq!(promise.worst_case, "unknown: no probe yet");
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
