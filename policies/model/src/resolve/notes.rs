//! What a person should know about a set that is not wrong: what has ended, ways in of management that end soon, odd times.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use jiff::Timestamp;
use jiff::civil::Time;
use serde::Serialize;

use crate::calendar::{ClockChangeKind, Zone};
use crate::fault::Place;
use crate::resolve::book::Book;
use crate::resolved::ends_soon;
use crate::written::Written;

/// Something to know; no fault.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Note {
    /// Where it stands.
    pub place: Place,
    /// What it is.
    pub what: String,
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} note: {}", self.place, self.what)
    }
}

/// All notes as of a moment, by place.
pub(crate) fn notes(written: &Written, book: &Book, zone: &Zone, now: Timestamp) -> Vec<Note> {
    let mut notes = Vec::new();
    ended(written, zone, now, &mut notes);
    ending(written, book, zone, now, &mut notes);
    odd_times(written, zone, now, &mut notes);
    notes.sort_by(|a, b| (&a.place, &a.what).cmp(&(&b.place, &b.what)));
    notes
}

fn ended(written: &Written, zone: &Zone, now: Timestamp, notes: &mut Vec<Note>) {
    let people = written.people.iter().map(|(name, person)| (name, &person.until));
    let machines = written.machines.iter().map(|(name, machine)| (name, &machine.until));
    for (name, until) in people.chain(machines).filter(|(_, until)| zone.end_of_day(until.value) < now) {
        let what = format!("every login of {name} ended on {}", until.value);
        notes.push(Note { place: until.at.clone(), what });
    }
    for waiver in written.waivers.iter().filter(|waiver| zone.end_of_day(waiver.until.value) < now) {
        let what = format!("the waiver of {} ended on {}", waiver.what.value, waiver.until.value);
        notes.push(Note { place: waiver.until.at.clone(), what });
    }
}

/// People by whose logins hosts are kept: who forgets that date is locked out by it.
fn ending(written: &Written, book: &Book, zone: &Zone, now: Timestamp, notes: &mut Vec<Note>) {
    let who = written.management.iter().flat_map(|management| &management.who);
    let people: BTreeSet<_> = who.flat_map(|name| book.members(&name.value)).collect();
    for (name, until) in people.iter().filter_map(|name| Some((name, &written.people.get(name)?.until))) {
        if ends_soon(zone.end_of_day(until.value), now) {
            let what = format!(
                "every login of {name}, who is of management, ends on {}: write a later date before then, or hosts lose this way in",
                until.value
            );
            notes.push(Note { place: until.at.clone(), what });
        }
    }
}

/// Times of day that a change of clocks skips or doubles within two years (rule 10).
fn odd_times(written: &Written, zone: &Zone, now: Timestamp, notes: &mut Vec<Note>) {
    let mut places: BTreeMap<Time, BTreeSet<&Place>> = BTreeMap::new();
    let profiles = written.profiles.values().filter_map(|profile| profile.backup.as_ref());
    for backup in profiles.chain(written.hosts.values().filter_map(|host| host.backup.as_ref())) {
        for set in [&backup.server, &backup.nightly].into_iter().flatten() {
            for time in &set.value.at {
                places.entry(time.value).or_default().insert(&time.at);
            }
        }
    }
    for (time, places) in places {
        let changes: Vec<String> = zone
            .clock_changes(time, zone.date_of(now))
            .iter()
            .map(|change| match change.kind {
                ClockChangeKind::Skipped => format!("does not exist on {}", change.date),
                ClockChangeKind::Doubled => format!("comes twice on {}", change.date),
            })
            .collect();
        if changes.is_empty() {
            continue;
        }
        for place in places {
            let what = format!("{} in {} {}", time.strftime("%H:%M"), zone.name(), changes.join(", "));
            notes.push(Note { place: place.clone(), what });
        }
    }
}
