//! A new ruleset is on trial: who may confirm it, what happens when nobody does, and what is refused before loading.

use std::time::Duration;

use tenure_lab::{Family, Host, Login, SshAs, Stopwatch, wait_for};
use tenure_scenarios::agent::SOON;
use tenure_scenarios::fleet::MARIT;
use tenure_scenarios::{Fleet, Reach, Result, reach};

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

    fleet.revive_agent()?;
    fleet.await_area("firewall", "to say that the trial lapsed", |a| !a["verdict"].is_null())?;
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

#[test]
fn a_policy_that_cuts_the_management_path_is_refused_before_loading_with_the_rule_named() -> Result<()> {
    let fleet = Fleet::enforced("cut", Fleet::usual)?;
    let before = fleet.web1.must(&["nft", "-s", "list", "ruleset"])?;
    let cut = fleet.usual().with("      outbound:\n", "      block: [office]\n      outbound:\n");
    fleet.place_set(&cut)?;
    let named =
        |text: &str| text.contains("office") && (text.contains("block") || text.contains("management"));
    wait_for("the refusal", SOON, || {
        let status = fleet.agent_json(&["status"]).unwrap_or_default();
        let fault = status["board"]["policy_fault"].to_string();
        let refusal = fleet.area("firewall")["refusal"].to_string();
        named(&fault) || named(&refusal)
    })
    .map_err(|why| format!("{why}: {:#}", fleet.agent_json(&["status"]).unwrap_or_default()))?;
    assert_eq!(fleet.web1.must(&["nft", "-s", "list", "ruleset"])?, before, "nothing was loaded");
    assert!(fleet.office.ssh(&fleet.web1, "admin", SshAs::Key(MARIT), Family::V4)?.is_in());
    Ok(())
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
