//! Decides: what differs, and the steps against it in an order that keeps a way in open between any two of them.

use std::collections::{BTreeMap, BTreeSet};

use ipnet::IpNet;
use jiff::Timestamp;
use tenure_policy::resolved::{Login, ends_soon};
use tenure_trust::Hash;

use super::facts::{Before, Facts, Managed};
use super::render::{self, MODE};
use super::step::{DropIn, Step, Undo};
use super::{BEFORE, DROP_IN, Desired, KEYS, RELOADED, keys, others};
use crate::area::{Finding, Plan, Weight};
use crate::port::{KeyDirectory, ManagedFile, ManagedPath};

mod asserted;

/// What differs from a section, and how it is put in place at once.
pub(super) fn enforce(desired: &Desired, facts: &Facts, now: Timestamp) -> Plan<Step> {
    let holding = holding(desired, facts, now);
    let mut out = Draft { facts, findings: Vec::new() };
    out.logins(desired, &holding, now);
    let (puts, removals) = out.key_files(&holding);
    let drop_in = out.drop_in(&holding);
    out.places();
    if drop_in.is_ok() {
        asserted::assert_effective(facts, &holding, &mut out.findings);
    }
    asserted::other_keys(facts, &mut out.findings);
    others::findings(facts, &mut out.findings);
    let steps = steps(desired, facts, &holding, puts, removals, drop_in);
    Plan { steps, findings: out.findings, pending: None }
}

/// Before anything else the directories above the keys are opened: one mode keeps every key out, and no trial is asked. The
/// system's own is changed only where sshd reads our keys already.
pub(super) fn passable(mut plan: Plan<Step>, facts: &Facts) -> Plan<Step> {
    let reads = facts.reloaded.is_some();
    if reads || plan.steps.iter().any(|step| matches!(step, Step::PutKeys { .. })) {
        let closed = |which: &KeyDirectory| facts.directories.iter().any(|place| place.path == which.path());
        let ours = |which: &KeyDirectory| reads || *which != KeyDirectory::System;
        let open = KeyDirectory::ALL.into_iter().filter(closed).filter(ours);
        plan.steps.splice(0..0, open.map(|which| Step::OpenDirectory { which }));
    }
    plan
}

/// Gives back what stood here before: first the configuration, then the keys that it no longer reads.
pub(super) fn lift(facts: &Facts) -> Plan<Step> {
    let mut steps = Vec::new();
    if let Some(before) = &facts.before {
        let undo = match facts.drop_in.text() {
            Some(text) => Undo::PutBack(file(DROP_IN, text)),
            None => Undo::Nothing,
        };
        match &before.drop_in {
            Some(text) => {
                let mode = before.drop_in_mode.unwrap_or(MODE);
                let file = ManagedFile { mode, ..file(DROP_IN, text) };
                steps.push(Step::PutDropIn { file, is: DropIn::Old });
            }
            None => steps.push(Step::RemoveDropIn { path: path(DROP_IN) }),
        }
        steps.push(Step::Unsettle { path: path(RELOADED) });
        steps.push(Step::Test { undo });
        steps.push(Step::Reload);
        for (account, text) in &before.key_files {
            steps.push(Step::PutKeys {
                account: account.clone(),
                file: file(&key_path(account), text),
                bridge: false,
            });
        }
        for name in facts.key_files.keys().filter(|name| !before.key_files.contains_key(*name)) {
            steps.push(Step::RemoveKeys { path: path(&key_path(name)) });
        }
        steps.extend(super::trial::forget(facts));
        steps.push(Step::Forget { path: path(BEFORE) });
    }
    Plan { steps, findings: Vec::new(), pending: None }
}

/// The logins that hold: not ended, of an account that exists, in a form that sshd reads as meant.
pub(super) fn holding<'a>(desired: &'a Desired, facts: &Facts, now: Timestamp) -> Vec<&'a Login> {
    let holds = |login: &&Login| {
        render::lasts(login, now)
            && facts.accounts.contains_key(login.account.as_str())
            && !render::lines(login).is_empty()
    };
    desired.section.logins.iter().filter(holds).collect()
}

pub(super) fn by_account<'a>(logins: &[&'a Login]) -> BTreeMap<&'a str, Vec<&'a Login>> {
    let mut accounts: BTreeMap<&str, Vec<&Login>> = BTreeMap::new();
    for login in logins {
        accounts.entry(login.account.as_str()).or_default().push(login);
    }
    accounts
}

struct Draft<'a> {
    facts: &'a Facts,
    findings: Vec<Finding>,
}

impl Draft<'_> {
    fn find(
        &mut self,
        kind: &str,
        place: impl Into<String>,
        what: String,
        weight: Weight,
        mtime: Option<i64>,
    ) {
        let at = mtime.and_then(|seconds| Timestamp::from_second(seconds).ok());
        self.findings.push(Finding { kind: kind.into(), place: place.into(), what, weight, at, by: None });
    }

    fn logins(&mut self, desired: &Desired, holding: &[&Login], now: Timestamp) {
        for login in &desired.section.logins {
            let Login { id, who, account, until, .. } = login;
            if !render::lasts(login, now) {
                let what = format!("the login of {who} as {account} ended {until}: its keys are gone");
                self.find("login-ended", id.to_string(), what, Weight::Note, None);
                continue;
            }
            if desired.section.is_managements(login) && ends_soon(*until, now) {
                let what = format!(
                    "the login of {who} as {account}, a way in of management, ends {until}: sign a policy with a later date before then"
                );
                self.find("login-ends", id.to_string(), what, Weight::Note, None);
            }
            match self.facts.accounts.get(account.as_str()) {
                None => {
                    let what = format!(
                        "the account {account} for {who} does not exist here: create it, then its keys follow"
                    );
                    self.find("account-missing", account.to_string(), what, Weight::Drift, None);
                }
                Some(seen) if !seen.login_shell && login.command.is_none() => {
                    let what = format!("{account} has no login shell, so {who} gets no session");
                    self.find("account-without-shell", account.to_string(), what, Weight::Drift, None);
                }
                Some(_) => {}
            }
            if render::lines(login).is_empty() {
                let what = format!(
                    "the login of {who} as {account} cannot be written so that sshd reads it as meant: look at its keys, sources and command"
                );
                self.find("login-unusable", id.to_string(), what, Weight::Drift, None);
            }
        }
        if holding.is_empty() {
            let what = "no login of the policy holds on this host now".to_owned();
            self.find("no-login", "policy", what, Weight::Drift, None);
        }
    }

    /// Files to put (account, file) and files to remove.
    fn key_files(&mut self, holding: &[&Login]) -> (Vec<(String, ManagedFile)>, Vec<ManagedPath>) {
        let wanted = by_account(holding);
        let mut puts = Vec::new();
        for (account, logins) in &wanted {
            let file = file(&key_path(account), &render::key_file(logins));
            let seen = self.facts.key_files.get(*account).unwrap_or(&Managed::Absent);
            if is(seen, &file) {
                continue;
            }
            let (kind, what) = match seen {
                Managed::Absent => ("key-file-missing", "the key file is not there".to_owned()),
                Managed::Untrusted(place) => ("key-file-untrusted", place.why.clone()),
                Managed::Seen(seen) => (
                    "key-file-changed",
                    format!("not as the policy says{}", strange_keys(&seen.text, logins)),
                ),
            };
            self.find(kind, key_path(account), what, Weight::Drift, seen.mtime());
            puts.push(((*account).to_owned(), file));
        }
        let mut removals = Vec::new();
        for (name, seen) in &self.facts.key_files {
            if !wanted.contains_key(name.as_str()) {
                let keys = strange_keys(seen.text().unwrap_or_default(), &[]);
                let what = format!("no login of the policy that holds now is for this account{keys}");
                self.find("key-file-unlisted", key_path(name), what, Weight::Drift, seen.mtime());
                removals.push(path(&key_path(name)));
            }
        }
        (puts, removals)
    }

    /// `Ok` with its hash when the drop-in is as it must be, else the file to put.
    fn drop_in(&mut self, holding: &[&Login]) -> Result<Hash, ManagedFile> {
        let file = file(DROP_IN, &render::drop_in(holding));
        let seen = &self.facts.drop_in;
        let hash = Hash::of(&file.bytes);
        if is(seen, &file) {
            if self.facts.reloaded != Some(hash) {
                let what = "sshd has not been told to read it since it was written".to_owned();
                self.find("not-reloaded", DROP_IN, what, Weight::Drift, None);
            }
            return Ok(hash);
        }
        let (kind, what) = match seen {
            Managed::Absent => ("drop-in-missing", "sshd has no setting of the policy".to_owned()),
            Managed::Untrusted(place) => ("drop-in-untrusted", place.why.clone()),
            Managed::Seen(seen) => {
                let ours = String::from_utf8_lossy(&file.bytes).into_owned();
                ("drop-in-changed", format!("not as the policy says{}", strange_lines(&seen.text, &ours)))
            }
        };
        self.find(kind, DROP_IN, what, Weight::Drift, seen.mtime());
        Err(file)
    }

    fn places(&mut self) {
        for place in &self.facts.directories {
            self.find(
                "directory-untrusted",
                place.path.clone(),
                place.why.clone(),
                Weight::Drift,
                place.mtime,
            );
        }
        for place in &self.facts.untrusted {
            let weight = if place.path.contains("/.ssh") { Weight::Note } else { Weight::Drift };
            self.find("untrusted-file", place.path.clone(), place.why.clone(), weight, place.mtime);
        }
        for text in &self.facts.elsewhere {
            let what = "includes settings from outside of the drop-ins' directory".to_owned();
            self.find("include-elsewhere", text.clone(), what, Weight::Note, None);
        }
        for text in &self.facts.unread {
            let what = "sshd may read settings there that were not looked at".to_owned();
            self.find("include-unread", text.clone(), what, Weight::Drift, None);
        }
        for setting in &self.facts.in_match {
            let what = format!(
                "`{} {}` decides about logins for some connections only; the policy has no such block",
                setting.keyword,
                setting.args.join(" ")
            );
            self.find("match-block", setting.place(), what, Weight::Drift, None);
        }
        if self.facts.in_match_more > 0 {
            let what = format!("{} more settings about logins in Match blocks", self.facts.in_match_more);
            self.find("match-block", "sshd's configuration", what, Weight::Drift, None);
        }
        if self.facts.not_asked > 0 {
            let what =
                format!("sshd was not asked about {} accounts that could log in", self.facts.not_asked);
            self.find("not-all-asked", "/etc/passwd", what, Weight::Drift, None);
        }
        if let Some(more) = self.facts.networks_not_asked {
            // What is said for some connections only stands in a Match block, and each of them is told by itself.
            let what =
                format!("sshd was not asked about {more} more networks from which the policy's logins come");
            self.find("not-all-asked", DROP_IN, what, Weight::Note, None);
        }
    }
}

fn steps(
    desired: &Desired,
    facts: &Facts,
    holding: &[&Login],
    puts: Vec<(String, ManagedFile)>,
    removals: Vec<ManagedPath>,
    drop_in: Result<Hash, ManagedFile>,
) -> Vec<Step> {
    let mut steps = Vec::new();
    let bridge = drop_in.is_err() && !old_drop_in_lets_in(desired, facts, holding);
    for (account, file) in &puts {
        let file = if bridge { bridged(file, facts.key_files.get(account)) } else { file.clone() };
        steps.push(Step::PutKeys { account: account.clone(), file, bridge });
    }
    let (hash, undo) = match drop_in {
        Ok(hash) => (hash, Undo::Nothing),
        Err(file) => {
            if facts.reloaded.is_some() {
                steps.push(Step::Unsettle { path: path(RELOADED) });
            }
            let hash = Hash::of(&file.bytes);
            steps.push(Step::PutDropIn { file, is: DropIn::Policy });
            (hash, undo(facts))
        }
    };
    if facts.reloaded != Some(hash) || steps.iter().any(|s| matches!(s, Step::PutDropIn { .. })) {
        steps.push(Step::Test { undo });
        steps.push(Step::Reload);
        steps.push(Step::Settle { file: private(RELOADED, &format!("{hash}\n")) });
    }
    if bridge {
        let last = |(account, file)| Step::PutKeys { account, file, bridge: false };
        steps.extend(puts.into_iter().filter(|(a, f)| bridged(f, facts.key_files.get(a)) != *f).map(last));
    }
    steps.extend(removals.into_iter().map(|path| Step::RemoveKeys { path }));
    if facts.before.is_none() && !steps.is_empty() {
        let before = Before {
            drop_in: facts.drop_in.text().map(ToOwned::to_owned),
            drop_in_mode: facts.drop_in.mode(),
            key_files: facts
                .key_files
                .iter()
                .filter_map(|(n, m)| Some((n.clone(), m.text()?.to_owned())))
                .collect(),
        };
        let json = serde_json::to_string(&before).expect("texts by name are plain data");
        steps.insert(0, Step::Keep { file: private(BEFORE, &json) });
    }
    steps
}

/// What sshd accepted at our last asking is put back; an edit of somebody else's is not.
fn undo(facts: &Facts) -> Undo {
    match (&facts.drop_in, facts.reloaded) {
        (Managed::Absent, None) => Undo::Remove(path(DROP_IN)),
        (Managed::Seen(seen), Some(hash)) if seen.hash == hash => Undo::PutBack(file(DROP_IN, &seen.text)),
        _ => Undo::Nothing,
    }
}

/// Until sshd has read the new drop-in the old one decides from where. When that lets no management person in with the
/// new keys (all their sources have changed), the old keys stay in the files until it has.
fn old_drop_in_lets_in(desired: &Desired, facts: &Facts, holding: &[&Login]) -> bool {
    let Some(old) = facts.drop_in.text() else { return true };
    let settings = super::config::directives(old.as_bytes());
    let patterns: BTreeSet<&str> = settings
        .iter()
        .filter(|(_, keyword, _)| keyword == "allowusers")
        .flat_map(|(_, _, args)| args.iter().map(String::as_str))
        .collect();
    if patterns.is_empty() {
        return true;
    }
    let meets = |a: &IpNet, b: &IpNet| a.contains(b) || b.contains(a);
    let lets_in = |login: &&&Login| {
        patterns.iter().filter_map(|p| p.split_once('@')).any(|(user, net)| {
            user == login.account.as_str()
                && net.parse::<IpNet>().is_ok_and(|net| login.from.iter().any(|from| meets(from, &net)))
        })
    };
    management(desired, holding).iter().any(|l| lets_in(&l))
}

/// The logins by which management keeps its way in: those of the people that the policy names, else of every person.
pub(super) fn management<'a>(desired: &Desired, logins: &[&'a Login]) -> Vec<&'a Login> {
    logins.iter().filter(|login| desired.section.is_managements(login)).copied().collect()
}

fn bridged(file: &ManagedFile, old: Option<&Managed>) -> ManagedFile {
    let mut bytes = file.bytes.clone();
    let new = String::from_utf8_lossy(&file.bytes).into_owned();
    let known: BTreeSet<&str> = new.lines().collect();
    // Only lines of ours: a bridge must not carry what somebody planted.
    let ours =
        |line: &&str| line.starts_with("restrict,") && line.contains(" tenure:") && !known.contains(line);
    for line in old.and_then(Managed::text).unwrap_or_default().lines().filter(ours) {
        bytes.extend_from_slice(line.as_bytes());
        bytes.push(b'\n');
    }
    ManagedFile { bytes, ..file.clone() }
}

fn strange_keys(text: &str, logins: &[&Login]) -> String {
    let ours: BTreeSet<String> = logins.iter().flat_map(|l| render::lines(l)).collect();
    let strange: Vec<String> = text
        .lines()
        .filter(|line| !ours.contains(*line))
        .filter_map(|line| keys::parse_line(line.as_bytes()))
        .map(|key| key.fingerprint())
        .take(5)
        .collect();
    if strange.is_empty() {
        String::new()
    } else {
        format!("; keys that it does not name: {}", strange.join(", "))
    }
}

fn strange_lines(text: &str, ours: &str) -> String {
    let ours: BTreeSet<&str> = ours.lines().collect();
    let strange: Vec<String> = text
        .lines()
        .filter(|line| !line.trim().is_empty() && !ours.contains(line))
        .take(3)
        .map(|line| format!("`{}`", tenure_trust::neutral_bytes(line.as_bytes(), 80)))
        .collect();
    if strange.is_empty() { "; lines are missing".into() } else { format!("; it has {}", strange.join(", ")) }
}

pub(super) fn is(seen: &Managed, wanted: &ManagedFile) -> bool {
    matches!(seen, Managed::Seen(seen) if seen.hash == Hash::of(&wanted.bytes) && seen.mode == wanted.mode)
}

pub(super) fn key_path(account: &str) -> String {
    format!("{KEYS}/{account}")
}

pub(super) fn path(text: &str) -> ManagedPath {
    ManagedPath::new(text).expect("names of files in our places were checked when they were seen or parsed")
}

pub(super) fn file(at: &str, text: &str) -> ManagedFile {
    ManagedFile { path: path(at), bytes: text.as_bytes().to_vec(), mode: MODE }
}

pub(super) fn private(at: &str, text: &str) -> ManagedFile {
    ManagedFile { mode: 0o600, ..file(at, text) }
}
