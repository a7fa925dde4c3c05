//! Which connections sshd is asked about: accounts, clients' addresses of both families, ends of this host. Bounded, and what
//! is left out is counted.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::num::NonZeroU32;

use ipnet::IpNet;
use tenure_policy::resolved::Login;

use crate::ssh_servers::{self, SSH, SshServer};

/// Ends of this host that are asked about for one account and address.
const ENDS_LIMIT: usize = 16;
/// Questions in all about networks beyond the first of each account and family, and, with what is left of them, about ends
/// beyond the first for each account and address.
const MORE: usize = 400;

/// One question to sshd.
pub(super) struct Question<'a> {
    pub(super) account: &'a str,
    pub(super) addr: IpAddr,
    /// Do the policy's logins of this account list it?
    pub(super) listed: bool,
    pub(super) local: IpAddr,
    pub(super) port: u16,
}

/// This end of the connections that sshd is asked about.
pub(super) struct Ends {
    v4: Vec<(IpAddr, u16)>,
    v6: Vec<(IpAddr, u16)>,
}

impl Ends {
    /// The host's own addresses and the ports where its sshd listens: the first of each family, or, where a Match block asks for this
    /// end, all of them (sshd is asked once for each, so their number is bounded; that there is such a block is drift in any case).
    pub(super) fn of(asked_for: bool, servers: &[SshServer], own: &[IpAddr]) -> Self {
        let mut ports = ssh_servers::ports(servers);
        if ports.is_empty() {
            ports.push(SSH);
        }
        // The policy's port first.
        ports.sort_by_key(|port| (*port != SSH, *port));
        let ends = |v4: bool, unspecified: IpAddr| {
            let mut addresses: Vec<IpAddr> = own.iter().copied().filter(|a| a.is_ipv4() == v4).collect();
            if addresses.is_empty() {
                addresses.push(unspecified);
            }
            let pairs = addresses.iter().flat_map(|address| ports.iter().map(|port| (*address, *port)));
            pairs.take(if asked_for { ENDS_LIMIT } else { 1 }).collect()
        };
        Self { v4: ends(true, Ipv4Addr::UNSPECIFIED.into()), v6: ends(false, Ipv6Addr::UNSPECIFIED.into()) }
    }

    fn facing(&self, addr: IpAddr) -> &[(IpAddr, u16)] {
        if addr.is_ipv4() { &self.v4 } else { &self.v6 }
    }
}

/// The questions about these accounts, and how many networks of logins none is about because there are too many.
///
/// Every account is asked about from a stranger's address of each family, and from the first network of each family that
/// its logins list; what else they list comes after that, for one account after the other.
pub(super) fn questions<'a>(
    accounts: impl Iterator<Item = &'a str>,
    logins: &[Login],
    ends: &Ends,
) -> (Vec<Question<'a>>, Option<NonZeroU32>) {
    let (mut more, mut left_out) = (MORE, 0);
    let mut from: Vec<(&str, IpAddr, bool)> = Vec::new();
    for account in accounts {
        let nets = nets(logins, account);
        let (first, further) = listed(&nets);
        let taken = further.len().min(more);
        more -= taken;
        left_out += further.len() - taken;
        let listed = first.into_iter().chain(further.into_iter().take(taken));
        from.extend(listed.map(|addr| (account, addr, true)));
        from.extend(strangers(&nets).map(|addr| (account, addr, false)));
    }
    let mut questions = Vec::new();
    for (account, addr, listed) in from {
        let here = ends.facing(addr);
        let asked = here.len().min(1 + more);
        more -= asked.saturating_sub(1);
        let at = here.iter().take(asked);
        questions.extend(at.map(|&(local, port)| Question { account, addr, listed, local, port }));
    }
    (questions, NonZeroU32::new(u32::try_from(left_out).unwrap_or(u32::MAX)))
}

/// What the logins of an account list, in their order: the first is asked about in any case.
fn nets(logins: &[Login], account: &str) -> Vec<IpNet> {
    let logins = logins.iter().filter(|login| login.account.as_str() == account);
    logins.flat_map(|login| login.from.iter().copied()).collect()
}

/// An address of each network, each once: of the first of each family, and of the others.
fn listed(nets: &[IpNet]) -> (Vec<IpAddr>, Vec<IpAddr>) {
    let mut seen = BTreeSet::new();
    let (mut v4, mut v6) = (false, false);
    let addresses = nets.iter().filter_map(|net| net.hosts().next()).filter(|addr| seen.insert(*addr));
    addresses.partition(|addr| !std::mem::replace(if addr.is_ipv4() { &mut v4 } else { &mut v6 }, true))
}

/// For both families an address outside of these networks, where one is known.
fn strangers(nets: &[IpNet]) -> impl Iterator<Item = IpAddr> {
    let outside = |addr: &IpAddr| !nets.iter().any(|net| net.contains(addr));
    let of = |v4: bool| STRANGERS.into_iter().find(|addr| addr.is_ipv4() == v4 && outside(addr));
    of(true).into_iter().chain(of(false))
}

/// Addresses for documentation (RFC 5737, RFC 3849, RFC 9637), then others, so that one is outside of any sane list.
const STRANGERS: [IpAddr; 9] = [
    v4([192, 0, 2, 77]),
    v4([198, 51, 100, 77]),
    v4([203, 0, 113, 77]),
    v4([10, 255, 255, 77]),
    v4([223, 255, 255, 77]),
    v6(0x2001, 0xdb8, 0xffff),
    v6(0x3fff, 0xfff, 0),
    v6(0x2001, 0xdb8, 0),
    v6(0xfd00, 0, 0xffff),
];

const fn v4([a, b, c, d]: [u8; 4]) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(a, b, c, d))
}

const fn v6(a: u16, b: u16, c: u16) -> IpAddr {
    IpAddr::V6(Ipv6Addr::new(a, b, c, 0, 0, 0, 0, 0x77))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ssh_access::tests::{BOT, MARIT, login};

    fn asked(logins: &[Login], account: &str) -> Vec<(String, bool)> {
        let (questions, left_out) = questions([account].into_iter(), logins, &Ends::of(false, &[], &[]));
        assert_eq!(left_out, None);
        questions.iter().map(|q| (q.addr.to_string(), q.listed)).collect()
    }

    #[test]
    fn every_network_is_asked_about_and_strangers_of_both_families() {
        let logins = [
            login("marit", "admin", MARIT, &["203.0.113.0/24", "2001:db8:10::/48", "192.0.2.0/24"], None),
            login("jeroen", "admin", MARIT, &["203.0.113.0/28", "203.0.113.40/32", "2001:db8:11::/48"], None),
            login("bot", "deploy", BOT, &["203.0.113.41/32"], None),
        ];
        let of = |listed: &[&str], strangers: [&str; 2]| {
            let listed = listed.iter().map(|addr| ((*addr).to_owned(), true));
            listed.chain(strangers.map(|addr| (addr.to_owned(), false))).collect::<Vec<_>>()
        };
        // 203.0.113.0/24 and /28 begin with the same address.
        let admin = ["203.0.113.1", "2001:db8:10::", "192.0.2.1", "203.0.113.40", "2001:db8:11::"];
        assert_eq!(asked(&logins, "admin"), of(&admin, ["198.51.100.77", "2001:db8:ffff::77"]));
        assert_eq!(asked(&logins, "deploy"), of(&["203.0.113.41"], ["192.0.2.77", "2001:db8:ffff::77"]));
        assert_eq!(asked(&logins, "app"), of(&[], ["192.0.2.77", "2001:db8:ffff::77"]));
    }

    #[test]
    fn questions_are_bounded_and_what_is_left_out_is_counted() {
        let nets: Vec<String> = (0..=255).map(|n| format!("10.{n}.0.0/16")).collect();
        let nets: Vec<&str> = nets.iter().map(String::as_str).collect();
        let names: Vec<String> = (0..20).map(|n| format!("u{n}")).collect();
        let of = |nets: &[&str]| names.iter().map(|name| login("marit", name, MARIT, nets, None)).collect();
        let (many, few): (Vec<Login>, Vec<Login>) = (of(&nets), of(&nets[..1]));
        let own: Vec<IpAddr> = (1..=40).map(|n| v4([198, 51, 100, n])).collect();
        let least = 20 * 3;
        for (logins, asked_for, count, told) in [
            (&few, false, least, None),
            (&few, true, least + MORE, None),
            (&many, false, least + MORE, Some(20 * 255 - 400)),
            (&many, true, least + MORE, Some(20 * 255 - 400)),
        ] {
            let names = names.iter().map(String::as_str);
            let (questions, left_out) = questions(names.clone(), logins, &Ends::of(asked_for, &[], &own));
            assert_eq!((questions.len(), left_out.map(NonZeroU32::get)), (count, told));
            for name in names {
                let asked = |listed| questions.iter().any(|q| q.account == name && q.listed == listed);
                assert!(asked(true) && asked(false), "{name}");
            }
        }
    }
}
