//! `backup.ring`: a copy for each day of the week, each at most a week old.

use jiff::civil::Date;
use jiff::{Timestamp, ToSpan};
use tenure_trust::{HostName, SetName};

use crate::copies::Series;
use crate::counted;
use crate::judge::Context;
use crate::promise::{Answer, Asked};
use crate::reason::Reason;
use crate::slots::SlotSeen;
use crate::state::State;

/// Seven weekdays in every series that holds the tenant's data on this host.
pub(crate) fn answer(context: &Context<'_>, asked: &Asked<'_>, host: &HostName) -> Answer {
    let Some(seen) = context.host(host) else { return context.unheard(host) };
    let sets = [SetName::Server, SetName::Nightly];
    let series: Vec<&Series<'_>> =
        sets.iter().flat_map(|set| context.series_for(host, asked.tenant, *set)).collect();
    if series.is_empty() {
        let why = Reason::NotInPolicy { host: host.clone(), section: "backup".into() };
        return Answer::new(Some(host), State::Unknown, why);
    }
    let silence = context.silence(seen, &series);
    let mut answer = match silence.is_empty() {
        false => Answer { why: silence, ..Answer::new(Some(host), State::Unknown, Reason::NoProbe) },
        true => weakest(series.iter().map(|one| weekdays(context, host, one)).collect()),
    };
    answer.evidence = counted::evidence(context, host, &series);
    answer
}

/// The worst of several series; of those that are alike, the one with the fewest days.
fn weakest(mut answers: Vec<(Answer, u32)>) -> Answer {
    answers.sort_by(|(a, held), (b, other)| b.state.cmp(&a.state).then(held.cmp(other)));
    answers.swap_remove(0).0
}

/// What stands in the seven cells.
fn weekdays(context: &Context<'_>, host: &HostName, series: &Series<'_>) -> (Answer, u32) {
    let today = context.zone.date_of(context.now());
    let back = |days: i32| today.checked_sub(days.days()).unwrap_or(today);
    let (mut held, mut full, mut lacking, mut unseen) = (0, today, Vec::new(), None);
    for days in 0..7 {
        let date = back(days);
        let first = series.of_date(date).map(|slot| slot.window.due).min();
        let expected = series.of_date(date).any(|slot| slot.seen != SlotSeen::NotExpected);
        let open = series.of_date(date).any(|slot| slot.seen.waits());
        let week_before = date.checked_sub(7.days()).unwrap_or(date);
        if series.holds(date) || (open && days == 0 && series.holds(week_before)) {
            held += 1;
        } else if open {
            full = full.max(date);
        } else if !expected || first.is_none() {
            full = full.max(date.checked_add(7.days()).unwrap_or(date));
        } else if let Some(slot) = series.of_date(date).find(|slot| slot.seen.is_unknown()) {
            unseen = Some(slot);
        } else {
            lacking.push(date);
        }
    }
    let told = Reason::Weekdays { series: series.section.series.clone(), held, full };
    let mut answer = Answer::new(Some(host), State::Met, told);
    if let Some(first) = lacking.iter().min() {
        answer.state = State::Overdue;
        answer.since = Some(context.zone.end_of_day(*first));
        // its weekday comes again a week later
        answer.next = first.checked_add(7.days()).ok().map(|date| context.zone.end_of_day(date));
        answer.why.clear();
        for date in &lacking {
            let instead = instead(series, *date);
            let series = series.section.series.clone();
            answer.why.push(Reason::WeekdayLacks { series, date: *date, instead });
        }
    } else if let Some((slot, (state, fault))) = unseen.and_then(|slot| Some((slot, slot.seen.fault()?))) {
        let (date, at) = (slot.date, slot.at);
        answer.state = state;
        answer.why = vec![Reason::Slot { series: series.section.series.clone(), date, at, fault }];
    } else if held < 7 {
        answer.state = State::Due;
        answer.next = Some(end(context, full));
    }
    (answer, held)
}

fn end(context: &Context<'_>, date: Date) -> Timestamp {
    context.zone.end_of_day(date)
}

/// The date of the copy of the same weekday that the vault still holds.
fn instead(series: &Series<'_>, date: Date) -> Option<Date> {
    use tenure_trust::vault_wire::GenerationState;
    let generations = series.vault.iter().flat_map(|vault| &vault.generations);
    let same = generations.filter(|generation| {
        let id = generation.id.date;
        generation.state == GenerationState::Current && id < date && id.weekday() == date.weekday()
    });
    same.map(|generation| generation.id.date).max()
}
