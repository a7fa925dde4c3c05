//! Patches are read from a real package database: a pending security update, its age, the lists' age, the reboot.

use serde_json::Value;
use tenure_scenarios::clock::shift;
use tenure_scenarios::{Fleet, Result};

fn findings(fleet: &Fleet) -> Vec<(String, String, String)> {
    let area = fleet.area("patch");
    let text = |f: &Value, name: &str| f[name].as_str().unwrap_or_default().to_owned();
    let list = area["findings"].as_array().cloned().unwrap_or_default();
    list.iter().map(|f| (text(f, "kind"), text(f, "place"), text(f, "what"))).collect()
}

#[test]
fn a_pending_security_update_is_found_and_gone_when_it_is_installed() -> Result<()> {
    let fleet = Fleet::up("patches")?;
    fleet.enforce(&fleet.usual())?;
    let seen = |word: &str| findings(&fleet).iter().any(|(k, p, w)| format!("{k} {p} {w}").contains(word));
    fleet
        .await_area("patch", "the pending update", |a| {
            a["verdict"] == "compliant" && seen("at least 3 d of 7 d")
        })
        .map_err(|why| format!("{why}: {:#?}", findings(&fleet)))?;

    // Its age goes on from there; libfaketime shows the agent a clock five days ahead.
    let fresh =
        "mkdir -p /var/lib/apt/periodic; touch -d '5 days' /var/lib/apt/periodic/update-success-stamp";
    fleet.web1.must(&["sh", "-c", fresh])?;
    shift(&fleet.web1, "tenure-agent", "+5d")?;
    fleet
        .await_area("patch", "an overdue update", |a| {
            a["verdict"] == "drifted" && seen("lab-notes") && seen("8 d")
        })
        .map_err(|why| format!("{why}: {:#?}", findings(&fleet)))?;

    fleet.web1.must(&["apt-get", "-qq", "-y", "install", "lab-notes"])?;
    fleet.agent(&["apply"])?;
    fleet
        .await_area("patch", "no pending update", |a| a["verdict"] == "compliant" && !seen("lab-notes"))
        .map_err(|why| format!("{why}: {:#?}", findings(&fleet)))?;

    assert!(!seen("reboot"), "nothing asks for one yet: {:#?}", findings(&fleet));
    fleet.web1.put("/run/reboot-required", b"*** System restart required ***\n", "644")?;
    fleet.agent(&["apply"])?;
    fleet.await_area("patch", "a needed reboot", |_| seen("reboot")).map(drop)
}

#[test]
fn an_update_that_is_old_in_its_archive_is_overdue_at_first_sight() -> Result<()> {
    let fleet = Fleet::up("overdue")?;
    // apt takes no older list for a newer one, so the host forgets the one that it has.
    fleet.lab.archive("vault1", &[], 9)?;
    fleet.web1.must(&["sh", "-c", "rm -rf /var/lib/apt/lists/* && apt-get -qq update"])?;
    fleet.enforce(&fleet.usual())?;
    fleet
        .await_area("patch", "an overdue update", |a| {
            let told = findings(&fleet).iter().any(|(kind, place, what)| {
                kind == "security-overdue" && place == "lab-notes" && what.contains("at least 9 d of 7 d")
            });
            a["verdict"] == "drifted" && told
        })
        .map(drop)
        .map_err(|why| format!("{why}: {:#?}", findings(&fleet)).into())
}

#[test]
fn old_or_missing_lists_are_never_compliant() -> Result<()> {
    let fleet = Fleet::up("lists")?;
    fleet.web1.must(&["apt-get", "-qq", "-y", "install", "lab-notes"])?;
    fleet.enforce(&fleet.usual())?;
    fleet.await_area("patch", "compliant", |a| a["verdict"] == "compliant")?;
    fleet.web1.must(&["sh", "-c", "find /var/lib/apt /var/cache/apt -exec touch -d '9 days ago' {} +"])?;
    fleet.agent(&["apply"])?;
    fleet.await_area("patch", "stale lists", |a| {
        matches!(a["verdict"].as_str(), Some("unknown" | "drifted"))
    })?;
    fleet.web1.must(&[
        "sh",
        "-c",
        "rm -rf /var/lib/apt/lists/* /var/cache/apt/*.bin /var/lib/apt/periodic",
    ])?;
    fleet.agent(&["apply"])?;
    fleet
        .await_area("patch", "no lists", |a| matches!(a["verdict"].as_str(), Some("unknown" | "drifted")))
        .map(drop)
}
