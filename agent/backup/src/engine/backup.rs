//! One backup: walker, readers and storing threads, then index and snapshot.

use std::collections::BTreeSet;
use std::ffi::{CString, OsString};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, SeekFrom, fstat, openat, seek, statat};
use rustix::io::Errno;
use tenure_trust::Hash;
use tenure_trust::backup::ObjectKind;

use super::cache::Cache;
use super::chunker::Gear;
use super::dir::{Body, Dir, Run};
use super::error::EngineError;
use super::queue::Queue;
use super::read::{Item, Reader, Work};
use super::repository::Repository;
use super::request::{BackupReport, BackupRequest, LackKind};
use super::snapshot;
use super::stamp::Stamp;
use super::stat::{file_type, meta};
use super::store::ObjectSink;
use super::targets::{Target, Targets};
use super::tree::{Meta, Node, NodeKind};
use super::walk::{Seen, Walker, directory_node, open_directory, special_node};
use super::writer::{PACK, STORERS, Writer};

/// Threads that read, whatever the machine: memory is bounded by them.
const MOST_WORKERS: usize = 4;

/// Makes a snapshot of the request's paths and virtual files, and stores what the repository does not have.
///
/// The repository's own [`super::ObjectSource`] is asked for the index, and for trees of the last run where a directory
/// has changed. The snapshot is the last object that is stored; a run that returns an error has made none.
///
/// # Errors
/// `Path` for a request that cannot be, `Store`, `Damaged`, `Missing`, `Random`, `Unfaithful`, `Limit`, `Worker`. What
/// cannot be read of the source is no error: see [`BackupReport::lacks`].
pub fn backup(
    repository: &Repository<'_>,
    sink: &dyn ObjectSink,
    request: &BackupRequest,
) -> Result<BackupReport, EngineError> {
    let targets = Targets::of(request)?;
    match attempt(repository, sink, request, &targets, request.cache.as_deref()) {
        Err(EngineError::StaleCache) => attempt(repository, sink, request, &targets, None),
        done => done,
    }
}

fn attempt(
    repository: &Repository<'_>,
    sink: &dyn ObjectSink,
    request: &BackupRequest,
    targets: &Targets,
    cache: Option<&[u8]>,
) -> Result<BackupReport, EngineError> {
    let listed = repository.source.list(ObjectKind::Index)?;
    let mut indexes: BTreeSet<Hash> = listed.into_iter().map(|object| object.name).collect();
    let cache = cache.map_or_else(Cache::default, |bytes| Cache::read(bytes, repository.id(), &indexes));
    let started = request.started.as_second();
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let workers = request.workers.unwrap_or(cores).clamp(1, MOST_WORKERS);
    // more buffers in the readers, less in the packs
    let pack = if workers > 2 { PACK / 4 * 3 } else { PACK };
    let run = Run::new(Writer::new(repository, sink, pack), cache, started);
    let (seen, read) = threads(&run, request, targets, workers);
    if let Some(why) = run.writer.why() {
        return Err(why);
    }
    let seen = seen?;
    let (writer, root, found, lacks) = run.end();
    let tree = root.ok_or(EngineError::Worker)?;
    indexes.extend(writer.finish_index()?);
    let json = snapshot::encode(request, &tree)?;
    let (snapshot, sequence) = writer.file(ObjectKind::Snapshot, &json)?;
    let stored = writer.stored();
    let left_out = seen.left_out.into_iter().map(|path| PathBuf::from(OsString::from_vec(path)));
    Ok(BackupReport {
        snapshot,
        tree,
        sequence,
        files: seen.files,
        directories: seen.directories,
        source_bytes: seen.bytes,
        read_bytes: read,
        new_objects: stored.objects,
        new_bytes: stored.bytes,
        unreadable: lacks.unreadable,
        changed: lacks.changed,
        vanished: lacks.vanished,
        lacks: lacks.list,
        left_out: left_out.collect(),
        cache: Cache::write(repository.id(), started, &indexes, &found),
    })
}

/// Ends the run when its thread ends by a panic: nobody waits for a thread that is gone.
struct Alarm<'r, 'a>(&'r Run<'a>, &'r Queue<Work>);

impl Drop for Alarm<'_, '_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.writer.stop(EngineError::Worker);
            self.1.stop();
        }
    }
}

/// Everything up to the last pack; why it ended early stands in the writer.
fn threads(
    run: &Run<'_>,
    request: &BackupRequest,
    targets: &Targets,
    workers: usize,
) -> (Result<Seen, EngineError>, u64) {
    let work = Queue::new(workers * 3);
    let gear = Gear::of(&run.writer.repository.master);
    let read = AtomicU64::new(0);
    let stop = |why| {
        run.writer.stop(why);
        work.stop();
    };
    let seen = thread::scope(|scope| {
        let storers: Vec<_> = (0..STORERS)
            .map(|_| {
                scope.spawn(|| {
                    let _alarm = Alarm(run, &work);
                    run.writer.store();
                    if run.writer.stopped() {
                        work.stop();
                    }
                })
            })
            .collect();
        let readers: Vec<_> = (0..workers)
            .map(|_| {
                scope.spawn(|| {
                    let _alarm = Alarm(run, &work);
                    if let Err(why) = Reader::new(run, &gear, &read).and_then(|mut reader| reader.work(&work))
                    {
                        stop(why);
                    }
                })
            })
            .collect();
        let walked = {
            let _alarm = Alarm(run, &work);
            walk(run, &work, request, targets)
        };
        match &walked {
            Ok(_) => work.close(),
            Err(_) => work.stop(),
        }
        let mut ended = readers.into_iter().all(|reader| reader.join().is_ok());
        if ended && walked.is_ok() && !run.writer.stopped() {
            if let Err(why) = run.writer.finish_packs() {
                run.writer.stop(why);
            }
        } else {
            run.writer.stop(EngineError::Worker);
        }
        ended &= storers.into_iter().all(|storer| storer.join().is_ok());
        if ended { walked } else { Err(EngineError::Worker) }
    });
    (seen, read.load(Ordering::Relaxed))
}

fn walk(
    run: &Run<'_>,
    work: &Queue<Work>,
    request: &BackupRequest,
    targets: &Targets,
) -> Result<Seen, EngineError> {
    let mut walker = Walker::new(run, work, targets)?;
    let root = open_root()?;
    let walked = if targets.root.whole {
        let device = fstat(&root).map_err(|why| io("looking at", why))?.st_dev;
        walker.whole(root, device, None, Vec::new())
    } else {
        Way { run, request, targets }.directory(&mut walker, &targets.root, Some(root), None, Vec::new())
    };
    let done = walked.and_then(|()| walker.flush());
    match done {
        Ok(()) => Ok(walker.seen),
        Err(why) => {
            run.writer.stop(match why {
                EngineError::Worker => run.writer.why().unwrap_or(EngineError::Worker),
                why => why,
            });
            Err(EngineError::Worker)
        }
    }
}

fn open_root() -> Result<OwnedFd, EngineError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open("/", flags, Mode::empty()).map_err(|why| io("opening", why))
}

fn io(doing: &'static str, why: Errno) -> EngineError {
    EngineError::Io { doing, path: "/".into(), why: why.into() }
}

/// The way from `/` to what is asked for.
struct Way<'r, 'a> {
    run: &'r Run<'a>,
    request: &'r BackupRequest,
    targets: &'r Targets,
}

impl Way<'_, '_> {
    /// A directory of which only some entries are asked for; without a descriptor when it exists only in the request.
    fn directory(
        &self,
        walker: &mut Walker<'_, '_>,
        target: &Target,
        fd: Option<OwnedFd>,
        parent: Option<(Arc<Dir>, usize)>,
        path: Vec<u8>,
    ) -> Result<(), EngineError> {
        let xattrs = fd.as_ref().and_then(|fd| super::stat::xattrs(fd).ok()).unwrap_or_default();
        let dir = Dir::new(parent, path.clone(), xattrs, None, None, Body::Fresh(Vec::new()));
        walker.seen.directories += 1;
        let fd = fd.map(Arc::new);
        for (name, child) in &target.children {
            let path = [&path[..], b"/", name].concat();
            match child.virtual_file {
                Some(number) => self.virtual_file(walker, &dir, name, number)?,
                None => self.entry(walker, child, fd.as_ref(), &dir, name, path)?,
            }
        }
        walker.release(&dir)
    }

    fn entry(
        &self,
        walker: &mut Walker<'_, '_>,
        target: &Target,
        fd: Option<&Arc<OwnedFd>>,
        dir: &Arc<Dir>,
        name: &[u8],
        path: Vec<u8>,
    ) -> Result<(), EngineError> {
        let parent_path = &path[..path.len() - name.len() - 1];
        let left_out =
            self.targets.excluded.of_directory(parent_path).is_some_and(|names| names.contains(name));
        if left_out {
            return Ok(());
        }
        // names have no zero byte
        let c_name = CString::new(name).unwrap_or_default();
        let stat = match fd {
            Some(fd) => statat(fd, &c_name, AtFlags::SYMLINK_NOFOLLOW),
            None => Err(Errno::NOENT),
        };
        let (stat, fd) = match (stat, fd) {
            (Ok(stat), Some(fd)) => (stat, fd),
            (stat, _) => {
                let why = stat.err().unwrap_or(Errno::NOENT);
                if why == Errno::NOENT && target.has_virtual() {
                    return self.made_up(walker, target, dir, name, path);
                }
                self.missing(target, &path, why);
                return Ok(());
            }
        };
        if self.targets.excluded.inode(stat.st_dev, stat.st_ino) {
            return Ok(());
        }
        match file_type(&stat) {
            FileType::Directory => {
                let opened = match open_directory(fd, &c_name) {
                    Ok(opened) => opened,
                    Err(why) => {
                        self.missing(target, &path, why);
                        return Ok(());
                    }
                };
                let slot = dir.add(Some(directory_node(name, meta(&stat))));
                let parent = Some((dir.clone(), slot));
                match target.whole {
                    true => walker.whole(opened, stat.st_dev, parent, path),
                    false => self.directory(walker, target, Some(opened), parent, path),
                }
            }
            _ if !target.whole => {
                self.missing(target, &path, Errno::NOTDIR);
                Ok(())
            }
            FileType::RegularFile => {
                walker.seen.files += 1;
                walker.seen.bytes += u64::try_from(stat.st_size).unwrap_or(0);
                let slot = dir.add(None);
                walker.hand_out(dir, fd, vec![Item { slot, name: c_name, meta: meta(&stat) }])
            }
            FileType::Socket => Ok(()),
            _ => {
                walker.seen.files += 1;
                match special_node(fd, &c_name, &stat) {
                    Ok(node) => {
                        dir.add(Some(node));
                    }
                    Err(why) => walker.failed(&path, why),
                }
                Ok(())
            }
        }
    }

    /// What was asked for and cannot be reached.
    fn missing(&self, target: &Target, path: &[u8], why: Errno) {
        if target.whole {
            let why = match why {
                Errno::NOTDIR | Errno::LOOP => {
                    "the way to it leads through something that is no directory".to_owned()
                }
                why => std::io::Error::from(why).to_string(),
            };
            self.run.lack(path, LackKind::Missing, &why);
        }
        for (name, child) in &target.children {
            self.missing(child, &[path, b"/", name].concat(), why);
        }
        if let Some(number) = target.virtual_file {
            let path = &self.request.virtual_files[number].path;
            use std::os::unix::ffi::OsStrExt as _;
            self.run.lack(path.as_os_str().as_bytes(), LackKind::Missing, "its directory cannot be read");
        }
    }

    /// A directory that exists only in the request.
    fn made_up(
        &self,
        walker: &mut Walker<'_, '_>,
        target: &Target,
        dir: &Arc<Dir>,
        name: &[u8],
        path: Vec<u8>,
    ) -> Result<(), EngineError> {
        let slot = dir.add(Some(directory_node(name, self.meta(0o700, 0))));
        self.directory(walker, target, None, Some((dir.clone(), slot)), path)
    }

    fn virtual_file(
        &self,
        walker: &mut Walker<'_, '_>,
        dir: &Arc<Dir>,
        name: &[u8],
        number: usize,
    ) -> Result<(), EngineError> {
        let source = &self.request.virtual_files[number];
        let failed =
            |doing, why: Errno| EngineError::Io { doing, path: source.path.clone(), why: why.into() };
        let stat = fstat(&source.file).map_err(|why| failed("looking at", why))?;
        if file_type(&stat) != FileType::RegularFile {
            return Err(EngineError::Path {
                path: source.path.clone(),
                why: "is not given as a regular file",
            });
        }
        // its own place in the file: the request's stays where it is
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let again = std::os::fd::AsRawFd::as_raw_fd(&source.file);
        let file = openat(rustix::fs::CWD, format!("/proc/self/fd/{again}"), flags, Mode::empty())
            .or_else(|_| rustix::io::dup(&source.file))
            .map_err(|why| failed("opening", why))?;
        seek(&file, SeekFrom::Start(0)).map_err(|why| failed("reading", why))?;
        let size = u64::try_from(stat.st_size).unwrap_or(0);
        walker.seen.files += 1;
        walker.seen.bytes += size;
        let kind = NodeKind::File(Vec::new());
        let node = Node { name: name.to_vec(), meta: self.meta(source.mode, size), kind, xattrs: Vec::new() };
        let slot = dir.add(Some(node));
        dir.hold();
        walker.give(Work::Virtual { dir: dir.clone(), slot, file })
    }

    fn meta(&self, mode: u32, size: u64) -> Meta {
        let at = Stamp::new(self.request.started.as_second(), 0);
        Meta { mode: mode & 0o7777, size, links: 1, mtime: at, ctime: at, ..Meta::default() }
    }
}
