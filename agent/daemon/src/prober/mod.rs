//! Confirming firewall trials from another host: this host answers others as a prober, and asks probers when it has a
//! trial of its own. What counts is a *new* connection from outside; an established one lives on behind any ruleset.

mod ask;
mod judge;
mod serve;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use tenure_trust::HostName;

use crate::admission_in_force::AdmissionInForce;
use crate::desk::Counter;
use crate::journal;
use crate::lane::Tools;

/// How often both threads look whether there is something for them, or whether they shall end.
const LOOK: Duration = Duration::from_millis(500);

/// What both threads work with.
#[derive(Clone)]
struct Shared {
    tools: Tools,
    admissions: AdmissionInForce,
    /// The directory of state, with the identity key.
    state: PathBuf,
    host: HostName,
    stop: Arc<AtomicBool>,
}

impl Shared {
    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}

/// Both threads.
#[derive(Debug)]
pub struct Running {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

/// Starts both.
///
/// # Errors
/// When the kernel gives no thread.
pub fn start(
    tools: &Tools,
    admissions: &AdmissionInForce,
    desk: &Arc<Counter>,
    state: PathBuf,
    host: HostName,
) -> io::Result<Running> {
    let stop = Arc::new(AtomicBool::new(false));
    let shared =
        Shared { tools: tools.clone(), admissions: admissions.clone(), state, host, stop: stop.clone() };
    let (serving, asking, desk) = (shared.clone(), shared, desk.clone());
    let spawn = |name: &str| std::thread::Builder::new().name(name.into());
    let threads = vec![
        spawn("prober").spawn(move || serve::run(&serving))?,
        spawn("confirmer").spawn(move || ask::run(&asking, &desk))?,
    ];
    Ok(Running { stop, threads })
}

impl Running {
    /// Has one of them ended by itself?
    pub fn is_finished(&self) -> bool {
        self.threads.iter().any(JoinHandle::is_finished)
    }

    /// Ends both, at the latest after the connections under way.
    pub fn stop(self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads {
            if thread.join().is_err() {
                journal::error("a thread of the prober ended by a fault of its own");
            }
        }
    }
}
