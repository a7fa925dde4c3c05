//! The times of a backup's slots that host, vault and judge must agree on: each takes them from here.

use jiff::civil::{Date, Time};
use jiff::{SignedDuration, Timestamp};
use tenure_trust::SlotTime;

use crate::calendar::Zone;

/// A generation is closed at the latest this long after its date's start (BACKUP.md, "Close").
pub const CLOSE_LAG: SignedDuration = SignedDuration::from_hours(30);
/// A slot made by hand can be begun for this long at least, whatever the policy says of the others.
pub const BY_HAND: SignedDuration = SignedDuration::from_hours(1);

impl Zone {
    /// The moment of a slot.
    pub fn slot(&self, date: Date, at: SlotTime) -> Timestamp {
        // Both numbers are in range by their type; midnight is never reached.
        let (hour, minute) = (i8::try_from(at.hour()).unwrap_or(0), i8::try_from(at.minute()).unwrap_or(0));
        self.moment(date, Time::new(hour, minute, 0, 0).unwrap_or(Time::midnight()))
    }

    /// When a date's generation takes no seal any more: the vault closes it then at the latest.
    pub fn closes(&self, date: Date) -> Timestamp {
        later(self.moment(date, Time::midnight()), CLOSE_LAG)
    }
}

/// So much later; at the end of time when there is nothing later.
pub fn later(from: Timestamp, by: SignedDuration) -> Timestamp {
    from.checked_add(by).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_with_a_change_of_clocks_closes_thirty_hours_after_its_midnight_all_the_same() {
        let zone = Zone::named("Europe/Amsterdam").unwrap();
        // computed with GNU date: `date -d 'TZ="Europe/Amsterdam" 2026-10-25 00:00' +%s`, and 108,000 more
        for (date, closes) in [("2026-10-25", "2026-10-26T04:00:00Z"), ("2027-03-28", "2027-03-29T05:00:00Z")]
        {
            assert_eq!(zone.closes(date.parse().unwrap()), closes.parse().unwrap(), "{date}");
        }
        let at = SlotTime::new(23, 59).unwrap();
        assert_eq!(zone.slot("2026-11-25".parse().unwrap(), at), "2026-11-25T22:59:00Z".parse().unwrap());
        assert_eq!(later(Timestamp::MAX, CLOSE_LAG), Timestamp::MAX);
    }
}
