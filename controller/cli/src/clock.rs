//! The one clock of this program; everything else takes the time as a parameter.

/// Wall-clock time.
#[allow(clippy::disallowed_methods, reason = "this is the one clock that the ban names")]
pub(crate) fn now() -> jiff::Timestamp {
    jiff::Timestamp::now()
}
