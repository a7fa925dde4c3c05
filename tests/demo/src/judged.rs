//! Steps 9 and 10: what the controller makes of the records, as a person sees it; and that silence is never green.

use std::time::Duration;

use serde_json::Value;
use tenure_lab::{Output, wait_for};
use tenure_scenarios::agent::SOON;
use tenure_scenarios::operator::DESK;
use tenure_scenarios::{Fleet, Result};

use crate::centre::{at_rest, journal};
use crate::screen::{Screen, Stopped};

/// The controller's page, as the office reaches it.
const PAGE: &str = "https://198.51.100.20:8443/";
/// Until a machine that speaks every 15 s counts as silent, and somewhat more.
const SILENT: Duration = Duration::from_secs(120);

/// Shows the tables.
pub(crate) fn show(screen: &mut Screen, fleet: &Fleet) -> std::result::Result<(), Stopped> {
    screen.section(9, "Judged", "by the controller, from the facts in the machines' records");
    screen.step("records", "everything that web1 recorded is at the controller", || {
        let last = fleet.await_reported()?;
        let drilled = || fleet.tenure(&["backups"]).is_ok_and(|said| !said.stdout.contains(" never "));
        wait_for("the nightly copy to be met, and the drills to be told", SOON, || {
            duty(fleet, "backup.nightly").is_ok_and(|row| row["state"] == "met") && drilled()
        })
        .map_err(|why| format!("{why}: {:#}", duty(fleet, "backup.nightly").unwrap_or_default()))?;
        Ok(format!("{last} records of web1 taken in, once and in order"))
    })?;
    let rows: [(&str, &[(&str, &str)]); 5] = [
        (
            "obligations",
            &[
                ("backup.server", ""),
                ("backup.nightly", "met"),
                ("backup.offhost", "unknown"),
                ("backup.ring", "due"),
                ("retention", "unknown"),
            ],
        ),
        ("hosts", &[]),
        ("backups", &[]),
        ("drift", &[]),
        ("patches", &[]),
    ];
    for (noun, wanted) in rows {
        let mut lines = Vec::new();
        screen.step("show", &format!("tenure {noun}"), || {
            let said = if noun == "drift" { flushed(fleet)? } else { fleet.tenure(&[noun])? };
            let view: Value = serde_json::from_str(&fleet.tenure(&[noun, "--json"])?.stdout)?;
            judged(&view, wanted)?;
            if said.stdout.is_empty() || (noun == "obligations" && said.status != 3) {
                return Err(format!("it ended with {}: {}", said.status, said.said()).into());
            }
            lines = said.stdout.lines().map(str::to_owned).collect();
            let after = if noun == "drift" { ", after somebody flushed web1's ruleset" } else { "" };
            Ok(format!("tenure {noun}{after}: exit {}", said.status))
        })?;
        for line in lines {
            screen.line(&format!("     {line}"));
        }
    }
    screen.step("page", "the page, from the office and from elsewhere", || {
        let words = [
            "curl",
            "-sL",
            "-m",
            "5",
            "-o",
            "/root/page",
            "-w",
            "%{http_code}",
            "--cacert",
            "/root/ca.crt",
            PAGE,
        ];
        for host in [&fleet.office, &fleet.stranger] {
            host.put("/root/ca.crt", fleet.office.get(&format!("{DESK}/ca.crt"))?.as_bytes(), "644")?;
        }
        let (office, stranger) = (fleet.office.exec(&words)?, fleet.stranger.exec(&words)?);
        let shown = fleet.office.get("/root/page").unwrap_or_default();
        if !office.ok() || !shown.contains("<form") || stranger.status != 28 {
            return Err(format!("{} {}\n{shown}", office.said(), stranger.said()).into());
        }
        Ok("the page asks the office for a login; a stranger gets no answer".to_owned())
    })
}

/// Shows silence.
pub(crate) fn silence(screen: &mut Screen, fleet: &Fleet) -> std::result::Result<(), Stopped> {
    screen.section(10, "Silence", "web1 is switched off");
    screen.step("silent", "what rests on web1 turns unknown", || {
        fleet.web1.stop()?;
        let mut green = Vec::new();
        let took = wait_for("no row of web1 is met", SILENT, || {
            green = resting_on_web1(fleet).unwrap_or_else(|why| vec![why.to_string()]);
            green.is_empty() && state_of_web1(fleet).is_ok_and(|state| state == "unknown")
        })
        .map_err(|why| format!("{why}: {}", green.join(", ")))?;
        Ok(format!("web1 unknown, and no row that rests on it met, after {:.0} s", took.as_secs_f64()))
    })?;
    screen.step("back", "web1 comes back", || {
        fleet.web1.start()?;
        at_rest(&fleet.web1)?;
        fleet.await_reported()?;
        let last = || state_of_web1(fleet).unwrap_or_default();
        wait_for("web1 to be known again", SILENT, || last() != "unknown" && !last().is_empty())
            .map_err(|why| format!("{why}: {}\n{}", last(), journal(&fleet.web1)))?;
        Ok(format!("web1 is back, closed from its boot on, its records go on; it is {}", last()))
    })
}

/// `tenure drift` once it tells who flushed web1's ruleset just now, and not at some time before.
fn flushed(fleet: &Fleet) -> Result<Output> {
    let flushes = || -> Result<Vec<Value>> {
        let view: Value = serde_json::from_str(&fleet.tenure(&["drift", "--json"])?.stdout)?;
        let rows = ["drift", "history"].iter().filter_map(|part| view[*part].as_array());
        let own = |row: &&Value| row["host"] == "web1" && row.to_string().contains("\"comm\":\"nft\"");
        Ok(rows.flatten().filter(own).map(|row| row["record"].clone()).collect())
    };
    let before = flushes()?;
    fleet.web1.must(&["nft", "flush", "ruleset"])?;
    let mut last = Vec::new();
    wait_for("the flush in `tenure drift`", SOON, || {
        last = flushes().unwrap_or_default();
        last.iter().any(|record| !before.contains(record))
    })
    .map_err(|why| format!("{why}: before {before:?}, now {last:?}"))?;
    fleet.tenure(&["drift"])
}

/// Every duty is in the state that it must be in, and every series that the grid has holds its copies.
fn judged(view: &Value, wanted: &[(&str, &str)]) -> Result<()> {
    for (duty, state) in wanted {
        let found = duties(view).into_iter().find(|row| row["duty"] == *duty).unwrap_or_default();
        if found.is_null() || (!state.is_empty() && found["state"] != *state) {
            return Err(format!("{duty} is not {state}: {found:#}").into());
        }
    }
    for row in view["backups"]["rows"].as_array().into_iter().flatten() {
        if row.to_string().matches("\"sealed\"").count() != 2 {
            return Err(format!("a copy of today is not agreed on: {row:#}").into());
        }
    }
    Ok(())
}

fn duty(fleet: &Fleet, duty: &str) -> Result<Value> {
    let view: Value = serde_json::from_str(&fleet.tenure(&["obligations", "--json"])?.stdout)?;
    Ok(duties(&view).into_iter().find(|row| row["duty"] == duty).unwrap_or_default())
}

fn duties(view: &Value) -> Vec<Value> {
    view["obligations"].as_array().cloned().unwrap_or_default()
}

/// The duties that are met although they rest on records of web1.
fn resting_on_web1(fleet: &Fleet) -> Result<Vec<String>> {
    let view: Value = serde_json::from_str(&fleet.tenure(&["obligations", "--json"])?.stdout)?;
    let own = |row: &Value| row["state"] == "met" && row["evidence"].to_string().contains("web1");
    let mut green: Vec<String> =
        duties(&view).iter().filter(|row| own(row)).map(|row| row["duty"].to_string()).collect();
    let (backups, drift) = (fleet.tenure(&["backups", "--json"])?, fleet.tenure(&["drift", "--json"])?);
    let view: Value = serde_json::from_str(&backups.stdout)?;
    let rows = view["backups"]["rows"].as_array().cloned().unwrap_or_default();
    let of_web1 = rows.iter().filter(|row| row["host"] == "web1");
    green.extend(
        of_web1.filter(|row| row["state"] != "unknown").map(|row| format!("copies of {}", row["owner"])),
    );
    let view: Value = serde_json::from_str(&drift.stdout)?;
    if !view["unjudged"].as_array().into_iter().flatten().any(|row| row["host"] == "web1") {
        green.push("drift".to_owned());
    }
    if (backups.status, drift.status) != (3, 3) {
        green.push(format!("exits {} and {}", backups.status, drift.status));
    }
    Ok(green)
}

fn state_of_web1(fleet: &Fleet) -> Result<String> {
    let view: Value = serde_json::from_str(&fleet.tenure(&["hosts", "--json"])?.stdout)?;
    let hosts = view["hosts"].as_array().cloned().unwrap_or_default();
    let web1 = hosts.iter().find(|row| row["host"] == "web1").ok_or("web1 is not among the hosts")?;
    Ok(web1["state"].as_str().unwrap_or_default().to_owned())
}
