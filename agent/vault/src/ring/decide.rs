//! What is to be done: whether a generation may open, whether a slot may be sealed, when a date closes, what becomes of
//! what was closed. Each answer is a list of events, in their order; nothing here changes the ring itself.

use std::collections::BTreeSet;

use jiff::Timestamp;
use jiff::civil::Date;
use tenure_trust::vault_wire::{AsideReason, RefusalCode};
use tenure_trust::{GenerationId, Hash};

use super::state::cell_of;
use super::{
    Broken, CloseReason, Event, Found, Generation, Looked, Refusal, Ring, Rules, Sealed, SlotKey, State,
};

/// Of one date at most this many generations: each is a full copy.
const MAX_NUMBER: u32 = 9;
/// Of one date at most this many slots by hand: each makes the journal longer for good.
const BY_HAND: usize = 144;
/// The median of fewer cells says nothing.
const MIN_CELLS: usize = 3;

/// What is frozen when a generation begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frozen {
    /// Hash of the repository's `config`.
    pub config: Hash,
    /// Hash of its key file.
    pub key: Hash,
    /// Who has the password, sorted.
    pub recipients: Vec<String>,
}

/// What `open` leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Opening {
    /// The slot holds a copy already: nothing is to be done.
    Sealed(GenerationId, SlotKey),
    /// The generation goes on, with these events (none or one).
    GoesOn(GenerationId, Vec<Event>),
    /// A generation begins: first the events before it (older dates close), then its own.
    Begins(GenerationId, Vec<Event>, Vec<Event>),
}

/// What is due, and what has to be looked at before more can be decided.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Due {
    /// In this order.
    pub events: Vec<Event>,
    /// Closed generations that would become the copy of their cell: every object of theirs is looked at first.
    pub wants: Vec<GenerationId>,
}

impl Ring {
    /// May a run fill this slot in generation `number` of its date?
    ///
    /// # Errors
    /// `DateNotOpen` or `Frozen`.
    pub fn open(
        &self,
        rules: &Rules,
        now: Timestamp,
        (date, slot): (Date, SlotKey),
        number: u32,
        frozen: &Frozen,
    ) -> Result<Opening, Refusal> {
        let id = GenerationId { date, number };
        let of_date = || self.iter().filter(|(id, _)| id.date == date);
        if let Some((id, _)) = of_date().find(|(_, g)| g.sealed.contains_key(&slot)) {
            return Ok(Opening::Sealed(id, slot));
        }
        let closed = |what: &str| Err(Refusal::new(RefusalCode::DateNotOpen, what));
        let begin = Event::Begin { generation: id, slot };
        let begun = || of_date().flat_map(|(_, g)| &g.begun);
        let by_hand = || begun().filter(|other| other.manual).count();
        if slot.manual && !begun().any(|other| *other == slot) && by_hand() >= BY_HAND {
            return closed("this date has taken all that it takes by hand");
        }
        if let Some(known) = self.get(id) {
            if known.state != State::Candidate {
                return closed("this generation is closed");
            }
            if (known.config, known.key, &known.recipients) != (frozen.config, frozen.key, &frozen.recipients)
            {
                let what = "config, key or recipients differ from those that this generation began with";
                return Err(Refusal::new(RefusalCode::Frozen, what));
            }
            if !self.takes(id) {
                let what = "a later number of this date has begun, and this one takes no more";
                return Err(Refusal::new(RefusalCode::Frozen, what));
            }
            if known.begun.contains(&slot) {
                return Ok(Opening::GoesOn(id, Vec::new()));
            }
            if !rules.is_open(date, slot, now) {
                return closed("this slot is not open now");
            }
            return Ok(Opening::GoesOn(id, vec![begin]));
        }
        if !rules.is_open(date, slot, now) {
            return closed("this slot is not open now");
        }
        if number == 0 || number > MAX_NUMBER || self.newest().is_some_and(|newest| id <= newest) {
            return closed("a later generation of this series has begun");
        }
        let Frozen { config, key, recipients } = frozen.clone();
        let own = vec![Event::Open { generation: id, config, key, recipients }, begin];
        Ok(Opening::Begins(id, self.due(rules, now, Some(date), &Looked::default()).events, own))
    }

    /// May this slot be sealed with this seal? The receipt given before, if the same seal was accepted before.
    ///
    /// # Errors
    /// `DateNotOpen` when no run began it in time or the generation is closed, `SlotTaken` for another seal.
    pub fn seal(&self, id: GenerationId, slot: SlotKey, seal: Hash) -> Result<Option<&Sealed>, Refusal> {
        let closed = |what: &str| Err(Refusal::new(RefusalCode::DateNotOpen, what));
        let of_date = self.iter().filter(|(other, _)| other.date == id.date);
        for (other, generation) in of_date {
            match generation.sealed.get(&slot) {
                Some(known) if other == id && known.seal == seal => return Ok(Some(known)),
                Some(_) => {
                    let what = "this slot holds another copy already";
                    return Err(Refusal::new(RefusalCode::SlotTaken, what));
                }
                None => {}
            }
        }
        match self.get(id) {
            Some(generation) if generation.state != State::Candidate => closed("this generation is closed"),
            Some(generation) if !generation.begun.contains(&slot) => closed("no run began this slot in time"),
            Some(_) => Ok(None),
            None => closed("there is no such generation"),
        }
    }

    /// What is due now: dates that are over are closed, what was closed is promoted or set aside, what is superseded is
    /// to be erased. `opening` is the date that is about to begin; `looked` what was found of those that were asked for.
    pub fn due(&self, rules: &Rules, now: Timestamp, opening: Option<Date>, looked: &Looked) -> Due {
        let mut next = Next { ring: self.clone(), due: Due::default(), now };
        let candidates: Vec<_> =
            self.iter().filter(|(_, g)| g.state == State::Candidate).map(|(id, _)| id).collect();
        for id in candidates {
            if let Some(why) = self.closing(rules, now, id.date, opening) {
                next.push(Event::Close { generation: id, why });
            }
        }
        next.settle(looked);
        next.due
    }

    /// What a signed order to take a generation that was set aside leads to.
    ///
    /// # Errors
    /// `BadOrder` when it was not set aside, never had an accepted slot, or is lost in part.
    pub fn clear(
        &self,
        id: GenerationId,
        order: Hash,
        now: Timestamp,
        looked: &Looked,
    ) -> Result<Due, Refusal> {
        let mut next = Next { ring: self.clone(), due: Due::default(), now };
        let set_aside = self.get(id).is_some_and(|g| matches!(g.state, State::Aside(_)));
        let promote =
            Event::Promote { generation: id, supersedes: self.current(cell_of(id)), order: Some(order) };
        if !set_aside || next.try_push(promote).is_err() {
            let what = "this generation was not set aside with an accepted slot";
            return Err(Refusal::new(RefusalCode::BadOrder, what));
        }
        match self.get(id).and_then(|generation| looked.of(id, generation)) {
            None => return Ok(Due { events: Vec::new(), wants: vec![id] }),
            Some(Found::Spoilt) => {
                let what = "the vault's disk has lost a part of this generation: the older copy is kept";
                return Err(Refusal::new(RefusalCode::BadOrder, what));
            }
            Some(Found::Whole) => {}
        }
        next.erase_superseded();
        Ok(next.due)
    }

    /// Why every generation of this date is to be closed now, if it is. Dates close as a whole: a lost key makes a second
    /// number, and one of them becomes the copy.
    fn closing(
        &self,
        rules: &Rules,
        now: Timestamp,
        date: Date,
        opening: Option<Date>,
    ) -> Option<CloseReason> {
        if opening.is_some_and(|opening| opening > date) {
            return Some(CloseReason::NextDate);
        }
        if now >= rules.closes(date) {
            return Some(CloseReason::Late);
        }
        let of_date: Vec<&Generation> =
            self.iter().filter(|(id, _)| id.date == date).map(|(_, g)| g).collect();
        let sealed = |slot: &SlotKey| of_date.iter().any(|g| g.sealed.contains_key(slot));
        let begun: BTreeSet<SlotKey> = of_date.iter().flat_map(|g| g.begun.iter().copied()).collect();
        // While a person can still ask for a copy of this date, not all of its slots are over.
        let over = rules.is_over(date, now)
            && rules
                .slots()
                .chain(begun.iter().copied())
                .all(|slot| sealed(&slot) || (!begun.contains(&slot) && rules.is_past(date, slot, now)));
        over.then_some(CloseReason::Complete)
    }

    /// What the gates say of a generation that was closed; none when it may become the copy of its cell.
    fn stopped(&self, generation: &Generation) -> Option<AsideReason> {
        let Some(last) = generation.last_sealed() else { return Some(AsideReason::Failed) };
        if generation.sealed.values().all(|sealed| sealed.unreadable > 0) {
            return Some(AsideReason::Partial);
        }
        let cells: Vec<&Sealed> = self
            .iter()
            .filter(|(_, g)| g.state == State::Current)
            .filter_map(|(_, g)| g.last_sealed())
            .collect();
        if cells.len() < MIN_CELLS {
            return None;
        }
        // Half of the bytes is far less; packs make the count of objects vary more.
        let few_bytes = last.bytes < median(cells.iter().map(|s| s.bytes)) / 2;
        let few_objects = last.objects < median(cells.iter().map(|s| s.objects)) / 4;
        (few_bytes || few_objects).then_some(AsideReason::Anomalous)
    }
}

/// A ring as it will be after the events decided so far.
struct Next {
    ring: Ring,
    due: Due,
    now: Timestamp,
}

impl Next {
    fn try_push(&mut self, event: Event) -> Result<(), Broken> {
        self.ring.apply(self.now, &event)?;
        self.due.events.push(event);
        Ok(())
    }

    /// Of events that this module makes to fit: one that does not fit is left out, and with it what would follow from it.
    fn push(&mut self, event: Event) -> bool {
        self.try_push(event).is_ok()
    }

    /// Promotes or sets aside what is closed, dates in order. What waits to be looked at holds up its own cell only.
    fn settle(&mut self, looked: &Looked) {
        let closed = self.ring.iter().filter(|(_, g)| g.state == State::Closed);
        let dates: BTreeSet<Date> = closed.map(|(id, _)| id.date).collect();
        for date in dates {
            if !self.due.wants.iter().any(|waits| cell_of(*waits) == date.weekday()) {
                let waits = self.settle_date(date, looked);
                self.due.wants.extend(waits);
            }
        }
        self.erase_superseded();
    }

    /// Gives the generation that has to be looked at before this date can be settled, if there is one.
    fn settle_date(&mut self, date: Date, looked: &Looked) -> Option<GenerationId> {
        let closed: Vec<GenerationId> = self
            .ring
            .iter()
            .rev()
            .filter(|(id, g)| id.date == date && g.state == State::Closed)
            .map(|(id, _)| id)
            .collect();
        let mut promoted = false;
        for id in closed {
            let Some(generation) = self.ring.get(id) else { continue };
            let reason = match (self.ring.stopped(generation), looked.of(id, generation)) {
                (None, _) if promoted => Some(AsideReason::Replaced),
                (None, None) => return Some(id),
                (None, Some(Found::Spoilt)) => Some(AsideReason::Spoilt),
                (stopped, _) => stopped,
            };
            match reason {
                Some(reason) => {
                    self.push(Event::Aside { generation: id, reason });
                }
                None => {
                    let supersedes = self.ring.current(cell_of(id));
                    promoted |= self.push(Event::Promote { generation: id, supersedes, order: None });
                }
            }
        }
        self.erase_superseded();
        None
    }

    /// What was superseded, and what was set aside in a cell on an earlier date than what stands in for it.
    fn erase_superseded(&mut self) {
        let ids: Vec<GenerationId> = self.ring.iter().map(|(id, _)| id).collect();
        for id in ids {
            let aside = self.ring.get(id).is_some_and(|g| matches!(g.state, State::Aside(_)));
            let later_date = || self.ring.stands_in(id, |other| other.date > id.date);
            if self.ring.may_erase(id) && (!aside || later_date()) {
                self.push(Event::EraseBegin { generation: id });
            }
        }
    }
}

fn median(numbers: impl Iterator<Item = u64>) -> u64 {
    let mut sorted: Vec<u64> = numbers.collect();
    sorted.sort_unstable();
    sorted.get(sorted.len() / 2).copied().unwrap_or_default()
}
