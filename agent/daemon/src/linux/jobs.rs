//! Jobs: one at a time on a host, each a process of its own that outlives the agent. Who runs is told by a lock that the
//! job's process holds from its first moment, so that nothing that was killed is ever taken for running.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tenure_areas::backup::facts::RunningJob;
use tenure_areas::backup::spec::{JOBS, JobSpec};
use tenure_areas::port::{PortError, PortResult};
use tenure_sys::command::{self, Program};
use tenure_sys::files::{CheckedDir, FileError, Roots};
use tenure_sys::lock::{Lock, LockError};
use tenure_sys::{clock, text};
use tenure_trust::RunId;

use super::fault;
use crate::journal;

const AGENT: &str = "/usr/sbin/tenure-agent";
const SYSTEMD_RUN: &str = "/usr/bin/systemd-run";
/// Seconds until a job is ended, whatever it does.
const LIMIT_SECONDS: u64 = 12 * 3600;
/// What a job needs as root: to read every file, and to become the database's user; nothing else.
const CAPABILITIES: &str =
    "CAP_DAC_READ_SEARCH CAP_DAC_OVERRIDE CAP_SETUID CAP_SETGID CAP_CHOWN CAP_FOWNER CAP_KILL";

type Bell = Arc<Mutex<Option<Box<dyn Fn() + Send>>>>;

/// What is rung when a job ends.
#[derive(Clone, Default)]
pub struct JobBell(Bell);

impl std::fmt::Debug for JobBell {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("JobBell")
    }
}

impl JobBell {
    /// From now on this is rung.
    pub fn connect(&self, ring: impl Fn() + Send + 'static) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(ring));
    }

    fn ring(&self) {
        if let Some(ring) = &*self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            ring();
        }
    }
}

/// The lock of the job that runs.
fn lock() -> PathBuf {
    Path::new(JOBS).join("lock")
}

/// The job that runs, as [`tenure_areas::port::Query::Job`] documents it.
pub(super) fn running() -> PortResult<Vec<u8>> {
    let doing = "looking for the job that runs";
    match Lock::said(&lock()) {
        Ok(None) => Ok(b"null".to_vec()),
        Ok(Some(said)) => Ok(said),
        Err(LockError::File(e)) => Err(fault::file(doing, &e)),
        Err(e @ LockError::Held { .. }) => Err(failed(doing, &e.to_string())),
    }
}

/// Starts a job.
pub(super) fn start(run: &RunId, roots: &Roots, bell: &JobBell) -> PortResult<()> {
    let doing = format!("starting the job {run}");
    let file = |e: FileError| fault::file("starting a job", &e);
    roots.make_dir(Path::new(JOBS), 0o700).map_err(file)?;
    CheckedDir::read_file(Path::new(&JobSpec::path(run)), 1 << 20).map_err(file)?;
    let job = RunningJob { run: run.clone(), since: clock::wall() };
    let said = serde_json::to_string(&job).expect("a name and a time have a JSON form");
    let held = match Lock::take_saying(&lock(), &said) {
        Ok(held) => held,
        Err(e) => return Err(failed(&doing, &journal::chain(&e))),
    };
    let started =
        command::start(&program(run), held.into_file()).map_err(|e| fault::command("starting a job", &e))?;
    let (bell, run) = (bell.clone(), run.clone());
    let wait = move || {
        match started.wait() {
            Ok(command::Ended::Code(0)) => {}
            Ok(ended) => journal::warning(&format!("the job {run} ended with {ended}")),
            Err(e) => journal::warning(&format!("cannot wait for the job {run}: {}", journal::chain(&e))),
        }
        bell.ring();
    };
    // Without a thread its end is seen by the lane's own look, seconds later.
    let _ = std::thread::Builder::new().name("job-end".into()).spawn(wait);
    Ok(())
}

/// Under systemd the job is a unit of its own, with its own limits; elsewhere a process.
fn program(run: &RunId) -> Program {
    let args = |list: &[String]| list.to_vec();
    let systemd = Path::new("/run/systemd/system").is_dir() && command::exists(Path::new(SYSTEMD_RUN));
    if !systemd {
        return Program::new(AGENT, args(&["job".into(), run.to_string()]));
    }
    let property = |text: String| ["--property".to_owned(), text];
    let mut words: Vec<String> = ["--quiet", "--pipe", "--wait", "--collect"].map(Into::into).into();
    words.push(format!("--unit=tenure-job-{run}"));
    words.push(format!("--description=Tenure job {run}"));
    for text in [
        "Nice=10".to_owned(),
        "IOSchedulingClass=best-effort".into(),
        "IOSchedulingPriority=7".into(),
        "UMask=0077".into(),
        format!("RuntimeMaxSec={LIMIT_SECONDS}"),
        format!("CapabilityBoundingSet={CAPABILITIES}"),
        "NoNewPrivileges=yes".into(),
        "TasksMax=128".into(),
        "MemoryMax=1G".into(),
        "SyslogIdentifier=tenure-job".into(),
        "StandardError=journal".into(),
    ] {
        words.extend(property(text));
    }
    words.extend(["--".to_owned(), AGENT.into(), "job".into(), run.to_string()]);
    Program::new(SYSTEMD_RUN, words).timeout(Duration::from_secs(LIMIT_SECONDS))
}

fn failed(doing: &str, why: &str) -> PortError {
    PortError::Failed { doing: doing.to_owned(), why: text::neutral(why.as_bytes(), 500) }
}
