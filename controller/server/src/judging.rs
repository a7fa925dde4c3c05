//! Judges every duty from what the database and the shelf hold, at most once in a few seconds, and remembers since when
//! each state stands.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use jiff::{SignedDuration, Timestamp};
use tenure_obligations::input::{ChainFinding, Content};
use tenure_obligations::view::Judgement;
use tenure_obligations::{Input, Newest, RecordRef, Reported, carry, judge};
use tenure_trust::enrol::IngestFinding;
use tenure_trust::{AreaName, Epoch, HostName, MachineRole, PolicyVersion, Seq, VerdictTag};

use crate::app::App;
use crate::journal;
use crate::shelf::Set;
use crate::store::{Access, ChainHead, FindingRow, HeldRecord, SeriesSince, StoreError};

/// A judgement is shown again for so long: many pages at once cost one.
const FRESH: SignedDuration = SignedDuration::from_secs(2);

/// What was judged last. Clones are the same.
#[derive(Debug, Clone, Default)]
pub struct Judging(Arc<Mutex<Option<Arc<Judgement>>>>);

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
        let now = app.now();
        let last = self.last();
        if let Some(last) = last.as_ref().filter(|last| fresh(last, now, app)) {
            return Ok(last.clone());
        }
        let set = app.shelf.get().filter(|set| set.duties.is_some()).ok_or(NotJudged::NoDuties)?;
        let (machines, series) = (machines(app, access).await?, app.store.series_since(access).await?);
        let before = last.map(|last| last.obligations.clone()).unwrap_or_default();
        let work = move || judged(&set, (&machines, &series), now, &before);
        let judgement = tokio::task::spawn_blocking(work).await.map_err(|_| NotJudged::Ended)??;
        let judgement = Arc::new(judgement);
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(judgement.clone());
        Ok(judgement)
    }

    fn last(&self) -> Option<Arc<Judgement>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn fresh(last: &Judgement, now: Timestamp, app: &App) -> bool {
    let age = now.duration_since(last.head.at);
    !age.is_negative() && age < FRESH && last.head.version == app.shelf.version()
}

type Machines = BTreeMap<(HostName, MachineRole), Reported>;

fn judged(
    set: &Set,
    (machines, series_since): (&Machines, &SeriesSince),
    now: Timestamp,
    before: &[tenure_obligations::Obligation],
) -> Result<Judgement, NotJudged> {
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
        now,
    };
    let mut judgement = judge(&input)?;
    for change in carry(before, &mut judgement.obligations, now) {
        if let (Some(from), Some(to)) = (change.from, change.to) {
            let why = change.why.first().map(ToString::to_string).unwrap_or_default();
            journal::notice(&format!("{} {}: {from} → {to}: {why}", change.tenant, change.duty));
        }
    }
    Ok(judgement)
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
        MachineRole::Vault => Content::of_vault(bytes),
        MachineRole::Host | MachineRole::Recovery => Content::of_agent(bytes),
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
