//! Enrolment, step by step: keys, token, waiting for the admission, certificate. A person starts it and compares the
//! fingerprint; each step can be done again.

use std::path::Path;

use jiff::Timestamp;
use tenure_sys::files::{CheckedDir, Put, Roots};
use tenure_trust::admission::verify_admission;
use tenure_trust::enrol::{
    CertificateAnswer, CertificateRequest, EnrolAnswer, EnrolRequest, Enrolment, Invitation, fingerprint,
    paths,
};
use tenure_trust::{Admission, Kind, Refused, Root, SshKeyText, Verified};

use super::{LinkError, Ticket, fetch, http, tls};
use crate::chain::ChainError;
use crate::identity::Identity;
use crate::store::Places;

/// The largest answer in bytes.
const LIMIT: usize = 1 << 20;

/// What came of a question for a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asked {
    /// Nobody has admitted this machine yet.
    Waiting,
    /// It has one now.
    Issued {
        /// Until then.
        until: Timestamp,
    },
}

/// What became of the invitation's root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Placed {
    /// A person had placed the same one before.
    Stood,
    /// It was placed now.
    Now,
}

/// Places the invitation's root where none stands. A person runs this: it is a person who places it.
///
/// # Errors
/// `OtherRoot` when another root stands there; or it is refused, or cannot be written.
pub fn place_root(path: &Path, invitation: &Invitation) -> Result<Placed, LinkError> {
    let refused = |why: Refused| LinkError::Invitation(format!("its root: {why}"));
    let brought = Root::anchor(invitation.root.as_bytes()).map_err(refused)?;
    if brought.fleet != invitation.fleet {
        return Err(LinkError::Invitation("its root is another fleet's".into()));
    }
    match CheckedDir::read_file(path, Kind::Root.max_payload() as u64 * 2) {
        Ok(file) => {
            let stands = Root::anchor(&file.bytes).map_err(refused)?;
            if stands.hash() == brought.hash() {
                Ok(Placed::Stood)
            } else {
                Err(LinkError::OtherRoot(path.into()))
            }
        }
        Err(error) if error.is_missing() => {
            let dir = path.parent().unwrap_or(Path::new("/"));
            let above = dir.parent().unwrap_or(dir);
            let writable = Roots::new([above])?;
            for dir in [above, dir] {
                if CheckedDir::open(dir).is_err_and(|e| e.is_missing()) {
                    writable.make_dir(dir, 0o755)?;
                }
            }
            writable.put(&Put::own(path, invitation.root.as_bytes(), 0o644))?;
            Ok(Placed::Now)
        }
        Err(error) => Err(error.into()),
    }
}

/// Makes the keys that are missing, states them and redeems the token. Gives what both sides compare, computed here.
/// Done again after a lost answer it states the same.
///
/// # Errors
/// When the invitation is not for this machine, keys cannot be made, or the controller refuses.
pub fn enrol(
    places: &Places,
    invitation: &Invitation,
    ssh: &SshKeyText,
    now: Timestamp,
) -> Result<String, LinkError> {
    if invitation.until <= now {
        return Err(LinkError::Invitation(format!("it was worth something until {}", invitation.until)));
    }
    let state = &places.state;
    let root = root(places)?;
    if root.fleet != invitation.fleet {
        return Err(LinkError::OtherRoot(places.root.clone()));
    }
    let writable = Roots::new([state])?;
    let identity = match Identity::read(state, &invitation.name)? {
        Some(identity) => identity,
        None => Identity::create(state, &writable, &invitation.name)?,
    };
    let key = tls::key(state)?;
    let before = Ticket::epoch_in(state)?;
    let epoch = before.max(invitation.epoch);
    let statement = Enrolment {
        schema: 1,
        fleet: invitation.fleet.clone(),
        name: invitation.name.clone(),
        role: invitation.role,
        identity: identity.public().key,
        ssh: ssh.clone(),
        tls: tls::hash(&key),
        epoch,
    };
    let signed = identity.sign(&statement);
    let ticket = Ticket::of(invitation, epoch, signed.to_json());
    let request = EnrolRequest { secret: invitation.secret.clone(), enrolment: ticket.enrolment.clone() };
    let body = serde_json::to_vec(&request).map_err(|e| LinkError::Key(e.to_string()))?;
    let answer = block_on(async {
        let mut line = http::connect(places, &ticket, false).await?;
        line.post(paths::ENROL, body, "the enrolment", LIMIT).await
    })?;
    let nonsense = |why: String| LinkError::Nonsense { what: "the enrolment", why };
    let answer: EnrolAnswer = serde_json::from_slice(&answer).map_err(|e| nonsense(e.to_string()))?;
    let ours = fingerprint(&signed.hash());
    if answer.fingerprint != ours {
        return Err(nonsense("it computes another fingerprint than this machine".into()));
    }
    ticket.write(state)?;
    if epoch != before {
        // What was issued for the chain before says nothing of this one: it waits for its own admission.
        tls::forget(state)?;
    }
    Ok(ours)
}

/// Asks once for a certificate and keeps it.
///
/// # Errors
/// When the controller cannot be reached, refuses, or issues something else than was asked for.
pub fn ask_certificate(places: &Places, now: Timestamp) -> Result<Asked, LinkError> {
    let ticket = Ticket::read(&places.state)?.ok_or_else(|| LinkError::NotEnrolled(places.state.clone()))?;
    block_on(ask(places, &ticket, now))
}

pub(super) async fn ask(places: &Places, ticket: &Ticket, _now: Timestamp) -> Result<Asked, LinkError> {
    let key = tls::key(&places.state)?;
    let request = CertificateRequest { enrolment: ticket.enrolment.clone(), csr: tls::request(&key)? };
    let body = serde_json::to_vec(&request).map_err(|e| LinkError::Key(e.to_string()))?;
    let mut line = http::connect(places, ticket, false).await?;
    let answer = line.post(paths::CERTIFICATE, body, "a certificate", LIMIT).await?;
    let nonsense = |e: serde_json::Error| LinkError::Nonsense { what: "a certificate", why: e.to_string() };
    let CertificateAnswer::Issued { certificate, admission } =
        serde_json::from_slice(&answer).map_err(nonsense)?
    else {
        return Ok(Asked::Waiting);
    };
    let admitted = verify_admission(&root(places)?, admission.as_bytes()).map_err(LinkError::Issued)?;
    if !is_ours(&admitted, places, ticket, &key)? {
        return Err(LinkError::Issued(Refused::malformed(
            "the admission names other keys than this machine's",
        )));
    }
    fetch::remember_admission(places, &admission)?;
    Ok(Asked::Issued { until: tls::keep(&places.state, &key, &certificate)? })
}

/// An operator admitted these very keys under this name.
fn is_ours(
    admission: &Verified<Admission>,
    places: &Places,
    ticket: &Ticket,
    key: &rcgen::KeyPair,
) -> Result<bool, LinkError> {
    let missing = || ChainError::KeyMissing(places.state.join("chain"));
    let identity = Identity::read(&places.state, &ticket.name)?.ok_or_else(missing)?;
    Ok((&admission.name, admission.role, admission.epoch) == (&ticket.name, ticket.role, ticket.epoch)
        && admission.identity == identity.public().key
        && admission.tls == tls::hash(key))
}

/// The root that a person placed.
pub(super) fn root(places: &Places) -> Result<Verified<Root>, LinkError> {
    let file = CheckedDir::read_file(&places.root, Kind::Root.max_payload() as u64 * 2)?;
    let damaged = |why: Refused| LinkError::Damaged { path: places.root.clone(), why: why.to_string() };
    Root::anchor(&file.bytes).map_err(damaged)
}

fn block_on<T>(work: impl Future<Output = Result<T, LinkError>>) -> Result<T, LinkError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| LinkError::Key(e.to_string()))?;
    runtime.block_on(work)
}
