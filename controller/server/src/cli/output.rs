//! The one place that prints for a person or a program. Hostile text is made harmless here.

use std::io::Write;

use serde::Serialize;
use tenure_sys::text;

use super::Failure;

/// Longest line in characters.
const LIMIT: usize = 2000;

/// How a command prints. Nothing is coloured, so nothing is said by colour alone.
#[derive(Debug, Clone, Copy)]
pub(super) struct Output {
    /// One JSON document on standard output and nothing else.
    pub(super) json: bool,
    /// Only what was asked for.
    pub(super) quiet: bool,
}

impl Output {
    /// A line that answers the question.
    pub(super) fn line(self, line: &str) {
        if !self.json {
            self.product(format!("{}\n", text::neutral(line.as_bytes(), LIMIT)).as_bytes());
        }
    }

    /// A line that explains.
    pub(super) fn note(self, line: &str) {
        if !self.quiet {
            self.line(line);
        }
    }

    /// The whole answer for a program.
    pub(super) fn document<T: Serialize>(self, value: &T) {
        if self.json
            && let Ok(text) = serde_json::to_string_pretty(value)
        {
            self.product(format!("{text}\n").as_bytes());
        }
    }

    /// The product itself, whatever was asked.
    pub(super) fn product(self, bytes: &[u8]) {
        // Whoever reads it may have closed the pipe: nobody is left to tell.
        let _ = std::io::stdout().lock().write_all(bytes);
    }

    /// An error with what to do next, on standard error.
    pub(super) fn error(self, failure: &Failure) {
        let mut err = std::io::stderr().lock();
        // As above.
        let _ = writeln!(err, "error: {}", text::neutral(failure.what.as_bytes(), LIMIT));
        if let Some(hint) = &failure.hint {
            let _ = writeln!(err, "  → {}", text::neutral(hint.as_bytes(), LIMIT));
        }
    }
}
