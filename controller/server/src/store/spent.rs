//! What one machine may send: a budget of bytes for a day, and hardly anything while the disk is nearly full, so that no
//! host keeps the records of the others out.

use jiff::Timestamp;

/// While the disk is nearly full a machine may send so many bytes a minute: heartbeats, and little else.
const TRICKLE: u64 = 64 << 10;
const DAY: i64 = 86_400;
const MINUTE: i64 = 60;

/// How much room the disk has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Space {
    /// Enough.
    Enough,
    /// Less than the floor: heartbeats are taken.
    Low,
    /// Less than a quarter of the floor: it is left to the controller itself.
    None,
}

impl Space {
    /// Of so many free bytes.
    pub const fn of(free: u64, floor: u64) -> Self {
        if free >= floor {
            Self::Enough
        } else if free >= floor / 4 {
            Self::Low
        } else {
            Self::None
        }
    }
}

/// What may be taken now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// Bytes of a machine on one day (UTC).
    pub budget: u64,
    /// The disk.
    pub space: Space,
}

/// Why sound records are not taken now. They stay at their machine, which sends them again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Full {
    /// The machine has sent what it may send in a day.
    #[error("the machine has sent as much as it may in a day")]
    Budget,
    /// The disk is nearly full.
    #[error("the controller's disk is nearly full")]
    Space,
}

/// What a machine has sent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Spent {
    pub(super) day: i64,
    pub(super) day_bytes: u64,
    pub(super) minute: i64,
    pub(super) minute_bytes: u64,
}

impl Spent {
    /// With these bytes beside.
    pub(super) fn with(self, bytes: u64, room: Room, now: Timestamp) -> Result<Self, Full> {
        let (day, minute) = (now.as_second().div_euclid(DAY), now.as_second().div_euclid(MINUTE));
        let today = if self.day == day { self.day_bytes } else { 0 };
        let this_minute = if self.minute == minute { self.minute_bytes } else { 0 };
        let (day_bytes, minute_bytes) = (today.saturating_add(bytes), this_minute.saturating_add(bytes));
        if day_bytes > room.budget {
            return Err(Full::Budget);
        }
        match room.space {
            Space::Enough => {}
            Space::Low if minute_bytes <= TRICKLE => {}
            Space::Low | Space::None => return Err(Full::Space),
        }
        Ok(Self { day, day_bytes, minute, minute_bytes })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn a_day_has_a_budget_and_the_next_a_new_one() {
        let room = Room { budget: 100, space: Space::Enough };
        let spent = Spent::default().with(60, room, at(DAY * 3)).unwrap();
        assert_eq!(spent.with(41, room, at(DAY * 4 - 1)), Err(Full::Budget));
        let spent = spent.with(40, room, at(DAY * 4 - 1)).unwrap();
        assert_eq!(spent.with(1, room, at(DAY * 4 - 1)), Err(Full::Budget));
        assert!(spent.with(100, room, at(DAY * 4)).is_ok());
    }

    #[test]
    fn while_the_disk_is_nearly_full_heartbeats_go_through_and_no_more() {
        let room = |space| Room { budget: u64::MAX, space };
        let spent = Spent::default().with(TRICKLE, room(Space::Low), at(600)).unwrap();
        assert_eq!(spent.with(1, room(Space::Low), at(659)), Err(Full::Space));
        assert!(spent.with(1, room(Space::Enough), at(659)).is_ok());
        assert!(spent.with(TRICKLE, room(Space::Low), at(660)).is_ok());
        assert_eq!(spent.with(1, room(Space::None), at(660)), Err(Full::Space));
        let spaces = [100, 99, 25, 24].map(|free| Space::of(free, 100));
        assert_eq!(spaces, [Space::Enough, Space::Low, Space::Low, Space::None]);
    }
}
