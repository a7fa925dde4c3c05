//! How a command ends: exit codes, and an error with what to do next.

use std::process::ExitCode;

use crate::app::AppError;
use crate::config::ConfigError;
use crate::journal;
use crate::service::StartError;
use crate::store::StoreError;

/// Exit codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// All is as it should be.
    Clean,
    /// Something went wrong.
    Error,
    /// The arguments are wrong (sysexits.h: EX_USAGE).
    Usage,
    /// Configuration or root is wrong (sysexits.h: EX_CONFIG).
    Config,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(match exit {
            Exit::Clean => 0,
            Exit::Error => 1,
            Exit::Usage => 64,
            Exit::Config => 78,
        })
    }
}

/// Why a command did not do what it should.
#[derive(Debug)]
pub struct Failure {
    /// What went wrong.
    pub what: String,
    /// What to do next.
    pub hint: Option<String>,
    /// How the program ends.
    pub exit: Exit,
}

impl Failure {
    /// An error without a hint.
    pub fn new(what: impl Into<String>) -> Self {
        Self { what: what.into(), hint: None, exit: Exit::Error }
    }

    /// From any error, with its causes.
    pub fn of(doing: &str, error: &dyn std::error::Error) -> Self {
        Self::new(format!("{doing}: {}", journal::chain(error)))
    }

    /// With what to do next.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// With another exit code.
    #[must_use]
    pub const fn exit(mut self, exit: Exit) -> Self {
        self.exit = exit;
        self
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::new(journal::chain(&error)).hint(error.hint()).exit(Exit::Config)
    }
}

impl From<AppError> for Failure {
    fn from(error: AppError) -> Self {
        let exit = match &error {
            AppError::Store(_) => Exit::Error,
            _ => Exit::Config,
        };
        Self::new(journal::chain(&error)).hint(error.hint()).exit(exit)
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::new(journal::chain(&error)).hint(error.hint())
    }
}

impl From<StartError> for Failure {
    fn from(error: StartError) -> Self {
        match error {
            StartError::App(error) => error.into(),
            error => Self::new(journal::chain(&error)),
        }
    }
}
