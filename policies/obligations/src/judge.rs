//! Judges everything at a moment: each machine once, each series once, then every promise of every tenant.

use std::collections::{BTreeMap, HashMap};

use jiff::Timestamp;
use tenure_policy::bundles::VaultPolicy;
use tenure_policy::calendar::{CalendarError, Zone};
use tenure_policy::resolved::HostPolicy;
use tenure_trust::vault_wire::{SeriesFacts, VaultFacts};
use tenure_trust::{HostName, MachineRole, Owner, SeriesId, SetName, TenantId, VaultName};

use crate::areas::Areas;
use crate::believed;
use crate::copies::{Known, Moments, Series, Told, tells_from, told};
use crate::input::{Agreed, HostBackups, Input};
use crate::promise::{self, Answer, Asked};
use crate::reason::{Machine, Reason};
use crate::state::{Counts, Obligation, RecordRef, State};
use crate::vaults::vault_seen;
use crate::view::{Head, Judgement};
use crate::{grid, history, rows};

/// Judges. The order in which anything stands in the input changes nothing.
///
/// # Errors
/// When the book's time zone is none.
pub fn judge(input: &Input<'_>) -> Result<Judgement, CalendarError> {
    let zone = Zone::named(&input.book.timezone)?;
    let context = Context::of(input, &zone);
    let mut obligations = Vec::new();
    for (tenant, duties) in &input.book.tenants {
        for (number, promise) in duties.promises.iter().enumerate() {
            promise::rows(&context, &Asked { tenant, duties, promise }, number, &mut obligations);
        }
    }
    sort(&mut obligations);
    let head = Head {
        fleet: input.book.fleet.clone(),
        timezone: input.book.timezone.clone(),
        version: input.version,
        at: input.now,
        counts: Counts::of(&obligations),
    };
    Ok(Judgement {
        head,
        obligations,
        hosts: rows::hosts(&context),
        backups: grid::grid(&context),
        drift: rows::drift(&context),
        unjudged: rows::unjudged(&context),
        history: history::newest(input),
        patches: rows::patches(&context),
        agreed: context.agreed(),
    })
}

/// The worst first; then tenants by name, their sentences in the order of the contract.
fn sort(obligations: &mut [Obligation]) {
    obligations.sort_by(|a, b| {
        b.state.cmp(&a.state).then_with(|| a.tenant.cmp(&b.tenant)).then_with(|| a.promise.cmp(&b.promise))
    });
}

/// Everything looked at once.
pub(crate) struct Context<'a> {
    pub(crate) input: &'a Input<'a>,
    pub(crate) zone: &'a Zone,
    hosts: BTreeMap<&'a HostName, HostSeen<'a>>,
    vaults: BTreeMap<&'a VaultName, VaultSeen<'a>>,
    series: HashMap<&'a SeriesId, Series<'a>>,
    /// Which series there are of a host, an owner and a set: one for each vault.
    of_owner: HashMap<(&'a HostName, &'a Owner, SetName), Vec<&'a SeriesId>>,
}

/// A host as it is seen now.
#[derive(Debug)]
pub(crate) struct HostSeen<'a> {
    pub(crate) policy: Option<&'a HostPolicy>,
    pub(crate) admitted: Option<Timestamp>,
    /// Why it cannot be believed.
    pub(crate) unheard: Option<Reason>,
    /// The same as a machine, for slots: it, or what it says of backups, cannot be believed.
    pub(crate) silent: Option<Machine>,
    pub(crate) areas: Areas,
    /// What it says of its backups, or why that is not known.
    pub(crate) backups: Result<&'a HostBackups, Reason>,
    /// Its own word of slots, also when it is silent now.
    pub(crate) slots: Told<'a>,
    /// The oldest slot that its full list has.
    pub(crate) tells_from: Option<(jiff::civil::Date, tenure_trust::SlotTime)>,
    pub(crate) record: Option<RecordRef>,
}

/// A vault as it is seen now.
#[derive(Debug)]
pub(crate) struct VaultSeen<'a> {
    pub(crate) policy: &'a VaultPolicy,
    pub(crate) admitted: Option<Timestamp>,
    pub(crate) silent: Option<Machine>,
    /// Its facts, or why they are not known now.
    pub(crate) facts: Result<&'a VaultFacts, Reason>,
    /// What it said last, also when it is silent now, and in which record.
    pub(crate) series: HashMap<&'a SeriesId, (&'a SeriesFacts, &'a RecordRef)>,
    pub(crate) record: Option<RecordRef>,
}

impl<'a> Context<'a> {
    fn of(input: &'a Input<'a>, zone: &'a Zone) -> Self {
        let hosts: BTreeMap<_, _> =
            input.book.machines.keys().map(|host| (host, host_seen(input, host))).collect();
        let vaults: BTreeMap<_, _> =
            input.vaults.values().map(|policy| (&policy.vault, vault_seen(input, policy))).collect();
        let mut moments = Moments::new(zone, input.now, believed::patience(input));
        let (mut series, mut of_owner) = (HashMap::new(), HashMap::new());
        for (name, seen) in &hosts {
            let Some(backup) = seen.policy.and_then(|policy| policy.backup.as_ref()) else { continue };
            for section in &backup.series {
                let id = &section.series;
                let vault = vaults.get(&id.vault);
                let known =
                    Known { since: input.series_since.get(id).copied(), agreed: input.agreed.get(id) };
                let looked = Series::look(section, backup, seen, vault, known, &mut moments);
                series.insert(id, looked);
                of_owner.entry((*name, &id.owner, id.set)).or_insert_with(Vec::new).push(id);
            }
        }
        Self { input, zone, hosts, vaults, series, of_owner }
    }

    /// What is to be remembered of each series.
    fn agreed(&self) -> Agreed {
        let some = self.series.values().filter(|one| !one.agreed.is_empty());
        some.map(|one| (one.section.series.clone(), one.agreed.clone())).collect()
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.input.now
    }

    pub(crate) fn host(&self, host: &HostName) -> Option<&HostSeen<'a>> {
        self.hosts.get(host)
    }

    pub(crate) fn hosts(&self) -> impl Iterator<Item = (&'a HostName, &HostSeen<'a>)> {
        self.hosts.iter().map(|(name, seen)| (*name, seen))
    }

    pub(crate) fn vault(&self, vault: &VaultName) -> Option<&VaultSeen<'a>> {
        self.vaults.get(vault)
    }

    pub(crate) fn vaults(&self) -> impl Iterator<Item = &VaultSeen<'a>> {
        self.vaults.values()
    }

    /// The answer about a host that the book does not have.
    pub(crate) fn unheard(&self, host: &HostName) -> Answer {
        let machine = Machine { host: host.clone(), role: MachineRole::Host };
        Answer::new(Some(host), State::Unknown, Reason::Silent { machine, last: None, seconds: None })
    }

    /// The series of one owner on a host.
    pub(crate) fn series_of(&self, host: &HostName, owner: &Owner, set: SetName) -> Vec<&Series<'a>> {
        // the key borrows from the policy; a lookup needs no more than equal values
        let ids = self.of_owner.get(&(host, owner, set));
        ids.into_iter().flatten().filter_map(|id| self.series.get(*id)).collect()
    }

    /// The series that hold a tenant's data of a set on a host: its own and, for the whole server or when it has none,
    /// the host's.
    pub(crate) fn series_for(&self, host: &HostName, tenant: &TenantId, set: SetName) -> Vec<&Series<'a>> {
        let mut series = self.series_of(host, &Owner::Tenant(tenant.clone()), set);
        if set == SetName::Server || series.is_empty() {
            series.extend(self.series_of(host, &Owner::Host, set));
        }
        series
    }

    /// What keeps slots of these series on this host from being judged now: a silent host or vault.
    pub(crate) fn silence(&self, host: &HostSeen<'_>, series: &[&Series<'_>]) -> Vec<Reason> {
        let mut why: Vec<Reason> = host.backups.as_ref().err().cloned().into_iter().collect();
        for one in series {
            match self.vault(&one.section.series.vault).map(|vault| &vault.facts) {
                Some(Ok(_)) => {}
                Some(Err(reason)) => why.push(reason.clone()),
                None => why.push(Reason::NotInPolicy {
                    host: one.section.series.host.clone(),
                    section: format!("vault {}", one.section.series.vault),
                }),
            }
        }
        why.sort();
        why.dedup();
        why
    }
}

fn host_seen<'a>(input: &'a Input<'a>, host: &'a HostName) -> HostSeen<'a> {
    let policy = input.hosts.get(host);
    let heard = believed::machine(input, host, MachineRole::Host);
    let areas = Areas::of(input, host, policy, &heard);
    let reported = input.machines.get(&(host.clone(), MachineRole::Host));
    let last =
        reported.and_then(|reported| reported.areas.iter().find(|(name, _)| name.as_str() == "backup"));
    let word = last.and_then(|(_, newest)| newest.backups());
    let believed = heard
        .as_ref()
        .map_err(Clone::clone)
        .and_then(|reported| believed::area(input, reported, host, MachineRole::Host, "backup"));
    let machine = Machine { host: host.clone(), role: MachineRole::Host };
    let backups = believed.and_then(|newest| {
        let why = newest.content.lacks().unwrap_or("what came says nothing of backups").to_owned();
        newest.backups().ok_or(Reason::Unjudged { machine: machine.clone(), area: "backup".into(), why })
    });
    HostSeen {
        policy,
        admitted: reported.and_then(|reported| reported.admitted),
        unheard: heard.err(),
        silent: backups.is_err().then_some(machine),
        areas,
        slots: word.map(|word| told(&word.slots)).unwrap_or_default(),
        tells_from: word.and_then(|word| tells_from(&word.slots)),
        backups,
        record: last.map(|(_, newest)| newest.record.clone()),
    }
}
