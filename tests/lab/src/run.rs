//! Starts processes for tests and the demo: `lab.sh`, and the project's own tools on this machine.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use thiserror::Error;

/// Seconds that one call of the lab may take.
pub(crate) const LIMIT: u32 = 120;

/// What a finished command left behind. Text that is not UTF-8 is replaced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// Exit status; 128 + n after signal n, 124 when the time limit ended it.
    pub status: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

/// Why the lab could not do what it was asked.
#[derive(Debug, Error)]
pub enum LabError {
    /// The process could not be started or fed.
    #[error("start {program}")]
    Start {
        /// The program.
        program: String,
        /// The operating system's reason.
        source: std::io::Error,
    },
    /// `lab.sh` refused.
    #[error("lab.sh {what} ended with {status}: {said}")]
    Script {
        /// Its sub-command.
        what: String,
        /// Its exit status.
        status: i32,
        /// What it wrote to standard error.
        said: String,
    },
    /// A command that had to succeed did not.
    #[error("on {place}: `{command}` ended with {status}\n{said}")]
    Failed {
        /// The host, or "this machine".
        place: String,
        /// The command line.
        command: String,
        /// Its exit status.
        status: i32,
        /// Standard output and standard error.
        said: String,
    },
}

impl Output {
    /// True when the command ended with 0.
    #[must_use]
    pub fn ok(&self) -> bool {
        self.status == 0
    }

    /// Standard output and standard error, one after the other.
    #[must_use]
    pub fn said(&self) -> String {
        format!("{}{}", self.stdout, self.stderr)
    }

    pub(crate) fn done(self, what: &str) -> Result<(), LabError> {
        if self.ok() {
            return Ok(());
        }
        Err(LabError::Script { what: what.to_owned(), status: self.status, said: self.said() })
    }
}

/// Runs a command of this machine in the repository's root and waits for its end, at most `limit` seconds.
pub fn run(argv: &[&str], limit: u32) -> Result<Output, LabError> {
    run_in(&crate::repository(), argv, limit)
}

/// Runs a command of this machine in `dir` and waits for its end, at most `limit` seconds.
pub fn run_in(dir: &Path, argv: &[&str], limit: u32) -> Result<Output, LabError> {
    let mut command = within(limit);
    command.args(argv).current_dir(dir);
    finish(command, None)
}

/// Calls `lab.sh` for the lab called `lab`.
pub(crate) fn call(
    lab: &str,
    settings: &[(&str, &str)],
    words: &[&str],
    input: Option<&[u8]>,
    limit: u32,
) -> Result<Output, LabError> {
    let mut command = within(limit);
    command.arg(crate::script()).args(words).env("LAB", lab).envs(settings.iter().copied());
    finish(command, input)
}

/// `lab.sh` with nobody waiting for it.
pub(crate) fn script_command(lab: &str, words: &[&str]) -> Command {
    let mut command = new("/bin/bash");
    command.arg(crate::script()).args(words).env("LAB", lab);
    command
}

fn within(limit: u32) -> Command {
    let mut command = new("/usr/bin/timeout");
    command.args(["--kill-after=5", &limit.to_string()]);
    command
}

#[expect(
    clippy::disallowed_methods,
    reason = "the lab is the one place beside the agent's runner that starts processes"
)]
fn new(program: &str) -> Command {
    Command::new(program)
}

fn finish(mut command: Command, input: Option<&[u8]>) -> Result<Output, LabError> {
    let failed = |source| LabError::Start { program: "timeout".to_owned(), source };
    command.stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() });
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().map_err(failed)?;
    let feeding = input.map(<[u8]>::to_vec).zip(child.stdin.take()).map(|(bytes, mut pipe)| {
        // A reader that ends early closes the pipe; its exit status says why.
        std::thread::spawn(move || drop(pipe.write_all(&bytes)))
    });
    let output = child.wait_with_output().map_err(failed)?;
    if let Some(thread) = feeding {
        drop(thread.join());
    }
    Ok(Output {
        status: status(output.status),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}

fn status(status: std::process::ExitStatus) -> i32 {
    use std::os::unix::process::ExitStatusExt as _;
    status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or_default())
}
