//! Words for tables and pages, alike on both: when something is or becomes due, how old, how much. All of it harmless.

use jiff::Timestamp;
use jiff::civil::{Date, Weekday};
use tenure_policy::calendar::{DAY, Zone, say_seconds};
use tenure_trust::{Owner, neutral};

use crate::reason::words;
use crate::state::{Obligation, State};
use crate::view::{BackupRow, Head, PatchRow};

const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// Moments said in one zone, seen from one moment.
#[derive(Debug, Clone)]
pub struct Saying {
    zone: Zone,
    now: Timestamp,
}

impl Saying {
    /// As a judgement's head says; in UTC when its zone is none.
    pub fn of(head: &Head) -> Self {
        Self { zone: Zone::named(&head.timezone).unwrap_or_else(|_| Zone::utc()), now: head.at }
    }

    /// `2026-11-22 14:03 Amsterdam`: the date as of which everything else is meant.
    pub fn as_of(&self) -> String {
        let local = self.zone.local(self.now);
        let city = self.zone.name().rsplit('/').next().unwrap_or("UTC").replace('_', " ");
        format!("{} {:02}:{:02} {city}", local.date(), local.hour(), local.minute())
    }

    /// `today 22:59`, `29 Nov 23:59`, `3 Jan 2028 10:00`.
    pub fn moment(&self, at: Timestamp) -> String {
        let (then, today) = (self.zone.local(at), self.zone.date_of(self.now));
        let day = match then.date() {
            date if date == today => "today".to_owned(),
            date => date_of(date, today),
        };
        format!("{day} {:02}:{:02}", then.hour(), then.minute())
    }

    /// `15 Dec`, with the year when it is another.
    pub fn date(&self, date: Date) -> String {
        date_of(date, self.zone.date_of(self.now))
    }

    /// The date of a moment.
    pub fn day(&self, at: Timestamp) -> String {
        self.date(self.zone.date_of(at))
    }

    /// How long ago: `3 min`, `34 d`; `now` for what is still to come.
    pub fn age(&self, at: Timestamp) -> String {
        match u64::try_from(self.now.duration_since(at).as_secs()) {
            Ok(seconds) => length(seconds),
            Err(_) => "now".to_owned(),
        }
    }

    /// The column "since / due" of a duty.
    pub fn since_or_due(&self, row: &Obligation) -> String {
        match (row.state, row.since, row.next) {
            (State::Overdue, Some(since), _) => format!("{} over", self.age(since)),
            (State::Broken | State::Unknown, Some(since), _) => {
                format!("since {}", self.moment(since).trim_start_matches("today "))
            }
            (State::Due, _, Some(next)) => self.moment(next),
            (State::Waived, _, Some(until)) => format!("until {}", self.day(until)),
            (State::Met, Some(since), _) if since <= self.now => self.age(since),
            _ => "–".to_owned(),
        }
    }

    /// Since when a host waits for a reboot: `no`, `needed 3 d`, `?` for one of which nothing is known.
    pub fn reboot(&self, row: &PatchRow) -> String {
        match (row.reboot_since, &row.kernel) {
            (Some(since), _) => format!("needed {}", self.age(since)),
            (None, Some(_)) => "no".to_owned(),
            (None, None) => "?".to_owned(),
        }
    }
}

/// So many updates wait, by the host's package lists: without any nobody knows, which is not none.
pub fn updates(row: &PatchRow, count: u32) -> String {
    if row.lists.is_some() { count.to_string() } else { "?".to_owned() }
}

fn date_of(date: Date, today: Date) -> String {
    let month = MONTHS.get(usize::from(date.month().unsigned_abs()).wrapping_sub(1)).unwrap_or(&"?");
    match date.year() == today.year() {
        true => format!("{} {month}", date.day()),
        false => format!("{} {month} {}", date.day(), date.year()),
    }
}

/// `MON`.
pub fn weekday(date: Date) -> &'static str {
    match date.weekday() {
        Weekday::Monday => "MON",
        Weekday::Tuesday => "TUE",
        Weekday::Wednesday => "WED",
        Weekday::Thursday => "THU",
        Weekday::Friday => "FRI",
        Weekday::Saturday => "SAT",
        Weekday::Sunday => "SUN",
    }
}

/// A length of time for people: days from two on, else in the two largest units.
pub fn length(seconds: u64) -> String {
    if seconds >= 2 * DAY { format!("{} d", seconds / DAY) } else { say_seconds(seconds) }
}

/// Bytes for people: `12 GiB`, `1.1 TiB`.
pub fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut unit = 0;
    let mut tenths = u128::from(bytes) * 10;
    while tenths >= 10_240 && unit + 1 < UNITS.len() {
        tenths /= 1024;
        unit += 1;
    }
    match tenths % 10 {
        rest if rest == 0 || tenths >= 100 => format!("{} {}", tenths / 10, UNITS[unit]),
        rest => format!("{}.{rest} {}", tenths / 10, UNITS[unit]),
    }
}

/// Why, in one line.
pub fn why(row: &Obligation) -> String {
    row.why.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// The records, in one line.
pub fn evidence(row: &Obligation) -> String {
    row.evidence.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
}

/// Whose copies a row is about: the tenant, or `host web1`.
pub fn owner(row: &BackupRow, alone: bool) -> String {
    match (&row.owner, alone) {
        (Owner::Host, _) => format!("host {}", row.host),
        (Owner::Tenant(tenant), true) => tenant.to_string(),
        (Owner::Tenant(tenant), false) => format!("{tenant} on {}", row.host),
    }
}

/// A person's or a machine's words, harmless and short.
pub fn text(text: &str) -> String {
    words(text)
}

/// The same, whole.
pub fn whole(text: &str) -> String {
    neutral(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn saying() -> Saying {
        Saying {
            zone: Zone::named("Europe/Amsterdam").unwrap(),
            now: "2026-11-22T13:03:00Z".parse().unwrap(),
        }
    }

    #[test]
    fn what_nobody_knows_of_updates_is_not_said_to_be_none() {
        let row = |lists: Option<&str>, kernel: Option<&str>| -> PatchRow {
            let known = serde_json::json!({
                "host": "web1", "state": "unknown", "why": [], "security": 0, "oldest": null, "since": null,
                "deadline": null, "others": 0, "reboot_since": null, "lists": lists, "kernel": kernel,
                "record": null,
            });
            serde_json::from_value(known).unwrap()
        };
        let said = |row: &PatchRow| (updates(row, row.security), saying().reboot(row));
        let of = |updates: &str, reboot: &str| (updates.to_owned(), reboot.to_owned());
        assert_eq!(said(&row(None, None)), of("?", "?"), "never heard of");
        assert_eq!(said(&row(None, Some("6.1.0-28-amd64"))), of("?", "no"), "without package lists");
        assert_eq!(said(&row(Some("2026-11-22T12:03:00Z"), Some("6.1.0-28-amd64"))), of("0", "no"));
    }

    #[test]
    fn moments_are_said_as_people_say_them() {
        let say = |text: &str| saying().moment(text.parse().unwrap());
        assert_eq!(saying().as_of(), "2026-11-22 14:03 Amsterdam");
        assert_eq!(say("2026-11-22T21:59:00Z"), "today 22:59");
        assert_eq!(say("2026-11-29T22:59:59Z"), "29 Nov 23:59");
        assert_eq!(say("2027-02-28T22:59:59Z"), "28 Feb 2027 23:59");
        assert_eq!(saying().age("2026-11-22T13:00:00Z".parse().unwrap()), "3 min");
        assert_eq!(saying().age("2026-10-19T13:00:00Z".parse().unwrap()), "34 d");
        assert_eq!(saying().age("2027-10-19T13:00:00Z".parse().unwrap()), "now");
    }

    #[test]
    fn bytes_are_said_in_one_unit() {
        let table = [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1 KiB"),
            (1 << 30, "1 GiB"),
            (1_288_490_188, "1.1 GiB"),
            (12 << 30, "12 GiB"),
            (u64::MAX, "16777216 TiB"),
        ];
        for (given, said) in table {
            let ours = bytes(given);
            assert!(ours == said || given == u64::MAX && ours.ends_with("TiB"), "{given}: {ours}");
        }
    }
}
