//! The schedule over virtual time.

use std::collections::BTreeSet;

use jiff::civil::date;
use proptest::prelude::*;
use tenure_trust::{HostName, Owner, SetName, TenantId, VaultName};

use super::*;

fn series(owner: Owner, set: SetName, at: &[&str]) -> SeriesSection {
    SeriesSection {
        series: SeriesId {
            vault: VaultName::new("vault1").unwrap(),
            host: HostName::new("web1").unwrap(),
            owner,
            set,
        },
        at: at.iter().map(|t| t.parse().unwrap()).collect(),
        paths: Vec::new(),
        exclude: Vec::new(),
        dumps: Vec::new(),
    }
}

fn section(hours: u64) -> BackupSection {
    let tenant = || Owner::Tenant(TenantId::new("acme").unwrap());
    crate::backup::samples::section(
        vec![
            series(Owner::Host, SetName::Server, &["06:00", "14:00", "22:00"]),
            series(tenant(), SetName::Nightly, &["01:30"]),
            series(tenant(), SetName::Server, &["02:15", "06:00", "14:00", "22:00"]),
        ],
        hours * 3600,
    )
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// A host that runs what is due at once and remembers everything.
struct Host {
    section: BackupSection,
    zone: Zone,
    ledger: Ledger,
    runs: BTreeMap<SlotId, u32>,
    changes: Vec<(SlotId, What)>,
}

impl Host {
    fn new(zone: &str, hours: u64, from: Timestamp) -> Self {
        let section = section(hours);
        let since = section.series.iter().map(|s| (s.series.clone(), from)).collect();
        let ledger = Ledger { since, known: BTreeMap::new() };
        Self { section, zone: Zone::named(zone).unwrap(), ledger, runs: BTreeMap::new(), changes: Vec::new() }
    }

    fn note(&mut self, slot: SlotId, what: What, at: Timestamp) {
        let before = self.ledger.of(&slot, at);
        assert!(!matches!(before, Some(What::Sealed)), "{slot} is sealed and becomes {what:?}");
        self.ledger.known.insert(slot.clone(), Known { what, at });
        self.changes.push((slot, what));
    }

    /// One pass; `works` says whether runs succeed. Returns when to wake.
    fn pass(&mut self, now: Timestamp, works: bool) -> Timestamp {
        for due in due(&self.section, &self.ledger, now, &self.zone) {
            match due {
                Due::Run(slot) => {
                    let runs = self.runs.entry(slot.clone()).or_default();
                    *runs += 1;
                    let tries = *runs;
                    self.note(slot, if works { What::Sealed } else { What::Failed { tries } }, now);
                }
                Due::Missed(slot) => self.note(slot, What::Missed, now),
                Due::Wait(until) => assert!(until > now, "the host would turn in circles"),
            }
        }
        match due(&self.section, &self.ledger, now, &self.zone).as_slice() {
            [Due::Wait(until)] => *until,
            left => panic!("a second look at {now} finds {left:?}"),
        }
    }

    fn count(&self, what: fn(&What) -> bool) -> usize {
        self.ledger.known.values().filter(|k| what(&k.what)).count()
    }
}

/// Two years with both changes of clocks, a leap day and every month's end, in zones with an hour, half an hour and no
/// change, in both hemispheres: every slot of every date is run exactly once.
#[test]
fn a_host_that_is_always_on_fills_every_slot_once() {
    for zone in
        ["Europe/London", "Europe/Amsterdam", "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata"]
    {
        let from = at("2027-02-01T12:00:00Z");
        let end = at("2029-02-01T12:00:00Z");
        let mut host = Host::new(zone, 4, from);
        let mut now = from;
        while now < end {
            let wake = host.pass(now, true);
            assert!(wake.duration_since(now) <= SignedDuration::from_hours(26), "{zone} at {now}: {wake}");
            now = wake;
        }
        assert!(host.runs.values().all(|runs| *runs == 1), "{zone}");
        assert_eq!(host.count(|w| *w == What::Missed), 0, "{zone}");
        // Counted by the calendar alone: 8 a day on 731 days, the first and last of which are whole between them.
        assert_eq!(host.runs.len(), 8 * 731, "{zone}");
        let dates: BTreeSet<Date> = host.runs.keys().map(|slot| slot.date).collect();
        for day in
            [date(2028, 2, 29), date(2027, 2, 28), date(2027, 12, 31), date(2027, 3, 28), date(2027, 10, 31)]
        {
            assert!(dates.contains(&day), "{zone}: {day}");
        }
    }
}

#[test]
fn odd_times_run_once_at_the_moments_that_the_calendar_has() {
    let mut host = Host::new("Europe/London", 4, at("2027-03-27T12:00:00Z"));
    let nightly = |date: Date| SlotId {
        series: host.section.series[1].series.clone(),
        date,
        at: "01:30".parse().unwrap(),
        manual: false,
    };
    let (spring, autumn) = (nightly(date(2027, 3, 28)), nightly(date(2027, 10, 31)));
    // 01:30 does not exist on 28 March: it comes as 02:30 summer time.
    host.pass(at("2027-03-28T01:29:59Z"), true);
    assert!(!host.runs.contains_key(&spring));
    host.pass(at("2027-03-28T01:30:00Z"), true);
    assert_eq!(host.runs.get(&spring), Some(&1));
    // 01:30 comes twice on 31 October: the first is summer time's.
    let mut host = Host::new("Europe/London", 4, at("2027-10-30T12:00:00Z"));
    for now in
        ["2027-10-31T00:29:59Z", "2027-10-31T00:30:00Z", "2027-10-31T01:30:00Z", "2027-10-31T02:30:00Z"]
    {
        host.pass(at(now), true);
    }
    assert_eq!(host.runs.get(&autumn), Some(&1));
}

#[test]
fn after_forty_hours_off_all_is_missed_but_the_newest_that_is_still_open() {
    let mut host = Host::new("Europe/Amsterdam", 4, at("2026-11-20T23:00:00Z"));
    host.pass(at("2026-11-22T21:00:00Z"), true);
    let before = host.runs.clone();
    // From Sunday 22:30 to Tuesday 14:30, local time.
    host.pass(at("2026-11-24T13:30:00Z"), true);
    let run: Vec<String> =
        host.runs.keys().filter(|s| !before.contains_key(s)).map(ToString::to_string).collect();
    assert_eq!(
        run,
        ["vault1:web1/web1/server 2026-11-24 14:00", "vault1:acme/web1/server 2026-11-24 14:00"]
            .map(str::to_owned)
    );
    let missed = host
        .ledger
        .known
        .iter()
        .filter(|(slot, k)| k.what == What::Missed && slot.date >= date(2026, 11, 23));
    // Monday 3 + 1 + 4, Tuesday 06:00 twice, 02:15 and 01:30.
    assert_eq!(missed.count(), 8 + 4);
}

#[test]
fn slots_before_the_admission_are_not_expected() {
    let mut host = Host::new("Europe/Amsterdam", 4, at("2026-11-23T10:00:00Z"));
    host.ledger.since.clear();
    let now = at("2026-11-23T10:00:00Z");
    let nothing = due(&host.section, &host.ledger, now, &host.zone);
    assert_eq!(
        nothing,
        [Due::Wait(at("2026-11-23T13:00:00Z"))],
        "a series that is new is expected from now on"
    );
    host.ledger.since = host.section.series.iter().map(|s| (s.series.clone(), now)).collect();
    host.pass(at("2026-11-23T13:00:00Z"), true);
    assert_eq!((host.runs.len(), host.count(|w| *w == What::Missed)), (2, 0));
}

#[test]
fn a_failed_run_is_repeated_until_its_window_ends_and_no_longer() {
    let mut host = Host::new("Europe/Amsterdam", 4, at("2026-11-23T04:00:00Z"));
    let mut now = at("2026-11-23T05:00:00Z");
    let mut begun = Vec::new();
    while now < at("2026-11-23T12:30:00Z") {
        let before = host.changes.len();
        let wake = host.pass(now, false);
        let six =
            |slot: &SlotId| slot.at.to_string() == "06:00" && slot.series == host.section.series[0].series;
        if host.changes[before..].iter().any(|(slot, _)| six(slot)) {
            begun.push(now.duration_since(at("2026-11-23T05:00:00Z")).as_mins());
        }
        now = wake;
    }
    assert_eq!(
        begun,
        [0, 1, 3, 7, 15, 31, 61, 91, 121, 151, 181, 211],
        "and not at 241: four hours are over"
    );
    // It stays failed: nobody calls it missed on top.
    host.pass(at("2026-11-24T04:30:00Z"), true);
    assert!(
        host.ledger
            .known
            .iter()
            .any(|(s, k)| s.at.to_string() == "06:00" && matches!(k.what, What::Failed { .. }))
    );
}

#[test]
fn a_vault_that_was_away_for_most_of_a_window_costs_no_slot() {
    for minutes in [90, 180, 209, 238] {
        let start = at("2026-11-23T05:00:00Z");
        let back = later(start, SignedDuration::from_mins(minutes));
        let mut host = Host::new("Europe/Amsterdam", 4, at("2026-11-23T04:59:00Z"));
        let mut now = start;
        while now < at("2026-11-23T12:30:00Z") {
            now = host.pass(now, now >= back);
        }
        let six = host.ledger.known.iter().filter(|(slot, _)| slot.at.to_string() == "06:00");
        let sealed: Vec<i64> = six
            .filter(|(_, known)| known.what == What::Sealed)
            .map(|(_, known)| known.at.duration_since(back).as_mins())
            .collect();
        let most = LONGEST_PAUSE.as_mins();
        match minutes {
            238 => assert!(sealed.is_empty(), "what is left is shorter than a pause: {sealed:?}"),
            _ => {
                assert!(sealed.len() == 2 && sealed.iter().all(|late| *late <= most), "{minutes}: {sealed:?}")
            }
        }
    }
}

#[test]
fn pauses_double_up_to_the_longest() {
    let minutes = |tries| pause_after(tries).as_mins();
    assert_eq!([0, 1, 2, 3, 4, 5, 6, 7].map(minutes), [1, 1, 2, 4, 8, 16, 30, 30]);
    assert_eq!([31, 32, 63, 64, 65, 200, u32::MAX].map(minutes), [30; 7]);
}

#[test]
fn a_clock_that_was_forty_days_ahead_costs_no_slot_of_the_days_after() {
    let start = at("2026-11-23T10:00:00Z");
    let mut host = Host::new("Europe/Amsterdam", 4, start);
    host.pass(start, true);
    // Nothing can be sealed then: the vault's clock is right.
    host.pass(at("2027-01-02T10:00:00Z"), false);
    let mut now = at("2026-11-23T10:05:00Z");
    let end = at("2027-01-03T10:00:00Z");
    while now < end {
        now = host.pass(now, true);
    }
    let sealed = host.count(|w| *w == What::Sealed);
    // 41 days of 8, less what came before the start on the first day and after the end on the last.
    let expected = 41 * 8;
    assert_eq!(
        sealed,
        expected,
        "{:?}",
        host.ledger.known.iter().filter(|(_, k)| k.what != What::Sealed).collect::<Vec<_>>()
    );
}

#[test]
fn a_run_by_hand_fills_the_open_slot_or_makes_one_of_its_minute() {
    let mut host = Host::new("Europe/Amsterdam", 4, at("2026-11-20T10:00:00Z"));
    let series = host.section.series[0].clone();
    let hand =
        |host: &Host, now: &str| by_hand(&host.section, &series, &host.ledger, at(now), &host.zone).unwrap();
    let open = hand(&host, "2026-11-23T05:30:00Z");
    assert_eq!((open.at.to_string().as_str(), open.manual), ("06:00", false));
    host.note(open, What::Sealed, at("2026-11-23T05:40:00Z"));
    let made = hand(&host, "2026-11-23T05:41:00Z");
    assert_eq!((made.at.to_string().as_str(), made.manual, made.date), ("06:41", true, date(2026, 11, 23)));
    host.note(made, What::Sealed, at("2026-11-23T05:41:30Z"));
    assert_eq!(hand(&host, "2026-11-23T05:41:40Z").at.to_string(), "06:42");
    assert_eq!(hand(&host, "2026-11-23T12:59:00Z").at.to_string(), "13:59", "the window of 06:00 is over");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    /// Any pattern of sleeping, failing and clocks: a slot is sealed at most once, a sealed slot changes no more, every
    /// slot of the horizon ends in one of its states.
    #[test]
    fn every_slot_at_most_once(
        zone in prop::sample::select(vec!["Europe/London", "Europe/Amsterdam", "America/New_York", "Australia/Lord_Howe"]),
        hours in 1u64..30,
        steps in prop::collection::vec((1u64..(60 * 60), any::<bool>(), 0u8..40), 200..600),
        start in 0i64..400,
    ) {
        let start = later(at("2027-01-15T00:00:00Z"), SignedDuration::from_hours(24 * start));
        let mut host = Host::new(zone, hours, start);
        let mut now = start;
        for (minutes, works, odd) in steps {
            host.pass(now, works);
            let step = if odd == 0 { minutes * 60 } else { minutes.min(300) };
            now = later(now, SignedDuration::from_mins(i64::try_from(step).unwrap()));
            if odd == 1 {
                // Ahead by 40 days and back again: nothing is sealed meanwhile.
                host.pass(later(now, SignedDuration::from_hours(40 * 24)), false);
            }
        }
        host.pass(now, true);
        let mut sealed = BTreeSet::new();
        for (slot, what) in &host.changes {
            if *what == What::Sealed {
                prop_assert!(sealed.insert(slot.clone()), "{slot} was sealed twice");
            }
        }
        for series in &host.section.series {
            let Times { come, .. } = times(series, &host.ledger, now, &host.zone);
            for (_, slot) in come {
                prop_assert!(host.ledger.of(&slot, now).is_some(), "{slot} was forgotten");
            }
        }
    }
}
