//! Refuses what would leave nobody of management a way in. Judges the texts that would stand there in the end,
//! not the intentions behind them.

use std::collections::BTreeSet;

use tenure_policy::resolved::Login;

use super::config::Reading;
use super::facts::{Facts, Managed, Place};
use super::plan::{key_path, management};
use super::step::{DropIn, Step};
use super::{DROP_IN, Desired, KEYS, beside, config, others, render, trial};
use crate::area::{Approved, Plan, Refusal};
use crate::ssh_servers::SSH;

pub(super) fn guard(desired: &Desired, plan: Plan<Step>, facts: &Facts) -> Result<Approved<Step>, Refusal> {
    // Going back from a trial, during which nothing of what stood before was away.
    let back =
        |step: &Step| matches!(step, Step::PutDropIn { is: DropIn::Old, .. } | Step::RemoveDropIn { .. });
    if plan.steps.iter().any(back) {
        return Ok(Approved::by_guard(plan));
    }
    if matches!(facts.reading, Reading::Never | Reading::Sometimes) {
        return Err(Refusal {
            kind: "drop-in-not-read".into(),
            rule: None,
            what: format!(
                "sshd would not read {DROP_IN}: {} includes its directory not at all or only in a Match block",
                config::MAIN
            ),
            hint: format!("make `Include {}/*.conf` the first line of {}", config::DIRECTORY, config::MAIN),
        });
    }
    // Once sshd reads our keys a directory that somebody changed is drift like any other: what can be restored is.
    let mends = |place: &&Place| plan.steps.iter().any(|step| step.opens(&place.path));
    if facts.reloaded.is_none()
        && let Some(place) = facts.directories.iter().find(|place| !mends(place))
    {
        return Err(Refusal {
            kind: "directory-untrusted".into(),
            rule: None,
            what: format!("sshd would take no key from {KEYS}: {} has {}", place.path, place.why),
            hint: "mend it, then the next pass goes on".into(),
        });
    }
    if plan.steps.iter().any(|step| matches!(step, Step::Reload))
        && let Some(why) = others::would_move(facts)
    {
        return Err(Refusal {
            kind: "sshd-would-move".into(),
            rule: None,
            what: format!(
                "reading its configuration again would take sshd away from its port: {why}; the policy lets people in on tcp/{SSH}"
            ),
            hint: format!(
                "nothing was changed; set `Port {SSH}` in sshd's configuration, or take the other port out of it"
            ),
        });
    }
    let desired = &trial::in_charge(desired, facts);
    let all: Vec<&Login> = desired.section.logins.iter().collect();
    let ways = management(desired, &all);
    if ways.iter().any(|login| leads_in(login, &plan, facts)) {
        return Ok(Approved::by_guard(plan));
    }
    let reasons: Vec<String> = ways.iter().map(|login| why_not(login, facts)).collect();
    let reasons = if reasons.is_empty() {
        "the policy lists no login of management".into()
    } else {
        reasons.join("; ")
    };
    Err(Refusal {
        kind: "no-way-in".into(),
        rule: ways.first().map(|login| login.id.to_string()),
        what: format!("nobody of management could log in any more: {reasons}"),
        hint: "sign a policy with a login that lasts, for an account that exists on this host".into(),
    })
}

/// Would a key of this login stand in its file, and its account and a source in the drop-in?
fn leads_in(login: &Login, plan: &Plan<Step>, facts: &Facts) -> bool {
    let shell = facts.accounts.get(login.account.as_str()).is_some_and(|a| a.login_shell);
    let keys =
        last_text(plan, facts.key_files.get(login.account.as_str()), &key_path(login.account.as_str()));
    let lines: BTreeSet<&str> = keys.lines().collect();
    let drop_in = last_text(plan, Some(&facts.drop_in), DROP_IN);
    let directives = config::directives(drop_in.as_bytes());
    let allowed: BTreeSet<&str> = directives
        .iter()
        .filter(|(_, keyword, _)| keyword == "allowusers")
        .flat_map(|(_, _, args)| args.iter().map(String::as_str))
        .collect();
    shell
        && render::lines(login).iter().any(|line| lines.contains(line.as_str()))
        && (render::allow_users(&[login]).iter().any(|pattern| allowed.contains(pattern.as_str()))
            || beside::lets_in(&drop_in, login))
}

/// What would stand at a path when the plan is done.
fn last_text(plan: &Plan<Step>, seen: Option<&Managed>, at: &str) -> String {
    let mut text = seen.and_then(Managed::text).unwrap_or_default().to_owned();
    for step in &plan.steps {
        match step {
            Step::PutKeys { file, .. } | Step::PutDropIn { file, .. } if file.path.as_str() == at => {
                text = String::from_utf8_lossy(&file.bytes).into_owned();
            }
            Step::RemoveKeys { path } | Step::RemoveDropIn { path } if path.as_str() == at => text.clear(),
            _ => {}
        }
    }
    text
}

fn why_not(login: &Login, facts: &Facts) -> String {
    let Login { id, who, account, until, .. } = login;
    match facts.accounts.get(account.as_str()) {
        None => format!("{id}: the account {account} of {who} does not exist"),
        Some(seen) if !seen.login_shell => format!("{id}: {account} has no login shell"),
        Some(_) if render::lines(login).is_empty() => {
            format!("{id}: the login of {who} cannot be written for sshd")
        }
        Some(_) => format!("{id}: the login of {who} as {account} ended {until}"),
    }
}
