//! SFTP on views: a client sees the tree of restic as it stood at a point, and can change nothing of it. Only `locks`
//! takes files, in memory, for this session.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::File as DiskFile;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use russh_sftp::protocol::{
    Attrs, Data, File, FileAttributes, Handle, Name, OpenFlags, Packet, Status, StatusCode, Version,
};
use russh_sftp::server::{Config, Handler, run_with_config};
use tenure_trust::{SeriesId, View};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::oneshot;

use super::Limits;
use super::line::Line;
use super::locks::{Locks, NotDone};
use super::seen::{Seen, directory, file, files, of_object, open_beneath, readable_state};
use super::view::{Inside, Place, Walk, data_dir, listed};
use crate::in_force::Peer;
use crate::store::beneath;
use crate::vault::Vault;

/// Files and listings that one session has open at once.
const MAX_HANDLES: usize = 256;
/// Views that one session looks at.
pub(super) const MAX_VIEWS: usize = 64;
/// The most bytes of one answer to a read.
const MAX_READ: u32 = 256 << 10;
/// Names in one answer to a listing.
const NAMES: usize = 200;
/// The extension by which clients rename over another file.
const POSIX_RENAME: &str = "posix-rename@openssh.com";

/// Serves one channel to its end.
pub(super) async fn serve<R, W>(vault: Arc<Vault>, peer: Peer, from: R, to: W, limits: &Limits)
where
    R: AsyncRead + Unpin + Send + 'static,
    W: AsyncWrite + Unpin + Send + 'static,
{
    let (ended, end) = oneshot::channel();
    let walk = Walk { vault: vault.store.vault().clone() };
    let handler =
        Sftp { vault, peer, walk, views: BTreeMap::new(), handles: HashMap::new(), next: 0, _ended: ended };
    let stream = Line {
        from,
        to,
        quiet: Box::pin(tokio::time::sleep(limits.idle)),
        idle: limits.idle,
        stuck: None,
        frame: limits.frame,
        over: false,
    };
    run_with_config(stream, handler, Config { max_client_packet_len: 64 << 10 }).await;
    // The sender goes with the handler, whatever ends it.
    let _ = end.await;
}

pub(super) type Answered<T> = Result<T, StatusCode>;

struct Sftp {
    vault: Arc<Vault>,
    peer: Peer,
    walk: Walk,
    /// By the view's path: a view does not move while a session looks at it.
    views: BTreeMap<String, Seen>,
    handles: HashMap<String, Open>,
    next: u64,
    _ended: oneshot::Sender<()>,
}

enum Open {
    /// An object.
    Object(Arc<DiskFile>, FileAttributes),
    /// A file in `locks` of a view.
    Lock { view: String, name: String },
    /// What is left of a listing.
    Names(std::vec::IntoIter<File>),
}

impl Sftp {
    fn place(&self, path: &str) -> Answered<Place> {
        self.walk.to(path).ok_or(StatusCode::NoSuchFile)
    }

    /// Hosts whose series this peer may read, and their series, from what the store holds.
    fn readable(&self) -> Vec<SeriesId> {
        let held = self.vault.in_force();
        let all = self.vault.store.all();
        all.iter().map(|s| s.id.clone()).filter(|id| held.reads(&self.peer, &id.host)).collect()
    }

    /// Opens the view that a path leads into when this session looks at it for the first time, on a thread for it: its
    /// books may have to be read from the disk. What does not exist is told by whoever looks then.
    async fn see(&mut self, path: &str) -> Answered<()> {
        let Some(Place::View(view, _)) = self.walk.to(path) else { return Ok(()) };
        let key = view.path();
        if self.views.contains_key(&key) || !self.vault.in_force().reads(&self.peer, &view.series.host) {
            return Ok(());
        }
        if self.views.len() >= MAX_VIEWS {
            return Err(StatusCode::Failure);
        }
        let vault = self.vault.clone();
        let opened = tokio::task::spawn_blocking(move || Seen::open(&vault, &view)).await;
        self.views.insert(key, opened.map_err(|_| StatusCode::Failure)??);
        Ok(())
    }

    /// A view that [`Sftp::see`] opened, while it can be read. Others' views do not exist.
    fn seen(&mut self, view: &View) -> Answered<&mut Seen> {
        if !self.vault.in_force().reads(&self.peer, &view.series.host) {
            return Err(StatusCode::NoSuchFile);
        }
        let seen = self.views.get_mut(&view.path()).ok_or(StatusCode::NoSuchFile)?;
        let series = self.vault.store.get(&seen.series).ok_or(StatusCode::NoSuchFile)?;
        match series.with_ring(|ring| readable_state(ring.get(seen.generation).map(|g| g.state))) {
            true => Ok(seen),
            false => Err(StatusCode::NoSuchFile),
        }
    }

    fn attributes(&mut self, path: &str) -> Answered<FileAttributes> {
        let (view, inside) = match self.place(path)? {
            Place::Top => return Ok(directory(false)),
            Place::Owner(owner) => {
                let known = self.readable().iter().any(|id| owner_of(id) == owner);
                return if known { Ok(directory(false)) } else { Err(StatusCode::NoSuchFile) };
            }
            Place::Host(owner, host) => {
                let known = self.readable().iter().any(|id| id.host == host && owner_of(id) == owner);
                return if known { Ok(directory(false)) } else { Err(StatusCode::NoSuchFile) };
            }
            Place::Series(id) => {
                let known = self.readable().contains(&id);
                return if known { Ok(directory(false)) } else { Err(StatusCode::NoSuchFile) };
            }
            Place::View(view, inside) => (view, inside),
        };
        let seen = self.seen(&view)?;
        match inside {
            Inside::Top | Inside::Dir(_) | Inside::Data | Inside::Escrow | Inside::Seals => {
                Ok(directory(false))
            }
            Inside::EscrowFor(recipient) => seen.escrow(&recipient).map(|(_, attributes)| attributes),
            Inside::Seal(slot) => seen.seal(&slot).map(|(_, attributes)| attributes),
            Inside::Locks => Ok(directory(true)),
            Inside::DataDir(first) => match seen.books.has_pack_dir(first, seen.upto) {
                true => Ok(directory(false)),
                false => Err(StatusCode::NoSuchFile),
            },
            Inside::Lock(name) => seen
                .locks
                .read(&name)
                .map(|bytes| file(bytes.len() as u64, 0, true))
                .ok_or(StatusCode::NoSuchFile),
            Inside::Config => seen.config().map(|(object, at)| of_object(&object, at)),
            Inside::Object(kind, name) => {
                let found = seen.books.look(kind, &name, seen.upto).ok_or(StatusCode::NoSuchFile)?;
                Ok(of_object(&found.0, found.1))
            }
        }
    }

    fn names(&mut self, path: &str) -> Answered<Vec<File>> {
        let dir = |name: String| File::new(name, directory(false));
        let names = |set: BTreeSet<String>| Ok(set.into_iter().map(dir).collect());
        let (view, inside) = match self.place(path)? {
            Place::Top => return names(self.readable().iter().map(owner_of).collect()),
            Place::Owner(owner) => {
                let of = |id: &&SeriesId| owner_of(id) == owner;
                return names(self.readable().iter().filter(of).map(|id| id.host.to_string()).collect());
            }
            Place::Host(owner, host) => {
                let of = |id: &&SeriesId| owner_of(id) == owner && id.host == host;
                return names(self.readable().iter().filter(of).map(|id| id.set.to_string()).collect());
            }
            Place::Series(id) => return names(self.generations(&id)?),
            Place::View(view, inside) => (view, inside),
        };
        let seen = self.seen(&view)?;
        Ok(match inside {
            Inside::Top => {
                let (config, at) = seen.config()?;
                let mut all = vec![File::new("config", of_object(&config, at))];
                let dirs = ["data", "escrow", "index", "keys", "seals", "snapshots"];
                all.extend(dirs.map(|name| dir(name.to_owned())));
                all.push(File::new("locks", directory(true)));
                all
            }
            Inside::Data => {
                let dirs = seen.books.pack_dirs(seen.upto);
                dirs.into_iter().map(|first| dir(data_dir(first))).collect()
            }
            Inside::DataDir(first) => {
                let packs = seen.books.packs(first, seen.upto);
                if packs.is_empty() {
                    return Err(StatusCode::NoSuchFile);
                }
                files(packs)
            }
            Inside::Dir(kind) => files(seen.books.kind(kind, seen.upto)),
            Inside::Escrow => seen.escrows()?,
            Inside::Seals => seen.seals(),
            Inside::Locks => {
                seen.locks.iter().map(|(name, size)| File::new(name, file(size as u64, 0, true))).collect()
            }
            Inside::Config
            | Inside::Object(..)
            | Inside::Lock(_)
            | Inside::EscrowFor(_)
            | Inside::Seal(_) => {
                return Err(StatusCode::NoSuchFile);
            }
        })
    }

    fn generations(&self, id: &SeriesId) -> Answered<BTreeSet<String>> {
        if !self.readable().contains(id) {
            return Err(StatusCode::NoSuchFile);
        }
        let series = self.vault.store.get(id).ok_or(StatusCode::NoSuchFile)?;
        Ok(series.with_ring(|ring| {
            let all = ring.iter().filter(|(_, g)| readable_state(Some(g.state)) && !g.sealed.is_empty());
            all.map(|(id, _)| listed(id)).collect()
        }))
    }

    /// The place of a file in `locks`, where alone something can be changed.
    fn lock(&mut self, path: &str) -> Answered<(&mut Locks, String)> {
        match self.place(path) {
            Ok(Place::View(view, Inside::Lock(name))) => Ok((&mut self.seen(&view)?.locks, name)),
            _ => Err(StatusCode::PermissionDenied),
        }
    }

    fn rename_lock(&mut self, old: &str, new: &str, replace: bool) -> Answered<()> {
        let (Ok(Place::View(from, Inside::Lock(old))), Ok(Place::View(to, Inside::Lock(new)))) =
            (self.place(old), self.place(new))
        else {
            return Err(StatusCode::PermissionDenied);
        };
        if from != to {
            return Err(StatusCode::PermissionDenied);
        }
        self.seen(&from)?.locks.rename(&old, &new, replace).map_err(code)
    }

    fn open_file(&mut self, path: &str, flags: OpenFlags) -> Answered<Open> {
        if flags.intersects(OpenFlags::WRITE | OpenFlags::APPEND | OpenFlags::CREATE | OpenFlags::TRUNCATE) {
            let Ok(Place::View(view, Inside::Lock(name))) = self.place(path) else {
                return Err(StatusCode::PermissionDenied);
            };
            let locks = &mut self.seen(&view)?.locks;
            if flags.contains(OpenFlags::CREATE) {
                locks.make(&name, flags.contains(OpenFlags::EXCLUDE)).map_err(code)?;
            } else if locks.read(&name).is_none() {
                return Err(StatusCode::NoSuchFile);
            }
            return Ok(Open::Lock { view: view.path(), name });
        }
        let Place::View(view, inside) = self.place(path)? else { return Err(StatusCode::NoSuchFile) };
        let seen = self.seen(&view)?;
        let (object, at) = match inside {
            Inside::Lock(name) if seen.locks.read(&name).is_some() => {
                return Ok(Open::Lock { view: view.path(), name });
            }
            Inside::EscrowFor(recipient) => {
                let (opened, attributes) = seen.escrow(&recipient)?;
                return Ok(Open::Object(Arc::new(opened), attributes));
            }
            Inside::Seal(slot) => {
                let (opened, attributes) = seen.seal(&slot)?;
                return Ok(Open::Object(Arc::new(opened), attributes));
            }
            Inside::Config => seen.config()?,
            Inside::Object(kind, name) => {
                seen.books.look(kind, &name, seen.upto).ok_or(StatusCode::NoSuchFile)?
            }
            _ => return Err(StatusCode::NoSuchFile),
        };
        let opened = open_beneath(&seen.repo, &beneath(&object)).map_err(|error| {
            crate::journal::error(&format!(
                "cannot open an object of {} {}: {error}",
                seen.series, seen.generation
            ));
            StatusCode::Failure
        })?;
        Ok(Open::Object(Arc::new(opened), of_object(&object, at)))
    }

    fn keep(&mut self, id: u32, open: Open) -> Answered<Handle> {
        if self.handles.len() >= MAX_HANDLES {
            return Err(StatusCode::Failure);
        }
        self.next += 1;
        let handle = self.next.to_string();
        self.handles.insert(handle.clone(), open);
        Ok(Handle { id, handle })
    }
}

impl Handler for Sftp {
    type Error = StatusCode;

    fn unimplemented(&self) -> StatusCode {
        StatusCode::PermissionDenied
    }

    async fn init(&mut self, _: u32, _: HashMap<String, String>) -> Answered<Version> {
        let mut version = Version::new();
        version.extensions.insert(POSIX_RENAME.into(), "1".into());
        Ok(version)
    }

    async fn open(&mut self, id: u32, path: String, flags: OpenFlags, _: FileAttributes) -> Answered<Handle> {
        self.see(&path).await?;
        let open = self.open_file(&path, flags)?;
        self.keep(id, open)
    }

    async fn close(&mut self, id: u32, handle: String) -> Answered<Status> {
        self.handles.remove(&handle).map(|_| done(id)).ok_or(StatusCode::Failure)
    }

    async fn read(&mut self, id: u32, handle: String, offset: u64, len: u32) -> Answered<Data> {
        // A file that was opened before its reader was revoked is read no further.
        if self.vault.in_force().admitted(&self.peer).is_none() {
            return Err(StatusCode::PermissionDenied);
        }
        let data = match self.handles.get(&handle) {
            Some(Open::Object(file, _)) => {
                let file = file.clone();
                let read = tokio::task::spawn_blocking(move || {
                    let mut bytes = vec![0; len.min(MAX_READ) as usize];
                    let count = file.read_at(&mut bytes, offset)?;
                    bytes.truncate(count);
                    Ok::<_, std::io::Error>(bytes)
                });
                read.await.map_err(|_| StatusCode::Failure)?.map_err(|_| StatusCode::Failure)?
            }
            Some(Open::Lock { view, name }) => {
                let bytes = self.views.get(view).and_then(|seen| seen.locks.read(name));
                let bytes = bytes.ok_or(StatusCode::NoSuchFile)?;
                let start = usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len());
                let end = start.saturating_add(len as usize).min(bytes.len());
                bytes[start..end].to_vec()
            }
            Some(Open::Names(_)) | None => return Err(StatusCode::Failure),
        };
        if data.is_empty() { Err(StatusCode::Eof) } else { Ok(Data { id, data }) }
    }

    async fn write(&mut self, id: u32, handle: String, offset: u64, data: Vec<u8>) -> Answered<Status> {
        let Some(Open::Lock { view, name }) = self.handles.get(&handle) else {
            return Err(StatusCode::PermissionDenied);
        };
        let seen = self.views.get_mut(view).ok_or(StatusCode::NoSuchFile)?;
        seen.locks.write(name, offset, &data).map_err(code)?;
        Ok(done(id))
    }

    async fn lstat(&mut self, id: u32, path: String) -> Answered<Attrs> {
        self.see(&path).await?;
        Ok(Attrs { id, attrs: self.attributes(&path)? })
    }

    async fn stat(&mut self, id: u32, path: String) -> Answered<Attrs> {
        self.see(&path).await?;
        Ok(Attrs { id, attrs: self.attributes(&path)? })
    }

    async fn fstat(&mut self, id: u32, handle: String) -> Answered<Attrs> {
        let attrs = match self.handles.get(&handle) {
            Some(Open::Object(_, attrs)) => attrs.clone(),
            Some(Open::Lock { view, name }) => {
                let bytes = self.views.get(view).and_then(|seen| seen.locks.read(name));
                file(bytes.ok_or(StatusCode::NoSuchFile)?.len() as u64, 0, true)
            }
            Some(Open::Names(_)) => directory(false),
            None => return Err(StatusCode::Failure),
        };
        Ok(Attrs { id, attrs })
    }

    async fn setstat(&mut self, id: u32, path: String, _: FileAttributes) -> Answered<Status> {
        self.see(&path).await?;
        let (locks, name) = self.lock(&path)?;
        locks.read(&name).map(|_| done(id)).ok_or(StatusCode::NoSuchFile)
    }

    async fn fsetstat(&mut self, id: u32, handle: String, _: FileAttributes) -> Answered<Status> {
        match self.handles.get(&handle) {
            Some(Open::Lock { .. }) => Ok(done(id)),
            _ => Err(StatusCode::PermissionDenied),
        }
    }

    async fn opendir(&mut self, id: u32, path: String) -> Answered<Handle> {
        self.see(&path).await?;
        let names = self.names(&path)?;
        self.keep(id, Open::Names(names.into_iter()))
    }

    async fn readdir(&mut self, id: u32, handle: String) -> Answered<Name> {
        let Some(Open::Names(names)) = self.handles.get_mut(&handle) else { return Err(StatusCode::Failure) };
        let files: Vec<File> = names.take(NAMES).collect();
        if files.is_empty() { Err(StatusCode::Eof) } else { Ok(Name { id, files }) }
    }

    async fn remove(&mut self, id: u32, path: String) -> Answered<Status> {
        self.see(&path).await?;
        let (locks, name) = self.lock(&path)?;
        locks.remove(&name).map_err(code)?;
        Ok(done(id))
    }

    async fn realpath(&mut self, id: u32, path: String) -> Answered<Name> {
        let mut names: Vec<&str> = Vec::new();
        for name in path.split('/').filter(|name| !name.is_empty() && *name != ".").take(32) {
            match name {
                ".." => {
                    names.pop();
                }
                name => names.push(name),
            }
        }
        Ok(Name { id, files: vec![File::dummy(format!("/{}", names.join("/")))] })
    }

    async fn rename(&mut self, id: u32, old: String, new: String) -> Answered<Status> {
        self.see(&old).await?;
        self.rename_lock(&old, &new, false)?;
        Ok(done(id))
    }

    async fn extended(&mut self, id: u32, request: String, data: Vec<u8>) -> Answered<Packet> {
        if request != POSIX_RENAME {
            return Err(StatusCode::OpUnsupported);
        }
        let (old, new) = two_texts(&data).ok_or(StatusCode::BadMessage)?;
        self.see(&old).await?;
        self.rename_lock(&old, &new, true)?;
        Ok(Packet::Status(done(id)))
    }
}

/// The two strings of an extended request, and nothing behind them.
fn two_texts(data: &[u8]) -> Option<(String, String)> {
    let text = |data: &[u8]| -> Option<(String, usize)> {
        let length = usize::try_from(u32::from_be_bytes(*data.first_chunk::<4>()?)).ok()?;
        let end = length.checked_add(4)?;
        Some((String::from_utf8(data.get(4..end)?.to_vec()).ok()?, end))
    };
    let (old, end) = text(data)?;
    let rest = data.get(end..)?;
    let (new, end) = text(rest)?;
    (end == rest.len()).then_some((old, new))
}

fn owner_of(id: &SeriesId) -> String {
    let path = id.path();
    path.split('/').next().unwrap_or_default().to_owned()
}

fn code(why: NotDone) -> StatusCode {
    match why {
        NotDone::Missing => StatusCode::NoSuchFile,
        NotDone::Exists | NotDone::Full => StatusCode::Failure,
    }
}

fn done(id: u32) -> Status {
    Status { id, status_code: StatusCode::Ok, error_message: "Ok".into(), language_tag: "en-US".into() }
}
