//! `backup.server` and `backup.nightly`: so many copies in so many days, each agreed on by host and vault.

use jiff::civil::Date;
use jiff::{Timestamp, ToSpan};
use tenure_trust::{HostName, SetName, SlotTime};

use crate::copies::{DAYS, Series};
use crate::judge::Context;
use crate::promise::{Answer, Asked, earliest};
use crate::reason::{Reason, SlotFault};
use crate::slots::{SlotSeen, Window};
use crate::state::{Evidence, State};

/// So many a day of a set on a host.
pub(crate) fn set(context: &Context<'_>, asked: &Asked<'_>, host: &HostName, set: SetName) -> Answer {
    let Some(seen) = context.host(host) else { return context.unheard(host) };
    let series = context.series_for(host, asked.tenant, set);
    if series.is_empty() {
        return Answer::new(Some(host), State::Unknown, Reason::NoSeries { host: host.clone(), set });
    }
    let mut answer = match context.silence(seen, &series) {
        silence if !silence.is_empty() => {
            Answer { why: silence, ..Answer::new(Some(host), State::Unknown, Reason::NoProbe) }
        }
        _ => counted(context, asked, host, set, &series),
    };
    answer.evidence = evidence(context, host, &series);
    answer
}

/// The newest records of the host's backups and of the vaults.
pub(crate) fn evidence(context: &Context<'_>, host: &HostName, series: &[&Series<'_>]) -> Vec<Evidence> {
    let of_host = context.host(host).and_then(|seen| seen.record.clone());
    let of_vault = |one: &&Series<'_>| {
        let vault = context.vault(&one.section.series.vault)?;
        let told = vault.series.get(&one.section.series).map(|(_, record)| *record);
        told.or(vault.record.as_ref()).cloned()
    };
    let vaults = series.iter().filter_map(of_vault);
    let mut evidence: Vec<_> = of_host.into_iter().chain(vaults).map(Evidence::Record).collect();
    evidence.sort_unstable();
    evidence.dedup();
    evidence
}

/// A slot over all series that it asks for: the worst counts.
struct Joined<'a> {
    date: Date,
    at: SlotTime,
    window: Window,
    seen: &'a SlotSeen,
    series: &'a Series<'a>,
}

fn counted(
    context: &Context<'_>,
    asked: &Asked<'_>,
    host: &HostName,
    set: SetName,
    series: &[&Series<'_>],
) -> Answer {
    let slots = joined(series);
    let a_day = u32::try_from(series.iter().map(|one| one.section.at.len()).max().unwrap_or(0)).unwrap_or(0);
    let days = asked.promise.at_least_days.unwrap_or(1).clamp(1, DAYS as u32 - 1);
    let times = asked.promise.at_least_times.unwrap_or(a_day.saturating_mul(days));
    let today = context.zone.date_of(context.now());
    let yesterday = today.yesterday().unwrap_or(today);
    let before = Count::of(&slots, yesterday, days, times);
    let now = Count::of(&slots, today, days, times);
    if before.expected == 0 && now.expected == 0 {
        let next =
            slots.iter().filter(|slot| slot.window.due > context.now()).map(|slot| slot.window.until).min();
        let tomorrow = next.or_else(|| first_of(context, series, today));
        let why = Reason::NothingExpectedYet { host: host.clone(), set };
        return Answer { next: tomorrow, ..Answer::new(Some(host), State::Due, why) };
    }
    let told = Reason::Counted {
        host: host.clone(),
        set,
        done: now.done,
        of: now.needed,
        until: today,
        days,
        times: now.times.clone(),
    };
    let mut answer = now.judge(host);
    answer.why.insert(0, told);
    if before.expected > 0 {
        let earlier = before.judge(host);
        if earlier.state > State::Met {
            answer = answer.and(earlier);
        }
    }
    // two copies under one name are broken whenever they are seen
    for slot in slots.iter().filter(|slot| matches!(slot.seen, SlotSeen::Lacks(State::Broken, _))) {
        answer = answer.and(slot.answer(host, State::Broken, SlotFault::Differ));
    }
    answer.why.dedup();
    answer
}

/// When the first slot of the next day ends.
fn first_of(context: &Context<'_>, series: &[&Series<'_>], today: Date) -> Option<Timestamp> {
    let tomorrow = today.checked_add(1.day()).ok()?;
    let at = series.iter().flat_map(|one| &one.section.at).min()?;
    Some(context.zone.slot(tomorrow, *at))
}

fn joined<'a>(series: &[&'a Series<'a>]) -> Vec<Joined<'a>> {
    let mut slots: Vec<Joined<'a>> = Vec::new();
    for one in series {
        for slot in &one.slots {
            slots.push(Joined {
                date: slot.date,
                at: slot.at,
                window: slot.window,
                seen: &slot.seen,
                series: one,
            });
        }
    }
    slots.sort_by_key(|slot| (slot.date, slot.at, std::cmp::Reverse(rank(slot.seen))));
    slots.dedup_by_key(|slot| (slot.date, slot.at));
    slots
}

/// How bad a slot is among the same slots of several series.
fn rank(seen: &SlotSeen) -> u8 {
    match seen {
        SlotSeen::NotExpected => 0,
        SlotSeen::Done { .. } => 1,
        SlotSeen::ToCome => 2,
        SlotSeen::Open => 3,
        SlotSeen::Trying(_) => 4,
        SlotSeen::Partial(_) => 5,
        SlotSeen::Aside(_) | SlotSeen::Spoilt => 6,
        SlotSeen::Lacks(State::Unknown, _) => 7,
        SlotSeen::Lacks(State::Overdue, _) => 8,
        SlotSeen::Lacks(..) => 9,
    }
}

impl Joined<'_> {
    fn answer(&self, host: &HostName, state: State, fault: SlotFault) -> Answer {
        Answer { since: Some(self.window.until), ..Answer::new(Some(host), state, self.reason(fault)) }
    }

    /// Why it holds no copy, as far as anything is known.
    fn why(&self) -> Option<Reason> {
        self.seen.fault().map(|(_, fault)| self.reason(fault))
    }

    fn reason(&self, fault: SlotFault) -> Reason {
        let series = self.series.section.series.clone();
        Reason::Slot { series, date: self.date, at: self.at, fault }
    }
}

/// The slots of some days, counted.
struct Count<'a, 'b> {
    expected: u32,
    needed: u32,
    done: u32,
    times: Vec<SlotTime>,
    /// Those that can still be filled.
    waiting: Vec<&'b Joined<'a>>,
    faults: Vec<&'b Joined<'a>>,
}

impl<'a, 'b> Count<'a, 'b> {
    fn of(slots: &'b [Joined<'a>], last: Date, days: u32, times: u32) -> Self {
        let back = i32::try_from(days.saturating_sub(1)).unwrap_or(0);
        let first = last.checked_sub(back.days()).unwrap_or(last);
        let mut count = Self {
            expected: 0,
            needed: 0,
            done: 0,
            times: Vec::new(),
            waiting: Vec::new(),
            faults: Vec::new(),
        };
        for slot in slots.iter().filter(|slot| first <= slot.date && slot.date <= last) {
            count.expected += u32::from(*slot.seen != SlotSeen::NotExpected);
            match slot.seen {
                SlotSeen::NotExpected => {}
                SlotSeen::Done { .. } => {
                    count.done += 1;
                    count.times.push(slot.at);
                }
                SlotSeen::ToCome | SlotSeen::Open | SlotSeen::Trying(_) => count.waiting.push(slot),
                SlotSeen::Partial(_) | SlotSeen::Aside(_) | SlotSeen::Spoilt | SlotSeen::Lacks(..) => {
                    count.faults.push(slot);
                }
            }
        }
        count.needed = times.min(count.expected);
        count
    }

    fn judge(&self, host: &HostName) -> Answer {
        let nothing = |state| Answer { why: Vec::new(), ..Answer::new(Some(host), state, Reason::NoProbe) };
        if self.done >= self.needed {
            return nothing(State::Met);
        }
        let lacking = (self.needed - self.done) as usize;
        if self.waiting.len() >= lacking {
            let mut ends: Vec<Timestamp> = self.waiting.iter().map(|slot| slot.window.until).collect();
            ends.sort_unstable();
            let failing = self.waiting.iter().filter_map(|slot| slot.why());
            return Answer {
                next: ends.get(lacking - 1).copied(),
                why: failing.collect(),
                ..nothing(State::Due)
            };
        }
        let mut answer: Option<Answer> = None;
        for slot in &self.faults {
            let Some((state, fault)) = slot.seen.fault() else { continue };
            let one = slot.answer(host, state, fault);
            answer = Some(match answer {
                None => one,
                Some(before) => before.and(one),
            });
        }
        let next = self.waiting.iter().map(|slot| slot.window.until).min();
        let mut answer = answer.unwrap_or_else(|| nothing(State::Unknown));
        answer.next = earliest(answer.next, next);
        answer
    }
}
