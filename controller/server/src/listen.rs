//! A TLS listener that bears with strangers: limits on connections, handshakes, headers and time; whatever a connection
//! does, even a panic, ends with it.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use axum::Router;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{RootCertStore, ServerConfig};
use tenure_trust::Hash;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use crate::authority::key_of;
use crate::journal;
use crate::limits::Limits;

/// A connection ends after this whatever it does; clients come again.
const LIFE: Duration = Duration::from_secs(3600);
/// Time for what is under way when the controller stops.
const GRACE: Duration = Duration::from_secs(10);
/// Connections at once, in all and from one address.
const CONNECTIONS: usize = 2048;
const FROM_ONE: usize = 256;
/// Bytes of a connection's buffer, which also bounds the head of a request.
const BUFFER: usize = 64 << 10;

/// Who is at the other end of a connection.
#[derive(Debug, Clone, Copy)]
pub struct Peer {
    /// From where.
    pub address: SocketAddr,
    /// SHA-256 of the SubjectPublicKeyInfo of the client certificate, which our authority signed; none without one.
    pub key: Option<Hash>,
}

impl Peer {
    /// From where, as it is counted: an IPv6 network of one subscriber (/64) is one place.
    pub fn place(&self) -> String {
        place(self.address.ip()).to_string()
    }
}

fn place(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64)),
        v4 @ IpAddr::V4(_) => v4,
    }
}

/// The certificate in use: replaced while the listeners run.
#[derive(Debug, Clone)]
pub struct Certificate(Arc<RwLock<Arc<CertifiedKey>>>);

impl Certificate {
    /// Uses this one.
    pub fn new(key: Arc<CertifiedKey>) -> Self {
        Self(Arc::new(RwLock::new(key)))
    }

    /// From now on uses this one.
    pub fn replace(&self, key: Arc<CertifiedKey>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = key;
    }
}

impl ResolvesServerCert for Certificate {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.read().unwrap_or_else(PoisonError::into_inner).clone())
    }
}

/// Why a listener cannot be.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// The address is taken or not ours.
    #[error("cannot listen on {address}")]
    Bind {
        /// Where.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// TLS cannot be set up.
    #[error("cannot set TLS up")]
    Tls(#[from] rustls::Error),
    /// The authority's certificate is none.
    #[error("the authority's certificate cannot be used: {0}")]
    Authority(String),
}

/// TLS 1.3 and nothing else. With an authority (PEM), clients may show a certificate that it signed; one that they show
/// must be right.
///
/// # Errors
/// When it cannot be set up.
pub fn tls(certificate: Certificate, authority: Option<&str>) -> Result<Arc<ServerConfig>, ListenError> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let versions = ServerConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[&rustls::version::TLS13])?;
    let with_clients = match authority {
        None => versions.with_no_client_auth(),
        Some(pem) => {
            let bad = |e: String| ListenError::Authority(e);
            let mut roots = RootCertStore::empty();
            let der = CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|e| bad(e.to_string()))?;
            roots.add(der)?;
            let verifier: Arc<dyn ClientCertVerifier> =
                WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
                    .allow_unauthenticated()
                    .build()
                    .map_err(|e| bad(e.to_string()))?;
            versions.with_client_cert_verifier(verifier)
        }
    };
    let mut config = with_clients.with_cert_resolver(Arc::new(certificate));
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    // No request may come before the handshake has ended: it could be replayed.
    config.max_early_data_size = 0;
    // Nor is a session resumed: whose certificate it was is looked at anew each time.
    config.send_tls13_tickets = 0;
    Ok(Arc::new(config))
}

/// Listens.
///
/// # Errors
/// When the address cannot be had.
pub async fn bind(address: SocketAddr) -> Result<TcpListener, ListenError> {
    TcpListener::bind(address).await.map_err(|source| ListenError::Bind { address, source })
}

/// Serves until told to stop, then lets what is under way end.
pub async fn serve(
    listener: TcpListener,
    tls: Arc<ServerConfig>,
    router: Router,
    limits: Limits,
    mut stop: watch::Receiver<bool>,
) {
    let acceptor = TlsAcceptor::from(tls);
    let all = Arc::new(Semaphore::new(CONNECTIONS));
    let addresses = Addresses::default();
    let mut running = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stop.changed() => break,
            Some(ended) = running.join_next(), if !running.is_empty() => {
                tell(ended);
                continue;
            }
        };
        let (stream, address) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                journal::warning(&format!("cannot accept a connection: {error}"));
                // Most often there are no file descriptors left: accepting again at once would only burn time.
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        // Beyond the limits a connection is closed at once, unread.
        let (Ok(permit), Some(place)) =
            (all.clone().try_acquire_owned(), addresses.enter(place(address.ip())))
        else {
            continue;
        };
        let (acceptor, router, stop) = (acceptor.clone(), router.clone(), stop.clone());
        running.spawn(async move {
            let _held = (permit, place);
            connection(stream, address, acceptor, (router, limits), stop).await;
        });
    }
    let _ = tokio::time::timeout(GRACE, async {
        while let Some(ended) = running.join_next().await {
            tell(ended);
        }
    })
    .await;
}

fn tell(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        journal::error("a connection ended by a fault of ours; all others go on");
    }
}

async fn connection(
    stream: TcpStream,
    address: SocketAddr,
    acceptor: TlsAcceptor,
    (router, limits): (Router, Limits),
    mut stop: watch::Receiver<bool>,
) {
    // Refused or slow handshakes are everyday noise of strangers, and not told.
    let Ok(Ok(stream)) = tokio::time::timeout(limits.handshake, acceptor.accept(stream)).await else {
        return;
    };
    let _ = stream.get_ref().0.set_nodelay(true);
    let shown = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
    let peer = Peer { address, key: shown.and_then(key_of) };
    let service = router.layer(axum::Extension(peer));
    let served = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head)
        .max_buf_size(BUFFER)
        .max_headers(64)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(service));
    tokio::pin!(served);
    let life = tokio::time::sleep(LIFE);
    tokio::pin!(life);
    let mut leaving = false;
    loop {
        tokio::select! {
            // How a stranger breaks off is no news.
            _ = served.as_mut() => return,
            _ = stop.changed(), if !leaving => {
                leaving = true;
                served.as_mut().graceful_shutdown();
            }
            () = life.as_mut() => return,
        }
    }
}

/// Connections by address.
#[derive(Debug, Default, Clone)]
struct Addresses(Arc<Mutex<BTreeMap<IpAddr, usize>>>);

/// One connection from an address; counted until it is dropped.
#[derive(Debug)]
struct Place(Addresses, IpAddr);

impl Addresses {
    fn enter(&self, address: IpAddr) -> Option<Place> {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(address).or_default();
        if *count >= FROM_ONE {
            return None;
        }
        *count += 1;
        Some(Place(self.clone(), address))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&self.1) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.1);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    /// Asks for a path over TLS, believing whatever certificate comes; what is answered, nothing when it breaks off.
    async fn ask(address: SocketAddr, root: CertificateDer<'static>, path: &str) -> String {
        let mut roots = RootCertStore::empty();
        roots.add(root).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let stream = TcpStream::connect(address).await.unwrap();
        let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
        let mut stream = connector.connect("ctl1".try_into().unwrap(), stream).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nhost: ctl1\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        // It may end without the goodbye of TLS.
        let _ = stream.read_to_end(&mut answer).await;
        String::from_utf8_lossy(&answer).into_owned()
    }

    #[tokio::test]
    async fn a_fault_in_one_connection_ends_it_and_no_other() {
        let key = rcgen::KeyPair::generate().unwrap();
        let made = rcgen::CertificateParams::new(vec!["ctl1".to_owned()]).unwrap().self_signed(&key).unwrap();
        let secret = rustls::pki_types::PrivatePkcs8KeyDer::from(key.serialize_der()).into();
        let signer = rustls::crypto::aws_lc_rs::sign::any_supported_type(&secret).unwrap();
        let certified = CertifiedKey::new(vec![made.der().clone()], signer);
        let router = Router::new()
            .route("/fault", axum::routing::get(async || -> &str { panic!("as a fault of ours would") }))
            .route("/fine", axum::routing::get(async || "fine"));
        let listener = bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = watch::channel(false);
        let config = tls(Certificate::new(Arc::new(certified)), None).unwrap();
        let serving = tokio::spawn(serve(listener, config, router, Limits::default(), stopped));
        for _ in 0..3 {
            assert_eq!(ask(address, made.der().clone(), "/fault").await, "");
            assert!(ask(address, made.der().clone(), "/fine").await.ends_with("fine"));
        }
        stop.send(true).unwrap();
        serving.await.unwrap();
    }

    #[test]
    fn a_subscriber_is_one_place() {
        for (address, expected) in [
            ("198.51.100.7", "198.51.100.7"),
            ("::ffff:198.51.100.7", "198.51.100.7"),
            ("2001:db8:1:2:a:b:c:d", "2001:db8:1:2::"),
            ("2001:db8:1:2::9", "2001:db8:1:2::"),
        ] {
            assert_eq!(place(address.parse().unwrap()).to_string(), expected);
        }
    }
}
