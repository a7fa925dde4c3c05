//! The real ports: every question and command becomes one program or one netlink message, here and nowhere else.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tenure_areas::port::{
    Beneath, Command, Entry, EntryKind, Flow, HostRead, HostWrite, ManagedFile, ManagedPath, Owner,
    PortError, PortResult, Query, Stat,
};
use tenure_sys::command::{Program, capture};
use tenure_sys::files::{self, BaseDir, Expect, FileError, Kind, Put, Roots};
use tenure_sys::{clock, proc, text};

use super::listeners::Listeners;
use super::memo::{Memo, Source};
use super::ruleset::Ruleset;
use super::watch::ChangeLog;
use super::{conntrack, fault, jobs, nftables, sshd};

/// Below these directories files are written; `ManagedPath` narrows it further.
const WRITABLE: [&str; 4] = ["/etc/ssh/sshd_config.d", "/etc/ssh/tenure", "/var/lib/tenure", "/run/tenure"];
const SSHD: &str = "/usr/sbin/sshd";
/// How long the kernel's notification of a change that can be seen already is waited for.
const NOTICE: Duration = Duration::from_millis(250);
/// Tracked connections that are read at most.
const FLOWS: usize = 1 << 20;

/// This host. One is shared by all lanes.
#[derive(Debug)]
pub struct LinuxHost {
    log: ChangeLog,
    roots: Roots,
    ruleset: Ruleset,
    memo: Memo,
    jobs: jobs::JobBell,
    listeners: Listeners,
}

impl LinuxHost {
    /// The host with what its watcher sees.
    pub fn new(log: ChangeLog) -> Self {
        let roots = Roots::new(WRITABLE).expect("the constants are absolute and outside of homes");
        Self {
            ruleset: Ruleset::new(log.clone()),
            log,
            roots,
            memo: Memo::default(),
            jobs: jobs::JobBell::default(),
            listeners: Listeners::default(),
        }
    }

    /// What is rung when a job ends.
    pub fn job_bell(&self) -> &jobs::JobBell {
        &self.jobs
    }
}

impl HostRead for LinuxHost {
    fn file(&self, path: &Beneath, owner: Owner, limit: usize) -> PortResult<Vec<u8>> {
        let failed = |e: FileError| fault::file("reading", &e);
        // /proc/net is a link to the reading thread's own view, and links are not followed.
        let whole = path.path();
        if let Some(name) = whole.strip_prefix("/proc/net/") {
            return proc::net(name, limit as u64).map_err(failed);
        }
        let owners = match owner {
            Owner::Root => vec![0],
            Owner::Uid(uid) => vec![uid, 0],
            Owner::Any => Vec::new(),
        };
        let of = if owner == Owner::Any { files::Owner::Anybody } else { files::Owner::OneOf(&owners) };
        let expect = Expect { owner: of, limit: limit as u64, one_link: owner != Owner::Any };
        let file = base(path)?.read(Path::new(&path.below), &expect).map_err(failed)?;
        if owner == Owner::Root && file.stat.mode & 0o022 != 0 {
            let why = format!("others than root can change it (mode {:04o})", file.stat.mode);
            return Err(PortError::Untrusted { what: path.path(), why });
        }
        Ok(file.bytes)
    }

    fn dir(&self, path: &Beneath, limit: usize) -> PortResult<Vec<Entry>> {
        let list = base(path)?.list(below(path), limit).map_err(|e| fault::file("listing", &e))?;
        let entry =
            |e: files::Entry| Entry { name: e.name.to_string_lossy().into_owned(), kind: kind(e.kind) };
        let mut list: Vec<Entry> = list.into_iter().map(entry).collect();
        list.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(list)
    }

    fn stat(&self, path: &Beneath) -> PortResult<Stat> {
        let s = base(path)?.stat(below(path)).map_err(|e| fault::file("looking at", &e))?;
        let mtime = s.modified.as_second();
        Ok(Stat { kind: kind(s.kind), uid: s.uid, gid: s.gid, mode: s.mode, size: s.size, mtime })
    }

    fn ask(&self, query: &Query) -> PortResult<Vec<u8>> {
        match query {
            Query::NftGeneration => nftables::generation()
                .map(|g| g.to_string().into_bytes())
                .map_err(|e| fault::netlink("asking for the ruleset's generation", &e)),
            Query::NftOwnTable => self.ruleset.table(),
            Query::NftSet { name } => self.ruleset.set(name),
            Query::NftChains => self.ruleset.chains(),
            Query::NftChanges { since } => {
                // Who changed what was just seen may still be on its way; without it the change is told without a name.
                let _ = nftables::generation().map(|now| self.log.caught_up(now, NOTICE));
                Ok(serde_json::to_vec(&self.log.since(*since))
                    .expect("times, numbers and texts have a JSON form"))
            }
            Query::Flows => flows(),
            Query::Interfaces => interfaces(),
            Query::TcpListeners => self.listeners.told(),
            Query::SshdEffective { user, addr, local, port } => {
                let program = effective(user, addr, local, *port)?;
                self.memo.answer(query, Source::Sshd, || {
                    run("asking sshd for its effective configuration", &program)
                })
            }
            Query::SshdJournal { since_boot_ms } => {
                let program = journal(*since_boot_ms);
                run("reading sshd's words in the journal", &program)
            }
            Query::Packages => self.memo.answer(query, Source::Packages, || {
                let format = "-f=${Package}\\t${Version}\\t${Architecture}\\t${db:Status-Abbrev}\\n";
                let program = Program::new("/usr/bin/dpkg-query", ["-W", format]).cap(16 << 20);
                run("listing the packages", &program.timeout(Duration::from_secs(60)))
            }),
            Query::PendingUpgrades => self.memo.answer(query, Source::Upgrades, || {
                let args = ["-q", "-o", "Debug::NoLocking=1", "--simulate", "dist-upgrade"];
                let program = Program::new("/usr/bin/apt-get", args).cap(16 << 20);
                run("asking apt for pending upgrades", &program.timeout(Duration::from_secs(120)))
            }),
            Query::Kernel => {
                let release = Beneath::new("/proc", "sys/kernel/osrelease");
                self.file(&release, Owner::Any, 256)
            }
            Query::Job => jobs::running(),
        }
    }
}

impl HostWrite for LinuxHost {
    fn put(&self, file: &ManagedFile) -> PortResult<()> {
        self.memo.look_again();
        let path = Path::new(file.path.as_str());
        let put = Put { path, bytes: &file.bytes, mode: file.mode, uid: 0, gid: 0 };
        let done = match self.roots.put(&put) {
            Err(e) if e.is_missing() => self.make_parents(path).and_then(|()| self.roots.put(&put)),
            done => done,
        };
        done.map_err(|e| fault::file("writing", &e))
    }

    fn replace(&self, from: &ManagedPath, to: &ManagedPath) -> PortResult<()> {
        self.memo.look_again();
        let done = self.roots.replace(Path::new(from.as_str()), Path::new(to.as_str()));
        done.map_err(|e| fault::file("replacing", &e))
    }

    fn remove(&self, path: &ManagedPath) -> PortResult<()> {
        self.memo.look_again();
        match self.roots.remove(Path::new(path.as_str())) {
            Ok(_) => Ok(()),
            Err(e) if e.is_missing() => Ok(()),
            Err(e) => Err(fault::file("removing", &e)),
        }
    }

    fn tell(&self, command: &Command) -> PortResult<()> {
        self.memo.look_again();
        match command {
            Command::NftLoad { json } => self.ruleset.load(json),
            Command::NftRestore { json, hash } => self.ruleset.restore(json, hash).map(drop),
            Command::ConntrackWarm => conntrack::warm()
                .map(|_| ())
                .map_err(|e| fault::conntrack("entering open connections into connection tracking", &e)),
            Command::ConntrackDelete { flows } => {
                let flows: BTreeSet<&Flow> = flows.iter().collect();
                conntrack::delete(FLOWS, |flow| flows.contains(flow))
                    .map(|_| ())
                    .map_err(|e| fault::conntrack("deleting tracked connections", &e))
            }
            Command::SshdTest => run("testing sshd's configuration", &Program::new(SSHD, ["-t"])).map(drop),
            Command::SshdReload => sshd::reload(),
            Command::OpenDirectory { which } => {
                let path = Path::new(which.path());
                // Its own root each: the system's directory is none below which anything else of ours is written.
                Roots::new([path])
                    .and_then(|roots| roots.open_dir(path, 0o755))
                    .map_err(|e| fault::file("opening a directory of key files", &e))
            }
            Command::StartJob { run } => jobs::start(run, &self.roots, &self.jobs),
        }
    }
}

impl LinuxHost {
    /// Makes the missing directories above a managed file. sshd reads keys as the user who logs in; the rest is root's.
    fn make_parents(&self, path: &Path) -> Result<(), FileError> {
        let mut missing: Vec<&Path> = path
            .ancestors()
            .skip(1)
            .filter(|dir| WRITABLE.iter().any(|root| dir.starts_with(root)))
            .take_while(|dir| BaseDir::open(dir).is_err_and(|e| e.is_missing()))
            .collect();
        missing.reverse();
        for dir in missing {
            let mode = if dir.starts_with("/etc") { 0o755 } else { 0o700 };
            self.roots.make_dir(dir, mode)?;
        }
        Ok(())
    }
}

fn base(path: &Beneath) -> PortResult<BaseDir> {
    BaseDir::open(Path::new(&path.root)).map_err(|e| match (fault::file("opening", &e), &e) {
        // Beneath what is no directory (the home /dev/null) stands nothing.
        (PortError::Absent { .. }, _) | (_, FileError::WrongKind { wanted: Kind::Directory, .. }) => {
            PortError::Absent { what: text::path(&PathBuf::from(path.path())) }
        }
        (other, _) => other,
    })
}

fn below(path: &Beneath) -> &Path {
    Path::new(if path.below.is_empty() { "." } else { &path.below })
}

fn kind(kind: Kind) -> EntryKind {
    match kind {
        Kind::File => EntryKind::File,
        Kind::Directory => EntryKind::Dir,
        Kind::Symlink | Kind::Special => EntryKind::Other,
    }
}

fn flows() -> PortResult<Vec<u8>> {
    let flows = conntrack::flows(FLOWS).map_err(|e| fault::conntrack("listing tracked connections", &e))?;
    let mut out = Vec::new();
    for flow in flows {
        serde_json::to_writer(&mut out, &flow)
            .expect("numbers and addresses have a JSON form, and a Vec takes it");
        out.push(b'\n');
    }
    Ok(out)
}

/// The names before the colons in `/proc/net/dev`, which belongs to the asking thread's network namespace.
fn interfaces() -> PortResult<Vec<u8>> {
    let dev = proc::net("dev", 1 << 20).map_err(|e| fault::file("listing interfaces", &e))?;
    let dev = String::from_utf8_lossy(&dev);
    let names: BTreeSet<&str> =
        dev.lines().filter_map(|l| Some(l.rsplit_once(": ").or(l.rsplit_once(':'))?.0.trim())).collect();
    Ok(names.iter().flat_map(|name| [name.as_bytes(), b"\n"].concat()).collect())
}

/// `sshd -T -C user=…,addr=…,laddr=…`: the texts are checked, as a comma in one would be another condition.
fn effective(user: &str, addr: &str, local: &str, port: u16) -> PortResult<Program> {
    let parts = |c: char| c.is_control() || c.is_whitespace() || c == ',' || c == '=';
    if user.is_empty() || user.len() > 256 || user.starts_with('-') || user.contains(parts) {
        return Err(fault::argument(user, "sshd cannot be asked about an account of this name"));
    }
    let parse = |text: &str| -> PortResult<IpAddr> {
        text.parse().map_err(|_| fault::argument(text, "it is not an address"))
    };
    let (addr, local) = (parse(addr)?, parse(local)?);
    let connection = format!("user={user},addr={addr},host={addr},laddr={local},lport={port}");
    Ok(Program::new(SSHD, ["-T", "-C", &connection].map(OsString::from)))
}

/// `journalctl`: what root's sshd said in this boot since that moment, oldest first. The clock is the journal's own, so
/// the moment is told by its age, a second more than it has.
fn journal(since_boot_ms: u64) -> Program {
    let age = clock::boottime().as_millis().saturating_sub(u128::from(since_boot_ms)) / 1000 + 1;
    let args = ["--boot", "--quiet", "--no-pager", "--output=json", "--output-fields=MESSAGE,_PID,_UID,_EXE"];
    let newest = ["--lines=20000".to_owned(), format!("--since=-{age}s")];
    // Matches of one field are alternatives, those of different fields must all hold (journalctl(1)).
    let whose = ["_UID=0", "SYSLOG_IDENTIFIER=sshd", "SYSLOG_IDENTIFIER=sshd-session"];
    let args = args.into_iter().map(OsString::from).chain(newest.map(OsString::from));
    Program::new("/usr/bin/journalctl", args.chain(whose.map(OsString::from))).cap(32 << 20)
}

fn run(doing: &str, program: &Program) -> PortResult<Vec<u8>> {
    capture(program).and_then(|out| out.success()).map_err(|e| fault::command(doing, &e))
}
