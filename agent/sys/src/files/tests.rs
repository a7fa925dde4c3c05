//! Files as an attacker leaves them.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::*;

/// A directory whose parents are root's alone, as /tmp is not.
fn dir() -> tempfile::TempDir {
    let dir = tempfile::tempdir_in("/run").expect("tests run as root");
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).expect("own directory");
    dir
}

fn base(dir: &tempfile::TempDir) -> BaseDir {
    BaseDir::open(dir.path()).expect("base")
}

fn read(dir: &tempfile::TempDir, name: &str) -> Result<Vec<u8>, FileError> {
    base(dir).read(Path::new(name), &Expect::roots(100)).map(|file| file.bytes)
}

fn fifo(path: &Path) {
    rustix::fs::mknodat(rustix::fs::CWD, path, rustix::fs::FileType::Fifo, rustix::fs::Mode::RWXU, 0)
        .expect("fifo");
}

fn put<'a>(path: &'a Path, bytes: &'a [u8]) -> Put<'a> {
    Put { path, bytes, mode: 0o640, uid: 0, gid: 0 }
}

fn names(dir: &tempfile::TempDir) -> Vec<String> {
    let mut out: Vec<String> = fs::read_dir(dir.path())
        .expect("list")
        .map(|e| e.expect("entry").file_name().to_string_lossy().into_owned())
        .collect();
    out.sort();
    out
}

#[test]
fn a_plain_file_is_read_with_what_it_is() {
    let d = dir();
    fs::create_dir(d.path().join("sub")).expect("sub");
    fs::write(d.path().join("sub/a"), b"text").expect("a");
    let file = base(&d).read(Path::new("sub/a"), &Expect::roots(4)).expect("read");
    assert_eq!(file.bytes, b"text");
    assert_eq!((file.stat.kind, file.stat.uid, file.stat.size, file.stat.links), (Kind::File, 0, 4, 1));
    assert_eq!(
        read(&d, "sub/b").expect_err("missing").to_string(),
        format!("cannot look at {}/sub/b", d.path().display())
    );
    assert!(read(&d, "sub/b").expect_err("missing").is_missing());
    assert!(read(&d, "sub/a/none").expect_err("a is a file").is_missing());
    assert!(base(&d).exists(Path::new("sub")).expect("stat"));
    assert!(!base(&d).exists(Path::new("none")).expect("stat"));
}

#[test]
fn links_are_not_followed_anywhere() {
    let d = dir();
    fs::write(d.path().join("real"), b"x").expect("real");
    symlink("real", d.path().join("end")).expect("link");
    symlink("/etc", d.path().join("middle")).expect("link");
    symlink(".", d.path().join("self")).expect("link");
    for name in ["end", "middle/passwd", "self/real"] {
        assert!(matches!(read(&d, name), Err(FileError::Link { .. })), "{name}");
    }
    // A link is still described, and the way to it is not followed.
    assert_eq!(base(&d).stat(Path::new("end")).expect("stat").kind, Kind::Symlink);
    assert!(base(&d).stat(Path::new("middle/passwd")).is_err());
    for name in ["end", "middle"] {
        assert!(
            matches!(base(&d).list(Path::new(name), 10), Err(FileError::Link { .. })),
            "{name} is not nothing"
        );
    }
    assert!(matches!(base(&d).list(Path::new("real"), 10), Err(FileError::WrongKind { .. })));
    assert!(base(&d).list(Path::new("real/none"), 10).expect_err("a file").is_missing());
}

#[test]
fn no_way_leads_out() {
    let d = dir();
    assert!(matches!(read(&d, "../../etc/passwd"), Err(FileError::Link { .. })));
    assert!(matches!(read(&d, "/etc/passwd"), Err(FileError::BadPath { .. })));
    assert!(matches!(read(&d, ""), Err(FileError::BadPath { .. })));
    assert!(matches!(BaseDir::open(Path::new("etc")), Err(FileError::BadPath { .. })));
    assert!(matches!(BaseDir::open(Path::new("/etc/../etc")), Err(FileError::BadPath { .. })));
}

#[test]
fn a_magic_link_is_not_followed() {
    let open = fs::File::open("/etc/passwd").expect("passwd");
    let beneath = format!("{}/fd/{}", std::process::id(), std::os::fd::AsRawFd::as_raw_fd(&open));
    let proc = BaseDir::open(Path::new("/proc")).expect("proc");
    let error = proc.read(Path::new(&beneath), &Expect::roots(1 << 20)).expect_err("magic");
    assert!(matches!(error, FileError::Link { .. }), "{error}");
    let through = format!("{}/root/etc/passwd", std::process::id());
    let error = proc.read(Path::new(&through), &Expect::roots(1 << 20)).expect_err("magic");
    assert!(matches!(error, FileError::Link { .. }), "{error}");
    assert!(BaseDir::open(&PathBuf::from(format!("/proc/{}/cwd", std::process::id()))).is_err());
}

#[test]
fn a_hard_link_to_a_foreign_file_is_refused() {
    let d = dir();
    fs::write(d.path().join("secret"), b"x").expect("secret");
    fs::hard_link(d.path().join("secret"), d.path().join("keys")).expect("link");
    assert!(matches!(read(&d, "keys"), Err(FileError::HardLinks { count: 2, .. })));
}

#[test]
fn a_fifo_or_device_does_not_hang_us() {
    let d = dir();
    fifo(&d.path().join("keys"));
    assert!(matches!(read(&d, "keys"), Err(FileError::WrongKind { kind: Kind::Special, .. })));
    assert!(matches!(read(&d, "."), Err(FileError::WrongKind { kind: Kind::Directory, .. })));
    let dev = BaseDir::open(Path::new("/dev")).expect("dev");
    assert!(matches!(dev.read(Path::new("zero"), &Expect::roots(10)), Err(FileError::WrongKind { .. })));
}

#[test]
fn a_foreign_owner_or_too_many_bytes_are_refused() {
    let d = dir();
    fs::write(d.path().join("keys"), b"x").expect("keys");
    chown(d.path().join("keys"), Some(65534), None).expect("chown");
    assert!(matches!(read(&d, "keys"), Err(FileError::WrongOwner { owner: 65534, .. })));
    let expect = Expect { owner: Owner::OneOf(&[]), limit: 10, one_link: true };
    assert!(base(&d).read(Path::new("keys"), &expect).is_err(), "an empty list is nobody");
    let expect = Expect { owner: Owner::Anybody, limit: 10, one_link: true };
    assert_eq!(base(&d).read(Path::new("keys"), &expect).expect("anybody").bytes, b"x");
    fs::write(d.path().join("big"), [0; 101]).expect("big");
    assert!(matches!(read(&d, "big"), Err(FileError::TooLarge { limit: 100, .. })));
    // Files of /proc say that they have no bytes: the limit counts what is read.
    let proc = BaseDir::open(Path::new("/proc")).expect("proc");
    assert!(matches!(proc.read(Path::new("cpuinfo"), &Expect::roots(10)), Err(FileError::TooLarge { .. })));
}

#[test]
fn a_directory_is_listed_up_to_its_limit() {
    let d = dir();
    for n in ["b", "a", "c"] {
        fs::write(d.path().join(n), b"").expect("file");
    }
    symlink("a", d.path().join("l")).expect("link");
    let list = base(&d).list(Path::new("."), 4).expect("list");
    let shown: Vec<_> = list.iter().map(|e| (e.name.to_str().expect("name"), e.kind)).collect();
    assert_eq!(shown, [("a", Kind::File), ("b", Kind::File), ("c", Kind::File), ("l", Kind::Symlink)]);
    assert!(matches!(base(&d).list(Path::new("."), 3), Err(FileError::TooMany { limit: 3, .. })));
}

#[test]
fn only_roots_links_lead_to_a_base() {
    let d = dir();
    fs::create_dir_all(d.path().join("srv/home")).expect("dirs");
    fs::write(d.path().join("srv/home/f"), b"x").expect("f");
    symlink("srv/../srv/home", d.path().join("home")).expect("link");
    let base = BaseDir::open(&d.path().join("home")).expect("root's link");
    assert_eq!(base.path(), d.path().join("srv/home"));
    // The same link in a directory that somebody else owns could be moved there by that one.
    fs::create_dir(d.path().join("tenant")).expect("dir");
    symlink("../srv/home", d.path().join("tenant/bob")).expect("link");
    chown(d.path().join("tenant"), Some(65534), None).expect("chown");
    assert!(matches!(BaseDir::open(&d.path().join("tenant/bob")), Err(FileError::Link { .. })));
    symlink("loop", d.path().join("loop")).expect("link");
    assert!(matches!(BaseDir::open(&d.path().join("loop")), Err(FileError::Link { .. })));
}

#[test]
fn configuration_that_others_can_change_is_refused_with_the_command() {
    let d = dir();
    let etc = d.path().join("etc");
    fs::create_dir(&etc).expect("etc");
    fs::write(etc.join("agent.yaml"), b"a: 1\n").expect("file");
    let file = etc.join("agent.yaml");
    assert_eq!(CheckedDir::read_file(&file, 100).expect("fine").bytes, b"a: 1\n");

    fs::set_permissions(&etc, fs::Permissions::from_mode(0o777)).expect("chmod");
    let error = CheckedDir::read_file(&file, 100).expect_err("world-writable parent");
    let shown = etc.display();
    assert_eq!(
        error.to_string(),
        format!(
            "{shown} can be changed by its group and everybody (mode 0777): mend it with `chmod go-w {shown}`"
        )
    );
    fs::set_permissions(&etc, fs::Permissions::from_mode(0o755)).expect("chmod");

    fs::set_permissions(&file, fs::Permissions::from_mode(0o664)).expect("chmod");
    assert!(matches!(CheckedDir::read_file(&file, 100), Err(FileError::Unsafe { .. })));
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).expect("chmod");

    chown(&file, Some(65534), None).expect("chown");
    let error = CheckedDir::read_file(&file, 100).expect_err("foreign file").to_string();
    assert!(error.contains("is owned by uid 65534 and not by root: mend it with `chown root: "), "{error}");
    chown(&file, Some(0), None).expect("chown");

    chown(d.path(), Some(65534), None).expect("chown");
    assert!(matches!(CheckedDir::open(&etc), Err(FileError::Unsafe { .. })), "grandparent");
    chown(d.path(), Some(0), None).expect("chown");
    CheckedDir::open(&etc).expect("mended");
    assert!(CheckedDir::open(Path::new("/tmp")).is_err(), "sticky is not enough");
}

#[test]
fn a_set_of_texts_is_read_whole_and_checked() {
    let d = dir();
    fs::create_dir(d.path().join("hosts")).expect("hosts");
    for name in ["policy.yaml", "hosts/web.yaml", "notes.txt", ".policy.yaml.swp", ".x.yaml"] {
        fs::write(d.path().join(name), name).expect("file");
    }
    let set = CheckedDir::open(d.path()).expect("dir").texts("yaml", 10, 1000).expect("texts");
    let shown: Vec<_> = set.keys().map(|p| p.to_str().expect("name")).collect();
    assert_eq!(shown, ["hosts/web.yaml", "policy.yaml"]);
    let read = |files, bytes| CheckedDir::open(d.path()).expect("dir").texts("yaml", files, bytes);
    assert!(matches!(read(10, 15), Err(FileError::TooLarge { .. })));
    assert!(matches!(read(1, 1000), Err(FileError::TooMany { .. })));
    fs::set_permissions(d.path().join("hosts"), fs::Permissions::from_mode(0o775)).expect("chmod");
    assert!(matches!(read(10, 1000), Err(FileError::Unsafe { .. })));
    fs::set_permissions(d.path().join("hosts"), fs::Permissions::from_mode(0o755)).expect("chmod");
    symlink("/etc/hosts", d.path().join("linked.yaml")).expect("link");
    assert!(matches!(read(10, 1000), Err(FileError::Link { .. })), "not skipped silently");
}

#[test]
fn a_put_is_whole_and_leaves_nothing_beside() {
    let d = dir();
    let roots = Roots::new([d.path()]).expect("roots");
    let path = d.path().join("00-tenure.conf");
    fs::write(d.path().join(".00-tenure.conf.tenure-tmp"), b"left by a killed writer").expect("left");
    roots.put(&Put { path: &path, bytes: b"new\n", mode: 0o604, uid: 12, gid: 34 }).expect("put");
    let meta = fs::metadata(&path).expect("there");
    assert_eq!((meta.mode() & 0o7777, meta.uid(), meta.gid()), (0o604, 12, 34));
    assert_eq!(fs::read(&path).expect("read"), b"new\n");
    assert_eq!(names(&d), ["00-tenure.conf"]);
    // A link in its place is replaced, not written through.
    fs::remove_file(&path).expect("remove");
    fs::write(d.path().join("victim"), b"v").expect("victim");
    symlink("victim", &path).expect("link");
    roots.put(&put(&path, b"own")).expect("put");
    assert_eq!(
        (fs::read(d.path().join("victim")).expect("v"), fs::read(&path).expect("own")),
        (b"v".to_vec(), b"own".to_vec())
    );
    assert!(roots.remove(&path).expect("removed"));
    assert!(!roots.remove(&path).expect("none left"));
}

#[test]
fn a_file_takes_the_place_of_another_beside_it() {
    let d = dir();
    let roots = Roots::new([d.path()]).expect("roots");
    let at = |name: &str| d.path().join(name);
    roots.make_dir(&at("sub"), 0o700).expect("sub");
    for (name, text) in [("next", b"new".as_slice()), ("there", b"old")] {
        roots.put(&put(&at(name), text)).expect("put");
    }
    assert!(matches!(
        roots.replace(&at("next"), &at("sub/next")).expect_err("elsewhere"),
        FileError::BadPath { .. }
    ));
    assert!(matches!(roots.replace(&at("next"), &at("sub")).expect_err("a directory"), FileError::Io { .. }));
    assert!(matches!(
        roots.replace(&at("sub"), &at("there")).expect_err("no file"),
        FileError::WrongKind { .. }
    ));
    symlink("there", at("link")).expect("link");
    assert!(matches!(
        roots.replace(&at("link"), &at("there")).expect_err("a link"),
        FileError::WrongKind { .. }
    ));
    assert!(roots.replace(&at("none"), &at("there")).expect_err("missing").is_missing());
    assert_eq!(fs::read(at("there")).expect("read"), b"old");
    roots.replace(&at("next"), &at("there")).expect("replaced");
    assert_eq!(fs::read(at("there")).expect("read"), b"new");
    assert_eq!(names(&d), ["link", "sub", "there"]);
}

#[test]
fn what_stood_there_is_set_aside_under_a_free_name() {
    let d = dir();
    let roots = Roots::new([d.path()]).expect("roots");
    let path = d.path().join("x.conf");
    for (n, text) in [b"first".as_slice(), b"second"].iter().enumerate() {
        roots.put(&put(&path, text)).expect("put");
        let aside = roots.set_aside(&path).expect("aside");
        assert_eq!(aside, d.path().join(format!(".x.conf.tenure-aside-{n}")));
        assert_eq!(&fs::read(aside).expect("kept"), text);
    }
    assert!(roots.set_aside(&path).expect_err("none").is_missing());
}

#[test]
fn nothing_is_written_outside_or_in_a_home_or_where_others_write() {
    let d = dir();
    let roots = Roots::new([d.path().join("in")]).expect("roots");
    roots.make_dir(&d.path().join("in"), 0o700).expect("a root itself may be made");
    assert!(matches!(roots.put(&put(&d.path().join("out"), b"")), Err(FileError::Outside { .. })));
    assert!(matches!(roots.put(&put(&d.path().join("in/../out"), b"")), Err(FileError::BadPath { .. })));
    for bad in ["/home", "/home/anna", "/root/.ssh", "/", "etc", "/etc/../home"] {
        assert!(Roots::new([bad]).is_err(), "{bad}");
    }
    assert!(matches!(
        roots.put(&Put { path: &d.path().join("in/a"), bytes: b"", mode: 0o4755, uid: 0, gid: 0 }),
        Err(FileError::BadMode { .. })
    ));
    symlink("/home", d.path().join("in/h")).expect("link");
    assert!(matches!(roots.put(&put(&d.path().join("in/h/x"), b"")), Err(FileError::Outside { .. })));
    roots.make_dir(&d.path().join("in/sub"), 0o755).expect("sub");
    fs::set_permissions(d.path().join("in/sub"), fs::Permissions::from_mode(0o777)).expect("chmod");
    assert!(matches!(roots.put(&put(&d.path().join("in/sub/a"), b"")), Err(FileError::Unsafe { .. })));
    roots.make_dir(&d.path().join("in/sub"), 0o755).expect("mends the mode");
    roots.put(&put(&d.path().join("in/sub/a"), b"")).expect("now fine");
    fs::write(d.path().join("in/file"), b"").expect("file");
    assert!(roots.make_dir(&d.path().join("in/file"), 0o755).is_err());
}

/// Kills at least; more until both files were left, at most ten times as many.
const ROUNDS: u32 = 60;
const OLD: &[u8] = &[b'o'; 300_000];
const NEW: &[u8] = &[b'n'; 700_000];

/// This test binary again, for one ignored test, in its own process.
fn again(test: &str, dir: &Path) -> Command {
    #[allow(clippy::disallowed_methods, reason = "a test that kills a writer needs a second process")]
    let mut command = Command::new(std::env::current_exe().expect("own path"));
    command
        .args(["--ignored", "--exact", test])
        .env("TENURE_TEST_DIR", dir)
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command
}

fn given_dir() -> Option<PathBuf> {
    #[allow(clippy::disallowed_methods, reason = "the parent test names its directory")]
    std::env::var_os("TENURE_TEST_DIR").map(PathBuf::from)
}

#[test]
#[ignore = "the child of `a_killed_writer_leaves_old_or_new`"]
fn writes_for_ever() {
    let Some(dir) = given_dir() else { return };
    let roots = Roots::new([&dir]).expect("roots");
    let path = dir.join("file");
    loop {
        roots.put(&put(&path, NEW)).expect("put");
        roots.put(&put(&path, OLD)).expect("put");
    }
}

#[test]
fn a_killed_writer_leaves_old_or_new() {
    let d = dir();
    let path = d.path().join("file");
    let (mut old, mut new) = (0, 0);
    let start = crate::clock::monotonic();
    Roots::new([d.path()]).expect("roots").put(&put(&path, NEW)).expect("put");
    let one_put = crate::clock::monotonic() - start;
    for round in 0..10 * ROUNDS {
        if round >= ROUNDS && old > 0 && new > 0 {
            break;
        }
        Roots::new([d.path()]).expect("roots").put(&put(&path, OLD)).expect("put");
        let inode = fs::metadata(&path).expect("there").ino();
        let mut child = again("files::tests::writes_for_ever", d.path()).spawn().expect("child");
        // It has begun when the file is another one; then it is killed a little later each round.
        while fs::metadata(&path).expect("there").ino() == inode {
            std::thread::yield_now();
        }
        // Spread over the two writes that follow.
        let until = crate::clock::monotonic() + one_put * (round * 7 % 32) / 16;
        while crate::clock::monotonic() < until {
            std::hint::spin_loop();
        }
        child.kill().expect("kill");
        child.wait().expect("wait");
        let left = fs::read(&path).expect("there");
        match (left == OLD, left == NEW) {
            (true, _) => old += 1,
            (_, true) => new += 1,
            _ => panic!("round {round}: {} bytes, neither old nor new", left.len()),
        }
    }
    assert!(old > 0 && new > 0, "old {old}, new {new}: the kills all fell on one side");
}

#[test]
#[ignore = "the child of `a_full_disk_leaves_the_old_file`"]
fn writes_more_than_fits() {
    let Some(dir) = given_dir() else { return };
    let path = dir.join("file");
    let roots = Roots::new([&dir]).expect("roots");
    roots.put(&put(&path, b"old")).expect("small fits");
    let error = roots.put(&put(&path, &[1; 1 << 20])).expect_err("does not fit");
    assert!(
        matches!(&error, FileError::Io { source, .. } if source.kind() == std::io::ErrorKind::StorageFull),
        "{error:?}"
    );
    assert_eq!(fs::read(&path).expect("old"), b"old");
    // What was written before the disk was full still takes its place.
    let (next, filler) = (dir.join("next"), dir.join("filler"));
    roots.put(&put(&next, b"new")).expect("small fits");
    fs::write(&filler, vec![1; 1 << 20]).expect_err("fills all that is left");
    roots.put(&put(&dir.join("more"), b"x")).expect_err("it is full");
    roots.replace(&next, &path).expect("needs no room");
    assert_eq!(fs::read(&path).expect("new"), b"new");
    fs::remove_file(&filler).expect("the filler");
    assert_eq!(fs::read_dir(&dir).expect("list").count(), 1, "no left-over takes the room");
}

#[test]
fn a_full_disk_leaves_the_old_file() {
    let d = dir();
    let test = again("files::tests::writes_more_than_fits", d.path());
    let script = "mount -t tmpfs -o size=64k,mode=755 none \"$1\" && exec \"$2\" --ignored --exact files::tests::writes_more_than_fits";
    #[allow(clippy::disallowed_methods, reason = "a small disk needs a mount namespace of its own")]
    let out = Command::new("/usr/bin/unshare")
        .args(["-m", "sh", "-c", script, "sh"])
        .args([d.path().as_os_str(), test.get_program()])
        .env("TENURE_TEST_DIR", d.path())
        .output()
        .expect("unshare");
    let text = String::from_utf8_lossy(&out.stdout);
    assert!(
        out.status.success() && text.contains("1 passed"),
        "{text}{}",
        String::from_utf8_lossy(&out.stderr)
    );
}
