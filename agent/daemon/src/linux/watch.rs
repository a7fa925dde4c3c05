//! Listens to nf_tables notifications: who changed the ruleset, when. Rings a bell; never waits for a child.

use std::cmp::Ordering;
use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use jiff::Timestamp;
use netlink_sys::protocols::NETLINK_NETFILTER;
use netlink_sys::{Socket, SocketAddr};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use rustix::net::sockopt;
use rustix::pipe::PipeFlags;
use serde::Serialize;
use tenure_sys::clock;

use super::netlink::{Messages, receive};
use super::nftables::{generation, told};

/// NFNLGRP_NFTABLES of linux/netfilter/nfnetlink.h.
const GROUP: u32 = 7;
/// Held a burst of 50,000 rules without overflow (docs/FIREWALL.md).
const ROOM: usize = 64 << 20;
/// Changes remembered; older ones are forgotten.
const REMEMBERED: usize = 4096;

/// One change of the ruleset.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Change {
    /// When the notification was read.
    pub at: Timestamp,
    /// The generation that it made.
    pub generation: u32,
    /// Who made it, as the initial pid namespace counts; unknown after an overflow.
    pub pid: Option<u32>,
    /// The name of that process, chosen by itself, neutralised; unknown after an overflow.
    pub comm: Option<String>,
}

/// What the watcher saw. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct ChangeLog(Arc<(Mutex<Seen>, Condvar)>);

#[derive(Debug, Default)]
struct Seen {
    changes: VecDeque<Change>,
    own: VecDeque<u32>,
    /// The newest generation that the watcher has heard of; none while nobody listens.
    heard: Option<u32>,
}

/// A transaction of our own, from before it to its end.
#[derive(Debug, Clone, Copy)]
pub struct Own {
    /// Generation before it.
    pub before: u32,
    /// Generation after it.
    pub after: u32,
    /// Process that made it.
    pub pid: u32,
}

impl ChangeLog {
    /// An empty log.
    pub fn new() -> Self {
        Self::default()
    }

    /// The changes by others after a generation, oldest first; after 0 all of them.
    pub fn since(&self, since: u32) -> Vec<Change> {
        let seen = self.seen();
        let foreign =
            |c: &&Change| (since == 0 || newer(c.generation, since)) && !seen.own.contains(&c.generation);
        let mut changes: Vec<Change> = seen.changes.iter().filter(foreign).cloned().collect();
        // An overflow is told before what was read late: by whom the newest change was is then not known, and nobody else's
        // earlier change may stand in its place.
        changes.sort_by(|a, b| match (a.generation == b.generation, newer(a.generation, b.generation)) {
            (true, _) => a.pid.is_some().cmp(&b.pid.is_some()),
            (false, true) => Ordering::Greater,
            (false, false) => Ordering::Less,
        });
        changes
    }

    /// Remembers which change was our own: the only one of that time, or the one by that process. Where somebody else's
    /// came between and the process cannot be told (another pid namespace), all of them count as foreign.
    pub fn own(&self, own: Own) {
        let mut seen = self.seen();
        let generation = match own.after.wrapping_sub(own.before) {
            0 => return,
            1 => Some(own.after),
            _ => {
                let ours = |c: &&Change| newer(c.generation, own.before) && c.pid == Some(own.pid);
                seen.changes.iter().find(ours).map(|c| c.generation)
            }
        };
        if let Some(generation) = generation {
            seen.own.push_back(generation);
            while seen.own.len() > REMEMBERED {
                seen.own.pop_front();
            }
        }
    }

    /// Waits until whoever listens has heard of this generation: a ruleset can be seen changed before its notification was
    /// read. False when that took too long, or nobody listens.
    pub fn caught_up(&self, generation: u32, limit: Duration) -> bool {
        let (_, news) = &*self.0;
        let behind = |seen: &mut Seen| seen.heard.is_some_and(|heard| newer(generation, heard));
        let waited = news.wait_timeout_while(self.seen(), limit, behind);
        let (seen, _) = waited.unwrap_or_else(PoisonError::into_inner);
        seen.heard.is_some_and(|heard| !newer(generation, heard))
    }

    fn push(&self, change: Change) {
        let mut seen = self.seen();
        seen.heard =
            seen.heard.map(|heard| if newer(change.generation, heard) { change.generation } else { heard });
        seen.changes.push_back(change);
        while seen.changes.len() > REMEMBERED {
            seen.changes.pop_front();
        }
        drop(seen);
        self.0.1.notify_all();
    }

    fn listens(&self, from: Option<u32>) {
        self.seen().heard = from;
        self.0.1.notify_all();
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        // Nothing panics while it holds the lock, and both lists are whole at any moment.
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The listening thread; it ends when this is dropped.
#[derive(Debug)]
pub struct Watcher {
    stop: Option<OwnedFd>,
    thread: Option<JoinHandle<()>>,
}

impl Watcher {
    /// Listens in the calling thread's network namespace: from the return on, every change is logged and then rings.
    ///
    /// # Errors
    /// When the socket cannot be opened (it needs CAP_NET_ADMIN) or the thread not started.
    pub fn start(log: ChangeLog, bell: impl Fn() + Send + 'static) -> io::Result<Self> {
        Self::start_with_room(ROOM, log, bell)
    }

    /// With room for so many bytes of notifications that were not read yet.
    pub(super) fn start_with_room(
        room: usize,
        log: ChangeLog,
        bell: impl Fn() + Send + 'static,
    ) -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_NETFILTER)?;
        socket.bind(&SocketAddr::new(0, 0))?;
        sockopt::set_socket_recv_buffer_size_force(&socket, room)?;
        socket.add_membership(GROUP)?;
        let (read, write) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
        log.listens(generation().ok());
        let thread = std::thread::Builder::new().name("nft-watch".into()).spawn(move || {
            listen(&socket, &read, &log, &bell);
            log.listens(None);
        })?;
        Ok(Self { stop: Some(write), thread: Some(thread) })
    }

    /// Whether it still listens. It ends by itself only when its socket breaks.
    pub fn is_listening(&self) -> bool {
        self.thread.as_ref().is_some_and(|t| !t.is_finished())
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        // Closing its end of the pipe wakes the thread.
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn listen(socket: &Socket, stop: &OwnedFd, log: &ChangeLog, bell: &dyn Fn()) {
    let mut buffer = Vec::new();
    loop {
        let mut fds =
            [PollFd::new(socket.as_fd(), PollFlags::POLLIN), PollFd::new(stop.as_fd(), PollFlags::POLLIN)];
        match poll(&mut fds, PollTimeout::NONE) {
            Err(nix::errno::Errno::EINTR) => continue,
            Err(_) => return,
            Ok(_) if fds[1].any().unwrap_or(true) => return,
            Ok(_) => {}
        }
        match receive(socket, &mut buffer, 0) {
            Ok(()) => {
                let mut rang = false;
                for made in Messages(&buffer).filter_map(|m| told(&m)) {
                    let (generation, pid, comm) = (made.number, made.pid, made.comm);
                    log.push(Change { at: clock::wall(), generation, pid, comm });
                    rang = true;
                }
                if rang {
                    bell();
                }
            }
            // Notifications were lost: something changed, by whom is unknown.
            Err(e) if e.raw_os_error() == Some(rustix::io::Errno::NOBUFS.raw_os_error()) => {
                if let Ok(generation) = generation() {
                    log.push(Change { at: clock::wall(), generation, pid: None, comm: None });
                }
                bell();
            }
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => return,
        }
    }
}

/// Generations count up and wrap around.
fn newer(a: u32, b: u32) -> bool {
    a.wrapping_sub(b).cast_signed() > 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(generation: u32, pid: u32) -> Change {
        Change { at: Timestamp::UNIX_EPOCH, generation, pid: Some(pid), comm: Some("nft".into()) }
    }

    fn generations(log: &ChangeLog, since: u32) -> Vec<u32> {
        log.since(since).iter().map(|c| c.generation).collect()
    }

    #[test]
    fn what_was_not_heard_of_yet_is_waited_for_while_somebody_listens() {
        let (log, none) = (ChangeLog::new(), Duration::ZERO);
        assert!(!log.caught_up(5, Duration::from_secs(3600)), "nobody listens: nothing is waited for");
        log.listens(Some(5));
        assert!(log.caught_up(5, none) && !log.caught_up(6, none));
        let (late, (go, gone)) = (log.clone(), std::sync::mpsc::channel());
        let reader = std::thread::spawn(move || {
            gone.recv().expect("told to");
            late.push(change(6, 70));
        });
        go.send(()).expect("it waits");
        assert!(log.caught_up(6, Duration::from_secs(60)));
        assert_eq!(generations(&log, 5), [6]);
        reader.join().expect("ended");
        log.push(change(4, 70));
        assert!(log.caught_up(6, none), "an older one read late takes nothing back");
        log.listens(None);
        assert!(!log.caught_up(7, Duration::from_secs(3600)), "nor when whoever listened has ended");
    }

    #[test]
    fn own_changes_are_told_apart() {
        let log = ChangeLog::new();
        for (generation, pid) in [(5, 70), (6, 71), (7, 72), (8, 73)] {
            log.push(change(generation, pid));
        }
        assert_eq!(generations(&log, 5), [6, 7, 8]);
        log.own(Own { before: 5, after: 6, pid: 1 });
        assert_eq!(generations(&log, 5), [7, 8], "the only one of its time, whatever pid it shows");
        log.own(Own { before: 6, after: 8, pid: 73 });
        assert_eq!(generations(&log, 5), [7]);
        log.own(Own { before: 6, after: 8, pid: 9 });
        log.own(Own { before: 8, after: 8, pid: 72 });
        assert_eq!(generations(&log, 5), [7], "in doubt it is foreign");
    }

    #[test]
    fn nobody_is_named_for_a_change_that_was_lost() {
        let log = ChangeLog::new();
        log.push(change(5, 70));
        log.push(Change { pid: None, comm: None, ..change(9, 0) });
        for generation in [6, 7] {
            log.push(change(generation, 71));
        }
        let told: Vec<_> = log.since(0).into_iter().map(|c| (c.generation, c.pid)).collect();
        assert_eq!(told, [(5, Some(70)), (6, Some(71)), (7, Some(71)), (9, None)]);
        log.push(change(9, 72));
        assert_eq!(log.since(0).last().and_then(|c| c.pid), Some(72), "told after all");
    }

    #[test]
    fn the_log_is_bounded_and_generations_wrap() {
        let log = ChangeLog::new();
        for n in 0..REMEMBERED as u32 + 10 {
            log.push(change(n, 1));
        }
        assert_eq!(generations(&log, 0).len(), REMEMBERED);
        let log = ChangeLog::new();
        log.push(change(1, 1));
        assert_eq!(generations(&log, u32::MAX), [1]);
    }
}
