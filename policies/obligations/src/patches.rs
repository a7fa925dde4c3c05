//! `patch.security`: no security update waits longer than the policy allows; old package lists are unknown.

use jiff::{SignedDuration, Timestamp};
use tenure_areas::area::{Finding, Weight};
use tenure_policy::resolved::PatchSection;
use tenure_trust::HostName;

use crate::judge::Context;
use crate::promise::Answer;
use crate::reason::Reason;
use crate::state::{Evidence, State};

/// Security updates within the deadline.
pub(crate) fn security(context: &Context<'_>, host: &HostName) -> Answer {
    let Some(seen) = context.host(host) else { return context.unheard(host) };
    let area = &seen.areas.patch;
    let evidence: Vec<Evidence> = area.record.iter().cloned().map(Evidence::Record).collect();
    let judged = match (&area.judged, seen.policy.and_then(|policy| policy.patch)) {
        (Ok(judged), Some(section)) => Ok((judged, section)),
        (Err(why), _) => Err(why.clone()),
        (Ok(_), None) => Err(Reason::NotInPolicy { host: host.clone(), section: "patch".into() }),
    };
    let mut answer = match judged {
        Err(why) => Answer::new(Some(host), State::Unknown, why),
        Ok((judged, section)) => of_findings(host, &judged.findings, section),
    };
    answer.evidence = evidence;
    answer
}

fn of_findings(host: &HostName, findings: &[Finding], section: PatchSection) -> Answer {
    let lists = findings.iter().find(|f| f.weight == Weight::Unknown).map(|finding| {
        let why = Reason::ListsStale { host: host.clone(), what: finding.what.clone() };
        Answer::new(Some(host), State::Unknown, why)
    });
    let waits = |kind: &str| {
        let of_kind = || findings.iter().filter(|f| f.kind == kind);
        let oldest = of_kind().min_by_key(|f| (f.at, f.place.clone()))?;
        let since = oldest.at?;
        let until = after(since, section.security_within_seconds);
        let why = Reason::UpdateWaits {
            host: host.clone(),
            package: oldest.place.clone(),
            count: u32::try_from(of_kind().count()).unwrap_or(u32::MAX),
            since,
            limit_seconds: section.security_within_seconds,
        };
        Some((why, until))
    };
    let updates = if let Some((why, until)) = waits("security-overdue") {
        Some(Answer { since: Some(until), ..Answer::new(Some(host), State::Overdue, why) })
    } else {
        waits("security-waiting")
            .map(|(why, until)| Answer { next: Some(until), ..Answer::new(Some(host), State::Due, why) })
    };
    match (updates, lists) {
        (Some(updates), Some(lists)) => updates.and(lists),
        (Some(one), None) | (None, Some(one)) => one,
        (None, None) => Answer::new(Some(host), State::Met, Reason::Current { hosts: vec![host.clone()] }),
    }
}

fn after(at: Timestamp, seconds: u64) -> Timestamp {
    let seconds = i64::try_from(seconds).unwrap_or(i64::MAX);
    at.checked_add(SignedDuration::from_secs(seconds)).unwrap_or(Timestamp::MAX)
}
