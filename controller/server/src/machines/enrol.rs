//! Enrolment and certificates: what a machine may ask before anybody has admitted it.

use std::sync::Arc;

use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use hyper::StatusCode;
use tenure_trust::admission::verify_machine;
use tenure_trust::enrol::{
    CertificateAnswer, CertificateRequest, EnrolAnswer, EnrolRequest, Enrolment, fingerprint,
};
use tenure_trust::{Hash, MachineRole, Refused, Signed};

use super::body;
use crate::app::App;
use crate::authority::CertificateKey;
use crate::journal;
use crate::listen::Peer;
use crate::problem::{Problem, json};
use crate::secret::Secret;
use crate::store::{Access, Redeemed, Redemption, Tried, Turn};

/// The largest request in bytes.
const LIMIT: usize = 64 << 10;

/// Redeems a token. Whoever tries many is slowed down by address.
pub(super) async fn enrol(
    State(app): State<Arc<App>>,
    Extension(peer): Extension<Peer>,
    body: Body,
) -> Result<Response, Problem> {
    let request: EnrolRequest = body::json(&app, body, LIMIT).await?;
    let (enrolment, hash) =
        stated(&app, &request.enrolment).map_err(|refused| Problem::refused("the enrolment", &refused))?;
    let now = app.now();
    let address = peer.address.ip().to_string();
    let who = format!("enrol from {}", peer.place());
    let tried = Tried { hard: &[&who], soft: None };
    if app.store.may_try(&Access::Stranger, tried, now).await? == Turn::Wait {
        return Err(Problem::throttled());
    }
    let redeemed = match Secret::brought(&request.secret) {
        None => Redeemed::No,
        Some(secret) => {
            let offer = Redemption {
                secret: secret.hash(),
                enrolment: &enrolment,
                payload: hash,
                envelope: &request.enrolment,
                address: &address,
            };
            app.store.redeem(&Access::Stranger, &offer, now).await?
        }
    };
    if redeemed == Redeemed::No {
        return Err(Problem::new(StatusCode::FORBIDDEN, "token", "the token is not worth anything here")
            .hint("it may be used, over, or for another name or role: ask for a new one"));
    }
    app.store.was_right(&Access::Stranger, &who).await?;
    let shown = fingerprint(&hash);
    journal::notice(&format!(
        "{} enrols as {} from {address}, fingerprint {shown}: an operator must compare it and admit",
        enrolment.name, enrolment.role
    ));
    Ok(json(&EnrolAnswer { fingerprint: shown }))
}

/// A certificate of a day for the key that an admission names.
pub(super) async fn certificate(State(app): State<Arc<App>>, body: Body) -> Result<Response, Problem> {
    let request: CertificateRequest = body::json(&app, body, LIMIT).await?;
    let (enrolment, hash) =
        stated(&app, &request.enrolment).map_err(|refused| Problem::refused("the enrolment", &refused))?;
    let key = CertificateKey::held(&request.csr, &enrolment.tls).map_err(|fault| {
        Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "csr", "the certificate request is refused")
            .detail(fault)
    })?;
    if app.book.is_revoked(&enrolment.identity.id()) {
        return Err(Problem::new(StatusCode::FORBIDDEN, "revoked", "this key was revoked"));
    }
    let admitted = app.book.of(&enrolment.name, enrolment.role).filter(|admission| {
        admission.identity == enrolment.identity
            && admission.ssh == enrolment.ssh
            && admission.tls == enrolment.tls
            && admission.epoch == enrolment.epoch
    });
    let Some(admission) = admitted else {
        if app.store.is_enrolled(&Access::Stranger, hash).await? {
            return Ok(json(&CertificateAnswer::Waiting));
        }
        return Err(Problem::not_admitted());
    };
    let made = app.authority.machine(&key, &enrolment.name, enrolment.role, app.now()).map_err(|error| {
        journal::error(&format!("a certificate was not made: {}", journal::chain(&error)));
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "the certificate could not be made")
    })?;
    let list = app.store.admission_list(&Access::Itself).await?;
    let signed = list.admissions.into_iter().find(|text| {
        Signed::<tenure_trust::Admission>::parse(text.as_bytes()).is_ok_and(|s| s.hash() == admission.hash())
    });
    Ok(json(&CertificateAnswer::Issued { certificate: made, admission: signed.unwrap_or_default() }))
}

/// Reads what a machine states of its keys: signed by the identity key in it, for this fleet, in a role that machines
/// have.
fn stated(app: &App, text: &str) -> Result<(Enrolment, Hash), Refused> {
    let signed = Signed::<Enrolment>::parse(text.as_bytes())?;
    let claimed = signed.unverified()?;
    let enrolment: Enrolment = verify_machine(&claimed.identity, text.as_bytes())?;
    if enrolment.fleet != app.root.fleet {
        return Err(Refused::WrongFleet { ours: app.root.fleet.clone(), found: enrolment.fleet });
    }
    if enrolment.role == MachineRole::Recovery {
        return Err(Refused::malformed("a recovery key does not enrol: it is admitted alone"));
    }
    Ok((enrolment, signed.hash()))
}
