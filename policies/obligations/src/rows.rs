//! The tables about machines: hosts, drift, patches.

use std::collections::BTreeMap;

use tenure_areas::area::{Finding, Weight};
use tenure_areas::pass::Verdict;
use tenure_areas::patch;
use tenure_policy::resolved::Mode;
use tenure_trust::{HostName, MachineRole, VerdictTag};

use crate::areas::AreaSeen;
use crate::judge::{Context, HostSeen};
use crate::patches;
use crate::reason::Reason;
use crate::state::State;
use crate::view::{AreaRow, DriftRow, HostRow, PatchRow, UnjudgedRow};

/// Every machine of the book, those that need a person first.
pub(crate) fn hosts(context: &Context<'_>) -> Vec<HostRow> {
    let mut rows: Vec<HostRow> = context.hosts().map(|(host, seen)| host_row(context, host, seen)).collect();
    rows.sort_by(|a, b| b.state.cmp(&a.state).then_with(|| a.host.cmp(&b.host)));
    rows
}

fn host_row(context: &Context<'_>, host: &HostName, seen: &HostSeen<'_>) -> HostRow {
    let facts = context.input.book.machines.get(host);
    let vault = facts.and_then(|facts| facts.vault.clone());
    let mut reasons: Vec<(State, Reason)> = Vec::new();
    match &seen.unheard {
        Some(why) => reasons.push((State::Unknown, why.clone())),
        None => {
            for area in seen.areas.iter().filter(|area| area.mode.is_some()) {
                let (state, why, _) = area.kept(host);
                reasons.extend(why.into_iter().map(|why| (state, why)));
            }
        }
    }
    if let Some(Err(why)) = vault.as_ref().and_then(|name| context.vault(name)).map(|vault| &vault.facts) {
        reasons.push((State::Unknown, why.clone()));
    }
    reasons.sort_by_key(|(state, _)| std::cmp::Reverse(*state));
    let reported = |role| context.input.machines.get(&(host.clone(), role));
    let (agent, of_vault) = (reported(MachineRole::Host), reported(MachineRole::Vault));
    let mut chain = BTreeMap::new();
    for finding in [agent, of_vault].into_iter().flatten().flat_map(|reported| &reported.findings) {
        let count = chain.entry(finding.what).or_insert(0u32);
        *count = count.saturating_add(finding.count);
    }
    let newest = agent.and_then(|reported| {
        reported.areas.values().max_by_key(|newest| (newest.record.epoch, newest.record.seq))
    });
    HostRow {
        host: host.clone(),
        site: facts.and_then(|facts| facts.site.clone()),
        vault,
        state: reasons.first().map_or(State::Met, |(state, _)| *state),
        why: reasons.into_iter().map(|(_, why)| why).collect(),
        last_contact: agent.and_then(|reported| reported.last_contact),
        policy: newest.and_then(|newest| newest.policy),
        areas: seen.areas.iter().map(area_row).collect(),
        chain: chain.into_iter().collect(),
        record: newest.map(|newest| newest.record.clone()),
    }
}

fn area_row(area: &AreaSeen) -> AreaRow {
    let verdict = area.judged.as_ref().ok().map(|judged| judged.verdict);
    let same = |claimed: VerdictTag| match claimed {
        VerdictTag::Compliant | VerdictTag::Remediated => {
            matches!(verdict, Some(Verdict::Compliant | Verdict::Remediated))
        }
        VerdictTag::Pending => verdict == Some(Verdict::Pending),
        VerdictTag::Drifted | VerdictTag::Refused => verdict == Some(Verdict::Drifted),
        VerdictTag::Unknown => verdict.is_none() || verdict == Some(Verdict::Unknown),
    };
    let mode = area.mode.map(|mode| match mode {
        Mode::Observe => "observe",
        Mode::Enforce => "enforce",
    });
    AreaRow {
        area: area.name.to_owned(),
        mode: mode.map(str::to_owned),
        verdict,
        claimed: area.claimed.filter(|claimed| !same(*claimed)).map(|claimed| claimed.to_string()),
    }
}

/// What is not as the policy says, and what was mended since the record before; the newest first.
pub(crate) fn drift(context: &Context<'_>) -> Vec<DriftRow> {
    let mut rows = Vec::new();
    for (host, seen) in context.hosts() {
        for area in seen.areas.iter() {
            let row = |finding: &Finding, mended| DriftRow {
                host: host.clone(),
                area: area.name.to_owned(),
                mended,
                kind: finding.kind.clone(),
                place: finding.place.clone(),
                what: finding.what.clone(),
                at: finding.at.or(area.observed_at),
                by: finding.by.clone(),
                record: area.record.clone(),
            };
            if let Ok(judged) = &area.judged {
                let drift = judged.findings.iter().filter(|finding| finding.weight == Weight::Drift);
                rows.extend(drift.map(|finding| row(finding, false)));
            }
            rows.extend(area.mended.iter().map(|finding| row(finding, true)));
        }
    }
    rows.sort_by(|a, b| {
        (a.mended, &b.at, &a.host, &a.place, &a.what).cmp(&(b.mended, &a.at, &b.host, &b.place, &b.what))
    });
    rows
}

/// Hosts of which it is not known whether they are as the policy says, by name: silence is no agreement.
pub(crate) fn unjudged(context: &Context<'_>) -> Vec<UnjudgedRow> {
    let mut rows = Vec::new();
    for (host, seen) in context.hosts() {
        let (mut areas, mut why) = (Vec::new(), Vec::from_iter(seen.unheard.clone()));
        for area in seen.areas.iter().filter(|area| area.mode.is_some()) {
            let (state, reasons, _) = area.kept(host);
            if state == State::Unknown {
                areas.push(area.name.to_owned());
                why.extend(reasons);
            }
        }
        why.sort();
        why.dedup();
        if !why.is_empty() {
            rows.push(UnjudgedRow { host: host.clone(), areas, why });
        }
    }
    rows
}

/// How current each host's software is, the worst first.
pub(crate) fn patches(context: &Context<'_>) -> Vec<PatchRow> {
    let with_section = context.hosts().filter(|(_, seen)| seen.policy.is_some_and(|p| p.patch.is_some()));
    let mut rows: Vec<PatchRow> = with_section.map(|(host, seen)| patch_row(context, host, seen)).collect();
    rows.sort_by(|a, b| {
        b.state.cmp(&a.state).then_with(|| a.deadline.cmp(&b.deadline)).then_with(|| a.host.cmp(&b.host))
    });
    rows
}

fn patch_row(context: &Context<'_>, host: &HostName, seen: &HostSeen<'_>) -> PatchRow {
    let answer = patches::security(context, host);
    let facts = seen.areas.patch.judged.is_ok().then(|| facts(context, host)).flatten();
    let oldest = answer.why.iter().find_map(|why| match why {
        Reason::UpdateWaits { package, since, .. } => Some((package.clone(), *since)),
        _ => None,
    });
    let count = |security: bool| {
        let upgrades = facts.iter().flat_map(|facts| &facts.upgrades);
        u32::try_from(upgrades.filter(|upgrade| upgrade.security == security).count()).unwrap_or(u32::MAX)
    };
    PatchRow {
        host: host.clone(),
        state: answer.state,
        security: count(true),
        others: count(false),
        since: oldest.as_ref().map(|(_, since)| *since),
        oldest: oldest.map(|(package, _)| package),
        deadline: if answer.state == State::Overdue { answer.since } else { answer.next },
        why: answer.why,
        reboot_since: facts.as_ref().and_then(|facts| facts.seen.reboot),
        lists: facts.as_ref().and_then(|facts| facts.lists),
        kernel: facts.map(|facts| facts.kernel),
        record: seen.areas.patch.record.clone(),
    }
}

fn facts(context: &Context<'_>, host: &HostName) -> Option<patch::Facts> {
    let reported = context.input.machines.get(&(host.clone(), MachineRole::Host))?;
    let newest = reported.areas.iter().find(|(name, _)| name.as_str() == "patch")?.1;
    newest.report()?.facts_of::<patch::Patch>()
}
