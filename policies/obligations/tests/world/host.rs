//! The host of a [`super::World`]: its clock, its memory and what it says.

use std::time::Duration;

use jiff::civil::Date;
use jiff::{SignedDuration, Timestamp};
use tenure_areas::area::{AreaSpec, Now};
use tenure_areas::backup::facts::{Facts, Remembered, SealFact, Since, SlotFact, SlotState};
use tenure_areas::backup::schedule::{self, Due, Known, Ledger, What};
use tenure_areas::backup::{Backup, Scheduled};
use tenure_obligations::input::{HostBackups, HostSeal, HostSince, HostSlot, HostSlotState};
use tenure_policy::clocks::Floor;
use tenure_policy::slots::later;
use tenure_trust::{GenerationId, Hash, SlotId};

use super::passed;
use crate::fleet::{Fleet, host};

/// How long a signed policy lasts.
const LASTS: SignedDuration = SignedDuration::from_hours(90 * 24);

/// The machine that is backed up.
pub(crate) struct Host {
    pub(crate) on: bool,
    pub(crate) floor: Floor,
    /// By how much its clock is ahead.
    pub(crate) ahead: SignedDuration,
    booted: Timestamp,
    /// When the policy in force was signed.
    policy: Timestamp,
    pub(crate) scheduled: Scheduled,
    facts: Facts,
    /// The facts as the schedule reads them.
    ledger: Ledger,
    /// When the facts were written down last, by its own word.
    remembered: Option<Timestamp>,
}

impl Host {
    pub(super) fn new(fleet: &mut Fleet, now: Timestamp) -> Self {
        let scheduled = Scheduled::of(&fleet.hosts[&host("web1")]).expect("it is backed up");
        let all = scheduled.section.series.iter();
        let mut since: Vec<Since> = all.map(|one| Since { series: one.series.clone(), since: now }).collect();
        since.sort();
        let HostBackups { machine, boot, .. } = fleet.web_backups().clone();
        let facts = Facts { since, machine, boot, ..Facts::default() };
        let mut new = Self {
            on: true,
            floor: Floor::new(now),
            ahead: SignedDuration::ZERO,
            booted: now,
            policy: now,
            scheduled,
            ledger: facts.ledger(),
            facts,
            remembered: None,
        };
        new.start(now, now);
        new
    }

    pub(crate) fn wall(&self, now: Timestamp) -> Timestamp {
        later(now, self.ahead)
    }

    /// The moment that it decides by, and whether its clock is wrong.
    pub(crate) fn judge(&self, now: Timestamp) -> (Timestamp, bool) {
        self.floor.judge(self.wall(now))
    }

    pub(super) fn boot(&self, now: Timestamp) -> Duration {
        passed(self.booted, now)
    }

    /// The agent starts with the floor that was kept, and resumes the policy that it had.
    fn start(&mut self, kept: Timestamp, booted: Timestamp) {
        self.booted = booted;
        self.floor = Floor::new(kept);
        self.floor.raise(self.policy);
        self.floor.bound(Some(later(self.policy, LASTS)));
    }

    /// The machine is switched on again.
    pub(crate) fn power_on(&mut self, now: Timestamp) {
        self.on = true;
        self.start(self.floor.at(), now);
    }

    /// A person sets the clock, removes the file of the floor and starts the agent again (docs/centre.md, 11).
    pub(crate) fn forget_floor(&mut self) {
        self.start(Timestamp::UNIX_EPOCH, self.booted);
    }

    /// Takes the policy on offer, if it holds now.
    pub(super) fn take(&mut self, signed: Timestamp, now: Timestamp) {
        if signed > self.policy && self.wall(now) < later(signed, LASTS) {
            self.policy = signed;
            self.floor.raise(signed);
            self.floor.bound(Some(later(signed, LASTS)));
        }
    }

    /// What is due, after what is seen was written down. What is to be written changes with the date, with what is missed
    /// and with a clock that goes back; between those it is what stands there.
    pub(super) fn due(&mut self, now: Timestamp) -> Vec<Due> {
        let due = |host: &Self| {
            let Scheduled { section, zone, .. } = &host.scheduled;
            schedule::due(section, &host.ledger, now, zone)
        };
        let before = due(self);
        let date = |at: Timestamp| self.scheduled.zone.date_of(at);
        let same = self.remembered.is_some_and(|last| last <= now && date(last) == date(now));
        if same && !before.iter().any(|due| matches!(due, Due::Missed(_))) {
            return before;
        }
        self.remembered = Some(now);
        let moment = Now { wall: now, since_boot_ms: 0, boot_id: String::new() };
        for file in Backup::memory(&self.scheduled, &self.facts, &moment) {
            let Remembered { since, slots } = serde_json::from_slice(&file.bytes).expect("it reads its own");
            (self.facts.since, self.facts.slots) = (since, slots);
            self.facts.remembered = Some(Hash::of(&file.bytes));
        }
        self.ledger = self.facts.ledger();
        let after = due(self);
        assert!(!after.iter().any(|due| matches!(due, Due::Missed(_))), "{now}: missed twice: {after:?}");
        after
    }

    pub(super) fn know(&mut self, slot: SlotId, state: SlotState, at: Timestamp) {
        let tries = self.facts.of(&slot).map_or(0, |fact| fact.tries) + 1;
        let what = match &state {
            SlotState::Sealed(_) => What::Sealed,
            _ => What::Failed { tries },
        };
        self.ledger.known.insert(slot.clone(), Known { what, at });
        self.facts.slots.retain(|known| known.slot != slot);
        self.facts.slots.push(SlotFact { slot, state, at, tries });
    }

    /// What it says of its backups: what [`HostBackups::of`] reads in the facts (a test holds them together).
    pub(super) fn said(&self) -> HostBackups {
        let state = |state: &SlotState| match state {
            SlotState::Running => HostSlotState::Running,
            SlotState::Sealed(SealFact { seal, snapshot, root, at, unreadable, .. }) => {
                let (seal, snapshot, root, at) = (*seal, *snapshot, *root, *at);
                HostSlotState::Sealed(HostSeal { seal, snapshot, root, at, unreadable: *unreadable })
            }
            SlotState::Failed { why } => HostSlotState::Failed { why: why.clone() },
            SlotState::Missed => HostSlotState::Missed,
        };
        let (slots, since) = (self.facts.slots.iter(), self.facts.since.iter());
        HostBackups {
            slots: slots.map(|s| HostSlot { slot: s.slot.clone(), state: state(&s.state) }).collect(),
            drills: Vec::new(),
            since: since.map(|s| HostSince { series: s.series.clone(), since: s.since }).collect(),
            machine: self.facts.machine,
            boot: self.facts.boot,
        }
    }

    /// What it remembers as missed.
    pub(crate) fn missed(&self) -> impl Iterator<Item = &SlotId> {
        self.facts.slots.iter().filter(|fact| fact.state == SlotState::Missed).map(|fact| &fact.slot)
    }
}

/// A seal as the host remembers it. The generation is not told to the controller.
pub(super) fn receipt(seal: HostSeal) -> SealFact {
    let HostSeal { seal, snapshot, root, at, unreadable } = seal;
    let generation = GenerationId { date: Date::MIN, number: 1 };
    SealFact { seal, snapshot, root, receipt: Hash::of(b"receipt"), generation, at, unreadable }
}
