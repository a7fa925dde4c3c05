//! Who reaches a TCP port of this host by the ruleset in force. Other programs' tables are not walked.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use tenure_policy::resolved::Protocol;

use super::evaluate::inbound;
use super::facts::Own;
use super::observe;
use super::state::{self, Confirmed, Kept, Trial};
use super::table::{AddressSet, Table};
use crate::area::Unknown;
use crate::port::HostRead;

/// From where a port is reached.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reached {
    /// Only this host itself: it listens on loopback.
    Here,
    /// Nobody: nft drops what comes from elsewhere.
    Nowhere,
    /// These networks of the policy.
    From(Vec<String>),
    /// Anybody.
    Anywhere,
    /// Whoever other programs let through: no table of ours is loaded.
    Unfiltered,
    /// Not known: the table in the kernel is none that we know.
    Unknown,
}

impl std::fmt::Display for Reached {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Here => f.write_str("only this host itself reaches it"),
            Self::Nowhere => f.write_str("nft lets nobody from elsewhere reach it"),
            Self::From(networks) => write!(f, "nft lets {} reach it", networks.join(", ")),
            Self::Anywhere => f.write_str("nft lets anybody reach it"),
            Self::Unfiltered => f.write_str("no ruleset of ours stands before it"),
            Self::Unknown => f.write_str("whether nft lets anybody reach it is not known"),
        }
    }
}

/// What judges packets to this host now.
#[derive(Debug)]
pub enum InForce {
    /// No table of ours.
    Nothing,
    /// This one.
    Table(Box<Table>),
    /// One that is none of those that we know.
    Strange,
}

/// What the kernel shows, beside the rulesets on disk.
struct Seen {
    own: Own,
    confirmed: Option<Confirmed>,
    trial: Option<Trial>,
}

fn seen(host: &dyn HostRead) -> Result<Seen, Unknown> {
    let fault = |path: &'static str| move |e| Unknown::from_port(format!("reading {path}"), &e);
    let kept = |kept| match kept {
        Kept::Some(confirmed) => Some(confirmed),
        _ => None,
    };
    let confirmed: Option<Confirmed> = kept(
        state::read(host, state::CONFIRMED).map(state::whole_confirmed).map_err(fault(state::CONFIRMED))?,
    );
    let trial: Option<Trial> = match state::read(host, state::TRIAL).map(state::whole_trial) {
        Ok(Kept::Some(trial)) => Some(trial),
        Ok(_) => None,
        Err(error) => return Err(fault(state::TRIAL)(error)),
    };
    let own = observe::own(&observe::listing(host)?, confirmed.as_ref(), trial.as_ref(), None, None)?;
    Ok(Seen { own, confirmed, trial })
}

/// The number of the ruleset that the kernel has for good and that is not written down as confirmed yet, where there is one.
///
/// # Errors
/// [`Unknown`] when kernel or disk cannot be read.
pub fn unwritten(host: &dyn HostRead) -> Result<Option<u32>, Unknown> {
    let Seen { own, trial, .. } = seen(host)?;
    Ok(trial.filter(|_| own == Own::NewConfirmed).map(|trial| trial.new.number))
}

/// Looks at the kernel and at the rulesets on disk.
///
/// # Errors
/// [`Unknown`] when one of them cannot be read.
pub fn in_force(host: &dyn HostRead) -> Result<InForce, Unknown> {
    let Seen { own, confirmed, trial } = seen(host)?;
    let live = observe::live(host, &own, trial.as_ref())?;
    let table = match own {
        Own::Absent => return Ok(InForce::Nothing),
        Own::Confirmed => confirmed.map(|c| c.ruleset.table),
        Own::Old | Own::Staged => trial.map(|t| t.over.table),
        Own::OnTrial if live == Some(true) => trial.map(|t| t.new.table),
        Own::OnTrial => trial.map(|t| t.over.table),
        Own::NewConfirmed => trial.map(|t| t.new.table),
        Own::Wanted { .. } | Own::Baseline | Own::Differs { .. } => None,
    };
    Ok(table.map_or(InForce::Strange, |table| InForce::Table(Box::new(table))))
}

/// From where a listener on `address` (unspecified: all of this host's) and TCP `port` is reached.
pub fn reached(in_force: &InForce, address: IpAddr, port: u16) -> Reached {
    if address.is_loopback() {
        return Reached::Here;
    }
    let table = match in_force {
        InForce::Nothing => return Reached::Unfiltered,
        InForce::Strange => return Reached::Unknown,
        InForce::Table(table) => table,
    };
    // The unspecified address of IPv6 takes IPv4 too, unless its socket says otherwise, which the kernel's table does not show.
    let takes =
        |from: IpAddr| from.is_ipv4() == address.is_ipv4() || (from.is_ipv4() && address.is_unspecified());
    let here = |from: IpAddr| match (address.is_unspecified(), from) {
        (false, _) => address,
        (true, IpAddr::V4(_)) => IpAddr::from([203, 0, 113, 1]),
        (true, IpAddr::V6(_)) => IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, 1]),
    };
    let gets_in = |from: IpAddr| takes(from) && inbound(table, from, here(from), Protocol::Tcp, port).accept;
    if strangers(table).into_iter().any(gets_in) {
        return Reached::Anywhere;
    }
    let first = |set: &AddressSet| match set {
        AddressSet::V4(nets) => nets.first().map(|net| IpAddr::V4(net.addr())),
        AddressSet::V6(nets) => nets.first().map(|net| IpAddr::V6(net.addr())),
    };
    let network = |name: &str| Some(name.strip_prefix("n_")?.rsplit_once('_')?.0.to_owned());
    let opened = table.sets.iter().filter(|(_, set)| first(set).is_some_and(gets_in));
    let mut networks: Vec<String> = opened.filter_map(|(name, _)| network(name)).collect();
    networks.sort();
    networks.dedup();
    if networks.is_empty() { Reached::Nowhere } else { Reached::From(networks) }
}

/// One address of each family that no set of the table holds, where there is one (RFC 5737, RFC 3849, RFC 9637, and others).
pub fn strangers(table: &Table) -> Vec<IpAddr> {
    let v4 = [[192, 0, 2, 77], [198, 51, 100, 77], [203, 0, 113, 77], [10, 255, 255, 77]].map(IpAddr::from);
    let v6 = [[0x2001, 0xdb8, 0xffff], [0x3fff, 0xfff, 0], [0x2001, 0xdb8, 0], [0xfd00, 0, 0xffff]]
        .map(|[a, b, c]| IpAddr::from([a, b, c, 0, 0, 0, 0, 0x77]));
    let unnamed = |from: &&IpAddr| !table.sets.values().any(|set| set.contains(**from));
    [v4, v6].iter().filter_map(|list| list.iter().find(unnamed).copied()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::firewall::compile::{HostBits, compile};
    use crate::firewall::samples::{inbound, network, tcp, web};

    #[test]
    fn who_reaches_a_port_is_said_as_the_policy_names_it() {
        let mut section = web();
        section.inbound.push(inbound("x/1", vec![tcp(2200)], &["office", "bad"]));
        let table = compile(&section, &HostBits::assumed(&section)).unwrap();
        let in_force = InForce::Table(Box::new(table));
        let ask = |address: &str, port| reached(&in_force, address.parse().unwrap(), port);
        assert_eq!(ask("::", 2222), Reached::Nowhere);
        assert_eq!(ask("0.0.0.0", 443), Reached::Anywhere);
        assert_eq!(ask("198.51.100.11", 2200), Reached::From(vec!["office".into()]), "bad is blocked");
        assert_eq!(ask("127.0.0.1", 443), Reached::Here);
        assert_eq!(reached(&InForce::Nothing, "::".parse().unwrap(), 1), Reached::Unfiltered);
        assert_eq!(network("office").as_str(), "office");
    }
}
