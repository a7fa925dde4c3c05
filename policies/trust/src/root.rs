//! The anchor: which keys may sign what, k of n, and how one root follows another (The Update Framework, 5.3).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::envelope::{Envelope, Signed};
use crate::ids::{FleetName, PolicyVersion, RootVersion};
use crate::keys::{KeyId, NamedKey, PublicKey};
use crate::kind::Kind;
use crate::refused::Refused;
use crate::statement::{self, Standing, Statement, Verified};

/// The most keys that a role may have.
const MAX_KEYS: usize = 16;

/// What a group of keys may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Signs roots.
    Root,
    /// Signs policy: index and bundles.
    Policy,
    /// Signs admissions of machines.
    Admission,
    /// Signs purge, hold, clear and revoke.
    Order,
    /// Signs certificates.
    Certificate,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Role::Root => "root",
            Role::Policy => "policy",
            Role::Admission => "admission",
            Role::Order => "order",
            Role::Certificate => "certificate",
        })
    }
}

/// The keys of one role and how many different ones of them must sign.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RoleKeys {
    /// How many different keys must sign, from 1.
    pub threshold: u32,
    /// The keys.
    pub keys: Vec<NamedKey>,
}

/// The statement of which keys may sign what.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Root {
    /// Schema of this statement.
    pub schema: u32,
    /// Its number, from 1.
    pub version: RootVersion,
    /// The fleet that it anchors.
    pub fleet: FleetName,
    /// When it was signed.
    pub issued: Timestamp,
    /// After this no new policy is taken under it; what was taken keeps holding.
    pub expires: Timestamp,
    /// The roles; `root` and `policy` must be there.
    #[serde(deserialize_with = "statement::unique_map")]
    pub roles: BTreeMap<Role, RoleKeys>,
}

impl Statement for Root {
    const KIND: Kind = Kind::Root;
    const SCHEMA: u32 = 1;
}

impl Root {
    /// Reads the root that a person placed. It must be signed by its own root role; its expiry is not judged here,
    /// because a host whose root has expired goes on with what it holds.
    ///
    /// # Errors
    /// `Refused`, when it is not the form, not signed by its own threshold, or its roles make no sense.
    pub fn anchor(bytes: &[u8]) -> Result<Verified<Root>, Refused> {
        let signed = Signed::<Root>::parse(bytes)?;
        // The keys stand in the payload itself: it is read once to find them and believed only after the check.
        let root: Root = statement::read(signed.envelope().payload())?;
        root.sound()?;
        let by = root.signed_by(signed.envelope())?;
        Ok(root.into_verified(&signed, by))
    }

    /// A root that was just written, checked as any holder will check it.
    ///
    /// # Errors
    /// `Refused`, when its roles make no sense or too few of its own root keys signed.
    pub fn anchor_signed(signed: &Signed<Root>) -> Result<Verified<Root>, Refused> {
        Self::anchor(signed.to_json().as_bytes())
    }

    /// Checks an envelope against the role that its kind asks for and returns the different keys that signed it.
    pub(crate) fn signed_by(&self, envelope: &Envelope) -> Result<BTreeSet<KeyId>, Refused> {
        let kind = envelope.kind();
        let role = kind.role().ok_or(Refused::NobodyMaySign { kind })?;
        let keys = self.roles.get(&role).ok_or(Refused::NobodyMaySign { kind })?;
        let by = envelope.check(|keyid| match keys.find(keyid) {
            Some(key) => Ok(key),
            None if self.knows(keyid) => Err(Refused::RoleMayNotSign { key: keyid, kind }),
            None => Err(Refused::UnknownKey { key: keyid }),
        })?;
        keys.enough(role, by.len())?;
        Ok(by)
    }

    /// The name under which a key stands here, for people.
    pub fn name_of(&self, keyid: KeyId) -> Option<&NamedKey> {
        self.roles.values().flat_map(|role| &role.keys).find(|named| named.key.id() == keyid)
    }

    fn knows(&self, keyid: KeyId) -> bool {
        self.name_of(keyid).is_some()
    }

    fn into_verified(self, signed: &Signed<Root>, by: BTreeSet<KeyId>) -> Verified<Root> {
        let standing = Standing::Signed { version: PolicyVersion(self.version.0), by, until: self.expires };
        Verified::new(self, signed.hash(), standing)
    }

    /// Roles that make sense: thresholds that can be met and matter, one key under one name, root and policy present.
    fn sound(&self) -> Result<(), Refused> {
        if self.version.0 == 0 {
            return Err(Refused::malformed("roots are counted from 1"));
        }
        if self.issued >= self.expires {
            return Err(Refused::malformed("the root expires before it is issued"));
        }
        for role in [Role::Root, Role::Policy] {
            if !self.roles.contains_key(&role) {
                return Err(Refused::malformed(format_args!("the role {role} is missing")));
            }
        }
        let mut names = BTreeMap::new();
        for (role, keys) in &self.roles {
            keys.sound(*role)?;
            for named in &keys.keys {
                let name = names.entry(named.key.id()).or_insert(&named.name);
                if *name != &named.name {
                    let text = format!("one key has two names, {name} and {}", named.name);
                    return Err(Refused::malformed(text));
                }
            }
        }
        Ok(())
    }
}

impl Verified<Root> {
    /// Takes the root that follows this one: the very next number, of the same fleet, not expired, signed by the
    /// threshold of this root's root role **and** by the threshold of its own.
    ///
    /// # Errors
    /// `Refused` with the rule that it breaks; then this root stays.
    pub fn accept(&self, bytes: &[u8], now: Timestamp) -> Result<Verified<Root>, Refused> {
        let signed = Signed::<Root>::parse(bytes)?;
        let new: Root = statement::read(signed.envelope().payload())?;
        new.sound()?;
        let (old_keys, new_keys) = (self.root_keys()?, new.root_keys()?);
        let by = signed.envelope().check(|keyid| {
            let known = old_keys.find(keyid).or_else(|| new_keys.find(keyid));
            known.ok_or_else(|| match self.knows(keyid) || new.knows(keyid) {
                true => Refused::RoleMayNotSign { key: keyid, kind: Kind::Root },
                false => Refused::UnknownKey { key: keyid },
            })
        })?;
        for keys in [old_keys, new_keys] {
            keys.enough(Role::Root, by.iter().filter(|keyid| keys.find(**keyid).is_some()).count())?;
        }
        if new.fleet != self.fleet {
            return Err(Refused::WrongFleet { ours: self.fleet.clone(), found: new.fleet });
        }
        let next = RootVersion(self.version.0.saturating_add(1));
        if new.version != next {
            return Err(Refused::RootNotNext { next, offered: new.version });
        }
        if new.expires <= now {
            return Err(Refused::Expired { at: new.expires });
        }
        Ok(new.into_verified(&signed, by))
    }
}

impl Root {
    fn root_keys(&self) -> Result<&RoleKeys, Refused> {
        self.roles.get(&Role::Root).ok_or(Refused::NobodyMaySign { kind: Kind::Root })
    }
}

impl RoleKeys {
    fn find(&self, keyid: KeyId) -> Option<PublicKey> {
        self.keys.iter().find(|named| named.key.id() == keyid).map(|named| named.key)
    }

    fn enough(&self, role: Role, have: usize) -> Result<(), Refused> {
        let need = self.threshold as usize;
        if have < need { Err(Refused::ThresholdNotMet { role, have, need }) } else { Ok(()) }
    }

    fn sound(&self, role: Role) -> Result<(), Refused> {
        if self.keys.len() > MAX_KEYS {
            return Err(Refused::malformed(format_args!("the role {role} has more than {MAX_KEYS} keys")));
        }
        let different: BTreeSet<KeyId> = self.keys.iter().map(|named| named.key.id()).collect();
        if different.len() != self.keys.len() {
            return Err(Refused::malformed(format_args!("the role {role} names one key twice")));
        }
        if self.threshold == 0 || self.threshold as usize > different.len() {
            let text = format!("the role {role} asks for {} of {} keys", self.threshold, different.len());
            return Err(Refused::malformed(text));
        }
        Ok(())
    }
}
