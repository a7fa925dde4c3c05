//! Addresses of networks: parsed strictly, merged and sorted per family.

use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use crate::resolved::Addresses;

/// The most intervals that one host's policy may hold: replacing half a million took 71 s (measured; THREATS.md).
pub const MOST_INTERVALS: usize = 65_536;

/// Why a text is no address of a network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// Not an IPv4 or IPv6 address or CIDR.
    #[error("{0:?} is not an address or CIDR")]
    Syntax(String),
    /// Bits beyond the prefix are set: one of two different things was meant.
    #[error("{text:?} has bits set beyond its prefix")]
    HostBits {
        /// As written.
        text: String,
        /// The network that contains it.
        network: IpNet,
        /// The single address.
        address: IpAddr,
    },
    /// An IPv4 address in IPv6 clothes would never match a packet.
    #[error("{0:?} is an IPv4 address written as IPv6")]
    Mapped(String),
    /// All addresses of a family.
    #[error("{0:?} is everywhere")]
    Everywhere(String),
    /// An address that no host on a network can have.
    #[error("{0} is no address of a host on a network")]
    NoHost(IpAddr),
}

impl AddressError {
    /// What to write instead.
    pub fn hint(&self) -> String {
        match self {
            Self::Syntax(_) => "write 203.0.113.7, 203.0.113.0/24 or \"2001:db8::/48\"".into(),
            Self::HostBits { network, address, .. } => {
                format!("write {network} for the whole network or {address} for the one address")
            }
            Self::Mapped(_) => "write the IPv4 address itself".into(),
            Self::NoHost(_) => "write the address at which other machines reach the host".into(),
            Self::Everywhere(_) => "only the word anywhere means everywhere; write it in the rule".into(),
        }
    }
}

/// Parses one address or CIDR of a network or host.
///
/// # Errors
/// [`AddressError`] when it is none, has bits beyond its prefix, is IPv4-mapped, or is everything.
pub fn parse(text: &str) -> Result<IpNet, AddressError> {
    let syntax = || AddressError::Syntax(text.to_owned());
    if text.len() > 64 {
        return Err(syntax());
    }
    let net: IpNet = match text.contains('/') {
        true => text.parse().map_err(|_| syntax())?,
        false => IpNet::from(text.parse::<IpAddr>().map_err(|_| syntax())?),
    };
    if matches!(net.addr(), IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some()) {
        return Err(AddressError::Mapped(text.to_owned()));
    }
    if net.prefix_len() == 0 {
        return Err(AddressError::Everywhere(text.to_owned()));
    }
    if net.addr() != net.network() {
        return Err(AddressError::HostBits {
            text: text.to_owned(),
            network: net.trunc(),
            address: net.addr(),
        });
    }
    Ok(net)
}

/// Can this be the address of a host, as others reach it?
///
/// # Errors
/// [`AddressError`] for IPv4-mapped, unspecified, loopback and multicast addresses.
pub fn check_host(address: IpAddr) -> Result<(), AddressError> {
    match address {
        IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some() => Err(AddressError::Mapped(address.to_string())),
        _ if address.is_unspecified() || address.is_loopback() || address.is_multicast() => {
            Err(AddressError::NoHost(address))
        }
        _ => Ok(()),
    }
}

/// Merges into the fewest CIDRs per family, sorted: none overlaps another and no two could be written as one.
pub fn merge(nets: impl IntoIterator<Item = IpNet>) -> Addresses {
    let (mut v4, mut v6) = (Vec::new(), Vec::new());
    for net in nets {
        match net {
            IpNet::V4(net) => v4.push(net),
            IpNet::V6(net) => v6.push(net),
        }
    }
    let mut merged = Addresses { v4: Ipv4Net::aggregate(&v4), v6: Ipv6Net::aggregate(&v6) };
    merged.v4.sort();
    merged.v6.sort();
    merged
}

impl Addresses {
    /// How many intervals.
    pub fn len(&self) -> usize {
        self.v4.len() + self.v6.len()
    }

    /// No address at all.
    pub fn is_empty(&self) -> bool {
        self.v4.is_empty() && self.v6.is_empty()
    }

    /// IPv4 first, then IPv6.
    pub fn iter(&self) -> impl Iterator<Item = IpNet> + '_ {
        self.v4.iter().copied().map(IpNet::V4).chain(self.v6.iter().copied().map(IpNet::V6))
    }

    /// Is the address inside?
    pub fn contains(&self, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(a) => holds(&self.v4, |net| net.network() <= a, |net| net.contains(&a)),
            IpAddr::V6(a) => holds(&self.v6, |net| net.network() <= a, |net| net.contains(&a)),
        }
    }

    /// Covers a whole family, though piece by piece.
    pub fn is_everything(&self) -> bool {
        self.v4.iter().any(|net| net.prefix_len() == 0) || self.v6.iter().any(|net| net.prefix_len() == 0)
    }
}

/// Looks in the one place where a sorted list without overlaps could hold an address.
fn holds<N>(nets: &[N], starts_at_or_before: impl Fn(&N) -> bool, contains: impl Fn(&N) -> bool) -> bool {
    let after = nets.partition_point(starts_at_or_before);
    after.checked_sub(1).is_some_and(|i| contains(&nets[i]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nets(texts: &[&str]) -> Vec<IpNet> {
        texts.iter().map(|t| parse(t).unwrap()).collect()
    }

    #[test]
    fn an_address_is_written_in_one_way() {
        assert_eq!(parse("203.0.113.7").unwrap().to_string(), "203.0.113.7/32");
        assert_eq!(parse("2001:db8::1").unwrap().to_string(), "2001:db8::1/128");
        for bad in [
            "",
            "203.0.113",
            "203.0.113.0/33",
            "203.0.113.01",
            "fe80::1%eth0",
            "office",
            "1.2.3.4/",
            "0x1.2.3.4",
            "1.2.3.4-9",
        ] {
            assert_eq!(parse(bad).unwrap_err(), AddressError::Syntax(bad.into()), "{bad}");
        }
        assert!(matches!(parse("203.0.113.7/24").unwrap_err(), AddressError::HostBits { .. }));
        assert!(parse("203.0.113.7/24").unwrap_err().hint().contains("203.0.113.0/24"));
        assert!(matches!(parse("::ffff:203.0.113.7").unwrap_err(), AddressError::Mapped(_)));
        for everything in ["0.0.0.0/0", "::/0"] {
            assert!(matches!(parse(everything).unwrap_err(), AddressError::Everywhere(_)), "{everything}");
        }
    }

    #[test]
    fn merging_leaves_no_overlap_and_nothing_to_join() {
        let merged = merge(nets(&[
            "203.0.113.128/25",
            "2001:db8::/49",
            "203.0.113.0/25",
            "203.0.113.7",
            "2001:db8:0:8000::/49",
            "198.51.100.1",
        ]));
        assert_eq!(
            merged.iter().map(|n| n.to_string()).collect::<Vec<_>>(),
            ["198.51.100.1/32", "203.0.113.0/24", "2001:db8::/48"]
        );
        assert!(merge(nets(&["0.0.0.0/1", "128.0.0.0/1"])).is_everything());
        assert!(!merged.is_everything());
    }

    #[test]
    fn membership_is_looked_up_in_the_sorted_list() {
        let merged = merge(nets(&["198.51.100.1", "198.51.100.3", "203.0.113.0/24", "2001:db8:10::/48"]));
        for (address, inside) in [
            ("198.51.100.1", true),
            ("198.51.100.2", false),
            ("198.51.100.3", true),
            ("203.0.113.255", true),
            ("203.0.114.0", false),
            ("1.1.1.1", false),
            ("2001:db8:10:ffff::1", true),
            ("2001:db8:11::1", false),
        ] {
            assert_eq!(merged.contains(address.parse().unwrap()), inside, "{address}");
        }
    }

    #[test]
    fn many_intervals_merge_quickly() {
        let many = (0..70_000u32).map(|i| IpNet::from(IpAddr::from((0x0a00_0000 + i * 2).to_be_bytes())));
        assert_eq!(merge(many).len(), 70_000);
    }
}
