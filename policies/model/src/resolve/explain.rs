//! Why a value is what it is: the answer of `tenure explain`.

use serde::Serialize;

use crate::fault::Place;

/// A resolved value of a host, where it comes from and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Explained {
    /// Which value, with dots: `firewall.inbound.web/inbound/1`, `patch.security_within`.
    pub key: String,
    /// The value in words.
    pub value: String,
    /// The place in the set that says so.
    pub origin: Place,
    /// Why it holds here: which profile or host, what it follows from, what it overrides.
    pub reason: String,
}

impl Explained {
    /// Does a question ask for this value: its own key, or a part of it that ends at a dot or slash?
    pub fn answers(&self, question: &str) -> bool {
        let question = question.trim_end_matches(['.', '/']);
        question.is_empty()
            || self
                .key
                .strip_prefix(question)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '/']))
    }
}

/// The explanations of one host while it is resolved.
#[derive(Debug)]
pub(crate) struct Explanation(Option<Vec<Explained>>);

impl Explanation {
    /// Collects, or (`false`) lets go of what it is told.
    pub(crate) fn new(collect: bool) -> Self {
        Self(collect.then(Vec::new))
    }

    /// Adds one.
    pub(crate) fn say(&mut self, key: &str, value: &str, origin: &Place, reason: &str) {
        self.lazy(key, origin, reason, || value.to_owned());
    }

    /// Adds one whose value is long to write.
    pub(crate) fn lazy(&mut self, key: &str, origin: &Place, reason: &str, value: impl FnOnce() -> String) {
        if let Some(entries) = &mut self.0 {
            let (key, reason) = (key.to_owned(), reason.to_owned());
            entries.push(Explained { key, value: value(), origin: origin.clone(), reason });
        }
    }

    /// In the order of keys; entries of one key keep the order in which they hold.
    pub(crate) fn sorted(self) -> Vec<Explained> {
        let mut entries = self.0.unwrap_or_default();
        entries.sort_by(|a, b| a.key.cmp(&b.key));
        entries
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_is_a_key_or_the_beginning_of_one() {
        let entry = Explained {
            key: "firewall.inbound.web/inbound/1".into(),
            value: String::new(),
            origin: Place::new("fleet.yaml", 1, 1),
            reason: String::new(),
        };
        for yes in [
            "",
            "firewall",
            "firewall.inbound",
            "firewall.inbound.web",
            "firewall.inbound.web/inbound/1",
            "firewall.",
        ] {
            assert!(entry.answers(yes), "{yes}");
        }
        for no in ["fire", "firewall.in", "firewall.outbound", "firewall.inbound.web/inbound/11", "inbound"] {
            assert!(!entry.answers(no), "{no}");
        }
    }
}
