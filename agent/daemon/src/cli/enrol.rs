//! `enrol FILE`: this host's keys, its fingerprint, and the wait for the operator who compares it.

use std::path::Path;
use std::time::Duration;

use serde::Serialize;
use tenure_link::uplink::{Asked, Placed, ask_certificate, enrol as send, place_root};
use tenure_link::{LinkError, Places, ssh_key};
use tenure_sys::lock::{Lock, LockError};
use tenure_sys::{clock, text};
use tenure_trust::MachineRole;
use tenure_trust::enrol::Invitation;

use super::{EnrolArgs, Exit, Failure};
use crate::agent::{StartError, make_dirs};
use crate::config::{Config, Source};
use crate::output::Output;
use crate::paths::Paths;

/// How often the admission is asked for.
const ASK: Duration = Duration::from_secs(3);
/// Largest invitation in bytes.
const LIMIT: u64 = 256 << 10;

#[derive(Serialize)]
struct Enrolled {
    host: String,
    fingerprint: String,
    admitted: bool,
}

/// Enrols this host.
pub(super) fn enrol(config: &Path, args: &EnrolArgs, out: Output) -> Result<Exit, Failure> {
    let config = Config::read(config)?;
    let invitation = invitation(&args.file)?;
    if (&invitation.name, invitation.role) != (&config.host, MachineRole::Host) {
        let (name, role) = (&invitation.name, invitation.role);
        return Err(Failure::new(format!(
            "the invitation is for {name} as {role}, and this is the host {}",
            config.host
        ))
        .hint("ask an operator for an invitation for this host"));
    }
    let paths = Paths::of_host();
    make_dirs(&paths).map_err(|e| Failure::of("cannot prepare the agent's state", &e))?;
    let places = Places { root: paths.root.clone(), state: paths.state.clone() };
    // A running agent has made the identity key already; without one nobody else may make it meanwhile.
    let _lock = match Lock::take(&paths.lock()) {
        Ok(lock) => Some(lock),
        Err(LockError::Held { .. }) if paths.state("identity.key").exists() => None,
        Err(error) => return Err(StartError::from(error).into()),
    };
    if place_root(&paths.root, &invitation).map_err(|e| failure(&e))? == Placed::Now {
        out.note(&format!(
            "placed the root of trust of fleet {} at {}",
            invitation.fleet,
            text::path(&paths.root)
        ));
    }
    let ssh = ssh_key::ensure(&paths.state("ssh.key"), config.host.as_str())
        .map_err(|e| Failure::of("cannot make this host's SSH key", &e).hint(e.hint()))?;
    let fingerprint = send(&places, &invitation, &ssh, clock::wall()).map_err(|e| failure(&e))?;
    out.line(&format!("fingerprint {fingerprint}"));
    out.note("an operator compares it with what `tenure admit` shows, and admits this host");
    if config.policy.from != Source::Controller {
        out.note("write `policy: { from: controller }` into the configuration to take policy from there");
    }
    let admitted = !args.no_wait && wait(&places, out)?;
    out.document(&Enrolled { host: config.host.to_string(), fingerprint, admitted });
    Ok(Exit::Clean)
}

fn invitation(file: &Path) -> Result<Invitation, Failure> {
    use std::io::Read;
    let doing = format!("cannot read {}", text::path(file));
    let mut bytes = Vec::new();
    std::fs::File::open(file)
        .and_then(|open| open.take(LIMIT + 1).read_to_end(&mut bytes))
        .map_err(|e| Failure::of(&doing, &e))?;
    Invitation::parse(&bytes).map_err(|e| Failure::of(&doing, &e).hint(e.hint()))
}

/// Until an operator has admitted this host. A controller that cannot be reached meanwhile is asked again.
fn wait(places: &Places, out: Output) -> Result<bool, Failure> {
    let progress = out.progress("waiting until an operator has admitted this host");
    loop {
        match ask_certificate(places, clock::wall()) {
            Ok(Asked::Issued { until }) => {
                drop(progress);
                out.line(&format!("admitted; certificate until {until}"));
                return Ok(true);
            }
            Ok(Asked::Waiting) => progress.say("waiting until an operator has admitted this host"),
            Err(error @ (LinkError::Unreachable(_) | LinkError::Slow { .. } | LinkError::Broken(_))) => {
                progress.say(&error.told());
            }
            Err(error) => return Err(failure(&error)),
        }
        std::thread::sleep(ASK);
    }
}

fn failure(error: &LinkError) -> Failure {
    Failure::new(format!("cannot enrol: {}", error.told())).hint(error.hint())
}
