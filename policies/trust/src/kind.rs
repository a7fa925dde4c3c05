//! The closed list of what can be signed.

use std::fmt;
use std::str::FromStr;

use crate::root::Role;

/// What kind of statement an envelope carries. There is no other kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Which keys may sign what.
    Root,
    /// Version of a policy set and the hash of every machine's bundle.
    Index,
    /// A host's bundle.
    HostPolicy,
    /// A vault's bundle.
    VaultPolicy,
    /// The controller's bundle.
    DutyBook,
    /// A name has these keys.
    Admission,
    /// Purge, hold, clear, revoke.
    Order,
    /// One link of a record chain.
    Record,
    /// A vault's receipt for a sealed run.
    Receipt,
    /// The head of the controller's log.
    Checkpoint,
    /// What was shown about a purge or a period.
    Certificate,
    /// What a host says of a backup run that it stored and read back.
    Seal,
    /// What a machine states of its own keys when it enrols.
    Enrolment,
    /// What a prober saw when it connected to a host on trial.
    Probe,
}

/// A payload type that is not on the list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the payload type is none that Tenure knows")]
pub struct UnknownKind;

impl Kind {
    /// Every kind.
    pub const ALL: [Kind; 14] = [
        Kind::Root,
        Kind::Index,
        Kind::HostPolicy,
        Kind::VaultPolicy,
        Kind::DutyBook,
        Kind::Admission,
        Kind::Order,
        Kind::Record,
        Kind::Receipt,
        Kind::Checkpoint,
        Kind::Certificate,
        Kind::Seal,
        Kind::Enrolment,
        Kind::Probe,
    ];

    /// The word for it in payload types.
    pub const fn word(self) -> &'static str {
        match self {
            Kind::Root => "root",
            Kind::Index => "index",
            Kind::HostPolicy => "host-policy",
            Kind::VaultPolicy => "vault-policy",
            Kind::DutyBook => "duty-book",
            Kind::Admission => "admission",
            Kind::Order => "order",
            Kind::Record => "record",
            Kind::Receipt => "receipt",
            Kind::Checkpoint => "checkpoint",
            Kind::Certificate => "certificate",
            Kind::Seal => "seal",
            Kind::Enrolment => "enrolment",
            Kind::Probe => "probe",
        }
    }

    /// The DSSE payload type, `application/vnd.tenure.<kind>.v1+json`.
    pub fn payload_type(self) -> String {
        format!("application/vnd.tenure.{}.v1+json", self.word())
    }

    /// Of a bundle: the word in its file's name, `HOST.<word>.json`.
    pub const fn bundle_word(self) -> Option<&'static str> {
        match self {
            Kind::HostPolicy => Some("bundle"),
            Kind::VaultPolicy => Some("vault"),
            Kind::DutyBook => Some("duty"),
            _ => None,
        }
    }

    /// The most bytes that a payload of this kind may have; a larger one is refused unread.
    pub const fn max_payload(self) -> usize {
        match self {
            Kind::HostPolicy | Kind::VaultPolicy | Kind::DutyBook => 8 << 20,
            Kind::Index | Kind::Certificate => 4 << 20,
            Kind::Root | Kind::Admission | Kind::Order => 256 << 10,
            Kind::Record | Kind::Receipt | Kind::Checkpoint => 16 << 10,
            Kind::Seal | Kind::Enrolment | Kind::Probe => 16 << 10,
        }
    }

    /// The role whose keys may sign this kind; none for what machines sign with their own key.
    pub const fn role(self) -> Option<Role> {
        match self {
            Kind::Root => Some(Role::Root),
            Kind::Index | Kind::HostPolicy | Kind::VaultPolicy | Kind::DutyBook => Some(Role::Policy),
            Kind::Admission => Some(Role::Admission),
            Kind::Order => Some(Role::Order),
            Kind::Certificate => Some(Role::Certificate),
            Kind::Record | Kind::Receipt | Kind::Checkpoint => None,
            Kind::Seal | Kind::Enrolment | Kind::Probe => None,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

impl FromStr for Kind {
    type Err = UnknownKind;
    /// Parses a whole payload type.
    fn from_str(text: &str) -> Result<Self, UnknownKind> {
        Kind::ALL.into_iter().find(|kind| kind.payload_type() == text).ok_or(UnknownKind)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_closed() {
        for kind in Kind::ALL {
            assert_eq!(kind.payload_type().parse(), Ok(kind));
        }
        for text in [
            "",
            "application/json",
            "application/vnd.tenure.run.v1+json",
            "application/vnd.tenure.root.v2+json",
        ] {
            assert_eq!(text.parse::<Kind>(), Err(UnknownKind));
        }
    }
}
