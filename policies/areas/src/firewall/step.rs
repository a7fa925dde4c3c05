//! One thing to do, as it is printed and carried out.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::port::{Command, HostWrite, ManagedFile, ManagedPath, PortError, PortResult};

/// What a step is for; the guard looks at it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Purpose {
    /// Writes down or removes state.
    State,
    /// Hooks connection tracking and enters open sessions.
    Warm,
    /// Brings a new ruleset towards the kernel: the guard must have proved it.
    Load,
    /// Brings the built-in baseline into the kernel: the guard must have proved it.
    Baseline,
    /// Ends a trial for the new ruleset.
    Confirm,
    /// Ends a trial for the old ruleset.
    Abandon,
    /// Puts back what was changed by others.
    Restore,
    /// Cuts connections that the ruleset in force denies.
    Cut,
    /// Takes a table of ours away.
    Lift,
}

/// The line of the step that takes away what a warm-up has left.
pub(super) const COOL: &str =
    "take table inet tenure_warm away, which only the moment before a first trial needs";

/// What exactly is done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// Puts a file in place.
    Put(ManagedFile),
    /// Puts a file in the place of another.
    Replace(ManagedPath, ManagedPath),
    /// Removes a file.
    Remove(ManagedPath),
    /// Tells the host.
    Tell(Command),
    /// The content of the ruleset is only on the host: a plan made elsewhere from reported facts cannot be carried out.
    OnlyOnHost,
}

/// One step of a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// What for.
    pub purpose: Purpose,
    /// The line that a person reads.
    pub line: String,
    /// What is done.
    pub action: Action,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.line)
    }
}

impl Step {
    pub(super) fn new(purpose: Purpose, line: impl Into<String>, action: Action) -> Self {
        Self { purpose, line: line.into(), action }
    }

    pub(super) fn load(purpose: Purpose, line: impl Into<String>, json: String) -> Self {
        Self::new(purpose, line, Action::Tell(Command::NftLoad { json }))
    }

    pub(super) fn put(line: impl Into<String>, file: ManagedFile) -> Self {
        Self::new(Purpose::State, line, Action::Put(file))
    }

    pub(super) fn remove(path: &str) -> Self {
        Self::new(Purpose::State, format!("remove {path}"), Action::Remove(super::state::managed(path)))
    }

    pub(super) fn carry_out(&self, host: &dyn HostWrite) -> PortResult<()> {
        match &self.action {
            Action::Put(file) => host.put(file),
            Action::Replace(from, to) => host.replace(from, to),
            Action::Remove(path) => host.remove(path),
            Action::Tell(command) => host.tell(command),
            Action::OnlyOnHost => Err(PortError::Failed {
                doing: self.line.clone(),
                why: "the ruleset's content is only on the host".into(),
            }),
        }
    }
}
