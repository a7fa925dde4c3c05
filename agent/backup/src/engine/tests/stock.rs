//! Debian's restic as the judge: it checks and restores what we write, and we read what it writes.

use std::fs::{self, File, Permissions};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use super::common::{Bench, LATER, looks, noise};
use crate::engine::{self, LocalRepository, Password, RestoreRequest, Sample, Unlock};
use rustix::fs::{CWD, FileType, Mode, XattrFlags, lsetxattr, makedev, mknodat};

/// Of every kind that a file can be, with names that are no text.
fn of_every_kind(root: &Path) {
    let odd = root.join(std::ffi::OsStr::from_bytes(b"d\xff\n\"x\\y"));
    fs::create_dir_all(&odd).unwrap();
    let long = [b'x'; 255];
    for name in [
        &b"a\x01b"[..],
        "é".as_bytes(),
        b"quote\"s",
        b"back\\slash",
        b"\xff\xfe",
        &long,
        b"...",
        b" lead",
        b"\\x41",
    ] {
        fs::write(odd.join(std::ffi::OsStr::from_bytes(name)), name).unwrap();
    }
    fs::write(root.join("empty"), b"").unwrap();
    fs::hard_link(root.join("empty"), root.join("hard")).unwrap();
    fs::write(root.join("big"), [noise(1, 9 << 20), vec![0; 9 << 20], b"text ".repeat(900_000)].concat())
        .unwrap();
    std::os::unix::fs::symlink("nowhere/at all", root.join("link")).unwrap();
    fs::create_dir(root.join("sticky")).unwrap();
    fs::set_permissions(root.join("sticky"), Permissions::from_mode(0o1777)).unwrap();
    fs::write(root.join("setuid"), b"#!").unwrap();
    std::os::unix::fs::chown(root.join("setuid"), Some(1234), Some(4321)).unwrap();
    fs::set_permissions(root.join("setuid"), Permissions::from_mode(0o6755)).unwrap();
    let make = |name: &str, kind, device| {
        mknodat(CWD, root.join(name), kind, Mode::from_raw_mode(0o640), device).unwrap();
    };
    make("fifo", FileType::Fifo, 0);
    make("null", FileType::CharacterDevice, makedev(1, 3));
    make("loop", FileType::BlockDevice, makedev(7, 300));
    for name in ["setuid", "sticky"] {
        lsetxattr(root.join(name), "user.note", b"\x00\xff v", XattrFlags::empty()).unwrap();
    }
    lsetxattr(root.join("link"), "trusted.note", b"of a link", XattrFlags::empty()).unwrap();
    let old = File::open(root.join("setuid")).unwrap();
    let times =
        fs::FileTimes::new().set_modified(std::time::UNIX_EPOCH - std::time::Duration::new(5, 500_000_000));
    old.set_times(times).unwrap();
}

#[test]
fn restic_checks_and_restores_what_we_write_and_so_do_we() {
    let bench = Bench::new();
    of_every_kind(&bench.path("source"));
    let first = bench.backup(LATER, None);
    bench.file("later", &noise(2, 700_000));
    let report = bench.backup(LATER + 60, Some(&first));
    assert_eq!((report.unreadable, report.changed, report.vanished), (0, 0, 0), "{:?}", report.lacks);
    let said = bench.restic(&["check", "--read-data"]).unwrap();
    assert!(said.contains("no errors were found"), "{said}");

    let wanted = looks(&bench.path("source"));
    assert!(wanted.len() > 20);
    let (ours, restored) = bench.restore(&report, "ours");
    assert_eq!((restored.failed, restored.lacks), (0, vec![]));
    assert_eq!(looks(&ours), wanted);

    let theirs = bench.path("theirs");
    bench.restic(&["restore", &report.snapshot.to_string(), "--target", theirs.to_str().unwrap()]).unwrap();
    let mut theirs = looks(&theirs.join(bench.path("source").strip_prefix("/").unwrap()));
    // restic 0.14 sets the attributes of a link on what it points to, and fails silently where that is nothing
    let link = Path::new("link").to_owned();
    assert!(wanted[&link].starts_with(&theirs.remove(&link).unwrap()));
    let mut wanted = wanted;
    wanted.remove(&link);
    assert_eq!(theirs, wanted);
}

#[test]
fn we_read_what_restic_writes() {
    let bench = Bench::new();
    of_every_kind(&bench.path("source"));
    let (repository, password) = (bench.path("stock"), bench.path("password"));
    let ask = |arguments: &[&str]| super::common::restic(&repository, &password, arguments).unwrap();
    ask(&["init", "--repository-version", "2"]);
    ask(&["backup", bench.path("source").to_str().unwrap(), "--tag", "theirs"]);
    let local = LocalRepository::at(&repository);
    let open = engine::open(&local, Unlock::Password(&Password::new("swordfish".to_owned()))).unwrap();
    let snapshots = engine::snapshots(&open).unwrap();
    assert_eq!(snapshots[0].tags, ["theirs"]);
    let checked = engine::check(&open, Sample::All).unwrap();
    assert_eq!((checked.snapshots, checked.packs_read), (1, checked.packs));
    let target = bench.path("ours");
    fs::create_dir(&target).unwrap();
    let request = RestoreRequest { target: target.clone(), ..RestoreRequest::default() };
    let restored = engine::restore(&open, &snapshots[0].id, &request).unwrap();
    assert_eq!(restored.failed, 0, "{:?}", restored.lacks);
    let source = bench.path("source");
    let mut wanted = looks(&source);
    let mut found = looks(&target.join(source.strip_prefix("/").unwrap()));
    // restic 0.14 asks a link's target for the link's attributes
    let link = Path::new("link").to_owned();
    assert!(wanted.remove(&link).unwrap().starts_with(&found.remove(&link).unwrap()));
    assert_eq!(found, wanted);
}

#[test]
fn restic_backs_up_into_our_repository_and_we_go_on() {
    let bench = Bench::new();
    bench.file("a", &noise(3, 3 << 20));
    bench.backup(LATER, None);
    bench.restic(&["backup", bench.path("source").to_str().unwrap()]).unwrap();
    bench.file("b", &noise(4, 3 << 20));
    let report = bench.backup(LATER + 60, None);
    let open = bench.open();
    assert_eq!(engine::check(&open, Sample::All).unwrap().snapshots, 3);
    let said = bench.restic(&["check", "--read-data"]).unwrap();
    assert!(said.contains("no errors were found"), "{said}");
    let (ours, _) = bench.restore(&report, "ours");
    assert_eq!(looks(&ours), looks(&bench.path("source")));
}
