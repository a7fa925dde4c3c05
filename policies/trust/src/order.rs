//! Orders that a vault carries out: what an order must be before it is obeyed, and the list in which they come. Pure.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::admission::{Order, OrderKind, verify_order};
use crate::backup::{GenerationId, SeriesId};
use crate::hash::Hash;
use crate::ids::VaultName;
use crate::keys::KeyId;
use crate::refused::Refused;
use crate::root::Root;
use crate::statement::{Standing, Verified};

/// The most orders in one list.
pub const MAX_ORDERS: usize = 1000;
/// The longest that an order may wait to be carried out: what was right then need not be right later.
pub const MAX_WAIT: SignedDuration = SignedDuration::from_hours(31 * 24);
/// The longest reason in bytes.
pub const MAX_REASON: usize = 1000;
/// So far may the signer's clock be ahead of ours.
const AHEAD: SignedDuration = SignedDuration::from_hours(1);

/// What a controller hands on to vaults. Nothing in it is believed unverified.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OrderList {
    /// Orders as DSSE JSON.
    pub orders: Vec<String>,
}

/// An order to take a generation that was set aside; made by [`verify_clear`] alone.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Clear {
    /// Of which series, with its vault.
    pub series: SeriesId,
    /// Which generation.
    pub generation: GenerationId,
    /// Until when it may be carried out.
    pub until: Timestamp,
    /// Why, in a person's words.
    pub reason: String,
    /// Hash of the bytes that were signed.
    pub order: Hash,
    /// Whose keys signed it.
    pub by: BTreeSet<KeyId>,
}

/// Verifies an order to take a generation that was set aside: by whom it is signed, for which vault it is, why, and
/// until when. Without `vault` it may be for any.
///
/// # Errors
/// `Refused` with the rule that it breaks.
pub fn verify_clear(
    root: &Verified<Root>,
    vault: Option<&VaultName>,
    now: Timestamp,
    bytes: &[u8],
) -> Result<Clear, Refused> {
    let order = verify_order(root, bytes)?;
    let Order { schema: _, fleet: _, issued, what, reason } = order.value();
    let OrderKind::Clear { vault: named, series, generation, until } = what else {
        return Err(Refused::malformed("it is an order of another kind"));
    };
    if let Some(ours) = vault.filter(|ours| *ours != named) {
        return Err(Refused::WrongVault { ours: ours.clone(), found: named.clone() });
    }
    if reason.trim().is_empty() || reason.len() > MAX_REASON {
        return Err(Refused::malformed(format_args!("an order has a reason of at most {MAX_REASON} bytes")));
    }
    if until.duration_since(*issued) > MAX_WAIT {
        return Err(Refused::malformed("an order waits for 31 days at most"));
    }
    if issued.duration_since(now) > AHEAD {
        return Err(Refused::NotYetValid { issued: *issued, now });
    }
    if *until <= now {
        return Err(Refused::Expired { at: *until });
    }
    let series = SeriesId::from_path(named.clone(), series).map_err(Refused::malformed)?;
    let by = match order.standing() {
        Standing::Signed { by, .. } => by.clone(),
        Standing::Local => BTreeSet::new(),
    };
    let (generation, until, reason) = (*generation, *until, reason.clone());
    Ok(Clear { series, generation, until, reason, order: order.hash(), by })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::{FleetName, KeyName, NamedKey, Role, RoleKeys, RootVersion, Signed, SigningKey};

    fn key(seed: u8) -> SigningKey {
        SigningKey::from_seed(&[seed; 32])
    }

    fn at(hours: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + hours * 3600).unwrap()
    }

    /// Key 1 signs policy and roots, key 2 orders.
    fn root() -> Verified<Root> {
        let keys = |seed: u8| RoleKeys {
            threshold: 1,
            keys: vec![NamedKey {
                name: KeyName::new(format!("key{seed}")).unwrap(),
                key: key(seed).public(),
            }],
        };
        let root = Root {
            schema: 1,
            version: RootVersion(1),
            fleet: FleetName::new("acme").unwrap(),
            issued: at(0),
            expires: at(100_000),
            roles: BTreeMap::from([(Role::Root, keys(1)), (Role::Policy, keys(1)), (Role::Order, keys(2))]),
        };
        Root::anchor_signed(&Signed::new(&root, &[&key(1)])).unwrap()
    }

    fn order(hours: i64) -> Order {
        Order {
            schema: 1,
            fleet: FleetName::new("acme").unwrap(),
            issued: at(0),
            what: OrderKind::Clear {
                vault: vault("vault1"),
                series: "acme/web1/server".into(),
                generation: "2026-11-23.1".parse().unwrap(),
                until: at(hours),
            },
            reason: "half of it was logs".into(),
        }
    }

    fn vault(name: &str) -> VaultName {
        VaultName::new(name).unwrap()
    }

    fn judged(order: &Order, by: u8, now: i64) -> Result<Clear, Refused> {
        let text = Signed::new(order, &[&key(by)]).to_json();
        verify_clear(&root(), Some(&vault("vault1")), at(now), text.as_bytes())
    }

    #[test]
    fn an_order_holds_for_its_vault_with_its_reason_in_its_time() {
        let clear = judged(&order(48), 2, 1).unwrap();
        assert_eq!((clear.series.path().as_str(), clear.until), ("acme/web1/server", at(48)));
        assert_eq!((clear.reason.as_str(), clear.by.len()), ("half of it was logs", 1));
        assert!(judged(&order(48), 2, -1).is_ok(), "clocks differ a little");
    }

    #[test]
    fn every_order_that_does_not_fit_is_refused() {
        let good = order(48);
        let text = Signed::new(&good, &[&key(2)]).to_json();
        let elsewhere = verify_clear(&root(), Some(&vault("vault2")), at(1), text.as_bytes());
        assert_eq!(
            elsewhere,
            Err(Refused::WrongVault { ours: vault("vault2"), found: vault("vault1") }),
            "it names another vault"
        );
        assert!(verify_clear(&root(), None, at(1), text.as_bytes()).is_ok());
        assert_eq!(judged(&good, 2, 48), Err(Refused::Expired { at: at(48) }));
        assert_eq!(judged(&good, 2, -2), Err(Refused::NotYetValid { issued: at(0), now: at(-2) }));
        assert!(matches!(judged(&good, 1, 1), Err(Refused::RoleMayNotSign { .. })));
        assert!(matches!(judged(&good, 9, 1), Err(Refused::UnknownKey { .. })));
        let foreign = Order { fleet: FleetName::new("other").unwrap(), ..good.clone() };
        assert!(matches!(judged(&foreign, 2, 1), Err(Refused::WrongFleet { .. })));
        for reason in ["", " \n", &"x".repeat(MAX_REASON + 1)] {
            let order = Order { reason: reason.into(), ..good.clone() };
            assert!(matches!(judged(&order, 2, 1), Err(Refused::Malformed(_))), "{reason:?}");
        }
        assert!(matches!(judged(&order(31 * 24 + 1), 2, 1), Err(Refused::Malformed(_))), "too long");
        let name = crate::HostName::new("web1").unwrap();
        let what = OrderKind::Revoke { name, role: crate::MachineRole::Host, key: key(9).public().id() };
        let revocation = Order { what, ..good };
        assert!(matches!(judged(&revocation, 2, 1), Err(Refused::Malformed(_))), "of another kind");
        let unsigned = text.replace("\"sig\":\"", "\"sig\":\"A");
        assert!(verify_clear(&root(), None, at(1), unsigned.as_bytes()).is_err());
    }
}
