//! The one clock. Everything else takes the time as a parameter.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use crate::files::{BaseDir, Expect, FileError};
use std::path::Path;

/// Wall clock time (CLOCK_REALTIME). May jump; may be wrong at boot.
#[allow(clippy::disallowed_methods, reason = "this is the one clock that the ban names")]
pub fn wall() -> jiff::Timestamp {
    jiff::Timestamp::now()
}

/// Time since an unnamed start that never goes back and does not count suspension (CLOCK_MONOTONIC).
pub fn monotonic() -> Duration {
    read(ClockId::Monotonic)
}

/// Time since the machine booted, suspension included (CLOCK_BOOTTIME).
pub fn boottime() -> Duration {
    read(ClockId::Boottime)
}

/// The kernel's random name of this boot. On a lab host it is the machine's, not the host's.
///
/// # Errors
/// When `/proc` cannot be read.
pub fn boot_id() -> Result<String, FileError> {
    let file = BaseDir::open(Path::new("/proc"))?
        .read(Path::new("sys/kernel/random/boot_id"), &Expect::roots(64))?;
    Ok(crate::text::neutral(&file.bytes, 64))
}

fn read(id: ClockId) -> Duration {
    let t = clock_gettime(id);
    // Both clocks start at zero with the machine, so neither part is ever negative.
    Duration::new(u64::try_from(t.tv_sec).unwrap_or(0), u32::try_from(t.tv_nsec).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_agree_with_the_kernel() {
        let (a, b) = (monotonic(), monotonic());
        assert!(b >= a && a > Duration::ZERO);
        assert!(boottime() >= a);
        assert!(wall().as_second() > 1_600_000_000);
        assert_eq!(boot_id().expect("proc").len(), 36);
    }
}
