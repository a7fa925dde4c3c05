//! The command line's end of the socket.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tenure_sys::text;

use super::wire::{ANSWER_LIMIT, Answer, Request};

/// How long an answer may take: a lift or a plan looks at the whole host.
const PATIENCE: Duration = Duration::from_secs(120);

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// No agent runs.
    #[error("no agent serves {}", text::path(path))]
    NotRunning {
        /// The socket.
        path: PathBuf,
    },
    /// The conversation broke.
    #[error("cannot talk to the agent at {}", text::path(path))]
    Broken {
        /// The socket.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The answer is of another version, or not the agent's at all.
    #[error("cannot read the answer of the agent at {}: is it of another version?", text::path(path))]
    Answer {
        /// The socket.
        path: PathBuf,
        /// What is wrong with it.
        source: serde_json::Error,
    },
}

impl AskError {
    /// What to do next.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::NotRunning { .. } => "start it with `systemctl start tenure-agent`",
            Self::Broken { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                "ask as root: nobody else reaches its socket"
            }
            Self::Broken { .. } => {
                "ask again; if it stays so, look at `journalctl -u tenure-agent`, where it says what it does"
            }
            Self::Answer { .. } => {
                "restart it, so that it is of this program's version: `systemctl restart tenure-agent`"
            }
        }
    }
}

/// Asks the agent behind this socket.
///
/// # Errors
/// [`AskError::NotRunning`] when nobody serves it.
pub fn ask(path: &Path, request: &Request) -> Result<Answer, AskError> {
    let broken = |source| AskError::Broken { path: path.into(), source };
    let mut stream = UnixStream::connect(path).map_err(|e| match e.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
            AskError::NotRunning { path: path.into() }
        }
        _ => broken(e),
    })?;
    stream.set_read_timeout(Some(PATIENCE)).map_err(broken)?;
    stream.set_write_timeout(Some(PATIENCE)).map_err(broken)?;
    let mut line = serde_json::to_vec(request).expect("requests are plain data");
    line.push(b'\n');
    stream.write_all(&line).map_err(broken)?;
    let mut answer = Vec::new();
    stream.take(ANSWER_LIMIT as u64 + 1).read_to_end(&mut answer).map_err(broken)?;
    serde_json::from_slice(&answer).map_err(|source| AskError::Answer { path: path.into(), source })
}
