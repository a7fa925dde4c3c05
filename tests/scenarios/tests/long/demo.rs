//! The demo as `make demo` runs it, in a lab of its own that does not stay: every step holds.

use tenure_scenarios::{Result, programs};

#[test]
fn every_step_of_the_demo_holds() -> Result<()> {
    let program = programs::built("tenure-demo")?;
    let lab = format!("demo-{}", std::process::id());
    let said = tenure_lab::run(&[&program.display().to_string(), "show", "--lab", &lab], 1200)?;
    let lines: Vec<&str> = said.stdout.lines().collect();
    // `65 of 65 steps held · …`
    let held = lines.last().is_some_and(|last| last.contains(" steps held "));
    if !said.ok() || !held {
        return Err(format!("{}\n{}", lines[lines.len().saturating_sub(60)..].join("\n"), said.stderr).into());
    }
    // The log, and what opens the page of a controller that is gone.
    if let Some(target) = program.ancestors().nth(2) {
        std::fs::remove_dir_all(target.join(lab))?;
    }
    Ok(())
}
