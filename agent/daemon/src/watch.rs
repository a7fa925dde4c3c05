//! Files whose change wakes a lane (inotify). What only root can write wakes it at once; homes, where anybody can make
//! noise, at most twice a second.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use notify::event::EventKind;
use notify::{Event, RecommendedWatcher, RecursiveMode, Watcher};
use tenure_sys::clock;
use tenure_sys::files::{BaseDir, Expect, Owner};

use crate::areas::Area;
use crate::bell::{Mailbox, Reason};
use crate::journal;

/// Accounts whose homes are watched at most.
const HOMES: usize = 1000;
/// Largest account list that is read, in bytes.
const PASSWD: u64 = 4 << 20;
/// How often noise from homes rings at most.
const HOME_PAUSE: Duration = Duration::from_millis(500);
/// How often places that could not be watched (because they do not exist yet) are tried again.
const AGAIN: Duration = Duration::from_secs(10);
/// The same after the account list changed: useradd(8) writes it before it makes the home.
const SOON: Duration = Duration::from_millis(700);
/// Events that wait; when there are more, every lane looks.
const QUEUE: usize = 256;

/// Fixed places: directory to watch, names in it that matter (empty: all), and whose bell it is. Directories are
/// watched and not files, because files are replaced by renaming.
const PLACES: &[(&str, &[&str], Area)] = &[
    ("/etc/ssh", &["sshd_config", "sshd_config.d", "tenure"], Area::SshAccess),
    ("/etc/ssh/sshd_config.d", &[], Area::SshAccess),
    ("/etc/ssh/tenure", &[], Area::SshAccess),
    ("/etc/ssh/tenure/keys", &[], Area::SshAccess),
    // The directory itself is in the list: its mode may keep every key out.
    ("/etc", &["passwd", "shadow", "group", "ssh"], Area::SshAccess),
    ("/var/lib/dpkg", &["status"], Area::Patch),
    ("/var/lib/apt/lists", &[], Area::Patch),
    ("/run", &["reboot-required"], Area::Patch),
    ("/var/lib/tenure/backup/requests", &[], Area::Backup),
    ("/var/lib/tenure/backup/drills", &[], Area::Backup),
];

/// The watcher's thread and the watches, which end with it.
#[derive(Debug)]
pub struct Watch {
    stop: SyncSender<Noise>,
    thread: JoinHandle<()>,
}

/// What an event is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Noise {
    Place(Area),
    Home,
    /// The account list changed: other homes.
    Accounts,
    /// More than the queue holds, or the kernel's own queue ran over.
    TooMuch,
    Stop,
}

impl Watch {
    /// Watches and rings these lanes.
    ///
    /// # Errors
    /// When the kernel gives no inotify instance or thread.
    pub fn start(lanes: Vec<(Area, Mailbox)>) -> io::Result<Self> {
        let (queue, events) = sync_channel(QUEUE);
        let stop = queue.clone();
        let overrun = Arc::new(AtomicBool::new(false));
        let overran = overrun.clone();
        let watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
            for noise in sort(event) {
                match queue.try_send(noise) {
                    Ok(()) | Err(TrySendError::Disconnected(_)) => {}
                    // What waits already wakes the thread, which then sees this.
                    Err(TrySendError::Full(_)) => overran.store(true, Ordering::Release),
                }
            }
        })
        .map_err(io::Error::other)?;
        let worker = Worker { watcher, lanes, watched: BTreeSet::new(), overrun };
        let thread =
            std::thread::Builder::new().name("file-watch".into()).spawn(move || worker.run(&events))?;
        Ok(Self { stop, thread })
    }

    /// Has it ended by itself?
    pub fn is_finished(&self) -> bool {
        self.thread.is_finished()
    }

    /// Ends the watches.
    pub fn stop(self) {
        // Fails only when the thread has ended already.
        let _ = self.stop.send(Noise::Stop);
        if self.thread.join().is_err() {
            journal::error("the file watcher ended by a fault of its own");
        }
    }
}

struct Worker {
    watcher: RecommendedWatcher,
    lanes: Vec<(Area, Mailbox)>,
    watched: BTreeSet<PathBuf>,
    /// More events came than the queue holds.
    overrun: Arc<AtomicBool>,
}

impl Worker {
    fn run(mut self, events: &Receiver<Noise>) {
        self.watch_all();
        let mut next_look = clock::monotonic() + AGAIN;
        let (mut home_rung, mut home_waits) = (Duration::ZERO, false);
        loop {
            let now = clock::monotonic();
            let mut until = next_look;
            if home_waits {
                until = until.min(home_rung + HOME_PAUSE);
            }
            match events.recv_timeout(until.saturating_sub(now)) {
                Ok(Noise::Stop) | Err(RecvTimeoutError::Disconnected) => return,
                Ok(Noise::Place(area)) => {
                    // A watched directory may have been made anew.
                    self.watch_places();
                    self.ring(area);
                }
                Ok(Noise::Home) => home_waits = true,
                Ok(Noise::Accounts) => {
                    self.watch_all();
                    self.ring(Area::SshAccess);
                    next_look = next_look.min(clock::monotonic() + SOON);
                }
                Ok(Noise::TooMuch) => self.ring_all(),
                Err(RecvTimeoutError::Timeout) => {}
            }
            if self.overrun.swap(false, Ordering::AcqRel) {
                self.ring_all();
            }
            let now = clock::monotonic();
            if home_waits && now >= home_rung + HOME_PAUSE {
                // A `.ssh` may have been made: it is watched before the lane looks into it.
                self.watch_all();
                self.ring(Area::SshAccess);
                (home_rung, home_waits) = (now, false);
            }
            if now >= next_look {
                if self.watch_all() {
                    // A place that was not watched until now: nobody told what happened there before.
                    self.ring(Area::SshAccess);
                }
                next_look = now + AGAIN;
            }
        }
    }

    fn ring(&self, area: Area) {
        self.lanes.iter().filter(|(of, _)| *of == area).for_each(|(_, bell)| bell.ring(Reason::FileEvent));
    }

    fn ring_all(&self) {
        Area::ALL.into_iter().for_each(|area| self.ring(area));
    }

    /// Watches everything that exists; what does not is tried again later. Was any of it not watched before?
    fn watch_all(&mut self) -> bool {
        let before = self.watched.len();
        self.watch_places();
        for home in homes() {
            self.watch(&home);
            self.watch(&home.join(".ssh"));
        }
        self.watched.len() > before
    }

    fn watch_places(&mut self) {
        for (dir, _, _) in PLACES {
            self.watch(Path::new(dir));
        }
    }

    /// Watches a directory. One that is watched already is not harmed by it, and one that was made anew under the same
    /// name needs it: the old watch went with the old directory.
    fn watch(&mut self, dir: &Path) {
        if !is_dir(dir) {
            self.watched.remove(dir);
            return;
        }
        match self.watcher.watch(dir, RecursiveMode::NonRecursive) {
            Ok(()) => {
                self.watched.insert(dir.into());
            }
            Err(e) if self.watched.remove(dir) => {
                journal::warning(&format!("cannot watch {} any more: {e}", tenure_sys::text::path(dir)));
            }
            // Told once and tried again and again.
            Err(_) => {}
        }
    }
}

/// A directory, and no link to one: a watch must not be led elsewhere.
fn is_dir(path: &Path) -> bool {
    std::fs::symlink_metadata(path).is_ok_and(|m| m.is_dir())
}

/// What an event is about; nothing for mere reading (our own passes read all of this).
fn sort(event: notify::Result<Event>) -> BTreeSet<Noise> {
    let Ok(event) = event else { return BTreeSet::from([Noise::TooMuch]) };
    if event.need_rescan() {
        return BTreeSet::from([Noise::TooMuch]);
    }
    if let EventKind::Access(kind) = event.kind
        && kind != notify::event::AccessKind::Close(notify::event::AccessMode::Write)
    {
        return BTreeSet::new();
    }
    event.paths.iter().flat_map(|path| about(path)).collect()
}

fn about(path: &Path) -> Vec<Noise> {
    let (parent, name) = (path.parent(), path.file_name().and_then(|n| n.to_str()).unwrap_or_default());
    let mut out = Vec::new();
    for (dir, names, area) in PLACES {
        let inside = parent == Some(Path::new(dir)) && (names.is_empty() || names.contains(&name));
        if inside || (path == Path::new(dir) && names.is_empty()) {
            out.push(if (*dir, name) == ("/etc", "passwd") { Noise::Accounts } else { Noise::Place(*area) });
        }
    }
    let fixed = PLACES.iter().any(|(dir, _, _)| path.starts_with(dir));
    let ssh = path.components().any(|part| part.as_os_str() == ".ssh");
    if !fixed && ssh {
        out.push(Noise::Home);
    }
    out
}

/// Homes of the accounts in `/etc/passwd`, without system directories that are nobody's home.
fn homes() -> BTreeSet<PathBuf> {
    let Ok(etc) = BaseDir::open(Path::new("/etc")) else { return BTreeSet::new() };
    let any = Expect { owner: Owner::Anybody, limit: PASSWD, one_link: false };
    let Ok(file) = etc.read(Path::new("passwd"), &any) else { return BTreeSet::new() };
    homes_in(&String::from_utf8_lossy(&file.bytes))
}

fn homes_in(passwd: &str) -> BTreeSet<PathBuf> {
    const SYSTEM: [&str; 12] = [
        "/bin",
        "/boot",
        "/dev",
        "/etc",
        "/lib",
        "/nonexistent",
        "/proc",
        "/run",
        "/sbin",
        "/sys",
        "/tmp",
        "/usr",
    ];
    passwd
        .lines()
        .filter_map(|line| line.split(':').nth(5))
        .filter(|home| home.starts_with('/') && home.len() > 1 && !home.contains("/.."))
        .map(PathBuf::from)
        .filter(|home| !SYSTEM.iter().any(|dir| home.starts_with(dir)))
        .take(HOMES)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_rings_the_lane_that_it_concerns() {
        for (path, wanted) in [
            ("/etc/ssh/sshd_config", vec![Noise::Place(Area::SshAccess)]),
            ("/etc/ssh/sshd_config.d/00-tenure.conf", vec![Noise::Place(Area::SshAccess)]),
            ("/etc/ssh/tenure/keys/admin", vec![Noise::Place(Area::SshAccess)]),
            ("/etc/ssh/moduli", vec![]),
            ("/etc/ssh", vec![Noise::Place(Area::SshAccess)]),
            ("/etc/ssh/tenure", vec![Noise::Place(Area::SshAccess)]),
            ("/etc/ssh/tenure/keys", vec![Noise::Place(Area::SshAccess)]),
            ("/etc/passwd", vec![Noise::Accounts]),
            ("/etc/hosts", vec![]),
            ("/var/lib/dpkg/status", vec![Noise::Place(Area::Patch)]),
            ("/var/lib/apt/lists/x_InRelease", vec![Noise::Place(Area::Patch)]),
            ("/run/reboot-required", vec![Noise::Place(Area::Patch)]),
            ("/run/utmp", vec![]),
            ("/home/app/.ssh", vec![Noise::Home]),
            ("/home/app/.ssh/authorized_keys", vec![Noise::Home]),
            ("/home/app/photo.jpg", vec![]),
        ] {
            let rung: BTreeSet<Noise> = about(Path::new(path)).into_iter().collect();
            assert_eq!(rung, BTreeSet::from_iter(wanted), "{path}");
        }
    }

    #[test]
    fn only_real_homes_are_watched() {
        let passwd = "root:x:0:0:root:/root:/bin/bash\nbin:x:2:2:bin:/bin:/usr/sbin/nologin\n\
                      www:x:33:33::/var/www:/usr/sbin/nologin\nnobody:x:1:1::/nonexistent:/bin/false\n\
                      app:x:1000:1000::/home/app:/bin/bash\nevil:x:1001:1001::/home/../etc:/bin/sh\nr:x:1:1::/:/x\nbroken\n";
        let homes: Vec<PathBuf> = homes_in(passwd).into_iter().collect();
        assert_eq!(homes, ["/home/app", "/root", "/var/www"].map(PathBuf::from));
    }
}
