//! The set's own tests: resolved for whoever runs them, and whether there are enough (rule 19).

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::Serialize;
use tenure_trust::{HostName, PersonName};

use crate::fault::{Fault, FaultCode, Faults, Place, Spanned};
use crate::names::UnixUser;
use crate::resolve::backup::known_host;
use crate::resolve::book::{Book, Who};
use crate::resolve::merge::Source;
use crate::resolved::{Ports, Protocol};
use crate::scalars::{Service, TestEnd};
use crate::written::{Expect, LoginTest, PacketTest, Test, Written};

/// One test of the set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PolicyTest {
    /// Where it stands.
    pub place: Place,
    /// What it asks.
    pub asks: Asks,
}

/// What a test asks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Asks {
    /// Do packets from an address reach a host?
    Inbound {
        /// From this address.
        from: IpAddr,
        /// To this host.
        to: HostName,
        /// What gets in.
        accept: Vec<TestService>,
        /// What does not.
        drop: Vec<TestService>,
    },
    /// Do packets of a host reach an address?
    Outbound {
        /// From this host.
        from: HostName,
        /// To this address.
        to: IpAddr,
        /// As this local user; `None`: as every one, so that what gets out does so for a user whom no rule names,
        /// and what does not get out does not for those whom a rule names either.
        user: Option<UnixUser>,
        /// What gets out.
        accept: Vec<TestService>,
        /// What does not.
        drop: Vec<TestService>,
    },
    /// Does somebody get in by SSH?
    Login {
        /// The person or machine key.
        who: PersonName,
        /// From this address.
        from: IpAddr,
        /// To this host.
        to: HostName,
        /// As this account.
        account: UnixUser,
        /// Whether they must get in.
        accept: bool,
    },
}

/// A service of a test: as written, and its ports.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TestService {
    /// As written.
    pub name: String,
    /// Its ports, each of which is asked.
    pub ports: Vec<Ports>,
}

/// Resolves the tests and reports what is wrong with them.
pub(crate) fn resolve(written: &Written, book: &Book, faults: &mut Faults) -> Vec<PolicyTest> {
    let asks = |test: &Spanned<Test>, faults: &mut Faults| match &test.value {
        Test::Packet(packet) => packet_test(&test.at, packet, written, book, faults),
        Test::Login(login) => login_test(login, written, book, faults),
    };
    let tests = written.tests.iter();
    tests.filter_map(|test| Some(PolicyTest { place: test.at.clone(), asks: asks(test, faults)? })).collect()
}

fn packet_test(
    at: &Place,
    test: &PacketTest,
    written: &Written,
    book: &Book,
    faults: &mut Faults,
) -> Option<Asks> {
    if test.accept.is_empty() && test.drop.is_empty() {
        let fault = Fault::new(at, FaultCode::MissingKey, "a test that asks nothing");
        faults.push(fault.hint("add accept: or drop: with services"));
    }
    let services = |list: &[Spanned<Service>], faults: &mut Faults| -> Vec<TestService> {
        list.iter().map(|s| TestService { name: s.value.to_string(), ports: book.ports(s, faults) }).collect()
    };
    let (accept, drop) = (services(&test.accept, faults), services(&test.drop, faults));
    let host = |end: &Spanned<TestEnd>, name: &HostName, faults: &mut Faults| {
        known_host(&Spanned::new(name.clone(), end.at.clone()), written, book, faults);
    };
    match (&test.from.value, &test.to.value) {
        (TestEnd::Address(from), TestEnd::Host(to)) => {
            host(&test.to, to, faults);
            if let Some(user) = &test.user {
                let fault = Fault::new(&user.at, FaultCode::Rule, "a user in a test of packets that come in");
                faults.push(fault.hint("users are the sending host's: leave user: out"));
            }
            Some(Asks::Inbound { from: *from, to: to.clone(), accept, drop })
        }
        (TestEnd::Host(from), TestEnd::Address(to)) => {
            host(&test.from, from, faults);
            let user = test.user.as_ref().map(|user| user.value.clone());
            Some(Asks::Outbound { from: from.clone(), to: *to, user, accept, drop })
        }
        (from, to) => {
            let what =
                format!("a test between {from} and {to}: one end is a host, the other a literal address");
            let hint = "a test must not move with the name it tests: write the other end's address";
            faults.push(Fault::new(at, FaultCode::Rule, what).hint(hint));
            None
        }
    }
}

fn login_test(test: &LoginTest, written: &Written, book: &Book, faults: &mut Faults) -> Option<Asks> {
    known_host(&test.to, written, book, faults);
    if let Some(Who::Group(_)) = book.who(&test.login, faults) {
        let what = format!("{:?} is a group, and groups do not log in", test.login.as_str());
        faults.push(Fault::new(&test.login.at, FaultCode::Rule, what).hint("name one of its people"));
        return None;
    }
    Some(Asks::Login {
        who: test.login.value.clone(),
        from: test.from.value,
        to: test.to.value.clone(),
        account: test.account.value.clone(),
        accept: test.expect.value == Expect::Accept,
    })
}

/// Every profile with inbound rules and every name that may log in is tested, both that it works and that it does not
/// elsewhere. Profiles that no host has need no test.
pub(crate) fn check(written: &Written, book: &Book, tests: &[PolicyTest], faults: &mut Faults) {
    let index = Index::new(written, tests);
    let used: std::collections::BTreeSet<&str> =
        written.hosts.values().flat_map(|host| &host.profiles).map(|profile| profile.as_str()).collect();
    let profiles = written.profiles.iter().map(|(name, profile)| Source::profile(name, profile));
    let hosts = written.hosts.iter().map(|(name, host)| Source::host(name, host));
    for source in profiles.filter(|source| used.contains(source.name)).chain(hosts) {
        check_inbound(&source, book, &index, faults);
        check_logins(&source, book, &index, faults);
    }
}

fn check_inbound(source: &Source<'_>, book: &Book, index: &Index<'_>, faults: &mut Faults) {
    let Some(rule) = source.firewall.and_then(|firewall| firewall.inbound.first()) else { return };
    let opened: Vec<Ports> = source
        .firewall
        .iter()
        .flat_map(|firewall| &firewall.inbound)
        .flat_map(|rule| &rule.allow)
        .filter_map(|service| book.ports_of(service).ok())
        .flatten()
        .collect();
    let tested = index.packets.get(source.name);
    let accepted = tested.is_some_and(|tested| {
        tested.accept.iter().any(|port| opened.iter().any(|open| covers(*open, *port)))
    });
    let dropped = tested.is_some_and(|tested| tested.drops);
    let missing = missing(accepted, dropped);
    if let Some(missing) = missing {
        let what = format!("the inbound rules of {} have no test {missing}", source.say());
        let hint = "for example - { from: 192.0.2.77, to: <host>, accept: [https], drop: [ssh] }";
        faults.push(Fault::new(&rule.at, FaultCode::Rule, what).hint(hint));
    }
}

fn check_logins(source: &Source<'_>, book: &Book, index: &Index<'_>, faults: &mut Faults) {
    for login in source.access.iter().flat_map(|access| &access.logins) {
        for who in &login.who {
            let tried = |accept: bool| {
                book.members(&who.value).iter().any(|member| {
                    index.logins.contains(&(source.name, member.as_str(), login.account.as_str(), accept))
                })
            };
            if let Some(missing) = missing(tried(true), tried(false)) {
                let what = format!(
                    "the login of {} as {} ({}) has no test {missing}",
                    who.value,
                    login.account.value,
                    source.say()
                );
                let hint = format!(
                    "for example - {{ login: {}, from: 192.0.2.77, to: <host>, as: {}, expect: drop }}",
                    book.members(&who.value).first().map_or("<person>", |member| member.as_str()),
                    login.account.value
                );
                faults.push(Fault::new(&who.at, FaultCode::Rule, what).hint(hint));
            }
        }
    }
}

fn missing(positive: bool, negative: bool) -> Option<&'static str> {
    match (positive, negative) {
        (true, true) => None,
        (true, false) => Some("that shows what stays closed"),
        (false, true) => Some("that shows that it opens what it should"),
        (false, false) => Some("at all"),
    }
}

fn covers(open: Ports, port: Ports) -> bool {
    open.protocol == port.protocol && open.first <= port.first && port.last <= open.last
}

/// Tests by the profiles and hosts that they reach, so that looking is not quadratic.
struct Index<'a> {
    packets: BTreeMap<&'a str, Tested>,
    logins: std::collections::BTreeSet<(&'a str, &'a str, &'a str, bool)>,
}

#[derive(Default)]
struct Tested {
    accept: std::collections::BTreeSet<Ports>,
    drops: bool,
}

impl<'a> Index<'a> {
    fn new(written: &'a Written, tests: &'a [PolicyTest]) -> Self {
        let mut index = Self { packets: BTreeMap::new(), logins: std::collections::BTreeSet::new() };
        for test in tests {
            match &test.asks {
                Asks::Inbound { to, accept, drop, .. } => {
                    for name in reached(written, to) {
                        let tested = index.packets.entry(name).or_default();
                        tested.accept.extend(accept.iter().flat_map(|service| &service.ports));
                        tested.drops |= !drop.is_empty();
                    }
                }
                Asks::Login { who, to, account, accept, .. } => {
                    for name in reached(written, to) {
                        index.logins.insert((name, who.as_str(), account.as_str(), *accept));
                    }
                }
                Asks::Outbound { .. } => {}
            }
        }
        index
    }
}

/// The host and its profiles.
fn reached<'a>(written: &'a Written, host: &'a HostName) -> impl Iterator<Item = &'a str> {
    let profiles = written.hosts.get(host).into_iter().flat_map(|host| &host.profiles);
    std::iter::once(host.as_str()).chain(profiles.map(|profile| profile.as_str()))
}

impl TestService {
    /// Does any of its ports use this protocol?
    pub fn uses(&self, protocol: Protocol) -> bool {
        self.ports.iter().any(|ports| ports.protocol == protocol)
    }
}
