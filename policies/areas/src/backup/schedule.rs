//! When backups are due: slots of a date, their windows, what is to be run, what was missed, when to look again. Pure.
//!
//! A slot is series + local date + time of day as the policy has it, in the policy's zone. A time that a change of clocks
//! skips comes later by as much as was skipped, one that comes twice counts once, at its first coming
//! ([`Zone::moment`]).

use std::collections::BTreeMap;

use jiff::civil::Date;
use jiff::{SignedDuration, Timestamp, ToSpan};
use tenure_policy::bundles::{BackupSection, SeriesSection};
use tenure_policy::calendar::Zone;
use tenure_policy::slots::later;
use tenure_trust::{SeriesId, SlotId, SlotTime};

/// So many days back a slot that nobody recorded is still looked for.
pub const HORIZON_DAYS: i64 = 10;
/// The longest pause between two runs of a slot.
pub const LONGEST_PAUSE: SignedDuration = SignedDuration::from_mins(30);

/// Something that the schedule asks for at a moment.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Due {
    /// A run of this slot may begin now.
    Run(SlotId),
    /// This slot was not filled in its time, and will not be.
    Missed(SlotId),
    /// Nothing becomes due before this moment.
    Wait(Timestamp),
}

/// What a host knows of its slots.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ledger {
    /// Since when each series is expected: the machine's admission, or the first policy that had it.
    pub since: BTreeMap<SeriesId, Timestamp>,
    /// What became of slots.
    pub known: BTreeMap<SlotId, Known>,
}

/// What became of a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Known {
    /// What.
    pub what: What,
    /// When that was recorded, by the host's clock.
    pub at: Timestamp,
}

/// The states of a slot that a host knows something of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// A run of it is under way, or was begun and can go on.
    Running,
    /// It holds a copy with the vault's receipt.
    Sealed,
    /// Its runs so far failed.
    Failed {
        /// How many of them.
        tries: u32,
    },
    /// Recorded as missed.
    Missed,
}

impl Ledger {
    /// What is known of a slot. That it failed or was missed counts only from when it was recorded: a mark from later
    /// than now was made by a clock that was ahead.
    pub fn of(&self, slot: &SlotId, now: Timestamp) -> Option<What> {
        let known = self.known.get(slot)?;
        match known.what {
            What::Failed { .. } | What::Missed if known.at > now => None,
            what => Some(what),
        }
    }

    /// Since when a series is expected; one that is new, or was noted by a clock that was ahead, from now on.
    pub fn since(&self, series: &SeriesId, now: Timestamp) -> Timestamp {
        self.since.get(series).map_or(now, |since| now.min(*since))
    }
}

/// The slots of a date, in their order.
pub fn slots_of(section: &SeriesSection, date: Date) -> impl Iterator<Item = SlotId> {
    let slot = move |at: &SlotTime| SlotId { series: section.series.clone(), date, at: *at, manual: false };
    section.at.iter().map(slot)
}

/// The moment of a slot.
pub fn moment(zone: &Zone, slot: &SlotId) -> Timestamp {
    zone.slot(slot.date, slot.at)
}

/// Until when a run of a slot may begin; not included.
pub fn window_ends(zone: &Zone, slot: &SlotId, catch_up_seconds: u64) -> Timestamp {
    later(moment(zone, slot), seconds(catch_up_seconds))
}

/// How long after a failed run the next one of the slot begins: a minute at first, doubling. Only the window bounds how
/// often a slot is tried: who cannot reach the vault for most of it fills the slot in what is left.
pub fn pause_after(tries: u32) -> SignedDuration {
    let doubled = SignedDuration::from_mins(1 << tries.saturating_sub(1).min(10));
    doubled.min(LONGEST_PAUSE)
}

/// Everything that is due at this moment, series in the order of the section and slots by time; at the end one
/// [`Due::Wait`], unless nothing is scheduled at all.
///
/// Of a series only the newest slot whose time has come is run; older ones that nobody filled are missed, also inside
/// their window: one run now holds what theirs would hold.
pub fn due(section: &BackupSection, ledger: &Ledger, now: Timestamp, zone: &Zone) -> Vec<Due> {
    let mut due = Vec::new();
    let mut wait: Option<Timestamp> = None;
    let mut until = |at: Timestamp| wait = Some(wait.map_or(at, |known| known.min(at)));
    for series in &section.series {
        let Times { come, next } = times(series, ledger, now, zone);
        next.into_iter().for_each(&mut until);
        let newest = come.last().map(|(at, _)| *at);
        for (at, slot) in come {
            let open = Some(at) == newest && now < later(at, seconds(section.catch_up_seconds));
            match ledger.of(&slot, now) {
                Some(What::Sealed | What::Running | What::Missed) => {}
                Some(What::Failed { tries }) if open => {
                    let again = ledger.known.get(&slot).map_or(now, |k| later(k.at, pause_after(tries)));
                    if again <= now { due.push(Due::Run(slot)) } else { until(again) }
                }
                Some(What::Failed { .. }) => {}
                None if open => due.push(Due::Run(slot)),
                None => due.push(Due::Missed(slot)),
            }
        }
    }
    due.extend(wait.map(Due::Wait));
    due
}

/// Which slot a run that a person asks for fills: the open slot of its series, else one named by its minute. None when
/// the next minutes hold a copy each.
pub fn by_hand(
    section: &BackupSection,
    series: &SeriesSection,
    ledger: &Ledger,
    now: Timestamp,
    zone: &Zone,
) -> Option<SlotId> {
    let open = times(series, ledger, now, zone).come.into_iter().next_back().filter(|(at, slot)| {
        let free = matches!(ledger.of(slot, now), None | Some(What::Failed { .. }));
        free && now < later(*at, seconds(section.catch_up_seconds))
    });
    if let Some((_, slot)) = open {
        return Some(slot);
    }
    (0..4).find_map(|minutes| {
        let local = zone.local(later(now, SignedDuration::from_mins(minutes)));
        let at = SlotTime::new(u8::try_from(local.hour()).ok()?, u8::try_from(local.minute()).ok()?)?;
        let slot = SlotId { series: series.series.clone(), date: local.date(), at, manual: true };
        (!ledger.known.contains_key(&slot)).then_some(slot)
    })
}

/// The slots of a series around now.
struct Times {
    /// Those whose time has come, by time, not before they were expected nor before the horizon.
    come: Vec<(Timestamp, SlotId)>,
    /// The next one's time.
    next: Option<Timestamp>,
}

fn times(series: &SeriesSection, ledger: &Ledger, now: Timestamp, zone: &Zone) -> Times {
    let since = ledger.since(&series.series, now);
    let today = zone.date_of(now);
    let day = |n: i64| today.checked_add(n.days()).ok();
    let slots = (-HORIZON_DAYS..=2).filter_map(day).flat_map(|date| slots_of(series, date));
    let mut come: Vec<(Timestamp, SlotId)> =
        slots.map(|slot| (moment(zone, &slot), slot)).filter(|(at, _)| *at >= since).collect();
    come.sort();
    let to_come = come.split_off(come.partition_point(|(at, _)| *at <= now));
    Times { come, next: to_come.first().map(|(at, _)| *at) }
}

fn seconds(seconds: u64) -> SignedDuration {
    SignedDuration::from_secs(i64::try_from(seconds).unwrap_or(i64::MAX / 4))
}

#[cfg(test)]
#[path = "schedule_tests.rs"]
mod tests;
