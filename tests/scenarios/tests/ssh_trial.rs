//! Who gets in by SSH is changed by a trial: old and new ways in side by side until somebody of management is in by a key
//! of the policy, else back by itself; judged by ssh from other hosts.

use std::time::Duration;

use tenure_lab::{Family, Login, SshAs, wait_for};
use tenure_scenarios::agent::SOON;
use tenure_scenarios::fleet::{MARIT, PASSWORD, UNKNOWN};
use tenure_scenarios::{Fleet, Policy, Result, all_held};

const DROP_IN: &str = "/etc/ssh/sshd_config.d/00-tenure.conf";
const TRIAL: &str = "/var/lib/tenure/ssh_access/trial.json";

/// Only logins are enforced: no ruleset is between.
fn logins_only(fleet: &Fleet) -> Policy {
    fleet.usual().with("firewall: enforce", "firewall: observe").with("within: 60s", "within: 12s")
}

/// The policy lists a key whose private half nobody has.
fn lost_key(fleet: &Fleet) -> Result<Policy> {
    fleet.office.must(&[
        "ssh-keygen",
        "-q",
        "-t",
        "ed25519",
        "-N",
        "",
        "-C",
        "lost",
        "-f",
        "/root/keys/lost",
    ])?;
    let lost = fleet.office.get("/root/keys/lost.pub")?.trim().to_owned();
    fleet.office.must(&["rm", "/root/keys/lost"])?;
    Ok(logins_only(fleet).with(&fleet.marit_public, &lost))
}

/// The policy lists marit from an address where she is not.
fn wrong_from(fleet: &Fleet) -> Policy {
    logins_only(fleet)
        .with("office: [203.0.113.9, \"2001:db8:10::9\"]", "office: [203.0.113.99, \"2001:db8:10::99\"]")
        .with("from: 203.0.113.9,", "from: 203.0.113.99,")
}

/// Everything of sshd's that we could have touched, with content and permissions.
fn places(fleet: &Fleet) -> Result<String> {
    let line =
        "cd /etc/ssh && find . -type f | sort | xargs sha256sum; find . -type f -printf '%p %m %u\\n' | sort";
    Ok(fleet.web1.must(&["sh", "-c", line])?)
}

fn keys_in_home(fleet: &Fleet, from: &tenure_lab::Host) -> Result<[bool; 2]> {
    let mut both = [false; 2];
    for (open, family) in both.iter_mut().zip(Family::BOTH) {
        *open = from.ssh(&fleet.web1, "deploy", SshAs::Key(MARIT), family)?.is_in();
    }
    Ok(both)
}

/// As web1 was found: keys at home and passwords from everywhere, for everybody.
fn old_ways(fleet: &Fleet) -> Result<Vec<String>> {
    let mut wrong = Vec::new();
    for (what, from, with) in [
        ("marit's key at home, from the office", &fleet.office, SshAs::Key(MARIT)),
        ("marit's key at home, from elsewhere", &fleet.stranger, SshAs::Key(MARIT)),
        ("the password, from elsewhere", &fleet.stranger, SshAs::Password(PASSWORD)),
    ] {
        for family in Family::BOTH {
            let login = fleet.login(from, with, family)?;
            if !login.is_in() {
                wrong.push(format!("{what}, {family:?}: {login:?}"));
            }
        }
    }
    if keys_in_home(fleet, &fleet.stranger)? != [true; 2] {
        wrong.push("the key in another account's home".into());
    }
    Ok(wrong)
}

/// Waits until the policy's logins alone are in force.
fn closed(fleet: &Fleet) -> Result<()> {
    let good = |a: &serde_json::Value| matches!(a["verdict"].as_str(), Some("compliant" | "remediated"));
    fleet.await_area("ssh_access", "closed", |a| a["pending"].is_null() && good(a)).map(drop)
}

/// Nothing is closed while `policy` is on trial, with an agent and without; without a login it all goes back.
fn goes_back(fleet: &Fleet, policy: &Policy) -> Result<()> {
    let before = places(fleet)?;
    fleet.place_set(policy)?;
    fleet.configure_standalone()?;
    fleet.start_agent()?;
    fleet.await_login_trial()?;
    assert_ne!(places(fleet)?, before, "the new way in is open beside the old ones");
    fleet.kill_agent()?;
    all_held("old ways in with the agent dead", &old_ways(fleet)?)?;
    // sshd started anew reads what stands on disk.
    fleet.web1.must(&["systemctl", "restart", "ssh"])?;
    all_held("old ways in with the agent dead and sshd restarted", &old_ways(fleet)?)?;
    fleet.revive_agent()?;
    fleet.await_area("ssh_access", "given up", |a| {
        a["findings"].to_string().contains("trial-refused") && a["pending"].is_null()
    })?;
    assert_eq!(places(fleet)?, before, "exactly what stood there before");
    let said = fleet.area("ssh_access");
    assert_eq!(said["verdict"], "drifted");
    let words = said["findings"].to_string();
    assert!(words.contains("marit as admin by SHA256:"), "it names who must log in and how: {words}");
    all_held("old ways in afterwards", &old_ways(fleet)?)?;
    // Not again by itself: a pass that somebody else's change rings leaves it as it is.
    let passes = said["passes"].as_u64();
    fleet.web1.must(&["touch", "/etc/ssh/sshd_config"])?;
    fleet.await_area("ssh_access", "another pass", |a| a["passes"].as_u64() > passes)?;
    assert_eq!(places(fleet)?, before, "it is not tried again by itself");
    Ok(())
}

#[test]
fn a_listed_but_lost_key_locks_nobody_out() -> Result<()> {
    let fleet = Fleet::up("lostkey")?;
    let policy = lost_key(&fleet)?;
    goes_back(&fleet, &policy)?;
    // The right one is taken: another policy is another try.
    fleet.place_set(&logins_only(&fleet))?;
    fleet.await_login_trial()?;
    assert!(fleet.login(&fleet.office, SshAs::Key(MARIT), Family::V6)?.is_in());
    closed(&fleet)?;
    all_held("logins", &fleet.login_differences())
}

#[test]
fn a_wrong_source_locks_nobody_out_whoever_logs_in_from_elsewhere() -> Result<()> {
    let fleet = Fleet::up("wrongfrom")?;
    let policy = wrong_from(&fleet);
    goes_back(&fleet, &policy)?;
    // An operator asks again. Marit comes in by the same key, which still stands at home: that proves nothing about
    // the source that the policy has, and she is told.
    let applying = fleet.apply_beside()?;
    fleet.await_login_trial()?;
    let said = fleet.confirm(Family::V4)?;
    assert!(matches!(&said, Login::In(output) if !output.ok()), "{said:?}");
    assert!(format!("{said:?}").contains("203.0.113.99"), "{said:?}");
    assert!(fleet.area("ssh_access")["pending"].is_object(), "still on trial");
    let reverted = fleet.agent(&["revert"])?;
    assert!(reverted.ok() && reverted.said().contains("as before"), "{}", reverted.said());
    drop(applying);
    all_held("old ways in after a revert", &old_ways(&fleet)?)
}

#[test]
fn the_first_login_by_a_key_of_the_policy_closes_the_others_within_seconds() -> Result<()> {
    let fleet = Fleet::up("rightkey")?;
    fleet.place_set(&logins_only(&fleet).with("within: 12s", "within: 300s"))?;
    fleet.configure_standalone()?;
    fleet.start_agent()?;
    fleet.await_login_trial()?;
    // Marit's key also stands in the homes; sshd takes it from our file first, so others come first here.
    let stranger = fleet.login(&fleet.stranger, SshAs::Password(PASSWORD), Family::V4)?;
    assert!(stranger.is_in() && keys_in_home(&fleet, &fleet.stranger)? == [true; 2], "old ways in stay open");
    assert!(fleet.area("ssh_access")["pending"].is_object(), "none of these proves anything");

    assert!(fleet.login(&fleet.office, SshAs::Key(MARIT), Family::V4)?.is_in());
    let took = wait_for("the old ways to be closed", Duration::from_secs(20), || {
        fleet.login(&fleet.stranger, SshAs::Password(PASSWORD), Family::V4).is_ok_and(|login| !login.is_in())
    })?;
    println!("closed after {} ms", took.as_millis());
    closed(&fleet)?;
    all_held("logins", &fleet.login_differences())?;
    assert_eq!(keys_in_home(&fleet, &fleet.office)?, [false; 2]);
    let record = fleet.web1.get("/var/lib/tenure/ssh_access/proved.json")?;
    assert!(record.contains("\"who\":\"marit\"") && record.contains("203.0.113.9"), "{record}");
    Ok(())
}

/// (Lab hosts keep their machine's boot id, so here the trial lapses after the restart; the crash matrix of the area knows
/// a real one, after which it goes back at once.)
#[test]
fn a_restart_of_the_host_during_a_trial_closes_nothing_and_it_goes_back() -> Result<()> {
    let fleet = Fleet::up("sshreboot")?;
    fleet.web1.disk("/var/lib/tenure", 64)?;
    fleet.web1.must(&["chmod", "700", "/var/lib/tenure"])?;
    let before = places(&fleet)?;
    fleet.place_set(&logins_only(&fleet).with("within: 12s", "within: 20s"))?;
    fleet.configure_standalone()?;
    fleet.start_agent()?;
    fleet.await_login_trial()?;
    fleet.web1.kill()?;
    fleet.web1.start()?;
    let stranger = fleet.login(&fleet.stranger, SshAs::Password(PASSWORD), Family::V6)?;
    assert!(stranger.is_in(), "{stranger:?}");
    fleet.await_area("ssh_access", "given up", |a| {
        a["findings"].to_string().contains("trial-refused") && a["pending"].is_null()
    })?;
    assert_eq!(places(&fleet)?, before);
    all_held("old ways in after a restart", &old_ways(&fleet)?)
}

#[test]
fn a_changed_login_is_tried_beside_the_one_in_force_and_a_revoked_one_goes_at_once() -> Result<()> {
    let fleet = Fleet::up("changed")?;
    let unknown = fleet.office.get(&format!("{UNKNOWN}.pub"))?.trim().to_owned();
    // Jeroen has the other key, and may come in as well.
    let two = logins_only(&fleet)
        .with("groups: { ops: [marit] }", &format!("  jeroen: {{ keys: [\"{unknown}\"], from: [office], until: \"{}\" }}\ngroups: {{ ops: [marit, jeroen] }}", fleet.until));
    fleet.place_set(&two)?;
    fleet.configure_standalone()?;
    fleet.start_agent()?;
    fleet.await_login_trial()?;
    assert!(fleet.login(&fleet.office, SshAs::Key(MARIT), Family::V4)?.is_in());
    closed(&fleet)?;
    assert!(fleet.login(&fleet.office, SshAs::Key(UNKNOWN), Family::V4)?.is_in(), "jeroen");

    // Jeroen is struck off: marit's way is proved and stays, so nothing waits.
    fleet.place_set(&logins_only(&fleet))?;
    wait_for("jeroen's key to be gone", SOON, || {
        fleet.login(&fleet.office, SshAs::Key(UNKNOWN), Family::V4).is_ok_and(|login| !login.is_in())
    })?;
    assert!(!fleet.web1.exec(&["test", "-e", TRIAL])?.ok(), "without a trial");

    // Marit's own key is replaced by one that nobody has: her old one stays until the new one is seen, and comes back.
    let before = places(&fleet)?;
    fleet.place_set(&lost_key(&fleet)?)?;
    fleet.await_login_trial()?;
    assert!(fleet.login(&fleet.office, SshAs::Key(MARIT), Family::V6)?.is_in(), "her old key");
    assert!(
        !fleet.login(&fleet.stranger, SshAs::Password(PASSWORD), Family::V4)?.is_in(),
        "what was closed stays closed"
    );
    fleet.await_area("ssh_access", "given up", |a| {
        a["findings"].to_string().contains("trial-refused") && a["pending"].is_null()
    })?;
    assert_eq!(places(&fleet)?, before);
    assert!(fleet.web1.get(DROP_IN)?.contains("AllowUsers admin@203.0.113.9/32"));
    all_held("logins", &fleet.login_differences())
}
