//! `job RUN`: the process of one run. The agent starts it with the host's one lock on its standard input; what it does
//! stands in its step journal.

use std::path::Path;

use tenure_areas::backup::facts::RunningJob;
use tenure_areas::backup::spec::JOBS;
use tenure_backup::error::BackupError;
use tenure_backup::job;
use tenure_backup::machine::Machine;
use tenure_link::admissions;
use tenure_sys::clock;
use tenure_sys::lock::Lock;
use tenure_trust::{AdmissionBook, RunId};

use super::{Exit, Failure};
use crate::config::{Config, Source};
use crate::paths::Paths;
use crate::policy_source::PolicySource;
use crate::sources::Bundles;

/// Does the work.
pub(super) fn job(config: &Path, run: &RunId) -> Result<Exit, Failure> {
    let lock = Path::new(JOBS).join("lock");
    let said = Lock::said(&lock).map_err(|e| Failure::of("cannot look at the lock of jobs", &e))?;
    let holder: Option<RunningJob> = said.and_then(|said| serde_json::from_slice(&said).ok());
    if holder.is_none_or(|job| job.run != *run) {
        return Err(Failure::new(format!("the agent did not start the job {run}"))
            .hint("ask it: `tenure-agent backup run`"));
    }
    let paths = Paths::of_host();
    let work = || {
        let spec = job::read_spec(&paths.state, run).map_err(failed)?;
        let machine = machine(&Config::read(config)?, &paths)?;
        job::run(&machine, &spec).map_err(failed)
    };
    match work() {
        Ok(_) => Ok(Exit::Clean),
        Err(failure) => {
            // The journal may be what failed; then the agent gives the run up after some starts.
            let _ = job::note_failure(&paths.state, run, &failure.what);
            Err(failure)
        }
    }
}

/// This machine with the admissions that it can judge.
pub(super) fn machine(config: &Config, paths: &Paths) -> Result<Machine, Failure> {
    Machine::open(&paths.state, &config.host, admitted(config, paths)?).map_err(failed)
}

/// What a controller handed on counts before what lies in the drop directory; a standalone host knows no other machine.
fn admitted(config: &Config, paths: &Paths) -> Result<AdmissionBook, Failure> {
    if config.policy.from == Source::Directory {
        return Ok(AdmissionBook::default());
    }
    let linked = paths.state("link");
    let from = if linked.join(admissions::FILE).exists() { linked } else { config.policy.path.clone() };
    let mut bundles = Bundles::open(paths, from, config.host.clone())?;
    Ok(bundles.admissions(clock::wall())?.map(|admitted| admitted.book).unwrap_or_default())
}

/// An error of the backups as a person sees it.
pub(super) fn failed(error: BackupError) -> Failure {
    let hint = error.hint();
    Failure::of("backup", &error).hint(hint)
}
