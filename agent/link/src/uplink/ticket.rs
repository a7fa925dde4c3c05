//! What a machine keeps of its enrolment: where the controller is, by what it is known, and what was stated there.

use std::path::Path;

use serde::{Deserialize, Serialize};
use tenure_sys::files::{CheckedDir, Put, Roots};
use tenure_trust::enrol::Invitation;
use tenure_trust::{Epoch, FleetName, HostName, MachineRole};

use super::{DIRECTORY, LinkError};

const FILE: &str = "enrolment.json";
const LIMIT: u64 = 256 << 10;

/// The facts of an enrolment. No secret is among them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ticket {
    /// 1.
    pub schema: u32,
    /// The fleet.
    pub fleet: FleetName,
    /// This machine's name.
    pub name: HostName,
    /// Its role.
    pub role: MachineRole,
    /// Its chain.
    pub epoch: Epoch,
    /// Where the controller is, tried in order.
    pub controllers: Vec<String>,
    /// The name in its certificate.
    pub server_name: String,
    /// Its authority, PEM: the only one that is believed.
    pub ca: String,
    /// What this machine stated of its keys, signed.
    pub enrolment: String,
}

impl Ticket {
    /// The ticket of an invitation.
    pub(super) fn of(invitation: &Invitation, epoch: Epoch, enrolment: String) -> Self {
        Self {
            schema: 1,
            fleet: invitation.fleet.clone(),
            name: invitation.name.clone(),
            role: invitation.role,
            epoch,
            controllers: invitation.controllers.clone(),
            server_name: invitation.server_name.clone(),
            ca: invitation.ca.clone(),
            enrolment,
        }
    }

    /// Reads it from the directory of state; none when this machine never enrolled.
    ///
    /// # Errors
    /// When it cannot be read or is none.
    pub fn read(state: &Path) -> Result<Option<Self>, LinkError> {
        let path = state.join(DIRECTORY).join(FILE);
        let file = match CheckedDir::read_file(&path, LIMIT) {
            Ok(file) => file,
            Err(error) if error.is_missing() => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let damaged = |why: String| LinkError::Damaged { path: path.clone(), why };
        let ticket: Self = serde_json::from_slice(&file.bytes).map_err(|e| damaged(e.to_string()))?;
        if ticket.schema != 1 {
            return Err(damaged(format!("schema {}, and this program reads 1", ticket.schema)));
        }
        Ok(Some(ticket))
    }

    /// Which chain of this machine goes on: the one that it enrolled for last, the first of one that never enrolled.
    ///
    /// # Errors
    /// When there is a ticket and it cannot be read: the first chain may be over long since, and to go on with it would
    /// fork it.
    pub fn epoch_in(state: &Path) -> Result<Epoch, LinkError> {
        Ok(Self::read(state)?.map_or(Epoch(1), |ticket| ticket.epoch))
    }

    /// Writes it down durably.
    pub(super) fn write(&self, state: &Path) -> Result<(), LinkError> {
        let writable = Roots::new([state])?;
        writable.make_dir(&state.join(DIRECTORY), 0o700)?;
        let text = serde_json::to_vec(self).map_err(|e| LinkError::Key(e.to_string()))?;
        Ok(writable.put(&Put::own(&state.join(DIRECTORY).join(FILE), &text, 0o600))?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticket_that_cannot_be_read_is_an_error_and_not_the_first_chain() {
        let dir = tempfile::tempdir_in("/run").expect("root's directory");
        let state = dir.path();
        assert_eq!(Ticket::epoch_in(state).expect("never enrolled"), Epoch(1));
        let link = state.join(DIRECTORY);
        std::fs::create_dir(&link).expect("made");
        for damaged in ["", "{", "{\"schema\":1}", "{\"schema\":2,\"epoch\":3}"] {
            std::fs::write(link.join(FILE), damaged).expect("written");
            let error = Ticket::epoch_in(state).expect_err(damaged);
            assert!(matches!(error, LinkError::Damaged { .. }), "{damaged}: {error:?}");
            assert!(error.hint().contains("restore it"), "{}", error.hint());
        }
        std::fs::remove_file(link.join(FILE)).expect("removed");
        std::fs::create_dir(link.join(FILE)).expect("made");
        assert!(Ticket::epoch_in(state).is_err(), "a directory in its place");
    }
}
