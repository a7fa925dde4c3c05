//! The way up to the controller: enrol once, renew certificates, pull signed policy and admissions, push records. One
//! thread; whatever the controller does or does not do, the machine goes on as its last verified policy says.

mod enrol;
mod error;
mod fetch;
mod http;
mod orders;
mod push;
mod ticket;
mod tls;

use std::io;
use std::marker::PhantomData;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tenure_trust::{Bundle, Epoch, HostName, Seq};
use tokio::sync::{Notify, watch};

pub use enrol::{Asked, Placed, ask_certificate, enrol, place_root};
pub use error::LinkError;
pub use ticket::Ticket;

use crate::store::Places;
use fetch::Fetcher;
use push::Pusher;
use tls::Standing;

/// The directory of the link below the directory of state. It has the form of a drop directory: `index.json`, this
/// machine's bundle, `admissions.json`.
pub const DIRECTORY: &str = "link";
/// The name of the list of orders for a vault, in a drop directory and in the state of the link.
pub const ORDERS: &str = "orders.json";

/// How often policy is asked for.
const FETCH: Duration = Duration::from_secs(30);
/// How often the chain is looked at when nobody rings.
const LOOK: Duration = Duration::from_secs(2);
/// How often a machine that waits for its admission asks.
const WAITING: Duration = Duration::from_secs(5);
/// How often a certificate that still holds is asked for: it has half a day left, and clocks can be apart by more.
const RENEW: Duration = Duration::from_secs(60);
/// The waits after failures: doubled from the first to the last.
const BACKOFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));
/// The wait after the controller said that the chain itself is at fault: asking again helps nobody.
const STUCK: Duration = Duration::from_secs(300);

/// Something that the machine states about its controller in its own chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Notice {
    /// `policy_refused` or `policy_withheld`: the event's name.
    pub event: &'static str,
    /// What was refused or withheld.
    pub what: String,
    /// What a person can do.
    pub hint: String,
}

/// How the link stands, for people.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkStatus {
    /// The controller that was reached last.
    pub controller: Option<String>,
    /// When it last answered.
    pub last_contact: Option<Timestamp>,
    /// True while nobody has admitted this machine.
    pub waiting: bool,
    /// Why the link does not work now.
    pub failing: Option<String>,
    /// What the controller is said to refuse or withhold.
    pub notices: Vec<String>,
    /// Until when the certificate holds.
    pub certificate_until: Option<Timestamp>,
    /// The last record that the controller has acknowledged.
    pub sent: Seq,
}

/// What to link.
#[derive(Debug, Clone)]
pub struct Setup {
    /// The machine's root and state.
    pub places: Places,
    /// Its name.
    pub host: HostName,
    /// Its clock.
    pub clock: fn() -> Timestamp,
}

/// A running link. Dropped, it ends at once.
#[derive(Debug)]
pub struct Uplink {
    shared: Arc<Shared>,
    stop: watch::Sender<bool>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    status: Mutex<LinkStatus>,
    bell: Notify,
}

impl Shared {
    fn update(&self, change: impl FnOnce(&mut LinkStatus)) {
        change(&mut self.status.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

/// The way to ring a running link. Clones ring the same one.
#[derive(Debug, Clone)]
pub struct Bell(Arc<Shared>);

impl Bell {
    /// A record was written: push it. Never waits.
    pub fn ring(&self) {
        self.0.bell.notify_one();
    }

    /// How the link stands.
    pub fn status(&self) -> LinkStatus {
        self.0.status.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Uplink {
    /// Starts the link's thread for a machine whose bundle is a `T`. `notice` is called from that thread and must not
    /// wait.
    ///
    /// # Errors
    /// When the kernel gives no thread.
    pub fn start<T: Bundle + 'static>(
        setup: Setup,
        notice: Box<dyn FnMut(Notice) + Send>,
    ) -> io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let (stop, stopped) = watch::channel(false);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        // One that cannot be read is told by every turn, and nothing is pushed before it can be.
        let epoch = Ticket::epoch_in(&setup.places.state).unwrap_or(Epoch(1));
        let link = Link::<T> {
            fetcher: Fetcher::new(setup.clone()),
            pusher: Pusher::new(setup.clone(), epoch),
            setup,
            shared: shared.clone(),
            notice,
            told: Vec::new(),
            fetched: None,
            asked: None,
            failures: 0,
            of: PhantomData,
        };
        let work = move || runtime.block_on(link.run(stopped));
        let thread = std::thread::Builder::new().name("uplink".into()).spawn(work)?;
        Ok(Self { shared, stop, thread: Some(thread) })
    }

    /// The way to ring it.
    pub fn bell(&self) -> Bell {
        Bell(self.shared.clone())
    }

    /// Has it ended by itself?
    pub fn is_finished(&self) -> bool {
        self.thread.as_ref().is_some_and(JoinHandle::is_finished)
    }

    /// Ends it; false when it had ended by a fault of its own.
    pub fn stop(mut self) -> bool {
        // Fails only when the thread has ended already.
        let _ = self.stop.send(true);
        self.thread.take().is_none_or(|thread| thread.join().is_ok())
    }
}

struct Link<T> {
    setup: Setup,
    shared: Arc<Shared>,
    fetcher: Fetcher,
    pusher: Pusher,
    notice: Box<dyn FnMut(Notice) + Send>,
    told: Vec<Notice>,
    /// Since the machine's boot clock started: when policy was asked for last.
    fetched: Option<Duration>,
    /// When a certificate was asked for last.
    asked: Option<Duration>,
    failures: u32,
    of: PhantomData<fn() -> T>,
}

/// When to go on.
enum Next {
    /// When somebody rings, or after a while.
    Quiet,
    /// After this, whoever rings.
    After(Duration),
}

impl<T: Bundle> Link<T> {
    async fn run(mut self, mut stop: watch::Receiver<bool>) {
        loop {
            let next = tokio::select! {
                next = self.turn() => next,
                _ = stop.changed() => return,
            };
            let shared = self.shared.clone();
            let rest = async {
                match next {
                    Next::Quiet => {
                        let _ = tokio::time::timeout(LOOK, shared.bell.notified()).await;
                    }
                    Next::After(wait) => self.wait(wait).await,
                }
            };
            tokio::select! {
                () = rest => {}
                _ = stop.changed() => return,
            }
        }
    }

    /// Waits, but no longer than until this machine is enrolled anew.
    async fn wait(&self, all: Duration) {
        let mut left = all;
        let anew = || Ticket::epoch_in(&self.setup.places.state).is_ok_and(|e| e != self.pusher.epoch());
        while !left.is_zero() && !anew() {
            let part = left.min(LOOK);
            tokio::time::sleep(part).await;
            left -= part;
        }
    }

    /// One turn; infallible: an error is how the link stands.
    async fn turn(&mut self) -> Next {
        match self.try_turn().await {
            Ok(next) => {
                self.failures = 0;
                self.shared.update(|status| status.failing = None);
                next
            }
            Err(error) => {
                self.failures = self.failures.saturating_add(1);
                let told = error.told();
                if let Some(notice) = error.notice() {
                    self.tell(vec![notice]);
                }
                self.shared.update(|status| status.failing = Some(told));
                Next::After(if error.is_stuck() { STUCK } else { backoff(self.failures) })
            }
        }
    }

    async fn try_turn(&mut self) -> Result<Next, LinkError> {
        let state = &self.setup.places.state;
        let ticket = Ticket::read(state)?.ok_or_else(|| LinkError::NotEnrolled(state.clone()))?;
        if ticket.epoch != self.pusher.epoch() {
            // Enrolled anew: the next chain goes up.
            self.pusher = Pusher::new(self.setup.clone(), ticket.epoch);
            self.fetched = None;
        }
        let now = (self.setup.clock)();
        let boot = tenure_sys::clock::boottime();
        let over = |last: Option<Duration>, span| last.is_none_or(|last| boot.saturating_sub(last) >= span);
        let standing = tls::standing(state, now)?;
        if standing == Standing::None || (standing == Standing::Half && over(self.asked, RENEW)) {
            self.asked = Some(boot);
            match enrol::ask(&self.setup.places, &ticket, now).await {
                Ok(Asked::Waiting) => {
                    self.shared.update(|status| {
                        status.waiting = true;
                        status.last_contact = Some(now);
                    });
                    return Ok(Next::After(WAITING));
                }
                Ok(Asked::Issued { .. }) => {}
                // A certificate that still holds is good enough until the next try.
                Err(_) if standing == Standing::Half => {}
                Err(error) => return Err(error),
            }
        }
        let until = tls::until(state)?;
        self.shared.update(|status| (status.waiting, status.certificate_until) = (false, until));
        let due = over(self.fetched, FETCH);
        if !due && !self.pusher.waits()? {
            return Ok(Next::Quiet);
        }
        let mut line = http::connect(&self.setup.places, &ticket, true).await?;
        let controller = line.controller().to_owned();
        self.shared.update(|status| status.controller = Some(controller));
        // What goes wrong with policy keeps no record from going up.
        let fetched = match due {
            false => Ok(()),
            true => match self.fetcher.fetch::<T>(&mut line, now).await {
                Ok(notices) => {
                    self.fetched = Some(boot);
                    self.tell(notices);
                    Ok(())
                }
                Err(error) => {
                    // The connection may have broken with it.
                    line = http::connect(&self.setup.places, &ticket, true).await?;
                    Err(error)
                }
            },
        };
        self.pusher.push(&mut line).await?;
        let (sent, contact) = (self.pusher.sent(), (self.setup.clock)());
        self.shared.update(|status| (status.sent, status.last_contact) = (sent, Some(contact)));
        fetched.map(|()| Next::Quiet)
    }

    /// Each notice is told once while it lasts.
    fn tell(&mut self, notices: Vec<Notice>) {
        for notice in notices.iter().filter(|notice| !self.told.contains(notice)) {
            (self.notice)(notice.clone());
        }
        let shown = notices.iter().map(|notice| notice.what.clone()).collect();
        self.shared.update(|status| status.notices = shown);
        self.told = notices;
    }
}

/// Doubled with every failure, and then a random part of it, so that a fleet does not come back as one.
fn backoff(failures: u32) -> Duration {
    let (first, last) = BACKOFF;
    let whole = first.saturating_mul(1 << failures.saturating_sub(1).min(10)).min(last);
    let mut random = [0u8; 2];
    // Without randomness all wait the whole time.
    let part = match getrandom::fill(&mut random) {
        Ok(()) => u32::from(u16::from_be_bytes(random)),
        Err(_) => u32::from(u16::MAX),
    };
    whole / 2 + whole.saturating_mul(part) / (2 * u32::from(u16::MAX))
}

/// The directory of the link.
pub fn directory(places: &Places) -> PathBuf {
    places.state.join(DIRECTORY)
}

#[cfg(test)]
mod tests;
