//! What is commonly wrong on a host, looked for one by one, each with what mends it. Changes nothing.

mod agent;
mod places;
mod programs;
mod services;

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::config::Config;
use crate::paths::Paths;

/// How one thing stands, from best to worst.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Level {
    /// As it should be.
    Ok,
    /// It works, and a person should see to it.
    Warn,
    /// It could not be looked at. Never ok.
    Unknown,
    /// Something does not work.
    Fail,
    /// The same, and configuration is the reason.
    FailConfig,
}

impl Level {
    /// The word on screens.
    pub fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Unknown => "unknown",
            Self::Fail | Self::FailConfig => "FAIL",
        }
    }
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Check {
    /// Which: a stable word.
    pub name: String,
    /// How it stands.
    pub level: Level,
    /// What was found.
    pub what: String,
    /// What to do, when it is not ok.
    pub remedy: Option<String>,
}

impl Check {
    fn ok(name: &str, what: impl Into<String>) -> Self {
        Self { name: name.into(), level: Level::Ok, what: what.into(), remedy: None }
    }

    fn not(level: Level, name: &str, what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { name: name.into(), level, what: what.into(), remedy: Some(remedy.into()) }
    }

    fn warn(name: &str, what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::not(Level::Warn, name, what, remedy)
    }

    fn unknown(name: &str, what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::not(Level::Unknown, name, what, remedy)
    }

    fn fail(name: &str, what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::not(Level::Fail, name, what, remedy)
    }

    fn config(name: &str, what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::not(Level::FailConfig, name, what, remedy)
    }
}

/// Looks at everything, in the order in which a host is set up.
pub fn examine(config: &Path, paths: &Paths) -> Vec<Check> {
    let (check, config) = places::config(config);
    let config: Option<&Config> = config.as_ref();
    let mut out = vec![check];
    out.extend(places::root(paths, config));
    out.push(places::state(paths));
    out.push(places::disk(paths));
    out.push(places::clock(paths));
    out.extend(config.into_iter().flat_map(|config| agent::policy(paths, config)));
    out.extend(programs::all());
    out.push(programs::kernel());
    out.push(places::sshd_config());
    out.extend(services::ours());
    out.extend(services::others());
    out.extend(agent::running(paths));
    out
}
