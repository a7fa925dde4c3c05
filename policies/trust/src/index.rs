//! The index of a policy set, the bundles that it names, and the floor below which nothing is taken again.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::envelope::Signed;
use crate::hash::Hash;
use crate::ids::{FleetName, HostName, PolicyVersion};
use crate::keys::KeyId;
use crate::kind::Kind;
use crate::refused::Refused;
use crate::root::Root;
use crate::statement::{self, Bundle, Standing, Statement, Verified};

/// How far a signer's clock may be ahead of ours.
const CLOCK_SKEW: SignedDuration = SignedDuration::from_mins(5);
/// The most machines in one set.
const MAX_MACHINES: usize = 10_000;

/// Version, term and content of a policy set. Version and term live here and not in the bundles, so that a bundle that
/// did not change keeps its hash.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Index {
    /// Schema of this statement.
    pub schema: u32,
    /// The fleet.
    pub fleet: FleetName,
    /// The number of the set; only rises.
    pub version: PolicyVersion,
    /// When it was signed.
    pub issued: Timestamp,
    /// When it expires.
    pub expires: Timestamp,
    /// For every machine the hash of its bundle's payload bytes.
    #[serde(deserialize_with = "statement::unique_map")]
    pub machines: BTreeMap<HostName, Hash>,
    /// For every machine that a vault stands on the hash of the vault's bundle.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "statement::unique_map")]
    pub vaults: BTreeMap<HostName, Hash>,
    /// For the controller's machine the hash of the duty book.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "statement::unique_map")]
    pub controllers: BTreeMap<HostName, Hash>,
    /// Identity keys that were revoked by the time of signing: so a controller cannot withhold a revocation.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub revoked: BTreeSet<KeyId>,
}

impl Index {
    /// The hash of the bundle of this kind for this machine.
    pub fn bundle(&self, kind: Kind, machine: &HostName) -> Option<&Hash> {
        match kind {
            Kind::HostPolicy => self.machines.get(machine),
            Kind::VaultPolicy => self.vaults.get(machine),
            Kind::DutyBook => self.controllers.get(machine),
            _ => None,
        }
    }
}

impl Statement for Index {
    const KIND: Kind = Kind::Index;
    const SCHEMA: u32 = 1;
}

/// What a holder has taken and never goes below. It is written durably before the policy it speaks of is enforced.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Floor {
    /// Schema of this statement.
    pub schema: u32,
    /// The version taken; 0 when none was.
    pub version: PolicyVersion,
    /// The hash of that index.
    pub index: Option<Hash>,
    /// The latest time that a signature proved: it is never earlier than this.
    pub latest: Timestamp,
}

/// How a policy comes to its holder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// It is offered now: its term is judged.
    Offered,
    /// It was taken before and is read again after a restart: it must be the very one, and it holds though expired.
    Held,
}

impl Floor {
    /// The floor of a holder that has taken nothing.
    pub const NONE: Floor =
        Floor { schema: 1, version: PolicyVersion(0), index: None, latest: Timestamp::UNIX_EPOCH };

    /// The floor after taking this index.
    pub fn raised(&self, index: &Verified<Index>) -> Floor {
        Floor {
            schema: 1,
            version: self.version.max(index.version),
            index: if index.version >= self.version { Some(index.hash()) } else { self.index },
            latest: self.latest.max(index.issued),
        }
    }
}

/// Verifies an index for this holder.
///
/// # Errors
/// `Refused` with the first rule that it breaks.
pub fn verify_index(
    root: &Verified<Root>,
    floor: &Floor,
    arrival: Arrival,
    now: Timestamp,
    bytes: &[u8],
) -> Result<Verified<Index>, Refused> {
    let signed = Signed::<Index>::parse(bytes)?;
    let by = root.signed_by(signed.envelope())?;
    let index: Index = statement::read(signed.envelope().payload())?;
    index.sound()?;
    same_fleet(root, &index.fleet)?;
    let hash = signed.hash();
    if index.version < floor.version {
        return Err(Refused::OlderThanFloor { floor: floor.version, offered: index.version });
    }
    if index.version == floor.version && floor.index.is_some_and(|held| held != hash) {
        return Err(Refused::SameVersionOtherHash { version: index.version });
    }
    let held = index.version == floor.version && floor.index == Some(hash);
    if arrival == Arrival::Offered || !held {
        in_term(root, &index, now.max(floor.latest))?;
    }
    let standing = Standing::Signed { version: index.version, by, until: index.expires };
    Ok(Verified::new(index, hash, standing))
}

/// Verifies the bundle of `host` under an index that has been verified.
///
/// # Errors
/// `Refused` with the first rule that it breaks.
pub fn verify_bundle<T: Bundle>(
    root: &Verified<Root>,
    index: &Verified<Index>,
    floor: &Floor,
    host: &HostName,
    bytes: &[u8],
) -> Result<Verified<T>, Refused> {
    if index.version < floor.version {
        return Err(Refused::OlderThanFloor { floor: floor.version, offered: index.version });
    }
    let signed = Signed::<T>::parse(bytes)?;
    let by = root.signed_by(signed.envelope())?;
    let bundle: T = statement::read(signed.envelope().payload())?;
    same_fleet(root, bundle.fleet())?;
    if bundle.machine() != host {
        return Err(Refused::WrongHost { ours: host.clone(), found: bundle.machine().clone() });
    }
    let version = index.version;
    if index.bundle(T::KIND, host) != Some(&signed.hash()) {
        return Err(Refused::HashNotInIndex { host: host.clone(), version });
    }
    let standing = Standing::Signed { version, by, until: index.expires };
    Ok(Verified::new(bundle, signed.hash(), standing))
}

fn same_fleet(root: &Verified<Root>, found: &FleetName) -> Result<(), Refused> {
    if *found == root.fleet {
        return Ok(());
    }
    Err(Refused::WrongFleet { ours: root.fleet.clone(), found: found.clone() })
}

fn in_term(root: &Verified<Root>, index: &Index, now: Timestamp) -> Result<(), Refused> {
    if root.expires <= now {
        return Err(Refused::RootExpired { at: root.expires });
    }
    if index.expires <= now {
        return Err(Refused::Expired { at: index.expires });
    }
    if now.saturating_add(CLOCK_SKEW).is_ok_and(|latest| index.issued > latest) {
        return Err(Refused::NotYetValid { issued: index.issued, now });
    }
    Ok(())
}

impl Index {
    fn sound(&self) -> Result<(), Refused> {
        if self.version.0 == 0 {
            return Err(Refused::malformed("versions are counted from 1"));
        }
        if self.issued >= self.expires {
            return Err(Refused::malformed("the set expires before it is issued"));
        }
        if self.machines.len().max(self.vaults.len()).max(self.controllers.len()) > MAX_MACHINES {
            return Err(Refused::malformed(format_args!("more than {MAX_MACHINES} machines")));
        }
        Ok(())
    }
}
