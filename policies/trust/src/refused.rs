//! The closed vocabulary of refusals: why a signed thing was not taken.

use jiff::Timestamp;

use crate::ids::{FleetName, HostName, PolicyVersion, RootVersion, VaultName};
use crate::keys::KeyId;
use crate::kind::Kind;
use crate::root::Role;
use crate::text::neutral_bytes;

/// Why a signed thing is refused. One variant for each kind of fault; a refused thing changes nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// More bytes than such a thing may have.
    #[error("{size} bytes, and at most {limit} are read")]
    TooLarge {
        /// Bytes offered.
        size: usize,
        /// Bytes allowed.
        limit: usize,
    },
    /// Not the form that it should have.
    #[error("it cannot be read: {0}")]
    Malformed(String),
    /// It is something else than what was asked for.
    #[error("it is a {found}, and a {wanted} was expected")]
    KindMismatch {
        /// What was expected.
        wanted: Kind,
        /// What was offered.
        found: Kind,
    },
    /// A later program wrote it.
    #[error("it is written in schema {found}, and this program reads up to {known}")]
    SchemaTooNew {
        /// The schema it is written in.
        found: u32,
        /// The newest that this program reads.
        known: u32,
    },
    /// A signature does not belong to these bytes.
    #[error("the signature of key {} does not belong to these bytes", key.short())]
    BadSignature {
        /// The key under whose id the signature stands.
        key: KeyId,
    },
    /// A signature by a key that the root does not name.
    #[error("it is signed with key {}, which the root does not name", key.short())]
    UnknownKey {
        /// The id that stands in the envelope.
        key: KeyId,
    },
    /// The key is known and may not sign this.
    #[error("key {} may not sign a {kind}", key.short())]
    RoleMayNotSign {
        /// The key.
        key: KeyId,
        /// What it signed.
        kind: Kind,
    },
    /// No role of this root signs such a thing.
    #[error("the root gives nobody the right to sign a {kind}")]
    NobodyMaySign {
        /// The kind.
        kind: Kind,
    },
    /// Too few different keys signed.
    #[error("{have} of {need} keys of the role {role} signed it")]
    ThresholdNotMet {
        /// Whose signatures count.
        role: Role,
        /// Different keys that signed.
        have: usize,
        /// Different keys that are needed.
        need: usize,
    },
    /// Made for another fleet.
    #[error("it is for the fleet {found}, and this is {ours}")]
    WrongFleet {
        /// Ours.
        ours: FleetName,
        /// The one it names.
        found: FleetName,
    },
    /// Made for another host.
    #[error("it is for the host {found}, and this is {ours}")]
    WrongHost {
        /// Ours.
        ours: HostName,
        /// The one it names.
        found: HostName,
    },
    /// Made for another vault.
    #[error("it is for the vault {found}, and this is {ours}")]
    WrongVault {
        /// Ours.
        ours: VaultName,
        /// The one it names.
        found: VaultName,
    },
    /// Older than what this holder has already taken.
    #[error("version {offered} was offered, and version {floor} has already been taken")]
    OlderThanFloor {
        /// The version already taken.
        floor: PolicyVersion,
        /// The version offered.
        offered: PolicyVersion,
    },
    /// The version already taken, with other content.
    #[error("version {version} was offered a second time with other content")]
    SameVersionOtherHash {
        /// The version.
        version: PolicyVersion,
    },
    /// Its time is over.
    #[error("it expired at {at}")]
    Expired {
        /// When.
        at: Timestamp,
    },
    /// Its time has not come: the signer's clock or ours is wrong.
    #[error("it was signed at {issued}, and here it is {now}")]
    NotYetValid {
        /// When it says that it was signed.
        issued: Timestamp,
        /// Our time.
        now: Timestamp,
    },
    /// The root that should judge it has expired.
    #[error("the root expired at {at}")]
    RootExpired {
        /// When.
        at: Timestamp,
    },
    /// The bundle is not the one that the index names for this host.
    #[error("the index of version {version} does not name this bundle for the host {host}")]
    HashNotInIndex {
        /// The host.
        host: HostName,
        /// Version of the index.
        version: PolicyVersion,
    },
    /// A root may follow only the one just before it.
    #[error("root {offered} was offered, and only root {next} may follow")]
    RootNotNext {
        /// The version that may follow.
        next: RootVersion,
        /// The version offered.
        offered: RootVersion,
    },
}

impl Refused {
    /// A fault of form; the text may quote what came from outside, so it is made printable.
    pub fn malformed(why: impl std::fmt::Display) -> Self {
        Self::Malformed(neutral_bytes(why.to_string().as_bytes(), 200))
    }

    /// What a person can do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::TooLarge { .. } => "check that this is the file you meant",
            Self::Malformed(_) | Self::KindMismatch { .. } => {
                "check that this is the file you meant and copy it again"
            }
            Self::SchemaTooNew { .. } => "upgrade this program first: controller, then agents, then policy",
            Self::BadSignature { .. } => {
                "the file was changed after signing or damaged: fetch it again from who signed it"
            }
            Self::UnknownKey { .. } | Self::RoleMayNotSign { .. } | Self::NobodyMaySign { .. } => {
                "sign with a key that root.json names for this role, or make a new root"
            }
            Self::ThresholdNotMet { .. } => "let more of the role's people sign",
            Self::WrongFleet { .. } | Self::WrongHost { .. } | Self::WrongVault { .. } => {
                "take the file that was made for this machine"
            }
            Self::OlderThanFloor { .. } => {
                "offer the current version; to go back, sign the old policy as a new version"
            }
            Self::SameVersionOtherHash { .. } => "sign the changed policy as a new version",
            Self::Expired { .. } => "sign it anew; a policy as a new version",
            Self::NotYetValid { .. } => "compare the clocks of this machine and of the signer",
            Self::RootExpired { .. } => "place a new root.json, signed by the holders of the root keys",
            Self::HashNotInIndex { .. } => "take index and bundle from the same signing",
            Self::RootNotNext { .. } => "bring the roots one after another",
        }
    }
}
