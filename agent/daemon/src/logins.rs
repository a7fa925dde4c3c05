//! Who can log in by SSH now and after, in words, for a person who reads a plan.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tenure_areas::area::AreaSpec;
use tenure_areas::ssh_access::matrix::{self, By, WayIn};
use tenure_areas::ssh_access::{Facts, SshAccess};
use tenure_policy::resolved::SshAccessSection;

use crate::areas::Look;

/// Ways in, now and after.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Logins {
    /// As sshd and the files say now.
    pub now: Vec<Way>,
    /// As the policy wants.
    pub after: Vec<Way>,
    /// Those of now that will be gone.
    pub lost: Vec<Way>,
}

/// One way in.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Way {
    /// As whom.
    pub account: String,
    /// By what: `password`, or whose key and its fingerprint.
    pub by: String,
    /// From where.
    pub from: String,
    /// Where the key stands, `file:line`; none for a password and for a key that is not placed yet.
    pub place: Option<String>,
}

/// Who can log in now, by the facts, and after, by the section. Nothing when the area could not be looked at.
pub fn logins(section: Option<&SshAccessSection>, look: Option<&Look>, now: Timestamp) -> Logins {
    let (Some(section), Some(look)) = (section, look) else { return Logins::default() };
    let Ok(facts) = serde_json::from_value::<Facts>(look.facts.clone()) else { return Logins::default() };
    let desired = SshAccess::desired(section);
    let ways = |ways: Vec<WayIn>| ways.into_iter().map(way).collect();
    Logins {
        now: ways(matrix::now(&facts)),
        after: ways(matrix::after(&desired, &facts, now)),
        lost: ways(matrix::lost(&desired, &facts, now)),
    }
}

fn way(way: WayIn) -> Way {
    let WayIn { account, by, from } = way;
    let (by, place) = match by {
        By::Password => ("password".to_owned(), None),
        By::Key { fingerprint, who, place } => {
            // Our own key files name rule and person in the comment: `tenure:<rule>:<person>`.
            let who = match who.strip_prefix("tenure:").and_then(|rest| rest.rsplit(':').next()) {
                Some(person) => person.to_owned(),
                None if who.is_empty() => "somebody".to_owned(),
                None => who,
            };
            (format!("{who}'s key {fingerprint}"), (!place.is_empty()).then_some(place))
        }
    };
    Way { account, by, from, place }
}
