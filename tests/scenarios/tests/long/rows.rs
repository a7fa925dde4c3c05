//! What a person sees of faults: after each the tenant's row says in the machines' own words why there is no copy yet, and it
//! is met when there is one. Whatever was reported stands at the controller once and in order.

use std::time::Duration;

use age::x25519::Identity;
use serde_json::Value;
use tenure_areas::backup::journal::{self, Line, RunStep};
use tenure_lab::wait_for;
use tenure_scenarios::Result;
use tenure_scenarios::agent::SOON;
use tenure_scenarios::half_dump::HalfDump;
use tenure_scenarios::held::{Guard, Moment};
use tenure_scenarios::vaulted::{RUN, STORE, Vaulted};
use tenure_trust::{About, ExportLine};

use crate::runs::{JOBS, starts};

const NIGHTLY: &str = "backup.nightly";
const SERIES: &str = "client/web1/nightly";
/// Until a host that hears nothing of a dead vault gives the connection up.
const DEAD: Duration = Duration::from_secs(240);
/// Until the slot's time has come and its first run has failed.
const FIRST: Duration = Duration::from_secs(90 + 110);

#[test]
fn after_each_fault_the_row_says_what_happened() -> Result<()> {
    let recipients = [Identity::generate(), Identity::generate()].map(|id| id.to_public().to_string());
    let mut v = Vaulted::linked_on("rows", &recipients, Some(300))?;
    let (web1, vault1) = (v.fleet.web1.clone(), v.fleet.vault1.clone());

    // When the slot's time comes its dump ends half-way.
    let broken = HalfDump::on(&web1)?;
    v.coming(Vaulted::publish)?;
    trying(&v, FIRST, &["dump", "pg_restore"])?;

    // The vault's disk is full: the vault refuses, and the row says so.
    vault1.sh(&format!("dd if=/dev/zero of={STORE}/.fill bs=1M status=none; true"))?;
    broken.mend()?;
    let ran = v.run(&[SERIES])?;
    assert!(ran[0]["sealed"].is_null(), "{ran:#?}");
    trying(&v, SOON, &["the vault refuses", "no room"])?;
    vault1.must(&["rm", &format!("{STORE}/.fill")])?;

    // The vault is killed while objects come in.
    let moment = Moment {
        root: STORE,
        path: &format!("^{SERIES}/.*/objects\\.journal$"),
        line: "",
        unit: "tenure-vault",
        program: "tenure-vault",
    };
    let guard = Guard::set(&vault1, &moment)?;
    let asked = web1.spawn(&["tenure-agent", "backup", "run", SERIES])?;
    let held = guard.holds(RUN)?.ok_or("the vault was not stopped")?;
    let (_, lines) = newest(&v)?;
    assert!(matches!(lines.last().map(|line| &line.step), Some(RunStep::Dumped { .. })), "{lines:#?}");
    held.kill()?;
    trying(&v, DEAD, &["vault", "see to the vault and the network"])?;
    drop(asked);
    wait_for("the vault to be started anew", SOON, || {
        vault1.exec(&["systemctl", "is-active", "-q", "tenure-vault"]).is_ok_and(|o| o.ok())
    })?;

    // The job is killed, and goes on.
    let moment = Moment {
        root: JOBS,
        path: "-nightly-client-.*\\.jsonl$",
        line: "\"step\":\\{\"stored\"",
        unit: "tenure-job-*",
        program: "tenure-agent",
    };
    let guard = Guard::set(&web1, &moment)?;
    let asked = web1.spawn(&["tenure-agent", "backup", "run", SERIES])?;
    guard.holds(RUN)?.ok_or("the job was not stopped")?.kill()?;
    let row = v.await_duty(NIGHTLY, "met")?;
    assert!(faults(&row).is_empty(), "{row:#}");
    drop(asked);
    let (run, lines) = newest(&v)?;
    assert_eq!(starts(&lines), 2, "{run}: {lines:#?}");
    let failed = failures(&v)?;
    for word in ["pg_restore", "no room", "see to the vault and the network"] {
        assert!(failed.iter().any(|why| why.contains(word)), "{word}: {failed:#?}");
    }
    v.fleet.await_reported()?;
    for (machine, role) in [("web1", "host"), ("vault1", "host"), ("vault1", "vault")] {
        v.fleet.once_and_in_order(machine, role)?;
    }
    Ok(())
}

/// Waits until the row is due and says these words of the slot's last run, also in the table that people read.
fn trying(v: &Vaulted, limit: Duration, words: &[&str]) -> Result<()> {
    let mut row = Value::Null;
    let said = |row: &Value| {
        let faults = faults(row);
        row["state"] == "due" && faults.len() == 1 && words.iter().all(|word| faults[0].contains(word))
    };
    wait_for(&format!("{words:?} in the row"), limit, || {
        row = v.duty(NIGHTLY);
        said(&row)
    })
    .map_err(|why| format!("{why}: {row:#}\n{}", v.journals()))?;
    let table = v.fleet.tenure(&["obligations"])?;
    let whole = table.stdout.lines().find(|line| line.starts_with("client backup.nightly: "));
    let whole = whole.unwrap_or_default();
    let told = whole.contains("is tried again, failed so far: ") && whole.contains(words[0]);
    assert!(table.status == 3 && told, "{whole}: {}", table.said());
    Ok(())
}

/// What the row says of the last run of a slot that is tried again.
fn faults(row: &Value) -> Vec<&str> {
    let why = row["why"].as_array().into_iter().flatten();
    why.filter(|one| one["kind"] == "slot").filter_map(|one| one["fault"]["trying"].as_str()).collect()
}

/// The journal of the tenant's run that was begun last.
fn newest(v: &Vaulted) -> Result<(String, Vec<Line>)> {
    let line = format!("ls -t {JOBS}/*-nightly-client-*.jsonl | head -1");
    let path = v.fleet.web1.must(&["sh", "-c", &line])?.trim().to_owned();
    let lines = journal::parse(v.fleet.web1.get(&path)?.as_bytes())?;
    Ok((path, lines))
}

/// Why runs failed, as the controller holds the host's own records.
fn failures(v: &Vaulted) -> Result<Vec<String>> {
    let mut failed = Vec::new();
    for (_, _, line) in v.fleet.held_chain("web1", "host", "web1.chain")? {
        let line = ExportLine::parse(line.as_bytes())?;
        let About::Event(event) = line.unverified()?.about else { continue };
        if event.as_str() == "backup_failed" {
            let payload: Value =
                serde_json::from_slice(line.payload.as_ref().map_or(b"null", |p| p.bytes()))?;
            failed.extend(payload["why"].as_str().map(str::to_owned));
        }
    }
    Ok(failed)
}
