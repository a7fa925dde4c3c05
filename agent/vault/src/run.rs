//! `run`: the service. Waits for a policy, opens the store, serves, turns the ring, and tells systemd that it lives.

use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use serde_json::json;
use tenure_link::uplink::{Notice, Setup, Ticket, Uplink};
use tenure_link::{BundleStore, Identity, Places};
use tenure_policy::bundles::VaultPolicy;
use tenure_sys::clock;
use tenure_sys::files::{BaseDir, Expect, Roots};
use tenure_sys::lock::Lock;
use tenure_trust::{Epoch, Hash, MachineRole};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

use crate::cli::{Exit, Failure};
use crate::config::{Config, ROOT, STATE, Source as From};
use crate::in_force::InForce;
use crate::orders::Orders;
use crate::policy::Source;
use crate::records::{self, Recorder};
use crate::server::{self, Limits};
use crate::store::{self, Store};
use crate::vault::{Machine, Vault};
use crate::witness::Witness;
use crate::{journal, keys};

/// How often policy and systemd are looked after.
const TICK: Duration = Duration::from_secs(1);
/// How often the ring is looked after without a reason.
const TURN: u32 = 20;

/// The vault's places.
#[derive(Debug, Clone)]
pub struct Paths {
    /// Its state.
    pub state: PathBuf,
    /// The anchor of trust.
    pub root: PathBuf,
}

impl Paths {
    /// The same as the link needs them.
    pub fn places(&self) -> Places {
        Places { root: self.root.clone(), state: self.state.clone() }
    }
}

impl Default for Paths {
    fn default() -> Self {
        Self { state: STATE.into(), root: ROOT.into() }
    }
}

/// Runs until told to stop.
///
/// # Errors
/// When it cannot start, or cannot go on.
pub fn run(config: &Path, paths: &Paths) -> Result<Exit, Failure> {
    let config = Config::read(config)?;
    let of = |doing: &'static str| move |e: tenure_sys::files::FileError| Failure::of(doing, &e);
    Roots::new([&paths.state])
        .and_then(|roots| roots.make_dir(&paths.state, 0o700))
        .map_err(of("cannot prepare the vault's state"))?;
    let _lock = Lock::take(&paths.state.join("lock"))
        .map_err(|e| Failure::of("another process works on this vault", &e))?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(4)
        .enable_all()
        .build()
        .map_err(|e| Failure::of("cannot start the runtime", &e))?;
    let ended = runtime.block_on(work(&config, paths));
    // Work on threads of its own may still be reading; nothing that was answered depends on it.
    runtime.shutdown_timeout(Duration::from_secs(5));
    ended
}

async fn work(config: &Config, paths: &Paths) -> Result<Exit, Failure> {
    let failed = |doing: &str, e: &dyn std::error::Error| Failure::of(doing, e);
    let mut term = signal(SignalKind::terminate()).map_err(|e| failed("cannot take signals", &e))?;
    let mut int = signal(SignalKind::interrupt()).map_err(|e| failed("cannot take signals", &e))?;
    let witness =
        Arc::new(Witness::open(&paths.state).map_err(|e| failed("cannot read the vault's clock", &e))?);
    let places = paths.places();
    let of_store = |e: tenure_link::StoreError| {
        let hint = e.hint();
        Failure::of("cannot read the policy that was taken", &e).hint(hint).exit(Exit::Config)
    };
    let bundles = BundleStore::open(&places, config.host.clone()).map_err(of_store)?;
    let mut source = Source::open(bundles, config.drop_dir(&places), config.host.clone(), clock::wall())
        .map_err(of_store)?;
    let mut link = match config.policy.from {
        From::Bundles => None,
        From::Controller => Some(Link::start(config, places)?),
    };
    let ended = serve(config, paths, &witness, &mut source, link.as_mut(), [&mut term, &mut int]).await;
    link.into_iter().for_each(Link::stop);
    ended
}

async fn serve(
    config: &Config,
    paths: &Paths,
    witness: &Arc<Witness>,
    source: &mut Source,
    mut link: Option<&mut Link>,
    [term, int]: [&mut Signal; 2],
) -> Result<Exit, Failure> {
    tell(&[sd_notify::NotifyState::Ready]);
    let orders = Orders::open(&paths.state, config.drop_dir(&paths.places()))
        .map_err(|e| Failure::of("cannot read which orders were dealt with", &e))?;
    let orders = Arc::new(orders);
    let mut next: Option<Arc<InForce>> = None;
    loop {
        let in_force = loop {
            if let Some(in_force) = next.take() {
                break in_force;
            }
            alive();
            let (found, refused) = source.look(clock::wall());
            witness.raise(source.proved());
            refused.iter().for_each(|why| journal::error(why));
            next = found;
            if let Some(link) = &mut link {
                link.complain()?;
            }
            if next.is_none() {
                let waiting = match source.is_unheld() {
                    true => "waiting for a signed policy: the one that was taken is not believed any more",
                    false => "waiting for a signed policy",
                };
                tell(&[sd_notify::NotifyState::Status(waiting)]);
                tokio::select! {
                    () = tokio::time::sleep(TICK) => {}
                    _ = term.recv() => return Ok(Exit::Clean),
                    _ = int.recv() => return Ok(Exit::Clean),
                }
            }
        };
        let mut serving = Serving::start(config, paths, witness, in_force).await?;
        let mut ticks = 0u32;
        let stopped = loop {
            tokio::select! {
                () = tokio::time::sleep(TICK) => {}
                _ = term.recv() => break true,
                _ = int.recv() => break true,
            }
            if let Some(ended) = serving.ended() {
                serving.stop().await;
                return Err(ended);
            }
            alive();
            if let Err(error) = witness.keep(false) {
                journal::error(&format!("cannot keep the clock: {}", journal::chain(&error)));
            }
            let (found, refused) = source.look(clock::wall());
            witness.raise(source.proved());
            for why in refused {
                journal::error(&why);
                serving.vault.recorder.event("policy_refused", json!({ "what": why }), serving.version());
            }
            if let Some(in_force) = found {
                // Which chain goes on cannot be told: then the one that is being written does.
                let anew = epoch(&in_force, config, paths).is_ok_and(|epoch| epoch != serving.epoch);
                if !serving.vault.fits(&in_force.policy) || anew {
                    next = Some(in_force);
                    break false;
                }
                serving.enforce(in_force);
            }
            if let Some(link) = &mut link {
                link.tell(&serving)?;
            }
            ticks += 1;
            if ticks.is_multiple_of(TURN) {
                serving.turn(&orders);
            }
        };
        if stopped {
            tell(&[sd_notify::NotifyState::Stopping]);
        }
        serving.stop().await;
        if let Err(error) = witness.keep(true) {
            journal::error(&format!("cannot keep the clock: {}", journal::chain(&error)));
        }
        if stopped {
            return Ok(Exit::Clean);
        }
        journal::notice("the policy gives this vault another place: it begins anew");
    }
}

/// A vault at work under one policy's store and port.
struct Serving {
    vault: Arc<Vault>,
    epoch: Epoch,
    recording: records::Running,
    stop: watch::Sender<bool>,
    server: tokio::task::JoinHandle<()>,
    /// What turns the ring.
    turning: tokio::task::JoinHandle<()>,
    /// What takes longer: orders, and looking at copies again.
    looking: tokio::task::JoinHandle<()>,
}

impl Serving {
    async fn start(
        config: &Config,
        paths: &Paths,
        witness: &Arc<Witness>,
        in_force: Arc<InForce>,
    ) -> Result<Self, Failure> {
        let failed = |doing: &str, e: &dyn std::error::Error| Failure::of(doing, e);
        let policy = &in_force.policy;
        let root = PathBuf::from(policy.store.as_str());
        let (store, notes) = store::claim(&paths.state, &root, &policy.vault)
            .and_then(|()| Store::open(&root, policy.vault.clone()))
            .map_err(|e| {
                let hint = e.hint();
                failed("cannot open the store", &e).hint(hint)
            })?;
        let writable = Roots::new([&paths.state]).map_err(|e| failed("cannot keep the vault's key", &e))?;
        let read = Identity::read(&paths.state, &config.host);
        let identity = match read.map_err(|e| failed("cannot read the vault's key", &e))? {
            Some(identity) => identity,
            None => Identity::create(&paths.state, &writable, &config.host)
                .map_err(|e| failed("cannot make the vault's key", &e))?,
        };
        let key = keys::host_key(&paths.state).map_err(|e| failed("cannot use the SSH host key", &e))?;
        let epoch = epoch(&in_force, config, paths)?;
        let cell: Arc<OnceLock<Weak<Vault>>> = Arc::default();
        let (recorder, recording) = recorder(config, paths, epoch, cell.clone())
            .map_err(|e| failed("cannot start the recorder", &e))?;
        let port = policy.port;
        let vault = Arc::new(Vault::new(store, identity, witness.clone(), recorder, in_force.clone()));
        // Set once, here.
        let _ = cell.set(Arc::downgrade(&vault));
        let started = json!({ "vault": env!("CARGO_PKG_VERSION"), "store": root });
        vault.recorder.event("start", started, in_force.version());
        for note in notes {
            let what = format!("{}: {}", note.path.display(), note.what);
            journal::warning(&what);
            vault.recorder.event("journal_repaired", json!({ "what": what }), in_force.version());
        }
        serving_keys(&vault, config, &key);
        let listener =
            server::listen(port).map_err(|e| failed(&format!("cannot listen on port {port}"), &e))?;
        let (stop, stopped) = watch::channel(false);
        let server = tokio::spawn(server::serve(vault.clone(), key, listener, Limits::default(), stopped));
        let version = in_force.version().map_or_else(String::new, |v| format!(", policy version {v}"));
        journal::notice(&format!("serving {} on port {port}{version}", root.display()));
        tell(&[sd_notify::NotifyState::Status(&format!("serving on port {port}{version}"))]);
        vault.recorder.changed();
        let (turns, looks) = (vault.clone(), vault.clone());
        let turning = tokio::task::spawn_blocking(move || turns.turn());
        let looking = tokio::task::spawn_blocking(move || looks.look_again());
        Ok(Self { vault, epoch, recording, stop, server, turning, looking })
    }

    /// Turns the ring and sees to the orders, each unless the last time of it still goes on.
    fn turn(&mut self, orders: &Arc<Orders>) {
        if self.turning.is_finished() {
            let vault = self.vault.clone();
            self.turning = tokio::task::spawn_blocking(move || vault.turn());
        }
        if self.looking.is_finished() {
            let (vault, orders) = (self.vault.clone(), orders.clone());
            self.looking = tokio::task::spawn_blocking(move || {
                orders.look(&vault);
                vault.look_again();
            });
        }
    }

    fn version(&self) -> Option<tenure_trust::PolicyVersion> {
        self.vault.in_force().version()
    }

    fn enforce(&self, in_force: Arc<InForce>) {
        let version = in_force.version();
        journal::notice(&format!("policy in force: {}", in_force.policy.hash().short()));
        let payload = json!({ "hash": in_force.policy.hash(), "until": in_force.policy.until() });
        self.vault.enforce(in_force);
        self.vault.recorder.event("policy", payload, version);
        self.vault.recorder.changed();
    }

    /// Which part has ended by a fault of its own: then systemd starts the vault again, instead of one that serves nobody
    /// or records nothing.
    fn ended(&self) -> Option<Failure> {
        let part = match (self.recording.has_ended(), self.server.is_finished()) {
            (true, _) => "the recorder",
            (_, true) => "the server",
            _ => return None,
        };
        Some(Failure::new(format!("{part} ended by itself")).hint("systemd starts the vault again"))
    }

    async fn stop(self) {
        let Self { vault, epoch: _, recording, stop, server, turning, looking } = self;
        vault.end();
        // Nobody listens any more when the server has ended by itself.
        let _ = stop.send(true);
        let _ = server.await;
        // Two vaults never work on one store. A fault of theirs was told where it happened.
        let _ = (turning.await, looking.await);
        vault.recorder.event("stop", json!({}), vault.in_force().version());
        recording.stop();
    }
}

/// Which chain of this vault goes on: its admission says, and before that its enrolment.
fn epoch(in_force: &InForce, config: &Config, paths: &Paths) -> Result<Epoch, Failure> {
    let admitted = in_force.book.of(&config.host, MachineRole::Vault).map(|admission| admission.epoch);
    admitted
        .map_or_else(|| Ticket::epoch_in(&paths.state), Ok)
        .map_err(|e| Failure::of("cannot tell which chain of records is this vault's now", &e).hint(e.hint()))
}

/// The way to the controller: pulls policy and admissions into the drop directory, pushes the records.
struct Link {
    uplink: Uplink,
    notices: Receiver<Notice>,
    failing: Option<String>,
}

impl Link {
    fn start(config: &Config, places: Places) -> Result<Self, Failure> {
        let setup = Setup { places, host: config.host.clone(), clock: clock::wall };
        let (told, notices) = sync_channel(64);
        // Full: the status keeps what is found now all the same.
        let notice = Box::new(move |notice| drop(told.try_send(notice)));
        let uplink = Uplink::start::<VaultPolicy>(setup, notice)
            .map_err(|e| Failure::of("cannot start the way to the controller", &e))?;
        Ok(Self { uplink, notices, failing: None })
    }

    /// Tells what was found, in the records too.
    fn tell(&mut self, serving: &Serving) -> Result<(), Failure> {
        for notice in self.notices.try_iter().collect::<Vec<_>>() {
            journal::error(&format!("{}; {}", notice.what, notice.hint));
            let payload = json!({ "what": notice.what, "hint": notice.hint });
            serving.vault.recorder.event(notice.event, payload, serving.version());
        }
        self.complain()
    }

    /// Tells once why the controller is not reached.
    fn complain(&mut self) -> Result<(), Failure> {
        if self.uplink.is_finished() {
            return Err(Failure::new("the way to the controller ended by itself"));
        }
        let failing = self.uplink.bell().status().failing;
        if failing != self.failing {
            match &failing {
                Some(why) => journal::warning(&format!("the controller is not reached: {why}")),
                None => journal::notice("the controller is reached again"),
            }
            self.failing = failing;
        }
        Ok(())
    }

    fn stop(self) {
        if !self.uplink.stop() {
            journal::error("the way to the controller ended by a fault of its own");
        }
    }
}

/// Hosts believe the admitted keys only: say so when ours are others.
fn serving_keys(vault: &Vault, config: &Config, key: &russh::keys::PrivateKey) {
    let in_force = vault.in_force();
    match in_force.book.of(&config.host, MachineRole::Vault) {
        None => journal::warning("this vault's keys are not admitted yet: no host will believe it"),
        Some(admission) => {
            let ssh = keys::public_text(key).is_ok_and(|text| text == admission.ssh);
            if !ssh || admission.identity != vault.identity.public().key {
                journal::error("this vault's keys are not those that were admitted: no host will believe it");
            }
        }
    }
}

fn recorder(
    config: &Config,
    paths: &Paths,
    epoch: Epoch,
    cell: Arc<OnceLock<Weak<Vault>>>,
) -> std::io::Result<(Recorder, records::Running)> {
    let machine = machine();
    let beat = cell.clone();
    let look: records::Look = Box::new(move || {
        let vault = cell.get()?.upgrade()?;
        Some((vault.facts(machine), vault.in_force().version()))
    });
    let heartbeat = Box::new(move || {
        let vault = beat.get().and_then(Weak::upgrade);
        vault.map_or(TICK, |v| Duration::from_secs(u64::from(v.in_force().policy.heartbeat_seconds)))
    });
    records::start(&paths.state, config.host.clone(), epoch, look, heartbeat)
}

/// What tells this machine from others.
fn machine() -> Machine {
    let read = BaseDir::open(Path::new("/etc"))
        .and_then(|dir| dir.read(Path::new("machine-id"), &Expect::roots(128)))
        .map(|file| file.bytes)
        .unwrap_or_default();
    let boot = clock::boot_id().unwrap_or_default();
    Machine { machine: Hash::of(read.trim_ascii()), boot: Hash::of(boot.as_bytes()) }
}

/// The watchdog's turn.
fn alive() {
    if sd_notify::watchdog_enabled().is_some() {
        tell(&[sd_notify::NotifyState::Watchdog]);
    }
}

fn tell(state: &[sd_notify::NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        journal::warning(&format!("cannot tell systemd: {error}"));
    }
}
