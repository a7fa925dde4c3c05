//! Logging in and out, with a browser or a program: throttled by address and account, the same answer and the same work
//! for a wrong name as for a wrong password.

use std::sync::Arc;

use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Redirect, Response};
use hyper::StatusCode;
use hyper::header::{CONTENT_TYPE, HeaderMap, SET_COOKIE};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use tenure_trust::neutral_bytes;

use super::guard::{Person, bearer, cookie, own_page};
use crate::app::App;
use crate::journal;
use crate::listen::Peer;
use crate::machines::read_body;
use crate::password;
use crate::problem::{Problem, json};
use crate::secret::Secret;
use crate::store::{Access, SessionKind, Tried, Turn};

/// The browser's cookie. The prefix binds it to this origin, https and the whole path (RFC 6265bis).
pub const COOKIE: &str = "__Host-tenure";
/// A browser is logged out after this whatever it does.
const BROWSER_TERM: SignedDuration = SignedDuration::from_hours(12);
/// A program's token ends after this.
const API_TERM: SignedDuration = SignedDuration::from_hours(24 * 30);
const LIMIT: usize = 4 << 10;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Credentials {
    user: String,
    password: String,
    /// What the token is for, in the user's words.
    #[serde(default)]
    label: String,
}

#[derive(Serialize)]
struct Token<'a> {
    token: &'a str,
    until: Timestamp,
}

/// A program logs in and gets a bearer token.
pub(super) async fn api(
    State(app): State<Arc<App>>,
    Extension(peer): Extension<Peer>,
    body: Body,
) -> Result<Response, Problem> {
    let bytes = read_body(&app, body, LIMIT).await?;
    let given: Credentials = serde_json::from_slice(&bytes).map_err(Problem::malformed)?;
    judge(&app, &peer, &given).await?;
    let (secret, until) = begin(&app, &given, SessionKind::Api, API_TERM).await?;
    Ok(json(&Token { token: secret.text(), until }))
}

/// A program's token ends.
pub(super) async fn api_logout(
    State(app): State<Arc<App>>,
    person: Person,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    if let Some(secret) = bearer(&headers) {
        app.store.end_session(&person.access(), secret.hash()).await?;
    }
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// The form.
pub(super) async fn page() -> Response {
    form(StatusCode::OK, "")
}

/// Its look.
pub(super) async fn style() -> Response {
    ([(CONTENT_TYPE, "text/css; charset=utf-8")], include_str!("login.css")).into_response()
}

/// A browser logs in.
pub(super) async fn login(
    State(app): State<Arc<App>>,
    Extension(peer): Extension<Peer>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    own_page(&headers)?;
    let bytes = read_body(&app, body, LIMIT).await?;
    let given: Credentials = match axum::extract::Form::<Credentials>::from_bytes(&bytes) {
        Ok(given) => given,
        Err(problem) => return Err(problem),
    };
    match judge(&app, &peer, &given).await {
        Ok(()) => {}
        Err(problem) if problem.status().is_client_error() => {
            let said = match problem.status() {
                StatusCode::TOO_MANY_REQUESTS => "Too many tries. Wait a while and try again.",
                _ => "Name or password is wrong.",
            };
            return Ok(form(problem.status(), said));
        }
        Err(problem) => return Err(problem),
    }
    let (secret, _) = begin(&app, &given, SessionKind::Browser, BROWSER_TERM).await?;
    let seconds = BROWSER_TERM.as_secs();
    let set =
        format!("{COOKIE}={}; Path=/; Max-Age={seconds}; HttpOnly; Secure; SameSite=Strict", secret.text());
    Ok(([(SET_COOKIE, set)], Redirect::to("/")).into_response())
}

/// A browser logs out.
pub(super) async fn logout(
    State(app): State<Arc<App>>,
    person: Person,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Logout {
        csrf: String,
    }
    let bytes = read_body(&app, body, LIMIT).await?;
    person.form(&axum::extract::Form::<Logout>::from_bytes(&bytes)?.csrf)?;
    if let Some(secret) = cookie(&headers) {
        app.store.end_session(&person.access(), secret.hash()).await?;
    }
    let gone = format!("{COOKIE}=; Path=/; Max-Age=0; HttpOnly; Secure; SameSite=Strict");
    Ok(([(SET_COOKIE, gone)], Redirect::to("/login")).into_response())
}

/// Throttles, then compares. A try is counted as a failure before it is judged, so that a thousand at once are not free.
/// Strangers' tries on an account slow its owner by seconds and no more: only her own place waits for its own failures.
async fn judge(app: &App, peer: &Peer, given: &Credentials) -> Result<(), Problem> {
    let now = app.now();
    let name = neutral_bytes(given.user.as_bytes(), 64);
    let account = format!("account {name}");
    let place = peer.place();
    let (address, from_there) = (format!("login from {place}"), format!("login {place} as {name}"));
    let tried = Tried { hard: &[&from_there, &address], soft: Some(&account) };
    match app.store.may_try(&Access::Stranger, tried, now).await? {
        Turn::Wait => return Err(Problem::throttled()),
        Turn::Go(slowed) => tokio::time::sleep(slowed).await,
    }
    let kept = app.store.password_of(&Access::Stranger, &given.user).await?;
    if !password::is_right(&given.password, kept.as_deref()).await {
        journal::warning(&format!("a login as {account} from {} failed", peer.address.ip()));
        return Err(Problem::new(StatusCode::UNAUTHORIZED, "credentials", "name or password is wrong"));
    }
    app.store.forgive(&Access::Stranger, &[&account, &address, &from_there]).await?;
    journal::notice(&format!("{account} logged in from {}", peer.address.ip()));
    Ok(())
}

async fn begin(
    app: &App,
    given: &Credentials,
    kind: SessionKind,
    term: SignedDuration,
) -> Result<(Secret, Timestamp), Problem> {
    let secret = Secret::fresh().map_err(|_| {
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, "randomness", "the machine has no randomness yet")
    })?;
    let now = app.now();
    let until = now.saturating_add(term).unwrap_or(now);
    let access = Access::Operator { user: given.user.clone() };
    let label = neutral_bytes(given.label.as_bytes(), 100);
    app.store.add_session(&access, secret.hash(), (kind, &label), now, until).await?;
    Ok((secret, until))
}

/// A form's fields, read from its bytes.
trait Fields<T> {
    fn from_bytes(bytes: &[u8]) -> Result<T, Problem>;
}

impl<T: serde::de::DeserializeOwned> Fields<T> for axum::extract::Form<T> {
    fn from_bytes(bytes: &[u8]) -> Result<T, Problem> {
        // The query parser reads what a form sends: both are application/x-www-form-urlencoded.
        let text = std::str::from_utf8(bytes).map_err(Problem::malformed)?;
        let uri = hyper::Uri::builder().path_and_query(format!("/?{text}")).build();
        let uri = uri.map_err(Problem::malformed)?;
        axum::extract::Query::<T>::try_from_uri(&uri).map(|query| query.0).map_err(Problem::malformed)
    }
}

fn form(status: StatusCode, said: &str) -> Response {
    let said = if said.is_empty() { String::new() } else { format!("<p role=\"alert\">{said}</p>") };
    let page = format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\"><title>Log in – Tenure</title>\
         <link rel=\"stylesheet\" href=\"/login.css\"></head><body><main><h1>Tenure</h1>{said}\
         <form method=\"post\" action=\"/login\">\
         <label>Name <input name=\"user\" autocomplete=\"username\" required maxlength=\"64\" autofocus></label>\
         <label>Password <input name=\"password\" type=\"password\" autocomplete=\"current-password\" required \
         maxlength=\"256\"></label><button>Log in</button></form></main></body></html>"
    );
    (status, [(CONTENT_TYPE, "text/html; charset=utf-8")], page).into_response()
}
