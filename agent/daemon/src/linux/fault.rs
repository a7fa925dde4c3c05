//! What the shell's errors are to the areas.

use std::error::Error;
use std::path::Path;

use tenure_areas::port::PortError;
use tenure_sys::command::CommandError;
use tenure_sys::files::FileError;
use tenure_sys::text;

use super::conntrack::ConntrackError;
use super::netlink::NetlinkError;

/// Of reading or writing a file; `doing` as in "reading".
pub(super) fn file(doing: &str, error: &FileError) -> PortError {
    let what = text::path(error.path());
    match error {
        e if e.is_missing() => PortError::Absent { what },
        FileError::TooLarge { limit, .. } => {
            PortError::TooLarge { what, limit: usize::try_from(*limit).unwrap_or(usize::MAX) }
        }
        FileError::TooMany { limit, .. } => PortError::TooLarge { what, limit: *limit },
        FileError::Io { .. } => PortError::Failed { doing: format!("{doing} {what}"), why: whole(error) },
        _ => PortError::Untrusted { what, why: error.to_string() },
    }
}

/// Of a program.
pub(super) fn command(doing: &str, error: &CommandError) -> PortError {
    match error {
        CommandError::TooMuch { program, limit } => PortError::TooLarge {
            what: text::path(program),
            limit: usize::try_from(*limit).unwrap_or(usize::MAX),
        },
        e if e.is_missing() => PortError::Absent { what: program(e) },
        _ => failed(doing, error),
    }
}

/// Of the kernel.
pub(super) fn netlink(doing: &str, error: &NetlinkError) -> PortError {
    failed(doing, error)
}

/// Of connection tracking.
pub(super) fn conntrack(doing: &str, error: &ConntrackError) -> PortError {
    match error {
        ConntrackError::TooMany { limit } => {
            PortError::TooLarge { what: "connection tracking".into(), limit: *limit }
        }
        _ => failed(doing, error),
    }
}

/// A text that is put into an argument and is not of the form that this argument has.
pub(super) fn argument(what: &str, why: &str) -> PortError {
    PortError::Untrusted { what: text::path(Path::new(what)), why: why.into() }
}

fn failed(doing: &str, error: &dyn Error) -> PortError {
    PortError::Failed { doing: doing.into(), why: whole(error) }
}

fn program(error: &CommandError) -> String {
    match error {
        CommandError::Start { program, .. } => text::path(program),
        other => other.to_string(),
    }
}

/// The error with its causes.
fn whole(error: &dyn Error) -> String {
    let mut out = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        out = format!("{out}: {cause}");
        next = cause.source();
    }
    text::neutral(out.as_bytes(), 3000)
}
