//! Measures ingestion: machines push signed reports of 4 KiB over TLS 1.3 with client certificates, each request answered
//! after its commit, all on this machine's cores. Prints one JSON line. Usage: `ingest DIRECTORY SECONDS`.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper::body::Bytes;
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use jiff::SignedDuration;
use rcgen::{CertificateParams, KeyPair, PublicKeyData};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tenure_controller::app::{App, Places};
use tenure_controller::authority::{Authority, CertificateKey};
use tenure_controller::config::Config;
use tenure_controller::limits::Limits;
use tenure_controller::service::Service;
use tenure_controller::store::Access;
use tenure_sys::clock;
use tenure_trust::admission::verify_admission;
use tenure_trust::enrol::IngestAnswer;
use tenure_trust::{
    About, Admission, Chain, Draft, Epoch, EventName, Hash, HostName, JudgeVersion, KeyName, MachineRole,
    NamedKey, Payload, Role, RoleKeys, Root, RootVersion, Signed, SigningKey, SshKeyText,
};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// Machines that push at once.
const MACHINES: u8 = 16;
/// Bytes of a line: what a usual report of an area takes.
const LINE: usize = 4096;
/// Bytes of a line beside its payload: the signed record.
const BESIDE: usize = 1100;
/// More than can be taken in a second.
const MOST: usize = 12_000;

fn main() -> Outcome<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [directory, seconds] = words.as_slice() else { return Err("ingest DIRECTORY SECONDS".into()) };
    let limit = Duration::from_secs(seconds.parse()?);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(measure(Path::new(directory), limit))
}

async fn measure(directory: &Path, limit: Duration) -> Outcome<()> {
    let operator = SigningKey::from_seed(&[1; 32]);
    let places = Places { root: directory.join("root.json"), state: directory.join("state") };
    std::fs::create_dir_all(&places.state)?;
    std::fs::write(&places.root, root(&operator)?.to_json())?;
    let text = "host: ctl1\nmachines: { listen: \"127.0.0.1:0\", names: [ctl1] }\npeople: { listen: \"127.0.0.1:0\" }\n";
    let config = Config::parse(text.as_bytes())?;
    Authority::create(&places.state, &config.host, clock::wall())?;
    // What is measured is how much can be taken, not how much may be.
    let limits = Limits { budget: u64::MAX, ..Limits::default() };
    let app = App::open(config, &places, clock::wall, limits).await?;
    let service = Service::start(app.clone(), axum::Router::new()).await?;
    // One by one a request is a record: every lane's report as it comes. Together it is what waits after an outage.
    for lines in [1, 64] {
        let (records, took) = round(&app, &service, &operator, lines, limit).await?;
        let rate = records * 1000 / u64::try_from(took.as_millis())?.max(1);
        let row = serde_json::json!({ "lines_of_a_request": lines, "records": records, "per_second": rate });
        writeln!(std::io::stdout(), "{row}")?;
    }
    service.stop().await;
    Ok(())
}

/// All machines push until the time is over.
async fn round(
    app: &Arc<App>,
    service: &Service,
    operator: &SigningKey,
    lines: usize,
    limit: Duration,
) -> Outcome<(u64, Duration)> {
    let mut machines = Vec::new();
    for number in 0..MACHINES {
        let name = format!("m{lines}-{number}");
        machines.push(Machine::new(app, service, operator, &name, lines, limit).await?);
    }
    let began = clock::monotonic();
    let mut pushing = tokio::task::JoinSet::new();
    for machine in machines {
        pushing.spawn(machine.push(began + limit));
    }
    let mut records = 0;
    while let Some(pushed) = pushing.join_next().await {
        records += pushed??;
    }
    Ok((records, clock::monotonic() - began))
}

/// A machine with its requests already signed: signing is the hosts' work.
struct Machine {
    ca: String,
    controller: std::net::SocketAddr,
    certificate: String,
    tls: KeyPair,
    bodies: Vec<Bytes>,
    lines: usize,
}

impl Machine {
    async fn new(
        app: &Arc<App>,
        service: &Service,
        operator: &SigningKey,
        name: &str,
        lines: usize,
        limit: Duration,
    ) -> Outcome<Self> {
        let name = HostName::new(name)?;
        let mut seed = [0u8; 32];
        getrandom::fill(&mut seed)?;
        let (identity, tls) = (SigningKey::from_seed(&seed), KeyPair::generate()?);
        let stated = Hash::of(&tls.subject_public_key_info());
        let admission = Admission {
            schema: 1,
            fleet: app.root.fleet.clone(),
            name: name.clone(),
            role: MachineRole::Host,
            identity: identity.public(),
            ssh: SshKeyText::new(format!("ssh-ed25519 {}", "A".repeat(68)))?,
            tls: stated,
            epoch: Epoch(1),
            replaces: None,
            reads: BTreeSet::new(),
            issued: clock::wall(),
        };
        let signed = Signed::new(&admission, &[operator]).to_json();
        let verified = verify_admission(&app.root, signed.as_bytes())?;
        app.store.add_admission(&Access::Local, &verified, &signed, clock::wall()).await?;
        app.judge_admissions().await?;
        let request = CertificateParams::default().serialize_request(&tls)?.pem()?;
        let key = CertificateKey::held(&request, &stated)?;
        let certificate = app.authority.machine(&key, &name, MachineRole::Host, clock::wall())?;
        // More than can be taken in the time.
        let wanted = usize::try_from(limit.as_secs())? * MOST / usize::from(MACHINES);
        let bodies = bodies(&identity, name, lines, wanted.div_ceil(lines))?;
        let (ca, controller) = (app.authority.certificate().to_owned(), service.machines);
        Ok(Self { ca, controller, certificate, tls, bodies, lines })
    }

    async fn push(self, end: Duration) -> Outcome<u64> {
        let mut sender = connect(self.controller, &self.ca, &self.certificate, &self.tls).await?;
        let mut taken = 0;
        for body in self.bodies {
            if clock::monotonic() >= end {
                return Ok(taken);
            }
            let request = Request::post("/v1/records").header("host", "ctl1").body(Full::new(body))?;
            sender.ready().await?;
            let answer = sender.send_request(request).await?.into_body().collect().await?.to_bytes();
            match serde_json::from_slice(&answer)? {
                IngestAnswer::Taken { .. } => taken += u64::try_from(self.lines)?,
                IngestAnswer::Refused { finding, .. } => return Err(format!("refused: {finding:?}").into()),
            }
        }
        // All that was signed was taken: the rate is then at least what is told.
        Ok(taken)
    }
}

fn bodies(identity: &SigningKey, name: HostName, lines: usize, count: usize) -> Outcome<Vec<Bytes>> {
    let mut chain = Chain::begin(name, Epoch(1));
    let mut next = |payload: usize| -> Outcome<String> {
        let draft = Draft {
            about: About::Event(EventName::new("start")?),
            policy: None,
            judge: JudgeVersion::new("tenure bench")?,
            observed_at: clock::wall(),
            verdict: None,
            reason: None,
        };
        let link = chain.link(draft, Payload::new([7; 32], vec![b'x'; payload])?, 0, identity);
        chain.advance(&link);
        Ok(link.line())
    };
    // What a line has beside its payload is some 1.1 KiB; base64 of the payload is 4/3.
    let payload = LINE.saturating_sub(BESIDE) / 4 * 3;
    let mut out = Vec::with_capacity(count);
    for _ in 0..count {
        let mut body = String::with_capacity((LINE + 8) * lines);
        for _ in 0..lines {
            body.push_str(&next(payload)?);
            body.push('\n');
        }
        out.push(Bytes::from(body));
    }
    Ok(out)
}

async fn connect(
    controller: std::net::SocketAddr,
    ca: &str,
    certificate: &str,
    tls: &KeyPair,
) -> Outcome<SendRequest<Full<Bytes>>> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(ca.as_bytes())?)?;
    let chain = vec![CertificateDer::from_pem_slice(certificate.as_bytes())?];
    let key = PrivateKeyDer::from_pem_slice(tls.serialize_pem().as_bytes())?;
    let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(roots)
        .with_client_auth_cert(chain, key)?;
    let stream = TcpStream::connect(controller).await?;
    stream.set_nodelay(true)?;
    let stream = TlsConnector::from(Arc::new(config)).connect(ServerName::try_from("ctl1")?, stream).await?;
    let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    Ok(sender)
}

fn root(operator: &SigningKey) -> Outcome<Signed<Root>> {
    let named = NamedKey { name: KeyName::new("marit")?, key: operator.public() };
    let keys = RoleKeys { threshold: 1, keys: vec![named] };
    let roles = [Role::Root, Role::Policy, Role::Admission, Role::Order].map(|role| (role, keys.clone()));
    let issued = clock::wall() - SignedDuration::from_hours(1);
    let root = Root {
        schema: 1,
        version: RootVersion(1),
        fleet: "bench".parse()?,
        issued,
        expires: issued + SignedDuration::from_hours(24),
        roles: BTreeMap::from(roles),
    };
    Ok(Signed::new(&root, &[operator]))
}
