//! The people's listener: login, JSON API and pages behind a session. Roles of several people come later; whoever logs in
//! is an operator.

mod api;
mod evidence;
mod guard;
mod login;
mod stream;

use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::http::HeaderValue;
use axum::middleware::{self, Next};
use axum::response::Response;
use axum::routing::{get, post};
use hyper::header::HeaderName;

use crate::app::App;
use crate::problem::Problem;

pub(crate) use api::files;
pub use guard::Person;
pub use login::COOKIE;

/// Headers of every answer: nothing may be framed, guessed, cached by others or loaded from elsewhere. With another policy of
/// referrers than to its own pages a browser would not say where our own forms come from (Fetch, "append a request Origin
/// header": `null` for `no-referrer`), and [`guard::own_page`] would refuse them.
const HEADERS: [(&str, &str); 9] = [
    (
        "content-security-policy",
        "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; \
         frame-ancestors 'none'",
    ),
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "DENY"),
    ("referrer-policy", "same-origin"),
    ("cross-origin-opener-policy", "same-origin"),
    ("cross-origin-resource-policy", "same-origin"),
    ("permissions-policy", "camera=(), geolocation=(), microphone=(), payment=(), usb=()"),
    ("strict-transport-security", "max-age=31536000"),
    ("cache-control", "no-store"),
];

/// The routes: the API, login and logout here, and what `pages` adds.
pub fn router(app: Arc<App>, pages: Router<Arc<App>>) -> Router {
    Router::new()
        .route("/login", get(login::page).post(login::login))
        .route("/logout", post(login::logout))
        .route("/login.css", get(login::style))
        .route("/favicon.ico", get(async || hyper::StatusCode::NO_CONTENT))
        .route("/api/v1/login", post(login::api))
        .route("/api/v1/logout", post(login::api_logout))
        .route("/api/v1/tokens", get(api::tokens).post(api::invite))
        .route("/api/v1/enrolments", get(api::enrolments))
        .route("/api/v1/admissions", get(api::admissions).post(api::admit))
        .route("/api/v1/revocations", post(api::revoke))
        .route("/api/v1/orders", post(api::order))
        .route("/api/v1/policy", get(api::policy).put(api::publish))
        .route("/api/v1/machines", get(evidence::hosts))
        .route("/api/v1/hosts/{host}/records", get(evidence::records))
        .route("/api/v1/hosts/{host}/export", get(evidence::export))
        .route("/api/v1/findings", get(evidence::findings))
        .route("/api/v1/state", get(evidence::state))
        .merge(pages)
        .fallback(async || Problem::not_found())
        .method_not_allowed_fallback(async || {
            Problem::new(hyper::StatusCode::METHOD_NOT_ALLOWED, "method", "this is not done here")
        })
        .layer(middleware::from_fn(headers))
        .with_state(app)
}

async fn headers(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    for (name, value) in HEADERS {
        response.headers_mut().insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    response
}
