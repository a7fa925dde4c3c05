//! The twenty rules of POLICY.md: each refuses what it must, with place and words, and accepts what it may.

mod bundles;
mod hosts;
mod tenants;

use std::collections::BTreeMap;

use tenure_policy::resolved::HostPolicy;
use tenure_policy::{Fault, FaultCode, Faults, Set, load};

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
