//! `purge`: after the contract's end all data is gone by a computed date, in the fleet's zone, months clamped.

use tenure_policy::calendar::Period;

use crate::judge::Context;
use crate::promise::{Answer, Asked};
use crate::reason::Reason;
use crate::state::{Evidence, State};

/// While the contract runs without an end nothing is owed.
pub(crate) fn answer(context: &Context<'_>, asked: &Asked<'_>) -> Answer {
    let mut answer = match asked.duties.ends {
        None => Answer::new(None, State::Met, Reason::ContractRuns),
        Some(ends) => {
            let within = shorter(asked.duties.purge_within, asked.promise.within);
            let gone_by = context.zone.add(context.zone.end_of_day(ends), within);
            let over = context.now() > gone_by;
            let state = if over { State::Overdue } else { State::Due };
            let mut answer = Answer::new(None, state, Reason::ContractEnds { ends, gone_by });
            match over {
                true => answer.since = Some(gone_by),
                false => answer.next = Some(gone_by),
            }
            answer
        }
    };
    answer.evidence = vec![Evidence::Policy(context.input.version)];
    answer
}

/// The shorter of the contract's period and the sentence's own.
fn shorter(contract: Period, sentence: Option<Period>) -> Period {
    match sentence {
        Some(sentence) if sentence.longest_seconds() < contract.longest_seconds() => sentence,
        _ => contract,
    }
}
