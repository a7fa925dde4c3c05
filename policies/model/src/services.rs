//! Services: names for ports. A table is shipped; a policy adds its own under `services:`; a port can stand for itself.

use std::collections::BTreeMap;

use crate::nearest::nearest;
use crate::resolved::{Ports, Protocol};

/// Why a text names no ports.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ServiceError {
    /// Neither a shipped name nor one of the policy.
    #[error("unknown service {name:?}")]
    Unknown {
        /// As written.
        name: String,
        /// The name that was probably meant.
        meant: Option<String>,
    },
    /// Has a slash or looks like a number, but is not `tcp/N`, `udp/N` or a range.
    #[error("{0:?} names no port")]
    Ports(String),
}

impl ServiceError {
    /// What to write instead.
    pub fn hint(&self) -> String {
        match self {
            Self::Unknown { meant: Some(meant), .. } => format!("did you mean {meant:?}?"),
            Self::Unknown { meant: None, .. } => {
                "write tcp/8080 or udp/5000-5010, or give it a name under services:".into()
            }
            Self::Ports(_) => "write tcp/8080, udp/53 or tcp/8000-8010, with ports from 1 to 65535".into(),
        }
    }
}

/// Shipped names (IANA's, and those that sysadmins use for them).
const SHIPPED: &[(&str, &[(Protocol, u16)])] = {
    use Protocol::{Tcp, Udp};
    &[
        ("bootps", &[(Udp, 67)]),
        ("dns", &[(Tcp, 53), (Udp, 53)]),
        ("dns-over-tls", &[(Tcp, 853)]),
        ("git", &[(Tcp, 9418)]),
        ("hkp", &[(Tcp, 11371)]),
        ("http", &[(Tcp, 80)]),
        ("http3", &[(Udp, 443)]),
        ("https", &[(Tcp, 443)]),
        ("imap", &[(Tcp, 143)]),
        ("imaps", &[(Tcp, 993)]),
        ("ldap", &[(Tcp, 389)]),
        ("ldaps", &[(Tcp, 636)]),
        ("memcached", &[(Tcp, 11211)]),
        ("mysql", &[(Tcp, 3306)]),
        ("node-exporter", &[(Tcp, 9100)]),
        ("ntp", &[(Udp, 123)]),
        ("pop3s", &[(Tcp, 995)]),
        ("postgresql", &[(Tcp, 5432)]),
        ("prometheus", &[(Tcp, 9090)]),
        ("rabbitmq", &[(Tcp, 5672)]),
        ("redis", &[(Tcp, 6379)]),
        ("rsync", &[(Tcp, 873)]),
        ("sieve", &[(Tcp, 4190)]),
        ("smtp", &[(Tcp, 25)]),
        ("smtps", &[(Tcp, 465)]),
        ("ssh", &[(Tcp, 22)]),
        ("submission", &[(Tcp, 587)]),
        ("syslog", &[(Tcp, 514), (Udp, 514)]),
        ("syslog-tls", &[(Tcp, 6514)]),
        ("wireguard", &[(Udp, 51820)]),
    ]
};

/// SSH, which only `access.logins` opens (rule 6).
pub const SSH: Ports = Ports { protocol: Protocol::Tcp, first: 22, last: 22 };

/// Is this name in the shipped table?
pub fn is_shipped(name: &str) -> bool {
    shipped(name).is_some()
}

/// Every shipped name with its ports, sorted.
pub fn table() -> impl Iterator<Item = (&'static str, Vec<Ports>)> {
    SHIPPED.iter().map(|(name, ports)| (*name, ports.iter().map(|(p, n)| one(*p, *n)).collect()))
}

/// The ports that a text means: a shipped name, a name of the policy (`own`), or ports themselves.
///
/// # Errors
/// [`ServiceError`] when it is none of these.
pub fn lookup(text: &str, own: &BTreeMap<String, Vec<Ports>>) -> Result<Vec<Ports>, ServiceError> {
    if text.contains('/') || text.starts_with(|c: char| c.is_ascii_digit()) {
        return parse_ports(text).map(|ports| vec![ports]);
    }
    if let Some(ports) = shipped(text) {
        return Ok(ports.iter().map(|(p, n)| one(*p, *n)).collect());
    }
    own.get(text).cloned().ok_or_else(|| {
        let known = SHIPPED.iter().map(|(name, _)| *name).chain(own.keys().map(String::as_str));
        ServiceError::Unknown { name: text.to_owned(), meant: nearest(text, known).map(str::to_owned) }
    })
}

/// Parses `tcp/80`, `udp/53`, `tcp/8000-8010`.
///
/// # Errors
/// [`ServiceError::Ports`] when the text is not of this form.
pub fn parse_ports(text: &str) -> Result<Ports, ServiceError> {
    let bad = || ServiceError::Ports(text.to_owned());
    let (protocol, range) = text.split_once('/').ok_or_else(bad)?;
    let protocol = match protocol {
        "tcp" => Protocol::Tcp,
        "udp" => Protocol::Udp,
        _ => return Err(bad()),
    };
    let port = |digits: &str| match digits.bytes().all(|b| b.is_ascii_digit()) && !digits.starts_with('0') {
        true => digits.parse::<u16>().map_err(|_| bad()),
        false => Err(bad()),
    };
    let (first, last) = range.split_once('-').unwrap_or((range, range));
    let (first, last) = (port(first)?, port(last)?);
    if first > last {
        return Err(bad());
    }
    Ok(Ports { protocol, first, last })
}

/// Sorted, with overlapping and adjacent ranges of one protocol merged.
pub fn merge(mut ports: Vec<Ports>) -> Vec<Ports> {
    ports.sort();
    let mut merged: Vec<Ports> = Vec::with_capacity(ports.len());
    for next in ports {
        match merged.last_mut() {
            Some(last) if last.protocol == next.protocol && next.first <= last.last.saturating_add(1) => {
                last.last = last.last.max(next.last);
            }
            _ => merged.push(next),
        }
    }
    merged
}

/// As a policy writes it: `tcp/80`, `tcp/8000-8010`.
pub fn say(ports: Ports) -> String {
    let protocol = match ports.protocol {
        Protocol::Tcp => "tcp",
        Protocol::Udp => "udp",
    };
    match ports.first == ports.last {
        true => format!("{protocol}/{}", ports.first),
        false => format!("{protocol}/{}-{}", ports.first, ports.last),
    }
}

fn shipped(name: &str) -> Option<&'static [(Protocol, u16)]> {
    SHIPPED.binary_search_by_key(&name, |(known, _)| known).ok().map(|i| SHIPPED[i].1)
}

fn one(protocol: Protocol, port: u16) -> Ports {
    Ports { protocol, first: port, last: port }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tcp(first: u16, last: u16) -> Ports {
        Ports { protocol: Protocol::Tcp, first, last }
    }

    #[test]
    fn the_table_is_sorted_so_that_every_name_is_found() {
        assert!(SHIPPED.windows(2).all(|pair| pair[0].0 < pair[1].0));
        for (name, ports) in table() {
            assert_eq!(lookup(name, &BTreeMap::new()).unwrap(), ports);
        }
        let dns = lookup("dns", &BTreeMap::new()).unwrap();
        assert_eq!(dns.iter().map(|p| say(*p)).collect::<Vec<_>>(), ["tcp/53", "udp/53"]);
    }

    #[test]
    fn a_port_stands_for_itself_and_a_policy_adds_names() {
        let own = BTreeMap::from([("app".to_owned(), vec![tcp(8000, 8010)])]);
        assert_eq!(lookup("tcp/8000-8010", &own).unwrap(), [tcp(8000, 8010)]);
        assert_eq!(lookup("app", &own).unwrap(), [tcp(8000, 8010)]);
        for bad in [
            "tcp/0",
            "tcp/65536",
            "tcp/",
            "tcp/10-9",
            "sctp/1",
            "tcp/1-",
            "tcp/+1",
            "tcp/010",
            "80",
            "/80",
            "tcp/1-2-3",
        ] {
            assert_eq!(lookup(bad, &own).unwrap_err(), ServiceError::Ports(bad.into()), "{bad}");
        }
        let error = lookup("htps", &own).unwrap_err();
        assert!(error.hint().contains("\"http"), "{}", error.hint());
    }

    #[test]
    fn ranges_merge() {
        let merged = merge(vec![tcp(90, 90), tcp(80, 85), tcp(86, 86), tcp(84, 88), tcp(65535, 65535)]);
        assert_eq!(merged, [tcp(80, 88), tcp(90, 90), tcp(65535, 65535)]);
        let udp = Ports { protocol: Protocol::Udp, first: 80, last: 80 };
        assert_eq!(merge(vec![udp, tcp(79, 79)]), [tcp(79, 79), udp]);
    }
}
