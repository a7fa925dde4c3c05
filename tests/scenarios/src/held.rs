//! Stops a process of a host (SIGSTOP) at a defined moment, told by the kernel through inotify: when a file comes or grows.
//! What is held can be looked at, and is then killed or goes on: a kill that is made so cannot miss its moment.

use std::time::Duration;

use serde::Deserialize;
use tenure_lab::{Host, Running, wait_for};

use crate::Result;
use crate::agent::SOON;

const SCRIPT: &str = "/usr/local/lib/holder.py";

/// Watches a tree. At a file that comes, or grows, and whose path and last whole line are as wanted, it stops every process
/// of that name in the unit, waits until all their threads have stopped, and looks at the file once more: `held` when its last
/// line is still that one, else everything goes on and it was `missed`.
const HOLDER: &str = r#"
import ctypes, glob, json, os, re, select, signal, struct, sys, time
say, root, path, line, unit, comm = sys.argv[1:7]
path, line = re.compile(path), re.compile(line) if line else None
MODIFY, MOVED_TO, CREATE, ISDIR = 0x2, 0x80, 0x100, 0x40000000
try:
    os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(20))
except OSError:
    os.nice(-15)

def text(name):
    try:
        with open(name, errors='replace') as file:
            return file.read()
    except OSError:
        return ''

def last(name):
    whole = text(name).rsplit('\n', 1)[0]
    return whole.rsplit('\n', 1)[-1]

def wanted(name):
    return os.path.exists(name) and (line is None or line.search(last(name)))

def pids():
    found = []
    for procs in glob.glob('/sys/fs/cgroup/system.slice/%s.service/cgroup.procs' % unit):
        found += [int(pid) for pid in text(procs).split() if text('/proc/%s/comm' % pid).strip() == comm]
    return found

def stopped(pid):
    states = [text(stat).rsplit(')', 1)[-1].split()[:1] for stat in glob.glob('/proc/%d/task/*/stat' % pid)]
    return all(state in ([], ['T']) for state in states)

def tell(what, found, name):
    said = {'what': what, 'pids': found, 'path': name, 'line': last(name)}
    with open(say + '.new', 'w') as file:
        json.dump(said, file)
    os.rename(say + '.new', say)
    sys.exit(0)

def strike(name):
    found = pids()
    for pid in found:
        os.kill(pid, signal.SIGSTOP)
    until = time.monotonic() + 10
    while not all(stopped(pid) for pid in found) and time.monotonic() < until:
        time.sleep(0.001)
    if found and all(stopped(pid) for pid in found) and wanted(name):
        tell('held', found, name)
    for pid in found:
        os.kill(pid, signal.SIGCONT)
    # A line is written once; files of a kind may come again.
    if line:
        tell('missed', found, name)

libc = ctypes.CDLL(None, use_errno=True)
notes = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
watched = {}

def watch(place, begun):
    number = libc.inotify_add_watch(notes, place.encode(), MODIFY | MOVED_TO | CREATE)
    if number < 0 or number in watched:
        return
    watched[number] = place
    for name in sorted(os.listdir(place)):
        below = os.path.join(place, name)
        if os.path.isdir(below) and not os.path.islink(below):
            watch(below, begun)
        elif begun:
            changed(below)

# What was there before is of no interest until it changes.
def changed(name):
    if path.search(name[len(root):].lstrip('/')) and wanted(name):
        strike(name)

watch(root, False)
open(say + '.ready', 'w').close()
while True:
    ready, _, _ = select.select([notes], [], [], 300)
    if not ready:
        sys.exit(1)
    data = os.read(notes, 1 << 16)
    while data:
        number, mask, _, size = struct.unpack_from('iIII', data)
        name, data = data[16:16 + size].rstrip(b'\0').decode(), data[16 + size:]
        if number not in watched or not name:
            continue
        name = os.path.join(watched[number], name)
        if mask & ISDIR:
            watch(name, True)
        else:
            changed(name)
"#;

/// When to stop what.
#[derive(Debug, Clone)]
pub struct Moment<'a> {
    /// The directory below which files are watched.
    pub root: &'a str,
    /// A regular expression for the path below it.
    pub path: &'a str,
    /// One for the file's last whole line; empty for any file.
    pub line: &'a str,
    /// The unit without `.service`; `*` stands for anything.
    pub unit: &'a str,
    /// The program's name.
    pub program: &'a str,
}

/// One that is on guard.
#[derive(Debug)]
pub struct Guard {
    host: Host,
    say: String,
    _running: Running,
}

/// A process that stands still.
#[derive(Debug)]
pub struct Held {
    host: Host,
    pids: Vec<u32>,
    /// The file at which it was stopped.
    pub path: String,
    /// That file's last line then.
    pub line: String,
}

#[derive(Deserialize)]
struct Said {
    what: String,
    pids: Vec<u32>,
    path: String,
    line: String,
}

impl Guard {
    /// Puts one on guard on a host.
    ///
    /// # Errors
    /// When the lab fails.
    pub fn set(host: &Host, moment: &Moment<'_>) -> Result<Self> {
        let say = format!("/run/held-{}", moment.program);
        let ready = format!("{say}.ready");
        host.put(SCRIPT, HOLDER.as_bytes(), "644")?;
        host.must(&["rm", "-f", &say, &ready])?;
        let Moment { root, path, line, unit, program } = moment;
        let running = host.spawn(&["python3", SCRIPT, &say, root, path, line, unit, program])?;
        wait_for("the holder on guard", SOON, || host.exec(&["test", "-e", &ready]).is_ok_and(|o| o.ok()))?;
        Ok(Self { host: host.clone(), say, _running: running })
    }

    /// Waits until the moment came: what is held, or none when everything was through the moment already.
    ///
    /// # Errors
    /// When it does not come in time.
    pub fn holds(self, limit: Duration) -> Result<Option<Held>> {
        let mut said = None;
        wait_for("the moment to hold a process at", limit, || {
            said = self.host.get(&self.say).ok();
            said.is_some()
        })?;
        let Said { what, pids, path, line } = serde_json::from_str(&said.unwrap_or_default())?;
        Ok((what == "held").then(|| Held { host: self.host.clone(), pids, path, line }))
    }
}

impl Held {
    /// Kills it (SIGKILL) where it stands.
    ///
    /// # Errors
    /// When it was not there any more, or does not end.
    pub fn kill(self) -> Result<()> {
        self.signal("-KILL")?;
        let gone = |pid: &u32| {
            let line = format!("! grep -qs '^State:[[:space:]]*[^ZX[:space:]]' /proc/{pid}/status");
            self.host.sh(&line).is_ok_and(|o| o.ok())
        };
        wait_for("the end of what was killed", SOON, || self.pids.iter().all(gone)).map(drop)?;
        Ok(())
    }

    /// Lets it go on.
    ///
    /// # Errors
    /// When it was not there any more.
    pub fn go_on(self) -> Result<()> {
        self.signal("-CONT")
    }

    /// It has to stand still until now.
    fn signal(&self, what: &str) -> Result<()> {
        for pid in &self.pids {
            let pid = pid.to_string();
            let line = "grep -q '^State:[[:space:]]*T' /proc/$1/status && kill $0 $1";
            self.host.must(&["sh", "-c", line, what, &pid])?;
        }
        Ok(())
    }
}
