//! What a machine takes, keeps and refuses, with the files as they lie on the disk.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::PermissionsExt;

use serde::{Deserialize, Serialize};
use tenure_trust::{
    FleetName, KeyName, NamedKey, Role, RoleKeys, RootVersion, Signed, SigningKey, Statement,
};

use super::*;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Toy {
    schema: u32,
    fleet: FleetName,
    host: HostName,
    port: u16,
}

impl Statement for Toy {
    const KIND: Kind = Kind::HostPolicy;
    const SCHEMA: u32 = 1;
}

impl Bundle for Toy {
    fn fleet(&self) -> &FleetName {
        &self.fleet
    }
    fn machine(&self) -> &HostName {
        &self.host
    }
}

const DAY: i64 = 86_400;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + seconds).unwrap()
}

fn key() -> SigningKey {
    SigningKey::from_seed(&[3; 32])
}

fn host() -> HostName {
    HostName::new("web1").unwrap()
}

fn fleet() -> FleetName {
    FleetName::new("soworker").unwrap()
}

/// A machine with a root in place and an empty state, and a drop directory.
struct Machine {
    dir: tempfile::TempDir,
    places: Places,
}

impl Machine {
    fn new() -> Self {
        let dir = tempfile::tempdir_in("/run").expect("these tests run as root");
        let places = Places { root: dir.path().join("root.json"), state: dir.path().join("state") };
        fs::create_dir(&places.state).unwrap();
        fs::create_dir(dir.path().join("drop")).unwrap();
        let keys = || RoleKeys {
            threshold: 1,
            keys: vec![NamedKey { name: KeyName::new("marit").unwrap(), key: key().public() }],
        };
        let root = Root {
            schema: 1,
            version: RootVersion(1),
            fleet: fleet(),
            issued: at(-DAY),
            expires: at(300 * DAY),
            roles: BTreeMap::from([(Role::Root, keys()), (Role::Policy, keys())]),
        };
        fs::write(&places.root, Signed::new(&root, &[&key()]).to_json()).unwrap();
        Self { dir, places }
    }

    fn open(&self) -> BundleStore {
        BundleStore::open(&self.places, host()).unwrap()
    }

    fn drop_dir(&self) -> PathBuf {
        self.dir.path().join("drop")
    }

    /// Puts a set into the drop directory.
    fn sign(&self, version: u64, port: u16) {
        let toy = Toy { schema: 1, fleet: fleet(), host: host(), port };
        let bundle = Signed::new(&toy, &[&key()]);
        let index = Index {
            schema: 1,
            fleet: fleet(),
            version: PolicyVersion(version),
            issued: at(0),
            expires: at(90 * DAY),
            machines: BTreeMap::from([(host(), bundle.hash())]),
            vaults: BTreeMap::new(),
            controllers: BTreeMap::new(),
            revoked: BTreeSet::new(),
        };
        fs::write(self.drop_dir().join("web1.bundle.json"), bundle.to_json()).unwrap();
        fs::write(self.drop_dir().join("index.json"), Signed::new(&index, &[&key()]).to_json()).unwrap();
    }

    fn offer(&self, store: &mut BundleStore) -> Result<Offered<Toy>, StoreError> {
        store.offer::<Toy>(&self.drop_dir(), at(60))
    }

    /// Name and content of every file of the store.
    fn files(&self) -> BTreeMap<String, Vec<u8>> {
        let entries = fs::read_dir(self.places.state.join("policy")).unwrap();
        entries
            .map(|entry| {
                let entry = entry.unwrap();
                (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap())
            })
            .collect()
    }
}

fn refusal(result: Result<Offered<Toy>, StoreError>) -> Refused {
    result.unwrap_err().refusal().unwrap().clone()
}

#[test]
fn a_set_is_taken_held_over_a_restart_and_replaced() {
    let machine = Machine::new();
    let mut store = machine.open();
    assert!(store.held::<Toy>(at(0)).unwrap().is_none());
    machine.sign(1, 22);
    let taken = machine.offer(&mut store).unwrap();
    assert!(taken.changed && taken.policy.port == 22);
    drop(store);
    let mut store = machine.open();
    let held = store.held::<Toy>(at(0)).unwrap().unwrap();
    assert_eq!((held.port, held.version(), held.until()), (22, Some(PolicyVersion(1)), Some(at(90 * DAY))));
    machine.sign(2, 443);
    assert_eq!(machine.offer(&mut store).unwrap().policy.port, 443);
    let names: Vec<_> = machine.files().into_keys().collect();
    assert_eq!(names, ["bundle-2.json", "floor.json", "index-2.json"]);
}

#[test]
fn an_unchanged_bundle_takes_the_new_version_without_a_change() {
    let machine = Machine::new();
    let mut store = machine.open();
    machine.sign(1, 22);
    machine.offer(&mut store).unwrap();
    machine.sign(2, 22);
    let taken = machine.offer(&mut store).unwrap();
    assert!(!taken.changed);
    assert_eq!(taken.policy.version(), Some(PolicyVersion(2)));
}

#[test]
fn whatever_is_refused_changes_nothing() {
    let machine = Machine::new();
    let mut store = machine.open();
    machine.sign(5, 22);
    machine.offer(&mut store).unwrap();
    let before = machine.files();

    machine.sign(4, 443);
    let older = Refused::OlderThanFloor { floor: PolicyVersion(5), offered: PolicyVersion(4) };
    assert_eq!(refusal(machine.offer(&mut store)), older);

    machine.sign(5, 443);
    assert_eq!(
        refusal(machine.offer(&mut store)),
        Refused::SameVersionOtherHash { version: PolicyVersion(5) }
    );

    machine.sign(6, 443);
    let index = fs::read(machine.drop_dir().join("index.json")).unwrap();
    machine.sign(7, 80);
    fs::write(machine.drop_dir().join("index.json"), index).unwrap();
    assert!(matches!(refusal(machine.offer(&mut store)), Refused::HashNotInIndex { .. }));

    fs::remove_file(machine.drop_dir().join("web1.bundle.json")).unwrap();
    assert!(matches!(machine.offer(&mut store), Err(StoreError::Missing { what: "bundle", .. })));

    fs::write(machine.drop_dir().join("web1.bundle.json"), vec![b' '; ENVELOPE_LIMIT as usize + 1]).unwrap();
    assert!(matches!(machine.offer(&mut store), Err(StoreError::File(FileError::TooLarge { .. }))));

    machine.sign(8, 443);
    let late = store.offer::<Toy>(&machine.drop_dir(), at(91 * DAY));
    assert_eq!(refusal(late), Refused::Expired { at: at(90 * DAY) });

    assert_eq!(machine.files(), before);
    assert_eq!(machine.open().held::<Toy>(at(0)).unwrap().unwrap().port, 22);
}

#[test]
fn what_was_taken_holds_after_its_end() {
    let machine = Machine::new();
    let mut store = machine.open();
    machine.sign(1, 22);
    machine.offer(&mut store).unwrap();
    let late = at(400 * DAY);
    let held = machine.open().held::<Toy>(late).unwrap().unwrap();
    assert!(held.is_expired(late));
}

/// A machine that dies before the floor is written has the old set; after it, the new one. Both are whole.
#[test]
fn the_floor_is_the_switch() {
    let machine = Machine::new();
    let mut store = machine.open();
    machine.sign(1, 22);
    machine.offer(&mut store).unwrap();
    let old_floor = fs::read(machine.places.state.join("policy/floor.json")).unwrap();
    let old = machine.files();
    machine.sign(2, 443);
    machine.offer(&mut store).unwrap();
    for (name, bytes) in &old {
        fs::write(machine.places.state.join("policy").join(name), bytes).unwrap();
    }
    // files of both versions, the old floor: died just before the switch
    fs::write(machine.places.state.join("policy/floor.json"), &old_floor).unwrap();
    let mut store = machine.open();
    assert_eq!(store.held::<Toy>(at(0)).unwrap().unwrap().port, 22);
    // the same offer again completes it
    assert_eq!(machine.offer(&mut store).unwrap().policy.port, 443);
    assert_eq!(machine.open().held::<Toy>(at(0)).unwrap().unwrap().port, 443);
}

#[test]
fn held_files_that_were_changed_are_refused() {
    let machine = Machine::new();
    let mut store = machine.open();
    machine.sign(1, 22);
    machine.offer(&mut store).unwrap();
    let path = machine.places.state.join("policy/index-1.json");
    let whole = fs::read(&path).unwrap();
    fs::write(&path, &whole[..whole.len() / 2]).unwrap();
    assert!(matches!(machine.open().held::<Toy>(at(0)), Err(StoreError::Refused { what: "index", .. })));
    fs::remove_file(&path).unwrap();
    assert!(matches!(machine.open().held::<Toy>(at(0)), Err(StoreError::Missing { what: "index", .. })));
}

#[test]
fn root_floor_and_their_places_must_be_safe() {
    let machine = Machine::new();
    let open = || BundleStore::open(&machine.places, host());
    fs::set_permissions(&machine.places.root, fs::Permissions::from_mode(0o666)).unwrap();
    assert!(matches!(open(), Err(StoreError::File(FileError::Unsafe { .. }))));
    fs::set_permissions(&machine.places.root, fs::Permissions::from_mode(0o644)).unwrap();
    drop(open().unwrap());
    fs::write(machine.places.state.join("policy/floor.json"), "{").unwrap();
    assert!(matches!(open(), Err(StoreError::BadFloor { .. })));
    fs::remove_file(machine.places.state.join("policy/floor.json")).unwrap();
    fs::write(&machine.places.root, "{}").unwrap();
    assert!(matches!(open(), Err(StoreError::BadRoot { .. })));
    fs::remove_file(&machine.places.root).unwrap();
    assert!(matches!(open(), Err(StoreError::NoRoot(_))));
}

#[test]
fn time_is_remembered_within_the_policys_term_and_never_goes_back() {
    let machine = Machine::new();
    let mut store = machine.open();
    machine.sign(1, 22);
    let until = machine.offer(&mut store).unwrap().policy.until().unwrap();
    store.remember_time(at(10 * DAY), until).unwrap();
    store.remember_time(at(5 * DAY), until).unwrap();
    store.remember_time(at(9000 * DAY), until).unwrap();
    assert_eq!(machine.open().floor().latest, at(10 * DAY));
    assert_eq!(machine.open().held::<Toy>(at(0)).unwrap().unwrap().port, 22);
}

#[test]
fn who_only_looks_makes_nothing_and_takes_nothing() {
    let machine = Machine::new();
    machine.sign(1, 443);
    fs::remove_dir(&machine.places.state).unwrap();
    let store = BundleStore::look(&machine.places, host()).unwrap();
    assert_eq!(store.examine::<Toy>(&machine.drop_dir(), at(DAY)).unwrap().port, 443);
    assert!(store.held::<Toy>(at(DAY)).unwrap().is_none());
    assert!(!machine.places.state.exists(), "no directory was made");

    fs::create_dir(&machine.places.state).unwrap();
    let mut taking = machine.open();
    machine.offer(&mut taking).unwrap();
    machine.sign(2, 80);
    let store = BundleStore::look(&machine.places, host()).unwrap();
    assert_eq!(store.examine::<Toy>(&machine.drop_dir(), at(DAY)).unwrap().port, 80);
    assert_eq!(machine.open().floor().version, PolicyVersion(1), "it was not taken");
    machine.sign(0, 22);
    assert!(store.examine::<Toy>(&machine.drop_dir(), at(DAY)).is_err(), "judged by the floor all the same");
}
