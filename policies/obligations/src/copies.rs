//! The series of backups with every slot of the last eight days as host and vault see it, looked at once and then asked
//! by every duty about copies.

use std::collections::{BTreeMap, HashMap};

use jiff::civil::Date;
use jiff::{SignedDuration, Timestamp, ToSpan};
use tenure_policy::bundles::{BackupSection, SeriesSection};
use tenure_policy::calendar::Zone;
use tenure_trust::vault_wire::{GenerationState, SealedSlot, SeriesFacts};
use tenure_trust::{SeriesId, SlotTime};

use crate::input::{AgreedSeal, HostSlotState};
use crate::judge::{HostSeen, VaultSeen};
use crate::reason::SlotFault;
use crate::slots::{self, Sides, SlotSeen, Window};
use crate::state::State;

/// Days that are looked at: a week, and the day of the week before on which the oldest copy of a full ring stands.
pub(crate) const DAYS: i32 = 8;

/// A slot of the last days.
#[derive(Debug, Clone)]
pub(crate) struct Slot {
    pub(crate) date: Date,
    pub(crate) at: SlotTime,
    pub(crate) window: Window,
    pub(crate) seen: SlotSeen,
}

/// A series with its slots, oldest first.
#[derive(Debug)]
pub(crate) struct Series<'a> {
    pub(crate) section: &'a SeriesSection,
    pub(crate) slots: Vec<Slot>,
    /// The vault's own facts of it.
    pub(crate) vault: Option<&'a SeriesFacts>,
    /// Slots on which host and vault have agreed, where the host will not tell them again: to be remembered.
    pub(crate) agreed: BTreeMap<(Date, SlotTime), AgreedSeal>,
}

/// What the controller knows itself of a series.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Known<'a> {
    /// Since when it is in the policy.
    pub(crate) since: Option<Timestamp>,
    /// What host and vault agreed on before.
    pub(crate) agreed: Option<&'a BTreeMap<(Date, SlotTime), AgreedSeal>>,
}

/// Moments of local times, computed once for all series.
#[derive(Debug)]
pub(crate) struct Moments<'z> {
    zone: &'z Zone,
    known: HashMap<(Date, SlotTime), Timestamp>,
    days: Vec<(Date, Timestamp)>,
    now: Timestamp,
    /// How long one side's word may lag behind the other's.
    grace: SignedDuration,
}

impl<'z> Moments<'z> {
    pub(crate) fn new(zone: &'z Zone, now: Timestamp, grace: SignedDuration) -> Self {
        let today = zone.date_of(now);
        let date = |back: i32| today.checked_sub(back.days()).unwrap_or(Date::MIN);
        let days = (0..DAYS).rev().map(|back| (date(back), zone.closes(date(back)))).collect();
        Self { zone, known: HashMap::new(), days, now, grace }
    }

    fn of(&mut self, date: Date, at: SlotTime) -> Timestamp {
        let zone = self.zone;
        *self.known.entry((date, at)).or_insert_with(|| zone.slot(date, at))
    }
}

impl<'a> Series<'a> {
    /// Looks at every slot of a series.
    pub(crate) fn look(
        section: &'a SeriesSection,
        backup: &BackupSection,
        host: &HostSeen<'a>,
        vault: Option<&VaultSeen<'a>>,
        known: Known<'_>,
        moments: &mut Moments<'_>,
    ) -> Self {
        let facts = vault.and_then(|vault| vault.series.get(&section.series)).map(|(facts, _)| *facts);
        let held = Held::of(facts);
        let told = host.slots.get(&section.series);
        let said = host.since_said(&section.series, facts, moments.zone);
        // What the controller knows itself counts; the host takes a policy up a little later, and no more than that.
        let since = known.since;
        let said = said.filter(|said| since.is_none_or(|since| said.duration_since(since) <= moments.grace));
        let admitted = [host.admitted, vault.and_then(|vault| vault.admitted)];
        let from = admitted.into_iter().chain([since, said]).flatten().max();
        let catch_up = i64::try_from(backup.catch_up_seconds).unwrap_or(i64::MAX).seconds();
        let mut slots = Vec::with_capacity(section.at.len() * DAYS as usize);
        let mut agreed = BTreeMap::new();
        for day in 0..moments.days.len() {
            let (date, closes) = moments.days[day];
            for at in &section.at {
                let due = moments.of(date, *at);
                let until = due.checked_add(catch_up).unwrap_or(Timestamp::MAX);
                let window = Window { due, until, closes: closes.max(until) };
                let sides = Sides {
                    host: told.and_then(|told| told_of(told, date, *at)),
                    vault: held.at(date, *at),
                    host_silent: host.silent.as_ref(),
                    vault_silent: vault.and_then(|vault| vault.silent.as_ref()),
                };
                let forgotten = host.tells_from.is_some_and(|oldest| (date, *at) <= oldest);
                let before = known.agreed.and_then(|agreed| agreed.get(&(date, *at)));
                let before = slots::agreed(&sides, host.tells_from.is_some(), before);
                let seen = match (sides.host, sides.vault) {
                    (None, None) if from.is_some_and(|from| due < from) => SlotSeen::NotExpected,
                    // both have said it, and the host's list is too short to say so again
                    (None, Some((sealed, number, state))) if forgotten && before.is_some() => {
                        slots::held(sealed, before.map_or(0, |before| before.unreadable), number, state)
                    }
                    (None, Some(_)) if forgotten => SlotSeen::Lacks(State::Unknown, SlotFault::OnlyVault),
                    _ => slots::judge(&window, &sides, moments.grace, moments.now),
                };
                agreed.extend(before.map(|seal| ((date, *at), seal)));
                slots.push(Slot { date, at: *at, window, seen });
            }
        }
        Self { section, slots, vault: facts, agreed }
    }

    /// The slots of a date.
    pub(crate) fn of_date(&self, date: Date) -> impl Iterator<Item = &Slot> {
        self.slots.iter().filter(move |slot| slot.date == date)
    }

    /// Is there a copy of this date, agreed on and in its place in the ring?
    pub(crate) fn holds(&self, date: Date) -> bool {
        self.of_date(date).any(|slot| matches!(slot.seen, SlotSeen::Done { .. }))
    }
}

/// What a vault holds of a series, by date, time and number of the generation. Few enough to be looked through.
struct Held<'a>(Vec<(Date, SlotTime, u32, &'a SealedSlot, GenerationState)>);

impl<'a> Held<'a> {
    /// The sealed slots of the schedule.
    fn of(facts: Option<&'a SeriesFacts>) -> Self {
        let mut held = Vec::new();
        for generation in facts.iter().flat_map(|facts| &facts.generations) {
            for sealed in generation.slots.iter().filter(|sealed| !sealed.slot.manual) {
                let (date, at) = (sealed.slot.date, sealed.slot.at);
                held.push((date, at, generation.id.number, sealed, generation.state));
            }
        }
        Self(held)
    }

    /// Of two generations of one date the later counts.
    fn at(&self, date: Date, at: SlotTime) -> Option<(&'a SealedSlot, u32, GenerationState)> {
        let same = self.0.iter().filter(|held| (held.0, held.1) == (date, at));
        same.max_by_key(|held| held.2).map(|held| (held.3, held.2, held.4))
    }
}

/// A host's own word by series. Manual slots are copies and none of the scheduled ones.
pub(crate) type Told<'a> = HashMap<&'a SeriesId, Vec<(Date, SlotTime, &'a HostSlotState)>>;

/// What it says of a slot.
fn told_of<'a>(
    told: &[(Date, SlotTime, &'a HostSlotState)],
    date: Date,
    at: SlotTime,
) -> Option<&'a HostSlotState> {
    told.iter().find(|told| (told.0, told.1) == (date, at)).map(|told| told.2)
}

/// The oldest slot that a host tells of, when its list is full and older ones are left out of it.
pub(crate) fn tells_from(slots: &[crate::input::HostSlot]) -> Option<(Date, SlotTime)> {
    let oldest = slots.iter().map(|slot| (slot.slot.date, slot.slot.at)).min();
    oldest.filter(|_| slots.len() >= crate::input::SLOTS_TOLD)
}

impl HostSeen<'_> {
    /// Since when the host expects a series, as far as the vault does not know better.
    fn since_said(&self, series: &SeriesId, facts: Option<&SeriesFacts>, zone: &Zone) -> Option<Timestamp> {
        let backups = self.backups.as_ref().ok()?;
        let said = backups.since.iter().find(|since| since.series == *series)?.since;
        let day = zone.date_of(said);
        let older = facts.iter().flat_map(|facts| &facts.generations).any(|held| held.id.date < day);
        (!older).then_some(said)
    }
}

/// Sorts a host's slots.
pub(crate) fn told(slots: &[crate::input::HostSlot]) -> Told<'_> {
    let mut told = Told::new();
    for slot in slots.iter().filter(|slot| !slot.slot.manual) {
        let id = &slot.slot;
        told.entry(&id.series).or_default().push((id.date, id.at, &slot.state));
    }
    told
}
