//! A directory on its way to becoming a tree: it is one when its files are read and its own directories are trees.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock};

use tenure_trust::Hash;

use super::blobs::{Blobs, Scratch};
use super::cache::{self, Cache, Known, PathKey};
use super::error::EngineError;
use super::index::BlobKind;
use super::request::{LACKS, Lack, LackKind};
use super::sealer::Sealer;
use super::tree::{self, MAX_TREE, Node, NodeKind, Xattrs};
use super::writer::{Writer, lock};

/// Seconds before the start of a run from which on a file's change may share its time with a change that was not seen.
pub(crate) const RACY: i64 = 2;

/// A directory of the source that is being backed up.
pub(crate) struct Dir {
    /// Which entry of which directory it becomes; none for the root.
    parent: Option<(Arc<Dir>, usize)>,
    /// Without a slash at its end; empty for `/`.
    pub(crate) path: Vec<u8>,
    /// Its extended attributes, for its parent's tree.
    xattrs: Xattrs,
    /// The hash over what `stat` says; none when it must not be believed later.
    print: Option<Hash>,
    /// What it was in the last run, when it is something else now.
    old: Option<Hash>,
    old_nodes: OnceLock<Vec<Node>>,
    state: Mutex<State>,
}

struct State {
    /// Who still has something to say: its own directories, groups of its files, and the walker.
    waiting: usize,
    lacking: bool,
    body: Body,
}

/// What it becomes.
pub(crate) enum Body {
    /// A new tree of these; none where something is lacking.
    Fresh(Vec<Option<Node>>),
    /// The same tree as before, but for the directories in it that have changed.
    Kept {
        tree: Hash,
        /// Its own directories, by their number.
        names: Vec<Vec<u8>>,
        changed: Vec<(Vec<u8>, Option<Hash>)>,
    },
}

/// What becomes of a file: its node's contents, or nothing.
pub(crate) type Filled = (usize, Option<Node>);

/// What all threads of one run know.
pub(crate) struct Run<'a> {
    pub(crate) writer: Writer<'a>,
    pub(crate) cache: Cache,
    /// When the run began, in seconds.
    pub(crate) started: i64,
    blobs: OnceLock<Blobs<'a>>,
    found: Mutex<Vec<(PathKey, Known)>>,
    root: OnceLock<Hash>,
    lacks: Mutex<Lacks>,
}

/// Lacks, all counted and the first ones named.
#[derive(Debug, Default)]
pub(crate) struct Lacks {
    pub(crate) unreadable: u64,
    pub(crate) changed: u64,
    pub(crate) vanished: u64,
    pub(crate) list: Vec<Lack>,
}

impl Dir {
    /// One whose walker holds it until [`Run::release`].
    pub(crate) fn new(
        parent: Option<(Arc<Self>, usize)>,
        path: Vec<u8>,
        xattrs: Xattrs,
        print: Option<Hash>,
        old: Option<Hash>,
        body: Body,
    ) -> Arc<Self> {
        if let Some((parent, _)) = &parent {
            parent.hold();
        }
        let state = Mutex::new(State { waiting: 1, lacking: false, body });
        Arc::new(Self { parent, path, xattrs, print, old, old_nodes: OnceLock::new(), state })
    }

    /// One more has something to say.
    pub(crate) fn hold(&self) {
        lock(&self.state).waiting += 1;
    }

    /// Adds an entry to a tree that is made by hand; its number.
    pub(crate) fn add(&self, node: Option<Node>) -> usize {
        match &mut lock(&self.state).body {
            Body::Fresh(nodes) => {
                nodes.push(node);
                nodes.len() - 1
            }
            Body::Kept { .. } => 0,
        }
    }

    /// Enters what became of files.
    pub(crate) fn fill(&self, filled: Vec<Filled>, lacking: bool) {
        let mut state = lock(&self.state);
        state.lacking |= lacking;
        if let Body::Fresh(nodes) = &mut state.body {
            for (slot, node) in filled {
                nodes[slot] = node;
            }
        }
    }

    /// The node that a fresh tree has for a file so far.
    pub(crate) fn node(&self, slot: usize) -> Option<Node> {
        match &lock(&self.state).body {
            Body::Fresh(nodes) => nodes.get(slot).cloned().flatten(),
            Body::Kept { .. } => None,
        }
    }

    /// Enters what became of one of its own directories.
    fn child(&self, slot: usize, became: Option<(Hash, bool)>, child_xattrs: &Xattrs) {
        let mut state = lock(&self.state);
        state.lacking |= became.is_none();
        match (&mut state.body, became) {
            (Body::Fresh(nodes), Some((tree, _))) => {
                if let Some(node) = &mut nodes[slot] {
                    node.kind = NodeKind::Dir(tree);
                    node.xattrs = child_xattrs.clone();
                }
            }
            (Body::Fresh(nodes), None) => nodes[slot] = None,
            (Body::Kept { .. }, Some((_, true))) => {}
            (Body::Kept { names, changed, .. }, became) => {
                changed.push((names[slot].clone(), became.map(|(tree, _)| tree)));
            }
        }
    }

    /// One of its own directories came to nothing.
    pub(crate) fn lost(&self, slot: usize) {
        self.child(slot, None, &Vec::new());
    }

    /// Gives up what it holds in memory and says what it becomes.
    fn take(&self) -> (Body, bool) {
        let mut state = lock(&self.state);
        let body = std::mem::replace(&mut state.body, Body::Fresh(Vec::new()));
        (body, state.lacking)
    }
}

impl<'a> Run<'a> {
    pub(crate) fn new(writer: Writer<'a>, cache: Cache, started: i64) -> Self {
        Self {
            writer,
            cache,
            started,
            blobs: OnceLock::new(),
            found: Mutex::default(),
            root: OnceLock::new(),
            lacks: Mutex::default(),
        }
    }

    /// One has said what it had to say about a directory. The last one makes it a tree, and so on upwards.
    pub(crate) fn release(&self, dir: &Arc<Dir>, sealer: &mut Sealer) -> Result<(), EngineError> {
        let mut dir = dir.clone();
        loop {
            {
                let mut state = lock(&dir.state);
                state.waiting -= 1;
                if state.waiting > 0 {
                    return Ok(());
                }
            }
            let (tree, same, lacking) = self.finish(&dir, sealer)?;
            if let (Some(print), false, Some(tree)) = (dir.print, lacking, tree) {
                lock(&self.found).push((cache::key(&dir.path), Known { print, tree }));
            }
            let Some((parent, slot)) = &dir.parent else {
                if let Some(tree) = tree {
                    let _ = self.root.set(tree);
                }
                return Ok(());
            };
            parent.child(*slot, tree.map(|tree| (tree, same)), &dir.xattrs);
            let parent = parent.clone();
            dir = parent;
        }
    }

    /// The tree of a directory, whether it is the one of the last run, and whether something is lacking in it.
    fn finish(&self, dir: &Dir, sealer: &mut Sealer) -> Result<(Option<Hash>, bool, bool), EngineError> {
        let (body, lacking) = dir.take();
        let json = match body {
            Body::Kept { tree, changed, .. } if changed.is_empty() => return Ok((Some(tree), true, lacking)),
            Body::Kept { tree, changed, .. } => {
                let mut nodes = self.old_tree(&tree).map_err(|_| EngineError::StaleCache)?;
                for (name, became) in changed {
                    let at = nodes.binary_search_by(|node| node.name.cmp(&name));
                    match (at, became) {
                        (Ok(at), Some(tree)) => nodes[at].kind = NodeKind::Dir(tree),
                        (Ok(at), None) => {
                            nodes.remove(at);
                        }
                        (Err(_), _) => return Err(EngineError::StaleCache),
                    }
                }
                tree::encode(&nodes)
            }
            Body::Fresh(nodes) => tree::encode(nodes.iter().flatten()),
        };
        if json.len() > MAX_TREE {
            self.lack(&dir.path, LackKind::Beyond, "it has too many entries");
            return Ok((None, false, true));
        }
        let id = self.writer.blob(BlobKind::Tree, &json, sealer)?;
        Ok((Some(id), false, lacking))
    }

    /// What a directory held in the last run, sorted by name; nothing when that cannot be had.
    pub(crate) fn old_nodes<'d>(&self, dir: &'d Dir) -> &'d [Node] {
        let Some(tree) = &dir.old else { return &[] };
        dir.old_nodes.get_or_init(|| self.old_tree(tree).unwrap_or_default())
    }

    fn old_tree(&self, tree: &Hash) -> Result<Vec<Node>, EngineError> {
        let blobs = match self.blobs.get() {
            Some(blobs) => blobs,
            None => {
                let index = self.writer.old()?.clone();
                self.blobs.get_or_init(|| Blobs::with(self.writer.repository, index))
            }
        };
        blobs.tree(tree, &mut Scratch::default())
    }

    /// Something of the source is not in the snapshot as it was.
    pub(crate) fn lack(&self, path: &[u8], kind: LackKind, why: &str) {
        use std::os::unix::ffi::OsStringExt as _;
        let mut lacks = lock(&self.lacks);
        match kind {
            LackKind::Unreadable | LackKind::Missing | LackKind::Beyond => lacks.unreadable += 1,
            LackKind::Changed => lacks.changed += 1,
            LackKind::Vanished => lacks.vanished += 1,
        }
        if lacks.list.len() < LACKS {
            let path = PathBuf::from(std::ffi::OsString::from_vec(path.to_vec()));
            lacks.list.push(Lack { path, kind, why: why.to_owned() });
        }
    }

    /// The root tree, the directories for the next run's cache, and the lacks.
    pub(crate) fn end(self) -> (Writer<'a>, Option<Hash>, Vec<(PathKey, Known)>, Lacks) {
        let root = self.root.get().copied();
        let found = std::mem::take(&mut *lock(&self.found));
        let mut lacks = std::mem::take(&mut *lock(&self.lacks));
        lacks.list.sort();
        (self.writer, root, found, lacks)
    }
}
