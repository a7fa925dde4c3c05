//! Bells and the mailbox of a lane: a wake-up carries a reason and no data, and a lane holds one bell per reason.

use std::collections::BTreeSet;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tenure_sys::clock;

/// Why a lane wakes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reason {
    /// The agent started.
    Start,
    /// The heartbeat is due.
    Timer,
    /// Another policy is in force.
    Policy,
    /// The kernel told of a change.
    KernelEvent,
    /// A watched file changed.
    FileEvent,
    /// A person asked.
    Operator,
    /// What is under way has reached its limit.
    TrialDue,
    /// A job has ended.
    JobEnded,
    /// A time of the schedule has come.
    Schedule,
}

/// What a lane wakes up to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wake {
    /// These bells rang, never none.
    Rung {
        /// Which.
        reasons: BTreeSet<Reason>,
        /// When the first of them rang, in time of [`clock::monotonic`].
        since: Duration,
    },
    /// The agent ends.
    Stop,
}

/// One lane's bells. Clones ring the same lane.
#[derive(Debug, Clone, Default)]
pub struct Mailbox(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    rung: Condvar,
}

#[derive(Debug, Default)]
struct State {
    bells: BTreeSet<Reason>,
    since: Duration,
    stop: bool,
}

impl State {
    fn add(&mut self, reason: Reason, at: Duration) {
        if self.bells.is_empty() {
            self.since = at;
        }
        self.bells.insert(reason);
    }
}

impl Mailbox {
    /// An empty mailbox.
    pub fn new() -> Self {
        Self::default()
    }

    /// Rings; a bell that hangs there already is not rung twice. Never waits for the lane.
    pub fn ring(&self, reason: Reason) {
        let now = clock::monotonic();
        self.state().add(reason, now);
        self.0.rung.notify_all();
    }

    /// Tells the lane to end after its pass.
    pub fn stop(&self) {
        self.state().stop = true;
        self.0.rung.notify_all();
    }

    /// Waits for a bell, at most until the earliest of the alarms (in time of [`clock::monotonic`]), each of which
    /// rings its own. Takes all bells at once. Before `not_before` only a person's bell is answered; others gather.
    pub fn wait(&self, alarms: &[(Duration, Reason)], not_before: Duration) -> Wake {
        let mut state = self.state();
        loop {
            if state.stop {
                return Wake::Stop;
            }
            let now = clock::monotonic();
            alarms.iter().filter(|(at, _)| *at <= now).for_each(|(_, reason)| state.add(*reason, now));
            let open = now >= not_before || state.bells.contains(&Reason::Operator);
            if open && !state.bells.is_empty() {
                let reasons = std::mem::take(&mut state.bells);
                return Wake::Rung { reasons, since: state.since };
            }
            let ends = alarms.iter().map(|(at, _)| *at).chain((!open).then_some(not_before));
            state = match ends.filter(|at| *at > now).map(|at| at.saturating_sub(now)).min() {
                Some(left) => self.0.rung.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0,
                None => self.0.rung.wait(state).unwrap_or_else(PoisonError::into_inner),
            };
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it holds the lock, and a set of bells is whole at any moment.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reasons(wake: Wake) -> BTreeSet<Reason> {
        match wake {
            Wake::Rung { reasons, .. } => reasons,
            Wake::Stop => BTreeSet::new(),
        }
    }

    #[test]
    fn bells_coalesce_by_reason() {
        let mailbox = Mailbox::new();
        for _ in 0..1000 {
            mailbox.ring(Reason::KernelEvent);
        }
        mailbox.ring(Reason::Operator);
        let both = BTreeSet::from([Reason::KernelEvent, Reason::Operator]);
        assert_eq!(reasons(mailbox.wait(&[], Duration::ZERO)), both);
        let due = [(clock::monotonic(), Reason::Timer)];
        assert_eq!(
            reasons(mailbox.wait(&due, Duration::ZERO)),
            BTreeSet::from([Reason::Timer]),
            "nothing was left over"
        );
    }

    #[test]
    fn the_earliest_alarm_rings_its_own_bell() {
        let mailbox = Mailbox::new();
        let now = clock::monotonic();
        let alarms = [
            (now + Duration::from_secs(900), Reason::Timer),
            (now + Duration::from_millis(5), Reason::TrialDue),
        ];
        assert_eq!(reasons(mailbox.wait(&alarms, Duration::ZERO)), BTreeSet::from([Reason::TrialDue]));
    }

    #[test]
    fn while_it_must_pause_only_a_person_is_answered() {
        let mailbox = Mailbox::new();
        let later = clock::monotonic() + Duration::from_millis(20);
        mailbox.ring(Reason::KernelEvent);
        assert_eq!(reasons(mailbox.wait(&[], later)), BTreeSet::from([Reason::KernelEvent]));
        assert!(clock::monotonic() >= later);
        mailbox.ring(Reason::Operator);
        let far = clock::monotonic() + Duration::from_secs(600);
        assert_eq!(reasons(mailbox.wait(&[], far)), BTreeSet::from([Reason::Operator]));
    }

    #[test]
    fn a_bell_from_another_thread_wakes_and_stop_wins() {
        let mailbox = Mailbox::new();
        let lane = mailbox.clone();
        let waiting =
            std::thread::spawn(move || (lane.wait(&[], Duration::ZERO), lane.wait(&[], Duration::ZERO)));
        mailbox.ring(Reason::Start);
        while mailbox.state().bells.contains(&Reason::Start) {
            std::thread::yield_now();
        }
        mailbox.ring(Reason::Policy);
        mailbox.stop();
        let (first, second) = waiting.join().expect("lane");
        assert_eq!(reasons(first), BTreeSet::from([Reason::Start]));
        assert!(second == Wake::Stop || reasons(second) == BTreeSet::from([Reason::Policy]));
    }
}
