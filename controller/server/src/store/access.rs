//! On whose behalf something is asked of the store. The store checks it itself, so that a forgotten check in a handler
//! gives nothing away.

use tenure_trust::{HostName, MachineRole};

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Access {
    /// Nobody that is known: a machine that enrols, a person who logs in.
    Stranger,
    /// An admitted machine, known by the key in its certificate.
    Machine {
        /// Its name.
        name: HostName,
        /// In which role.
        role: MachineRole,
    },
    /// An operator who logged in.
    Operator {
        /// Her account.
        user: String,
    },
    /// A person at the controller's own machine, with the rights of its user.
    Local,
    /// The controller itself, in what it does without being asked.
    Itself,
}

/// The caller may not do this.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{who} may not {what}")]
pub struct Denied {
    who: &'static str,
    what: &'static str,
}

impl Access {
    /// Lets operators, the local administrator and the controller itself pass.
    ///
    /// # Errors
    /// `Denied` for machines and strangers.
    pub fn operator(&self, what: &'static str) -> Result<(), Denied> {
        match self {
            Self::Operator { .. } | Self::Local | Self::Itself => Ok(()),
            Self::Machine { .. } => Err(Denied { who: "a machine", what }),
            Self::Stranger => Err(Denied { who: "a stranger", what }),
        }
    }

    /// Lets this very machine pass, and nobody else.
    ///
    /// # Errors
    /// `Denied` for all others.
    pub fn machine(&self, name: &HostName, role: MachineRole, what: &'static str) -> Result<(), Denied> {
        match self {
            Self::Machine { name: own, role: as_ } if own == name && *as_ == role => Ok(()),
            Self::Machine { .. } => Err(Denied { who: "another machine", what }),
            _ => Err(Denied { who: "a person", what }),
        }
    }

    /// The name that is written beside what was done.
    pub fn label(&self) -> String {
        match self {
            Self::Stranger => "nobody".into(),
            Self::Machine { name, role } => format!("{name} ({role})"),
            Self::Operator { user } => user.clone(),
            Self::Local => "local administrator".into(),
            Self::Itself => "controller".into(),
        }
    }
}
