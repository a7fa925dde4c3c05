//! Host, vault and controller at work together: enrolled and admitted by the tool, policy pulled, copies made, everything
//! reported once and in order, and every promise judged from the records of both, honestly.

use age::x25519::Identity;
use serde_json::{Value, json};
use tenure_lab::wait_for;
use tenure_scenarios::agent::SOON;
use tenure_scenarios::vaulted::Vaulted;
use tenure_scenarios::{Result, all_held};

use crate::look;

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
    v.scheduled(|v, at| v.publish_as(at, |policy| policy.with("een verwerkersovereenkomst", look::SAYS)))?;
    v.await_duty("backup.nightly", "met")?;
    judged(&v, &mut wrong)?;
    shown(&v, &mut wrong)?;
    all_held("what the tool shows", &wrong)?;
    look::looked_at(&v)?;
    for (machine, role) in [("web1", "host"), ("vault1", "host"), ("vault1", "vault")] {
        let records = v.fleet.once_and_in_order(machine, role)?;
        assert!(records > 3, "{machine} as {role}: {records} records");
    }
    silent(&v)
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
        ("agreement", &["not_checkable"], look::SAYS),
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
        let own = v.fleet.own_chain(machine, role)?;
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
    let backs_up = row("web1")["areas"].as_array().into_iter().flatten().any(|area| area["area"] == "backup");
    holds("what web1 keeps", row("web1")["state"] == "met" && backs_up, &hosts);
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
    told_later(v)
}

/// When newer records say that all is well the attack still stands among what differed before, with who did it and the
/// record that web1's own chain has.
fn told_later(v: &Vaulted) -> Result<()> {
    let by_nft = |found: &Value| found["mended"] == true && found["by"]["comm"] == "nft";
    let of_web1 = |rows: &Value| -> Vec<Value> {
        let rows = rows.as_array().into_iter().flatten();
        rows.filter(|row| row["host"] == "web1" && row["area"] == "firewall").cloned().collect()
    };
    wait_for("a pass after the restored one in `tenure drift`", SOON, || {
        v.shown("drift").is_ok_and(|(view, _)| !of_web1(&view["drift"]).iter().any(by_nft))
    })?;
    let (view, _) = v.shown("drift")?;
    let told = |row: &&Value| row["found"].as_array().into_iter().flatten().any(by_nft);
    let rows = of_web1(&view["history"]);
    let row = rows.iter().find(told).ok_or_else(|| format!("the flush is forgotten: {view:#}"))?;
    assert!(row["observed_at"].is_string() && row["received_at"].is_string(), "{row:#}");
    let own = v.fleet.own_chain("web1", "host")?;
    let held =
        own.iter().any(|(seq, hash, _)| row["record"]["seq"] == *seq && row["record"]["hash"] == *hash);
    assert!(held, "web1's own chain has the record of {row:#}");
    let table = v.fleet.tenure(&["drift"])?.stdout;
    let line = table.lines().skip_while(|line| !line.starts_with("What differed before"));
    let line = line.filter(|line| line.contains("web1")).find(|line| line.contains("nft"));
    let line = line.ok_or_else(|| format!("the flush is not in the table: {table}"))?;
    assert!(line.starts_with("mended") && line.contains("pid"), "{line}");
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
    tables_of_silent(v)?;
    v.fleet.web1.start()?;
    v.await_duty("backup.nightly", "met")?;
    v.await_duty("access.key_and_address", "met").map(drop)
}

/// Nor is anything of it in the other tables, though today's copies were agreed on before: not its copies, not its drift.
fn tables_of_silent(v: &Vaulted) -> Result<()> {
    let (view, exit) = v.shown("backups")?;
    let rows = view["backups"]["rows"].as_array().cloned().unwrap_or_default();
    let unknown = |row: &Value| {
        row["state"] == "unknown" && row["drilled"] == "unknown" && row["why"].to_string().contains("silent")
    };
    assert!(rows.len() == 2 && rows.iter().all(unknown) && exit == 3, "{exit}: {view:#}");
    let (view, exit) = v.shown("drift")?;
    let hosts = view["unjudged"].as_array().cloned().unwrap_or_default();
    let web1 = hosts.iter().find(|row| row["host"] == "web1").ok_or_else(|| format!("{view:#}"))?;
    assert!(web1["why"].to_string().contains("silent") && exit == 3, "{exit}: {view:#}");
    let table = v.fleet.tenure(&["drift"])?.stdout;
    let line = table.lines().find(|line| line.starts_with("unknown") && line.contains("web1"));
    assert!(line.is_some_and(|line| line.contains("web1 has said nothing")), "{table}");
    Ok(())
}
