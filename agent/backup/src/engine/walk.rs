//! The one walker: from open directory to open directory, never by path and never through a link; what cannot be looked
//! at becomes a lack. Files go to the readers in batches.

use std::collections::HashSet;
use std::ffi::{CStr, CString};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, RawDir, Stat, fstatfs, openat, readlinkat, statat};
use rustix::io::Errno;
use sha2::{Digest as _, Sha256};
use tenure_trust::Hash;

use super::dir::{Body, Dir, RACY, Run};
use super::error::EngineError;
use super::queue::Queue;
use super::read::{Group, Item, Work};
use super::request::LackKind;
use super::sealer::Sealer;
use super::stat::{file_type, meta, wide, xattrs, xattrs_of_entry};
use super::targets::Targets;
use super::tree::{Meta, Node, NodeKind};

/// A batch for the readers ends at so many files, bytes or directories: each of these holds an open descriptor, and all
/// batches that can wait together, with [`DEPTH`], stay below the usual limit of 1024.
const FILES: usize = 512;
const BYTES: u64 = 4 << 20;
const DIRECTORIES: usize = 16;
/// Directories below one another at most: each holds an open descriptor.
const DEPTH: usize = 400;
/// Bytes of the kernel's answers about a directory.
const LISTING: usize = 32 << 10;

/// File systems that hold no files: their mount points are kept, empty. Linux, include/uapi/linux/magic.h.
const PSEUDO: &[i64] = &[
    0x9fa0,      // proc
    0x6265_6572, // sysfs
    0x0102_1994, // tmpfs, devtmpfs
    0x1cd1,      // devpts
    0x27_e0eb,   // cgroup
    0x6367_7270, // cgroup2
    0x6462_6720, // debugfs
    0x7472_6163, // tracefs
    0x7363_6673, // securityfs
    0x6165_676c, // pstore
    0xcafe_4a11, // bpf
    0x1980_0202, // mqueue
    0x9584_58f6, // hugetlbfs
    0x6265_6570, // configfs
    0x4249_4e4d, // binfmt_misc
    0xde5e_81e4, // efivarfs
    0x6e73_6673, // nsfs
    0x6759_6969, // rpc_pipefs
    0x0187,      // autofs
    0x6573_5543, // fusectl
    0x858458f6,  // ramfs
];

/// Walks and hands out work.
pub(crate) struct Walker<'r, 'a> {
    run: &'r Run<'a>,
    work: &'r Queue<Work>,
    targets: &'r Targets,
    sealer: Sealer,
    batch: Vec<Group>,
    files: usize,
    bytes: u64,
    listing: Vec<MaybeUninit<u8>>,
    pub(crate) seen: Seen,
}

/// What was seen.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) files: u64,
    pub(crate) directories: u64,
    pub(crate) bytes: u64,
    /// Pseudo file systems that were left out.
    pub(crate) left_out: Vec<Vec<u8>>,
}

/// A directory whose own directories are being walked.
struct Frame {
    dir: Arc<Dir>,
    fd: Arc<OwnedFd>,
    device: u64,
    fresh: bool,
    /// Number in the directory's tree, name, device.
    below: std::vec::IntoIter<(usize, CString, u64)>,
}

/// The run was stopped or has failed elsewhere.
pub(crate) type Walked<T> = Result<T, EngineError>;

impl<'r, 'a> Walker<'r, 'a> {
    pub(crate) fn new(run: &'r Run<'a>, work: &'r Queue<Work>, targets: &'r Targets) -> Walked<Self> {
        Ok(Self {
            run,
            work,
            targets,
            sealer: Sealer::new()?,
            batch: Vec::new(),
            files: 0,
            bytes: 0,
            listing: vec![MaybeUninit::uninit(); LISTING],
            seen: Seen::default(),
        })
    }

    /// Walks an open directory and all below it.
    pub(crate) fn whole(
        &mut self,
        fd: OwnedFd,
        device: u64,
        parent: Option<(Arc<Dir>, usize)>,
        path: Vec<u8>,
    ) -> Walked<()> {
        let mut frames = Vec::new();
        frames.extend(self.enter(fd, device, parent, path, true)?);
        while let Some(frame) = frames.last_mut() {
            if self.run.writer.stopped() {
                return Err(EngineError::Worker);
            }
            let Some((slot, name, device)) = frame.below.next() else {
                if let Some(frame) = frames.pop() {
                    self.run.release(&frame.dir, &mut self.sealer)?;
                }
                continue;
            };
            let path = [&frame.dir.path, &b"/"[..], name.to_bytes()].concat();
            let (dir, above, fresh) = (frame.dir.clone(), frame.device, frame.fresh);
            let opened = if frames.len() >= DEPTH {
                self.run.lack(&path, LackKind::Beyond, "it lies too deep");
                None
            } else {
                let opened = open_directory(&frames[frames.len() - 1].fd, &name);
                opened.map_err(|why| self.failed(&path, why)).ok()
            };
            let Some(fd) = opened else {
                dir.lost(slot);
                continue;
            };
            if device != above && self.is_pseudo(&fd, &path) {
                self.empty(&dir, slot, path, &fd, fresh)?;
                continue;
            }
            frames.extend(self.enter(fd, device, Some((dir, slot)), path, fresh)?);
        }
        Ok(())
    }

    /// A mount point whose file system is left out.
    fn empty(&mut self, dir: &Arc<Dir>, slot: usize, path: Vec<u8>, fd: &OwnedFd, fresh: bool) -> Walked<()> {
        self.seen.left_out.push(path.clone());
        self.seen.directories += 1;
        let xattrs = if fresh { xattrs(fd).unwrap_or_default() } else { Vec::new() };
        let parent = Some((dir.clone(), slot));
        let dir = Dir::new(parent, path, xattrs, None, None, Body::Fresh(Vec::new()));
        self.run.release(&dir, &mut self.sealer)
    }

    fn is_pseudo(&self, fd: &OwnedFd, path: &[u8]) -> bool {
        let pseudo = fstatfs(fd).is_ok_and(|fs| PSEUDO.contains(&fs.f_type));
        pseudo && !self.targets.named.contains(path)
    }

    /// Looks at all in a directory, hands out its files, and says which directories are to be walked.
    fn enter(
        &mut self,
        fd: OwnedFd,
        device: u64,
        parent: Option<(Arc<Dir>, usize)>,
        path: Vec<u8>,
        wants_xattrs: bool,
    ) -> Walked<Option<Frame>> {
        let looked = self.names(&fd).and_then(|names| {
            let xattrs = if wants_xattrs { xattrs(&fd)? } else { Vec::new() };
            Ok((names, xattrs))
        });
        let (names, xattrs) = match looked {
            Ok(looked) => looked,
            Err(why) => {
                self.failed(&path, why);
                let Some((dir, slot)) = parent else {
                    return Err(EngineError::Io { doing: "listing", path: "/".into(), why: why.into() });
                };
                dir.lost(slot);
                return Ok(None);
            }
        };
        let looked = self.look(&fd, &path, names);
        self.seen.directories += 1;
        let print = looked.print;
        let known = self.run.cache.get(&path);
        let mut below = Vec::new();
        let (body, old, fresh) = match known {
            Some(known) if known.print == print && !looked.lacking => {
                let mut names = Vec::new();
                for (name, stat) in looked.entries {
                    if file_type(&stat) == FileType::Directory {
                        below.push((names.len(), name.clone(), stat.st_dev));
                        names.push(name.into_bytes());
                    }
                }
                (Body::Kept { tree: known.tree, names, changed: Vec::new() }, None, false)
            }
            known => {
                let (nodes, files, lacking) = self.nodes(&fd, &path, looked.entries, &mut below);
                let old = known.map(|known| known.tree);
                let fd = Arc::new(fd);
                let trusted = (!looked.racy && !looked.lacking && !lacking).then_some(print);
                let dir = Dir::new(parent, path, xattrs, trusted, old, Body::Fresh(nodes));
                self.hand_out(&dir, &fd, files)?;
                return Ok(Some(Frame { dir, fd, device, fresh: true, below: below.into_iter() }));
            }
        };
        let dir = Dir::new(parent, path, xattrs, Some(print), old, body);
        Ok(Some(Frame { dir, fd: Arc::new(fd), device, fresh, below: below.into_iter() }))
    }

    /// The names in a directory, sorted.
    fn names(&mut self, fd: &OwnedFd) -> Result<Vec<CString>, Errno> {
        let mut names = Vec::new();
        let mut raw = RawDir::new(fd, &mut self.listing[..]);
        while let Some(entry) = raw.next() {
            let entry = entry?;
            let name = entry.file_name();
            if name != c"." && name != c".." {
                names.push(name.to_owned());
            }
        }
        names.sort_unstable();
        names.dedup();
        Ok(names)
    }

    /// `stat` of every name that is not left out, and the hash over them all.
    fn look(&mut self, fd: &OwnedFd, path: &[u8], names: Vec<CString>) -> Looked {
        let excluded: Option<&HashSet<Vec<u8>>> = self.targets.excluded.of_directory(path);
        let mut looked = Looked {
            entries: Vec::with_capacity(names.len()),
            print: Hash::from_bytes([0; 32]),
            racy: false,
            lacking: false,
        };
        let mut print = Sha256::new();
        for name in names {
            if excluded.is_some_and(|excluded| excluded.contains(name.to_bytes())) {
                continue;
            }
            let stat = match statat(fd, &name, AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT) {
                Ok(stat) => stat,
                Err(why) => {
                    self.failed(&[path, b"/", name.to_bytes()].concat(), why);
                    looked.lacking = true;
                    continue;
                }
            };
            // a socket is nothing without its process; restic leaves them out too
            let kind = file_type(&stat);
            if kind == FileType::Socket || self.targets.excluded.inode(stat.st_dev, stat.st_ino) {
                continue;
            }
            looked.racy |= kind != FileType::Directory && stat.st_ctime >= self.run.started - RACY;
            print.update(name.to_bytes_with_nul());
            print.update(printed(&stat));
            match kind {
                FileType::RegularFile => {
                    self.seen.files += 1;
                    self.seen.bytes += u64::try_from(stat.st_size).unwrap_or(0);
                }
                FileType::Directory => {}
                _ => self.seen.files += 1,
            }
            looked.entries.push((name, stat));
        }
        looked.print = Hash::from_bytes(print.finalize().into());
        looked
    }

    /// The nodes of a directory; of files and directories without their contents.
    fn nodes(
        &mut self,
        fd: &OwnedFd,
        path: &[u8],
        entries: Vec<(CString, Stat)>,
        below: &mut Vec<(usize, CString, u64)>,
    ) -> (Vec<Option<Node>>, Vec<Item>, bool) {
        let (mut nodes, mut files, mut lacking) = (Vec::with_capacity(entries.len()), Vec::new(), false);
        for (slot, (name, stat)) in entries.into_iter().enumerate() {
            match file_type(&stat) {
                FileType::RegularFile => {
                    files.push(Item { slot, name, meta: meta(&stat) });
                    nodes.push(None);
                }
                FileType::Directory => {
                    let node = directory_node(name.to_bytes(), meta(&stat));
                    below.push((slot, name, stat.st_dev));
                    nodes.push(Some(node));
                }
                _ => {
                    let node = special_node(fd, &name, &stat);
                    lacking |= node.is_err();
                    let node = node.map_err(|why| self.failed(&[path, b"/", name.to_bytes()].concat(), why));
                    nodes.push(node.ok());
                }
            }
        }
        (nodes, files, lacking)
    }

    /// Hands files to the readers, in batches over several directories.
    pub(crate) fn hand_out(&mut self, dir: &Arc<Dir>, fd: &Arc<OwnedFd>, files: Vec<Item>) -> Walked<()> {
        if files.is_empty() {
            return Ok(());
        }
        let mut items = Vec::new();
        for item in files {
            self.files += 1;
            self.bytes = self.bytes.saturating_add(item.meta.size);
            items.push(item);
            if self.files >= FILES || self.bytes >= BYTES {
                self.group(dir, fd, std::mem::take(&mut items));
                self.flush()?;
            }
        }
        if !items.is_empty() {
            self.group(dir, fd, items);
        }
        if self.batch.len() >= DIRECTORIES { self.flush() } else { Ok(()) }
    }

    fn group(&mut self, dir: &Arc<Dir>, fd: &Arc<OwnedFd>, items: Vec<Item>) {
        dir.hold();
        self.batch.push(Group { dir: dir.clone(), fd: fd.clone(), items });
    }

    /// Hands over what has been gathered.
    pub(crate) fn flush(&mut self) -> Walked<()> {
        (self.files, self.bytes) = (0, 0);
        let batch = std::mem::take(&mut self.batch);
        if batch.is_empty() { Ok(()) } else { self.give(Work::Files(batch)) }
    }

    /// Hands over one piece of work.
    pub(crate) fn give(&self, work: Work) -> Walked<()> {
        self.work.push(work).map_err(|_| EngineError::Worker)
    }

    /// One has said what it had to say about a directory.
    pub(crate) fn release(&mut self, dir: &Arc<Dir>) -> Walked<()> {
        self.run.release(dir, &mut self.sealer)
    }

    /// Notes what the system refused.
    pub(crate) fn failed(&self, path: &[u8], why: Errno) {
        let kind = match why {
            Errno::NOENT | Errno::NOTDIR | Errno::LOOP => LackKind::Vanished,
            _ => LackKind::Unreadable,
        };
        self.run.lack(path, kind, &std::io::Error::from(why).to_string());
    }
}

/// What stands in a directory.
struct Looked {
    entries: Vec<(CString, Stat)>,
    print: Hash,
    racy: bool,
    lacking: bool,
}

/// Opens a directory beside another.
pub(crate) fn open_directory(dir: &OwnedFd, name: &CStr) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match openat(dir, name, flags | OFlags::NOATIME, Mode::empty()) {
        Err(Errno::PERM) => openat(dir, name, flags, Mode::empty()),
        opened => opened,
    }
}

/// The node of a directory before its tree is known.
pub(crate) fn directory_node(name: &[u8], meta: Meta) -> Node {
    let kind = NodeKind::Dir(Hash::from_bytes([0; 32]));
    Node { name: name.to_vec(), meta, kind, xattrs: Vec::new() }
}

/// The node of what is neither file nor directory.
pub(crate) fn special_node(dir: &OwnedFd, name: &CStr, stat: &Stat) -> Result<Node, Errno> {
    let kind = match file_type(stat) {
        FileType::Symlink => NodeKind::Link(readlinkat(dir, name, Vec::new())?.into_bytes()),
        FileType::BlockDevice => NodeKind::Block(stat.st_rdev),
        FileType::CharacterDevice => NodeKind::Char(stat.st_rdev),
        _ => NodeKind::Fifo,
    };
    let xattrs = xattrs_of_entry(dir, name)?;
    Ok(Node { name: name.to_bytes().to_vec(), meta: meta(stat), kind, xattrs })
}

/// What a change cannot leave as it is.
fn printed(stat: &Stat) -> [u8; 88] {
    let size = if file_type(stat) == FileType::Directory { 0 } else { stat.st_size };
    let numbers = [
        stat.st_ino,
        stat.st_dev,
        size as u64,
        stat.st_mtime as u64,
        stat.st_mtime_nsec,
        stat.st_ctime as u64,
        stat.st_ctime_nsec,
        u64::from(stat.st_mode),
        wide(stat.st_nlink),
        u64::from(stat.st_uid) << 32 | u64::from(stat.st_gid),
        stat.st_rdev,
    ];
    let mut bytes = [0; 88];
    for (part, number) in bytes.chunks_exact_mut(8).zip(numbers) {
        part.copy_from_slice(&number.to_le_bytes());
    }
    bytes
}
