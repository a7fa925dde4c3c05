//! The vault of a [`super::World`]: its clock and what it holds.

use std::time::Duration;

use jiff::civil::{Date, Weekday};
use jiff::{SignedDuration, Timestamp};
use tenure_policy::calendar::Zone;
use tenure_policy::clocks::Witnessed;
use tenure_policy::slots::later;
use tenure_trust::vault_wire::{GenerationFacts, GenerationState, SeriesFacts, VaultFacts};
use tenure_trust::{GenerationId, SlotId};

use super::passed;
use crate::fleet::{self, Fleet};

/// The machine that keeps the copies.
pub(crate) struct Vault {
    /// It can be reached.
    pub(crate) reached: bool,
    pub(crate) clock: Witnessed,
    /// By how much its clock is ahead.
    pub(crate) ahead: SignedDuration,
    booted: Timestamp,
    pub(crate) facts: VaultFacts,
}

impl Vault {
    pub(super) fn new(fleet: &mut Fleet, now: Timestamp) -> Self {
        let facts = VaultFacts { series: Vec::new(), ..fleet.vault().clone() };
        Self {
            reached: true,
            clock: Witnessed::new(now, Duration::ZERO),
            ahead: SignedDuration::ZERO,
            booted: now,
            facts,
        }
    }

    /// The moment as agent/vault asks for it before everything that it does.
    pub(super) fn moment(&mut self, now: Timestamp) -> Option<Timestamp> {
        self.clock.judge(later(now, self.ahead), passed(self.booted, now))
    }

    /// A person sets the clock, removes the witnessed one and starts the vault again.
    pub(crate) fn forget_clock(&mut self, now: Timestamp) {
        self.clock = Witnessed::new(Timestamp::UNIX_EPOCH, passed(self.booted, now));
    }

    pub(super) fn hold(&mut self, slot: &SlotId, now: Timestamp) {
        let place = self.facts.series.iter().position(|facts| facts.series == slot.series);
        let place = place.unwrap_or_else(|| {
            self.facts.series.push(SeriesFacts { series: slot.series.clone(), generations: Vec::new() });
            self.facts.series.len() - 1
        });
        let generations = &mut self.facts.series[place].generations;
        let id = GenerationId { date: slot.date, number: 1 };
        if generations.last().is_none_or(|last| last.id != id) {
            generations.push(GenerationFacts {
                id,
                state: GenerationState::Candidate,
                opened: now,
                closed: None,
                slots: Vec::new(),
                objects: 1,
                bytes: 1,
            });
        }
        generations.last_mut().expect("it was just pushed").slots.push(fleet::sealed(slot, now));
    }

    /// Closes what is over and erases what is superseded, if it believes its clock. (The ring itself goes through a year in
    /// agent/vault/tests/year.rs.)
    pub(super) fn turn(&mut self, now: Timestamp, zone: &Zone) {
        let Some(now) = self.moment(now) else { return };
        for series in &mut self.facts.series {
            for generation in &mut series.generations {
                if zone.closes(generation.id.date) <= now {
                    generation.state = GenerationState::Current;
                }
            }
            let current: Vec<Date> = series
                .generations
                .iter()
                .filter(|generation| generation.state == GenerationState::Current)
                .map(|generation| generation.id.date)
                .collect();
            let superseded =
                |old: Date| current.iter().any(|new| *new > old && new.weekday() == old.weekday());
            series.generations.retain(|generation| !superseded(generation.id.date));
        }
    }

    /// Which generations it holds, of all series, and in which state.
    pub(crate) fn holds(&self) -> Vec<(GenerationId, GenerationState)> {
        let all = self.facts.series.iter().flat_map(|series| &series.generations);
        all.map(|generation| (generation.id, generation.state)).collect()
    }

    /// In every series each day of the week has its copy.
    pub(crate) fn is_full(&self) -> bool {
        let days = |series: &SeriesFacts| {
            let current = series.generations.iter().filter(|one| one.state == GenerationState::Current);
            let mut days: Vec<Weekday> = current.map(|one| one.id.date.weekday()).collect();
            days.sort_by_key(|day| day.to_monday_zero_offset());
            days.dedup();
            days.len()
        };
        self.facts.series.iter().all(|series| days(series) == 7)
    }
}
