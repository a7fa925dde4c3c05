//! How a command ends: exit codes, and an error with what to do next.

use std::process::ExitCode;

use crate::agent::StartError;
use crate::config::ConfigError;
use crate::journal;
use crate::policy_source::NotTaken;
use crate::socket::client::AskError;
use crate::socket::wire::Refused;

/// Exit codes, from best to worst.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Exit {
    /// Everything is as it should be.
    Clean,
    /// Changes or drift were found.
    Changes,
    /// Something could not be judged.
    Unknown,
    /// Something went wrong.
    Error,
    /// The arguments are wrong (sysexits.h: EX_USAGE).
    Usage,
    /// The configuration or policy is wrong (sysexits.h: EX_CONFIG).
    Config,
}

impl Exit {
    /// All of them by their number.
    pub const ALL: [Self; 6] =
        [Self::Clean, Self::Error, Self::Changes, Self::Unknown, Self::Usage, Self::Config];

    /// Its number.
    pub fn code(self) -> u8 {
        match self {
            Self::Clean => 0,
            Self::Error => 1,
            Self::Changes => 2,
            Self::Unknown => 3,
            Self::Usage => 64,
            Self::Config => 78,
        }
    }

    /// What it says, for help and man pages.
    pub fn meaning(self) -> &'static str {
        match self {
            Self::Clean => "clean",
            Self::Error => "error",
            Self::Changes => "changes or drift found",
            Self::Unknown => "something is unknown",
            Self::Usage => "usage",
            Self::Config => "configuration",
        }
    }

    /// The table in one line.
    pub fn table() -> String {
        let lines = Self::ALL.map(|exit| format!("{} {}", exit.code(), exit.meaning()));
        format!("Exit codes: {}", lines.join(" · "))
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// Why a command did not do what it should.
#[derive(Debug)]
pub struct Failure {
    /// What went wrong; faults of a policy set on lines of their own.
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
    pub fn exit(mut self, exit: Exit) -> Self {
        self.exit = exit;
        self
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self { what: journal::chain(&error), hint: Some(error.hint()), exit: Exit::Config }
    }
}

impl From<NotTaken> for Failure {
    fn from(error: NotTaken) -> Self {
        Self { what: error.what, hint: error.hint, exit: Exit::Config }
    }
}

impl From<Refused> for Failure {
    fn from(error: Refused) -> Self {
        Self::new(error.what).hint(error.hint)
    }
}

impl From<AskError> for Failure {
    fn from(error: AskError) -> Self {
        Self::new(journal::chain(&error)).hint(error.hint())
    }
}

impl From<StartError> for Failure {
    fn from(error: StartError) -> Self {
        Self::new(journal::chain(&error)).hint(error.hint())
    }
}
