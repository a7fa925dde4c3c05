//! Signed orders as they come beside the policy: each is carried out once, what is refused is told once, and what cannot
//! be done just now is tried again.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use serde_json::json;
use tenure_link::uplink::ORDERS;
use tenure_sys::files::{BaseDir, CheckedDir, Expect, FileError, Owner, Put, Roots};
use tenure_sys::text;
use tenure_trust::admission::verify_order;
use tenure_trust::order::MAX_ORDERS;
use tenure_trust::vault_wire::RefusalCode;
use tenure_trust::{Hash, Order, OrderKind, OrderList, Signed};

use crate::journal;
use crate::store::Fault;
use crate::vault::Vault;

/// What was dealt with, in the vault's state.
const DONE: &str = "orders-done.json";
/// 4 KiB for each order.
const LIMIT: u64 = (MAX_ORDERS as u64) * 4096;

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Done {
    schema: u32,
    /// Hashes of the orders that were carried out or refused for good.
    orders: BTreeSet<Hash>,
}

/// The orders of one vault.
#[derive(Debug)]
pub struct Orders {
    drop: PathBuf,
    done_at: PathBuf,
    writable: Roots,
    done: Mutex<Kept>,
}

#[derive(Debug)]
struct Kept {
    done: Done,
    /// What was said of the last look, so that it is said once.
    said: Vec<String>,
}

impl Orders {
    /// Reads which orders were dealt with before.
    ///
    /// # Errors
    /// When that file cannot be read or is none of ours.
    pub fn open(state: &Path, drop: PathBuf) -> Result<Self, FileError> {
        let done_at = state.join(DONE);
        let done = match CheckedDir::read_file(&done_at, LIMIT) {
            Ok(file) => serde_json::from_slice(&file.bytes).map_err(|_| FileError::BadPath {
                path: done_at.clone(),
                why: "its content is not a list of orders",
            })?,
            Err(error) if error.is_missing() => Done { schema: 1, orders: BTreeSet::new() },
            Err(error) => return Err(error),
        };
        let done = Mutex::new(Kept { done, said: Vec::new() });
        Ok(Self { drop, done_at, writable: Roots::new([state])?, done })
    }

    /// Carries out what is new in the list, if there is one. Blocking.
    pub fn look(&self, vault: &Vault) {
        let mut kept = self.done.lock().unwrap_or_else(PoisonError::into_inner);
        let mut said = Vec::new();
        let list = self.list().unwrap_or_else(|why| {
            said.push(why);
            OrderList::default()
        });
        let before = kept.done.orders.len();
        let named: Vec<(Hash, &String)> = list.orders.iter().map(|text| (named(text, vault), text)).collect();
        for (name, text) in &named {
            if kept.done.orders.contains(name) || is_for_another(text, vault) {
                continue;
            }
            match vault.order(text) {
                Ok(()) => {
                    kept.done.orders.insert(*name);
                }
                Err(Fault::Refused(refusal)) if refusal.code == RefusalCode::BadOrder => {
                    journal::error(&format!("an order is refused: {}", refusal.what));
                    let payload = json!({ "order": name, "what": refusal.what });
                    vault.recorder.event("order_refused", payload, vault.in_force().version());
                    kept.done.orders.insert(*name);
                }
                Err(fault) => {
                    let (short, why, hint) = (name.short(), journal::chain(&fault), fault.hint());
                    said.push(format!("the order {short} cannot be carried out now: {why}; {hint}"));
                }
            }
        }
        if kept.done.orders.len() > before {
            // Of those that are offered no more the ring itself knows that they cannot come again.
            if kept.done.orders.len() > 2 * MAX_ORDERS {
                kept.done.orders.retain(|done| named.iter().any(|(name, _)| name == done));
            }
            if let Err(error) = self.keep(&kept.done) {
                said.push(format!("cannot write down which orders were dealt with: {error}"));
            }
        }
        said.iter().filter(|what| !kept.said.contains(what)).for_each(|what| journal::error(what));
        kept.said = said;
    }

    fn list(&self) -> Result<OrderList, String> {
        let expect = Expect { owner: Owner::Anybody, limit: LIMIT, one_link: false };
        let read = BaseDir::open(&self.drop).and_then(|dir| dir.read(Path::new(ORDERS), &expect));
        let bytes = match read {
            Ok(file) => file.bytes,
            Err(error) if error.is_missing() => return Ok(OrderList::default()),
            Err(error) => return Err(format!("cannot read the orders: {}", journal::chain(&error))),
        };
        let path = text::path(&self.drop.join(ORDERS));
        let list: OrderList = serde_json::from_slice(&bytes).map_err(|error| {
            text::neutral(format!("{path} is no list of orders: {error}").as_bytes(), 300)
        })?;
        match list.orders.len() {
            0..=MAX_ORDERS => Ok(list),
            many => Err(format!("{path} has {many} orders, and at most {MAX_ORDERS} are looked at")),
        }
    }

    fn keep(&self, done: &Done) -> Result<(), FileError> {
        let bytes = serde_json::to_vec(done).unwrap_or_default();
        self.writable.put(&Put::own(&self.done_at, &bytes, 0o600))
    }
}

/// An order's name: of what was signed, however it is spelled. What nobody entitled signed has only its own text: else it
/// would stand in for the order that it copies.
fn named(text: &str, vault: &Vault) -> Hash {
    let order = verify_order(&vault.in_force().root, text.as_bytes());
    order.map_or_else(|_| Hash::of(text.as_bytes()), |order| order.hash())
}

/// Says it itself that it is another vault's: that one judges it.
fn is_for_another(text: &str, vault: &Vault) -> bool {
    let stated = Signed::<Order>::parse(text.as_bytes()).and_then(|signed| signed.unverified());
    stated.is_ok_and(
        |order| matches!(&order.what, OrderKind::Clear { vault: named, .. } if named != vault.store.vault()),
    )
}
