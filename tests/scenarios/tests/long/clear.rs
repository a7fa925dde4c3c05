//! A copy that the vault set aside is taken by the order that its row names: signed at the desk, brought to the controller,
//! pulled, judged and carried out by the vault, and written down with who ordered it and why. Nobody else's order does it.

use age::x25519::Identity;
use serde_json::{Value, json};
use tenure_lab::wait_for;
use tenure_scenarios::agent::SOON;
use tenure_scenarios::chains::events;
use tenure_scenarios::vaulted::Vaulted;
use tenure_scenarios::{Result, all_held};

use crate::told;

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
    let at = v.scheduled(Vaulted::publish)?;
    let row = v.await_duty(NIGHTLY, "overdue")?;
    assert!(says(&row, &partial), "{row:#}");

    // The next day's copy is whole; with it the day before is over, of which every copy lacks a file.
    web1.must(&["umount", UNREADABLE])?;
    v.days_later(1)?;
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
    recorded(&v, generation)?;
    missed(&mut v, &at)
}

/// The host is off on the next day until the slot's time has passed by more than may be caught up: it is missed, in the
/// host's memory, in its records once, as the controller holds them, and in the row.
fn missed(v: &mut Vaulted, at: &str) -> Result<()> {
    let version =
        |v: &Vaulted| v.fleet.agent_json(&["status"]).unwrap_or_default()["board"]["policy"].clone();
    let before = version(v);
    v.publish_as(at, |policy| policy.with("catch_up: 2h", "catch_up: 2min"))?;
    wait_for("the shorter time to catch up", SOON * 2, || version(v) != before)?;
    v.passed(at, 125)?;
    v.days_later(2)?;
    let mut row = Value::Null;
    wait_for("the missed slot in its row", SOON * 4, || {
        row = v.duty(NIGHTLY);
        row["state"] == "overdue" && says(&row, &json!("missed"))
    })
    .map_err(|why| format!("{why}: {row:#}\n{}", v.journals()))?;
    let told = told::once(v)?;
    for owner in [r#"{"tenant":"client"}"#, r#""host""#] {
        let nights = told::missed(&told, owner, "nightly");
        assert_eq!(nights.len(), 1, "the day before was caught up: {nights:#?}");
    }
    v.fleet.await_reported()?;
    let held = events(&v.fleet.held_chain("web1", "host", "web1-host.chain")?, "backup_missed")?;
    let nights = held.iter().filter(|one| {
        one["slot"]["series"]["set"] == "nightly" && one["slot"]["series"]["owner"]["tenant"] == "client"
    });
    assert_eq!(nights.count(), 1, "{held:#?}");
    v.fleet.once_and_in_order("web1", "host").map(drop)
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
    let cleared = events(&v.fleet.own_chain("vault1", "vault")?, "cleared")?;
    let [told] = &cleared[..] else { return Err(format!("not once: {cleared:#?}").into()) };
    assert_eq!((&told["by"], &told["reason"]), (&json!([marit]), &json!(REASON)), "{told:#}");
    assert!(marit.is_string() && told["order"].is_string(), "{told:#}");
    assert!(told["generation"].to_string().contains(&generation[..10]), "{told:#}");
    let held = v.fleet.held_chain("vault1", "vault", "vault1-vault.chain")?;
    assert_eq!(events(&held, "cleared")?.len(), 1, "the controller holds that record");
    v.fleet.once_and_in_order("vault1", "vault").map(drop)
}
