//! The trial of who gets in by SSH, as orders at the desk find and end it. What closes it is a login that the lane sees.

use jiff::Timestamp;
use tenure_areas::port::{
    Beneath, HostRead, HostWrite, ManagedFile, ManagedPath, Owner, PortError, PortResult,
};
use tenure_areas::ssh_access::state::{REFUSED, Refused, TRIAL, Trial, hash_of};

/// Largest trial that is read, in bytes: as the area reads it.
const LIMIT: usize = 8 << 20;

/// The trial that waits for a login. One that nobody wrote as Tenure does is none; the area tells of it.
///
/// # Errors
/// When the disk cannot be read.
pub fn waiting(host: &dyn HostRead) -> PortResult<Option<Trial>> {
    let bytes = match host.file(&Beneath::of(TRIAL), Owner::Root, LIMIT) {
        Ok(bytes) => bytes,
        Err(error @ PortError::Failed { .. }) => return Err(error),
        Err(_) => return Ok(None),
    };
    Ok(serde_json::from_slice::<Trial>(&bytes).ok().filter(|trial| trial.closing.is_none()))
}

/// Gives it up, for the next pass to go back.
///
/// # Errors
/// When it cannot be written down.
pub fn give_up(host: &dyn HostWrite, trial: &Trial, at: Timestamp) -> PortResult<()> {
    let refused = Refused { hash: hash_of(&trial.section), why: "somebody gave it up".into(), at };
    let bytes = serde_json::to_vec(&refused).expect("plain data with text keys");
    host.put(&ManagedFile { path: ManagedPath::new(REFUSED)?, bytes, mode: 0o600 })
}

/// Lets a section that was given up be tried again.
///
/// # Errors
/// When the note cannot be removed.
pub fn allow_again(host: &dyn HostWrite) -> PortResult<()> {
    host.remove(&ManagedPath::new(REFUSED)?)
}
