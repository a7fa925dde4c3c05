//! Waivers: a duty that is suspended on some hosts until a date is said as waived there, beside what holds elsewhere.

use tenure_policy::bundles::WaiverFacts;
use tenure_trust::HostName;

use crate::judge::Context;
use crate::promise::{Answer, Asked};
use crate::reason::Reason;
use crate::state::{Evidence, State};

/// The answers that count, and those that are waived. A waiver excuses lateness and absence that it names; it never
/// makes what cannot be seen seen.
pub(crate) fn split(
    context: &Context<'_>,
    asked: &Asked<'_>,
    answers: Vec<Answer>,
) -> (Vec<Answer>, Vec<Answer>) {
    if context.input.book.waivers.is_empty() {
        return (answers, Vec::new());
    }
    let mut open = Vec::with_capacity(answers.len());
    let mut waived = Vec::new();
    for answer in answers {
        let waiver = answer.host.as_ref().and_then(|host| in_force(context, asked, host, &answer));
        match waiver {
            None => open.push(answer),
            Some(waiver) => waived.push(Answer {
                state: State::Waived,
                why: vec![Reason::Waived {
                    hosts: answer.host.iter().cloned().collect(),
                    owner: waiver.owner.to_string(),
                    because: waiver.because.clone(),
                    until: waiver.until,
                }],
                since: None,
                next: Some(waiver.until),
                evidence: vec![Evidence::Policy(context.input.version)],
                host: answer.host,
            }),
        }
    }
    (open, waived)
}

fn in_force<'a>(
    context: &Context<'a>,
    asked: &Asked<'_>,
    host: &HostName,
    answer: &Answer,
) -> Option<&'a WaiverFacts> {
    let excused = |waiver: &&WaiverFacts| {
        let named = waiver.until > context.now() && waiver.hosts.contains(host);
        named && excuses(&waiver.what, &asked.promise.means, answer)
    };
    context.input.book.waivers.iter().find(excused)
}

/// Does a waiver of this value excuse this answer of this duty?
fn excuses(what: &str, duty: &str, answer: &Answer) -> bool {
    // Copies that host and vault tell apart, and a drill that failed, are no lateness; another site is not made by waiting.
    let copies = duty.starts_with("backup.") && duty != "backup.offhost";
    let late =
        matches!(answer.state, State::Due | State::Overdue) || (answer.state == State::Broken && !copies);
    match what {
        "patch.security_within" => duty == "patch.security" && late,
        "patch.lists_within" => {
            let lists = |why: &Reason| matches!(why, Reason::ListsStale { .. });
            duty == "patch.security" && answer.state == State::Unknown && answer.why.iter().all(lists)
        }
        same => same == duty && late,
    }
}
