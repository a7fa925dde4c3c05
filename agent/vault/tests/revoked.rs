//! A key that is revoked or replaced while its connection is open: nothing more is done for it, and the connection ends.
//! All others go on.

mod common;

use std::time::Duration;

use common::*;
use russh_sftp::client::RawSftpSession;
use russh_sftp::protocol::{FileAttributes, OpenFlags};
use tenure_trust::vault_wire::{Answer, Request, SSH_USER};
use tenure_trust::*;
use tenure_vault::in_force::{InForce, Peer};

/// So long at most until a connection has ended.
const LIMIT: Duration = Duration::from_secs(20);

fn revocation(name: &str, role: MachineRole, seed: u8) -> String {
    let what = OrderKind::Revoke { name: host(name), role, key: key(seed).public().id() };
    let order =
        Order { schema: 1, fleet: fleet(), issued: Default::default(), what, reason: "stolen".into() };
    Signed::new(&order, &[&key(1)]).to_json()
}

fn inventory(of: &str) -> Request {
    Request::Inventory { series: series(of, None) }
}

async fn sftp(client: &Client) -> RawSftpSession {
    let channel = client.0.channel_open_session().await.expect("a channel");
    channel.request_subsystem(true, "sftp").await.expect("the subsystem");
    let session = RawSftpSession::new(channel.into_stream());
    session.init().await.expect("version 3");
    session
}

/// Waits until the server has ended the connection.
async fn ended(client: &Client) {
    let over = async {
        while !client.0.is_closed() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(LIMIT, over).await.expect("the connection has ended");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_open_connection_of_a_revoked_host_ends_and_nobody_elses() {
    let bench = Bench::new().await;
    let web1 = Client::web1(bench.port).await;
    let web2 = Client::connect(bench.port, "127.0.0.1", SSH_USER, 11).await.expect("web2 is let in");
    let slot = slot_now(series("web1", None));
    let (mut writing, mut others) = (web1.channel().await, web2.channel().await);
    let (generation, ..) = whole_run(&mut writing, &slot).await;
    let mut waiting = web1.channel().await;
    let opened = waiting.ask(&Request::Open(open(slot.clone()))).await;
    assert!(matches!(opened, Answer::Opened { .. }), "{opened:?}");
    let reading = sftp(&web1).await;
    let view = View { series: slot.series.clone(), generation, point: Point::LastSeal }.path();
    let file = format!("{view}/config");
    let handle = reading.open(&file, OpenFlags::READ, FileAttributes::empty()).await.expect("opened").handle;
    assert_eq!(reading.read(&handle, 0, 3).await.expect("read").data, b"the");

    // An admission more changes nothing for those that hold.
    bench.admit(book_with(vec![admission("web3", MachineRole::Host, 12, &[])], vec![]));
    assert_eq!(reading.read(&handle, 4, 3).await.expect("read").data, b"con");
    bench.admit(book_with(vec![], vec![revocation("web1", MachineRole::Host, 10)]));
    assert!(reading.read(&handle, 0, 3).await.is_err(), "what was opened before is read no further");
    waiting.send(&Request::Put { object: object(ObjectKind::Data, b"late") }).await;
    waiting.raw(b"late").await;
    let late = tokio::time::timeout(LIMIT, waiting.answer()).await.expect("it is answered, or over");
    assert!(matches!(late, None | Some(Answer::Refused(_))), "{late:?}");
    ended(&web1).await;
    assert!(web1.0.channel_open_session().await.is_err());
    let again = Client::connect(bench.port, "127.0.0.1", SSH_USER, 10).await;
    assert!(again.is_none(), "and it is not let in again");
    assert_eq!(others.ask(&inventory("web2")).await, Answer::Inventory { generations: vec![] });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recovery_key_that_is_admitted_for_less_begins_anew() {
    let bench = Bench::new().await;
    let person = Client::connect(bench.port, "127.0.0.3", SSH_USER, 20).await.expect("from management");
    let seen = sftp(&person).await;
    let mut less =
        Signed::<Admission>::parse(admission("offline", MachineRole::Recovery, 20, &["web2"]).as_bytes())
            .and_then(|signed| signed.unverified())
            .expect("an admission");
    less.epoch = Epoch(2);
    bench.admit(book_with(vec![Signed::new(&less, &[&key(1)]).to_json()], vec![]));
    assert!(seen.stat("/acme").await.is_err());
    ended(&person).await;
    assert!(Client::connect(bench.port, "127.0.0.3", SSH_USER, 20).await.is_some(), "by its new admission");
}

/// Also when nothing ends the connection: each request is judged by what holds now.
#[test]
fn a_peer_counts_only_by_the_admission_that_it_came_with() {
    let held = |book| {
        let policy = policy(std::path::Path::new("/srv/vault"));
        InForce::new(Verified::local(policy), book, root()).expect("a policy")
    };
    let (near, mine) = ("127.0.0.1".parse().expect("an address"), series("web1", None));
    let ssh = tenure_vault::keys::public_text(&ssh(10)).expect("a key");
    let peer: Peer = held(book()).who(&ssh, near).expect("web1");
    let may = |held: &InForce| {
        [held.writes(&peer, &mine).is_some(), held.reads(&peer, &mine.host), held.holds(&peer, near)]
    };
    assert_eq!(may(&held(book())), [true; 3]);
    let elsewhere = "127.0.0.2".parse().expect("an address");
    assert!(!held(book()).holds(&peer, elsewhere), "the address counts too");
    let revoked = held(book_with(vec![], vec![revocation("web1", MachineRole::Host, 10)]));
    assert_eq!(may(&revoked), [false; 3]);
    let mut next = Signed::<Admission>::parse(admission("web1", MachineRole::Host, 13, &[]).as_bytes())
        .and_then(|signed| signed.unverified())
        .expect("an admission");
    next.epoch = Epoch(2);
    let replaced = held(book_with(vec![Signed::new(&next, &[&key(1)]).to_json()], vec![]));
    assert_eq!(may(&replaced), [false; 3], "its name has other keys now");
}
