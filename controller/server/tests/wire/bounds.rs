//! One host cannot fill the controller: a budget for a day, a floor of free disk, answers that cost no memory.

use std::collections::BTreeSet;

use tenure_controller::store::{Access, Page};
use tenure_trust::{About, AreaName, EventName, MachineRole};

use crate::client::Answer;
use crate::world::{Machine, World, fault};

fn event(machine: &mut Machine, name: &str, bytes: usize) -> String {
    let payload = format!("{{\"x\":\"{}\"}}", "y".repeat(bytes));
    machine.about(About::Event(EventName::new(name).unwrap()), payload.as_bytes())
}

fn problem(answer: &Answer) -> (u16, String) {
    (answer.status.as_u16(), answer.problem())
}

#[tokio::test]
async fn a_host_that_writes_without_end_is_stopped_and_named_and_no_other_is() {
    let mut world = World::new().await;
    world.limits.budget = 100_000;
    world.restart().await;
    let mut web1 = world.admitted("web1", MachineRole::Host).await;
    let mut web2 = world.admitted("web2", MachineRole::Host).await;
    let first: Vec<String> = (0..2).map(|_| event(&mut web1, "noise", 30_000)).collect();
    let taken = web1.send(&first).await.json();
    assert_eq!(taken["taken"]["seq"], 2);
    let more: Vec<String> = (0..2).map(|_| event(&mut web1, "noise", 30_000)).collect();
    for _ in 0..3 {
        let answer = web1.send(&more).await;
        assert_eq!(problem(&answer), (429, "budget".into()));
        assert!(answer.headers.contains_key("retry-after"));
    }
    assert_eq!(web1.send(&first).await.json(), taken, "a repetition costs nothing");
    let other = vec![event(&mut web2, "noise", 30_000)];
    assert_eq!(web2.send(&other).await.json()["taken"]["seq"], 1);
    let findings = world.operator().await.get("/api/v1/findings").await.json();
    let rows: Vec<_> = findings.as_array().unwrap().iter().collect();
    assert_eq!(rows.len(), 1, "{findings}");
    assert_eq!(
        (&rows[0]["machine"], &rows[0]["kind"], &rows[0]["count"]),
        (&"web1".into(), &"too much".into(), &3.into())
    );
}

#[tokio::test]
async fn on_a_nearly_full_disk_heartbeats_are_taken_and_on_a_full_one_nothing() {
    let mut world = World::new().await;
    let free = tenure_sys::room::at(world.dir.path()).unwrap().free;
    world.limits.floor = free * 2;
    world.restart().await;
    let mut web1 = world.admitted("web1", MachineRole::Host).await;
    let small = vec![event(&mut web1, "noise", 1000)];
    assert_eq!(web1.send(&small).await.json()["taken"]["seq"], 1);
    let large = vec![event(&mut web1, "noise", 100_000)];
    assert_eq!(problem(&web1.send(&large).await), (507, "space".into()));
    world.limits.floor = u64::MAX;
    world.restart().await;
    web1.certify(&world).await;
    web1.chain = tenure_trust::Chain { next: tenure_trust::Seq(2), ..web1.chain };
    assert_eq!(problem(&web1.send(&large).await), (507, "space".into()));
    assert_eq!(web1.send(&small).await.json()["taken"]["seq"], 1, "what is held is held");
    world.limits.floor = 0;
    world.restart().await;
    web1.certify(&world).await;
    assert_eq!(web1.send(&large).await.json()["taken"]["seq"], 2);
}

#[tokio::test]
async fn an_export_is_whole_however_long_and_breaks_off_rather_than_ends_short() {
    let world = World::new().await;
    let mut web1 = world.admitted("web1", MachineRole::Host).await;
    let lines = web1.lines(1234);
    for part in lines.chunks(500) {
        assert_eq!(web1.send(part).await.status, 200);
    }
    let operator = world.operator().await;
    let export = operator.get("/api/v1/hosts/web1/export").await;
    assert!(!export.headers.contains_key("content-length"), "it is written while it is read");
    let mut verifier =
        tenure_trust::ChainVerifier::new(web1.identity.public(), tenure_trust::Expected::default());
    for line in export.body.split(|b| *b == b'\n').filter(|line| !line.is_empty()) {
        verifier.line(line);
    }
    let report = verifier.finish();
    assert!(report.is_clean() && report.records == 1234, "{report:?}");

    damage(&world, "DELETE FROM payloads WHERE record = 700; DELETE FROM records WHERE seq = 700").await;
    let broken = operator.try_ask(hyper::Method::GET, "/api/v1/hosts/web1/export", Vec::new()).await;
    assert!(broken.is_err(), "it ended as if it were whole");
}

/// Does something to the database behind the controller's back.
pub(crate) async fn damage(world: &World, what: &'static str) {
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(world.app.store.path());
    let pool = sqlx::sqlite::SqlitePool::connect_with(options).await.unwrap();
    sqlx::raw_sql(what).execute(&pool).await.unwrap();
    pool.close().await;
}

#[tokio::test]
async fn the_state_comes_in_pages_and_holds_what_is_judged() {
    let world = World::new().await;
    let mut web1 = world.admitted("web1", MachineRole::Host).await;
    let mut vault1 = world.admitted("vault1", MachineRole::Vault).await;
    let area =
        |machine: &mut Machine, name: &str| machine.about(About::Area(AreaName::new(name).unwrap()), b"{}");
    let mut lines: Vec<String> =
        ["patch", "firewall", "patch", "planted", "vault"].map(|name| area(&mut web1, name)).into();
    lines.extend((0..30).map(|_| event(&mut web1, "backup_failed", 1000)));
    assert_eq!(web1.send(&lines).await.status, 200);
    let of_vault = ["vault", "vault_ab", "patch"].map(|name| area(&mut vault1, name));
    assert_eq!(vault1.send(&of_vault).await.status, 200);

    let operator = world.operator().await;
    let state = operator.get("/api/v1/state").await.json();
    let named: Vec<_> = state["areas"]
        .as_array()
        .unwrap()
        .iter()
        .map(|a| format!("{} {} {}", a["machine"], a["about"], a["seq"]))
        .collect();
    assert_eq!(
        named,
        [
            "\"vault1\" \"vault\" 1",
            "\"vault1\" \"vault_ab\" 2",
            "\"web1\" \"firewall\" 2",
            "\"web1\" \"patch\" 3"
        ]
    );
    assert_eq!(
        (state["events"].as_array().unwrap().len(), &state["events_before"]),
        (30, &serde_json::Value::Null)
    );

    let mut seen = BTreeSet::new();
    let mut before = None;
    for pages in 1.. {
        let page = Page { before, limit: 10, bytes: 4500 };
        let (events, more) = world
            .app
            .store
            .events_since(&Access::Itself, &["backup_failed"], jiff::Timestamp::UNIX_EPOCH, page)
            .await
            .unwrap();
        assert!(events.len() <= 5 && events.is_sorted_by_key(|event| event.seq), "{}", events.len());
        seen.extend(events.iter().map(|event| event.seq));
        before = more;
        if more.is_none() {
            assert_eq!((seen.len(), pages), (30, 6));
            break;
        }
    }
}

#[tokio::test]
async fn a_controller_whose_writer_has_ended_is_not_whole() {
    let mut world = World::new().await;
    // The judge looks once, at the start, and asks for no time then.
    world.limits.judge = std::time::Duration::from_secs(3600);
    world.restart().await;
    let mut web1 = world.admitted("web1", MachineRole::Host).await;
    let lines = web1.lines(3);
    assert_eq!(web1.send(&lines[..1]).await.status, 200);
    assert!(world.service.as_ref().unwrap().is_whole());
    fault(true);
    assert_eq!(web1.send(&lines[1..]).await.status, 503);
    fault(false);
    assert_eq!(web1.send(&lines[1..]).await.status, 503, "for ever, until systemd starts it again");
    assert!(!world.service.as_ref().unwrap().is_whole());
    world.restart().await;
    web1.certify(&world).await;
    assert_eq!(web1.send(&lines[1..]).await.status, 200);
}
