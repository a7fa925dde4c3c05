//! Host, vault and controller at work together: enrolled and admitted by the tool, policy pulled, copies made, everything
//! reported once and in order, and every promise judged from the records of both, honestly.

use age::x25519::Identity;
use serde_json::{Value, json};
use tenure_lab::wait_for;
use tenure_scenarios::agent::SOON;
use tenure_scenarios::operator::DESK;
use tenure_scenarios::vaulted::{RUN, Vaulted};
use tenure_scenarios::{Result, all_held};
use tenure_trust::ExportLine;

/// Duties of the tenant that rest on what web1 says, and on its copies.
const ON_WEB1: [&str; 5] =
    ["backup.nightly", "backup.offhost", "backup.ring", "access.key_and_address", "patch.security"];

#[test]
fn what_host_and_vault_report_is_judged_and_silence_is_never_met() -> Result<()> {
    let recipients = [Identity::generate(), Identity::generate()].map(|id| id.to_public().to_string());
    let mut v = Vaulted::linked("linked", &recipients)?;
    let mut wrong = Vec::new();
    let by_hand = v.must_run(&[])?;
    assert_eq!(by_hand.len(), 4, "every series of host and tenant: {by_hand:#?}");
    scheduled(&mut v)?;
    v.await_duty("backup.nightly", "met")?;
    judged(&v, &mut wrong)?;
    shown(&v, &mut wrong)?;
    all_held("what the tool shows", &wrong)?;
    for (machine, role) in [("web1", "host"), ("vault1", "host"), ("vault1", "vault")] {
        once_and_in_order(&v, machine, role)?;
    }
    silent(&v)
}

/// The nightly set's time comes: its slots are filled without anybody's word.
fn scheduled(v: &mut Vaulted) -> Result<()> {
    let at = v.fleet.web1.must(&["sh", "-c", "TZ=Europe/Amsterdam date -d '+90 seconds' +%H:%M"])?;
    v.publish(at.trim())?;
    let at = format!("\"at\":\"{}\"", at.trim());
    let sealed = || {
        let ledger = v.fleet.web1.get("/var/lib/tenure/backup/ledger.json").unwrap_or_default();
        let slots: Value = serde_json::from_str(&ledger).unwrap_or_default();
        let slots = slots["slots"].as_array().cloned().unwrap_or_default();
        let done = |slot: &&Value| {
            slot["slot"]["manual"] == false
                && slot["state"]["sealed"].is_object()
                && slot["slot"].to_string().contains(&at)
        };
        slots.iter().filter(done).count() == 2
    };
    let told = wait_for("the nightly slots", RUN + RUN, sealed);
    told.map(drop).map_err(|why| format!("{why}\n{}", v.journals()).into())
}

/// Every promise has its words, its state and why, and names records that the machines themselves have.
fn judged(v: &Vaulted, wrong: &mut Vec<String>) -> Result<()> {
    let (view, exit) = v.shown("obligations")?;
    let mut holds = |what: &str, held: bool| {
        if !held {
            wrong.push(format!("{what}: {view:#}"));
        }
    };
    holds("exit 3", exit == 3);
    let expected = [
        ("backup.nightly", &["met"][..], "elke nacht"),
        ("backup.offhost", &["unknown"], "op een fysiek andere server"),
        ("backup.ring", &["due"], "voor elke dag van de week"),
        ("retention", &["unknown"], "2 jaar bewaard"),
        ("access.key_and_address", &["met"], "private keys en toegestane ip adressen"),
        ("patch.security", &["met", "due"], "actueel gehouden waar nodig"),
        ("purge", &["met"], "uiterlijk 1 maand na beëindiging verwijderd"),
        ("agreement", &["not_checkable"], "een verwerkersovereenkomst"),
    ];
    let rows = view["obligations"].as_array().cloned().unwrap_or_default();
    for (duty, states, says) in expected {
        let row = rows.iter().find(|row| row["duty"] == duty).cloned().unwrap_or_default();
        let state = row["state"].as_str().unwrap_or_default();
        holds(&format!("{duty} is {state}, not {states:?}"), states.contains(&state));
        holds(&format!("{duty} in the tenant's words"), row["says"] == says);
        holds(&format!("{duty} has a reason"), row["why"].as_array().is_some_and(|why| !why.is_empty()));
    }
    let row = |duty: &str| rows.iter().find(|row| row["duty"] == duty).cloned().unwrap_or_default();
    holds("one machine in this lab", row("backup.offhost")["why"].to_string().contains("one_machine"));
    holds("nobody looks at two years", row("retention")["why"].to_string().contains("no_probe"));
    holds("when the week is full", row("backup.ring")["next"].is_string());
    for machine in ["web1", "vault1"] {
        let nightly = row("backup.nightly");
        let named = nightly["evidence"].as_array().into_iter().flatten();
        let named = named.map(|one| &one["record"]).find(|record| record["host"] == machine).cloned();
        let record = named.unwrap_or_default();
        let role = if machine == "web1" { "host" } else { "vault" };
        let own = own_chain(v, machine, role)?;
        let held = own.iter().any(|(seq, hash, _)| record["seq"] == *seq && record["hash"] == *hash);
        holds(&format!("{machine}'s own chain has the record {record}"), held);
    }
    Ok(())
}

/// The other tables.
fn shown(v: &Vaulted, wrong: &mut Vec<String>) -> Result<()> {
    let mut holds = |what: &str, held: bool, said: &Value| {
        if !held {
            wrong.push(format!("{what}: {said:#}"));
        }
    };
    let (backups, _) = v.shown("backups")?;
    let rows = backups["backups"]["rows"].as_array().cloned().unwrap_or_default();
    holds("a row for the tenant and one for the host", rows.len() == 2, &backups);
    let nightly = |row: &Value| {
        let cells =
            row["days"].as_array().into_iter().flatten().flat_map(|day| day.as_array().into_iter().flatten());
        cells.filter(|cell| cell["set"] == "nightly" && cell["sign"] == "sealed").count()
    };
    holds("a week", backups["backups"]["days"].as_array().is_some_and(|days| days.len() == 7), &backups);
    holds("one sealed night each", rows.iter().all(|row| nightly(row) == 1), &backups);
    holds("the vault's own word", backups["backups"]["vaults"][0]["why"].is_null(), &backups);
    let (hosts, _) = v.shown("hosts")?;
    let row = |name: &str| {
        let rows = hosts["hosts"].as_array().cloned().unwrap_or_default();
        rows.into_iter().find(|row| row["host"] == name).unwrap_or_default()
    };
    for name in ["web1", "vault1"] {
        let heard = row(name)["last_contact"].is_string() && row(name)["chain"] == json!([]);
        holds(&format!("{name} was heard"), heard, &hosts);
    }
    holds("what web1 keeps", row("web1")["state"] == "met", &hosts);
    holds("the vault on vault1", row("vault1")["vault"] == "vault1", &hosts);
    holds("ctl1 was never admitted", row("ctl1")["state"] == "unknown", &hosts);
    let (patches, _) = v.shown("patches")?;
    holds("web1's update waits", patches["patches"].to_string().contains("\"security\":1"), &patches);
    v.fleet.web1.must(&["nft", "flush", "ruleset"])?;
    let told = wait_for("the flush in `tenure drift`", SOON, || {
        v.shown("drift").is_ok_and(|(drift, _)| {
            let rows = drift["drift"].as_array().cloned().unwrap_or_default();
            rows.iter()
                .any(|row| row["host"] == "web1" && row["mended"] == true && row["by"]["comm"] == "nft")
        })
    });
    holds("who flushed", told.is_ok(), &v.shown("drift")?.0);
    Ok(())
}

/// What a machine has written: number, hash and line of each record.
fn own_chain(v: &Vaulted, machine: &str, role: &str) -> Result<Vec<(u64, String, String)>> {
    let program = if role == "vault" { "tenure-vault" } else { "tenure-agent" };
    let line = format!(
        "rm -f /root/chain && {program} -q evidence export --out /root/chain >/dev/null && cat /root/chain"
    );
    let text = v.fleet.lab.host(machine).must(&["sh", "-c", &line])?;
    text.lines().skip(1).map(read).collect()
}

fn read(line: &str) -> Result<(u64, String, String)> {
    let parsed = ExportLine::parse(line.as_bytes())?;
    let record = parsed.unverified()?;
    Ok((record.seq.0, parsed.record.hash().to_string(), line.to_owned()))
}

/// What the controller holds of a chain is what the machine wrote, each line once, and verifies with the key alone.
fn once_and_in_order(v: &Vaulted, machine: &str, role: &str) -> Result<()> {
    let file = format!("{machine}-{role}.chain");
    let held = v.fleet.held_chain(machine, role, &file)?;
    let own = own_chain(v, machine, role)?;
    let held: Vec<_> = held.lines().skip(1).map(read).collect::<Result<_>>()?;
    assert!(held.len() > 3, "{machine} as {role}: {} records", held.len());
    for ((seq, _, theirs), (number, (_, _, ours))) in held.iter().zip((1..).zip(&own)) {
        assert!(*seq == number && theirs == ours, "{machine} as {role}: {number}: {theirs}\n{ours}");
    }
    let program = if role == "vault" { "tenure-vault" } else { "tenure-agent" };
    let key = v.fleet.lab.host(machine).must(&[program, "-q", "identity"])?;
    let key = key.lines().next().unwrap_or_default();
    v.fleet.office.put(&format!("{DESK}/{machine}.pub"), format!("{key}\n").as_bytes(), "644")?;
    let said = v.fleet.tenure(&["verify", &file, "--key", &format!("{machine}.pub")])?;
    assert!(said.ok() && said.stdout.contains("whole"), "{machine} as {role}: {}", said.said());
    Ok(())
}

/// web1 has no power: nothing that rests on its word is met. It comes back, and is judged again.
fn silent(v: &Vaulted) -> Result<()> {
    v.fleet.web1.kill()?;
    for duty in ON_WEB1 {
        let row = v.await_duty(duty, "unknown")?;
        assert!(row["why"].to_string().contains("silent"), "{row:#}");
    }
    let (view, exit) = v.shown("obligations")?;
    let rows = view["obligations"].as_array().cloned().unwrap_or_default();
    let green: Vec<_> = rows.iter().filter(|row| row["state"] == "met").map(|row| &row["duty"]).collect();
    assert_eq!((green, exit), (vec![&json!("purge")], 3), "{view:#}");
    v.fleet.web1.start()?;
    v.await_duty("backup.nightly", "met")?;
    v.await_duty("access.key_and_address", "met").map(drop)
}
