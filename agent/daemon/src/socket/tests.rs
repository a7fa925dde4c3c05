//! The socket against peers that mean no good.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use super::client::{AskError, ask};
use super::wire::{Answer, REQUEST_LIMIT, Request};
use super::{Desk, Server};

struct Echo;

impl Desk for Echo {
    fn answer(&self, request: Request, pid: u32) -> Answer {
        assert_eq!(request, Request::Settle);
        assert_eq!(pid, std::process::id());
        Answer::Settled
    }
}

fn server(dir: &tempfile::TempDir) -> Server {
    Server::start(&dir.path().join("agent.sock"), std::sync::Arc::new(Echo)).expect("started")
}

fn raw(dir: &tempfile::TempDir, bytes: &[u8]) -> String {
    let mut stream = UnixStream::connect(dir.path().join("agent.sock")).expect("connect");
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("timeout");
    // The agent may close before everything is written.
    let _ = stream.write_all(bytes);
    let _ = stream.shutdown(std::net::Shutdown::Write);
    let mut out = Vec::new();
    // It may also reset the connection, with its answer unread behind what it did not read.
    let _ = stream.read_to_end(&mut out);
    String::from_utf8(out).expect("text")
}

#[test]
fn answers_root_and_is_there_for_nobody_else() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir_in("/run").expect("root's directory");
    let path = dir.path().join("agent.sock");
    assert!(matches!(ask(&path, &Request::Settle), Err(AskError::NotRunning { .. })));
    std::fs::write(&path, "left by a killed agent").expect("write");
    let server = server(&dir);
    assert_eq!(std::fs::metadata(&path).expect("socket").permissions().mode() & 0o777, 0o600);
    assert_eq!(ask(&path, &Request::Settle).expect("answer"), Answer::Settled);
    server.stop();
    assert!(!path.exists());
}

#[test]
fn garbage_gets_a_refusal_and_the_next_peer_its_answer() {
    let dir = tempfile::tempdir_in("/run").expect("root's directory");
    let server = server(&dir);
    for bad in [
        &b"{\"run\":\"rm -rf /\"}\n"[..],
        b"\x00\xff\x1b[2J\n",
        b"{\"lift\":{\"area\":\"firewall\",\"more\":1}}\n",
        b"\"settle\"",
        &[b'['; 3000],
        b"\n",
    ] {
        let answer = raw(&dir, bad);
        assert!(answer.starts_with("{\"refused\":"), "{bad:?} gave {answer:?}");
    }
    raw(&dir, &vec![b'a'; REQUEST_LIMIT * 50]);
    // A request that would be a good one, were it not so long.
    let mut long = vec![b' '; REQUEST_LIMIT * 2];
    long.extend(b"\"settle\"\n");
    assert!(!raw(&dir, &long).contains("settled"), "what is too long is not even read");
    assert_eq!(raw(&dir, b""), "");
    let path = dir.path().join("agent.sock");
    assert_eq!(ask(&path, &Request::Settle).expect("answer"), Answer::Settled);
    server.stop();
}

#[test]
fn slow_peers_hold_nobody_up() {
    let dir = tempfile::tempdir_in("/run").expect("root's directory");
    let server = server(&dir);
    let path = dir.path().join("agent.sock");
    let slow: Vec<UnixStream> = (0..super::CONNECTIONS - 1)
        .map(|_| {
            let mut stream = UnixStream::connect(&path).expect("connect");
            stream.write_all(b"\"set").expect("half a request");
            stream
        })
        .collect();
    assert_eq!(ask(&path, &Request::Settle).expect("answer"), Answer::Settled);
    let crowd: Vec<UnixStream> =
        (0..super::CONNECTIONS).map(|_| UnixStream::connect(&path).expect("connect")).collect();
    assert_eq!(ask(&path, &Request::Settle).expect("after their time is up"), Answer::Settled);
    drop((slow, crowd));
    server.stop();
}
