//! Times of files: seconds and nanoseconds since 1970, written as RFC 3339 in UTC.

use std::io::Write as _;

use jiff::Timestamp;

/// A moment as the kernel gives it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Stamp {
    pub(crate) seconds: i64,
    pub(crate) nanos: u32,
}

/// 0000-01-01 and the last second of 9999: what RFC 3339 can say, and restic clamps to it.
const RANGE: std::ops::RangeInclusive<i64> = -62_167_219_200..=253_402_300_799;

impl Stamp {
    /// From `st_mtime` and its nanoseconds.
    pub(crate) fn new(seconds: i64, nanos: u64) -> Self {
        Self { seconds, nanos: u32::try_from(nanos).unwrap_or_default().min(999_999_999) }
    }

    /// Appends it in quotation marks.
    pub(crate) fn write(self, out: &mut Vec<u8>) {
        let seconds = self.seconds.clamp(*RANGE.start(), *RANGE.end());
        // the civil date of a day number: Howard Hinnant's days_from_civil, the other way
        let days = seconds.div_euclid(86_400) + 719_468;
        let second = seconds.rem_euclid(86_400);
        let era = days.div_euclid(146_097);
        let of_era = days.rem_euclid(146_097);
        let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
        let of_year = of_era - (365 * year + year / 4 - year / 100);
        let shifted = (5 * of_year + 2) / 153;
        let day = of_year - (153 * shifted + 2) / 5 + 1;
        let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
        let year = year + era * 400 + i64::from(month <= 2);
        let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
        let _ = write!(
            out,
            "\"{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:09}Z\"",
            self.nanos
        );
    }

    /// Reads RFC 3339 with any offset.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let parsed: Timestamp = text.parse().ok()?;
        let nanos = parsed.as_nanosecond();
        let seconds = i64::try_from(nanos.div_euclid(1_000_000_000)).ok()?;
        Some(Self { seconds, nanos: u32::try_from(nanos.rem_euclid(1_000_000_000)).ok()? })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text(stamp: Stamp) -> String {
        let mut out = Vec::new();
        stamp.write(&mut out);
        String::from_utf8(out).unwrap().trim_matches('"').to_owned()
    }

    #[test]
    fn known_moments() {
        // Python: datetime.fromtimestamp(…, timezone.utc)
        for (seconds, nanos, expected) in [
            (0, 0, "1970-01-01T00:00:00.000000000Z"),
            (951_782_400, 5, "2000-02-29T00:00:00.000000005Z"),
            (-1, 999_999_999, "1969-12-31T23:59:59.999999999Z"),
            (4_107_542_399, 0, "2100-02-28T23:59:59.000000000Z"),
            (i64::MAX, 0, "9999-12-31T23:59:59.000000000Z"),
            (i64::MIN, 0, "0000-01-01T00:00:00.000000000Z"),
        ] {
            assert_eq!(text(Stamp { seconds, nanos }), expected);
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(seconds in RANGE, nanos in 0u32..1_000_000_000) {
            // jiff ends a day before the year does
            prop_assume!(seconds < 253_402_207_200);
            let stamp = Stamp { seconds, nanos };
            prop_assert_eq!(Stamp::parse(&text(stamp)), Some(stamp));
        }
    }

    #[test]
    fn offsets_are_read() {
        assert_eq!(
            Stamp::parse("1970-01-01T01:00:00.5+01:00"),
            Some(Stamp { seconds: 0, nanos: 500_000_000 })
        );
        assert_eq!(Stamp::parse("1969-12-31T23:59:59.25Z"), Some(Stamp { seconds: -1, nanos: 250_000_000 }));
        assert_eq!(Stamp::parse("yesterday"), None);
    }
}
