//! What has been told of backups already, so that an agent that starts anew tells the rest and nothing twice. Pure.
//!
//! Events are recorded before the report of the pass that saw them, both in one order: what the last report's facts have,
//! and what events after it say, has been told, and all else has not, whenever the agent before was killed. Where no record
//! tells, the area's memory does; it is written before anything is recorded, so that what the last pass of a killed agent
//! saw is then told nowhere but in the facts: an event is lost rather than told twice.

use jiff::Timestamp;
use serde::Deserialize;
use tenure_trust::{About, SlotId};

use super::facts::{DrillFact, Facts, SealFact, SlotFact, SlotState};
use super::{Backup, observe};
use crate::area::AreaSpec;
use crate::pass::Report;
use crate::port::HostRead;

/// What a host's own records have told, the newest first. None when no record with facts is among them, or when it is of a
/// form that this release does not know.
pub fn told(newest_first: impl IntoIterator<Item = (About, Vec<u8>)>) -> Option<Facts> {
    let mut later = Vec::new();
    for (about, payload) in newest_first {
        match about {
            About::Event(name) => later.extend(Told::read(name.as_str(), &payload)),
            About::Area(area) if area.as_str() == Backup::NAME => {
                let report: Report = serde_json::from_slice(&payload).ok()?;
                // A pass that saw nothing told nothing; one whose facts had no room told by events alone.
                if report.facts.is_none() {
                    continue;
                }
                let mut facts = report.facts_of::<Backup>()?;
                later.into_iter().rev().for_each(|one: Told| one.add_to(&mut facts));
                return Some(facts);
            }
            About::Area(_) => {}
        }
    }
    None
}

/// What the area remembers, as if all of it had been told. None when there is no memory, or none that can be read: then
/// what the first pass sees is what is known, and nothing of it is news.
pub fn remembered(host: &dyn HostRead) -> Option<Facts> {
    let (memory, hash) = observe::ledger(host).ok()?;
    let drills = observe::drills(host).ok()?;
    Some(Facts { slots: memory.slots, drills, remembered: Some(hash?), ..Facts::default() })
}

/// What one event told.
#[derive(Debug, PartialEq)]
pub(super) enum Told {
    Slot(SlotFact),
    Drill(DrillFact),
}

impl Told {
    /// Of an event as [`super::events`] makes it; none of any other.
    pub(super) fn read(name: &str, payload: &[u8]) -> Option<Self> {
        #[derive(Deserialize)]
        struct Payload {
            slot: SlotId,
            at: Timestamp,
            #[serde(default)]
            tries: u32,
            seal: Option<SealFact>,
            why: Option<String>,
        }
        if name == "drill_done" {
            return serde_json::from_slice(payload).ok().map(Self::Drill);
        }
        let known = ["backup_sealed", "backup_failed", "backup_missed"].contains(&name);
        let Payload { slot, at, tries, seal, why } =
            known.then(|| serde_json::from_slice(payload).ok()).flatten()?;
        let state = match name {
            "backup_sealed" => SlotState::Sealed(seal?),
            "backup_failed" => SlotState::Failed { why: why? },
            _ => SlotState::Missed,
        };
        Some(Self::Slot(SlotFact { slot, state, at, tries }))
    }

    fn add_to(self, facts: &mut Facts) {
        match self {
            Self::Slot(fact) => {
                facts.slots.retain(|known| known.slot != fact.slot);
                facts.slots.push(fact);
            }
            Self::Drill(drill) => facts.drills.push(drill),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use tenure_trust::{AreaName, EventName};

    use super::super::tests::{host_since, turn};
    use super::super::{LEDGER, events};
    use super::*;
    use crate::fake::FakeHost;

    type Record = (About, Vec<u8>);

    fn of_area(report: &Report) -> Record {
        (About::Area(AreaName::new(Backup::NAME).unwrap()), serde_json::to_vec(report).unwrap())
    }

    fn of_event((name, payload): &(&str, Value)) -> Record {
        (About::Event(EventName::new(*name).unwrap()), payload.to_string().into_bytes())
    }

    /// A host on which one slot was missed and one sealed, one failed, and one drill held, with the reports in between.
    fn history() -> Vec<Report> {
        let host = host_since("2026-11-22T00:00:00Z");
        let mut reports = vec![turn(&host)];
        host.end_job(None);
        reports.push(turn(&host));
        host.end_job(Some("no vault"));
        reports.push(turn(&host));
        let drill = json!({ "at": "2026-11-22T12:00:00Z", "held": true, "what": "main", "took_ms": 1, "tables": 1, "rows": 2 });
        host.write_as(&format!("{}/1.json", super::super::DRILL_DIR), drill.to_string(), 0, 0o600);
        reports.push(turn(&host));
        reports
    }

    fn facts(report: &Report) -> Facts {
        report.facts_of::<Backup>().unwrap()
    }

    /// The chain of a host that had this history, the newest first: events before the report that shows what they told.
    fn chain(reports: &[Report]) -> Vec<Record> {
        let mut records = Vec::new();
        let mut before = Facts::default();
        for report in reports {
            records.extend(events(&before, &facts(report)).iter().map(of_event));
            records.push(of_area(report));
            before = facts(report);
        }
        records.reverse();
        records
    }

    #[test]
    fn wherever_the_chain_ends_the_rest_is_told_and_nothing_twice() {
        let reports = history();
        let chain = chain(&reports);
        let names = |records: &[Record]| -> Vec<Vec<u8>> {
            let event = |(about, payload): &Record| matches!(about, About::Event(_)).then(|| payload.clone());
            let mut all: Vec<_> = records.iter().filter_map(event).collect();
            all.sort();
            all
        };
        let all = names(&chain);
        assert_eq!(all.len(), 4, "missed, sealed, failed, drilled: {chain:?}");
        let last = facts(reports.last().unwrap());
        // The record of the first report at least.
        for lacks in 0..chain.len() - 1 {
            let mut records = chain[lacks..].to_vec();
            let Some(told) = told(records.clone()) else {
                let first = chain.iter().rposition(|(about, _)| matches!(about, About::Area(_))).unwrap();
                assert!(lacks > first, "{lacks} records lack");
                continue;
            };
            records.extend(events(&told, &last).iter().map(of_event));
            assert_eq!(names(&records), all, "{lacks} records lack");
        }
    }

    #[test]
    fn each_event_is_read_as_it_was_made() {
        let last = facts(history().last().unwrap());
        let made = events(&Facts::default(), &last);
        let read: Vec<_> = made.iter().map(|(name, p)| Told::read(name, p.to_string().as_bytes())).collect();
        let slots = last.slots.iter().rev().cloned().map(Told::Slot);
        let all: Vec<_> = slots.chain(last.drills.iter().cloned().map(Told::Drill)).map(Some).collect();
        assert_eq!(read, all);
        let payload = made[0].1.to_string();
        for (name, payload) in [
            ("start", payload.as_str()),
            ("backup_sealed", "{}"),
            ("backup_failed", "[]"),
            ("drill_done", ""),
        ] {
            assert_eq!(Told::read(name, payload.as_bytes()), None, "{name} {payload}");
        }
    }

    #[test]
    fn what_was_seen_without_facts_or_by_another_release_is_not_taken_for_what_was_told() {
        let reports = history();
        let blind = |facts: Option<Value>| of_area(&Report { facts, ..reports[0].clone() });
        let mut chain = chain(&reports);
        let whole = told(chain.clone());
        assert!(whole.is_some());
        chain.insert(0, blind(None));
        assert_eq!(told(chain.clone()), whole, "what an earlier one saw");
        chain.insert(0, blind(Some(json!({ "slots": 3 }))));
        assert_eq!(told(chain.clone()), None);
        chain[0].1 = b"{".to_vec();
        assert_eq!(told(chain), None);
        assert_eq!(told([]), None);
    }

    #[test]
    fn without_records_the_memory_tells_and_without_a_memory_nothing_is_news() {
        let host = host_since("2026-11-22T00:00:00Z");
        let first = turn(&host);
        host.end_job(None);
        let told = remembered(&host).unwrap();
        let news = events(&told, &facts(&turn(&host)));
        assert_eq!(news.iter().map(|(name, _)| *name).collect::<Vec<_>>(), ["backup_sealed"], "{first:?}");
        assert_eq!(events(&remembered(&host).unwrap(), &facts(&turn(&host))), []);
        host.write_as(LEDGER, "{", 0, 0o600);
        assert_eq!((remembered(&host), remembered(&FakeHost::debian())), (None, None));
    }
}
