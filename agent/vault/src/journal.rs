//! Lines for the journal: priority by the prefix that systemd reads (sd-daemon(3)), hostile text made harmless.

use std::error::Error;
use std::io::Write;

use tenure_sys::text;

/// Longest line in characters.
const LINE: usize = 2000;

/// Something a person must look at.
pub fn error(message: &str) {
    line(3, message);
}

/// Something went another way than wanted, and the vault goes on.
pub fn warning(message: &str) {
    line(4, message);
}

/// Something happened that matters.
pub fn notice(message: &str) {
    line(5, message);
}

/// An error with all its causes on one line.
pub fn chain(error: &dyn Error) -> String {
    let mut out = error.to_string();
    let mut cause = error.source();
    while let Some(source) = cause {
        out.push_str(": ");
        out.push_str(&source.to_string());
        cause = source.source();
    }
    out
}

fn line(priority: u8, message: &str) {
    if cfg!(test) {
        // Tests read what is answered and recorded; their own output stays readable.
        return;
    }
    let message = text::neutral(message.as_bytes(), LINE);
    // When the journal is gone there is nobody left to tell.
    let _ = writeln!(std::io::stderr().lock(), "<{priority}>{message}");
}
