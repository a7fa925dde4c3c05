//! Duties about who gets in: the areas `ssh_access` and `firewall`, judged again from their facts.

use tenure_trust::HostName;

use crate::areas::AreaSeen;
use crate::judge::Context;
use crate::promise::Answer;
use crate::reason::Reason;
use crate::state::{Evidence, State};

/// SSH with a known key from a known address: sshd and firewall both as the policy says.
pub(crate) fn logins(context: &Context<'_>, host: &HostName) -> Answer {
    areas(context, host, |areas| vec![&areas.ssh_access, &areas.firewall])
}

/// Default drop both ways.
pub(crate) fn firewall(context: &Context<'_>, host: &HostName) -> Answer {
    areas(context, host, |areas| vec![&areas.firewall])
}

fn areas(
    context: &Context<'_>,
    host: &HostName,
    which: impl Fn(&crate::areas::Areas) -> Vec<&AreaSeen>,
) -> Answer {
    let Some(seen) = context.host(host) else { return context.unheard(host) };
    let which = which(&seen.areas);
    let names = which.iter().map(|area| area.name.to_owned()).collect();
    let met = Reason::AsPolicySays { hosts: vec![host.clone()], areas: names };
    let mut worst = State::Met;
    let mut answer = Answer::new(Some(host), State::Met, met.clone());
    answer.why.clear();
    for area in which {
        let (state, why, next) = area.kept(host);
        worst = worst.max(state);
        let evidence = area.record.iter().cloned().map(Evidence::Record).collect();
        answer = answer.and(Answer { host: Some(host.clone()), state, why, since: None, next, evidence });
    }
    if worst == State::Met {
        answer.why = vec![met];
    }
    answer.why.dedup();
    answer
}
