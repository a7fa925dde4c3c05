//! Why the link does not work now. A closed list; none of it changes what the machine enforces.

use std::path::PathBuf;

use tenure_sys::files::FileError;
use tenure_trust::Refused;
use tenure_trust::enrol::IngestFinding;

use super::Notice;
use crate::chain::ChainError;
use crate::store::StoreError;

/// Why the link does not work.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// This machine never enrolled.
    #[error("this machine has not enrolled: there is no {}/link/enrolment.json", .0.display())]
    NotEnrolled(PathBuf),
    /// A file cannot be read or written safely.
    #[error("cannot keep the link's files")]
    File(#[from] FileError),
    /// The chain or the keys cannot be used.
    #[error("cannot use this machine's keys or records")]
    Chain(#[from] ChainError),
    /// The taken policy cannot be used.
    #[error("cannot look at the policy that was taken")]
    Store(#[from] StoreError),
    /// A file of the link is not one.
    #[error("{} cannot be read: {why}", path.display())]
    Damaged {
        /// Which.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// The invitation is for another machine, is over, or its parts do not belong together.
    #[error("the invitation is refused: {0}")]
    Invitation(String),
    /// A root that a person placed is another than the invitation's.
    #[error("the root at {} is another than the one in the invitation", .0.display())]
    OtherRoot(PathBuf),
    /// No controller could be reached.
    #[error("no controller can be reached: {0}")]
    Unreachable(String),
    /// The controller at the other end is not the one of the invitation, or refuses our certificate.
    #[error("TLS with {controller} fails: {why}")]
    Tls {
        /// Which.
        controller: String,
        /// Why.
        why: String,
    },
    /// The connection broke off.
    #[error("the connection to the controller broke off: {0}")]
    Broken(String),
    /// It took longer than is waited.
    #[error("the controller took longer than {seconds} s to {what}")]
    Slow {
        /// What.
        what: &'static str,
        /// How long was waited.
        seconds: u64,
    },
    /// It answers more bytes than such an answer may have.
    #[error("the controller answers more than {limit} bytes for {what}")]
    TooLarge {
        /// What was asked for.
        what: &'static str,
        /// The limit.
        limit: usize,
    },
    /// It answers something else than was asked for.
    #[error("the controller answers nonsense for {what}: {why}")]
    Nonsense {
        /// What was asked for.
        what: &'static str,
        /// In which way.
        why: String,
    },
    /// It refuses.
    #[error("the controller refuses: {title} ({status})")]
    Refused {
        /// HTTP status.
        status: u16,
        /// The last word of the problem's type.
        word: String,
        /// Its title.
        title: String,
        /// Its hint, if any.
        hint: Option<String>,
    },
    /// What it issued is not what was asked for, or not under our root.
    #[error("what the controller issued is refused")]
    Issued(#[source] Refused),
    /// It says that our chain is at fault.
    #[error("the controller does not take our records: {0:?}")]
    Chained(IngestFinding),
    /// A key or request could not be made.
    #[error("cannot make a key or certificate request: {0}")]
    Key(String),
}

impl LinkError {
    /// What a person can do about it.
    pub fn hint(&self) -> String {
        match self {
            Self::NotEnrolled(_) => "ask an operator for an invitation and run `enrol FILE`".into(),
            Self::File(_) => "check owner, mode and free space of the path named".into(),
            Self::Damaged { .. } => {
                "restore it from a backup; an enrolment that is lost is made anew, for the next epoch: remove the file and \
                 ask an operator for an invitation".into()
            }
            Self::Chain(error) => error.hint().into(),
            Self::Store(error) => error.hint().into(),
            Self::Invitation(_) => "ask an operator for a new invitation for this machine".into(),
            Self::OtherRoot(_) => "compare both by their hash (`tenure root show`) before you replace one".into(),
            Self::Unreachable(_) | Self::Slow { .. } | Self::Broken(_) => {
                "check the network and that the controller runs; nothing is lost meanwhile".into()
            }
            Self::Tls { .. } => "is it the controller of the invitation, and are both clocks right?".into(),
            Self::TooLarge { .. } | Self::Nonsense { .. } => "is it of another version, or not a controller?".into(),
            Self::Refused { hint: Some(hint), .. } => hint.clone(),
            Self::Refused { .. } => "ask an operator whether this machine is admitted".into(),
            Self::Issued(refused) => refused.hint().into(),
            Self::Chained(_) => {
                "a machine that was restored, copied or set up anew is invited, enrols and is admitted again; \
                 then its next chain begins"
                    .into()
            }
            Self::Key(_) => "wait until the machine has gathered randomness".into(),
        }
    }

    /// Asking again soon would change nothing.
    pub(super) fn is_stuck(&self) -> bool {
        matches!(self, Self::Chained(_) | Self::OtherRoot(_) | Self::NotEnrolled(_))
    }

    /// The controller has no room for so much.
    pub(super) fn has_no_room(&self) -> bool {
        matches!(self, Self::Refused { status: 429 | 507, .. })
    }

    /// What this machine states in its own chain about it: that the controller no longer knows its keys, so that no
    /// policy comes and no record goes. Whether an operator said so is for people to ask.
    pub(super) fn notice(&self) -> Option<Notice> {
        match self {
            Self::Refused { word, .. } if matches!(word.as_str(), "not-admitted" | "revoked") => {
                Some(Notice { event: "policy_withheld", what: self.told(), hint: self.hint() })
            }
            _ => None,
        }
    }

    /// With all its causes on one line.
    pub fn told(&self) -> String {
        let mut out = self.to_string();
        let mut cause = std::error::Error::source(self);
        while let Some(source) = cause {
            out.push_str(": ");
            out.push_str(&source.to_string());
            cause = source.source();
        }
        tenure_sys::text::neutral(out.as_bytes(), 1000)
    }
}
