//! `enrol`: keys of its own, their public halves to the controller, and a fingerprint that two people compare.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use serde::Serialize;
use tenure_link::uplink::{self, Placed};
use tenure_sys::{clock, text};
use tenure_trust::MachineRole;
use tenure_trust::enrol::Invitation;

use super::output::Output;
use super::{Exit, Failure};
use crate::config::Config;
use crate::keys;
use crate::run::Paths;

/// The most bytes of an invitation.
const LIMIT: u64 = 256 << 10;

/// Reads the invitation and places the anchor of trust that it brings, unless one stands there.
pub(super) fn invitation(file: &Path, paths: &Paths) -> Result<Invitation, Failure> {
    let doing = format!("cannot read {}", text::path(file));
    let mut bytes = Vec::new();
    File::open(file)
        .and_then(|open| open.take(LIMIT + 1).read_to_end(&mut bytes))
        .map_err(|e| Failure::of(&doing, &e))?;
    let invitation = Invitation::parse(&bytes).map_err(|e| Failure::of(&doing, &e).hint(e.hint()))?;
    if invitation.role != MachineRole::Vault {
        return Err(Failure::new(format!(
            "this invitation is for a {}, and this is a vault",
            invitation.role
        ))
        .hint("ask the operator for `tenure token create NAME --role vault`"));
    }
    let placed = uplink::place_root(&paths.root, &invitation)
        .map_err(|e| Failure::of("cannot place the root of trust", &e).hint(e.hint()))?;
    if placed == Placed::Now {
        crate::journal::notice(&format!("placed the root of trust at {}", paths.root.display()));
    }
    Ok(invitation)
}

#[derive(Serialize)]
struct Enrolled {
    name: String,
    fingerprint: String,
}

/// Enrols and prints the fingerprint.
pub(super) fn enrol(
    config: &Path,
    paths: &Paths,
    invitation: Option<Invitation>,
    out: Output,
) -> Result<Exit, Failure> {
    let config = Config::read(config)?;
    let invitation = invitation.ok_or_else(|| Failure::new("there is no invitation"))?;
    if invitation.name != config.host {
        let what =
            format!("the invitation is for {}, and the configuration says {}", invitation.name, config.host);
        return Err(Failure::new(what).hint("ask for an invitation for this machine"));
    }
    let ssh = keys::host_key(&paths.state)
        .and_then(|key| keys::public_text(&key))
        .map_err(|e| Failure::of("cannot make the SSH host key", &e))?;
    let places = paths.places();
    let fingerprint = uplink::enrol(&places, &invitation, &ssh, clock::wall())
        .map_err(|e| Failure::of("cannot enrol", &e).hint(e.hint()))?;
    out.line(&format!("{} asks to be admitted; its keys have the fingerprint", invitation.name));
    out.line(&format!("  {fingerprint}"));
    out.note("read it to the operator, who compares it with what `tenure admit` shows");
    out.document(&Enrolled { name: invitation.name.to_string(), fingerprint });
    Ok(Exit::Clean)
}
