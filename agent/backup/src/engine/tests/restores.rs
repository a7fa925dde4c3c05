//! Arbitrary trees come back as they were; a restore stays below its target and overwrites nothing.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use super::common::{Bench, LATER, looks, noise};
use crate::engine::{self, RestoreRequest, Sample};
use proptest::prelude::*;

/// What one step puts into a tree.
#[derive(Clone, Debug)]
enum Made {
    File(u64, usize),
    Link(Vec<u8>),
    Same(usize),
    Directory,
}

fn steps() -> impl Strategy<Value = Vec<(usize, Vec<u8>, Made, u32)>> {
    let name = prop::collection::vec(
        prop_oneof![4 => 97u8..=122, 1 => 1u8..=255].prop_filter("no name", |b| *b != b'/'),
        1..12,
    )
    .prop_filter("no name", |name| name != b"." && name != b"..");
    let size = prop_oneof![3 => 0usize..10, 3 => 0usize..9000, 1 => 500_000usize..1_500_000];
    let made = prop_oneof![
        5 => (any::<u64>(), size).prop_map(|(seed, size)| Made::File(seed, size)),
        1 => prop::collection::vec(1u8..=255, 1..30).prop_map(Made::Link),
        1 => any::<usize>().prop_map(Made::Same),
        3 => Just(Made::Directory),
    ];
    prop::collection::vec((any::<usize>(), name, made, 0u32..0o10000), 1..40)
}

/// Carries the steps out, as far as they can be.
fn build(root: &Path, steps: &[(usize, Vec<u8>, Made, u32)]) {
    let (mut directories, mut files) = (vec![root.to_owned()], Vec::<PathBuf>::new());
    for (at, name, made, mode) in steps {
        let path = directories[at % directories.len()].join(OsStr::from_bytes(name));
        if path.symlink_metadata().is_ok() {
            continue;
        }
        match made {
            Made::File(seed, size) => {
                fs::write(&path, noise(*seed, *size)).unwrap();
                files.push(path.clone());
            }
            Made::Link(target) => {
                std::os::unix::fs::symlink(OsStr::from_bytes(target), &path).unwrap();
                continue;
            }
            Made::Same(of) if !files.is_empty() => fs::hard_link(&files[of % files.len()], &path).unwrap(),
            Made::Same(_) => continue,
            Made::Directory => {
                fs::create_dir(&path).unwrap();
                directories.push(path.clone());
            }
        }
        fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(*mode)).unwrap();
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn any_tree_comes_back(first in steps(), more in steps(), workers in 1usize..4) {
        let bench = Bench::new();
        let source = bench.path("source");
        build(&source, &first);
        let mut request = bench.request(LATER, None);
        request.workers = Some(workers);
        let one = bench.backup_with(&request, &bench.local).unwrap();
        prop_assert_eq!(one.unreadable + one.changed + one.vanished, 0, "{:?}", one.lacks);
        let before = looks(&source);
        build(&source, &more);
        let two = bench.backup(LATER + 10, Some(&one));
        let fresh = bench.backup(LATER + 11, None);
        prop_assert_eq!(bench.tree(&fresh), bench.tree(&two), "with the cache and without");
        engine::check(&bench.open(), Sample::All).unwrap();
        let (restored, said) = bench.restore(&two, "two");
        prop_assert_eq!(said.failed, 0, "{:?}", said.lacks);
        prop_assert_eq!(looks(&restored), looks(&source));
        let (restored, said) = bench.restore(&one, "one");
        prop_assert_eq!(said.failed, 0, "{:?}", said.lacks);
        // adding to a directory, or a name to a file, changes what stands there now and not what was saved
        let after = looks(&restored);
        prop_assert_eq!(after.keys().collect::<Vec<_>>(), before.keys().collect::<Vec<_>>());
        prop_assert_eq!(after, before);
    }
}

#[test]
fn a_link_in_the_target_leads_nowhere_and_nothing_is_overwritten() {
    let bench = Bench::new();
    bench.file("d/inside", b"inside");
    bench.file("e/f", b"from the backup");
    bench.file("plain", b"from the backup");
    let report = bench.backup(LATER, None);
    let target = bench.path("target");
    let place = target.join(bench.path("source").strip_prefix("/").unwrap());
    let elsewhere = bench.path("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    fs::create_dir_all(place.join("e")).unwrap();
    std::os::unix::fs::symlink(&elsewhere, place.join("d")).unwrap();
    std::os::unix::fs::symlink(elsewhere.join("made"), place.join("plain")).unwrap();
    fs::write(place.join("e/f"), b"mine").unwrap();
    let request = RestoreRequest { target, ..RestoreRequest::default() };
    let restored = engine::restore(&bench.open(), &report.snapshot, &request).unwrap();
    let lacks: Vec<PathBuf> = restored.lacks.iter().map(|lack| lack.path.clone()).collect();
    let source = bench.path("source");
    assert_eq!(lacks, [source.join("d"), source.join("e/f"), source.join("plain")]);
    assert_eq!(fs::read_dir(&elsewhere).unwrap().count(), 0);
    assert_eq!(fs::read(place.join("e/f")).unwrap(), b"mine");
}

#[test]
fn links_swapped_into_the_target_while_it_is_written_lead_nowhere() {
    let bench = Bench::new();
    for n in 0..60 {
        bench.file(&format!("d{n}/deep/er/file"), b"from the backup");
    }
    let report = bench.backup(LATER, None);
    let elsewhere = bench.path("elsewhere");
    fs::create_dir_all(elsewhere.join("deep/er")).unwrap();
    let mut swapped = 0;
    for round in 0..8 {
        let target = bench.path(&format!("target{round}"));
        fs::create_dir(&target).unwrap();
        let place = target.join(bench.path("source").strip_prefix("/").unwrap());
        let request = RestoreRequest { target, ..RestoreRequest::default() };
        let over = std::sync::atomic::AtomicBool::new(false);
        swapped += std::thread::scope(|scope| {
            let swapping = scope.spawn(|| {
                let mut swapped = 0;
                while !over.load(std::sync::atomic::Ordering::Relaxed) {
                    for n in 0..60 {
                        // Whatever of it is there at this moment is taken away, and a link left in its place.
                        let mut at = place.join(format!("d{n}"));
                        for below in ["deep", "er", ""] {
                            // Only this thread makes links: what is none now is none in the next line.
                            if !fs::symlink_metadata(&at).is_ok_and(|meta| meta.is_dir()) {
                                break;
                            }
                            if (n + round) % 3 == ["deep", "er", ""].iter().position(|b| *b == below).unwrap()
                            {
                                let away = place.join("away");
                                if fs::rename(&at, &away).is_ok() {
                                    swapped +=
                                        usize::from(std::os::unix::fs::symlink(&elsewhere, &at).is_ok());
                                    let _ = fs::remove_dir_all(&away);
                                }
                                break;
                            }
                            at = at.join(below);
                        }
                    }
                }
                swapped
            });
            // Lacks are what it came to; that nothing was written elsewhere is what counts.
            let _ = engine::restore(&bench.open(), &report.snapshot, &request);
            over.store(true, std::sync::atomic::Ordering::Relaxed);
            swapping.join().unwrap()
        });
    }
    assert!(swapped > 0, "nothing was swapped in time: the test says nothing");
    let found: Vec<_> = looks(&elsewhere).into_keys().collect();
    assert_eq!(fs::read_dir(&elsewhere).unwrap().count(), 1, "only its own directory: {found:?}");
    assert_eq!(fs::read_dir(elsewhere.join("deep")).unwrap().count(), 1, "{found:?}");
    assert_eq!(fs::read_dir(elsewhere.join("deep/er")).unwrap().count(), 0, "{found:?}");
}

#[test]
fn a_link_to_the_target_or_on_the_way_to_it_is_not_followed() {
    let bench = Bench::new();
    bench.file("f", b"from the backup");
    let report = bench.backup(LATER, None);
    let elsewhere = bench.path("elsewhere");
    fs::create_dir_all(elsewhere.join("below")).unwrap();
    let link = bench.path("link");
    std::os::unix::fs::symlink(&elsewhere, &link).unwrap();
    for target in [link.clone(), link.join("below")] {
        let request = RestoreRequest { target, ..RestoreRequest::default() };
        let refused = engine::restore(&bench.open(), &report.snapshot, &request);
        assert!(matches!(refused, Err(engine::EngineError::Io { .. })), "{refused:?}");
    }
    assert_eq!(fs::read_dir(&elsewhere).unwrap().count(), 1);
    assert_eq!(fs::read_dir(elsewhere.join("below")).unwrap().count(), 0);
}

#[test]
fn one_file_of_many_and_one_that_is_not_there() {
    let bench = Bench::new();
    bench.file("d/a", b"a");
    bench.file("d/b", b"b");
    let report = bench.backup(LATER, None);
    let target = bench.path("target");
    fs::create_dir(&target).unwrap();
    let file = bench.path("source/d/b");
    let mut request = RestoreRequest { subset: vec![file.clone()], target: target.clone(), writers: None };
    engine::restore(&bench.open(), &report.snapshot, &request).unwrap();
    let place = target.join(file.strip_prefix("/").unwrap());
    assert_eq!(fs::read(&place).unwrap(), b"b");
    assert!(!place.with_file_name("a").exists());
    request.subset = vec![bench.path("source/d/c")];
    let absent = engine::restore(&bench.open(), &report.snapshot, &request);
    assert!(matches!(absent, Err(engine::EngineError::NoSuchPath { .. })));
    request.subset = vec!["relative".into()];
    let relative = engine::restore(&bench.open(), &report.snapshot, &request);
    assert!(matches!(relative, Err(engine::EngineError::Path { .. })));
}
