//! The signed policy set that the controller hands on: verified under the root before it is taken, whole or not at all,
//! and never an older one.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError, RwLock};

use jiff::Timestamp;
use tenure_policy::bundles::{DutyBook, VaultPolicy};
use tenure_policy::resolved::HostPolicy;
use tenure_trust::index::verify_index;
use tenure_trust::{
    Arrival, Bundle, Floor, Hash, HostName, Index, Kind, PolicyVersion, Refused, Root, SeriesId, Verified,
    verify_bundle,
};

use crate::store::{PolicyFiles, SeriesSince};

/// Why a set is not taken. The one that is held stays.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotTaken {
    /// A part of it is refused.
    #[error("the {what} is refused")]
    Refused {
        /// Which part.
        what: String,
        /// Why.
        source: Refused,
    },
    /// A bundle that the index names did not come along: nothing is withheld from any machine.
    #[error("the index names a {kind} for {host}, and it did not come along")]
    Missing {
        /// Of which kind.
        kind: Kind,
        /// For which machine.
        host: HostName,
    },
    /// A bundle came along that the index does not name.
    #[error("a {kind} for {host} came along, and the index does not name it")]
    Unnamed {
        /// Of which kind.
        kind: Kind,
        /// For which machine.
        host: HostName,
    },
}

/// A set that was verified whole.
#[derive(Debug)]
pub struct Set {
    /// Its index.
    pub index: Verified<Index>,
    /// The files as they were signed.
    pub files: PolicyFiles,
    /// What each host must keep, for judging its facts again.
    pub hosts: BTreeMap<HostName, Verified<HostPolicy>>,
    /// What each vault must.
    pub vaults: BTreeMap<HostName, Verified<VaultPolicy>>,
    /// What is promised to whom, for this controller's machine.
    pub duties: Option<Verified<DutyBook>>,
}

impl Set {
    /// Verifies a set under the root and this floor.
    ///
    /// # Errors
    /// [`NotTaken`] with the part that is at fault.
    pub fn verify(
        root: &Verified<Root>,
        floor: &Floor,
        arrival: Arrival,
        now: Timestamp,
        own: &HostName,
        files: PolicyFiles,
    ) -> Result<Self, NotTaken> {
        let refused = |what: String| move |source| NotTaken::Refused { what, source };
        let index = verify_index(root, floor, arrival, now, &files.index).map_err(refused("index".into()))?;
        for (kind, host) in files.bundles.keys() {
            if index.bundle(*kind, host).is_none() {
                return Err(NotTaken::Unnamed { kind: *kind, host: host.clone() });
            }
        }
        let checked = Checker { root, floor, index: &index, files: &files };
        let hosts = checked.all::<HostPolicy>(&index.machines)?;
        let vaults = checked.all::<VaultPolicy>(&index.vaults)?;
        let duties = checked.all::<DutyBook>(&index.controllers)?.remove(own);
        Ok(Self { index, files, hosts, vaults, duties })
    }

    /// Since when each of its series is in the policy: as it was known, from now on where the set before did not have it.
    /// What stood in it before anybody looked stays unknown.
    pub fn series_since(&self, known: &SeriesSince, before: Option<&Self>, now: Timestamp) -> SeriesSince {
        let Some(before) = before else {
            // There was none, or one that is not believed any more: what is known of it holds.
            return self.series().map(|id| (id.clone(), known.get(id).copied().unwrap_or(now))).collect();
        };
        let stood: BTreeSet<&SeriesId> = before.series().collect();
        let since = |id: &SeriesId| match stood.contains(id) {
            true => known.get(id).copied(),
            false => Some(now),
        };
        self.series().filter_map(|id| Some((id.clone(), since(id)?))).collect()
    }

    fn series(&self) -> impl Iterator<Item = &SeriesId> {
        let backups = self.hosts.values().filter_map(|policy| policy.backup.as_ref());
        backups.flat_map(|backup| &backup.series).map(|section| &section.series)
    }

    /// The signed bundle of a machine.
    pub fn bundle(&self, kind: Kind, host: &HostName) -> Option<&[u8]> {
        self.files.bundles.get(&(kind, host.clone())).map(Vec::as_slice)
    }
}

struct Checker<'a> {
    root: &'a Verified<Root>,
    floor: &'a Floor,
    index: &'a Verified<Index>,
    files: &'a PolicyFiles,
}

impl Checker<'_> {
    fn all<T: Bundle>(
        &self,
        named: &BTreeMap<HostName, Hash>,
    ) -> Result<BTreeMap<HostName, Verified<T>>, NotTaken> {
        let one = |host: &HostName| {
            let missing = || NotTaken::Missing { kind: T::KIND, host: host.clone() };
            let bytes = self.files.bundles.get(&(T::KIND, host.clone())).ok_or_else(missing)?;
            let bundle = verify_bundle::<T>(self.root, self.index, self.floor, host, bytes);
            let what = format!("{} of {host}", T::KIND);
            Ok((host.clone(), bundle.map_err(|source| NotTaken::Refused { what, source })?))
        };
        named.keys().map(one).collect()
    }
}

/// The set that is held. Clones are the same shelf.
#[derive(Debug, Clone, Default)]
pub struct Shelf(Arc<RwLock<Option<Arc<Set>>>>);

impl Shelf {
    /// The set that is held.
    pub fn get(&self) -> Option<Arc<Set>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// From now on holds this one.
    pub fn put(&self, set: Set) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(set));
    }

    /// Its version.
    pub fn version(&self) -> Option<PolicyVersion> {
        self.get().map(|set| set.index.version)
    }

    /// Keys that its index revokes.
    pub fn revoked(&self) -> BTreeSet<tenure_trust::KeyId> {
        self.get().map(|set| set.index.revoked.clone()).unwrap_or_default()
    }
}
