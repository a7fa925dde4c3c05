//! `backup.offhost`: copies stand on another machine at another site. Two names with one boot or machine id are one
//! machine, whatever the policy says.

use tenure_policy::bundles::MachineFacts;
use tenure_trust::{HostName, Owner, SetName};

use crate::copies::{Series, Slot};
use crate::counted;
use crate::judge::{Context, HostSeen};
use crate::promise::{Answer, Asked};
use crate::reason::Reason;
use crate::slots::SlotSeen;
use crate::state::State;

/// Every series that holds the tenant's data has a vault elsewhere, with a copy in it.
pub(crate) fn answer(context: &Context<'_>, asked: &Asked<'_>, host: &HostName) -> Answer {
    let Some(seen) = context.host(host) else { return context.unheard(host) };
    let sets = [SetName::Server, SetName::Nightly];
    let own = Owner::Tenant(asked.tenant.clone());
    let mut series: Vec<&Series<'_>> =
        sets.iter().flat_map(|set| context.series_of(host, &own, *set)).collect();
    if series.is_empty() {
        series = sets.iter().flat_map(|set| context.series_of(host, &Owner::Host, *set)).collect();
    }
    if series.is_empty() {
        let why = Reason::NotInPolicy { host: host.clone(), section: "backup".into() };
        return Answer::new(Some(host), State::Unknown, why);
    }
    let silence = context.silence(seen, &series);
    let mut answer = match silence.is_empty() {
        false => Answer { why: silence, ..Answer::new(Some(host), State::Unknown, Reason::NoProbe) },
        true => {
            let each = series.iter().map(|one| apart(context, host, seen, one));
            each.reduce(Answer::and).unwrap_or_else(|| context.unheard(host))
        }
    };
    answer.why.sort();
    answer.why.dedup();
    answer.evidence = counted::evidence(context, host, &series);
    answer
}

fn apart(context: &Context<'_>, host: &HostName, seen: &HostSeen<'_>, series: &Series<'_>) -> Answer {
    let id = &series.section.series;
    let say = |state, why| Answer::new(Some(host), state, why);
    let Some(vault) = context.vault(&id.vault) else { return context.unheard(host) };
    let there = &vault.policy.host;
    let site = |machine: &HostName| {
        context.input.book.machines.get(machine).and_then(|facts: &MachineFacts| facts.site.clone())
    };
    match (site(host), site(there)) {
        (Some(here), Some(elsewhere)) if here != elsewhere && host != there => {}
        (Some(here), Some(elsewhere)) if here == elsewhere || host == there => {
            let why = Reason::SameSite { host: host.clone(), vault: there.clone(), site: Some(here) };
            return say(State::Broken, why);
        }
        _ => {
            let why = Reason::SameSite { host: host.clone(), vault: there.clone(), site: None };
            return say(State::Unknown, why);
        }
    }
    let (Ok(ours), Ok(theirs)) = (&seen.backups, &vault.facts) else { return context.unheard(host) };
    match (ours.machine, ours.boot) {
        (Some(machine), Some(boot)) if machine != theirs.machine && boot != theirs.boot => {}
        (None, _) | (_, None) => {
            let why = Reason::MachinesUntold { host: host.clone(), vault: there.clone() };
            return say(State::Unknown, why);
        }
        _ => return say(State::Unknown, Reason::OneMachine { host: host.clone(), vault: there.clone() }),
    }
    let copies = series.slots.iter().any(|slot| matches!(slot.seen, SlotSeen::Done { .. }));
    match copies {
        true => {
            let (host, vault, on) = (host.clone(), id.vault.clone(), there.clone());
            say(State::Met, Reason::Elsewhere { host, vault, on })
        }
        false => no_copy(context, host, series),
    }
}

/// None of the last days: due while the first is still to come, overdue after.
fn no_copy(context: &Context<'_>, host: &HostName, series: &Series<'_>) -> Answer {
    let why = Reason::NoCopyYet { host: host.clone() };
    let passed = |slot: &Slot| slot.seen.fault().is_some_and(|(state, _)| state > State::Due);
    let failed = series.slots.iter().any(passed);
    let next = series.slots.iter().map(|slot| slot.window.until).filter(|until| *until > context.now()).min();
    let state = if failed { State::Overdue } else { State::Due };
    Answer { next, ..Answer::new(Some(host), state, why) }
}
