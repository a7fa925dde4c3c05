//! What listens on the host, and who could reach it now and after: for a person who reads a plan.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};
use tenure_areas::firewall::evaluate::inbound;
use tenure_areas::firewall::facts::{Facts, Own};
use tenure_areas::firewall::in_force::strangers;
use tenure_areas::firewall::state::{self, Confirmed, Kept, Trial};
use tenure_areas::firewall::{Table, boot, compile};
use tenure_areas::port::HostRead;
use tenure_policy::resolved::{Addresses, FirewallSection};

use crate::sockets::Listener;

/// Some address of this host; rules judge where a packet comes from and not which of its addresses it goes to.
const HERE4: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 1));
const HERE6: IpAddr = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1));

/// Something that listens, and from where it can be reached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reach {
    /// What listens.
    pub listener: Listener,
    /// From where now: `anywhere`, names of networks, or nothing.
    pub now: Vec<String>,
    /// From where after the plan; none when the policy's ruleset does not compile here.
    pub after: Option<Vec<String>>,
}

/// Who can reach each listener, by walking the ruleset in force and the one that the policy wants. Other programs' tables
/// are not walked; `plan` names them as findings.
pub fn reach(
    listeners: Vec<Listener>,
    section: &FirewallSection,
    facts: &Facts,
    host: &dyn HostRead,
) -> Vec<Reach> {
    let now = in_force(facts, section, host);
    let after = compile(section, &facts.host).ok();
    listeners
        .into_iter()
        .filter(|listener| !listener.is_local())
        .map(|listener| Reach {
            now: now.as_ref().map_or_else(|| vec!["anywhere".into()], |table| who(table, section, &listener)),
            after: after.as_ref().map(|table| who(table, section, &listener)),
            listener,
        })
        .collect()
}

/// The table that the kernel judges by, where it is one of ours; none means that nothing of ours judges.
fn in_force(facts: &Facts, section: &FirewallSection, host: &dyn HostRead) -> Option<Table> {
    let confirmed = || match state::read::<Confirmed>(host, state::CONFIRMED) {
        Ok(Kept::Some(confirmed)) => Some(confirmed.ruleset.table),
        _ => None,
    };
    let trial = || match state::read::<Trial>(host, state::TRIAL) {
        Ok(Kept::Some(trial)) => Some(trial),
        _ => None,
    };
    match &facts.own {
        Own::Confirmed => confirmed(),
        Own::Old | Own::Staged => trial().map(|t| t.over.table),
        Own::OnTrial if facts.live == Some(true) => trial().map(|t| t.new.table),
        Own::OnTrial => trial().map(|t| t.over.table),
        Own::NewConfirmed => trial().map(|t| t.new.table),
        Own::Baseline => Some(boot::baseline(Some(section)).table),
        // What differs from everything known is not ours to walk.
        Own::Absent | Own::Wanted { .. } | Own::Differs { .. } => None,
    }
}

/// `anywhere`, or the policy's networks that get in; with the families where not both do.
fn who(table: &Table, section: &FirewallSection, listener: &Listener) -> Vec<String> {
    let (v4, v6) = families(listener);
    let gets_in = |from: IpAddr| {
        let here = if from.is_ipv4() { HERE4 } else { HERE6 };
        inbound(table, from, here, listener.protocol, listener.port).accept
    };
    let named = |name: &str, in4: Option<bool>, in6: Option<bool>| match (in4, in6) {
        (Some(true), Some(true)) => Some(name.to_owned()),
        (Some(true), None) | (None, Some(true)) => Some(name.to_owned()),
        (Some(true), _) => Some(format!("{name} (IPv4 only)")),
        (_, Some(true)) => Some(format!("{name} (IPv6 only)")),
        _ => None,
    };
    let ask = |wanted: bool, from: Option<IpAddr>| from.filter(|_| wanted).map(gets_in);
    // Somebody whom no network of the table names.
    let strangers = strangers(table);
    let stranger = |v4: bool| strangers.iter().find(|from| from.is_ipv4() == v4).copied();
    if let Some(anywhere) = named("anywhere", ask(v4, stranger(true)), ask(v6, stranger(false))) {
        return vec![anywhere];
    }
    section
        .networks
        .iter()
        .filter_map(|(name, addresses)| {
            let Addresses { v4: nets4, v6: nets6 } = addresses;
            let first4 = nets4.first().map(|net| IpAddr::V4(net.addr()));
            let first6 = nets6.first().map(|net| IpAddr::V6(net.addr()));
            named(name.as_str(), ask(v4, first4), ask(v6, first6))
        })
        .collect()
}

/// In which families it listens. The unspecified address of IPv6 takes IPv4 too, unless its socket says otherwise, which
/// the kernel's table does not show.
fn families(listener: &Listener) -> (bool, bool) {
    let v6 = listener.addresses.iter().any(|a| a.is_ipv6() && !a.is_loopback());
    let any6 = listener.addresses.iter().any(|a| a.is_ipv6() && a.is_unspecified());
    let v4 = any6 || listener.addresses.iter().any(|a| a.is_ipv4() && !a.is_loopback());
    (v4, v6)
}

#[cfg(test)]
mod tests {
    use tenure_areas::firewall::compile::HostBits;
    use tenure_policy::resolved::Protocol;

    use super::*;

    /// An office at the addresses that documents give to strangers, as in `policies/examples`.
    fn section() -> FirewallSection {
        let port = |port| serde_json::json!([{ "protocol": "tcp", "first": port, "last": port }]);
        serde_json::from_value(serde_json::json!({
            "networks": { "office": { "v4": ["203.0.113.0/24"], "v6": ["2001:db8::/48"] } },
            "inbound": [
                { "id": "implied:ssh/web1", "ports": port(22), "from": { "networks": ["office"] } },
                { "id": "in:web", "ports": port(443), "from": "anywhere" }
            ],
            "outbound": [], "blocks": [],
            "management": [{ "person": "marit", "from": ["office"], "account": "admin" }],
            "confirm": { "within_seconds": 60, "by": "person" },
            "neighbours": []
        }))
        .expect("a section")
    }

    #[test]
    fn what_only_a_network_reaches_is_not_reached_from_anywhere() {
        let section = section();
        let table = compile(&section, &HostBits::assumed(&section)).expect("it compiles");
        let listener = |port, address: &str| Listener {
            protocol: Protocol::Tcp,
            port,
            addresses: vec![address.parse().expect("an address")],
            processes: Vec::new(),
        };
        let who = |port, address| who(&table, &section, &listener(port, address));
        assert_eq!(who(22, "::"), ["office"]);
        assert_eq!(who(22, "0.0.0.0"), ["office"]);
        assert_eq!(who(443, "::"), ["anywhere"]);
        assert_eq!(who(443, "198.51.100.11"), ["anywhere"]);
        assert!(who(5432, "::").is_empty());
    }
}
