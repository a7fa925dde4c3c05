//! The controller's own certificate authority: made at the first start, it vouches for nothing but who is at the other
//! end of a connection. Which machine that is, and whether it may be, says an admission.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PublicKeyData,
    SerialNumber, date_time_ymd,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::sign::CertifiedKey;
use tenure_sys::files::{CheckedDir, FileError, Put, Roots};
use tenure_trust::{Hash, HostName, MachineRole};
use x509_parser::prelude::{FromDer, X509Certificate};

/// How long a machine's certificate holds.
pub const MACHINE_TERM: SignedDuration = SignedDuration::from_hours(24);
/// How long the controller's own does; it is made anew every day.
const SERVER_TERM: SignedDuration = SignedDuration::from_hours(24 * 30);
const CA_TERM: SignedDuration = SignedDuration::from_hours(24 * 3650);
/// How far a clock may be behind ours.
const SKEW: SignedDuration = SignedDuration::from_hours(1);
const KEY: &str = "ca.key";
const CERTIFICATE: &str = "ca.crt";
/// The largest request for a certificate in bytes.
const CSR_LIMIT: usize = 16 << 10;

/// Why the authority cannot work.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// Its files cannot be used.
    #[error("cannot use the controller's own certificate authority")]
    File(#[from] FileError),
    /// A key or certificate could not be made or read.
    #[error("cannot make or read a certificate")]
    Certificate(#[from] rcgen::Error),
    /// The key and the certificate are not both there.
    #[error("{} is missing beside its other half", .0.display())]
    Half(PathBuf),
    /// TLS does not take the key.
    #[error("TLS does not take the controller's key")]
    Tls(#[from] rustls::Error),
    /// The kernel gave no randomness.
    #[error("cannot get randomness")]
    Random(#[source] getrandom::Error),
}

/// Why a request for a certificate is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CsrFault {
    /// It cannot be read.
    #[error("it is not a certificate request (PKCS #10, PEM)")]
    Form,
    /// Its signature is not by its own key: the asker does not hold the key.
    #[error("its signature is not by the key in it")]
    NotHeld,
    /// It is for another key than the one that was stated.
    #[error("it is for another key than the enrolment states")]
    OtherKey,
}

/// The authority.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: String,
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Authority")
    }
}

impl Authority {
    /// Makes key and certificate in the directory of state.
    ///
    /// # Errors
    /// When they cannot be made or written.
    pub fn create(state: &Path, host: &HostName, now: Timestamp) -> Result<(), AuthorityError> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let mut params = params(&format!("Tenure controller {host}"), now, CA_TERM)?;
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        let certificate = params.self_signed(&key)?;
        let writable = Roots::new([state])?;
        let secret = key.serialize_pem();
        writable.put(&Put::own(&state.join(KEY), secret.as_bytes(), 0o600))?;
        writable.put(&Put::own(&state.join(CERTIFICATE), certificate.pem().as_bytes(), 0o644))?;
        Ok(())
    }

    /// Reads it. None when it was never made.
    ///
    /// # Errors
    /// When others could read or change the key, or it is damaged.
    pub fn read(state: &Path) -> Result<Option<Self>, AuthorityError> {
        let dir = CheckedDir::open(state)?;
        let read = |name: &str| match dir.read(Path::new(name), 64 << 10) {
            Ok(file) => Ok(Some(file)),
            Err(e) if e.is_missing() => Ok(None),
            Err(e) => Err(AuthorityError::from(e)),
        };
        let (key, certificate) = match (read(KEY)?, read(CERTIFICATE)?) {
            (None, None) => return Ok(None),
            (Some(_), None) => return Err(AuthorityError::Half(state.join(CERTIFICATE))),
            (None, Some(_)) => return Err(AuthorityError::Half(state.join(KEY))),
            (Some(key), Some(certificate)) => (key, certificate),
        };
        if key.stat.mode & 0o077 != 0 {
            let path = state.join(KEY);
            let mend = format!("chmod 600 {}", path.display());
            return Err(FileError::Unsafe { path, why: "can be read by others".into(), mend }.into());
        }
        let key = KeyPair::from_pem(&String::from_utf8_lossy(&key.bytes))?;
        let certificate = String::from_utf8_lossy(&certificate.bytes).into_owned();
        Ok(Some(Self { issuer: Issuer::from_ca_cert_pem(&certificate, key)?, certificate }))
    }

    /// Its certificate, PEM: what invitations carry.
    pub fn certificate(&self) -> &str {
        &self.certificate
    }

    /// A fresh key and certificate for the controller's own listeners.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn server(&self, names: &[String], now: Timestamp) -> Result<Arc<CertifiedKey>, AuthorityError> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let mut params = CertificateParams::new(names)?;
        let common = names.first().map_or("controller", String::as_str);
        shape(&mut params, common, now, SERVER_TERM)?;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        let certificate = params.signed_by(&key, &self.issuer)?;
        let secret = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let signing = rustls::crypto::aws_lc_rs::sign::any_supported_type(&secret)?;
        Ok(Arc::new(CertifiedKey::new(vec![certificate.der().clone()], signing)))
    }

    /// A certificate of a day for the machine that holds the key in the request. The names in it are for people who read
    /// it; nobody decides by them.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn machine(
        &self,
        request: &CertificateKey,
        name: &HostName,
        role: MachineRole,
        now: Timestamp,
    ) -> Result<String, AuthorityError> {
        let mut params = params(&format!("{name} {role}"), now, MACHINE_TERM)?;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        params.use_authority_key_identifier_extension = true;
        Ok(params.signed_by(&request.0, &self.issuer)?.pem())
    }
}

/// The key in a request whose asker has shown that he holds it.
#[derive(Debug)]
pub struct CertificateKey(rcgen::PublicKey);

impl CertificateKey {
    /// Reads a request (PKCS #10, PEM), checks that it is signed by its own key, and that this is the key stated.
    ///
    /// # Errors
    /// [`CsrFault`].
    pub fn held(pem: &str, stated: &Hash) -> Result<Self, CsrFault> {
        if pem.len() > CSR_LIMIT {
            return Err(CsrFault::Form);
        }
        let request = CertificateSigningRequestParams::from_pem(pem).map_err(|error| match error {
            rcgen::Error::InvalidCertificationRequestSignature => CsrFault::NotHeld,
            _ => CsrFault::Form,
        })?;
        let key = request.public_key;
        if Hash::of(&key.subject_public_key_info()) != *stated {
            return Err(CsrFault::OtherKey);
        }
        Ok(Self(key))
    }
}

/// SHA-256 of the SubjectPublicKeyInfo of a certificate: which key is at the other end.
pub fn key_of(certificate: &CertificateDer<'_>) -> Option<Hash> {
    let (rest, parsed) = X509Certificate::from_der(certificate).ok()?;
    rest.is_empty().then(|| Hash::of(parsed.public_key().raw))
}

fn params(common: &str, now: Timestamp, term: SignedDuration) -> Result<CertificateParams, AuthorityError> {
    let mut params = CertificateParams::default();
    shape(&mut params, common, now, term)?;
    Ok(params)
}

fn shape(
    params: &mut CertificateParams,
    common: &str,
    now: Timestamp,
    term: SignedDuration,
) -> Result<(), AuthorityError> {
    let mut subject = DistinguishedName::new();
    subject.push(DnType::CommonName, common);
    params.distinguished_name = subject;
    let mut serial = [0u8; 16];
    getrandom::fill(&mut serial).map_err(AuthorityError::Random)?;
    serial[0] &= 0x7f; // positive (RFC 5280, 4.1.2.2)
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    let seconds = |time: Timestamp| Duration::from_secs(u64::try_from(time.as_second()).unwrap_or(0));
    let epoch = date_time_ymd(1970, 1, 1);
    params.not_before = epoch + seconds(now.saturating_sub(SKEW).unwrap_or(now));
    params.not_after = epoch + seconds(now.saturating_add(term).unwrap_or(now));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn csr(key: &KeyPair) -> String {
        CertificateParams::default().serialize_request(key).unwrap().pem().unwrap()
    }

    #[test]
    fn a_request_must_be_signed_by_the_stated_key() {
        let (ours, other) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
        let stated = Hash::of(&ours.subject_public_key_info());
        assert!(CertificateKey::held(&csr(&ours), &stated).is_ok());
        assert_eq!(CertificateKey::held(&csr(&other), &stated).unwrap_err(), CsrFault::OtherKey);
        for bad in [
            "",
            "-----BEGIN CERTIFICATE REQUEST-----\n-----END CERTIFICATE REQUEST-----\n",
            &"A".repeat(CSR_LIMIT + 1),
        ] {
            assert_eq!(CertificateKey::held(bad, &stated).unwrap_err(), CsrFault::Form, "{bad}");
        }
        // One byte of the signature is another one.
        let mut changed: Vec<String> = csr(&ours).lines().map(str::to_owned).collect();
        let body = changed.len() - 3;
        changed[body] = changed[body].chars().rev().collect();
        let changed = changed.join("\n") + "\n";
        let fault = CertificateKey::held(&changed, &stated).unwrap_err();
        assert!(matches!(fault, CsrFault::NotHeld | CsrFault::Form), "{fault:?}");
    }

    #[test]
    fn what_it_makes_holds_for_a_day_and_names_the_key() {
        let dir = tempfile::tempdir_in("/run").unwrap();
        let now = "2026-11-25T07:00:00Z".parse().unwrap();
        let host = HostName::new("ctl1").unwrap();
        assert!(Authority::read(dir.path()).unwrap().is_none());
        Authority::create(dir.path(), &host, now).unwrap();
        let authority = Authority::read(dir.path()).unwrap().unwrap();
        let key = KeyPair::generate().unwrap();
        let stated = Hash::of(&key.subject_public_key_info());
        let held = CertificateKey::held(&csr(&key), &stated).unwrap();
        let pem = authority.machine(&held, &HostName::new("web1").unwrap(), MachineRole::Host, now).unwrap();
        let (_, parsed) = x509_parser::pem::parse_x509_pem(pem.as_bytes()).unwrap();
        let der = CertificateDer::from(parsed.contents.clone());
        assert_eq!(key_of(&der), Some(stated));
        let certificate = parsed.parse_x509().unwrap();
        let term = certificate.validity().not_after.timestamp() - now.as_second();
        assert_eq!(term, 86_400);
        assert!(!certificate.is_ca());
        authority.server(&["ctl1".into(), "198.51.100.2".into()], now).unwrap();
        std::fs::remove_file(dir.path().join(KEY)).unwrap();
        assert!(matches!(Authority::read(dir.path()), Err(AuthorityError::Half(_))));
    }
}
