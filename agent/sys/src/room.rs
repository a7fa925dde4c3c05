//! How much room a file system has.

use std::io;
use std::path::Path;

/// The room of a file system, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// What may still be written.
    pub free: u64,
    /// All of it.
    pub all: u64,
}

/// The room where this path lies.
///
/// # Errors
/// When the kernel does not tell.
pub fn at(path: &Path) -> io::Result<Room> {
    let stat = rustix::fs::statvfs(path)?;
    let bytes = |blocks: u64| blocks.saturating_mul(stat.f_frsize);
    Ok(Room { free: bytes(stat.f_bavail), all: bytes(stat.f_blocks) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_tells() {
        let room = at(Path::new("/")).expect("there");
        assert!(room.free <= room.all && room.all > 0, "{room:?}");
        assert!(at(Path::new("/run/none/such")).is_err());
    }
}
