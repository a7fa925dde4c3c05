//! Every refusal of roots, indexes and bundles, one test each.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::*;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Toy {
    schema: u32,
    fleet: FleetName,
    host: HostName,
    ports: Vec<u16>,
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

/// A fleet with a root of one root key (1) and two policy keys (2, 3), and one host.
struct Fleet {
    root: Root,
    index: Index,
    toy: Toy,
}

fn key(number: u8) -> SigningKey {
    SigningKey::from_seed(&[number; 32])
}

fn named(number: u8) -> NamedKey {
    NamedKey { name: KeyName::new(format!("key{number}")).unwrap(), key: key(number).public() }
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + seconds).unwrap()
}

const DAY: i64 = 86_400;

fn host() -> HostName {
    HostName::new("web1").unwrap()
}

fn role(threshold: u32, keys: &[u8]) -> RoleKeys {
    RoleKeys { threshold, keys: keys.iter().map(|number| named(*number)).collect() }
}

impl Fleet {
    fn new() -> Self {
        let fleet = FleetName::new("soworker").unwrap();
        let toy = Toy { schema: 1, fleet: fleet.clone(), host: host(), ports: vec![443] };
        let root = Root {
            schema: 1,
            version: RootVersion(1),
            fleet: fleet.clone(),
            issued: at(-DAY),
            expires: at(365 * DAY),
            roles: BTreeMap::from([(Role::Root, role(1, &[1])), (Role::Policy, role(1, &[2, 3]))]),
        };
        let machines = BTreeMap::from([(host(), Signed::new(&toy, &[]).hash())]);
        let index = Index {
            schema: 1,
            fleet,
            version: PolicyVersion(7),
            issued: at(0),
            expires: at(90 * DAY),
            machines,
            vaults: BTreeMap::new(),
            controllers: BTreeMap::new(),
            revoked: BTreeSet::new(),
        };
        Self { root, index, toy }
    }

    fn root(&self) -> Verified<Root> {
        Root::anchor_signed(&Signed::new(&self.root, &[&key(1)])).unwrap()
    }

    fn offer(&self, floor: &Floor, now: Timestamp, keys: &[&SigningKey]) -> Result<Verified<Index>, Refused> {
        let text = Signed::new(&self.index, keys).to_json();
        verify_index(&self.root(), floor, Arrival::Offered, now, text.as_bytes())
    }

    fn good_index(&self) -> Verified<Index> {
        self.offer(&Floor::NONE, at(60), &[&key(2)]).unwrap()
    }

    fn bundle(&self, toy: &Toy, keys: &[&SigningKey]) -> Result<Verified<Toy>, Refused> {
        let text = Signed::new(toy, keys).to_json();
        verify_bundle(&self.root(), &self.good_index(), &Floor::NONE, &host(), text.as_bytes())
    }
}

#[test]
fn a_good_set_is_taken_with_version_term_and_signer() {
    let fleet = Fleet::new();
    let index = fleet.good_index();
    let bundle = fleet.bundle(&fleet.toy, &[&key(3)]).unwrap();
    assert_eq!(bundle.value(), &fleet.toy);
    assert_eq!((bundle.version(), bundle.until()), (Some(PolicyVersion(7)), Some(at(90 * DAY))));
    let Standing::Signed { by, .. } = bundle.standing() else { panic!("signed") };
    assert_eq!(by.iter().copied().collect::<Vec<_>>(), [key(3).public().id()]);
    let floor = Floor::NONE.raised(&index);
    assert_eq!((floor.version, floor.index, floor.latest), (PolicyVersion(7), Some(index.hash()), at(0)));
}

#[test]
fn bad_signature() {
    let fleet = Fleet::new();
    let text = Signed::new(&fleet.index, &[&key(2)]).to_json();
    let other =
        Signed::new(&Index { version: PolicyVersion(8), ..fleet.index.clone() }, &[&key(2)]).to_json();
    let signature_at = |text: &str| text.find("\"signatures\"").unwrap();
    let mixed = format!("{}{}", &other[..signature_at(&other)], &text[signature_at(&text)..]);
    let refused = verify_index(&fleet.root(), &Floor::NONE, Arrival::Offered, at(60), mixed.as_bytes());
    assert_eq!(refused, Err(Refused::BadSignature { key: key(2).public().id() }));
}

#[test]
fn unknown_key() {
    let refused = Fleet::new().offer(&Floor::NONE, at(60), &[&key(9)]);
    assert_eq!(refused, Err(Refused::UnknownKey { key: key(9).public().id() }));
    // and it does not help to add it to a good signature
    let refused = Fleet::new().offer(&Floor::NONE, at(60), &[&key(2), &key(9)]);
    assert_eq!(refused, Err(Refused::UnknownKey { key: key(9).public().id() }));
}

#[test]
fn role_may_not_sign() {
    let refused = Fleet::new().offer(&Floor::NONE, at(60), &[&key(1)]);
    assert_eq!(refused, Err(Refused::RoleMayNotSign { key: key(1).public().id(), kind: Kind::Index }));
    let fleet = Fleet::new();
    let refused = fleet.bundle(&fleet.toy, &[&key(1)]);
    assert_eq!(refused, Err(Refused::RoleMayNotSign { key: key(1).public().id(), kind: Kind::HostPolicy }));
}

#[test]
fn nobody_may_sign() {
    let fleet = Fleet::new();
    let order = Envelope::sign(Kind::Order, b"{\"schema\":1}".to_vec(), &[&key(2)]);
    assert_eq!(fleet.root().signed_by(&order), Err(Refused::NobodyMaySign { kind: Kind::Order }));
    let record = Envelope::sign(Kind::Record, b"{\"schema\":1}".to_vec(), &[&key(2)]);
    assert_eq!(fleet.root().signed_by(&record), Err(Refused::NobodyMaySign { kind: Kind::Record }));
}

#[test]
fn threshold_not_met_and_one_key_counts_once() {
    let mut fleet = Fleet::new();
    fleet.root.roles.insert(Role::Policy, role(2, &[2, 3]));
    let missing = |have| Err(Refused::ThresholdNotMet { role: Role::Policy, have, need: 2 });
    assert_eq!(fleet.offer(&Floor::NONE, at(60), &[]), missing(0));
    assert_eq!(fleet.offer(&Floor::NONE, at(60), &[&key(2)]), missing(1));
    assert_eq!(fleet.offer(&Floor::NONE, at(60), &[&key(2), &key(2)]), missing(1));
    assert!(fleet.offer(&Floor::NONE, at(60), &[&key(2), &key(3)]).is_ok());
}

#[test]
fn a_second_signature_can_be_added_later() {
    let mut fleet = Fleet::new();
    fleet.root.roles.insert(Role::Policy, role(2, &[2, 3]));
    let mut signed = Signed::new(&fleet.index, &[&key(2)]);
    signed.add_signature(&key(3));
    let text = signed.to_json();
    assert!(verify_index(&fleet.root(), &Floor::NONE, Arrival::Offered, at(60), text.as_bytes()).is_ok());
}

#[test]
fn wrong_fleet() {
    let mut fleet = Fleet::new();
    fleet.index.fleet = FleetName::new("other").unwrap();
    let wrong = Refused::WrongFleet { ours: fleet.root.fleet.clone(), found: fleet.index.fleet.clone() };
    assert_eq!(fleet.offer(&Floor::NONE, at(60), &[&key(2)]), Err(wrong.clone()));
    let fleet = Fleet::new();
    let toy = Toy { fleet: FleetName::new("other").unwrap(), ..fleet.toy.clone() };
    assert_eq!(fleet.bundle(&toy, &[&key(2)]), Err(wrong));
}

#[test]
fn wrong_host() {
    let fleet = Fleet::new();
    let db1 = HostName::new("db1").unwrap();
    let toy = Toy { host: db1.clone(), ..fleet.toy.clone() };
    assert_eq!(fleet.bundle(&toy, &[&key(2)]), Err(Refused::WrongHost { ours: host(), found: db1 }));
}

#[test]
fn older_than_floor_names_both_numbers() {
    let fleet = Fleet::new();
    let floor = Floor { version: PolicyVersion(9), ..Floor::NONE };
    let older = Refused::OlderThanFloor { floor: PolicyVersion(9), offered: PolicyVersion(7) };
    assert_eq!(fleet.offer(&floor, at(60), &[&key(2)]), Err(older.clone()));
    assert_eq!(older.to_string(), "version 7 was offered, and version 9 has already been taken");
    let text = Signed::new(&fleet.toy, &[&key(2)]).to_json();
    let refused = verify_bundle::<Toy>(&fleet.root(), &fleet.good_index(), &floor, &host(), text.as_bytes());
    assert_eq!(refused, Err(older));
}

#[test]
fn same_version_other_hash() {
    let fleet = Fleet::new();
    let floor = Floor::NONE.raised(&fleet.good_index());
    assert!(fleet.offer(&floor, at(60), &[&key(2)]).is_ok(), "the same one again is no fault");
    let mut other = Fleet::new();
    other.index.expires = at(91 * DAY);
    let refused = other.offer(&floor, at(60), &[&key(2)]);
    assert_eq!(refused, Err(Refused::SameVersionOtherHash { version: PolicyVersion(7) }));
}

#[test]
fn expired_is_refused_when_new_and_holds_when_held() {
    let fleet = Fleet::new();
    let late = at(90 * DAY);
    assert_eq!(fleet.offer(&Floor::NONE, late, &[&key(2)]), Err(Refused::Expired { at: late }));
    let floor = Floor::NONE.raised(&fleet.good_index());
    let text = Signed::new(&fleet.index, &[&key(2)]).to_json();
    let held = verify_index(&fleet.root(), &floor, Arrival::Held, late, text.as_bytes()).unwrap();
    assert!(held.is_expired(late) && !held.is_expired(at(0)));
    // what was never taken cannot come in as "held"
    let refused = verify_index(&fleet.root(), &Floor::NONE, Arrival::Held, late, text.as_bytes());
    assert_eq!(refused, Err(Refused::Expired { at: late }));
}

#[test]
fn a_clock_set_back_does_not_revive_what_expired() {
    let fleet = Fleet::new();
    let floor = Floor { latest: at(100 * DAY), ..Floor::NONE };
    assert_eq!(fleet.offer(&floor, at(60), &[&key(2)]), Err(Refused::Expired { at: at(90 * DAY) }));
}

#[test]
fn not_yet_valid() {
    let fleet = Fleet::new();
    let early = at(-600);
    let refused = fleet.offer(&Floor::NONE, early, &[&key(2)]);
    assert_eq!(refused, Err(Refused::NotYetValid { issued: at(0), now: early }));
    assert!(
        fleet.offer(&Floor::NONE, at(-299), &[&key(2)]).is_ok(),
        "a signer five minutes ahead is no fault"
    );
}

#[test]
fn root_expired() {
    let mut fleet = Fleet::new();
    fleet.root.expires = at(DAY);
    let refused = fleet.offer(&Floor::NONE, at(2 * DAY), &[&key(2)]);
    assert_eq!(refused, Err(Refused::RootExpired { at: at(DAY) }));
}

#[test]
fn hash_not_in_index() {
    let fleet = Fleet::new();
    let refused = Err(Refused::HashNotInIndex { host: host(), version: PolicyVersion(7) });
    let toy = Toy { ports: vec![22], ..fleet.toy.clone() };
    assert_eq!(fleet.bundle(&toy, &[&key(2)]), refused);
    let mut without = Fleet::new();
    without.index.machines.clear();
    assert_eq!(without.bundle(&without.toy, &[&key(2)]), refused);
}

#[test]
fn schema_too_new_is_said_before_unknown_fields() {
    let fleet = Fleet::new();
    let newer = br#"{"schema":2,"something":"new"}"#.to_vec();
    let text = Envelope::sign(Kind::Index, newer, &[&key(2)]).to_json();
    let refused = verify_index(&fleet.root(), &Floor::NONE, Arrival::Offered, at(60), text.as_bytes());
    assert_eq!(refused, Err(Refused::SchemaTooNew { found: 2, known: 1 }));
}

#[test]
fn kind_mismatch() {
    let fleet = Fleet::new();
    let text = Signed::new(&fleet.toy, &[&key(2)]).to_json();
    let refused = verify_index(&fleet.root(), &Floor::NONE, Arrival::Offered, at(60), text.as_bytes());
    assert_eq!(refused, Err(Refused::KindMismatch { wanted: Kind::Index, found: Kind::HostPolicy }));
}

#[test]
fn malformed_payloads_are_refused_although_signed() {
    let fleet = Fleet::new();
    let good = String::from_utf8(statement::bytes(&fleet.index)).unwrap();
    let machine = format!("\"web1\":\"{}\"", fleet.index.machines[&host()]);
    let faults = [
        good.replace("\"schema\":1", "\"schema\":0"),
        good.replace("\"schema\":1", "\"schema\":1,\"schema\":1"),
        good.replace("\"schema\":1,", ""),
        good.replace("\"schema\":1", "\"schema\":1,\"extra\":true"),
        good.replace("\"version\":7", "\"version\":0"),
        good.replace("\"version\":7", "\"version\":-7"),
        good.replace(&machine, &format!("{machine},{machine}")),
        good.replace("web1", "../web1"),
        good.replace("web1", "web\\u001b1"),
        format!("{good} x"),
        "[".repeat(100_000),
    ];
    for text in faults {
        let signed = Envelope::sign(Kind::Index, text.clone().into_bytes(), &[&key(2)]).to_json();
        let refused = verify_index(&fleet.root(), &Floor::NONE, Arrival::Offered, at(60), signed.as_bytes());
        let Err(Refused::Malformed(why)) = refused else { panic!("{text}: {refused:?}") };
        assert!(!why.contains('\u{1b}'), "{why:?}");
    }
}

#[test]
fn a_root_must_be_signed_by_its_own_threshold() {
    let mut fleet = Fleet::new();
    let anchor = |root: &Root, keys: &[&SigningKey]| Root::anchor_signed(&Signed::new(root, keys));
    let missing = |have, need| Err(Refused::ThresholdNotMet { role: Role::Root, have, need });
    assert_eq!(anchor(&fleet.root, &[]), missing(0, 1));
    let refused = anchor(&fleet.root, &[&key(2)]);
    assert_eq!(refused, Err(Refused::RoleMayNotSign { key: key(2).public().id(), kind: Kind::Root }));
    fleet.root.roles.insert(Role::Root, role(2, &[1, 4]));
    assert_eq!(anchor(&fleet.root, &[&key(1), &key(1)]), missing(1, 2));
    assert!(anchor(&fleet.root, &[&key(1), &key(4)]).is_ok());
}

#[test]
fn a_root_whose_roles_make_no_sense_is_refused() {
    let two_names = |root: &mut Root| {
        let mut again = named(1);
        again.name = KeyName::new("other").unwrap();
        root.roles.insert(Role::Policy, RoleKeys { threshold: 1, keys: vec![again] });
    };
    type Spoil = Box<dyn Fn(&mut Root)>;
    let faults: [(&str, Spoil); 8] = [
        ("threshold 0", Box::new(|root| drop(root.roles.insert(Role::Root, role(0, &[1]))))),
        ("more than there are", Box::new(|root| drop(root.roles.insert(Role::Root, role(2, &[1]))))),
        ("one key twice", Box::new(|root| drop(root.roles.insert(Role::Root, role(1, &[1, 1]))))),
        ("one key, two names", Box::new(two_names)),
        ("no policy role", Box::new(|root| drop(root.roles.remove(&Role::Policy)))),
        ("root 0", Box::new(|root| root.version = RootVersion(0))),
        ("ends before it starts", Box::new(|root| root.expires = root.issued)),
        (
            "more keys than anybody has",
            Box::new(|root| {
                let keys: Vec<u8> = (1..=17).collect();
                root.roles.insert(Role::Root, role(1, &keys));
            }),
        ),
    ];
    for (what, spoil) in faults {
        let mut root = Fleet::new().root;
        spoil(&mut root);
        let refused = Root::anchor_signed(&Signed::new(&root, &[&key(1)]));
        assert!(matches!(refused, Err(Refused::Malformed(_))), "{what}: {refused:?}");
    }
}

/// Root 2, in which key 4 takes over from key 1.
fn next_root(old: &Root) -> Root {
    let mut new = Root { version: RootVersion(2), ..old.clone() };
    new.roles.insert(Role::Root, role(1, &[4]));
    new
}

#[test]
fn a_following_root_needs_both_thresholds() {
    let fleet = Fleet::new();
    let new = next_root(&fleet.root);
    let accept =
        |keys: &[&SigningKey]| fleet.root().accept(Signed::new(&new, keys).to_json().as_bytes(), at(0));
    let missing = Err(Refused::ThresholdNotMet { role: Role::Root, have: 0, need: 1 });
    assert_eq!(accept(&[&key(1)]), missing);
    assert_eq!(accept(&[&key(4)]), missing);
    assert_eq!(accept(&[&key(1), &key(9)]), Err(Refused::UnknownKey { key: key(9).public().id() }));
    assert_eq!(accept(&[&key(1), &key(4)]).unwrap().value(), &new);
}

#[test]
fn a_root_follows_only_the_one_before_it() {
    let fleet = Fleet::new();
    let accept = |new: &Root| {
        fleet.root().accept(Signed::new(new, &[&key(1), &key(4)]).to_json().as_bytes(), at(0)).map(drop)
    };
    let new = next_root(&fleet.root);
    for version in [1, 3, u64::MAX] {
        let offered = RootVersion(version);
        let refused = accept(&Root { version: offered, ..new.clone() });
        assert_eq!(refused, Err(Refused::RootNotNext { next: RootVersion(2), offered }));
    }
    let other = FleetName::new("other").unwrap();
    let refused = accept(&Root { fleet: other.clone(), ..new.clone() });
    assert_eq!(refused, Err(Refused::WrongFleet { ours: fleet.root.fleet.clone(), found: other }));
    let refused = accept(&Root { expires: at(0), ..new.clone() });
    assert_eq!(refused, Err(Refused::Expired { at: at(0) }));
    assert_eq!(accept(&new), Ok(()));
}

#[test]
fn a_local_policy_is_marked_and_has_no_version() {
    let local = Verified::local(Fleet::new().toy);
    assert!(local.is_local() && local.version().is_none() && local.until().is_none());
    assert!(
        !local.is_expired(at(1000 * DAY))
            && !local.is_expired(at(0).saturating_sub(SignedDuration::MAX).unwrap_or(at(0)))
    );
}

mod properties {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Whatever single byte of a signed index is changed, in whatever way: it is refused.
        #[test]
        fn a_changed_byte_is_refused(place in any::<prop::sample::Index>(), change in 1u8..=255) {
            let fleet = Fleet::new();
            let mut bytes = Signed::new(&fleet.index, &[&key(2)]).to_json().into_bytes();
            let place = place.index(bytes.len());
            bytes[place] ^= change;
            prop_assert!(verify_index(&fleet.root(), &Floor::NONE, Arrival::Offered, at(60), &bytes).is_err());
        }

        /// The same with two signatures of which one would do.
        #[test]
        fn a_changed_byte_is_refused_with_signatures_to_spare(place in any::<prop::sample::Index>(), bit in 0u8..8) {
            let fleet = Fleet::new();
            let mut bytes = Signed::new(&fleet.index, &[&key(2), &key(3)]).to_json().into_bytes();
            let place = place.index(bytes.len());
            bytes[place] ^= 1 << bit;
            prop_assert!(verify_index(&fleet.root(), &Floor::NONE, Arrival::Offered, at(60), &bytes).is_err());
        }

        #[test]
        fn reading_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            let _ = Envelope::parse(&bytes);
            let _ = Root::anchor(&bytes);
            let _ = ExportLine::parse(&bytes);
            let _ = ExportHeader::parse(&bytes);
        }

        /// Signed nonsense of every kind does not panic either.
        #[test]
        fn reading_signed_text_never_panics(text in "[\\[\\]{}:,\"a-z0-9 ]{0,200}") {
            let fleet = Fleet::new();
            let text = Envelope::sign(Kind::Index, text.into_bytes(), &[&key(2)]).to_json();
            prop_assert!(verify_index(&fleet.root(), &Floor::NONE, Arrival::Offered, at(60), text.as_bytes()).is_err());
        }
    }
}
