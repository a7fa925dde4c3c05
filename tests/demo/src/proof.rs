//! Steps 5 and 6: patches as they are read, and the chain of records checked elsewhere with a public key.

use serde_json::Value;
use tenure_scenarios::Fleet;
use tenure_scenarios::operator::DESK;

use crate::screen::{Screen, Stopped};

/// Shows patches.
pub(crate) fn patches(screen: &mut Screen, fleet: &Fleet) -> Result<(), Stopped> {
    screen.section(5, "Patches", "read, never installed");
    let mut lines = Vec::new();
    screen.step("patch", "pending security updates of web1", || {
        let area = fleet.area("patch");
        let findings = area["findings"].as_array().cloned().unwrap_or_default();
        if !findings.iter().any(|f| f.to_string().contains("lab-notes")) {
            return Err(format!("the pending update of lab-notes is not told: {area:#}").into());
        }
        lines = findings
            .iter()
            .filter_map(|f| Some(format!("{}: {}", f["place"].as_str()?, f["what"].as_str()?)))
            .collect();
        let plan = fleet.agent(&["plan", "--json"])?;
        let plan: Value = serde_json::from_str(&plan.stdout).map_err(|_| plan.said())?;
        let areas = plan["areas"].as_array().cloned().unwrap_or_default();
        let facts = areas.iter().find(|a| a["area"] == "patch").map(|a| &a["look"]["facts"]);
        let facts = facts.ok_or("the plan tells no facts of patch")?;
        let lists = facts["lists"].as_str().ok_or("the age of the package lists is not told")?;
        let reboot: Vec<&str> =
            facts["reboot"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        lines.push(format!("package lists of {lists}"));
        lines.push(match (reboot.as_slice(), &facts["reboot_marked"]) {
            ([], Value::Null) => "no reboot needed".to_owned(),
            (reasons, _) => format!("reboot needed {}", reasons.join(", ")),
        });
        Ok(format!("verdict {}", area["verdict"].as_str().unwrap_or("?")))
    })?;
    for line in lines {
        screen.fact("", &line);
    }
    Ok(())
}

/// Shows the evidence.
pub(crate) fn show(screen: &mut Screen, fleet: &Fleet) -> Result<(), Stopped> {
    screen.section(6, "Proof", "the chain of web1, verified at the office with web1's public key alone");
    let mut chain = String::new();
    screen.step("export", "the records of its passes, signed and chained", || {
        fleet.web1.must(&["rm", "-f", "/root/chain"])?;
        let output = fleet.agent(&["evidence", "export", "--out", "/root/chain"])?;
        if !output.ok() {
            return Err(output.said().into());
        }
        chain = fleet.web1.get("/root/chain")?;
        let key = fleet.agent(&["--quiet", "identity"])?;
        fleet.office.put(&format!("{DESK}/chain"), chain.as_bytes(), "644")?;
        fleet.office.put(&format!("{DESK}/web1.pub"), key.stdout.as_bytes(), "644")?;
        Ok(output.stdout.lines().next().unwrap_or_default().to_owned())
    })?;
    screen.step("verify", "the chain", || {
        let said = fleet.tenure_must(&["verify", "chain", "--key", "web1.pub"])?;
        Ok(said.lines().find(|l| l.starts_with("whole")).unwrap_or_default().to_owned())
    })?;
    screen.step("verify", "the chain with one planted change", || {
        let mut lines: Vec<String> = chain.lines().map(str::to_owned).collect();
        let middle = lines.len() / 2;
        // Not in the last symbols of the base64: another one there can be none at all.
        let inside = lines[middle].len().saturating_sub(24);
        let at = lines[middle][..inside].rfind(|c: char| c.is_ascii_digit()).unwrap_or_default();
        let other = if lines[middle].as_bytes()[at] == b'1' { "2" } else { "1" };
        lines[middle].replace_range(at..=at, other);
        fleet.office.put(&format!("{DESK}/planted"), (lines.join("\n") + "\n").as_bytes(), "644")?;
        let output = fleet.tenure(&["verify", "planted", "--key", "web1.pub", "--json"])?;
        let json: Value = serde_json::from_str(&output.stdout)?;
        let place = json["report"]["findings"][0]["line"].as_u64();
        if output.status != 1 || place != Some(middle as u64 + 1) {
            return Err(format!("line {} was changed, but: {}", middle + 1, output.said()).into());
        }
        let told = fleet.tenure(&["verify", "planted", "--key", "web1.pub"])?;
        Ok(told.stderr.lines().next().unwrap_or_default().to_owned())
    })
}
