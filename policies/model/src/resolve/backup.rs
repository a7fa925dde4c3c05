//! Backups of a host merged from its sources, and what is wrong with them. Vaults, too.

use std::collections::{BTreeMap, BTreeSet};

use jiff::civil::Time;
use tenure_trust::HostName;

use crate::calendar::Period;
use crate::fault::{Fault, FaultCode, Faults, Place, Spanned};
use crate::resolve::book::Book;
use crate::resolve::explain::Explanation;
use crate::resolve::merge::{self, Source};
use crate::resolved_backup::{HostBackup, HostBackupSet};
use crate::scalars::AbsolutePath;
use crate::sizes;
use crate::written::{Backup, BackupKeys, BackupSet, Host, ModeWord, Ring, Written};

/// The sets of the language with how to find each.
type GetSet = fn(&Backup) -> Option<&Spanned<BackupSet>>;
const SETS: [(&str, GetSet); 2] = [("server", |b| b.server.as_ref()), ("nightly", |b| b.nightly.as_ref())];

/// What a host backs up, or `None` when nothing says that it does or something is missing (which is a fault).
pub(crate) fn merge<'w>(
    sources: &[Source<'w>],
    because: Option<&str>,
    host: &Spanned<Host>,
    whole: bool,
    faults: &mut Faults,
    why: &mut Explanation,
) -> Option<HostBackup> {
    let first = sources.iter().find_map(|source| source.backup)?;
    let mut merged = Merge { sources, because, whole, at: &first.at, faults, why };
    let sets: BTreeMap<&'static str, HostBackupSet> =
        SETS.into_iter().filter_map(|(name, get)| Some((name, merged.set(name, get)?))).collect();
    let catch_up = merged.needed("catch_up", |b| b.catch_up.as_ref(), Period::to_string);
    let ring = merged.needed("ring", |b| b.ring.as_ref(), Ring::to_string);
    let erase_after = merged.needed("erase_after", |b| b.erase_after.as_ref(), Period::to_string);
    let keys =
        merged.scalar("keys", |b| b.keys.as_ref(), BackupKeys::to_string).unwrap_or(BackupKeys::KeepWithCopy);
    let upload = merged.scalar(
        "limits.upload",
        |b| b.limits.as_ref().and_then(|limits| limits.upload.as_ref()),
        |rate| format!("{}/s", sizes::say(rate.0)),
    );
    let every = merged.scalar(
        "drill.every",
        |b| b.drill.as_ref().map(|drill| &drill.every),
        |every| every.to_string(),
    );
    let mode = |source: &Source<'w>| source.mode.and_then(|modes| modes.backup.as_ref());
    let mode = merge::scalar("mode.backup", sources, because, mode, ModeWord::to_string, &mut Faults::new());
    let mut to = BTreeMap::new();
    for source in sources {
        for vault in source.backup.iter().flat_map(|backup| &backup.to).flatten() {
            merged.why.say("backup.to", vault.as_str(), &vault.at, &source.say());
            to.entry(vault.value.clone()).or_insert_with(|| vault.at.clone());
        }
    }
    if to.is_empty() {
        merged.missing("to");
    }
    if sets.is_empty() && !whole {
        return None;
    }
    if sets.is_empty() {
        let what = "backup says neither server nor nightly: nothing would be backed up";
        let hint = "add server: or nightly:, or leave backup out";
        merged.faults.push(Fault::new(&host.at, FaultCode::MissingKey, what).hint(hint));
        return None;
    }
    Some(HostBackup {
        enforced: mode.is_some_and(|said| said.value.value == ModeWord::Enforce),
        sets,
        catch_up_seconds: catch_up?.deadline_seconds(),
        to: to.into_keys().collect(),
        ring: ring?,
        erase_after: erase_after?,
        keys,
        upload_bytes_per_second: upload.map(|rate| rate.0),
        drilled: every.is_some(),
    })
}

struct Merge<'a, 'w> {
    sources: &'a [Source<'w>],
    because: Option<&'a str>,
    whole: bool,
    at: &'w Place,
    faults: &'a mut Faults,
    why: &'a mut Explanation,
}

impl<'w> Merge<'_, 'w> {
    fn scalar<T: PartialEq + Copy + 'w>(
        &mut self,
        key: &str,
        get: impl Fn(&'w Backup) -> Option<&'w Spanned<T>>,
        say: impl Fn(&T) -> String,
    ) -> Option<T> {
        let key = format!("backup.{key}");
        let get = |source: &Source<'w>| source.backup.and_then(|backup| get(&backup.value));
        let said = merge::scalar(&key, self.sources, self.because, get, &say, self.faults)?;
        self.why.say(&key, &say(&said.value.value), &said.value.at, &said.reason);
        Some(said.value.value)
    }

    fn needed<T: PartialEq + Copy + 'w>(
        &mut self,
        key: &str,
        get: impl Fn(&'w Backup) -> Option<&'w Spanned<T>>,
        say: impl Fn(&T) -> String,
    ) -> Option<T> {
        let before = self.faults.len();
        let value = self.scalar(key, get, say);
        if value.is_none() && self.faults.len() == before {
            self.missing(key);
        }
        value
    }

    fn missing(&mut self, key: &str) {
        if !self.whole {
            return;
        }
        let what = format!("backup needs the key {key:?}, in the profile or in another of the host's");
        self.faults.push(Fault::new(self.at, FaultCode::MissingKey, what));
    }

    /// Times, paths and databases of one set add up.
    fn set(&mut self, name: &str, get: GetSet) -> Option<HostBackupSet> {
        let mut times: BTreeSet<Time> = BTreeSet::new();
        let (mut paths, mut exclude, mut databases) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        for source in self.sources {
            let Some(set) = source.backup.and_then(|backup| get(&backup.value)) else { continue };
            let value = set
                .value
                .at
                .iter()
                .map(|time| time.value.strftime("%H:%M").to_string())
                .collect::<Vec<_>>()
                .join(", ");
            self.why.say(&format!("backup.{name}.at"), &value, &set.value.at.first()?.at, &source.say());
            times.extend(set.value.at.iter().map(|time| time.value));
            for path in &set.paths {
                self.why.say(&format!("backup.{name}.paths"), path.as_str(), &path.at, &source.say());
                paths.insert(path.value.clone());
            }
            for path in &set.exclude {
                self.why.say(&format!("backup.{name}.exclude"), path.as_str(), &path.at, &source.say());
                exclude.insert(path.value.clone());
            }
            for database in &set.databases {
                self.why.say(
                    &format!("backup.{name}.databases"),
                    database.as_str(),
                    &database.at,
                    &source.say(),
                );
                databases.insert(database.value.clone());
            }
        }
        (!times.is_empty()).then(|| HostBackupSet {
            at: times.into_iter().collect(),
            paths: paths.into_iter().collect(),
            exclude: exclude.into_iter().collect(),
            databases: databases.into_iter().collect(),
        })
    }
}

/// Faults of the backup sections of profiles and hosts, and of the vaults, each looked at once.
pub(crate) fn check(written: &Written, book: &Book, faults: &mut Faults) {
    let profiles = written.profiles.values().filter_map(|profile| profile.backup.as_ref());
    for backup in profiles.chain(written.hosts.values().filter_map(|host| host.backup.as_ref())) {
        for (name, set) in SETS.iter().filter_map(|(name, get)| Some((name, get(&backup.value)?))) {
            check_set(name, set, faults);
        }
        if let Some(ring) = backup.ring.as_ref().filter(|ring| ring.value == Ring::Weekly) {
            let what = "ring weekly cannot be kept yet: every vault keeps a copy for each weekday";
            faults.push(Fault::new(&ring.at, FaultCode::NotYet, what).hint("write ring: weekday"));
        }
        for vault in backup.to.iter().flatten() {
            if !written.vaults.contains_key(&vault.value) && !faults.is_full() {
                let known = written.vaults.keys().map(|v| v.as_str());
                let fault = Fault::unknown(&vault.at, "vault", vault.as_str(), known).hint("see vaults:");
                book.unknown(&["vaults"], vault.as_str(), fault, faults);
            }
        }
    }
    let mut listeners: BTreeMap<&HostName, &Place> = BTreeMap::new();
    for vault in written.vaults.values() {
        known_host(&vault.host, written, book, faults);
        if let Some(first) = listeners.insert(&vault.host.value, &vault.at) {
            let what = format!("a second vault on the same host, beside the one at {first}");
            faults.push(
                Fault::new(&vault.at, FaultCode::DefinedTwice, what)
                    .hint("give it another host: two copies on one machine are lost together"),
            );
        }
    }
    if let Some(controller) = &written.controller {
        known_host(&controller.host, written, book, faults);
    }
}

/// Reports a host that the set does not have.
pub(crate) fn known_host(name: &Spanned<HostName>, written: &Written, book: &Book, faults: &mut Faults) {
    if !written.hosts.contains_key(&name.value) && !faults.is_full() {
        let known = written.hosts.keys().map(HostName::as_str);
        let fault = Fault::unknown(&name.at, "host", name.as_str(), known).hint("see hosts:");
        book.unknown(&["hosts"], name.as_str(), fault, faults);
    }
}

fn check_set(name: &str, set: &Spanned<BackupSet>, faults: &mut Faults) {
    let mut times: BTreeMap<Time, &Place> = BTreeMap::new();
    for time in &set.value.at {
        if times.insert(time.value, &time.at).is_some() {
            let what = format!("the time {} stands twice", time.value.strftime("%H:%M"));
            faults.push(Fault::new(&time.at, FaultCode::DefinedTwice, what).hint("leave one of them out"));
        }
    }
    if set.paths.is_empty() && set.databases.is_empty() {
        let what = format!("the backup set {name} has neither paths nor databases");
        faults.push(Fault::new(&set.at, FaultCode::MissingKey, what).hint("say what is backed up"));
    }
    for exclude in &set.exclude {
        if !set.paths.iter().any(|path| holds(&path.value, &exclude.value)) {
            let what = format!("{} is left out, but is inside none of the paths", exclude.value);
            faults.push(
                Fault::new(&exclude.at, FaultCode::Rule, what).hint("name a path inside those of paths:"),
            );
        }
    }
}

/// Is `inner` the same path as `outer` or below it?
pub(crate) fn holds(outer: &AbsolutePath, inner: &AbsolutePath) -> bool {
    let outer = outer.as_str().trim_end_matches('/');
    inner.as_str().strip_prefix(outer).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Faults that show only when a host's backups are put together.
pub(crate) fn check_host(
    name: &HostName,
    host: &Spanned<Host>,
    backup: &HostBackup,
    written: &Written,
    faults: &mut Faults,
) {
    for vault in backup.to.iter().filter_map(|name| written.vaults.get(name)) {
        if vault.host.value == *name {
            let what = format!("host {name} would back up to a vault on itself");
            let hint = "name a vault on another host, or leave backup out of this host's profiles";
            faults.push(Fault::new(&host.at, FaultCode::Rule, what).hint(hint));
        }
    }
    let dumped: BTreeSet<_> = backup.sets.values().flat_map(|set| &set.databases).collect();
    for database in &dumped {
        if !host.databases.contains_key(database) {
            let what = format!(
                "host {name} would dump the database {:?}, which it does not have",
                database.as_str()
            );
            let hint = "add it under the host's databases:";
            faults.push(Fault::new(&host.at, FaultCode::UnknownName, what).hint(hint));
        }
    }
    let file_set = backup.sets.get("server").is_some_and(|set| !set.paths.is_empty());
    for (database, spanned) in
        host.databases.iter().filter(|(database, _)| file_set && !dumped.contains(database))
    {
        let what = format!(
            "the server of {name} is backed up, but its database {:?} is in no set",
            database.as_str()
        );
        let hint = "a database's files are never in a file set: add it to databases: of nightly or server";
        faults.push(Fault::new(&spanned.at, FaultCode::Rule, what).hint(hint));
    }
}
