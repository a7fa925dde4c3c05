//! What was found when a closed generation was looked at again. It holds for the very seal that was looked at.

use std::collections::BTreeMap;

use tenure_trust::{GenerationId, Hash};

use super::Generation;

/// What is to be said of all objects of a generation together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// Each is there and hashes to its name.
    Whole,
    /// One is not there, or is another.
    Spoilt,
}

/// Generations that were looked at.
#[derive(Clone, Debug, Default)]
pub struct Looked(BTreeMap<GenerationId, (Hash, Found)>);

impl Looked {
    /// This was found up to this seal, the last of the generation.
    pub fn note(&mut self, id: GenerationId, seal: Hash, found: Found) {
        self.0.insert(id, (seal, found));
    }

    /// What was found, unless something was accepted since.
    pub(super) fn of(&self, id: GenerationId, generation: &Generation) -> Option<Found> {
        let (seal, found) = self.0.get(&id)?;
        generation.last_sealed().is_some_and(|last| last.seal == *seal).then_some(*found)
    }
}
