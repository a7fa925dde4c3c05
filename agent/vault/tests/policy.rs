//! What a vault does with the policy that it took when another root is placed.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test may fail here; clippy sees only `#[test]` itself"
)]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use common::*;
use jiff::{SignedDuration, Timestamp};
use tenure_link::{BundleStore, Places};
use tenure_policy::bundles::VaultPolicy;
use tenure_sys::clock;
use tenure_trust::statement::Bundle;
use tenure_trust::*;
use tenure_vault::policy::Source;

struct Machine(tempfile::TempDir);

impl Machine {
    fn new() -> Self {
        let machine = Self(tempfile::tempdir_in("/run").expect("these tests run as root"));
        for name in ["state", "drop"] {
            fs::create_dir(machine.path(name)).unwrap();
        }
        machine
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// A root of which this key signs everything.
    fn anchor(&self, seed: u8) {
        let keys = || RoleKeys {
            threshold: 1,
            keys: vec![NamedKey { name: KeyName::new("one").unwrap(), key: key(seed).public() }],
        };
        let root = Root {
            schema: 1,
            version: RootVersion(1),
            fleet: fleet(),
            issued: Timestamp::UNIX_EPOCH,
            expires: Timestamp::MAX,
            roles: [Role::Root, Role::Policy, Role::Admission].map(|role| (role, keys())).into(),
        };
        fs::write(self.path("root.json"), Signed::new(&root, &[&key(seed)]).to_json()).unwrap();
    }

    fn offer(&self, version: u64, seed: u8) {
        let bundle = Signed::new(&policy(Path::new("/var/backups/tenure")), &[&key(seed)]);
        let issued = clock::wall() - SignedDuration::from_hours(1);
        let index = Index {
            schema: 1,
            fleet: fleet(),
            version: PolicyVersion(version),
            issued,
            expires: issued + SignedDuration::from_hours(24 * 30),
            machines: BTreeMap::new(),
            vaults: BTreeMap::from([(host("vault1"), bundle.hash())]),
            controllers: BTreeMap::new(),
            revoked: BTreeSet::new(),
        };
        let drop = self.path("drop");
        fs::write(drop.join(VaultPolicy::file_name(&host("vault1"))), bundle.to_json()).unwrap();
        fs::write(drop.join("index.json"), Signed::new(&index, &[&key(seed)]).to_json()).unwrap();
    }

    fn start(&self) -> Source {
        let places = Places { root: self.path("root.json"), state: self.path("state") };
        let store = BundleStore::open(&places, host("vault1")).unwrap();
        Source::open(store, self.path("drop"), host("vault1"), clock::wall()).expect("it starts")
    }
}

#[test]
fn under_a_root_that_does_not_know_the_held_set_it_starts_tells_and_takes_what_comes() {
    let machine = Machine::new();
    machine.anchor(1);
    machine.offer(5, 1);
    assert!(machine.start().look(clock::wall()).0.is_some());
    assert!(!machine.start().is_unheld(), "it is held over a restart");

    machine.anchor(7);
    let mut source = machine.start();
    assert!(source.is_unheld());
    let (found, told) = source.look(clock::wall());
    assert!(found.is_none());
    assert!(told.iter().any(|what| what.contains("is not kept")), "{told:?}");
    assert_eq!(source.look(clock::wall()).1, Vec::<String>::new(), "it is told once");

    machine.offer(4, 7);
    let (found, told) = source.look(clock::wall());
    assert!(found.is_none(), "the floor of versions is kept");
    assert!(told.iter().any(|what| what.contains('4') && what.contains('5')), "{told:?}");
    machine.offer(6, 7);
    let (found, _) = source.look(clock::wall());
    assert_eq!(found.expect("it is taken").version(), Some(PolicyVersion(6)));
    assert!(!source.is_unheld() && !machine.start().is_unheld());
}
