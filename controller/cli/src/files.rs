//! Files of the operator's own: read with a bound, written whole or not at all.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use crate::failure::Failure;

/// Reads a whole file of at most `limit` bytes.
pub(crate) fn read(path: &Path, limit: u64) -> Result<Vec<u8>, Failure> {
    let failed = |error: &std::io::Error| Failure::file("read", path, error);
    let file = File::open(path).map_err(|error| failed(&error))?;
    let mut bytes = Vec::new();
    file.take(limit + 1).read_to_end(&mut bytes).map_err(|error| failed(&error))?;
    if bytes.len() as u64 > limit {
        let doing = format!("read {}", path.display());
        return Err(Failure::because(doing, format!("it is larger than {limit} bytes")));
    }
    Ok(bytes)
}

/// As `read`; none when there is no such file.
pub(crate) fn read_if_there(path: &Path, limit: u64) -> Result<Option<Vec<u8>>, Failure> {
    match path.try_exists() {
        Ok(false) => Ok(None),
        _ => read(path, limit).map(Some),
    }
}

/// Writes a file that must not stand there yet.
pub(crate) fn write_new(path: &Path, bytes: &[u8], mode: u32) -> Result<(), Failure> {
    let written = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)
        .and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()));
    written.map_err(|error| Failure::file("write", path, &error))
}

/// Replaces a file: afterwards it has the new content, or everything is as before.
pub(crate) fn replace(path: &Path, bytes: &[u8], mode: u32) -> Result<(), Failure> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    let beside = Path::new(&beside);
    let written = remove_if_there(beside)
        .and_then(|()| OpenOptions::new().write(true).create_new(true).mode(mode).open(beside))
        .and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()))
        .and_then(|()| fs::rename(beside, path));
    written.map_err(|error| {
        // The first error is the one to tell.
        let _ = remove_if_there(beside);
        Failure::file("write", path, &error)
    })
}

/// Makes the directory (and those above it) unless it stands.
pub(crate) fn make_dir(path: &Path) -> Result<(), Failure> {
    fs::create_dir_all(path).map_err(|error| Failure::file("make the directory", path, &error))
}

/// Removes a file; none there is as good.
pub(crate) fn remove(path: &Path) -> Result<(), Failure> {
    remove_if_there(path).map_err(|error| Failure::file("remove", path, &error))
}

fn remove_if_there(path: &Path) -> std::io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
