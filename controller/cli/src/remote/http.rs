//! One request to the controller: HTTP/1.1 over TLS 1.3, its certificate checked against the one CA that was given at
//! login and no other. Bounded in time and size.

use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// The largest answer in bytes.
const LIMIT: usize = 256 << 20;
/// From the first packet to the last byte.
const TIME: Duration = Duration::from_secs(120);

/// Where the controller is and how it is known.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    /// `HOST:PORT`.
    pub(crate) server: String,
    /// The name in its certificate.
    pub(crate) name: String,
    /// The certificate of its CA, PEM.
    pub(crate) ca: String,
}

/// What is asked.
pub(crate) struct Asked<'a> {
    pub(crate) method: Method,
    /// Path and query.
    pub(crate) path: &'a str,
    /// The session's token.
    pub(crate) token: Option<&'a str>,
    pub(crate) body: Vec<u8>,
}

/// What came.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) body: Vec<u8>,
}

/// Why nothing came.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HttpError {
    /// The CA that was given is none.
    #[error("the CA given is no certificate in PEM")]
    Ca,
    /// The name is none.
    #[error("{0:?} is no name of a server")]
    Name(String),
    /// The machine's TLS library does not work.
    #[error("TLS cannot be used")]
    Tls(#[source] rustls::Error),
    /// Nobody is there.
    #[error("nobody answers at {0}")]
    Connect(String, #[source] std::io::Error),
    /// Somebody is there who is not the controller that was meant, or no TLS.
    #[error("who answers at {0} is not the controller that was meant")]
    Handshake(String, #[source] std::io::Error),
    /// The conversation broke.
    #[error("the conversation with the controller broke")]
    Broken(#[source] hyper::Error),
    /// The answer broke, or is larger than is taken.
    #[error("the answer cannot be read: {0}")]
    Body(String),
    /// The request cannot be written.
    #[error("the request cannot be written")]
    Request(#[source] hyper::http::Error),
    /// It took too long.
    #[error("no answer within {} s", TIME.as_secs())]
    Slow,
    /// The kernel gave no way to wait.
    #[error("this machine cannot wait for the network")]
    Runtime(#[source] std::io::Error),
}

/// Asks and waits for the whole answer.
pub(crate) fn ask(place: &Place, asked: Asked<'_>) -> Result<Answer, HttpError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(HttpError::Runtime)?;
    runtime.block_on(async {
        tokio::time::timeout(TIME, exchange(place, asked)).await.map_err(|_| HttpError::Slow)?
    })
}

async fn exchange(place: &Place, asked: Asked<'_>) -> Result<Answer, HttpError> {
    let tls = TlsConnector::from(Arc::new(config(&place.ca)?));
    let name = ServerName::try_from(place.name.clone()).map_err(|_| HttpError::Name(place.name.clone()))?;
    let server = || place.server.clone();
    let tcp = TcpStream::connect(&place.server).await.map_err(|e| HttpError::Connect(server(), e))?;
    let stream = tls.connect(name, tcp).await.map_err(|e| HttpError::Handshake(server(), e))?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(HttpError::Broken)?;
    let driven = tokio::spawn(connection);
    let mut request = Request::builder()
        .method(asked.method)
        .uri(asked.path)
        .header(HOST, &place.server)
        .header(ACCEPT, "application/json")
        .header(CONTENT_TYPE, "application/json");
    if let Some(token) = asked.token {
        request = request.header(AUTHORIZATION, format!("Bearer {token}"));
    }
    let request = request.body(Full::new(Bytes::from(asked.body))).map_err(HttpError::Request)?;
    let answer = sender.send_request(request).await.map_err(HttpError::Broken)?;
    let status = answer.status();
    let body = Limited::new(answer.into_body(), LIMIT).collect().await;
    let body = body.map_err(|error| HttpError::Body(error.to_string()))?.to_bytes().to_vec();
    // The answer is whole: what the connection does from here on matters to nobody.
    driven.abort();
    Ok(Answer { status, body })
}

fn config(ca: &str) -> Result<ClientConfig, HttpError> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(ca.as_bytes()) {
        let certificate = certificate.map_err(|_| HttpError::Ca)?;
        roots.add(certificate).map_err(|_| HttpError::Ca)?;
    }
    if roots.is_empty() {
        return Err(HttpError::Ca);
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(HttpError::Tls)?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}
