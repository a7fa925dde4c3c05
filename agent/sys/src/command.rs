//! The one place that starts a process: absolute path, arguments as given, no environment, a time limit, bounded
//! output. No shell is ever between.

use std::ffi::OsString;
use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};

use crate::{clock, text};

/// What is started, and within which limits.
#[derive(Debug, Clone)]
pub struct Program {
    /// Absolute path of the program; no search path is used.
    pub path: PathBuf,
    /// Arguments after the program's name.
    pub args: Vec<OsString>,
    /// What it reads on standard input; then end of file.
    pub stdin: Vec<u8>,
    /// When this has passed, the process group is killed.
    pub timeout: Duration,
    /// Largest output in bytes, of standard output and standard error each; above it the process group is killed.
    pub cap: usize,
    /// Runs as this user and group, without other groups; else as the caller.
    pub user: Option<(u32, u32)>,
}

impl Program {
    /// A program with nothing on standard input, 10 seconds, 1 MiB of output, as the caller.
    pub fn new<A: Into<OsString>>(path: impl Into<PathBuf>, args: impl IntoIterator<Item = A>) -> Self {
        Self {
            path: path.into(),
            args: args.into_iter().map(Into::into).collect(),
            stdin: Vec::new(),
            timeout: Duration::from_secs(10),
            cap: 1 << 20,
            user: None,
        }
    }

    /// With these bytes on standard input.
    #[must_use]
    pub fn stdin(mut self, bytes: Vec<u8>) -> Self {
        self.stdin = bytes;
        self
    }

    /// With this time limit.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// With this output limit in bytes.
    #[must_use]
    pub fn cap(mut self, cap: usize) -> Self {
        self.cap = cap;
        self
    }

    /// As this user and group.
    #[must_use]
    pub fn user(mut self, uid: u32, gid: u32) -> Self {
        self.user = Some((uid, gid));
        self
    }
}

/// What a program that ended by itself left behind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// How it ended.
    pub ended: Ended,
    /// Its standard output.
    pub stdout: Vec<u8>,
    /// Its standard error.
    pub stderr: Vec<u8>,
    /// The process id that it had.
    pub pid: u32,
    program: PathBuf,
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// With an exit code.
    Code(i32),
    /// By a signal.
    Signal(i32),
}

impl std::fmt::Display for Ended {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Code(code) => write!(f, "exit code {code}"),
            Self::Signal(signal) => write!(f, "signal {signal}"),
        }
    }
}

impl Output {
    /// Its standard output, if it ended with code 0.
    ///
    /// # Errors
    /// `CommandError::Failed` with the beginning of its standard error.
    pub fn success(self) -> Result<Vec<u8>, CommandError> {
        if self.ended == Ended::Code(0) {
            return Ok(self.stdout);
        }
        let said = if self.stderr.is_empty() { &self.stdout } else { &self.stderr };
        Err(CommandError::Failed {
            program: self.program,
            ended: self.ended,
            said: text::neutral(said, 2000),
        })
    }
}

/// Why there is no output of a program.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// The path is relative.
    #[error("{} is not an absolute path, so it is not started", text::path(program))]
    NotAbsolute {
        /// The program.
        program: PathBuf,
    },
    /// The kernel refused to start it.
    #[error("cannot start {}", text::path(program))]
    Start {
        /// The program.
        program: PathBuf,
        /// What the kernel said.
        source: std::io::Error,
    },
    /// Reading its output or waiting for it failed.
    #[error("cannot follow {}", text::path(program))]
    Follow {
        /// The program.
        program: PathBuf,
        /// What the kernel said.
        source: std::io::Error,
    },
    /// Not done in time; it and its group were killed.
    #[error("{} was not done after {after:?} and was killed", text::path(program))]
    Timeout {
        /// The program.
        program: PathBuf,
        /// The limit.
        after: Duration,
    },
    /// More output than allowed; it and its group were killed.
    #[error("{} wrote more than {limit} bytes and was killed", text::path(program))]
    TooMuch {
        /// The program.
        program: PathBuf,
        /// The limit in bytes.
        limit: u64,
    },
    /// It ended with another code than 0.
    #[error("{} failed with {ended}: {said}", text::path(program))]
    Failed {
        /// The program.
        program: PathBuf,
        /// How it ended.
        ended: Ended,
        /// What it said, shortened and neutralised.
        said: String,
    },
}

impl CommandError {
    /// The program is not there.
    pub fn is_missing(&self) -> bool {
        matches!(self, Self::Start { source, .. } if source.kind() == ErrorKind::NotFound)
    }
}

/// Runs a program to its end and returns its output, whatever its exit code.
///
/// What it leaves running in its process group is killed when it ends.
///
/// # Errors
/// When it cannot be started, or is stopped at its time or output limit.
pub fn capture(program: &Program) -> Result<Output, CommandError> {
    run(program, None, None)
}

fn run(program: &Program, from: Option<File>, to: Option<(File, u64)>) -> Result<Output, CommandError> {
    let deadline = clock::monotonic().saturating_add(program.timeout);
    let mut running = Running::start(program, from)?;
    running.output[0].limit = to.as_ref().map(|(_, quota)| *quota);
    running.output[0].to = to;
    let finished = running.follow(program, deadline);
    // The leader is not reaped yet, so its group's number cannot have been given to somebody else.
    running.kill_group();
    let status = running.child.wait();
    finished?;
    let failed = |source| CommandError::Follow { program: program.path.clone(), source };
    let ended = ended(status.map_err(failed)?);
    let [stdout, stderr] = running.output.map(|pipe| pipe.bytes);
    Ok(Output { ended, stdout, stderr, pid: running.child.id(), program: program.path.clone() })
}

/// A process that goes on by itself; it outlives whoever started it.
#[derive(Debug)]
pub struct Started {
    child: Child,
    program: PathBuf,
}

impl Started {
    /// Waits for its end.
    ///
    /// # Errors
    /// When it cannot be waited for.
    pub fn wait(mut self) -> Result<Ended, CommandError> {
        let failed = |source| CommandError::Follow { program: self.program.clone(), source };
        self.child.wait().map(ended).map_err(failed)
    }
}

/// Starts a program with this open file as its standard input and nothing on its outputs, and does not wait. Its
/// `timeout`, `cap` and `stdin` bytes do not count.
///
/// # Errors
/// When it cannot be started.
pub fn start(program: &Program, stdin: File) -> Result<Started, CommandError> {
    let mut command = command(program)?;
    command.stdin(Stdio::from(stdin)).stdout(Stdio::null()).stderr(Stdio::null());
    let failed = |source| CommandError::Start { program: program.path.clone(), source };
    Ok(Started { child: command.spawn().map_err(failed)?, program: program.path.clone() })
}

/// Runs a program to its end with its standard output going into an open file, at most `quota` bytes of it; `cap` bounds
/// its standard error. The answer's `stdout` is empty.
///
/// # Errors
/// As [`capture`]; `TooMuch` above the quota, `Follow` when the file takes no more.
pub fn stream(program: &Program, to: File, quota: u64) -> Result<Output, CommandError> {
    run(program, None, Some((to, quota)))
}

/// As [`capture`], with an open file as its standard input.
///
/// # Errors
/// As [`capture`].
pub fn capture_from(program: &Program, from: File) -> Result<Output, CommandError> {
    run(program, Some(from), None)
}

/// A process whose input and output stay open; it and its group are killed when this goes. For [`crate::conversation`].
#[derive(Debug)]
pub(crate) struct Spoken {
    child: Child,
    group: Pid,
    input: File,
    output: File,
}

impl Spoken {
    pub(crate) fn start(program: &Program) -> Result<Self, CommandError> {
        let failed = |source| CommandError::Start { program: program.path.clone(), source };
        let mut command = command(program)?;
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().map_err(failed)?;
        let group = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        let input = child.stdin.take().map(|pipe| File::from(OwnedFd::from(pipe)));
        let output = child.stdout.take().and_then(|pipe| nonblocking(pipe.into()).ok());
        match (group, input, output) {
            (Some(group), Some(input), Some(output)) => Ok(Self { child, group, input, output }),
            _ => {
                // It runs and cannot be spoken with: end it rather than leave it behind.
                let _ = child.kill();
                let _ = child.wait();
                Err(failed(std::io::Error::other("it has no pipes")))
            }
        }
    }

    pub(crate) fn input(&self) -> &File {
        &self.input
    }

    pub(crate) fn output(&self) -> &File {
        &self.output
    }

    /// Waits until it says something or ends.
    pub(crate) fn wait(&self, at_most: Duration) -> std::io::Result<()> {
        let mut fds = [PollFd::new(self.output.as_fd(), PollFlags::POLLIN)];
        let timeout =
            PollTimeout::try_from(at_most.as_millis().saturating_add(1)).unwrap_or(PollTimeout::MAX);
        match poll(&mut fds, timeout) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => Ok(()),
            Err(e) => Err(e.into()),
        }
    }
}

impl Drop for Spoken {
    fn drop(&mut self) {
        // Fails only when the group is empty already.
        let _ = kill_process_group(self.group, Signal::KILL);
        let _ = self.child.wait();
    }
}

fn ended(status: std::process::ExitStatus) -> Ended {
    match (status.code(), status.signal()) {
        (Some(code), _) => Ended::Code(code),
        (None, signal) => Ended::Signal(signal.unwrap_or(0)),
    }
}

/// The command of a program, without inputs and outputs.
fn command(program: &Program) -> Result<Command, CommandError> {
    if !program.path.is_absolute() {
        return Err(CommandError::NotAbsolute { program: program.path.clone() });
    }
    #[allow(clippy::disallowed_methods, reason = "this is the one place that the ban names")]
    let mut command = Command::new(&program.path);
    command.args(&program.args).env_clear().env("LC_ALL", "C").current_dir("/").process_group(0);
    if let Some((uid, gid)) = program.user {
        // The standard library empties the other groups before it changes the user.
        command.uid(uid).gid(gid);
    }
    Ok(command)
}

struct Running {
    child: Child,
    exit: OwnedFd,
    group: Pid,
    input: Option<File>,
    output: [Pipe; 2],
}

/// One end of the child's output and what came out of it.
struct Pipe {
    file: Option<File>,
    bytes: Vec<u8>,
    /// Where it goes instead of `bytes`, and how much more may.
    to: Option<(File, u64)>,
    /// How much might in the beginning.
    limit: Option<u64>,
}

impl Running {
    fn start(program: &Program, from: Option<File>) -> Result<Self, CommandError> {
        let failed = |source| CommandError::Start { program: program.path.clone(), source };
        let mut command = command(program)?;
        command.stdin(match from {
            Some(file) => Stdio::from(file),
            None if program.stdin.is_empty() => Stdio::null(),
            None => Stdio::piped(),
        });
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(failed)?;
        let prepared = Self::prepare(&mut child);
        match prepared {
            Ok((exit, group, input, output)) => Ok(Self { child, exit, group, input, output }),
            Err(source) => {
                // It runs and cannot be followed: end it rather than leave it behind.
                let _ = child.kill();
                let _ = child.wait();
                Err(CommandError::Follow { program: program.path.clone(), source })
            }
        }
    }

    fn prepare(child: &mut Child) -> std::io::Result<(OwnedFd, Pid, Option<File>, [Pipe; 2])> {
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        let pid = pid.ok_or_else(|| std::io::Error::other("the child has no process id"))?;
        let exit = pidfd_open(pid, PidfdFlags::empty())?;
        let input = child.stdin.take().map(|pipe| nonblocking(pipe.into())).transpose()?;
        let stdout = child.stdout.take().map(|pipe| nonblocking(pipe.into())).transpose()?;
        let stderr = child.stderr.take().map(|pipe| nonblocking(pipe.into())).transpose()?;
        let pipe = |file| Pipe { file, bytes: Vec::new(), to: None, limit: None };
        Ok((exit, pid, input, [pipe(stdout), pipe(stderr)]))
    }

    /// Feeds and reads until the process has ended or one of its limits is reached.
    fn follow(&mut self, program: &Program, deadline: Duration) -> Result<(), CommandError> {
        let failed = |source| CommandError::Follow { program: program.path.clone(), source };
        let mut left = program.stdin.as_slice();
        loop {
            let now = clock::monotonic();
            if now >= deadline {
                return Err(CommandError::Timeout { program: program.path.clone(), after: program.timeout });
            }
            let ended = self.wait(deadline.saturating_sub(now)).map_err(failed)?;
            self.feed(&mut left);
            for pipe in &mut self.output {
                // After the end what it wrote is in the pipe already; others may still hold the pipe open.
                if !pipe.read(program.cap).map_err(failed)? {
                    let limit = pipe.limit.unwrap_or(program.cap as u64);
                    return Err(CommandError::TooMuch { program: program.path.clone(), limit });
                }
            }
            if ended {
                return Ok(());
            }
        }
    }

    /// Waits until something can be read or written or the process has ended, which it returns.
    fn wait(&self, at_most: Duration) -> std::io::Result<bool> {
        let mut fds = vec![PollFd::new(self.exit.as_fd(), PollFlags::POLLIN)];
        let output = self.output.iter().filter_map(|pipe| pipe.file.as_ref());
        fds.extend(output.map(|f| PollFd::new(f.as_fd(), PollFlags::POLLIN)));
        fds.extend(self.input.iter().map(|f| PollFd::new(f.as_fd(), PollFlags::POLLOUT)));
        let timeout =
            PollTimeout::try_from(at_most.as_millis().saturating_add(1)).unwrap_or(PollTimeout::MAX);
        match poll(&mut fds, timeout) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(e) => return Err(e.into()),
        }
        Ok(fds.first().and_then(PollFd::revents).is_some_and(|r| r.contains(PollFlags::POLLIN)))
    }

    fn feed(&mut self, left: &mut &[u8]) {
        while let Some(file) = &mut self.input {
            match file.write(left) {
                Ok(n) => *left = &left[n..],
                Err(e) if e.kind() == ErrorKind::WouldBlock => return,
                Err(e) if e.kind() == ErrorKind::Interrupted => continue,
                // It does not want to read on; its exit code says whether that is right.
                Err(_) => *left = &[],
            }
            if left.is_empty() {
                self.input = None;
            }
        }
    }

    fn kill_group(&self) {
        // Fails only when the group is empty already.
        let _ = kill_process_group(self.group, Signal::KILL);
    }
}

impl Pipe {
    /// Reads what is there; false when that is more than `cap` in all.
    fn read(&mut self, cap: usize) -> std::io::Result<bool> {
        let mut buffer = [0; 64 * 1024];
        while let Some(file) = &mut self.file {
            match file.read(&mut buffer) {
                Ok(0) => self.file = None,
                Ok(n) => match &mut self.to {
                    None => self.bytes.extend_from_slice(&buffer[..n]),
                    Some((to, left)) => {
                        let Some(rest) = left.checked_sub(n as u64) else { return Ok(false) };
                        to.write_all(&buffer[..n])?;
                        *left = rest;
                    }
                },
                Err(e) if e.kind() == ErrorKind::WouldBlock => break,
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
            if self.bytes.len() > cap {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

fn nonblocking(fd: OwnedFd) -> std::io::Result<File> {
    let flags = rustix::fs::fcntl_getfl(&fd)?;
    rustix::fs::fcntl_setfl(&fd, flags | rustix::fs::OFlags::NONBLOCK)?;
    Ok(File::from(fd))
}

/// Whether a program stands at this path and may be executed; for choosing between places where distributions put it.
pub fn exists(path: &Path) -> bool {
    rustix::fs::access(path, rustix::fs::Access::EXEC_OK).is_ok()
}

#[cfg(test)]
#[path = "command_tests.rs"]
mod tests;
