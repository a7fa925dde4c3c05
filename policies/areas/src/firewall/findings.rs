//! The findings of the area, in words.

use super::compile::CompileError;
use super::facts::{Facts, ForeignChain, Own};
use super::state::Refused;
use crate::area::{Finding, Weight};

const OURS: &str = "table inet tenure";

fn finding(kind: &str, place: impl Into<String>, what: impl Into<String>, weight: Weight) -> Finding {
    Finding { kind: kind.into(), place: place.into(), what: what.into(), weight, at: None, by: None }
}

/// What is worth saying whatever the plan is.
pub(super) fn standing(facts: &Facts) -> Vec<Finding> {
    let mut out: Vec<Finding> = facts.foreign.iter().map(foreign).collect();
    for fault in &facts.faults {
        let (place, why) = fault.split_once(": ").unwrap_or((fault, "not to be believed"));
        let what = format!("the state file is not used: {why}");
        out.push(finding("state-not-believed", place, what, Weight::Drift));
    }
    if !facts.bridges.is_empty() {
        let what = format!(
            "container bridges found ({}): the forward hook is left out, what passes through this host is not judged",
            facts.bridges.join(", ")
        );
        out.push(finding("forward-not-enforced", "hook forward", what, Weight::Note));
    } else if facts.passes_on {
        let what = "this host passes packets on for others (ip_forward), and the forward hook lets through only what the \
                    policy's `containers` list: a VPN, a router or virtual machines behind it need a rule there";
        out.push(finding("forwards-for-others", "hook forward", what, Weight::Note));
    }
    out
}

fn foreign(chain: &ForeignChain) -> Finding {
    if chain.is_warm_up() {
        let what = format!(
            "chain {} (hook {}, priority {}) of the table that Tenure has for a moment before a first trial: a trial that was \
             broken off left it, or somebody else made it; it is taken away",
            chain.chain, chain.hook, chain.priority
        );
        return finding("warm-up-left", format!("table inet {}", chain.table), what, Weight::Drift);
    }
    let ForeignChain { family, table, chain, kind, hook, priority, policy } = chain;
    let policy = policy.as_ref().map(|p| format!(", policy {p}")).unwrap_or_default();
    let what = format!(
        "chain {chain} ({kind}, hook {hook}, priority {priority}{policy}) of another program may change what gets through; name \
         {table} in `neighbours` if it is meant to be there"
    );
    finding("foreign-table", format!("table {family} {table}"), what, Weight::Drift)
}

/// The section does not compile on this host.
pub(super) fn not_compiled(error: &CompileError) -> Finding {
    let kind = match error {
        CompileError::UnknownUser { .. } => "unknown-user",
        _ => "not-compiled",
    };
    let place = error.rule().unwrap_or_else(|| "firewall".into());
    finding(kind, place, format!("{error}; nothing was loaded: {}", error.hint()), Weight::Drift)
}

/// Our table is not as it should be: one finding per difference, with the last change's time and process.
pub(super) fn drift(facts: &Facts) -> Vec<Finding> {
    let differences = match &facts.own {
        Own::Absent => vec!["the table is gone".to_string()],
        Own::Differs { differences, .. } if !differences.is_empty() => differences.clone(),
        _ => vec!["not the confirmed ruleset".to_string()],
    };
    let last = facts.changes.last();
    let mut out: Vec<Finding> = differences
        .into_iter()
        .map(|what| Finding {
            at: last.map(|c| c.at),
            by: last.and_then(|c| c.by.clone()),
            ..finding("ruleset-changed", OURS, what, Weight::Drift)
        })
        .collect();
    let earlier = facts.changes.len().saturating_sub(1);
    for change in facts.changes.iter().take(earlier).rev().take(8).rev() {
        out.push(Finding {
            at: Some(change.at),
            by: change.by.clone(),
            ..finding("ruleset-changed-before", OURS, "an earlier change of the same drift", Weight::Note)
        });
    }
    out
}

/// A trial ended without a confirmation.
pub(super) fn expired(refused: &Refused) -> Finding {
    let what =
        format!("the trial of g{} ended and the old ruleset is in force: {}", refused.number, refused.why);
    Finding { at: Some(refused.at), ..finding("trial-expired", OURS, what, Weight::Drift) }
}

/// The policy's ruleset is not tried again by itself.
pub(super) fn not_retried(refused: &Refused) -> Finding {
    let what = format!(
        "the policy's ruleset was on trial as g{} and {}; run `tenure-agent apply` to try it again",
        refused.number, refused.why
    );
    Finding { at: Some(refused.at), ..finding("trial-expired", OURS, what, Weight::Drift) }
}

/// The state on disk is gone although a ruleset is, or was, in force.
pub(super) fn state_lost(facts: &Facts, tried: bool) -> Finding {
    let kernel = match facts.own {
        Own::Absent => "no table of ours is loaded",
        Own::Baseline => "the baseline (drop, plus management path) is loaded",
        _ => "the loaded table is not what the policy wants",
    };
    let next = match (tried, facts.enforced) {
        (true, _) => "the policy's ruleset is tried over the baseline (drop, plus management path)",
        (false, true) => {
            "the policy's ruleset cannot be tried, so that the baseline (drop, plus management path) belongs here"
        }
        (false, false) => "the policy's ruleset cannot be tried, and nothing was ever enforced here",
    };
    let what = format!("the confirmed ruleset on disk is gone and {kernel}; {next}");
    finding("state-lost", super::state::CONFIRMED, what, Weight::Drift)
}

/// The state on disk was gone and could be written again from what the kernel shows.
pub(super) fn adopted(number: u32) -> Finding {
    let what = format!(
        "the confirmed ruleset on disk was gone; g{number} in the kernel is what the policy wants and was kept"
    );
    finding("state-lost", super::state::CONFIRMED, what, Weight::Note)
}

/// Another program restores against us.
pub(super) fn fight(facts: &Facts) -> Finding {
    let count = facts.restores.as_ref().map_or(0, |r| r.count);
    let last = facts.changes.last();
    Finding {
        at: last.map(|c| c.at),
        by: last.and_then(|c| c.by.clone()),
        ..finding(
            "restored-too-often",
            OURS,
            format!(
                "{count} restores within a minute: another program undoes them; restoring once a second from now on"
            ),
            Weight::Drift,
        )
    }
}
