//! What operators bring and ask for: invitations, enrolments, admissions, revocations, orders, signed policy. All that people
//! sign is verified here too before any machine sees it.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Query, State};
use axum::response::Response;
use hyper::StatusCode;
use serde::{Deserialize, Serialize};
use tenure_trust::admission::{verify_admission, verify_order};
use tenure_trust::order::verify_clear;
use tenure_trust::{HostName, Kind, MachineRole, OrderKind};

use super::Person;
use crate::app::App;
use crate::journal;
use crate::machines::read_body;
use crate::problem::{Problem, json};
use crate::store::PolicyFiles;

/// The largest admission or order in bytes.
const SIGNED: usize = 512 << 10;
/// The largest policy set in bytes.
const SET: usize = 96 << 20;
/// An invitation holds at most so many minutes.
const MINUTES: u32 = 24 * 60;

/// For whom a token is.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Invite {
    name: HostName,
    role: MachineRole,
    #[serde(default = "half_an_hour")]
    minutes: u32,
}

const fn half_an_hour() -> u32 {
    30
}

/// Makes a one-time token: the answer is the invitation that is handed to the machine.
pub(super) async fn invite(
    State(app): State<Arc<App>>,
    person: Person,
    body: Body,
) -> Result<Response, Problem> {
    let wanted: Invite = parsed(&app, body, SIGNED).await?;
    if wanted.role == MachineRole::Recovery || !(1..=MINUTES).contains(&wanted.minutes) {
        return Err(Problem::malformed(format_args!("role host or vault, and 1 to {MINUTES} minutes")));
    }
    let invitation = app.invite(&person.access(), &wanted.name, wanted.role, wanted.minutes).await?;
    journal::notice(&format!("{} invites {} as {}", person.user, wanted.name, wanted.role));
    Ok(json(&invitation))
}

/// The tokens, without secrets.
pub(super) async fn tokens(State(app): State<Arc<App>>, person: Person) -> Result<Response, Problem> {
    Ok(json(&app.store.tokens(&person.access()).await?))
}

/// Of one machine, when named.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Of {
    name: Option<HostName>,
}

/// The enrolments: what machines state of their keys, to be compared and admitted.
pub(super) async fn enrolments(
    State(app): State<Arc<App>>,
    person: Person,
    of: Result<Query<Of>, axum::extract::rejection::QueryRejection>,
) -> Result<Response, Problem> {
    let Query(Of { name }) = of.map_err(Problem::malformed)?;
    Ok(json(&app.store.enrolments(&person.access(), name.as_ref().map(HostName::as_str)).await?))
}

/// The list of admissions and revocations, as every machine gets it.
pub(super) async fn admissions(State(app): State<Arc<App>>, person: Person) -> Result<Response, Problem> {
    Ok(json(&app.store.admission_list(&person.access()).await?))
}

#[derive(Serialize)]
struct Kept {
    /// False when it was held already.
    new: bool,
}

/// Takes a signed admission (DSSE JSON).
pub(super) async fn admit(
    State(app): State<Arc<App>>,
    person: Person,
    body: Body,
) -> Result<Response, Problem> {
    let bytes = read_body(&app, body, SIGNED).await?;
    let refused = |why| Problem::refused("the admission", &why);
    let admission = verify_admission(&app.root, &bytes).map_err(refused)?;
    let text = String::from_utf8(bytes).map_err(Problem::malformed)?;
    let new = app.store.add_admission(&person.access(), &admission, text.trim(), app.now()).await?;
    app.judge_admissions().await?;
    journal::notice(&format!(
        "{} brings an admission of {} as {}",
        person.user, admission.name, admission.role
    ));
    Ok(json(&Kept { new }))
}

/// Takes a signed revocation (DSSE JSON).
pub(super) async fn revoke(
    State(app): State<Arc<App>>,
    person: Person,
    body: Body,
) -> Result<Response, Problem> {
    let bytes = read_body(&app, body, SIGNED).await?;
    let order = verify_order(&app.root, &bytes).map_err(|why| Problem::refused("the order", &why))?;
    let OrderKind::Revoke { name, role, .. } = &order.what else {
        return Err(Problem::malformed("it is an order of another kind than a revocation"));
    };
    let text = String::from_utf8(bytes).map_err(Problem::malformed)?;
    let new = app.store.add_revocation(&person.access(), order.hash(), text.trim(), app.now()).await?;
    app.judge_admissions().await?;
    journal::notice(&format!("{} brings a revocation of {name} as {role}", person.user));
    Ok(json(&Kept { new }))
}

/// Takes a signed order for a vault (DSSE JSON): the vault pulls it and judges it itself.
pub(super) async fn order(
    State(app): State<Arc<App>>,
    person: Person,
    body: Body,
) -> Result<Response, Problem> {
    let bytes = read_body(&app, body, SIGNED).await?;
    let clear = verify_clear(&app.root, None, app.now(), &bytes)
        .map_err(|why| Problem::refused("the order", &why))?;
    let text = String::from_utf8(bytes).map_err(Problem::malformed)?;
    let new = app.store.add_order(&person.access(), &clear, text.trim(), app.now()).await?;
    journal::notice(&format!(
        "{} brings an order to take {} {}",
        person.user, clear.series, clear.generation
    ));
    Ok(json(&Kept { new }))
}

/// A signed set, as `tenure sign` writes it: file names with their texts.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Upload {
    files: BTreeMap<String, String>,
}

#[derive(Serialize)]
struct Published {
    version: Option<u64>,
    expires: Option<jiff::Timestamp>,
    hosts: Vec<HostName>,
    vaults: Vec<HostName>,
}

/// Takes a signed policy set: verified whole before any machine gets a byte of it.
pub(super) async fn publish(
    State(app): State<Arc<App>>,
    person: Person,
    body: Body,
) -> Result<Response, Problem> {
    let upload: Upload = parsed(&app, body, SET).await?;
    let files = files(upload.files)
        .map_err(|name| Problem::malformed(format_args!("{name:?} is no file of a signed set")))?;
    match app.take_policy(&person.access(), files).await? {
        Ok(_) => policy(State(app), person).await,
        Err(refused) => {
            let hint = match &refused {
                crate::shelf::NotTaken::Refused { source, .. } => source.hint(),
                _ => "publish everything that one `tenure sign` wrote",
            };
            Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "refused", "the policy set is refused")
                .detail(journal::chain(&refused))
                .hint(hint))
        }
    }
}

/// Which set is handed on.
pub(super) async fn policy(State(app): State<Arc<App>>, _person: Person) -> Result<Response, Problem> {
    let set = app.shelf.get();
    let index = set.as_ref().map(|set| &set.index);
    Ok(json(&Published {
        version: index.map(|index| index.version.0),
        expires: index.map(|index| index.expires),
        hosts: index.map(|index| index.machines.keys().cloned().collect()).unwrap_or_default(),
        vaults: index.map(|index| index.vaults.keys().cloned().collect()).unwrap_or_default(),
    }))
}

/// Sorts the files of a set by what their names say; the first foreign name otherwise.
///
/// # Errors
/// The name that is none of a set.
pub(crate) fn files(named: BTreeMap<String, String>) -> Result<PolicyFiles, String> {
    let mut files = PolicyFiles::default();
    for (name, text) in named {
        let kinds = [
            (".bundle.json", Kind::HostPolicy),
            (".vault.json", Kind::VaultPolicy),
            (".duty.json", Kind::DutyBook),
        ];
        if name == "index.json" {
            files.index = text.into_bytes();
            continue;
        }
        let found = kinds
            .into_iter()
            .find_map(|(end, kind)| Some((kind, HostName::new(name.strip_suffix(end)?).ok()?)));
        let place = found.ok_or(name)?;
        files.bundles.insert(place, text.into_bytes());
    }
    Ok(files)
}

async fn parsed<T: serde::de::DeserializeOwned>(app: &App, body: Body, limit: usize) -> Result<T, Problem> {
    let bytes = read_body(app, body, limit).await?;
    serde_json::from_slice(&bytes).map_err(Problem::malformed)
}
