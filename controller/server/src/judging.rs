//! Judges every duty from what the database and the shelf hold: with every heartbeat, and when somebody asks, at most
//! once in a few seconds. Remembers durably since when each state stands, and tells each change.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tenure_obligations::history::PastDrift;
use tenure_obligations::input::{Agreed, ChainFinding, Content};
use tenure_obligations::view::Judgement;
use tenure_obligations::{Change, Input, Newest, RecordRef, Reported, Standing, carry, judge};
use tenure_trust::enrol::IngestFinding;
use tenure_trust::{AreaName, Epoch, HostName, MachineRole, PolicyVersion, Seq, VerdictTag};

use crate::app::App;
use crate::contained::{self, Machines};
use crate::journal;
use crate::remembered::Remembered;
use crate::shelf::Set;
use crate::store::{Access, ChainHead, FindingRow, HeldRecord, SeriesSince, StoreError};

/// The most changes that one judgement tells one by one.
const TOLD: usize = 200;

/// What was judged last. Clones are the same.
#[derive(Debug, Clone, Default)]
pub struct Judging(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    last: Mutex<Option<Arc<Judgement>>>,
    /// Whoever has it judges; the others wait for that. In it what the database remembers, once it was read.
    turn: tokio::sync::Mutex<Option<Remembered>>,
    /// Records over which judging ended by a fault: they are left out until newer ones come.
    faulty: Mutex<Vec<RecordRef>>,
}

/// Why nothing can be judged.
#[derive(Debug, thiserror::Error)]
pub enum NotJudged {
    /// No policy set was published, or none for this controller.
    #[error("no signed policy has a duty book for this controller")]
    NoDuties,
    /// The duty book names a zone that this program does not know.
    #[error("the duty book cannot be used")]
    Zone(#[from] tenure_policy::calendar::CalendarError),
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The judging itself ended by a fault of its own.
    #[error("judging ended by itself")]
    Ended,
}

impl Judging {
    /// The judgement of now.
    ///
    /// # Errors
    /// [`NotJudged`].
    pub async fn now(&self, app: &App, access: &Access) -> Result<Arc<Judgement>, NotJudged> {
        if let Some(last) = self.last().filter(|last| fresh(last, app)) {
            return Ok(last);
        }
        let mut turn = self.0.turn.lock().await;
        let last = self.last();
        if let Some(last) = last.as_ref().filter(|last| fresh(last, app)) {
            return Ok(last.clone());
        }
        let set = app.shelf.get().filter(|set| set.duties.is_some()).ok_or(NotJudged::NoDuties)?;
        if turn.is_none() {
            *turn = Some(Remembered::read(app).await?);
        }
        let Some(kept) = turn.as_mut() else { return Err(NotJudged::Ended) };
        let before = match last {
            Some(last) => Standing::all(&last.obligations),
            None => kept.standing.iter().cloned().collect(),
        };
        let (mut machines, series) = (machines(app, access).await?, app.store.series_since(access).await?);
        let history = app.store.drift_history(access).await?;
        let now = app.now();
        let agreed = kept.agreed.clone();
        let known = contained::leave_out(&mut machines, &locked(&self.0.faulty));
        let work = move || {
            let judge =
                |machines: &Machines| judged(&set, (machines, &series, &agreed, &history), now, &before);
            contained::judged(&mut machines, judge)
        };
        let work = tokio::task::spawn_blocking(work).await.ok().flatten();
        let (judged, faulty) = work.ok_or(NotJudged::Ended)?;
        for record in &faulty {
            journal::error(&format!(
                "judging by record {record} ends by a fault of this program: what rests on it is unknown until the \
                 machine sends a newer one; please report it, with the lines before"
            ));
        }
        *locked(&self.0.faulty) = known.into_iter().chain(faulty).collect();
        let (mut judgement, changes) = judged?;
        for line in told(&changes) {
            journal::notice(&line);
        }
        let agreed = std::mem::take(&mut judgement.agreed);
        let judgement = Arc::new(judgement);
        *locked(&self.0.last) = Some(judgement.clone());
        let stands: BTreeSet<Standing> = Standing::all(&judgement.obligations).into_iter().collect();
        kept.keep(app, stands, agreed).await;
        Ok(judgement)
    }

    fn last(&self) -> Option<Arc<Judgement>> {
        locked(&self.0.last).clone()
    }
}

fn locked<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Judges with every heartbeat, whether anybody looks or not, until aborted.
pub(crate) async fn keep(app: Arc<App>) {
    let mut told = String::new();
    loop {
        let said = match app.judging.now(&app, &Access::Itself).await {
            Ok(_) | Err(NotJudged::NoDuties) => String::new(),
            Err(error) => journal::chain(&error),
        };
        if said != told && !said.is_empty() {
            journal::error(&format!("the duties were not judged: {said}"));
        }
        told = said;
        let duties = app.shelf.get().and_then(|set| Some(set.duties.as_ref()?.heartbeat_seconds));
        let heartbeat = duties.map_or(app.limits.judge, |seconds| Duration::from_secs(u64::from(seconds)));
        tokio::time::sleep(heartbeat.min(app.limits.judge)).await;
    }
}

/// What is told of the changes: each that was another state before, and how many rows are new.
fn told(changes: &[Change]) -> Vec<String> {
    let changed = changes.iter().filter_map(|change| {
        let from = change.from?;
        let place = format!("{} {}", change.tenant, change.duty);
        Some(match change.to {
            Some(to) => {
                let why = change.why.first().map(ToString::to_string).unwrap_or_default();
                format!("{place}: {from} → {to}: {why}")
            }
            None => format!("{place}: was {from}, and is no longer judged"),
        })
    });
    let mut lines: Vec<String> = changed.collect();
    let new = changes.len() - lines.len();
    if let Some(more) = lines.len().checked_sub(TOLD).filter(|more| *more > 0) {
        lines.truncate(TOLD);
        lines.push(format!("and {more} changes more: `tenure obligations` shows how everything stands"));
    }
    if new > 0 {
        lines.push(format!("{new} duties are judged for the first time"));
    }
    lines
}

fn fresh(last: &Judgement, app: &App) -> bool {
    let age = app.now().duration_since(last.head.at);
    Duration::try_from(age).is_ok_and(|age| age < app.limits.fresh)
        && last.head.version == app.shelf.version()
}

fn judged(
    set: &Set,
    (machines, series_since, agreed, history): (&Machines, &SeriesSince, &Agreed, &[PastDrift]),
    now: Timestamp,
    before: &[Standing],
) -> Result<(Judgement, Vec<Change>), NotJudged> {
    let Some(book) = &set.duties else { return Err(NotJudged::NoDuties) };
    let hosts = set.hosts.iter().map(|(host, policy)| (host.clone(), policy.value().clone())).collect();
    let vaults = set.vaults.iter().map(|(host, policy)| (host.clone(), policy.value().clone())).collect();
    let input = Input {
        book: book.value(),
        version: Some(set.index.version),
        hosts: &hosts,
        vaults: &vaults,
        machines,
        issued: Some(set.index.issued),
        series_since,
        agreed,
        history,
        now,
    };
    let mut judgement = judge(&input)?;
    let changes = carry(before, &mut judgement.obligations, now);
    Ok((judgement, changes))
}

/// What each admitted machine reported.
async fn machines(app: &App, access: &Access) -> Result<Machines, StoreError> {
    let heads = app.store.heads(access).await?;
    let findings = app.store.findings(access, None).await?;
    let mut machines: Machines = BTreeMap::new();
    for admission in app.book.all() {
        let reported = Reported {
            admitted: Some(admission.issued),
            last_contact: heads
                .iter()
                .filter(|head| is_of(head, &admission.name, admission.role, admission.epoch))
                .map(|head| head.received_at)
                .max(),
            findings: findings
                .iter()
                .filter_map(|row| finding(row, &admission.name, admission.role))
                .collect(),
            areas: BTreeMap::new(),
        };
        machines.insert((admission.name.clone(), admission.role), reported);
    }
    for record in app.store.newest(access).await? {
        let Some((key, area, newest)) = newest(record) else { continue };
        if let Some(reported) = machines.get_mut(&key) {
            reported.areas.insert(area, newest);
        }
    }
    Ok(machines)
}

fn is_of(head: &ChainHead, name: &HostName, role: MachineRole, epoch: Epoch) -> bool {
    head.machine == name.as_str() && head.role == role.word() && head.epoch == u64::from(epoch.0)
}

/// A finding of this machine's chain, in the judge's terms.
fn finding(row: &FindingRow, name: &HostName, role: MachineRole) -> Option<ChainFinding> {
    if row.machine != name.as_str() || row.role != role.word() {
        return None;
    }
    let what: IngestFinding = serde_json::from_value(row.kind.as_str().into()).ok()?;
    let epoch = row.place.strip_prefix("epoch ").and_then(|epoch| epoch.parse().ok())?;
    let count = u32::try_from(row.count).unwrap_or(u32::MAX);
    Some(ChainFinding { what, epoch, count, at: row.last_at })
}

/// A record that was taken in, in the judge's terms; none of a machine or an area that the judge knows nothing of.
fn newest(record: HeldRecord) -> Option<((HostName, MachineRole), AreaName, Newest)> {
    let host = HostName::new(record.machine.as_str()).ok()?;
    let role: MachineRole = serde_json::from_value(record.role.as_str().into()).ok()?;
    let area = AreaName::new(record.about.as_str()).ok()?;
    let bytes = record.payload.as_deref();
    let content = match role {
        MachineRole::Vault => contained::read(|| Content::of_vault(bytes)),
        MachineRole::Host | MachineRole::Recovery => contained::read(|| Content::of_agent(bytes)),
    };
    let verdict: Option<VerdictTag> =
        record.verdict.as_deref().and_then(|word| serde_json::from_value(word.into()).ok());
    let newest = Newest {
        record: RecordRef {
            host: host.clone(),
            role,
            epoch: Epoch(u32::try_from(record.epoch).ok()?),
            seq: Seq(record.seq),
            hash: record.hash,
        },
        observed_at: record.observed_at,
        received_at: record.received_at,
        policy: record.policy.map(PolicyVersion),
        verdict,
        content,
    };
    Some(((host, role), area, newest))
}

#[cfg(test)]
mod tests {
    use tenure_obligations::State;

    use super::*;

    fn change(duty: &str, from: Option<State>, to: Option<State>) -> Change {
        Change {
            tenant: "client".parse().unwrap(),
            promise: 0,
            duty: duty.into(),
            from,
            to,
            why: Vec::new(),
            at: Timestamp::UNIX_EPOCH,
        }
    }

    #[test]
    fn each_change_is_told_and_new_rows_are_counted() {
        let (met, unknown) = (Some(State::Met), Some(State::Unknown));
        let changes = [change("one", met, unknown), change("two", None, met), change("three", unknown, None)];
        assert_eq!(
            told(&changes),
            [
                "client one: met → unknown: ",
                "client three: was unknown, and is no longer judged",
                "1 duties are judged for the first time"
            ]
        );
        let many = vec![change("one", met, unknown); TOLD + 7];
        assert_eq!(told(&many).len(), TOLD + 1);
        assert!(told(&many)[TOLD].starts_with("and 7 changes more"));
    }
}
