//! The ring of a series: which of its generations is the copy of which cell (BACKUP.md, the state diagram). Pure: the
//! time is passed in, every decision is a list of events, and the same events give the same state again. The journal
//! writes them down; the shell acts on them.
//!
//! Trash, holds and purging come later: [`State::Superseded`] is where a generation will wait for its time, and
//! [`Event::EraseBegin`] is the one arrow that a hold will block.

mod decide;
mod event;
mod facts;
mod looked;
mod rules;
mod state;
#[cfg(test)]
mod tests;

pub use decide::{Due, Frozen, Opening};
pub use event::{CloseReason, Event, SlotKey};
pub use looked::{Found, Looked};
pub use rules::{Refusal, Rules, SKEW};
pub use state::{Broken, Generation, Ring, Sealed, State, Worth};
