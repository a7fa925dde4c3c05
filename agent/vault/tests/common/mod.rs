//! A vault in this process, and a small client of its typed channel. Tests of whoever speaks with a vault can take both.
#![allow(dead_code, unreachable_pub, reason = "each test file uses its own part")]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test may fail here; clippy sees only `#[test]` itself"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use russh::client::{self, Handle};
use russh::keys::ssh_key::private::Ed25519Keypair;
use russh::keys::{PrivateKey, PrivateKeyWithHashAlg, PublicKeyOrCertificate};
use tenure_link::Identity;
use tenure_policy::bundles::{VaultPolicy, VaultSeries};
use tenure_policy::calendar::Zone;
use tenure_policy::scalars::AbsolutePath;
use tenure_policy::written::Ring;
use tenure_sys::clock;
use tenure_sys::files::Roots;
use tenure_trust::vault_wire::{
    Answer, Escrow, Open, RefusalCode, Request, SSH_USER, SUBSYSTEM, frame, frame_length,
};
use tenure_trust::*;
use tenure_vault::in_force::InForce;
use tenure_vault::keys;
use tenure_vault::records;
use tenure_vault::ring::{Looked, Rules};
use tenure_vault::server::{self, Limits};
use tenure_vault::store::{Again, Series, Store};
use tenure_vault::vault::Vault;
use tenure_vault::witness::Witness;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::watch;

pub const RECIPIENTS: [&str; 2] = ["age1first", "age1second"];

pub fn key(seed: u8) -> SigningKey {
    SigningKey::from_seed(&[seed; 32])
}

pub fn ssh(seed: u8) -> PrivateKey {
    PrivateKey::from(Ed25519Keypair::from_seed(&[seed; 32]))
}

pub fn fleet() -> FleetName {
    FleetName::new("acme").unwrap()
}

pub fn host(name: &str) -> HostName {
    HostName::new(name).unwrap()
}

pub fn vault_name() -> VaultName {
    VaultName::new("vault1").unwrap()
}

pub fn series(of: &str, owner: Option<&str>) -> SeriesId {
    let owner = owner.map_or(Owner::Host, |name| Owner::Tenant(TenantId::new(name).unwrap()));
    SeriesId { vault: vault_name(), host: host(of), owner, set: SetName::Server }
}

/// A root of which key 1 signs everything; key 2 signs policy and nothing else.
pub fn root() -> Verified<Root> {
    let named = |name: &str, seed| NamedKey { name: KeyName::new(name).unwrap(), key: key(seed).public() };
    let keys = |role| {
        let two = (role == Role::Policy).then(|| named("two", 2));
        RoleKeys { threshold: 1, keys: [named("one", 1)].into_iter().chain(two).collect() }
    };
    let roles = [Role::Root, Role::Policy, Role::Admission, Role::Order].map(|role| (role, keys(role)));
    let root = Root {
        schema: 1,
        version: RootVersion(1),
        fleet: fleet(),
        issued: Timestamp::UNIX_EPOCH,
        expires: Timestamp::MAX,
        roles: BTreeMap::from(roles),
    };
    Root::anchor_signed(&Signed::new(&root, &[&key(1)])).unwrap()
}

pub fn admission(name: &str, role: MachineRole, seed: u8, reads: &[&str]) -> String {
    let admission = Admission {
        schema: 1,
        fleet: fleet(),
        name: host(name),
        role,
        identity: key(seed).public(),
        ssh: keys::public_text(&ssh(seed)).unwrap(),
        tls: Hash::of(&[seed]),
        epoch: Epoch(1),
        replaces: None,
        reads: reads.iter().map(|name| host(name)).collect(),
        issued: Timestamp::UNIX_EPOCH,
    };
    Signed::new(&admission, &[&key(1)]).to_json()
}

/// web1 has key 10, web2 key 11, the person's recovery key for web1 is 20.
pub fn book() -> AdmissionBook {
    let offline = admission("offline", MachineRole::Recovery, 20, &["web1"]);
    let admissions =
        [("web1", 10), ("web2", 11)].map(|(name, seed)| admission(name, MachineRole::Host, seed, &[]));
    judged(admissions.into_iter().chain([offline]).collect(), vec![])
}

/// The same, with admissions and revocations besides.
pub fn book_with(more: Vec<String>, revocations: Vec<String>) -> AdmissionBook {
    let admissions = book().iter().map(|one| Signed::new(&**one, &[&key(1)]).to_json()).chain(more).collect();
    judged(admissions, revocations)
}

fn judged(admissions: Vec<String>, revocations: Vec<String>) -> AdmissionBook {
    let list = AdmissionList { admissions, revocations };
    let (book, refused) = AdmissionBook::judge(&root(), &list, &BTreeSet::new());
    assert!(refused.is_empty(), "{refused:?}");
    book
}

pub fn policy(store: &Path) -> VaultPolicy {
    let local: IpAddr = Ipv4Addr::LOCALHOST.into();
    let of = |series| VaultSeries {
        series,
        at: vec!["06:00".parse().unwrap()],
        catch_up_seconds: 6 * 3600,
        ring: Ring::Weekday,
        erase_after_seconds: 0,
    };
    VaultPolicy {
        schema: 1,
        fleet: fleet(),
        host: host("vault1"),
        vault: vault_name(),
        timezone: "Europe/Amsterdam".into(),
        heartbeat_seconds: 900,
        port: 0,
        store: AbsolutePath::new(store.to_str().unwrap()).unwrap(),
        keep_free_bytes: 0,
        quota_bytes: 1 << 30,
        series: vec![of(series("web1", None)), of(series("web1", Some("acme"))), of(series("web2", None))],
        hosts: BTreeMap::from([(host("web1"), vec![local]), (host("web2"), vec![local])]),
        recovery_from: vec!["127.0.0.3/32".parse().unwrap()],
        recipients: RECIPIENTS.map(str::to_owned).to_vec(),
        controller: None,
    }
}

/// A vault that listens on the loopback.
pub struct Bench {
    pub dir: tempfile::TempDir,
    pub vault: Arc<Vault>,
    pub port: u16,
    stop: watch::Sender<bool>,
    recording: Option<records::Running>,
}

impl Bench {
    pub async fn new() -> Self {
        Self::with(|_| {}, Limits::default()).await
    }

    pub async fn with(change: impl FnOnce(&mut VaultPolicy), limits: Limits) -> Self {
        let dir = tempfile::tempdir_in("/run").expect("these tests run as root");
        Self::at(dir, change, limits).await
    }

    /// A vault over a directory that another may have left.
    pub async fn at(dir: tempfile::TempDir, change: impl FnOnce(&mut VaultPolicy), limits: Limits) -> Self {
        let mut policy = policy(&dir.path().join("store"));
        change(&mut policy);
        let state = dir.path().join("state");
        let roots = Roots::new([dir.path()]).unwrap();
        roots.make_dir(&state, 0o700).unwrap();
        let (store, _) = Store::open(&dir.path().join("store"), vault_name()).unwrap();
        let identity = match Identity::read(&state, &host("vault1")).unwrap() {
            Some(identity) => identity,
            None => Identity::create(&state, &roots, &host("vault1")).unwrap(),
        };
        let in_force = Arc::new(InForce::new(Verified::local(policy), book(), root()).unwrap());
        let (recorder, recording) = records::start(
            &state,
            host("vault1"),
            Epoch(1),
            Box::new(|| None),
            Box::new(|| Duration::from_secs(900)),
        )
        .unwrap();
        let witness = Arc::new(Witness::open(&state).unwrap());
        let vault = Arc::new(Vault::new(store, identity, witness, recorder, in_force));
        let listener = server::listen(0).unwrap();
        let port = listener.local_addr().unwrap().port();
        let (stop, stopped) = watch::channel(false);
        tokio::spawn(server::serve(vault.clone(), ssh(99), listener, limits, stopped));
        Self { dir, vault, port, stop, recording: Some(recording) }
    }

    /// Puts other admissions in force.
    pub fn admit(&self, book: AdmissionBook) {
        let policy = self.vault.in_force().policy.clone();
        self.vault.enforce(Arc::new(InForce::new(policy, book, root()).unwrap()));
    }

    /// Ends it and leaves its directory.
    pub fn end(mut self) -> tempfile::TempDir {
        let _ = self.stop.send(true);
        self.recording.take().into_iter().for_each(records::Running::stop);
        self.dir
    }

    /// Names and payloads of the events on the vault's chain.
    pub fn told(&self, event: &str) -> Vec<serde_json::Value> {
        self.vault.recorder.settle();
        let mut told = Vec::new();
        for entry in std::fs::read_dir(self.dir.path().join("state/chain")).expect("a chain") {
            for line in std::fs::read_to_string(entry.expect("a file").path()).expect("text").lines() {
                let line = ExportLine::parse(line.as_bytes()).expect("a record");
                let record = line.unverified().expect("a record");
                if matches!(&record.about, About::Event(name) if name.as_str() == event) {
                    told.push(
                        serde_json::from_slice(line.payload.expect("it lies beside").bytes()).expect("JSON"),
                    );
                }
            }
        }
        told
    }

    pub fn repo(&self, series: &SeriesId, generation: GenerationId) -> std::path::PathBuf {
        self.dir.path().join("store").join(series.path()).join(generation.to_string()).join("repo")
    }
}

/// What a client believes of the server's key.
pub struct Pinned;

impl client::Handler for Pinned {
    type Error = russh::Error;
    async fn check_server_key(&mut self, key: &PublicKeyOrCertificate) -> Result<bool, russh::Error> {
        match key {
            PublicKeyOrCertificate::PublicKey { key, .. } => {
                Ok(key.key_data() == ssh(99).public_key().key_data())
            }
            PublicKeyOrCertificate::Certificate(_) => Ok(false),
        }
    }
}

/// A connection to a vault.
pub struct Client(pub Handle<Pinned>);

pub async fn dial(port: u16, from: &str) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::new(from.parse().unwrap(), 0))?;
    socket.connect(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).await
}

impl Client {
    /// As web1.
    pub async fn web1(port: u16) -> Self {
        Self::connect(port, "127.0.0.1", SSH_USER, 10).await.expect("web1 is let in")
    }

    /// None when the key is not taken.
    pub async fn connect(port: u16, from: &str, user: &str, seed: u8) -> Option<Self> {
        let stream = dial(port, from).await.ok()?;
        let mut handle = client::connect_stream(Arc::default(), stream, Pinned).await.ok()?;
        let key = PrivateKeyWithHashAlg::new(Arc::new(ssh(seed)), None);
        handle.authenticate_publickey(user, key).await.ok()?.success().then_some(Self(handle))
    }

    pub async fn channel(&self) -> Typed {
        let channel = self.0.channel_open_session().await.expect("a channel");
        channel.request_subsystem(true, SUBSYSTEM).await.expect("the subsystem");
        Typed { stream: channel.into_stream() }
    }
}

/// A typed channel.
pub struct Typed {
    pub stream: russh::ChannelStream<client::Msg>,
}

impl Typed {
    pub async fn raw(&mut self, bytes: &[u8]) {
        // A server that has ended the channel takes nothing more.
        let _ = self.stream.write_all(bytes).await;
    }

    pub async fn send(&mut self, request: &Request) {
        self.raw(&frame(request).unwrap()).await;
    }

    /// None when the channel has ended.
    pub async fn answer(&mut self) -> Option<Answer> {
        let mut head = [0; 4];
        self.stream.read_exact(&mut head).await.ok()?;
        let mut json = vec![0; frame_length(head).unwrap()];
        self.stream.read_exact(&mut json).await.ok()?;
        Some(Answer::parse(&json).unwrap())
    }

    pub async fn ask(&mut self, request: &Request) -> Answer {
        self.send(request).await;
        self.answer().await.expect("an answer")
    }

    pub async fn refused(&mut self, request: &Request) -> RefusalCode {
        match self.ask(request).await {
            Answer::Refused(refusal) => refusal.code,
            other => panic!("{other:?}"),
        }
    }

    pub async fn put(&mut self, kind: ObjectKind, bytes: &[u8]) -> Answer {
        let object = object(kind, bytes);
        self.send(&Request::Put { object }).await;
        self.raw(bytes).await;
        self.answer().await.expect("an answer")
    }

    pub async fn stored(&mut self, kind: ObjectKind, bytes: &[u8]) -> u64 {
        match self.put(kind, bytes).await {
            Answer::Stored { sequence } => sequence,
            other => panic!("{other:?}"),
        }
    }
}

pub fn object(kind: ObjectKind, bytes: &[u8]) -> Object {
    Object { kind, name: Hash::of(bytes), size: bytes.len() as u64 }
}

/// What is due by then, with what has to be looked at looked at, as a vault does it.
pub fn turned(series: &Series, rules: &Rules, now: Timestamp) {
    let mut looked = Looked::default();
    loop {
        let due = series.change(now, |ring| {
            let due = ring.due(rules, now, None, &looked);
            Ok((due.events.clone(), due))
        });
        let wants = due.expect("it is decided").wants;
        if wants.is_empty() {
            return;
        }
        for id in wants {
            match series.look_again(id, || true).expect("it can be looked at") {
                Again::Seen(seal, found, _) => looked.note(id, seal, found),
                Again::Stopped => panic!("nothing stops it"),
            }
        }
    }
}

/// The slot that a person's run fills now.
pub fn slot_now(series: SeriesId) -> SlotId {
    let local = Zone::named("Europe/Amsterdam").unwrap().local(clock::wall());
    let at = SlotTime::new(local.hour().unsigned_abs(), local.minute().unsigned_abs()).unwrap();
    SlotId { series, date: local.date(), at, manual: true }
}

pub fn open(slot: SlotId) -> Open {
    let escrow = RECIPIENTS.map(|recipient| Escrow {
        recipient: recipient.into(),
        text: "-----BEGIN AGE ENCRYPTED FILE-----\nx\n-----END AGE ENCRYPTED FILE-----\n".into(),
    });
    Open {
        schema: 1,
        slot,
        number: 1,
        config: STANDARD.encode(b"the config"),
        key: STANDARD.encode(b"the key file"),
        escrow: escrow.to_vec(),
        estimate: 1000,
    }
}

/// An order of now to take this generation.
pub fn clear(series: &SeriesId, generation: GenerationId) -> Order {
    let issued = clock::wall();
    let what = OrderKind::Clear {
        vault: series.vault.clone(),
        series: series.path(),
        generation,
        until: issued + jiff::SignedDuration::from_hours(48),
    };
    Order { schema: 1, fleet: fleet(), issued, what, reason: "half of it was logs".into() }
}

/// What open, two puts and the books of both sides lead to.
pub fn seal(slot: &SlotId, generation: GenerationId, objects: &[Object], snapshot: Hash, upto: u64) -> Seal {
    Seal {
        schema: 1,
        fleet: fleet(),
        slot: slot.clone(),
        generation,
        run: RunId::new("run-1").unwrap(),
        snapshot,
        upto,
        objects: objects.len() as u64,
        bytes: objects.iter().map(|o| o.size).sum(),
        root: backup::object_root(objects),
        claims: SealClaims {
            files: 1,
            source_bytes: 1,
            unreadable: 0,
            changed: 0,
            dumps: 0,
            read_back: true,
        },
        started: Timestamp::UNIX_EPOCH,
        ended: Timestamp::UNIX_EPOCH,
    }
}

pub fn sealed(seal: &Seal, seed: u8) -> Request {
    Request::Seal { seal: Signed::new(seal, &[&key(seed)]).to_json() }
}

/// config and key file as every generation of these tests has them.
pub fn frozen() -> Vec<Object> {
    vec![object(ObjectKind::Config, b"the config"), object(ObjectKind::Key, b"the key file")]
}

/// Opens, brings a pack, an index and a snapshot, and seals: the generation, its objects, the seal and its receipt.
pub async fn whole_run(typed: &mut Typed, slot: &SlotId) -> (GenerationId, Vec<Object>, Seal, String) {
    let Answer::Opened { generation, sequence, sealed: None } =
        typed.ask(&Request::Open(open(slot.clone()))).await
    else {
        panic!("not opened")
    };
    assert_eq!(sequence, 2, "config and key file");
    let mut objects = frozen();
    let mut upto = 0;
    let pieces: [(ObjectKind, &[u8]); 3] = [
        (ObjectKind::Data, b"a pack"),
        (ObjectKind::Index, b"an index"),
        (ObjectKind::Snapshot, b"a snapshot"),
    ];
    for (kind, bytes) in pieces {
        upto = typed.stored(kind, bytes).await;
        objects.push(object(kind, bytes));
    }
    let seal = seal(slot, generation, &objects, Hash::of(b"a snapshot"), upto);
    match typed.ask(&sealed(&seal, 10)).await {
        Answer::Sealed { receipt } => (generation, objects, seal, receipt),
        other => panic!("{other:?}"),
    }
}
