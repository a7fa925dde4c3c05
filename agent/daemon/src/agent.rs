//! The agent put together: lock, recorder, lanes, watchers, policy, socket; in this order up and in the other down.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tenure_link::{Uplink, uplink};
use tenure_policy::resolved::HostPolicy;
use tenure_sys::command::{Program, capture};
use tenure_sys::files::{FileError, Roots};
use tenure_sys::lock::{Lock, LockError};
use tenure_trust::HostName;

use crate::admission_in_force::AdmissionInForce;
use crate::areas::Area;
use crate::before::Before;
use crate::bell::{Mailbox, Reason};
use crate::board::Board;
use crate::desk::Counter;
use crate::host::{Clock, MachineClock};
use crate::journal::{self, Entry, Kind};
use crate::lane::{Lane, Tools};
use crate::ledger::ChainLedger;
use crate::linux::{ChangeLog, LinuxHost, Watcher};
use crate::paths::Paths;
use crate::policy_in_force::PolicyInForce;
use crate::policy_source::{self, Office, PolicySource};
use crate::prober;
use crate::recorder;
use crate::socket::Server;
use crate::time_floor::TimeFloor;
use crate::told::Told;
use crate::watch::Watch;

/// Why the agent did not start. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Another agent works on this host, or its lock cannot be used.
    #[error("cannot be the one agent of this host")]
    Lock(#[from] LockError),
    /// A directory or file of ours cannot be used.
    #[error("cannot prepare the agent's state")]
    State(#[from] FileError),
    /// The kernel gave no thread, socket or watch.
    #[error("cannot start the {what}")]
    Part {
        /// Which part.
        what: &'static str,
        /// Why.
        source: std::io::Error,
    },
}

impl StartError {
    /// What to do next.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Lock(LockError::Held { .. }) => {
                "wait for it to end, or ask it: `tenure-agent status` goes through its socket"
            }
            Self::Lock(LockError::File(error)) | Self::State(error) => error.hint(),
            Self::Part { .. } => {
                "the kernel gives no more threads, sockets or watches: end what uses them up, or raise the limit; \
                 `tenure-agent doctor` looks for the usual reasons"
            }
        }
    }
}

/// A running agent.
#[derive(Debug)]
pub struct Agent {
    tools: Tools,
    lanes: Vec<Lane>,
    recorder: recorder::Running,
    policy: policy_source::Running,
    prober: prober::Running,
    uplink: Option<Uplink>,
    server: Server,
    watch: Option<Watch>,
    kernel: Option<Watcher>,
    _lock: Lock,
}

/// What to start.
pub struct Setup {
    /// Where things stand.
    pub paths: Paths,
    /// Which host of the policy this is.
    pub host: HostName,
    /// Where the policy comes from.
    pub source: Box<dyn PolicySource>,
    /// Watch kernel and files? A one-shot `apply` does not stay long enough.
    pub watch: bool,
    /// Link to the controller that this host has enrolled with?
    pub link: bool,
    /// Only observe, whatever the policy says? Who runs to give areas back must not take others meanwhile.
    pub observe_only: bool,
}

/// Makes the directories of state and run, root's alone.
///
/// # Errors
/// When something else stands there or they cannot be made.
pub fn make_dirs(paths: &Paths) -> Result<(), FileError> {
    for dir in [&paths.state, &paths.run] {
        Roots::new([dir])?.make_dir(dir, 0o700)?;
    }
    Ok(())
}

impl Agent {
    /// Starts everything; the first pass of every lane follows as soon as there is a policy.
    ///
    /// # Errors
    /// [`StartError`], with nothing changed on the host.
    pub fn start(setup: Setup) -> Result<Self, StartError> {
        let Setup { paths, host: name, source, watch, link, observe_only } = setup;
        make_dirs(&paths)?;
        let lock = Lock::take(&paths.lock())?;
        let clock: Arc<dyn Clock> = Arc::new(MachineClock::new()?);
        let floor = Arc::new(TimeFloor::open(paths.state("time-floor"))?);
        let (board, policy) = (Board::new(), PolicyInForce::default());
        let ledger = Box::new(ChainLedger::new(paths.state.clone(), name.clone()));
        let told = Told::by_records(&paths.state);
        let part = |what| move |source| StartError::Part { what, source };
        let (recorder, recording) =
            recorder::start(ledger, board.clone(), floor.clone(), clock.clone()).map_err(part("recorder"))?;
        let log = ChangeLog::new();
        let host = Arc::new(LinuxHost::new(log.clone()));
        let jobs = host.job_bell().clone();
        let before = Before::new(Arc::new(list_ruleset));
        let tools = Tools { host, clock, policy, board, recorder, floor, before, told, observe_only };
        let lanes: Vec<Lane> = Area::ALL
            .into_iter()
            .map(|area| Lane::start(area, tools.clone()))
            .collect::<Result<_, _>>()
            .map_err(part("lanes"))?;
        let bells: BTreeMap<Area, Mailbox> = lanes.iter().map(|l| (l.area, l.mailbox.clone())).collect();
        let backups = bells.get(&Area::Backup).cloned().unwrap_or_default();
        jobs.connect(move || backups.ring(Reason::JobEnded));
        let mut notes = Vec::new();
        let (kernel, files) = if watch { watchers(&bells, log, &mut notes) } else { (None, None) };
        tools.event_start(&name, &paths);
        let admissions = AdmissionInForce::default();
        let office = Office {
            cell: tools.policy.clone(),
            lanes: bells.values().cloned().collect(),
            board: tools.board.clone(),
            recorder: tools.recorder.clone(),
            clock: tools.clock.clone(),
            floor: tools.floor.clone(),
            admissions: admissions.clone(),
        };
        bells.values().for_each(|bell| bell.ring(Reason::Start));
        let policy = policy_source::start(source, office).map_err(part("policy's thread"))?;
        let uplink = if link { Some(link_up(&tools, &paths, &name).map_err(part("link"))?) } else { None };
        let bell = uplink.as_ref().map(Uplink::bell);
        let desk = Arc::new(Counter::new(tools.clone(), bells, name.clone(), notes, bell));
        let prober = prober::start(&tools, &admissions, &desk, paths.state.clone(), name)
            .map_err(part("prober's threads"))?;
        let server = Server::start(&paths.socket(), desk).map_err(part("socket"))?;
        Ok(Self {
            tools,
            lanes,
            recorder: recording,
            policy,
            prober,
            uplink,
            server,
            watch: files,
            kernel,
            _lock: lock,
        })
    }

    /// The part that has ended by itself, if one has: then the agent must end too and be started again.
    pub fn broken_part(&self) -> Option<String> {
        let lane = self.lanes.iter().find(|l| l.is_finished()).map(|l| format!("the lane {}", l.area));
        let part = |ended: bool, what: &str| ended.then(|| what.to_owned());
        lane.or_else(|| part(self.recorder.is_finished(), "the recorder"))
            .or_else(|| part(self.policy.is_finished(), "the policy's thread"))
            .or_else(|| part(self.prober.is_finished(), "the prober"))
            .or_else(|| part(self.uplink.as_ref().is_some_and(Uplink::is_finished), "the link"))
            .or_else(|| part(self.server.is_finished(), "the socket"))
            .or_else(|| part(self.watch.as_ref().is_some_and(Watch::is_finished), "the file watcher"))
            .or_else(|| part(self.kernel.as_ref().is_some_and(|k| !k.is_listening()), "the kernel watcher"))
    }

    /// The lane that has made no progress for far longer than a pass lasts, if there is one: then the agent must not say
    /// that it lives.
    pub fn hanging_part(&self, now: Duration) -> Option<String> {
        self.lanes.iter().find(|lane| lane.hangs(now)).map(|lane| format!("the lane {}", lane.area))
    }

    /// Ends everything after the passes under way; a trial goes on in the kernel and falls back by itself.
    pub fn stop(self) {
        let Self { tools, lanes, recorder, policy, prober, uplink, server, watch, kernel, _lock } = self;
        server.stop();
        if uplink.is_some_and(|uplink| !uplink.stop()) {
            journal::error("the link ended by a fault of its own");
        }
        prober.stop();
        policy.stop();
        drop(kernel);
        watch.into_iter().for_each(Watch::stop);
        lanes.into_iter().for_each(Lane::stop);
        let version = tools.policy.get().and_then(|held| held.version());
        tools.recorder.event("stop", json!({}), version, tools.clock.now().wall);
        recorder.stop();
    }
}

impl Tools {
    fn event_start(&self, host: &HostName, paths: &Paths) {
        let now = self.clock.now();
        // What was under way when the agent ended; the first pass sees it and goes on from there.
        let trial = ["firewall/trial.json", "ssh_access/trial.json"].iter().any(|t| paths.state(t).exists());
        let payload = json!({
            "agent": env!("CARGO_PKG_VERSION"),
            "host": host,
            "boot_id": now.boot_id,
            "since_boot_ms": now.since_boot_ms,
            "trial_under_way": trial,
        });
        self.recorder.event("start", payload, None, now.wall);
    }
}

/// Starts the link. What it states about its controller becomes an event in this host's own chain.
fn link_up(tools: &Tools, paths: &Paths, host: &HostName) -> std::io::Result<Uplink> {
    let places = tenure_link::Places { root: paths.root.clone(), state: paths.state.clone() };
    let setup = uplink::Setup { places, host: host.clone(), clock: tenure_sys::clock::wall };
    let (recorder, clock, policy) = (tools.recorder.clone(), tools.clock.clone(), tools.policy.clone());
    let notice = move |notice: uplink::Notice| {
        let version = policy.get().and_then(|held| held.version());
        Entry::new(Kind::PolicyNotTaken, &notice.what).version(version).write();
        let payload = json!({ "what": notice.what, "hint": notice.hint });
        recorder.event(notice.event, payload, version, clock.now().wall);
    };
    Uplink::start::<HostPolicy>(setup, Box::new(notice))
}

/// Both watchers. One that cannot run is told on every screen; the lanes then look at every heartbeat only.
fn watchers(
    bells: &BTreeMap<Area, Mailbox>,
    log: ChangeLog,
    notes: &mut Vec<String>,
) -> (Option<Watcher>, Option<Watch>) {
    let firewall = bells.get(&Area::Firewall).cloned().unwrap_or_default();
    let kernel = Watcher::start(log, move || firewall.ring(Reason::KernelEvent));
    let files = Watch::start(bells.iter().map(|(area, bell)| (*area, bell.clone())).collect());
    let mut keep = |what: &str, error: std::io::Error| {
        let note = format!("{what} cannot be watched: {error}; changes are seen at the next heartbeat only");
        journal::error(&note);
        notes.push(note);
    };
    (kernel.map_err(|e| keep("the kernel's ruleset", e)).ok(), files.map_err(|e| keep("files", e)).ok())
}

/// The whole ruleset as text, without counters' values.
fn list_ruleset() -> Result<Vec<u8>, String> {
    let program = Program::new(Path::new("/usr/sbin/nft"), ["-s", "list", "ruleset"]).cap(64 << 20);
    capture(&program).and_then(|out| out.success()).map_err(|e| journal::chain(&e))
}
