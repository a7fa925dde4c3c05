//! A way from this machine's loopback into a lab: a connection to a port here goes on from inside a host, as that host's
//! own. Nothing of the machine's network is changed for it.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use crate::host::Host;
use crate::run::{LabError, script_command};

/// Connections at once; beyond that one is closed unread.
const CONNECTIONS: usize = 32;

/// An open way; it closes when this value is dropped.
#[derive(Debug)]
pub struct Forward {
    address: SocketAddr,
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Forward {
    /// From a port of 127.0.0.1 (0: any that is free) through `host` to an address as that host reaches it.
    pub fn open(host: &Host, port: u16, to: SocketAddr) -> Result<Self, LabError> {
        let start = |source| LabError::Start { program: format!("listening on 127.0.0.1:{port}"), source };
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).map_err(start)?;
        let address = listener.local_addr().map_err(start)?;
        let over = Arc::new(AtomicBool::new(false));
        let (lab, name, ended) = (host.lab().to_owned(), host.name().to_owned(), over.clone());
        let thread = std::thread::spawn(move || {
            let mut running: Vec<Child> = Vec::new();
            for stream in listener.incoming() {
                running.retain_mut(|child| matches!(child.try_wait(), Ok(None)));
                if ended.load(Ordering::Relaxed) {
                    break;
                }
                let stream = stream.ok().filter(|_| running.len() < CONNECTIONS);
                running.extend(stream.and_then(|stream| carry(&lab, &name, stream, to).ok()));
            }
            for mut child in running {
                // Already ended is as good as killed.
                let _ = child.kill();
                let _ = child.wait();
            }
        });
        Ok(Self { address, over, thread: Some(thread) })
    }

    /// Where it begins.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Keeps it open for as long as this process runs.
    pub fn stay(mut self) {
        if let Some(thread) = self.thread.take() {
            // It ends only with the process.
            let _ = thread.join();
        }
    }
}

impl Drop for Forward {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        // Wakes it; when nobody listens any more it has ended already.
        let _ = TcpStream::connect(self.address);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The socket itself is what the command inside the host reads and writes.
fn carry(lab: &str, host: &str, stream: TcpStream, to: SocketAddr) -> std::io::Result<Child> {
    let (address, port) = (to.ip().to_string(), to.port().to_string());
    let words = ["exec", host, "nc", "-N", &address, &port];
    let input = OwnedFd::from(stream.try_clone()?);
    script_command(lab, &words)
        .stdin(Stdio::from(input))
        .stdout(Stdio::from(OwnedFd::from(stream)))
        .stderr(Stdio::null())
        .spawn()
}
