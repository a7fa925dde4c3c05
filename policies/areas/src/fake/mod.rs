//! A host that is not there: files, a small nftables, sshd and package database, a clock, outsiders and faults.
//!
//! It answers [`Query`] and carries [`Command`] out as a Debian 12 host does, as far as the areas go; a conformance
//! test on a lab host holds it to that. What it cannot interpret it refuses, so that no test passes by its ignorance.

mod files;
mod jobs;
pub mod nft;
mod packages;
mod packets;
mod sshd;

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use jiff::{SignedDuration, Timestamp};

use files::Files;
pub use files::{Node, NodeKind};
use nft::Ruleset;
pub use packages::FakePackage;

use crate::area::Now;
use crate::port::{
    Beneath, Command, Entry, Flow, Holder, HostRead, HostWrite, ManagedFile, ManagedPath, Owner, PortError,
    PortResult, Query, Stat, Waiting,
};

/// The fake host. Shared by reference; every call takes its one lock.
#[derive(Debug)]
pub struct FakeHost {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    wall: Timestamp,
    since_boot_ms: u64,
    boots: u32,
    files: Files,
    sshd: sshd::Config,
    /// What somebody writes the moment after sshd is told to read its configuration: it ends by it.
    spoiler: Option<(String, String)>,
    /// What sshd wrote to the journal in this boot.
    journal: Vec<sshd::Entry>,
    nft: Ruleset,
    nft_changes: Vec<NftChange>,
    warmed: bool,
    open: Vec<Flow>,
    flows: Vec<Flow>,
    interfaces: Vec<String>,
    others: Vec<Waiting>,
    packages: Vec<FakePackage>,
    kernel: String,
    /// The job that runs.
    job: Option<crate::backup::facts::RunningJob>,
    writes: u64,
    fault: Option<Fault>,
    dead: bool,
    silent: BTreeMap<String, String>,
}

#[derive(Debug, Clone, Copy)]
enum Fault {
    Fail(u64),
    Kill(u64),
    Full(u64),
}

#[derive(Debug, Clone, serde::Serialize)]
struct NftChange {
    at: Timestamp,
    generation: u32,
    pid: Option<u32>,
    comm: Option<String>,
}

impl FakeHost {
    /// A fresh Debian 12 host at noon of 22 November 2026: sshd as installed, no ruleset, accounts root, admin (1000),
    /// deploy (1001) and app (1002), the last with a password.
    pub fn debian() -> Self {
        let wall: Timestamp = "2026-11-22T12:00:00Z".parse().expect("a literal time");
        let files = Files::debian(wall);
        let state = State {
            wall,
            since_boot_ms: 100_000,
            boots: 1,
            sshd: sshd::Config::read(&files),
            files,
            journal: Vec::new(),
            spoiler: None,
            nft: Ruleset::default(),
            nft_changes: Vec::new(),
            warmed: false,
            open: Vec::new(),
            flows: Vec::new(),
            interfaces: vec!["lo".into(), "eth0".into()],
            others: Vec::new(),
            packages: packages::debian(),
            kernel: "6.1.0-28-amd64".into(),
            job: None,
            writes: 0,
            fault: None,
            dead: false,
            silent: BTreeMap::new(),
        };
        Self { state: Mutex::new(state) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    // ---- time -------------------------------------------------------------------------------------------------

    /// The host's clock.
    pub fn now(&self) -> Now {
        let state = self.state();
        let boot_id = format!("00000000-0000-4000-8000-{:012}", state.boots);
        Now { wall: state.wall, since_boot_ms: state.since_boot_ms, boot_id }
    }

    /// Lets time pass, on both clocks; elements of sets with a timeout lapse.
    pub fn advance_ms(&self, ms: u64) {
        let mut state = self.state();
        let step = SignedDuration::from_millis(i64::try_from(ms).expect("a test's step is small"));
        state.wall = state.wall.checked_add(step).expect("a test's time is in range");
        state.since_boot_ms += ms;
    }

    /// Starts the machine again: no ruleset, no tracked connection, /run empty, sshd reads its files anew.
    pub fn reboot(&self) {
        let mut state = self.state();
        state.boots += 1;
        state.since_boot_ms = 0;
        state.nft = Ruleset::default();
        state.nft_changes.clear();
        state.open.clear();
        state.flows.clear();
        state.others.clear();
        state.warmed = false;
        state.job = None;
        state.dead = false;
        state.files.forget_beneath("/run/");
        state.journal.clear();
        state.sshd = sshd::Config::read(&state.files);
    }

    // ---- faults -----------------------------------------------------------------------------------------------

    /// How many writes (files put, removed, commands told) have been tried.
    pub fn writes(&self) -> u64 {
        self.state().writes
    }

    /// The `n`-th write from now (counting from 1) fails and changes nothing; those after it work again.
    pub fn fail_write(&self, n: u64) {
        let mut state = self.state();
        state.fault = Some(Fault::Fail(state.writes + n));
    }

    /// The disk is full before the `n`-th write from now and stays so until [`Self::revive`]: no file is put anywhere but in
    /// `/run`, which is memory; everything else works.
    pub fn fill_disk_before_write(&self, n: u64) {
        let mut state = self.state();
        state.fault = Some(Fault::Full(state.writes + n));
    }

    /// The agent dies before its `n`-th write from now: that one and all after it change nothing until [`Self::revive`].
    pub fn kill_before_write(&self, n: u64) {
        let mut state = self.state();
        state.fault = Some(Fault::Kill(state.writes + n));
    }

    /// Starts the agent again and ends every fault; true if it had died.
    pub fn revive(&self) -> bool {
        let mut state = self.state();
        state.fault = None;
        std::mem::take(&mut state.dead)
    }

    /// Questions whose debug form starts with `query` are answered with a failure that says `why`, until [`Self::answer`].
    pub fn refuse_to_answer(&self, query: &str, why: &str) {
        self.state().silent.insert(query.into(), why.into());
    }

    /// Every question is answered again.
    pub fn answer(&self) {
        self.state().silent.clear();
    }

    // ---- outsiders --------------------------------------------------------------------------------------------

    /// Somebody else writes a regular file.
    pub fn write_as(&self, path: &str, bytes: impl AsRef<[u8]>, uid: u32, mode: u32) {
        let mut state = self.state();
        let at = state.wall;
        state.files.insert(path, Node::file(bytes.as_ref(), uid, mode, at));
    }

    /// Somebody else places any kind of node.
    pub fn place(&self, path: &str, kind: NodeKind, uid: u32) {
        let mut state = self.state();
        let at = state.wall;
        state.files.insert(path, Node { kind, uid, ..Node::file(b"", uid, 0o644, at) });
    }

    /// Somebody gives the file at `path` a second name: both become untrusted.
    pub fn hard_link(&self, path: &str) {
        self.state().files.change(path, |node| node.links += 1);
    }

    /// Somebody changes owner and mode.
    pub fn chmod(&self, path: &str, uid: u32, mode: u32) {
        self.state().files.change(path, |node| {
            node.uid = uid;
            node.mode = mode;
        });
    }

    /// Somebody deletes a file or a whole directory.
    pub fn delete(&self, path: &str) {
        let mut state = self.state();
        state.files.remove(path);
        state.files.forget_beneath(&format!("{}/", path.trim_end_matches('/')));
    }

    /// Somebody else's nftables transaction (libnftables-json(5)); the watcher sees who it was.
    ///
    /// # Errors
    /// As nft reports it.
    pub fn nft_as(&self, pid: u32, comm: &str, json: &str) -> PortResult<()> {
        let mut state = self.state();
        let before = state.nft.generation();
        state.load(json)?;
        if state.nft.generation() == before {
            return Ok(());
        }
        let change = NftChange {
            at: state.wall,
            generation: state.nft.generation(),
            pid: Some(pid),
            comm: Some(comm.into()),
        };
        state.nft_changes.push(change);
        Ok(())
    }

    /// Somebody writes this file when sshd has been tested and told to read its configuration, before it does: a broken
    /// one ends it, and nobody gets in until it is started again with a whole one.
    pub fn spoil_next_reload(&self, path: &str, text: &str) {
        self.state().spoiler = Some((path.into(), text.into()));
    }

    /// Somebody restarts or reloads sshd.
    pub fn reload_sshd(&self) {
        let mut state = self.state();
        state.sshd = sshd::Config::read(&state.files);
    }

    /// Does the first packet of a TCP connection from elsewhere reach a local port, by the ruleset as it stands?
    pub fn reaches(&self, src: &str, port: u16) -> bool {
        let state = self.state();
        let src = src.parse().expect("a test has an address");
        let syn = packets::Syn { src, port, now_ms: state.since_boot_ms };
        packets::arrives(&state.nft, syn).expect("the fake host knows every expression that we emit")
    }

    // ---- logging in -------------------------------------------------------------------------------------------

    /// Does sshd, as it runs now, let somebody with this key (`type base64`) in as `user` from `addr`?
    pub fn lets_in(&self, user: &str, key: &str, addr: &str) -> bool {
        let key = crate::ssh_access::keys::parse_line(key.as_bytes()).expect("a test has a key");
        let addr = addr.parse().expect("a test has an address");
        let state = self.state();
        let door = sshd::Door { running: &state.sshd, files: &state.files, now: state.wall };
        door.by_key(user, &key.blob, addr).is_some()
    }

    /// Somebody with this key logs in, if sshd lets them; the journal tells of it as sshd does.
    pub fn log_in(&self, user: &str, key: &str, addr: &str) -> bool {
        let key = crate::ssh_access::keys::parse_line(key.as_bytes()).expect("a test has a key");
        let addr = addr.parse().expect("a test has an address");
        let mut state = self.state();
        let door = sshd::Door { running: &state.sshd, files: &state.files, now: state.wall };
        let Some(place) = door.by_key(user, &key.blob, addr) else { return false };
        let verbose = door.is_verbose(user, addr);
        let pid = 4000 + u32::try_from(state.journal.len()).expect("a test has few logins");
        let login = sshd::Login { user, key: &key, addr, place: &place, pid };
        let entries = login.entries(verbose, state.wall, state.since_boot_ms);
        state.journal.extend(entries);
        true
    }

    /// Somebody else than sshd writes this to the journal, as this user.
    pub fn write_journal_as(&self, uid: u32, exe: &str, message: &str) {
        let mut state = self.state();
        let (at, since_boot_ms) = (state.wall, state.since_boot_ms);
        let (exe, message) = (exe.to_owned(), message.to_owned());
        state.journal.push(sshd::Entry { at, since_boot_ms, pid: 3999, uid, exe, message });
    }

    /// Does sshd, as it runs now, let somebody with the account's password in?
    pub fn lets_in_by_password(&self, user: &str, addr: &str) -> bool {
        let addr = addr.parse().expect("a test has an address");
        let state = self.state();
        sshd::Door { running: &state.sshd, files: &state.files, now: state.wall }.by_password(user, addr)
    }

    // ---- looking at it ----------------------------------------------------------------------------------------

    /// The bytes of a file, if it is one.
    pub fn content(&self, path: &str) -> Option<Vec<u8>> {
        self.state().files.get(path).and_then(|node| match &node.kind {
            NodeKind::File(bytes) => Some(bytes.clone()),
            _ => None,
        })
    }

    /// Every file with its bytes, to compare two moments.
    pub fn all_files(&self) -> BTreeMap<String, Node> {
        self.state().files.all().clone()
    }

    /// `nft -j list ruleset`, without handles.
    pub fn nft_listing(&self) -> String {
        let state = self.state();
        nft::without_handles(state.nft.list_ruleset(state.since_boot_ms)).to_string()
    }

    /// Has connection tracking been hooked and filled?
    pub fn is_warmed(&self) -> bool {
        self.state().warmed
    }

    /// Replaces the tracked connections.
    pub fn set_flows(&self, flows: Vec<Flow>) {
        self.state().flows = flows;
    }

    /// Somebody opens a TCP connection from or to this host, and keeps it open. It is tracked only when told so.
    pub fn open_connection(&self, flow: Flow) {
        self.state().open.push(flow);
    }

    /// Replaces the network interfaces.
    pub fn set_interfaces(&self, names: &[&str]) {
        self.state().interfaces = names.iter().map(ToString::to_string).collect();
    }

    /// Somebody starts a program that waits for connections; it ends with the host.
    pub fn listen(&self, socket: Waiting) {
        self.state().others.push(socket);
    }

    /// Replaces the packages.
    pub fn set_packages(&self, packages: Vec<FakePackage>) {
        self.state().packages = packages;
    }

    /// Replaces the running kernel's release.
    pub fn set_kernel(&self, release: &str) {
        self.state().kernel = release.into();
    }
}

impl State {
    fn load(&mut self, json: &str) -> PortResult<()> {
        let now = self.since_boot_ms;
        self.nft
            .transact(json, now)
            .map_err(|why| PortError::Failed { doing: "nft -j -f -".into(), why: why.to_string() })
    }

    /// Counts a write, which takes room on the disk or not; the error that a fault makes of it.
    fn write(&mut self, doing: &str, takes_room: bool) -> PortResult<()> {
        self.writes += 1;
        let failed = |why: &str| Err(PortError::Failed { doing: doing.into(), why: why.into() });
        match self.fault {
            Some(Fault::Fail(n)) if n == self.writes => failed("no space left on device"),
            Some(Fault::Full(n)) if n <= self.writes && takes_room => failed("no space left on device"),
            Some(Fault::Kill(n)) if n <= self.writes => {
                self.dead = true;
                failed("the agent is dead")
            }
            _ => Ok(()),
        }
    }

    /// sshd's sockets, by what it has read, and the others'.
    fn listeners(&self) -> Vec<Waiting> {
        let by = Holder {
            pid: 700,
            comm: "sshd".into(),
            exe: "/usr/sbin/sshd".into(),
            args: "sshd: /usr/sbin/sshd -D [listener] 0 of 10-100 startups".into(),
        };
        let sshd = self.sshd.listens().into_iter();
        let ours = sshd.map(|at| Waiting { port: at.port(), address: at.ip(), by: Some(by.clone()) });
        let mut all: Vec<Waiting> = ours.chain(self.others.iter().cloned()).collect();
        all.sort();
        all
    }

    fn lines(lines: &[String]) -> Vec<u8> {
        lines.iter().flat_map(|line| format!("{line}\n").into_bytes()).collect()
    }
}

impl HostRead for FakeHost {
    fn file(&self, path: &Beneath, owner: Owner, limit: usize) -> PortResult<Vec<u8>> {
        self.state().files.read(path, owner, limit)
    }

    fn dir(&self, path: &Beneath, limit: usize) -> PortResult<Vec<Entry>> {
        self.state().files.list(path, limit)
    }

    fn stat(&self, path: &Beneath) -> PortResult<Stat> {
        self.state().files.stat(path)
    }

    fn ask(&self, query: &Query) -> PortResult<Vec<u8>> {
        let state = self.state();
        let asked = format!("{query:?}");
        if let Some((_, why)) = state.silent.iter().find(|(prefix, _)| asked.starts_with(prefix.as_str())) {
            return Err(PortError::Failed { doing: asked, why: why.clone() });
        }
        let now = state.since_boot_ms;
        match query {
            Query::NftGeneration => Ok(state.nft.generation().to_string().into_bytes()),
            Query::NftOwnTable => {
                state.nft.list_table("inet", "tenure", now).map(|v| v.to_string().into_bytes())
            }
            Query::NftSet { name } => {
                if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
                    let why = "a set's name has letters, digits and _".into();
                    return Err(PortError::Untrusted { what: name.clone(), why });
                }
                state.nft.list_set("inet", "tenure", name, now).map(|v| v.to_string().into_bytes())
            }
            Query::NftChains => Ok(state.nft.list_chains().to_string().into_bytes()),
            Query::NftChanges { since } => {
                let after: Vec<_> = state.nft_changes.iter().filter(|c| c.generation > *since).collect();
                Ok(serde_json::to_vec(&after).expect("changes are plain data"))
            }
            Query::Flows => {
                let line = |flow| serde_json::to_string(flow).expect("a flow is plain data");
                Ok(State::lines(&state.flows.iter().map(line).collect::<Vec<_>>()))
            }
            Query::Interfaces => Ok(State::lines(&state.interfaces)),
            Query::TcpListeners => {
                let line = |socket| serde_json::to_string(socket).expect("a socket is plain data");
                Ok(State::lines(&state.listeners().iter().map(line).collect::<Vec<_>>()))
            }
            Query::SshdEffective { user, addr, local, port } => {
                let failed = |why: String| PortError::Failed { doing: "sshd -T".into(), why };
                let connection = sshd::argument(user, addr, local, *port)?;
                let config = sshd::Config::read(&state.files);
                config.effective(&connection).map(String::into_bytes).map_err(failed)
            }
            Query::SshdJournal { since_boot_ms } => {
                Ok(sshd::journal(state.journal.iter().filter(|e| e.since_boot_ms >= *since_boot_ms)))
            }
            Query::Packages => Ok(packages::dpkg_query(&state.packages)),
            Query::PendingUpgrades => Ok(packages::apt_simulate(&state.packages)),
            Query::Kernel => Ok(format!("{}\n", state.kernel).into_bytes()),
            Query::Job => Ok(state.job_answer()),
        }
    }
}

impl HostWrite for FakeHost {
    fn put(&self, file: &ManagedFile) -> PortResult<()> {
        let mut state = self.state();
        let on_disk = !file.path.as_str().starts_with("/run/");
        state.write(&format!("writing {}", file.path.as_str()), on_disk)?;
        let at = state.wall;
        state.files.put(file.path.as_str(), Node::file(&file.bytes, 0, file.mode, at))
    }

    fn replace(&self, from: &ManagedPath, to: &ManagedPath) -> PortResult<()> {
        let mut state = self.state();
        state.write(&format!("replacing {}", to.as_str()), false)?;
        state.files.replace(from.as_str(), to.as_str())
    }

    fn remove(&self, path: &ManagedPath) -> PortResult<()> {
        let mut state = self.state();
        state.write(&format!("removing {}", path.as_str()), false)?;
        state.files.unlink(path.as_str())
    }

    fn tell(&self, command: &Command) -> PortResult<()> {
        let mut state = self.state();
        let asked: String = format!("{command:?}").chars().take(40).collect();
        state.write(&asked, false)?;
        match command {
            Command::NftLoad { json } | Command::NftRestore { json, .. } => state.load(json),
            Command::ConntrackWarm => {
                state.warmed = true;
                let new: Vec<Flow> =
                    state.open.iter().filter(|f| !state.flows.contains(f)).cloned().collect();
                state.flows.extend(new);
                Ok(())
            }
            Command::ConntrackDelete { flows } => {
                state.flows.retain(|flow| !flows.contains(flow));
                Ok(())
            }
            Command::SshdTest => sshd::Config::read(&state.files)
                .test()
                .map_err(|why| PortError::Failed { doing: "sshd -t".into(), why }),
            Command::SshdReload => {
                // A daemon that cannot read its configuration ends; systemd's ExecReload tests before it signals.
                let next = sshd::Config::read(&state.files);
                next.test().map_err(|why| PortError::Failed { doing: "reloading sshd".into(), why })?;
                if let Some((path, text)) = state.spoiler.take() {
                    let at = state.wall;
                    state.files.insert(&path, Node::file(text.as_bytes(), 0, 0o644, at));
                    state.sshd = sshd::Config::read(&state.files);
                    let why = "sshd does not listen 15 s after it was told to".into();
                    return Err(PortError::Failed { doing: "reloading sshd".into(), why });
                }
                state.sshd = next;
                Ok(())
            }
            Command::OpenDirectory { which } => state.files.open_directory(which.path()),
            Command::StartJob { run } => state.start_job(run),
        }
    }
}

#[cfg(test)]
mod tests;
