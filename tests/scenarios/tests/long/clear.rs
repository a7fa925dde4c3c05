//! A copy that the vault set aside is taken by the order that its row names: signed at the desk, brought to the controller,
//! pulled, judged and carried out by the vault, and written down with who ordered it and why. Nobody else's order does it.

use age::x25519::Identity;
use serde_json::{Value, json};
use tenure_lab::wait_for;
use tenure_scenarios::agent::SOON;
use tenure_scenarios::vaulted::Vaulted;
use tenure_scenarios::{Result, all_held};
use tenure_trust::{About, ExportLine};

const NIGHTLY: &str = "backup.nightly";
const SERIES: &str = "client/web1/nightly";
/// A file of the tenant's with bytes that has no size: it is told, not stored as empty.
const UNREADABLE: &str = "/srv/app/client/unreadable";
const REASON: &str = "a log that nobody misses";

#[test]
fn what_the_vault_set_aside_is_taken_by_the_order_that_the_row_names() -> Result<()> {
    let recipients = [Identity::generate(), Identity::generate()].map(|id| id.to_public().to_string());
    let mut v = Vaulted::linked("clear", &recipients)?;
    let web1 = v.fleet.web1.clone();
    web1.must(&["sh", "-c", &format!("touch {UNREADABLE} && mount --bind /proc/version {UNREADABLE}")])?;
    let partial = json!({ "partial": 1 });
    v.scheduled(Vaulted::publish)?;
    let row = v.await_duty(NIGHTLY, "overdue")?;
    assert!(says(&row, &partial), "{row:#}");

    // The next day's copy is whole; with it the day before is over, of which every copy lacks a file.
    web1.must(&["umount", UNREADABLE])?;
    v.the_next_day()?;
    let mut row = Value::Null;
    wait_for("the copy that was set aside, in its row", SOON * 4, || {
        row = v.duty(NIGHTLY);
        says(&row, &json!({ "aside": 1 }))
    })
    .map_err(|why| format!("{why}: {row:#}\n{}", v.journals()))?;
    assert!(row["state"] == "overdue", "{row:#}");
    let table = v.fleet.tenure(&["obligations"])?.stdout;
    let (_, named) = table.rsplit_once("`tenure ").ok_or_else(|| format!("no command: {table}"))?;
    let (named, _) = named.split_once(" --reason TEXT` takes it").ok_or_else(|| format!("cut: {table}"))?;
    let words: Vec<&str> = named.split(' ').collect();
    let [_, series, generation] = words[..] else { return Err(format!("another command: {named}").into()) };
    assert_eq!((words[0], series), ("clear", SERIES), "{named}");
    assert_eq!(generations(&v)?[generation], json!({ "aside": "partial" }), "{generation}");

    let order = |key: &str, more: &[&str]| {
        let with = ["--reason", REASON, "--key", key, "--passphrase-file", "pass"];
        v.fleet.tenure(&[&words[..], &with, more].concat())
    };
    refused(&v, &order, generation)?;
    let told = order("marit.key", &[])?;
    let said = format!("ordered vault1 to take {SERIES} {generation}");
    assert!(told.ok() && told.stdout.contains(&said), "{}", told.said());
    wait_for("the row without the order", SOON * 4, || {
        row = v.duty(NIGHTLY);
        says(&row, &partial)
    })
    .map_err(|why| format!("{why}: {row:#}\n{}", v.vault_journal()))?;
    assert_eq!(generations(&v)?[generation], json!("current"), "{generation}");
    assert!(!v.fleet.tenure(&["obligations"])?.stdout.contains("tenure clear"), "{row:#}");
    recorded(&v, generation)
}

/// Is this what the row says of a slot?
fn says(row: &Value, fault: &Value) -> bool {
    row["why"].as_array().into_iter().flatten().any(|one| one["kind"] == "slot" && one["fault"] == *fault)
}

/// The states of the series' generations, as the vault itself says, by their names.
fn generations(v: &Vaulted) -> Result<Value> {
    let ask = ["tenure-vault", "generations", SERIES, "--json"];
    let said = v.fleet.vault1.must(&[&["runuser", "-u", "tenure-vault", "--"][..], &ask].concat())?;
    let told: Value = serde_json::from_str(&said)?;
    let all = told[0]["generations"].as_array().ok_or_else(|| format!("no generations: {told:#}"))?;
    let named = all.iter().map(|one| {
        let id = &one["id"];
        let id = id.as_str().map_or_else(
            || format!("{}.{}", id["date"].as_str().unwrap_or_default(), id["number"]),
            str::to_owned,
        );
        (id, one["state"].clone())
    });
    Ok(Value::Object(named.collect()))
}

/// Neither a key that may order nothing nor somebody without a login brings the controller to keep an order.
fn refused(
    v: &Vaulted,
    order: &dyn Fn(&str, &[&str]) -> Result<tenure_lab::Output>,
    generation: &str,
) -> Result<()> {
    let mut wrong = Vec::new();
    let mut holds = |what: &str, held: bool, said: &str| {
        if !held {
            wrong.push(format!("{what}: {said}"));
        }
    };
    v.fleet.tenure_must(&["key", "create", "jeroen", "--passphrase-file", "pass"])?;
    let told = order("jeroen.key", &[])?;
    let no = !told.ok() && told.stderr.contains("the order");
    holds("a key that the root does not name", no, &told.said());
    let told = order("marit.key", &["--session", "nobody.json"])?;
    holds("who has no session", !told.ok() && told.stderr.contains("tenure login"), &told.said());
    let ask = "curl -sk --data '{}' https://198.51.100.20:8443/api/v1/orders -w ' %{http_code}'";
    let told = v.fleet.office.sh(ask)?;
    holds("who has no login", told.stdout.trim().ends_with(" 401"), &told.said());
    let kept = v.fleet.database("SELECT COUNT(*) FROM orders")?;
    holds("the controller keeps none of them", kept == "0", &kept);
    let states = generations(v)?;
    let as_before = states[generation] == json!({ "aside": "partial" });
    holds("the copy is as it was", as_before, &states.to_string());
    all_held("orders of others", &wrong)
}

/// The vault's own chain says who ordered it and why, and the controller holds the same chain.
fn recorded(v: &Vaulted, generation: &str) -> Result<()> {
    let keys: Value = serde_json::from_str(&v.fleet.tenure_must(&["key", "list", "--json"])?)?;
    let marit = keys.as_array().into_iter().flatten().find(|key| key["name"] == "marit").cloned();
    let marit = marit.unwrap_or_default()["id"].clone();
    let mut cleared = Vec::new();
    for (_, _, line) in v.fleet.own_chain("vault1", "vault")? {
        let line = ExportLine::parse(line.as_bytes())?;
        let about = line.unverified()?.about;
        let named = matches!(about, About::Event(name) if name.as_str() == "cleared");
        if let Some(payload) = line.payload.filter(|_| named) {
            cleared.push(serde_json::from_slice::<Value>(payload.bytes())?);
        }
    }
    let [told] = &cleared[..] else { return Err(format!("not once: {cleared:#?}").into()) };
    assert_eq!((&told["by"], &told["reason"]), (&json!([marit]), &json!(REASON)), "{told:#}");
    assert!(marit.is_string() && told["order"].is_string(), "{told:#}");
    assert!(told["generation"].to_string().contains(&generation[..10]), "{told:#}");
    let held = v.fleet.held_chain("vault1", "vault", "vault1-vault.chain")?;
    let held = held.iter().filter(|(_, _, line)| is_cleared(line)).count();
    assert_eq!(held, 1, "the controller holds that record");
    v.fleet.once_and_in_order("vault1", "vault").map(drop)
}

fn is_cleared(line: &str) -> bool {
    let record = ExportLine::parse(line.as_bytes()).ok().and_then(|line| line.unverified().ok());
    record.is_some_and(|record| matches!(record.about, About::Event(name) if name.as_str() == "cleared"))
}
