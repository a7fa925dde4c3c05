//! `backup.drill`: restoring is proved at intervals, and the newest proof held.

use jiff::{SignedDuration, Timestamp};
use tenure_trust::HostName;

use crate::input::HostDrill;
use crate::judge::Context;
use crate::promise::Answer;
use crate::reason::Reason;
use crate::state::{Evidence, State};

/// The newest drill of the host against the policy's interval.
pub(crate) fn answer(context: &Context<'_>, host: &HostName) -> Answer {
    let Some(seen) = context.host(host) else { return context.unheard(host) };
    let section = seen.policy.and_then(|policy| policy.backup.as_ref()?.drill.as_ref());
    let mut answer = match (section, &seen.backups) {
        (None, _) => {
            let why = Reason::NotInPolicy { host: host.clone(), section: "drill".into() };
            Answer::new(Some(host), State::Unknown, why)
        }
        (_, Err(why)) => Answer::new(Some(host), State::Unknown, why.clone()),
        (Some(section), Ok(backups)) => {
            let newest = newest(&backups.drills, context.now());
            judge(host, newest, section.every_seconds, seen.admitted, context.now())
        }
    };
    answer.evidence = seen.record.iter().cloned().map(Evidence::Record).collect();
    answer
}

/// A time ahead of the controller's clock is no proof of anything.
pub(crate) fn newest(drills: &[HostDrill], now: Timestamp) -> Option<&HostDrill> {
    drills.iter().filter(|drill| drill.at <= now).max_by_key(|drill| drill.at)
}

fn judge(
    host: &HostName,
    newest: Option<&HostDrill>,
    every_seconds: u64,
    admitted: Option<Timestamp>,
    now: Timestamp,
) -> Answer {
    let after = |at: Timestamp| {
        let every = i64::try_from(every_seconds).unwrap_or(i64::MAX);
        at.checked_add(SignedDuration::from_secs(every)).unwrap_or(Timestamp::MAX)
    };
    let waits = |last: Option<Timestamp>, from: Timestamp| {
        let why = Reason::DrillWaits { host: host.clone(), last, every_seconds };
        let until = after(from);
        match now <= until {
            true => Answer { next: Some(until), ..Answer::new(Some(host), State::Due, why) },
            false => Answer { since: Some(until), ..Answer::new(Some(host), State::Overdue, why) },
        }
    };
    match newest {
        Some(drill) if !drill.held => {
            let why = Reason::DrillFailed { host: host.clone(), at: drill.at, what: drill.what.clone() };
            Answer { since: Some(drill.at), ..Answer::new(Some(host), State::Broken, why) }
        }
        Some(drill) if now <= after(drill.at) => {
            let why = Reason::Drilled { host: host.clone(), at: drill.at, took_ms: drill.took_ms };
            Answer { next: Some(after(drill.at)), ..Answer::new(Some(host), State::Met, why) }
        }
        Some(drill) => waits(Some(drill.at), drill.at),
        None => waits(None, admitted.unwrap_or(now)),
    }
}
