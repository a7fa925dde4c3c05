//! The vault put together: policy in force, store, identity, clock, records; and the turn of its ring.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};

use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use tenure_link::Identity;
use tenure_policy::bundles::VaultPolicy;
use tenure_sys::{clock, text};
use tenure_trust::order::{MAX_REASON, verify_clear};
use tenure_trust::vault_wire::{Open, RefusalCode, VaultFacts, VaultRefusal};
use tenure_trust::{GenerationId, Hash, MachineRole, Refused, SeriesId};
use tokio::sync::watch;

use crate::in_force::{InForce, Peer};
use crate::journal;
use crate::put_off::PutOff;
use crate::records::Recorder;
use crate::ring::{Due, Event, Found, Looked};
use crate::store::{Again, Fault, Opened, Series, Signer, Store, Terms};
use crate::witness::Witness;

/// A refusal of one kind to one peer is recorded once in this time.
const REFUSAL_QUIET: SignedDuration = SignedDuration::from_mins(10);
/// The most peers and kinds that are remembered for that.
const MAX_QUIET: usize = 4096;

/// Where the vault's facts of its machine come from.
#[derive(Debug, Clone, Copy)]
pub struct Machine {
    /// Hash of the machine's id.
    pub machine: Hash,
    /// Hash of the kernel's boot id.
    pub boot: Hash,
}

/// A vault at work; shared by all connections.
#[derive(Debug)]
pub struct Vault {
    /// What it holds.
    pub store: Store,
    /// Signs receipts.
    pub identity: Identity,
    /// Its clock.
    pub witness: Arc<Witness>,
    /// Its records.
    pub recorder: Recorder,
    in_force: watch::Sender<Arc<InForce>>,
    /// One turn at a time.
    turn: Mutex<()>,
    /// One generation is looked at again at a time; what did not end is put off.
    looking: Mutex<PutOff>,
    ended: AtomicBool,
    erasing: Mutex<()>,
    quiet: Mutex<BTreeMap<(String, RefusalCode), (Timestamp, u64)>>,
}

impl Vault {
    /// A vault that obeys this policy from now on.
    pub fn new(
        store: Store,
        identity: Identity,
        witness: Arc<Witness>,
        recorder: Recorder,
        in_force: Arc<InForce>,
    ) -> Self {
        Self {
            store,
            identity,
            witness,
            recorder,
            in_force: watch::Sender::new(in_force),
            turn: Mutex::new(()),
            looking: Mutex::default(),
            ended: AtomicBool::new(false),
            erasing: Mutex::new(()),
            quiet: Mutex::default(),
        }
    }

    /// The policy in force.
    pub fn in_force(&self) -> Arc<InForce> {
        self.in_force.borrow().clone()
    }

    /// What is in force, for whoever must know of a change at once.
    pub(crate) fn changes(&self) -> watch::Receiver<Arc<InForce>> {
        self.in_force.subscribe()
    }

    /// Puts another policy, or other admissions, in force. Connections whose admission holds no more are ended.
    pub fn enforce(&self, next: Arc<InForce>) {
        self.in_force.send_replace(next);
    }

    /// Can it take this policy over without being started anew?
    pub fn fits(&self, policy: &VaultPolicy) -> bool {
        let held = self.in_force();
        (&policy.vault, &policy.store, policy.port)
            == (&held.policy.vault, &held.policy.store, held.policy.port)
    }

    /// `open` of a host.
    ///
    /// # Errors
    /// A refusal, or the disk.
    pub fn open(&self, peer: &Peer, open: &Open) -> Result<Opened, Fault> {
        let held = self.in_force();
        let terms = writes(&held, peer, &open.slot.series)?;
        // What is closed for it is told, and makes room, whether it can begin then or not.
        if let Some((series, events)) = self.store.close_before(terms, open, self.now()?)?
            && !events.is_empty()
        {
            self.tell(&series, &events);
            self.erase(&series);
        }
        let opened = self.store.open_generation(terms, open, self.now()?)?;
        self.tell(&opened.series, &opened.events);
        Ok(opened)
    }

    /// What the policy says of the series that is open, as it is now: it may have changed since.
    ///
    /// # Errors
    /// `ForeignSeries` when the host may write it no more.
    pub fn with_terms<T>(
        &self,
        peer: &Peer,
        opened: &Opened,
        act: impl FnOnce(&Terms, Timestamp) -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        let held = self.in_force();
        act(writes(&held, peer, &opened.series.id)?, self.now()?)
    }

    /// `seal` of a host: gives the receipt.
    ///
    /// # Errors
    /// A refusal, or the disk.
    pub fn seal(&self, peer: &Peer, opened: &Opened, seal: &str) -> Result<String, Fault> {
        let held = self.in_force();
        let terms = writes(&held, peer, &opened.series.id)?;
        let key = match held.book.of(&opened.series.id.host, MachineRole::Host) {
            Some(admission) => admission.identity,
            None => return Err(Fault::refused(RefusalCode::BadSeal, "no key of this host is admitted")),
        };
        let signer = Signer { identity: &self.identity, uptime: self.witness.uptime() };
        let taken = self.store.seal(terms, opened, seal, &key, signer, self.now()?)?;
        if let Some(event) = taken.event {
            self.tell(&opened.series, &[event]);
        }
        Ok(taken.receipt)
    }

    /// A signed order, whoever brings it.
    ///
    /// # Errors
    /// `BadOrder` when nobody entitled signed it, or what it orders cannot be; `Busy` when it may be later.
    pub fn order(&self, order: &str) -> Result<(), Fault> {
        let bad = |why: String| Fault::refused(RefusalCode::BadOrder, why);
        let now = self.now()?;
        let held = self.in_force();
        let clear = verify_clear(&held.root, Some(self.store.vault()), now, order.as_bytes()).map_err(
            |why| match why {
                // One of the two clocks is wrong: later it may be right.
                Refused::NotYetValid { .. } => Fault::refused(RefusalCode::Busy, why.to_string()),
                _ => bad(why.to_string()),
            },
        )?;
        let series = self.store.get(&clear.series).ok_or_else(|| bad("there is no such series".into()))?;
        let decide = |now, looked: &Looked| {
            series.change(now, |ring| {
                let Due { events, wants } = ring.clear(clear.generation, clear.order, now, looked)?;
                Ok((events.clone(), (events, wants)))
            })
        };
        let mut looked = Looked::default();
        let (mut events, wants) = decide(now, &looked)?;
        if wants.contains(&clear.generation) {
            let _one = self.looking.lock().unwrap_or_else(PoisonError::into_inner);
            match self.found(&series, clear.generation)? {
                Some((seal, found)) => looked.note(clear.generation, seal, found),
                None => return Err(Fault::refused(RefusalCode::Busy, "the vault is being stopped")),
            }
            events = decide(self.now()?, &looked)?.0;
        }
        let said = text::neutral(clear.reason.as_bytes(), MAX_REASON);
        journal::notice(&format!("{} {}: cleared by an order: {said}", series.id, clear.generation));
        let payload = json!({
            "series": series.id, "generation": clear.generation, "order": clear.order, "by": clear.by,
            "reason": said,
        });
        self.recorder.event("cleared", payload, held.version());
        self.tell(&series, &events);
        self.erase(&series);
        Ok(())
    }

    /// Closes what is over, sets aside what failed, erases what is superseded, in every series. Goes on where an earlier
    /// process stopped; while another turn is under way it is that one's to do. Blocking.
    pub fn turn(&self) {
        let Some(_one) = free(&self.turn) else { return };
        for series in self.store.all() {
            if self.ended.load(Ordering::Relaxed) {
                return;
            }
            self.turn_one(&series, &Looked::default());
            series.tidy();
        }
    }

    /// The same for one series.
    pub fn turn_series(&self, series: &Arc<Series>) {
        if let Some(_one) = free(&self.turn) {
            self.turn_one(series, &Looked::default());
        }
    }

    /// Looks again at every object of what would become the copy of its weekday, one generation after the other, and then
    /// promotes it or sets it aside. May take hours; nothing waits for it but the copy that it would replace. What was
    /// looked at when the vault is stopped is looked at anew. Blocking.
    pub fn look_again(&self) {
        let Some(mut off) = free(&self.looking) else { return };
        for series in self.store.all() {
            let (mut looked, mut tried) = (Looked::default(), BTreeSet::new());
            while let Some(id) = self.waits(&series, &looked).into_iter().find(|id| !tried.contains(id)) {
                tried.insert(id);
                if off.is(&series.id, id, clock::monotonic()) {
                    continue;
                }
                match self.found(&series, id) {
                    Ok(Some((seal, found))) => {
                        off.ended(&series.id, id);
                        looked.note(id, seal, found);
                    }
                    Ok(None) => return,
                    Err(fault) => {
                        off.failed(&series.id, id, clock::monotonic());
                        self.complain(&series, &fault);
                    }
                }
                self.turn_one(&series, &looked);
            }
        }
    }

    /// Ends what takes long, before long.
    pub fn end(&self) {
        self.ended.store(true, Ordering::Relaxed);
    }

    fn waits(&self, series: &Series, looked: &Looked) -> Vec<GenerationId> {
        let held = self.in_force();
        let (Some(terms), Ok(now)) = (held.terms(&series.id), self.now()) else { return Vec::new() };
        series.with_ring(|ring| ring.due(&terms.rules, now, None, looked)).wants
    }

    /// What is found of a generation, up to which seal; none when the vault is being stopped.
    fn found(&self, series: &Series, id: GenerationId) -> Result<Option<(Hash, Found)>, Fault> {
        let seen = series.look_again(id, || !self.ended.load(Ordering::Relaxed))?;
        let Again::Seen(seal, found, what) = seen else { return Ok(None) };
        if let Some(what) = what {
            let told =
                format!("{} {id}: {what}; the older copy is kept: look at the vault's disk", series.id);
            journal::error(&told);
            let payload = json!({ "series": series.id, "generation": id, "what": what });
            self.recorder.event("spoilt", payload, self.in_force().version());
        }
        Ok(Some((seal, found)))
    }

    fn turn_one(&self, series: &Arc<Series>, looked: &Looked) {
        let held = self.in_force();
        let (Some(terms), Ok(now)) = (held.terms(&series.id), self.now()) else { return };
        let turned = series.change(now, |ring| {
            let events = ring.due(&terms.rules, now, None, looked).events;
            Ok((events.clone(), events))
        });
        match turned {
            Ok(events) => self.tell(series, &events),
            Err(fault) => self.complain(series, &fault),
        }
        self.erase(series);
    }

    /// Erases what the journal says is being erased.
    fn erase(&self, series: &Arc<Series>) {
        let _one = self.erasing.lock().unwrap_or_else(PoisonError::into_inner);
        for generation in series.erasing() {
            let Ok(now) = self.now() else { return };
            match series.erase(generation, now) {
                Ok((files, bytes)) => self.tell(series, &[Event::Erased { generation, files, bytes }]),
                Err(fault) => self.complain(series, &fault),
            }
        }
    }

    /// What the vault says of itself.
    pub fn facts(&self, machine: Machine) -> VaultFacts {
        let (free_bytes, total_bytes) = self.store.space().unwrap_or_default();
        VaultFacts {
            schema: 1,
            series: self.store.facts(),
            free_bytes,
            total_bytes,
            machine: machine.machine,
            boot: machine.boot,
            pages: Vec::new(),
        }
    }

    /// Takes note of a refusal: in the records once in a while for each peer and kind, so that nobody fills them.
    pub fn note_refusal(&self, peer: &Peer, refusal: &VaultRefusal) {
        let name = peer.name.to_string();
        let now = tenure_sys::clock::wall();
        let count = {
            let mut quiet = self.quiet.lock().unwrap_or_else(PoisonError::into_inner);
            if quiet.len() >= MAX_QUIET {
                quiet.retain(|_, (told, _)| now.duration_since(*told) < REFUSAL_QUIET);
            }
            let known = quiet.entry((name.clone(), refusal.code)).or_insert((Timestamp::UNIX_EPOCH, 0));
            known.1 += 1;
            if now.duration_since(known.0) < REFUSAL_QUIET {
                return;
            }
            known.0 = now;
            std::mem::take(&mut known.1)
        };
        journal::warning(&format!("refused {name}: {}", refusal.what));
        let payload = json!({ "host": name, "code": refusal.code, "what": refusal.what, "times": count });
        self.recorder.event("refused", payload, self.in_force().version());
    }

    fn now(&self) -> Result<Timestamp, Fault> {
        self.witness.now().map_err(|why| Fault::refused(RefusalCode::Busy, why))
    }

    fn complain(&self, series: &Series, fault: &Fault) {
        let what = format!("{}: {}", series.id, journal::chain(fault));
        journal::error(&what);
    }

    /// Tells in journal and records what was written down.
    fn tell(&self, series: &Series, events: &[Event]) {
        let version = self.in_force().version();
        for event in events {
            let name = match event {
                Event::Begin { .. } | Event::EraseBegin { .. } => continue,
                Event::Open { .. } => "opened",
                Event::Seal { .. } => "sealed",
                Event::Close { .. } => "closed",
                Event::Promote { .. } => "promoted",
                Event::Aside { .. } => "set_aside",
                Event::Erased { .. } => "erased",
            };
            journal::notice(&format!("{} {}: {name}", series.id, event.generation()));
            let payload = json!({ "series": series.id, "generation": event.generation(), "event": event });
            self.recorder.event(name, payload, version);
        }
        if !events.is_empty() {
            self.recorder.changed();
        }
    }
}

/// The lock, unless somebody has it.
fn free<T>(lock: &Mutex<T>) -> Option<MutexGuard<'_, T>> {
    match lock.try_lock() {
        Ok(held) => Some(held),
        Err(TryLockError::Poisoned(held)) => Some(held.into_inner()),
        Err(TryLockError::WouldBlock) => None,
    }
}

fn writes<'a>(held: &'a InForce, peer: &Peer, series: &SeriesId) -> Result<&'a Terms, Fault> {
    held.writes(peer, series).ok_or_else(|| {
        Fault::refused(RefusalCode::ForeignSeries, "this series is not one that this host may write")
    })
}
