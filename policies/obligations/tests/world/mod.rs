//! A host, a vault and a controller in virtual time: schedule, the host's memory, what host and vault believe of their
//! clocks, and the judge are the real ones, called as agent/daemon and agent/vault call them.
#![allow(dead_code, reason = "each test file uses its own part of this")]

mod host;
mod vault;

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tenure_areas::backup::facts::SlotState;
use tenure_areas::backup::schedule::{self, Due};
use tenure_obligations::input::Content;
use tenure_obligations::{Change, Obligation, Reason, Standing, State, carry};
use tenure_policy::bundles::BackupSection;
use tenure_policy::slots::later;
use tenure_trust::{MachineRole, SlotId};

use crate::fleet::{self, Fleet, at, backup_content};
use host::Host;
use vault::Vault;

/// How far ahead a wrong clock is here.
pub(crate) const FORTY_DAYS: SignedDuration = SignedDuration::from_hours(40 * 24);

/// Everything there is.
pub(crate) struct World {
    pub(crate) fleet: Fleet,
    pub(crate) now: Timestamp,
    pub(crate) host: Host,
    pub(crate) vault: Vault,
    /// When the policy on offer was signed, and how often it is signed anew.
    pub(crate) signed: Timestamp,
    pub(crate) signed_every: SignedDuration,
    /// When each slot was sealed; more than once is a fault.
    pub(crate) seals: BTreeMap<SlotId, Vec<Timestamp>>,
    pub(crate) rows: Vec<Obligation>,
    pub(crate) changes: Vec<Change>,
}

/// The nightly time that the zone's changes of clocks skip and double.
fn odd_time(zone: &str) -> &'static str {
    if zone == "Europe/London" { "01:30" } else { "02:30" }
}

impl World {
    pub(crate) fn new(zone: &str, now: Timestamp) -> Self {
        let mut fleet = Fleet::in_order(now);
        fleet.book.timezone = zone.to_owned();
        fleet.book.heartbeat_seconds = 3600;
        for policy in fleet.hosts.values_mut() {
            policy.timezone = zone.to_owned();
            (policy.firewall, policy.ssh_access, policy.patch) = (None, None, None);
            for series in policy.backup.iter_mut().flat_map(|backup| &mut backup.series) {
                if series.at.len() == 1 {
                    series.at = vec![odd_time(zone).parse().expect("a time")];
                }
            }
        }
        for tenant in fleet.book.tenants.values_mut() {
            let known = ["backup.server", "backup.nightly", "backup.ring", "backup.offhost", "purge"];
            tenant.promises.retain(|promise| known.contains(&promise.means.as_str()));
        }
        for reported in fleet.machines.values_mut() {
            reported.admitted = Some(now);
        }
        let (host, vault) = (Host::new(&mut fleet, now), Vault::new(&mut fleet, now));
        Self {
            fleet,
            now,
            host,
            vault,
            signed: now,
            signed_every: SignedDuration::from_hours(30 * 24),
            seals: BTreeMap::new(),
            rows: Vec::new(),
            changes: Vec::new(),
        }
    }

    pub(crate) fn section(&self) -> &BackupSection {
        &self.host.scheduled.section
    }

    /// Time passes until then: by the hour, and at whatever moment the schedule asks for.
    pub(crate) fn until(&mut self, end: &str) {
        let end = at(end);
        while self.now < end {
            if self.now >= later(self.signed, self.signed_every) {
                self.signed = self.now;
            }
            let wait = if self.host.on { self.lane() } else { None };
            self.vault.turn(self.now, &self.host.scheduled.zone);
            self.records();
            let hour = (self.now.as_second() / 3600 + 1) * 3600;
            let next = Timestamp::from_second(hour).expect("in range");
            self.now = wait.filter(|wait| *wait > self.now).map_or(next, |wait| wait.min(next)).min(end);
        }
    }

    /// Passes of the host until nothing is due; gives when it will look again, by true time. As in agent/daemon
    /// (policy_source.rs, lane.rs): before the floor no policy is taken and nothing begins, but what is seen is remembered.
    fn lane(&mut self) -> Option<Timestamp> {
        if !self.host.judge(self.now).1 {
            self.host.take(self.signed, self.now);
        }
        for _ in 0..200 {
            let (believed, wrong) = self.host.judge(self.now);
            let mut wait = None;
            let mut idle = true;
            for due in self.host.due(believed) {
                match due {
                    Due::Run(slot) if !wrong => {
                        self.run(slot);
                        idle = false;
                    }
                    Due::Wait(until) => wait = Some(later(self.now, until.duration_since(believed))),
                    Due::Run(_) | Due::Missed(_) => {}
                }
            }
            if idle {
                return wait.filter(|_| !wrong);
            }
        }
        unreachable!("the schedule never rests at {}", self.now);
    }

    /// A run that takes no time. A job notes what becomes of it by the clock as it is.
    fn run(&mut self, slot: SlotId) {
        let wall = self.host.wall(self.now);
        let scheduled = &self.host.scheduled;
        let ends = schedule::window_ends(&scheduled.zone, &slot, scheduled.section.catch_up_seconds);
        let why = match self.vault.moment(self.now) {
            _ if !self.vault.reached => "the vault does not answer",
            None => "the vault's clock is not believed",
            Some(now) if now < schedule::moment(&scheduled.zone, &slot) || now > ends => {
                "the date is not open"
            }
            Some(_) => {
                self.seals.entry(slot.clone()).or_default().push(self.now);
                self.vault.hold(&slot, self.now);
                let seal = fleet::seal(&slot, self.now);
                return self.host.know(slot, SlotState::Sealed(host::receipt(seal)), wall);
            }
        };
        self.host.know(slot, SlotState::Failed { why: why.into() }, wall);
    }

    /// Records go to the controller, which judges; every change of state must have another reason than before. The host
    /// takes note of the time with each record (agent/daemon, recorder.rs).
    fn records(&mut self) {
        let (now, boot) = (self.now, self.host.boot(self.now));
        let (observed, _) = self.host.judge(now);
        let said = backup_content(self.host.said(), observed);
        let held = Content::Vault(Box::new(self.vault.facts.clone()));
        let spoken = [
            (self.host.on, "web1", MachineRole::Host, "backup", observed, said),
            (true, "vault1", MachineRole::Vault, "vault", later(now, self.vault.ahead), held),
        ];
        self.fleet.now = now;
        for (speaks, name, role, area, observed, content) in spoken {
            if !speaks {
                continue;
            }
            self.fleet.machine(name, role).last_contact = Some(now);
            let newest = self.fleet.newest(name, role, area);
            (newest.observed_at, newest.received_at, newest.content) = (observed, now, content);
        }
        if self.host.on {
            self.host.floor.note(self.host.wall(now), boot);
        }
        let mut rows = self.fleet.judge().obligations;
        let changes = carry(&Standing::all(&self.rows), &mut rows, now);
        for change in &changes {
            let before = self.rows.iter().find(|row| row.promise == change.promise);
            if let Some(before) = before {
                let keys = |why: &[Reason]| why.iter().map(Reason::key).collect::<Vec<_>>();
                assert_ne!(keys(&before.why), keys(&change.why), "{now} unexplained: {change:?}");
            }
        }
        self.changes.extend(changes);
        self.rows = rows;
    }

    pub(crate) fn state(&self, duty: &str) -> State {
        self.row(duty).state
    }

    pub(crate) fn row(&self, duty: &str) -> &Obligation {
        self.rows.iter().find(|row| row.duty == duty).expect("a row")
    }

    pub(crate) fn why(&self, duty: &str) -> String {
        self.row(duty).why.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
    }

    /// These four are unknown, for this reason.
    pub(crate) fn all_unknown(&self, why: &str) {
        for duty in ["backup.server", "backup.nightly", "backup.ring", "backup.offhost"] {
            assert_eq!(self.state(duty), State::Unknown, "{} {duty}: {}", self.now, self.why(duty));
            assert!(self.why(duty).contains(why), "{} {duty}: {}", self.now, self.why(duty));
        }
    }

    /// The night's copy and the ring stand so.
    pub(crate) fn stand(&self, nightly: State, ring: State) {
        let why = || format!("{}: {}; {}", self.now, self.why("backup.nightly"), self.why("backup.ring"));
        assert_eq!((self.state("backup.nightly"), self.state("backup.ring")), (nightly, ring), "{}", why());
    }
}

/// The time since boot, which goes on evenly whatever a clock says.
fn passed(booted: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(now.duration_since(booted)).expect("after the boot")
}
