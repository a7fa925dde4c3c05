//! What the controller judges, for programs as JSON and for people as one page without a script.

mod past;
mod today;

use std::sync::Arc;

use axum::Router;
use axum::extract::{Query, State};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::get;
use hyper::StatusCode;
use hyper::header::CONTENT_TYPE;
use serde::Deserialize;
use tenure_obligations::view::Judgement;
use tenure_trust::TenantId;

use crate::app::App;
use crate::journal;
use crate::judging::NotJudged;
use crate::people::Person;
use crate::problem::{Problem, json};

/// The routes, behind the session of the people's listener.
pub fn router() -> Router<Arc<App>> {
    Router::new()
        .route("/", get(page))
        .route("/page.css", get(style))
        .route("/api/v1/obligations", get(obligations))
        .route("/api/v1/hosts", get(hosts))
        .route("/api/v1/backups", get(backups))
        .route("/api/v1/drift", get(drift))
        .route("/api/v1/patches", get(patches))
}

async fn judged(app: &App, person: &Person) -> Result<Arc<Judgement>, Problem> {
    app.judging.now(app, &person.access()).await.map_err(|error| match error {
        NotJudged::Store(error) => error.into(),
        NotJudged::NoDuties => {
            Problem::new(StatusCode::CONFLICT, "no-duties", "there is nothing to judge by yet")
                .detail(&error)
                .hint("`tenure publish` brings a signed set whose `controller:` is this host")
        }
        NotJudged::Zone(_) | NotJudged::Ended => {
            journal::error(&journal::chain(&error));
            Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "judging failed").detail(&error)
        }
    })
}

/// Of one tenant, when named.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Of {
    tenant: Option<TenantId>,
}

async fn obligations(
    State(app): State<Arc<App>>,
    person: Person,
    of: Result<Query<Of>, axum::extract::rejection::QueryRejection>,
) -> Result<Response, Problem> {
    let Query(Of { tenant }) = of.map_err(Problem::malformed)?;
    let judgement = judged(&app, &person).await?;
    if let Some(tenant) = &tenant {
        let set = app.shelf.get();
        let known =
            set.iter().filter_map(|set| set.duties.as_ref()).any(|book| book.tenants.contains_key(tenant));
        if !known {
            return Err(Problem::not_found());
        }
    }
    Ok(json(&judgement.obligations_view(tenant.as_ref())))
}

async fn hosts(State(app): State<Arc<App>>, person: Person) -> Result<Response, Problem> {
    Ok(json(&judged(&app, &person).await?.hosts_view()))
}

async fn backups(State(app): State<Arc<App>>, person: Person) -> Result<Response, Problem> {
    Ok(json(&judged(&app, &person).await?.backups_view()))
}

async fn drift(State(app): State<Arc<App>>, person: Person) -> Result<Response, Problem> {
    Ok(json(&judged(&app, &person).await?.drift_view()))
}

async fn patches(State(app): State<Arc<App>>, person: Person) -> Result<Response, Problem> {
    Ok(json(&judged(&app, &person).await?.patches_view()))
}

/// The page; a browser without a session is sent to the login.
async fn page(State(app): State<Arc<App>>, person: Result<Person, Problem>) -> Result<Response, Problem> {
    let person = match person {
        Ok(person) => person,
        Err(problem) if problem.status() == StatusCode::UNAUTHORIZED => {
            return Ok(Redirect::to("/login").into_response());
        }
        Err(problem) => return Err(problem),
    };
    let page = match judged(&app, &person).await {
        Ok(judgement) => today::render(&judgement, &person.user, person.csrf.as_deref()),
        Err(problem) if problem.status() == StatusCode::CONFLICT => {
            today::nothing_yet(&person.user, person.csrf.as_deref())
        }
        Err(problem) => return Err(problem),
    };
    let page = page.map_err(|error| {
        journal::error(&format!("the page cannot be made: {error}"));
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "the page cannot be made")
    })?;
    Ok(([(CONTENT_TYPE, "text/html; charset=utf-8")], page).into_response())
}

/// Its look, on screens and on paper.
async fn style() -> Response {
    ([(CONTENT_TYPE, "text/css; charset=utf-8")], include_str!("page.css")).into_response()
}
