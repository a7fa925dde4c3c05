//! What is kept of a record that tells of drift, from honest reports and from hostile ones.

use serde_json::{Value, json};
use tenure_trust::{
    AreaName, Chain, Draft, Epoch, EventName, JudgeVersion, Payload, ReasonTag, Seq, SigningKey, neutral,
};

use super::*;

const AT: &str = "2026-11-22T13:03:00Z";

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn record(role: MachineRole, about: About, verdict: Option<VerdictTag>, reason: Option<&str>) -> Record {
    let draft = Draft {
        about,
        policy: None,
        judge: JudgeVersion::new("tenure test").unwrap(),
        observed_at: at(AT),
        verdict,
        reason: reason.map(|word| ReasonTag::new(word).unwrap()),
    };
    let chain = Chain::begin_as(HostName::new("web1").unwrap(), role, Epoch(1));
    let payload = Payload::new([7; 32], Vec::new()).unwrap();
    chain.link(draft, payload, 0, &SigningKey::from_seed(&[1; 32])).record
}

fn of(area: &str, verdict: VerdictTag, reason: Option<&str>, report: &Value) -> Option<(Told, Hash)> {
    let about = About::Area(AreaName::new(area).unwrap());
    let record = record(MachineRole::Host, about, Some(verdict), reason);
    Told::of(&record, Some(report.to_string().as_bytes()))
}

fn finding(weight: &str, place: &str, what: &str, pid: Option<u32>, at: Option<&str>) -> Value {
    let by = pid.map(|pid| json!({ "pid": pid, "comm": "nft" }));
    json!({ "kind": "ruleset-changed", "place": place, "what": what, "weight": weight, "at": at, "by": by })
}

fn report(mended: &[Value], findings: &[Value]) -> Value {
    json!({
        "area": "firewall", "mode": "enforce", "observed_at": AT, "verdict": "remediated",
        "facts": { "deep": [[[["passed over"]]]] }, "plan": null, "findings": findings, "mended": mended,
        "done": [], "pending": null, "refusal": null, "unknown": null,
    })
}

#[test]
fn what_was_mended_stands_before_what_was_only_reported_and_notes_are_none_of_it() {
    let flushed = finding("drift", "table inet tenure", "the table is gone", Some(4711), Some(AT));
    let planted = finding("drift", "/home/app/.ssh/authorized_keys:2", "a key", None, None);
    let note = finding("note", "jeroen", "ends in 20 days", None, None);
    let unread = finding("unknown", "sshd -T", "cannot be asked", None, None);
    let given = report(&[note.clone(), flushed], &[note, unread, planted]);
    let (told, _) = of("firewall", VerdictTag::Drifted, None, &given).unwrap();
    assert_eq!((told.more, &told.hindered), (0, &None));
    let found = |one: &Found| (one.place.clone(), one.mended, one.by.clone().map(|by| by.pid), one.at);
    assert_eq!(
        told.found.iter().map(found).collect::<Vec<_>>(),
        [
            ("table inet tenure".to_owned(), true, Some(4711), Some(at(AT))),
            ("/home/app/.ssh/authorized_keys:2".to_owned(), false, None, None)
        ]
    );
}

#[test]
fn what_tells_of_no_drift_is_not_kept() {
    let flushed = finding("drift", "table inet tenure", "the table is gone", Some(4711), None);
    let note = finding("note", "jeroen", "ends in 20 days", None, None);
    let told = report(&[flushed], &[]);
    let nothing = report(&[], &[note]);
    assert_eq!(
        of("firewall", VerdictTag::Compliant, None, &told),
        None,
        "its own record says that nothing was"
    );
    assert_eq!(of("firewall", VerdictTag::Compliant, Some("login-ends"), &nothing), None);
    assert_eq!(of("firewall", VerdictTag::Compliant, Some("login-ends"), &json!("no report")), None);
    assert_eq!(of("anything", VerdictTag::Drifted, None, &told), None, "an area that nobody knows");
    let text = told.to_string();
    let area = || About::Area(AreaName::new("firewall").unwrap());
    let event = About::Event(EventName::new("opened").unwrap());
    for (role, about, verdict) in [
        (MachineRole::Host, event, Some(VerdictTag::Drifted)),
        (MachineRole::Vault, area(), Some(VerdictTag::Drifted)),
        (MachineRole::Host, area(), None),
    ] {
        let record = record(role, about, verdict, Some("ruleset-changed"));
        assert_eq!(Told::of(&record, Some(text.as_bytes())), None, "{record:?}");
    }
    assert!(of("firewall", VerdictTag::Remediated, None, &told).is_some());
}

#[test]
fn what_came_and_went_while_records_were_held_back_is_kept_from_a_compliant_one() {
    let flushed = finding("drift", "table inet tenure", "the table is gone", Some(4711), None);
    for verdict in [VerdictTag::Compliant, VerdictTag::Pending, VerdictTag::Unknown] {
        let (told, _) =
            of("firewall", verdict, Some("records-held-back"), &report(std::slice::from_ref(&flushed), &[]))
                .unwrap();
        assert!(told.found[0].mended, "{verdict}");
    }
}

#[test]
fn the_same_is_known_again_at_another_time_and_another_process_is_another() {
    let one = |pid, at, what| {
        let flushed = finding("drift", "table inet tenure", what, Some(pid), at);
        of("firewall", VerdictTag::Remediated, None, &report(&[flushed], &[])).unwrap().1
    };
    let first = one(4711, Some(AT), "the table is gone");
    assert_eq!(one(4711, None, "the table is gone"), first);
    assert_ne!(one(4712, Some(AT), "the table is gone"), first);
    // Far behind what is kept of a text.
    let long = |end| format!("{}{end}", "x".repeat(1000));
    assert_ne!(one(4711, None, &long("a")), one(4711, None, &long("b")));
    let waits = |area, days: u32| {
        let waits = finding("drift", "openssl", &format!("waits for {days} d"), None, None);
        of(area, VerdictTag::Drifted, None, &report(&[], &[waits])).unwrap().1
    };
    assert_eq!(waits("patch", 8), waits("patch", 9), "a day more is no news");
    assert_ne!(waits("firewall", 8), waits("firewall", 9));
    let left = finding("drift", "table inet tenure", "the table is gone", Some(4711), None);
    let (_, left) = of("firewall", VerdictTag::Drifted, None, &report(&[], &[left])).unwrap();
    assert_ne!(left, first, "not mended");
}

#[test]
fn a_record_that_names_nothing_says_what_was_done_or_not() {
    let told = |verdict, change: fn(&mut Value)| {
        let mut report = report(&[], &[]);
        change(&mut report);
        let (told, _) = of("firewall", verdict, None, &report).unwrap();
        (told.found[0].what.clone(), told.found[0].mended, told.hindered)
    };
    let planned = |report: &mut Value| {
        report["plan"] = json!({ "hash": Hash::of(b"plan"), "steps": ["load the ruleset", "more"] });
    };
    let done = |report: &mut Value| {
        report["done"] = json!([{ "step": "load the ruleset", "error": null }]);
    };
    let failed = |report: &mut Value| {
        report["done"] =
            json!([{ "step": "load it", "error": null }, { "step": "reload sshd", "error": "exit 1" }]);
    };
    let refused = |report: &mut Value| {
        report["refusal"] =
            json!({ "kind": "cut", "rule": null, "what": "nobody could log in", "hint": "look" });
    };
    let (drifted, remediated) = (VerdictTag::Drifted, VerdictTag::Remediated);
    assert_eq!(told(drifted, planned), ("not done: load the ruleset".into(), false, None));
    assert_eq!(told(remediated, done), ("done: load the ruleset".into(), true, None));
    assert_eq!(told(remediated, planned), ("the record names nothing".into(), true, None));
    assert_eq!(told(drifted, failed).2.unwrap(), "reload sshd: exit 1");
    assert_eq!(told(VerdictTag::Refused, refused).2.unwrap(), "not carried out: nobody could log in");
}

#[test]
fn facts_that_are_missing_or_no_report_hide_no_drift() {
    let (told, _) = of("firewall", VerdictTag::Drifted, None, &json!({ "findings": 7 })).unwrap();
    assert_eq!(
        (told.found[0].what.as_str(), told.found[0].mended),
        ("what the record says of it is no report", false)
    );
    let about = About::Area(AreaName::new("firewall").unwrap());
    let record = record(MachineRole::Host, about, Some(VerdictTag::Remediated), None);
    let (told, _) = Told::of(&record, None).unwrap();
    assert_eq!(
        (told.found[0].what.as_str(), told.found[0].mended),
        ("the facts beside the record did not come", true)
    );
}

#[test]
fn a_hostile_report_is_kept_short_and_harmless() {
    let text = "\u{202e}\u{1b}[2J<é>".repeat(100);
    let many: Vec<Value> = (0..400)
        .map(|pid| {
            json!({
                "kind": text, "place": text, "what": text, "weight": "drift", "at": AT,
                "by": { "pid": pid, "comm": text }
            })
        })
        .collect();
    let mut report = report(&many, &many);
    report["refusal"] = json!({ "kind": text, "rule": text, "what": text, "hint": text });
    assert!(report.to_string().len() > 1 << 20);
    let (told, _) = of("firewall", VerdictTag::Refused, None, &report).unwrap();
    assert_eq!((told.found.len(), told.more), (FOUND, 800 - 6));
    let kept = serde_json::to_string(&told).unwrap();
    assert!(kept.len() < 8 << 10, "{} bytes", kept.len());
    assert_eq!(neutral(&kept), kept);
}

fn past(host: &str, seq: u64, told: Told) -> PastDrift {
    let host = HostName::new(host).unwrap();
    PastDrift {
        area: "firewall".into(),
        times: 1,
        first_at: at(AT),
        observed_at: at(AT),
        received_at: at(AT),
        told,
        record: RecordRef {
            host: host.clone(),
            role: MachineRole::Host,
            epoch: Epoch(1),
            seq: Seq(seq),
            hash: Hash::of(b"record"),
        },
        host,
    }
}

#[test]
fn a_line_for_each_thing_and_for_what_is_left_out() {
    let flushed = finding("drift", "table\u{202e}", "the table is gone", Some(4711), None);
    let (mut told, _) =
        of("firewall", VerdictTag::Remediated, None, &report(std::slice::from_ref(&flushed), &[])).unwrap();
    // A controller that says more than ours would.
    (told.more, told.hindered) = (3, Some("\u{1b}[2Jno".into()));
    told.found[0].place = "table\u{202e}".into();
    let said = past("web1", 1, told).said();
    let texts: Vec<_> =
        said.iter().map(|line| (line.mended, line.what.as_str(), line.who.as_str())).collect();
    assert_eq!(
        texts,
        [
            (Some(true), "the table is gone", "pid 4711 nft"),
            (None, "3 findings more: the record has them", "–"),
            (None, "\\u{1b}[2Jno", "–"),
        ]
    );
    assert_eq!(said[0].place, "table\\u{202e}");
    let deleted = past("web1", 1, Told::default()).said();
    assert_eq!(deleted[0].what, "the facts beside the record were deleted");
}

#[test]
fn a_noisy_host_pushes_no_other_off_the_page() {
    let rows = |hosts: usize, each: u64| -> Vec<PastDrift> {
        let of_host =
            |n: usize| (0..each).map(move |seq| past(&format!("h{n}"), each - seq, Told::default()));
        (0..hosts).flat_map(of_host).collect()
    };
    let mut noisy = rows(1, 500);
    noisy.push(past("quiet", 1, Told::default()));
    let (of_two, left) = shown(&noisy);
    assert_eq!((of_two.len(), left), (KEPT + 1, 480));
    assert_eq!(of_two.last().unwrap().host.as_str(), "quiet");
    let (many, left) = (rows(50, 20), 50 * 16);
    let (of_many, older) = shown(&many);
    assert_eq!((of_many.len(), older), (SHOWN, left));
    assert!(of_many.iter().all(|row| row.record.seq > Seq(16)), "the newest of each");
    assert_eq!(shown(&rows(SHOWN * 2, 3)).0.len(), SHOWN * 2, "one of each at least");
    assert_eq!(shown(&[]), (Vec::new(), 0));
}
