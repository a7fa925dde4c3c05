//! A copy that was set aside becomes the copy of its cell by an order that somebody entitled signed for this vault, once;
//! and by nothing else.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test may fail here; clippy sees only `#[test]` itself"
)]

mod common;

use std::path::Path;

use common::*;
use jiff::SignedDuration;
use tenure_sys::clock;
use tenure_trust::vault_wire::{
    Answer, AsideReason, GenerationFacts, GenerationState, Open, RefusalCode, Request,
};
use tenure_trust::*;
use tenure_vault::orders::Orders;
use tenure_vault::ring::{Looked, SlotKey};
use tenure_vault::server::Limits;

/// Brings a copy of which a file could not be read, and lets its date end: it is set aside.
async fn set_aside(bench: &Bench, series: &SeriesId) -> GenerationId {
    let slot = slot_now(series.clone());
    let mut typed = Client::web1(bench.port).await.channel().await;
    let Answer::Opened { generation, .. } = typed.ask(&Request::Open(open(slot.clone()))).await else {
        unreachable!("not opened")
    };
    let upto = typed.stored(ObjectKind::Snapshot, b"a snapshot").await;
    let objects: Vec<Object> =
        frozen().into_iter().chain([object(ObjectKind::Snapshot, b"a snapshot")]).collect();
    let mut seal = seal(&slot, generation, &objects, Hash::of(b"a snapshot"), upto);
    seal.claims.unreadable = 1;
    assert!(matches!(typed.ask(&sealed(&seal, 10)).await, Answer::Sealed { .. }));
    let held = bench.vault.in_force();
    let terms = held.terms(series).expect("it is in the policy");
    let over = clock::wall() + SignedDuration::from_hours(31);
    let kept = bench.vault.store.get(series).expect("it holds something");
    let decided = kept.change(clock::wall(), |ring| {
        let events = ring.due(&terms.rules, over, None, &Looked::default()).events;
        Ok((events.clone(), events))
    });
    decided.expect("its date is over");
    assert_eq!(state(bench, series), GenerationState::Aside(AsideReason::Partial));
    generation
}

fn facts(bench: &Bench, series: &SeriesId) -> Vec<GenerationFacts> {
    bench.vault.store.get(series).map(|series| series.facts()).unwrap_or_default()
}

fn state(bench: &Bench, series: &SeriesId) -> GenerationState {
    let all = facts(bench, series);
    assert_eq!(all.len(), 1, "{all:?}");
    all[0].state
}

fn offer(drop: &Path, orders: &[String]) {
    let list = OrderList { orders: orders.to_vec() };
    std::fs::write(drop.join("orders.json"), serde_json::to_vec(&list).expect("JSON")).expect("written");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signed_order_makes_what_was_set_aside_the_copy_of_its_cell_once() {
    let bench = Bench::new().await;
    let series = series("web1", None);
    let generation = set_aside(&bench, &series).await;
    let (state_dir, drop) = (bench.dir.path().join("state"), bench.dir.path().join("drop"));
    std::fs::create_dir(&drop).unwrap();
    let orders = Orders::open(&state_dir, drop.clone()).unwrap();
    orders.look(&bench.vault);
    assert_eq!(state(&bench, &series), GenerationState::Aside(AsideReason::Partial), "nothing is ordered");

    let order = clear(&series, generation);
    let good = Signed::new(&order, &[&key(1)]).to_json();
    let OrderKind::Clear { series: path, until, .. } = order.what.clone() else { panic!("a clear") };
    let of = |vault: &str| OrderKind::Clear {
        vault: VaultName::new(vault).unwrap(),
        series: path.clone(),
        generation,
        until,
    };
    let old = clock::wall() - SignedDuration::from_hours(72);
    let over = OrderKind::Clear {
        vault: vault_name(),
        series: path.clone(),
        generation,
        until: old + SignedDuration::from_hours(1),
    };
    let signed = |order: &Order, seed| Signed::new(order, &[&key(seed)]).to_json();
    let bad = [
        ("another vault's", signed(&Order { what: of("vault2"), ..order.clone() }, 1)),
        ("another fleet's", signed(&Order { fleet: FleetName::new("other").unwrap(), ..order.clone() }, 1)),
        ("a policy key's", signed(&order, 2)),
        ("a host's", signed(&order, 10)),
        ("unsigned", signed(&order, 1).replace("\"sig\":\"", "\"sig\":\"AAAA")),
        ("without a reason", signed(&Order { reason: String::new(), ..order.clone() }, 1)),
        ("over", signed(&Order { issued: old, what: over, ..order.clone() }, 1)),
        ("nothing", "{}".to_owned()),
    ];
    let mut typed = Client::web1(bench.port).await.channel().await;
    for (what, text) in &bad {
        offer(&drop, std::slice::from_ref(text));
        orders.look(&bench.vault);
        orders.look(&bench.vault);
        assert_eq!(state(&bench, &series), GenerationState::Aside(AsideReason::Partial), "{what}");
        let by_channel = Request::Order { order: text.clone() };
        assert_eq!(typed.refused(&by_channel).await, RefusalCode::BadOrder, "{what}");
    }
    let refused = bench.told("order_refused").len();
    assert_eq!(refused, bad.len() - 1, "each is told once, and what is another vault's is that one's");

    let early = clock::wall() + SignedDuration::from_hours(5);
    let early = Order { issued: early, reason: "by a clock that is ahead".into(), ..order.clone() };
    let early = signed(&early, 1);
    offer(&drop, std::slice::from_ref(&early));
    orders.look(&bench.vault);
    assert_eq!(typed.refused(&Request::Order { order: early }).await, RefusalCode::Busy, "later perhaps");
    assert_eq!(bench.told("order_refused").len(), refused, "nothing is said of it for good");

    // Spelled in two ways, between others: carried out once.
    let spelled = serde_json::to_string_pretty(&serde_json::from_str::<serde_json::Value>(&good).unwrap());
    offer(&drop, &[bad[0].1.clone(), good.clone(), spelled.unwrap()]);
    orders.look(&bench.vault);
    assert_eq!(state(&bench, &series), GenerationState::Current);
    let cleared = bench.told("cleared");
    assert_eq!(cleared.len(), 1, "{cleared:?}");
    assert_eq!(cleared[0]["reason"], "half of it was logs");
    assert_eq!(cleared[0]["by"], serde_json::json!([key(1).public().id()]));
    let promoted = bench.told("promoted");
    let by = Signed::<Order>::parse(good.as_bytes()).unwrap().hash();
    assert_eq!(promoted[0]["event"]["promote"]["order"], serde_json::json!(by), "{promoted:?}");

    // Again: by the list, by the channel, after a restart.
    orders.look(&bench.vault);
    assert_eq!(typed.refused(&Request::Order { order: good.clone() }).await, RefusalCode::BadOrder);
    let bench = Bench::at(bench.end(), |_| {}, Limits::default()).await;
    Orders::open(&state_dir, drop).unwrap().look(&bench.vault);
    assert_eq!(state(&bench, &series), GenerationState::Current);
    assert_eq!((bench.told("cleared").len(), bench.told("order_refused").len()), (1, refused));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_is_none_or_too_long_changes_nothing() {
    let bench = Bench::new().await;
    let series = series("web1", None);
    let generation = set_aside(&bench, &series).await;
    let good = Signed::new(&clear(&series, generation), &[&key(1)]).to_json();
    let orders = Orders::open(&bench.dir.path().join("state"), bench.dir.path().to_owned()).unwrap();
    for text in [
        "[]".to_owned(),
        format!("{{\"orders\":[{}],\"more\":1}}", serde_json::json!(good)),
        serde_json::json!({ "orders": vec![good.clone(); 1001] }).to_string(),
    ] {
        std::fs::write(bench.dir.path().join("orders.json"), text).unwrap();
        orders.look(&bench.vault);
        assert_eq!(state(&bench, &series), GenerationState::Aside(AsideReason::Partial));
    }
    offer(bench.dir.path(), &[good]);
    orders.look(&bench.vault);
    assert_eq!(state(&bench, &series), GenerationState::Current);
}

/// What was accepted in this series is closed, as a day later; nobody has looked at it again.
fn close(bench: &Bench, series: &SeriesId) {
    let held = bench.vault.in_force();
    let terms = held.terms(series).expect("it is in the policy");
    let over = clock::wall() + SignedDuration::from_hours(31);
    let kept = bench.vault.store.get(series).expect("it holds something");
    let nothing = Looked::default();
    let closed =
        kept.change(clock::wall(), |ring| Ok((ring.due(&terms.rules, over, None, &nothing).events, ())));
    closed.expect("its date is over");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_disk_lost_is_told_and_no_order_takes_it_until_it_is_there_again() {
    let bench = Bench::new().await;
    let series = series("web1", None);
    let mut typed = Client::web1(bench.port).await.channel().await;
    let (generation, ..) = whole_run(&mut typed, &slot_now(series.clone())).await;
    close(&bench, &series);
    assert_eq!(state(&bench, &series), GenerationState::Candidate, "closed, and looked at first");
    let name = Hash::of(b"a pack").to_string();
    let pack = bench.repo(&series, generation).join("data").join(&name[..2]).join(&name);
    std::fs::write(&pack, b"a pick").unwrap();
    bench.vault.look_again();
    assert_eq!(state(&bench, &series), GenerationState::Aside(AsideReason::Spoilt));
    let spoilt = bench.told("spoilt");
    assert!(spoilt.len() == 1 && spoilt[0]["what"].as_str().unwrap().contains(&name), "{spoilt:?}");
    assert_eq!(bench.told("set_aside")[0]["event"]["aside"]["reason"], "spoilt");
    bench.vault.look_again();
    assert_eq!(bench.told("spoilt").len(), 1, "it is looked at once");

    let order = Signed::new(&clear(&series, generation), &[&key(1)]).to_json();
    let mut other = Client::web1(bench.port).await.channel().await;
    assert_eq!(other.refused(&Request::Order { order: order.clone() }).await, RefusalCode::BadOrder);
    assert_eq!(state(&bench, &series), GenerationState::Aside(AsideReason::Spoilt));
    std::fs::write(&pack, b"a pack").unwrap();
    assert_eq!(other.ask(&Request::Order { order }).await, Answer::Taken);
    assert_eq!(state(&bench, &series), GenerationState::Current);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_whole_is_promoted_by_looking_and_not_before() {
    let bench = Bench::new().await;
    let series = series("web1", None);
    let mut typed = Client::web1(bench.port).await.channel().await;
    whole_run(&mut typed, &slot_now(series.clone())).await;
    close(&bench, &series);
    bench.vault.turn();
    assert_eq!(state(&bench, &series), GenerationState::Candidate);
    bench.vault.end();
    bench.vault.look_again();
    assert_eq!(state(&bench, &series), GenerationState::Candidate, "it was stopped");
    let bench = Bench::at(bench.end(), |_| {}, Limits::default()).await;
    bench.vault.look_again();
    assert_eq!(state(&bench, &series), GenerationState::Current);
    assert_eq!((bench.told("promoted").len(), bench.told("spoilt").len()), (1, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_date_that_was_closed_for_one_that_found_no_room_is_told() {
    let bench = Bench::new().await;
    let series = series("web1", None);
    let held = bench.vault.in_force();
    let terms = held.terms(&series).expect("it is in the policy");
    let today = slot_now(series.clone());
    let before = SlotId { date: today.date.yesterday().unwrap(), ..today.clone() };
    let then = terms.rules.moment(before.date, SlotKey::of(&before));
    bench.vault.store.open_generation(terms, &open(before), then).unwrap();
    let mut typed = Client::web1(bench.port).await.channel().await;
    let wide = Open { estimate: 2 << 30, ..open(today) };
    assert_eq!(typed.refused(&Request::Open(wide)).await, RefusalCode::NoRoom);
    assert_eq!(state(&bench, &series), GenerationState::Aside(AsideReason::Failed));
    assert_eq!((bench.told("closed").len(), bench.told("set_aside").len()), (1, 1));
}
