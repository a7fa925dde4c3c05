//! Whole runs against a vault in this process: what becomes of keys when vault, policy or answers are not as before.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test may fail here; clippy sees only `#[test]` itself"
)]

#[path = "../../vault/tests/common/mod.rs"]
mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use age::x25519;
use common::{Bench, fleet, host, key, root, series, slot_now, ssh, vault_name};
use jiff::civil::Date;
use jiff::{Timestamp, ToSpan};
use tenure_areas::backup::facts::{DrillFact, DrilledDump, SealFact};
use tenure_areas::backup::spec::JobSpec;
use tenure_backup::drill::{Drill, drill};
use tenure_backup::error::BackupError;
use tenure_backup::job;
use tenure_backup::keys::KeyStore;
use tenure_backup::machine::Machine;
use tenure_link::Identity;
use tenure_policy::bundles::{DumpSection, SeriesSection, VaultPlace};
use tenure_policy::scalars::{AbsolutePath, SqlName};
use tenure_sys::files::Roots;
use tenure_trust::vault_wire::RefusalCode;
use tenure_trust::*;
use tenure_vault::in_force::InForce;
use tenure_vault::keys::public_text;
use tenure_vault::server::Limits;
use tokio::runtime::Runtime;

/// web1 with a vault beside it.
struct Site {
    dir: tempfile::TempDir,
    machine: Machine,
    bench: Bench,
    recipients: [String; 2],
    /// The vault's threads.
    _runtime: Runtime,
}

impl Site {
    fn new() -> Self {
        let dir = tempfile::tempdir_in("/run").expect("these tests run as root");
        let state = dir.path().join("state");
        let roots = Roots::new([dir.path()]).unwrap();
        roots.make_dir(&state, 0o700).unwrap();
        fs::create_dir_all(state.join("jobs")).unwrap();
        fs::create_dir(dir.path().join("data")).unwrap();
        fs::write(dir.path().join("data/page"), "what is copied").unwrap();
        let identity = Identity::create(&state, &roots, &host("web1")).unwrap();
        let runtime = Runtime::new().unwrap();
        let bench = runtime.block_on(Bench::with(|_| {}, Limits::default()));
        let admissions = vec![
            admission("web1", MachineRole::Host, identity.public().key, 10),
            admission("vault1", MachineRole::Vault, bench.vault.identity.public().key, 99),
        ];
        let list = AdmissionList { admissions, revocations: vec![] };
        let book = || AdmissionBook::judge(&root(), &list, &BTreeSet::new()).0;
        let machine = Machine { state, host: host("web1"), identity, ssh: ssh(10), admitted: book() };
        let recipients = [recipient(), recipient()];
        let site = Self { dir, machine, bench, recipients, _runtime: runtime };
        site.enforce(&site.recipients);
        site
    }

    /// The vault takes a policy with these recipients.
    fn enforce(&self, recipients: &[String]) {
        self.enforce_with(recipients, 1 << 30);
    }

    /// The same, with so many bytes for each owner.
    fn enforce_with(&self, recipients: &[String], quota: u64) {
        let mut policy = common::policy(&self.bench.dir.path().join("store"));
        (policy.recipients, policy.quota_bytes) = (recipients.to_vec(), quota);
        policy.series.iter_mut().for_each(|section| section.series.set = SetName::Nightly);
        let book = self.machine.admitted.clone();
        let in_force = InForce::new(Verified::local(policy), book, root()).unwrap();
        self.bench.vault.enforce(Arc::new(in_force));
    }

    /// A run of this name of this slot, under a policy with these recipients.
    fn run(&self, run: &str, slot: &SlotId, recipients: &[String]) -> Result<SealFact, BackupError> {
        let path = self.dir.path().join("data");
        let spec = JobSpec {
            run: RunId::new(run).unwrap(),
            slot: slot.clone(),
            request: None,
            fleet: fleet(),
            timezone: "Europe/Amsterdam".into(),
            series: SeriesSection {
                series: slot.series.clone(),
                at: vec!["06:00".parse().unwrap()],
                paths: vec![AbsolutePath::new(path.to_str().unwrap()).unwrap()],
                exclude: Vec::new(),
                dumps: Vec::new(),
            },
            vault: VaultPlace {
                host: host(vault_name().as_str()),
                addresses: vec!["127.0.0.1".parse().unwrap()],
                port: self.bench.port,
            },
            databases: BTreeMap::new(),
            dumped: Vec::new(),
            foreign: Vec::new(),
            recipients: recipients.to_vec(),
            upload_bytes_per_second: None,
        };
        job::run(&self.machine, &spec)
    }

    fn keys(&self) -> KeyStore {
        KeyStore::open(&self.machine.state).unwrap()
    }

    fn place(&self, generation: GenerationId) -> PathBuf {
        self.machine.state.join("keys").join(id_of().path()).join(generation.to_string())
    }
}

fn recipient() -> String {
    x25519::Identity::generate().to_public().to_string()
}

fn admission(name: &str, role: MachineRole, identity: PublicKey, seed: u8) -> String {
    let admission = Admission {
        schema: 1,
        fleet: fleet(),
        name: host(name),
        role,
        identity,
        ssh: public_text(&ssh(seed)).unwrap(),
        tls: Hash::of(&[seed]),
        epoch: Epoch(1),
        replaces: None,
        reads: BTreeSet::new(),
        issued: Timestamp::UNIX_EPOCH,
    };
    Signed::new(&admission, &[&key(1)]).to_json()
}

fn id_of() -> SeriesId {
    SeriesId { set: SetName::Nightly, ..series("web1", None) }
}

/// Two slots that a person can fill now, both of one date.
fn slots() -> [SlotId; 2] {
    let now = slot_now(id_of());
    let minute = now.at.minute();
    let beside = if minute == 0 { 1 } else { minute - 1 };
    let other = SlotId { at: SlotTime::new(now.at.hour(), beside).unwrap(), ..now.clone() };
    [now, other]
}

fn weeks_before(date: Date, weeks: i64) -> GenerationId {
    GenerationId { date: date.checked_sub((7 * weeks).days()).unwrap(), number: 1 }
}

#[test]
fn a_vault_that_began_a_new_store_costs_no_key() {
    let site = Site::new();
    let [slot, _] = slots();
    let old = [weeks_before(slot.date, 2), weeks_before(slot.date, 1)];
    for generation in old {
        site.keys().make(&id_of(), generation, &site.recipients, Timestamp::UNIX_EPOCH).unwrap();
        site.keys().note_accepted(&id_of(), generation).unwrap();
    }
    let fact = site.run("run-1", &slot, &site.recipients).unwrap();
    assert_eq!(site.keys().list(&id_of()).unwrap(), [old[0], old[1], fact.generation]);
}

#[test]
fn a_recipient_who_is_new_in_the_policy_costs_the_date_no_copy() {
    let site = Site::new();
    let [first, second] = slots();
    let one = site.run("run-1", &first, &site.recipients).unwrap();
    assert_eq!(one.generation.number, 1);
    let next = [site.recipients[0].clone(), recipient()];
    site.enforce(&next);
    let two = site.run("run-2", &second, &next).unwrap();
    assert_eq!((two.generation.date, two.generation.number), (one.generation.date, 2));
    for name in &next {
        let escrow = site.bench.repo(&id_of(), two.generation).with_file_name("escrow");
        assert!(escrow.join(format!("{name}.age")).exists(), "{name} has the password");
    }
    let known = site.keys().load(&id_of(), one.generation).unwrap();
    assert!(known.is_some(), "what was copied before can still be opened");
}

#[test]
fn a_fifth_more_than_the_last_copy_is_room_enough() {
    let site = Site::new();
    let [first, second] = slots();
    site.run("run-1", &first, &site.recipients).unwrap();
    let last = site.bench.vault.store.get(&id_of()).expect("it was made").bytes();
    assert_eq!(site.keys().last_size(&id_of()), last, "the host says what there was");
    // The next number is a whole copy beside the first; the vault counts what it holds and a fifth more than that.
    let next = [site.recipients[0].clone(), recipient()];
    let full = |quota| {
        site.enforce_with(&next, quota);
        site.run(&format!("run-of-{quota}"), &second, &next)
    };
    let room = last + last + last / 5;
    let refused = full(room - 1).unwrap_err();
    assert!(
        matches!(&refused, BackupError::Refused(refusal) if refusal.code == RefusalCode::NoRoom),
        "{refused}"
    );
    assert_eq!(full(room + 64).unwrap().generation.number, 2);
}

#[test]
fn a_slot_that_the_vault_has_taken_is_filled_also_when_its_keys_are_lost() {
    let site = Site::new();
    let [slot, other] = slots();
    let first = site.run("run-1", &slot, &site.recipients).unwrap();
    fs::remove_dir_all(site.place(first.generation)).unwrap();
    // What follows cannot go on without the keys and begins the next number.
    let next = site.run("run-2", &other, &site.recipients).unwrap();
    assert_eq!((next.generation.date, next.generation.number), (first.generation.date, 2));
    // The first slot again, as when the answer to its seal was lost: the host's keys are of another number by now.
    let again = site.run("run-3", &slot, &site.recipients).unwrap();
    assert_eq!((again.receipt, again.generation), (first.receipt, first.generation));
}

#[test]
fn a_drill_that_finds_no_vault_or_no_copy_is_written_down_as_not_held() {
    let site = Site::new();
    let series = id_of();
    let dump = |name: &str| DumpSection {
        database: SqlName::new(name).unwrap(),
        only: Vec::new(),
        without: Vec::new(),
    };
    let place =
        |addresses| VaultPlace { host: host(vault_name().as_str()), addresses, port: site.bench.port };
    let tried = |dump: &DumpSection, place: &VaultPlace| {
        let asked = Drill { series: &series, place, dump, databases: &BTreeMap::new(), expect: &[] };
        drill(&site.machine, &asked).unwrap()
    };
    let nowhere = tried(&dump("main"), &place(Vec::new()));
    assert!(!nowhere.held && nowhere.slot.is_none(), "{nowhere:?}");
    let empty = tried(&dump("other"), &place(vec!["127.0.0.1".parse().unwrap()]));
    assert!(!empty.held && empty.what.contains("no copy"), "{empty:?}");
    let files = fs::read_dir(site.machine.state.join("backup/drills")).unwrap();
    let mut told: Vec<DrillFact> =
        files.map(|file| serde_json::from_slice(&fs::read(file.unwrap().path()).unwrap()).unwrap()).collect();
    told.sort_by(|a, b| a.dump.cmp(&b.dump));
    assert_eq!(told.len(), 2, "{told:?}");
    for (fact, database) in told.iter().zip(["main", "other"]) {
        let of = DrilledDump { series: series.clone(), database: SqlName::new(database).unwrap() };
        assert_eq!((fact.held, &fact.dump, &fact.slot), (false, &Some(of), &None), "{fact:?}");
        assert!(fact.what.starts_with(&format!("{database}: ")), "{fact:?}");
    }
}
