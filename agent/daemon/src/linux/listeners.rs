//! TCP sockets that wait for connections, and the processes that hold them. Going through every process costs more than a pass
//! may, so who holds which socket is remembered for as long as the same sockets wait and the same processes hold them.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tenure_areas::port::{Holder, PortResult, Waiting};
use tenure_sys::clock;
use tenure_sys::files::FileError;
use tenure_sys::proc::{self, Process};

use super::{fault, sock_diag};
use crate::sockets::{self, Socket, State};

/// A socket that is handed to one more process shows at the latest after this.
const TRUSTED: Duration = Duration::from_secs(300);
/// Sockets that are told at most.
const SOCKETS: usize = 20_000;

/// What is remembered.
#[derive(Debug, Default)]
pub(super) struct Listeners(Mutex<Option<Known>>);

#[derive(Debug)]
struct Known {
    at: Duration,
    /// Inode → who holds it; `None` where nobody was found.
    held: BTreeMap<u64, Option<Held>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Held {
    pid: u32,
    started: u64,
    file: u32,
}

impl Listeners {
    /// JSON lines of [`Waiting`].
    pub(super) fn told(&self) -> PortResult<Vec<u8>> {
        let doing = |e: FileError| fault::file("listing the sockets that wait", &e);
        // A kernel that cannot be asked by state is read.
        let mut sockets = match sock_diag::listening() {
            Ok(sockets) => sockets,
            Err(_) => sockets::tcp().map_err(doing)?,
        };
        sockets.retain(|s| s.state == State::Listening);
        sockets.truncate(SOCKETS);
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = clock::monotonic();
        let stands = known.as_ref().is_some_and(|k| now.saturating_sub(k.at) < TRUSTED && k.stands(&sockets));
        if !stands {
            *known = Some(Known { at: now, held: holders(&sockets).map_err(doing)? });
        }
        let held = known.as_ref().map(|k| k.held.clone()).unwrap_or_default();
        drop(known);
        let mut shown: BTreeMap<u32, Option<Holder>> = BTreeMap::new();
        let mut by = |inode: u64| {
            let pid = held.get(&inode).copied().flatten()?.pid;
            shown.entry(pid).or_insert_with(|| holder(pid)).clone()
        };
        let waiting = |s: &Socket| Waiting { port: s.local.port(), address: s.local.ip(), by: by(s.inode) };
        let mut waiting: Vec<Waiting> = sockets.iter().map(waiting).collect();
        waiting.sort();
        let mut out = Vec::new();
        for socket in waiting {
            serde_json::to_writer(&mut out, &socket).expect("numbers and texts have a JSON form");
            out.push(b'\n');
        }
        Ok(out)
    }
}

impl Known {
    /// Are these the same sockets, and does each process still hold its own?
    fn stands(&self, sockets: &[Socket]) -> bool {
        let mut inodes: Vec<u64> = sockets.iter().map(|s| s.inode).collect();
        inodes.sort_unstable();
        inodes.dedup();
        inodes.len() == self.held.len()
            && inodes.iter().all(|inode| match self.held.get(inode) {
                None => false,
                Some(None) => true,
                Some(Some(held)) => {
                    sockets::inode_of(held.pid, held.file) == Some(*inode)
                        && Process::read(held.pid).is_ok_and(|p| p.started == held.started)
                }
            })
    }
}

/// The process with the lowest id that holds each socket.
fn holders(sockets: &[Socket]) -> Result<BTreeMap<u64, Option<Held>>, FileError> {
    let mut held: BTreeMap<u64, Option<Held>> = sockets.iter().map(|s| (s.inode, None)).collect();
    for process in proc::all()? {
        for (file, inode) in sockets::inodes(process.pid) {
            if let Some(place) = held.get_mut(&inode)
                && place.is_none()
            {
                *place = Some(Held { pid: process.pid, started: process.started, file });
            }
        }
    }
    Ok(held)
}

/// What the process says of itself now; none when it has ended meanwhile.
fn holder(pid: u32) -> Option<Holder> {
    let process = Process::read(pid).ok()?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let args = process.cmdline().unwrap_or_default();
    let args: Vec<u8> = args.into_iter().map(|b| if b == 0 { b' ' } else { b }).collect();
    Some(Holder {
        pid,
        comm: text(&process.comm),
        exe: text(&process.exe().unwrap_or_default()),
        args: text(args.trim_ascii()),
    })
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    fn at(told: &[u8], port: u16) -> Option<Waiting> {
        let lines = told.split(|b| *b == b'\n').filter(|l| !l.is_empty());
        lines.map(|l| serde_json::from_slice::<Waiting>(l).expect("a line")).find(|w| w.port == port)
    }

    #[test]
    fn who_waits_is_told_and_never_from_a_stale_memory() {
        let listeners = Listeners::default();
        let first = TcpListener::bind("127.0.0.1:0").expect("bind");
        let port = first.local_addr().expect("address").port();
        let told = listeners.told().expect("told");
        let by = at(&told, port).expect("it waits").by.expect("held by this process");
        assert_eq!(by.pid, std::process::id());
        assert!(by.exe.ends_with(std::env::current_exe().expect("exe").to_str().expect("text")), "{by:?}");
        assert!(!by.comm.is_empty() && !by.args.contains('\0'), "{by:?}");
        assert_eq!(at(&listeners.told().expect("told"), port).and_then(|w| w.by), Some(by));

        // One more socket, and then another process in the place of this one.
        let second = TcpListener::bind("[::1]:0").expect("bind");
        let other = second.local_addr().expect("address").port();
        assert!(at(&listeners.told().expect("told"), other).is_some_and(|w| w.by.is_some()));
        let child = std::process::id();
        let mut known = listeners.0.lock().expect("whole");
        for held in known.as_mut().expect("known").held.values_mut().flatten().filter(|h| h.pid == child) {
            *held = Held { pid: 1, started: 0, file: 0 };
        }
        drop(known);
        let by = at(&listeners.told().expect("told"), port).expect("it waits").by.expect("held");
        assert_eq!(by.pid, child, "what another process is said to hold is looked at again");
        drop((first, second));
        // A child that another test is starting may hold them for a moment longer.
        let deadline = clock::monotonic() + Duration::from_secs(5);
        while at(&listeners.told().expect("told"), port).is_some() {
            assert!(clock::monotonic() < deadline, "what is closed still waits");
        }
    }
}
