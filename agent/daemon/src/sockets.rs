//! What listens on this host and who is connected, from `/proc/net` (proc(5)); for a person's eyes and the confirm rule.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;

use serde::{Deserialize, Serialize};
use tenure_policy::resolved::Protocol;
use tenure_sys::files::{BaseDir, FileError};
use tenure_sys::{proc, text};

/// Largest table of sockets that is read, in bytes.
const LIMIT: u64 = 64 << 20;
/// Most open files of one process that are looked at.
const FILES: usize = 65_536;

/// One line of a table of sockets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Socket {
    /// Transport.
    pub protocol: Protocol,
    /// This end.
    pub local: SocketAddr,
    /// The other end.
    pub remote: SocketAddr,
    /// What it is doing.
    pub state: State,
    /// Its inode, by which its process is found.
    pub inode: u64,
}

/// What a socket is doing, as far as it matters here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Waits for anybody.
    Listening,
    /// Connected.
    Established,
    /// Anything else.
    Other,
}

/// A port on which something waits.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Listener {
    /// Transport.
    pub protocol: Protocol,
    /// Port.
    pub port: u16,
    /// On which addresses, sorted; the unspecified ones mean all.
    pub addresses: Vec<IpAddr>,
    /// Names of the processes (comm), neutralised; empty when the kernel does not tell.
    pub processes: Vec<String>,
}

impl Listener {
    /// Only this host itself can reach it.
    pub fn is_local(&self) -> bool {
        self.addresses.iter().all(IpAddr::is_loopback)
    }
}

/// Everything that listens, by protocol and port.
///
/// # Errors
/// When `/proc` cannot be read.
pub fn listeners() -> Result<Vec<Listener>, FileError> {
    let waiting: Vec<Socket> = all()?.into_iter().filter(|s| s.state == State::Listening).collect();
    let owners = owners(&waiting)?;
    Ok(gather(&waiting, &owners))
}

/// The connection that this process holds with the lowest file number: for an sshd session, the client's.
pub fn connection_of(pid: u32) -> Option<Socket> {
    let table = all().ok()?;
    let mut files = inodes(pid);
    files.sort_unstable();
    files
        .into_iter()
        .find_map(|(_, inode)| {
            table
                .iter()
                .find(|s| s.inode == inode && s.state == State::Established && s.protocol == Protocol::Tcp)
        })
        .copied()
}

/// The TCP sockets of the calling thread's network namespace.
///
/// # Errors
/// When `/proc` cannot be read.
pub(crate) fn tcp() -> Result<Vec<Socket>, FileError> {
    tables(&[("tcp", Protocol::Tcp), ("tcp6", Protocol::Tcp)])
}

pub(crate) fn all() -> Result<Vec<Socket>, FileError> {
    let mut out = tcp()?;
    out.extend(tables(&[("udp", Protocol::Udp), ("udp6", Protocol::Udp)])?);
    Ok(out)
}

fn tables(of: &[(&str, Protocol)]) -> Result<Vec<Socket>, FileError> {
    let mut out = Vec::new();
    for (name, protocol) in of.iter().copied() {
        match proc::net(name, LIMIT) {
            Ok(bytes) => out.extend(parse(&String::from_utf8_lossy(&bytes), protocol)),
            // A kernel without IPv6 has no such table.
            Err(e) if e.is_missing() => {}
            Err(e) => return Err(e),
        }
    }
    Ok(out)
}

fn gather(waiting: &[Socket], owners: &BTreeMap<u64, String>) -> Vec<Listener> {
    let mut by_port: BTreeMap<(Protocol, u16), (Vec<IpAddr>, Vec<String>)> = BTreeMap::new();
    for socket in waiting {
        let (addresses, processes) = by_port.entry((socket.protocol, socket.local.port())).or_default();
        addresses.push(socket.local.ip());
        processes.extend(owners.get(&socket.inode).cloned());
    }
    by_port
        .into_iter()
        .map(|((protocol, port), (mut addresses, mut processes))| {
            addresses.sort();
            addresses.dedup();
            processes.sort();
            processes.dedup();
            Listener { protocol, port, addresses, processes }
        })
        .collect()
}

/// Process names by socket.
fn owners(of: &[Socket]) -> Result<BTreeMap<u64, String>, FileError> {
    let mut out = BTreeMap::new();
    for process in proc::all()? {
        for (_, inode) in inodes(process.pid) {
            if of.iter().any(|s| s.inode == inode) {
                out.insert(inode, text::neutral(&process.comm, 64));
            }
        }
    }
    Ok(out)
}

/// File numbers and inodes of a process's sockets; none when it has ended meanwhile.
pub(crate) fn inodes(pid: u32) -> Vec<(u32, u64)> {
    let Ok(dir) = BaseDir::open(Path::new("/proc")) else { return Vec::new() };
    let beneath = format!("{pid}/fd");
    let Ok(entries) = dir.list(Path::new(&beneath), FILES) else { return Vec::new() };
    let file = |e: &tenure_sys::files::Entry| -> Option<u32> { e.name.to_str()?.parse().ok() };
    let files = entries.iter().filter_map(file);
    files.filter_map(|file| Some((file, inode_of(pid, file)?))).collect()
}

/// The inode of the socket that a process has under a file number, if it is one.
pub(crate) fn inode_of(pid: u32, file: u32) -> Option<u64> {
    let target = rustix::fs::readlink(format!("/proc/{pid}/fd/{file}"), Vec::new()).ok()?;
    target.to_str().ok()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
}

/// Lines of `/proc/net/{tcp,tcp6,udp,udp6}`; what is not of that form is left out.
fn parse(table: &str, protocol: Protocol) -> Vec<Socket> {
    table.lines().skip(1).filter_map(|line| parse_line(line, protocol)).collect()
}

fn parse_line(line: &str, protocol: Protocol) -> Option<Socket> {
    let fields: Vec<&str> = line.split_ascii_whitespace().collect();
    let state = match (protocol, *fields.get(3)?) {
        // include/net/tcp_states.h: 0A listens, 01 is established; an unconnected UDP socket is in 07 (close).
        (Protocol::Tcp, "0A") | (Protocol::Udp, "07") => State::Listening,
        (_, "01") => State::Established,
        _ => State::Other,
    };
    Some(Socket {
        protocol,
        local: address(fields.get(1)?)?,
        remote: address(fields.get(2)?)?,
        state,
        inode: fields.get(9)?.parse().ok()?,
    })
}

/// `0100007F:0016`: the address in words of four bytes in the machine's order, the port as a number.
fn address(text: &str) -> Option<SocketAddr> {
    let (address, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    if !address.is_ascii() {
        return None;
    }
    let word = |at: usize| -> Option<[u8; 4]> {
        Some(u32::from_str_radix(address.get(at..at + 8)?, 16).ok()?.to_ne_bytes())
    };
    let ip = match address.len() {
        8 => IpAddr::V4(Ipv4Addr::from(word(0)?)),
        32 => {
            let mut bytes = [0; 16];
            for (n, part) in bytes.chunks_exact_mut(4).enumerate() {
                part.copy_from_slice(&word(n * 8)?);
            }
            // A socket of both families shows its IPv4 peers as mapped addresses.
            Ipv6Addr::from(bytes).to_canonical()
        }
        _ => return None,
    };
    Some(SocketAddr::new(ip, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TCP: &str = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n   0: 00000000:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 11 1 0 100 0 0 10 0\n   1: 0100007F:1538 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 12 1 0 100 0 0 10 0\n   2: 0B004D0A:0016 01004D0A:C738 01 00000000:00000000 02:0005A7B4 00000000     0        0 13 2 0 20 4 29 10 -1\nbroken\n   3: 0000:0016 00000000:0000 0A 0 0 0 0 0 14\n";
    const TCP6: &str = "  sl ...\n   0: 00000000000000000000000000000000:0016 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 21 1 0 100 0 0 10 0\n   1: 0000000000000000FFFF00000100007F:0050 00000000000000000000000000000000:0000 01 0:0 00:0 0 0 0 22 1\n";

    #[test]
    fn reads_the_kernels_tables() {
        let v4 = parse(TCP, Protocol::Tcp);
        assert_eq!(v4.len(), 3);
        assert_eq!((v4[0].local.to_string(), v4[0].state), ("0.0.0.0:22".into(), State::Listening));
        assert_eq!(v4[2].remote.to_string(), "10.77.0.1:51000");
        assert_eq!((v4[2].state, v4[2].inode), (State::Established, 13));
        let v6 = parse(TCP6, Protocol::Tcp);
        assert_eq!(v6[0].local.to_string(), "[::]:22");
        assert_eq!(v6[1].local.to_string(), "127.0.0.1:80", "mapped addresses are IPv4");
    }

    #[test]
    fn a_port_on_both_families_is_one_listener() {
        let waiting: Vec<Socket> = [parse(TCP, Protocol::Tcp), parse(TCP6, Protocol::Tcp)].concat();
        let waiting: Vec<Socket> = waiting.into_iter().filter(|s| s.state == State::Listening).collect();
        let owners = BTreeMap::from([(11, "sshd".to_owned()), (21, "sshd".to_owned())]);
        let found = gather(&waiting, &owners);
        assert_eq!(found.len(), 2);
        assert_eq!((found[0].port, found[0].processes.as_slice()), (22, &["sshd".to_owned()][..]));
        assert_eq!(found[0].addresses.len(), 2);
        assert!(found[1].is_local() && !found[0].is_local());
    }

    #[test]
    fn finds_its_own_listener_and_connection() {
        let server = std::net::TcpListener::bind("127.0.0.1:0").expect("bind");
        let at = server.local_addr().expect("address");
        let found = listeners().expect("proc");
        assert!(found.iter().any(|l| l.port == at.port() && l.is_local() && !l.processes.is_empty()));
        let client = std::net::TcpStream::connect(at).expect("connect");
        let socket = connection_of(std::process::id()).expect("connected");
        assert_eq!(socket.state, State::Established);
        drop(client);
    }
}
