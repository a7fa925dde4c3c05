//! `/run/tenure/agent.sock`: root's way to ask the agent. One request and one answer per connection; a hostile or slow
//! peer costs nothing but its own connection.

pub mod client;
pub mod wire;

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener as StdListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, oneshot};
use tokio::time::timeout;

use crate::journal;
use wire::{ANSWER_LIMIT, Answer, REQUEST_LIMIT, Refused, Request};

/// How long a peer may take to ask, and to read its answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// Connections at the same time; more wait in the kernel's queue.
const CONNECTIONS: usize = 16;

/// Answers requests. Called on a thread of its own, so it may take a few seconds.
pub trait Desk: Send + Sync {
    /// Answers one request of the process `pid`.
    fn answer(&self, request: Request, pid: u32) -> Answer;
}

/// The socket's thread.
#[derive(Debug)]
pub struct Server {
    path: PathBuf,
    stop: oneshot::Sender<()>,
    thread: JoinHandle<()>,
}

impl Server {
    /// Opens the socket, for root only, and serves it on a thread of its own. One that a killed agent left is replaced;
    /// the caller holds the lock, so no other agent serves it.
    ///
    /// # Errors
    /// When the socket cannot be made.
    pub fn start(path: &Path, desk: Arc<dyn Desk>) -> io::Result<Self> {
        match std::fs::remove_file(path) {
            Ok(()) => {}
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => return Err(e),
        }
        let listener = StdListener::bind(path)?;
        // Its directory is root's alone; between the two calls nobody else gets there.
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
        listener.set_nonblocking(true)?;
        let (stop, stopped) = oneshot::channel();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .max_blocking_threads(CONNECTIONS)
            .thread_keep_alive(Duration::from_secs(1))
            .build()?;
        let thread = std::thread::Builder::new().name("socket".into()).spawn(move || {
            runtime.block_on(async {
                match UnixListener::from_std(listener) {
                    Ok(listener) => tokio::select! {
                        () = serve(&listener, desk) => {}
                        // Also when the sender is gone: then the agent is ending.
                        _ = stopped => {}
                    },
                    Err(e) => journal::error(&format!("cannot serve the socket: {e}")),
                }
            });
            runtime.shutdown_timeout(Duration::from_secs(1));
        })?;
        Ok(Self { path: path.into(), stop, thread })
    }

    /// Has it ended by itself?
    pub fn is_finished(&self) -> bool {
        self.thread.is_finished()
    }

    /// Closes the socket and takes it away.
    pub fn stop(self) {
        // Fails only when the thread has ended already.
        let _ = self.stop.send(());
        if self.thread.join().is_err() {
            journal::error("the socket's thread ended by a fault of its own");
        }
        // A left-over is replaced at the next start.
        let _ = std::fs::remove_file(&self.path);
    }
}

async fn serve(listener: &UnixListener, desk: Arc<dyn Desk>) {
    let seats = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Ok(seat) = seats.clone().acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                let desk = desk.clone();
                tokio::spawn(async move {
                    converse(stream, desk).await;
                    drop(seat);
                });
            }
            Err(e) => {
                journal::warning(&format!("cannot accept a connection to the socket: {e}"));
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn converse(mut stream: UnixStream, desk: Arc<dyn Desk>) {
    let answer = match hear(&mut stream).await {
        Ok((request, pid)) => {
            tokio::task::spawn_blocking(move || desk.answer(request, pid)).await.unwrap_or_else(|_| {
                let next = "look at `journalctl -u tenure-agent`, and ask again";
                Answer::Refused(Refused::new("the agent failed to answer", next))
            })
        }
        Err(Deaf::Gone) => return,
        Err(Deaf::Refused(refused)) => Answer::Refused(refused),
    };
    let mut line = serde_json::to_vec(&answer).expect("answers are plain data with text keys");
    if line.len() >= ANSWER_LIMIT {
        let refused = Refused::new("the answer is too large to send", "look into the records instead");
        line = serde_json::to_vec(&Answer::Refused(refused)).expect("plain data with text keys");
    }
    line.push(b'\n');
    // A peer that does not read its answer does not want it.
    let _ = timeout(PATIENCE, async {
        stream.write_all(&line).await?;
        stream.shutdown().await
    })
    .await;
}

/// What to do next about a request that nobody can read.
const OWN: &str = "ask with the `tenure-agent` of the running agent's own version";

enum Deaf {
    Gone,
    Refused(Refused),
}

impl Deaf {
    fn refused(what: &str, next: &str) -> Self {
        Self::Refused(Refused::new(what, next))
    }
}

async fn hear(stream: &mut UnixStream) -> Result<(Request, u32), Deaf> {
    let peer = stream.peer_cred().map_err(|_| Deaf::Gone)?;
    if peer.uid() != 0 {
        return Err(Deaf::refused("only root may ask the agent", "ask as root"));
    }
    let pid = peer.pid().and_then(|pid| u32::try_from(pid).ok()).ok_or(Deaf::Gone)?;
    let mut line = Vec::new();
    let mut reader = BufReader::new(stream.take(REQUEST_LIMIT as u64));
    match timeout(PATIENCE, reader.read_until(b'\n', &mut line)).await {
        Err(_) => return Err(Deaf::refused("the request did not come in time", "ask again")),
        Ok(Err(_)) => return Err(Deaf::Gone),
        Ok(Ok(0)) => return Err(Deaf::Gone),
        Ok(Ok(_)) => {}
    }
    if line.pop() != Some(b'\n') {
        return Err(Deaf::refused("the request is too long or has no line end", OWN));
    }
    let request = serde_json::from_slice(&line)
        .map_err(|_| Deaf::refused("the request is not one that this agent knows", OWN))?;
    Ok((request, pid))
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
