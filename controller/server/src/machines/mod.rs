//! The machines' listener: enrolment and certificates for whoever holds a key that is known, all else for admitted
//! machines alone. Machines only pull and push; nothing here reaches out to one.

mod body;
mod enrol;
mod gate;
mod policy;
mod records;

use std::sync::Arc;

use axum::Router;
use axum::extract::FromRequestParts;
use axum::routing::{get, post};
use hyper::http::request::Parts;
use tenure_trust::enrol::paths;
use tenure_trust::{Admission, Verified};

use crate::app::App;
use crate::listen::Peer;
use crate::problem::Problem;
use crate::store::Access;

pub use body::read as read_body;
pub use gate::Gate;

/// The routes.
pub fn router(app: Arc<App>) -> Router {
    Router::new()
        .route(paths::ENROL, post(enrol::enrol))
        .route(paths::CERTIFICATE, post(enrol::certificate))
        .route(paths::INDEX, get(policy::index))
        .route(paths::BUNDLE, get(policy::host))
        .route(VAULT, get(policy::vault))
        .route(paths::ADMISSIONS, get(policy::admissions))
        .route(paths::ORDERS, get(policy::orders))
        .route(paths::RECORDS, post(records::take))
        .fallback(async || Problem::not_found())
        .method_not_allowed_fallback(async || Problem::not_found())
        .with_state(app)
}

/// Path of a vault's bundle.
const VAULT: &str = "/v1/policy/vault";

/// An admitted machine: known by the key in the certificate that it showed, judged anew for every request.
pub(crate) struct Machine(pub(crate) Verified<Admission>);

impl Machine {
    /// On its behalf.
    pub(crate) fn access(&self) -> Access {
        Access::Machine { name: self.0.name.clone(), role: self.0.role }
    }
}

impl FromRequestParts<Arc<App>> for Machine {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Problem> {
        let key = parts.extensions.get::<Peer>().and_then(|peer| peer.key).ok_or(Problem::not_admitted())?;
        app.book.by_tls(&key).map(Self).ok_or(Problem::not_admitted())
    }
}
