//! A snapshot, or a part of it, back below a directory: one walker makes directories and all that has no contents, a
//! fixed number of writers fill files in place. Nothing is overwritten and no link is followed.

use std::collections::HashMap;
use std::ffi::{CString, OsString};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use rustix::fs::{AtFlags, Mode, OFlags, ResolveFlags, linkat, mkdirat, openat, openat2};
use rustix::io::Errno;
use tenure_trust::Hash;

use super::blobs::{Blobs, Scratch};
use super::error::EngineError;
use super::index::BlobKind;
use super::listing::{DEPTH, ENTRIES, find};
use super::place::{make_special, set_attributes};
use super::queue::Queue;
use super::repository::Repository;
use super::request::{LACKS, Lack, LackKind, RestoreReport, RestoreRequest};
use super::snapshot::snapshot;
use super::targets;
use super::tree::{Node, NodeKind};
use super::writer::lock;

/// A batch for a writer ends at so many files or bytes; each file may hold its directory open.
const FILES: usize = 32;
const BYTES: u64 = 4 << 20;
/// Writers at most, whatever is asked for: memory and open descriptors are bounded by them.
const MOST_WRITERS: usize = 4;

/// Writes a snapshot or parts of it below an existing directory.
///
/// What is there already is left alone and told as a lack; so is what the system refuses, such as an owner without the
/// right to give files away. Sockets are not made.
///
/// # Errors
/// `NoSuchSnapshot`, `NoSuchPath`, `Path`, `Io` for the target itself, and whatever keeps the repository from being
/// read: `Damaged`, `Missing`, `Limit`, `Store`. Files that were written before stay.
pub fn restore(
    repository: &Repository<'_>,
    id: &Hash,
    request: &RestoreRequest,
) -> Result<RestoreReport, EngineError> {
    restore_into(repository, id, request, open_target(&request.target)?)
}

/// Opens the directory to restore into. No link is followed on the whole way to it: whoever could put one there could
/// have root write elsewhere.
///
/// # Errors
/// `Io`: it is none, is not there, or a link leads to it.
pub fn open_target(path: &Path) -> Result<OwnedFd, EngineError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let plain = ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    openat2(rustix::fs::CWD, path, flags, Mode::empty(), plain).map_err(|why| EngineError::Io {
        doing: "opening",
        path: path.to_owned(),
        why: why.into(),
    })
}

/// The same into a directory that was opened before and looked at: whatever stands at its path now.
///
/// # Errors
/// As [`restore`].
pub fn restore_into(
    repository: &Repository<'_>,
    id: &Hash,
    request: &RestoreRequest,
    target: OwnedFd,
) -> Result<RestoreReport, EngineError> {
    let blobs = Blobs::of(repository)?;
    let root = snapshot(repository, id)?.tree;
    let writers = request.writers.unwrap_or(2).clamp(1, MOST_WRITERS);
    let state = State {
        blobs,
        work: Queue::new(writers * 2),
        report: Mutex::default(),
        files: AtomicU64::new(0),
        bytes: AtomicU64::new(0),
        why: Mutex::default(),
    };
    let walked = thread::scope(|scope| {
        let threads: Vec<_> = (0..writers)
            .map(|_| {
                scope.spawn(|| {
                    let _alarm = Alarm(&state);
                    state.write();
                })
            })
            .collect();
        let walked = {
            let _alarm = Alarm(&state);
            Walker {
                state: &state,
                target: Arc::new(target),
                links: HashMap::new(),
                batch: Vec::new(),
                bytes: 0,
                entries: 0,
            }
            .all(&root, &request.subset)
        };
        match walked {
            Ok(()) => state.work.close(),
            Err(_) => state.work.stop(),
        }
        let ended = threads.into_iter().all(|thread| thread.join().is_ok());
        if ended { walked } else { Err(EngineError::Worker) }
    });
    if let Some(why) = lock(&state.why).take() {
        return Err(why);
    }
    walked?;
    let mut report = std::mem::take(&mut *lock(&state.report));
    report.files += state.files.load(Ordering::Relaxed);
    report.bytes = state.bytes.load(Ordering::Relaxed);
    report.lacks.sort();
    Ok(report)
}

/// What walker and writers share.
struct State<'r> {
    blobs: Blobs<'r>,
    work: Queue<Vec<Work>>,
    report: Mutex<RestoreReport>,
    files: AtomicU64,
    bytes: AtomicU64,
    why: Mutex<Option<EngineError>>,
}

/// A thread that is gone must not be waited for.
struct Alarm<'s, 'r>(&'s State<'r>);

impl Drop for Alarm<'_, '_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.stop(EngineError::Worker);
        }
    }
}

/// A file to be filled.
struct Work {
    dir: Arc<Place>,
    node: Node,
    /// Open when it had to be made at once, for the links to it.
    file: Option<OwnedFd>,
}

/// A directory that gets its attributes when all in it is done: when the last one that holds it lets go.
struct Place {
    /// Held so that it ends later.
    parent: Option<Arc<Place>>,
    fd: Arc<OwnedFd>,
    /// Below the target, without a slash at its start or end.
    path: Vec<u8>,
    /// None of directories that were there before, or only lead to what was asked for.
    node: Option<Node>,
}

impl State<'_> {
    fn stop(&self, why: EngineError) {
        lock(&self.why).get_or_insert(why);
        self.work.stop();
    }

    fn failed(&self, dir: &[u8], name: &[u8], why: &str) {
        let mut report = lock(&self.report);
        report.failed += 1;
        if report.lacks.len() < LACKS {
            let slash: &[u8] = if dir.is_empty() { b"" } else { b"/" };
            let path = PathBuf::from(OsString::from_vec([b"/", dir, slash, name].concat()));
            report.lacks.push(Lack { path, kind: LackKind::Unreadable, why: why.to_owned() });
        }
    }

    fn refused(&self, dir: &[u8], name: &[u8], doing: &str, why: Errno) {
        self.failed(dir, name, &format!("{doing}: {}", std::io::Error::from(why)));
    }

    fn write(&self) {
        let mut scratch = Scratch::default();
        while let Some(batch) = self.work.pop() {
            for work in batch {
                if let Err(why) = self.fill(&work, &mut scratch) {
                    return self.stop(why);
                }
                self.done(work.dir);
            }
        }
    }

    fn fill(&self, work: &Work, scratch: &mut Scratch) -> Result<(), EngineError> {
        let Work { dir, node, file } = work;
        let NodeKind::File(content) = &node.kind else { return Ok(()) };
        let made;
        let file = match file {
            Some(file) => file,
            None => match create(&dir.fd, &node.name) {
                Ok(file) => {
                    made = file;
                    &made
                }
                Err(why) => {
                    self.refused(&dir.path, &node.name, "making the file", why);
                    return Ok(());
                }
            },
        };
        for id in content {
            let mut rest = self.blobs.get(BlobKind::Data, id, scratch)?;
            self.bytes.fetch_add(rest.len() as u64, Ordering::Relaxed);
            while !rest.is_empty() {
                match rustix::io::write(file, rest) {
                    Ok(written) => rest = &rest[written..],
                    Err(Errno::INTR) => {}
                    Err(why) => {
                        self.refused(&dir.path, &node.name, "writing", why);
                        return Ok(());
                    }
                }
            }
        }
        if let Err((doing, why)) = set_attributes(file, node) {
            self.refused(&dir.path, &node.name, doing, why);
        }
        self.files.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// Lets go of a directory, and of those above it that nobody else holds.
    fn done(&self, place: Arc<Place>) {
        let mut next = Some(place);
        while let Some(place) = next.take().and_then(Arc::into_inner) {
            if let Some(Err((doing, why))) = place.node.as_ref().map(|node| set_attributes(&place.fd, node)) {
                self.refused(&place.path, b"", doing, why);
            }
            next = place.parent;
        }
    }
}

fn create(dir: &OwnedFd, name: &[u8]) -> Result<OwnedFd, Errno> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(dir, name, flags, Mode::from_raw_mode(0o600))
}

/// Makes everything but the contents of files.
struct Walker<'s, 'r> {
    state: &'s State<'r>,
    target: Arc<OwnedFd>,
    /// Inode and device in the snapshot → the first file of them, below the target.
    links: HashMap<(u64, u64), (Vec<u8>, Vec<u8>)>,
    batch: Vec<Work>,
    bytes: u64,
    entries: u64,
}

impl Walker<'_, '_> {
    fn all(&mut self, root: &Hash, subset: &[PathBuf]) -> Result<(), EngineError> {
        let mut scratch = Scratch::default();
        let top = Place { parent: None, fd: self.target.clone(), path: Vec::new(), node: None };
        let top = Arc::new(top);
        let wanted: &[PathBuf] = if subset.is_empty() { &["/".into()] } else { subset };
        for path in wanted {
            match find(&self.state.blobs, root, path, &mut scratch)? {
                None => self.tree(root, top.clone(), &mut scratch)?,
                Some(node) => {
                    if let Some(place) = self.way(top.clone(), path)? {
                        self.node(node, place, &mut scratch)?;
                    }
                }
            }
        }
        self.flush()?;
        self.state.done(top);
        Ok(())
    }

    /// The directories that lead to a part of a snapshot: plain ones, for their own attributes were not asked for.
    fn way(&mut self, top: Arc<Place>, path: &Path) -> Result<Option<Arc<Place>>, EngineError> {
        let mut names = targets::names(path)?;
        names.pop();
        let mut at = top;
        for name in names {
            match self.directory(&at, &name, None) {
                Some(place) => at = place,
                None => return Ok(None),
            }
        }
        Ok(Some(at))
    }

    /// A node and all below it.
    fn node(&mut self, node: Node, place: Arc<Place>, scratch: &mut Scratch) -> Result<(), EngineError> {
        let NodeKind::Dir(tree) = node.kind else {
            let made = self.entry(node, &place);
            self.state.done(place);
            return made;
        };
        let below = self.directory(&place, &node.name.clone(), Some(node));
        self.state.done(place);
        match below {
            Some(below) => self.tree(&tree, below, scratch),
            None => Ok(()),
        }
    }

    fn tree(&mut self, tree: &Hash, place: Arc<Place>, scratch: &mut Scratch) -> Result<(), EngineError> {
        let mut stack = vec![(place, self.state.blobs.tree(tree, scratch)?.into_iter())];
        while let Some((place, nodes)) = stack.last_mut() {
            let Some(node) = nodes.next() else {
                if let Some((place, _)) = stack.pop() {
                    self.state.done(place);
                }
                continue;
            };
            self.entries += 1;
            if self.entries > ENTRIES {
                return Err(EngineError::Limit {
                    what: "the number of entries of a snapshot",
                    limit: ENTRIES,
                });
            }
            let NodeKind::Dir(tree) = node.kind else {
                let place = place.clone();
                self.entry(node, &place)?;
                self.state.done(place);
                continue;
            };
            let place = place.clone();
            let below = self.directory(&place, &node.name.clone(), Some(node));
            self.state.done(place);
            if let Some(below) = below {
                if stack.len() >= DEPTH {
                    return Err(EngineError::Limit { what: "the depth of a snapshot", limit: DEPTH as u64 });
                }
                let nodes = self.state.blobs.tree(&tree, scratch)?;
                stack.push((below, nodes.into_iter()));
            }
        }
        Ok(())
    }

    /// Makes a directory, or takes one that is there; a link to one is none.
    fn directory(&self, parent: &Arc<Place>, name: &[u8], node: Option<Node>) -> Option<Arc<Place>> {
        let made = match mkdirat(&parent.fd, name, Mode::from_raw_mode(0o700)) {
            Err(Errno::EXIST) => Ok(()),
            Ok(()) => {
                lock(&self.state.report).directories += 1;
                Ok(())
            }
            made => made,
        };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match made.and_then(|()| openat(&parent.fd, name, flags, Mode::empty())) {
            Ok(fd) => {
                let slash: &[u8] = if parent.path.is_empty() { b"" } else { b"/" };
                let path = [&parent.path, slash, name].concat();
                Some(Arc::new(Place { parent: Some(parent.clone()), fd: Arc::new(fd), path, node }))
            }
            Err(why) => {
                self.state.refused(&parent.path, name, "making the directory", why);
                None
            }
        }
    }

    /// Anything but a directory.
    fn entry(&mut self, node: Node, place: &Arc<Place>) -> Result<(), EngineError> {
        if !matches!(node.kind, NodeKind::File(_)) {
            match make_special(&place.fd, &node) {
                Ok(()) => lock(&self.state.report).files += 1,
                Err((doing, why)) => self.state.refused(&place.path, &node.name, doing, why),
            }
            return Ok(());
        }
        let mut file = None;
        if node.meta.links > 1 {
            let key = (node.meta.inode, node.meta.device);
            if let Some(first) = self.links.get(&key) {
                match self.link(first, place, &node.name) {
                    Ok(()) => lock(&self.state.report).files += 1,
                    Err(why) => self.state.refused(&place.path, &node.name, "linking", why),
                }
                return Ok(());
            }
            match create(&place.fd, &node.name) {
                Ok(made) => {
                    self.links.insert(key, (place.path.clone(), node.name.clone()));
                    file = Some(made);
                }
                Err(why) => {
                    self.state.refused(&place.path, &node.name, "making the file", why);
                    return Ok(());
                }
            }
        }
        self.bytes = self.bytes.saturating_add(node.meta.size);
        self.batch.push(Work { dir: place.clone(), node, file });
        if self.batch.len() >= FILES || self.bytes >= BYTES { self.flush() } else { Ok(()) }
    }

    /// A further name of a file that was made before.
    fn link(&self, first: &(Vec<u8>, Vec<u8>), place: &Place, name: &[u8]) -> Result<(), Errno> {
        let (dir, file) = first;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let beneath = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        let dir: &[u8] = if dir.is_empty() { b"." } else { dir };
        let opened =
            openat2(&self.target, CString::new(dir).unwrap_or_default(), flags, Mode::empty(), beneath)?;
        linkat(&opened, &file[..], &place.fd, name, AtFlags::empty())
    }

    fn flush(&mut self) -> Result<(), EngineError> {
        self.bytes = 0;
        let batch = std::mem::take(&mut self.batch);
        if batch.is_empty() {
            return Ok(());
        }
        self.state.work.push(batch).map_err(|_| EngineError::Worker)
    }
}
