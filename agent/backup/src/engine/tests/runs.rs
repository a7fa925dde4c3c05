//! What a run stores, reads, leaves out and lacks, over several runs of one generation.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Write as _;
use std::ops::ControlFlow;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use super::common::{Bench, LATER, looks, noise};
use crate::engine::{
    self, BackupReport, EngineError, LackKind, LocalRepository, ObjectSink, ObjectSource, RestoreRequest,
    Sample, StoreError, VirtualFile,
};
use tenure_trust::Hash;
use tenure_trust::backup::{Object, ObjectKind};

fn paths(bench: &Bench, report: &BackupReport, at: &Path) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    engine::ls(&bench.open(), &report.snapshot, at, &mut |entry| {
        found.insert(entry.path.clone());
        ControlFlow::Continue(())
    })
    .unwrap();
    found
}

#[test]
fn what_has_not_changed_is_not_read() {
    let bench = Bench::new();
    for number in 0..40 {
        bench.file(&format!("d{}/e{}/f{number}", number % 3, number % 5), &noise(number, 3000));
    }
    let first = bench.backup(LATER, None);
    assert_eq!((first.files, first.read_bytes), (40, 120_000));
    let second = bench.backup(LATER + 1, Some(&first));
    assert_eq!((bench.tree(&second), second.read_bytes), (bench.tree(&first), 0));
    assert!(second.new_objects <= 3, "a snapshot, and what changed of the directories above");

    // one file more: its own directory's other files are taken over, and nothing else is looked into
    bench.file("d0/e0/new", b"twelve bytes");
    let third = bench.backup(LATER + 2, Some(&second));
    assert_eq!((third.files, third.read_bytes), (41, 12));
    assert_ne!(bench.tree(&third), bench.tree(&first));
    let fresh = bench.backup(LATER + 3, None);
    assert_eq!(bench.tree(&fresh), bench.tree(&third), "a run without a cache sees the same");

    fs::remove_file(bench.path("source/d0/e0/new")).unwrap();
    let fourth = bench.backup(LATER + 4, Some(&third));
    assert_eq!(fourth.read_bytes, 0);
    let fresh = bench.backup(LATER + 5, None);
    assert_eq!(bench.tree(&fresh), bench.tree(&fourth));
    engine::check(&bench.open(), Sample::All).unwrap();
}

#[test]
fn what_may_share_its_time_with_an_unseen_change_is_read_again() {
    let bench = Bench::new();
    let changed = fs::metadata(bench.file("f", b"1234")).unwrap().ctime();
    let first = bench.backup(changed + 1, None);
    let second = bench.backup(changed + 1, Some(&first));
    assert_eq!(second.read_bytes, 4);
    let third = bench.backup(changed + 60, Some(&second));
    assert_eq!(third.read_bytes, 4, "the run before was too near");
    assert_eq!(bench.backup(changed + 61, Some(&third)).read_bytes, 0);
}

#[test]
fn a_cache_of_another_generation_or_of_lost_objects_is_worth_nothing() {
    let bench = Bench::new();
    bench.file("d/f", b"1234");
    let first = bench.backup(LATER, None);
    let other = Bench::new();
    let mut request = bench.request(LATER, Some(&first));
    let report = other.backup_with(&request, &other.local).unwrap();
    assert_eq!(report.read_bytes, 4);
    engine::check(&other.open(), Sample::All).unwrap();

    // the index is there and a pack is not: the trees of the cache cannot be had, and nothing depends on them
    for pack in super::common::objects(&bench.path("repo/data")) {
        fs::remove_file(pack).unwrap();
    }
    bench.file("d/g", b"5678");
    request.cache = Some(first.cache.clone());
    assert!(bench.backup_with(&request, &bench.local).is_ok(), "it does not fail: the check afterwards does");
    assert!(matches!(engine::check(&bench.open(), Sample::Nothing), Err(EngineError::Missing { .. })));
    for index in super::common::objects(&bench.path("repo/index")) {
        fs::remove_file(index).unwrap();
    }
    request.cache = Some(first.cache);
    let report = bench.backup_with(&request, &bench.local).unwrap();
    assert_eq!(report.read_bytes, 8, "the index files that the cache builds on are gone");
    for snapshot in super::common::objects(&bench.path("repo/snapshots")) {
        if !snapshot.ends_with(report.snapshot.to_string()) {
            fs::remove_file(snapshot).unwrap();
        }
    }
    engine::check(&bench.open(), Sample::All).unwrap();
}

#[test]
fn excluded_paths_and_inodes_stay_out_and_all_else_comes() {
    let bench = Bench::new();
    for name in ["keep/a", "keep/b", "cache/x", "keep/cache/y", "data/base/1", "data/other/2"] {
        bench.file(name, name.as_bytes());
    }
    let source = bench.path("source");
    let base = fs::metadata(source.join("data/base")).unwrap();
    let mut request = bench.request(LATER, None);
    request.exclude.paths = BTreeSet::from([source.join("cache"), source.join("keep/b")]);
    request.exclude.inodes = BTreeSet::from([(base.dev(), base.ino())]);
    let report = bench.backup_with(&request, &bench.local).unwrap();
    let found = paths(&bench, &report, &source);
    let wanted = ["", "data", "data/other", "data/other/2", "keep", "keep/a", "keep/cache", "keep/cache/y"];
    let wanted: BTreeSet<PathBuf> =
        wanted.iter().map(|name| if name.is_empty() { source.clone() } else { source.join(name) }).collect();
    assert_eq!(found, wanted);
    // another choice is another snapshot, also with the cache of the first
    request.exclude.paths.clear();
    request.cache = Some(report.cache);
    let report = bench.backup_with(&request, &bench.local).unwrap();
    assert!(paths(&bench, &report, &source).contains(&source.join("cache/x")));
}

#[test]
fn only_listed_paths_and_no_link_on_the_way() {
    let bench = Bench::new();
    bench.file("a/in", b"in");
    bench.file("b/out", b"out");
    let source = bench.path("source");
    std::os::unix::fs::symlink(source.join("b"), source.join("to-b")).unwrap();
    let mut request = bench.request(LATER, None);
    request.paths = vec![
        source.join("a"),
        source.join("to-b"),
        source.join("to-b/out"),
        source.join("absent"),
        "/dev/null".into(),
    ];
    let report = bench.backup_with(&request, &bench.local).unwrap();
    let lacks: Vec<_> = report.lacks.iter().map(|lack| (lack.path.clone(), lack.kind)).collect();
    assert_eq!(lacks, [(source.join("absent"), LackKind::Missing)]);
    let found = paths(&bench, &report, &source);
    let wanted = [source.clone(), source.join("a"), source.join("a/in"), source.join("to-b")];
    assert_eq!(found, BTreeSet::from(wanted));
    // asked for by itself, the way through the link is missing
    request.paths = vec![source.join("to-b/out")];
    let report = bench.backup_with(&request, &bench.local).unwrap();
    assert_eq!((report.unreadable, report.lacks[0].kind), (1, LackKind::Missing));
}

#[test]
fn pseudo_file_systems_are_left_out_unless_named() {
    let bench = Bench::new();
    let mut request = bench.request(LATER, None);
    request.paths = vec!["/proc/sys/kernel".into()];
    request.exclude.paths = BTreeSet::new();
    let named = bench.backup_with(&request, &bench.local).unwrap();
    assert!(named.directories > 3 && named.left_out.is_empty(), "{named:?}");
    assert!(named.unreadable > 0, "files without a size are told, not stored as empty");
    // what stands below /dev is another file system there, or nothing
    request.paths = vec!["/dev".into()];
    let report = bench.backup_with(&request, &bench.local).unwrap();
    for path in &report.left_out {
        assert!(paths(&bench, &report, path).len() == 1, "{} is kept, empty", path.display());
    }
    assert!(!report.left_out.is_empty(), "/dev/pts or /dev/shm");
}

#[test]
fn virtual_files_stand_where_they_were_asked_for() {
    let bench = Bench::new();
    bench.file("f", b"f");
    let dump = bench.path("dump");
    let bytes = noise(5, 3 << 20);
    fs::write(&dump, &bytes).unwrap();
    let mut request = bench.request(LATER, None);
    let given = |path: &str| VirtualFile { path: path.into(), file: File::open(&dump).unwrap(), mode: 0o600 };
    request.virtual_files = vec![given("/dumps/main.pgdump"), given("/dumps/other/second.pgdump")];
    let report = bench.backup_with(&request, &bench.local).unwrap();
    assert_eq!((report.unreadable, report.files), (0, 3), "{:?}", report.lacks);
    let mut out = Vec::new();
    let path = Path::new("/dumps/other/second.pgdump");
    engine::dump(&bench.open(), &report.snapshot, path, &mut out).unwrap();
    assert_eq!(out, bytes);
    assert!(bench.restic(&["check", "--read-data"]).unwrap().contains("no errors were found"));
    let target = bench.path("restored");
    fs::create_dir(&target).unwrap();
    let subset = vec!["/dumps/main.pgdump".into(), bench.path("source")];
    let request = RestoreRequest { subset, target: target.clone(), writers: Some(1) };
    let restored = engine::restore(&bench.open(), &report.snapshot, &request).unwrap();
    assert_eq!((restored.failed, restored.files), (0, 2));
    assert_eq!(fs::read(target.join("dumps/main.pgdump")).unwrap(), bytes);
    assert!(!target.join("dumps/other").exists());
    for absent in ["/dumps/none", "/dumps", "/"] {
        let dumped = engine::dump(&bench.open(), &report.snapshot, Path::new(absent), &mut Vec::new());
        assert!(matches!(dumped, Err(EngineError::NoSuchPath { .. })), "{absent}");
    }
}

#[test]
fn a_file_that_does_not_stand_still_is_told_and_what_stands_still_is_not() {
    let bench = Bench::new();
    let growing = bench.file("log", &noise(6, 20 << 20));
    bench.file("still", b"still");
    let done = AtomicBool::new(false);
    let mut log = File::options().append(true).open(&growing).unwrap();
    let report = thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                log.write_all(b"more").unwrap();
                thread::yield_now();
            }
        });
        let report = bench.backup_with(&bench.request(LATER, None), &bench.local);
        done.store(true, Ordering::Relaxed);
        report.unwrap()
    });
    let lacks: Vec<_> = report.lacks.iter().map(|lack| (lack.path.clone(), lack.kind)).collect();
    assert_eq!((report.changed, lacks), (1, vec![(growing, LackKind::Changed)]));
    let again = bench.backup(LATER + 1, Some(&report));
    assert_eq!(again.changed, 0);
    let (ours, _) = bench.restore(&again, "ours");
    assert_eq!(looks(&ours), looks(&bench.path("source")));
}

/// Refuses the n-th object.
struct Failing<'b> {
    local: &'b LocalRepository,
    after: u64,
    count: AtomicU64,
}

impl ObjectSink for Failing<'_> {
    fn put(&self, object: &Object, bytes: &[u8]) -> Result<u64, StoreError> {
        if self.count.fetch_add(1, Ordering::Relaxed) >= self.after {
            return Err(StoreError::new("storing", object.kind, &object.name, "no room left"));
        }
        self.local.put(object, bytes)
    }
}

#[test]
fn a_sink_that_fails_ends_the_run_and_the_next_one_succeeds() {
    let bench = Bench::new();
    for number in 0..12 {
        bench.file(&format!("d{}/f{number}", number % 4), &noise(number, 5 << 20));
    }
    let whole = Bench::new();
    let mut request = bench.request(LATER, None);
    let objects = whole.backup_with(&request, &whole.local).unwrap().new_objects;
    assert!(objects > 5, "{objects}");
    let mut cache = None;
    for after in 0..objects {
        let failing = Failing { local: &bench.local, after, count: AtomicU64::new(0) };
        request.cache = cache.clone();
        match bench.backup_with(&request, &failing) {
            Err(EngineError::Store(_)) => {
                assert!(engine::snapshots(&bench.open()).unwrap().is_empty(), "after {after}");
            }
            // what earlier runs had indexed need not be stored again
            Ok(report) => cache = Some(report.cache),
            Err(other) => panic!("after {after}: {other:?}"),
        }
    }
    let report = bench.backup(LATER + 1, None);
    engine::check(&bench.open(), Sample::All).unwrap();
    assert!(bench.restic(&["check", "--read-data"]).unwrap().contains("no errors were found"));
    let (ours, _) = bench.restore(&report, "ours");
    assert_eq!(looks(&ours), looks(&bench.path("source")));
}

/// Loses everything that is asked for.
struct Lost;

impl ObjectSource for Lost {
    fn config(&self) -> Result<Vec<u8>, StoreError> {
        Err(StoreError { doing: "reading", what: "config".to_owned(), why: "the line is cut".into() })
    }
    fn list(&self, kind: ObjectKind) -> Result<Vec<Object>, StoreError> {
        Err(StoreError::new("listing", kind, &Hash::of(b""), "the line is cut"))
    }
    fn read(&self, kind: ObjectKind, name: &Hash, _: u64, _: &mut [u8]) -> Result<(), StoreError> {
        Err(StoreError::new("reading", kind, name, "the line is cut"))
    }
}

#[test]
fn a_source_that_fails_is_an_error() {
    let bench = Bench::new();
    assert!(matches!(engine::open(&Lost, engine::Unlock::Master(&bench.master)), Err(EngineError::Store(_))));
}
