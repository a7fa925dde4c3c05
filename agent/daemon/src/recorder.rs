//! One thread owns the chain and never blocks a lane: what cannot be written is counted, and the next record says so.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;
use tenure_areas::pass::{Report, Verdict};
use tenure_sys::text;
use tenure_trust::record::{About, Draft, Payload, VerdictTag};
use tenure_trust::{AreaName, EventName, JudgeVersion, PolicyVersion, ReasonTag};

use crate::board::{Board, EvidenceStatus};
use crate::host::Clock;
use crate::journal::{self, Entry, Kind};
use crate::record_pace::{Held, RecordPace};
use crate::time_floor::TimeFloor;

/// Messages that wait for the recorder; beyond that they are lost and counted.
const QUEUE: usize = 64;

/// What writes a record down durably; the real one is the chain of `tenure-link`.
pub trait Ledger: Send {
    /// Appends a record with its payload. `dropped` more records never got here; they count as lost too.
    ///
    /// # Errors
    /// Why it was not written; the chain stands as before, and the record counts as lost.
    fn append(&mut self, draft: Draft, payload: Vec<u8>, dropped: u32) -> Result<(), Unwritten>;
    /// The number of the last record; 0 when there is none.
    fn last(&self) -> u64;
    /// How many records were lost since the last one that was written.
    fn lost(&self) -> u32;
}

/// Why a record was not written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unwritten {
    /// In words.
    pub why: String,
    /// Is there room for the agent's own word on it?
    pub may_say_so: bool,
}

impl From<String> for Unwritten {
    fn from(why: String) -> Self {
        Self { why, may_say_so: false }
    }
}

enum Message {
    Report {
        report: Box<Report>,
        policy: Option<PolicyVersion>,
        heartbeat: bool,
    },
    Event {
        name: EventName,
        payload: Value,
        policy: Option<PolicyVersion>,
        at: Timestamp,
    },
    /// What was held back is due.
    Due,
    /// Answered when everything before it has been dealt with.
    Barrier(SyncSender<()>),
    Stop,
}

/// The way to the recorder. Clones lead to the same one.
#[derive(Debug, Clone)]
pub struct Recorder {
    queue: SyncSender<Message>,
    /// Messages that found the queue full.
    dropped: Arc<AtomicU32>,
}

impl std::fmt::Debug for Message {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Report { .. } => "Report",
            Self::Event { .. } => "Event",
            Self::Due => "Due",
            Self::Barrier(_) => "Barrier",
            Self::Stop => "Stop",
        })
    }
}

/// The recorder's thread.
#[derive(Debug)]
pub struct Running {
    queue: SyncSender<Message>,
    thread: JoinHandle<()>,
}

impl Running {
    /// Ends the thread after everything that waits has been written.
    pub fn stop(self) {
        // Fails only when the thread has ended already.
        let _ = self.queue.send(Message::Stop);
        if self.thread.join().is_err() {
            journal::error("the recorder ended by a fault of its own");
        }
    }

    /// Has it ended by itself?
    pub fn is_finished(&self) -> bool {
        self.thread.is_finished()
    }
}

/// Starts the recorder's thread.
///
/// # Errors
/// When the kernel gives no thread.
pub fn start(
    ledger: Box<dyn Ledger>,
    board: Board,
    floor: Arc<TimeFloor>,
    clock: Arc<dyn Clock>,
) -> io::Result<(Recorder, Running)> {
    let (queue, messages) = sync_channel(QUEUE);
    let dropped = Arc::new(AtomicU32::new(0));
    let recorder = Recorder { queue: queue.clone(), dropped: dropped.clone() };
    board.show_evidence(EvidenceStatus { last: ledger.last(), lost: 0, failing: None });
    let (last, pace) = (BTreeMap::new(), RecordPace::default());
    let mut scribe = Scribe { ledger, board, floor, clock, dropped, last, pace, failing: None };
    let thread = std::thread::Builder::new().name("recorder".into()).spawn(move || scribe.run(&messages))?;
    Ok((recorder, Running { queue, thread }))
}

impl Recorder {
    /// Offers what a pass found; never waits. A record is written when it says something new, or as a heartbeat.
    pub fn report(&self, report: Report, policy: Option<PolicyVersion>, heartbeat: bool) {
        self.offer(Message::Report { report: Box::new(report), policy, heartbeat });
    }

    /// Offers something that happened to the agent; never waits.
    pub fn event(&self, name: &str, payload: Value, policy: Option<PolicyVersion>, at: Timestamp) {
        let name = EventName::new(name).expect("the agent's own event names are event names");
        self.offer(Message::Event { name, payload, policy, at });
    }

    /// Waits until everything that was offered before has been dealt with. Not for lanes.
    pub fn settle(&self) {
        let (done, wait) = sync_channel(1);
        if self.queue.send(Message::Barrier(done)).is_ok() {
            // An error means that the recorder has ended: then nothing is left to wait for.
            let _ = wait.recv();
        }
    }

    fn offer(&self, message: Message) {
        match self.queue.try_send(message) {
            Ok(()) => {}
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                let add = |n: u32| Some(n.saturating_add(1));
                // The closure always gives a value, so the update cannot fail.
                let _ = self.dropped.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add);
            }
        }
    }
}

struct Scribe {
    ledger: Box<dyn Ledger>,
    board: Board,
    floor: Arc<TimeFloor>,
    clock: Arc<dyn Clock>,
    dropped: Arc<AtomicU32>,
    /// What the last written record of each area said, and under which policy.
    last: BTreeMap<AreaName, (Report, Option<PolicyVersion>)>,
    pace: RecordPace,
    failing: Option<String>,
}

impl Scribe {
    fn run(&mut self, messages: &Receiver<Message>) {
        loop {
            let message = match self.next(messages) {
                Ok(message) => message,
                Err(RecvTimeoutError::Timeout) => Message::Due,
                Err(RecvTimeoutError::Disconnected) => Message::Stop,
            };
            match message {
                Message::Report { report, policy, heartbeat } => self.report(*report, policy, heartbeat),
                Message::Event { name, payload, policy, at } => {
                    let draft = event(name, policy, at);
                    self.append(draft, payload.to_string().into_bytes());
                }
                Message::Due => {}
                Message::Barrier(done) => {
                    self.write_all();
                    // Whoever waited may have gone.
                    let _ = done.try_send(());
                }
                Message::Stop => {
                    self.write_all();
                    return;
                }
            }
            for held in self.pace.take_due(self.clock.now().since_boot_ms) {
                self.write(held);
            }
        }
    }

    /// The next message, or that what was held back is due.
    fn next(&self, messages: &Receiver<Message>) -> Result<Message, RecvTimeoutError> {
        match self.pace.due() {
            None => messages.recv().map_err(|_| RecvTimeoutError::Disconnected),
            Some(due) => {
                let left = due.saturating_sub(self.clock.now().since_boot_ms);
                messages.recv_timeout(Duration::from_millis(left))
            }
        }
    }

    fn report(&mut self, report: Report, policy: Option<PolicyVersion>, heartbeat: bool) {
        let written = self.last.get(&report.area).map(|(last, under)| (last, *under));
        let known = self.pace.waiting(&report.area).map(|held| (&held.newest, held.policy)).or(written);
        let news = known.is_none_or(|(last, under)| under != policy || !report.repeats(last));
        if !news && !heartbeat {
            return;
        }
        let now = self.clock.now().since_boot_ms;
        if let Some(held) = self.pace.offer(report, policy, heartbeat, now) {
            self.write(held);
        }
    }

    fn write_all(&mut self) {
        for held in self.pace.take_all() {
            self.write(held);
        }
    }

    fn write(&mut self, held: Held) {
        let report = held.told();
        let Held { newest, policy, .. } = held;
        let draft = Draft {
            about: About::Area(report.area.clone()),
            policy,
            judge: judge(),
            observed_at: report.observed_at,
            verdict: Some(tag(&report)),
            reason: reason(&report),
        };
        if self.append(draft, payload(&report)) {
            self.last.insert(report.area, (newest, policy));
        }
    }

    fn append(&mut self, draft: Draft, payload: Vec<u8>) -> bool {
        let of_area = matches!(draft.about, About::Area(_));
        let lost = self.ledger.lost();
        let written = self.ledger.append(draft, payload, self.dropped.swap(0, Ordering::Relaxed));
        match &written {
            Ok(()) => {
                // The agent's own word may find room where records of passes do not.
                if of_area && self.failing.take().is_some() {
                    Entry::new(Kind::RecordsResume, &format!("records are written again; {lost} were lost"))
                        .write();
                }
            }
            Err(Unwritten { why, may_say_so }) if self.failing.as_ref() != Some(why) => {
                let told = format!("cannot write a record: {why}; enforcement goes on");
                Entry::new(Kind::RecordsFail, &told).write();
                self.failing = Some(why.clone());
                if *may_say_so {
                    self.say_stopped(why);
                }
            }
            Err(_) => {}
        }
        if let Err(error) = self.floor.persist(&self.clock.now())
            && written.is_ok()
        {
            journal::error(&format!("cannot persist the time: {}", journal::chain(&error)));
        }
        self.board.show_evidence(EvidenceStatus {
            last: self.ledger.last(),
            lost: self.ledger.lost(),
            failing: self.failing.clone(),
        });
        written.is_ok()
    }

    /// The last word before records stop: so that the chain itself says why there are none.
    fn say_stopped(&mut self, why: &str) {
        let name = EventName::new("records_stop").expect("an event name");
        let draft = event(name, None, self.clock.now().wall);
        let payload = serde_json::json!({ "why": why }).to_string().into_bytes();
        // One that cannot be written counts as lost, like what it is about.
        let _ = self.ledger.append(draft, payload, 0);
    }
}

/// Something that happened, as a record.
fn event(name: EventName, policy: Option<PolicyVersion>, observed_at: Timestamp) -> Draft {
    Draft { about: About::Event(name), policy, judge: judge(), observed_at, verdict: None, reason: None }
}

/// Which code judged.
fn judge() -> JudgeVersion {
    JudgeVersion::new(concat!("tenure ", env!("CARGO_PKG_VERSION"))).expect("a short plain text")
}

fn tag(report: &Report) -> VerdictTag {
    match report.verdict {
        Verdict::Unknown => VerdictTag::Unknown,
        _ if report.refusal.is_some() => VerdictTag::Refused,
        Verdict::Compliant => VerdictTag::Compliant,
        Verdict::Remediated => VerdictTag::Remediated,
        Verdict::Pending => VerdictTag::Pending,
        Verdict::Drifted => VerdictTag::Drifted,
    }
}

/// A few fixed words, never data of a person: the kind of the refusal or finding, or that the area is unknown.
fn reason(report: &Report) -> Option<ReasonTag> {
    let refusal = report.refusal.as_ref().map(|r| r.kind.as_str());
    let finding = report.findings.first().or(report.mended.first()).map(|f| f.kind.as_str());
    ReasonTag::new(refusal.or(finding)?).ok()
}

/// The report as the payload of its record. One that is too large keeps its verdict and says what it lacks.
fn payload(report: &Report) -> Vec<u8> {
    let bytes = |report: &Report| serde_json::to_vec(report).expect("a report is plain data with text keys");
    let whole = bytes(report);
    if whole.len() <= Payload::MAX {
        return whole;
    }
    let mut short = report.clone();
    short.facts = None;
    short.plan = None;
    short.done.truncate(50);
    for list in [&mut short.findings, &mut short.mended] {
        list.truncate(50);
        for finding in list.iter_mut() {
            finding.what = text::neutral(finding.what.as_bytes(), 500);
            finding.place = text::neutral(finding.place.as_bytes(), 500);
        }
    }
    bytes(&short)
}

#[cfg(test)]
#[path = "recorder_tests.rs"]
mod tests;
