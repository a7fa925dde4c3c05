//! A new ruleset is on trial: who may confirm it, what happens when nobody does, and what is refused before loading.

use std::time::Duration;

use serde_json::Value;
use tenure_lab::{Family, Host, Login, SshAs, Stopwatch, wait_for};
use tenure_scenarios::agent::SOON;
use tenure_scenarios::fleet::MARIT;
use tenure_scenarios::{Fleet, Reach, Result, all_held, reach};

/// A session from the office to a port of web1 that stays open: each line that goes in comes back.
const SESSION: &str = "import socket,sys,time\n\
    s=socket.create_connection(('web1',int(sys.argv[1])),3)\n\
    f=s.makefile('rw')\n\
    f.readline()\n\
    print('open',flush=True)\n\
    for n in range(3000):\n\
    \x20f.write('%d\\n'%n); f.flush(); s.settimeout(5)\n\
    \x20assert f.readline()=='%d\\n'%n\n\
    \x20open('/run/session.count','w').write(str(n))\n\
    \x20time.sleep(0.1)\n";

#[test]
fn nobody_confirms_and_the_kernel_falls_back_with_the_agent_killed() -> Result<()> {
    let fleet = Fleet::up("fallback")?;
    fleet.place_set(&fleet.usual().with("within: 60s", "within: 8s"))?;
    fleet.configure_standalone()?;
    fleet.start_agent()?;
    fleet.await_trial()?;
    let watch = Stopwatch::start();
    assert_eq!(
        reach(&fleet.stranger, &fleet.web1, 5432, Family::V4)?,
        Reach::Silent,
        "the trial is in force"
    );
    fleet.kill_agent()?;

    let open = || {
        Family::BOTH
            .into_iter()
            .all(|f| reach(&fleet.stranger, &fleet.web1, 5432, f).is_ok_and(|r| r == Reach::Answers))
    };
    wait_for("the fall-back", Duration::from_secs(15), open)?;
    let after = watch.elapsed();
    assert!(after > Duration::from_secs(3), "it fell back after {after:?}: that was not the kernel's timer");
    let agents = fleet.web1.exec(&["pgrep", "-x", "tenure-agent"])?;
    assert!(!agents.ok(), "no agent ran while the kernel fell back: {}", agents.stdout);
    assert!(fleet.office.ssh(&fleet.web1, "admin", SshAs::Key(MARIT), Family::V4)?.is_in());

    let records = "/var/lib/tenure/firewall";
    assert!(
        fleet.web1.exec(&["test", "-e", &format!("{records}/trial.json")])?.ok(),
        "nobody has tidied up yet"
    );
    fleet.revive_agent()?;
    let lapsed = |area: &Value| {
        let told = area["findings"].as_array().into_iter().flatten().find(|f| f["kind"] == "trial-expired");
        area["verdict"] == "drifted"
            && area["pending"].is_null()
            && told.is_some_and(|finding| {
                finding["weight"] == "drift"
                    && finding["what"].as_str().is_some_and(|what| {
                        what.contains("g1") && what.contains("tenure-agent apply") && what.contains("nobody")
                    })
            })
    };
    fleet.await_area("firewall", "to say that the trial lapsed and is not tried again by itself", lapsed)?;
    assert!(!fleet.web1.exec(&["test", "-e", &format!("{records}/trial.json")])?.ok(), "the trial is over");
    assert!(fleet.web1.exec(&["test", "-e", &format!("{records}/refused.json")])?.ok());
    assert!(
        !fleet.web1.exec(&["test", "-e", &format!("{records}/confirmed.json")])?.ok(),
        "nobody confirmed"
    );
    assert!(open(), "and the host is as it was");
    Ok(())
}

#[test]
fn open_sessions_are_kept_and_only_a_new_one_confirms() -> Result<()> {
    let fleet = Fleet::up("sessions")?;
    fleet.office.put("/root/session.py", SESSION.as_bytes(), "644")?;
    let mut old = fleet.office.spawn(&["python3", "/root/session.py", "9000"])?;
    let count = |host: &Host| host.get("/run/session.count").ok().and_then(|n| n.parse::<u32>().ok());
    wait_for("the old session", SOON, || count(&fleet.office).is_some())?;
    // An SSH session from before the switch, which later tries to confirm.
    let old_ssh = fleet.office.spawn(&["ssh", "-i", MARIT, "-o", "BatchMode=yes", "admin@198.51.100.11",
        "until [ -e /tmp/now ]; do sleep 0.1; done; sudo tenure-agent confirm >/tmp/said 2>&1; echo $? >/tmp/status"])?;
    wait_for("the old SSH session", SOON, || {
        fleet.web1.exec(&["pgrep", "-u", "admin", "sshd"]).is_ok_and(|o| o.ok())
    })?;

    fleet.place_set(&fleet.usual())?;
    fleet.configure_standalone()?;
    fleet.start_agent()?;
    fleet.await_trial()?;
    let before = count(&fleet.office);
    wait_for("the old session goes on", SOON, || count(&fleet.office) > before.map(|n| n + 10))?;
    assert!(old.runs(), "a session to a port that is closed now, opened before, lives on");
    assert_eq!(
        reach(&fleet.office, &fleet.web1, 9000, Family::V4)?,
        Reach::Silent,
        "a new one does not open"
    );

    let at_host = fleet.agent(&["confirm"])?;
    assert!(!at_host.ok(), "a process that came in from nowhere confirms nothing: {}", at_host.said());
    fleet.web1.put("/tmp/now", b"", "644")?;
    wait_for("the old SSH session's answer", SOON, || {
        fleet.web1.exec(&["test", "-s", "/tmp/status"]).is_ok_and(|o| o.ok())
    })?;
    assert_ne!(
        fleet.web1.get("/tmp/status")?.trim(),
        "0",
        "an old session would have survived a lock-out too"
    );
    assert!(fleet.web1.get("/tmp/said")?.contains("before the switch"), "{}", fleet.web1.get("/tmp/said")?);
    drop(old_ssh);
    assert!(fleet.area("firewall")["pending"].is_object(), "still on trial");

    let new = fleet.confirm(Family::V6)?;
    assert!(matches!(&new, Login::In(output) if output.ok()), "{new:?}");
    fleet.await_rest()
}

/// The guard's refusal, with the rule that is the reason and whom it would have cut off.
fn refused(area: &Value) -> bool {
    let refusal = &area["refusal"];
    refusal["kind"] == "management-path-cut"
        && refusal["rule"] == "block:office"
        && refusal["what"].as_str().is_some_and(|what| what.contains("marit") && what.contains("203.0.113."))
        && area["verdict"] == "drifted"
        && area["pending"].is_null()
        && area["done"] == Value::Array(Vec::new())
}

#[test]
fn an_unsigned_set_that_cuts_the_management_path_is_refused_before_loading_with_the_rule_named() -> Result<()>
{
    let fleet = Fleet::enforced("cut", Fleet::usual)?;
    let before = fleet.web1.must(&["nft", "-s", "list", "ruleset"])?;
    let cut = fleet.usual().with("      outbound:\n", "      block: [office]\n      outbound:\n");
    fleet.place_set(&cut)?;
    fleet.await_area("firewall", "the refusal", refused)?;
    assert_eq!(fleet.web1.must(&["nft", "-s", "list", "ruleset"])?, before, "nothing was loaded");
    all_held("logins", &fleet.login_differences())
}

#[test]
fn a_signed_policy_that_cuts_the_management_path_is_refused_by_the_agent_before_loading() -> Result<()> {
    let fleet = Fleet::signed("signedcut")?;
    let ruleset = || fleet.web1.must(&["nft", "-s", "list", "ruleset"]);
    let kept = || fleet.web1.must(&["sh", "-c", "cd /var/lib/tenure/firewall && sha256sum *"]);
    let before = (ruleset()?, kept()?);
    // Everything that the kernel is told from here on.
    let _monitor = fleet.web1.spawn(&["sh", "-c", "exec nft monitor >/run/told 2>&1"])?;
    let hears = |probe: &str| -> Result<String> {
        fleet.web1.must(&["nft", "add", "table", "inet", probe])?;
        wait_for("the monitor", SOON, || fleet.web1.get("/run/told").is_ok_and(|told| told.contains(probe)))?;
        fleet.web1.must(&["nft", "delete", "table", "inet", probe])?;
        Ok(fleet.web1.get("/run/told")?)
    };
    wait_for("the monitor", SOON, || {
        fleet.web1.exec(&["pgrep", "-f", "^nft monitor"]).is_ok_and(|o| o.ok())
    })?;
    hears("first")?;

    fleet.sign_a_cut("marit", 2)?;
    fleet.deliver()?;
    fleet.await_area("firewall", "the refusal", refused)?;
    let status = fleet.agent_json(&["status"])?;
    assert_eq!(status["board"]["policy"]["version"], 2, "its signature holds: {status:#}");
    let journal =
        fleet.web1.must(&["journalctl", "-u", "tenure-agent", "-o", "cat", "TENURE_RULE=block:office"])?;
    assert!(
        journal.contains("firewall: not carried out: ") && journal.contains("nothing was loaded"),
        "{journal}"
    );
    assert_eq!((ruleset()?, kept()?), before, "to the byte");
    let told = hears("last")?;
    assert!(!told.contains("tenure"), "the kernel was told nothing of ours: {told}");
    all_held("logins", &fleet.login_differences())
}

#[test]
fn a_trial_can_be_given_up_and_a_change_is_confirmed_like_the_first() -> Result<()> {
    let fleet = Fleet::enforced("revert", Fleet::usual)?;
    let wider = fleet
        .usual()
        .with("allow: [https], from: [anywhere]", "allow: [https, postgresql], from: [anywhere]")
        .with("drop: [ssh, postgresql, tcp/9000]", "drop: [ssh, tcp/9000]")
        .with("drop: [ssh, postgresql]", "drop: [ssh]");
    fleet.place_set(&wider)?;
    fleet.await_trial()?;
    assert_eq!(reach(&fleet.stranger, &fleet.web1, 5432, Family::V6)?, Reach::Answers, "on trial");
    let reverted = fleet.agent(&["revert"])?;
    assert!(reverted.ok(), "{}", reverted.said());
    wait_for("the old ruleset", SOON, || {
        reach(&fleet.stranger, &fleet.web1, 5432, Family::V6).is_ok_and(|r| r == Reach::Silent)
    })?;
    assert_eq!(reach(&fleet.stranger, &fleet.web1, 443, Family::V4)?, Reach::Answers);

    assert_ne!(
        fleet.area("firewall")["verdict"],
        "pending",
        "what was given up is not tried again by itself"
    );
    let applying = fleet.apply_beside()?;
    fleet.confirm_soon()?;
    drop(applying);
    fleet.await_rest()?;
    assert_eq!(reach(&fleet.stranger, &fleet.web1, 5432, Family::V4)?, Reach::Answers);

    // Access that is taken away ends open sessions that it had let in.
    fleet.stranger.put("/root/session.py", SESSION.as_bytes(), "644")?;
    let mut session = fleet.stranger.spawn(&["python3", "/root/session.py", "5432"])?;
    wait_for("a session", SOON, || {
        fleet.stranger.exec(&["test", "-s", "/run/session.count"]).is_ok_and(|o| o.ok())
    })?;
    fleet.place_set(&fleet.usual())?;
    fleet.confirm_soon()?;
    fleet.await_rest()?;
    wait_for("the end of the session", SOON, || !session.runs()).map(drop).map_err(Into::into)
}
