//! Compiles the policy's section into a [`Table`]: default drop both ways, only what the rules name gets through, a block always wins.
//! The shape and the order of rules are those of `docs/FIREWALL.md`, proved against nft 1.0.6.

use std::collections::{BTreeMap, BTreeSet};

use ipnet::{Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};
use tenure_policy::names::{NetworkName, RuleId, UnixUser};
use tenure_policy::resolved::{FirewallSection, Peers, Ports, Protocol, Users};

use super::fixed::{self, accept, default_drop, jump, reject};
use super::table::{AddressSet, Family, Hook, Match, Rule, Table, Then, Transport};

/// Most intervals in all sets of one table: replacing 500,000 took the kernel 71 s (measured).
pub const MAX_INTERVALS: usize = 65_536;

/// What the compiler needs to know of the host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub struct HostBits {
    /// Local accounts that rules name, with their uid; an account that is not here does not exist.
    pub uids: BTreeMap<UnixUser, u32>,
    /// A container engine's bridges exist: the forward hook is left out.
    pub without_forward: bool,
}

impl HostBits {
    /// For judging a policy away from its host: every named account exists under a made-up uid.
    pub fn assumed(section: &FirewallSection) -> Self {
        let uids = named_users(section).into_iter().zip(100_000..).collect();
        Self { uids, without_forward: false }
    }
}

/// Why a section does not compile.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CompileError {
    /// A rule is for an account that the host does not have.
    #[error("rule {rule} is for the account {user}, which does not exist on this host")]
    UnknownUser {
        /// Rule.
        rule: RuleId,
        /// Account.
        user: UnixUser,
    },
    /// A rule names a network that the section does not bring.
    #[error("{place} names the network {network}, which the section does not resolve")]
    UnknownNetwork {
        /// Rule id or `block`.
        place: String,
        /// Network.
        network: NetworkName,
    },
    /// A selector that selects nothing: nothing absent opens anything (POLICY.md rule 1).
    #[error("rule {rule} has an empty list of {what}")]
    Empty {
        /// Rule.
        rule: RuleId,
        /// `ports`, `networks` or `users`.
        what: &'static str,
    },
    /// A range of ports that ends before it begins.
    #[error("rule {rule} has the ports {first}-{last}, which end before they begin")]
    Backwards {
        /// Rule.
        rule: RuleId,
        /// First port.
        first: u16,
        /// Last port.
        last: u16,
    },
    /// More intervals than the kernel takes in reasonable time.
    #[error("the networks have {count} intervals, at most {MAX_INTERVALS} are allowed")]
    TooManyIntervals {
        /// Intervals.
        count: usize,
    },
}

impl CompileError {
    /// What to do next.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::UnknownUser { .. } => "create the account, or take it out of the rule's users",
            Self::UnknownNetwork { .. } | Self::Empty { .. } | Self::Backwards { .. } => {
                "sign the policy again with the current tenure"
            }
            Self::TooManyIntervals { .. } => "name fewer or larger networks",
        }
    }

    /// The rule, if one is to blame.
    pub fn rule(&self) -> Option<String> {
        match self {
            Self::UnknownUser { rule, .. } | Self::Empty { rule, .. } | Self::Backwards { rule, .. } => {
                Some(rule.to_string())
            }
            Self::UnknownNetwork { place, .. } => Some(place.clone()),
            Self::TooManyIntervals { .. } => None,
        }
    }
}

/// Accounts that outbound rules name, sorted.
pub fn named_users(section: &FirewallSection) -> BTreeSet<UnixUser> {
    let named = section.outbound.iter().filter_map(|rule| match &rule.users {
        Users::Every => None,
        Users::Named(users) => Some(users.iter().cloned()),
    });
    named.flatten().collect()
}

/// Compiles a section for a host. Pure: the same section and host give the same table.
///
/// # Errors
/// [`CompileError`] names the rule and the reason; nothing is compiled in part.
pub fn compile(section: &FirewallSection, host: &HostBits) -> Result<Table, CompileError> {
    let mut compiler = Compiler { section, host, table: Table::default() };
    compiler.networks()?;
    compiler.helpers();
    let mut hooks = vec![(Hook::Prerouting, compiler.prerouting()?), (Hook::Input, compiler.input()?)];
    if !host.without_forward {
        hooks.push((Hook::Forward, compiler.forward()?));
    }
    hooks.push((Hook::Output, compiler.output()?));
    let mut table = compiler.table;
    for (hook, rules) in hooks {
        table.chains.insert(hook.name().into(), rules);
    }
    let counters = table.chains.values().flatten().filter_map(|rule| rule.counter.clone()).collect();
    table.counters = counters;
    Ok(table)
}

/// The named counter of a rule of the policy: its id, with `:` (which nft's own syntax cannot name) as `..`.
pub fn counter_name(id: &RuleId) -> String {
    format!("r_{}", id.as_str().replace(':', ".."))
}

struct Compiler<'a> {
    section: &'a FirewallSection,
    host: &'a HostBits,
    table: Table,
}

/// The far end of a rule, spelled out: anywhere, or one set of one family.
enum End {
    Anywhere,
    Set(String),
}

impl Compiler<'_> {
    fn networks(&mut self) -> Result<(), CompileError> {
        for (name, addresses) in &self.section.networks {
            let v4 = Ipv4Net::aggregate(&addresses.v4);
            let v6 = Ipv6Net::aggregate(&addresses.v6);
            if !v4.is_empty() {
                self.table.sets.insert(format!("n_{name}_4"), AddressSet::V4(sorted(v4)));
            }
            if !v6.is_empty() {
                self.table.sets.insert(format!("n_{name}_6"), AddressSet::V6(sorted(v6)));
            }
        }
        match self.table.intervals() {
            count if count > MAX_INTERVALS => Err(CompileError::TooManyIntervals { count }),
            _ => Ok(()),
        }
    }

    fn helpers(&mut self) {
        self.table.chains.insert("icmp_in".into(), fixed::icmp_in());
        self.table.chains.insert("icmp_out".into(), fixed::icmp_out());
        self.table.chains.insert("dhcp_in".into(), fixed::dhcp_in());
    }

    fn prerouting(&self) -> Result<Vec<Rule>, CompileError> {
        let mut rules = self.head(Hook::Prerouting)?;
        rules.push(jump("dhcp_in"));
        rules.push(accept(vec![Match::NotLocal], "not-for-us: forward/input decide"));
        rules.extend(self.inbound(false)?);
        rules.extend(default_drop(Hook::Prerouting));
        Ok(rules)
    }

    fn input(&self) -> Result<Vec<Rule>, CompileError> {
        let mut rules = self.head(Hook::Input)?;
        rules.push(jump("dhcp_in"));
        rules.push(Rule {
            counter: Some("r_dnat".into()),
            ..accept(vec![Match::CtDnat], "dnat-to-local vetted in prerouting")
        });
        rules.extend(self.inbound(true)?);
        rules.extend(default_drop(Hook::Input));
        Ok(rules)
    }

    fn forward(&self) -> Result<Vec<Rule>, CompileError> {
        let mut rules = self.head(Hook::Forward)?;
        rules.push(Rule {
            counter: Some("r_dnat".into()),
            ..accept(vec![Match::CtDnat], "published, vetted in prerouting")
        });
        rules.extend(default_drop(Hook::Forward));
        Ok(rules)
    }

    fn output(&self) -> Result<Vec<Rule>, CompileError> {
        let mut rules = self.head(Hook::Output)?;
        rules.push(accept(
            vec![
                Match::Family(Family::V4),
                Match::SourcePort(Transport::Udp, 68),
                Match::DestinationPorts(Transport::Udp, vec![(67, 67)]),
            ],
            "dhcp4:client",
        ));
        rules.push(accept(
            vec![
                Match::DestinationV6(vec![fixed::link_local(), fixed::dhcp6_servers()]),
                Match::SourcePort(Transport::Udp, 546),
                Match::DestinationPorts(Transport::Udp, vec![(547, 547)]),
            ],
            "dhcp6:client",
        ));
        rules.extend(self.outbound()?);
        rules.push(Rule {
            matches: vec![Match::Limit { rate: 10, burst: 20 }],
            counter: None,
            then: Then::Log("output reject".into()),
            comment: Some("log:output".into()),
        });
        rules.extend(reject(vec![], "d_output", "default:output"));
        Ok(rules)
    }

    /// What every hook begins with: loopback, known connections, blocks, ICMP, invalid.
    fn head(&self, hook: Hook) -> Result<Vec<Rule>, CompileError> {
        let mut rules = Vec::new();
        match hook {
            Hook::Prerouting | Hook::Input => rules.push(accept(vec![Match::InLoopback], "lo")),
            Hook::Output => rules.push(accept(vec![Match::OutLoopback], "lo")),
            Hook::Forward => {}
        }
        rules.push(accept(vec![Match::CtKnown], "ct"));
        rules.extend(self.blocks(hook)?);
        match hook {
            Hook::Prerouting | Hook::Input => rules.push(jump("icmp_in")),
            Hook::Output => rules.push(jump("icmp_out")),
            Hook::Forward => {}
        }
        rules.push(Rule {
            matches: vec![Match::CtInvalid],
            counter: Some(format!("inv_{hook}")),
            then: Then::Drop,
            comment: Some("invalid".into()),
        });
        Ok(rules)
    }

    /// Blocked networks: dropped on the way in and through, refused on the way out.
    fn blocks(&self, hook: Hook) -> Result<Vec<Rule>, CompileError> {
        let mut rules = Vec::new();
        for network in &self.section.blocks {
            let counter = format!("b_{network}");
            let comment = format!("block:{network}");
            for set in self.sets("block", network)? {
                let drop = |m| Rule {
                    matches: vec![m],
                    counter: Some(counter.clone()),
                    then: Then::Drop,
                    comment: Some(comment.clone()),
                };
                match hook {
                    Hook::Prerouting | Hook::Input => rules.push(drop(Match::SourceIn(set))),
                    Hook::Forward => {
                        rules.push(drop(Match::SourceIn(set.clone())));
                        rules.push(drop(Match::DestinationIn(set)));
                    }
                    Hook::Output => {
                        rules.extend(reject(vec![Match::DestinationIn(set)], &counter, &comment));
                    }
                }
            }
        }
        Ok(rules)
    }

    fn inbound(&self, counted: bool) -> Result<Vec<Rule>, CompileError> {
        let mut rules = Vec::new();
        for rule in &self.section.inbound {
            for (transport, ranges) in ports(&rule.id, &rule.ports)? {
                for end in self.ends(&rule.id, &rule.from)? {
                    let mut matches = Vec::new();
                    if let End::Set(set) = end {
                        matches.push(Match::SourceIn(set));
                    }
                    matches.push(Match::DestinationPorts(transport, ranges.clone()));
                    rules.push(policy_rule(&rule.id, matches, counted));
                }
            }
        }
        Ok(rules)
    }

    fn outbound(&self) -> Result<Vec<Rule>, CompileError> {
        let mut rules = Vec::new();
        for rule in &self.section.outbound {
            let uids = self.uids(&rule.id, &rule.users)?;
            for (transport, ranges) in ports(&rule.id, &rule.ports)? {
                for end in self.ends(&rule.id, &rule.to)? {
                    let mut matches = Vec::new();
                    if let Some(uids) = &uids {
                        matches.push(Match::Uids(uids.clone()));
                    }
                    if let End::Set(set) = end {
                        matches.push(Match::DestinationIn(set));
                    }
                    matches.push(Match::DestinationPorts(transport, ranges.clone()));
                    rules.push(policy_rule(&rule.id, matches, true));
                }
            }
        }
        Ok(rules)
    }

    fn uids(&self, rule: &RuleId, users: &Users) -> Result<Option<Vec<u32>>, CompileError> {
        let Users::Named(users) = users else { return Ok(None) };
        if users.is_empty() {
            return Err(CompileError::Empty { rule: rule.clone(), what: "users" });
        }
        let uids: Result<BTreeSet<u32>, _> = users
            .iter()
            .map(|user| {
                let unknown = || CompileError::UnknownUser { rule: rule.clone(), user: user.clone() };
                self.host.uids.get(user).copied().ok_or_else(unknown)
            })
            .collect();
        Ok(Some(uids?.into_iter().collect()))
    }

    fn ends(&self, rule: &RuleId, peers: &Peers) -> Result<Vec<End>, CompileError> {
        match peers {
            Peers::Anywhere => Ok(vec![End::Anywhere]),
            Peers::Networks(networks) if networks.is_empty() => {
                Err(CompileError::Empty { rule: rule.clone(), what: "networks" })
            }
            Peers::Networks(networks) => {
                let mut ends = Vec::new();
                for network in networks {
                    ends.extend(self.sets(rule.as_str(), network)?.into_iter().map(End::Set));
                }
                Ok(ends)
            }
        }
    }

    /// The sets of a network, one per family that it has addresses in.
    fn sets(&self, place: &str, network: &NetworkName) -> Result<Vec<String>, CompileError> {
        if !self.section.networks.contains_key(network) {
            return Err(CompileError::UnknownNetwork { place: place.into(), network: network.clone() });
        }
        let names = [format!("n_{network}_4"), format!("n_{network}_6")];
        Ok(names.into_iter().filter(|name| self.table.sets.contains_key(name)).collect())
    }
}

/// Ranges of ports per transport.
type PortsByTransport = Vec<(Transport, Vec<(u16, u16)>)>;

/// A rule's ports per transport: ranges merged (also adjacent ones, as nft lists them) and sorted.
fn ports(rule: &RuleId, ports: &[Ports]) -> Result<PortsByTransport, CompileError> {
    if ports.is_empty() {
        return Err(CompileError::Empty { rule: rule.clone(), what: "ports" });
    }
    let mut by_transport: BTreeMap<Transport, Vec<(u16, u16)>> = BTreeMap::new();
    for Ports { protocol, first, last } in ports {
        if first > last {
            return Err(CompileError::Backwards { rule: rule.clone(), first: *first, last: *last });
        }
        let transport = match protocol {
            Protocol::Tcp => Transport::Tcp,
            Protocol::Udp => Transport::Udp,
        };
        by_transport.entry(transport).or_default().push((*first, *last));
    }
    Ok(by_transport.into_iter().map(|(transport, ranges)| (transport, merged(ranges))).collect())
}

fn merged(mut ranges: Vec<(u16, u16)>) -> Vec<(u16, u16)> {
    ranges.sort_unstable();
    let mut out: Vec<(u16, u16)> = Vec::new();
    for (first, last) in ranges {
        match out.last_mut() {
            Some(previous) if u32::from(first) <= u32::from(previous.1) + 1 => {
                previous.1 = previous.1.max(last);
            }
            _ => out.push((first, last)),
        }
    }
    out
}

fn sorted<T: Ord>(mut nets: Vec<T>) -> Vec<T> {
    nets.sort_unstable();
    nets
}

fn policy_rule(id: &RuleId, matches: Vec<Match>, counted: bool) -> Rule {
    Rule {
        matches,
        counter: counted.then(|| counter_name(id)),
        then: Then::Accept,
        comment: Some(format!("rule:{id}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::firewall::samples::{inbound, network, tcp, web};

    #[test]
    fn ports_are_merged_as_nft_lists_them() {
        assert_eq!(merged(vec![(443, 444), (80, 90), (85, 100), (445, 445)]), vec![(80, 100), (443, 445)]);
        assert_eq!(merged(vec![(0, 65535), (22, 22)]), vec![(0, 65535)]);
        assert_eq!(merged(vec![(65535, 65535), (65534, 65534)]), vec![(65534, 65535)]);
    }

    #[test]
    fn what_selects_nothing_is_refused_and_never_means_everything() {
        type Change = fn(&mut FirewallSection);
        let cases: [(Change, &str); 6] = [
            (|s| s.inbound[0].ports.clear(), "rule implied:ssh/admin has an empty list of ports"),
            (
                |s| s.inbound[0].from = Peers::Networks(vec![]),
                "rule implied:ssh/admin has an empty list of networks",
            ),
            (
                |s| s.outbound[0].users = Users::Named(vec![]),
                "rule base/outbound/1 has an empty list of users",
            ),
            (
                |s| s.inbound.push(inbound("x", vec![tcp(1)], &["nowhere"])),
                "x names the network nowhere, which the section does not resolve",
            ),
            (
                |s| s.blocks.push(network("nowhere")),
                "block names the network nowhere, which the section does not resolve",
            ),
            (
                |s| s.inbound[0].ports[0].last = 21,
                "rule implied:ssh/admin has the ports 22-21, which end before they begin",
            ),
        ];
        for (change, said) in cases {
            let mut section = web();
            change(&mut section);
            assert_eq!(compile(&section, &HostBits::assumed(&section)).unwrap_err().to_string(), said);
        }
        let unknown = compile(&web(), &HostBits::default()).unwrap_err();
        assert!(
            matches!(&unknown, CompileError::UnknownUser { user, .. } if user.as_str() == "deploy"),
            "{unknown}"
        );
    }

    #[test]
    fn a_network_without_addresses_opens_nothing() {
        let mut section = web();
        section.networks.insert(network("empty"), tenure_policy::resolved::Addresses::default());
        section.inbound = vec![inbound("x", vec![tcp(1)], &["empty"])];
        let table = compile(&section, &HostBits::assumed(&section)).unwrap();
        let opens = |rule: &Rule| rule.comment.as_deref() == Some("rule:x");
        assert!(!table.chains.values().flatten().any(opens));
    }

    #[test]
    fn more_intervals_than_the_kernel_takes_are_refused() {
        let mut section = web();
        let every_other = (0..70_000u32).map(|i| Ipv4Net::from(std::net::Ipv4Addr::from_bits(i * 2)));
        section.networks.get_mut(&network("office")).unwrap().v4 = every_other.collect();
        let error = compile(&section, &HostBits::assumed(&section)).unwrap_err();
        assert!(
            matches!(error, CompileError::TooManyIntervals { count } if count > MAX_INTERVALS),
            "{error}"
        );
    }
}
