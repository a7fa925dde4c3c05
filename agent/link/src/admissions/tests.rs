//! Which keys hold: revoked, replaced, forged and foreign admissions, on a machine of its own.

use std::collections::BTreeMap;
use std::fs;

use jiff::Timestamp;
use tenure_trust::{
    Admission, Epoch, FleetName, Hash, HostName, KeyName, MachineRole, NamedKey, Order, OrderKind, Role,
    RoleKeys, RootVersion, Signed, SigningKey, SshKeyText,
};

use super::*;

fn key(seed: u8) -> SigningKey {
    SigningKey::from_seed(&[seed; 32])
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + seconds).unwrap()
}

/// A root in which key 1 signs roots and policy, key 2 admissions, key 3 orders.
fn root() -> Verified<Root> {
    let keys = |seed: u8, name: &str| RoleKeys {
        threshold: 1,
        keys: vec![NamedKey { name: KeyName::new(name).unwrap(), key: key(seed).public() }],
    };
    let root = Root {
        schema: 1,
        version: RootVersion(1),
        fleet: FleetName::new("acme").unwrap(),
        issued: at(0),
        expires: at(1_000_000),
        roles: BTreeMap::from([
            (Role::Root, keys(1, "one")),
            (Role::Policy, keys(1, "one")),
            (Role::Admission, keys(2, "two")),
            (Role::Order, keys(3, "three")),
        ]),
    };
    Root::anchor_signed(&Signed::new(&root, &[&key(1)])).unwrap()
}

fn admission(name: &str, identity: u8, epoch: u32, issued: i64) -> Admission {
    Admission {
        schema: 1,
        fleet: FleetName::new("acme").unwrap(),
        name: HostName::new(name).unwrap(),
        role: MachineRole::Host,
        identity: key(identity).public(),
        ssh: SshKeyText::new(format!("ssh-ed25519 {:A<68}", identity)).unwrap(),
        tls: Hash::of(&[identity]),
        epoch: Epoch(epoch),
        replaces: None,
        reads: BTreeSet::new(),
        issued: at(issued),
    }
}

fn signed(admission: &Admission, by: u8) -> String {
    Signed::new(admission, &[&key(by)]).to_json()
}

fn revocation(identity: u8, by: u8) -> String {
    let what = OrderKind::Revoke {
        name: HostName::new("web1").unwrap(),
        role: MachineRole::Host,
        key: key(identity).public().id(),
    };
    let fleet = FleetName::new("acme").unwrap();
    let order = Order { schema: 1, fleet, issued: at(5), what, reason: "stolen".into() };
    Signed::new(&order, &[&key(by)]).to_json()
}

/// What a machine believes of a list that lies in its drop directory.
fn judged(list: &AdmissionList, revoked: &[u8]) -> Admitted {
    let dir = tempfile::tempdir_in("/run").expect("these tests run as root");
    fs::write(dir.path().join(FILE), serde_json::to_vec(list).unwrap()).unwrap();
    let revoked = revoked.iter().map(|seed| key(*seed).public().id()).collect();
    read(dir.path(), &root(), &revoked).unwrap()
}

fn epoch_of(admitted: &Admitted, name: &str) -> Option<u32> {
    let name = HostName::new(name).unwrap();
    admitted.book.of(&name, MachineRole::Host).map(|admission| admission.epoch.0)
}

#[test]
fn the_latest_admission_of_a_name_counts_in_whatever_order_they_come() {
    let mut admissions =
        vec![signed(&admission("web1", 10, 1, 0), 2), signed(&admission("web1", 11, 2, 9), 2)];
    for _ in 0..2 {
        let list = AdmissionList { admissions: admissions.clone(), revocations: vec![] };
        let admitted = judged(&list, &[]);
        assert_eq!(epoch_of(&admitted, "web1"), Some(2));
        assert!(admitted.refused.is_empty());
        let old = SshKeyText::new(format!("ssh-ed25519 {:A<68}", 10)).unwrap();
        assert!(admitted.book.by_ssh(&old).is_none(), "the key that was replaced does not exist any more");
        admissions.reverse();
    }
}

#[test]
fn a_revoked_key_counts_never_also_when_its_admission_is_brought_again() {
    let list = AdmissionList {
        admissions: vec![signed(&admission("web1", 10, 1, 0), 2)],
        revocations: vec![revocation(10, 3)],
    };
    assert_eq!(epoch_of(&judged(&list, &[]), "web1"), None);
    // a list without the revocation does not help whoever withholds it: the signed index names the key
    let withheld = AdmissionList { revocations: vec![], ..list.clone() };
    assert_eq!(epoch_of(&judged(&withheld, &[10]), "web1"), None);
    assert_eq!(epoch_of(&judged(&withheld, &[]), "web1"), Some(1));
}

#[test]
fn revoking_the_latest_key_brings_none_back_that_it_replaced() {
    let list = AdmissionList {
        admissions: vec![signed(&admission("web1", 10, 1, 0), 2), signed(&admission("web1", 11, 2, 9), 2)],
        revocations: vec![revocation(11, 3)],
    };
    assert_eq!(epoch_of(&judged(&list, &[]), "web1"), None);
    let again = signed(&admission("web1", 12, 3, 12), 2);
    let admissions = list.admissions.iter().cloned().chain([again]).collect();
    let list = AdmissionList { admissions, ..list };
    assert_eq!(epoch_of(&judged(&list, &[]), "web1"), Some(3), "only a later one counts");
}

#[test]
fn what_nobody_entitled_signed_is_told_and_changes_nothing_else() {
    let foreign = Admission { fleet: FleetName::new("other").unwrap(), ..admission("db1", 12, 1, 0) };
    let list = AdmissionList {
        admissions: vec![
            signed(&admission("web1", 10, 1, 0), 2),
            signed(&admission("web1", 66, 9, 0), 66),
            signed(&admission("web1", 66, 9, 0), 1),
            signed(&foreign, 2),
            "{}".into(),
        ],
        revocations: vec![revocation(10, 2), revocation(10, 66)],
    };
    let admitted = judged(&list, &[]);
    assert_eq!(
        epoch_of(&admitted, "web1"),
        Some(1),
        "neither the intruder's key nor a policy key admits or revokes"
    );
    assert_eq!(epoch_of(&admitted, "db1"), None);
    assert_eq!(admitted.refused.len(), 6, "{:?}", admitted.refused);
    assert!(admitted.refused.iter().any(|r| matches!(r, Refused::RoleMayNotSign { .. })));
    assert!(admitted.refused.iter().any(|r| matches!(r, Refused::UnknownKey { .. })));
    assert!(admitted.refused.iter().any(|r| matches!(r, Refused::WrongFleet { .. })));
}

#[test]
fn a_missing_list_is_empty_and_a_broken_one_is_said() {
    let dir = tempfile::tempdir_in("/run").expect("these tests run as root");
    assert_eq!(read(dir.path(), &root(), &BTreeSet::new()).unwrap().book.iter().count(), 0);
    fs::write(dir.path().join(FILE), "[]").unwrap();
    let error = read(dir.path(), &root(), &BTreeSet::new()).unwrap_err();
    assert!(matches!(error, StoreError::Refused { .. }), "{error:?}");
}
