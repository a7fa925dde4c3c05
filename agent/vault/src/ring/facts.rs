//! What a vault says of a ring to others: hosts that ask, and the controller through its records.

use tenure_trust::vault_wire::{GenerationFacts, GenerationState, SealedSlot};
use tenure_trust::{GenerationId, SeriesId, SlotId};

use super::{Generation, Ring, State};

impl Ring {
    /// Its generations, oldest first. `held` tells objects and bytes of one that goes on; of others the last seal counts.
    pub fn facts(
        &self,
        series: &SeriesId,
        held: impl Fn(GenerationId) -> Option<(u64, u64)>,
    ) -> Vec<GenerationFacts> {
        self.iter().map(|(id, generation)| facts(series, id, generation, held(id))).collect()
    }
}

fn facts(
    series: &SeriesId,
    id: GenerationId,
    generation: &Generation,
    held: Option<(u64, u64)>,
) -> GenerationFacts {
    let slots = generation.sealed.iter().map(|(slot, sealed)| SealedSlot {
        slot: SlotId { series: series.clone(), date: id.date, at: slot.at, manual: slot.manual },
        seal: sealed.seal,
        snapshot: sealed.snapshot,
        root: sealed.root,
        sequence: sealed.sequence,
        received: sealed.received,
        unreadable: sealed.unreadable,
    });
    let (objects, bytes) =
        held.or_else(|| generation.last_sealed().map(|s| (s.objects, s.bytes))).unwrap_or_default();
    GenerationFacts {
        id,
        state: match generation.state {
            State::Candidate | State::Closed => GenerationState::Candidate,
            State::Current => GenerationState::Current,
            State::Aside(reason) => GenerationState::Aside(reason),
            State::Superseded => GenerationState::Trash,
            State::Erasing => GenerationState::Erasing,
        },
        opened: generation.opened,
        closed: generation.closed,
        slots: slots.collect(),
        objects,
        bytes,
    }
}
