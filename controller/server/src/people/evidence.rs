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

use super::Person;
use crate::app::App;
use crate::problem::{Problem, json};
use crate::store::{ChainHead, FindingRow, HeldRecord, RecordQuery};

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
/// How far back events are handed out, and how many at most.
const BACK: SignedDuration = SignedDuration::from_hours(24 * 45);
const MOST: u32 = 50_000;

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

/// A machine's chain as it was signed, for `tenure verify`: at most 100,000 records.
pub(super) async fn export(
    State(app): State<Arc<App>>,
    person: Person,
    Path(host): Path<String>,
    chain: Result<Query<Chain>, axum::extract::rejection::QueryRejection>,
) -> Result<Response, Problem> {
    const PAGE: u32 = 1000;
    const PAGES: usize = 100;
    let Query(Chain { role, epoch }) = chain.map_err(Problem::malformed)?;
    let host = HostName::new(host).map_err(|_| Problem::not_found())?;
    let admission = app.book.of(&host, role).ok_or(Problem::not_found())?;
    let epoch = epoch.map_or(admission.epoch, Epoch);
    let mut header = ExportHeader::new(host.clone(), epoch, admission.identity);
    header.role = role;
    let mut out = header.to_json();
    out.push('\n');
    let mut from = 1;
    for _ in 0..PAGES {
        let access = person.access();
        let lines =
            app.store.lines(&access, host.as_str(), role.word(), u64::from(epoch.0), from, PAGE).await?;
        let count = lines.len();
        for (envelope, payload) in lines {
            let signed = Signed::<tenure_trust::Record>::parse(envelope.as_bytes());
            let signed = signed.map_err(|why| Problem::refused("a record of our own database", &why))?;
            out.push_str(&ExportLine { record: signed.envelope().clone(), payload }.to_json());
            out.push('\n');
        }
        from += u64::from(PAGE);
        if count < PAGE as usize {
            break;
        }
    }
    Ok(([(CONTENT_TYPE, "application/x-ndjson")], out).into_response())
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
    events: Vec<WithFacts>,
    findings: Vec<FindingRow>,
    /// How each duty stands since when, as it was judged last.
    duties_stand: Vec<Standing>,
}

/// Duty book, machines, newest facts of each area, events of backups and vaults, findings.
pub(super) async fn state(State(app): State<Arc<App>>, person: Person) -> Result<Response, Problem> {
    let (access, now) = (person.access(), app.now());
    let set = app.shelf.get();
    let since = now.saturating_sub(BACK).unwrap_or(Timestamp::MIN);
    Ok(json(&Snapshot {
        now,
        controller: app.config.host.clone(),
        version: set.as_ref().map(|set| set.index.version.0),
        expires: set.as_ref().map(|set| set.index.expires),
        duties: set.as_ref().and_then(|set| Some(set.duties.as_ref()?.value().clone())),
        machines: rows(&app, &person).await?,
        areas: app.store.newest(&access).await?.into_iter().map(with_facts).collect(),
        events: app
            .store
            .events_since(&access, &EVENTS, since, MOST)
            .await?
            .into_iter()
            .map(with_facts)
            .collect(),
        findings: app.store.findings(&access, None).await?,
        duties_stand: app.store.states(&access).await?,
    }))
}
