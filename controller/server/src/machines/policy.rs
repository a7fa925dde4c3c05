//! Hands on what operators signed, byte for byte. Each machine verifies it itself.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE};
use tenure_trust::{Kind, MachineRole};

use super::Machine;
use crate::app::App;
use crate::problem::{Problem, json};

/// The signed index.
pub(super) async fn index(State(app): State<Arc<App>>, _machine: Machine) -> Result<Response, Problem> {
    let set = app.shelf.get().ok_or(Problem::not_found())?;
    Ok(signed(set.files.index.clone()))
}

/// The asking host's own bundle.
pub(super) async fn host(State(app): State<Arc<App>>, machine: Machine) -> Result<Response, Problem> {
    bundle(&app, &machine, MachineRole::Host, Kind::HostPolicy)
}

/// The asking vault's own bundle.
pub(super) async fn vault(State(app): State<Arc<App>>, machine: Machine) -> Result<Response, Problem> {
    bundle(&app, &machine, MachineRole::Vault, Kind::VaultPolicy)
}

/// Admissions and revocations.
pub(super) async fn admissions(State(app): State<Arc<App>>, _machine: Machine) -> Response {
    signed(app.book.list().to_vec())
}

/// Orders for vaults; each looks for its own among them.
pub(super) async fn orders(State(app): State<Arc<App>>, machine: Machine) -> Result<Response, Problem> {
    if machine.0.role != MachineRole::Vault {
        return Err(Problem::not_found());
    }
    Ok(json(&app.store.orders(&machine.access(), app.now()).await?))
}

fn bundle(app: &App, machine: &Machine, role: MachineRole, kind: Kind) -> Result<Response, Problem> {
    if machine.0.role != role {
        return Err(Problem::not_found());
    }
    let set = app.shelf.get().ok_or(Problem::not_found())?;
    set.bundle(kind, &machine.0.name).map(|bytes| signed(bytes.to_vec())).ok_or(Problem::not_found())
}

fn signed(bytes: Vec<u8>) -> Response {
    ([(CONTENT_TYPE, "application/json"), (CACHE_CONTROL, "no-store")], bytes).into_response()
}
