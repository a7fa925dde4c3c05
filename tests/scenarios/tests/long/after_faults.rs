//! What a person sees of faults: after each the tenant's row says in the machines' own words why there is no copy yet, and it
//! is met when there is one. Whatever was reported stands at the controller once and in order.

use std::collections::BTreeSet;
use std::time::Duration;

use age::x25519::Identity;
use serde_json::Value;
use tenure_areas::backup::journal::{self, Line, RunStep};
use tenure_lab::wait_for;
use tenure_scenarios::Result;
use tenure_scenarios::agent::SOON;
use tenure_scenarios::chains::events;
use tenure_scenarios::half_dump::HalfDump;
use tenure_scenarios::held::{Guard, Moment};
use tenure_scenarios::vaulted::{RUN, STORE, Vaulted};

use crate::runs::{JOBS, Runs, SERIES as SERIES_ALL, Stop, starts};
use crate::told;

const NIGHTLY: &str = "backup.nightly";
const SERIES: &str = "client/web1/nightly";
/// What a run says that has lost its vault.
const GONE: &str = "see to the vault and the network";
/// What takes the room on the vault's disk.
const FILL: &str = "/srv/backups/.fill";
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

    cable_cut(&v, broken)?;

    // The vault's disk is full: the vault refuses, and the row says so.
    let ran = v.run(&[SERIES])?;
    assert!(ran[0]["sealed"].is_null(), "{ran:#?}");
    trying(&v, SOON, &["the vault refuses", "no room"])?;
    vault1.must(&["rm", FILL])?;

    let number = agent_and_vault_killed(&v)?;

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
    for word in ["pg_restore", "no room", GONE] {
        assert!(failed.iter().any(|(_, why)| why.contains(word)), "{word}: {failed:#?}");
    }
    let told = failed.iter().filter(|(tries, why)| *tries == number && why.contains(GONE)).count();
    assert_eq!(told, 1, "what failed while no agent was there, as try {number}: {failed:#?}");
    in_order(&v)?;
    v.know_vault()?;
    without_a_controller(&mut Runs::new(v)?)
}

/// The vault's cable is cut while an object comes in, until its disk is full too.
fn cable_cut(v: &Vaulted, broken: HalfDump) -> Result<()> {
    let (web1, vault1) = (&v.fleet.web1, &v.fleet.vault1);
    let guard = Guard::set(vault1, &vault("^\\.tmp/object-"))?;
    broken.mend()?;
    let asked = web1.spawn(&["tenure-agent", "backup", "run", SERIES])?;
    let held = guard.holds(RUN)?.ok_or("the vault was not stopped")?;
    let (run, _) = newest(v)?;
    vault1.link_down()?;
    held.go_on()?;
    ended(v, &run)?;
    vault1.sh(&format!("dd if=/dev/zero of={FILL} bs=1M status=none; true"))?;
    vault1.link_up()?;
    drop(asked);
    trying(v, DEAD, &["vault", GONE])
}

/// The agent is killed beside a run, and then the vault while objects come in: what came of the run is told by the agent that
/// is started later. Gives the number of that try.
fn agent_and_vault_killed(v: &Vaulted) -> Result<u64> {
    let (web1, vault1) = (&v.fleet.web1, &v.fleet.vault1);
    let guard = Guard::set(vault1, &vault(&format!("^{SERIES}/.*/objects\\.journal$")))?;
    let asked = web1.spawn(&["tenure-agent", "backup", "run", SERIES])?;
    let held = guard.holds(RUN)?.ok_or("the vault was not stopped")?;
    let (run, lines) = newest(v)?;
    assert!(matches!(lines.last().map(|line| &line.step), Some(RunStep::Dumped { .. })), "{lines:#?}");
    v.fleet.kill_agent()?;
    held.kill()?;
    ended(v, &run)?;
    assert!(!web1.exec(&["systemctl", "is-active", "-q", "tenure-agent"])?.ok(), "it was away");
    wait_for("the vault to be started anew", SOON, || {
        vault1.exec(&["systemctl", "is-active", "-q", "tenure-vault"]).is_ok_and(|o| o.ok())
    })?;
    v.fleet.revive_agent()?;
    trying(v, DEAD, &["vault", GONE])?;
    drop(asked);
    let number = run.rsplit('-').next().and_then(|end| end.strip_suffix(".jsonl")?.parse().ok());
    number.ok_or_else(|| format!("a run without a number: {run}").into())
}

/// The controller is killed when a run has stored its copy. That run and the next are sealed without it, as the host's own
/// list and stock restic know; and when it is there again it has every record once, and the row is met.
fn without_a_controller(runs: &mut Runs) -> Result<()> {
    let what = "the controller killed beside a run";
    let (begun, held) = runs.stopped(Stop::Job("stored"))?;
    runs.v.fleet.kill_controller()?;
    held.go_on()?;
    runs.sealed(what, &begun)?;
    let other = SERIES_ALL.iter().map(|(series, _)| *series).find(|series| *series != begun.series);
    runs.next(what, other.ok_or("one series alone")?)?;
    assert!(!runs.v.fleet.controller_runs(), "{what}: nobody was there to hear of it");
    runs.v.fleet.revive_controller()?;
    let row = runs.v.await_duty(NIGHTLY, "met")?;
    assert!(faults(&row).is_empty(), "{row:#}");
    for (series, _) in SERIES_ALL {
        runs.holds(what, series)?;
    }
    in_order(&runs.v)?;
    let held = runs.v.fleet.held_chain("web1", "host", "web1.chain")?;
    let held: Vec<String> =
        events(&held, "backup_sealed")?.iter().map(|one| one["slot"].to_string()).collect();
    let once: BTreeSet<&String> = held.iter().collect();
    let own = told::once(&runs.v)?;
    let own = own.iter().filter(|one| one.starts_with("backup_sealed ")).count();
    assert!(own >= 7 && (once.len(), held.len()) == (own, own), "{what}: {own} sealed, told: {held:#?}");
    Ok(())
}

/// The controller gets everything that the machines have stated by now, and has it once and in order.
fn in_order(v: &Vaulted) -> Result<()> {
    for (machine, role) in [("web1", "host"), ("vault1", "host"), ("vault1", "vault")] {
        let stated = v.fleet.own_chain(machine, role)?.len() as u64;
        let told = || v.fleet.held_of(machine, role) >= stated;
        wait_for(&format!("{stated} records of {machine} as {role}"), SOON, told)
            .map_err(|why| format!("{why}: {:#}", v.fleet.controller_status()))?;
        v.fleet.once_and_in_order(machine, role)?;
    }
    Ok(())
}

/// A moment of the vault's.
fn vault(path: &str) -> Moment<'_> {
    Moment { root: STORE, path, line: "", unit: "tenure-vault", program: "tenure-vault" }
}

/// Waits for the end of a run that cannot be sealed.
fn ended(v: &Vaulted, run: &str) -> Result<()> {
    let failed = || {
        let lines = v.fleet.web1.get(run).ok().and_then(|text| journal::parse(text.as_bytes()).ok());
        lines.is_some_and(|lines| matches!(lines.last().map(|l| &l.step), Some(RunStep::Failed { .. })))
    };
    wait_for("the run to fail", DEAD, failed)
        .map(drop)
        .map_err(|why| format!("{why}\n{}", v.journals()).into())
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

/// Which try of the tenant's slot failed and why, as the controller holds the host's own records.
fn failures(v: &Vaulted) -> Result<Vec<(u64, String)>> {
    v.fleet.await_reported()?;
    let failed = events(&v.fleet.held_chain("web1", "host", "web1.chain")?, "backup_failed")?;
    let read = |one: &Value| {
        (one["slot"]["series"]["owner"]["tenant"] == "client").then_some(())?;
        Some((one["tries"].as_u64()?, one["why"].as_str()?.to_owned()))
    };
    Ok(failed.iter().filter_map(read).collect())
}
