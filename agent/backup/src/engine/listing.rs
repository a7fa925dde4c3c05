//! What a snapshot holds: walked by its trees, listed, and one file of it written out.

use std::ffi::OsString;
use std::io::Write;
use std::ops::ControlFlow;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use tenure_trust::Hash;

use super::blobs::{Blobs, Scratch};
use super::error::EngineError;
use super::index::BlobKind;
use super::repository::Repository;
use super::snapshot::snapshot;
use super::targets;
use super::tree::{Node, NodeKind};

/// Directories below one another at most.
pub(crate) const DEPTH: usize = 512;
/// Entries of one snapshot at most: a few small trees can name each other into more than any disk holds.
pub(crate) const ENTRIES: u64 = 200_000_000;

/// An entry of a snapshot. Its path is the snapshot's word: hostile text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Absolute.
    pub path: PathBuf,
    /// What it is.
    pub kind: EntryKind,
    /// Bytes of a file, as its tree says; 0 of anything else.
    pub size: u64,
    /// Permissions with set-user-id, set-group-id and sticky.
    pub mode: u32,
    /// Its owner.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
    /// When it was last changed; none when that is beyond what can be said.
    pub mtime: Option<Timestamp>,
}

/// What an entry of a snapshot is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryKind {
    /// A file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Link,
    /// A device, pipe or socket.
    Special,
}

/// Tells every entry at and below `path`, directories before what is in them, sorted by name. Trees are loaded one at a
/// time; [`ControlFlow::Break`] ends it.
///
/// # Errors
/// `NoSuchSnapshot`, `NoSuchPath`, `Path`, `Damaged`, `Missing`, `Limit`, `Store`.
pub fn ls(
    repository: &Repository<'_>,
    id: &Hash,
    path: &Path,
    tell: &mut dyn FnMut(&Entry) -> ControlFlow<()>,
) -> Result<(), EngineError> {
    let blobs = Blobs::of(repository)?;
    let root = snapshot(repository, id)?.tree;
    let mut scratch = Scratch::default();
    let names = targets::names(path)?;
    let start = targets::joined(&names);
    let mut stack = match find(&blobs, &root, path, &mut scratch)? {
        None => vec![(start, blobs.tree(&root, &mut scratch)?.into_iter())],
        Some(node) => {
            if tell(&entry(start.clone(), &node)).is_break() {
                return Ok(());
            }
            match node.kind {
                NodeKind::Dir(tree) => vec![(start, blobs.tree(&tree, &mut scratch)?.into_iter())],
                _ => return Ok(()),
            }
        }
    };
    let mut told = 0;
    while let Some((at, nodes)) = stack.last_mut() {
        let Some(node) = nodes.next() else {
            stack.pop();
            continue;
        };
        told += 1;
        if told > ENTRIES {
            return Err(EngineError::Limit { what: "the number of entries of a snapshot", limit: ENTRIES });
        }
        let path = [&at[..], b"/", &node.name].concat();
        if tell(&entry(path.clone(), &node)).is_break() {
            return Ok(());
        }
        if let NodeKind::Dir(tree) = node.kind {
            if stack.len() >= DEPTH {
                return Err(EngineError::Limit { what: "the depth of a snapshot", limit: DEPTH as u64 });
            }
            stack.push((path, blobs.tree(&tree, &mut scratch)?.into_iter()));
        }
    }
    Ok(())
}

/// Writes one file of a snapshot; how many bytes it has.
///
/// # Errors
/// As [`ls`]; `NoSuchPath` too for what is no file; `Io` when `out` does not take it.
pub fn dump(
    repository: &Repository<'_>,
    id: &Hash,
    path: &Path,
    out: &mut dyn Write,
) -> Result<u64, EngineError> {
    let blobs = Blobs::of(repository)?;
    let root = snapshot(repository, id)?.tree;
    let mut scratch = Scratch::default();
    let node = find(&blobs, &root, path, &mut scratch)?;
    let Some(Node { kind: NodeKind::File(content), .. }) = node else {
        return Err(EngineError::NoSuchPath { path: path.to_owned() });
    };
    let mut written = 0;
    for blob in &content {
        let bytes = blobs.get(BlobKind::Data, blob, &mut scratch)?;
        let failed = |why| EngineError::Io { doing: "writing out", path: path.to_owned(), why };
        out.write_all(bytes).map_err(failed)?;
        written += bytes.len() as u64;
    }
    Ok(written)
}

/// The node at a path; none for `/`.
pub(crate) fn find(
    blobs: &Blobs<'_>,
    root: &Hash,
    path: &Path,
    scratch: &mut Scratch,
) -> Result<Option<Node>, EngineError> {
    let absent = || EngineError::NoSuchPath { path: path.to_owned() };
    let mut found: Option<Node> = None;
    for name in targets::names(path)? {
        let tree = match found.as_ref().map(|node| &node.kind) {
            None => *root,
            Some(NodeKind::Dir(tree)) => *tree,
            Some(_) => return Err(absent()),
        };
        let mut nodes = blobs.tree(&tree, scratch)?;
        let at = nodes.binary_search_by(|node| node.name.cmp(&name)).map_err(|_| absent())?;
        found = Some(nodes.swap_remove(at));
    }
    Ok(found)
}

fn entry(path: Vec<u8>, node: &Node) -> Entry {
    let kind = match node.kind {
        NodeKind::File(_) => EntryKind::File,
        NodeKind::Dir(_) => EntryKind::Directory,
        NodeKind::Link(_) => EntryKind::Link,
        _ => EntryKind::Special,
    };
    let nanos = i32::try_from(node.meta.mtime.nanos).unwrap_or_default();
    Entry {
        path: OsString::from_vec(path).into(),
        kind,
        size: if kind == EntryKind::File { node.meta.size } else { 0 },
        mode: node.meta.mode,
        uid: node.meta.uid,
        gid: node.meta.gid,
        mtime: Timestamp::new(node.meta.mtime.seconds, nanos).ok(),
    }
}
