//! Step 1: the policy is checked, a broken copy is refused, and an operator signs.

use tenure_scenarios::Fleet;

use crate::local::{EXAMPLE, set};
use crate::screen::{Screen, Stopped};

/// Shows the policy.
pub(crate) fn show(screen: &mut Screen, fleet: &Fleet) -> Result<(), Stopped> {
    screen.section(
        1,
        "Policy",
        &format!("{EXAMPLE}   from \"SoWorker – AVG en Security\", with people and keys of this run"),
    );
    screen.step("check", "the set", || {
        fleet.write_set(&set(fleet)?)?;
        let said = fleet.tenure_must(&["check", "set"])?;
        Ok(said.lines().last().unwrap_or_default().to_owned())
    })?;
    let mut shown = Vec::new();
    screen.step("check", "a broken copy", || {
        let broken = set(fleet)?
            .with("from: [office]", "from: [offce]")
            .with("patch: observe }", "patch: observ }")
            .with("drop: [ssh, https, tcp/8422]", "accept: [ssh], drop: [https, tcp/8422]");
        fleet.write_set(&broken)?;
        let output = fleet.tenure(&["check", "set"])?;
        if output.status != 78 {
            return Err(format!("it ended with {}: {}", output.status, output.said()).into());
        }
        for word in ["offce", "office", "observ", "observe"] {
            if !output.stderr.contains(word) {
                return Err(format!("the faults do not say {word:?}: {}", output.stderr).into());
            }
        }
        shown = output.stderr.lines().map(str::to_owned).collect();
        Ok(format!("a broken copy is refused: {}", shown.last().cloned().unwrap_or_default()))
    })?;
    for line in shown.iter().take(4) {
        screen.line(&format!("            {line}"));
    }
    screen.step("key", "an operator's key and the root", || {
        fleet.make_chief_of("soworker")?;
        fleet.place_root("marit")?;
        Ok("marit's key, encrypted; the root carried to web1 by hand".to_owned())
    })?;
    screen.step("sign", "index and one bundle per machine", || {
        let said = fleet.sign("marit", &set(fleet)?, 1)?;
        Ok(said.lines().find(|line| line.starts_with("version")).unwrap_or_default().to_owned())
    })
}
