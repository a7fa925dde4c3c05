//! Lanes on hosts that are not there.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};

use jiff::Timestamp;
use tenure_areas::area::Now;
use tenure_areas::fake::FakeHost;
use tenure_areas::firewall::state::{CONFIRM, ConfirmRequest, ENFORCED, TRIAL, Trial};
use tenure_areas::port::{
    Beneath, Command, Entry, HostRead, HostWrite, ManagedFile, ManagedPath, Owner, PortResult, Query, Stat,
};
use tenure_policy::resolved::HostPolicy;
use tenure_trust::{HostName, Verified};

use super::*;
use crate::ledger::ChainLedger;
use crate::recorder;

/// A host of which one question can be made to hang.
struct Slow {
    fake: Arc<FakeHost>,
    /// Told when the question is asked; answered when it may go on.
    gate: Option<(SyncSender<()>, Mutex<Receiver<()>>)>,
}

impl HostRead for Slow {
    fn file(&self, path: &Beneath, owner: Owner, limit: usize) -> PortResult<Vec<u8>> {
        self.fake.file(path, owner, limit)
    }
    fn dir(&self, path: &Beneath, limit: usize) -> PortResult<Vec<Entry>> {
        self.fake.dir(path, limit)
    }
    fn stat(&self, path: &Beneath) -> PortResult<Stat> {
        self.fake.stat(path)
    }
    fn ask(&self, query: &Query) -> PortResult<Vec<u8>> {
        if let Some((asked, go_on)) = &self.gate
            && *query == Query::Interfaces
        {
            asked.send(()).expect("the test listens");
            go_on.lock().expect("whole").recv().expect("the test answers");
        }
        self.fake.ask(query)
    }
}

impl HostWrite for Slow {
    fn put(&self, file: &ManagedFile) -> PortResult<()> {
        self.fake.put(file)
    }
    fn replace(&self, from: &ManagedPath, to: &ManagedPath) -> PortResult<()> {
        self.fake.replace(from, to)
    }
    fn remove(&self, path: &ManagedPath) -> PortResult<()> {
        self.fake.remove(path)
    }
    fn tell(&self, command: &Command) -> PortResult<()> {
        self.fake.tell(command)
    }
}

struct FakeClock(Arc<FakeHost>, Arc<Mutex<Option<Timestamp>>>);

impl Clock for FakeClock {
    fn now(&self) -> Now {
        let mut now = self.0.now();
        if let Some(wrong) = *self.1.lock().expect("whole") {
            now.wall = wrong;
        }
        now
    }
}

pub(crate) fn policy() -> HostPolicy {
    serde_json::from_value(serde_json::json!({
        "schema": 1, "fleet": "toy", "host": "web1", "timezone": "UTC", "heartbeat_seconds": 900,
        "modes": { "firewall": "enforce", "ssh_access": "observe", "patch": "observe", "backup": "observe" },
        "firewall": {
            "networks": { "office": { "v4": ["192.0.2.0/24"], "v6": ["2001:db8:1::/48"] } },
            "inbound": [{ "id": "implied:ssh/web1", "ports": [{ "protocol": "tcp", "first": 22, "last": 22 }],
                          "from": { "networks": ["office"] } }],
            "outbound": [], "blocks": [],
            "management": [{ "person": "marit", "from": ["office"], "account": "admin" }],
            "confirm": { "within_seconds": 60, "by": "person" },
            "neighbours": []
        },
        "ssh_access": null, "patch": null
    }))
    .expect("a policy")
}

/// A lane with everything around it. The state directory outlives it, as on a host.
pub(crate) struct Bench {
    pub(crate) fake: Arc<FakeHost>,
    dir: Arc<tempfile::TempDir>,
    wrong: Arc<Mutex<Option<Timestamp>>>,
    pub(crate) tools: Tools,
    recording: recorder::Running,
}

impl Bench {
    pub(crate) fn new() -> Self {
        let dir = Arc::new(tempfile::tempdir_in("/run").expect("root's directory"));
        Self::on(Arc::new(FakeHost::debian()), dir)
    }

    fn on(fake: Arc<FakeHost>, dir: Arc<tempfile::TempDir>) -> Self {
        Self::with(fake, dir, policy())
    }

    pub(crate) fn with(fake: Arc<FakeHost>, dir: Arc<tempfile::TempDir>, policy: HostPolicy) -> Self {
        let wrong = Arc::new(Mutex::new(None));
        let clock: Arc<dyn Clock> = Arc::new(FakeClock(fake.clone(), wrong.clone()));
        let floor = Arc::new(TimeFloor::open(dir.path().join("time-floor")).expect("readable"));
        let board = Board::new();
        let name = HostName::new("web1").expect("a name");
        let ledger = Box::new(ChainLedger::new(dir.path().into(), name));
        let told = Told::by_records(dir.path());
        let (recorder, recording) =
            recorder::start(ledger, board.clone(), floor.clone(), clock.clone()).expect("a thread");
        let cell = PolicyInForce::default();
        cell.set(Held::new(Verified::local(policy), "a test".into()));
        let host: Arc<dyn Host> = Arc::new(Slow { fake: fake.clone(), gate: None });
        let before = Before::new(Arc::new(|| Ok(b"table ip other\n".to_vec())));
        let (policy, observe_only) = (cell, false);
        let tools = Tools { host, clock, policy, board, recorder, floor, before, told, observe_only };
        Self { fake, dir, wrong, tools, recording }
    }

    pub(crate) fn lane(&self) -> Lane {
        Lane::start(Area::Firewall, self.tools.clone()).expect("a thread")
    }

    /// Rings and waits for the end of a pass that this bell began: one that was under way before does not count.
    pub(crate) fn pass(&self, lane: &Lane, reason: Reason) -> crate::board::AreaStatus {
        let before = self.tools.board.passes(lane.area);
        lane.mailbox.ring(reason);
        let made = self.tools.board.wait_until(Duration::from_secs(20), |board| {
            let done = |a: &crate::board::AreaStatus| a.passes > before && a.reasons.contains(&reason);
            board.areas.iter().any(|a| a.area == lane.area && done(a))
        });
        assert!(made, "no pass was made");
        self.tools.board.overview().areas.into_iter().find(|a| a.area == lane.area).expect("it is shown")
    }

    pub(crate) fn end(self, lane: Lane) -> (Arc<FakeHost>, Arc<tempfile::TempDir>, u64) {
        lane.stop();
        self.tools.recorder.settle();
        let last = self.tools.board.overview().evidence.last;
        self.recording.stop();
        (self.fake, self.dir, last)
    }

    /// As `tenure-agent confirm` leaves it.
    pub(crate) fn confirm(&self) {
        let trial: Trial =
            serde_json::from_slice(&self.fake.content(TRIAL).expect("a trial")).expect("as written");
        let request = ConfirmRequest {
            number: trial.new.number,
            hash: trial.new.hash,
            by: "a test".into(),
            at: self.fake.now().wall,
        };
        let file = ManagedFile {
            path: ManagedPath::new(CONFIRM).expect("managed"),
            bytes: serde_json::to_vec(&request).expect("plain data"),
            mode: 0o600,
        };
        self.fake.put(&file).expect("written");
    }
}

#[test]
fn a_lane_tries_waits_for_a_person_and_keeps() {
    let bench = Bench::new();
    let lane = bench.lane();
    let status = bench.pass(&lane, Reason::Start);
    assert_eq!(status.verdict, Verdict::Pending, "{status:?}");
    assert_eq!(bench.pass(&lane, Reason::KernelEvent).verdict, Verdict::Pending);
    bench.confirm();
    assert_eq!(bench.pass(&lane, Reason::Operator).verdict, Verdict::Remediated);
    bench.fake.advance_ms(1000);
    bench.fake.nft_as(4711, "nft", r#"{"nftables":[{"flush":{"ruleset":null}}]}"#).expect("flushed");
    let status = bench.pass(&lane, Reason::KernelEvent);
    assert_eq!(status.verdict, Verdict::Remediated, "{status:?}");
    let events = bench.tools.board.events();
    let restored = events.iter().find(|e| e.outcome == crate::board::Outcome::Restored).expect("an event");
    assert_eq!(restored.finding.by.as_ref().map(|a| a.pid), Some(4711));
    assert_eq!(bench.pass(&lane, Reason::KernelEvent).verdict, Verdict::Compliant);
    assert_eq!(
        bench.fake.content("/var/lib/tenure/before/firewall.nft").as_deref(),
        Some(&b"table ip other\n"[..])
    );
    bench.end(lane);
}

#[test]
fn what_a_change_that_was_broken_off_left_to_do_is_done_without_another_bell() {
    let bench = Bench::new();
    let lane = bench.lane();
    assert_eq!(bench.pass(&lane, Reason::Start).verdict, Verdict::Pending);
    let trial = bench.fake.content(TRIAL).expect("a trial");
    bench.confirm();
    assert_eq!(bench.pass(&lane, Reason::Operator).verdict, Verdict::Remediated);
    let (fake, dir, _) = bench.end(lane);
    // As a kill leaves it right after the ruleset was written down as confirmed.
    fake.delete(ENFORCED);
    let path = ManagedPath::new(TRIAL).expect("managed");
    fake.put(&ManagedFile { path, bytes: trial, mode: 0o600 }).expect("written");

    let bench = Bench::on(fake, dir);
    let lane = bench.lane();
    lane.mailbox.ring(Reason::Start);
    let done = bench.tools.board.wait_until(Duration::from_secs(20), |board| {
        board.areas.iter().any(|a| matches!(a.verdict, Verdict::Compliant | Verdict::Remediated))
    });
    assert!(done, "{:?}", bench.tools.board.overview().areas);
    assert!(bench.fake.content(ENFORCED).is_some() && bench.fake.content(TRIAL).is_none());
    bench.end(lane);
}

#[test]
fn bells_that_ring_during_a_pass_make_one_more() {
    let mut bench = Bench::new();
    let (asked, asks) = sync_channel(0);
    let (go_on, goes) = sync_channel(0);
    bench.tools.host = Arc::new(Slow { fake: bench.fake.clone(), gate: Some((asked, Mutex::new(goes))) });
    let lane = bench.lane();
    lane.mailbox.ring(Reason::Start);
    asks.recv().expect("the first pass hangs");
    for _ in 0..500 {
        lane.mailbox.ring(Reason::KernelEvent);
        lane.mailbox.ring(Reason::FileEvent);
    }
    let porter = std::thread::spawn(move || {
        let mut questions = 1;
        go_on.send(()).expect("the lane waits");
        while asks.recv().is_ok() {
            questions += 1;
            go_on.send(()).expect("the lane waits");
        }
        questions
    });
    let board = bench.tools.board.clone();
    assert!(board.wait_until(Duration::from_secs(20), |_| board.passes(Area::Firewall) == 2));
    let status = board.overview().areas.remove(0);
    assert_eq!(status.reasons, [Reason::KernelEvent, Reason::FileEvent], "both reasons in one pass");
    lane.stop();
    assert_eq!(board.passes(Area::Firewall), 2, "a thousand bells made one pass");
    let Bench { tools, recording, .. } = bench;
    drop(tools);
    recording.stop();
    porter.join().expect("porter");
}

#[test]
fn a_lane_that_hangs_holds_no_other_up() {
    let mut stuck = Bench::new();
    let (asked, asks) = sync_channel(1);
    let (go_on, goes) = sync_channel(1);
    stuck.tools.host = Arc::new(Slow { fake: stuck.fake.clone(), gate: Some((asked, Mutex::new(goes))) });
    let slow = stuck.lane();
    slow.mailbox.ring(Reason::Start);
    asks.recv().expect("it hangs");
    // The same board, recorder and policy; another host, as if another area asked other questions.
    let fake = Arc::new(FakeHost::debian());
    let mut tools = stuck.tools.clone();
    tools.host = Arc::new(Slow { fake, gate: None });
    let quick = Lane::start(Area::Firewall, tools).expect("a thread");
    quick.mailbox.ring(Reason::Start);
    let board = stuck.tools.board.clone();
    assert!(board.wait_until(Duration::from_secs(20), |_| board.passes(Area::Firewall) == 1));
    // Only the one that hangs is told, and only when it has hung for longer than any pass lasts.
    let later = clock::monotonic() + HANGS + Duration::from_secs(1);
    assert_eq!((slow.hangs(later), slow.hangs(clock::monotonic())), (true, false));
    // Its pass is shown a moment before it has ended.
    assert!(board.wait_until(Duration::from_secs(20), |_| !quick.hangs(later)));
    quick.stop();
    // The hanging pass asks twice: it observes, acts, and observes again.
    go_on.send(()).expect("the lane waits");
    asks.recv().expect("it looks again");
    go_on.send(()).expect("the lane waits");
    drop(stuck.end(slow));
}

#[test]
fn a_restart_keeps_chain_floor_and_what_is_under_way() {
    let bench = Bench::new();
    bench.tools.floor.raise(bench.fake.now().wall);
    let lane = bench.lane();
    assert_eq!(bench.pass(&lane, Reason::Start).verdict, Verdict::Pending);
    let until = bench.tools.board.overview().areas.remove(0).pending.expect("a trial").until;
    let (fake, dir, last) = bench.end(lane);
    assert!(last >= 1);

    let bench = Bench::on(fake, dir);
    assert_eq!(bench.tools.board.overview().evidence.last, last, "the chain goes on");
    let early = Now { wall: Timestamp::UNIX_EPOCH, ..bench.fake.now() };
    assert!(bench.tools.floor.judge(early).1.is_some(), "the floor is still there");
    let lane = bench.lane();
    let status = bench.pass(&lane, Reason::Start);
    assert_eq!(status.pending.expect("the same trial").until, until);
    bench.confirm();
    assert_eq!(bench.pass(&lane, Reason::Operator).verdict, Verdict::Remediated);
    let (_, _, now_last) = bench.end(lane);
    assert!(now_last > last);
}

#[test]
fn before_the_floor_drift_is_restored_and_the_verdict_is_unknown() {
    let bench = Bench::new();
    bench.tools.floor.raise(bench.fake.now().wall);
    let lane = bench.lane();
    bench.pass(&lane, Reason::Start);
    bench.confirm();
    bench.pass(&lane, Reason::Operator);
    bench.tools.recorder.settle();
    *bench.wrong.lock().expect("whole") = Some("1970-01-01T00:10:00Z".parse().expect("a time"));
    let listing = bench.fake.nft_listing();
    bench.fake.nft_as(1, "nft", r#"{"nftables":[{"flush":{"ruleset":null}}]}"#).expect("flushed");
    let status = bench.pass(&lane, Reason::KernelEvent);
    assert_eq!(status.verdict, Verdict::Unknown);
    assert!(status.unknown.expect("why").reason.contains("the clock says 1970"));
    assert_eq!(
        tables(&bench.fake.nft_listing()),
        tables(&listing),
        "the last confirmed state is enforced all the same"
    );
    bench.end(lane);
}

#[test]
fn an_agent_that_only_observes_leaves_every_area_alone_and_no_mark() {
    let mut bench = Bench::new();
    bench.tools.observe_only = true;
    let lane = bench.lane();
    let status = bench.pass(&lane, Reason::Start);
    assert_eq!((status.mode, status.lifted, status.verdict), (Mode::Observe, false, Verdict::Drifted));
    assert_eq!((bench.fake.writes(), bench.fake.content(TRIAL)), (0, None), "nothing was written");
    bench.end(lane);
}

fn tables(listing: &str) -> usize {
    listing.matches("tenure").count()
}

#[test]
fn an_area_that_was_given_back_is_only_looked_at() {
    let bench = Bench::new();
    let at = bench.fake.now().wall;
    bench.tools.before.mark_lifted(Area::Firewall, &*bench.fake, at).expect("marked");
    let writes = bench.fake.writes();
    let lane = bench.lane();
    let status = bench.pass(&lane, Reason::Start);
    assert_eq!((status.mode, status.lifted, status.verdict), (Mode::Observe, true, Verdict::Drifted));
    assert!(status.findings.iter().any(|f| f.kind == "lifted"));
    assert_eq!(bench.fake.writes(), writes, "nothing was written");
    bench.tools.before.unmark_lifted(Area::Firewall, &*bench.fake).expect("unmarked");
    assert_eq!(bench.pass(&lane, Reason::Operator).verdict, Verdict::Pending);
    bench.end(lane);
}
