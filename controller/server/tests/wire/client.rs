//! A small HTTPS client: TLS 1.3, pinned to the controller's authority, with or without a certificate.

use std::net::SocketAddr;
use std::sync::Arc;

use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::{HeaderMap, Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// What was answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }

    /// The last word of a problem's type.
    pub(crate) fn problem(&self) -> String {
        let problem = self.json();
        problem["type"].as_str().unwrap_or_default().rsplit(':').next().unwrap_or_default().to_owned()
    }
}

/// A client of one listener.
#[derive(Clone)]
pub(crate) struct Client {
    pub(crate) address: SocketAddr,
    pub(crate) ca: String,
    /// Certificate and key, PEM.
    pub(crate) identity: Option<(String, String)>,
    pub(crate) headers: Vec<(String, String)>,
}

type Failure = Box<dyn std::error::Error + Send + Sync>;

impl Client {
    pub(crate) fn new(address: SocketAddr, ca: &str) -> Self {
        Self { address, ca: ca.to_owned(), identity: None, headers: Vec::new() }
    }

    #[must_use]
    pub(crate) fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    pub(crate) fn tls(&self) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.ca.as_bytes()).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_root_certificates(roots);
        Arc::new(match &self.identity {
            None => builder.with_no_client_auth(),
            Some((certificate, key)) => {
                let chain = vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()];
                let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
                builder.with_client_auth_cert(chain, key).unwrap()
            }
        })
    }

    pub(crate) async fn connect(&self) -> Result<TlsStream<TcpStream>, Failure> {
        let stream = TcpStream::connect(self.address).await?;
        let name = ServerName::try_from("ctl1").unwrap();
        Ok(TlsConnector::from(self.tls()).connect(name, stream).await?)
    }

    pub(crate) async fn try_ask(&self, method: Method, path: &str, body: Vec<u8>) -> Result<Answer, Failure> {
        let stream = self.connect().await?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake::<_, Full<Bytes>>(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        let mut request = Request::builder().method(method).uri(path).header("host", "ctl1");
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        let answer = sender.send_request(request.body(Full::new(body.into()))?).await?;
        let (parts, body) = answer.into_parts();
        let body = body.collect().await?.to_bytes().to_vec();
        Ok(Answer { status: parts.status, headers: parts.headers, body })
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.try_ask(Method::GET, path, Vec::new()).await.unwrap_or_else(|e| panic!("GET {path}: {e}"))
    }

    pub(crate) async fn post(&self, path: &str, body: impl Into<Vec<u8>>) -> Answer {
        self.try_ask(Method::POST, path, body.into()).await.unwrap_or_else(|e| panic!("POST {path}: {e}"))
    }

    pub(crate) async fn put(&self, path: &str, body: impl Into<Vec<u8>>) -> Answer {
        self.try_ask(Method::PUT, path, body.into()).await.unwrap_or_else(|e| panic!("PUT {path}: {e}"))
    }
}
