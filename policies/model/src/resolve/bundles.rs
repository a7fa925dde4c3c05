//! What is signed beside the hosts' firewall and logins: backup sections by owner, vaults' bundles, the duty book.

use std::collections::{BTreeMap, BTreeSet};

use tenure_trust::{HostName, Owner, SeriesId, SetName, SlotTime, Statement, TenantId, VaultName};

use crate::addresses;
use crate::bundles::{
    BackupSection, ClassFacts, DatabasePlace, DrillExpectation, DrillSection, DumpSection, DutyBook,
    MachineFacts, PromiseDuty, SeriesSection, StoreFacts, TenantDuties, VaultPolicy, VaultSeries,
    WaiverFacts,
};
use crate::duties;
use crate::resolve::backup::holds;
use crate::resolve::derived::Derived;
use crate::resolve::merge::Source;
use crate::resolve::{Set, promises};
use crate::resolved_backup::{HostBackup, HostBackupSet};
use crate::scalars::{AbsolutePath, SqlName};
use crate::written::{Host, Store, Tenant, Written};

/// The backup section of a host: what belongs to whom, series by series (BACKUP.md, "Whose data goes where").
pub(crate) fn backup_section(
    written: &Written,
    derived: Derived<'_>,
    sources: &[Source<'_>],
    name: &HostName,
    host: &Host,
    backup: &HostBackup,
) -> BackupSection {
    let places = Places::of(written, name);
    let mut series = Vec::new();
    let owners =
        std::iter::once(Owner::Host).chain(places.tenants.keys().map(|t| Owner::Tenant((*t).clone())));
    for owner in owners {
        for vault in &backup.to {
            for (word, set) in &backup.sets {
                let set_name = if *word == "server" { SetName::Server } else { SetName::Nightly };
                let id = SeriesId {
                    vault: vault.clone(),
                    host: name.clone(),
                    owner: owner.clone(),
                    set: set_name,
                };
                series.extend(places.series(id, set));
            }
        }
    }
    let dumped: BTreeSet<&SqlName> =
        series.iter().flat_map(|s| &s.dumps).map(|dump| &dump.database).collect();
    let databases = (host.databases.iter()).filter(|(name, _)| dumped.contains(name)).map(|(name, place)| {
        let (postgresql, socket) = (place.postgresql.value.clone(), place.socket.value.clone());
        (name.clone(), DatabasePlace { postgresql, socket })
    });
    BackupSection {
        databases: databases.collect(),
        vaults: backup.to.iter().filter_map(|v| Some((v.clone(), derived.vault(v)?))).collect(),
        series,
        catch_up_seconds: backup.catch_up_seconds,
        ring: backup.ring,
        keys: backup.keys,
        upload_bytes_per_second: backup.upload_bytes_per_second,
        recipients: recipients(written),
        drill: drill(sources),
    }
}

fn recipients(written: &Written) -> Vec<String> {
    let all = written.recovery.iter().flat_map(|recovery| &recovery.recipients);
    let sorted: BTreeSet<String> = all.map(|recipient| recipient.as_str().to_owned()).collect();
    sorted.into_iter().collect()
}

fn drill(sources: &[Source<'_>]) -> Option<DrillSection> {
    let drills = || sources.iter().filter_map(|source| source.backup.and_then(|b| b.drill.as_ref()));
    let every = promises::days_of(drills().next()?.every.value) * crate::calendar::DAY;
    let expect = drills().flat_map(|drill| &drill.expect).map(|expected| DrillExpectation {
        database: expected.database.value.clone(),
        table: expected.table.value.clone(),
        at_least_rows: expected.rows.as_ref().map(|rows| rows.value.0),
        newest: expected
            .newest
            .as_ref()
            .map(|newest| (newest.column.value.clone(), newest.within.value.longest_seconds())),
    });
    Some(DrillSection { every_seconds: every, expect: expect.collect() })
}

/// The places of tenants on one host. A store that is shared has no place of its own: its rows go with the host's.
struct Places<'w> {
    tenants: BTreeMap<&'w TenantId, Vec<&'w Store>>,
}

impl<'w> Places<'w> {
    fn of(written: &'w Written, host: &HostName) -> Self {
        let mut tenants: BTreeMap<&TenantId, Vec<&Store>> = BTreeMap::new();
        for (name, tenant) in &written.tenants {
            for store in tenant.stores.values().filter(|store| store.host.value == *host) {
                if !store.shared.as_ref().is_some_and(|shared| shared.value) {
                    tenants.entry(name).or_default().push(store);
                }
            }
        }
        Self { tenants }
    }

    /// The part of a set that belongs to the series' owner; none when nothing does.
    fn series(&self, id: SeriesId, set: &HostBackupSet) -> Option<SeriesSection> {
        let (paths, mut exclude, dumps) = match &id.owner {
            Owner::Host => {
                let theirs = self.tenants.values().flatten().filter_map(|store| store.path.as_ref());
                let theirs = theirs.map(|path| path.value.clone());
                let paths = set.paths.iter().filter(|path| !theirs.clone().any(|owned| holds(&owned, path)));
                let paths: Vec<AbsolutePath> = paths.cloned().collect();
                (paths, set.exclude.iter().cloned().chain(theirs).collect(), self.host_dumps(set))
            }
            Owner::Tenant(tenant) => {
                let stores = self.tenants.get(tenant)?;
                let inside = |path: &AbsolutePath| set.paths.iter().any(|outer| holds(outer, path));
                let left_out = |path: &AbsolutePath| set.exclude.iter().any(|outer| holds(outer, path));
                let own = stores.iter().filter_map(|store| store.path.as_ref()).map(|path| &path.value);
                let mut paths: Vec<AbsolutePath> =
                    own.filter(|path| inside(path) && !left_out(path)).cloned().collect();
                // the set may name a path inside the tenant's place
                let below = set.paths.iter().filter(|path| {
                    stores.iter().filter_map(|s| s.path.as_ref()).any(|own| holds(&own.value, path))
                });
                paths.extend(below.filter(|path| !left_out(path)).cloned());
                (paths, set.exclude.clone(), tenant_dumps(stores, set))
            }
        };
        let mut paths = paths;
        paths.sort();
        paths.dedup();
        let nested = paths.clone();
        paths.retain(|path| !nested.iter().any(|outer| outer != path && holds(outer, path)));
        exclude.sort();
        exclude.dedup();
        exclude.retain(|inner: &AbsolutePath| paths.iter().any(|path| holds(path, inner)));
        if paths.is_empty() && dumps.is_empty() {
            return None;
        }
        let at = set.at.iter().filter_map(|time| SlotTime::new(time.hour() as u8, time.minute() as u8));
        Some(SeriesSection { series: id, at: at.collect(), paths, exclude, dumps })
    }

    /// The host dumps what no tenant has: a database that is one tenant's as a whole is left to that tenant.
    fn host_dumps(&self, set: &HostBackupSet) -> Vec<DumpSection> {
        let stores: Vec<&Store> = self.tenants.values().flatten().copied().collect();
        let of = |database: &SqlName| {
            let database = database.clone();
            stores.iter().filter(move |s| s.database.as_ref().is_some_and(|d| d.value == database))
        };
        let rest = set.databases.iter().filter(|database| of(database).all(|store| store.schema.is_some()));
        rest.map(|database| {
            let schemas = of(database).filter_map(|store| store.schema.as_ref()).map(|s| s.value.clone());
            let without: BTreeSet<SqlName> = schemas.collect();
            DumpSection {
                database: database.clone(),
                only: Vec::new(),
                without: without.into_iter().collect(),
            }
        })
        .collect()
    }
}

fn tenant_dumps(stores: &[&Store], set: &HostBackupSet) -> Vec<DumpSection> {
    let mut dumps: BTreeMap<&SqlName, (bool, BTreeSet<SqlName>)> = BTreeMap::new();
    for store in stores {
        let Some(database) = store.database.as_ref().filter(|d| set.databases.contains(&d.value)) else {
            continue;
        };
        let (whole, only) = dumps.entry(&database.value).or_default();
        match &store.schema {
            Some(schema) => {
                only.insert(schema.value.clone());
            }
            None => *whole = true,
        }
    }
    let section = |(database, (whole, only)): (&SqlName, (bool, BTreeSet<SqlName>))| DumpSection {
        database: database.clone(),
        only: if whole { Vec::new() } else { only.into_iter().collect() },
        without: Vec::new(),
    };
    dumps.into_iter().map(section).collect()
}

impl Set {
    /// The bundle of every vault, by the host that it stands on.
    pub fn vault_policies(&self) -> BTreeMap<HostName, VaultPolicy> {
        let derived = self.derived();
        let sections: Vec<(HostName, BackupSection, u64)> = (self.hosts())
            .filter_map(|host| {
                let erase_after = self.host_backup(host)?.erase_after.longest_seconds();
                Some((host.clone(), self.host_policy(host)?.backup?, erase_after))
            })
            .collect();
        let vaults = self.written.vaults.iter();
        vaults.filter_map(|(name, _)| self.vault_policy(name, derived, &sections)).collect()
    }

    fn vault_policy(
        &self,
        name: &VaultName,
        derived: Derived<'_>,
        sections: &[(HostName, BackupSection, u64)],
    ) -> Option<(HostName, VaultPolicy)> {
        let vault = self.written.vaults.get(name)?;
        let host = vault.host.value.clone();
        let own = sections.iter().flat_map(|(_, section, erase_after)| {
            section.series.iter().filter(|s| s.series.vault == *name).map(move |s| VaultSeries {
                series: s.series.clone(),
                at: s.at.clone(),
                catch_up_seconds: section.catch_up_seconds,
                ring: section.ring,
                erase_after_seconds: *erase_after,
            })
        });
        let mut series: Vec<VaultSeries> = own.collect();
        series.sort_by(|a, b| a.series.cmp(&b.series));
        let people = self.written.management.iter().flat_map(|management| &management.who);
        let people: BTreeSet<_> = people.flat_map(|who| self.book.members(&who.value)).collect();
        let from = people.iter().filter_map(|person| self.written.people.get(person));
        let from: BTreeSet<_> = from.flat_map(|person| &person.from).map(|from| &from.value).collect();
        let nets = from.into_iter().filter_map(|name| self.book.entry(name)).flat_map(|e| e.addresses.iter());
        let merged = addresses::merge(nets);
        let recovery_from = merged.iter().collect();
        let controller = derived.controller();
        Some((
            host.clone(),
            VaultPolicy {
                schema: VaultPolicy::SCHEMA,
                fleet: self.written.fleet.value.clone(),
                host,
                vault: name.clone(),
                timezone: self.zone.name().to_owned(),
                heartbeat_seconds: self.heartbeat_seconds(),
                port: vault.port.value.0,
                store: vault.store.value.clone(),
                keep_free_bytes: vault.keep_free.value.0,
                quota_bytes: vault.quota.value.0,
                series,
                hosts: derived.hosts_of(name),
                recovery_from,
                recipients: recipients(&self.written),
                controller,
            },
        ))
    }

    /// The duty book of the controller; none when the set names no controller.
    pub fn duty_book(&self) -> Option<DutyBook> {
        let derived = self.derived();
        let controller = derived.controller()?;
        let machines = self.written.hosts.iter().map(|(name, host)| {
            let vault = self.written.vaults.iter().find(|(_, vault)| vault.host.value == *name);
            let facts = MachineFacts {
                site: host.site.as_ref().map(|site| site.as_str().to_owned()),
                environment: host.environment.as_ref().map(|environment| environment.value.clone()),
                vault: vault.map(|(vault, _)| vault.clone()),
                addresses: derived.addresses(name),
            };
            (name.clone(), facts)
        });
        let tenants = self.written.tenants.iter().map(|(name, t)| (name.clone(), tenant_duties(t)));
        Some(DutyBook {
            schema: DutyBook::SCHEMA,
            fleet: self.written.fleet.value.clone(),
            host: controller.host.clone(),
            timezone: self.zone.name().to_owned(),
            heartbeat_seconds: self.heartbeat_seconds(),
            machines: machines.collect(),
            tenants: tenants.collect(),
            waivers: self.waivers(),
            controller: Some(controller),
        })
    }

    fn waivers(&self) -> Vec<WaiverFacts> {
        let of_profile = |name: &str| {
            let hosts = self.written.hosts.iter();
            let with = hosts.filter(|(_, host)| host.profiles.iter().any(|profile| profile.as_str() == name));
            with.map(|(host, _)| host.clone()).collect::<Vec<_>>()
        };
        let facts = |waiver: &crate::written::Waiver| {
            let hosts: BTreeSet<HostName> = (waiver.hosts.iter())
                .flat_map(|name| match HostName::new(name.as_str()) {
                    Ok(host) if self.written.hosts.contains_key(&host) => vec![host],
                    _ => of_profile(name.as_str()),
                })
                .collect();
            WaiverFacts {
                what: waiver.what.as_str().to_owned(),
                hosts: hosts.into_iter().collect(),
                until: self.zone.end_of_day(waiver.until.value),
                owner: waiver.owner.value.clone(),
                because: waiver.because.as_str().to_owned(),
            }
        };
        self.written.waivers.iter().map(|waiver| facts(waiver)).collect()
    }
}

fn tenant_duties(tenant: &Tenant) -> TenantDuties {
    let hosts: BTreeSet<&HostName> = tenant.stores.values().map(|store| &store.host.value).collect();
    let hosts: Vec<HostName> = hosts.into_iter().cloned().collect();
    let promise = |promise: &crate::written::Promise| {
        let duty = duties::find(promise.means.as_str())?;
        Some(PromiseDuty {
            says: promise.says.as_str().to_owned(),
            means: duty.name.to_owned(),
            judged: duty.judged,
            at_least_times: promise.at_least.as_ref().map(|at_least| at_least.value.times),
            at_least_days: promise
                .at_least
                .as_ref()
                .and_then(|at_least| u32::try_from(promises::days_of(at_least.value.per)).ok()),
            within: promise.within.as_ref().map(|within| within.value),
            hosts: hosts.clone(),
        })
    };
    let store = |store: &Store| StoreFacts {
        host: store.host.value.clone(),
        path: store.path.as_ref().map(|path| path.value.clone()),
        user: store.user.as_ref().map(|user| user.value.clone()),
        database: store.database.as_ref().map(|database| database.value.clone()),
        schema: store.schema.as_ref().map(|schema| schema.value.clone()),
        shared: store.shared.as_ref().is_some_and(|shared| shared.value),
    };
    let class = |class: &crate::written::Class| ClassFacts {
        store: class.store.value.clone(),
        keep_at_least: class.keep_at_least.as_ref().map(|period| period.value),
        keep_at_most: class.keep_at_most.as_ref().map(|period| period.value),
    };
    TenantDuties {
        started: tenant.contract.started.value,
        ends: tenant.contract.ends.0.as_ref().map(|ends| ends.value),
        purge_within: tenant.contract.purge_within.value,
        promises: tenant.promises.iter().filter_map(|p| promise(p)).collect(),
        stores: tenant.stores.iter().map(|(name, s)| (name.clone(), store(s))).collect(),
        classes: tenant.classes.iter().map(|(name, c)| (name.clone(), class(c))).collect(),
    }
}
