//! How many requests with records are read at once: few of one machine, so that none takes the memory of all.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tenure_trust::{HostName, MachineRole};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Of one machine: one that broke off may not be known to be gone yet when the next one comes.
const EACH: usize = 2;
/// Of all of them: each is a few times the most bytes of a request.
const ALL: usize = 48;

type Who = (HostName, MachineRole);

/// Lets requests in.
#[derive(Debug)]
pub struct Gate {
    inside: Mutex<BTreeMap<Who, usize>>,
    all: Arc<Semaphore>,
}

/// One that is inside, until it is dropped.
#[derive(Debug)]
pub(super) struct Turn {
    gate: Arc<Gate>,
    who: Who,
    _one: Option<OwnedSemaphorePermit>,
}

impl Gate {
    /// Nobody is inside.
    pub fn new() -> Arc<Self> {
        Arc::new(Self { inside: Mutex::default(), all: Arc::new(Semaphore::new(ALL)) })
    }

    /// Waits until there is room among all; none at once when this machine has enough inside.
    pub(super) async fn enter(self: &Arc<Self>, who: Who) -> Option<Turn> {
        let mut turn = {
            let mut inside = self.lock();
            let own = inside.entry(who.clone()).or_default();
            if *own >= EACH {
                return None;
            }
            *own += 1;
            Turn { gate: self.clone(), who, _one: None }
        };
        // Never closed, so always given in the end.
        turn._one = self.all.clone().acquire_owned().await.ok();
        Some(turn)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Who, usize>> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut inside = self.gate.lock();
        if let Some(own) = inside.get_mut(&self.who) {
            *own = own.saturating_sub(1);
            if *own == 0 {
                inside.remove(&self.who);
            }
        }
    }
}
