//! The state of a series and how each event changes it. An event that cannot follow is refused: a journal that holds one
//! was changed.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use jiff::civil::Weekday;
use tenure_trust::backup::GONE;
use tenure_trust::vault_wire::AsideReason;
use tenure_trust::{GenerationId, Hash};

use super::{Event, SlotKey};

/// A series: its generations that are not erased, the newest that it ever had, and which were erased last.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ring {
    generations: BTreeMap<GenerationId, Generation>,
    newest: Option<GenerationId>,
    /// The newest that were erased.
    erased: BTreeSet<GenerationId>,
}

/// One generation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Generation {
    /// Where it stands.
    pub state: State,
    /// When it began.
    pub opened: Timestamp,
    /// When it was closed.
    pub closed: Option<Timestamp>,
    /// Hash of its `config`.
    pub config: Hash,
    /// Hash of its key file.
    pub key: Hash,
    /// Who has its password.
    pub recipients: Vec<String>,
    /// Slots that a run began to fill in time.
    pub begun: BTreeSet<SlotKey>,
    /// Slots that were accepted.
    pub sealed: BTreeMap<SlotKey, Sealed>,
}

/// An accepted slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sealed {
    /// Hash of the seal's payload.
    pub seal: Hash,
    /// The snapshot that counts.
    pub snapshot: Hash,
    /// The root by the vault's journal.
    pub root: Hash,
    /// Objects up to here.
    pub upto: u64,
    /// How many.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
    /// The receipt's sequence number.
    pub sequence: u64,
    /// When it was accepted.
    pub received: Timestamp,
    /// Files that the host could not read.
    pub unreadable: u64,
}

/// Where a generation stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It takes objects.
    Candidate,
    /// It takes no more, and what becomes of it is not written down yet.
    Closed,
    /// The copy of its cell.
    Current,
    /// Not taken; the old copy stays.
    Aside(AsideReason),
    /// Another is the copy now. (Trash will be here.)
    Superseded,
    /// Being erased.
    Erasing,
}

/// What a generation has been accepted with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Worth {
    /// No slot.
    Nothing,
    /// What was accepted is not what the disk gives back.
    Spoilt,
    /// Only slots that lack files.
    Partial,
    /// A slot that lacks nothing.
    Whole,
}

/// An event that cannot follow the ones before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the generation {generation} {why}")]
pub struct Broken {
    /// Which generation.
    pub generation: GenerationId,
    /// What is wrong.
    pub why: &'static str,
}

impl Ring {
    /// The generation of this name, unless it was erased.
    pub fn get(&self, id: GenerationId) -> Option<&Generation> {
        self.generations.get(&id)
    }

    /// All that are not erased, oldest first.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (GenerationId, &Generation)> {
        self.generations.iter().map(|(id, generation)| (*id, generation))
    }

    /// The newest there ever was.
    pub fn newest(&self) -> Option<GenerationId> {
        self.newest
    }

    /// Does this generation take objects? Of an open date the newest number alone: a run that has lost its keys begins it, and
    /// nothing more comes to the ones before.
    pub fn takes(&self, id: GenerationId) -> bool {
        self.newest == Some(id) && self.get(id).is_some_and(|generation| generation.state == State::Candidate)
    }

    /// Those that have left their cell, the newest [`GONE`], oldest first. What never was here is not among them.
    pub fn gone(&self) -> Vec<GenerationId> {
        let leaving = self.iter().filter(|(_, g)| matches!(g.state, State::Superseded | State::Erasing));
        let mut gone: Vec<_> = leaving.map(|(id, _)| id).chain(self.erased.iter().copied()).collect();
        gone.sort_unstable();
        gone.split_off(gone.len().saturating_sub(GONE))
    }

    /// The copy of a cell.
    pub fn current(&self, cell: Weekday) -> Option<GenerationId> {
        let mut cells = self.iter().filter(|(id, g)| g.state == State::Current && cell_of(*id) == cell);
        cells.next().map(|(id, _)| id)
    }

    /// Takes an event over.
    ///
    /// # Errors
    /// [`Broken`] when it cannot follow; nothing was changed.
    pub fn apply(&mut self, at: Timestamp, event: &Event) -> Result<(), Broken> {
        let id = event.generation();
        let broken = |why| Broken { generation: id, why };
        match event {
            Event::Open { config, key, recipients, .. } => {
                if id.number == 0 || self.newest.is_some_and(|newest| id <= newest) {
                    return Err(broken("begins after a later one"));
                }
                self.newest = Some(id);
                self.generations.insert(id, Generation::new(at, *config, *key, recipients.clone()));
            }
            Event::Begin { slot, .. } => {
                let generation = self.within(id, |s| s == State::Candidate, "takes no more slots")?;
                generation.begun.insert(*slot);
            }
            Event::Seal {
                slot, seal, snapshot, root, upto, objects, bytes, sequence, unreadable, ..
            } => {
                let generation = self.within(id, |s| s == State::Candidate, "takes no more seals")?;
                if !generation.begun.contains(slot) {
                    return Err(broken("was sealed in a slot that no run began"));
                }
                if generation.sealed.contains_key(slot) {
                    return Err(broken("was sealed in one slot twice"));
                }
                if sequence <= upto || generation.sealed.values().any(|s| s.sequence >= *sequence) {
                    return Err(broken("was sealed out of order"));
                }
                let sealed = Sealed {
                    seal: *seal,
                    snapshot: *snapshot,
                    root: *root,
                    upto: *upto,
                    objects: *objects,
                    bytes: *bytes,
                    sequence: *sequence,
                    received: at,
                    unreadable: *unreadable,
                };
                generation.sealed.insert(*slot, sealed);
            }
            Event::Close { .. } => {
                let generation = self.within(id, |s| s == State::Candidate, "was closed twice")?;
                generation.state = State::Closed;
                generation.closed = Some(at);
            }
            Event::Promote { supersedes, .. } => {
                let promotable = |s| matches!(s, State::Closed | State::Aside(_));
                let generation = self.within(id, promotable, "cannot become the copy of its cell")?;
                if generation.sealed.is_empty() {
                    return Err(broken("became the copy of its cell without an accepted slot"));
                }
                if self.current(cell_of(id)) != *supersedes {
                    return Err(broken("supersedes another than the copy of its cell"));
                }
                for (of, state) in [(*supersedes, State::Superseded), (Some(id), State::Current)] {
                    if let Some(generation) = of.and_then(|id| self.generations.get_mut(&id)) {
                        generation.state = state;
                    }
                }
            }
            Event::Aside { reason, .. } => {
                let generation = self.within(id, |s| s == State::Closed, "was set aside before it closed")?;
                generation.state = State::Aside(*reason);
            }
            Event::EraseBegin { .. } => {
                if !self.may_erase(id) {
                    return Err(broken("is not superseded and must not be erased"));
                }
                self.within(id, |_| true, "is gone")?.state = State::Erasing;
            }
            Event::Erased { .. } => {
                self.within(id, |s| s == State::Erasing, "was erased without being told so")?;
                self.generations.remove(&id);
                self.erased.insert(id);
                while self.erased.len() > GONE {
                    self.erased.pop_first();
                }
            }
        }
        Ok(())
    }

    /// Is it superseded: another is the copy of its cell, or it was set aside and something later of its cell stands in for
    /// it?
    pub fn may_erase(&self, id: GenerationId) -> bool {
        match self.get(id).map(|generation| generation.state) {
            Some(State::Superseded) => true,
            Some(State::Aside(_)) => self.stands_in(id, |other| other > id),
            _ => false,
        }
    }

    /// Is there one of its cell among these that holds at least as much as it does, as the copy or set aside? What holds
    /// nothing stands in for nothing that was accepted, and what lacks files for nothing that lacks none.
    pub(super) fn stands_in(&self, id: GenerationId, among: impl Fn(GenerationId) -> bool) -> bool {
        let Some(own) = self.get(id).map(Generation::worth) else { return false };
        self.iter().any(|(other, g)| {
            among(other)
                && cell_of(other) == cell_of(id)
                && match g.state {
                    State::Current => true,
                    State::Aside(_) => g.worth() >= own,
                    _ => false,
                }
        })
    }

    fn within(
        &mut self,
        id: GenerationId,
        fits: impl Fn(State) -> bool,
        why: &'static str,
    ) -> Result<&mut Generation, Broken> {
        match self.generations.get_mut(&id) {
            Some(generation) if fits(generation.state) => Ok(generation),
            Some(_) => Err(Broken { generation: id, why }),
            None => Err(Broken { generation: id, why: "is not there" }),
        }
    }
}

impl Generation {
    fn new(opened: Timestamp, config: Hash, key: Hash, recipients: Vec<String>) -> Self {
        Self {
            state: State::Candidate,
            opened,
            closed: None,
            config,
            key,
            recipients,
            begun: BTreeSet::new(),
            sealed: BTreeMap::new(),
        }
    }

    /// What it is worth beside others.
    pub fn worth(&self) -> Worth {
        match self.sealed.values().any(|sealed| sealed.unreadable == 0) {
            _ if self.sealed.is_empty() => Worth::Nothing,
            _ if self.state == State::Aside(AsideReason::Spoilt) => Worth::Spoilt,
            true => Worth::Whole,
            false => Worth::Partial,
        }
    }

    /// The slot that was accepted last.
    pub fn last_sealed(&self) -> Option<&Sealed> {
        self.sealed.values().max_by_key(|sealed| sealed.sequence)
    }
}

/// The cell of a generation: its weekday.
pub(super) fn cell_of(id: GenerationId) -> Weekday {
    id.date.weekday()
}
