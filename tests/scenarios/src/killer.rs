//! Ends the agent with SIGKILL at the n-th step of a change on a real host: a step is a file of the agent's put in place or
//! taken away, or a transaction of the ruleset.

use std::time::Duration;

use tenure_lab::{Running, wait_for};

use crate::agent::SOON;
use crate::{Fleet, Result};

const SCRIPT: &str = "/usr/local/lib/killer.py";
const READY: &str = "/run/killer.ready";
const DONE: &str = "/run/killer.done";

/// Is told by the kernel of every file put in place or taken away (inotify(7); one that is being written has a name with a
/// dot in front) and of every transaction (NETLINK_NETFILTER, group 7, NEWGEN), and kills at once.
const KILLER: &str = r#"
import ctypes, os, select, signal, socket, struct, sys
at = int(sys.argv[1])
# Directories with what is put into them; those that are only on the way to one.
PLACES = ['/var/lib/tenure/firewall', '/var/lib/tenure/ssh_access', '/var/lib/tenure/before', '/run/tenure/firewall',
          '/etc/ssh/sshd_config.d', '/etc/ssh/tenure/keys']
WAY = ['/var/lib/tenure', '/run', '/run/tenure', '/etc/ssh', '/etc/ssh/tenure']
PROCS = '/sys/fs/cgroup/system.slice/tenure-agent.service/cgroup.procs'
CREATE, MOVED_FROM, MOVED_TO, DELETE, ISDIR = 0x100, 0x40, 0x80, 0x200, 0x40000000

def text(path):
    try:
        with open(path) as file:
            return file.read().strip()
    except OSError:
        return ''

steps = 0
def step(name):
    global steps
    steps += 1
    if steps == at:
        for pid in text(PROCS).split():
            if text('/proc/%s/comm' % pid) == 'tenure-agent':
                os.kill(int(pid), signal.SIGKILL)
        with open('/run/killer.new', 'w') as file:
            file.write(name)
        os.rename('/run/killer.new', '/run/killer.done')
        sys.exit(0)

libc = ctypes.CDLL(None, use_errno=True)
notes = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
watched, known = {}, {}

def put(path):
    try:
        inode = os.lstat(path).st_ino
    except FileNotFoundError:
        return
    if known.get(path) != inode:
        known[path] = inode
        step(path.lstrip('/'))

def watch(place, begun):
    number = libc.inotify_add_watch(notes, place.encode(), CREATE | MOVED_FROM | MOVED_TO | DELETE)
    if number < 0:
        return
    watched[number] = place
    for name in sorted(os.listdir(place)):
        path = os.path.join(place, name)
        if path in PLACES + WAY:
            watch(path, begun)
        elif place in PLACES and not name.startswith('.'):
            if begun:
                put(path)
            else:
                known[path] = os.lstat(path).st_ino

def changed():
    try:
        data = os.read(notes, 1 << 16)
    except BlockingIOError:
        return
    while data:
        number, mask, _, size = struct.unpack_from('iIII', data)
        name, data = data[16:16 + size].rstrip(b'\0').decode(), data[16 + size:]
        place = watched.get(number)
        if place is None:
            continue
        path = os.path.join(place, name)
        if mask & ISDIR:
            if mask & (CREATE | MOVED_TO) and path in PLACES + WAY:
                watch(path, True)
        elif place in PLACES and not name.startswith('.'):
            if mask & (MOVED_TO | CREATE):
                put(path)
            elif known.pop(path, None) is not None:
                step('no ' + path.lstrip('/'))

kernel = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 12)
kernel.bind((0, 0))
kernel.setsockopt(270, 1, 7)
kernel.setblocking(False)
NEWGEN = (10 << 8) | 15

def transactions():
    try:
        data = kernel.recv(1 << 20)
    except OSError:
        return
    while len(data) >= 16:
        size, kind = struct.unpack_from('=IH', data)
        if kind == NEWGEN:
            step('ruleset')
        data = data[max(16, (size + 3) & ~3):]

for place in ['/var/lib/tenure', '/run', '/etc/ssh']:
    watch(place, False)
open('/run/killer.ready', 'w').close()
while True:
    ready, _, _ = select.select([notes, kernel], [], [], 180)
    if not ready:
        sys.exit(1)
    # A transaction that was made before a file was written is told before it.
    if kernel in ready:
        transactions()
    if notes in ready:
        changed()
"#;

/// One that is on guard on web1.
#[derive(Debug)]
pub struct Killer<'a> {
    fleet: &'a Fleet,
    _running: Running,
}

impl Fleet {
    /// Keeps systemd from starting a killed agent again, so that what it left can be looked at.
    ///
    /// # Errors
    /// When the lab fails.
    pub fn let_it_lie(&self) -> Result<()> {
        let text = b"[Service]\nRestart=no\n";
        self.web1.put("/run/systemd/system/tenure-agent.service.d/lab.conf", text, "644")?;
        self.web1.must(&["systemctl", "daemon-reload"])?;
        Ok(self.web1.put(SCRIPT, KILLER.as_bytes(), "644")?)
    }

    /// Puts a killer on guard that strikes at the `step`-th step from now on, counted from 1.
    ///
    /// # Errors
    /// When the lab fails.
    pub fn kill_at(&self, step: usize) -> Result<Killer<'_>> {
        self.web1.must(&["rm", "-f", READY, DONE])?;
        let running = self.web1.spawn(&["python3", SCRIPT, &step.to_string()])?;
        let is_ready = || self.web1.exec(&["test", "-e", READY]).is_ok_and(|o| o.ok());
        wait_for("the killer on guard", SOON, is_ready)?;
        Ok(Killer { fleet: self, _running: running })
    }
}

impl Killer<'_> {
    /// Waits until it has struck and says at which step; none when the change has come to its end before. `on` is called
    /// meanwhile, again and again, and says whether it has.
    ///
    /// # Errors
    /// When neither happens in time, or the agent survives.
    pub fn strikes(&self, limit: Duration, mut on: impl FnMut() -> bool) -> Result<Option<String>> {
        let web1 = &self.fleet.web1;
        let step = || web1.get(DONE).ok();
        let mut struck = None;
        wait_for("the kill, or the end of the change", limit, || {
            struck = step();
            struck.is_some() || on()
        })
        .map_err(|why| format!("{why}\n{}", self.fleet.journal()))?;
        // It may have struck at the last step of all.
        let struck = struck.or_else(step);
        if struck.is_some() {
            wait_for("the end of the agent", SOON, || {
                web1.exec(&["systemctl", "is-active", "-q", "tenure-agent"]).is_ok_and(|o| !o.ok())
            })?;
        }
        Ok(struck)
    }
}
