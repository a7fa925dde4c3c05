//! Step 7: a controller comes up, machines enrol and are admitted by a person who compared, policy is published and
//! pulled, and another host confirms a trial.

use std::time::Duration;

use serde_json::Value;
use tenure_lab::{Family, Host, SshAs, wait_for};
use tenure_scenarios::agent::SOON;
use tenure_scenarios::controller::MachineRole;
use tenure_scenarios::copies::coming;
use tenure_scenarios::fleet::MARIT;
use tenure_scenarios::operator::DESK;
use tenure_scenarios::{Fleet, Policy, Result};

use crate::local::{set, zone};
use crate::screen::{Screen, Stopped};

/// The first version that is published; those before were carried by hand.
const PUBLISHED: u32 = 5;

/// Until the copies that the last version schedules, in seconds, and up to a minute less: host and vault pull it before
/// that, each within half a minute.
const AHEAD: u32 = 105;
/// The example's times, and what they are in minutes of the day.
const SERVER: [(&str, u32); 3] = [("06:00", 360), ("14:00", 840), ("22:00", 1320)];

/// Shows the centre; gives the minute for which the version in force schedules copies.
pub(crate) fn show(screen: &mut Screen, fleet: &Fleet) -> std::result::Result<String, Stopped> {
    let ctl1 = fleet.ctl1();
    let machines = [
        (&fleet.web1, MachineRole::Host),
        (&fleet.vault1, MachineRole::Host),
        (&ctl1, MachineRole::Host),
        (&fleet.vault1, MachineRole::Vault),
    ];
    screen.section(
        7,
        "Centre",
        "a controller on ctl1; it hands on what operators sign, and can forge nothing",
    );
    screen.step("start", "the controller listens, marit logs in from the office", || {
        fleet.start_controller()?;
        Ok(String::new())
    })?;
    for (machine, role) in machines {
        screen.step("enrol", &format!("{} as {role}", machine.name()), || enrolled(fleet, machine, role))?;
    }
    screen.step("token", "an invitation is worth nothing a second time", || used(fleet))?;
    screen.step("publish", "signed policy is published", || {
        let said = publish(fleet, set(fleet)?, PUBLISHED)?;
        Ok(said.lines().next().unwrap_or_default().to_owned())
    })?;
    screen.step("pull", "every machine pulls and verifies it by itself", || {
        fleet.web1.must(&["systemctl", "restart", "tenure-agent"])?;
        for host in [&fleet.vault1, &ctl1] {
            fleet.start_agent_on(host)?;
        }
        fleet.vault1.must(&["systemctl", "enable", "-q", "--now", "tenure-vault"])?;
        for host in [&fleet.web1, &fleet.vault1, &ctl1] {
            in_force(host, PUBLISHED)?;
        }
        listens(&fleet.vault1)?;
        Ok(format!(
            "three agents and the vault pull version {PUBLISHED} and verify it against the root they hold"
        ))
    })?;
    screen.step("close", "vault1 and ctl1 confirm each other's rulesets, marit logs in to each", || {
        for host in [&fleet.vault1, &ctl1] {
            logins_proved(fleet, host)?;
        }
        for host in [&fleet.web1, &fleet.vault1, &ctl1] {
            at_rest(host)?;
        }
        let who: Vec<String> = [&fleet.vault1, &ctl1].map(confirmers).into_iter().collect::<Result<_>>()?;
        Ok(format!(
            "vault1 closes, confirmed by {}; ctl1 closes, by {}; marit logged in to both",
            who[0], who[1]
        ))
    })?;
    let mut at = String::new();
    screen.step("trial", "a new version's ruleset is confirmed by another host", || {
        let before = confirmed(&fleet.web1)?.len();
        at = coming(&fleet.web1, &zone(fleet)?, AHEAD)?;
        let policy = scheduled(set(fleet)?, &at)?.with(
            "{ allow: [http, https], from: [anywhere] }",
            "{ allow: [http, https, http3], from: [anywhere] }",
        );
        publish(fleet, policy, PUBLISHED + 1)?;
        for host in [&fleet.web1, &fleet.vault1, &ctl1] {
            in_force(host, PUBLISHED + 1)?;
        }
        wait_for("the confirmation", SOON, || confirmed(&fleet.web1).is_ok_and(|all| all.len() > before))
            .map_err(|why| format!("{why}\n{}", fleet.journal()))?;
        at_rest(&fleet.web1)?;
        let ruleset = fleet.web1.must(&["nft", "list", "table", "inet", "tenure"])?;
        if !ruleset.contains("udp") {
            return Err(format!("http3 is not open: {ruleset}").into());
        }
        Ok(format!(
            "version {} opens http3 on web1: confirmed by {}, which connected anew, no person",
            PUBLISHED + 1,
            confirmers(&fleet.web1)?
        ))
    })?;
    Ok(at)
}

/// The same policy, with nightly copies and the nearest of the three server copies at this minute: nobody waits for 03:30.
fn scheduled(policy: Policy, at: &str) -> Result<Policy> {
    let (hour, minute) = at.split_once(':').ok_or("a time is HH:MM")?;
    let now = hour.parse::<u32>()? * 60 + minute.parse::<u32>()?;
    let nearest = SERVER.iter().min_by_key(|(_, time)| time.abs_diff(now)).map(|(word, _)| *word);
    let times = |change: &dyn Fn(&'static str) -> String| {
        SERVER.map(|(word, _)| format!("\"{}\"", change(word))).join(", ")
    };
    let before = times(&|word| word.to_owned());
    let after = times(&|word| if Some(word) == nearest { at.to_owned() } else { word.to_owned() });
    Ok(policy
        .with(&format!("server: {{ at: [{before}]"), &format!("server: {{ at: [{after}]"))
        .with("nightly: { at: [\"03:30\"]", &format!("nightly: {{ at: [\"{at}\"]")))
}

fn enrolled(fleet: &Fleet, machine: &Host, role: MachineRole) -> Result<String> {
    let shown = fleet.enrol(machine, role)?;
    fleet.admit(machine.name(), role, &shown)?;
    Ok(format!("{:<6} as {role:<6} {shown} on both sides, admitted by marit", machine.name()))
}

/// A machine that has its invitation's token redeemed tries it as if it were another one.
fn used(fleet: &Fleet) -> Result<String> {
    let stranger = &fleet.stranger;
    stranger.put("/usr/sbin/tenure-agent", &tenure_scenarios::programs::bytes("tenure-agent")?, "755")?;
    let invitation = fleet.office.get(&format!("{DESK}/web1-host.invitation"))?;
    stranger.put("/root/stolen", invitation.as_bytes(), "600")?;
    stranger.put("/etc/tenure/agent.yaml", b"host: web1\npolicy: { from: controller }\n", "600")?;
    let said = stranger.exec(&["tenure-agent", "enrol", "/root/stolen", "--no-wait"])?;
    let line = said.stderr.lines().find(|line| line.contains("token")).unwrap_or_default();
    if said.ok() || line.is_empty() {
        return Err(format!("a used token was not refused: {}", said.said()).into());
    }
    Ok(format!("a stranger with web1's used invitation is refused: {}", last_part(line)))
}

/// `why` of `error: doing: why`.
fn last_part(line: &str) -> &str {
    line.rsplit(": ").next().unwrap_or(line)
}

fn publish(fleet: &Fleet, policy: Policy, version: u32) -> Result<String> {
    fleet.sign("marit", &policy, version)?;
    fleet.tenure_must(&["publish", "signed"])
}

fn status(host: &Host) -> Value {
    let said = host.exec(&["tenure-agent", "status", "--json"]);
    said.ok().and_then(|output| serde_json::from_str(&output.stdout).ok()).unwrap_or_default()
}

/// Waits until a machine's agent has put this version in force.
fn in_force(host: &Host, version: u32) -> Result<()> {
    let policy = || status(host)["board"]["policy"]["version"].clone();
    wait_for(&format!("version {version} on {}", host.name()), SOON, || policy() == version)
        .map(drop)
        .map_err(|why| {
            format!("{why}, but {}: {:#}\n{}", policy(), status(host)["link"], journal(host)).into()
        })
}

fn area(host: &Host, name: &str) -> Value {
    let areas = status(host)["board"]["areas"].as_array().cloned().unwrap_or_default();
    areas.into_iter().find(|area| area["area"] == name).unwrap_or_default()
}

fn rests(area: &Value) -> bool {
    matches!(area["verdict"].as_str(), Some("compliant" | "remediated")) && area["pending"].is_null()
}

/// Waits until firewall and logins of a machine are as its policy says and nothing is under way.
pub(crate) fn at_rest(host: &Host) -> Result<()> {
    for name in ["firewall", "ssh_access"] {
        wait_for(&format!("{name} of {} at rest", host.name()), Duration::from_secs(90), || {
            rests(&area(host, name))
        })
        .map_err(|why| format!("{why}: {:#}\n{}", area(host, name), journal(host)))?;
    }
    Ok(())
}

/// marit logs in once the policy's logins are on trial: by that the old ways in are closed.
fn logins_proved(fleet: &Fleet, host: &Host) -> Result<()> {
    let name = host.name();
    wait_for(&format!("logins of {name} on trial"), SOON, || area(host, "ssh_access")["pending"].is_object())
        .map_err(|why| format!("{why}: {:#}\n{}", area(host, "ssh_access"), journal(host)))?;
    let mut last = None;
    wait_for(&format!("marit on {name}"), SOON, || {
        last = fleet.office.ssh(host, "admin", SshAs::Key(MARIT), Family::V4).ok();
        last.as_ref().is_some_and(tenure_lab::Login::is_in)
    })
    .map(drop)
    .map_err(|why| format!("{why}: {last:?}\n{}", journal(host)).into())
}

/// What the journal says of confirmations, oldest first.
fn confirmed(host: &Host) -> Result<Vec<String>> {
    let journal = host.must(&["journalctl", "--no-pager", "-o", "cat", "-u", "tenure-agent"])?;
    Ok(journal.lines().filter(|line| line.contains("which connected anew")).map(str::to_owned).collect())
}

/// The host that confirmed last.
fn confirmers(host: &Host) -> Result<String> {
    let last =
        confirmed(host)?.pop().ok_or_else(|| format!("no host confirmed a trial of {}", host.name()))?;
    let word = last.split("confirmed by ").nth(1).and_then(|rest| rest.split([',', ' ']).next());
    Ok(word.unwrap_or_default().to_owned())
}

fn listens(vault1: &Host) -> Result<()> {
    let port = format!("sport = :{}", crate::local::PORT);
    wait_for("the vault to listen", SOON, || {
        vault1.exec(&["ss", "-Hltn", &port]).is_ok_and(|output| !output.stdout.is_empty())
    })
    .map(drop)
    .map_err(|why| format!("{why}\n{}", journal(vault1)).into())
}

/// The end of a machine's journal, as far as it is ours.
pub(crate) fn journal(host: &Host) -> String {
    let words = ["journalctl", "--no-pager", "-n", "60", "-u", "tenure*"];
    host.exec(&words).map(|output| output.said()).unwrap_or_default()
}
