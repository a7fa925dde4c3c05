//! Judging that no machine can end: where what one sent makes the judge end by a fault of ours, the fewest records are left
//! out of the judgement, and everything else is judged.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use tenure_obligations::input::Content;
use tenure_obligations::{RecordRef, Reported};
use tenure_trust::{AreaName, HostName, MachineRole};

/// What each admitted machine reported.
pub(crate) type Machines = BTreeMap<(HostName, MachineRole), Reported>;

/// Where a content stands that was left out.
struct Held {
    machine: (HostName, MachineRole),
    area: AreaName,
    content: Content,
}

/// Reads a payload; one over which the reading ends by a fault says nothing.
pub(crate) fn read(reading: impl FnOnce() -> Content) -> Content {
    catch_unwind(AssertUnwindSafe(reading)).unwrap_or(Content::Fault)
}

/// Leaves these records out, as far as they are still the newest. Which those are.
pub(crate) fn leave_out(machines: &mut Machines, faulty: &[RecordRef]) -> Vec<RecordRef> {
    let mut left = Vec::new();
    for newest in machines.values_mut().flat_map(|reported| reported.areas.values_mut()) {
        if faulty.contains(&newest.record) {
            newest.content = Content::Fault;
            left.push(newest.record.clone());
        }
    }
    left
}

/// Judges, and names the records that had to be left out of it. None when it ends without any of them too.
pub(crate) fn judged<T>(
    machines: &mut Machines,
    judge: impl Fn(&Machines) -> T,
) -> Option<(T, Vec<RecordRef>)> {
    let attempt = |machines: &Machines| catch_unwind(AssertUnwindSafe(|| judge(machines))).ok();
    if let Some(done) = attempt(machines) {
        return Some((done, Vec::new()));
    }
    let mut held = all(machines);
    held.iter_mut().for_each(|held| swap(machines, held));
    attempt(machines)?;
    let mut faulty = Vec::new();
    bring_back(machines, &mut held, &|machines| attempt(machines).is_some(), &mut faulty);
    Some((attempt(machines)?, faulty))
}

/// A place for every content, with nothing in it.
fn all(machines: &Machines) -> Vec<Held> {
    let mut all = Vec::new();
    for (machine, reported) in machines {
        let areas = reported.areas.keys().cloned();
        all.extend(areas.map(|area| Held { machine: machine.clone(), area, content: Content::Fault }));
    }
    all
}

/// Puts these back, but for those with which judging ends: half by half, so that few records in many cost few attempts.
fn bring_back(
    machines: &mut Machines,
    held: &mut [Held],
    works: &dyn Fn(&Machines) -> bool,
    faulty: &mut Vec<RecordRef>,
) {
    held.iter_mut().for_each(|held| swap(machines, held));
    if works(machines) {
        return;
    }
    held.iter_mut().for_each(|held| swap(machines, held));
    match held {
        [] => {}
        [one] => faulty.extend(record(machines, one)),
        more => {
            let (first, second) = more.split_at_mut(more.len() / 2);
            bring_back(machines, first, works, faulty);
            bring_back(machines, second, works, faulty);
        }
    }
}

fn swap(machines: &mut Machines, held: &mut Held) {
    let newest = machines.get_mut(&held.machine).and_then(|reported| reported.areas.get_mut(&held.area));
    if let Some(newest) = newest {
        std::mem::swap(&mut newest.content, &mut held.content);
    }
}

fn record(machines: &Machines, held: &Held) -> Option<RecordRef> {
    Some(machines.get(&held.machine)?.areas.get(&held.area)?.record.clone())
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use jiff::Timestamp;
    use tenure_obligations::Newest;
    use tenure_trust::{Epoch, Hash, Seq};

    use super::*;

    const AREAS: [&str; 4] = ["backup", "firewall", "patch", "ssh_access"];

    fn machines(count: usize) -> Machines {
        let mut machines = Machines::new();
        for number in 0..count {
            let host: HostName = format!("web{number}").parse().unwrap();
            let mut reported = Reported::default();
            for (seq, area) in (1..).zip(AREAS) {
                let record = RecordRef {
                    host: host.clone(),
                    role: MachineRole::Host,
                    epoch: Epoch(1),
                    seq: Seq(seq),
                    hash: Hash::of(area.as_bytes()),
                };
                let newest = Newest {
                    record,
                    observed_at: Timestamp::UNIX_EPOCH,
                    received_at: Timestamp::UNIX_EPOCH,
                    policy: None,
                    verdict: None,
                    content: Content::Unreadable,
                };
                reported.areas.insert(AreaName::new(area).unwrap(), newest);
            }
            machines.insert((host, MachineRole::Host), reported);
        }
        machines
    }

    /// Is this record in the judgement?
    fn is_in(machines: &Machines, at: &str) -> bool {
        let mut all = machines.values().flat_map(|reported| reported.areas.values());
        all.any(|newest| newest.record.to_string() == at && !matches!(newest.content, Content::Fault))
    }

    fn names(records: &[RecordRef]) -> Vec<String> {
        records.iter().map(ToString::to_string).collect()
    }

    /// What is left out when judging ends while all of one of these are in it, and after how many attempts.
    fn left_out(machines: &mut Machines, ends: &[&[&str]]) -> (Vec<String>, usize) {
        let attempts = Cell::new(0);
        let judge = |machines: &Machines| {
            attempts.set(attempts.get() + 1);
            for together in ends {
                assert!(!together.iter().all(|at| is_in(machines, at)), "as a fault of ours would");
            }
        };
        let ((), faulty) = judged(machines, judge).unwrap();
        (names(&faulty), attempts.get())
    }

    #[test]
    fn a_judge_that_ends_leaves_out_the_one_record_and_judges_the_rest() {
        let mut fleet = machines(100);
        assert_eq!(left_out(&mut fleet, &[]), (Vec::new(), 1));
        let (out, attempts) = left_out(&mut fleet, &[&["web42#2"]]);
        assert_eq!(out, ["web42#2"]);
        assert!(attempts < 30, "{attempts} attempts over 400 records");
        let kept = AREAS.iter().enumerate().filter(|(n, _)| is_in(&fleet, &format!("web42#{}", n + 1)));
        assert_eq!(kept.count(), 3, "the host's other areas are judged");
        assert!((0..100).filter(|n| *n != 42).all(|n| is_in(&fleet, &format!("web{n}#2"))));
    }

    #[test]
    fn several_and_those_that_end_it_only_together_are_found_too() {
        let (out, _) = left_out(&mut machines(9), &[&["web1#1"], &["web7#4"], &["web0#3", "web8#3"]]);
        assert_eq!(out, ["web1#1", "web7#4", "web8#3"]);
    }

    #[test]
    fn a_fault_that_no_record_makes_is_nobodys() {
        let mut fleet = machines(3);
        assert!(judged(&mut fleet, |_| -> u8 { unreachable!("as a fault of ours would") }).is_none());
    }

    #[test]
    fn a_record_is_left_out_until_a_newer_one_comes() {
        let mut fleet = machines(3);
        let (out, _) = left_out(&mut fleet, &[&["web2#1"]]);
        let faulty: Vec<RecordRef> = fleet[&("web2".parse().unwrap(), MachineRole::Host)]
            .areas
            .values()
            .map(|newest| newest.record.clone())
            .filter(|record| out.contains(&record.to_string()))
            .collect();
        let mut again = machines(3);
        assert_eq!(names(&leave_out(&mut again, &faulty)), ["web2#1"]);
        assert!(!is_in(&again, "web2#1") && is_in(&again, "web2#2"));
        let web2 = again.get_mut(&("web2".parse().unwrap(), MachineRole::Host)).unwrap();
        web2.areas.get_mut(&AreaName::new("backup").unwrap()).unwrap().record.seq = Seq(9);
        assert!(leave_out(&mut again, &faulty).is_empty());
    }

    #[test]
    fn a_payload_over_which_reading_ends_says_nothing() {
        assert!(matches!(read(|| unreachable!("as a fault of ours would")), Content::Fault));
        assert!(matches!(read(|| Content::Missing), Content::Missing));
    }
}
