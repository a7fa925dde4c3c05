//! One connection to a controller: every step with a limit on time and size, since it may be hostile.

use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use serde::Deserialize;
use tenure_sys::text;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;

use super::{LinkError, Ticket, tls};
use crate::store::Places;

/// Time for a TCP connection and for a TLS handshake, each.
const CONNECT: Duration = Duration::from_secs(10);
/// Time for an answer.
const ANSWER: Duration = Duration::from_secs(90);
/// The most bytes of a refusal that are read.
const PROBLEM: usize = 16 << 10;

/// A connection that requests go over, one after the other.
#[derive(Debug)]
pub(super) struct Line {
    sender: SendRequest<Full<Bytes>>,
    task: JoinHandle<()>,
    controller: String,
    host: String,
    /// Time for an answer, from the request to its last byte.
    pub(super) patience: Duration,
}

impl Drop for Line {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Connects to the first controller that can be reached; with our certificate, or without.
pub(super) async fn connect(places: &Places, ticket: &Ticket, with: bool) -> Result<Line, LinkError> {
    let config = tls::client(&places.state, ticket, with)?;
    let mut why = "none is named".to_owned();
    for controller in ticket.controllers.iter().take(16) {
        let stream = match tokio::time::timeout(CONNECT, TcpStream::connect(controller)).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => {
                why = format!("{controller}: {error}");
                continue;
            }
            Err(_) => {
                why = format!("{controller}: no answer in {} s", CONNECT.as_secs());
                continue;
            }
        };
        let failed = |why: String| LinkError::Tls { controller: controller.clone(), why };
        let name = ServerName::try_from(ticket.server_name.clone()).map_err(|e| failed(e.to_string()))?;
        let greeted = tokio::time::timeout(CONNECT, TlsConnector::from(config).connect(name, stream)).await;
        let stream = greeted.map_err(|_| failed("no handshake in time".into()))?;
        let stream = stream.map_err(|e| failed(text::neutral(e.to_string().as_bytes(), 300)))?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await.map_err(|e| broken(&e))?;
        // How it ends is told to whoever waits for an answer.
        let task = tokio::spawn(async move {
            let _ = connection.await;
        });
        let host = ticket.server_name.clone();
        return Ok(Line { sender, task, controller: controller.clone(), host, patience: ANSWER });
    }
    Err(LinkError::Unreachable(why))
}

fn broken(error: &hyper::Error) -> LinkError {
    LinkError::Broken(text::neutral(error.to_string().as_bytes(), 300))
}

/// A refusal (RFC 9457), as far as it is shown.
#[derive(Default, Deserialize)]
struct Problem {
    #[serde(default)]
    r#type: String,
    #[serde(default)]
    title: String,
    hint: Option<String>,
}

impl Line {
    /// To whom it leads.
    pub(super) fn controller(&self) -> &str {
        &self.controller
    }

    /// Asks, and gives the answer's body of at most so many bytes; none when nothing stands at the path.
    pub(super) async fn get(
        &mut self,
        path: &'static str,
        what: &'static str,
        limit: usize,
    ) -> Result<Option<Vec<u8>>, LinkError> {
        match self.ask(Method::GET, path, Bytes::new(), what, limit).await {
            Err(LinkError::Refused { status: 404, .. }) => Ok(None),
            other => other.map(Some),
        }
    }

    /// Sends, and gives the answer's body.
    pub(super) async fn post(
        &mut self,
        path: &'static str,
        body: Vec<u8>,
        what: &'static str,
        limit: usize,
    ) -> Result<Vec<u8>, LinkError> {
        self.ask(Method::POST, path, body.into(), what, limit).await
    }

    async fn ask(
        &mut self,
        method: Method,
        path: &'static str,
        body: Bytes,
        what: &'static str,
        limit: usize,
    ) -> Result<Vec<u8>, LinkError> {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", &self.host)
            .body(Full::new(body))
            .map_err(|e| LinkError::Key(e.to_string()))?;
        let patience = self.patience;
        let whole = async {
            self.sender.ready().await.map_err(|e| broken(&e))?;
            let answer = self.sender.send_request(request).await.map_err(|e| broken(&e))?;
            read(answer, what, limit).await
        };
        let slow = |_| LinkError::Slow { what: "answer", seconds: patience.as_secs() };
        tokio::time::timeout(patience, whole).await.map_err(slow)?
    }
}

async fn read(answer: Response<Incoming>, what: &'static str, limit: usize) -> Result<Vec<u8>, LinkError> {
    let status = answer.status();
    let limit = if status == StatusCode::OK { limit } else { PROBLEM };
    let mut body = answer.into_body();
    let mut bytes = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|e| broken(&e))?;
        let Ok(data) = frame.into_data() else { continue };
        if bytes.len() + data.len() > limit {
            return Err(LinkError::TooLarge { what, limit });
        }
        bytes.extend_from_slice(&data);
    }
    if status == StatusCode::OK {
        return Ok(bytes);
    }
    let problem: Problem = serde_json::from_slice(&bytes).unwrap_or_default();
    let short = |text: &str| text::neutral(text.as_bytes(), 200);
    Err(LinkError::Refused {
        status: status.as_u16(),
        word: short(problem.r#type.rsplit(':').next().unwrap_or_default()),
        title: short(&problem.title),
        hint: problem.hint.as_deref().map(short),
    })
}
