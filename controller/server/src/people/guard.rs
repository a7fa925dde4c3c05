//! Who asks: a browser's cookie or a program's bearer token, and for a browser proof that the request came from a page
//! of ours.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use hyper::Method;
use hyper::header::{AUTHORIZATION, COOKIE, HOST, HeaderMap, ORIGIN};
use hyper::http::request::Parts;

use super::login;
use crate::app::App;
use crate::problem::Problem;
use crate::secret::{Secret, same};
use crate::store::{Access, SessionKind};

/// The header that a script of ours sends with a changing request.
pub(super) const CSRF_HEADER: &str = "x-tenure-csrf";

/// A person who logged in. As an argument of a handler it lets nobody else in.
#[derive(Debug, Clone)]
pub struct Person {
    /// Her account.
    pub user: String,
    /// The text that her forms must bring back; none for a program, which no page can steer.
    pub csrf: Option<String>,
}

impl Person {
    /// On her behalf.
    pub fn access(&self) -> Access {
        Access::Operator { user: self.user.clone() }
    }

    /// Is this the text that a form of hers carries?
    ///
    /// # Errors
    /// `foreign-page` when it is not.
    pub fn form(&self, brought: &str) -> Result<(), Problem> {
        match &self.csrf {
            Some(expected) if same(expected, brought) => Ok(()),
            _ => Err(Problem::foreign_page()),
        }
    }
}

impl FromRequestParts<Arc<App>> for Person {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Problem> {
        let now = app.now();
        if let Some(secret) = bearer(&parts.headers) {
            let user = app.store.session(&Access::Stranger, secret.hash(), SessionKind::Api, now).await?;
            let user = user.ok_or(Problem::not_logged_in())?;
            return Ok(Self { user, csrf: None });
        }
        let secret = cookie(&parts.headers).ok_or(Problem::not_logged_in())?;
        let user = app.store.session(&Access::Stranger, secret.hash(), SessionKind::Browser, now).await?;
        let user = user.ok_or(Problem::not_logged_in())?;
        let person = Self { user, csrf: Some(secret.derived("csrf")) };
        let changes = !matches!(parts.method, Method::GET | Method::HEAD);
        if changes {
            own_page(&parts.headers)?;
            // A form brings it in its body instead, and its handler looks.
            if let Some(brought) = parts.headers.get(CSRF_HEADER) {
                person.form(brought.to_str().unwrap_or_default())?;
            } else if parts.uri.path().starts_with("/api/") {
                return Err(Problem::foreign_page());
            }
        }
        Ok(person)
    }
}

/// A changing request of a browser must say that it comes from a page of this very origin.
///
/// # Errors
/// `foreign-page` when it says another, or nothing.
pub(super) fn own_page(headers: &HeaderMap) -> Result<(), Problem> {
    let text = |name| headers.get(name).and_then(|value: &hyper::header::HeaderValue| value.to_str().ok());
    let host = text(HOST).ok_or(Problem::foreign_page())?;
    match (text(ORIGIN), headers.get("sec-fetch-site")) {
        (Some(origin), _) if origin.strip_prefix("https://") == Some(host) => Ok(()),
        (None, Some(site)) if site == "same-origin" => Ok(()),
        _ => Err(Problem::foreign_page()),
    }
}

/// The secret of a program.
pub(super) fn bearer(headers: &HeaderMap) -> Option<Secret> {
    Secret::brought(headers.get(AUTHORIZATION)?.to_str().ok()?.strip_prefix("Bearer ")?)
}

/// The secret of a browser.
pub(super) fn cookie(headers: &HeaderMap) -> Option<Secret> {
    let all = headers.get_all(COOKIE).into_iter().filter_map(|value| value.to_str().ok());
    let mut pairs = all.flat_map(|text| text.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(name, _)| *name == login::COOKIE).and_then(|(_, value)| Secret::brought(value))
}
