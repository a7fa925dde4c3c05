//! A vault in the wrong hands tells the controller something else than the host: what it says is judged beside the host's
//! word, never believed alone, and two histories of it are a finding of their own.

use std::time::Duration;

use age::x25519::Identity;
use serde_json::{Value, json};
use tenure_lab::wait_for;
use tenure_scenarios::agent::SOON;
use tenure_scenarios::forged::Forger;
use tenure_scenarios::vaulted::Vaulted;
use tenure_scenarios::{Result, all_held};
use tenure_trust::enrol::{IngestAnswer, IngestFinding};
use tenure_trust::vault_wire::{GenerationFacts, VaultFacts};
use tenure_trust::{Hash, MachineRole, Owner, SetName};

const NIGHTLY: &str = "backup.nightly";
/// How long a run of a slot may begin, beyond the slot's time.
const CATCH_UP: &str = "2min";
/// Until a slot that was filled is overdue for whoever believes that it is not: its window, three heartbeats, some more.
const OVERDUE: Duration = Duration::from_secs(120 + 60 + 60);

#[test]
fn what_a_lying_vault_states_never_counts_alone() -> Result<()> {
    let recipients = [Identity::generate(), Identity::generate()].map(|id| id.to_public().to_string());
    let mut v = Vaulted::linked("lies", &recipients)?;
    let short = |v: &mut Vaulted, at: &str| {
        v.publish_as(at, |policy| policy.with("catch_up: 2h", &format!("catch_up: {CATCH_UP}")))
    };
    v.scheduled(short)?;
    v.await_duty(NIGHTLY, "met")?;
    let vault1 = v.fleet.vault1.clone();
    let mut forger = taken(&v)?;
    let mut told = Vec::new();

    // Another copy under the same slot.
    let other = changed(&forger, |held| {
        for slot in &mut held.slots {
            slot.root = Hash::of(b"another tree");
        }
    })?;
    told.push(forger.told(other)?);
    let row = v.await_duty(NIGHTLY, "broken")?;
    assert!(row["why"].to_string().contains("\"differ\""), "{row:#}");

    // No copy at all: there may be one until its time has passed.
    let none = changed(&forger, |held| held.slots.clear())?;
    told.push(forger.told(none.clone())?);
    let row = v.await_duty(NIGHTLY, "due")?;
    assert!(row["next"].is_string(), "until when it is waited for: {row:#}");
    let mut row = Value::Null;
    let overdue = wait_for("the slot that is missing at the vault to be overdue", OVERDUE, || {
        // It goes on speaking: silence would be another reason.
        told.extend(forger.told(none.clone()));
        row = v.duty(NIGHTLY);
        row["state"] != "due"
    });
    let named = row["state"] == "overdue" && row["why"].to_string().contains("\"only_host\"");
    assert!(overdue.is_ok() && named, "{overdue:?}: {row:#}");

    // What both sides say counts again.
    forger.write(&told)?;
    vault1.must(&["systemctl", "start", "tenure-vault"])?;
    v.await_duty(NIGHTLY, "met")?;
    assert_eq!(findings(&v), Vec::<Value>::new(), "one history so far");
    forked(&v)
}

/// What the controller found wrong.
fn findings(v: &Vaulted) -> Vec<Value> {
    v.fleet.controller_status()["findings"].as_array().cloned().unwrap_or_default()
}

/// Ends the vault's own program and takes its key, behind everything that it stated itself.
fn taken(v: &Vaulted) -> Result<Forger> {
    v.fleet.vault1.must(&["systemctl", "stop", "tenure-vault"])?;
    let forger = Forger::of(&v.fleet.vault1, MachineRole::Vault, "vault")?;
    forger.tell_rest(v.fleet.held_of("vault1", "vault"))?;
    Ok(forger)
}

/// Two records of one number, both with the real key.
fn forked(v: &Vaulted) -> Result<()> {
    let mut forger = taken(v)?;
    let facts = forger.facts().to_vec();
    let other = forger.link(changed(&forger, |held| held.objects += 1)?)?;
    forger.told(facts)?;
    let answer = forger.tell(&other)?;
    assert!(matches!(answer, IngestAnswer::Refused { finding: IngestFinding::Fork, .. }), "{answer:?}");
    let row = v.await_duty(NIGHTLY, "unknown")?;
    let why = row["why"].to_string();
    assert!(why.contains("\"chain\"") && why.contains("\"fork\"") && !why.contains("silent"), "{row:#}");

    let mut wrong = Vec::new();
    let mut holds = |what: &str, held: bool, said: &Value| {
        if !held {
            wrong.push(format!("{what}: {said:#}"));
        }
    };
    let all = findings(v);
    let fork = |one: &Value| {
        (&one["machine"], &one["role"], &one["kind"]) == (&json!("vault1"), &json!("vault"), &json!("fork"))
    };
    holds("one finding, a fork of the vault's", all.len() == 1 && all.iter().all(fork), &json!(all));
    let (hosts, _) = v.shown("hosts")?;
    let rows = hosts["hosts"].as_array().cloned().unwrap_or_default();
    let vault = rows.iter().find(|row| row["host"] == "vault1").cloned().unwrap_or_default();
    holds(
        "shown at its machine",
        vault["chain"].to_string().contains("[\"fork\",1]") && vault["state"] == "unknown",
        &vault,
    );
    for duty in ["backup.ring", "backup.offhost"] {
        holds("every row on its word", v.duty(duty)["state"] == "unknown", &v.duty(duty));
    }
    let access = v.duty("access.key_and_address");
    holds("and none that does not rest on it", access["state"] == "met", &access);
    all_held("a fork", &wrong)?;

    // Its own program goes on with what it wrote itself: that is refused too, and nothing turns green again.
    v.fleet.vault1.must(&["systemctl", "start", "tenure-vault"])?;
    let again = || findings(v).iter().any(|one| one["count"].as_u64() > Some(1));
    wait_for("the real record at the same place", SOON, again)
        .map_err(|why| format!("{why}: {:#}\n{}", v.fleet.controller_status(), v.vault_journal()))?;
    let row = v.duty(NIGHTLY);
    assert_eq!(row["state"], "unknown", "{row:#}");
    Ok(())
}

/// The vault's last facts, with a change to what it holds of the tenant's nightly series.
fn changed(forger: &Forger, change: impl Fn(&mut GenerationFacts)) -> Result<Vec<u8>> {
    let mut stated: Value = serde_json::from_slice(forger.facts())?;
    let mut facts: VaultFacts = serde_json::from_value(stated["facts"].take())?;
    let nightly = |owner: &Owner, set| matches!(owner, Owner::Tenant(_)) && set == SetName::Nightly;
    let held: Vec<&mut GenerationFacts> = facts
        .series
        .iter_mut()
        .filter(|one| nightly(&one.series.owner, one.series.set))
        .flat_map(|one| &mut one.generations)
        .collect();
    if held.iter().all(|held| held.slots.is_empty()) {
        return Err(format!("the vault holds nothing that could be denied: {stated:#}").into());
    }
    held.into_iter().for_each(change);
    stated["facts"] = serde_json::to_value(facts)?;
    Ok(serde_json::to_vec(&stated)?)
}
