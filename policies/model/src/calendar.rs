//! Zones, periods, dates and times of day: the one place that opens the bundled zone database.
//!
//! The database of the machine is never asked: two machines that judge the same policy must agree.

use std::fmt;

use jiff::civil::{Date, Time};
use jiff::tz::{AmbiguousOffset, TimeZone, TimeZoneDatabase};
use jiff::{Span, Timestamp, ToSpan};

/// Why a text is no zone, period, date or time. `Display` is one sentence, [`CalendarError::hint`] the remedy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CalendarError {
    /// No zone of that name in the bundled database.
    #[error("{0:?} is not a time zone")]
    Zone(String),
    /// Bare `m` or `M` (rule 10).
    #[error("{text:?} could mean minutes or months")]
    Ambiguous {
        /// What was written.
        text: String,
        /// Its number.
        amount: u32,
    },
    /// Not a period at all.
    #[error("{0:?} is not a period")]
    Period(String),
    /// A period of nothing.
    #[error("{0:?} is a period of nothing")]
    Zero(String),
    /// Longer than 200 years: nothing that a contract means, and arithmetic would leave the calendar.
    #[error("{0:?} is longer than 200 years")]
    TooLong(String),
    /// Not a calendar date.
    #[error("{0:?} is not a date")]
    Date(String),
    /// Not a time of day.
    #[error("{0:?} is not a time of day")]
    Time(String),
}

impl CalendarError {
    /// What to write instead.
    pub fn hint(&self) -> String {
        match self {
            Self::Zone(_) => {
                "write a name of the IANA database such as Europe/Amsterdam, Europe/London or UTC".into()
            }
            Self::Ambiguous { amount, .. } => {
                format!("write {amount}min for minutes or \"{}\" for months", Period::months(*amount))
            }
            Self::Period(_) => {
                "write a whole number and s, min, h or d (90d, 30min), or a number, a space and \
                                week, month or year (1 month, 2 years)"
                    .into()
            }
            Self::Zero(_) => "leave the key out if nothing is meant".into(),
            Self::TooLong(_) => "leave the key out if there is no end".into(),
            Self::Date(_) => "write \"YYYY-MM-DD\", quoted, with a day that exists".into(),
            Self::Time(_) => "write \"HH:MM\" from \"00:00\" to \"23:59\", quoted".into(),
        }
    }
}

/// A time zone with the name under which the policy asked for it.
#[derive(Debug, Clone)]
pub struct Zone {
    name: String,
    zone: TimeZone,
}

impl Zone {
    /// The zone of this IANA name in the bundled database; names are case-sensitive here.
    ///
    /// # Errors
    /// [`CalendarError::Zone`] when there is none.
    pub fn named(name: &str) -> Result<Self, CalendarError> {
        let unknown = || CalendarError::Zone(name.to_owned());
        let zone = TimeZoneDatabase::bundled().get(name).map_err(|_| unknown())?;
        // jiff looks names up without regard to case; one spelling per zone keeps signed bytes stable.
        if zone.iana_name() != Some(name) {
            return Err(unknown());
        }
        Ok(Self { name: name.to_owned(), zone })
    }

    /// UTC, which has no rules to look up.
    pub fn utc() -> Self {
        Self { name: "UTC".to_owned(), zone: TimeZone::UTC }
    }

    /// The IANA name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The last whole second of this day in this zone: what "until this date" means.
    pub fn end_of_day(&self, date: Date) -> Timestamp {
        let next = date.checked_add(1.day()).unwrap_or(Date::MAX);
        let midnight = self.first_moment(next);
        midnight.checked_sub(1.second()).unwrap_or(midnight)
    }

    /// The moment at which this period after `from` ends. `s`, `min`, `h` and `d` (24 hours) are exact; weeks,
    /// months and years go by the calendar of the zone, months and years clamped to the month's last day.
    pub fn add(&self, from: Timestamp, period: Period) -> Timestamp {
        let end = match period.exact_seconds() {
            Some(seconds) => i64::try_from(seconds).ok().and_then(|s| from.checked_add(s.seconds()).ok()),
            None => from.to_zoned(self.zone.clone()).checked_add(period.span()).ok().map(|z| z.timestamp()),
        };
        end.unwrap_or(Timestamp::MAX)
    }

    /// The date in this zone at that moment.
    pub fn date_of(&self, at: Timestamp) -> Date {
        at.to_zoned(self.zone.clone()).date()
    }

    /// The moment of this local date and time of day. A time that a change of clocks skips comes later by as much as was
    /// skipped (01:30 in London on 28 March 2027 is 02:30 summer time); of a time that comes twice it is the first.
    pub fn moment(&self, date: Date, time: Time) -> Timestamp {
        let local = self.zone.to_ambiguous_zoned(date.to_datetime(time));
        local.compatible().map_or(Timestamp::MAX, |zoned| zoned.timestamp())
    }

    /// Date and time of day in this zone at that moment.
    pub fn local(&self, at: Timestamp) -> jiff::civil::DateTime {
        at.to_zoned(self.zone.clone()).datetime()
    }

    /// The dates from `from` (included) through the two years after it on which this time of day does not exist or
    /// comes twice.
    pub fn clock_changes(&self, time: Time, from: Date) -> Vec<ClockChange> {
        let end = from.checked_add(2.years()).unwrap_or(Date::MAX);
        from.series(1.day())
            .take_while(|date| *date < end)
            .filter_map(|date| match self.zone.to_ambiguous_zoned(date.to_datetime(time)).offset() {
                AmbiguousOffset::Unambiguous { .. } => None,
                AmbiguousOffset::Gap { .. } => Some(ClockChange { date, kind: ClockChangeKind::Skipped }),
                AmbiguousOffset::Fold { .. } => Some(ClockChange { date, kind: ClockChangeKind::Doubled }),
            })
            .collect()
    }

    /// The first moment of a date; where a change of clocks skips midnight, the first moment that exists.
    fn first_moment(&self, date: Date) -> Timestamp {
        self.moment(date, Time::midnight())
    }
}

/// A day on which a time of day is odd.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClockChange {
    /// The local date.
    pub date: Date,
    /// What happens to the time.
    pub kind: ClockChangeKind,
}

/// What a change of clocks does to a time of day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClockChangeKind {
    /// It does not exist that day.
    Skipped,
    /// It comes twice that day.
    Doubled,
}

/// A unit of [`Period`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Unit {
    /// `s`
    Second,
    /// `min`
    Minute,
    /// `h`
    Hour,
    /// `d`: 24 hours.
    Day,
    /// `week`
    Week,
    /// `month`
    Month,
    /// `year`
    Year,
}

/// A length of time as a policy writes it (rule 10).
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Period {
    /// How many, at least 1.
    amount: u32,
    /// Of what.
    unit: Unit,
}

impl Period {
    /// Parses `90d`, `48h`, `30min`, `60s`, `1 week`, `25 months`, `2 years`.
    ///
    /// # Errors
    /// [`CalendarError`] when the text is none of these, is zero, or is longer than 200 years.
    pub fn parse(text: &str) -> Result<Self, CalendarError> {
        let bad = || CalendarError::Period(text.to_owned());
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = text.split_at(digits);
        if number.is_empty() || (number.len() > 1 && number.starts_with('0')) {
            return Err(bad());
        }
        let amount: u32 = number.parse().map_err(|_| match number.len() {
            0 => bad(),
            _ => CalendarError::TooLong(text.to_owned()),
        })?;
        let unit = match unit {
            "s" => Unit::Second,
            "min" => Unit::Minute,
            "h" => Unit::Hour,
            "d" => Unit::Day,
            " week" | " weeks" => Unit::Week,
            " month" | " months" => Unit::Month,
            " year" | " years" => Unit::Year,
            "m" | "M" | " m" | " M" => {
                return Err(CalendarError::Ambiguous { text: text.to_owned(), amount });
            }
            _ => return Err(bad()),
        };
        let period = Self { amount, unit };
        if amount == 0 {
            return Err(CalendarError::Zero(text.to_owned()));
        }
        if period.shortest_seconds() > 200 * 366 * DAY {
            return Err(CalendarError::TooLong(text.to_owned()));
        }
        Ok(period)
    }

    /// So many days.
    pub fn days(amount: u32) -> Self {
        Self { amount, unit: Unit::Day }
    }

    /// So many months.
    pub fn months(amount: u32) -> Self {
        Self { amount, unit: Unit::Month }
    }

    /// The length in seconds where it does not depend on the calendar.
    pub fn exact_seconds(self) -> Option<u64> {
        let amount = u64::from(self.amount);
        match self.unit {
            Unit::Second => Some(amount),
            Unit::Minute => Some(amount * 60),
            Unit::Hour => Some(amount * 3600),
            Unit::Day => Some(amount * DAY),
            Unit::Week | Unit::Month | Unit::Year => None,
        }
    }

    /// The fewest seconds that this period can last (months of 28 days; an hour less when the clocks change): what
    /// a deadline of this length is sure to leave.
    pub fn shortest_seconds(self) -> u64 {
        let amount = u64::from(self.amount);
        let days = match self.unit {
            Unit::Week => amount * 7,
            // twelve consecutive months are at least 365 days, any one at least 28
            Unit::Month => (amount / 12) * 365 + (amount % 12) * 28,
            Unit::Year => amount * 365,
            _ => return self.exact_seconds().unwrap_or(u64::MAX),
        };
        (days * DAY).saturating_sub(3600)
    }

    /// The most seconds that this period can last (months of 31 days, leap years, an hour more when the clocks change).
    pub fn longest_seconds(self) -> u64 {
        let amount = u64::from(self.amount);
        let days = match self.unit {
            Unit::Week => amount * 7,
            Unit::Month => (amount / 12) * 366 + (amount % 12) * 31,
            Unit::Year => amount * 366,
            _ => return self.exact_seconds().unwrap_or(u64::MAX),
        };
        days * DAY + 3600
    }

    /// The length in seconds as a deadline counts it: a week is 7 days, months and years are at their shortest.
    pub fn deadline_seconds(self) -> u64 {
        self.exact_seconds().unwrap_or_else(|| self.shortest_seconds() + 3600)
    }

    fn span(self) -> Span {
        let amount = i64::from(self.amount);
        match self.unit {
            Unit::Second => amount.seconds(),
            Unit::Minute => amount.minutes(),
            Unit::Hour => amount.hours(),
            Unit::Day => (amount * 24).hours(),
            Unit::Week => amount.weeks(),
            Unit::Month => amount.months(),
            Unit::Year => amount.years(),
        }
    }
}

/// Seconds of a day of 24 hours.
pub const DAY: u64 = 86_400;

impl fmt::Display for Period {
    /// The canonical form, which [`Period::parse`] reads back.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = if self.amount == 1 { "" } else { "s" };
        match self.unit {
            Unit::Second => write!(f, "{}s", self.amount),
            Unit::Minute => write!(f, "{}min", self.amount),
            Unit::Hour => write!(f, "{}h", self.amount),
            Unit::Day => write!(f, "{}d", self.amount),
            Unit::Week => write!(f, "{} week{plural}", self.amount),
            Unit::Month => write!(f, "{} month{plural}", self.amount),
            Unit::Year => write!(f, "{} year{plural}", self.amount),
        }
    }
}

/// Parses `YYYY-MM-DD`.
///
/// # Errors
/// [`CalendarError::Date`] when the text is not of that form or the day does not exist.
pub fn parse_date(text: &str) -> Result<Date, CalendarError> {
    let bad = || CalendarError::Date(text.to_owned());
    let shape = text.len() == 10
        && text
            .bytes()
            .enumerate()
            .all(|(i, b)| if i == 4 || i == 7 { b == b'-' } else { b.is_ascii_digit() });
    if !shape {
        return Err(bad());
    }
    text.parse().map_err(|_| bad())
}

/// Parses `HH:MM`.
///
/// # Errors
/// [`CalendarError::Time`] when the text is not of that form or no time of day.
pub fn parse_time(text: &str) -> Result<Time, CalendarError> {
    let bad = || CalendarError::Time(text.to_owned());
    let (hours, minutes) = text.split_once(':').ok_or_else(bad)?;
    let two = |part: &str| match part.len() == 2 && part.bytes().all(|b| b.is_ascii_digit()) {
        true => part.parse::<i8>().map_err(|_| bad()),
        false => Err(bad()),
    };
    Time::new(two(hours)?, two(minutes)?, 0, 0).map_err(|_| bad())
}

/// A length in seconds in the largest two fitting units, for people: `10 d 1 h`, `45 min`.
pub fn say_seconds(seconds: u64) -> String {
    let units = [(DAY, "d"), (3600, "h"), (60, "min"), (1, "s")];
    let first = units.iter().position(|(size, _)| seconds >= *size).unwrap_or(units.len() - 1);
    let (size, name) = units[first];
    let mut text = format!("{} {name}", seconds / size);
    if let Some((next, next_name)) = units.get(first + 1) {
        let rest = seconds % size / next;
        if rest > 0 {
            text.push_str(&format!(" {rest} {next_name}"));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use jiff::civil::{date, time};

    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn amsterdam() -> Zone {
        Zone::named("Europe/Amsterdam").unwrap()
    }

    #[test]
    fn zones_are_found_by_their_exact_name() {
        for good in ["Europe/Amsterdam", "Europe/London", "UTC", "Europe/Stockholm"] {
            assert_eq!(Zone::named(good).unwrap().name(), good);
        }
        for bad in ["", "Europe/amsterdam", "CEST", "Mars/Olympus", "../etc/passwd", "Europe/Amsterdam "] {
            assert_eq!(Zone::named(bad).unwrap_err(), CalendarError::Zone(bad.into()), "{bad}");
        }
    }

    #[test]
    fn a_day_ends_at_its_last_second_in_the_zone() {
        assert_eq!(amsterdam().end_of_day(date(2027, 6, 30)), at("2027-06-30T21:59:59Z"));
        assert_eq!(amsterdam().end_of_day(date(2027, 12, 31)), at("2027-12-31T22:59:59Z"));
        // the day on which clocks go forward has 23 hours and still ends at local midnight
        assert_eq!(amsterdam().end_of_day(date(2027, 3, 28)), at("2027-03-28T21:59:59Z"));
        let london = Zone::named("Europe/London").unwrap();
        assert_eq!(london.end_of_day(date(2027, 7, 1)), at("2027-07-01T22:59:59Z"));
        // Beirut's clocks go from 00:00 to 01:00: the day before ends where midnight would have been
        let beirut = Zone::named("Asia/Beirut").unwrap();
        assert_eq!(beirut.end_of_day(date(2027, 3, 27)), at("2027-03-27T21:59:59Z"));
    }

    #[test]
    fn months_clamp() {
        let utc = Zone::named("UTC").unwrap();
        let add = |from: &str, period: &str| utc.add(at(from), Period::parse(period).unwrap()).to_string();
        assert_eq!(add("2027-01-31T12:00:00Z", "1 month"), "2027-02-28T12:00:00Z");
        assert_eq!(add("2028-01-31T12:00:00Z", "1 month"), "2028-02-29T12:00:00Z");
        assert_eq!(add("2028-02-29T12:00:00Z", "1 year"), "2029-02-28T12:00:00Z");
        assert_eq!(add("2028-02-29T12:00:00Z", "4 years"), "2032-02-29T12:00:00Z");
        assert_eq!(add("2026-12-31T12:00:00Z", "25 months"), "2029-01-31T12:00:00Z");
        assert_eq!(add("2026-11-22T00:00:00Z", "2 weeks"), "2026-12-06T00:00:00Z");
    }

    #[test]
    fn hours_and_days_are_exact_and_weeks_go_by_the_calendar() {
        // over the night of 27 to 28 March 2027, when Amsterdam loses an hour
        let from = at("2027-03-27T11:00:00Z"); // 12:00 local
        assert_eq!(amsterdam().add(from, Period::parse("1d").unwrap()), at("2027-03-28T11:00:00Z"));
        assert_eq!(amsterdam().add(from, Period::parse("48h").unwrap()), at("2027-03-29T11:00:00Z"));
        assert_eq!(amsterdam().add(from, Period::parse("1 week").unwrap()), at("2027-04-03T10:00:00Z"));
        // a month counts in the zone: 00:30 on 1 March in Amsterdam is still February in UTC
        let from = at("2027-01-30T23:30:00Z"); // 31 January 00:30 local
        assert_eq!(amsterdam().add(from, Period::parse("1 month").unwrap()), at("2027-02-27T23:30:00Z"));
    }

    #[test]
    fn periods_are_written_in_one_way() {
        for good in
            ["90d", "48h", "30min", "60s", "1 week", "2 weeks", "1 month", "25 months", "1 year", "2 years"]
        {
            assert_eq!(Period::parse(good).unwrap().to_string(), good);
        }
        assert_eq!(Period::parse("1 months").unwrap().to_string(), "1 month");
        let bad = [
            "", "d", "90", "90 d", "1month", "-1d", "+1d", "1.5h", "01d", "1_0d", "1 d", "2  years",
            " 2 years", "2 years ", "1D", "5 min", "1 day", "9d1h", "٣d",
        ];
        for text in bad {
            assert_eq!(Period::parse(text).unwrap_err(), CalendarError::Period(text.into()), "{text}");
        }
        for (text, hint) in [("5m", "\"5 months\""), ("1M", "\"1 month\""), ("5 m", "5min")] {
            let error = Period::parse(text).unwrap_err();
            assert!(matches!(error, CalendarError::Ambiguous { .. }), "{text}: {error}");
            assert!(error.hint().contains(hint), "{}", error.hint());
        }
        assert_eq!(Period::parse("0d").unwrap_err(), CalendarError::Zero("0d".into()));
        for text in ["201 years", "99999999999999d", "4000000000 years", "4000000000 months"] {
            assert_eq!(Period::parse(text).unwrap_err(), CalendarError::TooLong(text.into()));
        }
    }

    #[test]
    fn shortest_and_longest_bound_every_start() {
        let zone = amsterdam();
        for text in ["3d", "1 week", "1 month", "25 months", "2 years"] {
            let period = Period::parse(text).unwrap();
            for day in 0..1500 {
                let from = at("2026-11-22T01:00:00Z").checked_add((24 * day).hours()).unwrap();
                let length = zone.add(from, period).duration_since(from).as_secs().unsigned_abs();
                assert!(period.shortest_seconds() <= length, "{text} from {from}: {length}");
                assert!(period.longest_seconds() >= length, "{text} from {from}: {length}");
            }
        }
    }

    #[test]
    fn odd_times_of_day_are_found_with_their_date() {
        let london = Zone::named("Europe/London").unwrap();
        let odd = london.clock_changes(time(1, 30, 0, 0), date(2026, 11, 22));
        let expected = [
            (date(2027, 3, 28), ClockChangeKind::Skipped),
            (date(2027, 10, 31), ClockChangeKind::Doubled),
            (date(2028, 3, 26), ClockChangeKind::Skipped),
            (date(2028, 10, 29), ClockChangeKind::Doubled),
        ];
        assert_eq!(odd.iter().map(|c| (c.date, c.kind)).collect::<Vec<_>>(), expected);
        assert!(london.clock_changes(time(3, 30, 0, 0), date(2026, 11, 22)).is_empty());
        assert_eq!(amsterdam().clock_changes(time(2, 0, 0, 0), date(2026, 11, 22)).len(), 4);
        assert!(amsterdam().clock_changes(time(3, 0, 0, 0), date(2026, 11, 22)).is_empty());
    }

    #[test]
    fn a_skipped_time_comes_later_and_of_a_doubled_one_the_first_counts() {
        let london = Zone::named("Europe/London").unwrap();
        let moment = |date, hour, minute| london.moment(date, time(hour, minute, 0, 0)).to_string();
        assert_eq!(moment(date(2027, 3, 28), 1, 30), "2027-03-28T01:30:00Z");
        assert_eq!(moment(date(2027, 10, 31), 1, 30), "2027-10-31T00:30:00Z");
        assert_eq!(moment(date(2027, 7, 1), 1, 30), "2027-07-01T00:30:00Z");
        assert_eq!(london.local(at("2027-03-28T01:30:00Z")).time(), time(2, 30, 0, 0));
    }

    #[test]
    fn dates_and_times_must_exist() {
        assert_eq!(parse_date("2028-02-29").unwrap(), date(2028, 2, 29));
        for bad in ["2027-02-29", "2027-2-1", "20270201", "2027-13-01", "2027-01-01T00:00", "-027-01-01", ""]
        {
            assert!(parse_date(bad).is_err(), "{bad}");
        }
        assert_eq!(parse_time("06:00").unwrap(), time(6, 0, 0, 0));
        for bad in ["6:00", "24:00", "06:60", "06:00:00", "0600", "", "+6:00", "06:0x"] {
            assert!(parse_time(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn lengths_are_said_in_two_units() {
        assert_eq!(say_seconds(10 * DAY + 3600 + 5), "10 d 1 h");
        assert_eq!(say_seconds(45 * 60), "45 min");
        assert_eq!(say_seconds(0), "0 s");
    }
}
