//! This machine's TLS key and certificate, and TLS 1.3 to the one controller that the invitation named.

use std::path::Path;
use std::sync::Arc;

use jiff::Timestamp;
use rcgen::{CertificateParams, DistinguishedName, KeyPair, PKCS_ECDSA_P256_SHA256, PublicKeyData};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use tenure_sys::files::{CheckedDir, FileError, Put, Roots};
use tenure_trust::Hash;
use x509_parser::prelude::{FromDer, X509Certificate};
use zeroize::Zeroizing;

use super::{LinkError, Ticket};

const KEY: &str = "tls.key";
const CERTIFICATE: &str = "tls.crt";
const LIMIT: u64 = 64 << 10;

/// How the certificate stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// There is none, or it is over.
    None,
    /// It holds, and less than half of its time is left.
    Half,
    /// It holds.
    Fresh,
}

/// The TLS key in the directory of state, made when there is none.
pub(super) fn key(state: &Path) -> Result<KeyPair, LinkError> {
    let made = |e: rcgen::Error| LinkError::Key(e.to_string());
    if let Some(pem) = read_key(state)? {
        let damaged = |e: rcgen::Error| LinkError::Damaged { path: state.join(KEY), why: e.to_string() };
        return KeyPair::from_pem(&pem).map_err(damaged);
    }
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(made)?;
    let pem = Zeroizing::new(key.serialize_pem());
    Roots::new([state])?.put(&Put::own(&state.join(KEY), pem.as_bytes(), 0o600))?;
    Ok(key)
}

fn read_key(state: &Path) -> Result<Option<Zeroizing<String>>, LinkError> {
    let file = match CheckedDir::open(state)?.read(Path::new(KEY), LIMIT) {
        Ok(file) => file,
        Err(error) if error.is_missing() => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let path = state.join(KEY);
    if file.stat.mode & 0o077 != 0 {
        let mend = format!("chmod 600 {}", path.display());
        return Err(FileError::Unsafe { path, why: "can be read by others".into(), mend }.into());
    }
    let bytes = Zeroizing::new(file.bytes);
    let text = std::str::from_utf8(&bytes).map_err(|e| LinkError::Damaged { path, why: e.to_string() })?;
    Ok(Some(Zeroizing::new(text.to_owned())))
}

/// SHA-256 of its SubjectPublicKeyInfo: what an admission names.
pub(super) fn hash(key: &KeyPair) -> Hash {
    Hash::of(&key.subject_public_key_info())
}

/// A request for a certificate, signed by the key: shows that this machine holds it.
pub(super) fn request(key: &KeyPair) -> Result<String, LinkError> {
    let failed = |e: rcgen::Error| LinkError::Key(e.to_string());
    let mut params = CertificateParams::default();
    // The controller writes the names itself.
    params.distinguished_name = DistinguishedName::new();
    params.serialize_request(key).and_then(|request| request.pem()).map_err(failed)
}

/// Keeps a certificate, if it is for our key.
pub(super) fn keep(state: &Path, key: &KeyPair, pem: &str) -> Result<Timestamp, LinkError> {
    let nonsense = |why: &str| LinkError::Nonsense { what: "a certificate", why: why.into() };
    let der = CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|_| nonsense("it is no certificate"))?;
    let (found, (_, until)) = parsed(&der).ok_or_else(|| nonsense("it is no certificate"))?;
    if found != hash(key) {
        return Err(nonsense("it is for another key"));
    }
    Roots::new([state])?.put(&Put::own(&state.join(CERTIFICATE), pem.as_bytes(), 0o644))?;
    Ok(until)
}

/// Removes the certificate, if there is one.
pub(super) fn forget(state: &Path) -> Result<(), LinkError> {
    Ok(Roots::new([state])?.remove(&state.join(CERTIFICATE)).map(drop)?)
}

fn read_certificate(state: &Path) -> Result<Option<CertificateDer<'static>>, LinkError> {
    let file = match CheckedDir::open(state)?.read(Path::new(CERTIFICATE), LIMIT) {
        Ok(file) => file,
        Err(error) if error.is_missing() => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    // One that cannot be read is as good as none: another is asked for.
    Ok(CertificateDer::from_pem_slice(&file.bytes).ok())
}

/// How the certificate stands.
pub(super) fn standing(state: &Path, now: Timestamp) -> Result<Standing, LinkError> {
    let Some(der) = read_certificate(state)? else { return Ok(Standing::None) };
    let Some((_, (from, until))) = parsed(&der) else { return Ok(Standing::None) };
    let half = from.as_second() + (until.as_second() - from.as_second()) / 2;
    Ok(match now {
        now if now < from || now >= until => Standing::None,
        now if now.as_second() >= half => Standing::Half,
        _ => Standing::Fresh,
    })
}

/// Until when the certificate holds.
pub(super) fn until(state: &Path) -> Result<Option<Timestamp>, LinkError> {
    Ok(read_certificate(state)?.and_then(|der| Some(parsed(&der)?.1.1)))
}

fn parsed(der: &CertificateDer<'_>) -> Option<(Hash, (Timestamp, Timestamp))> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    let term = certificate.validity();
    let time = |at: i64| Timestamp::from_second(at).ok();
    let (from, until) = (time(term.not_before.timestamp())?, time(term.not_after.timestamp())?);
    Some((Hash::of(certificate.public_key().raw), (from, until)))
}

/// TLS 1.3 to the ticket's controller: its authority and no other; with our certificate, or without.
pub(super) fn client(state: &Path, ticket: &Ticket, with: bool) -> Result<Arc<ClientConfig>, LinkError> {
    let bad = |why: String| LinkError::Damaged { path: state.join("link/enrolment.json"), why };
    let mut roots = RootCertStore::empty();
    let ca = CertificateDer::from_pem_slice(ticket.ca.as_bytes()).map_err(|e| bad(e.to_string()))?;
    roots.add(ca).map_err(|e| bad(e.to_string()))?;
    let builder =
        ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(|e| bad(e.to_string()))?
            .with_root_certificates(roots);
    let mut config = match (with, read_certificate(state)?, read_key(state)?) {
        (true, Some(certificate), Some(key)) => {
            let key =
                PrivateKeyDer::from_pem_slice(key.as_bytes()).map_err(|e| LinkError::Key(e.to_string()))?;
            builder
                .with_client_auth_cert(vec![certificate], key)
                .map_err(|e| LinkError::Key(e.to_string()))?
        }
        _ => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config.resumption = rustls::client::Resumption::disabled();
    Ok(Arc::new(config))
}
