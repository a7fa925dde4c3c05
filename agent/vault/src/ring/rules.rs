//! What a policy says of a series' time: when a slot is open, when a date is over. Pure; the zone is the policy's.

use jiff::civil::{Date, Time};
use jiff::{SignedDuration, Timestamp};
use tenure_policy::calendar::Zone;
use tenure_policy::slots::{BY_HAND, later};
use tenure_trust::SlotTime;
use tenure_trust::vault_wire::RefusalCode;

use super::SlotKey;

/// How far a host's clock may be off the vault's.
pub const SKEW: SignedDuration = SignedDuration::from_mins(5);

/// Why something is not done, in the words of the channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Which rule.
    pub code: RefusalCode,
    /// In words; never what came from outside.
    pub what: String,
}

impl Refusal {
    /// A refusal.
    pub fn new(code: RefusalCode, what: impl Into<String>) -> Self {
        Self { code, what: what.into() }
    }
}

/// The times of one series.
#[derive(Clone, Debug)]
pub struct Rules {
    /// Local times at which a slot is due, sorted.
    pub at: Vec<SlotTime>,
    /// For how long it can be filled.
    pub catch_up: SignedDuration,
    /// The policy's zone.
    pub zone: Zone,
}

impl Rules {
    /// When this slot of that date begins.
    pub fn moment(&self, date: Date, slot: SlotKey) -> Timestamp {
        self.zone.slot(date, slot.at)
    }

    /// Until when it can be begun.
    pub fn ends(&self, date: Date, slot: SlotKey) -> Timestamp {
        let length = if slot.manual { self.catch_up.max(BY_HAND) } else { self.catch_up };
        later(self.moment(date, slot), length)
    }

    /// Can a run begin to fill this slot now?
    pub fn is_open(&self, date: Date, slot: SlotKey, now: Timestamp) -> bool {
        let known = slot.manual || self.at.contains(&slot.at);
        known && later(now, SKEW) >= self.moment(date, slot) && now <= later(self.ends(date, slot), SKEW)
    }

    /// Can this slot be begun no more?
    pub fn is_past(&self, date: Date, slot: SlotKey, now: Timestamp) -> bool {
        now > later(self.ends(date, slot), SKEW)
    }

    /// Can nobody make a copy of this date by hand any more? An hour after its midnight: one that was asked for before may
    /// have waited for others.
    pub fn is_over(&self, date: Date, now: Timestamp) -> bool {
        let Ok(next) = date.tomorrow() else { return false };
        now > later(self.zone.moment(next, Time::midnight()), BY_HAND)
    }

    /// The slots of the schedule.
    pub fn slots(&self) -> impl Iterator<Item = SlotKey> {
        self.at.iter().map(|at| SlotKey { at: *at, manual: false })
    }

    /// When a generation of this date is closed at the latest.
    pub fn closes(&self, date: Date) -> Timestamp {
        self.zone.closes(date)
    }
}
