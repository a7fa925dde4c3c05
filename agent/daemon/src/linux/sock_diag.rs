//! The TCP sockets that wait for connections, asked of the kernel by state (sock_diag(7), linux/inet_diag.h): `/proc/net/tcp`
//! goes through the table of all connections of the machine, some milliseconds even when it is empty.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use netlink_sys::protocols::NETLINK_SOCK_DIAG;
use tenure_policy::resolved::Protocol;

use super::netlink::{Asking, DUMP, NetlinkError};
use crate::sockets::{Socket, State};

const DOING: &str = "list the sockets that wait";
/// `SOCK_DIAG_BY_FAMILY`.
const BY_FAMILY: u16 = 20;
/// `IPPROTO_TCP`.
const TCP: u8 = 6;
/// `1 << TCP_LISTEN` (include/net/tcp_states.h).
const LISTENING: u32 = 1 << 10;
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;

/// The listening TCP sockets of both families in the calling thread's network namespace.
///
/// # Errors
/// When the kernel cannot tell (built without `tcp_diag`), or what it tells makes no sense.
pub(super) fn listening() -> Result<Vec<Socket>, NetlinkError> {
    let mut asking = Asking::open_to(NETLINK_SOCK_DIAG)?;
    let (mut sockets, mut whole) = (Vec::new(), true);
    for family in [AF_INET, AF_INET6] {
        asking.ask_plain(DOING, BY_FAMILY, DUMP, &request(family), |message| match parse(message.body) {
            Some(socket) => sockets.push(socket),
            None => whole = false,
        })?;
    }
    if whole { Ok(sockets) } else { Err(NetlinkError::Malformed { doing: DOING }) }
}

/// `struct inet_diag_req_v2`: family, protocol, no extensions, padding, states, and no particular socket.
fn request(family: u8) -> [u8; 56] {
    let mut body = [0; 56];
    body[..4].copy_from_slice(&[family, TCP, 0, 0]);
    body[4..8].copy_from_slice(&LISTENING.to_ne_bytes());
    body
}

/// `struct inet_diag_msg`: family, state, timer, retransmissions; port and address of this end in network order at 4 and 8;
/// the inode at 68.
fn parse(body: &[u8]) -> Option<Socket> {
    let address: [u8; 16] = *body.get(8..)?.first_chunk()?;
    let (ip, nobody) = match *body.first()? {
        AF_INET => (Ipv4Addr::from(*address.first_chunk::<4>()?).into(), Ipv4Addr::UNSPECIFIED.into()),
        AF_INET6 => (Ipv6Addr::from(address).to_canonical(), IpAddr::from(Ipv6Addr::UNSPECIFIED)),
        _ => return None,
    };
    let port = u16::from_be_bytes(*body.get(4..)?.first_chunk()?);
    let inode = u32::from_ne_bytes(*body.get(68..)?.first_chunk()?);
    Some(Socket {
        protocol: Protocol::Tcp,
        local: SocketAddr::new(ip, port),
        remote: SocketAddr::new(nobody, 0),
        state: State::Listening,
        inode: inode.into(),
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::net::{TcpListener, TcpStream};
    use std::time::Duration;

    use tenure_sys::clock;

    use super::*;
    use crate::sockets;

    #[test]
    fn it_tells_what_proc_tells_and_no_connection() {
        let waiting = ["127.0.0.1:0", "[::1]:0", "[::]:0", "[::ffff:127.0.0.1]:0"];
        let waiting = waiting.map(|at| TcpListener::bind(at).expect("bind"));
        let at = waiting[0].local_addr().expect("address");
        let _open = TcpStream::connect(at).expect("connect");
        // IPv4 at a socket of the other family is IPv4.
        let told = |at: SocketAddr| SocketAddr::new(at.ip().to_canonical(), at.port());
        let ours: BTreeSet<SocketAddr> =
            waiting.iter().map(|l| told(l.local_addr().expect("address"))).collect();
        let pairs = |sockets: Vec<Socket>| -> BTreeSet<(SocketAddr, SocketAddr, u64)> {
            let listening = sockets.into_iter().filter(|s| s.state == State::Listening);
            listening.map(|s| (s.local, s.remote, s.inode)).collect()
        };
        // Other tests open and close sockets meanwhile: the two pictures agree as soon as nothing came between.
        let deadline = clock::monotonic() + Duration::from_secs(10);
        loop {
            let before = pairs(sockets::tcp().expect("proc"));
            let told = listening().expect("the kernel tells");
            assert!(told.iter().all(|s| s.state == State::Listening && s.protocol == Protocol::Tcp));
            let told = pairs(told);
            assert!(ours.iter().all(|a| told.iter().any(|(local, ..)| local == a)), "{told:?}");
            if told == before {
                return;
            }
            assert!(clock::monotonic() < deadline, "{told:?} is not {before:?}");
        }
    }

    #[test]
    fn what_is_cut_short_is_no_socket() {
        let mut body = [0; 72];
        body[0] = AF_INET;
        assert!(parse(&body).is_some());
        assert!(parse(&body[..71]).is_none() && parse(&[]).is_none());
        body[0] = 1;
        assert!(parse(&body).is_none(), "of a family that was not asked for");
    }
}
