//! Whether a machine can be believed now: it was heard of within three heartbeats by the controller's clock, its chain
//! has one history, and its facts are about the time at which they came.

use jiff::{SignedDuration, Timestamp};
use tenure_trust::enrol::IngestFinding;
use tenure_trust::{AreaName, HostName, MachineRole};

use crate::input::{Input, Newest, Reported};
use crate::reason::{Machine, Reason};

/// A machine is silent after so many heartbeats.
const HEARTBEATS: i64 = 3;
/// How far facts may be ahead of their receipt: clocks are never quite alike.
const AHEAD: i64 = 300;

/// After so long without a word a machine is silent.
pub(crate) fn patience(input: &Input<'_>) -> SignedDuration {
    SignedDuration::from_secs(HEARTBEATS * i64::from(input.book.heartbeat_seconds.max(1)))
}

/// What this machine reported, when it can be believed now.
pub(crate) fn machine<'a>(
    input: &Input<'a>,
    host: &HostName,
    role: MachineRole,
) -> Result<&'a Reported, Reason> {
    let machine = Machine { host: host.clone(), role };
    let Some(reported) = input.machines.get(&(host.clone(), role)) else {
        return Err(Reason::Silent { machine, last: None, seconds: None });
    };
    let age = reported.last_contact.map(|last| input.now.duration_since(last));
    match (age, reported.last_contact) {
        (Some(age), _) if fresh(input, age) => {}
        (Some(age), Some(at)) if age.is_negative() => return Err(Reason::HeardAhead { machine, at }),
        _ => {
            let seconds = age.map(|age| age.as_secs().unsigned_abs());
            return Err(Reason::Silent { machine, last: reported.last_contact, seconds });
        }
    }
    match standing(reported) {
        Some(finding) => Err(Reason::Chain { machine, finding }),
        None => Ok(reported),
    }
}

/// Is this age one of something that still holds? What came at a time that is still to come, by a clock that was put back
/// since, is of no known age.
fn fresh(input: &Input<'_>, age: SignedDuration) -> bool {
    age >= -SignedDuration::from_secs(AHEAD) && age <= patience(input)
}

/// A fault of the chain that is in force: two histories stay two until the machine is admitted anew.
fn standing(reported: &Reported) -> Option<IngestFinding> {
    let epoch = reported.areas.values().map(|newest| newest.record.epoch).max();
    let in_force = |finding: &&crate::input::ChainFinding| {
        matches!(finding.what, IngestFinding::Fork | IngestFinding::Reset)
            && epoch.is_none_or(|epoch| finding.epoch >= epoch)
    };
    reported.findings.iter().filter(in_force).map(|finding| finding.what).next_back()
}

/// The newest record of an area, when it can be believed now.
pub(crate) fn area<'a>(
    input: &Input<'a>,
    reported: &'a Reported,
    host: &HostName,
    role: MachineRole,
    area: &str,
) -> Result<&'a Newest, Reason> {
    let machine = || Machine { host: host.clone(), role };
    let silent = |last| Reason::AreaSilent { machine: machine(), area: area.to_owned(), last };
    let newest = AreaName::new(area).ok().and_then(|name| reported.areas.get(&name));
    let newest = newest.ok_or_else(|| silent(None))?;
    let age = input.now.duration_since(newest.received_at);
    match fresh(input, age) {
        true => {}
        false if age.is_negative() => {
            return Err(Reason::HeardAhead { machine: machine(), at: newest.received_at });
        }
        false => return Err(silent(Some(newest.received_at))),
    }
    match off(newest.observed_at, newest.received_at, patience(input)) {
        0 => Ok(newest),
        ahead_seconds => Err(Reason::Clock { machine: machine(), ahead_seconds }),
    }
}

/// Seconds by which the time of the facts is off from their receipt beyond what can be; 0 when it is not.
fn off(observed: Timestamp, received: Timestamp, behind: SignedDuration) -> i64 {
    let ahead = observed.duration_since(received);
    match ahead > SignedDuration::from_secs(AHEAD) || ahead < -behind {
        true => ahead.as_secs(),
        false => 0,
    }
}
