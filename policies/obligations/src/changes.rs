//! What changed between two judgements: every change of state has its reason, and a state keeps the date since which it
//! stands while its causes are the same.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tenure_trust::TenantId;

use crate::reason::Reason;
use crate::state::{Obligation, State};

/// A duty that is in another state than before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// Whose.
    pub tenant: TenantId,
    /// Its place among the promises.
    pub promise: u32,
    /// The duty.
    pub duty: String,
    /// Before; none when there was no such row.
    pub from: Option<State>,
    /// Now; none when there is no such row any more.
    pub to: Option<State>,
    /// Why it is as it is now.
    pub why: Vec<Reason>,
    /// When it was judged.
    pub at: Timestamp,
}

type Key<'a> = (&'a TenantId, u32, bool);

fn key(row: &Obligation) -> Key<'_> {
    (&row.tenant, row.promise, row.state == State::Waived)
}

/// Gives each row of `now` that stands as it stood the date since which it does, and tells what changed.
pub fn carry(before: &[Obligation], now: &mut [Obligation], at: Timestamp) -> Vec<Change> {
    let old: BTreeMap<Key<'_>, &Obligation> = before.iter().map(|row| (key(row), row)).collect();
    let mut changes = Vec::new();
    for row in now.iter_mut() {
        let known = old.get(&key(row));
        match known {
            Some(known) if known.state == row.state => {
                row.since = earlier(row.since, known.since);
            }
            _ => {
                changes.push(change(row, known.map(|known| known.state), Some(row.state), at));
                row.since = row.since.or(Some(at));
            }
        }
    }
    let left: BTreeMap<Key<'_>, ()> = now.iter().map(|row| (key(row), ())).collect();
    for row in before.iter().filter(|row| !left.contains_key(&key(row))) {
        changes.push(change(row, Some(row.state), None, at));
    }
    changes
}

fn change(row: &Obligation, from: Option<State>, to: Option<State>, at: Timestamp) -> Change {
    let (tenant, duty, why) = (row.tenant.clone(), row.duty.clone(), row.why.clone());
    Change { tenant, promise: row.promise, duty, from, to, why, at }
}

/// The date that the cause gives, else the one that was known.
fn earlier(cause: Option<Timestamp>, known: Option<Timestamp>) -> Option<Timestamp> {
    cause.or(known)
}
