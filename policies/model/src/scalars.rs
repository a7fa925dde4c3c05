//! The single values of the language: names, periods, sizes, times, services, addresses.

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;
use jiff::civil::{Date, Time};
use tenure_trust::{FleetName, HostName, PersonName, TenantId, label_type, name_type};

use crate::calendar::{self, Period};
use crate::names::{NetworkName, ProfileName, UnixUser};
use crate::resolved::Ports;
use crate::shape::{Scalar, ScalarKind, ScalarShape, Why, words};
use crate::{addresses, services, sizes};
use tenure_trust::ids::is_label;

pub use tenure_trust::VaultName;

name_type! {
    /// A zone of the IANA database; whether it exists is the calendar's question.
    ZoneName, "time zone", 64, "a name of the IANA database such as Europe/Amsterdam",
    |t| t.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'/' | b'_' | b'-' | b'+'))
}
label_type! {
    /// What a host is for: `production`, `development` and so on.
    EnvironmentName, "environment"
}
label_type! {
    /// A place where a tenant's data lives.
    StoreName, "store name"
}
label_type! {
    /// A class of a tenant's data.
    ClassName, "class name"
}
label_type! {
    /// A service: shipped, or one of the policy's own.
    ServiceName, "service name"
}
name_type! {
    /// A duty or a part of the policy with dots (`backup.server`, `patch.security_within`).
    DutyName, "duty", 80, "lower-case words with underscores, joined by dots",
    |t| t.split('.').all(|w| !w.is_empty() && w.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_'))
}
name_type! {
    /// A database, schema, table or column: an identifier that needs no quoting in SQL beyond its case.
    SqlName, "database identifier", 63, "a letter or underscore, then letters, digits and underscores, at most 63",
    |t| !t.starts_with(|c: char| c.is_ascii_digit()) && t.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}
name_type! {
    /// A network interface or bridge of the kernel (15 bytes, as IFNAMSIZ allows).
    InterfaceName, "interface name", 15, "letters, digits and `-_.`, at most 15",
    |t| t != "." && t != ".." && t.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
}
name_type! {
    /// An nftables table of another program.
    TableName, "table name", 64, "letters, digits and `-_`",
    |t| t.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
}
name_type! {
    /// A DNS name (RFC 1123): labels of at most 63, joined by dots.
    DnsName, "DNS name", 253, "lower-case labels of letters, digits and inner hyphens, joined by dots",
    |t| t.split('.').all(|label| !label.is_empty() && label.len() <= 63 && is_label(label))
}
name_type! {
    /// A path from the root, without `.`, `..`, `//` and control characters.
    AbsolutePath, "absolute path", 1024, "starts with /, no `.`, `..`, `//`, no control characters",
    |t| t == "/" || (t.starts_with('/') && t[1..].split('/').all(|part| !matches!(part, "" | "." | "..")) && !t.chars().any(crate::fault::is_hostile))
}
name_type! {
    /// A sentence or a note: text of people, at most 2,000 bytes, without control characters.
    Text, "text", 2000, "at most 2000 bytes, no control characters",
    |t| !t.chars().any(|c| c != '\n' && crate::fault::is_hostile(c))
}

macro_rules! name_scalars {
    ($($name:ident: $what:literal,)+) => {
        $(impl Scalar for $name {
            const SHAPE: ScalarShape = ScalarShape { what: $what, kind: ScalarKind::Text, words: &[] };
            fn parse(text: &str) -> Result<Self, Why> {
                Self::new(text).map_err(|e| Why::hint(e.rule))
            }
        })+
    };
}

name_scalars! {
    FleetName: "a fleet name",
    HostName: "a host name",
    PersonName: "the name of a person, machine key or group",
    TenantId: "a tenant name",
    NetworkName: "a name of a network, host, profile or bridge",
    ProfileName: "a profile name",
    UnixUser: "a local account",
    VaultName: "a vault name",
    ZoneName: "a time zone such as Europe/Amsterdam",
    EnvironmentName: "an environment such as production",
    StoreName: "a store name",
    ClassName: "a class name",
    ServiceName: "a service name",
    DutyName: "a duty or value with dots, such as backup.server",
    SqlName: "a database identifier",
    InterfaceName: "an interface name",
    TableName: "an nftables table name",
    DnsName: "a DNS name",
    AbsolutePath: "an absolute path",
    Text: "text",
}

impl Scalar for Period {
    const SHAPE: ScalarShape =
        ScalarShape { what: "a period such as 90d, 15min or 2 years", kind: ScalarKind::Text, words: &[] };

    fn parse(text: &str) -> Result<Self, Why> {
        Period::parse(text).map_err(|e| Why::new(&e, e.hint()))
    }
}

/// So many times in a unit of time: `3 per day`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frequency {
    /// How many times, from 1.
    pub times: u32,
    /// In which unit.
    pub per: Every,
}

impl fmt::Display for Frequency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} per {}", self.times, self.per)
    }
}

impl Scalar for Frequency {
    const SHAPE: ScalarShape =
        ScalarShape { what: "a frequency such as 3 per day", kind: ScalarKind::Text, words: &[] };

    fn parse(text: &str) -> Result<Self, Why> {
        let bad = || Why::hint("1 to 10000 per day, week, month or year");
        let (times, per) = text.split_once(" per ").ok_or_else(bad)?;
        let times = whole(times).and_then(|n| u32::try_from(n).ok()).filter(|n| (1..=10_000).contains(n));
        Ok(Self { times: times.ok_or_else(bad)?, per: Every::parse(per).map_err(|_| bad())? })
    }
}

words! {
    /// How often something is done.
    Every = "how often: day, week, month or year" {
        /// Every calendar day.
        Day / "day",
        /// Every calendar week.
        Week / "week",
        /// Every calendar month.
        Month / "month",
        /// Every calendar year.
        Year / "year",
    }
}

/// An amount of bytes: `100 GiB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(pub u64);

impl Scalar for Size {
    const SHAPE: ScalarShape =
        ScalarShape { what: "a size such as 100 GiB", kind: ScalarKind::Text, words: &[] };

    fn parse(text: &str) -> Result<Self, Why> {
        sizes::parse_size(text).map(Self).map_err(|sentence| Why { sentence: Some(sentence), hint: None })
    }
}

/// Bytes in a second: `20 MB/s`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Throughput(pub u64);

impl Scalar for Throughput {
    const SHAPE: ScalarShape =
        ScalarShape { what: "a rate such as 20 MB/s", kind: ScalarKind::Text, words: &[] };

    fn parse(text: &str) -> Result<Self, Why> {
        sizes::parse_rate(text).map(Self).map_err(|sentence| Why { sentence: Some(sentence), hint: None })
    }
}

/// Digits without sign and leading zero.
fn whole(text: &str) -> Option<u64> {
    let plain = text.bytes().all(|b| b.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    plain.then(|| text.parse().ok()).flatten()
}

impl Scalar for Date {
    const SHAPE: ScalarShape =
        ScalarShape { what: "a date such as \"2027-06-30\", quoted", kind: ScalarKind::Text, words: &[] };

    fn parse(text: &str) -> Result<Self, Why> {
        calendar::parse_date(text).map_err(|e| Why::new(&e, e.hint()))
    }
}

impl Scalar for Time {
    const SHAPE: ScalarShape =
        ScalarShape { what: "a time such as \"22:00\", quoted", kind: ScalarKind::Text, words: &[] };

    fn parse(text: &str) -> Result<Self, Why> {
        calendar::parse_time(text).map_err(|e| Why::new(&e, e.hint()))
    }
}

impl Scalar for IpNet {
    const SHAPE: ScalarShape = ScalarShape {
        what: "an address or a network such as 203.0.113.0/24 or \"2001:db8::/32\"",
        kind: ScalarKind::Text,
        words: &[],
    };

    fn parse(text: &str) -> Result<Self, Why> {
        addresses::parse(text).map_err(|e| Why::new(&e, e.hint()))
    }
}

impl Scalar for IpAddr {
    const SHAPE: ScalarShape = ScalarShape {
        what: "an address such as 198.51.100.11 or \"2001:db8::1\"",
        kind: ScalarKind::Text,
        words: &[],
    };

    fn parse(text: &str) -> Result<Self, Why> {
        text.parse().map_err(|_| Why::default())
    }
}

/// What a rule lets through: a service by name, or ports.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Service {
    /// A shipped service or one of `services`.
    Named(ServiceName),
    /// `tcp/9000` or `udp/8000-8010`.
    Ports(Ports),
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Named(name) => name.fmt(f),
            Self::Ports(ports) => f.write_str(&services::say(*ports)),
        }
    }
}

impl Scalar for Service {
    const SHAPE: ScalarShape =
        ScalarShape { what: "a service such as https or tcp/8000-8010", kind: ScalarKind::Text, words: &[] };

    fn parse(text: &str) -> Result<Self, Why> {
        if text.contains('/') || text.starts_with(|c: char| c.is_ascii_digit()) {
            return PortRange::parse(text).map(|range| Self::Ports(range.0));
        }
        ServiceName::new(text).map(Self::Named).map_err(|e| Why::hint(e.rule))
    }
}

/// Ports with their protocol: `tcp/9000` or `udp/8000-8010`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct PortRange(pub Ports);

impl Scalar for PortRange {
    const SHAPE: ScalarShape =
        ScalarShape { what: "ports such as tcp/9000 or udp/8000-8010", kind: ScalarKind::Text, words: &[] };

    fn parse(text: &str) -> Result<Self, Why> {
        services::parse_ports(text).map(Self).map_err(|e| Why::new(&e, e.hint()))
    }
}

/// One end of a packet in a test: a literal address, or a host by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TestEnd {
    /// A literal address.
    Address(IpAddr),
    /// A host.
    Host(HostName),
}

impl fmt::Display for TestEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Host(host) => host.fmt(f),
        }
    }
}

impl Scalar for TestEnd {
    const SHAPE: ScalarShape =
        ScalarShape { what: "an address or a host name", kind: ScalarKind::Text, words: &[] };

    fn parse(text: &str) -> Result<Self, Why> {
        match text.parse::<IpAddr>() {
            Ok(address) => Ok(Self::Address(address)),
            Err(_) => HostName::new(text).map(Self::Host).map_err(|_| Why::default()),
        }
    }
}

/// A comparison with a whole number: `">= 1000"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AtLeastRows(pub u64);

impl Scalar for AtLeastRows {
    const SHAPE: ScalarShape =
        ScalarShape { what: "a least count such as \">= 1000\"", kind: ScalarKind::Text, words: &[] };

    fn parse(text: &str) -> Result<Self, Why> {
        let bad = || Why::hint("write \">= \" and a whole number, quoted");
        text.strip_prefix(">= ").and_then(whole).map(Self).ok_or_else(bad)
    }
}

/// A port of TCP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Port(pub u16);

impl Scalar for Port {
    const SHAPE: ScalarShape =
        ScalarShape { what: "a port, 1 to 65535", kind: ScalarKind::Integer, words: &[] };

    fn parse(text: &str) -> Result<Self, Why> {
        text.parse().ok().filter(|n| *n > 0).map(Self).ok_or_else(Why::default)
    }
}

impl Scalar for u32 {
    const SHAPE: ScalarShape = ScalarShape { what: "a whole number", kind: ScalarKind::Integer, words: &[] };

    fn parse(text: &str) -> Result<Self, Why> {
        text.parse().map_err(|_| Why::hint("0 to 4294967295"))
    }
}

impl Scalar for bool {
    const SHAPE: ScalarShape = ScalarShape { what: "true or false", kind: ScalarKind::Bool, words: &[] };

    fn parse(text: &str) -> Result<Self, Why> {
        text.parse().map_err(|_| Why::default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn services_are_names_or_ports() {
        for same in ["tcp/9000", "udp/8000-8010", "https"] {
            assert_eq!(Service::parse(same).map(|s| s.to_string()).as_deref(), Ok(same));
        }
        for bad in ["tcp/0", "tcp/70000", "tcp/9-8", "icmp/1", "443", "tcp/", "/80", "tcp/080", "HTTP", ""] {
            assert!(Service::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn frequencies_counts_and_ports() {
        assert_eq!(Frequency::parse("3 per day").map(|f| f.to_string()).as_deref(), Ok("3 per day"));
        for bad in ["0 per day", "3 per hour", "3", "03 per day", "-1 per day", "3 per  day"] {
            assert!(Frequency::parse(bad).is_err(), "{bad}");
        }
        assert_eq!(AtLeastRows::parse(">= 1000"), Ok(AtLeastRows(1000)));
        assert!(AtLeastRows::parse("> 1000").is_err() && AtLeastRows::parse(">= 01").is_err());
        assert!(Port::parse("0").is_err() && Port::parse("65536").is_err() && Port::parse("8441").is_ok());
    }

    #[test]
    fn paths_stay_where_they_say() {
        assert!(AbsolutePath::new("/").is_ok() && AbsolutePath::new("/srv/app").is_ok());
        for bad in ["srv", "/srv/", "/srv/../etc", "//srv", "/srv/./a", "/a\nb", "/a\u{202e}b"] {
            assert!(AbsolutePath::new(bad).is_err(), "{bad}");
        }
    }
}
