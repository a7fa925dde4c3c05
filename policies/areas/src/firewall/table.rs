//! Our own compiled table: sets, counters and chains of one ruleset, without its number, families of hooks or state.
//! It is what the compiler makes, the evaluator walks, the guard proves, and `nft` renders.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use ipnet::{Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};
use tenure_trust::Hash;

/// The hooks that a table may attach to, in the order in which a base chain is made for them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Hook {
    /// Before the destination is translated: published ports are judged here.
    Prerouting,
    /// To this host.
    Input,
    /// Through this host.
    Forward,
    /// From this host.
    Output,
}

impl Hook {
    /// Every hook.
    pub const ALL: [Self; 4] = [Self::Prerouting, Self::Input, Self::Forward, Self::Output];

    /// The name of the base chain, of the hook, and (after `g<N>_`) of the chain that it goes to.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Prerouting => "prerouting",
            Self::Input => "input",
            Self::Forward => "forward",
            Self::Output => "output",
        }
    }

    /// The base chain's priority: -150 is before destination NAT (-100).
    pub const fn priority(self) -> i32 {
        match self {
            Self::Prerouting => -150,
            Self::Input | Self::Forward | Self::Output => 0,
        }
    }
}

impl fmt::Display for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// IP version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// The compiled table of one ruleset. Chains are named without `g<N>_`; a chain named like a [`Hook`] is reached from its base chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub struct Table {
    /// Named counters (stable rule ids, they outlive ruleset numbers).
    pub counters: BTreeSet<String>,
    /// Address sets by name, without `g<N>_`.
    pub sets: BTreeMap<String, AddressSet>,
    /// Rules by chain, in order.
    pub chains: BTreeMap<String, Vec<Rule>>,
}

/// Addresses of one network in one family: disjoint and sorted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AddressSet {
    /// IPv4.
    V4(Vec<Ipv4Net>),
    /// IPv6.
    V6(Vec<Ipv6Net>),
}

impl AddressSet {
    /// Is the address in one of the networks? Binary search: the networks are disjoint and sorted.
    pub fn contains(&self, address: std::net::IpAddr) -> bool {
        match (self, address) {
            (Self::V4(nets), std::net::IpAddr::V4(a)) => {
                let after = nets.partition_point(|net| net.network() <= a);
                after.checked_sub(1).and_then(|i| nets.get(i)).is_some_and(|net| net.contains(&a))
            }
            (Self::V6(nets), std::net::IpAddr::V6(a)) => {
                let after = nets.partition_point(|net| net.network() <= a);
                after.checked_sub(1).and_then(|i| nets.get(i)).is_some_and(|net| net.contains(&a))
            }
            _ => false,
        }
    }

    /// Number of networks.
    pub fn len(&self) -> usize {
        match self {
            Self::V4(nets) => nets.len(),
            Self::V6(nets) => nets.len(),
        }
    }

    /// No networks at all?
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// One rule: all matches must hold, then it counts, then it acts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// All of them must hold.
    pub matches: Vec<Match>,
    /// Named counter, in [`Table::counters`].
    pub counter: Option<String>,
    /// What then.
    pub then: Then,
    /// Comment in the kernel, at most 128 bytes; `rule:<id>` names a rule of the policy, `block:<network>` a block.
    pub comment: Option<String>,
}

/// What a packet must be like.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Match {
    /// Came in on the loopback interface.
    InLoopback,
    /// Goes out on the loopback interface.
    OutLoopback,
    /// Connection tracking knows it: a reply, or related to a known connection.
    CtKnown,
    /// Connection tracking says invalid.
    CtInvalid,
    /// Its destination was translated.
    CtDnat,
    /// IPv4 or IPv6.
    Family(Family),
    /// The destination is not an address of this host.
    NotLocal,
    /// Transport protocol by number.
    Protocol(u8),
    /// ICMP or ICMPv6 message types, as nft names them.
    Icmp(Family, Vec<IcmpType>),
    /// IPv6 hop limit: 255 proves the link (RFC 4861 section 6.1).
    HopLimit(u8),
    /// Source in a set of the table.
    SourceIn(String),
    /// Destination in a set of the table.
    DestinationIn(String),
    /// Source in one of these IPv6 networks.
    SourceV6(Vec<Ipv6Net>),
    /// Destination in one of these IPv6 networks.
    DestinationV6(Vec<Ipv6Net>),
    /// Source port.
    SourcePort(Transport, u16),
    /// Destination port in one of these ranges: disjoint, not adjacent, sorted.
    DestinationPorts(Transport, Vec<(u16, u16)>),
    /// The sending process's uid, sorted.
    Uids(Vec<u32>),
    /// At most so many packets a second.
    Limit {
        /// Packets a second.
        rate: u32,
        /// Packets at once.
        burst: u32,
    },
}

/// TCP or UDP, where a port is matched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Transport {
    /// 6.
    Tcp,
    /// 17.
    Udp,
}

impl Transport {
    /// Number in IP.
    pub const fn number(self) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
        }
    }
    /// Name in nft (from nft's own tables, not from /etc/protocols).
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        }
    }
}

/// An ICMP message type: its number and the name under which nft lists it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IcmpType {
    /// RFC 792, RFC 4443 and others.
    pub number: u8,
    /// From nft's own table of symbols.
    pub name: String,
}

/// What a rule does once it matches.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Then {
    /// Lets it through this table.
    Accept,
    /// Drops it without a word.
    Drop,
    /// Answers a TCP segment with a reset (first: an IPv6 connect hangs on `icmpx` alone).
    RejectReset,
    /// Answers with ICMP "administratively prohibited".
    RejectProhibited,
    /// Walks another chain and comes back.
    Jump(String),
    /// Logs to group 64 and goes on; the text is `tenure g<N> <what> `.
    Log(String),
}

impl Table {
    /// The table that lets everything through: what stands behind a first trial ("nothing enforced").
    pub fn open() -> Self {
        let accept = Rule {
            matches: vec![],
            counter: None,
            then: Then::Accept,
            comment: Some("old: nothing enforced".into()),
        };
        let chains = Hook::ALL.iter().map(|hook| (hook.name().to_string(), vec![accept.clone()])).collect();
        Self { counters: BTreeSet::new(), sets: BTreeMap::new(), chains }
    }

    /// Does this ruleset judge what passes the hook?
    pub fn has(&self, hook: Hook) -> bool {
        self.chains.contains_key(hook.name())
    }

    /// Identity of the content: SHA-256 of its serialised form, the same under every number.
    pub fn hash(&self) -> Hash {
        // Maps and sets are ordered and there is nothing in a table that serde_json cannot write.
        Hash::of(&serde_json::to_vec(self).unwrap_or_default())
    }

    /// Intervals in all sets.
    pub fn intervals(&self) -> usize {
        self.sets.values().map(AddressSet::len).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_knows_its_addresses() {
        let set = AddressSet::V4(vec!["10.0.0.0/24".parse().unwrap(), "10.0.2.7/32".parse().unwrap()]);
        for (address, inside) in [
            ("10.0.0.0", true),
            ("10.0.0.255", true),
            ("10.0.1.0", false),
            ("10.0.2.7", true),
            ("10.0.2.8", false),
            ("9.255.255.255", false),
            ("::ffff:10.0.0.1", false),
        ] {
            assert_eq!(set.contains(address.parse().unwrap()), inside, "{address}");
        }
    }

    #[test]
    fn the_hash_follows_the_content() {
        assert_eq!(Table::open().hash(), Table::open().hash());
        assert_ne!(Table::open().hash(), Table::default().hash());
    }
}
