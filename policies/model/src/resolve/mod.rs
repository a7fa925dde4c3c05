//! From texts to resolved policy: reads a set, finds every fault of meaning, resolves what each host gets and why.

mod access;
mod backup;
mod book;
mod bundles;
mod coverage;
mod derived;
mod explain;
mod host;
mod keys;
mod merge;
mod notes;
mod people;
mod promises;
mod removal;
mod secrets;
mod sections;
mod tenants;

pub use coverage::{Asks, PolicyTest, TestService};
pub use explain::Explained;
pub use notes::Note;
pub use promises::Promised;

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use tenure_trust::{FleetName, HostName};

use crate::calendar::{Period, Zone};
use crate::fault::{Fault, FaultCode, Faults, Place};
use crate::read;
use crate::resolve::book::Book;
use crate::resolve::derived::{Derived, Links};
use crate::resolve::host::Parts;
use crate::resolve::promises::HostFacts;
use crate::resolved::HostPolicy;
use crate::resolved_backup::HostBackup;
use crate::written::Written;

/// A heartbeat may be so many seconds apart.
const HEARTBEAT_SECONDS: std::ops::RangeInclusive<u64> = 10..=86_400;

/// A policy set without faults.
#[derive(Debug)]
pub struct Set {
    written: Written,
    book: Book,
    links: Links,
    zone: Zone,
    tests: Vec<PolicyTest>,
    promises: Vec<Promised>,
}

/// Reads and resolves a set (relative path → text) that is fit to be signed: without any fault, its promises attainable
/// (rule 15) and tested (rule 19).
///
/// # Errors
/// Every fault of every file at once, sorted, each with place, line and hint.
pub fn load(files: &BTreeMap<String, String>) -> Result<Set, Faults> {
    load_for(files, Use::Sign)
}

/// As [`load`], for one's own host without a signature: tests may be missing, promises unattainable.
///
/// # Errors
/// As [`load`].
pub fn load_standalone(files: &BTreeMap<String, String>) -> Result<Set, Faults> {
    load_for(files, Use::Standalone)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Use {
    Sign,
    Standalone,
}

fn load_for(files: &BTreeMap<String, String>, purpose: Use) -> Result<Set, Faults> {
    let reading = read::read_all(files);
    let mut faults = reading.faults;
    secrets::check(files, &mut faults);
    let Some(written) = reading.written else { return Err(faults.with_sources(files)) };
    // Where something could not be read, what is missing may stand there: only what is there is judged.
    let whole = faults.is_empty();
    let mut found = Faults::new();
    let zone = zone(&written, &mut found);
    let book = Book::new(
        &written,
        book::Defined { names: reading.names, partial: reading.partial, all: whole },
        &mut found,
    );
    sections::check(&written, &book, &mut found);
    people::check(&written, &book, &mut found);
    backup::check(&written, &book, &mut found);
    tenants::check(&written, &book, &mut found);
    let tests = coverage::resolve(&written, &book, &mut found);
    let links = Links::of(&written);
    let hosts = resolve_all(&written, &book, &links, &zone, &mut found);
    let mut promises = Vec::new();
    if whole {
        let mut unfit = Faults::new();
        // a promise is judged by what is without fault, else its fault would only repeat another
        if found.is_empty() {
            promises = promises::check(&written, &hosts, &mut unfit);
        }
        coverage::check(&written, &book, &tests, &mut unfit);
        if purpose == Use::Sign {
            found.extend(unfit);
        }
    }
    faults.extend(found);
    faults.with_sources(files).or(Some(Set { written, book, links, zone, tests, promises }))
}

fn zone(written: &Written, faults: &mut Faults) -> Zone {
    match Zone::named(written.timezone.as_str()) {
        Ok(zone) => zone,
        Err(error) => {
            let fault = Fault::new(&written.timezone.at, FaultCode::BadValue, error.to_string());
            faults.push(fault.hint(error.hint()));
            Zone::utc()
        }
    }
}

/// Resolves every host for the faults that only the merged host shows, and for what promises are judged by.
fn resolve_all(
    written: &Written,
    book: &Book,
    links: &Links,
    zone: &Zone,
    faults: &mut Faults,
) -> BTreeMap<HostName, HostFacts> {
    if written.tenure.value != 1 {
        let what = format!("version {} of the language is not known here", written.tenure.value);
        faults.push(Fault::new(&written.tenure.at, FaultCode::BadValue, what).hint("write tenure: 1"));
    }
    if let Some(heartbeat) = &written.heartbeat
        && !heartbeat.exact_seconds().is_some_and(|seconds| HEARTBEAT_SECONDS.contains(&seconds))
    {
        let what = format!("a heartbeat of {} is outside 10s to 24h", heartbeat.value);
        faults.push(Fault::new(&heartbeat.at, FaultCode::BadValue, what).hint("15min is usual"));
    }
    let parts = Parts { written, book, zone, derived: Derived { written, links } };
    let mut facts = BTreeMap::new();
    // what is wrong with a profile shows on each of its hosts, and is told once
    let mut told: BTreeSet<(Place, FaultCode, String)> = BTreeSet::new();
    for (name, host) in &written.hosts {
        let mut found = Faults::new();
        let built = host::build(&parts, name, host, &mut found, host::Reasons::Leave);
        if let Some(backup) = &built.backup {
            backup::check_host(name, host, backup, written, &mut found);
        }
        for fault in found {
            if told.insert((fault.place.clone(), fault.code, fault.what.clone())) {
                faults.push(fault);
            }
        }
        facts.insert(name.clone(), HostFacts { policy: built.policy, backup: built.backup });
    }
    facts
}

impl Set {
    /// Whose policy this is.
    pub fn fleet(&self) -> &FleetName {
        &self.written.fleet
    }

    /// The zone in which the policy's times are meant.
    pub fn zone(&self) -> &Zone {
        &self.zone
    }

    /// Seconds between heartbeat records.
    pub(crate) fn heartbeat_seconds(&self) -> u32 {
        let said = self.written.heartbeat.as_ref().and_then(|heartbeat| heartbeat.exact_seconds());
        said.and_then(|seconds| u32::try_from(seconds).ok()).unwrap_or(host::HEARTBEAT_SECONDS)
    }

    /// How long its bundles live.
    pub fn valid_for(&self) -> Period {
        self.written.valid_for.value
    }

    /// When bundles that are signed at this moment expire.
    pub fn expires(&self, signed: Timestamp) -> Timestamp {
        self.zone.add(signed, self.valid_for())
    }

    /// Its hosts, sorted.
    pub fn hosts(&self) -> impl Iterator<Item = &HostName> {
        self.written.hosts.keys()
    }

    /// What a host gets; `None` when the set does not have it.
    pub fn host_policy(&self, name: &HostName) -> Option<HostPolicy> {
        self.build(name, host::Reasons::Leave).map(|built| built.policy)
    }

    /// What a host backs up; `None` when the set does not have the host or nothing is backed up there.
    pub fn host_backup(&self, name: &HostName) -> Option<HostBackup> {
        self.build(name, host::Reasons::Leave).and_then(|built| built.backup)
    }

    /// The values of a host that a question asks for (`firewall.inbound`, `patch`; empty: all), each with its origin;
    /// `None` when the set does not have the host.
    pub fn explain(&self, name: &HostName, question: &str) -> Option<Vec<Explained>> {
        let built = self.build(name, host::Reasons::Give)?;
        Some(built.reasons.into_iter().filter(|entry| entry.answers(question)).collect())
    }

    /// The set's own tests, in order.
    pub fn tests(&self) -> &[PolicyTest] {
        &self.tests
    }

    /// The promises of all contracts as this policy keeps them.
    pub fn promises(&self) -> &[Promised] {
        &self.promises
    }

    /// What a person should know at this moment.
    pub fn notes(&self, now: Timestamp) -> Vec<Note> {
        notes::notes(&self.written, &self.book, &self.zone, now)
    }

    /// What a newer version drops although this one still has duties for it (rule 14); places are in this set.
    pub fn refuse_removals(&self, newer: &Self) -> Faults {
        removal::refuse(self, newer)
    }

    /// The set as written.
    pub fn written(&self) -> &Written {
        &self.written
    }

    fn derived(&self) -> Derived<'_> {
        Derived { written: &self.written, links: &self.links }
    }

    fn build(&self, name: &HostName, reasons: host::Reasons) -> Option<host::Built> {
        let host = self.written.hosts.get(name)?;
        let parts =
            Parts { written: &self.written, book: &self.book, zone: &self.zone, derived: self.derived() };
        // a set without faults resolves without faults: these were looked for when it was loaded
        Some(host::build(&parts, name, host, &mut Faults::new(), reasons))
    }
}
