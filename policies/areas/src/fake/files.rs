//! The fake host's files: kinds, owners, modes and link counts, judged as the real port judges them.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::port::{Beneath, Entry, EntryKind, Owner, PortError, PortResult, Stat};

/// One thing at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// What it is.
    pub kind: NodeKind,
    /// Owner.
    pub uid: u32,
    /// Permission bits.
    pub mode: u32,
    /// Hard links.
    pub links: u32,
    /// Last modification, seconds since 1970.
    pub mtime: i64,
}

/// What stands at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NodeKind {
    /// Regular file with these bytes.
    File(Vec<u8>),
    /// Directory.
    Dir,
    /// Symbolic link to this path.
    Symlink(String),
    /// FIFO: whoever opens it plainly waits for ever.
    Fifo,
}

impl Node {
    pub(super) fn file(bytes: &[u8], uid: u32, mode: u32, at: Timestamp) -> Self {
        Self { kind: NodeKind::File(bytes.to_vec()), uid, mode, links: 1, mtime: at.as_second() }
    }
}

/// Absolute path → node; the directories above a node exist by themselves unless something else stands there.
#[derive(Debug)]
pub(super) struct Files(BTreeMap<String, Node>);

const PASSWD: &str = "\
root:x:0:0:root:/root:/bin/bash
daemon:x:1:1:daemon:/usr/sbin:/usr/sbin/nologin
sshd:x:104:65534::/run/sshd:/usr/sbin/nologin
admin:x:1000:1000:Admin,,,:/home/admin:/bin/bash
deploy:x:1001:1001::/home/deploy:/bin/sh
app:x:1002:1002::/home/app:/bin/bash
";
const SHADOW: &str = "\
root:*:20000:0:99999:7:::
daemon:*:20000:0:99999:7:::
sshd:!:20000::::::
admin:!:20000:0:99999:7:::
deploy:!:20000:0:99999:7:::
app:$y$j9T$abcdefgh$ijklmnopqrstuvwxyz:20000:0:99999:7:::
";
const SSHD_CONFIG: &str = "\
# This is the sshd server system-wide configuration file.

Include /etc/ssh/sshd_config.d/*.conf

#Port 22
KbdInteractiveAuthentication no
UsePAM yes
X11Forwarding yes
PrintMotd no
AcceptEnv LANG LC_*
Subsystem\tsftp\t/usr/lib/openssh/sftp-server
";

impl Files {
    pub(super) fn debian(at: Timestamp) -> Self {
        let mut files = Self(BTreeMap::new());
        for (path, text, mode) in [
            ("/etc/passwd", PASSWD, 0o644),
            ("/etc/shadow", SHADOW, 0o640),
            ("/etc/ssh/sshd_config", SSHD_CONFIG, 0o644),
            (
                "/var/lib/apt/lists/deb.debian.org_debian-security_dists_bookworm-security_InRelease",
                "",
                0o644,
            ),
        ] {
            files.insert(path, Node::file(text.as_bytes(), 0, mode, at));
        }
        for dir in ["/etc/ssh/sshd_config.d", "/root", "/home/admin", "/home/deploy", "/home/app"] {
            let node = Node::file(b"", 0, 0o755, at);
            files.insert(dir, Node { kind: NodeKind::Dir, ..node });
        }
        files
    }

    pub(super) fn all(&self) -> &BTreeMap<String, Node> {
        &self.0
    }

    pub(super) fn get(&self, path: &str) -> Option<&Node> {
        self.0.get(path)
    }

    pub(super) fn insert(&mut self, path: &str, node: Node) {
        self.0.insert(path.to_owned(), node);
    }

    pub(super) fn remove(&mut self, path: &str) {
        self.0.remove(path);
    }

    pub(super) fn forget_beneath(&mut self, prefix: &str) {
        self.0.retain(|path, _| !path.starts_with(prefix));
    }

    pub(super) fn change(&mut self, path: &str, how: impl FnOnce(&mut Node)) {
        how(self.0.get_mut(path).expect("a test changes a node that it placed"));
    }

    /// As rename(2) puts a file: replaces whatever stands there but a directory. Missing directories above it are made.
    pub(super) fn put(&mut self, path: &str, node: Node) -> PortResult<()> {
        if node.mode & !0o777 != 0 {
            let why = format!("mode {:o} is not a plain one", node.mode);
            return Err(PortError::Untrusted { what: path.to_owned(), why });
        }
        let (parent, name) = path.rsplit_once('/').expect("a managed path is absolute");
        let parent = match self.walk(parent, Trust::RootOnly) {
            Err(Astray::Absent) => self.make_parents(parent, node.mtime)?,
            way => way.map_err(|astray| astray.of(path))?,
        };
        let at = format!("{parent}/{name}");
        if self.is_dir(&at) {
            let why = "is a directory".into();
            return Err(PortError::Failed { doing: format!("writing {path}"), why });
        }
        self.0.insert(at, node);
        Ok(())
    }

    /// As `mkdir`, `chown root:` and `chmod 755` through a way that nobody else can change; nothing is made here.
    pub(super) fn open_directory(&mut self, path: &str) -> PortResult<()> {
        let (parent, name) = path.rsplit_once('/').expect("a managed path is absolute");
        let parent = self.walk(parent, Trust::RootOnly).map_err(|astray| astray.of(path))?;
        let at = format!("{parent}/{name}");
        let stands = self.is_dir(&at);
        match self.0.get_mut(&at) {
            Some(Node { kind: NodeKind::Dir, uid, mode, .. }) => {
                (*uid, *mode) = (0, 0o755);
                Ok(())
            }
            None if stands => Ok(()),
            None => Err(PortError::Absent { what: path.into() }),
            Some(_) => Err(PortError::Untrusted { what: path.into(), why: "is no directory".into() }),
        }
    }

    /// As rename(2) in one directory, of a regular file.
    pub(super) fn replace(&mut self, from: &str, to: &str) -> PortResult<()> {
        let parts = |path: &str| {
            let (parent, name) = path.rsplit_once('/').expect("a managed path is absolute");
            (parent.to_owned(), name.to_owned())
        };
        let ((parent, name), (beside, other)) = (parts(from), parts(to));
        if parent != beside {
            let why = "it must be in the directory of the file that takes its place".into();
            return Err(PortError::Untrusted { what: to.to_owned(), why });
        }
        let dir = self.walk(&parent, Trust::RootOnly).map_err(|astray| astray.of(from))?;
        let (at, there) = (format!("{dir}/{name}"), format!("{dir}/{other}"));
        match self.0.get(&at).map(|node| &node.kind) {
            Some(NodeKind::File(_)) => {}
            Some(kind) => {
                return Err(PortError::Untrusted {
                    what: from.to_owned(),
                    why: format!("is {}", kind.word()),
                });
            }
            None if self.is_dir(&at) => {
                return Err(PortError::Untrusted { what: from.to_owned(), why: "is a directory".into() });
            }
            None => return Err(PortError::Absent { what: from.to_owned() }),
        }
        if self.is_dir(&there) {
            let why = "is a directory".into();
            return Err(PortError::Failed { doing: format!("replacing {to}"), why });
        }
        if let Some(node) = self.0.remove(&at) {
            self.0.insert(there, node);
        }
        Ok(())
    }

    pub(super) fn unlink(&mut self, path: &str) -> PortResult<()> {
        let (parent, name) = path.rsplit_once('/').expect("a managed path is absolute");
        let parent = match self.walk(parent, Trust::RootOnly) {
            Err(Astray::Absent) => return Ok(()),
            way => way.map_err(|astray| astray.of(path))?,
        };
        let at = format!("{parent}/{name}");
        if self.is_dir(&at) {
            return Err(PortError::Untrusted { what: path.to_owned(), why: "is a directory".into() });
        }
        self.0.remove(&at);
        Ok(())
    }

    /// The port makes what is missing above a managed file: sshd reads keys as who logs in, the rest is root's.
    fn make_parents(&mut self, dir: &str, mtime: i64) -> PortResult<String> {
        let mode = if dir.starts_with("/etc/") { 0o755 } else { 0o700 };
        for (at, _) in dir.match_indices('/').skip(1).chain([(dir.len(), "")]) {
            let above = &dir[..at];
            match self.walk(above, Trust::RootOnly) {
                // A link to nowhere keeps a directory from being made.
                Err(Astray::Absent) if self.0.contains_key(above) => {
                    let why = "is a symbolic link, not a directory".into();
                    return Err(PortError::Untrusted { what: above.into(), why });
                }
                Err(Astray::Absent) => {
                    let node = Node { kind: NodeKind::Dir, uid: 0, mode, links: 1, mtime };
                    self.0.insert(above.into(), node);
                }
                way => drop(way.map_err(|astray| astray.of(above))?),
            }
        }
        self.walk(dir, Trust::RootOnly).map_err(|astray| astray.of(dir))
    }

    pub(super) fn read(&self, at: &Beneath, owner: Owner, limit: usize) -> PortResult<Vec<u8>> {
        let untrusted = |why: String| Err(PortError::Untrusted { what: at.path(), why });
        let path = self.find(at)?;
        if at.below.is_empty() {
            return untrusted("names no file".into());
        }
        let Some(node) = self.0.get(&path) else {
            if self.is_dir(&path) {
                return untrusted("is a directory".into());
            }
            return Err(PortError::Absent { what: path });
        };
        let NodeKind::File(bytes) = &node.kind else {
            return untrusted(format!("is {}", node.kind.word()));
        };
        if node.links != 1 && owner != Owner::Any {
            return untrusted(format!("has {} hard links", node.links));
        }
        let owned = match owner {
            Owner::Root => node.uid == 0,
            Owner::Uid(uid) => node.uid == uid || node.uid == 0,
            Owner::Any => true,
        };
        if !owned {
            return untrusted(format!("is owned by uid {}", node.uid));
        }
        if owner == Owner::Root && node.mode & 0o022 != 0 {
            return untrusted(format!("can be written by others (mode {:04o})", node.mode));
        }
        if bytes.len() > limit {
            return Err(PortError::TooLarge { what: path, limit });
        }
        Ok(bytes.clone())
    }

    pub(super) fn list(&self, at: &Beneath, limit: usize) -> PortResult<Vec<Entry>> {
        let path = self.find(at)?;
        if let Some(node) = self.0.get(&path)
            && node.kind != NodeKind::Dir
        {
            return Err(PortError::Untrusted { what: path, why: format!("is {}", node.kind.word()) });
        }
        if !self.is_dir(&path) {
            return Err(PortError::Absent { what: path });
        }
        let prefix = format!("{}/", path.trim_end_matches('/'));
        let mut found: BTreeMap<String, EntryKind> = BTreeMap::new();
        for (whole, node) in self.0.range(prefix.clone()..).take_while(|(p, _)| p.starts_with(&prefix)) {
            let below = &whole[prefix.len()..];
            match below.split_once('/') {
                Some((dir, _)) => found.insert(dir.to_owned(), EntryKind::Dir),
                None => found.insert(below.to_owned(), node.kind.entry()),
            };
        }
        if found.len() > limit {
            return Err(PortError::TooLarge { what: path, limit });
        }
        Ok(found.into_iter().map(|(name, kind)| Entry { name, kind }).collect())
    }

    pub(super) fn stat(&self, at: &Beneath) -> PortResult<Stat> {
        let path = self.find(at)?;
        match self.0.get(&path) {
            Some(node) => Ok(Stat {
                kind: node.kind.entry(),
                uid: node.uid,
                gid: 0,
                mode: node.mode,
                size: if let NodeKind::File(bytes) = &node.kind { bytes.len() as u64 } else { 0 },
                mtime: node.mtime,
            }),
            None if self.is_dir(&path) => {
                Ok(Stat { kind: EntryKind::Dir, uid: 0, gid: 0, mode: 0o755, size: 0, mtime: 0 })
            }
            None => Err(PortError::Absent { what: path }),
        }
    }

    fn is_dir(&self, path: &str) -> bool {
        let prefix = format!("{}/", path.trim_end_matches('/'));
        self.0.get(path).is_some_and(|n| n.kind == NodeKind::Dir)
            || self.0.range(prefix.clone()..).next().is_some_and(|(p, _)| p.starts_with(&prefix))
    }

    /// Where a path leads: its root through links that only root can have placed, the rest through none. Beneath what is
    /// no directory stands nothing.
    fn find(&self, at: &Beneath) -> PortResult<String> {
        let what = at.path();
        let lost = |astray: Astray| match astray {
            Astray::NoDirectory(_) => PortError::Absent { what: what.clone() },
            other => other.of(&what),
        };
        let outside = || Astray::Untrusted("leads out of its root".into()).of(&what);
        let base = self.walk(&at.root, Trust::LinksOfRoot).map_err(lost)?;
        if at.below.starts_with('/') {
            return Err(outside());
        }
        let mut path = base.clone();
        let mut names = at.below.split('/').filter(|name| !name.is_empty() && *name != ".").peekable();
        while let Some(name) = names.next() {
            if name == ".." {
                let parent = path.rsplit_once('/').filter(|_| path.len() > base.len()).ok_or_else(outside)?.0;
                path = parent.to_owned();
                continue;
            }
            path = format!("{path}/{name}");
            if names.peek().is_none() || self.is_dir(&path) {
                continue;
            }
            return Err(match self.0.get(&path).map(|node| &node.kind) {
                Some(NodeKind::Symlink(_)) => {
                    Astray::Untrusted(format!("goes through {path}, which is a symbolic link")).of(&what)
                }
                _ => Astray::Absent.of(&what),
            });
        }
        Ok(if path.is_empty() { "/".into() } else { path })
    }

    /// The way to a directory, one step at a time, as the real port walks it; the path without links, "" for /.
    fn walk(&self, path: &str, trust: Trust) -> Result<String, Astray> {
        let names = |path: &str| path.split('/').rev().map(str::to_owned).collect::<Vec<_>>();
        if !path.starts_with('/') || path.split('/').any(|name| name == "..") {
            return Err(Astray::Untrusted("is no plain absolute path".into()));
        }
        let (mut todo, mut at, mut links) = (names(path), String::new(), 0);
        while let Some(name) = todo.pop() {
            if name.is_empty() || name == "." {
                continue;
            }
            if name == ".." {
                at.truncate(at.rfind('/').unwrap_or(0));
                continue;
            }
            let next = format!("{at}/{name}");
            match self.0.get(&next) {
                Some(Node { kind: NodeKind::Symlink(to), uid, .. }) => {
                    links += 1;
                    if links > LINKS || *uid != 0 || !self.is_roots_alone(&at) {
                        return Err(Astray::Untrusted(format!(
                            "goes through {next}, which is a symbolic link"
                        )));
                    }
                    todo.extend(names(to));
                    if to.starts_with('/') {
                        at.clear();
                    }
                }
                _ if self.is_dir(&next) => {
                    if trust == Trust::RootOnly && !self.is_roots_alone(&next) {
                        return Err(Astray::Untrusted(format!("can be changed by others at {next}")));
                    }
                    at = next;
                }
                Some(node) => return Err(Astray::NoDirectory(format!("{next} is {}", node.kind.word()))),
                None => return Err(Astray::Absent),
            }
        }
        Ok(at)
    }

    /// Directories that exist by themselves are.
    fn is_roots_alone(&self, dir: &str) -> bool {
        self.0.get(dir).is_none_or(|node| node.uid == 0 && node.mode & 0o022 == 0)
    }
}

/// Links followed on one way at most.
const LINKS: u32 = 8;

/// What every directory on the way must be.
#[derive(Clone, Copy, PartialEq)]
enum Trust {
    /// Anything; links only where root alone could have placed them.
    LinksOfRoot,
    /// Root's, and writable by nobody else.
    RootOnly,
}

/// Why a way leads to no directory.
enum Astray {
    Absent,
    NoDirectory(String),
    Untrusted(String),
}

impl Astray {
    fn of(self, path: &str) -> PortError {
        let what = path.to_owned();
        match self {
            Self::Absent => PortError::Absent { what },
            Self::NoDirectory(why) | Self::Untrusted(why) => PortError::Untrusted { what, why },
        }
    }
}

impl NodeKind {
    fn word(&self) -> &'static str {
        match self {
            Self::File(_) => "a regular file",
            Self::Dir => "a directory",
            Self::Symlink(_) => "a symbolic link",
            Self::Fifo => "a FIFO",
        }
    }

    fn entry(&self) -> EntryKind {
        match self {
            Self::File(_) => EntryKind::File,
            Self::Dir => EntryKind::Dir,
            Self::Symlink(_) | Self::Fifo => EntryKind::Other,
        }
    }
}
