//! What the kernel says of a file, in our own words.

use std::ffi::CStr;
use std::os::fd::{AsFd, AsRawFd as _};

use rustix::fs::{FileType, Stat};
use rustix::io::Errno;

use super::stamp::Stamp;
use super::tree::{Meta, Xattrs};

/// Bytes of one attribute's value, and of a list of names, at most: the kernel's own limits.
const XATTR: usize = 64 << 10;

/// Takes a `stat` apart.
pub(crate) fn meta(stat: &Stat) -> Meta {
    Meta {
        mode: stat.st_mode & 0o7777,
        uid: stat.st_uid,
        gid: stat.st_gid,
        inode: stat.st_ino,
        device: stat.st_dev,
        size: if file_type(stat) == FileType::RegularFile {
            u64::try_from(stat.st_size).unwrap_or(0)
        } else {
            0
        },
        links: wide(stat.st_nlink),
        mtime: Stamp::new(stat.st_mtime, stat.st_mtime_nsec),
        ctime: Stamp::new(stat.st_ctime, stat.st_ctime_nsec),
    }
}

/// A number whose width differs between architectures.
pub(crate) fn wide(number: impl Into<u64>) -> u64 {
    number.into()
}

/// What it is.
pub(crate) fn file_type(stat: &Stat) -> FileType {
    FileType::from_raw_mode(stat.st_mode)
}

/// The extended attributes of an open file, sorted by name.
pub(crate) fn xattrs(fd: impl AsFd) -> Result<Xattrs, Errno> {
    let fd = fd.as_fd();
    let mut small = [0; 256];
    let names = match rustix::fs::flistxattr(fd, &mut small[..]) {
        Ok(0) | Err(Errno::OPNOTSUPP | Errno::NOSYS) => return Ok(Vec::new()),
        Ok(len) => small[..len].to_vec(),
        Err(Errno::RANGE) => {
            let mut large = vec![0; XATTR];
            let len = rustix::fs::flistxattr(fd, &mut large[..])?;
            large.truncate(len);
            large
        }
        Err(why) => return Err(why),
    };
    values(&names, |name, value| rustix::fs::fgetxattr(fd, name, value))
}

/// As [`xattrs`], of an entry of an open directory that cannot be opened itself: a link, a device, a pipe.
pub(crate) fn xattrs_of_entry(dir: impl AsFd, name: &CStr) -> Result<Xattrs, Errno> {
    let mut path = format!("/proc/self/fd/{}/", dir.as_fd().as_raw_fd()).into_bytes();
    path.extend_from_slice(name.to_bytes());
    let mut names = vec![0; 4096];
    let len = match rustix::fs::llistxattr(&path[..], &mut names[..]) {
        Err(Errno::RANGE) => {
            names.resize(XATTR, 0);
            rustix::fs::llistxattr(&path[..], &mut names[..])
        }
        listed => listed,
    };
    match len {
        Ok(0) | Err(Errno::OPNOTSUPP | Errno::NOSYS) => Ok(Vec::new()),
        Ok(len) => values(&names[..len], |name, value| rustix::fs::lgetxattr(&path[..], name, value)),
        Err(why) => Err(why),
    }
}

fn values(names: &[u8], get: impl Fn(&[u8], &mut [u8]) -> Result<usize, Errno>) -> Result<Xattrs, Errno> {
    let mut found = Vec::new();
    for name in names.split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        let mut value = vec![0; XATTR];
        match get(name, &mut value) {
            Ok(len) => value.truncate(len),
            // it went away, or is none to be read
            Err(Errno::NODATA | Errno::OPNOTSUPP) => continue,
            Err(why) => return Err(why),
        }
        value.shrink_to_fit();
        found.push((name.to_vec(), value));
    }
    found.sort();
    Ok(found)
}
