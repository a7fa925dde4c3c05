//! What is judged, as programs and browsers get it: from signed policy and records that machines sent, over the wire.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use tenure_controller::store::Access;
use tenure_obligations::State;
use tenure_policy::resolved::HostPolicy;
use tenure_trust::statement::Bundle;
use tenure_trust::{About, AreaName, Hash, HostName, Index, MachineRole, PolicyVersion, Signed, Statement};

use crate::client::Client;
use crate::world::{Machine, PASSWORD, World, example_set, fleet, host};

/// The example as a set of this world's fleet, judged by this world's controller.
fn files(world: &World) -> BTreeMap<String, String> {
    let set = example_set();
    let mut files = BTreeMap::new();
    let mut place = |name: String, hash: Hash, text: String, of: &HostName| {
        files.insert(name, text);
        (of.clone(), hash)
    };
    let mut machines = BTreeMap::new();
    for name in set.hosts() {
        let policy = HostPolicy { fleet: fleet(), ..set.host_policy(name).unwrap() };
        let signed = Signed::new(&policy, &[&world.operator]);
        machines.extend([place(format!("{name}.bundle.json"), signed.hash(), signed.to_json(), name)]);
    }
    let mut vaults = BTreeMap::new();
    for (name, mut policy) in set.vault_policies() {
        policy.fleet = fleet();
        let signed = Signed::new(&policy, &[&world.operator]);
        vaults.extend([place(format!("{name}.vault.json"), signed.hash(), signed.to_json(), &name)]);
    }
    let mut book = set.duty_book().unwrap();
    (book.fleet, book.host) = (fleet(), host("ctl1"));
    let signed = Signed::new(&book, &[&world.operator]);
    let machine = book.machine().clone();
    let controllers =
        [place("ctl1.duty.json".into(), signed.hash(), signed.to_json(), &machine)].into_iter().collect();
    let issued = world.app.now() - SignedDuration::from_mins(90);
    let index = Index {
        schema: Index::SCHEMA,
        fleet: fleet(),
        version: PolicyVersion(7),
        issued,
        expires: issued + SignedDuration::from_hours(24 * 90),
        machines,
        vaults,
        controllers,
        revoked: Default::default(),
    };
    files.insert("index.json".into(), Signed::new(&index, &[&world.operator]).to_json());
    files
}

pub(crate) async fn publish(world: &World) {
    let body = json!({ "files": files(world) }).to_string();
    let answer =
        world.operator().await.try_ask(hyper::Method::PUT, "/api/v1/policy", body.into_bytes()).await;
    assert_eq!(answer.unwrap().status, 200);
}

/// What a host reports of its software, with one security update that waits.
fn patches(package: &str, since: Timestamp, now: Timestamp) -> Value {
    json!({
        "area": "patch", "mode": "observe", "observed_at": now, "verdict": "compliant", "plan": null,
        "findings": [], "mended": [], "done": [], "pending": null, "refusal": null, "unknown": null,
        "facts": {
            "installed": 400, "broken": [], "held": [], "lists": now, "reboot": [], "reboot_marked": null,
            "kernel": "6.1.0-28-amd64",
            "upgrades": [{
                "package": package, "installed": "1", "candidate": "2", "origins": [], "security": true
            }],
            "seen": { "upgrades": { package: { "installed": "1", "since": since } }, "reboot": null }
        }
    })
}

async fn report(world: &World, machine: &mut Machine, package: &str) {
    report_facts(world, machine, |now| patches(package, now - SignedDuration::from_hours(24 * 9), now)).await;
}

/// An area's report by its form, with these facts.
fn shell(area: &str, now: Timestamp, facts: &str) -> Vec<u8> {
    let report = json!({
        "area": area, "mode": "enforce", "observed_at": now, "verdict": "compliant", "plan": null,
        "findings": [], "mended": [], "done": [], "pending": null, "refusal": null, "unknown": null,
        "facts": "FACTS"
    });
    report.to_string().replace("\"FACTS\"", facts).into_bytes()
}

/// What is no payload of an agent's area or of a vault, and reports with facts that are none.
fn malformed(area: &str, now: Timestamp) -> Vec<Vec<u8>> {
    let large = format!("\"{}\"", "x".repeat(256 << 10));
    let deep = |times: usize| format!("{}{}", "[".repeat(times), "]".repeat(times));
    let mut all: Vec<Vec<u8>> = ["", "null", "[]", "{}", "\"\"", "7", "{\"facts\":7}", "\u{202e}\u{1b}[2J"]
        .map(|text| text.as_bytes().to_vec())
        .into();
    all.extend([b"\xff\xfe\0".to_vec(), large.clone().into_bytes(), deep(100_000).into_bytes()]);
    all.push("{\"facts\":".repeat(20_000).into_bytes());
    for facts in
        ["null", "[]", "{}", "7", "{\"slots\":7}", "{\"slots\":[],\"drills\":[]}", &deep(100), &large]
    {
        all.extend([shell(area, now, facts), format!("{{\"facts\":{facts}}}").into_bytes()]);
    }
    all
}

async fn report_facts(world: &World, machine: &mut Machine, facts: impl FnOnce(Timestamp) -> Value) {
    let about = About::Area(AreaName::new("patch").unwrap());
    let line = machine.about(about, facts(world.app.now()).to_string().as_bytes());
    assert_eq!(machine.send(&[line]).await.status, 200);
}

/// Waits until the judge, whom nobody asks, has written down that a duty stands so; since when it does.
async fn stands(world: &World, duty: &str, state: State) -> Timestamp {
    for _ in 0..200 {
        let rows = world.app.store.states(&Access::Itself).await.unwrap();
        if let Some(row) = rows.iter().find(|row| row.duty == duty && row.state == state) {
            return row.since.unwrap();
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("{duty} is not {state} after ten seconds");
}

fn header(answer: &crate::client::Answer, name: &str) -> String {
    answer.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned()
}

pub(crate) async fn browser(world: &World) -> Client {
    let client = world.people().with("origin", "https://ctl1");
    let answer = client.post("/login", format!("user=marit&password={PASSWORD}")).await;
    let cookie = header(&answer, "set-cookie").split(';').next().unwrap().to_owned();
    world.people().with("cookie", cookie)
}

#[tokio::test]
async fn records_become_duties_hosts_and_a_page() {
    let world = World::new().await;
    let operator = world.operator().await;
    let early = operator.get("/api/v1/obligations").await;
    assert_eq!((early.status.as_u16(), early.problem().as_str()), (409, "no-duties"));
    let page = browser(&world).await.get("/").await;
    assert!(String::from_utf8_lossy(&page.body).contains("Nothing to judge by yet"));

    publish(&world).await;
    let mut web1 = world.admitted("web1", MachineRole::Host).await;
    report(&world, &mut web1, "openssl<script>\u{1b}[2J").await;
    let view = operator.get("/api/v1/obligations").await.json();
    let row = |duty: &str| {
        let rows = view["obligations"].as_array().unwrap();
        rows.iter().find(|row| row["duty"] == duty).unwrap_or_else(|| panic!("{duty} in {view}")).clone()
    };
    assert_eq!(row("patch.security")["state"], "overdue", "{view}");
    assert_eq!(row("patch.security")["evidence"][0]["record"]["host"], "web1");
    assert_eq!(row("access.secured")["state"], "unknown", "nothing was said of it");
    assert_eq!(row("purge")["state"], "met");
    assert_eq!(view["obligations"][0]["state"], "overdue", "the worst first");

    let of_one = operator.get("/api/v1/obligations?tenant=example-client").await.json();
    assert_eq!(
        (&of_one["obligations"], &of_one["head"]["counts"]),
        (&view["obligations"], &view["head"]["counts"])
    );
    assert_eq!(operator.get("/api/v1/obligations?tenant=nobody").await.status, 404);
    let hosts = operator.get("/api/v1/hosts").await.json();
    let states: Vec<_> =
        hosts["hosts"].as_array().unwrap().iter().map(|row| row["host"].as_str().unwrap()).collect();
    assert!(states.contains(&"web1") && states.contains(&"vault1"), "{hosts}");
    assert!(operator.get("/api/v1/backups").await.json()["backups"]["rows"].is_array());
    assert!(operator.get("/api/v1/drift").await.json()["drift"].is_array());
    assert_eq!(operator.get("/api/v1/patches").await.json()["patches"][0]["security"], 1);

    let answer = browser(&world).await.get("/").await;
    assert!(header(&answer, "content-security-policy").starts_with("default-src 'none'"));
    let page = String::from_utf8_lossy(&answer.body).into_owned();
    assert!(page.contains("patch.security") && page.contains("overdue"), "{page}");
    assert!(!page.contains("<script") && page.contains("openssl&#60;script&#62;\\u{1b}[2J"), "{page}");
    let style = browser(&world).await.get("/page.css").await;
    assert_eq!(header(&style, "content-type"), "text/css; charset=utf-8");
}

#[tokio::test]
async fn what_is_no_payload_makes_its_own_rows_unknown_and_no_others() {
    let world = World::new().await;
    publish(&world).await;
    let (operator, browser) = (world.operator().await, browser(&world).await);
    let mut web1 = world.admitted("web1", MachineRole::Host).await;
    let mut vault = world.admitted("vault1", MachineRole::Vault).await;
    let mut ctl1 = world.admitted("ctl1", MachineRole::Host).await;
    report(&world, &mut web1, "openssl").await;
    report(&world, &mut ctl1, "openssl").await;
    let get = async |path: &str| {
        let answer = operator.get(path).await;
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
        answer.json()
    };
    let find = |rows: &Value, key: &str, of: &str| {
        let found = rows.as_array().unwrap().iter().find(|row| row[key] == of);
        found.unwrap_or_else(|| panic!("{of} in {rows}")).clone()
    };
    let hosts = async || get("/api/v1/hosts").await["hosts"].clone();
    let patched = async || find(&get("/api/v1/patches").await["patches"], "host", "ctl1");
    let duties = async || get("/api/v1/obligations").await["obligations"].clone();
    let beside = (find(&hosts().await, "host", "ctl1"), patched().await);
    assert_eq!(beside.1["security"], 1);
    assert_eq!(find(&duties().await, "duty", "patch.security")["state"], "overdue");

    let now = world.app.now();
    let areas = ["backup", "firewall", "patch", "ssh_access"];
    for n in 0..malformed("patch", now).len() {
        let said = Some(tenure_trust::VerdictTag::Compliant);
        let about = |area: &str| About::Area(AreaName::new(area).unwrap());
        let line = |machine: &mut Machine, area| machine.judged(about(area), said, &malformed(area, now)[n]);
        let lines = areas.map(|area| line(&mut web1, area));
        assert_eq!(web1.send(&lines).await.status, 200);
        let lines = [line(&mut vault, "vault")];
        assert_eq!(vault.send(&lines).await.status, 200);

        let (hosts, duties) = (hosts().await, duties().await);
        let row = find(&hosts, "host", "web1");
        let reasons = row["why"].as_array().unwrap();
        assert_eq!((&row["state"], reasons.len()), (&json!("unknown"), areas.len()), "{n}: {row}");
        assert!(reasons.iter().all(|why| why["kind"] == "unjudged"), "{n}: {row}");
        for of in ["patch.security", "access.secured", "backup.server", "backup.nightly", "backup.ring"] {
            assert_eq!(find(&duties, "duty", of)["state"], "unknown", "{n}: {of}");
        }
        let backups = get("/api/v1/backups").await["backups"].clone();
        assert_eq!(backups["vaults"][0]["why"]["kind"], "unjudged", "{n}: {backups}");
        assert_eq!((find(&hosts, "host", "ctl1"), patched().await), beside, "{n}");
        get("/api/v1/drift").await;
        get("/api/v1/hosts/web1/records?facts=true&limit=4").await;
        let page = browser.get("/").await;
        assert!(page.status == 200 && !page.body.contains(&0x1b), "{n}");
    }
    report(&world, &mut web1, "openssl").await;
    assert_eq!(find(&duties().await, "duty", "patch.security")["state"], "overdue", "it is heard again");
}

#[tokio::test]
async fn a_stranger_is_sent_to_the_login_and_learns_nothing() {
    let world = World::new().await;
    publish(&world).await;
    let answer = world.people().get("/").await;
    assert_eq!((answer.status.as_u16(), header(&answer, "location")), (303, "/login".into()));
    assert!(answer.body.is_empty());
}

#[tokio::test]
async fn since_is_when_it_changed_whoever_looked_and_whatever_restarted() {
    let mut world = World::new().await;
    publish(&world).await;
    let mut web1 = world.admitted("web1", MachineRole::Host).await;
    report(&world, &mut web1, "openssl").await;
    stands(&world, "patch.security", State::Overdue).await;
    let unknown = stands(&world, "access.secured", State::Unknown).await;
    let before = world.app.now();
    report_facts(&world, &mut web1, |now| {
        let mut facts = patches("openssl", now, now);
        facts["facts"]["upgrades"] = json!([]);
        facts
    })
    .await;
    let met = stands(&world, "patch.security", State::Met).await;
    assert!(before <= met && met <= world.app.now() && unknown < before, "{unknown} {before} {met}");
    for _ in 0..2 {
        let view = world.operator().await.get("/api/v1/obligations").await.json();
        let since = |duty: &str| -> Timestamp {
            let rows = view["obligations"].as_array().unwrap();
            let row = rows.iter().find(|row| row["duty"] == duty).unwrap();
            row["since"].as_str().unwrap().parse().unwrap()
        };
        let ms = |at: Timestamp| at.as_millisecond();
        assert_eq!((ms(since("patch.security")), ms(since("access.secured"))), (ms(met), ms(unknown)));
        world.restart().await;
    }
}
