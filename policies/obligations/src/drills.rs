//! `backup.drill`: restoring is proved at intervals for each dump that holds the tenant's data, and the newest proof of
//! each held.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};
use tenure_policy::bundles::BackupSection;
use tenure_trust::{HostName, Owner};

use crate::input::HostDrill;
use crate::judge::Context;
use crate::promise::{Answer, Asked};
use crate::reason::{Dump, Reason};
use crate::state::{Evidence, State};
use crate::view::{DrillRow, Drilled};

/// The newest drill of each dump against the policy's interval: of the tenant's own dumps and of the host's, which hold
/// what tenants share. The worst counts.
pub(crate) fn answer(context: &Context<'_>, asked: &Asked<'_>, host: &HostName) -> Answer {
    let Some(seen) = context.host(host) else { return context.unheard(host) };
    let unknown = |why| Answer::new(Some(host), State::Unknown, why);
    let lacks = |section: &str| Reason::NotInPolicy { host: host.clone(), section: section.to_owned() };
    let backup = seen.policy.and_then(|policy| policy.backup.as_ref());
    let section = backup.and_then(|backup| Some((backup, backup.drill.as_ref()?)));
    let mut answer = match (section, &seen.backups) {
        (None, _) => unknown(lacks("drill")),
        (_, Err(why)) => unknown(why.clone()),
        (Some((backup, section)), Ok(told)) => {
            let mut dumps = dumps(backup, &Owner::Tenant(asked.tenant.clone()));
            dumps.extend(self::dumps(backup, &Owner::Host));
            let judged = dumps.into_iter().map(|dump| {
                let last = newest(&told.drills, &dump, context.now());
                judge(host, dump, last, section.every_seconds, seen.admitted, context.now())
            });
            judged.reduce(Answer::and).unwrap_or_else(|| unknown(lacks("dump of a database")))
        }
    };
    answer.evidence = seen.record.iter().cloned().map(Evidence::Record).collect();
    answer
}

/// As a cell of the week: of an owner's dumps the one that counts, a failed before a missing before the oldest.
pub(crate) fn cell(backup: &BackupSection, owner: &Owner, drills: &[HostDrill], now: Timestamp) -> Drilled {
    let dumps = dumps(backup, owner);
    let last: Vec<Option<&HostDrill>> = dumps.iter().map(|dump| newest(drills, dump, now)).collect();
    if last.is_empty() {
        return Drilled::Nothing;
    }
    let failed = last.iter().flatten().filter(|drill| !drill.held).max_by_key(|drill| drill.at);
    let shown = match failed {
        Some(drill) => Some(drill),
        None if last.iter().any(Option::is_none) => None,
        None => last.iter().flatten().min_by_key(|drill| drill.at),
    };
    shown.map_or(Drilled::Never, |drill| {
        Drilled::Last(DrillRow { at: drill.at, held: drill.held, took_ms: drill.took_ms })
    })
}

/// An owner's dumps, whichever of its series they stand in.
fn dumps(backup: &BackupSection, owner: &Owner) -> BTreeSet<Dump> {
    let series = backup.series.iter().filter(|one| one.series.owner == *owner);
    let dumps = series.flat_map(|one| &one.dumps);
    dumps.map(|dump| Dump { owner: owner.clone(), database: dump.database.clone() }).collect()
}

/// The newest drill of a dump. A time ahead of the controller's clock is no proof of anything.
fn newest<'a>(drills: &'a [HostDrill], dump: &Dump, now: Timestamp) -> Option<&'a HostDrill> {
    let of = |drill: &&HostDrill| drill.dump.as_ref().is_some_and(|of| of.is(&dump.owner, &dump.database));
    drills.iter().filter(of).filter(|drill| drill.at <= now).max_by_key(|drill| drill.at)
}

fn judge(
    host: &HostName,
    dump: Dump,
    newest: Option<&HostDrill>,
    every_seconds: u64,
    admitted: Option<Timestamp>,
    now: Timestamp,
) -> Answer {
    let (host, dump) = (host.clone(), Some(dump));
    let on = host.clone();
    let after = |at: Timestamp| {
        let every = i64::try_from(every_seconds).unwrap_or(i64::MAX);
        at.checked_add(SignedDuration::from_secs(every)).unwrap_or(Timestamp::MAX)
    };
    match newest {
        Some(drill) if !drill.held => {
            let why = Reason::DrillFailed { host, dump, at: drill.at, what: drill.what.clone() };
            Answer { since: Some(drill.at), ..Answer::new(Some(&on), State::Broken, why) }
        }
        Some(drill) if now <= after(drill.at) => {
            let why = Reason::Drilled { host, dump, at: drill.at, took_ms: drill.took_ms };
            Answer { next: Some(after(drill.at)), ..Answer::new(Some(&on), State::Met, why) }
        }
        missing => {
            let last = missing.map(|drill| drill.at);
            let until = after(last.or(admitted).unwrap_or(now));
            let why = Reason::DrillWaits { host, dump, last, every_seconds };
            match now <= until {
                true => Answer { next: Some(until), ..Answer::new(Some(&on), State::Due, why) },
                false => Answer { since: Some(until), ..Answer::new(Some(&on), State::Overdue, why) },
            }
        }
    }
}
