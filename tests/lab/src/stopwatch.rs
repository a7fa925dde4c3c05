//! The one clock of tests: measures spans and bounds waiting.

use std::time::{Duration, Instant};

/// Measures from its start on.
#[derive(Debug, Clone, Copy)]
pub struct Stopwatch {
    started: Instant,
}

impl Stopwatch {
    /// Starts now.
    #[must_use]
    #[expect(
        clippy::disallowed_methods,
        reason = "a test measures spans; nothing is decided by it in the product"
    )]
    pub fn start() -> Self {
        Self { started: Instant::now() }
    }

    /// The time since the start.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }
}

/// Asks `done` again and again until it says true, and gives the time that took.
///
/// # Errors
/// What was waited for and how long, when `limit` passed first.
pub fn wait_for(what: &str, limit: Duration, mut done: impl FnMut() -> bool) -> Result<Duration, String> {
    let watch = Stopwatch::start();
    loop {
        if done() {
            return Ok(watch.elapsed());
        }
        if watch.elapsed() > limit {
            return Err(format!("{what}: not after {} s", limit.as_secs_f32()));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}
