//! What changed between two judgements: every change of state has its reason, and a state keeps the date since which it
//! stands while its causes are the same.

use std::collections::{BTreeMap, BTreeSet};

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
    /// Why it is as it is now; empty when there is no such row any more.
    pub why: Vec<Reason>,
    /// When it was judged.
    pub at: Timestamp,
}

/// How a duty was judged last: what must be remembered of it so that its next judgement knows since when it stands.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Standing {
    /// Whose.
    pub tenant: TenantId,
    /// Its place among the promises.
    pub promise: u32,
    /// The row of what waivers suspend, beside the row of the rest.
    pub waived: bool,
    /// The duty.
    pub duty: String,
    /// The state.
    pub state: State,
    /// Since when.
    pub since: Option<Timestamp>,
}

impl Standing {
    /// Of a row.
    pub fn of(row: &Obligation) -> Self {
        Self {
            tenant: row.tenant.clone(),
            promise: row.promise,
            waived: row.state == State::Waived,
            duty: row.duty.clone(),
            state: row.state,
            since: row.since,
        }
    }

    /// Of all rows.
    pub fn all(rows: &[Obligation]) -> Vec<Self> {
        rows.iter().map(Self::of).collect()
    }
}

/// Which row it is. Another duty in the same place is another row: sentences of a contract come and go.
type Key<'a> = (&'a TenantId, u32, bool, &'a str);

fn key(row: &Obligation) -> Key<'_> {
    (&row.tenant, row.promise, row.state == State::Waived, &row.duty)
}

/// Gives each row of `now` that stands as it stood the date since which it does, and tells what changed.
pub fn carry(before: &[Standing], now: &mut [Obligation], at: Timestamp) -> Vec<Change> {
    let old: BTreeMap<Key<'_>, &Standing> =
        before.iter().map(|row| ((&row.tenant, row.promise, row.waived, row.duty.as_str()), row)).collect();
    let mut changes = Vec::new();
    for row in now.iter_mut() {
        match old.get(&key(row)) {
            Some(known) if known.state == row.state => {
                row.since = row.since.or(known.since).or(Some(at));
            }
            known => {
                changes.push(change(row, known.map(|known| known.state), at));
                row.since = row.since.or(Some(at));
            }
        }
    }
    let left: BTreeSet<Key<'_>> = now.iter().map(key).collect();
    for (key, row) in old.iter().filter(|(key, _)| !left.contains(*key)) {
        changes.push(Change {
            tenant: row.tenant.clone(),
            promise: key.1,
            duty: row.duty.clone(),
            from: Some(row.state),
            to: None,
            why: Vec::new(),
            at,
        });
    }
    changes
}

fn change(row: &Obligation, from: Option<State>, at: Timestamp) -> Change {
    let (tenant, duty, why) = (row.tenant.clone(), row.duty.clone(), row.why.clone());
    Change { tenant, promise: row.promise, duty, from, to: Some(row.state), why, at }
}
