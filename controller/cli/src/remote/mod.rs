//! The controller's people's interface from the operator's side: a session that a login began, and requests with it.

pub(crate) mod http;
mod session;

use std::path::PathBuf;

use hyper::Method;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::failure::Failure;
use crate::output::progress;
use http::{Asked, HttpError, Place};
pub(crate) use session::Session;

/// Arguments of every command that asks the controller.
#[derive(Debug, clap::Args)]
pub(crate) struct Remote {
    /// The session that `tenure login` wrote; without it the one in the state directory
    #[arg(long, value_name = "FILE")]
    session: Option<PathBuf>,
}

impl Remote {
    /// The session's file.
    pub(crate) fn path(&self) -> Result<PathBuf, Failure> {
        session::path(self.session.as_deref())
    }

    /// Asks for something.
    pub(crate) fn get<T: DeserializeOwned>(&self, doing: &str, path: &str) -> Result<T, Failure> {
        self.send(doing, Method::GET, path, Vec::new())
    }

    /// Brings something and reads the answer.
    pub(crate) fn send<T: DeserializeOwned>(
        &self,
        doing: &str,
        method: Method,
        path: &str,
        body: Vec<u8>,
    ) -> Result<T, Failure> {
        let session = Session::read(&self.path()?)?;
        let bytes = ask(doing, &session.place(), method, path, Some(session.token()), body)?;
        serde_json::from_slice(&bytes).map_err(|error| {
            Failure::new(doing, &error)
                .hint("the controller is of another release: upgrade the older of the two")
        })
    }
}

/// One request; an answer that is a refusal becomes a failure in its words.
pub(crate) fn ask(
    doing: &str,
    place: &Place,
    method: Method,
    path: &str,
    token: Option<&str>,
    body: Vec<u8>,
) -> Result<Vec<u8>, Failure> {
    let _asking = progress(&format!("asking the controller at {}", place.server));
    let answer = http::ask(place, Asked { method, path, token, body }).map_err(|error| {
        let hint = match &error {
            HttpError::Connect(..) | HttpError::Slow => {
                "is the controller running, and is its people's port reachable from here?"
            }
            HttpError::Handshake(..) | HttpError::Name(_) => {
                "compare the name and the CA that were given at login with the controller's ca.crt"
            }
            HttpError::Ca => "give the controller's ca.crt",
            _ => "try again; the controller's journal says more",
        };
        Failure::new(doing, &error).hint(hint)
    })?;
    match answer.status.is_success() {
        true => Ok(answer.body),
        false => Err(refused(doing, answer.status.as_u16(), &answer.body)),
    }
}

/// RFC 9457 problem details.
#[derive(Deserialize, Default)]
struct Problem {
    #[serde(default)]
    title: String,
    detail: Option<String>,
    hint: Option<String>,
}

fn refused(doing: &str, status: u16, body: &[u8]) -> Failure {
    let problem: Problem = serde_json::from_slice(body).unwrap_or_default();
    let title = if problem.title.is_empty() { format!("the answer was {status}") } else { problem.title };
    let why = match problem.detail {
        Some(detail) => format!("{title}: {detail}"),
        None => title,
    };
    let failure = Failure::because(doing, why);
    match (problem.hint, status) {
        (Some(hint), _) => failure.hint(hint),
        (None, 401) => failure.hint("`tenure login` begins a session"),
        (None, _) => failure,
    }
}

/// A text as it stands in a query: everything but letters, digits and a few signs escaped (RFC 3986 §2.1).
pub(crate) fn escaped(text: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~');
    text.bytes().map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}
