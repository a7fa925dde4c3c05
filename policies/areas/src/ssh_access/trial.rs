//! Decides how a change of who gets in is made: old and new ways in side by side until somebody of management has logged
//! in by a key of the policy; only then are the old ways closed, and after that it is looked once more. Nothing is closed
//! before that proof, so whatever dies on the way (the agent, the host, the network) leaves a way in open.

use jiff::{SignedDuration, Timestamp};
use tenure_policy::resolved::{Login, SshAccessSection};
use tenure_trust::Hash;

use super::facts::{Answer, Before, Facts, Managed};
use super::plan::{by_account, enforce, file, holding, is, key_path, management, path, private};
use super::render::{self, MODE};
use super::state::{
    self, Closing, PROVED, Proof, Proved, REFUSED, Refused, TRIAL, Trial, fingerprints, hash_of,
    takes_nothing_away,
};
use super::step::{DropIn, Step, Undo};
use super::{BEFORE, DROP_IN, Desired, KEYS, RELOADED, beside, effective};
use crate::area::{Finding, Now, Pending, Plan, Weight};
use crate::port::ManagedFile;

/// How long after the old ways are closed it is looked once more.
const SECOND_LOOK: SignedDuration = SignedDuration::from_secs(1);
/// Findings that count during a trial too: they say why nobody can prove anything.
const IN_THE_WAY: [&str; 3] = ["sshd-refuses", "sshd-not-running", "directory-untrusted"];

/// Why a section is not tried again.
const NOBODY: &str = "nobody logged in by a key of the policy in time";
const RESTARTED: &str = "the host restarted during the trial";

/// Decides. Pure.
pub(super) fn plan(desired: &Desired, facts: &Facts, now: &Now) -> Plan<Step> {
    match &facts.record.trial {
        Some(trial) => {
            let mut plan = Under { trial, facts, now }.decide(desired);
            if facts.before.is_none() && !plan.steps.is_empty() {
                plan.steps.insert(0, keep(&trial.old));
            }
            plan
        }
        None => at_rest(desired, facts, now),
    }
}

/// Whose way in a plan must leave open: that of the section which the plan puts in place.
pub(super) fn in_charge(desired: &Desired, facts: &Facts) -> Desired {
    let record = &facts.record;
    let section = match (&record.trial, &record.proved) {
        (Some(trial), _) => &trial.section,
        (None, Some(proved)) if is_refused(desired, facts) || sshd_refuses(facts).is_some() => {
            &proved.section
        }
        (None, _) => &desired.section,
    };
    Desired { section: section.clone() }
}

fn is_refused(desired: &Desired, facts: &Facts) -> bool {
    facts.record.refused.as_ref().is_some_and(|refused| refused.hash == hash_of(&desired.section))
}

/// What `lift` drops besides what it gives back.
pub(super) fn forget(facts: &Facts) -> Vec<Step> {
    let record = &facts.record;
    let kept = [
        (record.trial.is_some(), TRIAL),
        (record.refused.is_some(), REFUSED),
        (record.proved.is_some(), PROVED),
    ];
    kept.into_iter().filter(|(there, _)| *there).map(|(_, at)| Step::Forget { path: path(at) }).collect()
}

fn at_rest(desired: &Desired, facts: &Facts, now: &Now) -> Plan<Step> {
    let wanted = hash_of(&desired.section);
    let record = &facts.record;
    let in_force = record.proved.as_ref().map(|p| Desired { section: p.section.clone() });
    if let Some(refused) = record.refused.as_ref().filter(|refused| refused.hash == wanted) {
        let mut plan = match &in_force {
            Some(in_force) => enforce(in_force, facts, now.wall),
            None => Plan { steps: Vec::new(), ..enforce(desired, facts, now.wall) },
        };
        plan.findings.push(given_up(desired, facts, refused, now));
        return plan;
    }
    let at_once = enforce(desired, facts, now.wall);
    match &record.proved {
        Some(proved) if hash_of(&proved.section) == wanted => at_once,
        Some(proved)
            if takes_nothing_away(&proved.section, &desired.section, now.wall)
                || still_speaks(proved, desired, facts, now) =>
        {
            let by = proved.by.iter().filter(|p| desired.section.logins.iter().any(|l| p.is_of(l)));
            in_force_from_now(at_once, desired.section.clone(), by.cloned().collect(), facts, now)
        }
        // The state is lost and everything stands as the policy says.
        None if at_once.steps.is_empty() => {
            in_force_from_now(at_once, desired.section.clone(), Vec::new(), facts, now)
        }
        _ => match sshd_refuses(facts) {
            // What sshd says now is what a trial is written from; first it must say something.
            Some(finding) => {
                let mut plan = match &in_force {
                    Some(in_force) => enforce(in_force, facts, now.wall),
                    None => Plan { steps: Vec::new(), ..at_once },
                };
                if !plan.findings.iter().any(|f| f.kind == finding.kind) {
                    plan.findings.push(finding);
                }
                plan
            }
            None => begin(desired, facts, now, at_once.findings),
        },
    }
}

/// Has somebody of management, whose way in stays as it is, been seen to come in by it? Then the change may be made at
/// once: a key that was stolen must not wait for anybody, and must not come back.
fn still_speaks(proved: &Proved, desired: &Desired, facts: &Facts, now: &Now) -> bool {
    let holding = holding(desired, facts, now.wall);
    let ways = management(desired, &holding);
    proved.by.iter().any(|proof| proof.is_fresh(now.wall) && ways.iter().any(|login| proof.is_of(login)))
}

fn in_force_from_now(
    mut plan: Plan<Step>,
    section: SshAccessSection,
    by: Vec<Proof>,
    facts: &Facts,
    now: &Now,
) -> Plan<Step> {
    let what = "note whose logins are in force".to_owned();
    let proved = Proved { section, by, at: now.wall };
    plan.steps.push(Step::Record { what, file: state::file(PROVED, &proved) });
    if facts.record.refused.is_some() {
        plan.steps.push(Step::Forget { path: path(REFUSED) });
    }
    plan
}

fn begin(desired: &Desired, facts: &Facts, now: &Now, findings: Vec<Finding>) -> Plan<Step> {
    let section = &desired.section;
    let old = old(facts, now.wall);
    let holding = holding(desired, facts, now.wall);
    let seconds = section.confirm_within_seconds;
    let trial = Trial {
        section: section.clone(),
        drop_in: beside::drop_in(old.drop_in.as_deref(), &holding, facts),
        old,
        from: now.wall,
        from_boot_ms: now.since_boot_ms,
        until: after(now.wall, SignedDuration::from_secs(seconds.into())),
        until_boot_ms: now.since_boot_ms.saturating_add(u64::from(seconds) * 1000),
        boot_id: now.boot_id.clone(),
        closing: None,
    };
    let what = format!(
        "write down a trial of {seconds} s: no old way in is closed before {} is in",
        how(desired, facts, now)
    );
    let mut steps = vec![Step::Record { what, file: state::file(TRIAL, &trial) }];
    steps.extend(Under { trial: &trial, facts, now }.beside());
    if facts.before.is_none() {
        steps.insert(0, keep(&trial.old));
    }
    Plan { steps, findings, pending: None }
}

/// What stands at our places, as far as it is to come back: what is in force, else what is there now.
fn old(facts: &Facts, now: Timestamp) -> Before {
    if let Some(proved) = &facts.record.proved {
        let desired = Desired { section: proved.section.clone() };
        let holding = holding(&desired, facts, now);
        let text = |(account, logins): (&str, Vec<&Login>)| (account.to_owned(), render::key_file(&logins));
        return Before {
            drop_in: Some(render::drop_in(&holding)),
            drop_in_mode: Some(MODE),
            key_files: by_account(&holding).into_iter().map(text).collect(),
        };
    }
    let seen = Before {
        drop_in: facts.drop_in.text().map(ToOwned::to_owned),
        drop_in_mode: facts.drop_in.mode(),
        key_files: facts
            .key_files
            .iter()
            .filter_map(|(name, seen)| Some((name.clone(), seen.text()?.to_owned())))
            .collect(),
    };
    // A trial whose record is lost left its drop-in: what it stood beside is what was kept.
    let left_over = seen.drop_in.as_ref().is_some_and(|text| text.contains(beside::MARK));
    facts.before.clone().filter(|_| left_over).unwrap_or(seen)
}

fn keep(before: &Before) -> Step {
    let json = serde_json::to_string(before).expect("texts by name are plain data");
    Step::Keep { file: private(BEFORE, &json) }
}

/// A trial on disk.
struct Under<'a> {
    trial: &'a Trial,
    facts: &'a Facts,
    now: &'a Now,
}

impl Under<'_> {
    fn decide(&self, desired: &Desired) -> Plan<Step> {
        let tried = hash_of(&self.trial.section);
        let refused = self.facts.record.refused.as_ref().filter(|refused| refused.hash == tried);
        if let Some(refused) = refused {
            return self.back(Some(refused), None);
        }
        if let Some(closing) = &self.trial.closing {
            return self.closing(closing);
        }
        if tried != hash_of(&desired.section) {
            // The policy changed meanwhile: back to the old one, and the next pass tries the newest.
            return self.back(None, None);
        }
        if self.trial.boot_id != self.now.boot_id {
            return self.give_up(RESTARTED);
        }
        if let Some(proof) = self.proof() {
            return self.close(proof);
        }
        if self.trial.left_ms(self.now) == 0 {
            return self.give_up(NOBODY);
        }
        self.wait()
    }

    fn tried(&self) -> Desired {
        Desired { section: self.trial.section.clone() }
    }

    /// Somebody of management who came in by a key that sshd found in a file of ours, from where the policy lists.
    fn proof(&self) -> Option<Proof> {
        let desired = self.tried();
        let holding = holding(&desired, self.facts, self.now.wall);
        let ways = management(&desired, &holding);
        self.facts.record.seen.iter().find_map(|seen| {
            let ours = format!("{}:", key_path(&seen.account));
            if !seen.found.as_ref().is_some_and(|place| place.starts_with(&ours)) {
                return None;
            }
            ways.iter().find_map(|login| {
                let proof = Proof {
                    who: login.who.clone(),
                    account: login.account.clone(),
                    fingerprint: seen.fingerprint.clone(),
                    from: seen.from,
                    at: seen.at,
                };
                (seen.account == login.account.as_str() && proof.is_of(login)).then_some(proof)
            })
        })
    }

    /// Both ways in are open until somebody comes.
    fn wait(&self) -> Plan<Step> {
        let desired = self.tried();
        let steps = self.beside();
        let mut findings = quieter(enforce(&desired, self.facts, self.now.wall).findings);
        if let Some(finding) = sshd_refuses(self.facts) {
            findings.push(finding);
        }
        if let Some(why) = &self.facts.record.journal_fault {
            let what = format!("nobody can be seen to log in, because the journal cannot be read: {why}");
            findings.push(found("journal-unread", "journal", what, Weight::Unknown));
        }
        if !steps.is_empty() {
            let what = "old and new ways in are not open side by side, as the trial wants it".to_owned();
            findings.push(found("trial-disturbed", DROP_IN, what, Weight::Drift));
        }
        let next = format!(
            "{} must log in now; then the other ways in are closed, else all is put back as it was",
            how(&desired, self.facts, self.now)
        );
        let pending = Pending { what: self.what(), until: self.trial.until, next: Some(next) };
        Plan { steps, findings, pending: Some(pending) }
    }

    fn what(&self) -> String {
        format!("SSH access trial {}", hash_of(&self.trial.section).short())
    }

    /// To old and new side by side, from whatever stands there. Keys first: sshd reads them at every login, its
    /// configuration only when it is told.
    fn beside(&self) -> Vec<Step> {
        let Trial { old, drop_in, .. } = self.trial;
        let desired = self.tried();
        let holding = holding(&desired, self.facts, self.now.wall);
        let mut files = old.key_files.clone();
        for (account, logins) in by_account(&holding) {
            let text = beside::key_file(old.key_files.get(account).map(String::as_str), &logins);
            files.insert(account.to_owned(), text);
        }
        let mut steps = Vec::new();
        for (account, text) in &files {
            let file = file(&key_path(account), text);
            if !is(self.facts.key_files.get(account).unwrap_or(&Managed::Absent), &file) {
                steps.push(Step::PutKeys {
                    account: account.clone(),
                    file,
                    bridge: old.key_files.contains_key(account),
                });
            }
        }
        steps.extend(self.drop_in(file(DROP_IN, drop_in), DropIn::Beside, self.undo_to_old()));
        let strange = self.facts.key_files.keys().filter(|name| !files.contains_key(*name));
        steps.extend(strange.map(|name| Step::RemoveKeys { path: path(&key_path(name)) }));
        steps
    }

    fn undo_to_old(&self) -> Undo {
        match &self.trial.old.drop_in {
            Some(text) => Undo::PutBack(self.old_drop_in(text)),
            None => Undo::Remove(path(DROP_IN)),
        }
    }

    fn old_drop_in(&self, text: &str) -> ManagedFile {
        ManagedFile { mode: self.trial.old.drop_in_mode.unwrap_or(MODE), ..file(DROP_IN, text) }
    }

    /// Puts a drop-in and has sshd read it, where that has not happened.
    fn drop_in(&self, file: ManagedFile, which: DropIn, undo: Undo) -> Vec<Step> {
        let hash = Hash::of(&file.bytes);
        let stands = is(&self.facts.drop_in, &file);
        if stands && self.facts.reloaded == Some(hash) {
            return Vec::new();
        }
        let mut steps = Vec::new();
        if !stands {
            if self.facts.reloaded.is_some() {
                steps.push(Step::Unsettle { path: path(RELOADED) });
            }
            steps.push(Step::PutDropIn { file, is: which });
        }
        steps.push(Step::Test { undo });
        steps.push(Step::Reload);
        steps.push(Step::Settle { file: private(RELOADED, &format!("{hash}\n")) });
        steps
    }

    /// To the policy's drop-in; the keys stay as they are until it is looked once more.
    fn policy_drop_in(&self) -> Vec<Step> {
        let desired = self.tried();
        let policy = render::drop_in(&holding(&desired, self.facts, self.now.wall));
        let beside = Undo::PutBack(file(DROP_IN, &self.trial.drop_in));
        self.drop_in(file(DROP_IN, &policy), DropIn::Policy, beside)
    }

    fn close(&self, proof: Proof) -> Plan<Step> {
        let millis = u64::try_from(SECOND_LOOK.as_millis()).unwrap_or_default();
        let closing = Closing {
            until: after(self.now.wall, SECOND_LOOK),
            until_boot_ms: self.now.since_boot_ms.saturating_add(millis),
            boot_id: self.now.boot_id.clone(),
            proof,
        };
        let what = format!("write down that {} is in", told(&closing.proof));
        let trial = Trial { closing: Some(closing), ..self.trial.clone() };
        let mut steps = vec![Step::Record { what, file: state::file(TRIAL, &trial) }];
        steps.extend(self.policy_drop_in());
        let findings = quieter(enforce(&self.tried(), self.facts, self.now.wall).findings);
        Plan { steps, findings, pending: None }
    }

    fn closing(&self, closing: &Closing) -> Plan<Step> {
        let steps = self.policy_drop_in();
        let desired = self.tried();
        let mut plan = enforce(&desired, self.facts, self.now.wall);
        if !steps.is_empty() {
            // Giving up has begun and could not be noted: it goes on, and nothing is closed a second time.
            return match self.cut_off(&closing.proof) {
                Some(why) if closing.is_due(self.now) && self.is_back() => self.give_up(&why),
                _ => Plan { steps, ..plan },
            };
        }
        if !closing.is_due(self.now) {
            let next = format!("nothing: {} is in, the other ways in are closed", told(&closing.proof));
            let pending = Pending { what: self.what(), until: closing.until, next: Some(next) };
            return Plan { steps, findings: quieter(plan.findings), pending: Some(pending) };
        }
        if let Some(why) = self.cut_off(&closing.proof) {
            return self.give_up(&why);
        }
        plan.steps.retain(|step| !matches!(step, Step::Keep { .. }));
        let by = vec![closing.proof.clone()];
        let mut plan = in_force_from_now(plan, desired.section, by, self.facts, self.now);
        plan.steps.push(Step::Forget { path: path(TRIAL) });
        plan
    }

    /// Does the drop-in stand that stood there before, or none where there was none?
    fn is_back(&self) -> bool {
        match &self.trial.old.drop_in {
            Some(text) => is(&self.facts.drop_in, &self.old_drop_in(text)),
            None => matches!(self.facts.drop_in, Managed::Absent),
        }
    }

    /// Why who was proved would not get in again, if so.
    fn cut_off(&self, proof: &Proof) -> Option<String> {
        let why = self.still_in(proof).err()?;
        Some(format!("once all else was closed, {} would no longer get in: {why}", told(proof)))
    }

    /// By everything that is seen of the host: would who was proved get in again?
    fn still_in(&self, proof: &Proof) -> Result<(), String> {
        let account = proof.account.as_str();
        if let Some(finding) = enforce(&self.tried(), self.facts, self.now.wall)
            .findings
            .into_iter()
            .find(|finding| IN_THE_WAY.contains(&finding.kind.as_str()))
        {
            return Err(finding.what);
        }
        let mut asked = self.facts.probes.iter().filter(|p| p.account == account && p.addr == proof.from);
        let Some(Answer::Settings(settings)) = asked.next().and_then(|probe| self.facts.answer(probe)) else {
            return Err("sshd did not say what it would do".into());
        };
        let value = |keyword: &str| settings.get(keyword).and_then(|v| v.first()).map_or("", String::as_str);
        let ours = format!("{KEYS}/%u");
        let methods = value("authenticationmethods");
        for (holds, why) in [
            (effective::may_try(settings, account, proof.from), "AllowUsers or DenyUsers"),
            (value("pubkeyauthentication") == "yes", "PubkeyAuthentication"),
            (value("authorizedkeysfile").split_whitespace().any(|f| f == ours), "AuthorizedKeysFile"),
            (
                methods.is_empty() || methods.split_whitespace().any(|m| matches!(m, "any" | "publickey")),
                "AuthenticationMethods",
            ),
            (account != "root" || value("permitrootlogin") != "no", "PermitRootLogin"),
        ] {
            if !holds {
                return Err(format!("{why} keeps it out"));
            }
        }
        let text = self.facts.key_files.get(account).and_then(Managed::text).unwrap_or_default();
        let login = self.trial.section.logins.iter().find(|login| proof.is_of(login));
        let lines = login.map(render::lines).unwrap_or_default();
        if !lines.iter().any(|line| text.lines().any(|seen| seen == line)) {
            return Err(format!("the key does not stand in {}", key_path(account)));
        }
        Ok(())
    }

    fn give_up(&self, why: &str) -> Plan<Step> {
        let refused = Refused { hash: hash_of(&self.trial.section), why: why.into(), at: self.now.wall };
        let what = format!("do not try it again by itself: {why}");
        let note = Step::Record { what, file: state::file(REFUSED, &refused) };
        self.back(Some(&refused), Some(note))
    }

    /// To exactly what stood there before. Always whole: a kill in the middle of it leaves no note of how far it was. What is
    /// to be noted comes after, as a disk that is full must not keep the old ways closed.
    fn back(&self, refused: Option<&Refused>, note: Option<Step>) -> Plan<Step> {
        let old = &self.trial.old;
        let mut steps = vec![Step::Unsettle { path: path(RELOADED) }];
        match &old.drop_in {
            Some(text) => steps.push(Step::PutDropIn { file: self.old_drop_in(text), is: DropIn::Old }),
            None => steps.push(Step::RemoveDropIn { path: path(DROP_IN) }),
        }
        steps.push(Step::Test { undo: Undo::Nothing });
        steps.push(Step::Reload);
        if let (Some(text), Some(_)) = (&old.drop_in, &self.facts.record.proved) {
            let hash = Hash::of(text.as_bytes());
            steps.push(Step::Settle { file: private(RELOADED, &format!("{hash}\n")) });
        }
        for (account, text) in &old.key_files {
            let file = file(&key_path(account), text);
            if !is(self.facts.key_files.get(account).unwrap_or(&Managed::Absent), &file) {
                steps.push(Step::PutKeys { account: account.clone(), file, bridge: false });
            }
        }
        let ours = self.facts.key_files.keys().filter(|name| !old.key_files.contains_key(*name));
        steps.extend(ours.map(|name| Step::RemoveKeys { path: path(&key_path(name)) }));
        steps.extend(note);
        steps.push(Step::Forget { path: path(TRIAL) });
        let findings = refused.map(|refused| given_up(&self.tried(), self.facts, refused, self.now));
        Plan { steps, findings: findings.into_iter().collect(), pending: None }
    }
}

/// What the policy wants and a trial has not done yet is no drift.
fn quieter(findings: Vec<Finding>) -> Vec<Finding> {
    let one = |finding: Finding| match IN_THE_WAY.contains(&finding.kind.as_str()) {
        true => finding,
        false => Finding { weight: Weight::Note, ..finding },
    };
    findings.into_iter().map(one).collect()
}

fn sshd_refuses(facts: &Facts) -> Option<Finding> {
    let why = facts.answers.values().find_map(|answer| match answer {
        Answer::Refused(why) => Some(why),
        Answer::Settings(_) => None,
    })?;
    let what = format!("sshd does not accept its configuration: {why}");
    Some(found("sshd-refuses", "sshd -T", what, Weight::Drift))
}

fn given_up(desired: &Desired, facts: &Facts, refused: &Refused, now: &Now) -> Finding {
    let Refused { why, at, .. } = refused;
    let what = format!(
        "the policy's logins were tried and given up {at}: {why}; who gets in is as it was before. It is tried again \
         after `tenure-agent apply` or with another policy; within {} s {} must log in",
        desired.section.confirm_within_seconds,
        how(desired, facts, now)
    );
    found("trial-refused", "policy", tenure_trust::neutral_bytes(what.as_bytes(), 4000), Weight::Drift)
}

fn found(kind: &str, place: &str, what: String, weight: Weight) -> Finding {
    Finding { kind: kind.into(), place: place.into(), what, weight, at: None, by: None }
}

/// Who must log in and how: `marit as admin by SHA256:… from 203.0.113.9/32`.
fn how(desired: &Desired, facts: &Facts, now: &Now) -> String {
    let holding = holding(desired, facts, now.wall);
    let ways: Vec<String> = management(desired, &holding)
        .iter()
        .map(|login| {
            let from: Vec<String> = login.from.iter().take(4).map(ToString::to_string).collect();
            let prints: Vec<String> = fingerprints(login).take(3).collect();
            let Login { who, account, .. } = login;
            format!("{who} as {account} by {} from {}", prints.join(" or "), from.join(", "))
        })
        .take(4)
        .collect();
    if ways.is_empty() { "somebody of management".into() } else { ways.join(", or ") }
}

fn told(proof: &Proof) -> String {
    format!("{} as {} from {}", proof.who, proof.account, proof.from)
}

fn after(at: Timestamp, time: SignedDuration) -> Timestamp {
    at.checked_add(time).unwrap_or(Timestamp::MAX)
}
