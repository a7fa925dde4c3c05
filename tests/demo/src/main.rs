//! `tenure-demo show`: makes a lab, shows the job on it step by step, ends non-zero at the first step that does not hold.

mod attack;
mod backup;
mod centre;
mod enforce;
mod judged;
mod local;
mod page;
mod policy;
mod proof;
mod recover;
mod screen;
mod site;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use screen::{Screen, Stopped};
use tenure_scenarios::Fleet;

/// The lab's name: `make demo-down` brings it down.
const LAB: &str = "demo";

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let (lab, build) = match words.as_slice() {
        ["show"] => (Where::kept(), 0),
        ["show", "--build-seconds", seconds] => (Where::kept(), seconds.parse().unwrap_or_default()),
        // As a test runs it, beside others and beside a demo that somebody looks at.
        ["show", "--lab", name] => (Where { name: (*name).to_owned(), keep: false }, 0),
        ["page"] => return leads(),
        _ => return ExitCode::from(64),
    };
    let Ok(mut screen) = Screen::new(lab.log_path()) else { return ExitCode::FAILURE };
    match show(&mut screen, &lab, Duration::from_secs(build)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Stopped) => ExitCode::FAILURE,
    }
}

fn leads() -> ExitCode {
    match page::stay() {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            let _ = writeln!(std::io::stderr(), "no way to the page: {why}; is the demo's lab up?");
            ExitCode::FAILURE
        }
    }
}

/// The lab and what becomes of it.
struct Where {
    name: String,
    /// Does it stay, to be looked at?
    keep: bool,
}

impl Where {
    fn kept() -> Self {
        Self { name: LAB.to_owned(), keep: true }
    }

    /// `demo/log` in the target directory that this program was built into.
    fn log_path(&self) -> PathBuf {
        let target = std::env::current_exe().ok().and_then(|exe| exe.ancestors().nth(2).map(PathBuf::from));
        target.unwrap_or_else(|| PathBuf::from("target")).join(&self.name).join("log")
    }
}

fn show(screen: &mut Screen, at: &Where, build: Duration) -> Result<(), Stopped> {
    screen.line("Tenure demo: real hosts on this machine; its own network and firewall stay untouched.");
    screen.line(&format!(
        "   build    {:<76} ok  {}",
        "agent, vault, controller, tenure",
        screen::span(build)
    ));
    let fleet = lab(screen, at)?;
    let folder = at.log_path();
    let folder = folder.parent().unwrap_or(Path::new("."));
    if let Err(stopped) = steps(screen, &fleet, folder) {
        for host in [&fleet.web1, &fleet.vault1, &fleet.ctl1()] {
            screen.note(&format!("--- {}\n{}", host.name(), centre::journal(host)));
        }
        return Err(stopped);
    }
    screen.line("Not shown because not built: accounts and sudo, who may log in over all hosts, size of copies in a plan, holds, purge.");
    screen.line(&page::told(folder));
    screen.close(build);
    Ok(())
}

fn steps(screen: &mut Screen, fleet: &Fleet, folder: &Path) -> Result<(), Stopped> {
    policy::show(screen, fleet)?;
    enforce::plan(screen, fleet)?;
    enforce::show(screen, fleet)?;
    attack::show(screen, fleet)?;
    proof::patches(screen, fleet)?;
    proof::show(screen, fleet)?;
    let at = centre::show(screen, fleet)?;
    backup::show(screen, fleet, &at)?;
    judged::show(screen, fleet)?;
    judged::silence(screen, fleet)?;
    recover::show(screen, fleet)?;
    page::show(screen, fleet, folder)
}

fn lab(screen: &mut Screen, at: &Where) -> Result<Fleet, Stopped> {
    let mut made = None;
    screen.step("lab", "web1 · vault1 · ctl1 · office · stranger   (Debian 12, systemd)", || {
        made = Some(site::up(&at.name, at.keep)?);
        Ok(String::new())
    })?;
    made.ok_or(Stopped)
}
