//! A fleet in a temporary directory: root, operator's key, a running controller, machines with keys.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use rcgen::{CertificateParams, KeyPair, PublicKeyData};
use tempfile::TempDir;
use tenure_controller::app::{App, Places};
use tenure_controller::authority::Authority;
use tenure_controller::config::Config;
use tenure_controller::limits::Limits;
use tenure_controller::password;
use tenure_controller::service::Service;
use tenure_controller::store::Access;
use tenure_trust::enrol::{CertificateRequest, EnrolRequest, Enrolment, Invitation};
use tenure_trust::statement::Bundle;
use tenure_trust::{
    Admission, Chain, Draft, Epoch, FleetName, Hash, HostName, Index, KeyName, MachineRole, NamedKey,
    Payload, PolicyVersion, Role, RoleKeys, Root, RootVersion, Signed, SigningKey, SshKeyText, VerdictTag,
};

use crate::client::{Answer, Client};

thread_local! {
    /// Whoever asks for the time on this thread ends by a fault.
    static FAULT: Cell<bool> = const { Cell::new(false) };
}

fn clock() -> Timestamp {
    assert!(!FAULT.get(), "as a fault of ours would");
    tenure_sys::clock::wall()
}

/// From now on, or no longer, everything on this thread that asks for the time ends by a fault.
pub(crate) fn fault(on: bool) {
    FAULT.set(on);
}

pub(crate) const PASSWORD: &str = "correct-horse-battery";

pub(crate) struct World {
    pub(crate) dir: TempDir,
    pub(crate) operator: SigningKey,
    pub(crate) app: Arc<App>,
    pub(crate) service: Option<Service>,
    pub(crate) ca: String,
    /// What the next start bears with.
    pub(crate) limits: Limits,
    places: Places,
    config: Config,
}

pub(crate) fn key(seed: u8) -> SigningKey {
    SigningKey::from_seed(&[seed; 32])
}

pub(crate) fn host(name: &str) -> HostName {
    HostName::new(name).unwrap()
}

pub(crate) fn fleet() -> FleetName {
    FleetName::new("lab").unwrap()
}

fn root(operator: &SigningKey) -> Signed<Root> {
    let named = NamedKey { name: KeyName::new("marit").unwrap(), key: operator.public() };
    let keys = RoleKeys { threshold: 1, keys: vec![named] };
    let roles = [Role::Root, Role::Policy, Role::Admission, Role::Order].map(|role| (role, keys.clone()));
    let issued = clock() - SignedDuration::from_hours(1);
    let expires = issued + SignedDuration::from_hours(24 * 365);
    let root = Root {
        schema: 1,
        version: RootVersion(1),
        fleet: fleet(),
        issued,
        expires,
        roles: BTreeMap::from(roles),
    };
    Signed::new(&root, &[operator])
}

impl World {
    pub(crate) async fn new() -> Self {
        let dir = tempfile::tempdir_in("/run").unwrap();
        let operator = key(1);
        let places = Places { root: dir.path().join("root.json"), state: dir.path().join("state") };
        std::fs::create_dir(&places.state).unwrap();
        std::fs::write(&places.root, root(&operator).to_json()).unwrap();
        let text = "host: ctl1\nmachines: { listen: \"127.0.0.1:0\", names: [ctl1] }\npeople: { listen: \"127.0.0.1:0\" }\n";
        let config = Config::parse(text.as_bytes()).unwrap();
        Authority::create(&places.state, &config.host, clock()).unwrap();
        let short = Duration::from_millis(1500);
        let judge = Duration::from_millis(200);
        let fresh = Duration::ZERO;
        let limits = Limits { handshake: short, head: short, body: short, judge, fresh, ..Limits::default() };
        let (app, service) = start(&config, &places, limits).await;
        let hash = password::hash(PASSWORD).await.unwrap();
        app.store.put_user(&Access::Local, "marit", &hash, clock()).await.unwrap();
        let ca = app.authority.certificate().to_owned();
        Self { dir, operator, app, service: Some(service), ca, limits, places, config }
    }

    /// Stops the controller and starts another over the same state.
    pub(crate) async fn restart(&mut self) {
        if let Some(service) = self.service.take() {
            service.stop().await;
        }
        let (app, service) = start(&self.config, &self.places, self.limits).await;
        (self.app, self.service) = (app, Some(service));
    }

    /// Places another root, which names this key alone, and signs with it from now on.
    pub(crate) fn place_root(&mut self, operator: SigningKey) {
        std::fs::write(&self.places.root, root(&operator).to_json()).unwrap();
        self.operator = operator;
    }

    pub(crate) fn machines(&self) -> Client {
        Client::new(self.service.as_ref().unwrap().machines, &self.ca)
    }

    pub(crate) fn people(&self) -> Client {
        Client::new(self.service.as_ref().unwrap().people, &self.ca)
    }

    /// A program that logged in as marit.
    pub(crate) async fn operator(&self) -> Client {
        let body = serde_json::json!({ "user": "marit", "password": PASSWORD, "label": "test" }).to_string();
        let answer = self.people().post("/api/v1/login", body).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let token = answer.json()["token"].as_str().unwrap().to_owned();
        self.people().with("authorization", format!("Bearer {token}"))
    }

    pub(crate) async fn invite(&self, name: &str, role: MachineRole) -> Invitation {
        self.app.invite(&Access::Local, &host(name), role, 30).await.unwrap()
    }

    /// A machine that enrolled, was admitted, and has its certificate.
    pub(crate) async fn admitted(&self, name: &str, role: MachineRole) -> Machine {
        let mut machine = Machine::new(name, role);
        let invitation = self.invite(name, role).await;
        assert_eq!(machine.enrol(self, &invitation.secret).await.status, 200);
        self.admit(&machine).await;
        machine.certify(self).await;
        machine
    }

    pub(crate) async fn admit(&self, machine: &Machine) {
        let signed = machine.admission(&self.operator);
        let answer = self.operator().await.post("/api/v1/admissions", signed.to_json()).await;
        assert_eq!(answer.status, 200, "{answer:?}");
    }

    /// A signed set of the example's policy for these hosts.
    pub(crate) fn set(&self, version: u64, hosts: &[&str]) -> BTreeMap<String, String> {
        let mut policy = example();
        let mut files = BTreeMap::new();
        let mut machines = BTreeMap::new();
        for name in hosts {
            policy.host = host(name);
            policy.fleet = fleet();
            let signed = Signed::new(&policy, &[&self.operator]);
            machines.insert(policy.machine().clone(), signed.hash());
            files.insert(format!("{name}.bundle.json"), signed.to_json());
        }
        let issued = clock() - SignedDuration::from_mins(1);
        let index = Index {
            schema: 1,
            fleet: fleet(),
            version: PolicyVersion(version),
            issued,
            expires: issued + SignedDuration::from_hours(24 * 90),
            machines,
            vaults: BTreeMap::new(),
            controllers: BTreeMap::new(),
            revoked: BTreeSet::new(),
        };
        files.insert("index.json".into(), Signed::new(&index, &[&self.operator]).to_json());
        files
    }
}

async fn start(config: &Config, places: &Places, limits: Limits) -> (Arc<App>, Service) {
    let app = App::open(config.clone(), places, clock, limits).await.unwrap();
    let service = Service::start(app.clone(), tenure_controller::pages::router()).await.unwrap();
    (app, service)
}

/// The example's policy set.
pub(crate) fn example_set() -> tenure_policy::Set {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../policies/examples/soworker");
    let mut texts = BTreeMap::new();
    let mut folders = vec![folder.clone()];
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(&next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "yaml") {
                let name = path.strip_prefix(&folder).unwrap().to_str().unwrap().to_owned();
                texts.insert(name, std::fs::read_to_string(&path).unwrap());
            }
        }
    }
    let set = tenure_policy::load(&texts).unwrap();
    match set.duty_book() {
        Some(_) => set,
        None => {
            texts.insert("controller.yaml".into(), CONTROLLER.into());
            tenure_policy::load(&texts).unwrap_or_else(|faults| panic!("{faults}"))
        }
    }
}

/// What makes the example have a controller.
const CONTROLLER: &str = "controller: { host: ctl1, port: 8441 }\n\
    hosts:\n  ctl1: { profiles: [base], addresses: [198.51.100.5], environment: production, site: \"Amsterdam\" }\n";

fn example() -> tenure_policy::resolved::HostPolicy {
    example_set().host_policy(&host("web1")).unwrap()
}

pub(crate) struct Machine {
    pub(crate) name: HostName,
    pub(crate) role: MachineRole,
    pub(crate) identity: SigningKey,
    pub(crate) tls: KeyPair,
    pub(crate) epoch: Epoch,
    pub(crate) chain: Chain,
    pub(crate) client: Option<Client>,
}

impl Machine {
    pub(crate) fn new(name: &str, role: MachineRole) -> Self {
        let mut seed = [0u8; 32];
        getrandom::fill(&mut seed).unwrap();
        let name = host(name);
        Self {
            identity: SigningKey::from_seed(&seed),
            tls: KeyPair::generate().unwrap(),
            epoch: Epoch(1),
            chain: Chain::begin_as(name.clone(), role, Epoch(1)),
            name,
            role,
            client: None,
        }
    }

    fn ssh() -> SshKeyText {
        SshKeyText::new(format!("ssh-ed25519 {}", "A".repeat(68))).unwrap()
    }

    pub(crate) fn tls_hash(&self) -> Hash {
        Hash::of(&self.tls.subject_public_key_info())
    }

    pub(crate) fn enrolment(&self) -> Signed<Enrolment> {
        let enrolment = Enrolment {
            schema: 1,
            fleet: fleet(),
            name: self.name.clone(),
            role: self.role,
            identity: self.identity.public(),
            ssh: Self::ssh(),
            tls: self.tls_hash(),
            epoch: self.epoch,
        };
        Signed::new(&enrolment, &[&self.identity])
    }

    pub(crate) fn admission(&self, operator: &SigningKey) -> Signed<Admission> {
        let admission = Admission {
            schema: 1,
            fleet: fleet(),
            name: self.name.clone(),
            role: self.role,
            identity: self.identity.public(),
            ssh: Self::ssh(),
            tls: self.tls_hash(),
            epoch: self.epoch,
            replaces: None,
            reads: BTreeSet::new(),
            issued: clock(),
        };
        Signed::new(&admission, &[operator])
    }

    pub(crate) async fn enrol(&self, world: &World, secret: &str) -> Answer {
        let request = EnrolRequest { secret: secret.into(), enrolment: self.enrolment().to_json() };
        world.machines().post("/v1/enrol", serde_json::to_vec(&request).unwrap()).await
    }

    pub(crate) fn csr(&self) -> String {
        CertificateParams::default().serialize_request(&self.tls).unwrap().pem().unwrap()
    }

    pub(crate) async fn ask_certificate(&self, world: &World) -> Answer {
        let request = CertificateRequest { enrolment: self.enrolment().to_json(), csr: self.csr() };
        world.machines().post("/v1/certificate", serde_json::to_vec(&request).unwrap()).await
    }

    pub(crate) async fn certify(&mut self, world: &World) {
        let answer = self.ask_certificate(world).await;
        let certificate = answer.json()["issued"]["certificate"].as_str().map(str::to_owned);
        let certificate = certificate.unwrap_or_else(|| panic!("{answer:?}"));
        let mut client = world.machines();
        client.identity = Some((certificate, self.tls.serialize_pem()));
        self.client = Some(client);
    }

    pub(crate) fn client(&self) -> &Client {
        self.client.as_ref().unwrap()
    }

    /// The next lines of its chain.
    pub(crate) fn lines(&mut self, count: usize) -> Vec<String> {
        (0..count)
            .map(|n| self.line(&format!("e{}", "abcdefghij".chars().nth(n % 10).unwrap()), b"{}"))
            .collect()
    }

    pub(crate) fn line(&mut self, event: &str, payload: &[u8]) -> String {
        self.about(tenure_trust::About::Event(tenure_trust::EventName::new(event).unwrap()), payload)
    }

    /// The next line, about this.
    pub(crate) fn about(&mut self, about: tenure_trust::About, payload: &[u8]) -> String {
        self.judged(about, None, payload)
    }

    /// The next line, about this, with the machine's verdict.
    pub(crate) fn judged(
        &mut self,
        about: tenure_trust::About,
        verdict: Option<VerdictTag>,
        payload: &[u8],
    ) -> String {
        let draft = Draft {
            about,
            policy: None,
            judge: tenure_trust::JudgeVersion::new("tenure test").unwrap(),
            observed_at: clock(),
            verdict,
            reason: None,
        };
        let payload = Payload::new([7; 32], payload.to_vec()).unwrap();
        let link = self.chain.link(draft, payload, 0, &self.identity);
        self.chain.advance(&link);
        link.line()
    }

    pub(crate) async fn send(&self, lines: &[String]) -> Answer {
        let body: String = lines.iter().map(|line| format!("{line}\n")).collect();
        self.client().post("/v1/records", body).await
    }
}
