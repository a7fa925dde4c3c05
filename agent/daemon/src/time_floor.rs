//! The time floor, kept in a file: it is never earlier than the latest time that was signed or persisted, whatever the clock says. A clock
//! that is far ahead raises it slowly and never farther than the policy lasts (docs/decisions/0010).

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tenure_areas::area::{Now, Unknown};
use tenure_policy::clocks::Floor;
use tenure_sys::files::{CheckedDir, FileError, Put, Roots};

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
    floor: Floor,
    persisted: Timestamp,
}

impl TimeFloor {
    /// Reads the persisted floor; a missing file is no floor yet.
    ///
    /// # Errors
    /// When the file cannot be read or is not one of ours: then nobody knows what the floor was.
    pub fn open(path: PathBuf) -> Result<Self, FileError> {
        let persisted = match CheckedDir::read_file(&path, LIMIT) {
            Ok(file) => {
                String::from_utf8_lossy(&file.bytes).trim().parse().map_err(|_| FileError::BadPath {
                    path: path.clone(),
                    why: "its content is not a time: if the clock is right, remove it",
                })?
            }
            Err(e) if e.is_missing() => Timestamp::UNIX_EPOCH,
            Err(e) => return Err(e),
        };
        let bad = || FileError::BadPath { path: path.clone(), why: "it must name a file" };
        let writable = Roots::new([path.parent().ok_or_else(bad)?])?;
        let state = State { floor: Floor::new(persisted), persisted };
        Ok(Self { path, writable, state: Mutex::new(state) })
    }

    /// Takes note of a time that a signature proved.
    pub fn raise(&self, to: Timestamp) {
        self.lock().floor.raise(to);
    }

    /// Takes note of how long the signed policy in force lasts; none where nothing is signed. No clock raises the floor
    /// beyond it: whatever is signed next can be taken.
    pub fn bound(&self, until: Option<Timestamp>) {
        self.lock().floor.bound(until);
    }

    /// Takes note of the moment, as far as the clock is believed, and persists it now and then.
    ///
    /// # Errors
    /// When it cannot be written; the floor in memory has risen all the same.
    pub fn persist(&self, now: &Now) -> Result<(), FileError> {
        let due = {
            let mut state = self.lock();
            state.floor.note(now.wall, Duration::from_millis(now.since_boot_ms));
            let floor = state.floor.at();
            (floor.duration_since(state.persisted) >= STEP).then_some(floor)
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
        let (wall, wrong) = floor.judge(now.wall);
        let floor = floor.at();
        let unknown = wrong.then(|| Unknown {
            doing: "telling the time".into(),
            reason: format!(
                "the clock says {}, but this host has seen {floor}: set the clock (or, if it was ahead then and is \
                 right now, remove {} and start the agent again)",
                now.wall,
                tenure_sys::text::path(&self.path)
            ),
        });
        now.wall = wall;
        (now, unknown)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: u64 = 60 * 60 * 1000;

    fn at(text: &str) -> Now {
        after(text, 1)
    }

    fn after(text: &str, since_boot_ms: u64) -> Now {
        Now { wall: text.parse().expect("time"), since_boot_ms, boot_id: "b".into() }
    }

    /// A floor at noon, persisted.
    fn noon(dir: &tempfile::TempDir) -> TimeFloor {
        let path = dir.path().join("time-floor");
        std::fs::write(&path, "2026-11-22T12:00:00Z").expect("write");
        TimeFloor::open(path).expect("there")
    }

    fn persisted(dir: &tempfile::TempDir) -> String {
        std::fs::read_to_string(dir.path().join("time-floor")).expect("written")
    }

    #[test]
    fn a_clock_before_the_floor_is_not_believed_and_never_decided_by() {
        let dir = tempfile::tempdir_in("/run").expect("root's directory");
        let path = dir.path().join("time-floor");
        let floor = TimeFloor::open(path.clone()).expect("none yet");
        assert_eq!(floor.judge(at("2026-11-22T10:00:00Z")).1, None);
        floor.persist(&at("2026-11-22T10:00:00Z")).expect("noted");
        assert_eq!(floor.judge(at("2026-11-22T09:00:00Z")).1, None, "a first time is not believed at once");
        floor.persist(&after("2026-11-22T11:00:00Z", HOUR + 1)).expect("written");
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
    fn a_clock_that_was_far_ahead_for_less_than_an_hour_leaves_nothing_behind() {
        let dir = tempfile::tempdir_in("/run").expect("root's directory");
        let floor = noon(&dir);
        floor.persist(&after("2060-01-01T00:00:00Z", 0)).expect("noted");
        floor.persist(&after("2060-01-01T00:59:59Z", HOUR - 1000)).expect("noted");
        assert_eq!(persisted(&dir), "2026-11-22T12:00:00Z");
        // NTP sets it right: the floor goes on with it.
        assert_eq!(floor.judge(after("2026-11-22T13:00:00Z", HOUR)).1, None);
        floor.persist(&after("2026-11-22T13:00:00Z", HOUR)).expect("written");
        assert_eq!(persisted(&dir), "2026-11-22T13:00:00Z");
        // What was seen before is not counted on to the next time that it is ahead.
        floor.persist(&after("2060-01-01T02:00:00Z", 2 * HOUR)).expect("noted");
        assert_eq!(persisted(&dir), "2026-11-22T13:00:00Z");
        // Nor does a clock that jumps gather its hour.
        floor.persist(&after("2061-01-01T03:30:00Z", 3 * HOUR + HOUR / 2)).expect("noted");
        floor.persist(&after("2061-01-01T04:00:00Z", 4 * HOUR)).expect("noted");
        assert_eq!(persisted(&dir), "2026-11-22T13:00:00Z");
    }

    #[test]
    fn no_clock_raises_it_beyond_the_end_of_the_policy_in_force() {
        let dir = tempfile::tempdir_in("/run").expect("root's directory");
        let floor = noon(&dir);
        floor.bound(Some(at("2027-02-20T12:00:00Z").wall));
        floor.persist(&after("2060-01-01T00:00:00Z", 0)).expect("noted");
        floor.persist(&after("2060-01-01T01:00:00Z", HOUR)).expect("written");
        floor.persist(&after("2060-01-01T05:00:00Z", 5 * HOUR)).expect("noted");
        assert_eq!(persisted(&dir), "2027-02-20T12:00:00Z");
        assert_eq!(floor.judge(at("2027-02-20T12:00:01Z")).1, None);
        // A clock that goes on after the policy's end is believed; the floor waits for the next policy.
        floor.bound(Some(at("2027-02-21T12:00:00Z").wall));
        floor.persist(&after("2027-02-21T13:00:00Z", 6 * HOUR)).expect("noted");
        floor.persist(&after("2027-02-21T14:00:00Z", 7 * HOUR)).expect("written");
        assert_eq!(persisted(&dir), "2027-02-21T12:00:00Z");
        assert_eq!(floor.judge(at("2027-02-21T14:00:00Z")).1, None);
    }

    #[test]
    fn a_host_that_was_off_for_long_follows_after_an_hour() {
        let dir = tempfile::tempdir_in("/run").expect("root's directory");
        let floor = noon(&dir);
        for (day, hour) in [("2027-01-10T00:00:00Z", 0), ("2027-01-10T00:30:00Z", HOUR / 2)] {
            floor.persist(&after(day, hour)).expect("noted");
        }
        assert_eq!(persisted(&dir), "2026-11-22T12:00:00Z");
        floor.persist(&after("2027-01-10T01:00:00Z", HOUR)).expect("written");
        assert_eq!(persisted(&dir), "2027-01-10T01:00:00Z");
        floor.persist(&after("2027-01-10T23:00:00Z", 23 * HOUR)).expect("written");
        assert_eq!(persisted(&dir), "2027-01-10T23:00:00Z", "what follows evenly is no leap");
    }

    #[test]
    fn where_nothing_is_signed_an_hour_raises_it_by_at_most_as_long_as_a_policy_lasts() {
        let dir = tempfile::tempdir_in("/run").expect("root's directory");
        let floor = noon(&dir);
        floor.persist(&after("2060-01-01T00:00:00Z", 0)).expect("noted");
        floor.persist(&after("2060-01-01T01:00:00Z", HOUR)).expect("written");
        assert_eq!(persisted(&dir), "2027-02-20T12:00:00Z");
        floor.persist(&after("2060-01-01T01:30:00Z", HOUR + HOUR / 2)).expect("noted");
        assert_eq!(persisted(&dir), "2027-02-20T12:00:00Z");
    }

    #[test]
    fn a_broken_file_is_an_error_and_not_a_new_start() {
        let dir = tempfile::tempdir_in("/run").expect("root's directory");
        let path = dir.path().join("time-floor");
        std::fs::write(&path, "yesterday").expect("write");
        assert!(TimeFloor::open(path).is_err());
    }
}
