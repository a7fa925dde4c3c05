//! Which snapshot of a view its own host sealed: for a person who recovers it from a vault that may lie. restic's id of a
//! snapshot is a hash over all that is in it, so that with the seal's signature nothing in the copy can be another's.

use std::fmt;

use jiff::Timestamp;

use crate::admission::{
    AdmissionList, MAX_ADMISSIONS, MachineRole, OrderKind, verify_admission, verify_machine, verify_order,
};
use crate::backup::Seal;
use crate::keys::{KeyId, PublicKey};
use crate::root::Root;
use crate::statement::Verified;
use crate::view::{Point, View};

/// The most seals that are looked at: a date takes 144 slots by hand and those of its schedule.
pub const MAX_SEALS: usize = 512;

/// A seal of the host itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnSeal {
    /// What it says; restore `seal.snapshot`.
    pub seal: Seal,
    /// The host's key that signed it.
    pub key: KeyId,
    /// When that key was taken back, if it was: whoever has it can have made this seal, also one with an earlier time.
    pub revoked: Option<Timestamp>,
}

/// Why no seal of a view counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoSeal {
    /// The list has no key of this host that an operator of this root admitted.
    NotAdmitted,
    /// None of so many was signed with a key of this host.
    NotItsOwn(usize),
    /// The host signed some, none of them for this generation up to this point.
    Elsewhere,
}

impl fmt::Display for NoSeal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAdmitted => {
                f.write_str("the list holds no admission of this host that counts under this root")
            }
            Self::NotItsOwn(0) => f.write_str("there is no seal"),
            Self::NotItsOwn(count) => write!(f, "none of {count} seals was signed with a key of this host"),
            Self::Elsewhere => f.write_str("this host's seals are for other copies than this one"),
        }
    }
}

impl std::error::Error for NoSeal {}

/// The last seal of the view's generation that its host signed with a key that was admitted under this root at any time.
/// A host that is gone may have been replaced or revoked since: its older keys count too, and a revoked one is told.
///
/// # Errors
/// [`NoSeal`].
pub fn own_seal<'a>(
    root: &Verified<Root>,
    list: &AdmissionList,
    view: &View,
    seals: impl IntoIterator<Item = &'a [u8]>,
) -> Result<OwnSeal, NoSeal> {
    let admitted = list.admissions.iter().take(MAX_ADMISSIONS);
    let admitted = admitted.filter_map(|text| verify_admission(root, text.as_bytes()).ok());
    let own = admitted.filter(|one| one.role == MachineRole::Host && one.name == view.series.host);
    let keys: Vec<PublicKey> = own.map(|one| one.identity).collect();
    if keys.is_empty() {
        return Err(NoSeal::NotAdmitted);
    }
    let (mut count, mut signed) = (0, Vec::new());
    for bytes in seals.into_iter().take(MAX_SEALS) {
        count += 1;
        let by = |key: &PublicKey| Some((verify_machine::<Seal>(key, bytes).ok()?, key.id()));
        signed.extend(keys.iter().find_map(by));
    }
    if signed.is_empty() {
        return Err(NoSeal::NotItsOwn(count));
    }
    let within = |upto: u64| match view.point {
        Point::Sequence(sequence) => upto <= sequence,
        // What the vault held at a time is the vault's word: its list of seals is.
        Point::LastSeal | Point::Time(_) => true,
    };
    let here = signed.into_iter().filter(|(seal, _)| {
        seal.fleet == root.fleet
            && seal.slot.series.path() == view.series.path()
            && seal.slot.date == view.generation.date
            && seal.generation == view.generation
            && within(seal.upto)
    });
    let (seal, key) = here.max_by_key(|(seal, _)| seal.upto).ok_or(NoSeal::Elsewhere)?;
    let orders = list.revocations.iter().take(MAX_ADMISSIONS);
    let orders = orders.filter_map(|text| verify_order(root, text.as_bytes()).ok());
    let revoked =
        orders.filter(|order| matches!(order.what, OrderKind::Revoke { key: gone, .. } if gone == key));
    Ok(OwnSeal { seal, key, revoked: revoked.map(|order| order.issued).min() })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::*;

    fn key(number: u8) -> SigningKey {
        SigningKey::from_seed(&[number; 32])
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + seconds).unwrap()
    }

    /// Key 1 signs everything.
    fn root() -> Verified<Root> {
        let one = NamedKey { name: KeyName::new("one").unwrap(), key: key(1).public() };
        let keys = RoleKeys { threshold: 1, keys: vec![one] };
        let root = Root {
            schema: 1,
            version: RootVersion(1),
            fleet: FleetName::new("acme").unwrap(),
            issued: at(0),
            expires: at(1_000_000),
            roles: [Role::Root, Role::Policy, Role::Admission, Role::Order]
                .map(|role| (role, keys.clone()))
                .into(),
        };
        Root::anchor_signed(&Signed::new(&root, &[&key(1)])).unwrap()
    }

    fn admitted(name: &str, role: MachineRole, number: u8, by: u8) -> String {
        let admission = Admission {
            schema: 1,
            fleet: root().fleet.clone(),
            name: HostName::new(name).unwrap(),
            role,
            identity: key(number).public(),
            ssh: SshKeyText::new(LINE).unwrap(),
            tls: Hash::of(&[number]),
            epoch: Epoch(u32::from(number)),
            replaces: None,
            reads: BTreeSet::new(),
            issued: at(0),
        };
        Signed::new(&admission, &[&key(by)]).to_json()
    }

    fn view(path: &str) -> View {
        View::from_path(VaultName::new("vault").unwrap(), path).unwrap()
    }

    const LINE: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGZDi3lLasHHAdiWSi+sEEFyFYxGR7ZVCwggBQGSaokW";
    const VIEW: &str = "/client/web1/nightly/2027-01-15.1@last-seal";

    fn seal(path: &str, upto: u64) -> Seal {
        let View { mut series, generation, .. } = view(path);
        series.vault = VaultName::new("vault1").unwrap();
        Seal {
            schema: 1,
            fleet: root().fleet.clone(),
            slot: SlotId { series, date: generation.date, at: SlotTime::new(2, 30).unwrap(), manual: false },
            generation,
            run: RunId::new("a-run").unwrap(),
            snapshot: Hash::of(&upto.to_be_bytes()),
            upto,
            objects: 1,
            bytes: 1,
            root: Hash::of(b"root"),
            claims: SealClaims {
                files: 1,
                source_bytes: 1,
                unreadable: 0,
                changed: 0,
                dumps: 0,
                read_back: true,
            },
            started: at(0),
            ended: at(60),
        }
    }

    fn signed(seal: &Seal, by: u8) -> String {
        Signed::new(seal, &[&key(by)]).to_json()
    }

    /// web1 had key 10 and was set up anew with key 11; web2 has 20, the vault 30.
    fn list() -> AdmissionList {
        let host = MachineRole::Host;
        let admissions = vec![
            admitted("web1", host, 10, 1),
            admitted("web1", host, 11, 1),
            admitted("web2", host, 20, 1),
            admitted("vault1", MachineRole::Vault, 30, 1),
            // what the controller would like to be an admission
            admitted("web1", host, 66, 66),
        ];
        AdmissionList { admissions, revocations: vec![] }
    }

    fn judge(list: &AdmissionList, path: &str, texts: &[String]) -> Result<OwnSeal, NoSeal> {
        own_seal(&root(), list, &view(path), texts.iter().map(String::as_bytes))
    }

    #[test]
    fn the_last_seal_of_the_host_itself_counts_whatever_else_lies_there() {
        let texts = [
            signed(&seal(VIEW, 7), 10),
            signed(&seal(VIEW, 9), 11),
            signed(&seal(VIEW, 99), 66),
            signed(&seal(VIEW, 98), 20),
            signed(&seal(VIEW, 97), 30),
            "no seal".to_owned(),
            signed(&seal("/client/web1/nightly/2027-01-14.1@last-seal", 96), 11),
            signed(&seal("/client/web1/server/2027-01-15.1@last-seal", 95), 11),
            signed(&seal("/client/web1/nightly/2027-01-15.2@last-seal", 94), 11),
        ];
        let found = judge(&list(), VIEW, &texts).unwrap();
        assert_eq!((found.seal.upto, found.key, found.revoked), (9, key(11).public().id(), None));
        let earlier = VIEW.replace("last-seal", "8");
        assert_eq!(judge(&list(), &earlier, &texts).unwrap().seal.upto, 7);
        assert_eq!(judge(&list(), &VIEW.replace("last-seal", "6"), &texts), Err(NoSeal::Elsewhere));
        assert_eq!(judge(&list(), VIEW, &texts[6..]), Err(NoSeal::Elsewhere));
        assert_eq!(judge(&list(), VIEW, &texts[2..6]), Err(NoSeal::NotItsOwn(4)));
        assert_eq!(judge(&list(), VIEW, &[]), Err(NoSeal::NotItsOwn(0)));
        let mut other_fleet = seal(VIEW, 9);
        other_fleet.fleet = FleetName::new("other").unwrap();
        assert_eq!(judge(&list(), VIEW, &[signed(&other_fleet, 11)]), Err(NoSeal::Elsewhere));
    }

    #[test]
    fn keys_count_that_were_admitted_under_this_root_and_a_revoked_one_is_told() {
        let texts = [signed(&seal(VIEW, 9), 10)];
        let only = |admission: String| AdmissionList { admissions: vec![admission], revocations: vec![] };
        for none in [
            AdmissionList::default(),
            only(admitted("web1", MachineRole::Host, 10, 66)),
            only(admitted("web1", MachineRole::Recovery, 10, 1)),
            only(admitted("web2", MachineRole::Host, 10, 1)),
        ] {
            assert_eq!(judge(&none, VIEW, &texts), Err(NoSeal::NotAdmitted));
        }
        let what = OrderKind::Revoke {
            name: HostName::new("web1").unwrap(),
            role: MachineRole::Host,
            key: key(10).public().id(),
        };
        let fleet = root().fleet.clone();
        let order = Order { schema: 1, fleet, issued: at(500), what, reason: "stolen".into() };
        let by = |by: u8| AdmissionList {
            revocations: vec![Signed::new(&order, &[&key(by)]).to_json()],
            ..list()
        };
        assert_eq!(judge(&by(1), VIEW, &texts).unwrap().revoked, Some(at(500)));
        assert_eq!(judge(&by(66), VIEW, &texts).unwrap().revoked, None, "nobody's word");
    }

    #[test]
    fn no_more_seals_are_looked_at_than_a_date_can_have() {
        let own = signed(&seal(VIEW, 9), 10);
        let noise = vec!["x".to_owned(); MAX_SEALS];
        assert_eq!(
            judge(&list(), VIEW, &[&noise[..], std::slice::from_ref(&own)].concat()),
            Err(NoSeal::NotItsOwn(MAX_SEALS))
        );
        assert!(judge(&list(), VIEW, &[&noise[1..], &[own]].concat()).is_ok());
    }
}
