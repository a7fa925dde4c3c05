//! A read-only view of a generation over SFTP, as the engine's source.

use std::sync::Arc;

use russh::client;
use russh_sftp::client::RawSftpSession;
use russh_sftp::protocol::{FileAttributes, OpenFlags};
use tenure_trust::{Hash, Object, ObjectKind, View};
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

use super::PIECE;
use crate::engine::{MAX_CONFIG, ObjectSource, StoreError};
use crate::error::BackupError;

/// Bytes that are asked for at once, and how many such questions are under way.
const BLOCK: usize = 128 << 10;
const UNDER_WAY: usize = 16;
/// Objects that a view may list.
const OBJECTS: usize = 10_000_000;

/// An open view.
pub struct RemoteView<'l> {
    runtime: &'l Runtime,
    sftp: Arc<RawSftpSession>,
    root: String,
}

impl std::fmt::Debug for RemoteView<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "RemoteView({})", self.root)
    }
}

impl<'l> RemoteView<'l> {
    pub(super) fn new(
        runtime: &'l Runtime,
        stream: russh::ChannelStream<client::Msg>,
        view: &View,
    ) -> Result<Self, BackupError> {
        let doing = "opening a view of the vault";
        let sftp = runtime.block_on(async {
            let sftp = RawSftpSession::new(stream);
            sftp.set_timeout(PIECE.as_secs());
            sftp.init().await.map(|_| sftp)
        });
        let sftp = sftp.map_err(|e| BackupError::transport(doing, e))?;
        Ok(Self { runtime, sftp: Arc::new(sftp), root: view.path() })
    }

    /// Every object of the view, `config` and key file included.
    ///
    /// # Errors
    /// When something cannot be listed or read.
    pub fn objects(&self) -> Result<Vec<Object>, StoreError> {
        let config = self.config()?;
        let mut objects =
            vec![Object { kind: ObjectKind::Config, name: Hash::of(&config), size: config.len() as u64 }];
        for kind in [ObjectKind::Key, ObjectKind::Data, ObjectKind::Index, ObjectKind::Snapshot] {
            objects.extend(self.list(kind)?);
        }
        Ok(objects)
    }

    fn path(&self, kind: ObjectKind, name: &Hash) -> String {
        let name = name.to_string();
        match kind {
            ObjectKind::Data => format!("{}/data/{}/{name}", self.root, &name[..2]),
            _ => format!("{}/{}/{name}", self.root, folder(kind)),
        }
    }

    async fn names(&self, path: &str) -> Result<Vec<(String, FileAttributes)>, BackupError> {
        let doing = "listing in the vault";
        let failed = |e| BackupError::transport(doing, e);
        let handle = self.sftp.opendir(path).await.map_err(failed)?.handle;
        let mut found = Vec::new();
        loop {
            match self.sftp.readdir(handle.as_str()).await {
                Ok(names) => {
                    let names = names.files.into_iter().filter(|f| f.filename != "." && f.filename != "..");
                    found.extend(names.map(|f| (f.filename, f.attrs)));
                }
                Err(russh_sftp::client::error::Error::Status(status))
                    if status.status_code == russh_sftp::protocol::StatusCode::Eof =>
                {
                    break;
                }
                Err(e) => return Err(failed(e)),
            }
            if found.len() > OBJECTS {
                return Err(BackupError::Answer("a view lists more than any generation holds".into()));
            }
        }
        // What is left open goes with the session.
        let _ = self.sftp.close(handle).await;
        Ok(found)
    }

    async fn list_all(&self, kind: ObjectKind) -> Result<Vec<Object>, BackupError> {
        let mut folders = vec![format!("{}/{}", self.root, folder(kind))];
        if kind == ObjectKind::Data {
            let below = self.names(&folders.swap_remove(0)).await?;
            folders.extend(below.into_iter().map(|(name, _)| format!("{}/data/{name}", self.root)));
        }
        let mut objects = Vec::new();
        for path in folders {
            for (name, attrs) in self.names(&path).await? {
                let wrong = || BackupError::Answer("a view names something that is no object".into());
                let (name, size) = (name.parse().map_err(|_| wrong())?, attrs.size.ok_or_else(wrong)?);
                objects.push(Object { kind, name, size });
            }
        }
        Ok(objects)
    }

    /// Bytes of a file from an offset on; fewer only at its end.
    async fn read_at(&self, path: &str, offset: u64, into: &mut [u8]) -> Result<usize, BackupError> {
        let doing = "reading from the vault";
        let failed = |e: String| BackupError::transport(doing, e);
        let attrs = FileAttributes::empty();
        let handle =
            self.sftp.open(path, OpenFlags::READ, attrs).await.map_err(|e| failed(e.to_string()))?.handle;
        let mut blocks: JoinSet<Result<(usize, Vec<u8>), String>> = JoinSet::new();
        let (mut next, mut end) = (0, into.len());
        loop {
            while next < end && blocks.len() < UNDER_WAY {
                let (sftp, handle, at) = (self.sftp.clone(), handle.clone(), next);
                let length = BLOCK.min(end - at);
                blocks.spawn(async move { whole(&sftp, &handle, offset, at, length).await });
                next += length;
            }
            let Some(done) = blocks.join_next().await else { break };
            let (at, bytes) = done.map_err(|e| failed(e.to_string()))?.map_err(failed)?;
            let wanted = BLOCK.min(into.len() - at);
            into[at..at + bytes.len()].copy_from_slice(&bytes);
            if bytes.len() < wanted {
                end = end.min(at + bytes.len());
            }
        }
        // As above.
        let _ = self.sftp.close(handle).await;
        Ok(end)
    }
}

/// One block; shorter only at the end of the file.
async fn whole(
    sftp: &RawSftpSession,
    handle: &str,
    offset: u64,
    at: usize,
    length: usize,
) -> Result<(usize, Vec<u8>), String> {
    let mut bytes = Vec::with_capacity(length);
    while bytes.len() < length {
        let from = offset + (at + bytes.len()) as u64;
        let left = u32::try_from(length - bytes.len()).unwrap_or(u32::MAX);
        match sftp.read(handle, from, left).await {
            Ok(data) if data.data.is_empty() => break,
            Ok(data) if data.data.len() <= length - bytes.len() => bytes.extend_from_slice(&data.data),
            Ok(_) => return Err("it gives more than was asked for".into()),
            Err(russh_sftp::client::error::Error::Status(status))
                if status.status_code == russh_sftp::protocol::StatusCode::Eof =>
            {
                break;
            }
            Err(e) => return Err(e.to_string()),
        }
    }
    Ok((at, bytes))
}

impl ObjectSource for RemoteView<'_> {
    fn config(&self) -> Result<Vec<u8>, StoreError> {
        let path = format!("{}/config", self.root);
        let mut bytes = vec![0; MAX_CONFIG + 1];
        let read = self.runtime.block_on(self.read_at(&path, 0, &mut bytes));
        let failed = |why: BackupError| StoreError { doing: "reading", what: path.clone(), why: why.into() };
        let n = read.map_err(failed)?;
        if n > MAX_CONFIG {
            return Err(failed(BackupError::Answer("it is larger than any config".into())));
        }
        bytes.truncate(n);
        Ok(bytes)
    }

    fn list(&self, kind: ObjectKind) -> Result<Vec<Object>, StoreError> {
        self.runtime.block_on(self.list_all(kind)).map_err(|why| StoreError {
            doing: "listing",
            what: format!("{}/{}", self.root, folder(kind)),
            why: why.into(),
        })
    }

    fn read(&self, kind: ObjectKind, name: &Hash, offset: u64, into: &mut [u8]) -> Result<(), StoreError> {
        let failed = |why: BackupError| StoreError::new("reading", kind, name, why);
        let n = self.runtime.block_on(self.read_at(&self.path(kind, name), offset, into)).map_err(failed)?;
        match n == into.len() {
            true => Ok(()),
            false => Err(failed(BackupError::Answer("it is shorter than it must be".into()))),
        }
    }
}

fn folder(kind: ObjectKind) -> &'static str {
    match kind {
        ObjectKind::Config => "config",
        ObjectKind::Key => "keys",
        ObjectKind::Data => "data",
        ObjectKind::Index => "index",
        ObjectKind::Snapshot => "snapshots",
    }
}
