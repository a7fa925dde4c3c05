//! The vault's own clock: wall time, and the uptime that it has witnessed in all its life, which no clock jump changes.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use tenure_sys::clock;
use tenure_sys::files::{CheckedDir, FileError, Put, Roots};

const FILE: &str = "clock.json";
/// A wall clock this far before what was seen is wrong, and not being corrected.
const CORRECTION: SignedDuration = SignedDuration::from_mins(5);
/// It is written down this often.
const EVERY: Duration = Duration::from_secs(60);

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    schema: u32,
    /// Seconds that vault processes have run in all.
    uptime_seconds: u64,
    /// The latest wall time that was seen.
    latest: Timestamp,
}

/// The clock.
#[derive(Debug)]
pub struct Witness {
    dir: PathBuf,
    writable: Roots,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    before: Duration,
    started: Duration,
    latest: Timestamp,
    written: Duration,
}

impl Witness {
    /// Reads what was witnessed before.
    ///
    /// # Errors
    /// When the file cannot be read or is none of ours: then nobody knows.
    pub fn open(state: &Path) -> Result<Self, FileError> {
        let path = state.join(FILE);
        let written = match CheckedDir::read_file(&path, 512) {
            Ok(file) => serde_json::from_slice(&file.bytes)
                .map_err(|_| FileError::BadPath { path, why: "its content is not a clock" })?,
            Err(e) if e.is_missing() => {
                Written { schema: 1, uptime_seconds: 0, latest: Timestamp::UNIX_EPOCH }
            }
            Err(e) => return Err(e),
        };
        let now = clock::boottime();
        let state_of = State {
            before: Duration::from_secs(written.uptime_seconds),
            started: now,
            latest: written.latest,
            written: now,
        };
        Ok(Self { dir: state.into(), writable: Roots::new([state])?, state: Mutex::new(state_of) })
    }

    /// Seconds of uptime that were witnessed in all.
    pub fn uptime(&self) -> u64 {
        let state = self.lock();
        (state.before + clock::boottime().saturating_sub(state.started)).as_secs()
    }

    /// The wall time, unless it is before what was seen: then nothing may begin, close or be erased.
    pub fn now(&self) -> Option<Timestamp> {
        let wall = clock::wall();
        let mut state = self.lock();
        if state.latest.duration_since(wall) > CORRECTION {
            return None;
        }
        state.latest = state.latest.max(wall);
        Some(wall)
    }

    /// A signature proved that it is at least this late.
    pub fn raise(&self, proved: Timestamp) {
        let mut state = self.lock();
        state.latest = state.latest.max(proved);
    }

    /// Writes it down when it is time, or now.
    ///
    /// # Errors
    /// When the disk refuses; the clock goes on.
    pub fn keep(&self, at_once: bool) -> Result<(), FileError> {
        let uptime_seconds = self.uptime();
        let latest = {
            let mut state = self.lock();
            let now = clock::boottime();
            if !at_once && now.saturating_sub(state.written) < EVERY {
                return Ok(());
            }
            state.written = now;
            state.latest
        };
        let text = serde_json::json!(Written { schema: 1, uptime_seconds, latest }).to_string();
        self.writable.put(&Put::own(&self.dir.join(FILE), text.as_bytes(), 0o600))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uptime_adds_up_over_restarts_and_a_clock_set_back_is_not_believed() {
        let dir = tempfile::tempdir_in("/run").expect("these tests run as root");
        let first = Witness::open(dir.path()).expect("new");
        first.keep(true).expect("written");
        let text = std::fs::read_to_string(dir.path().join(FILE)).expect("there");
        assert!(text.contains("\"uptime_seconds\":0"), "{text}");
        std::fs::write(dir.path().join(FILE), text.replace("seconds\":0", "seconds\":5000")).expect("write");
        let second = Witness::open(dir.path()).expect("there");
        assert!((5000..5060).contains(&second.uptime()));
        assert!(second.now().is_some());
        second.raise(clock::wall().checked_add(SignedDuration::from_hours(24)).expect("tomorrow"));
        assert_eq!(second.now(), None, "it has been tomorrow already");
        std::fs::write(dir.path().join(FILE), "{}").expect("write");
        assert!(Witness::open(dir.path()).is_err());
    }
}
