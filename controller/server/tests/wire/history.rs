//! What differed before and no newer record shows: told over the wire, kept small, whatever a host sends.

use serde_json::{Value, json};
use tenure_controller::store::{Access, RecordQuery, StoreError};
use tenure_trust::{About, AreaName, MachineRole, VerdictTag};

use crate::bounds::damage;
use crate::judged::{browser, publish};
use crate::world::{Machine, World, host};

/// The next line of a host about one of its areas.
fn pass(machine: &mut Machine, area: &str, verdict: VerdictTag, mended: &Value) -> String {
    let report = json!({
        "area": area, "mode": "enforce", "observed_at": "2026-11-22T13:03:00Z", "verdict": "remediated",
        "facts": null, "plan": null, "findings": [], "mended": mended, "done": [], "pending": null,
        "refusal": null, "unknown": null,
    });
    machine.judged(About::Area(AreaName::new(area).unwrap()), Some(verdict), report.to_string().as_bytes())
}

fn by_nft(place: &str, pid: u32) -> Value {
    json!([{
        "kind": "ruleset-changed", "place": place, "what": "the table is gone", "weight": "drift",
        "at": null, "by": { "pid": pid, "comm": "nft" }
    }])
}

async fn history(world: &World) -> Vec<Value> {
    let view = world.operator().await.get("/api/v1/drift").await.json();
    view["history"].as_array().unwrap_or_else(|| panic!("{view}")).clone()
}

#[tokio::test]
async fn an_attack_that_was_mended_is_still_told_when_newer_records_say_that_all_is_well() {
    let mut world = World::new().await;
    publish(&world).await;
    let mut web1 = world.admitted("web1", MachineRole::Host).await;
    let flushed = by_nft("<table>\u{202e}\u{1b}[2J", 4711);
    let first = pass(&mut web1, "firewall", VerdictTag::Remediated, &flushed);
    assert_eq!(web1.send(&[first]).await.status, 200);
    let name = web1.chain.prev.to_string();
    for _ in 0..3 {
        let well = pass(&mut web1, "firewall", VerdictTag::Compliant, &json!([]));
        assert_eq!(web1.send(&[well]).await.status, 200);
    }
    let view = world.operator().await.get("/api/v1/drift").await.json();
    assert!(!view["drift"].to_string().contains("4711"), "the newest record has nothing of it: {view}");
    world.restart().await;
    let rows = history(&world).await;
    let [row] = rows.as_slice() else { panic!("{rows:#?}") };
    assert_eq!((&row["host"], &row["area"], &row["times"]), (&json!("web1"), &json!("firewall"), &json!(1)));
    let found = &row["found"][0];
    assert_eq!((&found["mended"], &found["by"]), (&json!(true), &json!({ "pid": 4711, "comm": "nft" })));
    assert_eq!(found["place"], "<table>\\u{202e}\\u{1b}[2J");
    assert_eq!((&row["record"]["seq"], &row["record"]["hash"]), (&json!(1), &json!(name)));
    let at = |field: &str| row[field].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
    assert!(at("observed_at") <= at("received_at") && at("received_at") <= world.app.now(), "{row}");
    let page = browser(&world).await.get("/").await;
    let page = String::from_utf8_lossy(&page.body).into_owned();
    let (_, part) = page.split_once("id=\"history\"").unwrap();
    for told in ["✓ mended", "&#60;table&#62;\\u{202e}\\u{1b}[2J", "pid 4711 nft", "web1#1", name.as_str()]
    {
        assert!(part.contains(told), "{told}: {part}");
    }
    assert!(!page.contains("<table>\\u"), "{page}");
}

#[tokio::test]
async fn the_same_again_is_one_row_and_of_a_host_the_last_twenty_stay() {
    let world = World::new().await;
    publish(&world).await;
    let mut web1 = world.admitted("web1", MachineRole::Host).await;
    let mut vault1 = world.admitted("vault1", MachineRole::Host).await;
    let other = pass(&mut vault1, "firewall", VerdictTag::Remediated, &by_nft("table", 1));
    assert_eq!(vault1.send(&[other]).await.status, 200);
    let standing = by_nft("table", 1);
    let mut lines = Vec::new();
    // Another area in between makes it no other.
    for pid in [1, 2] {
        lines.push(pass(&mut web1, "firewall", VerdictTag::Drifted, &standing));
        lines.push(pass(&mut web1, "ssh_access", VerdictTag::Remediated, &by_nft("drop-in", pid)));
    }
    assert_eq!(web1.send(&lines).await.status, 200);
    let again = pass(&mut web1, "firewall", VerdictTag::Drifted, &standing);
    assert_eq!(web1.send(std::slice::from_ref(&again)).await.status, 200);
    assert_eq!(web1.send(&[again]).await.status, 200, "sent again, since its answer was lost");
    let of_web1 = |rows: &[Value]| -> Vec<(Value, u64, u64)> {
        let own = rows.iter().filter(|row| row["host"] == "web1");
        let number = |row: &Value, field: &str| row[field].as_u64().unwrap();
        own.map(|row| (row["area"].clone(), number(row, "times"), number(&row["record"], "seq"))).collect()
    };
    let rows = history(&world).await;
    assert_eq!(
        of_web1(&rows),
        [(json!("firewall"), 3, 5), (json!("ssh_access"), 1, 4), (json!("ssh_access"), 1, 2)]
    );
    let query = RecordQuery { about: Some("firewall"), limit: 3, ..RecordQuery::default() };
    let records = world.app.store.records(&Access::Itself, "web1", query).await.unwrap();
    let times: Vec<Value> = records.iter().map(|record| json!(record.observed_at)).collect();
    assert_eq!((&rows[0]["observed_at"], &rows[0]["first_at"]), (&times[0], &times[2]), "{rows:?}");
    let many =
        (100..160).map(|pid| pass(&mut web1, "firewall", VerdictTag::Remediated, &by_nft("table", pid)));
    let many: Vec<String> = many.collect();
    assert_eq!(web1.send(&many).await.status, 200);
    let rows = history(&world).await;
    let seqs: Vec<u64> = of_web1(&rows).into_iter().map(|(_, _, seq)| seq).collect();
    assert_eq!(seqs, (46..=65).rev().collect::<Vec<u64>>());
    assert_eq!(rows.iter().filter(|row| row["host"] == "vault1").count(), 1, "the others keep theirs");
    let kept = world.app.store.drift_history(&Access::Itself).await.unwrap();
    assert_eq!(kept.len(), 21, "no more lie in the database either");
}

#[tokio::test]
async fn a_host_that_sends_all_it_can_gets_little_room() {
    let world = World::new().await;
    publish(&world).await;
    let mut web1 = world.admitted("web1", MachineRole::Host).await;
    for round in 0..3 {
        let lines: Vec<String> = (0..10)
            .map(|n| {
                let text = format!("<{round}-{n}\u{202e}{}>", "\u{1b}é".repeat(500));
                let one = json!({
                    "kind": text, "place": text, "what": text, "weight": "drift", "at": null,
                    "by": { "pid": n, "comm": text }
                });
                pass(&mut web1, "ssh_access", VerdictTag::Remediated, &json!(vec![one; 20]))
            })
            .collect();
        assert!(lines.iter().map(String::len).sum::<usize>() > 1 << 20, "{} bytes", lines[0].len());
        assert_eq!(web1.send(&lines).await.status, 200);
    }
    let answer = world.operator().await.get("/api/v1/drift").await;
    let history = answer.json()["history"].clone();
    assert_eq!(history.as_array().unwrap().len(), 20);
    assert!(history.to_string().len() < 200 << 10, "{} bytes", history.to_string().len());
    let page = browser(&world).await.get("/").await;
    assert!(page.status == 200 && page.body.len() < 500 << 10, "{} bytes", page.body.len());
    assert!(String::from_utf8_lossy(&page.body).contains("14 findings more"));
}

#[tokio::test]
async fn only_operators_see_it_and_facts_that_were_deleted_are_gone_from_it() {
    let world = World::new().await;
    publish(&world).await;
    let mut web1 = world.admitted("web1", MachineRole::Host).await;
    let flushed = pass(&mut web1, "firewall", VerdictTag::Remediated, &by_nft("table inet tenure", 4711));
    assert_eq!(web1.send(&[flushed]).await.status, 200);
    let machine = Access::Machine { name: host("web1"), role: MachineRole::Host };
    for access in [machine, Access::Stranger] {
        let denied = world.app.store.drift_history(&access).await;
        assert!(matches!(denied, Err(StoreError::Denied(_))), "{access:?}: {denied:?}");
    }
    assert_eq!(world.people().get("/api/v1/drift").await.status, 401);
    damage(&world, "DELETE FROM payloads").await;
    let rows = history(&world).await;
    assert_eq!((rows.len(), &rows[0]["found"]), (1, &json!([])), "{rows:?}");
    let page = browser(&world).await.get("/").await;
    let page = String::from_utf8_lossy(&page.body).into_owned();
    assert!(page.contains("the facts beside the record were deleted") && !page.contains("4711"), "{page}");
}
