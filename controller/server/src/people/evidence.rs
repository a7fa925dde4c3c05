//! What was taken in, for people and programs: hosts, records, findings, and all that judging a tenant's duties needs.

use std::sync::Arc;

use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Response};
use hyper::header::CONTENT_TYPE;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tenure_obligations::Standing;
use tenure_policy::bundles::DutyBook;
use tenure_trust::{Epoch, ExportHeader, ExportLine, HostName, MachineRole, Signed};

use super::{Person, stream};
use crate::app::App;
use crate::journal;
use crate::problem::{Problem, json};
use crate::store::{Access, ChainHead, FindingRow, HeldRecord, Page, RecordQuery, StoreError};

/// Events that duties are judged from.
const EVENTS: [&str; 13] = [
    "backup_sealed",
    "backup_failed",
    "backup_missed",
    "drill_done",
    "policy_refused",
    "policy_withheld",
    "opened",
    "sealed",
    "closed",
    "promoted",
    "set_aside",
    "erased",
    "refused",
];
/// How far back events are handed out, and how many and how many bytes of facts in one answer.
const BACK: SignedDuration = SignedDuration::from_hours(24 * 45);
const MOST: u32 = 1000;
const BYTES: u64 = 16 << 20;
/// Records that an export reads at once: of the largest kind some 20 MiB.
const LINES: u64 = 50;

/// One admitted machine.
#[derive(Serialize)]
struct HostRow {
    name: HostName,
    role: MachineRole,
    epoch: Epoch,
    /// Where its chain stands; none when nothing came yet.
    chain: Option<ChainHead>,
}

/// The machines that are admitted, and where their chains stand.
pub(super) async fn hosts(State(app): State<Arc<App>>, person: Person) -> Result<Response, Problem> {
    Ok(json(&rows(&app, &person).await?))
}

async fn rows(app: &App, person: &Person) -> Result<Vec<HostRow>, Problem> {
    let heads = app.store.heads(&person.access()).await?;
    let admitted = app.book.all().into_iter();
    Ok(admitted
        .map(|admission| {
            let own = |head: &&ChainHead| {
                head.machine == admission.name.as_str()
                    && head.role == admission.role.word()
                    && head.epoch == u64::from(admission.epoch.0)
            };
            let chain = heads.iter().find(own).cloned();
            HostRow { name: admission.name.clone(), role: admission.role, epoch: admission.epoch, chain }
        })
        .collect())
}

/// Which records.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Which {
    role: Option<MachineRole>,
    about: Option<String>,
    before: Option<u64>,
    limit: Option<u32>,
    #[serde(default)]
    facts: bool,
}

/// A record with what its machine said beside it.
#[derive(Serialize)]
struct WithFacts {
    #[serde(flatten)]
    record: HeldRecord,
    /// What the machine said, as JSON; its word, nothing more.
    facts: Option<Value>,
}

fn with_facts(record: HeldRecord) -> WithFacts {
    let facts = record.payload.as_deref().and_then(|bytes| serde_json::from_slice(bytes).ok());
    WithFacts { record, facts }
}

/// Records of a host, newest first; the next page is `before` the last place of this one.
pub(super) async fn records(
    State(app): State<Arc<App>>,
    person: Person,
    Path(host): Path<String>,
    which: Result<Query<Which>, axum::extract::rejection::QueryRejection>,
) -> Result<Response, Problem> {
    let Query(which) = which.map_err(Problem::malformed)?;
    let host = HostName::new(host).map_err(|_| Problem::not_found())?;
    let query = RecordQuery {
        role: which.role.map(MachineRole::word),
        about: which.about.as_deref(),
        before: which.before,
        payloads: which.facts,
        limit: which.limit.unwrap_or(100),
    };
    let held = app.store.records(&person.access(), host.as_str(), query).await?;
    Ok(json(&held.into_iter().map(with_facts).collect::<Vec<_>>()))
}

/// Which chain.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Chain {
    #[serde(default)]
    role: MachineRole,
    epoch: Option<u32>,
}

/// A machine's chain as it was signed, for `tenure verify`: whole, up to what is held when it is asked for.
pub(super) async fn export(
    State(app): State<Arc<App>>,
    person: Person,
    Path(host): Path<String>,
    chain: Result<Query<Chain>, axum::extract::rejection::QueryRejection>,
) -> Result<Response, Problem> {
    let Query(Chain { role, epoch }) = chain.map_err(Problem::malformed)?;
    let host = HostName::new(host).map_err(|_| Problem::not_found())?;
    let admission = app.book.of(&host, role).ok_or(Problem::not_found())?;
    let epoch = epoch.map_or(admission.epoch, Epoch);
    let mut header = ExportHeader::new(host.clone(), epoch, admission.identity);
    header.role = role;
    let access = person.access();
    let heads = app.store.heads(&access).await?;
    let is_it = |head: &&ChainHead| {
        (head.machine.as_str(), head.role.as_str(), head.epoch)
            == (host.as_str(), role.word(), u64::from(epoch.0))
    };
    let last = heads.iter().find(is_it).map_or(0, |head| head.seq);
    let (writer, body) = stream::body();
    let first = format!("{}\n", header.to_json());
    tokio::spawn(async move {
        if writer.write(first).await.is_err() {
            return;
        }
        let mut from = 1;
        while from <= last {
            let chain = (host.as_str(), role.word(), u64::from(epoch.0));
            let (part, next) = match page(&app, &access, chain, from, last).await {
                Ok(read) => read,
                Err(error) => {
                    journal::error(&format!("an export of {host} broke off: {}", journal::chain(&error)));
                    return writer.fail(error).await;
                }
            };
            if writer.write(part).await.is_err() {
                return;
            }
            from = next;
        }
    });
    Ok(([(CONTENT_TYPE, "application/x-ndjson")], body).into_response())
}

/// The lines of the next places, and the place after them.
async fn page(
    app: &App,
    access: &Access,
    (host, role, epoch): (&str, &str, u64),
    from: u64,
    last: u64,
) -> Result<(String, u64), StoreError> {
    let next = from.saturating_add(LINES).min(last + 1);
    let lines = app.store.lines(access, host, role, epoch, (from, next - 1)).await?;
    if lines.len() as u64 != next - from {
        return Err(StoreError::Damaged("chain: records are missing in it"));
    }
    let mut out = String::new();
    for (envelope, payload) in lines {
        let signed = Signed::<tenure_trust::Record>::parse(envelope.as_bytes());
        let signed = signed.map_err(|_| StoreError::Damaged("record"))?;
        out.push_str(&ExportLine { record: signed.envelope().clone(), payload }.to_json());
        out.push('\n');
    }
    Ok((out, next))
}

/// Of one machine, when named.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Of {
    host: Option<HostName>,
}

/// What was found wrong.
pub(super) async fn findings(
    State(app): State<Arc<App>>,
    person: Person,
    of: Result<Query<Of>, axum::extract::rejection::QueryRejection>,
) -> Result<Response, Problem> {
    let Query(Of { host }) = of.map_err(Problem::malformed)?;
    Ok(json(&app.store.findings(&person.access(), host.as_ref().map(HostName::as_str)).await?))
}

/// Everything that judging needs, at one moment.
#[derive(Serialize)]
struct Snapshot {
    now: Timestamp,
    controller: HostName,
    version: Option<u64>,
    expires: Option<Timestamp>,
    duties: Option<DutyBook>,
    machines: Vec<HostRow>,
    areas: Vec<WithFacts>,
    /// Areas whose facts are left off because the answer would be too long; each is had by `records?about=…&facts=true`.
    areas_without_facts: u64,
    events: Vec<WithFacts>,
    /// There are more: they are had by `?events_before=` this.
    events_before: Option<u64>,
    findings: Vec<FindingRow>,
    /// How each duty stands since when, as it was judged last.
    duties_stand: Vec<Standing>,
}

/// Which page of events.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Events {
    events_before: Option<u64>,
}

/// Duty book, machines, newest facts of each area, events of backups and vaults in pages, findings.
pub(super) async fn state(
    State(app): State<Arc<App>>,
    person: Person,
    which: Result<Query<Events>, axum::extract::rejection::QueryRejection>,
) -> Result<Response, Problem> {
    let Query(Events { events_before }) = which.map_err(Problem::malformed)?;
    let (access, now) = (person.access(), app.now());
    let set = app.shelf.get();
    let since = now.saturating_sub(BACK).unwrap_or(Timestamp::MIN);
    let page = Page { before: events_before, limit: MOST, bytes: BYTES };
    let (events, more) = app.store.events_since(&access, &EVENTS, since, page).await?;
    let (areas, areas_without_facts) = bounded(app.store.newest(&access).await?);
    Ok(json(&Snapshot {
        now,
        controller: app.config.host.clone(),
        version: set.as_ref().map(|set| set.index.version.0),
        expires: set.as_ref().map(|set| set.index.expires),
        duties: set.as_ref().and_then(|set| Some(set.duties.as_ref()?.value().clone())),
        machines: rows(&app, &person).await?,
        areas,
        areas_without_facts,
        events: events.into_iter().map(with_facts).collect(),
        events_before: more,
        findings: app.store.findings(&access, None).await?,
        duties_stand: app.store.states(&access).await?,
    }))
}

/// Records with their facts, as far as these fit; and how many had to go without.
fn bounded(records: Vec<HeldRecord>) -> (Vec<WithFacts>, u64) {
    let (mut left, mut without) = (BYTES, 0);
    let mut fit = |mut record: HeldRecord| {
        let size = record.payload.as_ref().map_or(0, Vec::len) as u64;
        match left.checked_sub(size) {
            Some(rest) => left = rest,
            None => {
                record.payload = None;
                without += 1;
            }
        }
        with_facts(record)
    };
    let records = records.into_iter().map(&mut fit).collect();
    (records, without)
}
