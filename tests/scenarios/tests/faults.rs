//! Power loss and `kill -9` at any step of a change, and a full disk: the host ends in the old or the new state, with
//! the management path open, and nothing is half applied.

use std::time::Duration;

use tenure_lab::{Family, SshAs, wait_for};
use tenure_scenarios::agent::SOON;
use tenure_scenarios::fleet::MARIT;
use tenure_scenarios::{Fleet, Policy, Reach, Result, all_held, reach};

/// The usual set and one that also opens postgresql: what is reached tells which is in force.
fn pair(fleet: &Fleet) -> [Policy; 2] {
    let wider = fleet
        .usual()
        .with("allow: [https], from: [anywhere]", "allow: [https, postgresql], from: [anywhere]")
        .with("drop: [ssh, postgresql, tcp/9000]", "drop: [ssh, tcp/9000]")
        .with("drop: [ssh, postgresql]", "drop: [ssh]");
    [fleet.usual(), wider].map(|policy| policy.with("within: 60s", "within: 6s"))
}

#[test]
fn killed_at_any_moment_of_a_change_it_ends_old_or_new() -> Result<()> {
    let fleet = Fleet::up("killed")?;
    // Only on a disk of its own does what was written survive as it would.
    fleet.web1.disk("/var/lib/tenure", 64)?;
    fleet.web1.must(&["chmod", "700", "/var/lib/tenure"])?;
    let sets = pair(&fleet);
    fleet.enforce(&sets[0])?;
    let mut wrong = Vec::new();
    // The moments of a change: taken, compiled, staged, switched, confirmed. Milliseconds after the set is in place.
    for (round, delay) in [0, 150, 220, 250, 280, 310, 350, 400, 500, 700].into_iter().enumerate() {
        let from = reach(&fleet.stranger, &fleet.web1, 5432, Family::V4)?;
        fleet.place_set(&sets[(round + 1) % 2])?;
        fleet.web1.must(&[
            "sh",
            "-c",
            &format!("sleep 0.{delay:03}; systemctl kill -s KILL tenure-agent; true"),
        ])?;
        if !fleet.office.ssh(&fleet.web1, "admin", SshAs::Key(MARIT), Family::V4)?.is_in() {
            wrong.push(format!("killed after {delay} ms: the management path is cut"));
        }
        fleet.web1.must(&[
            "sh",
            "-c",
            "systemctl reset-failed tenure-agent; systemctl restart tenure-agent",
        ])?;
        let settled = || {
            let area = fleet.area("firewall");
            if area["pending"].is_object() {
                let _ = fleet.confirm(Family::V4);
            }
            matches!(area["verdict"].as_str(), Some("compliant" | "remediated" | "drifted"))
                && area["pending"].is_null()
        };
        if let Err(why) = wait_for("rest", SOON, settled) {
            wrong.push(format!(
                "killed after {delay} ms: {why}: {:#}\n{}",
                fleet.area("firewall"),
                fleet.journal()
            ));
        }
        let now = Family::BOTH.map(|f| reach(&fleet.stranger, &fleet.web1, 5432, f));
        let same = matches!(&now, [Ok(a), Ok(b)] if a == b && *a != Reach::Refused);
        if !same || reach(&fleet.stranger, &fleet.web1, 9000, Family::V4)? != Reach::Silent {
            wrong.push(format!("killed after {delay} ms: from {from:?} to {now:?}: neither old nor new"));
        }
        if reach(&fleet.stranger, &fleet.web1, 443, Family::V6)? != Reach::Answers {
            wrong.push(format!("killed after {delay} ms: what both sets allow is closed"));
        }
        let _applying = fleet.apply_beside()?;
        if let Err(why) = fleet.settle(SOON) {
            wrong.push(format!("killed after {delay} ms, afterwards: {why}"));
        }
    }
    all_held("kill -9", &wrong)?;
    all_held("logins afterwards", &fleet.login_differences())
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
    assert_eq!(
        reach(&fleet.stranger, &fleet.web1, 5432, Family::V4)?,
        Reach::Silent,
        "nobody had confirmed it"
    );
    all_held("logins", &fleet.login_differences())
}

#[test]
fn a_full_disk_stops_evidence_and_not_enforcement() -> Result<()> {
    let fleet = Fleet::up("full")?;
    fleet.web1.disk("/var/lib/tenure", 8)?;
    fleet.web1.must(&["chmod", "700", "/var/lib/tenure"])?;
    fleet.enforce(&fleet.usual())?;
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
    wait_for("a word on the change that was not made", SOON, || {
        let area = fleet.area("firewall");
        area["done"].to_string().contains("No space")
            || matches!(area["verdict"].as_str(), Some("drifted" | "unknown"))
    })
    .map_err(|why| format!("{why}: {:#}", fleet.area("firewall")))?;
    assert_eq!(
        fleet.web1.must(&["nft", "-s", "list", "table", "inet", "tenure"])?,
        before,
        "nothing is half applied"
    );
    all_held("logins on a full disk", &fleet.login_differences())?;

    // With space again everything goes on, and the chain says what was lost and is whole.
    fleet.web1.must(&["sh", "-c", "rm -f /var/lib/tenure/full /var/lib/tenure/fill.*"])?;
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
