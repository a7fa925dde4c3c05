//! `apply`, `confirm`, `revert`, `lift`: through the running agent where one runs, else as an agent for as long as it takes.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use serde::Serialize;
use tenure_areas::area::{Done, Pending};
use tenure_sys::clock;

use super::look::{absolute, exit_of, unexpected};
use super::run::source;
use super::{ApplyArgs, Exit, Failure, LiftArgs, PolicyArgs, duration, show};
use crate::agent::{Agent, Setup};
use crate::areas::Area;
use crate::board::Overview;
use crate::config::Config;
use crate::output::Output;
use crate::paths::Paths;
use crate::socket::client::{AskError, ask};
use crate::socket::wire::{Answer, Confirmed, Request, Status};
use crate::sources::Directory;

/// How often the agent is asked how far it is.
const LOOK: Duration = Duration::from_millis(150);
/// How long the first passes may take; asking apt takes longest.
const PATIENCE: Duration = Duration::from_secs(300);
/// How long after its limit an operation is waited for: the pass that ends it takes a moment.
const AFTER_LIMIT: i64 = 15;

/// Makes the host as its policy says and waits until nothing is under way.
pub(super) fn apply(config: &Path, args: &ApplyArgs, out: Output) -> Result<Exit, Failure> {
    let paths = Paths::of_host();
    let running = status_of(&paths)?;
    if args.policy.policy.is_none() && running.is_some() {
        return finish(follow(&paths, out)?, out);
    }
    if let (Some(status), Some(dir)) = (&running, &args.policy.policy) {
        let from = status.board.policy.as_ref().map_or("its configured policy", |p| p.from.as_str());
        return Err(Failure::new(format!(
            "{} is not applied: an agent keeps this host by {from}",
            dir.display()
        ))
        .hint("change its policy there, or stop it first: `systemctl stop tenure-agent`"));
    }
    let setup = setup(config, &paths, &args.policy, args.confirm_within)?;
    let agent = Agent::start(setup)?;
    let followed = wait_for_policy(&paths).and_then(|()| follow(&paths, out));
    agent.stop();
    finish(followed?, out)
}

/// Keeps what is on trial.
pub(super) fn confirm(out: Output) -> Result<Exit, Failure> {
    let progress = out.progress("asking the agent to keep what is on trial");
    let answer = ask_there(&Request::Confirm);
    drop(progress);
    match answer? {
        Answer::Confirmed(confirmed) => {
            out.document(&confirmed);
            let Confirmed { number, by, at: _, ssh_access } = confirmed;
            if let Some(number) = number {
                out.line(&format!("ruleset g{number} is confirmed by {by}"));
            }
            if let Some(word) = ssh_access {
                out.line(&format!("SSH access: {word}"));
            }
            Ok(Exit::Clean)
        }
        answer => Err(unexpected(answer)),
    }
}

/// Gives up what is on trial.
pub(super) fn revert(out: Output) -> Result<Exit, Failure> {
    let progress = out.progress("asking the agent to give up what is on trial");
    let answer = ask_there(&Request::Revert);
    drop(progress);
    match answer? {
        Answer::Reverted { number, ssh_access } => {
            out.document(&serde_json::json!({ "reverted": number, "ssh_access": ssh_access }));
            if let Some(number) = number {
                out.line(&format!("ruleset g{number} is given up, the one before it is in force"));
            }
            if ssh_access {
                out.line("the logins on trial are given up, who gets in by SSH is as before");
            }
            out.note("it is not tried again before `tenure-agent apply` or another policy");
            Ok(Exit::Clean)
        }
        answer => Err(unexpected(answer)),
    }
}

#[derive(Serialize)]
struct Lifted {
    area: Area,
    done: Vec<Done>,
}

/// Gives areas back. Logins first: as long as the firewall stands, only the policy's networks can try.
pub(super) fn lift(config: &Path, args: &LiftArgs, out: Output) -> Result<Exit, Failure> {
    let paths = Paths::of_host();
    let running = status_of(&paths)?;
    let own = match running {
        Some(_) => None,
        // Its lanes only observe: they would else enforce what is about to be given back, and what is not.
        None => {
            let setup = setup(config, &paths, &args.policy, None)?;
            Some(Agent::start(Setup { observe_only: true, ..setup })?)
        }
    };
    let status =
        if own.is_some() { wait_for_policy(&paths) } else { Ok(()) }.and_then(|()| status_of(&paths));
    let (lifted, failure) = match status {
        Ok(status) => lift_each(&paths, args.area, status.as_ref(), out),
        Err(failure) => (Vec::new(), Some(failure)),
    };
    own.into_iter().for_each(Agent::stop);
    if lifted.is_empty()
        && let Some(failure) = failure
    {
        return Err(failure);
    }
    out.document(&lifted);
    for Lifted { area, done } in &lifted {
        out.line(&format!("{area} is given back"));
        for step in done {
            match &step.error {
                None => out.note(&format!("   {}", step.step)),
                Some(error) => out.line(&format!("   {}: FAILED: {error}", step.step)),
            }
        }
    }
    out.note("what was given back is only observed until `tenure-agent apply`");
    if let Some(failure) = failure {
        return Err(failure);
    }
    let failed = lifted.iter().flat_map(|l| &l.done).any(|d| d.error.is_some());
    Ok(if failed { Exit::Error } else { Exit::Clean })
}

/// Gives back one after the other until one is not: those that are, and why the next is not.
fn lift_each(
    paths: &Paths,
    named: Option<Area>,
    status: Option<&Status>,
    out: Output,
) -> (Vec<Lifted>, Option<Failure>) {
    let absent = status.map(|s| s.board.absent.clone()).unwrap_or_default();
    let areas = match named {
        Some(area) => vec![area],
        None => [Area::SshAccess, Area::Firewall, Area::Patch, Area::Backup]
            .into_iter()
            .filter(|area| !absent.contains(area))
            .collect(),
    };
    let progress = out.progress("giving back");
    let mut lifted = Vec::new();
    for area in areas {
        progress.say(&format!("giving {area} back"));
        match ask(&paths.socket(), &Request::Lift { area }) {
            Ok(Answer::Lifted { area, done }) => lifted.push(Lifted { area, done }),
            Ok(answer) => return (lifted, Some(unexpected(answer))),
            Err(error) => return (lifted, Some(error.into())),
        }
    }
    (lifted, None)
}

/// An agent for as long as the command takes: by the policy named, else by the configuration.
fn setup(
    config: &Path,
    paths: &Paths,
    args: &PolicyArgs,
    confirm_within: Option<u32>,
) -> Result<Setup, Failure> {
    let paths = paths.clone();
    crate::agent::make_dirs(&paths).map_err(|e| Failure::of("cannot prepare the agent's state", &e))?;
    if let (Some(dir), Some(host)) = (&args.policy, &args.host) {
        let source = Directory::open(&paths, absolute(dir)?, host.clone(), confirm_within)?;
        let (host, source) = (host.clone(), Box::new(source));
        return Ok(Setup { paths, host, source, watch: false, link: false, observe_only: false });
    }
    let config = Config::read(config)?;
    let source = source(&config, &paths)?;
    Ok(Setup { paths, host: config.host, source, watch: false, link: false, observe_only: false })
}

fn ask_there(request: &Request) -> Result<Answer, Failure> {
    ask(&Paths::of_host().socket(), request).map_err(|e| match e {
        AskError::NotRunning { .. } => Failure::new(
            "no agent runs, so nothing is on trial that it could confirm",
        )
        .hint("a trial that an ended agent left falls back by itself; `tenure-agent apply` begins anew"),
        e => e.into(),
    })
}

/// How the running agent stands; none when no agent runs.
fn status_of(paths: &Paths) -> Result<Option<Status>, Failure> {
    match ask(&paths.socket(), &Request::Status) {
        Ok(Answer::Status(status)) => Ok(Some(*status)),
        Ok(answer) => Err(unexpected(answer)),
        Err(AskError::NotRunning { .. }) => Ok(None),
        Err(e) => Err(e.into()),
    }
}

fn status_now(paths: &Paths) -> Result<Status, Failure> {
    status_of(paths)?.ok_or_else(|| Failure::new("the agent ended meanwhile").hint("look at the journal"))
}

/// Until the agent of this command has read its policy.
fn wait_for_policy(paths: &Paths) -> Result<(), Failure> {
    let deadline = clock::monotonic() + PATIENCE;
    loop {
        let status = status_now(paths)?;
        if let Some(fault) = status.board.policy_fault {
            return Err(Failure::new(fault).exit(Exit::Config));
        }
        if status.board.policy.is_some() {
            return Ok(());
        }
        if clock::monotonic() > deadline {
            let notes = status.notes.join("; ");
            return Err(Failure::new(format!("the policy was not read: {notes}")).exit(Exit::Config));
        }
        std::thread::sleep(LOOK);
    }
}

/// Asks for passes and waits until each has been made and nothing is under way.
fn follow(paths: &Paths, out: Output) -> Result<Status, Failure> {
    let before = answered(&status_now(paths)?.board);
    match ask(&paths.socket(), &Request::Apply)? {
        Answer::Ringing => {}
        answer => return Err(unexpected(answer)),
    }
    let progress = out.progress("looking at the host");
    let deadline = clock::monotonic() + PATIENCE;
    let mut told = BTreeSet::new();
    loop {
        let status = status_now(paths)?;
        let passed = answered(&status.board);
        let all = Area::ALL.into_iter().all(|area| {
            status.board.absent.contains(&area)
                || passed.get(&area).copied().unwrap_or(0) > before.get(&area).copied().unwrap_or(0)
        });
        let pending: Vec<&Pending> = status.board.areas.iter().filter_map(|a| a.pending.as_ref()).collect();
        for pending in &pending {
            let next = pending.next.as_deref().unwrap_or("wait");
            let left = duration::words(pending.until.duration_since(status.now).as_secs());
            if told.insert((pending.what.clone(), next.to_owned())) {
                progress.pause(|| out.note(&format!("{}, {left} left: {next}", pending.what)));
            }
        }
        match pending.into_iter().min_by_key(|pending| pending.until) {
            Some(pending) => {
                let left = pending.until.duration_since(status.now).as_secs();
                let next = pending.next.as_deref().unwrap_or("wait");
                progress.say(&format!("{}: {} left; {next}", pending.what, duration::words(left)));
                if left < -AFTER_LIMIT {
                    return Ok(status);
                }
            }
            None if all => return Ok(status),
            None if clock::monotonic() > deadline => {
                return Err(Failure::new(format!("no pass of every area within {} s", PATIENCE.as_secs()))
                    .hint("look at `tenure-agent status` and the journal"));
            }
            None => progress.say("making the host as its policy says"),
        }
        std::thread::sleep(LOOK);
    }
}

/// How many passes of each area answered a person.
fn answered(board: &Overview) -> BTreeMap<Area, u64> {
    board.areas.iter().map(|a| (a.area, a.answered)).collect()
}

fn finish(status: Status, out: Output) -> Result<Exit, Failure> {
    out.document(&status);
    show::status(&status, out);
    let failed =
        status.board.areas.iter().any(|a| a.refusal.is_some() || a.done.iter().any(|d| d.error.is_some()));
    let fault = status.board.policy_fault.is_some();
    Ok(exit_of(&status.board).max(if failed || fault { Exit::Error } else { Exit::Clean }))
}
