//! What the kernel is told about a restored file: owner, permissions, attributes, times, in the order in which none undoes
//! another.

use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};

use rustix::fs::{
    AtFlags, FileType, Gid, Mode, Timespec, Timestamps, UTIME_OMIT, Uid, XattrFlags, chownat, fchmod, fchown,
    fsetxattr, futimens, lsetxattr, mknodat, symlinkat, utimensat,
};
use rustix::io::Errno;

use super::stamp::Stamp;
use super::tree::{Node, NodeKind};

/// What was being done, and why the system refused it.
type Refused = (&'static str, Errno);

/// Gives an open file or directory what its node says.
pub(crate) fn set_attributes(fd: &OwnedFd, node: &Node) -> Result<(), Refused> {
    let mut refused = None;
    let mut note = |doing, done: Result<(), Errno>| {
        if let Err(why) = done {
            refused.get_or_insert((doing, why));
        }
    };
    let (uid, gid) = owner(node);
    // a change of owner drops set-user-id and capabilities, so they come after it
    note("giving it to its owner", fchown(fd, Some(uid), Some(gid)));
    note("setting its permissions", fchmod(fd, Mode::from_raw_mode(node.meta.mode & 0o7777)));
    for (name, value) in &node.xattrs {
        note("setting an extended attribute", fsetxattr(fd, &name[..], value, XattrFlags::empty()));
    }
    note("setting its times", futimens(fd, &times(node.meta.mtime)));
    refused.map_or(Ok(()), Err)
}

/// Makes a link, device or pipe, with what its node says.
pub(crate) fn make_special(dir: &OwnedFd, node: &Node) -> Result<(), Refused> {
    let name = &node.name[..];
    let mode = Mode::from_raw_mode(node.meta.mode & 0o7777);
    let device = |kind, number| mknodat(dir, name, kind, Mode::from_raw_mode(0o600), number);
    match &node.kind {
        NodeKind::Link(target) => {
            symlinkat(&target[..], dir, name).map_err(|why| ("making the link", why))?
        }
        NodeKind::Block(number) => {
            device(FileType::BlockDevice, *number).map_err(|why| ("making the device", why))?;
        }
        NodeKind::Char(number) => {
            device(FileType::CharacterDevice, *number).map_err(|why| ("making the device", why))?;
        }
        NodeKind::Fifo => device(FileType::Fifo, 0).map_err(|why| ("making the pipe", why))?,
        NodeKind::Socket => return Err(("making a socket", Errno::OPNOTSUPP)),
        NodeKind::File(_) | NodeKind::Dir(_) => return Ok(()),
    }
    let mut refused = None;
    let mut note = |doing, done: Result<(), Errno>| {
        if let Err(why) = done {
            refused.get_or_insert((doing, why));
        }
    };
    let (uid, gid) = owner(node);
    note("giving it to its owner", chownat(dir, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW));
    if !matches!(node.kind, NodeKind::Link(_)) {
        // it was made by us in a directory of ours; a pipe or device is no link to elsewhere
        note("setting its permissions", rustix::fs::chmodat(dir, name, mode, AtFlags::empty()));
    }
    let path = [format!("/proc/self/fd/{}/", dir.as_fd().as_raw_fd()).as_bytes(), name].concat();
    for (attribute, value) in &node.xattrs {
        let set = lsetxattr(&path[..], &attribute[..], value, XattrFlags::empty());
        note("setting an extended attribute", set);
    }
    let at = utimensat(dir, name, &times(node.meta.mtime), AtFlags::SYMLINK_NOFOLLOW);
    note("setting its times", at);
    refused.map_or(Ok(()), Err)
}

fn owner(node: &Node) -> (Uid, Gid) {
    // the highest number means "leave it" to the kernel, and no file has it
    let known = |number: u32| if number == u32::MAX { 65_534 } else { number };
    (Uid::from_raw(known(node.meta.uid)), Gid::from_raw(known(node.meta.gid)))
}

fn times(mtime: Stamp) -> Timestamps {
    Timestamps {
        last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
        last_modification: Timespec { tv_sec: mtime.seconds, tv_nsec: i64::from(mtime.nanos) },
    }
}
