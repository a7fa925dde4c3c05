//! What is believed of a clock: the agent's time floor (docs/decisions/0010) and what a vault has witnessed. Pure: what the
//! clocks say is passed in.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

/// A clock that is ahead by more than this may be wrong, so it is believed only …
const LEAP: SignedDuration = SignedDuration::from_hours(24);
/// … when it has gone on evenly for this long since boot: NTP corrects a clock within minutes.
const EVENLY: Duration = Duration::from_secs(60 * 60);
/// A host's clock that is set back by less than this is being corrected and not wrong.
const HOSTS_CORRECTION: SignedDuration = SignedDuration::from_secs(120);
/// The same of a vault's.
const VAULTS_CORRECTION: SignedDuration = SignedDuration::from_mins(5);
/// How far a clock alone raises a floor at once where no signature bounds it: as long as a policy lasts.
const LEAD: SignedDuration = SignedDuration::from_hours(90 * 24);

/// Since when a clock has been far ahead: what it and the time since boot said then.
#[derive(Debug, Clone, Copy, Default)]
struct Ahead(Option<(Timestamp, Duration)>);

impl Ahead {
    /// Has it been far ahead for long enough, without a jump of more than a correction?
    fn is_even(&mut self, wall: Timestamp, boot: Duration, correction: SignedDuration) -> bool {
        let (first, then) = *self.0.get_or_insert((wall, boot));
        if (wall.duration_since(first) - passed(then, boot)).abs() > correction {
            self.0 = Some((wall, boot));
            return false;
        }
        boot.saturating_sub(then) >= EVENLY
    }
}

fn passed(then: Duration, now: Duration) -> SignedDuration {
    SignedDuration::try_from(now.saturating_sub(then)).unwrap_or(SignedDuration::MAX)
}

/// The floor of a host's time: never earlier than the latest that was signed or noted. It only rises.
#[derive(Debug, Clone, Copy)]
pub struct Floor {
    floor: Timestamp,
    /// The end of the signed policy in force.
    until: Option<Timestamp>,
    ahead: Ahead,
}

impl Floor {
    /// The floor as it was kept; the epoch where there is none yet.
    pub fn new(kept: Timestamp) -> Self {
        Self { floor: kept, until: None, ahead: Ahead::default() }
    }

    /// Where it is.
    pub fn at(&self) -> Timestamp {
        self.floor
    }

    /// A signature proved this time.
    pub fn raise(&mut self, proved: Timestamp) {
        self.floor = self.floor.max(proved);
    }

    /// How long the signed policy in force lasts: no clock raises the floor beyond it.
    pub fn bound(&mut self, until: Option<Timestamp>) {
        self.until = until;
    }

    /// Takes note of the moment, as far as the clock is believed. `boot` is the time since boot.
    pub fn note(&mut self, wall: Timestamp, boot: Duration) {
        if wall.duration_since(self.floor) > LEAP && !self.ahead.is_even(wall, boot, HOSTS_CORRECTION) {
            return;
        }
        let bound = match self.until {
            Some(until) => until,
            // Nothing is known that it could be measured by.
            None if self.floor == Timestamp::UNIX_EPOCH => Timestamp::MAX,
            None => self.floor.checked_add(LEAD).unwrap_or(Timestamp::MAX),
        };
        self.floor = self.floor.max(wall.min(bound));
        self.ahead = Ahead::default();
    }

    /// The moment to decide by, and whether the clock is wrong: far before the floor. Then nothing new begins.
    pub fn judge(&self, wall: Timestamp) -> (Timestamp, bool) {
        (wall.max(self.floor), self.floor.duration_since(wall) > HOSTS_CORRECTION)
    }
}

/// What a vault has seen of its clock.
#[derive(Debug, Clone, Copy)]
pub struct Witnessed {
    latest: Timestamp,
    /// The latest that a signature proved; says nothing of how long ago that was.
    proved: Timestamp,
    /// When `latest` was seen, of the time since boot.
    seen: Duration,
    ahead: Ahead,
}

impl Witnessed {
    /// As it was kept, seen at this time since boot; the epoch where nothing was.
    pub fn new(latest: Timestamp, boot: Duration) -> Self {
        Self { latest, proved: Timestamp::UNIX_EPOCH, seen: boot, ahead: Ahead::default() }
    }

    /// The latest that was seen or proved.
    pub fn floor(&self) -> Timestamp {
        self.latest.max(self.proved)
    }

    /// A signature proved this time.
    pub fn raise(&mut self, proved: Timestamp) {
        self.proved = self.proved.max(proved);
    }

    /// The wall time, unless it is far before what was seen or has leapt ahead of it: then nothing may begin, close or be
    /// erased.
    pub fn judge(&mut self, wall: Timestamp, boot: Duration) -> Option<Timestamp> {
        if self.floor().duration_since(wall) > VAULTS_CORRECTION {
            return None;
        }
        let leap = wall.duration_since(self.latest) - passed(self.seen, boot);
        let known = self.latest != Timestamp::UNIX_EPOCH;
        if known && leap > LEAP && !self.ahead.is_even(wall, boot, VAULTS_CORRECTION) {
            return None;
        }
        self.ahead = Ahead::default();
        (self.latest, self.seen) = (self.latest.max(wall), boot);
        Some(wall)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const FROM: i64 = 1_800_000_000;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(FROM + seconds).unwrap()
    }

    proptest! {
        /// Whatever a clock does, for however long: no floor falls, and none passes the policy's end by a clock alone.
        #[test]
        fn no_clock_moves_a_floor_down_or_beyond_its_bound(
            offs in prop::array::uniform3(-4_000_000i64..4_000_000),
            steps in prop::collection::vec((0u64..3000, 0usize..4), 1..80),
        ) {
            let until = at(20 * 86_400);
            let mut floor = Floor::new(at(0));
            floor.bound(Some(until));
            let mut witnessed = Witnessed::new(at(0), Duration::ZERO);
            let mut boot = 0;
            for (passes, off) in steps {
                boot += passes;
                // Wrong by one of three, or right.
                let wall = at(i64::try_from(boot).unwrap() + offs.get(off).copied().unwrap_or_default());
                let before = (floor.at(), witnessed.floor());
                floor.note(wall, Duration::from_secs(boot));
                let said = witnessed.judge(wall, Duration::from_secs(boot));
                prop_assert!(floor.at() >= before.0 && witnessed.floor() >= before.1);
                prop_assert!(floor.at() <= until);
                prop_assert!(said.is_none_or(|said| said == wall));
                prop_assert!(floor.judge(wall).0 >= floor.at());
            }
        }

        /// Far ahead for less than an hour, however often it is looked at: nothing follows it, and nothing is left of it.
        #[test]
        fn what_is_mended_within_the_hour_leaves_nothing_behind(
            off in 2 * 86_400i64..3_000_000_000,
            looks in prop::collection::btree_set(1u64..3600, 1..40),
            after in 1u64..80_000,
        ) {
            let (mut floor, mut witnessed) = (Floor::new(at(0)), Witnessed::new(at(0), Duration::ZERO));
            let first = *looks.first().unwrap();
            for boot in looks {
                let wall = at(off + i64::try_from(boot).unwrap());
                floor.note(wall, Duration::from_secs(boot));
                prop_assert_eq!((floor.at(), floor.judge(wall)), (at(0), (wall, false)));
                prop_assert_eq!(witnessed.judge(wall, Duration::from_secs(boot)), None);
                prop_assert_eq!(witnessed.floor(), at(0));
            }
            let boot = Duration::from_secs(3600 + after);
            let right = at(i64::try_from(3600 + after).unwrap());
            prop_assert_eq!(floor.judge(right), (right, false));
            floor.note(right, boot);
            prop_assert_eq!((floor.at(), witnessed.judge(right, boot)), (right, Some(right)));
            // Each leap is waited for anew.
            let again = at(off + i64::try_from(first + 3600 + after).unwrap());
            floor.note(again, boot + Duration::from_secs(first));
            prop_assert_eq!(floor.at(), right);
            prop_assert_eq!(witnessed.judge(again, boot + Duration::from_secs(first)), None);
        }

        /// Far ahead for long, and by another time at every look: nobody knows what it is, and it gathers no hour.
        #[test]
        fn a_clock_that_jumps_is_not_believed(
            looks in prop::collection::vec((1u64..3600, 600i64..86_400), 2..60),
        ) {
            let (mut floor, mut witnessed) = (Floor::new(at(0)), Witnessed::new(at(0), Duration::ZERO));
            let (mut boot, mut off) = (0, 2 * 86_400);
            for (passes, jump) in looks {
                (boot, off) = (boot + passes, off + jump);
                let wall = at(off + i64::try_from(boot).unwrap());
                floor.note(wall, Duration::from_secs(boot));
                prop_assert_eq!(witnessed.judge(wall, Duration::from_secs(boot)), None);
                prop_assert_eq!((floor.at(), witnessed.floor()), (at(0), at(0)));
            }
        }

        /// Far ahead for an even hour: it is believed, and when it comes back it is wrong until its time has come. A person
        /// who removes what was kept ends that at once.
        #[test]
        fn what_went_on_for_an_hour_is_believed_until_its_time_comes(
            off in 2 * 86_400i64..120 * 86_400,
            lasts in 3600u64..200_000,
            back in 400i64..86_400,
        ) {
            let until = at(90 * 86_400);
            let mut floor = Floor::new(at(0));
            floor.bound(Some(until));
            let mut witnessed = Witnessed::new(at(0), Duration::ZERO);
            for boot in [0, lasts] {
                let wall = at(off + i64::try_from(boot).unwrap());
                floor.note(wall, Duration::from_secs(boot));
                let believed = witnessed.judge(wall, Duration::from_secs(boot));
                prop_assert_eq!(believed.is_some(), boot == lasts);
            }
            let top = off + i64::try_from(lasts).unwrap();
            let floors = (floor.at(), witnessed.floor());
            prop_assert_eq!(floors, (at(top).min(until), at(top)));
            let right = top - off + back;
            let boot = Duration::from_secs(lasts) + Duration::from_secs(back.unsigned_abs());
            prop_assert_eq!(floor.judge(at(right)), (floors.0, true));
            prop_assert_eq!(witnessed.judge(at(right), boot), None);
            floor.note(at(right), boot);
            prop_assert_eq!((floor.at(), witnessed.floor()), floors, "it only rises");
            // Corrections of so much are no fault.
            let reached = (floors.0.as_second() - FROM - 120, top - 300);
            prop_assert_eq!(floor.judge(at(reached.0)), (floors.0, false));
            let boot = Duration::from_secs(reached.1.unsigned_abs());
            prop_assert_eq!(witnessed.judge(at(reached.1), boot), Some(at(reached.1)));
            let mut new = Witnessed::new(Timestamp::UNIX_EPOCH, boot);
            prop_assert_eq!(new.judge(at(right), boot), Some(at(right)));
            prop_assert_eq!(Floor::new(Timestamp::UNIX_EPOCH).judge(at(right)), (at(right), false));
        }
    }
}
