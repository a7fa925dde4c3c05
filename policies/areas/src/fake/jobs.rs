//! The fake host's jobs: one at a time, each with a specification and a step journal on disk.

use jiff::Timestamp;
use tenure_trust::{GenerationId, Hash, RunId};

use super::{FakeHost, Node, State};
use crate::backup::facts::{RunningJob, SealFact};
use crate::backup::journal::{Line, RunStep};
use crate::backup::spec::JobSpec;
use crate::port::{PortError, PortResult};

impl State {
    /// Starts a job as the real command does: refused beside another, and without a specification.
    pub(super) fn start_job(&mut self, run: &RunId) -> PortResult<()> {
        let failed = |why: String| PortError::Failed { doing: format!("starting the job {run}"), why };
        if let Some(job) = &self.job {
            return Err(failed(format!("the job {} runs", job.run)));
        }
        let absent = || PortError::Absent { what: JobSpec::path(run) };
        self.spec(run).ok_or_else(absent)?;
        self.job = Some(RunningJob { run: run.clone(), since: self.wall });
        self.journal(run, RunStep::Planned);
        Ok(())
    }

    pub(super) fn job_answer(&self) -> Vec<u8> {
        serde_json::to_vec(&self.job).expect("a job is plain data")
    }

    fn spec(&self, run: &RunId) -> Option<JobSpec> {
        let super::NodeKind::File(bytes) = &self.files.get(&JobSpec::path(run))?.kind else { return None };
        serde_json::from_slice(bytes).ok()
    }

    fn journal(&mut self, run: &RunId, step: RunStep) {
        let path = JobSpec::journal(run);
        let mut bytes = match self.files.get(&path).map(|node| &node.kind) {
            Some(super::NodeKind::File(bytes)) => bytes.clone(),
            _ => Vec::new(),
        };
        // As the job does: a line that was never whole is cut off.
        bytes.truncate(bytes.iter().rposition(|b| *b == b'\n').map_or(0, |end| end + 1));
        let line = Line { at: self.wall, step };
        bytes.extend(serde_json::to_vec(&line).expect("a line is plain data"));
        bytes.push(b'\n');
        let at: Timestamp = self.wall;
        self.files.insert(&path, Node::file(&bytes, 0, 0o600, at));
    }
}

impl FakeHost {
    /// The job that runs comes to its receipt, or fails with these words. False when none runs.
    pub fn end_job(&self, failed: Option<&str>) -> bool {
        let mut state = self.state();
        let Some(job) = state.job.take() else { return false };
        let step = match failed {
            Some(why) => RunStep::Failed { why: why.into() },
            None => {
                let Some(spec) = state.spec(&job.run) else { return false };
                let hash = |what: &str| Hash::of(format!("{what} of {}", job.run).as_bytes());
                RunStep::Receipted(SealFact {
                    seal: hash("seal"),
                    snapshot: hash("snapshot"),
                    root: hash("root"),
                    receipt: hash("receipt"),
                    generation: GenerationId { date: spec.slot.date, number: 1 },
                    at: state.wall,
                    unreadable: 0,
                })
            }
        };
        state.journal(&job.run, step);
        true
    }

    /// The job's process is killed in the middle of its work. False when none runs.
    pub fn kill_job(&self) -> bool {
        let mut state = self.state();
        let Some(job) = state.job.take() else { return false };
        let spec = state.spec(&job.run);
        if let Some(spec) = spec {
            let generation = GenerationId { date: spec.slot.date, number: 1 };
            state.journal(&job.run, RunStep::Opened { generation, sequence: 3 });
        }
        true
    }

    /// The run of the job that runs now.
    pub fn running_job(&self) -> Option<RunId> {
        self.state().job.as_ref().map(|job| job.run.clone())
    }
}
