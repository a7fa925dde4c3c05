//! What goes wrong while a copy is made: job, agent or vault killed, the cable cut, a dump that is not whole, a full disk.
//! Each time the last accepted state restores byte for byte, and the next run succeeds.

use std::time::Duration;

use age::x25519::Identity;
use serde_json::Value;
use tenure_lab::wait_for;
use tenure_scenarios::vaulted::{RUN, STORE, Vaulted};
use tenure_scenarios::{Result, all_held};

const SERIES: &str = "client/web1/server";
const SLOW: Duration = Duration::from_secs(240);

/// Begins a run beside and waits until its journal has this step.
fn begun(v: &Vaulted, step: &str) -> Result<tenure_lab::Running> {
    let web1 = &v.fleet.web1;
    web1.must(&["sh", "-c", "date +%s%N > /srv/app/client/now && dd if=/dev/urandom of=/srv/app/client/more bs=1M count=8 status=none"])?;
    let before = web1.sh("cat /var/lib/tenure/jobs/*.jsonl | wc -l")?.stdout;
    let running = web1.spawn(&["tenure-agent", "backup", "run", SERIES])?;
    let before: usize = before.trim().parse().unwrap_or_default();
    let line = format!("cat /var/lib/tenure/jobs/*.jsonl | tail -n +{} | grep -c '\"{step}\"'", before + 1);
    wait_for(&format!("the step {step}"), RUN, || web1.sh(&line).is_ok_and(|o| o.stdout.trim() != "0"))
        .map_err(|why| format!("{why}\n{}", v.journals()))?;
    Ok(running)
}

/// Waits until a run of the series begun last has ended; true when it was sealed.
fn ended(v: &Vaulted, limit: Duration) -> Result<bool> {
    let web1 = &v.fleet.web1;
    let newest = "ls -t /var/lib/tenure/jobs/*.jsonl | head -1 | xargs tail -n 2";
    let said = || web1.sh(newest).map(|o| o.stdout).unwrap_or_default();
    wait_for("the end of the run", limit, || {
        let said = said();
        said.contains("\"receipted\"") || said.contains("\"failed\"")
    })
    .map_err(|why| format!("{why}\n{}", v.journals()))?;
    Ok(said().contains("\"receipted\""))
}

/// What the newest accepted copy of the tenant's files holds, as hashes.
fn accepted(v: &Vaulted) -> Result<String> {
    let list = v.fleet.agent_json(&["backup", "list"])?;
    let of = |one: &&Value| one["series"] == SERIES;
    let newest = list.as_array().and_then(|all| all.iter().rfind(of).cloned()).unwrap_or_default();
    let generation = newest["generation"].as_str().unwrap_or_default();
    let id = newest["snapshot"].as_str().unwrap_or_default();
    v.fleet.web1.must(&["rm", "-rf", "/back"])?;
    let restored = v.restic(SERIES, generation, &["restore", id, "--target", "/back"])?;
    if !restored.ok() {
        return Err(format!("{}\n{}", restored.said(), v.journals()).into());
    }
    Ok(v.fleet.web1.must(&[
        "sh",
        "-c",
        "cd /back/srv/app/client && find . -type f | sort | xargs -d '\\n' sha256sum",
    ])?)
}

fn there(v: &Vaulted) -> Result<String> {
    Ok(v.fleet.web1.must(&[
        "sh",
        "-c",
        "cd /srv/app/client && find . -type f | sort | xargs -d '\\n' sha256sum",
    ])?)
}

#[test]
fn whatever_breaks_the_last_copy_holds_and_the_next_run_succeeds() -> Result<()> {
    let recipients = [Identity::generate(), Identity::generate()].map(|id| id.to_public().to_string());
    let v = Vaulted::up("backup-faults", &recipients, Some(400))?;
    v.fleet.start_agent()?;
    let (web1, vault1) = (v.fleet.web1.clone(), v.fleet.vault1.clone());
    let mut wrong: Vec<String> = Vec::new();
    v.must_run(&[SERIES])?;
    let mut last = there(&v)?;
    let mut check = |what: &str, held: bool, said: String| {
        if !held {
            wrong.push(format!("{what}: {said}"));
        }
    };

    // The job's process is killed: the run goes on by itself and is sealed.
    let _beside = begun(&v, "opened")?;
    web1.sh("systemctl kill -s KILL 'tenure-job-*'")?;
    let sealed = ended(&v, RUN)?;
    check("a killed job goes on", sealed && accepted(&v)? == there(&v)?, v.journals());
    last = there(&v).unwrap_or(last);

    // The agent is killed: the job does not notice.
    let _beside = begun(&v, "opened")?;
    v.fleet.kill_agent()?;
    let sealed = ended(&v, RUN)?;
    check("a job outlives its agent", sealed && accepted(&v)? == there(&v)?, v.journals());
    v.fleet.revive_agent()?;
    last = there(&v).unwrap_or(last);

    // The vault is killed: the run fails, what was accepted stands.
    let _beside = begun(&v, "dumped")?;
    v.kill_vault()?;
    let sealed = ended(&v, SLOW)?;
    v.start_vault()?;
    let held = accepted(&v)?;
    check(
        "a killed vault keeps what it accepted",
        held == if sealed { there(&v)? } else { last.clone() },
        held,
    );
    v.must_run(&[SERIES])?;
    last = there(&v)?;
    check("the run after it", accepted(&v)? == last, v.journals());

    // The cable is cut in mid-run.
    let _beside = begun(&v, "dumped")?;
    vault1.link_down()?;
    let sealed = ended(&v, SLOW)?;
    vault1.link_up()?;
    let held = accepted(&v)?;
    check("a cut cable", held == if sealed { there(&v)? } else { last.clone() }, held);
    v.must_run(&[SERIES])?;
    last = there(&v)?;

    // A dump that ends half-way and says that all is well does not count.
    let bin = web1.must(&["sh", "-c", "ls -d /usr/lib/postgresql/*/bin | tail -1"])?;
    let bin = bin.trim();
    web1.must(&["mv", &format!("{bin}/pg_dump"), &format!("{bin}/pg_dump.real")])?;
    let half = format!("#!/bin/sh\n{bin}/pg_dump.real \"$@\" | head -c 9000\nexit 0\n");
    web1.put(&format!("{bin}/pg_dump"), half.as_bytes(), "755")?;
    web1.must(&["sh", "-c", "echo newer > /srv/app/client/now"])?;
    let ran = v.run(&[SERIES])?;
    let why = ran[0]["failed"].as_str().unwrap_or_default().to_owned();
    check("half a dump", why.contains("dump") && accepted(&v)? == last, format!("{ran:#?}"));
    web1.must(&["mv", &format!("{bin}/pg_dump.real"), &format!("{bin}/pg_dump")])?;
    v.must_run(&[SERIES])?;
    last = there(&v)?;

    // The vault's disk is full.
    vault1.sh(&format!("dd if=/dev/zero of={STORE}/.fill bs=1M status=none; true"))?;
    web1.must(&["dd", "if=/dev/urandom", "of=/srv/app/client/more", "bs=1M", "count=20", "status=none"])?;
    let ran = v.run(&[SERIES])?;
    check("a full disk refuses", ran[0]["sealed"].is_null(), format!("{ran:#?}"));
    check("and what was accepted is read", accepted(&v)? == last, v.journals());
    vault1.must(&["rm", &format!("{STORE}/.fill")])?;
    v.must_run(&[SERIES])?;
    check("with room again", accepted(&v)? == there(&v)?, v.journals());
    all_held("faults", &wrong)
}
