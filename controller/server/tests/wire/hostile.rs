//! Strangers and hostile machines: garbage, silence, floods. Each ends with its own connection and nobody else's.

use std::time::Duration;

use tenure_trust::MachineRole;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::world::World;

/// How long a listener may take to be rid of somebody; its own limits are 1.5 s here.
const RID: Duration = Duration::from_secs(20);

/// Reads until the other side closes.
async fn closed(stream: &mut (impl tokio::io::AsyncRead + Unpin), what: &str) -> Vec<u8> {
    let mut got = Vec::new();
    let mut buffer = [0u8; 4096];
    loop {
        match tokio::time::timeout(RID, stream.read(&mut buffer)).await {
            Err(_) => panic!("{what}: the connection stays open"),
            Ok(Err(_) | Ok(0)) => return got,
            Ok(Ok(n)) => got.extend_from_slice(&buffer[..n]),
        }
    }
}

async fn alive(world: &World) {
    assert_eq!(world.machines().get("/v1/admissions").await.status, 403);
}

#[tokio::test]
async fn garbage_instead_of_tls_ends_its_own_connection() {
    let world = World::new().await;
    let address = world.service.as_ref().unwrap().machines;
    for garbage in
        [&b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"[..], &[0u8; 5000], b"\x16\x03\x01\xff\xff", b"SSH-2.0-x\r\n"]
    {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(garbage).await.unwrap();
        closed(&mut stream, "garbage").await;
    }
    alive(&world).await;
}

#[tokio::test]
async fn silence_is_cut_at_every_stage() {
    let world = World::new().await;
    let address = world.service.as_ref().unwrap().machines;
    // Before the handshake.
    let mut silent = TcpStream::connect(address).await.unwrap();
    closed(&mut silent, "no handshake").await;
    // In the head.
    let mut slow = world.machines().connect().await.unwrap();
    slow.write_all(b"POST /v1/enrol HTTP/1.1\r\nhost: x\r\nx-a: ").await.unwrap();
    closed(&mut slow, "half a head").await;
    // In the body.
    let mut slow = world.machines().connect().await.unwrap();
    slow.write_all(b"POST /v1/enrol HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\r\n{").await.unwrap();
    let said = closed(&mut slow, "half a body").await;
    assert!(String::from_utf8_lossy(&said).contains("too-slow"), "{said:?}");
    alive(&world).await;
}

#[tokio::test]
async fn a_drip_of_records_is_cut_too() {
    let world = World::new().await;
    let mut web1 = world.admitted("web1", MachineRole::Host).await;
    let line = web1.lines(1).remove(0);
    let mut slow = web1.client().connect().await.unwrap();
    slow.write_all(b"POST /v1/records HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n")
        .await
        .unwrap();
    slow.write_all(format!("{:x}\r\n{line}\n\r\n", line.len() + 1).as_bytes()).await.unwrap();
    let said = closed(&mut slow, "a drip").await;
    assert!(String::from_utf8_lossy(&said).contains("too-slow"), "{said:?}");
    assert_eq!(web1.send(&[line]).await.json()["taken"]["seq"], 1, "half a request took nothing");
}

#[tokio::test]
async fn a_machine_that_holds_many_requests_open_is_let_in_twice_and_keeps_no_other_out() {
    let world = World::new().await;
    let mut web1 = world.admitted("web1", MachineRole::Host).await;
    let mut web2 = world.admitted("web2", MachineRole::Host).await;
    let others = web2.lines(1);
    let mut open = Vec::new();
    for n in 0..6 {
        let mut one = web1.client().connect().await.unwrap();
        one.write_all(b"POST /v1/records HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\r\n{")
            .await
            .unwrap();
        open.push((n, one));
    }
    assert_eq!(web2.send(&others).await.json()["taken"]["seq"], 1, "others are served meanwhile");
    let (mut busy, mut slow) = (0, 0);
    for (n, mut one) in open {
        let said = closed(&mut one, &format!("request {n}")).await;
        let said = String::from_utf8_lossy(&said);
        busy += usize::from(said.contains("busy"));
        slow += usize::from(said.contains("too-slow"));
    }
    assert_eq!((busy, slow), (4, 2));
    let lines = web1.lines(1);
    assert_eq!(web1.send(&lines).await.json()["taken"]["seq"], 1, "and it is let in again");
}

#[tokio::test]
async fn floods_are_refused_by_size_and_count() {
    let world = World::new().await;
    let mut web1 = world.admitted("web1", MachineRole::Host).await;
    let big = vec![b'x'; 9 << 20];
    let answer = web1.client().try_ask(hyper::Method::POST, "/v1/records", big).await;
    // A refusal may come before all is sent; then the connection breaks.
    assert!(answer.is_err() || answer.is_ok_and(|a| a.json()["refused"]["finding"] == "malformed"));
    let many = web1.lines(1030);
    assert_eq!(web1.send(&many).await.problem(), "too-large");
    assert_eq!(web1.send(&many[..1000]).await.json()["taken"]["seq"], 1000);
    let enrol = world.machines().try_ask(hyper::Method::POST, "/v1/enrol", vec![b'{'; 100_000]).await;
    assert!(enrol.is_err() || enrol.is_ok_and(|a| a.problem() == "too-large"));
    for bad in
        ["", "null", "[]", "{\"secret\":1}", "{\"secret\":\"\",\"enrolment\":\"\",\"more\":1}", "\u{202e}"]
    {
        assert_eq!(world.machines().post("/v1/enrol", bad).await.problem(), "malformed", "{bad}");
        assert_eq!(world.machines().post("/v1/certificate", bad).await.problem(), "malformed", "{bad}");
    }
    alive(&world).await;
}

#[tokio::test]
async fn without_an_admitted_key_every_path_but_two_is_closed() {
    let world = World::new().await;
    let bare = world.machines();
    for path in ["/v1/policy/index", "/v1/policy/bundle", "/v1/policy/vault", "/v1/admissions"] {
        assert_eq!(bare.get(path).await.problem(), "not-admitted", "{path}");
    }
    assert_eq!(bare.post("/v1/records", "").await.problem(), "not-admitted");
    for path in ["/", "/api/v1/state", "/v1/records", "/login", "/v1/enrol/../records"] {
        assert_eq!(bare.get(path).await.status, 404, "{path}: nothing else is on this listener");
    }
}

#[tokio::test]
async fn tls_1_2_is_not_spoken() {
    let world = World::new().await;
    let mut stream = TcpStream::connect(world.service.as_ref().unwrap().machines).await.unwrap();
    // A ClientHello of TLS 1.2 without supported_versions (RFC 5246, 7.4.1.2).
    let mut hello = vec![3, 3];
    hello.extend([7u8; 32]);
    hello.extend([0, 0, 2, 0xc0, 0x2f, 1, 0, 0, 0]);
    let mut body = vec![1, 0, 0, hello.len() as u8];
    body.extend(&hello);
    let mut record = vec![0x16, 3, 1, 0, body.len() as u8];
    record.extend(&body);
    stream.write_all(&record).await.unwrap();
    let said = closed(&mut stream, "TLS 1.2").await;
    assert_eq!(said.first(), Some(&0x15), "an alert and nothing else: {said:?}");
}
