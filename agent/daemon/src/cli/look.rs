//! `plan`, `status`, `drift`: commands that read and change nothing.

use std::path::{Path, PathBuf};

use tenure_areas::area::Weight;
use tenure_areas::pass::Verdict;
use tenure_sys::clock;
use tenure_trust::HostName;

use super::{Exit, Failure, PlanArgs, PolicyArgs, show};
use crate::board::{Outcome, Overview};
use crate::config::{Config, Source};
use crate::host::{Clock, MachineClock};
use crate::linux::{ChangeLog, LinuxHost};
use crate::output::Output;
use crate::paths::Paths;
use crate::plan::host_plan;
use crate::policy_in_force::Held;
use crate::policy_source::{NotTaken, PolicySource};
use crate::socket::client::{AskError, ask};
use crate::socket::wire::{Answer, AreaPlan, HostPlan, Request};
use crate::sources::{Bundles, Directory};

/// What would be done.
pub(super) fn plan(config: &Path, args: &PlanArgs, out: Output) -> Result<Exit, Failure> {
    let _progress = out.progress("looking at the host");
    let plan = match (&args.bundles, &args.policy.policy) {
        (None, None) => planned(config)?,
        (Some(dir), _) => {
            let host = match &args.policy.host {
                Some(host) => host.clone(),
                None => Config::read(config)?.host,
            };
            look(&offered(&Paths::of_host(), dir, &host)?)?
        }
        (None, Some(_)) => look(&named(&args.policy)?)?,
    };
    drop(_progress);
    out.document(&plan);
    show::plan(&plan, out);
    let exit = exits(&plan);
    // "Changes" before "unknown": a plan answers what would be done.
    let changes = exit.contains(&Exit::Changes) && !exit.contains(&Exit::Error);
    Ok(if changes { Exit::Changes } else { worst(&exit) })
}

/// How everything stands: asked of the agent, or looked up where none runs.
pub(super) fn status(config: &Path, args: &PolicyArgs, out: Output) -> Result<Exit, Failure> {
    if args.policy.is_none() {
        match ask(&Paths::of_host().socket(), &Request::Status) {
            Ok(Answer::Status(status)) => {
                out.document(&status);
                show::status(&status, out);
                return Ok(exit_of(&status.board));
            }
            Ok(answer) => return Err(unexpected(answer)),
            Err(AskError::NotRunning { .. }) => {
                out.warning("no agent runs on this host: nobody keeps it as its policy says");
            }
            Err(e) => return Err(e.into()),
        }
    }
    let progress = out.progress("looking at the host");
    let plan = if args.policy.is_some() { look(&named(args)?)? } else { look(&configured(config)?)? };
    drop(progress);
    out.document(&plan);
    show::standing(&plan, out);
    Ok(worst(&exits(&plan)))
}

/// What others changed.
pub(super) fn drift(out: Output) -> Result<Exit, Failure> {
    match ask(&Paths::of_host().socket(), &Request::Drift)? {
        Answer::Drift(drift) => {
            out.document(&drift);
            show::drift(&drift, out);
            let restored = drift.events.iter().any(|e| e.outcome == Outcome::Restored);
            let exit = exit_of(&drift.board);
            Ok(if exit == Exit::Clean && restored { Exit::Changes } else { exit })
        }
        answer => Err(unexpected(answer)),
    }
}

/// The exit code that a board stands for.
pub(super) fn exit_of(board: &Overview) -> Exit {
    let no_policy = board.policy.is_none().then_some(Exit::Unknown);
    let areas = board.areas.iter().map(|area| match area.verdict {
        Verdict::Compliant | Verdict::Remediated | Verdict::Pending => Exit::Clean,
        Verdict::Drifted => Exit::Changes,
        Verdict::Unknown => Exit::Unknown,
    });
    areas.chain(no_policy).max().unwrap_or(Exit::Clean)
}

/// What somebody did not expect of the agent.
pub(super) fn unexpected(answer: Answer) -> Failure {
    match answer {
        Answer::Refused(refused) => refused.into(),
        _ => Failure::new("the agent answered another question than the one that was asked")
            .hint("is it of another version? restart it: `systemctl restart tenure-agent`"),
    }
}

/// Verdict of an area by a look at it.
pub(super) fn verdict(area: &AreaPlan) -> Verdict {
    let Some(look) = &area.look else { return Verdict::Unknown };
    let drift = !look.plan.steps.is_empty() || look.findings.iter().any(|f| f.weight == Weight::Drift);
    let unjudged = look.findings.iter().any(|f| f.weight == Weight::Unknown);
    match (drift, &look.pending) {
        (true, _) => Verdict::Drifted,
        (false, _) if unjudged => Verdict::Unknown,
        (false, Some(_)) => Verdict::Pending,
        (false, None) => Verdict::Compliant,
    }
}

fn worst(exits: &[Exit]) -> Exit {
    exits.iter().copied().max().unwrap_or(Exit::Clean)
}

/// What each area of a plan stands for.
fn exits(plan: &HostPlan) -> Vec<Exit> {
    let areas = plan.areas.iter().map(|area| {
        let refused = area.look.as_ref().is_some_and(|look| look.refusal.is_some());
        match verdict(area) {
            _ if refused => Exit::Error,
            Verdict::Unknown => Exit::Unknown,
            Verdict::Drifted => Exit::Changes,
            Verdict::Compliant | Verdict::Remediated | Verdict::Pending => Exit::Clean,
        }
    });
    areas.collect()
}

/// By the running agent where one runs, else by the configuration.
fn planned(config: &Path) -> Result<HostPlan, Failure> {
    match ask(&Paths::of_host().socket(), &Request::Plan) {
        Ok(Answer::Plan(plan)) => Ok(*plan),
        Ok(answer) => Err(unexpected(answer)),
        Err(AskError::NotRunning { .. }) => look(&configured(config)?),
        Err(e) => Err(e.into()),
    }
}

/// A policy that the command line names.
fn named(args: &PolicyArgs) -> Result<Held, Failure> {
    let paths = Paths::of_host();
    let (Some(dir), Some(host)) = (&args.policy, &args.host) else {
        return Err(Failure::new("--policy DIR and --host NAME go together").exit(Exit::Usage));
    };
    let dir = absolute(dir)?;
    Ok(Directory::open(&paths, dir, host.clone(), None)?.take(clock::wall())?)
}

/// A directory as the command line names it, from the root on.
pub(super) fn absolute(dir: &Path) -> Result<PathBuf, Failure> {
    std::path::absolute(dir)
        .map(|path| path.components().collect())
        .map_err(|e| Failure::of(&format!("cannot find {}", dir.display()), &e))
}

/// The policy that a service would start with now.
pub(super) fn configured(config: &Path) -> Result<Held, Failure> {
    let config = Config::read(config)?;
    let paths = Paths::of_host();
    match config.policy.from {
        Source::Directory => {
            Ok(Directory::open(&paths, config.policy.path, config.host, None)?.take(clock::wall())?)
        }
        Source::Bundles | Source::Controller => Ok(offered(&paths, &config.policy.path, &config.host)?),
    }
}

/// Signed bundles, verified against this host's root and floor: nothing is taken, written or made.
fn offered(paths: &Paths, dir: &Path, host: &HostName) -> Result<Held, Failure> {
    let held = Bundles::look(paths, absolute(dir)?, host.clone(), clock::wall());
    held.map_err(|NotTaken { what, hint }| Failure { what, hint, exit: Exit::Config })
}

fn look(held: &Held) -> Result<HostPlan, Failure> {
    let host = LinuxHost::new(ChangeLog::new());
    let clock = MachineClock::new().map_err(|e| Failure::of("cannot tell the time", &e))?;
    Ok(host_plan(held, &host, &clock.now()))
}
