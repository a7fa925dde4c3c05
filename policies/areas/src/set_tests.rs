//! Runs the tests of a policy set against what its hosts would be given: packets through the compiled ruleset, logins
//! through the access section and the ruleset. Used by `tenure check` and before signing.

use std::collections::BTreeSet;
use std::net::IpAddr;

use jiff::Timestamp;
use tenure_policy::names::UnixUser;
use tenure_policy::resolve::{Asks, PolicyTest, TestService};
use tenure_policy::resolved::{HostPolicy, Ports, Protocol};
use tenure_policy::{Fault, FaultCode, Faults, Set, services};
use tenure_trust::{HostName, PersonName};

use crate::firewall::evaluate::{Decision, Sender, inbound, outbound};
use crate::firewall::{HostBits, Table, compile};

/// The faults of those tests that do not hold at this moment (logins end), empty when all do.
pub fn run(set: &Set, now: Timestamp) -> Faults {
    let mut faults = Faults::new();
    for test in set.tests() {
        for (what, hint) in failures(set, test, now) {
            let fault = Fault::new(&test.place, FaultCode::TestFails, format!("test fails: {what}"));
            faults.push(fault.hint(hint));
        }
    }
    faults
}

/// What does not hold, and what to look at.
type Failures = Vec<(String, String)>;

fn failures(set: &Set, test: &PolicyTest, now: Timestamp) -> Failures {
    match &test.asks {
        Asks::Inbound { from, to, accept, drop } => with_host(set, to, |host| {
            let addresses = addresses(set, to, *from);
            let ask = |protocol, port| arrives(host, *from, &addresses, protocol, port);
            packets(&format!("from {from} to {to}"), host, accept, drop, ask)
        }),
        Asks::Outbound { from, to, user, accept, drop } => with_host(set, from, |host| {
            let addresses = addresses(set, from, *to);
            let way = format!("from {from} to {to}");
            senders(host, user.as_ref())
                .into_iter()
                .flat_map(|(name, sender)| {
                    // what every user may send is asked of one whom no rule names; what nobody may send, of all
                    let accept: &[TestService] = if name.is_some() && user.is_none() { &[] } else { accept };
                    let way = name.map_or(way.clone(), |name| format!("{way} as {name}"));
                    packets(&way, host, accept, drop, |protocol, port| {
                        leaves(host, &addresses, *to, sender, protocol, port)
                    })
                })
                .collect()
        }),
        Asks::Login { who, from, to, account, accept } => with_host(set, to, |host| {
            let addresses = addresses(set, to, *from);
            let got = login(host, who, *from, &addresses, account, now);
            match (got, accept) {
                (Ok(()), true) | (Err(_), false) => Vec::new(),
                (Err(why), true) => {
                    vec![(format!("{who} does not get in from {from} to {to} as {account}"), why)]
                }
                (Ok(()), false) => vec![(
                    format!("{who} gets in from {from} to {to} as {account}"),
                    format!("look at access.logins of {to} and at the networks of {who}"),
                )],
            }
        }),
    }
}

/// A host's policy with its compiled ruleset.
struct Host {
    policy: HostPolicy,
    /// `None`: the policy has no firewall for it, so nothing is dropped.
    table: Option<(Table, HostBits)>,
}

fn with_host(set: &Set, name: &HostName, ask: impl FnOnce(&Host) -> Failures) -> Failures {
    let Some(policy) = set.host_policy(name) else {
        return vec![(format!("there is no host {name}"), "name a host of the set".to_owned())];
    };
    let table = match &policy.firewall {
        None => None,
        Some(section) => {
            let bits = HostBits::assumed(section);
            match compile(section, &bits) {
                Ok(table) => Some((table, bits)),
                Err(error) => {
                    let what = format!("the firewall of {name} cannot be made: {error}");
                    return vec![(what, error.hint().to_owned())];
                }
            }
        }
    };
    ask(&Host { policy, table })
}

/// The addresses of a host that are of the family of another one.
fn addresses(set: &Set, name: &HostName, like: IpAddr) -> Vec<IpAddr> {
    let host = set.written().hosts.get(name);
    let all = host.into_iter().flat_map(|host| host.addresses.iter().map(|address| address.value));
    all.filter(|address| address.is_ipv4() == like.is_ipv4()).collect()
}

fn packets(
    way: &str,
    host: &Host,
    accept: &[TestService],
    drop: &[TestService],
    ask: impl Fn(Protocol, u16) -> Decision,
) -> Failures {
    let mut failures = Vec::new();
    for (wanted, service) in accept.iter().map(|s| (true, s)).chain(drop.iter().map(|s| (false, s))) {
        for ports in &service.ports {
            let wrong = asked(*ports, host).map(|port| (port, ask(ports.protocol, port)));
            let Some((port, decision)) = wrong.into_iter().find(|(_, decision)| decision.accept != wanted)
            else {
                continue;
            };
            let port = services::say(Ports { first: port, last: port, ..*ports });
            let name = if port == service.name { port } else { format!("{} ({port})", service.name) };
            let what = match wanted {
                true => format!("{name} {way} is dropped"),
                false => format!("{name} {way} gets through"),
            };
            failures.push((what, format!("decided by {}", decision.by)));
        }
    }
    failures
}

/// The ports of a range that are worth asking: all of a short one; of a long one its ends and every place where a rule
/// of the host begins or ends, because between those the answer is the same.
fn asked(ports: Ports, host: &Host) -> impl Iterator<Item = u16> + use<> {
    let mut list: BTreeSet<u16> = [ports.first, ports.last].into();
    if ports.last - ports.first < 1024 {
        list.extend(ports.first..=ports.last);
    } else if let Some(section) = &host.policy.firewall {
        let rules = section.inbound.iter().map(|r| &r.ports).chain(section.outbound.iter().map(|r| &r.ports));
        for rule in rules.flatten() {
            list.extend([rule.first, rule.last, rule.first.saturating_sub(1), rule.last.saturating_add(1)]);
        }
        list.extend([22, 53, 67, 68, 123, 546, 547]);
    }
    list.into_iter().filter(move |port| (ports.first..=ports.last).contains(port))
}

/// What is said when a host cannot be reached because it has no address of the family.
fn no_address() -> Decision {
    Decision { accept: false, by: "the host has no address of this family".to_owned() }
}

fn no_firewall() -> Decision {
    Decision { accept: true, by: "nothing: the host has no firewall section".to_owned() }
}

fn arrives(host: &Host, from: IpAddr, addresses: &[IpAddr], protocol: Protocol, port: u16) -> Decision {
    first_refusal(addresses, |to| match &host.table {
        Some((table, _)) => inbound(table, from, to, protocol, port),
        None => no_firewall(),
    })
}

fn leaves(
    host: &Host,
    addresses: &[IpAddr],
    to: IpAddr,
    sender: Sender,
    protocol: Protocol,
    port: u16,
) -> Decision {
    first_refusal(addresses, |from| match &host.table {
        Some((table, _)) => outbound(table, from, to, protocol, port, sender),
        None => no_firewall(),
    })
}

/// Who sends: the one user of the test, or one whom no rule names and everyone whom a rule names.
fn senders<'a>(host: &'a Host, user: Option<&'a UnixUser>) -> Vec<(Option<&'a UnixUser>, Sender)> {
    let uids = host.table.as_ref().map(|(_, bits)| &bits.uids);
    match user {
        Some(user) => {
            let uid = uids.and_then(|uids| uids.get(user));
            vec![(Some(user), uid.map_or(Sender::Nobody, |uid| Sender::Uid(*uid)))]
        }
        None => {
            let named = uids.into_iter().flatten().map(|(user, uid)| (Some(user), Sender::Uid(*uid)));
            std::iter::once((None, Sender::Nobody)).chain(named).collect()
        }
    }
}

/// The answer for all addresses of a host: the first that lets through, else the first.
fn first_refusal(addresses: &[IpAddr], ask: impl Fn(IpAddr) -> Decision) -> Decision {
    let mut answers: Vec<Decision> = addresses.iter().map(|address| ask(*address)).collect();
    match answers.iter().position(|answer| answer.accept) {
        Some(open) => answers.swap_remove(open),
        None => answers.into_iter().next().unwrap_or_else(no_address),
    }
}

/// Whether somebody gets in; why not.
fn login(
    host: &Host,
    who: &PersonName,
    from: IpAddr,
    addresses: &[IpAddr],
    account: &UnixUser,
    now: Timestamp,
) -> Result<(), String> {
    let Some(access) = &host.policy.ssh_access else {
        return Err("the host has no access section".to_owned());
    };
    let theirs = || access.logins.iter().filter(|login| login.who == *who && login.account == *account);
    if theirs().next().is_none() {
        return Err(format!("no login of the host lets {who} in as {account}"));
    }
    let from_there = || theirs().filter(|login| login.from.iter().any(|net| net.contains(&from)));
    if from_there().next().is_none() {
        return Err(format!("{from} is in none of the networks of {who}"));
    }
    if !from_there().any(|login| login.until > now) {
        return Err(format!("every such login of {who} has ended"));
    }
    match arrives(host, from, addresses, Protocol::Tcp, 22) {
        Decision { accept: true, .. } => Ok(()),
        Decision { by, .. } => Err(format!("tcp/22 from {from} is dropped, decided by {by}")),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    const SET: &str = r#"
tenure: 1
fleet: acme
timezone: UTC
valid_for: 90d
networks: { office: [203.0.113.0/24, "2001:db8:10::/48"], resolvers: [198.51.100.53], bad: [203.0.113.66] }
people:
  marit:
    keys: ["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBOH73hTuuvKYuTqVJLVNEtrm3RtxwjgXzChjEee33nY marit"]
    from: [office]
    until: "2027-06-30"
groups: { ops: [marit] }
management: { who: [ops], confirm: { by: [person], within: 60s } }
profiles:
  web:
    mode: { firewall: enforce, access: enforce }
    firewall:
      inbound: [ { allow: [https, tcp/9000-9010], from: [anywhere] } ]
      outbound: [ { allow: [dns], to: [resolvers], users: [_apt] } ]
      block: [bad]
    access: { logins: [ { who: [ops], as: admin } ] }
hosts:
  web1: { profiles: [web], addresses: [198.51.100.11] }
"#;

    fn now() -> Timestamp {
        "2026-11-22T12:00:00Z".parse().expect("a time")
    }

    /// What the tests of the set say, one line each.
    fn said(tests: &[&str], now: Timestamp) -> Vec<String> {
        let text = format!("{SET}tests:\n{}", tests.iter().map(|t| format!("  - {t}\n")).collect::<String>());
        let files = BTreeMap::from([("fleet.yaml".to_owned(), text)]);
        let set = tenure_policy::load_standalone(&files).unwrap_or_else(|faults| panic!("{faults}"));
        run(&set, now)
            .iter()
            .map(|f| format!("{}; {}", f.what, f.hint.as_deref().unwrap_or_default()))
            .collect()
    }

    #[test]
    fn tests_that_hold_say_nothing() {
        let tests = [
            "{ from: 192.0.2.77, to: web1, accept: [https, tcp/9000-9010], drop: [ssh, postgresql, udp/443] }",
            "{ from: 203.0.113.9, to: web1, accept: [ssh] }",
            "{ from: 203.0.113.66, to: web1, drop: [ssh, https] }",
            "{ from: web1, to: 198.51.100.53, user: _apt, accept: [dns] }",
            "{ from: web1, to: 198.51.100.53, user: www-data, drop: [dns, tcp/1-65535] }",
            "{ from: web1, to: 198.51.100.54, drop: [dns, tcp/1-65535] }",
            "{ login: marit, from: 203.0.113.9, to: web1, as: admin, expect: accept }",
            "{ login: marit, from: 203.0.113.66, to: web1, as: admin, expect: drop }",
            "{ login: marit, from: 192.0.2.77, to: web1, as: admin, expect: drop }",
            "{ login: marit, from: \"2001:db8:10::9\", to: web1, as: admin, expect: drop }",
        ];
        assert_eq!(said(&tests, now()), Vec::<String>::new());
    }

    #[test]
    fn each_test_that_does_not_hold_is_named_with_what_decided() {
        let failing = |test: &str| said(&[test], now());
        let one = failing("{ from: 192.0.2.77, to: web1, accept: [postgresql] }");
        assert!(
            one.len() == 1
                && one[0].starts_with("test fails: postgresql (tcp/5432) from 192.0.2.77 to web1 is dropped"),
            "{one:?}"
        );
        let one = failing("{ from: 192.0.2.77, to: web1, drop: [tcp/1-65535] }");
        assert!(one.len() == 1 && one[0].contains("gets through; decided by rule:web/inbound/1"), "{one:?}");
        let one = failing("{ from: 192.0.2.77, to: web1, drop: [tcp/9005-9020] }");
        assert!(one.len() == 1 && one[0].contains("(tcp/9005)"), "{one:?}");
        let one = failing("{ from: web1, to: 198.51.100.53, accept: [dns] }");
        assert_eq!(one.len(), 2, "tcp and udp: {one:?}");
        let one = failing("{ from: web1, to: 198.51.100.53, drop: [dns] }");
        assert!(
            one.len() == 2 && one[0].contains("as _apt gets through"),
            "a user whom a rule names: {one:?}"
        );
        let one = failing("{ from: \"2001:db8::1\", to: web1, accept: [https] }");
        assert!(one.len() == 1 && one[0].contains("no address of this family"), "{one:?}");
        let one = failing("{ login: marit, from: 192.0.2.77, to: web1, as: admin, expect: accept }");
        assert!(one.len() == 1 && one[0].contains("none of the networks of marit"), "{one:?}");
        let one = failing("{ login: marit, from: 203.0.113.66, to: web1, as: admin, expect: accept }");
        assert!(one.len() == 1 && one[0].contains("block:bad"), "{one:?}");
        let one = failing("{ login: marit, from: 203.0.113.9, to: web1, as: admin, expect: drop }");
        assert!(one.len() == 1 && one[0].contains("marit gets in"), "{one:?}");
    }

    #[test]
    fn a_login_that_has_ended_is_none() {
        let later = "2027-07-01T00:00:00Z".parse().expect("a time");
        let test = ["{ login: marit, from: 203.0.113.9, to: web1, as: admin, expect: accept }"];
        let one = said(&test, later);
        assert!(one.len() == 1 && one[0].contains("has ended"), "{one:?}");
    }
}
