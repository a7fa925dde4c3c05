//! What stands inside an envelope, and the proof in the type that it was verified.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::Deref;

use jiff::Timestamp;
use serde::de::{DeserializeOwned, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use crate::hash::Hash;
use crate::ids::{FleetName, HostName, PolicyVersion};
use crate::keys::KeyId;
use crate::kind::Kind;
use crate::refused::Refused;

/// Something that can be signed. Implementors are `deny_unknown_fields` and have a field `schema: u32` from 1.
pub trait Statement: Serialize + DeserializeOwned {
    /// What kind it is.
    const KIND: Kind;
    /// The newest schema that this program reads.
    const SCHEMA: u32;
}

/// What one machine gets of a policy set (`HostPolicy`, `VaultPolicy`, `DutyBook`).
pub trait Bundle: Statement {
    /// The fleet it is for.
    fn fleet(&self) -> &FleetName;
    /// The machine it is for.
    fn machine(&self) -> &HostName;

    /// The name of its file in a signed directory: `HOST.bundle.json`, `HOST.vault.json`, `HOST.duty.json`.
    fn file_name(machine: &HostName) -> String {
        format!("{machine}.{}.json", Self::KIND.bundle_word().unwrap_or("bundle"))
    }
}

/// A statement that has been verified for this holder. There are two ways to one: the functions of this crate that
/// verify, and `local` for a policy that an administrator keeps on this very machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified<T> {
    value: T,
    hash: Hash,
    standing: Standing,
}

/// Why a verified statement may be believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// These keys signed it, and it holds until then.
    Signed {
        /// Version of the policy set (for a root: of the root).
        version: PolicyVersion,
        /// The different keys that signed.
        by: BTreeSet<KeyId>,
        /// When it expires. Expired policy keeps enforcing, is reported, and never opens.
        until: Timestamp,
    },
    /// Nobody signed it: a standalone host reads its administrator's own directory.
    Local,
}

impl<T> Verified<T> {
    /// Takes over a policy of a standalone host. The caller has checked that only root can write where it came from.
    /// It is marked as local for good, and records show no version for it.
    pub fn local(value: T) -> Self
    where
        T: Bundle,
    {
        let hash = Hash::of(&bytes(&value));
        Self { value, hash, standing: Standing::Local }
    }

    /// Only for verification in this crate.
    pub(crate) fn new(value: T, hash: Hash, standing: Standing) -> Self {
        Self { value, hash, standing }
    }

    /// The statement.
    pub fn value(&self) -> &T {
        &self.value
    }

    /// The hash of the bytes that were signed.
    pub fn hash(&self) -> Hash {
        self.hash
    }

    /// Why it may be believed.
    pub fn standing(&self) -> &Standing {
        &self.standing
    }

    /// The version; none for a local policy.
    pub fn version(&self) -> Option<PolicyVersion> {
        match &self.standing {
            Standing::Signed { version, .. } => Some(*version),
            Standing::Local => None,
        }
    }

    /// When it expires; a local policy does not.
    pub fn until(&self) -> Option<Timestamp> {
        match &self.standing {
            Standing::Signed { until, .. } => Some(*until),
            Standing::Local => None,
        }
    }

    /// True when its time is over.
    pub fn is_expired(&self, now: Timestamp) -> bool {
        self.until().is_some_and(|until| until <= now)
    }

    /// True for a standalone host's own policy.
    pub fn is_local(&self) -> bool {
        self.standing == Standing::Local
    }
}

impl<T> Deref for Verified<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.value
    }
}

/// The one way in which a statement becomes bytes: JSON without spaces, fields in the order of their definition.
pub fn bytes<T: Statement>(statement: &T) -> Vec<u8> {
    serde_json::to_vec(statement).expect("a statement has text keys and finite numbers only")
}

/// Reads the payload of an envelope whose signatures have been checked. The schema is looked at first, so that an old
/// program says "too new" and not "unknown field".
pub(crate) fn read<T: Statement>(payload: &[u8]) -> Result<T, Refused> {
    #[derive(Deserialize)]
    struct Head {
        schema: u32,
    }
    let head: Head = serde_json::from_slice(payload).map_err(Refused::malformed)?;
    if head.schema > T::SCHEMA {
        return Err(Refused::SchemaTooNew { found: head.schema, known: T::SCHEMA });
    }
    if head.schema == 0 {
        return Err(Refused::malformed("schema 0 does not exist"));
    }
    serde_json::from_slice(payload).map_err(Refused::malformed)
}

/// Deserialises a map and refuses a key that stands twice (serde would let the last one win).
pub(crate) fn unique_map<'de, D, K, V>(deserializer: D) -> Result<BTreeMap<K, V>, D::Error>
where
    D: Deserializer<'de>,
    K: Deserialize<'de> + Ord + fmt::Debug,
    V: Deserialize<'de>,
{
    struct Unique<K, V>(std::marker::PhantomData<(K, V)>);
    impl<'de, K: Deserialize<'de> + Ord + fmt::Debug, V: Deserialize<'de>> Visitor<'de> for Unique<K, V> {
        type Value = BTreeMap<K, V>;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a map in which every key stands once")
        }
        fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Self::Value, A::Error> {
            let mut map = BTreeMap::new();
            while let Some((key, value)) = access.next_entry::<K, V>()? {
                if map.contains_key(&key) {
                    return Err(serde::de::Error::custom(format_args!("{key:?} stands twice")));
                }
                map.insert(key, value);
            }
            Ok(map)
        }
    }
    deserializer.deserialize_map(Unique(std::marker::PhantomData))
}
