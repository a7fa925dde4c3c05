//! What the architecture rules look at: the packages cargo sees and the text of our own files.
//!
//! The rules themselves are the tests beside this crate; each fails with its reason in the message.

mod graph;
mod lock;
mod text;

pub use graph::{Graph, Package};
pub use lock::{Locked, locked};
pub use text::{Source, literals, named, our_files, rust_files, without_comments};

/// Fails with everything that breaks a rule at once, and the reason of the rule.
///
/// # Panics
/// When `broken` is not empty: that is how a test says no.
#[track_caller]
pub fn holds(reason: &str, broken: &[String]) {
    assert!(broken.is_empty(), "{reason}\n  {}", broken.join("\n  "));
}
