//! Decides what to do about the difference between the policy's section and what is seen: the state machine of trial, confirmation,
//! fall-back and restore. From every combination of kernel and disk that a crash can leave, it goes to the old or the new ruleset.

use jiff::{SignedDuration, Timestamp};
use tenure_policy::resolved::FirewallSection;
use tenure_trust::Hash;

use super::boot;
use super::compile::compile;
use super::cut::denied;
use super::facts::{Facts, ForeignChain, Own, TrialFacts};
use super::findings;
use super::guard;
use super::nft::Shown;
use super::state::{self, Confirmed, Refused, Restores, Ruleset, Trial};
use super::step::{self, Action, Purpose, Step};
use super::table::Table;
use super::transaction;
use crate::area::{Finding, Now, Pending, Plan};
use crate::port::Command;

/// More restores than this within a minute mean that another program restores against us.
const MANY_RESTORES: u32 = 600;
/// Then there is at most one restore in this time.
const SLOW_RESTORE: SignedDuration = SignedDuration::from_secs(1);

/// Why a trial's ruleset is not tried again.
const NOBODY: &str = "nobody confirmed it in time";
const RESTARTED: &str = "the host restarted during the trial";

/// Decides. Pure.
pub(super) fn plan(section: &FirewallSection, facts: &Facts, now: &Now) -> Plan<Step> {
    let compiled = compile(section, &facts.host);
    let mut findings = findings::standing(facts);
    let wanted = match compiled {
        Ok(table) => Some(Ruleset::new(next_number(facts), table)),
        Err(error) => {
            findings.push(findings::not_compiled(&error));
            None
        }
    };
    let mut planner = Planner { section, facts, now, wanted, findings, pending: None };
    let steps = match &facts.trial {
        Some(trial) if facts.confirmed == Some(trial.new) => planner.confirmed(),
        Some(trial) => planner.during(trial),
        None => planner.at_rest(),
    };
    Plan { steps, findings: planner.findings, pending: planner.pending }
}

/// Numbers only rise.
fn next_number(facts: &Facts) -> u32 {
    let known = [
        facts.confirmed.map(|c| c.number),
        facts.trial.as_ref().map(|t| t.new.number),
        facts.refused.as_ref().map(|r| r.number),
        match facts.own {
            Own::Wanted { number } => Some(number),
            _ => None,
        },
    ];
    known.into_iter().flatten().max().unwrap_or(0).saturating_add(1)
}

struct Planner<'a> {
    section: &'a FirewallSection,
    facts: &'a Facts,
    now: &'a Now,
    /// What the policy wants, if it compiles here.
    wanted: Option<Ruleset>,
    findings: Vec<Finding>,
    pending: Option<Pending>,
}

impl Planner<'_> {
    fn wants(&self, hash: Hash) -> bool {
        self.wanted.as_ref().is_some_and(|wanted| wanted.hash == hash)
    }

    fn refused(&self, hash: Hash) -> Option<&Refused> {
        self.facts.refused.as_ref().filter(|refused| refused.hash == hash)
    }

    /// No trial on disk.
    fn at_rest(&mut self) -> Vec<Step> {
        let steps = match (&self.facts.confirmed, &self.facts.own) {
            (Some(confirmed), Own::Confirmed) if self.wants(confirmed.hash) => self.marked(),
            (Some(_), Own::Confirmed) => {
                self.change(self.facts.here.confirmed.as_ref().map(|c| c.ruleset.clone()))
            }
            (Some(_), _) => return self.restore(),
            (None, Own::Wanted { number }) => self.adopt(*number),
            (None, Own::Absent) if !self.facts.enforced => self.change(Some(Ruleset::new(0, Table::open()))),
            (None, _) => self.lost(),
        };
        if steps.is_empty() { self.swept() } else { steps }
    }

    /// What a trial has left that is over.
    fn swept(&self) -> Vec<Step> {
        let mut steps = Vec::new();
        if self.facts.foreign.iter().any(ForeignChain::is_warm_up) {
            steps.push(Step::load(Purpose::Lift, step::COOL, transaction::cool()));
        }
        steps.extend(self.facts.confirm.is_some().then(|| Step::remove(state::CONFIRM)));
        steps.extend(self.facts.next.then(|| Step::remove(state::NEXT)));
        steps
    }

    /// Drops what a trial that is over has on disk; its record last, as it says that the rest is there.
    fn ended(&self) -> Vec<Step> {
        let mut steps = vec![Step::remove(state::CONFIRM)];
        steps.extend(self.facts.next.then(|| Step::remove(state::NEXT)));
        steps.push(Step::remove(state::TRIAL));
        steps
    }

    /// The confirmed ruleset is gone from disk: the policy's is tried over the baseline. Where that cannot be, a host that has
    /// enforced gets the baseline itself, as it would at boot: it is never left open.
    fn lost(&mut self) -> Vec<Step> {
        let ports = self.facts.ssh_ports.as_deref().unwrap_or(&[]);
        let stays = |new: &Ruleset| guard::management_stays(self.section, &new.table, ports).is_ok();
        let tried = self.wanted.as_ref().is_some_and(|new| self.refused(new.hash).is_none() && stays(new));
        self.findings.push(findings::state_lost(self.facts, tried));
        let baseline = Ruleset::new(0, boot::baseline(Some(self.section)).table);
        let json = transaction::replace(&Shown::Confirmed(baseline.numbered()));
        let close = Step::load(Purpose::Baseline, format!("load {}", named(&baseline)), json);
        let open = self.facts.enforced && self.facts.own != Own::Baseline;
        if tried || !open {
            // What the guard does not let through it refuses, and says so.
            let mut steps = self.change(Some(baseline));
            // Closed before anything that a full disk can stop.
            let write = steps.iter().position(|step| step.purpose == Purpose::State);
            if let Some(at) = write.filter(|_| open && guard::baseline_stays(self.section, ports).is_ok()) {
                steps.insert(at, close);
            }
            return steps;
        }
        match self.held_back() {
            Some(until) => self.hold(until),
            None => vec![close, self.count_restore()],
        }
    }

    /// Starts a trial of what the policy wants over `over`, unless it was refused before.
    fn change(&mut self, over: Option<Ruleset>) -> Vec<Step> {
        let Some(new) = self.wanted.clone() else { return vec![] };
        if let Some(refused) = self.refused(new.hash) {
            let finding = findings::not_retried(refused);
            self.findings.push(finding);
            return vec![];
        }
        let seconds = self.section.confirm.within_seconds;
        let Some(over) = over else { return vec![only_on_host(Purpose::Load, "try the policy's ruleset")] };
        let begin = format!("write down the trial of g{} over g{}", new.number, over.number);
        let trial = Trial {
            from: self.now.wall,
            until: after(self.now.wall, seconds),
            until_boot_ms: self.now.since_boot_ms.saturating_add(u64::from(seconds) * 1000),
            boot_id: self.now.boot_id.clone(),
            new,
            over,
        };
        let (old, new) = (trial.over.numbered(), trial.new.numbered());
        let fall_back =
            format!("after {seconds} s the kernel falls back to {} by itself", named(&trial.over));
        let write = Step::put(begin, state::file(state::TRIAL, &trial));
        if old.number == 0 {
            let hook = "hook connection tracking, nothing is judged yet";
            let enter = "enter every open TCP connection into connection tracking";
            let start = format!("load g{} on trial: {fall_back}", new.number);
            return vec![
                Step::load(Purpose::Warm, hook, transaction::warm()),
                Step::new(Purpose::Warm, enter, Action::Tell(Command::ConntrackWarm)),
                write,
                Step::load(Purpose::Load, start, transaction::first_trial(old, new, seconds)),
            ];
        }
        let stage = format!("load g{} beside g{}, nothing points at it yet", new.number, old.number);
        let switch = format!("switch to g{} on trial: {fall_back}", new.number);
        vec![
            write,
            Step::load(Purpose::Load, stage, transaction::stage(old, new)),
            Step::load(Purpose::Load, switch, transaction::switch(old, new, seconds)),
        ]
    }

    /// The state on disk is gone and the kernel has what the policy wants: write it down again.
    fn adopt(&mut self, number: u32) -> Vec<Step> {
        let Some(wanted) = &self.wanted else { return vec![] };
        let ruleset = Ruleset { number, ..wanted.clone() };
        self.findings.push(findings::adopted(number));
        let confirmed = Confirmed { at: self.now.wall, ruleset };
        let mut steps = vec![Step::put(keeping(number), state::file(state::CONFIRMED, &confirmed))];
        steps.extend(self.marked());
        steps
    }

    /// Writes down what is to be confirmed, where it decides nothing yet: a disk that is full stops a confirmation here.
    fn write_next(&self, trial: &Trial) -> Step {
        let line = format!("write g{} down, to be kept once it is in force", trial.new.number);
        let next = Confirmed { at: self.now.wall, ruleset: trial.new.clone() };
        Step::put(line, state::file(state::NEXT, &next))
    }

    /// What was written down becomes the confirmed ruleset; that needs no room.
    fn keep_next(&self, trial: &Trial) -> Step {
        let (next, confirmed) = (state::managed(state::NEXT), state::managed(state::CONFIRMED));
        Step::new(Purpose::State, keeping(trial.new.number), Action::Replace(next, confirmed))
    }

    /// The mark that a host with a confirmed ruleset has. Who was killed between the two writes still lacks it, and a host
    /// without it boots open once the confirmed ruleset is lost.
    fn marked(&self) -> Vec<Step> {
        if self.facts.enforced {
            return vec![];
        }
        vec![Step::put("from now on this host boots closed", state::marker())]
    }

    /// The kernel does not show the confirmed ruleset: puts it back whole.
    fn restore(&mut self) -> Vec<Step> {
        self.findings.extend(findings::drift(self.facts));
        if let Some(until) = self.held_back() {
            return self.hold(until);
        }
        let Some(Confirmed { ruleset, .. }) = &self.facts.here.confirmed else {
            return vec![only_on_host(Purpose::Restore, "restore the confirmed ruleset")];
        };
        let json = transaction::replace(&Shown::Confirmed(ruleset.numbered()));
        let hash = format!("g{}-{}", ruleset.number, ruleset.hash);
        let line = format!("restore g{} as confirmed", ruleset.number);
        vec![
            Step::new(Purpose::Restore, line, Action::Tell(Command::NftRestore { json, hash })),
            self.count_restore(),
        ]
    }

    fn count_restore(&self) -> Step {
        let next = Restores::next(self.facts.restores.as_ref(), self.now.wall);
        Step::put("count the restore", state::file(state::RESTORES, &next))
    }

    /// Another program restores against us: at most one restore a second.
    fn held_back(&self) -> Option<Timestamp> {
        let restores = self.facts.restores.as_ref()?;
        let within = |since: Timestamp, limit| {
            let age = self.now.wall.duration_since(since);
            !age.is_negative() && age < limit
        };
        let many = restores.count >= MANY_RESTORES && within(restores.since, SignedDuration::from_secs(60));
        let next = restores.last.checked_add(SLOW_RESTORE).ok()?;
        (many && within(restores.last, SLOW_RESTORE)).then_some(next)
    }

    fn hold(&mut self, until: Timestamp) -> Vec<Step> {
        self.findings.push(findings::fight(self.facts));
        let what = "restore held back: another program changes the ruleset against us".into();
        let next = Some("find the program that the findings name and stop it".into());
        self.pending = Some(Pending { what, until, next });
        vec![]
    }

    /// The ruleset of the trial on disk is written down as confirmed: whatever the kernel shows, there is no way back.
    fn confirmed(&mut self) -> Vec<Step> {
        match self.facts.here.trial.as_ref().filter(|_| self.facts.own == Own::Confirmed) {
            Some(trial) => self.kept(trial),
            None => self.restore(),
        }
    }

    /// A trial on disk.
    fn during(&mut self, trial: &TrialFacts) -> Vec<Step> {
        let Some(kept) = self.facts.here.trial.clone() else { return self.judged_elsewhere(trial) };
        let here = kept.boot_id == self.now.boot_id;
        let left = kept.left(self.now);
        let given_up = self.refused(kept.new.hash).is_some_and(|r| r.number == kept.new.number);
        match &self.facts.own {
            Own::NewConfirmed => self.finish(&kept),
            _ if !here => self.give_up(&kept, RESTARTED),
            _ if given_up => self.give_up(&kept, NOBODY),
            Own::OnTrial if self.facts.live == Some(true) && left > 0 => self.wait(&kept),
            Own::OnTrial => self.give_up(&kept, NOBODY),
            Own::Staged => {
                let line = format!("take the staged g{} away", kept.new.number);
                let json = transaction::unstage(kept.over.numbered(), kept.new.numbered());
                let mut steps = vec![Step::load(Purpose::Abandon, line, json)];
                steps.extend(self.ended());
                steps
            }
            // The kernel shows the old one and the time is over, so that the next pass would not know of this trial.
            Own::Confirmed | Own::Old if left == 0 && self.wants(kept.new.hash) => {
                self.give_up(&kept, NOBODY)
            }
            Own::Confirmed | Own::Old | Own::Wanted { .. } | Own::Baseline => self.ended(),
            Own::Absent | Own::Differs { .. } if left > 0 => self.resume(&kept, left),
            Own::Absent | Own::Differs { .. } => {
                self.findings.extend(findings::drift(self.facts));
                self.give_up(&kept, NOBODY)
            }
        }
    }

    /// Somebody changed the table during the trial, or the load was interrupted: both rulesets again, for the time that is left.
    fn resume(&mut self, trial: &Trial, left: u32) -> Vec<Step> {
        if !self.wants(trial.new.hash) {
            return self.withdraw(trial);
        }
        let interrupted =
            self.facts.own == Own::Absent && trial.over.number == 0 && self.facts.changes.is_empty();
        if !interrupted {
            self.findings.extend(findings::drift(self.facts));
        }
        if let Some(until) = self.held_back() {
            return self.hold(until);
        }
        let line = format!(
            "load g{} over g{} again, {left} s of the trial are left",
            trial.new.number, trial.over.number
        );
        let json = transaction::first_trial(trial.over.numbered(), trial.new.numbered(), left);
        vec![Step::load(Purpose::Load, line, json), self.count_restore()]
    }

    /// The trial runs.
    fn wait(&mut self, trial: &Trial) -> Vec<Step> {
        if !self.wants(trial.new.hash) {
            return self.withdraw(trial);
        }
        let what = format!("firewall trial g{}", trial.new.number);
        let pending =
            |next: &str| Some(Pending { what: what.clone(), until: trial.until, next: Some(next.into()) });
        let Some(confirm) = &self.facts.confirm else {
            self.pending = pending("type `tenure-agent confirm` in a session opened now");
            return vec![];
        };
        let ours = confirm.number == trial.new.number && confirm.hash == trial.new.hash;
        if !ours || confirm.at < trial.from || confirm.at > trial.until {
            self.pending =
                pending("the confirmation was for another trial; type `tenure-agent confirm` again");
            return vec![Step::remove(state::CONFIRM)];
        }
        let line = format!("confirm g{}, as {} asked", trial.new.number, super::describe::text(&confirm.by));
        let json = transaction::confirm(trial.over.numbered(), trial.new.numbered());
        let mut steps = vec![self.write_next(trial), Step::load(Purpose::Confirm, line, json)];
        steps.push(self.keep_next(trial));
        steps.extend(self.kept(trial));
        steps
    }

    /// The new ruleset is in force and nothing says so yet: write that down.
    fn finish(&self, trial: &Trial) -> Vec<Step> {
        let written = self.facts.here.next.as_ref().is_some_and(|next| next.ruleset == trial.new);
        let mut steps = Vec::new();
        steps.extend((!written).then(|| self.write_next(trial)));
        steps.push(self.keep_next(trial));
        steps.extend(self.kept(trial));
        steps
    }

    /// The new ruleset is in force and kept: cut what it denies, and the trial is over.
    fn kept(&self, trial: &Trial) -> Vec<Step> {
        let mut steps = self.cut(&trial.new.table);
        steps.extend([
            Step::remove(state::CONFIRM),
            Step::remove(state::REFUSED),
            Step::remove(state::TRIAL),
        ]);
        steps.extend(self.marked());
        steps
    }

    /// The policy changed while its predecessor was on trial: back to the old one; the next pass tries the newest.
    fn withdraw(&mut self, trial: &Trial) -> Vec<Step> {
        let mut steps = self.back(trial);
        steps.extend(self.cut(&trial.over.table));
        steps.extend(self.ended());
        steps
    }

    /// The trial is over without a confirmation: back to the old ruleset, and not again until somebody asks. Back first, as that
    /// needs no room on the disk; who is killed then gives up once more.
    fn give_up(&mut self, trial: &Trial, why: &str) -> Vec<Step> {
        let refused =
            Refused { number: trial.new.number, hash: trial.new.hash, why: why.into(), at: self.now.wall };
        let mut steps = self.back(trial);
        steps.extend(self.cut(&trial.over.table));
        match self.refused(trial.new.hash) {
            Some(known) if known.number == trial.new.number => self.findings.push(findings::expired(known)),
            _ => {
                self.findings.push(findings::expired(&refused));
                let line = format!("do not try g{} again by itself: {why}", refused.number);
                steps.push(Step::put(line, state::file(state::REFUSED, &refused)));
            }
        }
        steps.extend(self.ended());
        steps
    }

    /// From whatever the kernel shows to the trial's old ruleset.
    fn back(&self, trial: &Trial) -> Vec<Step> {
        let nothing = trial.over.table == Table::open();
        let (old, new) = (trial.over.numbered(), trial.new.numbered());
        let line = format!("go back to {}", named(&trial.over));
        let json = match &self.facts.own {
            Own::Confirmed | Own::Old => return vec![],
            Own::Absent if nothing => return vec![],
            _ if nothing => transaction::lift(),
            Own::OnTrial => transaction::abandon(old, new),
            Own::Staged => transaction::unstage(old, new),
            Own::Absent | Own::NewConfirmed | Own::Wanted { .. } | Own::Baseline | Own::Differs { .. } => {
                transaction::replace(&Shown::Confirmed(old))
            }
        };
        vec![Step::load(Purpose::Abandon, line, json)]
    }

    fn cut(&self, table: &Table) -> Vec<Step> {
        let here = &self.facts.here;
        let flows = denied(table, &here.flows, &here.addresses);
        if flows.is_empty() {
            return vec![];
        }
        let line = format!("cut {} open connections that the ruleset denies", flows.len());
        vec![Step::new(Purpose::Cut, line, Action::Tell(Command::ConntrackDelete { flows }))]
    }

    /// Reported facts, judged away from the host: what it will do is known, how is not.
    fn judged_elsewhere(&mut self, trial: &TrialFacts) -> Vec<Step> {
        let runs =
            self.facts.own == Own::OnTrial && self.facts.live == Some(true) && self.facts.confirm.is_none();
        if runs && self.wants(trial.new.hash) {
            let what = format!("firewall trial g{}", trial.new.number);
            self.pending = Some(Pending { what, until: trial.until, next: None });
            return vec![];
        }
        vec![only_on_host(Purpose::State, "end the trial")]
    }
}

fn only_on_host(purpose: Purpose, line: &str) -> Step {
    Step::new(purpose, line, Action::OnlyOnHost)
}

fn keeping(number: u32) -> String {
    format!("keep g{number} as confirmed, for restoring and for boot")
}

fn named(ruleset: &Ruleset) -> String {
    match ruleset.number {
        0 if ruleset.table == Table::open() => "no ruleset of ours".into(),
        0 => "the baseline (drop, plus management path)".into(),
        number => format!("g{number}"),
    }
}

fn after(at: Timestamp, seconds: u32) -> Timestamp {
    at.checked_add(SignedDuration::from_secs(seconds.into())).unwrap_or(Timestamp::MAX)
}
