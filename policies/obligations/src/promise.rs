//! One promise: which hosts it is about, what judges its duty there, and how hosts' answers become one row.

use jiff::Timestamp;
use tenure_policy::bundles::{PromiseDuty, TenantDuties};
use tenure_policy::duties::Judged;
use tenure_trust::{HostName, SetName, TenantId};

use crate::judge::Context;
use crate::reason::Reason;
use crate::state::{Evidence, Obligation, State};
use crate::{access, counted, drills, offhost, patches, purge, ring, waivers};

/// What is said of a duty on one host.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    /// The host; none for a duty that is about none.
    pub(crate) host: Option<HostName>,
    pub(crate) state: State,
    pub(crate) why: Vec<Reason>,
    pub(crate) since: Option<Timestamp>,
    pub(crate) next: Option<Timestamp>,
    pub(crate) evidence: Vec<Evidence>,
}

impl Answer {
    /// An answer with one reason.
    pub(crate) fn new(host: Option<&HostName>, state: State, why: Reason) -> Self {
        Self { host: host.cloned(), state, why: vec![why], since: None, next: None, evidence: Vec::new() }
    }

    /// Takes a worse state, the reasons of the state that counts first, and the earliest next date.
    pub(crate) fn and(mut self, other: Self) -> Self {
        if other.state > self.state {
            return other.and(self);
        }
        if other.state == self.state {
            self.since = earliest(self.since, other.since);
            self.next = earliest(self.next, other.next);
        }
        self.why.extend(other.why);
        self.evidence.extend(other.evidence);
        self
    }
}

/// The earlier of two moments.
pub(crate) fn earliest(a: Option<Timestamp>, b: Option<Timestamp>) -> Option<Timestamp> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

/// What is asked.
pub(crate) struct Asked<'a> {
    pub(crate) tenant: &'a TenantId,
    pub(crate) duties: &'a TenantDuties,
    pub(crate) promise: &'a PromiseDuty,
}

/// The rows of one promise: one, and one more for hosts on which it is waived.
pub(crate) fn rows(context: &Context<'_>, asked: &Asked<'_>, number: usize, rows: &mut Vec<Obligation>) {
    let answers = answers(context, asked);
    let (open, waived) = waivers::split(context, asked, answers);
    let row = |says: String, answer: Answer| {
        let Answer { state, mut why, since, next, mut evidence, .. } = answer;
        why.dedup();
        evidence.sort_unstable();
        evidence.dedup();
        Obligation {
            tenant: asked.tenant.clone(),
            promise: u32::try_from(number).unwrap_or(u32::MAX),
            duty: asked.promise.means.clone(),
            says,
            state,
            why,
            since,
            next,
            evidence,
        }
    };
    rows.extend(joined(open).map(|answer| row(asked.promise.says.clone(), answer)));
    rows.extend(joined(waived).map(|answer| row(asked.promise.says.clone(), answer)));
}

/// One answer of several hosts': met answers of the same kind become one reason.
fn joined(answers: Vec<Answer>) -> Option<Answer> {
    let mut all = answers.into_iter().reduce(Answer::and)?;
    let mut why: Vec<Reason> = Vec::with_capacity(all.why.len());
    for reason in all.why {
        match (why.last_mut(), reason) {
            (Some(Reason::Current { hosts }), Reason::Current { hosts: more }) => hosts.extend(more),
            (
                Some(Reason::AsPolicySays { hosts, areas }),
                Reason::AsPolicySays { hosts: more, areas: of },
            ) if *areas == of => hosts.extend(more),
            (_, reason) => why.push(reason),
        }
    }
    all.why = why;
    Some(all)
}

fn answers(context: &Context<'_>, asked: &Asked<'_>) -> Vec<Answer> {
    let alone = |state, why| vec![Answer::new(None, state, why)];
    let on_hosts = |judge: &dyn Fn(&HostName) -> Answer| match asked.promise.hosts.is_empty() {
        true => alone(State::Unknown, Reason::NoHost),
        false => asked.promise.hosts.iter().map(judge).collect(),
    };
    match asked.promise.means.as_str() {
        "access.key_and_address" | "access.secured" => on_hosts(&|host| access::logins(context, host)),
        "firewall.both_ways" => on_hosts(&|host| access::firewall(context, host)),
        "patch.security" => on_hosts(&|host| patches::security(context, host)),
        "backup.server" => on_hosts(&|host| counted::set(context, asked, host, SetName::Server)),
        "backup.nightly" => on_hosts(&|host| counted::set(context, asked, host, SetName::Nightly)),
        "backup.offhost" => on_hosts(&|host| offhost::answer(context, asked, host)),
        "backup.ring" => on_hosts(&|host| ring::answer(context, asked, host)),
        "backup.drill" => on_hosts(&|host| drills::answer(context, asked, host)),
        "purge" => vec![purge::answer(context, asked)],
        _ => match asked.promise.judged {
            Judged::Attested => alone(State::NotCheckable, Reason::PersonAnswers),
            // a duty that this code does not know how to see is never met
            Judged::NoProbe | Judged::Declared | Judged::Checked | Judged::Enforced => {
                alone(State::Unknown, Reason::NoProbe)
            }
        },
    }
}
