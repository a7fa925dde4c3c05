//! Power loss and `kill -9` at any step of a change, and a full disk: the host ends in the old or the new state, with
//! the management path open, and nothing is half applied.

use std::time::Duration;

use tenure_lab::{Family, SshAs, wait_for};
use tenure_scenarios::agent::SOON;
use tenure_scenarios::fleet::MARIT;
use tenure_scenarios::{Fleet, Policy, Reach, Result, all_held, reach};
use tenure_trust::record::{About, ExportLine};

/// The usual set and one that also opens postgresql: what is reached tells which is in force.
fn pair(fleet: &Fleet) -> [Policy; 2] {
    let wider = fleet
        .usual()
        .with("allow: [https], from: [anywhere]", "allow: [https, postgresql], from: [anywhere]")
        .with("drop: [ssh, postgresql, tcp/9000]", "drop: [ssh, tcp/9000]")
        .with("drop: [ssh, postgresql]", "drop: [ssh]");
    [fleet.usual(), wider].map(|policy| policy.with("within: 60s", "within: 6s"))
}

/// Ends the agent with SIGKILL as soon as a file is another one, or so many milliseconds later; says when it is on guard, and when
/// it has done it.
const KILLER: &str = "
import os, signal, sys, time
path, delay, pid = sys.argv[1], float(sys.argv[2]) / 1000, int(sys.argv[3])
def mark():
    try:
        seen = os.stat(path)
        return seen.st_ino, seen.st_mtime_ns
    except FileNotFoundError:
        return None
before, limit = mark(), time.monotonic() + 120
open('/run/killer.ready', 'w').close()
while mark() in (before, None):
    if time.monotonic() > limit:
        sys.exit(1)
at = time.monotonic() + delay
while time.monotonic() < at:
    pass
os.kill(pid, signal.SIGKILL)
open('/run/killer.done', 'w').close()
";
/// Rounds at most.
const MOST: usize = 40;
const TRIAL: &str = "/var/lib/tenure/firewall/trial.json";
const CONFIRMED: &str = "/var/lib/tenure/firewall/confirmed.json";

#[test]
fn killed_at_any_step_of_a_change_it_ends_old_or_new() -> Result<()> {
    let fleet = Fleet::up("killed")?;
    // Only on a disk of its own does what was written survive as it would.
    fleet.web1.disk("/var/lib/tenure", 64)?;
    fleet.web1.must(&["chmod", "700", "/var/lib/tenure"])?;
    let sets = pair(&fleet).map(|policy| policy.with("within: 6s", "within: 20s"));
    fleet.enforce(&sets[0])?;
    // It stays dead until this test starts it, so that what it left can be looked at.
    fleet.web1.put(
        "/run/systemd/system/tenure-agent.service.d/lab.conf",
        b"[Service]\nRestart=no\n",
        "644",
    )?;
    fleet.web1.must(&["systemctl", "daemon-reload"])?;
    fleet.web1.put("/usr/local/lib/killer.py", KILLER.as_bytes(), "644")?;
    let (mut wrong, mut fell) = (Vec::new(), Vec::new());
    // Each at the durable note of a step: the trial is written before anything is loaded, the confirmed ruleset after it is in force.
    let moments = [
        (TRIAL, 0),
        (TRIAL, 3),
        (TRIAL, 10),
        (TRIAL, 40),
        (CONFIRMED, 0),
        (CONFIRMED, 1),
        (TRIAL, 0),
        (TRIAL, 20),
        (CONFIRMED, 0),
        (TRIAL, 300),
    ];
    let mut moments = moments.into_iter();
    for round in 0..MOST {
        // On a busy machine a kill comes late: it is tried again until one fell at each step.
        let still = [(Step::Written, (TRIAL, 0)), (Step::OnTrial, (TRIAL, 10)), (Step::Kept, (CONFIRMED, 0))];
        let missed = || still.into_iter().find(|(step, _)| !fell.contains(step)).map(|(_, moment)| moment);
        let Some((note, delay)) = moments.next().or_else(missed) else { break };
        let what = format!("round {round}, {delay} ms after {note}");
        let from = reach(&fleet.stranger, &fleet.web1, 5432, Family::V4)?;
        let pid = fleet.web1.must(&["systemctl", "show", "-P", "MainPID", "tenure-agent"])?;
        fleet.web1.must(&["rm", "-f", "/run/killer.ready", "/run/killer.done"])?;
        let delay = delay.to_string();
        let _killer = fleet.web1.spawn(&["python3", "/usr/local/lib/killer.py", note, &delay, pid.trim()])?;
        let is_there = |path: &str| fleet.web1.exec(&["test", "-e", path]).is_ok_and(|o| o.ok());
        wait_for("the killer on guard", SOON, || is_there("/run/killer.ready"))?;
        fleet.place_set(&sets[(round + 1) % 2])?;
        let done = wait_for("the kill", SOON, || {
            if note == CONFIRMED && fleet.area("firewall")["pending"].is_object() {
                let _ = fleet.confirm(Family::V4);
            }
            is_there("/run/killer.done")
        });
        if let Err(why) = done {
            wrong.push(format!("{what}: {why}: {:#}", fleet.area("firewall")));
            continue;
        }
        wait_for("the end of the agent", SOON, || {
            fleet.web1.exec(&["systemctl", "is-active", "-q", "tenure-agent"]).is_ok_and(|o| !o.ok())
        })?;
        fell.push(step_reached(&fleet)?);
        if !fleet.office.ssh(&fleet.web1, "admin", SshAs::Key(MARIT), Family::V4)?.is_in() {
            wrong.push(format!("{what}: the management path is cut"));
        }
        fleet.web1.sh("systemctl reset-failed tenure-agent")?;
        fleet.web1.must(&["systemctl", "start", "tenure-agent"])?;
        let settled = || {
            let area = fleet.area("firewall");
            if area["pending"].is_object() {
                let _ = fleet.confirm(Family::V4);
            }
            matches!(area["verdict"].as_str(), Some("compliant" | "remediated" | "drifted"))
                && area["pending"].is_null()
        };
        if let Err(why) = wait_for("rest", SOON, settled) {
            wrong.push(format!("{what}: {why}: {:#}\n{}", fleet.area("firewall"), fleet.journal()));
        }
        // A trial may end between one family and the other: what counts is what it ends as.
        let mut now = Family::BOTH.map(|_| Ok(Reach::Refused));
        let same = wait_for("both families alike", SOON, || {
            now = Family::BOTH.map(|f| reach(&fleet.stranger, &fleet.web1, 5432, f));
            matches!(&now, [Ok(a), Ok(b)] if a == b && *a != Reach::Refused)
        });
        if same.is_err() || reach(&fleet.stranger, &fleet.web1, 9000, Family::V4)? != Reach::Silent {
            wrong.push(format!("{what}: from {from:?} to {now:?}: neither old nor new"));
        }
        if reach(&fleet.stranger, &fleet.web1, 443, Family::V6)? != Reach::Answers {
            wrong.push(format!("{what}: what both sets allow is closed"));
        }
        let _applying = fleet.apply_beside()?;
        if let Err(why) = fleet.settle(SOON) {
            wrong.push(format!("{what}, afterwards: {why}"));
        }
    }
    all_held("kill -9", &wrong)?;
    // The kills meant something: all but few of them left a change half done, before it was loaded, on trial and at its end.
    let inside = fell.iter().filter(|step| **step != Step::Outside).count();
    assert!(
        inside * 5 >= fell.len() * 4,
        "only {inside} of {} kills fell inside a change: {fell:?}",
        fell.len()
    );
    for step in [Step::Written, Step::OnTrial, Step::Kept] {
        assert!(fell.contains(&step), "no kill fell at {step:?}: {fell:?}");
    }
    all_held("logins afterwards", &fleet.login_differences())
}

/// How far a change had come when the agent died.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// No change was under way.
    Outside,
    /// The trial is written down and not loaded.
    Written,
    /// The new ruleset is loaded beside the old one and nothing points at it.
    Staged,
    /// It is on trial.
    OnTrial,
    /// It is in force and not yet written down as confirmed.
    InForce,
    /// It is written down as confirmed and the note of the trial is still there.
    Kept,
}

/// What a dead agent left on disk and in the kernel.
fn step_reached(fleet: &Fleet) -> Result<Step> {
    let note =
        |path: &str| -> Option<serde_json::Value> { serde_json::from_str(&fleet.web1.get(path).ok()?).ok() };
    let Some(trial) = note(TRIAL) else { return Ok(Step::Outside) };
    let number = |value: &serde_json::Value| value["number"].as_u64().ok_or("a ruleset without a number");
    let (new, over) = (number(&trial["new"])?, number(&trial["over"])?);
    let confirmed = note(CONFIRMED).map(|c| number(&c["ruleset"])).transpose()?;
    let table = fleet.web1.must(&["nft", "list", "table", "inet", "tenure"])?;
    let has = |name: String| table.contains(&name);
    let loaded = has(format!("chain g{new}_input"));
    Ok(match (loaded, has(format!("set g{new}_live")), has(format!("chain g{over}_input"))) {
        _ if confirmed == Some(new) => Step::Kept,
        (false, ..) => Step::Written,
        (true, true, _) => Step::OnTrial,
        (true, false, true) => Step::Staged,
        (true, false, false) => Step::InForce,
    })
}

#[test]
fn power_lost_during_a_trial_ends_in_the_old_state() -> Result<()> {
    let fleet = Fleet::up("power")?;
    fleet.web1.disk("/var/lib/tenure", 64)?;
    fleet.web1.must(&["chmod", "700", "/var/lib/tenure"])?;
    let [old, wider] = pair(&fleet).map(|policy| policy.with("within: 6s", "within: 60s"));
    fleet.enforce(&old)?;
    fleet.place_set(&wider)?;
    fleet.await_trial()?;
    assert_eq!(reach(&fleet.stranger, &fleet.web1, 5432, Family::V4)?, Reach::Answers, "on trial");
    fleet.web1.must(&["systemctl", "disable", "-q", "tenure-agent"])?;
    fleet.web1.kill()?;
    fleet.web1.start()?;
    // The boot unit tries again after a second, and a host counts as up meanwhile.
    wait_for("the ruleset that was confirmed", SOON, || {
        reach(&fleet.stranger, &fleet.web1, 5432, Family::V4).is_ok_and(|reached| reached == Reach::Silent)
    })
    .map_err(|why| format!("{why}: nobody had confirmed it: {}", booted(&fleet).unwrap_or_default()))?;
    all_held("logins", &fleet.login_differences())
}

/// What a host made of its boot, for the message of a test.
fn booted(fleet: &Fleet) -> Result<String> {
    let look = "systemctl --no-pager list-units 'tenure*' --all; journalctl --no-pager -b -o short-monotonic -u 'tenure*' | tail -n 40; \
        ls -la --time-style=full-iso /var/lib/tenure; grep tenure /proc/mounts; nft list ruleset | head -n 40";
    Ok(fleet.web1.sh(look)?.stdout)
}

/// Fills the disk of the agent's state.
fn fill(fleet: &Fleet) -> Result<()> {
    // Large files first, then small ones, until not even those fit: the file system frees reserves only after a while.
    let fill = "cd /var/lib/tenure; for n in 1 2 3; do cat /dev/zero >>full; sync; done; \
        for n in $(seq 200); do head -c 1000 /dev/zero >fill.$n.$0 || exit 0; done; sync";
    let mut round = 0;
    wait_for("a full disk", SOON, || {
        round += 1;
        let _ = fleet.web1.exec(&["sh", "-c", fill, &round.to_string()]);
        let probe = format!("echo probe >/var/lib/tenure/fill.probe.{round} && sync");
        fleet.web1.sh(&probe).is_ok_and(|output| output.stderr.contains("No space left"))
    })
    .map_err(|why| {
        format!("{why}: {}", fleet.web1.must(&["df", "-k", "/var/lib/tenure"]).unwrap_or_default())
    })?;
    Ok(())
}

const EMPTY: &str = "rm -f /var/lib/tenure/full /var/lib/tenure/fill.*";

#[test]
fn a_policy_that_a_full_disk_kept_out_is_taken_when_there_is_room() -> Result<()> {
    let fleet = Fleet::up("room")?;
    fleet.web1.disk("/var/lib/tenure", 8)?;
    fleet.web1.must(&["chmod", "700", "/var/lib/tenure"])?;
    fleet.enforce_signed()?;
    fill(&fleet)?;
    fleet.sign("marit", &fleet.usual(), 2)?;
    fleet.deliver()?;
    let status = || fleet.agent_json(&["status"]).unwrap_or_default();
    wait_for("a word on the policy that was not taken", SOON, || {
        status().to_string().contains("No space left on device")
    })
    .map_err(|why| format!("{why}: {:#}", status()))?;
    assert_eq!(status()["board"]["policy"]["version"], 1, "{:#}", status());
    // Nobody starts the agent again or touches what was delivered.
    fleet.web1.sh(EMPTY)?;
    wait_for("version 2", SOON * 2, || status()["board"]["policy"]["version"] == 2)
        .map_err(|why| format!("{why}: {:#}", status()))?;
    Ok(())
}

#[test]
fn a_full_disk_stops_evidence_and_not_enforcement() -> Result<()> {
    let fleet = Fleet::up("full")?;
    fleet.web1.disk("/var/lib/tenure", 8)?;
    fleet.web1.must(&["chmod", "700", "/var/lib/tenure"])?;
    fleet.enforce(&fleet.usual())?;
    fill(&fleet)?;

    // Drift is still restored.
    fleet.web1.must(&["nft", "flush", "ruleset"])?;
    wait_for("the ruleset", SOON, || {
        fleet.web1.exec(&["nft", "list", "table", "inet", "tenure"]).is_ok_and(|o| o.ok())
    })?;
    assert_eq!(reach(&fleet.stranger, &fleet.web1, 5432, Family::V4)?, Reach::Silent);
    // It says so.
    wait_for("a word on lost records", SOON, || {
        fleet.agent_json(&["status"]).is_ok_and(|s| {
            let evidence = &s["board"]["evidence"];
            evidence["lost"].as_u64() > Some(0) || evidence["failing"].is_string()
        })
    })
    .map_err(|why| format!("{why}: {:#}", fleet.agent_json(&["status"]).unwrap_or_default()))?;
    // A new ruleset whose trial could not be written down is not tried.
    let before = fleet.web1.must(&["nft", "-s", "list", "table", "inet", "tenure"])?;
    fleet.place_set(&pair(&fleet)[1])?;
    // It stops at the first step, says which and why, and is not as the policy says.
    let stopped = |area: &serde_json::Value| {
        let text = |step: &serde_json::Value, key: &str| step[key].as_str().unwrap_or_default().to_owned();
        let done = area["done"].as_array().cloned().unwrap_or_default();
        let [step] = done.as_slice() else { return false };
        text(step, "step").starts_with("write down the trial of g2 over g1")
            && text(step, "error").contains("No space left on device")
            && area["verdict"] == "drifted"
            && area["pending"].is_null()
    };
    wait_for("a word on the change that was not made", SOON, || stopped(&fleet.area("firewall")))
        .map_err(|why| format!("{why}: {:#}", fleet.area("firewall")))?;
    assert_eq!(
        fleet.web1.must(&["nft", "-s", "list", "table", "inet", "tenure"])?,
        before,
        "nothing is half applied"
    );
    assert!(!fleet.web1.exec(&["test", "-e", TRIAL])?.ok(), "no trial is written down");
    all_held("logins on a full disk", &fleet.login_differences())?;

    // With space again everything goes on, and the chain says what was lost and is whole.
    fleet.web1.must(&["sh", "-c", EMPTY])?;
    let _applying = fleet.apply_beside()?;
    fleet.settle(Duration::from_secs(60))?;
    fleet.agent(&["evidence", "export", "--out", "/root/chain"])?;
    let key = fleet.agent(&["--quiet", "identity"])?;
    let desk = tenure_scenarios::operator::DESK;
    fleet.office.put(&format!("{desk}/chain"), fleet.web1.get("/root/chain")?.as_bytes(), "644")?;
    fleet.office.put(&format!("{desk}/web1.pub"), key.stdout.as_bytes(), "644")?;
    let verified = fleet.tenure(&["verify", "chain", "--key", "web1.pub"])?;
    assert!(verified.ok(), "{}", verified.said());
    assert!(verified.said().contains("could not write"), "it states what was lost: {}", verified.said());
    Ok(())
}

#[test]
fn evidence_stops_before_the_disk_is_full_and_a_new_ruleset_is_still_tried() -> Result<()> {
    let fleet = Fleet::up("reserve")?;
    fleet.web1.disk("/var/lib/tenure", 64)?;
    fleet.web1.must(&["chmod", "700", "/var/lib/tenure"])?;
    fleet.enforce(&fleet.usual())?;
    // Half of what is kept free is left.
    let fill = "set -- $(df -B1 --output=size,avail /var/lib/tenure | tail -1); \
        head -c $(($2 - $1 / 16)) /dev/zero >/var/lib/tenure/full; sync; df -B1 --output=size,avail /var/lib/tenure";
    let room = fleet.web1.must(&["sh", "-c", fill])?;
    fleet.web1.must(&["nft", "flush", "ruleset"])?;
    let evidence =
        || fleet.agent_json(&["status"]).map(|s| s["board"]["evidence"].clone()).unwrap_or_default();
    wait_for("a word on the room that is kept", SOON, || {
        evidence()["failing"].as_str().is_some_and(|why| why.contains("kept for changes of the host"))
    })
    .map_err(|why| format!("{why}: {room} {:#}", evidence()))?;
    fleet.place_set(&pair(&fleet)[1].clone().with("within: 6s", "within: 60s"))?;
    fleet.await_trial()?;
    fleet.confirm_soon()?;
    for family in Family::BOTH {
        assert_eq!(
            reach(&fleet.stranger, &fleet.web1, 5432, family)?,
            Reach::Answers,
            "{family:?}: it is kept"
        );
    }

    fleet.web1.must(&["rm", "/var/lib/tenure/full"])?;
    let _applying = fleet.apply_beside()?;
    fleet.settle(Duration::from_secs(60))?;
    fleet.agent(&["evidence", "export", "--out", "/root/chain"])?;
    let chain = fleet.web1.get("/root/chain")?;
    // What was not written is counted by the next record that is, and that may be the agent's own word: only the chain
    // has the whole count.
    let (mut stopped, mut lost) = (false, 0);
    for line in chain.lines().skip(1) {
        let record = ExportLine::parse(line.as_bytes())?.unverified()?;
        stopped |= matches!(record.about, About::Event(name) if name.as_str() == "records_stop");
        lost += record.lost;
    }
    assert!(stopped, "the chain itself says why there are no records");
    assert!(lost > 0, "and how many were not written");
    assert!(evidence()["failing"].is_null(), "{:#}", evidence());
    Ok(())
}
