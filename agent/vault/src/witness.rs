//! The vault's own clock: wall time, and the uptime that it has witnessed in all its life, which no clock jump changes.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tenure_policy::clocks::Witnessed;
use tenure_sys::clock;
use tenure_sys::files::{CheckedDir, FileError, Put, Roots};

const FILE: &str = "clock.json";
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
    clock: Witnessed,
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
            clock: Witnessed::new(written.latest, now),
            written: now,
        };
        Ok(Self { dir: state.into(), writable: Roots::new([state])?, state: Mutex::new(state_of) })
    }

    /// Seconds of uptime that were witnessed in all.
    pub fn uptime(&self) -> u64 {
        let state = self.lock();
        (state.before + clock::boottime().saturating_sub(state.started)).as_secs()
    }

    /// The wall time, unless it is before what was seen or has leapt ahead of it: then nothing may begin, close or be erased.
    ///
    /// # Errors
    /// What is wrong with the clock and what to do, in words.
    pub fn now(&self) -> Result<Timestamp, String> {
        let wall = clock::wall();
        let mut state = self.lock();
        let latest = state.clock.floor();
        state.clock.judge(wall, clock::boottime()).ok_or_else(|| match latest > wall {
            true => format!(
                "the vault's clock says {wall} and it has seen {latest}: set the clock, or, if it was ahead then and is \
                 right now, remove {} and start the vault again",
                tenure_sys::text::path(&self.dir.join(FILE))
            ),
            false => format!(
                "the vault's clock says {wall}, far after {latest} that it saw last: it is believed when it has gone on \
                 evenly for an hour"
            ),
        })
    }

    /// A signature proved that it is at least this late.
    pub fn raise(&self, proved: Timestamp) {
        self.lock().clock.raise(proved);
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
            state.clock.floor()
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
    use jiff::SignedDuration;

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
        assert!(second.now().is_ok());
        second.raise(clock::wall().checked_add(SignedDuration::from_hours(24)).expect("tomorrow"));
        let why = second.now().expect_err("it has been tomorrow already");
        assert!(why.contains("clock.json"), "{why}");
        std::fs::write(dir.path().join(FILE), "{}").expect("write");
        assert!(Witness::open(dir.path()).is_err());
    }

    #[test]
    fn a_clock_that_leaps_ahead_is_believed_after_an_hour_and_forgotten_when_it_comes_back() {
        let at = |text: &str| text.parse::<Timestamp>().expect("a time");
        let minutes = |n: u64| Duration::from_secs(60 * n);
        let state = || {
            let mut clock = Witnessed::new(at("2026-11-23T06:00:00Z"), Duration::ZERO);
            clock.raise(at("2026-10-01T00:00:00Z"));
            clock
        };
        let mut back = state();
        for minute in 1..50 {
            let wrong = at("2027-01-02T06:00:00Z") + minutes(minute);
            assert_eq!(back.judge(wrong, minutes(minute)), None, "forty days ahead");
        }
        let right = at("2026-11-23T06:50:00Z");
        assert_eq!(back.judge(right, minutes(50)), Some(right), "NTP mended it, and nothing is left of it");
        assert_eq!(back.floor(), right);

        let mut off = state();
        let later = |minute: u64| at("2026-11-26T06:00:00Z") + minutes(minute);
        assert_eq!(
            off.judge(later(0), minutes(1)),
            None,
            "a machine that was off for three days looks like it"
        );
        assert_eq!(off.judge(later(59), minutes(60)), None);
        assert_eq!(off.judge(later(60), minutes(61)), Some(later(60)));
        let jumped = later(120) + minutes(60 * 24 * 30);
        assert_eq!(off.judge(jumped, minutes(121)), None, "each leap is waited for");

        let mut running = state();
        let days = minutes(60 * 24 * 9);
        let slept = at("2026-12-02T06:00:00Z");
        assert_eq!(running.judge(slept, days), Some(slept), "the machine ran all the while: that is no leap");
    }
}
