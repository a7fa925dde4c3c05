//! A repository in a directory, trees of files to back up, and how one tree is compared with another.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::engine::{
    self, BackupReport, BackupRequest, EngineError, LocalRepository, MasterKey, ObjectSink, Password,
    Repository, RestoreReport, RestoreRequest, Unlock,
};
use jiff::Timestamp;
use tempfile::TempDir;
use tenure_trust::Hash;

use crate::engine::blobs::{Blobs, Scratch};
use crate::engine::listing::find;
use crate::engine::tree::NodeKind;
use tenure_sys::command::{Program, capture};

/// Long after the files of a test were made: what they hold cannot have changed since.
pub(crate) const LATER: i64 = 4_000_000_000;

/// A repository with its key, a source and room to restore.
pub(crate) struct Bench {
    pub(crate) dir: TempDir,
    pub(crate) local: LocalRepository,
    pub(crate) master: MasterKey,
}

impl Bench {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let password = Password::new("swordfish".to_owned());
        let made = engine::create(&password, Timestamp::UNIX_EPOCH, "web1", "root").unwrap();
        let local = LocalRepository::found(dir.path().join("repo"), &made).unwrap();
        fs::write(dir.path().join("password"), "swordfish").unwrap();
        fs::create_dir(dir.path().join("source")).unwrap();
        Self { dir, local, master: made.master }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A file of the source, with its directories.
    pub(crate) fn file(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.path("source").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, bytes).unwrap();
        path
    }

    pub(crate) fn open(&self) -> Repository<'_> {
        engine::open(&self.local, Unlock::Master(&self.master)).unwrap()
    }

    pub(crate) fn request(&self, at: i64, cache: Option<&BackupReport>) -> BackupRequest {
        BackupRequest {
            started: Timestamp::from_second(at).unwrap(),
            hostname: "web1".to_owned(),
            username: "root".to_owned(),
            paths: vec![self.path("source")],
            cache: cache.map(|report| report.cache.clone()),
            ..BackupRequest::default()
        }
    }

    pub(crate) fn backup(&self, at: i64, cache: Option<&BackupReport>) -> BackupReport {
        self.backup_with(&self.request(at, cache), &self.local).unwrap()
    }

    pub(crate) fn backup_with(
        &self,
        request: &BackupRequest,
        sink: &dyn ObjectSink,
    ) -> Result<BackupReport, EngineError> {
        engine::backup(&self.open(), sink, request)
    }

    /// Restores into a new directory; where the source stands in it.
    pub(crate) fn restore(&self, report: &BackupReport, into: &str) -> (PathBuf, RestoreReport) {
        let target = self.path(into);
        fs::create_dir(&target).unwrap();
        let request = RestoreRequest { target: target.clone(), ..RestoreRequest::default() };
        let restored = engine::restore(&self.open(), &report.snapshot, &request).unwrap();
        (target.join(self.path("source").strip_prefix("/").unwrap()), restored)
    }

    /// The tree of the source alone: the directories that lead to it are everybody's.
    pub(crate) fn tree(&self, report: &BackupReport) -> Hash {
        let open = self.open();
        let blobs = Blobs::of(&open).unwrap();
        let node = find(&blobs, &report.tree, &self.path("source"), &mut Scratch::default()).unwrap();
        match node.map(|node| node.kind) {
            Some(NodeKind::Dir(tree)) => tree,
            other => panic!("{other:?}"),
        }
    }

    /// Asks Debian's restic, with this repository and its password.
    pub(crate) fn restic(&self, arguments: &[&str]) -> Result<String, String> {
        restic(&self.path("repo"), &self.path("password"), arguments)
    }
}

/// Asks Debian's restic.
pub(crate) fn restic(repository: &Path, password: &Path, arguments: &[&str]) -> Result<String, String> {
    let given = [repository, password].map(|path| path.to_str().unwrap());
    let fixed = ["--no-cache", "--repo", given[0], "--password-file", given[1]];
    let program = Program::new("/usr/bin/restic", fixed.iter().chain(arguments))
        .timeout(Duration::from_secs(120))
        .cap(8 << 20);
    let output =
        capture(&program).map_err(|why| format!("restic is needed (tests/lab/packages.sh test): {why}"))?;
    let text =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    output.success().map(|_| text.clone()).map_err(|_| text)
}

/// Everything that a restore must bring back, by path.
pub(crate) fn looks(root: &Path) -> BTreeMap<PathBuf, String> {
    let mut found = BTreeMap::new();
    let mut waiting = vec![root.to_owned()];
    let mut inodes = BTreeMap::new();
    while let Some(path) = waiting.pop() {
        let meta = fs::symlink_metadata(&path).unwrap();
        let kind = meta.file_type();
        let relative = path.strip_prefix(root).unwrap().to_owned();
        let mut look = format!(
            "{:o} {} {} {}.{:09}",
            meta.mode(),
            meta.uid(),
            meta.gid(),
            meta.mtime(),
            meta.mtime_nsec()
        );
        if kind.is_dir() {
            waiting.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        } else if kind.is_symlink() {
            look.push_str(&format!(" -> {:?}", fs::read_link(&path).unwrap()));
        } else if kind.is_file() {
            let hash = Hash::of(&fs::read(&path).unwrap());
            let first = inodes.entry(meta.ino()).or_insert_with(|| relative.clone());
            look.push_str(&format!(" {} {hash} with {first:?} {}", meta.len(), meta.nlink()));
        } else if kind.is_char_device() || kind.is_block_device() {
            look.push_str(&format!(" device {}", meta.rdev()));
        }
        for (name, value) in xattrs(&path) {
            look.push_str(&format!(" {name}={value:?}"));
        }
        found.insert(relative, look);
    }
    found
}

fn xattrs(path: &Path) -> Vec<(String, Vec<u8>)> {
    let mut names = vec![0; 4096];
    let len = rustix::fs::llistxattr(path, &mut names[..]).unwrap();
    let mut found = Vec::new();
    for name in names[..len].split(|b| *b == 0).filter(|name| !name.is_empty()) {
        let mut value = vec![0; 4096];
        let len = rustix::fs::lgetxattr(path, name, &mut value[..]).unwrap();
        found.push((String::from_utf8_lossy(name).into_owned(), value[..len].to_vec()));
    }
    found.sort();
    found
}

/// Every object of a repository in a directory.
pub(crate) fn objects(repository: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut waiting = vec![repository.to_owned()];
    while let Some(path) = waiting.pop() {
        if path.is_dir() {
            waiting.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        } else {
            found.push(path);
        }
    }
    found.sort_by(|a, b| a.as_os_str().as_bytes().cmp(b.as_os_str().as_bytes()));
    found
}

/// Bytes that do not compress and are the same in every run.
pub(crate) fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(2).wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 24) as u8
    };
    (0..len).map(|_| next()).collect()
}
