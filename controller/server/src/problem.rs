//! Refusals as a program can read them: RFC 9457 problem details. Hostile text is made harmless here.

use axum::response::{IntoResponse, Response};
use hyper::StatusCode;
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE};
use serde::Serialize;
use serde_json::Value;
use tenure_trust::{Refused, neutral_bytes};

use crate::journal;
use crate::store::StoreError;

/// Why a request was not answered as asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    status: StatusCode,
    /// The last word of its type URI; a closed list of words, so that programs can tell them apart.
    word: &'static str,
    title: &'static str,
    detail: Option<String>,
    hint: Option<String>,
}

#[derive(Serialize)]
struct Written<'a> {
    r#type: String,
    title: &'a str,
    status: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<&'a str>,
}

impl Problem {
    /// A problem of this kind.
    pub const fn new(status: StatusCode, word: &'static str, title: &'static str) -> Self {
        Self { status, word, title, detail: None, hint: None }
    }

    /// Nothing stands at this address, or nothing that the caller may know of.
    pub const fn not_found() -> Self {
        Self::new(StatusCode::NOT_FOUND, "not-found", "there is nothing here")
    }

    /// A machine must show the certificate of an admitted key.
    pub const fn not_admitted() -> Self {
        Self::new(StatusCode::FORBIDDEN, "not-admitted", "no admission names the key in your certificate")
    }

    /// A person must log in.
    pub const fn not_logged_in() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "not-logged-in", "log in first")
    }

    /// The request came from another page.
    pub const fn foreign_page() -> Self {
        Self::new(
            StatusCode::FORBIDDEN,
            "foreign-page",
            "the request did not come from a page of this controller",
        )
    }

    /// The body is not what it should be.
    pub fn malformed(why: impl std::fmt::Display) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "malformed", "the request cannot be read").detail(why)
    }

    /// More bytes than are taken.
    pub const fn too_large() -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "too-large", "the request is larger than is taken")
    }

    /// The sender took longer than is waited.
    pub const fn too_slow() -> Self {
        Self::new(StatusCode::REQUEST_TIMEOUT, "too-slow", "the request took longer than is waited")
    }

    /// Too many tries.
    pub const fn throttled() -> Self {
        Self::new(StatusCode::TOO_MANY_REQUESTS, "throttled", "too many tries: wait a while")
    }

    /// A signed thing was refused.
    pub fn refused(what: &str, refused: &Refused) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "refused", "what was sent is refused")
            .detail(format_args!("{what}: {refused}"))
            .hint(refused.hint())
    }

    /// With what exactly is wrong.
    #[must_use]
    pub fn detail(mut self, detail: impl std::fmt::Display) -> Self {
        self.detail = Some(neutral_bytes(detail.to_string().as_bytes(), 1000));
        self
    }

    /// With what to do next.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Its HTTP status.
    pub const fn status(&self) -> StatusCode {
        self.status
    }

    /// Its word.
    pub const fn word(&self) -> &'static str {
        self.word
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Denied(denied) => {
                Self::new(StatusCode::FORBIDDEN, "denied", "you may not do this").detail(denied)
            }
            error => {
                journal::error(&journal::chain(&error));
                Self::new(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "store",
                    "the controller cannot use its database now",
                )
                .hint("try again later; nothing was changed")
            }
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let written = Written {
            r#type: format!("urn:tenure:problem:{}", self.word),
            title: self.title,
            status: self.status.as_u16(),
            detail: self.detail.as_deref(),
            hint: self.hint.as_deref(),
        };
        let body = serde_json::to_value(&written).unwrap_or(Value::Null).to_string();
        let headers = [(CONTENT_TYPE, "application/problem+json"), (CACHE_CONTROL, "no-store")];
        (self.status, headers, body).into_response()
    }
}

/// An answer as JSON.
pub fn json(value: &impl Serialize) -> Response {
    match serde_json::to_vec(value) {
        Ok(body) => ([(CONTENT_TYPE, "application/json"), (CACHE_CONTROL, "no-store")], body).into_response(),
        Err(error) => {
            journal::error(&format!("an answer cannot be written as JSON: {error}"));
            Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "the answer cannot be written")
                .into_response()
        }
    }
}
