//! This host's own addresses, from /proc/net (proc(5)).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::area::Unknown;
use crate::port::{Beneath, HostRead, Owner, PortError};

const MAX_PROC: usize = 8 * 1024 * 1024;
/// IFA_F_TEMPORARY of linux/if_addr.h: an address for privacy, which is another one tomorrow (RFC 8981).
const TEMPORARY: u32 = 1;

/// All of them, sorted.
///
/// # Errors
/// [`Unknown`] when they cannot be read.
pub fn own(host: &dyn HostRead) -> Result<Vec<IpAddr>, Unknown> {
    let mut all: Vec<IpAddr> = read(host)?.into_iter().map(|(_, address)| address).collect();
    all.sort_unstable();
    all.dedup();
    Ok(all)
}

/// Those at which somebody elsewhere could reach this host, the ones that last first.
///
/// # Errors
/// [`Unknown`] when they cannot be read.
pub(crate) fn reachable(host: &dyn HostRead) -> Result<Vec<IpAddr>, Unknown> {
    let outward = |address: &IpAddr| match address {
        IpAddr::V4(a) => !a.is_loopback() && !a.is_link_local(),
        IpAddr::V6(a) => !a.is_loopback() && !a.is_unicast_link_local(),
    };
    let mut all: Vec<_> = read(host)?.into_iter().filter(|(_, address)| outward(address)).collect();
    all.sort_unstable();
    all.dedup();
    Ok(all.into_iter().map(|(_, address)| address).collect())
}

fn read(host: &dyn HostRead) -> Result<Vec<(bool, IpAddr)>, Unknown> {
    let read = |name: &str| match host.file(&Beneath::new("/proc/net", name), Owner::Any, MAX_PROC) {
        Ok(bytes) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
        // a kernel without IPv6 has no if_inet6
        Err(PortError::Absent { .. }) => Ok(String::new()),
        Err(error) => Err(Unknown::from_port("reading this host's addresses", &error)),
    };
    let mut out: Vec<_> = local4(&read("fib_trie")?).into_iter().map(|address| (false, address)).collect();
    out.extend(local6(&read("if_inet6")?));
    Ok(out)
}

/// Addresses of /proc/net/fib_trie that are `/32 host LOCAL`.
fn local4(trie: &str) -> Vec<IpAddr> {
    let mut last: Option<Ipv4Addr> = None;
    let mut out = Vec::new();
    for line in trie.lines().map(str::trim) {
        if let Some(address) = line.strip_prefix("|-- ") {
            last = address.parse().ok();
        } else if line.starts_with("/32 host LOCAL") {
            out.extend(last.map(IpAddr::V4));
        }
    }
    out
}

/// Of /proc/net/if_inet6 the first column, 32 hexadecimal digits, and whether the fifth says that it is temporary.
fn local6(table: &str) -> Vec<(bool, IpAddr)> {
    let address = |line: &str| {
        let mut fields = line.split_whitespace();
        let digits = fields.next().filter(|d| d.len() == 32)?;
        let bits = u128::from_str_radix(digits, 16).ok()?;
        let flags = fields.nth(3).and_then(|flags| u32::from_str_radix(flags, 16).ok()).unwrap_or_default();
        Some((flags & TEMPORARY != 0, IpAddr::V6(Ipv6Addr::from_bits(bits))))
    };
    table.lines().filter_map(address).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::FakeHost;

    #[test]
    fn own_addresses_are_read_from_proc() {
        let host = FakeHost::debian();
        let trie = "Local:\n  +-- 0.0.0.0/0 3 0 5\n     |-- 10.1.2.0\n        /24 link UNICAST\n     |-- 10.1.2.3\n        /32 host LOCAL\n     |-- 10.1.2.255\n        /32 link BROADCAST\n     |-- 127.0.0.1\n        /32 host LOCAL\n";
        host.write_as("/proc/net/fib_trie", trie, 0, 0o444);
        let table = "fd770000000000000000000000000001 02 40 00 01     eth0\nfd770000000000000000000000000002 02 40 00 80     eth0\nfe800000000000000000000000000002 02 40 20 80     eth0\nnonsense\n";
        host.write_as("/proc/net/if_inet6", table, 0, 0o444);
        let shown = |list: Vec<IpAddr>| list.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(shown(own(&host).unwrap()), ["10.1.2.3", "127.0.0.1", "fd77::1", "fd77::2", "fe80::2"]);
        assert_eq!(
            shown(reachable(&host).unwrap()),
            ["10.1.2.3", "fd77::2", "fd77::1"],
            "the temporary one last"
        );
    }
}
