//! The one place that writes to the terminal: honours `--json` and `--quiet`, and says nothing by colour alone.

use std::fmt;
use std::io::Write;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};

use serde::Serialize;
use tenure_sys::progress::Progress;

use crate::failure::Failure;

/// How the program ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// All is as it should be.
    Clean,
    /// It could not be done.
    Error,
    /// Changes or drift were found.
    Changes,
    /// A promise is broken, overdue or unknown.
    Broken,
    /// The arguments make no sense.
    Usage,
    /// A file that the program needs is not as it must be.
    Config,
}

impl Exit {
    /// All of them by their number.
    pub(crate) const ALL: [Self; 6] =
        [Self::Clean, Self::Error, Self::Changes, Self::Broken, Self::Usage, Self::Config];

    /// Its number.
    pub(crate) fn code(self) -> u8 {
        match self {
            Self::Clean => 0,
            Self::Error => 1,
            Self::Changes => 2,
            Self::Broken => 3,
            Self::Usage => 64,
            Self::Config => 78,
        }
    }

    /// What it says, for help and man pages.
    pub(crate) fn meaning(self) -> &'static str {
        match self {
            Self::Clean => "clean",
            Self::Error => "error",
            Self::Changes => "changes or drift found",
            Self::Broken => "a promise is broken, overdue or unknown",
            Self::Usage => "usage",
            Self::Config => "configuration",
        }
    }

    /// The table in one line.
    pub(crate) fn table() -> String {
        let lines = Self::ALL.map(|exit| format!("{} {}", exit.code(), exit.meaning()));
        format!("Exit codes: {}", lines.join(" · "))
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(exit.code())
    }
}

/// Does the person want nothing but the answer?
static SILENT: AtomicBool = AtomicBool::new(false);

/// Something that may take longer than two seconds. Nothing may be asked on the terminal while it lasts.
pub(crate) fn progress(what: &str) -> Progress {
    if SILENT.load(Ordering::Relaxed) { Progress::none() } else { Progress::new(what) }
}

/// Where all text goes.
#[derive(Debug)]
pub(crate) struct Output {
    json: bool,
    quiet: bool,
    broken_pipe: bool,
}

impl Output {
    /// As the person asked.
    pub(crate) fn new(json: bool, quiet: bool) -> Self {
        SILENT.store(json || quiet, Ordering::Relaxed);
        Self { json, quiet, broken_pipe: false }
    }

    /// A line of the answer; not with `--quiet` and not with `--json`. The caller has made outside text neutral.
    pub(crate) fn line(&mut self, text: impl fmt::Display) {
        if !self.quiet && !self.json {
            self.out(format_args!("{text}\n"));
        }
    }

    /// A question to a person at the terminal, on standard error, whatever was asked for as answer.
    pub(crate) fn prompt(&mut self, text: &str) {
        self.err(format_args!("{text}"));
    }

    /// The answer as JSON, with `--json` only.
    pub(crate) fn value(&mut self, value: &impl Serialize) {
        if self.json {
            match serde_json::to_string_pretty(value) {
                Ok(text) => self.out(format_args!("{text}\n")),
                Err(error) => self.err(format_args!("cannot write the answer as JSON: {error}\n")),
            }
        }
    }

    /// The product itself (a formatted file, a schema, a script), whatever was asked.
    pub(crate) fn product(&mut self, text: impl fmt::Display) {
        self.out(format_args!("{text}"));
    }

    /// What is wrong, on standard error, also with `--quiet`; with `--json` the value says it.
    pub(crate) fn fault(&mut self, text: impl fmt::Display) {
        if !self.json {
            self.err(format_args!("{text}\n"));
        }
    }

    /// Tells a failure and gives its exit code.
    pub(crate) fn failure(&mut self, failure: &Failure) -> Exit {
        if self.json {
            self.value(&failure.to_json());
        } else {
            self.err(format_args!("tenure: {failure}\n"));
        }
        failure.code()
    }

    /// The exit code in the end: an answer that could not be written is an error, except to a reader that had enough.
    pub(crate) fn finish(self, exit: Exit) -> Exit {
        let flushed = std::io::stdout().flush();
        if exit == Exit::Clean && flushed.is_err() && !self.broken_pipe { Exit::Error } else { exit }
    }

    fn out(&mut self, text: fmt::Arguments<'_>) {
        if let Err(error) = std::io::stdout().write_fmt(text) {
            self.broken_pipe |= error.kind() == std::io::ErrorKind::BrokenPipe;
        }
    }

    fn err(&self, text: fmt::Arguments<'_>) {
        // There is nowhere left to say that standard error is closed.
        let _ = std::io::stderr().write_fmt(text);
    }
}
