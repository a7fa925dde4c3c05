//! The desk before a host that is not there: what it says is what has happened.

use tenure_areas::fake::{FakeHost, NodeKind};
use tenure_areas::firewall::state::{CONFIRMED, ENFORCED, NEXT};
use tenure_areas::pass::Verdict;

use super::*;
use crate::lane::Lane;
use crate::lane::tests::Bench;

const MARK: &str = "/var/lib/tenure/lifted/firewall.json";
const FLUSH: &str = r#"{"nftables":[{"flush":{"ruleset":null}}]}"#;

/// A desk whose only lane keeps the firewall, with a ruleset on trial.
fn desk() -> (Bench, Lane, Counter) {
    let bench = Bench::new();
    let lane = bench.lane();
    let lanes = BTreeMap::from([(Area::Firewall, lane.mailbox.clone())]);
    let desk =
        Counter::new(bench.tools.clone(), lanes, HostName::new("web1").expect("a name"), Vec::new(), None);
    assert_eq!(bench.pass(&lane, Reason::Start).verdict, Verdict::Pending);
    bench.fake.advance_ms(1000);
    (bench, lane, desk)
}

/// The same with the ruleset in force.
fn enforced() -> (Bench, Lane, Counter) {
    let (bench, lane, desk) = desk();
    desk.confirm_by_prober(prober()).expect("confirmed");
    assert!(bench.fake.content(ENFORCED).is_some());
    (bench, lane, desk)
}

fn prober() -> Confirmer {
    Confirmer { account: None, from: None, prober: Some(HostName::new("vault1").expect("a name")) }
}

fn refused(answer: Answer) -> Refused {
    match answer {
        Answer::Refused(refused) => refused,
        other => panic!("not refused: {other:?}"),
    }
}

fn lift(desk: &Counter) -> Answer {
    desk.answer(Request::Lift { area: Area::Firewall }, 1)
}

fn open(host: &FakeHost) -> bool {
    host.reaches("198.51.100.77", 443)
}

#[test]
fn a_confirmation_on_a_full_disk_was_not_made_and_is_not_made_later() {
    let (bench, lane, desk) = desk();
    bench.fake.fill_disk_before_write(1);
    let why = desk.confirm_by_prober(prober()).expect_err("the disk is full");
    assert!(why.what.starts_with("g1 was not confirmed: ") && why.what.contains("no space left"), "{why:?}");
    assert!(bench.fake.content(CONFIRM).is_none(), "the word still stands");
    bench.fake.revive();
    assert_eq!(bench.pass(&lane, Reason::Operator).verdict, Verdict::Pending);
    assert!(bench.fake.content(CONFIRMED).is_none(), "done after it was said that it was not");
    desk.confirm_by_prober(prober()).expect("now there is room");
    assert!(bench.fake.content(CONFIRMED).is_some() && bench.fake.content(NEXT).is_none());
    drop(desk);
    bench.end(lane);
}

#[test]
fn what_is_in_force_and_not_written_down_is_said_to_be_that() {
    let (bench, lane, desk) = desk();
    bench.fake.place(CONFIRMED, NodeKind::Dir, 0);
    let why = desk.confirm_by_prober(prober()).expect_err("it cannot be written down");
    assert!(why.what.starts_with("g1 is in force, not yet written down: "), "{why:?}");
    assert!(why.what.contains("is a directory"), "{why:?}");
    bench.fake.advance_ms(120_000);
    assert!(!open(&bench.fake), "the kernel has it for good");
    bench.fake.delete(CONFIRMED);
    assert_eq!(bench.pass(&lane, Reason::Operator).verdict, Verdict::Remediated);
    assert!(bench.fake.content(CONFIRMED).is_some());
    drop(desk);
    bench.end(lane);
}

#[test]
fn a_lift_that_fails_is_told_and_the_area_is_kept_on() {
    type Fault = fn(&FakeHost);
    let faults: [(&str, Fault); 3] = [
        // the mark is the first write, the table the second, what is on disk after it
        ("no space left on device", |host| host.fail_write(2)),
        ("no space left on device", |host| host.fail_write(3)),
        ("it does not answer", |host| host.refuse_to_answer("NftOwnTable", "it does not answer")),
    ];
    for (why, fault) in faults {
        let (bench, lane, desk) = enforced();
        fault(&bench.fake);
        let said = refused(lift(&desk));
        assert!(
            said.what.starts_with("firewall was not given back: ") && said.what.contains(why),
            "{said:?}"
        );
        assert!(bench.fake.content(MARK).is_none(), "{why}: the mark stays");
        bench.fake.answer();
        bench.fake.nft_as(1, "nft", FLUSH).expect("flushed");
        let kept = bench.pass(&lane, Reason::KernelEvent);
        assert!(!kept.lifted && kept.mode == tenure_policy::resolved::Mode::Enforce, "{why}");
        assert!(!open(&bench.fake), "{why}: it is kept no more");
        drop(desk);
        bench.end(lane);
    }
}

#[test]
fn a_lift_without_a_fault_gives_back_and_stays() {
    let (bench, lane, desk) = enforced();
    assert!(
        matches!(lift(&desk), Answer::Lifted { area: Area::Firewall, done } if done.iter().all(|d| d.error.is_none()))
    );
    assert!(bench.fake.content(MARK).is_some() && open(&bench.fake));
    assert!(bench.pass(&lane, Reason::KernelEvent).lifted && open(&bench.fake));
    drop(desk);
    bench.end(lane);
}

/// Whether the rest is as it was is another question than whether the area was given back.
#[test]
fn a_ruleset_that_cannot_be_compared_is_told_and_the_area_is_given_back() {
    let (bench, lane, desk) = enforced();
    bench.fake.write_as("/var/lib/tenure/before/firewall.json", "{", 0, 0o600);
    let Answer::Lifted { done, .. } = lift(&desk) else { panic!("refused") };
    let error = done.last().and_then(|d| d.error.clone()).expect("told");
    assert!(error.contains("before/firewall.json"), "{error}");
    assert!(bench.fake.content(MARK).is_some() && open(&bench.fake));
    drop(desk);
    bench.end(lane);
}
