//! A machine in a temporary directory, and a controller that answers whatever a test wants.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use http_body_util::BodyExt;
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::{Body, Bytes, Frame, Incoming};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use jiff::{SignedDuration, Timestamp};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use serde::{Deserialize, Serialize};
use tempfile::TempDir;
use tenure_trust::enrol::{IngestAnswer, IngestFinding, Invitation};
use tenure_trust::ingest::{Held, Stand, behind, sound, stand};
use tenure_trust::{
    Admission, Bundle, Draft, Epoch, FleetName, Hash, HostName, Index, KeyName, Kind, MachineRole, NamedKey,
    PolicyVersion, Role, RoleKeys, Root, RootVersion, Seq, Signed, SigningKey, Statement,
};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::super::{Setup, Ticket, tls};
use crate::chain::ChainStore;
use crate::identity::Identity;
use crate::ssh_key;
use crate::store::Places;

/// The smallest bundle: `trust` knows no policy.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Tiny {
    pub(super) schema: u32,
    pub(super) fleet: FleetName,
    pub(super) host: HostName,
    pub(super) text: String,
}

impl Statement for Tiny {
    const KIND: Kind = Kind::HostPolicy;
    const SCHEMA: u32 = 1;
}

impl Bundle for Tiny {
    fn fleet(&self) -> &FleetName {
        &self.fleet
    }
    fn machine(&self) -> &HostName {
        &self.host
    }
}

pub(super) fn now() -> Timestamp {
    tenure_sys::clock::wall()
}

pub(super) fn operator() -> SigningKey {
    SigningKey::from_seed(&[1; 32])
}

pub(super) fn host(name: &str) -> HostName {
    HostName::new(name).unwrap()
}

/// What the controller does at a path.
#[derive(Clone)]
pub(super) enum Does {
    Says(u16, Vec<u8>),
    /// Takes the request and says nothing.
    Hangs,
    /// Bytes without end.
    Floods,
    /// Takes records in by the rules.
    Takes,
    /// Breaks off in the middle of the answer.
    Breaks,
}

/// What it holds of one chain.
#[derive(Debug, Default)]
pub(super) struct Held1 {
    pub(super) seqs: BTreeMap<Seq, Hash>,
    pub(super) requests: usize,
}

#[derive(Clone)]
pub(super) struct Fake {
    does: Arc<Mutex<BTreeMap<&'static str, Does>>>,
    pub(super) held: Arc<Mutex<Held1>>,
    /// Answers of records are lost: taken, and the connection breaks.
    pub(super) loses: Arc<Mutex<usize>>,
    admission: Arc<Admission>,
}

impl Fake {
    pub(super) fn set(&self, path: &'static str, does: Does) {
        self.does.lock().unwrap().insert(path, does);
    }

    pub(super) fn says(&self, path: &'static str, text: &str) {
        self.set(path, Does::Says(200, text.as_bytes().to_vec()));
    }

    fn take(&self, body: &[u8]) -> IngestAnswer {
        let mut shelf = self.held.lock().unwrap();
        shelf.requests += 1;
        let of = &*self.admission;
        let mut held = Held::nothing(&of.name, of.role, of.epoch);
        if let Some((seq, hash)) = shelf.seqs.last_key_value() {
            held = Held { epoch: of.epoch, seq: *seq, hash: *hash };
        }
        let before = held;
        let mut new = Vec::new();
        for line in body.split(|b| *b == b'\n').filter(|line| !line.is_empty()) {
            let refuse =
                |finding: IngestFinding| IngestAnswer::Refused { finding, epoch: of.epoch, seq: before.seq };
            let line = match sound(line, of) {
                Ok(line) => line,
                Err(finding) => return refuse(finding),
            };
            match stand(&held, &line.record, line.hash) {
                Stand::Next(next) => {
                    held = next;
                    new.push((line.record.seq, line.hash));
                }
                Stand::Refused(finding) => return refuse(finding),
                Stand::Behind => {
                    return refuse(behind(
                        &line.record,
                        line.hash,
                        shelf.seqs.get(&line.record.seq).copied(),
                    ));
                }
            }
        }
        shelf.seqs.extend(new);
        IngestAnswer::Taken { epoch: held.epoch, seq: held.seq, hash: held.hash }
    }
}

/// Never ends.
struct Endless(Option<Vec<u8>>);

impl Body for Endless {
    type Data = Bytes;
    type Error = Infallible;
    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match &mut self.0 {
            Some(chunk) => Poll::Ready(Some(Ok(Frame::data(Bytes::from(chunk.clone()))))),
            None => Poll::Pending,
        }
    }
}

type Answered = Result<Response<UnsyncBoxBody<Bytes, Infallible>>, std::io::Error>;

async fn answer(fake: Fake, request: Request<Incoming>) -> Answered {
    let path = request.uri().path().to_owned();
    let body = request.into_body().collect().await.map(|b| b.to_bytes()).unwrap_or_default();
    let does =
        fake.does.lock().unwrap().get(path.as_str()).cloned().unwrap_or(Does::Says(404, b"{}".to_vec()));
    let whole = |status: u16, bytes: Vec<u8>| {
        let body = http_body_util::Full::new(Bytes::from(bytes)).boxed_unsync();
        Ok(Response::builder().status(status).body(body).unwrap())
    };
    match does {
        Does::Says(status, bytes) => whole(status, bytes),
        Does::Hangs => Ok(Response::new(Endless(None).boxed_unsync())),
        Does::Floods => Ok(Response::new(Endless(Some(vec![b'x'; 1 << 20])).boxed_unsync())),
        Does::Breaks => Err(std::io::Error::other("break")),
        Does::Takes => {
            let answer = fake.take(&body);
            let mut loses = fake.loses.lock().unwrap();
            if *loses > 0 {
                *loses -= 1;
                return Err(std::io::Error::other("the answer is lost"));
            }
            whole(200, serde_json::to_vec(&answer).unwrap())
        }
    }
}

/// A machine that has enrolled, and its controller.
pub(super) struct World {
    pub(super) dir: TempDir,
    pub(super) setup: Setup,
    pub(super) ticket: Ticket,
    pub(super) fake: Fake,
    pub(super) invitation: Invitation,
}

fn named(name: &str, key: &SigningKey) -> RoleKeys {
    RoleKeys { threshold: 1, keys: vec![NamedKey { name: KeyName::new(name).unwrap(), key: key.public() }] }
}

pub(super) fn fleet() -> FleetName {
    FleetName::new("lab").unwrap()
}

pub(super) fn root(signer: &SigningKey) -> Signed<Root> {
    let roles = [Role::Root, Role::Policy, Role::Admission, Role::Order];
    let issued = now() - SignedDuration::from_hours(1);
    let root = Root {
        schema: 1,
        version: RootVersion(1),
        fleet: fleet(),
        issued,
        expires: issued + SignedDuration::from_hours(8760),
        roles: roles.map(|role| (role, named("marit", signer))).into(),
    };
    Signed::new(&root, &[signer])
}

pub(super) fn bundle(name: &str, text: &str, by: &SigningKey) -> Signed<Tiny> {
    Signed::new(&Tiny { schema: 1, fleet: fleet(), host: host(name), text: text.into() }, &[by])
}

pub(super) fn index(version: u64, bundles: &[(&str, &Signed<Tiny>)], by: &SigningKey) -> Signed<Index> {
    let issued = now() - SignedDuration::from_mins(1);
    let index = Index {
        schema: 1,
        fleet: fleet(),
        version: PolicyVersion(version),
        issued,
        expires: issued + SignedDuration::from_hours(24 * 90),
        machines: bundles.iter().map(|(name, bundle)| (host(name), bundle.hash())).collect(),
        vaults: BTreeMap::new(),
        controllers: BTreeMap::new(),
        revoked: BTreeSet::new(),
    };
    Signed::new(&index, &[by])
}

impl World {
    /// A machine with keys and a ticket, and a controller at loopback that answers 404 to everything.
    pub(super) async fn new() -> Self {
        let dir = tempfile::tempdir_in("/run").unwrap();
        let places = Places { root: dir.path().join("root.json"), state: dir.path().join("state") };
        std::fs::create_dir(&places.state).unwrap();
        std::fs::write(&places.root, root(&operator()).to_json()).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (ca, config) = authority();
        let web1 = host("web1");
        let ssh = ssh_key::ensure(&places.state.join("ssh.key"), "web1").unwrap();
        let (chain, _) = ChainStore::open(&places.state, web1.clone(), Epoch(1)).unwrap();
        let identity = chain.public_key().key;
        drop(chain);
        let key = tls::key(&places.state).unwrap();
        let invitation = Invitation {
            schema: 1,
            fleet: fleet(),
            name: web1.clone(),
            role: MachineRole::Host,
            controllers: vec![address],
            server_name: "ctl1".into(),
            ca: ca.clone(),
            root: std::fs::read_to_string(&places.root).unwrap(),
            secret: "5".repeat(64),
            until: now() + SignedDuration::from_mins(5),
            epoch: Epoch(1),
        };
        let admission = Admission {
            schema: 1,
            fleet: fleet(),
            name: web1.clone(),
            role: MachineRole::Host,
            identity,
            ssh,
            tls: tls::hash(&key),
            epoch: Epoch(1),
            replaces: None,
            reads: BTreeSet::new(),
            issued: Timestamp::UNIX_EPOCH,
        };
        let fake = Fake {
            does: Arc::default(),
            held: Arc::default(),
            loses: Arc::default(),
            admission: Arc::new(admission),
        };
        let served = fake.clone();
        tokio::spawn(async move {
            let acceptor = TlsAcceptor::from(config);
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, fake) = (acceptor.clone(), served.clone());
                tokio::spawn(async move {
                    let Ok(stream) = acceptor.accept(stream).await else { return };
                    let service = hyper::service::service_fn(move |request| answer(fake.clone(), request));
                    let _ = hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service)
                        .await;
                });
            }
        });
        let ticket = Ticket::of(&invitation, Epoch(1), String::new());
        ticket.write(&places.state).unwrap();
        let setup = Setup { places, host: web1, clock: now };
        Self { dir, setup, ticket, fake, invitation }
    }

    pub(super) fn admission(&self, by: &SigningKey) -> String {
        Signed::new(&*self.fake.admission, &[by]).to_json()
    }

    /// Another machine's admission.
    pub(super) fn admission_of(&self, name: &str, by: &SigningKey) -> String {
        let other = Admission { name: host(name), ..(*self.fake.admission).clone() };
        Signed::new(&other, &[by]).to_json()
    }

    /// Writes records into the chain on the disk.
    pub(super) fn write(&self, count: usize, payload: usize) {
        let (mut chain, _) =
            ChainStore::open(&self.setup.places.state, self.setup.host.clone(), Epoch(1)).unwrap();
        for _ in 0..count {
            let draft = Draft {
                about: tenure_trust::About::Event("start".parse().unwrap()),
                policy: None,
                judge: tenure_trust::JudgeVersion::new("tenure test").unwrap(),
                observed_at: now(),
                verdict: None,
                reason: None,
            };
            chain.append(draft, vec![b'x'; payload]).unwrap();
        }
    }

    pub(super) fn identity(&self) -> Identity {
        Identity::read(&self.setup.places.state, &self.setup.host).unwrap().unwrap()
    }
}

/// An authority and a server certificate for `ctl1`.
fn authority() -> (String, Arc<ServerConfig>) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = params.self_signed(&key).unwrap();
    let issuer = Issuer::from_ca_cert_pem(&ca.pem(), key).unwrap();
    let own = KeyPair::generate().unwrap();
    let certificate =
        CertificateParams::new(vec!["ctl1".to_owned()]).unwrap().signed_by(&own, &issuer).unwrap();
    let secret = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(own.serialize_der()));
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], secret)
        .unwrap();
    (ca.pem(), Arc::new(config))
}
