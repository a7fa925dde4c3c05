//! Drift that newer records no longer show: what one record told of it, in short, and the newest of each host.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tenure_areas::AREAS;
use tenure_areas::area::{Actor, AreaSpec, Done, Finding, Refusal, Weight};
use tenure_areas::pass::PlanLines;
use tenure_areas::patch::Patch;
use tenure_trust::{About, Hash, HostName, MachineRole, Record, VerdictTag, neutral_bytes};

use crate::input::Input;
use crate::reason::words;
use crate::say::Saying;
use crate::state::RecordRef;

/// So many of each host are remembered.
pub const KEPT: usize = 20;
/// A page or a table shows so many of all hosts together.
pub const SHOWN: usize = 200;
/// Of one record so many findings are kept; the rest are counted.
const FOUND: usize = 6;
/// Characters of a text that are kept: a machine decides how long its texts are.
const TEXT: usize = 200;
/// The same of a word.
const WORD: usize = 60;

/// Drift that one record told of, also when a newer one says that all is well.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PastDrift {
    /// Where.
    pub host: HostName,
    /// In which area.
    pub area: String,
    /// How many records told the same of this area, one after the other.
    pub times: u32,
    /// When the first of them saw it, by the host's clock.
    pub first_at: Timestamp,
    /// When the last of them saw it, by the host's clock: the time that the record is signed with.
    pub observed_at: Timestamp,
    /// When that record came, by the controller's clock.
    pub received_at: Timestamp,
    /// What it told.
    #[serde(flatten)]
    pub told: Told,
    /// The last record that says it.
    pub record: RecordRef,
}

/// What a record told of drift. Its texts were shortened and made neutral when it came.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Told {
    /// What was found, what was mended first. Empty when the facts beside the record were deleted.
    pub found: Vec<Found>,
    /// How many findings more there were.
    pub more: u32,
    /// Why it was not all mended, when the host says so.
    pub hindered: Option<String>,
}

/// Something that differed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Found {
    /// The finding's kind.
    pub kind: String,
    /// Which file, table, account.
    pub place: String,
    /// What.
    pub what: String,
    /// Was it mended, or only reported?
    pub mended: bool,
    /// When it happened, where something tells.
    pub at: Option<Timestamp>,
    /// Who did it, where the kernel told.
    pub by: Option<Actor>,
}

/// As much of a report as tells of drift: its facts are passed over unread.
#[derive(Deserialize)]
struct Passed {
    plan: Option<PlanLines>,
    findings: Vec<Finding>,
    mended: Vec<Finding>,
    done: Vec<Done>,
    refusal: Option<Refusal>,
}

impl Told {
    /// What this record of a host's area tells of drift, and a hash by which it is known when the next tells the same;
    /// none when it tells of no drift.
    pub fn of(record: &Record, payload: Option<&[u8]>) -> Option<(Self, Hash)> {
        let About::Area(area) = &record.about else { return None };
        let area = area.as_str();
        if record.role != MachineRole::Host || !AREAS.contains(&area) {
            return None;
        }
        let differed = match record.verdict? {
            VerdictTag::Drifted | VerdictTag::Remediated | VerdictTag::Refused => true,
            // What came and went while records were held back stands in one that may call the area compliant.
            _ if record.reason.is_some() => false,
            VerdictTag::Compliant | VerdictTag::Pending | VerdictTag::Unknown => return None,
        };
        let mended = record.verdict == Some(VerdictTag::Remediated);
        let mut found = match payload.map(serde_json::from_slice::<Passed>) {
            Some(Ok(passed)) => return passed.told(area, differed.then_some(mended)),
            _ if differed => Found::bare("not-told", area, mended),
            _ => return None,
        };
        found.what = match payload {
            Some(_) => "what the record says of it is no report".into(),
            None => "the facts beside the record did not come".into(),
        };
        let hash = identity(area, std::slice::from_ref(&found), None);
        Some((Self { found: vec![found], ..Self::default() }, hash))
    }
}

impl Passed {
    /// `differed` is set when the verdict says that something did, and whether it calls that mended.
    fn told(self, area: &str, differed: Option<bool>) -> Option<(Told, Hash)> {
        let Self { plan, findings, mended, done, refusal } = self;
        let hindered = refusal.map(|refusal| format!("not carried out: {}", refusal.what)).or_else(|| {
            done.iter().find_map(|done| Some(format!("{}: {}", done.step, done.error.as_ref()?)))
        });
        let mended = mended.into_iter().filter(|finding| finding.weight != Weight::Note);
        let left = findings.into_iter().filter(|finding| finding.weight == Weight::Drift);
        let mut found: Vec<Found> = mended.map(|finding| Found::of(finding, true)).collect();
        found.extend(left.map(|finding| Found::of(finding, false)));
        if found.is_empty() {
            let mended = differed?;
            let (done, planned) =
                (done.first().map(|done| &done.step), plan.as_ref().and_then(|p| p.steps.first()));
            let what = match mended {
                true => done.map(|step| format!("done: {step}")),
                false => planned.map(|step| format!("not done: {step}")),
            };
            let what = what.unwrap_or_else(|| "the record names nothing".into());
            found.push(Found { what, ..Found::bare("to-do", area, mended) });
        }
        let hash = identity(area, &found, hindered.as_deref());
        let more = u32::try_from(found.len().saturating_sub(FOUND)).unwrap_or(u32::MAX);
        found.truncate(FOUND);
        let found = found.into_iter().map(Found::short).collect();
        Some((Told { found, more, hindered: hindered.map(|text| short(&text, TEXT)) }, hash))
    }
}

impl Found {
    fn of(finding: Finding, mended: bool) -> Self {
        let Finding { kind, place, what, weight: _, at, by } = finding;
        Self { kind, place, what, mended, at, by }
    }

    fn bare(kind: &str, area: &str, mended: bool) -> Self {
        Self { kind: kind.into(), place: area.into(), what: String::new(), mended, at: None, by: None }
    }

    fn short(self) -> Self {
        let Self { kind, place, what, mended, at, by } = self;
        Self {
            kind: short(&kind, WORD),
            place: short(&place, TEXT),
            what: short(&what, TEXT),
            mended,
            at,
            by: by.map(|Actor { pid, comm }| Actor { pid, comm: short(&comm, WORD) }),
        }
    }
}

fn short(text: &str, most: usize) -> String {
    neutral_bytes(text.as_bytes(), most)
}

/// The same thing found in the same way by the same process. Times are left out, and in the words of waiting updates the
/// days that they count: a record of each heartbeat would be news otherwise.
fn identity(area: &str, found: &[Found], hindered: Option<&str>) -> Hash {
    let counts_days = area == Patch::NAME;
    let known = |one: &Found| {
        let what = (!counts_days).then(|| one.what.clone());
        (one.kind.clone(), one.place.clone(), what, one.mended, one.by.clone())
    };
    let found: Vec<_> = found.iter().map(known).collect();
    Hash::of(&serde_json::to_vec(&(found, hindered)).expect("plain data with text keys"))
}

/// The newest of each host of the book, newest first, in whatever order they stand in the input.
pub(crate) fn newest(input: &Input<'_>) -> Vec<PastDrift> {
    let of_book = |row: &&PastDrift| input.book.machines.contains_key(&row.host);
    let mut rows: Vec<&PastDrift> = input.history.iter().filter(of_book).collect();
    rows.sort_by_key(|row| (Reverse((row.received_at, row.record.epoch, row.record.seq)), &row.host));
    each(&rows, KEPT).into_iter().cloned().collect()
}

/// So many rows of each host.
fn each<'a>(rows: &[&'a PastDrift], most: usize) -> Vec<&'a PastDrift> {
    let mut counted: BTreeMap<&'a HostName, usize> = BTreeMap::new();
    let mut fits = |row: &&'a PastDrift| {
        let count = counted.entry(&row.host).or_default();
        *count += 1;
        *count <= most
    };
    rows.iter().copied().filter(&mut fits).collect()
}

/// What a page shows: of each host as many, so that none pushes another's out; and how many are left out.
pub fn shown(rows: &[PastDrift]) -> (Vec<&PastDrift>, usize) {
    let hosts: BTreeSet<&HostName> = rows.iter().map(|row| &row.host).collect();
    let most = (SHOWN / hosts.len().max(1)).clamp(1, KEPT);
    let shown = each(&rows.iter().collect::<Vec<_>>(), most);
    let left = rows.len() - shown.len();
    (shown, left)
}

/// One line of a table: all of it harmless.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    /// Was it mended, or only reported? None where the line is about neither.
    pub mended: Option<bool>,
    /// Where.
    pub place: String,
    /// What.
    pub what: String,
    /// Who did it.
    pub who: String,
}

impl PastDrift {
    /// A line for each thing found, then what else is to be said.
    pub fn said(&self) -> Vec<Said> {
        let Told { found, more, hindered } = &self.told;
        let mut lines: Vec<Said> = found.iter().map(Found::said).collect();
        let mut beside = |what: String| {
            let nothing = || "–".to_owned();
            lines.push(Said { mended: None, place: nothing(), what, who: nothing() });
        };
        if *more > 0 {
            beside(format!("{more} findings more: the record has them"));
        }
        if let Some(why) = hindered {
            beside(words(why));
        }
        if found.is_empty() {
            beside("the facts beside the record were deleted".into());
        }
        lines
    }

    /// When it was seen: `today 13:58`, `today 13:58, 3 times since 20 Nov 09:00`.
    pub fn seen(&self, saying: &Saying) -> String {
        let last = saying.moment(self.observed_at);
        match self.times {
            0 | 1 => last,
            times => format!("{last}, {times} times since {}", saying.moment(self.first_at)),
        }
    }
}

impl Found {
    fn said(&self) -> Said {
        let who = match &self.by {
            Some(actor) => format!("pid {} {}", actor.pid, words(&actor.comm)),
            None => "not told".to_owned(),
        };
        Said { mended: Some(self.mended), place: words(&self.place), what: words(&self.what), who }
    }
}

#[cfg(test)]
#[path = "history_tests.rs"]
mod tests;
