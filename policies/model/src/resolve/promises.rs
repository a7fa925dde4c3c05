//! Whether the policy can keep what the contracts promise (rule 15): each sentence, the duty it means, and the worst case.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use tenure_trust::{HostName, TenantId};

use crate::calendar::say_seconds;
use crate::duties::{self, DUTIES, Duty, Judged};
use crate::fault::{Fault, FaultCode, Faults, Place, Spanned};
use crate::resolve::backup::holds;
use crate::resolved::{HostPolicy, Mode};
use crate::resolved_backup::{HostBackup, HostBackupSet};
use crate::scalars::{Every, Frequency};
use crate::written::{Promise, Ring, Store, Tenant, Written};

/// A promise of a contract as this policy keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Promised {
    /// Whose contract.
    pub tenant: TenantId,
    /// Their words.
    pub says: String,
    /// The duty that they mean.
    pub means: String,
    /// How the duty is judged.
    pub judged: Judged,
    /// What the policy leads to at worst, in words.
    pub worst_case: String,
    /// Where the promise stands.
    pub place: Place,
}

/// What is known of one host.
pub(crate) struct HostFacts {
    pub(crate) policy: HostPolicy,
    pub(crate) backup: Option<HostBackup>,
}

/// Judges every promise; those that cannot be kept are faults.
pub(crate) fn check(
    written: &Written,
    hosts: &BTreeMap<HostName, HostFacts>,
    faults: &mut Faults,
) -> Vec<Promised> {
    let mut promised = Vec::new();
    for (name, tenant) in &written.tenants {
        for promise in &tenant.promises {
            let Some(duty) = duties::find(promise.means.as_str()) else {
                let known = DUTIES.iter().map(|duty| duty.name);
                let fault = Fault::unknown(&promise.means.at, "duty", promise.means.as_str(), known);
                let all = DUTIES.iter().map(|duty| duty.name).collect::<Vec<_>>().join(", ");
                faults.push(fault.hint(format!("duties are: {all}")));
                continue;
            };
            refuse_measures(promise, duty, faults);
            let judge = Judge { written, hosts, tenant, promise };
            match judge.worst_case(duty) {
                Ok(worst_case) => promised.push(Promised {
                    tenant: name.clone(),
                    says: promise.says.as_str().to_owned(),
                    means: duty.name.to_owned(),
                    judged: duty.judged,
                    worst_case,
                    place: promise.at.clone(),
                }),
                Err(why) => faults.push(unattainable(promise, &why)),
            }
        }
        check_shared_purge(tenant, hosts, faults);
    }
    promised
}

/// Why a promise cannot be kept, and what would keep it.
struct Why {
    what: String,
    hint: String,
}

fn why<T>(what: impl Into<String>, hint: impl Into<String>) -> Result<T, Why> {
    Err(Why { what: what.into(), hint: hint.into() })
}

fn unattainable(promise: &Spanned<Promise>, why: &Why) -> Fault {
    let says = promise.says.as_str();
    let what = format!("\"{says}\" ({}) cannot be kept: {}", promise.means.value, why.what);
    Fault::new(&promise.at, FaultCode::Unattainable, what).hint(why.hint.clone())
}

/// `at_least` and `within` belong to some duties only.
fn refuse_measures(promise: &Spanned<Promise>, duty: &Duty, faults: &mut Faults) {
    if let Some(at_least) =
        promise.at_least.as_ref().filter(|_| !matches!(duty.name, "backup.server" | "backup.nightly"))
    {
        let what = format!("{} is not counted", duty.name);
        faults.push(Fault::new(&at_least.at, FaultCode::Rule, what).hint("leave at_least: out"));
    }
    let timed = ["breach.notice", "patch.security", "purge", "retention"];
    if let Some(within) = promise.within.as_ref().filter(|_| !timed.contains(&duty.name)) {
        let what = format!("{} has no deadline", duty.name);
        faults.push(Fault::new(&within.at, FaultCode::Rule, what).hint("leave within: out"));
    }
}

struct Judge<'a> {
    written: &'a Written,
    hosts: &'a BTreeMap<HostName, HostFacts>,
    tenant: &'a Spanned<Tenant>,
    promise: &'a Spanned<Promise>,
}

impl<'a> Judge<'a> {
    fn worst_case(&self, duty: &Duty) -> Result<String, Why> {
        match duty.name {
            "access.key_and_address" | "access.secured" => self.access(),
            "backup.drill" => self.drill(),
            "backup.nightly" => self.nightly(),
            "backup.offhost" => self.off_host(),
            "backup.ring" => self.ring(),
            "backup.server" => self.server(),
            "breach.notice" => self.breach_notice(),
            "firewall.both_ways" => self.firewall(),
            "patch.security" => self.patch(),
            "purge" => self.purge(),
            "retention" => self.retention(),
            _ => Ok(duty.judged.say().to_owned()),
        }
    }

    /// The hosts on which the tenant's data lives, with what is known of each.
    fn store_hosts(&self) -> Result<Vec<(&'a HostName, &'a HostFacts)>, Why> {
        let names: BTreeSet<&HostName> = self.tenant.stores.values().map(|store| &store.host.value).collect();
        if names.is_empty() {
            return why("nothing says where this tenant's data lives", "add stores: to the tenant");
        }
        Ok(names.into_iter().filter_map(|name| self.hosts.get_key_value(name)).collect())
    }

    fn access(&self) -> Result<String, Why> {
        for (name, facts) in self.store_hosts()? {
            let modes = facts.policy.modes;
            if modes.ssh_access != Mode::Enforce || modes.firewall != Mode::Enforce {
                return why(
                    format!("{name} does not enforce both firewall and access"),
                    "set mode: { firewall: enforce, access: enforce } in one of its profiles",
                );
            }
        }
        Ok("refused from elsewhere and without a known key, at sshd and at the firewall".to_owned())
    }

    fn firewall(&self) -> Result<String, Why> {
        for (name, facts) in self.store_hosts()? {
            if facts.policy.modes.firewall != Mode::Enforce {
                return why(
                    format!("{name} does not enforce its firewall"),
                    "set mode: { firewall: enforce } in one of its profiles",
                );
            }
        }
        Ok("dropped both ways unless a rule lets it through".to_owned())
    }

    fn patch(&self) -> Result<String, Why> {
        let mut longest = 0;
        for (name, facts) in self.store_hosts()? {
            let Some(patch) = facts.policy.patch else {
                return why(
                    format!("{name} has no deadlines for patches"),
                    "add patch: { security_within: 7d, reboot_within: 14d, lists_within: 2d } to one of its profiles",
                );
            };
            longest = longest.max(patch.security_within_seconds);
            if let Some(within) = &self.promise.within
                && patch.security_within_seconds > within.deadline_seconds()
            {
                let what =
                    format!("{name} has {} for security updates", say_seconds(patch.security_within_seconds));
                return why(what, format!("make security_within at most {}", within.value));
            }
        }
        Ok(format!("overdue is said {} after an update came out", say_seconds(longest)))
    }

    /// The backups of a host, when they are declared and enforced.
    fn backup(&self, name: &HostName, facts: &'a HostFacts) -> Result<&'a HostBackup, Why> {
        let Some(backup) = &facts.backup else {
            return why(format!("{name} is not backed up"), "add backup: to one of its profiles");
        };
        if !backup.enforced {
            let hint = "set mode: { backup: enforce } in one of its profiles";
            return why(format!("the backups of {name} are only observed"), hint);
        }
        Ok(backup)
    }

    fn set(&self, name: &HostName, facts: &'a HostFacts, set: &str) -> Result<&'a HostBackupSet, Why> {
        let backup = self.backup(name, facts)?;
        match backup.sets.get(set) {
            Some(found) => Ok(found),
            None => why(format!("{name} has no set {set}"), format!("add {set}: to its backup")),
        }
    }

    fn server(&self) -> Result<String, Why> {
        let mut said = Vec::new();
        for (name, facts) in self.store_hosts()? {
            let set = self.set(name, facts, "server")?;
            self.often_enough(name, set, "server")?;
            if !set.paths.iter().any(|path| path.as_str() == "/") {
                let what =
                    format!("the set server of {name} does not have the path /, which is the whole server");
                return why(what, "write paths: [\"/\"]");
            }
            said.push(format!("{name} {} a day, at worst {} between two", set.at.len(), longest_gap(set)));
        }
        Ok(said.join("; "))
    }

    fn nightly(&self) -> Result<String, Why> {
        let mut said = Vec::new();
        for store in self.tenant.stores.values() {
            let Some((name, facts)) = self.hosts.get_key_value(&store.host.value) else { continue };
            let set = self.set(name, facts, "nightly")?;
            self.often_enough(name, set, "nightly")?;
            self.covers(name, set, store)?;
            said.push(format!("{name} {} a day, at worst {} between two", set.at.len(), longest_gap(set)));
        }
        if said.is_empty() {
            return self.store_hosts().map(|_| String::new());
        }
        said.sort();
        said.dedup();
        Ok(said.join("; "))
    }

    /// The tenant's own place must be in the set.
    fn covers(&self, name: &HostName, set: &HostBackupSet, store: &Store) -> Result<(), Why> {
        if let Some(path) = &store.path {
            let inside = set.paths.iter().any(|outer| holds(outer, &path.value));
            let left_out = set.exclude.iter().any(|outer| holds(outer, &path.value));
            if !inside || left_out {
                let what = format!("{} on {name} is not in the set nightly", path.value);
                return why(what, "add it to paths: of nightly");
            }
        }
        match &store.database {
            Some(database) if !set.databases.contains(&database.value) => {
                let what = format!("the database {} on {name} is not in the set nightly", database.value);
                why(what, "add it to databases: of nightly")
            }
            _ => Ok(()),
        }
    }

    fn often_enough(&self, name: &HostName, set: &HostBackupSet, kind: &str) -> Result<(), Why> {
        let Some(at_least) = &self.promise.at_least else { return Ok(()) };
        let declared = u64::try_from(set.at.len()).unwrap_or(u64::MAX);
        if declared.saturating_mul(days(at_least.value)) >= u64::from(at_least.times) {
            return Ok(());
        }
        why(
            format!("{name} has {declared} a day, and {} are promised", at_least.value),
            format!("add times to at: of {kind}"),
        )
    }

    fn off_host(&self) -> Result<String, Why> {
        let mut said = Vec::new();
        for (name, facts) in self.store_hosts()? {
            let backup = self.backup(name, facts)?;
            let site = |host: &HostName| self.written.hosts.get(host).and_then(|host| host.site.as_ref());
            let Some(here) = site(name) else {
                let hint = "add site: to the host and to the vault's host";
                return why(format!("nothing says at which site {name} stands"), hint);
            };
            let vaults = backup.to.iter().filter_map(|vault| self.written.vaults.get(vault));
            let elsewhere = vaults.map(|vault| &vault.host.value).find_map(|host| {
                let there = site(host).filter(|there| host != name && there.value != here.value)?;
                Some((host, there))
            });
            let Some((host, there)) = elsewhere else {
                return why(
                    format!("no vault of {name} stands on another machine at another site than {here}"),
                    "name a vault whose host has another site: than this one",
                );
            };
            said.push(format!("{name} ({here}) to {host} ({there})"));
        }
        Ok(said.join("; "))
    }

    fn ring(&self) -> Result<String, Why> {
        let mut life = 0;
        for (name, facts) in self.store_hosts()? {
            let backup = self.backup(name, facts)?;
            if backup.ring != Ring::Weekday {
                let what = format!(
                    "{name} has ring {}, which does not keep a copy for each day of the week",
                    backup.ring
                );
                return why(what, "write ring: weekday");
            }
            life = life.max(backup.longest_life_seconds());
        }
        Ok(format!("seven copies; the longest life of a deleted row is {}", say_seconds(life)))
    }

    fn drill(&self) -> Result<String, Why> {
        for (name, facts) in self.store_hosts()? {
            if !self.backup(name, facts)?.drilled {
                return why(
                    format!("nothing says how often restoring is proved for {name}"),
                    "add drill: { every: month }",
                );
            }
        }
        Ok("as often as drill: says".to_owned())
    }

    fn breach_notice(&self) -> Result<String, Why> {
        let contract = &self.tenant.contract.breach_notice_within;
        if let Some(within) = &self.promise.within
            && contract.longest_seconds() > within.longest_seconds()
        {
            let what = format!("the contract says {}", contract.value);
            return why(what, format!("make breach_notice_within at most {}", within.value));
        }
        Ok(format!("told within {} of awareness; a person answers for it", contract.value))
    }

    /// The longest life of a deleted row over all hosts of the tenant, said with its parts.
    fn copies(&self) -> Result<(u64, String), Why> {
        let mut longest = (0, "no copies are declared".to_owned());
        for (_, facts) in self.store_hosts()? {
            if let Some(backup) = &facts.backup {
                longest = longest.max((backup.longest_life_seconds(), backup.say_longest_life()));
            }
        }
        Ok(longest)
    }

    fn purge(&self) -> Result<String, Why> {
        let contract = &self.tenant.contract.purge_within;
        if let Some(within) = &self.promise.within
            && contract.longest_seconds() > within.longest_seconds()
        {
            let what = format!("the contract's purge_within is {}", contract.value);
            return why(what, format!("make it at most {}", within.value));
        }
        let (life, parts) = self.copies()?;
        if life > contract.shortest_seconds() {
            return why(
                format!("copies live too long: {parts}, and purge_within is {}", contract.value),
                "shorten erase_after, or use ring: weekday",
            );
        }
        Ok(format!("gone within {}; copies: {parts}", contract.value))
    }

    fn retention(&self) -> Result<String, Why> {
        if self.tenant.classes.is_empty() {
            return why(
                "no class says how long data is kept",
                "add classes: with keep_at_most or keep_at_least",
            );
        }
        let (life, parts) = self.copies()?;
        for (name, class) in &self.tenant.classes {
            let (Some(within), most) = (&self.promise.within, &class.keep_at_most) else { continue };
            let Some(most) = most else {
                return why(format!("the class {name} has no end"), "add keep_at_most: to it");
            };
            if most.longest_seconds() + life > within.shortest_seconds() {
                return why(
                    format!("the class {name} is kept {} and then in copies: {parts}", most.value),
                    format!("shorten keep_at_most so that both fit into {}", within.value),
                );
            }
        }
        let classes = self.tenant.classes.iter().map(|(name, class)| {
            let least = class.keep_at_least.as_ref().map(|p| format!("at least {}", p.value));
            let most = class.keep_at_most.as_ref().map(|p| format!("at most {}", p.value));
            format!("{name} {}", [least, most].into_iter().flatten().collect::<Vec<_>>().join(", "))
        });
        Ok(format!("{}; then copies: {parts}", classes.collect::<Vec<_>>().join("; ")))
    }
}

/// Rows of shared tables leave the backups with the ring and not by order: that must fit the contract, promised or not.
fn check_shared_purge(tenant: &Spanned<Tenant>, hosts: &BTreeMap<HostName, HostFacts>, faults: &mut Faults) {
    let purge = &tenant.contract.purge_within;
    for store in
        tenant.stores.values().filter(|store| store.shared.as_ref().is_some_and(|shared| shared.value))
    {
        let backup = hosts.get(&store.host.value).and_then(|facts| facts.backup.as_ref());
        if let Some(backup) = backup.filter(|backup| backup.longest_life_seconds() > purge.shortest_seconds())
        {
            let what = format!(
                "rows of a shared store live in copies too long for purge_within {}: {}",
                purge.value,
                backup.say_longest_life()
            );
            let hint = "shorten erase_after, use ring: weekday, or agree on a longer purge_within";
            faults.push(Fault::new(&purge.at, FaultCode::Unattainable, what).hint(hint));
        }
    }
}

/// The fewest days of a unit.
fn days(frequency: Frequency) -> u64 {
    days_of(frequency.per)
}

/// Days of a unit of frequency, at its shortest.
pub(crate) fn days_of(every: Every) -> u64 {
    match every {
        Every::Day => 1,
        Every::Week => 7,
        Every::Month => 28,
        Every::Year => 365,
    }
}

/// The longest time between two neighbouring times of a day, over midnight too.
fn longest_gap(set: &HostBackupSet) -> String {
    let minutes: Vec<i64> = set.at.iter().map(|t| i64::from(t.hour()) * 60 + i64::from(t.minute())).collect();
    let next = minutes.iter().skip(1).copied().chain(minutes.first().map(|first| first + 24 * 60));
    let gap = minutes.iter().zip(next).map(|(a, b)| b - a).max().unwrap_or(0);
    say_seconds(gap.unsigned_abs() * 60)
}
