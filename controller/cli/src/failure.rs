//! An error as a person needs it: what was done, to what, why it failed, what to do next.

use std::error::Error;
use std::fmt;
use std::path::Path;

use tenure_trust::{Refused, neutral};

use crate::output::Exit;

/// Why a command ended without doing its work.
#[derive(Debug)]
pub(crate) struct Failure {
    /// What was being done and to what, as the end of "cannot …".
    doing: String,
    /// Why, from the outermost to the innermost cause.
    why: Vec<String>,
    /// What to do next.
    hint: Option<String>,
    /// How the program ends.
    exit: Exit,
}

impl Failure {
    /// A failure with its cause; the sources of the cause are told too.
    pub(crate) fn new(doing: impl fmt::Display, cause: &dyn Error) -> Self {
        let mut why = vec![cause.to_string()];
        let mut next = cause.source();
        while let Some(source) = next {
            why.push(source.to_string());
            next = source.source();
        }
        Self { doing: doing.to_string(), why, hint: None, exit: Exit::Error }
    }

    /// A failure whose cause is known in words.
    pub(crate) fn because(doing: impl fmt::Display, why: impl fmt::Display) -> Self {
        Self { doing: doing.to_string(), why: vec![why.to_string()], hint: None, exit: Exit::Error }
    }

    /// A file that could not be read or written.
    pub(crate) fn file(verb: &str, path: &Path, cause: &std::io::Error) -> Self {
        Self::new(format_args!("{verb} {}", path.display()), cause)
    }

    /// A signed thing that was refused, with the hint that belongs to the refusal.
    pub(crate) fn refused(doing: impl fmt::Display, refused: &Refused) -> Self {
        Self::new(doing, refused).hint(refused.hint())
    }

    /// Adds what to do next.
    pub(crate) fn hint(self, hint: impl fmt::Display) -> Self {
        Self { hint: Some(hint.to_string()), ..self }
    }

    /// Ends with another exit code than 1.
    pub(crate) fn exit(self, exit: Exit) -> Self {
        Self { exit, ..self }
    }

    /// How the program ends.
    pub(crate) fn code(&self) -> Exit {
        self.exit
    }

    /// As JSON.
    pub(crate) fn to_json(&self) -> serde_json::Value {
        serde_json::json!({ "error": { "doing": self.doing, "why": self.why, "hint": self.hint } })
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot {}: {}", neutral(&self.doing), neutral(&self.why.join(": ")))?;
        match &self.hint {
            Some(hint) => write!(f, "\n  next: {}", neutral(hint)),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_what_why_and_what_next_without_control_characters() {
        let cause = std::io::Error::other("no\x1b[2Jspace");
        let failure = Failure::file("write", Path::new("/tmp/a\nb"), &cause).hint("free some space");
        assert_eq!(
            failure.to_string(),
            "cannot write /tmp/a\\u{a}b: no\\u{1b}[2Jspace\n  next: free some space"
        );
    }
}
