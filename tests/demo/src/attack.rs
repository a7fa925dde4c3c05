//! Step 4: somebody is root on web1.

use serde_json::Value;
use tenure_lab::wait_for;
use tenure_scenarios::agent::SOON;
use tenure_scenarios::fleet::UNKNOWN;
use tenure_scenarios::{Fleet, Result};

use crate::screen::{Screen, Stopped};

/// Shows drift and what becomes of it.
pub(crate) fn show(screen: &mut Screen, fleet: &Fleet) -> std::result::Result<(), Stopped> {
    screen.section(4, "Attack", "on web1, as root");
    let key = fleet.office.get(&format!("{UNKNOWN}.pub")).unwrap_or_default();
    let plant = format!("echo '{}' >>/home/deploy/.ssh/authorized_keys", key.trim());
    for (what, line, area, outcome) in [
        ("nft flush ruleset", "nft flush ruleset", "firewall", "restored"),
        ("nft insert rule … accept", "nft insert rule inet tenure input accept", "firewall", "restored"),
        (
            "sshd drop-in edited",
            "echo 'PasswordAuthentication yes' | tee -a /etc/ssh/sshd_config.d/00-tenure.conf",
            "ssh_access",
            "restored",
        ),
        ("key planted in /home/deploy", plant.as_str(), "ssh_access", "reported"),
    ] {
        screen.step("", what, || attack(fleet, what, line, area, outcome))?;
    }
    screen.step("", "everything is as the policy says again", || {
        fleet.await_rest()?;
        let wrong = fleet.login_differences();
        if wrong.is_empty() { Ok(String::new()) } else { Err(wrong.join("; ").into()) }
    })
}

fn attack(fleet: &Fleet, what: &str, line: &str, area: &str, outcome: &str) -> Result<String> {
    let known = events(fleet).len();
    fleet.web1.must(&["sh", "-c", line])?;
    let mut found = Value::Null;
    wait_for(outcome, SOON, || {
        let event =
            events(fleet).into_iter().skip(known).find(|e| e["area"] == area && e["outcome"] == outcome);
        found = event.unwrap_or_default();
        !found.is_null()
    })
    .map_err(|why| format!("{why}: {:#?}", events(fleet)))?;
    let by = &found["finding"]["by"];
    let who = match (by["pid"].as_u64(), by["comm"].as_str()) {
        (Some(pid), Some(comm)) => format!("pid {pid} {comm}"),
        // The kernel's notification of a new ruleset names who loaded it.
        _ if area == "firewall" => return Err(format!("nobody is named: {found:#}").into()),
        _ => "process not known".to_owned(),
    };
    let after = found["after_ms"].as_u64().map_or_else(String::new, |ms| format!("{ms} ms"));
    Ok(format!("{what:<28} {who:<20} {outcome}  {after:>7}"))
}

fn events(fleet: &Fleet) -> Vec<Value> {
    fleet.agent_json(&["drift"]).ok().and_then(|d| d["events"].as_array().cloned()).unwrap_or_default()
}
