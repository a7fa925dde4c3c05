//! The prober's side: takes a question, connects to the asking host anew, answers what it saw, signed.

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use tenure_link::Identity;
use tenure_policy::bundles::ProberSection;
use tenure_policy::services;
use tenure_sys::{clock, text};
use tenure_trust::Statement;
use tenure_trust::probe::{MAX_LINE, ProbeAnswer, ProbeQuestion, Reached};

use super::{LOOK, Shared};
use crate::journal;

/// Questions that are answered at the same time; more wait in the kernel's queue.
const AT_ONCE: usize = 8;
/// How long a question may take to arrive, and an answer to be taken.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long a new connection and its banner may take, each.
const CONNECT: Duration = Duration::from_secs(3);
/// The most bytes of an SSH banner and what may stand before it (RFC 4253 4.2 allows lines before).
const BANNER: usize = 4096;

/// Listens as long as the policy says that this host is a prober.
pub(super) fn run(shared: &Shared) {
    let mut listening: Option<(u16, TcpListener)> = None;
    let mut told = false;
    let busy = Arc::new(AtomicUsize::new(0));
    while !shared.stopped() {
        let section = shared.tools.policy.get().and_then(|held| held.policy().prober);
        let Some(section) = section else {
            listening = None;
            wait(None);
            continue;
        };
        if listening.as_ref().is_none_or(|(port, _)| *port != section.port) {
            listening = match listen(section.port) {
                Ok(listener) => Some((section.port, listener)),
                Err(error) => {
                    if !std::mem::replace(&mut told, true) {
                        let port = section.port;
                        journal::error(&format!(
                            "cannot listen at port {port} to confirm others' trials: {error}"
                        ));
                    }
                    None
                }
            };
        }
        let Some((_, listener)) = &listening else {
            wait(None);
            continue;
        };
        told = false;
        if busy.load(Ordering::Acquire) >= AT_ONCE || !wait(Some(listener)) {
            if busy.load(Ordering::Acquire) >= AT_ONCE {
                wait(None);
            }
            continue;
        }
        let Ok((stream, peer)) = listener.accept() else { continue };
        // who may not ask costs nothing: no thread, no byte read
        if !section.hosts.values().flatten().any(|address| *address == plain(peer.ip())) {
            continue;
        }
        busy.fetch_add(1, Ordering::AcqRel);
        let (shared, done) = (shared.clone(), busy.clone());
        let spawned = std::thread::Builder::new().name("probe".into()).spawn(move || {
            if let Err(why) = answer(&shared, &section, stream, plain(peer.ip())) {
                journal::warning(&format!("a question of {} to confirm a trial: {why}", plain(peer.ip())));
            }
            done.fetch_sub(1, Ordering::AcqRel);
        });
        if spawned.is_err() {
            busy.fetch_sub(1, Ordering::AcqRel);
        }
    }
}

fn listen(port: u16) -> std::io::Result<TcpListener> {
    // one socket for both families (ipv6(7): bindv6only is off unless an administrator turned it on)
    let listener = TcpListener::bind(SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Waits a moment; true when somebody connects.
fn wait(listener: Option<&TcpListener>) -> bool {
    let patience = PollTimeout::try_from(LOOK).unwrap_or(PollTimeout::ZERO);
    let mut watched: Vec<PollFd<'_>> =
        listener.iter().map(|listener| PollFd::new(listener.as_fd(), PollFlags::POLLIN)).collect();
    poll(&mut watched, patience).is_ok_and(|ready| ready > 0)
}

/// An IPv4 address that came through an IPv6 socket, as itself.
fn plain(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V6(v6) => v6.to_ipv4_mapped().map_or(address, IpAddr::V4),
        IpAddr::V4(_) => address,
    }
}

fn answer(
    shared: &Shared,
    section: &ProberSection,
    mut stream: TcpStream,
    peer: IpAddr,
) -> Result<(), String> {
    let failed = |doing: &str, error: &dyn std::fmt::Display| format!("cannot {doing}: {error}");
    stream.set_nonblocking(false).map_err(|e| failed("read the question", &e))?;
    let line = read_line(&mut stream).map_err(|e| failed("read the question", &e))?;
    let question = ProbeQuestion::parse(&line).map_err(|e| failed("read the question", &e))?;
    may_ask(section, &question, peer)?;
    let identity = Identity::read(&shared.state, &shared.host)
        .map_err(|e| failed("read the identity key", &journal::chain(&e)))?
        .ok_or("this host has no identity key yet")?;
    let reached = question.addresses.iter().map(|to| connect(*to, question.port)).collect();
    let statement = ProbeAnswer {
        schema: ProbeAnswer::SCHEMA,
        prober: shared.host.clone(),
        host: question.host,
        nonce: question.nonce,
        at: shared.tools.clock.now().wall,
        reached,
    };
    let mut text = identity.sign(&statement).to_json();
    text.push('\n');
    stream.write_all(text.as_bytes()).map_err(|e| failed("answer", &e))?;
    // the asker reads to the end of the line; a peer that is gone is its own affair
    let _ = stream.shutdown(Shutdown::Write);
    Ok(())
}

/// Only a host of the policy, from an address of its own, about addresses of its own and the port of SSH: a prober
/// connects nowhere else for anybody.
fn may_ask(section: &ProberSection, question: &ProbeQuestion, peer: IpAddr) -> Result<(), String> {
    let Some(own) = section.hosts.get(&question.host) else {
        return Err(format!("{} is no host whose trials are confirmed here", question.host));
    };
    if !own.contains(&peer) {
        return Err(format!("{} does not ask from that address", question.host));
    }
    if let Some(other) = question.addresses.iter().find(|address| !own.contains(address)) {
        return Err(format!("{other} is no address of {}", question.host));
    }
    if question.port != services::SSH.first {
        return Err(format!("port {} is not confirmed, only that of SSH", question.port));
    }
    Ok(())
}

fn connect(to: IpAddr, port: u16) -> Reached {
    let mut reached = Reached { to, from: None, from_port: 0, banner: false };
    let Ok(mut stream) = TcpStream::connect_timeout(&SocketAddr::new(to, port), CONNECT) else {
        return reached;
    };
    if let Ok(local) = stream.local_addr() {
        (reached.from, reached.from_port) = (Some(plain(local.ip())), local.port());
    }
    reached.banner = read_banner(&mut stream);
    reached
}

fn read_banner(stream: &mut TcpStream) -> bool {
    let deadline = clock::monotonic().saturating_add(CONNECT);
    let mut bytes = Vec::new();
    let mut some = [0u8; 512];
    loop {
        let left = deadline.saturating_sub(clock::monotonic());
        if left.is_zero() || bytes.len() > BANNER || stream.set_read_timeout(Some(left)).is_err() {
            return false;
        }
        match stream.read(&mut some) {
            Ok(0) | Err(_) => return false,
            Ok(count) => bytes.extend_from_slice(&some[..count]),
        }
        if bytes
            .split(|b| *b == b'\n')
            .any(|line| line.starts_with(b"SSH-2.0-") || line.starts_with(b"SSH-1.99-"))
        {
            return true;
        }
    }
}

/// One line, whatever the peer does: bounded in bytes and in time.
pub(super) fn read_line(stream: &mut TcpStream) -> Result<Vec<u8>, String> {
    read_line_within(stream, PATIENCE)
}

/// The same within another time.
pub(super) fn read_line_within(stream: &mut TcpStream, within: Duration) -> Result<Vec<u8>, String> {
    let deadline = clock::monotonic().saturating_add(within);
    let mut line = Vec::new();
    let mut some = [0u8; 4096];
    loop {
        let left = deadline.saturating_sub(clock::monotonic());
        if left.is_zero() {
            return Err(format!("no whole line within {} s", within.as_secs()));
        }
        stream.set_read_timeout(Some(left)).map_err(|e| e.to_string())?;
        let count = match stream.read(&mut some) {
            Ok(count) => count,
            // the socket's own time ran out: the loop says so
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => continue,
            Err(e) => return Err(text::neutral(e.to_string().as_bytes(), 200)),
        };
        let end = some[..count].iter().position(|byte| *byte == b'\n');
        line.extend_from_slice(&some[..end.unwrap_or(count)]);
        if line.len() > MAX_LINE {
            return Err(format!("a line of more than {MAX_LINE} bytes"));
        }
        if end.is_some() {
            return Ok(line);
        }
        if count == 0 {
            return Err("the connection ended before the line did".into());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use tenure_trust::{Hash, HostName};

    use super::*;

    fn section() -> ProberSection {
        let web1 = HostName::new("web1").expect("a name");
        ProberSection {
            port: 8443,
            hosts: BTreeMap::from([(web1, vec!["10.0.0.1".parse().expect("address")])]),
        }
    }

    fn question(host: &str, address: &str, port: u16) -> ProbeQuestion {
        ProbeQuestion {
            schema: 1,
            host: HostName::new(host).expect("a name"),
            nonce: Hash::of(b"n"),
            addresses: vec![address.parse().expect("address")],
            port,
        }
    }

    #[test]
    fn a_prober_connects_for_nobody_else_and_to_nowhere_else() {
        let ask = |question: ProbeQuestion, from: &str| {
            may_ask(&section(), &question, from.parse().expect("address"))
        };
        assert_eq!(ask(question("web1", "10.0.0.1", 22), "10.0.0.1"), Ok(()));
        for (question, from) in [
            (question("db1", "10.0.0.1", 22), "10.0.0.1"),
            (question("web1", "10.0.0.1", 22), "10.0.0.9"),
            (question("web1", "10.0.0.9", 22), "10.0.0.1"),
            (question("web1", "10.0.0.1", 25), "10.0.0.1"),
        ] {
            assert!(ask(question.clone(), from).is_err(), "{question:?} from {from}");
        }
    }

    #[test]
    fn a_line_is_bounded_in_bytes_and_time() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
        let address = listener.local_addr().expect("address");
        let said = |bytes: &'static [u8]| {
            let mut client = TcpStream::connect(address).expect("connect");
            let writer = std::thread::spawn(move || {
                // the reader may end first
                let _ = client.write_all(bytes);
                client
            });
            let (mut stream, _) = listener.accept().expect("accept");
            let line = read_line_within(&mut stream, Duration::from_millis(300));
            drop(stream);
            drop(writer.join().expect("writer"));
            line
        };
        assert_eq!(said(b"hello\nmore"), Ok(b"hello".to_vec()));
        assert!(said(b"half").is_err_and(|why| why.contains("no whole line")), "a peer that waits");
        static LONG: [u8; MAX_LINE + 4096] = [b'a'; MAX_LINE + 4096];
        assert!(said(&LONG).is_err_and(|why| why.contains("more than")));
    }

    #[test]
    fn only_an_ssh_server_is_a_banner() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
        let port = listener.local_addr().expect("address").port();
        for (said, counts) in [
            (&b"SSH-2.0-x\r\n"[..], true),
            (b"welcome\r\nSSH-2.0-x\r\n", true),
            (b"HTTP/1.1 200 OK\r\n", false),
        ] {
            let server = listener.try_clone().expect("the listener");
            let talking = std::thread::spawn(move || {
                let (mut stream, _) = server.accept().expect("accept");
                stream.write_all(said).expect("write");
            });
            let reached = connect("127.0.0.1".parse().expect("address"), port);
            talking.join().expect("server");
            assert_eq!((reached.banner, reached.from.is_some()), (counts, true), "{said:?}");
        }
        drop(listener);
        assert!(connect("127.0.0.1".parse().expect("address"), port).from.is_none(), "nothing listens");
    }
}
