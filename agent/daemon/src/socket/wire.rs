//! What the command line and the agent say to each other: one JSON line each way, closed enums, bounded sizes.
//! There is no request that runs anything.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tenure_areas::area::{Done, Unknown};
use tenure_areas::backup::facts::RunRequest;
use tenure_link::LinkStatus;
use tenure_trust::HostName;

use crate::areas::{Area, Look};
use crate::board::{Event, Overview};
use crate::itself::Itself;
use crate::logins::Logins;
use crate::reach::Reach;
use crate::session::Confirmer;

/// Longest request in bytes, its line end included.
pub const REQUEST_LIMIT: usize = 4096;
/// Longest answer in bytes; findings are bounded by the loop, facts by the areas.
pub const ANSWER_LIMIT: usize = 16 << 20;

/// What somebody asks of the agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Request {
    /// How everything stands.
    Status,
    /// What a pass would do now.
    Plan,
    /// Make a pass of every area now; areas that were given back are kept again.
    Apply,
    /// Keep what is on trial.
    Confirm,
    /// Give up what is on trial.
    Revert,
    /// What was changed by others and what became of it.
    Drift,
    /// Give an area back as it stood before the first apply.
    Lift {
        /// Which.
        area: Area,
    },
    /// Wait until everything seen so far is in the records.
    Settle,
    /// Make copies of these series now; as many requests as series.
    Backup {
        /// `server`, `nightly`, or a series as OWNER/HOST/SET; all of them when none is named.
        which: Option<String>,
    },
}

/// What the agent answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Answer {
    /// To `status`.
    Status(Box<Status>),
    /// To `plan`.
    Plan(Box<HostPlan>),
    /// To `apply`: passes were asked for; `status` tells what came of them.
    Ringing,
    /// To `confirm`.
    Confirmed(Confirmed),
    /// To `revert`: what went back.
    Reverted {
        /// The ruleset that was given up, if one was on trial.
        number: Option<u32>,
        /// Were logins on trial and given up?
        ssh_access: bool,
    },
    /// To `drift`.
    Drift(Drift),
    /// To `lift`.
    Lifted {
        /// Which area.
        area: Area,
        /// What was done.
        done: Vec<Done>,
    },
    /// To `settle`.
    Settled,
    /// To `backup`: what was asked for, in the order in which it is begun.
    Asked {
        /// One for each series.
        requests: Vec<RunRequest>,
    },
    /// Not done, and nothing was changed.
    Refused(Refused),
}

/// Why something was not done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{what}")]
#[serde(deny_unknown_fields)]
pub struct Refused {
    /// What was not done, and why.
    pub what: String,
    /// What to do next.
    pub hint: String,
}

impl Refused {
    /// A refusal with something to do next.
    pub fn new(what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { what: what.into(), hint: hint.into() }
    }
}

/// How everything stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Status {
    /// Which host of the policy this is.
    pub host: HostName,
    /// The agent's version and what it uses.
    pub agent: Itself,
    /// When it started.
    pub since: Timestamp,
    /// The agent's clock as it answers.
    pub now: Timestamp,
    /// Areas, policy, records.
    pub board: Overview,
    /// What needs a person's eyes beside the areas: a clock that is wrong, a policy that has expired, a watcher that
    /// does not run.
    pub notes: Vec<String>,
    /// The link to the controller, where there is one.
    #[serde(default)]
    pub link: Option<LinkStatus>,
}

/// What a pass of every area would do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HostPlan {
    /// Which host of the policy this is.
    pub host: HostName,
    /// Where the policy came from.
    pub from: String,
    /// When it was looked.
    pub at: Timestamp,
    /// One entry per area with a section.
    pub areas: Vec<AreaPlan>,
    /// What listens, and who can reach it now and after.
    pub reach: Vec<Reach>,
    /// Who can log in now and after.
    pub logins: Logins,
}

/// What a pass of one area would do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AreaPlan {
    /// Which.
    pub area: Area,
    /// Would it be carried out?
    pub mode: tenure_policy::resolved::Mode,
    /// What would be done; none when the area could not be judged.
    pub look: Option<Look>,
    /// Why it could not be judged.
    pub unknown: Option<Unknown>,
}

/// A trial that was confirmed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Confirmed {
    /// The ruleset's number; none when only logins were on trial.
    pub number: Option<u32>,
    /// Who confirmed it.
    pub by: Confirmer,
    /// When.
    pub at: Timestamp,
    /// How the trial of who gets in by SSH stands, if there was one.
    pub ssh_access: Option<String>,
}

/// What was changed by others.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Drift {
    /// Events since the agent started, oldest first, bounded; older ones are in the records.
    pub events: Vec<Event>,
    /// How everything stands.
    pub board: Overview,
}
