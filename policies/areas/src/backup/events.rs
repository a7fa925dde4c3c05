//! What happened between two looks, for the records: `backup_sealed`, `backup_failed`, `backup_missed`, `drill_done`.

use serde_json::{Value, json};

use super::facts::{Facts, SlotFact, SlotState};

/// Events at most between two looks; what else happened stands in the facts.
const MOST: usize = 32;

/// What is new in `after`, oldest first: names of events with their payloads.
pub fn events(before: &Facts, after: &Facts) -> Vec<(&'static str, Value)> {
    let news = after.slots.iter().rev().filter(|fact| before.of(&fact.slot) != Some(fact)).filter_map(event);
    let drills = after.drills.iter().rev().filter(|drill| !before.drills.contains(drill));
    let drills = drills.map(|drill| ("drill_done", json!(drill)));
    news.chain(drills).take(MOST).collect()
}

fn event(fact: &SlotFact) -> Option<(&'static str, Value)> {
    let SlotFact { slot, state, at, tries } = fact;
    match state {
        SlotState::Running => None,
        SlotState::Sealed(seal) => {
            Some(("backup_sealed", json!({ "slot": slot, "seal": seal, "at": at, "tries": tries })))
        }
        SlotState::Failed { why } => {
            Some(("backup_failed", json!({ "slot": slot, "why": why, "at": at, "tries": tries })))
        }
        SlotState::Missed => Some(("backup_missed", json!({ "slot": slot, "at": at }))),
    }
}
