//! Proves over the compiled table that every management path survives: its first packet is accepted by prerouting and input, and the
//! replies go out. A proof over whole address ranges, not over samples; what cannot be decided counts against the ruleset.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use tenure_policy::names::NetworkName;
use tenure_policy::resolved::{FirewallSection, ManagementPath};

use super::boot;
use super::table::{AddressSet, Family, Hook, Match, Table, Then, Transport};
use crate::area::Refusal;
use crate::ssh_servers::SSH;

/// Lets the table through or names the rule, the block or the default that would cut people off. `listening`: the ports where this
/// host's SSH server listens; empty when none does now (it starts again, or systemd holds its socket): then the policy's is taken.
///
/// # Errors
/// `no-management-path` when the policy gives no way in to prove, `management-path-cut` when one is cut, `ssh-listens-elsewhere` when
/// the server listens on other ports than the policy opens.
pub fn management_stays(section: &FirewallSection, table: &Table, listening: &[u16]) -> Result<(), Refusal> {
    // One port that everybody gets through to is enough; the policy's is the likely one, and its refusal the one to tell.
    let mut ports = if listening.is_empty() { vec![SSH] } else { listening.to_vec() };
    ports.sort_by_key(|port| (*port != SSH, *port));
    let mut told = None;
    for port in &ports {
        match stays_on(*port, section, table) {
            Ok(()) => return Ok(()),
            Err(refusal) => told = told.or(Some(refusal)),
        }
    }
    let Some(refusal) = told else { return Ok(()) };
    if ports.contains(&SSH) || refusal.kind != CUT || stays_on(SSH, section, table).is_err() {
        return Err(refusal);
    }
    let shown: Vec<String> = ports.iter().map(|port| format!("tcp/{port}")).collect();
    Err(Refusal {
        kind: "ssh-listens-elsewhere".into(),
        what: format!("SSH listens on {} and the policy opens tcp/{SSH}: {}", shown.join(", "), refusal.what),
        hint: format!(
            "nothing was loaded; let sshd listen on port {SSH} (`Port {SSH}`), look that it does, then apply again"
        ),
        ..refusal
    })
}

const CUT: &str = "management-path-cut";
const NOBODY: &str = "no-management-path";

/// The same of the built-in baseline, which lets everybody come by SSH where the policy names nobody.
///
/// # Errors
/// As [`management_stays`].
pub fn baseline_stays(section: &FirewallSection, listening: &[u16]) -> Result<(), Refusal> {
    let table = boot::baseline(Some(section)).table;
    match management_stays(section, &table, listening) {
        Err(refusal) if refusal.kind == NOBODY && (listening.is_empty() || listening.contains(&SSH)) => {
            Ok(())
        }
        proved => proved,
    }
}

fn stays_on(port: u16, section: &FirewallSection, table: &Table) -> Result<(), Refusal> {
    let mut proved = 0usize;
    for path in &section.management {
        for network in &path.from {
            for (family, set) in
                [(Family::V4, format!("n_{network}_4")), (Family::V6, format!("n_{network}_6"))]
            {
                let Some(set) = table.sets.get(&set) else { continue };
                prove(table, family, port, &ranges(set))
                    .map_err(|cut| refusal(path, network, family, port, &cut))?;
                proved += 1;
            }
        }
    }
    if proved == 0 {
        return Err(Refusal {
            kind: NOBODY.into(),
            rule: None,
            what: "the policy names nobody who must stay able to reach this host".into(),
            hint: "give `management.who` people with a login on this host and addresses to come from".into(),
        });
    }
    Ok(())
}

/// Where a management path ends.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Cut {
    hook: Hook,
    by: String,
    first: u128,
}

type Ranges = Vec<(u128, u128)>;

fn refusal(path: &ManagementPath, network: &NetworkName, family: Family, port: u16, cut: &Cut) -> Refusal {
    let ManagementPath { person, account, from: _ } = path;
    let example = match family {
        Family::V4 => IpAddr::V4(Ipv4Addr::from_bits(u32::try_from(cut.first).unwrap_or_default())),
        Family::V6 => IpAddr::V6(Ipv6Addr::from_bits(cut.first)),
    };
    let why = match cut.by.strip_prefix("block:") {
        Some(blocked) => format!("the block of {blocked} drops it"),
        None if cut.by.starts_with("default:") => "no rule lets it in".to_string(),
        None => format!("{} drops it", cut.by),
    };
    Refusal {
        kind: CUT.into(),
        rule: Some(cut.by.clone()),
        what: format!(
            "the new ruleset would cut off {person} ({account}, tcp/{port} from {network}, for example {example}): {why} at {}",
            cut.hook
        ),
        hint: "nothing was loaded; let the network in (`access.logins` and `people.from`) or take it out of `management`".into(),
    }
}

fn prove(table: &Table, family: Family, port: u16, far: &Ranges) -> Result<(), Cut> {
    for (hook, known) in [(Hook::Prerouting, false), (Hook::Input, false), (Hook::Output, true)] {
        let class = Class { table, family, port, hook, known };
        if !table.has(hook) {
            continue;
        }
        let left = class.walk(hook.name(), far.clone(), 0)?;
        if let Some((first, _)) = left.first() {
            return Err(Cut { hook, by: format!("policy of {hook}"), first: *first });
        }
    }
    Ok(())
}

/// All packets of a management path at one hook: one TCP port here, any address of `family` there.
struct Class<'a> {
    table: &'a Table,
    family: Family,
    port: u16,
    hook: Hook,
    /// Replies of a known connection, going out; otherwise first packets, coming in.
    known: bool,
}

/// For which far addresses a match holds.
enum Holds {
    Never,
    Always,
    /// For these.
    For(Ranges),
    /// Depends on something that the class leaves open.
    Perhaps,
}

impl Class<'_> {
    /// Walks a chain with the far addresses that nothing has decided about; returns those that it leaves undecided.
    fn walk(&self, chain: &str, mut undecided: Ranges, depth: u8) -> Result<Ranges, Cut> {
        for rule in self.table.chains.get(chain).into_iter().flatten() {
            let (mut touched, mut surely) = (undecided.clone(), true);
            for m in &rule.matches {
                match self.holds(m) {
                    Holds::Never => touched.clear(),
                    Holds::Always => {}
                    Holds::For(ranges) => touched = intersection(&touched, &ranges),
                    Holds::Perhaps => surely = false,
                }
            }
            let Some((first, _)) = touched.first().copied() else { continue };
            match &rule.then {
                Then::Accept if surely => undecided = difference(&undecided, &touched),
                Then::Accept | Then::Log(_) => {}
                Then::Drop | Then::RejectReset | Then::RejectProhibited => {
                    let by = rule.comment.clone().unwrap_or_else(|| format!("a rule of {chain}"));
                    return Err(Cut { hook: self.hook, by, first });
                }
                Then::Jump(target) if depth < 16 => {
                    let left = self.walk(target, touched.clone(), depth + 1)?;
                    if surely {
                        undecided = difference(&undecided, &difference(&touched, &left));
                    }
                }
                Then::Jump(_) => {}
            }
        }
        Ok(undecided)
    }

    fn holds(&self, m: &Match) -> Holds {
        let yes = |holds: bool| if holds { Holds::Always } else { Holds::Never };
        let in_set = |name: &str| match self.table.sets.get(name) {
            Some(set) if family_of(set) == self.family => Holds::For(ranges(set)),
            _ => Holds::Never,
        };
        let in_nets = |nets: &[ipnet::Ipv6Net]| match self.family {
            Family::V4 => Holds::Never,
            Family::V6 => {
                Holds::For(nets.iter().map(|n| (n.network().to_bits(), n.broadcast().to_bits())).collect())
            }
        };
        match m {
            // a person comes from elsewhere, to an address of this host, without translation
            Match::InLoopback | Match::OutLoopback | Match::CtInvalid | Match::CtDnat | Match::Icmp(..) => {
                Holds::Never
            }
            Match::NotLocal => yes(self.known),
            Match::CtKnown => yes(self.known),
            Match::Family(family) => yes(*family == self.family),
            Match::Protocol(protocol) => yes(*protocol == Transport::Tcp.number()),
            Match::SourceIn(set) if !self.known => in_set(set),
            Match::DestinationIn(set) if self.known => in_set(set),
            Match::SourceV6(nets) if !self.known => in_nets(nets),
            Match::DestinationV6(nets) if self.known => in_nets(nets),
            Match::DestinationPorts(Transport::Tcp, ports) if !self.known => {
                yes(ports.iter().any(|(first, last)| (*first..=*last).contains(&self.port)))
            }
            Match::SourcePort(Transport::Tcp, port) if self.known => yes(*port == self.port),
            Match::DestinationPorts(Transport::Udp, _) | Match::SourcePort(Transport::Udp, _) => Holds::Never,
            Match::SourceIn(_)
            | Match::DestinationIn(_)
            | Match::SourceV6(_)
            | Match::DestinationV6(_)
            | Match::DestinationPorts(..)
            | Match::SourcePort(..)
            | Match::HopLimit(_)
            | Match::Uids(_)
            | Match::Limit { .. } => Holds::Perhaps,
        }
    }
}

fn family_of(set: &AddressSet) -> Family {
    match set {
        AddressSet::V4(_) => Family::V4,
        AddressSet::V6(_) => Family::V6,
    }
}

fn ranges(set: &AddressSet) -> Ranges {
    match set {
        AddressSet::V4(nets) => {
            nets.iter().map(|n| (n.network().to_bits().into(), n.broadcast().to_bits().into())).collect()
        }
        AddressSet::V6(nets) => {
            nets.iter().map(|n| (n.network().to_bits(), n.broadcast().to_bits())).collect()
        }
    }
}

/// Both inputs sorted and disjoint; so is the result.
fn intersection(a: &Ranges, b: &Ranges) -> Ranges {
    let (mut i, mut j, mut out) = (0, 0, Vec::new());
    while let (Some(x), Some(y)) = (a.get(i), b.get(j)) {
        let (first, last) = (x.0.max(y.0), x.1.min(y.1));
        if first <= last {
            out.push((first, last));
        }
        if x.1 < y.1 { i += 1 } else { j += 1 }
    }
    out
}

/// What of `a` is not in `b`; both sorted and disjoint.
fn difference(a: &Ranges, b: &Ranges) -> Ranges {
    let mut out = Vec::new();
    let mut j = 0;
    for (first, last) in a {
        let mut next = Some(*first);
        while let Some(hole) = b.get(j) {
            let Some(from) = next else { break };
            if hole.1 < from {
                j += 1;
                continue;
            }
            if hole.0 > *last {
                break;
            }
            if hole.0 > from {
                out.push((from, hole.0 - 1));
            }
            next = hole.1.checked_add(1).filter(|n| n <= last);
            if next.is_some() {
                j += 1;
            }
        }
        if let Some(from) = next {
            out.push((from, *last));
        }
    }
    out
}

#[cfg(test)]
#[path = "guard_tests.rs"]
mod tests;
