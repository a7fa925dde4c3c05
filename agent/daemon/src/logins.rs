//! Who can log in by SSH now and after, in words, for a person who reads a plan.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tenure_policy::resolved::SshAccessSection;

use crate::areas::Look;

/// Ways in, now and after.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Logins {
    /// As sshd and the files say now.
    pub now: Vec<String>,
    /// As the policy wants.
    pub after: Vec<String>,
    /// Those of now that will be gone.
    pub lost: Vec<String>,
}

/// Who can log in now, by the facts, and after, by the section.
pub fn logins(_section: Option<&SshAccessSection>, _look: Option<&Look>, _now: Timestamp) -> Logins {
    Logins::default()
}
