//! A host that does not end: drips, floods and refusals without number. Each costs its own connection and nobody else's.

mod common;

use std::time::Duration;

use common::*;
use tenure_trust::vault_wire::{Answer, RefusalCode, Request, SSH_USER};
use tenure_trust::*;
use tenure_vault::server::Limits;

/// A limit that a test waits out.
const SHORT: Duration = Duration::from_millis(400);

fn inventory(of: &str) -> Request {
    Request::Inventory { series: series(of, None) }
}

/// Another host, on a connection of its own, is served as ever.
async fn others_go_on(bench: &Bench) {
    let web2 = Client::connect(bench.port, "127.0.0.1", SSH_USER, 11).await.expect("web2 is let in");
    let answer = web2.channel().await.ask(&inventory("web2")).await;
    assert_eq!(answer, Answer::Inventory { generations: vec![] });
}

/// Sends a byte again and again until the channel has ended; false when it never does.
async fn drip(typed: &mut Typed) -> bool {
    for _ in 0..1000 {
        typed.raw(&[0]).await;
        if let Ok(None) = tokio::time::timeout(SHORT / 8, typed.answer()).await {
            return true;
        }
    }
    false
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_in_drips_ends_with_its_time() {
    let bench = Bench::with(|_| {}, Limits { frame: SHORT, ..Limits::default() }).await;
    let client = Client::web1(bench.port).await;
    let mut frame = client.channel().await;
    frame.raw(&[0, 1, 0, 0]).await;
    assert!(drip(&mut frame).await, "half a frame holds a channel for ever");
    let mut put = client.channel().await;
    let opened = put.ask(&Request::Open(open(slot_now(series("web1", None))))).await;
    assert!(matches!(opened, Answer::Opened { .. }), "{opened:?}");
    put.send(&Request::Put { object: object(ObjectKind::Data, &[0; 100_000]) }).await;
    assert!(drip(&mut put).await, "half an object holds a channel for ever");
    others_go_on(&bench).await;
    let tmp = bench.dir.path().join("store/.tmp");
    for _ in 0..500 {
        if std::fs::read_dir(&tmp).unwrap().count() == 0 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("half an object stays in {}", tmp.display());
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_without_end_go_nowhere() {
    let bench = Bench::new().await;
    let client = Client::web1(bench.port).await;
    let mut typed = client.channel().await;
    typed.raw(&[255; 8]).await;
    let Some(Answer::Refused(refusal)) = typed.answer().await else { panic!("not refused") };
    assert_eq!(refusal.code, RefusalCode::TooLarge);
    // The channel has ended: no more is taken than was allowed to be on its way, and the connection serves on.
    let mut taken = 0;
    let flood = vec![255; 1 << 16];
    while let Ok(()) = tokio::time::timeout(SHORT, typed.raw(&flood)).await {
        taken += 1;
        assert!(taken < 1024, "64 MiB went somewhere");
        if tokio::time::timeout(Duration::ZERO, typed.answer()).await == Ok(None) {
            break;
        }
    }
    assert!(matches!(client.channel().await.ask(&inventory("web1")).await, Answer::Inventory { .. }));
    others_go_on(&bench).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_is_refused_again_and_again_is_not_listened_to_any_more() {
    let bench = Bench::with(|_| {}, Limits { refusals: 7, ..Limits::default() }).await;
    let client = Client::web1(bench.port).await;
    let mut refused = 0;
    for _ in 0..2 {
        let mut typed = client.channel().await;
        for _ in 0..3 {
            assert_eq!(typed.refused(&inventory("web2")).await, RefusalCode::ForeignSeries);
            refused += 1;
        }
    }
    let mut last = client.channel().await;
    assert_eq!(last.refused(&inventory("web2")).await, RefusalCode::ForeignSeries);
    assert_eq!((refused, last.answer().await), (6, None), "the seventh of the connection was the last");
    assert!(client.0.channel_open_session().await.is_err(), "no channel more on it");
    others_go_on(&bench).await;
    let again = Client::web1(bench.port).await;
    let answer = again.channel().await.ask(&inventory("web1")).await;
    assert!(matches!(answer, Answer::Inventory { .. }), "an honest agent of the same host is served");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_generation_takes_so_many_objects_and_no_more() {
    let bench = Bench::with(|_| {}, Limits { objects: 5, ..Limits::default() }).await;
    let mut typed = Client::web1(bench.port).await.channel().await;
    typed.ask(&Request::Open(open(slot_now(series("web1", None))))).await;
    // config and key are two of them
    for n in 0..3u8 {
        typed.stored(ObjectKind::Data, &[n]).await;
    }
    let Answer::Refused(refusal) = typed.put(ObjectKind::Data, &[9]).await else { panic!("not refused") };
    assert_eq!(refusal.code, RefusalCode::TooLarge);
    assert_eq!(typed.stored(ObjectKind::Data, &[1]).await, 4, "what is there may be repeated");
    others_go_on(&bench).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_texts_in_messages_are_answered_and_recorded_harmless() {
    let bench = Bench::new().await;
    let client = Client::web1(bench.port).await;
    let hostile = "\u{202e}\u{1b}[2J\n../../etc";
    let mut typed = client.channel().await;
    let mut bad = open(slot_now(series("web1", None)));
    bad.escrow[0].recipient = hostile.into();
    let mut said = Vec::new();
    for request in
        [Request::Open(bad), Request::Seal { seal: hostile.into() }, Request::Order { order: hostile.into() }]
    {
        match typed.ask(&request).await {
            Answer::Refused(refusal) => said.push(refusal.what),
            other => panic!("{other:?}"),
        }
    }
    let mut named = client.channel().await;
    let text = serde_json::json!({ "put": { "object": { "kind": hostile, "name": hostile, "size": 1 } } })
        .to_string();
    named.raw(&u32::try_from(text.len()).unwrap().to_be_bytes()).await;
    named.raw(text.as_bytes()).await;
    let Some(Answer::Refused(refusal)) = named.answer().await else { panic!("not refused") };
    said.push(refusal.what);
    for what in &said {
        assert_eq!(&neutral(what), what, "what is answered steers no terminal");
    }
    bench.vault.recorder.settle();
    let chain = bench.dir.path().join("state/chain");
    let mut recorded = 0;
    for entry in std::fs::read_dir(chain).unwrap() {
        for line in std::fs::read_to_string(entry.unwrap().path()).unwrap().lines() {
            let record = ExportLine::parse(line.as_bytes()).unwrap();
            let payload = record.payload.expect("it lies beside");
            let told: serde_json::Value = serde_json::from_slice(payload.bytes()).unwrap();
            let what = told["what"].as_str().unwrap_or_default();
            assert_eq!(neutral(what), what, "{told}");
            recorded += 1;
        }
    }
    assert!(recorded > 0, "refusals are on the chain");
    others_go_on(&bench).await;
}
