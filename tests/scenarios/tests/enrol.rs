//! A host enrols with the controller, is admitted by a person who compared, takes policy from there and reports to it;
//! and whatever becomes of the controller, the host goes on and loses no record.

use std::time::Duration;

use age::x25519::Identity;
use serde_json::Value;
use tenure_lab::{Host, wait_for};
use tenure_scenarios::agent::SOON;
use tenure_scenarios::controller::{MachineRole, STATE};
use tenure_scenarios::forged::Forger;
use tenure_scenarios::operator::DESK;
use tenure_scenarios::vaulted::Vaulted;
use tenure_scenarios::{Fleet, Result, all_held};
use tenure_trust::{About, ExportLine};

/// Records that have piled up, and how often the controller is killed while it takes them in.
const PILE: u64 = 12_000;
const KILLS: u64 = 4;

#[test]
fn a_host_enrols_is_compared_admitted_and_kept_as_published() -> Result<()> {
    let fleet = Fleet::up_with(
        &format!("enrol-{}", std::process::id()),
        &tenure_scenarios::controller::HOSTS,
        &tenure_lab::Options::default(),
    )?;
    fleet.make_chief()?;
    fleet.start_controller()?;
    let fingerprint = fleet.enrol_web1()?;
    let placed = fleet.web1.get("/etc/tenure/trust/root.json")?;
    assert_eq!(
        placed.trim(),
        fleet.office.get(&format!("{DESK}/marit-root.json"))?.trim(),
        "the root came along"
    );

    // The token is worth nothing a second time, and another fingerprint is not admitted.
    fleet.web1.must(&["sh", "-c", "mkdir /root/kept && mv /var/lib/tenure /root/kept/"])?;
    let again = fleet.agent(&["enrol", "/root/web1.invitation", "--no-wait"])?;
    assert!(!again.ok() && again.stderr.contains("token"), "{}", again.said());
    fleet.web1.must(&["sh", "-c", "rm -rf /var/lib/tenure && mv /root/kept/tenure /var/lib/"])?;
    assert!(fleet.admit_web1("AAAA-AAAA-AAAA-AAAA-AAAA").is_err(), "nobody shows this fingerprint");
    let waiting = fleet.web1.spawn(&["tenure-agent", "enrol", "/root/web1.invitation"])?;
    fleet.admit_web1(&fingerprint)?;
    wait_for("the certificate", SOON, || fleet.web1.get("/var/lib/tenure/tls.crt").is_ok())?;
    drop(waiting);
    for key in ["tls.key", "ssh.key", "identity.key"] {
        let mode = fleet.web1.must(&["stat", "-c", "%a %U", &format!("/var/lib/tenure/{key}")])?;
        assert_eq!(mode.trim(), "600 root", "{key}");
    }

    fleet.publish(&fleet.controlled(), 1)?;
    fleet.start_agent()?;
    fleet.confirm_soon()?;
    fleet.await_rest()?;
    all_held("logins", &fleet.login_differences())?;
    let reported = fleet.await_reported()?;
    assert!(reported > 3, "{reported} records");

    // Another version comes by itself.
    fleet.publish(&fleet.controlled().with("lists_within: 2d", "lists_within: 3d"), 2)?;
    wait_for("version 2", SOON, || {
        fleet.agent_json(&["status"]).is_ok_and(|s| s["board"]["policy"]["version"] == 2)
    })
    .map_err(|why| format!("{why}: {:#}\n{}", fleet.link(), fleet.journal()))?;

    // An older one, forged by nobody and signed by marit, is not published …
    fleet.sign("marit", &fleet.controlled(), 1)?;
    assert!(fleet.tenure_must(&["publish", "signed"]).is_err());
    // … and a strange host cannot ask for anything.
    let ask = "curl -sk https://198.51.100.20:8441/v1/policy/index";
    let answer = fleet.stranger.sh(ask)?;
    assert!(answer.stdout.contains("not-admitted"), "{}", answer.said());
    Ok(())
}

#[test]
fn a_controller_killed_while_it_takes_thousands_in_loses_none_and_takes_none_twice() -> Result<()> {
    let fleet = Fleet::linked("killed-ctl")?;
    let ctl1 = fleet.ctl1();
    fleet.await_reported()?;
    // It starts again when this test says so.
    let alone = "/run/systemd/system/tenure-controller.service.d/lab.conf";
    ctl1.put(alone, b"[Service]\nRestart=no\n", "644")?;
    ctl1.must(&["systemctl", "daemon-reload"])?;
    // Thousands have piled up, signed with the host's own key.
    fleet.web1.must(&["systemctl", "stop", "tenure-agent"])?;
    let mut pile = Forger::of(&fleet.web1, MachineRole::Host, "firewall")?;
    let first = pile.chain.next.0;
    pile.pile_up(PILE as usize)?;
    fleet.web1.must(&["systemctl", "start", "tenure-agent"])?;
    let mut in_the_middle = 0;
    for (number, part) in (1..=KILLS).zip([0, 10, 25, 45]) {
        killed_at(&ctl1, first + number * PILE / (KILLS + 1), part)?;
        let acknowledged = acknowledged(&fleet)?;
        let held: u64 = fleet.database("SELECT MAX(seq) FROM chains WHERE machine = 'web1'")?.parse()?;
        assert!(held >= acknowledged, "record {acknowledged} was acknowledged, and {held} are held");
        in_the_middle += u64::from(held < first + PILE);
        ctl1.sh("systemctl reset-failed tenure-controller; systemctl start tenure-controller")?;
    }
    assert_eq!(in_the_middle, KILLS, "a kill after the last record shows nothing");
    let all = wait_for("all records", Duration::from_secs(150), || fleet.await_reported().is_ok());
    all.map_err(|why| format!("{why}: {:#}\n{:#}", fleet.link(), fleet.controller_status()))?;
    let held = fleet.once_and_in_order("web1", "host")? as u64;
    assert!(held >= first + PILE, "{held} records");
    let rows = fleet.database(
        "SELECT COUNT(*) || ' ' || COUNT(DISTINCT r.seq) || ' ' || MAX(r.seq) FROM records r JOIN chains c \
         ON c.id = r.chain WHERE c.machine = 'web1'",
    )?;
    let rows: Vec<u64> = rows.split(' ').map(str::parse).collect::<std::result::Result<_, _>>()?;
    assert!(rows[0] == rows[1] && rows[1] == rows[2], "rows, places, the last place: {rows:?}");
    no_findings(&fleet);

    // The way up is cut: the host goes on, and its records wait.
    fleet.lab.part("web1", "ctl1")?;
    fleet.web1.must(&["nft", "flush", "ruleset"])?;
    fleet.await_rest()?;
    all_held("logins without a controller", &fleet.login_differences())?;
    fleet.lab.heal()?;
    let all = wait_for("all records", Duration::from_secs(150), || fleet.await_reported().is_ok());
    all.map_err(|why| format!("{why}: {:#}\n{:#}", fleet.link(), fleet.controller_status()))?;
    no_findings(&fleet);
    Ok(())
}

/// Kills the controller so many milliseconds after it has committed web1's record of this number.
fn killed_at(ctl1: &Host, number: u64, later: u32) -> Result<()> {
    let watch = format!(
        "import os, sqlite3, subprocess, time\n\
         pid = int(subprocess.check_output(['systemctl', 'show', '-P', 'MainPID', 'tenure-controller']))\n\
         db = sqlite3.connect('file:{STATE}/controller.db?mode=ro', uri=True)\n\
         end = time.monotonic() + 100\n\
         while db.execute(\"SELECT MAX(seq) FROM chains WHERE machine = 'web1'\").fetchone()[0] < {number}:\n\
         \x20 assert time.monotonic() < end, 'record {number} does not come'\n\
         \x20 time.sleep(0.002)\n\
         time.sleep({later} / 1000)\n\
         os.kill(pid, 9)\n"
    );
    ctl1.must(&["python3", "-c", &watch])?;
    wait_for("the controller's end", SOON, || {
        ctl1.exec(&["pgrep", "-x", "tenure-controll"]).is_ok_and(|output| !output.ok())
    })?;
    Ok(())
}

/// The last record that web1 knows to be kept by the controller.
fn acknowledged(fleet: &Fleet) -> Result<u64> {
    let cursor: Value = serde_json::from_str(&fleet.web1.get("/var/lib/tenure/spool/cursor.json")?)?;
    cursor["seq"].as_u64().ok_or_else(|| format!("the cursor: {cursor}").into())
}

/// An answer that was lost costs a repetition and nothing else.
fn no_findings(fleet: &Fleet) {
    let findings = fleet.controller_status()["findings"].clone();
    assert_eq!(findings, serde_json::json!([]));
}

#[test]
fn a_controller_that_goes_back_or_withholds_changes_nothing_and_is_named() -> Result<()> {
    let recipients = [Identity::generate(), Identity::generate()].map(|id| id.to_public().to_string());
    let mut v = Vaulted::linked("hostile-ctl", &recipients)?;
    let ctl1 = v.fleet.ctl1();
    let python = |statements: &str| -> Result<()> {
        let line = format!(
            "systemctl stop tenure-controller && python3 -c \"import sqlite3; d=sqlite3.connect('{STATE}/controller.db'); \
             {statements}\" && chown tenure-controller: {STATE}/* && systemctl start tenure-controller"
        );
        ctl1.must(&["sh", "-c", &line]).map(drop).map_err(Into::into)
    };
    v.fleet.await_reported()?;
    ctl1.must(&[
        "sh",
        "-c",
        &format!(
            "systemctl stop tenure-controller && cp -a {STATE} /root/old && systemctl start tenure-controller"
        ),
    ])?;
    v.publish_as("03:30", |policy| policy.with("lists_within: 2d", "lists_within: 3d"))?;
    let fleet = &v.fleet;
    wait_for("version 2", SOON, || {
        fleet.agent_json(&["status"]).is_ok_and(|s| s["board"]["policy"]["version"] == 2)
    })?;
    let of_vault = || -> Result<Value> {
        let status = fleet.vault1.exec(&["tenure-vault", "status", "--json"])?;
        Ok(serde_json::from_str::<Value>(&status.stdout)?["version"].clone())
    };
    wait_for("version 2 at the vault", SOON, || of_vault().is_ok_and(|version| version == 2))?;
    let ruleset = fleet.web1.must(&["nft", "-s", "list", "ruleset"])?;
    let told = |word: &str| {
        let notices = || fleet.link()["notices"].to_string();
        wait_for(word, Duration::from_secs(120), || notices().contains(word))
            .map_err(|why| format!("{why}: {:#}\n{}", fleet.link(), fleet.journal()))
    };

    // It comes back with what it had before version 2: the policy is refused, the records are sent again.
    ctl1.must(&["sh", "-c", &format!("systemctl stop tenure-controller && rm -rf {STATE}/* && cp -a /root/old/. {STATE}/ && systemctl start tenure-controller")])?;
    let refused = "version 1 was offered, and version 2 has already been taken";
    told(refused)?;
    told_by_vault(&v, "policy_refused", refused)?;
    fleet.await_reported()?;

    // It has no policy at all.
    python("d.execute('DELETE FROM policy'); d.execute('DELETE FROM settings'); d.commit()")?;
    told("has no policy")?;
    told_by_vault(&v, "policy_withheld", "has no policy")?;
    assert_eq!(of_vault()?, 2, "the vault goes on with what it took");
    let status = fleet.agent_json(&["status"])?;
    assert_eq!(status["board"]["policy"]["version"], 2, "{status:#}");
    assert_eq!(fleet.web1.must(&["nft", "-s", "list", "ruleset"])?, ruleset, "nothing changed");
    let exported = fleet.agent(&["evidence", "export", "--out", "/root/chain"])?;
    assert!(exported.ok(), "{}", exported.said());
    fleet.office.put(&format!("{DESK}/chain"), fleet.web1.get("/root/chain")?.as_bytes(), "644")?;
    let key = fleet.agent(&["--quiet", "identity"])?;
    fleet.office.put(&format!("{DESK}/web1.pub"), key.stdout.as_bytes(), "644")?;
    let verified = fleet.tenure(&["verify", "chain", "--key", "web1.pub"])?;
    assert!(verified.ok(), "{}", verified.said());
    for event in ["policy_refused", "policy_withheld"] {
        let held = fleet.web1.must(&["sh", "-c", &decoded(event)])?;
        assert_ne!(held.trim(), "0", "{event} is in the host's own chain");
    }
    Ok(())
}

/// Waits until the vault's own chain has an event whose facts say so.
fn told_by_vault(v: &Vaulted, event: &str, words: &str) -> Result<()> {
    let is = |line: &str| -> Result<bool> {
        let line = ExportLine::parse(line.as_bytes())?;
        let about = matches!(&line.unverified()?.about, About::Event(name) if name.as_str() == event);
        let facts = line.payload.map(|facts| String::from_utf8_lossy(facts.bytes()).into_owned());
        Ok(about && facts.is_some_and(|facts| facts.contains(words)))
    };
    let held = || -> Result<bool> {
        let chain = v.fleet.own_chain("vault1", "vault")?;
        Ok(chain.iter().any(|(_, _, line)| is(line).unwrap_or_default()))
    };
    let told = wait_for(&format!("{event} in the vault's own chain"), Duration::from_secs(120), || {
        held().unwrap_or_default()
    });
    told.map(drop).map_err(|why| format!("{why}\n{}", v.journals()).into())
}

/// Counts the records about an event in an exported chain.
fn decoded(event: &str) -> String {
    format!(
        "python3 -c \"import json,base64; print(sum('{event}' in base64.b64decode(json.loads(l)['record']['payload']).decode() \
         for l in list(open('/root/chain'))[1:]))\""
    )
}
