//! What the vault states on a chain of its own: its facts on every change and as a heartbeat, and what happened. One
//! thread owns the chain; a record that cannot be written is counted, and the vault goes on.

use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};
use tenure_link::{ChainStore, Repair};
use tenure_sys::clock;
use tenure_trust::record::{About, Draft, VerdictTag};
use tenure_trust::vault_pages::{self, Paged};
use tenure_trust::vault_wire::VaultFacts;
use tenure_trust::{
    AreaName, Epoch, EventName, Hash, HostName, JudgeVersion, MachineRole, PolicyVersion, ReasonTag,
};

use crate::journal;

/// Messages that wait.
const QUEUE: usize = 256;

/// Tells the facts as they are now, with the policy version in force.
pub type Look = Box<dyn Fn() -> Option<(VaultFacts, Option<PolicyVersion>)> + Send>;

enum Message {
    Event {
        name: &'static str,
        payload: Value,
        policy: Option<PolicyVersion>,
        at: Timestamp,
    },
    /// Something changed: look and record.
    Changed,
    /// Answered when everything before it is written.
    Barrier(SyncSender<()>),
    Stop,
}

/// The way to the chain.
#[derive(Debug, Clone)]
pub struct Recorder {
    queue: SyncSender<Message>,
    dropped: Arc<Mutex<u32>>,
}

/// The thread that owns it.
#[derive(Debug)]
pub struct Running {
    queue: SyncSender<Message>,
    thread: JoinHandle<()>,
}

impl std::fmt::Debug for Message {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Message")
    }
}

impl Recorder {
    /// States that something happened; never waits.
    pub fn event(&self, name: &'static str, payload: Value, policy: Option<PolicyVersion>) {
        self.offer(Message::Event { name, payload, policy, at: clock::wall() });
    }

    /// Asks for a record of the facts if they say something new.
    pub fn changed(&self) {
        self.offer(Message::Changed);
    }

    /// Waits until everything offered before is written.
    pub fn settle(&self) {
        let (done, wait) = sync_channel(1);
        if self.queue.send(Message::Barrier(done)).is_ok() {
            // An error means that the recorder has ended: nothing is left to wait for.
            let _ = wait.recv();
        }
    }

    fn offer(&self, message: Message) {
        match self.queue.try_send(message) {
            Ok(()) => {}
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                let mut dropped = self.dropped.lock().unwrap_or_else(PoisonError::into_inner);
                *dropped = dropped.saturating_add(1);
            }
        }
    }
}

impl Running {
    /// Has it ended by itself? Nothing that the vault does is recorded any more then.
    pub fn has_ended(&self) -> bool {
        self.thread.is_finished()
    }

    /// Ends it after everything that waits has been written.
    pub fn stop(self) {
        // Fails only when the thread has ended already.
        let _ = self.queue.send(Message::Stop);
        if self.thread.join().is_err() {
            journal::error("the recorder ended by a fault of its own");
        }
    }
}

/// Starts the recorder. `heartbeat` tells how long at most between two records of the facts.
///
/// # Errors
/// When the kernel gives no thread.
pub fn start(
    state: &Path,
    host: HostName,
    epoch: Epoch,
    look: Look,
    heartbeat: Box<dyn Fn() -> Duration + Send>,
) -> std::io::Result<(Recorder, Running)> {
    let (queue, messages) = sync_channel(QUEUE);
    let recorder = Recorder { queue: queue.clone(), dropped: Arc::default() };
    let mut scribe = Scribe {
        state: state.into(),
        host,
        epoch,
        chain: None,
        lost: 0,
        dropped: recorder.dropped.clone(),
        look,
        last: None,
        failing: None,
    };
    let thread = std::thread::Builder::new()
        .name("recorder".into())
        .spawn(move || scribe.run(&messages, heartbeat.as_ref()))?;
    Ok((recorder, Running { queue, thread }))
}

/// Facts without what changes all the time.
#[derive(PartialEq, Eq)]
struct Told {
    /// Hash of the series in the head.
    head: Hash,
    /// Hashes of the pages.
    pages: Vec<Hash>,
    policy: Option<PolicyVersion>,
}

struct Scribe {
    state: PathBuf,
    host: HostName,
    epoch: Epoch,
    chain: Option<ChainStore>,
    /// Lost while the chain could not be opened.
    lost: u32,
    dropped: Arc<Mutex<u32>>,
    look: Look,
    /// What was recorded last.
    last: Option<Told>,
    failing: Option<String>,
}

impl Scribe {
    fn run(&mut self, messages: &Receiver<Message>, heartbeat: &dyn Fn() -> Duration) {
        let mut due = clock::monotonic();
        loop {
            let now = clock::monotonic();
            if now >= due {
                self.facts(true);
                due = now + heartbeat().max(Duration::from_secs(1));
            }
            match messages.recv_timeout(due.saturating_sub(now).min(heartbeat())) {
                Ok(Message::Event { name, payload, policy, at }) => self.event(name, &payload, policy, at),
                Ok(Message::Changed) => self.facts(false),
                Ok(Message::Barrier(done)) => {
                    // Whoever waited may have gone.
                    let _ = done.try_send(());
                }
                Ok(Message::Stop) | Err(RecvTimeoutError::Disconnected) => return,
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
    }

    fn event(&mut self, name: &'static str, payload: &Value, policy: Option<PolicyVersion>, at: Timestamp) {
        let name = EventName::new(name).expect("the vault's own event names are event names");
        let draft = Draft {
            about: About::Event(name),
            policy,
            judge: judge(),
            observed_at: at,
            verdict: None,
            reason: None,
        };
        self.append(draft, payload.to_string().into_bytes());
    }

    fn facts(&mut self, heartbeat: bool) {
        let Some((facts, policy)) = (self.look)() else { return };
        let Paged { head, pages, whole } = facts.paged();
        // Free space changes all the time and is told with the heartbeat.
        let told = Told { head: vault_pages::page_hash(&head), pages: head.pages.clone(), policy };
        if !heartbeat && self.last.as_ref() == Some(&told) {
            return;
        }
        let known = self.last.take().map(|last| last.pages).unwrap_or_default();
        // Pages go first, so that the head names none that is still to come.
        for (number, page) in pages.iter().enumerate() {
            let same = known.get(number).is_some_and(|hash| *hash == told.pages[number]);
            let Some(area) = vault_pages::page_area(number).filter(|_| !same) else { continue };
            if !self.append(area_draft(area, policy, true), payload(page)) {
                return;
            }
        }
        let area = AreaName::new(vault_pages::AREA).expect("a plain word");
        if self.append(area_draft(area, policy, whole), payload(&head)) {
            self.last = Some(told);
        }
    }

    fn append(&mut self, draft: Draft, payload: Vec<u8>) -> bool {
        let dropped = std::mem::take(&mut *self.dropped.lock().unwrap_or_else(PoisonError::into_inner));
        self.lost = self.lost.saturating_add(dropped);
        let written = self.open().and_then(|()| {
            let lost = std::mem::take(&mut self.lost);
            let chain = self.chain.as_mut().ok_or_else(|| "the chain is not open".to_owned())?;
            chain.note_lost(lost);
            chain.append(draft, payload).map(drop).map_err(|e| journal::chain(&e))
        });
        match written {
            Ok(()) => {
                self.failing = None;
                true
            }
            Err(why) => {
                if self.chain.is_none() {
                    self.lost = self.lost.saturating_add(1);
                }
                if self.failing.as_ref() != Some(&why) {
                    journal::error(&format!("cannot write a record: {why}; the vault goes on"));
                    self.failing = Some(why);
                }
                false
            }
        }
    }

    fn open(&mut self) -> Result<(), String> {
        if self.chain.is_some() {
            return Ok(());
        }
        let opened = ChainStore::open_as(&self.state, self.host.clone(), MachineRole::Vault, self.epoch);
        let (chain, repairs) = opened.map_err(|e| format!("{}; {}", journal::chain(&e), e.hint()))?;
        for repair in repairs {
            journal::warning(&match repair {
                Repair::TornTail { segment, bytes } => {
                    format!("{}: cut {bytes} bytes of a record that was never whole", segment.display())
                }
                Repair::Damaged { segment, lines } => {
                    format!("{}: {lines} lines at its end are no records of this vault", segment.display())
                }
            });
        }
        self.chain = Some(chain);
        Ok(())
    }
}

/// Which code judged.
fn judge() -> JudgeVersion {
    JudgeVersion::new(concat!("tenure ", env!("CARGO_PKG_VERSION"))).expect("a short plain text")
}

fn area_draft(area: AreaName, policy: Option<PolicyVersion>, whole: bool) -> Draft {
    Draft {
        about: About::Area(area),
        policy,
        judge: judge(),
        observed_at: clock::wall(),
        verdict: Some(if whole { VerdictTag::Compliant } else { VerdictTag::Unknown }),
        reason: (!whole).then(|| ReasonTag::new("facts too large").ok()).flatten(),
    }
}

fn payload(facts: &VaultFacts) -> Vec<u8> {
    json!({ "facts": facts }).to_string().into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recorder_that_has_ended_by_a_fault_is_known_to_have() {
        let dir = tempfile::tempdir_in("/run").unwrap();
        let host = HostName::new("vault1").unwrap();
        let start = |look: Look| {
            let heartbeat = Box::new(|| Duration::from_secs(3600));
            start(dir.path(), host.clone(), Epoch(1), look, heartbeat).unwrap()
        };
        let (recorder, well) = start(Box::new(|| None));
        recorder.settle();
        assert!(!well.has_ended());
        let (_recorder, ill) = start(Box::new(|| panic!("as a fault of ours would")));
        let began = clock::monotonic();
        while !ill.has_ended() {
            assert!(clock::monotonic() - began < Duration::from_secs(20), "it goes on");
            std::thread::yield_now();
        }
        ill.stop();
        well.stop();
    }
}
