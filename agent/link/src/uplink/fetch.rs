//! Pulls policy and admissions and verifies them before they lie where this machine takes them from. What is forged,
//! older, foreign or withheld changes nothing and is named.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use jiff::Timestamp;
use tenure_sys::files::{BaseDir, CheckedDir, Expect, Owner, Put, Roots};
use tenure_trust::admission::{MAX_ADMISSIONS, verify_admission, verify_order};
use tenure_trust::enrol::paths;
use tenure_trust::{
    Admission, AdmissionList, Bundle, Hash, Kind, MachineRole, Order, OrderKind, Refused, Root, Signed,
    Statement, Verified,
};

use super::http::Line;
use super::{LinkError, Notice, Setup, directory, enrol, orders};
use crate::admissions;
use crate::store::{BundleStore, Places, StoreError};

/// The most bytes of a list of admissions: 1.5 KiB for each of the most.
const LIST: usize = 60 << 20;
/// The most that are kept: a few below what is looked at, for those that come with this machine's own certificates.
const MOST_HELD: usize = MAX_ADMISSIONS - 100;
const INDEX: &str = "index.json";

/// Pulls for one machine.
#[derive(Debug)]
pub(super) struct Fetcher {
    setup: Setup,
}

impl Fetcher {
    pub(super) fn new(setup: Setup) -> Self {
        Self { setup }
    }

    /// Pulls everything once. What is refused or withheld is in the answer; an error is one of the link itself.
    pub(super) async fn fetch<T: Bundle>(
        &mut self,
        line: &mut Line,
        now: Timestamp,
    ) -> Result<Vec<Notice>, LinkError> {
        let mut notices = Vec::new();
        self.policy::<T>(line, now, &mut notices).await?;
        self.admissions(line, &mut notices).await?;
        if T::KIND == Kind::VaultPolicy {
            orders::pull(&self.setup.places, line, &mut notices).await?;
        }
        Ok(notices)
    }

    async fn policy<T: Bundle>(
        &mut self,
        line: &mut Line,
        now: Timestamp,
        notices: &mut Vec<Notice>,
    ) -> Result<(), LinkError> {
        let places = &self.setup.places;
        let store = BundleStore::open(places, self.setup.host.clone())?;
        let Some(index) = line.get(paths::INDEX, "the index", written(Kind::Index)).await? else {
            if store.floor().version.0 > 0 {
                notices.push(withheld(format!(
                    "the controller has no policy, and version {} was taken from it",
                    store.floor().version
                )));
            }
            return Ok(());
        };
        let dir = directory(places);
        let bundle_name = T::file_name(&self.setup.host);
        if held(&dir, INDEX).is_some_and(|known| known == index) && held(&dir, &bundle_name).is_some() {
            return Ok(());
        }
        let path = match T::KIND {
            Kind::VaultPolicy => "/v1/policy/vault",
            _ => paths::BUNDLE,
        };
        // Judged first: only an index that is believed can say that a bundle is withheld.
        let judged = match store.judge_index(now, &index) {
            Ok(judged) => judged,
            Err(error) => return refuse(error, notices),
        };
        let bundle = line.get(path, "the bundle", written(T::KIND)).await?;
        let Some(bundle) = bundle else {
            if judged.bundle(T::KIND, &self.setup.host).is_some() {
                let version = judged.version;
                notices.push(withheld(format!(
                    "version {version} names a bundle for this machine, and the controller has none"
                )));
            } else {
                notices.push(withheld(format!("version {} has no bundle for this machine", judged.version)));
            }
            return Ok(());
        };
        if let Err(error) = store.judge_bundle::<T>(&judged, &bundle) {
            return refuse(error, notices);
        }
        put(places, &bundle_name, &bundle)?;
        put(places, INDEX, &index)
    }

    async fn admissions(&mut self, line: &mut Line, notices: &mut Vec<Notice>) -> Result<(), LinkError> {
        let places = &self.setup.places;
        let Some(bytes) = line.get(paths::ADMISSIONS, "the admissions", LIST).await? else {
            notices.push(withheld("the controller has no list of admissions".into()));
            return Ok(());
        };
        let nonsense =
            |e: serde_json::Error| LinkError::Nonsense { what: "the admissions", why: e.to_string() };
        let offered: AdmissionList = serde_json::from_slice(&bytes).map_err(nonsense)?;
        let root = enrol::root(places)?;
        let known = known(places)?;
        let merged = merge(&root, &known, &offered);
        notices.extend(merged.refused.iter().take(5).map(|why| Notice {
            event: "policy_refused",
            what: format!("an admission or revocation: {why}"),
            hint: why.hint().into(),
        }));
        for (kind, missing) in [("admissions", &merged.missing), ("revocations", &merged.unrevoked)] {
            if missing.is_empty() {
                continue;
            }
            let names: Vec<String> =
                missing.iter().take(5).map(|(name, role)| format!("{name} ({role})")).collect();
            let count = missing.len();
            notices
                .push(withheld(format!("{count} {kind} are known here and withheld: {}", names.join(", "))));
        }
        if merged.list == known {
            return Ok(());
        }
        keep(places, &merged.list)
    }
}

fn withheld(what: String) -> Notice {
    let hint = "what was taken keeps holding; ask an operator what became of the controller".into();
    Notice { event: "policy_withheld", what, hint }
}

/// A refusal is a notice; anything else is an error of ours.
fn refuse(error: StoreError, notices: &mut Vec<Notice>) -> Result<(), LinkError> {
    let Some(refused) = error.refusal() else { return Err(error.into()) };
    let what = match &error {
        StoreError::Refused { what, .. } => *what,
        _ => "policy",
    };
    notices.push(Notice {
        event: "policy_refused",
        what: format!("the {what} from the controller is refused: {refused}"),
        hint: refused.hint().into(),
    });
    Ok(())
}

/// The most bytes that the JSON form of a kind has.
const fn written(kind: Kind) -> usize {
    kind.max_payload() / 3 * 4 + (16 << 10)
}

pub(super) fn held(dir: &Path, name: &str) -> Option<Vec<u8>> {
    let expect = Expect { owner: Owner::Anybody, limit: written(Kind::HostPolicy) as u64, one_link: false };
    BaseDir::open(dir).and_then(|dir| dir.read(Path::new(name), &expect)).ok().map(|file| file.bytes)
}

pub(super) fn put(places: &Places, name: &str, bytes: &[u8]) -> Result<(), LinkError> {
    let dir = directory(places);
    let writable = Roots::new([&places.state])?;
    writable.make_dir(&dir, 0o700)?;
    Ok(writable.put(&Put::own(&dir.join(name), bytes, 0o600))?)
}

fn known(places: &Places) -> Result<AdmissionList, LinkError> {
    let path = directory(places).join(admissions::FILE);
    match CheckedDir::read_file(&path, LIST as u64) {
        Ok(file) => {
            serde_json::from_slice(&file.bytes).map_err(|e| LinkError::Damaged { path, why: e.to_string() })
        }
        Err(error) if error.is_missing() => Ok(AdmissionList::default()),
        Err(error) => Err(error.into()),
    }
}

fn keep(places: &Places, list: &AdmissionList) -> Result<(), LinkError> {
    let bytes = serde_json::to_vec(list).map_err(|e| LinkError::Key(e.to_string()))?;
    put(places, admissions::FILE, &bytes)
}

/// Keeps this machine's own admission, which came with its certificate.
pub(super) fn remember_admission(places: &Places, admission: &str) -> Result<(), LinkError> {
    let mut list = known(places)?;
    if !list.admissions.iter().any(|held| held == admission) {
        list.admissions.push(admission.to_owned());
        keep(places, &list)?;
    }
    Ok(())
}

/// What is known and what is offered, together.
struct Merged {
    list: AdmissionList,
    refused: Vec<Refused>,
    /// Machines whose admissions are known here and were not offered again.
    missing: BTreeSet<(String, MachineRole)>,
    /// Machines whose revocations are.
    unrevoked: BTreeSet<(String, MachineRole)>,
}

/// Everything that operators signed stays known: a controller can add, and can take nothing away. What is not under the
/// root is left out. One statement counts once, however it is spelled, so nobody fills the list with what was signed once.
fn merge(root: &Verified<Root>, known: &AdmissionList, offered: &AdmissionList) -> Merged {
    let mut refused = Vec::new();
    let (mut missing, mut unrevoked) = (BTreeSet::new(), BTreeSet::new());
    let size = offered.admissions.len() + offered.revocations.len();
    if size > MAX_ADMISSIONS {
        refused.push(Refused::TooLarge { size, limit: MAX_ADMISSIONS });
        return Merged { list: known.clone(), refused, missing, unrevoked };
    }
    let mut list = known.clone();
    let mut left = MOST_HELD.saturating_sub(known.admissions.len() + known.revocations.len());
    let mut take = |to: &mut Vec<String>, new: BTreeMap<Hash, String>, refused: &mut Vec<Refused>| {
        let lacks = new.len().saturating_sub(left);
        if lacks > 0 {
            refused.push(Refused::TooLarge { size: MOST_HELD + lacks, limit: MOST_HELD });
        }
        let taken = new.into_values().take(left);
        let before = to.len();
        to.extend(taken);
        left -= to.len() - before;
    };
    // Revocations first: what closes goes before what opens.
    let orders =
        Offer::of::<Order>(
            &known.revocations,
            &offered.revocations,
            &mut refused,
            |text| match &verify_order(root, text)?.what {
                OrderKind::Revoke { .. } => Ok(()),
                OrderKind::Clear { .. } => Err(Refused::malformed("an order of another kind")),
            },
        );
    take(&mut list.revocations, orders.new, &mut refused);
    for text in orders.missing {
        let order = verify_order(root, text.as_bytes());
        if let Some(OrderKind::Revoke { name, role, .. }) = order.as_ref().ok().map(|order| &order.what) {
            unrevoked.insert((name.to_string(), *role));
        }
    }
    let admissions = Offer::of::<Admission>(&known.admissions, &offered.admissions, &mut refused, |text| {
        verify_admission(root, text).map(drop)
    });
    take(&mut list.admissions, admissions.new, &mut refused);
    for text in admissions.missing {
        if let Ok(admission) = verify_admission(root, text.as_bytes()) {
            missing.insert((admission.name.to_string(), admission.role));
        }
    }
    Merged { list, refused, missing, unrevoked }
}

/// Statements of one kind that were offered, beside those that are known.
struct Offer {
    /// Believed and not known yet, in one spelling each, by the hash of what they say.
    new: BTreeMap<Hash, String>,
    /// Known and not offered again.
    missing: Vec<String>,
}

impl Offer {
    fn of<T: Statement>(
        known: &[String],
        offered: &[String],
        refused: &mut Vec<Refused>,
        believe: impl Fn(&[u8]) -> Result<(), Refused>,
    ) -> Self {
        let read = |text: &String| {
            Signed::<T>::parse(text.as_bytes()).map(|signed| (signed.hash(), signed.envelope().canonical()))
        };
        // What is known was believed when it was taken.
        let held: BTreeMap<Hash, String> = known.iter().filter_map(|text| read(text).ok()).collect();
        let mut there: BTreeMap<Hash, String> = BTreeMap::new();
        for text in offered {
            let judged = read(text).and_then(|(hash, text)| {
                if held.get(&hash) != Some(&text) && there.get(&hash) != Some(&text) {
                    believe(text.as_bytes())?;
                }
                Ok((hash, text))
            });
            match judged {
                Ok((hash, text)) => drop(there.entry(hash).or_insert(text)),
                Err(why) => refused.push(why),
            }
        }
        let missing =
            held.iter().filter(|(hash, _)| !there.contains_key(*hash)).map(|(_, text)| text.clone());
        let missing = missing.collect();
        there.retain(|hash, _| !held.contains_key(hash));
        Self { new: there, missing }
    }
}
