//! The typed channel in whole: what a host brings is on disk, sealed, receipted and never replaced; what is hostile is
//! refused with its own word and changes nothing.

mod common;

use std::collections::BTreeSet;
use std::fs;

use common::*;
use tenure_trust::admission::verify_machine;
use tenure_trust::vault_wire::{Answer, GenerationState, MAX_FRAME, MAX_OBJECT, Open, RefusalCode, Request};
use tenure_trust::*;
use tenure_vault::server::Limits;

#[tokio::test(flavor = "multi_thread")]
async fn a_run_is_taken_sealed_and_receipted_once() {
    let bench = Bench::new().await;
    let client = Client::web1(bench.port).await;
    let mut typed = client.channel().await;
    let slot = slot_now(series("web1", None));
    let (generation, objects, seal, receipt) = whole_run(&mut typed, &slot).await;
    let vault_key = bench.vault.identity.public().key;
    let said: Receipt = verify_machine(&vault_key, receipt.as_bytes()).expect("the vault's own key signed");
    assert_eq!((said.root, said.objects, said.snapshot), (seal.root, seal.objects, seal.snapshot));
    assert_eq!(said.sequence, seal.upto + 1);
    let repo = bench.repo(&slot.series, generation);
    assert_eq!(fs::read(repo.join("config")).unwrap(), b"the config");
    let pack = object(ObjectKind::Data, b"a pack").name.to_string();
    assert_eq!(fs::read(repo.join("data").join(&pack[..2]).join(&pack)).unwrap(), b"a pack");
    // the same seal gets the same receipt, another is refused, from another channel too
    let again = typed.ask(&sealed(&seal, 10)).await;
    assert_eq!(again, Answer::Sealed { receipt: receipt.clone() });
    let other = Seal { run: RunId::new("run-2").unwrap(), ..seal.clone() };
    assert_eq!(typed.refused(&sealed(&other, 10)).await, RefusalCode::SlotTaken);
    let mut second = client.channel().await;
    let reopened = second.ask(&Request::Open(open(slot.clone()))).await;
    let Answer::Opened { sealed: Some(known), .. } = reopened else { panic!("{reopened:?}") };
    assert_eq!(known, receipt);
    // nothing can come any more: the date's slots are over, so it becomes the copy of its cell
    let series = bench.vault.store.get(&slot.series).unwrap();
    bench.vault.turn_series(&series);
    bench.vault.look_again();
    let Answer::Inventory { generations } =
        second.ask(&Request::Inventory { series: slot.series.clone() }).await
    else {
        panic!("no inventory")
    };
    assert_eq!(generations.len(), 1);
    assert_eq!((generations[0].objects, generations[0].slots.len()), (objects.len() as u64, 1));
    let over = generations[0].state == GenerationState::Current;
    let open_later = generations[0].state == GenerationState::Candidate;
    assert!(over || open_later, "06:00 may still be open when this runs in the morning: {generations:?}");
    if over {
        assert_eq!(second.put(ObjectKind::Data, b"late").await.code(), Some(RefusalCode::DateNotOpen));
    }
}

trait Code {
    fn code(self) -> Option<RefusalCode>;
}

impl Code for Answer {
    fn code(self) -> Option<RefusalCode> {
        match self {
            Answer::Refused(refusal) => Some(refusal.code),
            _ => None,
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_brought_survives_a_restart_and_goes_on() {
    let bench = Bench::new().await;
    let slot = slot_now(series("web1", Some("acme")));
    let mut typed = Client::web1(bench.port).await.channel().await;
    let Answer::Opened { generation, .. } = typed.ask(&Request::Open(open(slot.clone()))).await else {
        panic!("not opened")
    };
    let first = typed.stored(ObjectKind::Data, b"a pack").await;
    let store = bench.dir.path().join("store");
    fs::write(store.join(".tmp/object-77"), b"half").unwrap();
    let unknown = bench.repo(&slot.series, generation).join("index").join(Hash::of(b"stray").to_string());
    fs::write(unknown, b"stray").unwrap();
    let dir = bench.end();
    let bench = Bench::at(dir, |_| {}, Limits::default()).await;
    assert_eq!(fs::read_dir(store.join(".tmp")).unwrap().count(), 0, "what was not whole is gone");
    let mut typed = Client::web1(bench.port).await.channel().await;
    let opened = typed.ask(&Request::Open(open(slot.clone()))).await;
    assert_eq!(opened, Answer::Opened { generation, sequence: first, sealed: None });
    let asked = vec![
        object(ObjectKind::Data, b"a pack"),
        object(ObjectKind::Index, b"a pack"),
        object(ObjectKind::Index, b"stray"),
    ];
    let have = typed.ask(&Request::Have { objects: asked }).await;
    assert_eq!(
        have,
        Answer::Have { there: vec![true, false, false] },
        "what is in no journal does not exist"
    );
    assert_eq!(typed.stored(ObjectKind::Data, b"a pack").await, first, "brought again it keeps its number");
    let upto = typed.stored(ObjectKind::Snapshot, b"a snapshot").await;
    assert_eq!(upto, first + 1);
    let mut objects = frozen();
    objects.extend([object(ObjectKind::Data, b"a pack"), object(ObjectKind::Snapshot, b"a snapshot")]);
    let good = seal(&slot, generation, &objects, Hash::of(b"a snapshot"), upto);
    assert!(matches!(typed.ask(&sealed(&good, 10)).await, Answer::Sealed { .. }));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_open_that_does_not_fit_is_refused_and_makes_nothing() {
    let bench = Bench::new().await;
    let client = Client::web1(bench.port).await;
    let good = || open(slot_now(series("web1", None)));
    let change = |change: fn(&mut Open)| {
        let mut open = good();
        change(&mut open);
        open
    };
    let bad = [
        (RefusalCode::ForeignSeries, change(|o| o.slot.series = series("web2", None))),
        (RefusalCode::ForeignSeries, change(|o| o.slot.series.vault = VaultName::new("vault2").unwrap())),
        (RefusalCode::ForeignSeries, change(|o| o.slot.series.set = SetName::Nightly)),
        (RefusalCode::ForeignSeries, change(|o| o.slot.series = series("web1", Some("other")))),
        (RefusalCode::DateNotOpen, change(|o| o.slot.date = o.slot.date.yesterday().unwrap())),
        (RefusalCode::DateNotOpen, change(|o| o.slot.date = o.slot.date.tomorrow().unwrap())),
        (
            RefusalCode::DateNotOpen,
            change(|o| {
                o.slot.at = "07:13".parse().unwrap();
                o.slot.manual = false;
            }),
        ),
        (RefusalCode::DateNotOpen, change(|o| o.number = 0)),
        (RefusalCode::DateNotOpen, change(|o| o.number = 77)),
        (RefusalCode::Malformed, change(|o| o.config = "%".into())),
        (RefusalCode::Malformed, change(|o| o.key = String::new())),
        (RefusalCode::TooLarge, change(|o| o.config = "A".repeat(8192))),
        (RefusalCode::NoEscrow, change(|o| o.escrow.clear())),
        (RefusalCode::NoEscrow, change(|o| drop(o.escrow.pop()))),
        (RefusalCode::NoEscrow, change(|o| o.escrow[0].recipient = "age1other".into())),
        (RefusalCode::NoEscrow, change(|o| o.escrow[1] = o.escrow[0].clone())),
        (RefusalCode::NoEscrow, change(|o| o.escrow[0].text = "plain password".into())),
        (
            RefusalCode::NoEscrow,
            change(|o| {
                let mut more = o.escrow[0].clone();
                more.recipient = "age1/../../x".into();
                o.escrow.push(more);
            }),
        ),
        (RefusalCode::NoRoom, change(|o| o.estimate = 1 << 30)),
        (RefusalCode::NoRoom, change(|o| o.estimate = u64::MAX)),
    ];
    let mut typed = client.channel().await;
    for (code, open) in bad {
        let said = typed.refused(&Request::Open(open.clone())).await;
        assert_eq!(said, code, "{open:?}");
    }
    let left: Vec<_> = fs::read_dir(bench.dir.path().join("store")).unwrap().collect();
    assert_eq!(left.len(), 1, "only the temporary directory: {left:?}");
    assert!(matches!(typed.ask(&Request::Open(good())).await, Answer::Opened { .. }));
    assert_eq!(typed.refused(&Request::Open(good())).await, RefusalCode::Order, "once a channel");
    // what was frozen stays
    for change in [|o: &mut Open| o.config = "eA==".into(), |o: &mut Open| o.key = "eA==".into()] {
        let mut other = good();
        change(&mut other);
        let mut channel = client.channel().await;
        assert_eq!(channel.refused(&Request::Open(other)).await, RefusalCode::Frozen);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_put_that_does_not_fit_is_refused_and_the_next_is_taken() {
    let bench = Bench::with(|policy| policy.quota_bytes = 100_000, Limits::default()).await;
    let client = Client::web1(bench.port).await;
    let mut typed = client.channel().await;
    let slot = slot_now(series("web1", None));
    let Answer::Opened { generation, .. } = typed.ask(&Request::Open(open(slot.clone()))).await else {
        panic!("not opened")
    };
    for kind in [ObjectKind::Config, ObjectKind::Key] {
        assert_eq!(typed.put(kind, b"other").await.code(), Some(RefusalCode::KindNotAllowed));
    }
    let mut lie = object(ObjectKind::Data, b"these bytes");
    lie.name = Hash::of(b"other bytes");
    typed.send(&Request::Put { object: lie.clone() }).await;
    typed.raw(b"these bytes").await;
    assert_eq!(typed.answer().await.unwrap().code(), Some(RefusalCode::HashMismatch));
    let big = vec![7; 200_000];
    assert_eq!(typed.put(ObjectKind::Data, &big).await.code(), Some(RefusalCode::NoRoom));
    assert_eq!(typed.stored(ObjectKind::Data, b"and now a good one").await, 3);
    let repo = bench.repo(&slot.series, generation);
    assert_eq!(fs::read_dir(repo.join("data")).unwrap().count(), 1);
    let name = lie.name.to_string();
    assert!(!repo.join("data").join(&name[..2]).join(&name).exists());
    assert_eq!(fs::read_dir(bench.dir.path().join("store/.tmp")).unwrap().count(), 0);
    // many at once on one channel: in order, each with its own number
    let pieces: Vec<Vec<u8>> = (0..50u8).map(|n| vec![n; 100]).collect();
    for piece in &pieces {
        typed.send(&Request::Put { object: object(ObjectKind::Data, piece) }).await;
        typed.raw(piece).await;
    }
    let mut numbers = BTreeSet::new();
    for _ in &pieces {
        let Some(Answer::Stored { sequence }) = typed.answer().await else { panic!("not stored") };
        numbers.insert(sequence);
    }
    assert_eq!(numbers, (4..54).collect());
}

#[tokio::test(flavor = "multi_thread")]
async fn every_seal_that_does_not_fit_is_refused() {
    let bench = Bench::new().await;
    let client = Client::web1(bench.port).await;
    let mut typed = client.channel().await;
    let slot = slot_now(series("web1", None));
    let Answer::Opened { generation, .. } = typed.ask(&Request::Open(open(slot.clone()))).await else {
        panic!("not opened")
    };
    let mut objects = frozen();
    typed.stored(ObjectKind::Data, b"a pack").await;
    let upto = typed.stored(ObjectKind::Snapshot, b"a snapshot").await;
    objects.extend([object(ObjectKind::Data, b"a pack"), object(ObjectKind::Snapshot, b"a snapshot")]);
    let good = seal(&slot, generation, &objects, Hash::of(b"a snapshot"), upto);
    let change = |change: fn(&mut Seal)| {
        let mut seal = good.clone();
        change(&mut seal);
        seal
    };
    let bad = [
        (RefusalCode::BadSeal, change(|s| s.fleet = FleetName::new("other").unwrap())),
        (RefusalCode::BadSeal, change(|s| s.slot.series = series("web2", None))),
        (RefusalCode::BadSeal, change(|s| s.generation.number = 2)),
        (RefusalCode::BadSeal, change(|s| s.slot.date = s.slot.date.yesterday().unwrap())),
        (RefusalCode::BadSeal, change(|s| s.claims.read_back = false)),
        (RefusalCode::DateNotOpen, change(|s| s.slot.manual = false)),
        (RefusalCode::RootMismatch, change(|s| s.root = Hash::of(b"x"))),
        (RefusalCode::RootMismatch, change(|s| s.objects += 1)),
        (RefusalCode::RootMismatch, change(|s| s.bytes -= 1)),
        (RefusalCode::RootMismatch, change(|s| s.upto -= 1)),
        (RefusalCode::RootMismatch, change(|s| s.upto += 1)),
        (RefusalCode::RootMismatch, change(|s| s.upto = 0)),
        (RefusalCode::RootMismatch, change(|s| s.snapshot = Hash::of(b"a pack"))),
    ];
    for (code, seal) in bad {
        assert_eq!(typed.refused(&sealed(&seal, 10)).await, code, "{seal:?}");
    }
    for seed in [11, 1, 99] {
        assert_eq!(typed.refused(&sealed(&good, seed)).await, RefusalCode::BadSeal, "signed by another key");
    }
    for text in ["", "{}", "null", &"x".repeat(100_000)] {
        assert_eq!(typed.refused(&Request::Seal { seal: text.into() }).await, RefusalCode::BadSeal);
    }
    // an object that the disk does not give back as it came is found, and may come again
    let pack = object(ObjectKind::Data, b"a pack").name.to_string();
    let path = bench.repo(&slot.series, generation).join("data").join(&pack[..2]).join(&pack);
    fs::write(&path, b"A pack").unwrap();
    assert_eq!(typed.refused(&sealed(&good, 10)).await, RefusalCode::RootMismatch);
    let have = typed.ask(&Request::Have { objects: vec![object(ObjectKind::Data, b"a pack")] }).await;
    assert_eq!(have, Answer::Have { there: vec![false] });
    assert_eq!(typed.stored(ObjectKind::Data, b"a pack").await, 3);
    assert!(matches!(typed.ask(&sealed(&good, 10)).await, Answer::Sealed { .. }));
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_out_of_place_and_orders_by_nobody_are_refused() {
    let bench = Bench::new().await;
    let client = Client::web1(bench.port).await;
    let mut typed = client.channel().await;
    assert_eq!(typed.refused(&Request::Have { objects: vec![] }).await, RefusalCode::Order);
    assert_eq!(typed.refused(&Request::Seal { seal: "{}".into() }).await, RefusalCode::Order);
    let foreign = Request::Inventory { series: series("web2", None) };
    assert_eq!(typed.refused(&foreign).await, RefusalCode::ForeignSeries);
    assert_eq!(typed.refused(&Request::Order { order: "{}".into() }).await, RefusalCode::BadOrder);
    let order = clear(&series("web1", None), "2026-11-23.1".parse().unwrap());
    for seed in [10, 1] {
        let order = Signed::new(&order, &[&key(seed)]).to_json();
        assert_eq!(typed.refused(&Request::Order { order }).await, RefusalCode::BadOrder);
    }
    assert_eq!(typed.put(ObjectKind::Data, b"x").await.code(), Some(RefusalCode::Order));
    assert_eq!(typed.answer().await, None, "who sends objects before open is not listened to any more");
    let mut next = client.channel().await;
    assert_eq!(
        next.ask(&Request::Inventory { series: series("web1", None) }).await,
        Answer::Inventory { generations: vec![] }
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_frame_ends_its_channel_and_nothing_else() {
    let bench = Bench::new().await;
    let client = Client::web1(bench.port).await;
    let inventory = Request::Inventory { series: series("web1", None) };
    let json = |text: &str| {
        let mut bytes = u32::try_from(text.len()).unwrap().to_be_bytes().to_vec();
        bytes.extend_from_slice(text.as_bytes());
        bytes
    };
    let over = object(ObjectKind::Data, b"x");
    let over = Request::Put { object: Object { size: MAX_OBJECT + 1, ..over } };
    let many = Request::Have { objects: vec![object(ObjectKind::Data, b"x"); 4097] };
    let newer = {
        let mut open = open(slot_now(series("web1", None)));
        open.schema = 2;
        Request::Open(open)
    };
    let bad: Vec<(RefusalCode, Vec<u8>)> = vec![
        (RefusalCode::Malformed, vec![0; 4]),
        (RefusalCode::TooLarge, vec![255; 4]),
        (RefusalCode::TooLarge, u32::try_from(MAX_FRAME + 1).unwrap().to_be_bytes().to_vec()),
        (RefusalCode::Malformed, json("null")),
        (RefusalCode::Malformed, json("{\"run\":\"rm\"}")),
        (RefusalCode::Malformed, json("{\"inventory\":{\"series\":{},\"x\":1}}")),
        (RefusalCode::Malformed, json(&"[".repeat(100_000))),
        (
            RefusalCode::Malformed,
            json("{\"put\":{\"object\":{\"kind\":\"data\",\"name\":\"../x\",\"size\":1}}}"),
        ),
        (
            RefusalCode::Malformed,
            json("{\"put\":{\"object\":{\"kind\":\"data\",\"name\":\"\\u001b[2J\",\"size\":-1}}}"),
        ),
        (RefusalCode::TooLarge, vault_wire::frame(&over).unwrap()),
        (RefusalCode::TooLarge, vault_wire::frame(&many).unwrap()),
        (RefusalCode::Malformed, vault_wire::frame(&newer).unwrap()),
    ];
    for (code, bytes) in bad {
        let mut typed = client.channel().await;
        typed.raw(&bytes).await;
        let Some(Answer::Refused(refusal)) = typed.answer().await else { panic!("{bytes:?}") };
        assert_eq!(refusal.code, code, "{refusal:?}");
        assert_eq!(neutral(&refusal.what), refusal.what);
        assert_eq!(typed.answer().await, None, "nobody knows where the next frame would begin");
    }
    // in single bytes it is as good as in one piece
    let mut slow = client.channel().await;
    for byte in vault_wire::frame(&inventory).unwrap() {
        slow.raw(&[byte]).await;
    }
    assert!(matches!(slow.answer().await, Some(Answer::Inventory { .. })));
    // half a frame, half an object, then nothing: gone without a trace
    let mut half = client.channel().await;
    half.raw(&[0, 0, 1]).await;
    drop(half);
    let mut half = client.channel().await;
    assert!(matches!(
        half.ask(&Request::Open(open(slot_now(series("web1", None))))).await,
        Answer::Opened { .. }
    ));
    half.send(&Request::Put { object: object(ObjectKind::Data, &[1; 5000]) }).await;
    half.raw(&[1; 3000]).await;
    drop(half);
    let tmp = bench.dir.path().join("store/.tmp");
    let mut other = client.channel().await;
    for _ in 0..500 {
        assert!(matches!(other.ask(&inventory).await, Answer::Inventory { .. }), "others go on");
        if fs::read_dir(&tmp).unwrap().count() == 0 {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    panic!("half an object stays in {}", tmp.display());
}
