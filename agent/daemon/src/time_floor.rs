//! The time floor: it is never earlier than the latest time that was signed or persisted, whatever the clock says.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use jiff::{SignedDuration, Timestamp};
use tenure_areas::area::{Now, Unknown};
use tenure_sys::files::{CheckedDir, FileError, Put, Roots};

/// A clock that is set back by less than this is being corrected and not wrong.
const CORRECTION: SignedDuration = SignedDuration::from_secs(120);
/// How much newer a time must be to be persisted again: one write a minute at most.
const STEP: SignedDuration = SignedDuration::from_secs(60);
/// The largest file of ours; a timestamp is 30 bytes.
const LIMIT: u64 = 64;

/// The floor. It only rises.
#[derive(Debug)]
pub struct TimeFloor {
    path: PathBuf,
    writable: Roots,
    state: Mutex<State>,
}

#[derive(Debug, Clone, Copy)]
struct State {
    floor: Timestamp,
    persisted: Timestamp,
}

impl TimeFloor {
    /// Reads the persisted floor; a missing file is no floor yet.
    ///
    /// # Errors
    /// When the file cannot be read or is not one of ours: then nobody knows what the floor was.
    pub fn open(path: PathBuf) -> Result<Self, FileError> {
        let persisted = match CheckedDir::read_file(&path, LIMIT) {
            Ok(file) => String::from_utf8_lossy(&file.bytes)
                .trim()
                .parse()
                .map_err(|_| FileError::BadPath { path: path.clone(), why: "its content is not a time" })?,
            Err(e) if e.is_missing() => Timestamp::UNIX_EPOCH,
            Err(e) => return Err(e),
        };
        let bad = || FileError::BadPath { path: path.clone(), why: "it must name a file" };
        let writable = Roots::new([path.parent().ok_or_else(bad)?])?;
        Ok(Self { path, writable, state: Mutex::new(State { floor: persisted, persisted }) })
    }

    /// Takes note of a time that a signature proved.
    pub fn raise(&self, to: Timestamp) {
        let mut state = self.lock();
        state.floor = state.floor.max(to);
    }

    /// Takes note that it is this late and persists it now and then. A wrong clock raises nothing.
    ///
    /// # Errors
    /// When it cannot be written; the floor in memory has risen all the same.
    pub fn persist(&self, wall: Timestamp) -> Result<(), FileError> {
        let due = {
            let mut state = self.lock();
            state.floor = state.floor.max(wall);
            (state.floor.duration_since(state.persisted) >= STEP).then_some(state.floor)
        };
        let Some(floor) = due else { return Ok(()) };
        let bytes = floor.to_string();
        let put = Put { path: &self.path, bytes: bytes.as_bytes(), mode: 0o600, uid: 0, gid: 0 };
        self.writable.put(&put)?;
        self.lock().persisted = floor;
        Ok(())
    }

    /// The moment to decide by: the clock's, or the floor when the clock is before it. With it why the clock is not
    /// believed, if it is not.
    pub fn judge(&self, mut now: Now) -> (Now, Option<Unknown>) {
        let floor = self.lock().floor;
        if now.wall >= floor {
            return (now, None);
        }
        let wrong = floor.duration_since(now.wall) > CORRECTION;
        let unknown = wrong.then(|| Unknown {
            doing: "telling the time".into(),
            reason: format!(
                "the clock says {}, but this host has seen {floor}: set the clock (or, if it was ahead then and is \
                 right now, remove {} and start the agent again)",
                now.wall,
                tenure_sys::text::path(&self.path)
            ),
        });
        now.wall = floor;
        (now, unknown)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Now {
        Now { wall: text.parse().expect("time"), since_boot_ms: 1, boot_id: "b".into() }
    }

    #[test]
    fn a_clock_before_the_floor_is_not_believed_and_never_decided_by() {
        let dir = tempfile::tempdir_in("/run").expect("root's directory");
        let path = dir.path().join("time-floor");
        let floor = TimeFloor::open(path.clone()).expect("none yet");
        assert_eq!(floor.judge(at("2026-11-22T11:00:00Z")).1, None);
        floor.persist(at("2026-11-22T11:00:00Z").wall).expect("written");
        drop(floor);

        let floor = TimeFloor::open(path).expect("there");
        let (now, unknown) = floor.judge(at("1970-01-02T00:00:00Z"));
        assert_eq!(now.wall, at("2026-11-22T11:00:00Z").wall);
        assert!(unknown.expect("unknown").reason.contains("2026-11-22T11:00:00Z"));
        let (now, unknown) = floor.judge(at("2026-11-22T10:59:30Z"));
        assert_eq!((now.wall, unknown), (at("2026-11-22T11:00:00Z").wall, None), "a correction is no fault");

        floor.raise(at("2027-01-01T00:00:00Z").wall);
        assert!(floor.judge(at("2026-12-01T00:00:00Z")).1.is_some(), "a signed time counts too");
        assert_eq!(floor.judge(at("2027-01-02T00:00:00Z")).1, None);
    }

    #[test]
    fn a_broken_file_is_an_error_and_not_a_new_start() {
        let dir = tempfile::tempdir_in("/run").expect("root's directory");
        let path = dir.path().join("time-floor");
        std::fs::write(&path, "yesterday").expect("write");
        assert!(TimeFloor::open(path).is_err());
    }
}
