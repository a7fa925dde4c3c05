//! The loop over an area of one number, with hosts that obey, refuse, forget and lie.

use std::cell::{Cell, RefCell};

use super::*;
use crate::area::{Approved, Weight};
use crate::port::{
    Beneath, Command, Entry, ManagedFile, ManagedPath, Owner, PortError, PortResult, Query, Stat,
};

struct Number;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Facts {
    number: u32,
    remembered: bool,
    bulk: String,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
struct SetNumber(u32);

impl std::fmt::Display for SetNumber {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "set the number to {}", self.0)
    }
}

/// 13 is refused by the guard, 99 waits.
impl AreaSpec for Number {
    const NAME: &'static str = "number";
    type Section = u32;
    type Desired = u32;
    type Facts = Facts;
    type Step = SetNumber;

    fn desired(section: &u32) -> u32 {
        *section
    }
    fn observe(host: &dyn HostRead, _: &u32) -> Result<Facts, Unknown> {
        let answer = host.ask(&Query::Kernel).map_err(|e| Unknown::from_port("reading the number", &e))?;
        let number = String::from_utf8_lossy(&answer).parse().expect("the test's host answers a number");
        let remembered = host.stat(&Beneath::new("/var/lib/tenure", "seen")).is_ok();
        let bulk = if number == 7777 { "x".repeat(FACTS_LIMIT) } else { String::new() };
        Ok(Facts { number, remembered, bulk })
    }
    fn first_look(host: &dyn HostRead, desired: &u32) -> Result<Look<Facts>, Unknown> {
        let facts = Self::observe(host, desired)?;
        Ok(match facts.number {
            1000 => Look::Part(Facts { bulk: "half".into(), ..facts }),
            _ => Look::Whole(facts),
        })
    }
    fn plan(desired: &u32, facts: &Facts, now: &Now) -> Plan<SetNumber> {
        let findings = |kind: &str, weight| Finding {
            kind: kind.into(),
            place: "number".into(),
            what: "differs".into(),
            weight,
            at: None,
            by: None,
        };
        let mut plan = Plan { steps: Vec::new(), findings: Vec::new(), pending: None };
        if facts.number == 99 {
            plan.pending = Some(Pending { what: "waiting".into(), until: now.wall, next: None });
        } else if facts.number != *desired {
            plan.steps.push(SetNumber(*desired));
            plan.findings.push(findings("other-number", Weight::Drift));
        } else {
            plan.findings.push(findings("worth-knowing", Weight::Note));
        }
        plan
    }
    fn memory(_: &u32, facts: &Facts, _: &Now) -> Vec<ManagedFile> {
        let path = ManagedPath::new("/var/lib/tenure/seen").expect("below a managed directory");
        if facts.remembered { vec![] } else { vec![ManagedFile { path, bytes: vec![], mode: 0o600 }] }
    }
    fn guard(_: &u32, plan: Plan<SetNumber>, _: &Facts) -> Result<Approved<SetNumber>, Refusal> {
        if plan.steps.contains(&SetNumber(13)) {
            return Err(Refusal {
                kind: "unlucky".into(),
                rule: None,
                what: "no 13".into(),
                hint: "12".into(),
            });
        }
        Ok(Approved::by_guard(plan))
    }
    fn act(approved: &Approved<SetNumber>, host: &dyn HostWrite) -> ActReport {
        let done = approved.plan().steps.iter().map(|step| {
            let json = step.0.to_string();
            let error = host.tell(&Command::NftLoad { json }).err().map(|e| e.to_string());
            Done { step: step.to_string(), error }
        });
        ActReport { done: done.collect() }
    }
    fn lift(_: &u32, _: &Facts) -> Plan<SetNumber> {
        Plan { steps: vec![], findings: vec![], pending: None }
    }
}

#[derive(Default)]
struct Host {
    number: Cell<u32>,
    deaf: bool,
    broken: bool,
    full: bool,
    blind_after_writing: bool,
    wrote: Cell<bool>,
    puts: RefCell<Vec<String>>,
}

impl HostRead for Host {
    fn file(&self, path: &Beneath, _: Owner, _: usize) -> PortResult<Vec<u8>> {
        Err(PortError::Absent { what: path.path() })
    }
    fn dir(&self, path: &Beneath, _: usize) -> PortResult<Vec<Entry>> {
        Err(PortError::Absent { what: path.path() })
    }
    fn stat(&self, path: &Beneath) -> PortResult<Stat> {
        let kind = crate::port::EntryKind::File;
        match self.puts.borrow().contains(&path.path()) {
            true => Ok(Stat { kind, uid: 0, gid: 0, mode: 0o600, size: 0, mtime: 0 }),
            false => Err(PortError::Absent { what: path.path() }),
        }
    }
    fn ask(&self, _: &Query) -> PortResult<Vec<u8>> {
        if self.broken || (self.blind_after_writing && self.wrote.get()) {
            return Err(PortError::Failed { doing: "asking".into(), why: "broken".into() });
        }
        Ok(self.number.get().to_string().into_bytes())
    }
}

impl HostWrite for Host {
    fn put(&self, file: &ManagedFile) -> PortResult<()> {
        if self.full {
            return Err(PortError::Failed { doing: "writing".into(), why: "no space left on device".into() });
        }
        self.puts.borrow_mut().push(file.path.as_str().to_owned());
        Ok(())
    }
    fn replace(&self, _: &ManagedPath, _: &ManagedPath) -> PortResult<()> {
        Ok(())
    }
    fn remove(&self, _: &ManagedPath) -> PortResult<()> {
        Ok(())
    }
    fn tell(&self, command: &Command) -> PortResult<()> {
        self.wrote.set(true);
        let Command::NftLoad { json } = command else { return Ok(()) };
        if !self.deaf {
            self.number.set(json.parse().expect("the area tells a number"));
        }
        Ok(())
    }
}

fn at(number: u32) -> Host {
    Host { number: Cell::new(number), ..Host::default() }
}

fn now() -> Now {
    Now { wall: Timestamp::UNIX_EPOCH, since_boot_ms: 0, boot_id: String::new() }
}

fn turn(host: &Host, desired: u32, mode: Mode) -> Report {
    pass::<Number>(&desired, mode, host, host, &now)
}

#[test]
fn a_host_as_wanted_is_compliant_and_notes_do_not_spoil_it() {
    let host = at(5);
    let report = turn(&host, 5, Mode::Enforce);
    assert_eq!(report.verdict, Verdict::Compliant);
    assert_eq!(report.findings.len(), 1);
    assert_eq!(report.facts_of::<Number>().map(|f| f.number), Some(5));
    assert!(turn(&host, 5, Mode::Enforce).repeats(&report));
}

#[test]
fn only_a_second_look_says_remediated() {
    let report = turn(&at(4), 5, Mode::Enforce);
    assert_eq!(report.verdict, Verdict::Remediated);
    assert_eq!(report.mended[0].kind, "other-number");
    assert!(!report.repeats(&report), "a change is always news");

    let deaf = Host { deaf: true, ..at(4) };
    let report = turn(&deaf, 5, Mode::Enforce);
    assert_eq!(report.verdict, Verdict::Drifted, "the command succeeded and changed nothing");
    assert!(report.mended.is_empty());
}

#[test]
fn observing_changes_nothing_but_the_memory() {
    let host = at(4);
    let report = turn(&host, 5, Mode::Observe);
    assert_eq!(report.verdict, Verdict::Drifted);
    assert!(report.done.is_empty() && !host.wrote.get());
    assert_eq!(host.puts.borrow().as_slice(), ["/var/lib/tenure/seen"]);
    assert_eq!(report.plan.expect("a plan was made").steps, ["set the number to 5"]);
}

#[test]
fn a_refused_change_is_drift_and_touches_nothing() {
    let host = at(4);
    let report = turn(&host, 13, Mode::Enforce);
    assert_eq!(report.verdict, Verdict::Drifted);
    assert_eq!(report.refusal.expect("the guard refuses").kind, "unlucky");
    assert!(!host.wrote.get());
}

#[test]
fn what_is_under_way_is_pending() {
    assert_eq!(turn(&at(99), 5, Mode::Enforce).verdict, Verdict::Pending);
    assert_eq!(turn(&at(4), 99, Mode::Enforce).verdict, Verdict::Pending);
}

#[test]
fn unknown_is_never_compliant() {
    let broken = Host { broken: true, ..at(5) };
    assert_eq!(turn(&broken, 5, Mode::Enforce).verdict, Verdict::Unknown);
    let full = Host { full: true, ..at(5) };
    assert_eq!(turn(&full, 5, Mode::Observe).verdict, Verdict::Unknown);
    let blind = Host { blind_after_writing: true, ..at(4) };
    let report = turn(&blind, 5, Mode::Enforce);
    assert_eq!(report.verdict, Verdict::Unknown);
    assert_eq!(report.done.len(), 1, "what was done is told all the same");
}

#[test]
fn too_many_facts_are_unknown_but_enforcement_went_on() {
    let report = turn(&at(4), 7777, Mode::Enforce);
    assert_eq!(report.verdict, Verdict::Unknown);
    assert!(report.facts.is_none());
    assert!(report.unknown.expect("a reason").reason.starts_with("facts too large"));
    assert!(report.done[0].error.is_none());
}

#[test]
fn a_part_that_cannot_be_judged_is_never_compliant() {
    let finding = |weight| Finding {
        kind: "k".into(),
        place: "p".into(),
        what: "w".into(),
        weight,
        at: None,
        by: None,
    };
    let plan = |weights: &[Weight]| Plan::<SetNumber> {
        steps: vec![],
        findings: weights.iter().copied().map(finding).collect(),
        pending: None,
    };
    assert_eq!(verdict_of(&plan(&[Weight::Unknown, Weight::Note]), false, false), Verdict::Unknown);
    assert_eq!(verdict_of(&plan(&[Weight::Unknown]), false, true), Verdict::Unknown);
    assert_eq!(verdict_of(&plan(&[Weight::Unknown, Weight::Drift]), false, false), Verdict::Drifted);
    assert_eq!(verdict_of(&plan(&[Weight::Note]), true, false), Verdict::Drifted);
}

#[test]
fn a_report_survives_its_own_form() {
    let report = turn(&at(4), 5, Mode::Enforce);
    let json = serde_json::to_string(&report).unwrap();
    assert_eq!(serde_json::from_str::<Report>(&json).unwrap(), report);
}

#[test]
fn findings_are_bounded() {
    let finding = |n: usize| Finding {
        kind: "k".into(),
        place: n.to_string(),
        what: String::new(),
        weight: Weight::Note,
        at: None,
        by: None,
    };
    let many = bounded((0..FINDINGS_LIMIT + 7).map(finding).collect());
    assert_eq!(many.len(), FINDINGS_LIMIT + 1);
    assert!(many[FINDINGS_LIMIT].what.starts_with("7 more"));
}

#[test]
fn half_a_look_serves_to_put_back_and_for_nothing_else() {
    let whole = |report: &Report| report.facts_of::<Number>().expect("facts").bulk.is_empty();
    for (desired, number, verdict) in
        [(5, 1000, Verdict::Remediated), (13, 1000, Verdict::Drifted), (1000, 1000, Verdict::Compliant)]
    {
        let host = at(number);
        let report = turn(&host, desired, Mode::Enforce);
        assert_eq!((report.verdict, whole(&report)), (verdict, true), "{report:#?}");
        assert_eq!(report.refusal.is_some(), desired == 13);
    }
    let report = turn(&at(1000), 5, Mode::Observe);
    assert_eq!((report.verdict, whole(&report)), (Verdict::Drifted, true));
}

#[test]
fn only_the_times_of_files_are_left_out_when_facts_are_compared() {
    let same = |a: serde_json::Value, b: serde_json::Value| same_facts(Some(&a), Some(&b));
    let json = |text: &str| serde_json::from_str::<serde_json::Value>(text).expect("JSON");
    let keys =
        |mtime: &str| json(&format!(r#"{{"keys":[{{"path":"/x","mtime":{mtime}}},{{"path":"/y"}}]}}"#));
    assert!(same(keys("1"), keys("2")) && same(keys("1"), keys("null")));
    assert!(same(keys("1"), json(r#"{"keys":[{"path":"/x"},{"path":"/y"}]}"#)));
    // Names that a host gives: an account, a file, a word in an answer.
    for (a, b) in [
        (r#"{"accounts":{"mtime":{"uid":1}}}"#, r#"{"accounts":{}}"#),
        (r#"{"accounts":{"mtime":{"uid":1}}}"#, r#"{"accounts":{"mtime":{"uid":0}}}"#),
        (r#"{"answers":{"mtime":"a"}}"#, r#"{"answers":{"mtime":"b"}}"#),
        (r#"[{"a":1}]"#, r#"[{"a":1},{"mtime":1}]"#),
        (r#"{"size":1}"#, r#"{"size":2}"#),
        (r#"{"a":1,"b":1}"#, r#"{"a":1,"c":1}"#),
    ] {
        assert!(!same(json(a), json(b)), "{a} and {b}");
    }
    assert!(same_facts(None, None) && !same_facts(None, Some(&json("{}"))));
}
