//! Judges ages against the policy's periods, and says what must be remembered so that ages can be known.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use tenure_policy::resolved::PatchSection;

use super::SEEN;
use super::facts::{Facts, Seen, Upgrade, Waiting};
use crate::area::{Finding, Weight};
use crate::port::{ManagedFile, ManagedPath};

/// A file from further ahead than this has no believable time.
const AHEAD: SignedDuration = SignedDuration::from_hours(1);

pub(super) fn findings(policy: &PatchSection, facts: &Facts, now: Timestamp) -> Vec<Finding> {
    let PatchSection { security_within_seconds, reboot_within_seconds, lists_within_seconds } = *policy;
    let mut findings = vec![];
    findings.extend(lists(facts, lists_within_seconds, now));
    let seen = next(facts, now);
    for upgrade in facts.upgrades.iter().filter(|u| u.security) {
        if let Some(waiting) = seen.upgrades.get(&upgrade.package) {
            findings.push(pending(upgrade, waiting, security_within_seconds, now));
        }
    }
    let others = facts.upgrades.iter().filter(|u| !u.security).count();
    if others > 0 {
        let what = format!("{others} other updates wait; no period of the policy is about them");
        findings.push(finding("updates-waiting", "apt", what, Weight::Note, None));
    }
    if let Some(since) = seen.reboot {
        let age = age(since, now);
        let over = seconds(since, now) > reboot_within_seconds;
        let what = format!(
            "a reboot is needed for {age} of {}: {}",
            period(reboot_within_seconds),
            facts.reboot.join(", ")
        );
        let weight = if over { Weight::Drift } else { Weight::Note };
        findings.push(finding("reboot-needed", "kernel", what, weight, Some(since)));
    }
    for package in &facts.broken {
        let what = "is not installed whole: run `dpkg --configure -a` and look at what it says".to_owned();
        findings.push(finding("package-broken", package, what, Weight::Drift, None));
    }
    for package in &facts.held {
        let what = "is held back: apt leaves it as it is, with its holes".to_owned();
        findings.push(finding("package-held", package, what, Weight::Note, None));
    }
    findings
}

/// The file to write when the memory is not what the facts ask for.
pub(super) fn memory(facts: &Facts, now: Timestamp) -> Vec<ManagedFile> {
    let next = next(facts, now);
    if next == facts.seen {
        return Vec::new();
    }
    let path = ManagedPath::new(SEEN).expect("it lies in Tenure's own directory");
    let bytes = serde_json::to_vec(&next).expect("times by package are plain data");
    vec![ManagedFile { path, bytes, mode: 0o600 }]
}

/// What is remembered after these facts. A time ahead of `now` (a clock that was set back) begins anew, and a list from
/// ahead tells nothing.
fn next(facts: &Facts, now: Timestamp) -> Seen {
    let waiting = |u: &Upgrade| {
        let known = facts.seen.upgrades.get(&u.package);
        let known = known.filter(|w| w.installed == u.installed && w.since <= now);
        let listed = [known.and_then(|w| w.listed), u.listed].into_iter().flatten().filter(|at| *at <= now);
        let waiting = Waiting {
            installed: u.installed.clone(),
            since: known.map_or(now, |w| w.since),
            listed: listed.min(),
        };
        (u.package.clone(), waiting)
    };
    let upgrades: BTreeMap<_, _> = facts.upgrades.iter().filter(|u| u.security).map(waiting).collect();
    let reboot = (!facts.reboot.is_empty()).then(|| {
        let known = [facts.seen.reboot, facts.reboot_marked].into_iter().flatten().filter(|at| *at <= now);
        known.min().unwrap_or(now)
    });
    Seen { upgrades, reboot }
}

fn lists(facts: &Facts, within: u64, now: Timestamp) -> Option<Finding> {
    let unknown =
        |kind: &str, what: String, at| Some(finding(kind, "package lists", what, Weight::Unknown, at));
    match facts.lists {
        None => unknown(
            "lists-missing",
            "there are none, so nothing is known of updates: run `apt-get update`".into(),
            None,
        ),
        Some(at) if at.duration_since(now) > AHEAD => unknown(
            "lists-ahead",
            format!("their time {at} is ahead of the clock: one of them is wrong"),
            Some(at),
        ),
        Some(at) if seconds(at, now) > within => unknown(
            "lists-stale",
            format!(
                "they are {} old and must be refreshed within {}: run `apt-get update`",
                age(at, now),
                period(within)
            ),
            Some(at),
        ),
        Some(_) => None,
    }
}

fn pending(upgrade: &Upgrade, waiting: &Waiting, within: u64, now: Timestamp) -> Finding {
    let since = waiting.at_least_since();
    let over = seconds(since, now) > within;
    let (kind, weight) =
        if over { ("security-overdue", Weight::Drift) } else { ("security-waiting", Weight::Note) };
    let from = upgrade.installed.as_deref().unwrap_or("not installed");
    let what = format!(
        "security update {from} → {} waits for at least {} of {}{} ({}first seen here on {})",
        upgrade.candidate,
        age(since, now),
        period(within),
        if over { ": install it" } else { "" },
        waiting.listed.map(|at| format!("in the archive's list of {}, ", day(at))).unwrap_or_default(),
        day(waiting.since)
    );
    finding(kind, &upgrade.package, what, weight, Some(since))
}

fn finding(kind: &str, place: &str, what: String, weight: Weight, at: Option<Timestamp>) -> Finding {
    Finding { kind: kind.into(), place: place.into(), what, weight, at, by: None }
}

fn seconds(since: Timestamp, now: Timestamp) -> u64 {
    u64::try_from(now.duration_since(since).as_secs()).unwrap_or(0)
}

/// In whole days from two days on, in hours before: what is said must not change with every second.
fn age(since: Timestamp, now: Timestamp) -> String {
    let hours = seconds(since, now) / 3600;
    if hours < 48 { format!("{hours} h") } else { format!("{} d", hours / 24) }
}

fn day(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d").to_string()
}

fn period(seconds: u64) -> String {
    let hours = seconds / 3600;
    if hours >= 48 && hours.is_multiple_of(24) { format!("{} d", hours / 24) } else { format!("{hours} h") }
}
