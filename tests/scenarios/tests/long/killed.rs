//! `kill -9` of the agent at every step of the very first enforcement, and of a later change of logins: the host ends in the
//! old or the new state, and at every moment management gets in.

use std::collections::BTreeSet;
use std::time::Duration;

use tenure_lab::{Family, SshAs, wait_for};
use tenure_scenarios::agent::SOON;
use tenure_scenarios::fleet::{MARIT, PASSWORD, UNKNOWN};
use tenure_scenarios::{Fleet, Policy, Reach, Result, all_held, reach};

/// More steps than any change has.
const MOST: usize = 40;
const ROUND: Duration = Duration::from_secs(60);

/// The change came to its end once no kill was left to make, and these steps are among those at which the agent was killed.
fn all_struck(ended: bool, struck: &BTreeSet<String>, wanted: &[&str]) {
    assert!(ended, "there are more than {MOST} steps: {struck:#?}");
    let missing: Vec<_> = wanted.iter().filter(|step| !struck.contains(**step)).collect();
    assert!(missing.is_empty(), "no kill at {missing:?}, only at {struck:#?}");
}

/// A host on which nothing of Tenure's was ever enforced, with the agent stopped.
fn as_found(fleet: &Fleet) -> Result<()> {
    let line = "systemctl stop tenure-agent; systemctl reset-failed tenure-agent
        nft delete table inet tenure 2>/dev/null
        rm -rf /var/lib/tenure/firewall /var/lib/tenure/ssh_access /var/lib/tenure/before /run/tenure/firewall
        rm -rf /etc/ssh/sshd_config.d/00-tenure.conf /etc/ssh/tenure
        systemctl reload ssh";
    fleet.web1.must(&["sh", "-c", line])?;
    wait_for("sshd to listen again", SOON, || {
        reach(&fleet.office, &fleet.web1, 22, Family::V4).is_ok_and(|r| r == Reach::Answers)
    })
    .map(drop)
    .map_err(Into::into)
}

/// Installs the agent with an unsigned set and stops it again.
fn install(fleet: &Fleet, policy: &Policy) -> Result<()> {
    fleet.web1.disk("/var/lib/tenure", 64)?;
    fleet.web1.must(&["chmod", "700", "/var/lib/tenure"])?;
    fleet.place_set(policy)?;
    fleet.configure_standalone()?;
    fleet.let_it_lie()?;
    fleet.start_agent()
}

fn start(fleet: &Fleet) -> Result<()> {
    fleet.web1.sh("systemctl reset-failed tenure-agent")?;
    fleet.web1.must(&["systemctl", "start", "tenure-agent"])?;
    Ok(())
}

/// Starts the agent with a killer on guard, who may strike before it says that it is ready.
fn start_under_guard(fleet: &Fleet) -> Result<()> {
    fleet.web1.sh("systemctl reset-failed tenure-agent")?;
    fleet.web1.must(&["systemctl", "start", "--no-block", "tenure-agent"])?;
    Ok(())
}

fn good(area: &serde_json::Value) -> bool {
    area["pending"].is_null() && matches!(area["verdict"].as_str(), Some("compliant" | "remediated"))
}

/// As the policy says, or given up because nobody came: nothing is under way or left to do.
fn rests(fleet: &Fleet, name: &str) -> bool {
    let area = fleet.area(name);
    let given_up = if name == "firewall" { "trial-expired" } else { "trial-refused" };
    let told = || area["findings"].as_array().into_iter().flatten().any(|f| f["kind"] == given_up);
    good(&area) || (area["pending"].is_null() && area["verdict"] == "drifted" && told())
}

/// Marit, from the office, on both families, by one of these keys.
fn gets_in(fleet: &Fleet, keys: &[&str]) -> Result<Vec<String>> {
    let mut wrong = Vec::new();
    for family in Family::BOTH {
        let mut tries = Vec::new();
        for key in keys {
            tries.push(fleet.login(&fleet.office, SshAs::Key(key), family)?);
        }
        if !tries.iter().any(tenure_lab::Login::is_in) {
            wrong.push(format!("management is cut off on {family:?}: {tries:?}"));
        }
    }
    Ok(wrong)
}

#[test]
fn killed_at_any_step_of_the_first_ruleset_it_ends_open_as_before_or_enforced() -> Result<()> {
    let fleet = Fleet::up("firstruleset")?;
    let policy = fleet.usual().with("access: enforce", "access: observe").with("within: 60s", "within: 8s");
    install(&fleet, &policy)?;
    let (mut wrong, mut struck, mut ended) = (Vec::new(), BTreeSet::new(), false);
    let confirm_if_pending = || {
        let pending = fleet.area("firewall")["pending"].is_object();
        if pending {
            let _ = fleet.confirm(Family::V4);
        }
        pending
    };
    let enforced = || -> Result<bool> {
        let met = Family::BOTH.map(|f| reach(&fleet.stranger, &fleet.web1, 5432, f));
        match met {
            [Ok(Reach::Silent), Ok(Reach::Silent)] => Ok(true),
            [Ok(Reach::Answers), Ok(Reach::Answers)] => Ok(false),
            other => Err(format!("neither as before nor enforced: {other:?}").into()),
        }
    };
    for round in 1..=MOST {
        as_found(&fleet)?;
        let killer = fleet.kill_at(round)?;
        start_under_guard(&fleet)?;
        let step = killer.strikes(ROUND, || !confirm_if_pending() && good(&fleet.area("firewall")))?;
        let Some(step) = step else {
            ended = true;
            break;
        };
        let what = format!("killed at step {round}, {step}");
        wrong.extend(gets_in(&fleet, &[MARIT])?.into_iter().map(|why| format!("{what}: {why}")));
        let kept = fleet.web1.exec(&["test", "-e", "/var/lib/tenure/firewall/confirmed.json"])?.ok();
        let in_force = fleet.web1.sh("nft list table inet tenure | grep -q 'chain g1_input' && ! nft list table inet tenure | grep -q 'set g1_live'")?.ok();
        let asked = fleet.web1.exec(&["test", "-e", "/run/tenure/firewall/confirm.json"])?.ok();
        start(&fleet)?;
        // In every second round somebody confirms what is on trial afterwards, in the others nobody does.
        let comes = round % 2 == 0;
        let settled =
            wait_for("rest", ROUND, || (!comes || !confirm_if_pending()) && rests(&fleet, "firewall"));
        if let Err(why) = settled {
            wrong.push(format!("{what}: {why}: {:#}\n{}", fleet.area("firewall"), fleet.journal()));
            continue;
        }
        match enforced() {
            // A person's word that the agent had not heard yet counts if the trial still ran when it was back.
            Ok(is) if is == (comes || kept || in_force) || (is && asked) => {}
            Ok(is) => {
                let before = format!("asked {asked}, kept {kept}, in force {in_force}");
                wrong.push(format!("{what}, {before}, then somebody came {comes}: enforced {is}"));
            }
            Err(why) => wrong.push(format!("{what}: {why}")),
        }
        if reach(&fleet.stranger, &fleet.web1, 443, Family::V6)? != Reach::Answers {
            wrong.push(format!("{what}: what was open before and is open after is closed"));
        }
        wrong.extend(gets_in(&fleet, &[MARIT])?.into_iter().map(|why| format!("{what}, at rest: {why}")));
        struck.insert(step);
    }
    all_held("kill -9 in the first enforcement of a ruleset", &wrong)?;
    let firewall = "var/lib/tenure/firewall";
    let steps = [
        "ruleset".to_owned(),
        format!("{firewall}/trial.json"),
        "run/tenure/firewall/confirm.json".to_owned(),
        format!("{firewall}/confirmed.json"),
        format!("{firewall}/enforced"),
        "no run/tenure/firewall/confirm.json".to_owned(),
        format!("no {firewall}/trial.json"),
    ];
    all_struck(ended, &struck, &steps.each_ref().map(String::as_str));
    Ok(())
}

/// Only logins are enforced: no ruleset is between.
fn logins_only(fleet: &Fleet) -> Policy {
    fleet.usual().with("firewall: enforce", "firewall: observe").with("within: 60s", "within: 8s")
}

const SSH: &str = "var/lib/tenure/ssh_access";
const CHANGE: [&str; 8] = [
    "var/lib/tenure/ssh_access/trial.json",
    "etc/ssh/tenure/keys/admin",
    "etc/ssh/sshd_config.d/00-tenure.conf",
    "var/lib/tenure/ssh_access/reloaded",
    "no var/lib/tenure/ssh_access/reloaded",
    "var/lib/tenure/ssh_access/proved.json",
    "no var/lib/tenure/ssh_access/trial.json",
    "var/lib/tenure/before/ssh_access.json",
];

#[test]
fn killed_at_any_step_of_the_first_logins_old_ways_stay_open_or_the_policys_do() -> Result<()> {
    let fleet = Fleet::up("firstlogins")?;
    install(&fleet, &logins_only(&fleet))?;
    let (mut wrong, mut struck, mut ended) = (Vec::new(), BTreeSet::new(), false);
    let come_if_pending = || {
        let pending = fleet.area("ssh_access")["pending"].is_object();
        if pending {
            let _ = fleet.login(&fleet.office, SshAs::Key(MARIT), Family::V4);
        }
        pending
    };
    for round in 1..=MOST {
        as_found(&fleet)?;
        let killer = fleet.kill_at(round)?;
        start_under_guard(&fleet)?;
        let step = killer.strikes(ROUND, || !come_if_pending() && good(&fleet.area("ssh_access")))?;
        let Some(step) = step else {
            ended = true;
            break;
        };
        let what = format!("killed at step {round}, {step}");
        wrong.extend(gets_in(&fleet, &[MARIT])?.into_iter().map(|why| format!("{what}: {why}")));
        // sshd started anew reads what stands on disk.
        fleet.web1.must(&["systemctl", "restart", "ssh"])?;
        let what = format!("{what}, sshd restarted");
        wrong.extend(gets_in(&fleet, &[MARIT])?.into_iter().map(|why| format!("{what}: {why}")));
        let proved = fleet
            .web1
            .sh(&format!("grep -q '\"closing\":{{' /{SSH}/trial.json || test -e /{SSH}/proved.json"))?
            .ok();
        start(&fleet)?;
        let comes = round % 2 == 0;
        let settled =
            wait_for("rest", ROUND, || (!comes || !come_if_pending()) && rests(&fleet, "ssh_access"));
        if let Err(why) = settled {
            wrong.push(format!("{what}: {why}: {:#}\n{}", fleet.area("ssh_access"), fleet.journal()));
            continue;
        }
        let open = fleet.login(&fleet.stranger, SshAs::Password(PASSWORD), Family::V6)?.is_in();
        // Who came while nobody was looking, before the kill, was told to the journal and counts too.
        if open && (comes || proved) || !open && !comes && !proved && !was_seen(&fleet)? {
            wrong.push(format!(
                "{what}, somebody came {comes}, was proved {proved}: the password lets in {open}"
            ));
        }
        let left = fleet.web1.exec(&["test", "-e", "/etc/ssh/sshd_config.d/00-tenure.conf"])?.ok();
        if open && (left || !fleet.area("ssh_access")["findings"].to_string().contains("trial-refused")) {
            wrong.push(format!("{what}: open, and not as before: {:#}", fleet.area("ssh_access")));
        }
        if !open {
            wrong.extend(fleet.login_differences().into_iter().map(|why| format!("{what}, closed: {why}")));
        }
        wrong.extend(gets_in(&fleet, &[MARIT])?.into_iter().map(|why| format!("{what}, at rest: {why}")));
        struck.insert(step);
    }
    all_held("kill -9 in the first enforcement of logins", &wrong)?;
    all_struck(ended, &struck, &CHANGE);
    Ok(())
}

/// Does what is in force rest on a login that was seen?
fn was_seen(fleet: &Fleet) -> Result<bool> {
    Ok(fleet.web1.get(&format!("/{SSH}/proved.json"))?.contains("\"who\":\"marit\""))
}

#[test]
fn killed_at_any_step_of_a_changed_login_it_ends_with_the_old_or_the_new_key() -> Result<()> {
    let fleet = Fleet::up("changedlogin")?;
    let unknown = fleet.office.get(&format!("{UNKNOWN}.pub"))?.trim().to_owned();
    let marit = fleet.marit_public.clone();
    let sets = [logins_only(&fleet), logins_only(&fleet).with(&marit, &unknown)];
    let keys = [MARIT, UNKNOWN];
    install(&fleet, &sets[0])?;
    let come = |key: &str| {
        let pending = fleet.area("ssh_access")["pending"].is_object();
        if pending {
            let _ = fleet.login(&fleet.office, SshAs::Key(key), Family::V4);
        }
        pending
    };
    wait_for("the first logins", SOON, || !come(MARIT) && good(&fleet.area("ssh_access")))?;
    let (mut wrong, mut struck, mut ended, mut now) = (Vec::new(), BTreeSet::new(), false, 0);
    for round in 1..=MOST {
        // What is in force is what the policy says, and nothing is under way.
        fleet.web1.must(&[
            "sh",
            "-c",
            "systemctl stop tenure-agent; rm -f /var/lib/tenure/ssh_access/refused.json",
        ])?;
        fleet.place_set(&sets[now])?;
        start(&fleet)?;
        wait_for("logins as the policy says", SOON, || !come(keys[now]) && good(&fleet.area("ssh_access")))
            .map_err(|why| format!("{why}: {:#}\n{}", fleet.area("ssh_access"), fleet.journal()))?;
        let next = 1 - now;
        let killer = fleet.kill_at(round)?;
        fleet.place_set(&sets[next])?;
        let in_force =
            |key: &str| fleet.web1.get(&format!("/{SSH}/proved.json")).is_ok_and(|text| text.contains(key));
        let public = [&marit, &unknown].map(|key| key.split(' ').nth(1).unwrap_or_default().to_owned());
        let step = killer.strikes(ROUND, || {
            !come(keys[next]) && in_force(&public[next]) && good(&fleet.area("ssh_access"))
        })?;
        let Some(step) = step else {
            ended = true;
            break;
        };
        let what = format!("killed at step {round}, {step}");
        wrong.extend(gets_in(&fleet, &keys)?.into_iter().map(|why| format!("{what}: {why}")));
        fleet.web1.must(&["systemctl", "restart", "ssh"])?;
        wrong.extend(gets_in(&fleet, &keys)?.into_iter().map(|why| format!("{what}, sshd restarted: {why}")));
        start(&fleet)?;
        let comes = round % 2 == 0;
        let settled =
            wait_for("rest", ROUND, || (!comes || !come(keys[next])) && rests(&fleet, "ssh_access"));
        if let Err(why) = settled {
            wrong.push(format!("{what}: {why}: {:#}\n{}", fleet.area("ssh_access"), fleet.journal()));
        }
        let mut lets_in = [false; 2];
        for (open, key) in lets_in.iter_mut().zip(keys) {
            *open = fleet.login(&fleet.office, SshAs::Key(key), Family::V6)?.is_in();
        }
        match lets_in {
            [true, false] => now = 0,
            [false, true] => now = 1,
            other => wrong.push(format!("{what}: lets in by the two keys {other:?}: neither old nor new")),
        }
        if comes && now != next {
            wrong.push(format!("{what}: somebody came by the new key and the old one is in force"));
        }
        if fleet.login(&fleet.stranger, SshAs::Password(PASSWORD), Family::V4)?.is_in() {
            wrong.push(format!("{what}: what was closed is open again"));
        }
        struck.insert(step);
    }
    all_held("kill -9 in a change of logins", &wrong)?;
    // What stood before the first change is kept once.
    all_struck(ended, &struck, &CHANGE[..CHANGE.len() - 1]);
    Ok(())
}
