//! The recorder against ledgers that fail and ledgers that hang.

use std::sync::atomic::AtomicU64;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};

use jiff::Timestamp;
use tenure_areas::area::Now;
use tenure_areas::pass::{Report, Verdict};
use tenure_policy::resolved::Mode;
use tenure_trust::record::Draft;

use super::*;
use crate::board::Board;
use crate::time_floor::TimeFloor;

/// Noon, so many milliseconds after boot.
#[derive(Clone)]
struct Noon(Arc<AtomicU64>);

impl Clock for Noon {
    fn now(&self) -> Now {
        let wall = "2026-11-22T12:00:00Z".parse().expect("a literal time");
        Now { wall, since_boot_ms: self.0.load(Ordering::Relaxed), boot_id: "b".into() }
    }
}

/// What a ledger wrote: what it was about, and how many it said were lost before.
type Written = Arc<Mutex<Vec<(String, u32)>>>;

#[derive(Default)]
struct Paper {
    written: Written,
    /// How many of the next records fail.
    fails: Arc<AtomicU32>,
    /// A record is begun: tell, and wait until it may go on.
    gate: Option<(Sender<()>, Receiver<()>)>,
    lost: u32,
    /// Is room kept for the agent's own word?
    keeps_room: bool,
}

impl Ledger for Paper {
    fn append(&mut self, draft: Draft, _payload: Vec<u8>, dropped: u32) -> Result<(), Unwritten> {
        self.lost += dropped;
        if let Some((begun, go_on)) = &self.gate {
            begun.send(()).expect("the test listens");
            go_on.recv().expect("the test answers");
        }
        let left = self.fails.load(Ordering::Relaxed);
        if left > 0 && !(self.keeps_room && matches!(draft.about, About::Event(_))) {
            self.fails.store(left - 1, Ordering::Relaxed);
            self.lost += 1;
            return Err(Unwritten { why: "no space left on device".into(), may_say_so: self.keeps_room });
        }
        let lost = std::mem::take(&mut self.lost);
        self.written.lock().expect("whole").push((draft.about.to_string(), lost));
        Ok(())
    }
    fn last(&self) -> u64 {
        self.written.lock().expect("whole").len() as u64
    }
    fn lost(&self) -> u32 {
        self.lost
    }
}

fn report(verdict: Verdict, fact: u32) -> Report {
    Report {
        area: AreaName::new("firewall").expect("a name"),
        mode: Mode::Enforce,
        observed_at: Timestamp::UNIX_EPOCH,
        verdict,
        facts: Some(serde_json::json!({ "fact": fact })),
        plan: None,
        findings: Vec::new(),
        mended: Vec::new(),
        done: Vec::new(),
        pending: None,
        refusal: None,
        unknown: None,
    }
}

struct Desk {
    recorder: Recorder,
    running: Running,
    board: Board,
    clock: Noon,
    _dir: tempfile::TempDir,
}

fn desk(paper: Paper) -> Desk {
    let dir = tempfile::tempdir_in("/run").expect("root's directory");
    let floor = Arc::new(TimeFloor::open(dir.path().join("time-floor")).expect("none yet"));
    let board = Board::new();
    let clock = Noon(Arc::new(AtomicU64::new(1)));
    let (recorder, running) =
        start(Box::new(paper), board.clone(), floor, Arc::new(clock.clone())).expect("a thread");
    Desk { recorder, running, board, clock, _dir: dir }
}

#[test]
fn a_record_is_written_for_news_and_as_a_heartbeat() {
    let paper = Paper::default();
    let written = paper.written.clone();
    let desk = desk(paper);
    let v1 = Some(PolicyVersion(1));
    desk.recorder.report(report(Verdict::Compliant, 1), v1, false);
    for _ in 0..5 {
        desk.recorder.report(report(Verdict::Compliant, 1), v1, false);
    }
    desk.recorder.settle();
    assert_eq!(written.lock().expect("whole").len(), 1, "the same again is no news");
    desk.recorder.report(report(Verdict::Compliant, 1), v1, true);
    desk.recorder.report(report(Verdict::Compliant, 2), v1, false);
    desk.recorder.report(report(Verdict::Drifted, 2), v1, false);
    desk.recorder.report(report(Verdict::Drifted, 2), Some(PolicyVersion(2)), false);
    desk.recorder.event("start", json_nothing(), None, Timestamp::UNIX_EPOCH);
    desk.recorder.settle();
    assert_eq!(written.lock().expect("whole").len(), 6, "heartbeat, facts, verdict, version, event");
    desk.running.stop();
}

#[test]
fn what_could_not_be_written_is_counted_and_said() {
    let paper = Paper::default();
    let (written, fails) = (paper.written.clone(), paper.fails.clone());
    let desk = desk(paper);
    fails.store(2, Ordering::Relaxed);
    desk.recorder.report(report(Verdict::Drifted, 1), None, false);
    desk.recorder.report(report(Verdict::Drifted, 1), None, false);
    desk.recorder.settle();
    let evidence = desk.board.overview().evidence;
    assert_eq!((evidence.last, evidence.lost), (0, 2));
    assert_eq!(evidence.failing.as_deref(), Some("no space left on device"));
    desk.recorder.report(report(Verdict::Drifted, 1), None, false);
    desk.recorder.settle();
    assert_eq!(*written.lock().expect("whole"), [("firewall".to_owned(), 2)], "unwritten news stays news");
    let evidence = desk.board.overview().evidence;
    assert_eq!((evidence.last, evidence.lost, evidence.failing), (1, 0, None));
    desk.running.stop();
}

#[test]
fn that_records_stop_is_the_last_record_where_there_is_room_for_it() {
    let paper = Paper { keeps_room: true, ..Paper::default() };
    let (written, fails) = (paper.written.clone(), paper.fails.clone());
    let desk = desk(paper);
    fails.store(2, Ordering::Relaxed);
    desk.recorder.report(report(Verdict::Drifted, 1), None, false);
    desk.recorder.event("policy", json_nothing(), None, Timestamp::UNIX_EPOCH);
    desk.recorder.settle();
    assert!(desk.board.overview().evidence.failing.is_some(), "an event that found room ends nothing");
    desk.recorder.report(report(Verdict::Drifted, 2), None, false);
    desk.recorder.settle();
    let said = |words: &[(&str, u32)]| {
        let words: Vec<_> = words.iter().map(|(word, lost)| ((*word).to_owned(), *lost)).collect();
        assert_eq!(*written.lock().expect("whole"), words);
    };
    said(&[("records_stop", 1), ("policy", 0)]);
    desk.recorder.report(report(Verdict::Drifted, 3), None, false);
    desk.recorder.settle();
    said(&[("records_stop", 1), ("policy", 0), ("firewall", 1)]);
    assert_eq!(desk.board.overview().evidence.failing, None);
    desk.running.stop();
}

#[test]
fn a_ledger_that_hangs_blocks_nobody_and_what_was_dropped_counts() {
    let (begun, begins) = channel();
    let (go_on, goes) = channel();
    let paper = Paper { gate: Some((begun, goes)), ..Paper::default() };
    let written = paper.written.clone();
    let desk = desk(paper);
    desk.recorder.report(report(Verdict::Compliant, 0), None, false);
    begins.recv().expect("the first record hangs");
    // Far more than the queue holds; each call returns at once, or this test would hang here.
    let many = QUEUE as u32 + 100;
    for fact in 1..=many {
        desk.recorder.report(report(Verdict::Compliant, fact), None, false);
    }
    let porter = std::thread::spawn(move || {
        go_on.send(()).expect("the recorder waits");
        while begins.recv().is_ok() {
            go_on.send(()).expect("the recorder waits");
        }
    });
    desk.recorder.settle();
    let all = written.lock().expect("whole").clone();
    assert_eq!(
        all.len(),
        30 + 1,
        "as many as an area may have at once, and the rest of those that found room in one"
    );
    assert_eq!(all.iter().map(|(_, lost)| lost).sum::<u32>(), 100, "and the others are said to be lost");
    desk.running.stop();
    porter.join().expect("porter");
}

#[test]
fn a_flood_makes_few_records_and_the_last_state_is_always_written() {
    let paper = Paper::default();
    let written = paper.written.clone();
    let desk = desk(paper);
    let records = || written.lock().expect("whole").len();
    let offer = |fact| desk.recorder.report(report(Verdict::Compliant, fact), None, false);
    (0..40).for_each(offer);
    let at_once = |overview: &crate::board::Overview| overview.evidence.last == 30;
    assert!(desk.board.wait_until(Duration::from_secs(20), at_once), "{}", records());
    // A pass that sees the same again, a minute later: what waits is due.
    desk.clock.0.store(60_001, Ordering::Relaxed);
    offer(39);
    let one_more = |overview: &crate::board::Overview| overview.evidence.last == 31;
    assert!(desk.board.wait_until(Duration::from_secs(20), one_more), "{}", records());
    desk.recorder.settle();
    assert_eq!(records(), 31, "what was written is no news");
    offer(40);
    desk.recorder.settle();
    assert_eq!(records(), 32, "whoever takes the records away gets all of them");
    offer(41);
    desk.running.stop();
    assert_eq!(records(), 33, "nothing is held back over the end");
}

fn json_nothing() -> serde_json::Value {
    serde_json::json!({})
}
