//! `run`: the service. Tells systemd when it is ready and that it lives, and ends when told to or when a part of it ended.

use std::os::fd::AsFd;
use std::path::Path;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use sd_notify::NotifyState;
use tenure_sys::clock;

use super::{Exit, Failure};
use crate::agent::{Agent, Setup, make_dirs};
use crate::config::{Config, Source};
use crate::paths::Paths;
use crate::policy_source::{NotTaken, PolicySource};
use crate::sources::{Bundles, Directory};
use crate::{journal, output};

/// How often the parts are looked at when systemd does not say.
const LOOK: Duration = Duration::from_secs(10);

/// Runs until told to stop.
pub(super) fn run(config: &Path) -> Result<Exit, Failure> {
    output::set_service();
    let config = Config::read(config)?;
    let paths = Paths::of_host();
    make_dirs(&paths).map_err(|e| Failure::of("cannot prepare the agent's state", &e))?;
    // Before any thread starts, so that all of them leave these signals to this one.
    let signals = signals().map_err(|e| Failure::of("cannot take signals", &e))?;
    let source = source(&config, &paths)?;
    let link = config.policy.from == Source::Controller;
    let agent = Agent::start(Setup {
        paths,
        host: config.host.clone(),
        source,
        watch: true,
        link,
        observe_only: false,
    })?;
    tell(&[NotifyState::Ready]);
    let ended = wait(&agent, &signals);
    tell(&[NotifyState::Stopping]);
    agent.stop();
    match ended {
        None => Ok(Exit::Clean),
        Some(part) => Err(Failure::new(format!("{part} ended by itself"))
            .hint("systemd starts the agent again; look at the journal")),
    }
}

/// The source that the configuration names.
pub(super) fn source(config: &Config, paths: &Paths) -> Result<Box<dyn PolicySource>, NotTaken> {
    let (path, host) = (config.policy.path.clone(), config.host.clone());
    Ok(match config.policy.from {
        Source::Bundles | Source::Controller => Box::new(Bundles::open(paths, path, host)?),
        Source::Directory => Box::new(Directory::open(paths, path, host, None)?),
    })
}

fn signals() -> nix::Result<SignalFd> {
    let set = SigSet::from_iter([Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP]);
    set.thread_block()?;
    SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
}

/// Until a signal comes (none) or a part has ended (its name).
fn wait(agent: &Agent, signals: &SignalFd) -> Option<String> {
    let watchdog = sd_notify::watchdog_enabled();
    let every = watchdog.map_or(LOOK, |limit| (limit / 3).min(LOOK));
    let every = PollTimeout::try_from(every).unwrap_or(PollTimeout::from(1000u16));
    let mut told = false;
    loop {
        if let Some(part) = agent.broken_part() {
            journal::error(&format!("{part} ended by itself; the agent ends to be started again"));
            return Some(part);
        }
        match agent.hanging_part(clock::monotonic()) {
            None => {
                told = false;
                if watchdog.is_some() {
                    tell(&[NotifyState::Watchdog]);
                }
            }
            // Not asked to end: a lane that hangs would hold that up too. systemd ends it by force and starts it again.
            Some(part) if !told => {
                journal::error(&format!("{part} hangs; systemd is no longer told that the agent lives"));
                told = true;
            }
            Some(_) => {}
        }
        let mut fds = [PollFd::new(signals.as_fd(), PollFlags::POLLIN)];
        if poll(&mut fds, every).is_ok_and(|ready| ready > 0) {
            return None;
        }
    }
}

fn tell(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        journal::warning(&format!("cannot tell systemd: {error}"));
    }
}
