//! Where the policy comes from, and the thread that waits for another one: a drop directory of signed bundles, or the
//! administrator's own directory on a standalone host.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use notify::{RecursiveMode, Watcher};
use serde_json::json;
use tenure_link::Admitted;
use tenure_sys::clock;

use crate::admission_in_force::AdmissionInForce;
use crate::bell::{Mailbox, Reason};
use crate::board::{Board, PolicyStatus};
use crate::host::Clock;
use crate::journal::{self, Entry, Kind};
use crate::policy_in_force::{Held, PolicyInForce};
use crate::recorder::Recorder;
use crate::time_floor::TimeFloor;

/// Files come one after the other: the directory is read when it has been quiet for this long …
const QUIET: Duration = Duration::from_millis(200);
/// … and at least this often while it is not.
const IMPATIENCE: Duration = Duration::from_secs(5);
/// Without any event it is read all the same: a watch may be lost with its directory.
const POLL: Duration = Duration::from_secs(60);

/// Why a policy was not taken. The one in force stays.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}")]
pub struct NotTaken {
    /// What was not taken, and why; several lines where a set has several faults.
    pub what: String,
    /// What to do next.
    pub hint: Option<String>,
}

/// A place that policies come from.
pub trait PolicySource: Send {
    /// The directory to watch.
    fn watched(&self) -> &Path;
    /// Do folders in it count too? Only then is more than its own level watched.
    fn has_folders(&self) -> bool {
        false
    }
    /// The policy that was taken before a restart, without looking at what is offered; none on a standalone host.
    ///
    /// # Errors
    /// When what was taken cannot be believed any more.
    fn resume(&mut self, now: jiff::Timestamp) -> Result<Option<Held>, NotTaken>;
    /// The latest time that a signature has proved.
    fn proved(&self) -> jiff::Timestamp;
    /// Takes what is offered now. The same as before is no error.
    ///
    /// # Errors
    /// [`NotTaken`]; the policy in force stays.
    fn take(&mut self, now: jiff::Timestamp) -> Result<Held, NotTaken>;
    /// The admissions that hold as far as this source brings any, and what was refused of them. A standalone host knows
    /// no other machine.
    ///
    /// # Errors
    /// [`NotTaken`] when the list cannot be read; the admissions known before stay.
    fn admissions(&mut self, _now: jiff::Timestamp) -> Result<Option<Admitted>, NotTaken> {
        Ok(None)
    }
}

/// What the policy's thread works with.
#[derive(Clone)]
pub struct Office {
    /// Which the lanes read.
    pub cell: PolicyInForce,
    /// Rung when it changes.
    pub lanes: Vec<Mailbox>,
    /// Where it is shown.
    pub board: Board,
    /// Where refusals are recorded.
    pub recorder: Recorder,
    /// The moment.
    pub clock: Arc<dyn Clock>,
    /// Below which no clock is believed, and nothing new is taken.
    pub floor: Arc<TimeFloor>,
    /// Whose keys are believed.
    pub admissions: AdmissionInForce,
}

/// The thread that waits for another policy.
#[derive(Debug)]
pub struct Running {
    stop: SyncSender<Word>,
    thread: JoinHandle<()>,
}

enum Word {
    Changed,
    Stop,
}

impl Running {
    /// Has it ended by itself?
    pub fn is_finished(&self) -> bool {
        self.thread.is_finished()
    }

    /// Ends it.
    pub fn stop(self) {
        // Fails only when the thread has ended already.
        let _ = self.stop.send(Word::Stop);
        if self.thread.join().is_err() {
            journal::error("the policy's thread ended by a fault of its own");
        }
    }
}

/// Takes the policy that there is, and from then on every other that comes.
///
/// # Errors
/// When the kernel gives no thread or watch.
pub fn start(mut source: Box<dyn PolicySource>, office: Office) -> io::Result<Running> {
    let (stop, words) = sync_channel(4);
    let changed = stop.clone();
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        let read_only = event.as_ref().is_ok_and(|e| {
            matches!(e.kind, notify::EventKind::Access(kind)
                if kind != notify::event::AccessKind::Close(notify::event::AccessMode::Write))
        });
        if !read_only {
            // Full: then a word waits already.
            let _ = changed.try_send(Word::Changed);
        }
    })
    .map_err(io::Error::other)?;
    let thread = std::thread::Builder::new().name("policy".into()).spawn(move || {
        let (mut told, mut told_admissions) = (None, None);
        office.floor.raise(source.proved());
        let resumed = source.resume(office.clock.now().wall);
        settle(resumed.transpose(), &office, &mut told);
        loop {
            // Before it is read, so that no change is missed; one that is watched already is not harmed.
            let depth =
                if source.has_folders() { RecursiveMode::Recursive } else { RecursiveMode::NonRecursive };
            let _ = watcher.watch(source.watched(), depth);
            if office.floor.judge(office.clock.now()).1.is_none() {
                let taken = source.take(office.clock.now().wall);
                office.floor.raise(source.proved());
                settle(Some(taken), &office, &mut told);
                admit(source.admissions(office.clock.now().wall), &office, &mut told_admissions);
            }
            if !wait(&words) {
                return;
            }
        }
    })?;
    Ok(Running { stop, thread })
}

/// Waits for a change and then for quiet; false when it shall end.
fn wait(words: &Receiver<Word>) -> bool {
    match words.recv_timeout(POLL) {
        Ok(Word::Changed) => {}
        Ok(Word::Stop) | Err(RecvTimeoutError::Disconnected) => return false,
        Err(RecvTimeoutError::Timeout) => return true,
    }
    let impatient = clock::monotonic() + IMPATIENCE;
    loop {
        match words.recv_timeout(QUIET) {
            Ok(Word::Changed) if clock::monotonic() < impatient => {}
            Ok(Word::Stop) | Err(RecvTimeoutError::Disconnected) => return false,
            Ok(Word::Changed) | Err(RecvTimeoutError::Timeout) => return true,
        }
    }
}

/// Puts a policy in force if it is another, or tells why it was not taken, once.
fn settle(result: Option<Result<Held, NotTaken>>, office: &Office, told: &mut Option<NotTaken>) {
    match result {
        None => {}
        Some(Ok(held)) => {
            *told = None;
            office.board.show_policy_fault(None);
            let known = office.cell.get();
            let same = known.as_ref().is_some_and(|k| {
                (k.hash(), k.version(), k.until()) == (held.hash(), held.version(), held.until())
            });
            if !same {
                enforce(held, office);
            }
        }
        Some(Err(fault)) => {
            if told.as_ref() == Some(&fault) {
                return;
            }
            Entry::new(Kind::PolicyNotTaken, &format!("policy not taken: {}", fault.what)).write();
            office.board.show_policy_fault(Some(fault.what.clone()));
            let version = office.cell.get().and_then(|held| held.version());
            let payload = json!({ "what": fault.what, "hint": fault.hint });
            office.recorder.event("policy_refused", payload, version, office.clock.now().wall);
            *told = Some(fault);
        }
    }
}

/// Takes over the admissions that hold; what was refused is recorded, once.
fn admit(result: Result<Option<Admitted>, NotTaken>, office: &Office, told: &mut Option<Vec<String>>) {
    let refused = match result {
        Ok(None) => return,
        Ok(Some(Admitted { book, refused })) => {
            office.admissions.set(book);
            refused.iter().map(|refused| refused.to_string()).collect()
        }
        Err(fault) => vec![fault.what],
    };
    if refused.is_empty() {
        *told = None;
    } else if told.as_ref() != Some(&refused) {
        refused.iter().take(10).for_each(|why| journal::error(&format!("admission not taken: {why}")));
        let version = office.cell.get().and_then(|held| held.version());
        let payload = json!({ "refused": refused.iter().take(100).collect::<Vec<_>>() });
        office.recorder.event("admission_refused", payload, version, office.clock.now().wall);
        *told = Some(refused);
    }
}

/// Puts a policy in force and rings.
pub fn enforce(held: Held, office: &Office) {
    let status = PolicyStatus {
        from: held.from.clone(),
        version: held.version(),
        until: held.until(),
        hash: held.hash().short(),
        heartbeat_seconds: held.policy().heartbeat_seconds,
    };
    let named = held.version().map_or_else(|| "unsigned".to_owned(), |v| format!("version {v}"));
    let told = format!("policy in force: {named}, {} from {}", held.hash().short(), held.from);
    Entry::new(Kind::PolicyInForce, &told).version(held.version()).write();
    let payload = json!({ "from": held.from, "hash": held.hash(), "until": held.until() });
    office.recorder.event("policy", payload, held.version(), office.clock.now().wall);
    office.floor.bound(held.until());
    office.cell.set(held);
    office.board.show_policy(status);
    office.lanes.iter().for_each(|lane| lane.ring(Reason::Policy));
}
