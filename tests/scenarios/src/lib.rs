//! What scenarios, the demo and benchmarks share: four hosts with people, keys and listeners, the built programs
//! on them, a policy of their own, and foreign clients that look from outside.

pub mod admissions;
pub mod agent;
pub mod browser;
pub mod by_hand;
pub mod chains;
pub mod clients;
pub mod clock;
pub mod controller;
pub mod copies;
pub mod fleet;
pub mod forged;
pub mod half_dump;
pub mod held;
pub mod killer;
pub mod linked;
pub mod operator;
pub mod planted;
pub mod policy;
pub mod programs;
pub mod role;
pub mod vaulted;

pub use clients::{Reach, reach};
pub use fleet::Fleet;
pub use policy::Policy;

/// Errors of scenarios: whoever reads them is a person at a failed test.
pub type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// Fails with everything that went otherwise than expected.
///
/// # Errors
/// When `wrong` is not empty.
pub fn all_held(what: &str, wrong: &[String]) -> Result<()> {
    if wrong.is_empty() {
        return Ok(());
    }
    Err(format!("{what}:\n  {}", wrong.join("\n  ")).into())
}
