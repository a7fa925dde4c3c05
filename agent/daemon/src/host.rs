//! A host as the agent's threads share it: both ports at once, and the moment as both clocks tell it.

use tenure_areas::area::Now;
use tenure_areas::port::{HostRead, HostWrite};

/// Both ports to one host, usable from every lane.
pub trait Host: HostRead + HostWrite + Send + Sync {}

impl<T: HostRead + HostWrite + Send + Sync> Host for T {}

/// Tells the moment; the real one asks the one clock.
pub trait Clock: Send + Sync {
    /// Now.
    fn now(&self) -> Now;
}

/// The machine's clocks.
#[derive(Debug)]
pub struct MachineClock {
    boot_id: String,
}

impl MachineClock {
    /// Reads which boot this is.
    ///
    /// # Errors
    /// When `/proc` cannot be read.
    pub fn new() -> Result<Self, tenure_sys::files::FileError> {
        Ok(Self { boot_id: tenure_sys::clock::boot_id()? })
    }
}

impl Clock for MachineClock {
    fn now(&self) -> Now {
        let since_boot = tenure_sys::clock::boottime().as_millis();
        Now {
            wall: tenure_sys::clock::wall(),
            since_boot_ms: u64::try_from(since_boot).unwrap_or(u64::MAX),
            boot_id: self.boot_id.clone(),
        }
    }
}
