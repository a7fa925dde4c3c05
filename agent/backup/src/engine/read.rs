//! Files into blobs: opened beside their directory, read once more when they changed meanwhile, cut, hashed, stored.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{FileType, Mode, OFlags, fstat, openat};
use rustix::io::Errno;
use tenure_trust::Hash;

use super::chunker::{Gear, MAX, Search};
use super::dir::{Dir, RACY, Run};
use super::error::EngineError;
use super::index::BlobKind;
use super::queue::Queue;
use super::request::LackKind;
use super::sealer::Sealer;
use super::stat::{file_type, meta, xattrs};
use super::tree::{Meta, Node, NodeKind, Xattrs};

/// Bytes that are read at once: what was just read is still in the processor's cache when it is cut and hashed.
const STEP: usize = 256 << 10;

/// Work for the reading threads.
pub(crate) enum Work {
    /// Files of some directories.
    Files(Vec<Group>),
    /// A file of the request's own.
    Virtual { dir: Arc<Dir>, slot: usize, file: OwnedFd },
}

/// Files of one directory.
pub(crate) struct Group {
    pub(crate) dir: Arc<Dir>,
    pub(crate) fd: Arc<OwnedFd>,
    pub(crate) items: Vec<Item>,
}

/// One file that the walker saw.
pub(crate) struct Item {
    /// Its number in the directory's tree.
    pub(crate) slot: usize,
    pub(crate) name: CString,
    pub(crate) meta: Meta,
}

/// A thread that reads.
pub(crate) struct Reader<'r, 'a> {
    run: &'r Run<'a>,
    gear: &'r Gear,
    read: &'r AtomicU64,
    sealer: Sealer,
    buffer: Vec<u8>,
}

/// Why a file is not in the snapshot.
enum Failed {
    Lack(LackKind, String),
    Engine(EngineError),
}

impl From<EngineError> for Failed {
    fn from(why: EngineError) -> Self {
        Self::Engine(why)
    }
}

impl From<Errno> for Failed {
    fn from(why: Errno) -> Self {
        let kind = if why == Errno::NOENT { LackKind::Vanished } else { LackKind::Unreadable };
        Self::Lack(kind, std::io::Error::from(why).to_string())
    }
}

/// A file's contents, and whether it stood still.
struct Read {
    meta: Meta,
    content: Vec<Hash>,
    xattrs: Xattrs,
    still: bool,
}

impl<'r, 'a> Reader<'r, 'a> {
    pub(crate) fn new(run: &'r Run<'a>, gear: &'r Gear, read: &'r AtomicU64) -> Result<Self, EngineError> {
        Ok(Self { run, gear, read, sealer: Sealer::new()?, buffer: Vec::new() })
    }

    /// Works until there is nothing left to do.
    pub(crate) fn work(&mut self, queue: &Queue<Work>) -> Result<(), EngineError> {
        while let Some(work) = queue.pop() {
            match work {
                Work::Files(groups) => groups.into_iter().try_for_each(|group| self.group(group))?,
                Work::Virtual { dir, slot, file } => self.virtual_file(&dir, slot, &file)?,
            }
        }
        Ok(())
    }

    fn group(&mut self, group: Group) -> Result<(), EngineError> {
        let mut filled = Vec::with_capacity(group.items.len());
        let mut lacking = false;
        for item in group.items {
            if self.run.writer.stopped() {
                return Ok(());
            }
            let node = |read: Read| Node {
                name: item.name.as_bytes().to_vec(),
                meta: read.meta,
                kind: NodeKind::File(read.content),
                xattrs: read.xattrs,
            };
            if let Some(same) = self.unchanged(&group.dir, &item) {
                filled.push((item.slot, Some(same)));
                continue;
            }
            match self.file(&group.fd, &item.name, &item.meta) {
                Ok(read) => {
                    if !read.still {
                        lacking = true;
                        self.lack(
                            &group.dir,
                            &item.name,
                            LackKind::Changed,
                            "it changed while it was read, twice",
                        );
                    }
                    filled.push((item.slot, Some(node(read))));
                }
                Err(Failed::Lack(kind, why)) => {
                    lacking = true;
                    self.lack(&group.dir, &item.name, kind, &why);
                    filled.push((item.slot, None));
                }
                Err(Failed::Engine(why)) => return Err(why),
            }
        }
        group.dir.fill(filled, lacking);
        drop(group.fd);
        self.run.release(&group.dir, &mut self.sealer)
    }

    fn lack(&self, dir: &Dir, name: &CStr, kind: LackKind, why: &str) {
        self.run.lack(&[&dir.path, &b"/"[..], name.to_bytes()].concat(), kind, why);
    }

    /// The node of the last run, when `stat` says the same as then.
    fn unchanged(&self, dir: &Dir, item: &Item) -> Option<Node> {
        let nodes = self.run.old_nodes(dir);
        let at = nodes.binary_search_by(|node| node.name[..].cmp(item.name.as_bytes())).ok()?;
        let node = &nodes[at];
        let is_file = matches!(node.kind, NodeKind::File(_));
        let long_ago = node.meta.ctime.seconds < self.run.cache.started - RACY;
        (is_file && long_ago && node.meta == item.meta).then(|| node.clone())
    }

    /// Reads a file; once more when it changed meanwhile.
    fn file(&mut self, dir: &OwnedFd, name: &CStr, seen: &Meta) -> Result<Read, Failed> {
        let first = self.read_once(&open(dir, name)?)?;
        if first.still && (first.meta.inode, first.meta.device) == (seen.inode, seen.device) {
            return Ok(first);
        }
        self.read_once(&open(dir, name)?)
    }

    fn read_once(&mut self, fd: &OwnedFd) -> Result<Read, Failed> {
        let before = fstat(fd)?;
        if file_type(&before) != FileType::RegularFile {
            return Err(Failed::Lack(LackKind::Vanished, "it is no regular file any more".to_owned()));
        }
        let before = meta(&before);
        let xattrs = xattrs(fd)?;
        let (content, len) = self.contents(fd, before.size)?;
        let after = meta(&fstat(fd)?);
        let mut meta = before;
        meta.size = len;
        Ok(Read { still: after == before && len == before.size, meta, content, xattrs })
    }

    /// Blobs of at most `size` bytes, and how many there were.
    fn contents(&mut self, fd: impl AsFd, size: u64) -> Result<(Vec<Hash>, u64), Failed> {
        let fd = fd.as_fd();
        let (mut content, mut total) = (Vec::new(), 0);
        let (mut start, mut end) = (0, 0);
        let mut search = Search::default();
        if size == 0 {
            // what tells no size, as in /proc, is not taken for empty
            if rustix::io::read(fd, &mut [0; 1][..])? > 0 {
                return Err(Failed::Lack(
                    LackKind::Unreadable,
                    "it has bytes and says that it has none".to_owned(),
                ));
            }
            return Ok((content, 0));
        }
        loop {
            let left = size - total;
            if left > 0 {
                if start > 0 && (end + STEP > self.buffer.len() || start > MAX) {
                    self.buffer.copy_within(start..end, 0);
                    (start, end) = (0, end - start);
                }
                let step = usize::try_from(left).unwrap_or(STEP).min(STEP);
                if end + step > self.buffer.len() {
                    self.buffer.resize((end + step).next_multiple_of(STEP), 0);
                }
                let got = match rustix::io::read(fd, &mut self.buffer[end..end + step]) {
                    Ok(got) => got,
                    Err(Errno::INTR) => continue,
                    Err(why) => return Err(why.into()),
                };
                end += got;
                total += got as u64;
                self.read.fetch_add(got as u64, Ordering::Relaxed);
                if got == 0 {
                    return self.rest(content, start, end, search, total);
                }
            }
            if total == size {
                return self.rest(content, start, end, search, total);
            }
            while let Some(len) = self.gear.cut(&mut search, &self.buffer[start..end], false) {
                content.push(self.blob(start, len)?);
                start += len;
            }
        }
    }

    /// What is in the buffer when no more comes.
    fn rest(
        &mut self,
        mut content: Vec<Hash>,
        mut start: usize,
        end: usize,
        mut search: Search,
        total: u64,
    ) -> Result<(Vec<Hash>, u64), Failed> {
        while start < end {
            let len = self.gear.cut(&mut search, &self.buffer[start..end], true).unwrap_or(end - start);
            content.push(self.blob(start, len)?);
            start += len;
        }
        Ok((content, total))
    }

    fn blob(&mut self, start: usize, len: usize) -> Result<Hash, EngineError> {
        let bytes = &self.buffer[start..start + len];
        self.run.writer.blob(BlobKind::Data, bytes, &mut self.sealer)
    }

    fn virtual_file(&mut self, dir: &Arc<Dir>, slot: usize, file: &OwnedFd) -> Result<(), EngineError> {
        let mut node = dir.node(slot);
        let mut lacking = false;
        if let Some(node) = &mut node {
            match self.contents(file, node.meta.size) {
                Ok((content, len)) if len == node.meta.size => node.kind = NodeKind::File(content),
                Ok(_) => lacking = true,
                Err(Failed::Lack(..)) => lacking = true,
                Err(Failed::Engine(why)) => return Err(why),
            }
        }
        if lacking {
            if let Some(node) = &node {
                let path = [&dir.path, &b"/"[..], &node.name].concat();
                self.run.lack(&path, LackKind::Unreadable, "its file could not be read whole");
            }
            node = None;
        }
        dir.fill(vec![(slot, node)], lacking);
        self.run.release(dir, &mut self.sealer)
    }
}

fn open(dir: &OwnedFd, name: &CStr) -> Result<OwnedFd, Errno> {
    // no link is followed, no pipe waited for
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
    match openat(dir, name, flags | OFlags::NOATIME, Mode::empty()) {
        Err(Errno::PERM) => openat(dir, name, flags, Mode::empty()),
        opened => opened,
    }
}
