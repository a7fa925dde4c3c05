//! Connection tracking by ctnetlink: enter open TCP sockets, list what is tracked, delete what is no longer allowed.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use tenure_areas::port::Flow;
use tenure_sys::proc;

use super::netlink::{ACK, Asking, Attributes, CREATE, DUMP, EXCLUSIVE, Message, NetlinkError, Writer};

// enum cntl_msg_types of linux/netfilter/nfnetlink_conntrack.h
const NEW: u16 = 1 << 8;
const GET: u16 = 1 << 8 | 1;
const DELETE: u16 = 1 << 8 | 2;

const TUPLE_ORIGINAL: u16 = 1;
const TUPLE_REPLY: u16 = 2;
const STATUS: u16 = 3;
const PROTOINFO: u16 = 4;
const TIMEOUT: u16 = 7;
const ID: u16 = 12;
const ZONE: u16 = 18;

const TCP: u8 = 6;
/// IPS_SEEN_REPLY, IPS_ASSURED, IPS_CONFIRMED of nf_conntrack_common.h.
const LIVING: u32 = 2 | 4 | 8;
/// TCP_CONNTRACK_ESTABLISHED of nf_conntrack_tcp.h.
const ESTABLISHED: u8 = 3;
/// IP_CT_TCP_FLAG_BE_LIBERAL as flags and mask: windows were never seen, so none is judged.
const LIBERAL: [u8; 2] = [8, 8];
/// The kernel's own default for an established connection, in seconds.
const FIVE_DAYS: u32 = 432_000;
/// Largest `/proc/net/tcp` that is read: about 400,000 sockets.
const LIST: u64 = 64 << 20;

/// Why connections could not be listed, entered or deleted.
#[derive(Debug, thiserror::Error)]
pub enum ConntrackError {
    /// The kernel did not answer or refused.
    #[error(transparent)]
    Netlink(#[from] NetlinkError),
    /// More connections than the caller takes.
    #[error("more than {limit} connections are tracked")]
    TooMany {
        /// The limit.
        limit: usize,
    },
    /// The list of sockets could not be read.
    #[error(transparent)]
    Sockets(#[from] tenure_sys::files::FileError),
}

/// What `warm` did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Warmed {
    /// Connections entered.
    pub entered: usize,
    /// Connections that were tracked already.
    pub known: usize,
}

/// Enters every established TCP connection of this host into connection tracking, both families, as one that has been
/// answered. Loopback is left out: it is never judged.
///
/// # Errors
/// When the sockets cannot be listed or the kernel refuses one that is not tracked yet.
pub fn warm() -> Result<Warmed, ConntrackError> {
    let mut netlink = Asking::open()?;
    let mut out = Warmed { entered: 0, known: 0 };
    for flow in open_connections()? {
        match enter(&mut netlink, &flow) {
            Ok(()) => out.entered += 1,
            Err(NetlinkError::Refused { source, .. }) if source.kind() == io::ErrorKind::AlreadyExists => {
                out.known += 1
            }
            Err(e) => return Err(e.into()),
        }
    }
    Ok(out)
}

/// Every tracked connection in its original direction, sorted, at most `limit`.
///
/// # Errors
/// When the kernel does not answer, or has more.
pub fn flows(limit: usize) -> Result<Vec<Flow>, ConntrackError> {
    let mut out: Vec<Flow> = tracked(limit)?.into_iter().map(|t| t.flow).collect();
    out.sort();
    Ok(out)
}

/// Deletes the tracked connections that the closure chooses and returns how many were deleted.
///
/// # Errors
/// When the kernel does not answer or refuses; a connection that has ended meanwhile is fine.
pub fn delete(limit: usize, chosen: impl Fn(&Flow) -> bool) -> Result<usize, ConntrackError> {
    let mut netlink = Asking::open()?;
    let mut deleted = 0;
    for entry in tracked(limit)?.iter().filter(|t| chosen(&t.flow)) {
        let doing = "forget a connection";
        let result = netlink.ask(doing, DELETE, ACK, entry.family, |w| w.append(&entry.key), |_| {});
        match result {
            Ok(()) => deleted += 1,
            Err(e) if e.is_missing() => {}
            Err(e) => return Err(e.into()),
        }
    }
    Ok(deleted)
}

/// Established TCP connections in their original direction: where this host listens on the local port, the other end
/// began.
///
/// # Errors
/// When the list cannot be read.
pub fn open_connections() -> Result<BTreeSet<Flow>, tenure_sys::files::FileError> {
    let mut sockets = Vec::new();
    for name in ["tcp", "tcp6"] {
        match proc::net(name, LIST) {
            Ok(text) => sockets.extend(String::from_utf8_lossy(&text).lines().filter_map(socket)),
            // A kernel without IPv6 has no such list.
            Err(e) if e.is_missing() && name == "tcp6" => {}
            Err(e) => return Err(e),
        }
    }
    let listening: BTreeSet<u16> = sockets.iter().filter(|s| s.state == 0x0a).map(|s| s.local.1).collect();
    let established =
        sockets.iter().filter(|s| s.state == 1 && !s.local.0.is_loopback() && !s.remote.0.is_loopback());
    let flow = |s: &Socket| {
        let inbound = listening.contains(&s.local.1);
        let (from, to) = if inbound { (s.remote, s.local) } else { (s.local, s.remote) };
        Flow { protocol: TCP, src: from.0, dst: to.0, sport: from.1, dport: to.1 }
    };
    Ok(established.map(flow).collect())
}

struct Socket {
    local: (IpAddr, u16),
    remote: (IpAddr, u16),
    state: u8,
}

/// One line of `/proc/net/tcp{,6}`: `sl local remote state …`, addresses in hexadecimal words of the host's order.
fn socket(line: &str) -> Option<Socket> {
    let mut fields = line.split_ascii_whitespace().skip(1);
    let (local, remote, state) = (fields.next()?, fields.next()?, fields.next()?);
    Some(Socket { local: end(local)?, remote: end(remote)?, state: u8::from_str_radix(state, 16).ok()? })
}

fn end(text: &str) -> Option<(IpAddr, u16)> {
    let (address, port) = text.split_once(':')?;
    let word = |at: usize| Some(u32::from_str_radix(address.get(at..at + 8)?, 16).ok()?.to_ne_bytes());
    let address: IpAddr = match address.len() {
        8 => Ipv4Addr::from(word(0)?).into(),
        32 => {
            let words = [word(0)?, word(8)?, word(16)?, word(24)?];
            let bytes: [u8; 16] = words.concat().try_into().ok()?;
            // A socket of IPv6 that talks IPv4 is tracked as IPv4.
            Ipv6Addr::from(bytes).to_canonical()
        }
        _ => return None,
    };
    Some((address, u16::from_str_radix(port, 16).ok()?))
}

fn enter(netlink: &mut Asking, flow: &Flow) -> Result<(), NetlinkError> {
    let back = Flow { protocol: TCP, src: flow.dst, dst: flow.src, sport: flow.dport, dport: flow.sport };
    netlink.ask(
        "enter an open connection into connection tracking",
        NEW,
        // What is tracked already keeps its state.
        ACK | CREATE | EXCLUSIVE,
        family(flow.src),
        |w| {
            w.nest(TUPLE_ORIGINAL, |w| tuple(w, flow));
            w.nest(TUPLE_REPLY, |w| tuple(w, &back));
            w.be32(STATUS, LIVING);
            w.be32(TIMEOUT, FIVE_DAYS);
            w.nest(PROTOINFO, |w| {
                w.nest(1, |w| {
                    w.attribute(1, &[ESTABLISHED]);
                    w.attribute(4, &LIBERAL);
                    w.attribute(5, &LIBERAL);
                });
            });
        },
        |_| {},
    )
}

fn tuple(w: &mut Writer, flow: &Flow) {
    w.nest(1, |w| match (flow.src, flow.dst) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => {
            w.attribute(1, &src.octets());
            w.attribute(2, &dst.octets());
        }
        (src, dst) => {
            w.attribute(3, &six(src).octets());
            w.attribute(4, &six(dst).octets());
        }
    });
    w.nest(2, |w| {
        w.attribute(1, &[flow.protocol]);
        w.attribute(2, &flow.sport.to_be_bytes());
        w.attribute(3, &flow.dport.to_be_bytes());
    });
}

fn six(address: IpAddr) -> Ipv6Addr {
    match address {
        IpAddr::V4(a) => a.to_ipv6_mapped(),
        IpAddr::V6(a) => a,
    }
}

fn family(address: IpAddr) -> u8 {
    // AF_INET and AF_INET6 of linux/socket.h.
    if address.is_ipv4() { 2 } else { 10 }
}

/// A tracked connection and what names it to the kernel: tuple, zone, id.
struct Tracked {
    flow: Flow,
    family: u8,
    key: Vec<u8>,
}

fn tracked(limit: usize) -> Result<Vec<Tracked>, ConntrackError> {
    let doing = "list tracked connections";
    for _ in 0..5 {
        let mut out = Vec::new();
        let mut more = false;
        let listed = Asking::open()?.ask(
            doing,
            GET,
            DUMP,
            0,
            |_| {},
            |m| {
                more |= out.len() >= limit;
                if !more && let Some(entry) = entry(m) {
                    out.push(entry);
                }
            },
        );
        match listed {
            Ok(()) if more => return Err(ConntrackError::TooMany { limit }),
            Ok(()) => return Ok(out),
            Err(NetlinkError::Changing { .. }) => {}
            Err(e) => return Err(e.into()),
        }
    }
    Err(NetlinkError::Changing { doing }.into())
}

fn entry(message: &Message<'_>) -> Option<Tracked> {
    let a = message.attributes();
    let flow = flow(a.nest(TUPLE_ORIGINAL))?;
    let mut key = Writer::default();
    for kind in [TUPLE_ORIGINAL, ZONE, ID] {
        if let Some(bytes) = a.get(kind) {
            key.attribute(if kind == TUPLE_ORIGINAL { kind | 0x8000 } else { kind }, bytes);
        }
    }
    Some(Tracked { flow, family: message.family(), key: key.bytes().to_vec() })
}

fn flow(tuple: Attributes<'_>) -> Option<Flow> {
    let (ip, proto) = (tuple.nest(1), tuple.nest(2));
    let four = |kind| Some(IpAddr::from(<[u8; 4]>::try_from(ip.get(kind)?).ok()?));
    let six = |kind| Some(IpAddr::from(<[u8; 16]>::try_from(ip.get(kind)?).ok()?));
    Some(Flow {
        protocol: *proto.get(1)?.first()?,
        src: four(1).or_else(|| six(3))?,
        dst: four(2).or_else(|| six(4))?,
        sport: proto.be16(2).unwrap_or(0),
        dport: proto.be16(3).unwrap_or(0),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_proc_are_read() {
        let line =
            "   1: 0B4D0A0A:0016 010A4D0A:D431 01 00000000:00000000 02:000A7D8C 00000000     0        0 1";
        let s = socket(line).expect("line");
        assert_eq!(
            (s.local, s.remote, s.state),
            (("10.10.77.11".parse().expect("ip"), 22), ("10.77.10.1".parse().expect("ip"), 0xd431), 1)
        );
        let mapped = "0000000000000000FFFF00000B4D0A0A:0016";
        assert_eq!(end(mapped), Some(("10.10.77.11".parse().expect("ip"), 22)));
        let six = "B80D01200000000000000000EF000000:01BB";
        assert_eq!(end(six), Some(("2001:db8::ef".parse().expect("ip"), 443)));
        for bad in ["", "0:0", "0B4D0A0A", "0B4D0A0A:", "é0B4D0A:0016", "0B4D0A0A:10000"] {
            assert_eq!(end(bad), None, "{bad}");
        }
        assert!(socket("  sl  local_address rem_address   st").is_none());
    }
}
