//! Children that behave badly.

use super::*;

fn shell(script: &str) -> Program {
    Program::new("/bin/sh", ["-c", script])
}

fn alive(pid: u32) -> bool {
    // A zombie that nobody reaped yet is dead too.
    crate::proc::Process::read(pid).is_ok()
        && !std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|s| s.contains(") Z "))
}

fn gone(pid: u32) -> bool {
    let until = clock::monotonic() + Duration::from_secs(5);
    while alive(pid) && clock::monotonic() < until {
        std::thread::yield_now();
    }
    !alive(pid)
}

#[test]
fn output_and_code_come_back() {
    let out = capture(&shell("echo out; echo err >&2; exit 3")).expect("ran");
    assert_eq!(
        (out.ended, out.stdout.as_slice(), out.stderr.as_slice()),
        (Ended::Code(3), &b"out\n"[..], &b"err\n"[..])
    );
    let error = out.success().expect_err("code 3").to_string();
    assert_eq!(error, "/bin/sh failed with exit code 3: err");
    assert_eq!(capture(&shell("kill -9 $$")).expect("ran").ended, Ended::Signal(9));
}

#[test]
fn the_environment_is_empty_but_for_the_language() {
    let out = capture(&Program::new("/usr/bin/env", [""; 0])).expect("ran").success().expect("code 0");
    assert_eq!(String::from_utf8_lossy(&out), "LC_ALL=C\n");
}

#[test]
fn input_larger_than_a_pipe_goes_through() {
    let bytes: Vec<u8> = (0..1_000_000u32).flat_map(u32::to_ne_bytes).collect();
    let out = capture(&Program::new("/bin/cat", [""; 0]).stdin(bytes.clone()).cap(1 << 24)).expect("ran");
    assert!(out.stdout == bytes);
    // Nothing given: it reads end of file at once.
    assert_eq!(capture(&Program::new("/bin/cat", [""; 0])).expect("ran").stdout, b"");
    // Does not read what it is given: no deadlock, no signal for us.
    assert_eq!(capture(&shell("exit 0").stdin(bytes)).expect("ran").ended, Ended::Code(0));
}

#[test]
fn a_child_that_ignores_termination_ends_at_its_limit() {
    let dir = tempfile::tempdir().expect("dir");
    let pids = dir.path().join("pids");
    let script = format!(
        "trap '' TERM INT HUP; echo $$ > {0}; sleep 1000 & echo $! >> {0}; wait; sleep 1000",
        pids.display()
    );
    let program = shell(&script).timeout(Duration::from_millis(300));
    let start = clock::monotonic();
    assert!(matches!(capture(&program), Err(CommandError::Timeout { .. })));
    assert!(clock::monotonic() - start < Duration::from_secs(5));
    let pids = std::fs::read_to_string(pids).expect("written");
    let pids: Vec<u32> = pids.lines().map(|l| l.parse().expect("pid")).collect();
    assert_eq!(pids.len(), 2);
    for pid in pids {
        assert!(gone(pid), "{pid} still runs");
    }
}

#[test]
fn a_child_that_floods_both_pipes_is_stopped() {
    let flood = shell("cat /dev/zero & cat /dev/zero >&2");
    let start = clock::monotonic();
    assert!(matches!(capture(&flood), Err(CommandError::TooMuch { .. })));
    assert!(clock::monotonic() - start < Duration::from_secs(5));
    // Both at once below the cap: nothing lost, no deadlock.
    let both = shell("head -c 900000 /dev/zero & head -c 900000 /dev/zero >&2; wait");
    let out = capture(&both).expect("ran");
    assert_eq!((out.stdout.len(), out.stderr.len()), (900_000, 900_000));
}

#[test]
fn who_stays_behind_does_not_hold_us_up() {
    let out = capture(&shell("sleep 1000 & echo $!")).expect("ran").success().expect("code 0");
    let pid: u32 = String::from_utf8_lossy(&out).trim().parse().expect("pid");
    assert!(gone(pid), "{pid} still runs");
}

#[test]
fn runs_as_somebody_else_without_our_groups() {
    let out = capture(&Program::new("/usr/bin/id", [""; 0]).user(65534, 65534))
        .expect("ran")
        .success()
        .expect("code 0");
    let out = String::from_utf8_lossy(&out);
    assert!(out.starts_with("uid=65534") && out.contains("gid=65534") && !out.contains("0(root)"), "{out}");
}

#[test]
fn what_cannot_start_says_so() {
    assert!(matches!(capture(&Program::new("sh", [""; 0])), Err(CommandError::NotAbsolute { .. })));
    let missing = capture(&Program::new("/nowhere/sh", [""; 0])).expect_err("missing");
    assert!(missing.is_missing() && missing.to_string() == "cannot start /nowhere/sh", "{missing}");
}

#[test]
fn what_is_streamed_into_a_file_is_bounded_and_its_end_is_told() {
    let dir = tempfile::tempdir().expect("dir");
    let path = dir.path().join("out");
    let to = || std::fs::File::create(&path).expect("made");
    let wrote = || std::fs::metadata(&path).expect("made").len();
    // All that it wrote is there, and that it failed afterwards is told.
    let out = stream(&shell("echo whole; echo why >&2; exit 1"), to(), 100).expect("ran");
    assert_eq!((wrote(), out.ended, out.stdout.as_slice()), (6, Ended::Code(1), &b""[..]));
    assert_eq!(out.success().expect_err("code 1").to_string(), "/bin/sh failed with exit code 1: why");
    assert!(stream(&shell("head -c 100 /dev/zero"), to(), 100).expect("ran").success().is_ok());
    assert_eq!(wrote(), 100, "a file of exactly the quota");
    assert!(matches!(stream(&shell("cat /dev/zero"), to(), 70_000), Err(CommandError::TooMuch { .. })));
    assert!(wrote() <= 70_000, "no byte beyond the quota: {}", wrote());
    let slow = shell("echo begun; sleep 1000").timeout(Duration::from_millis(300));
    assert!(matches!(stream(&slow, to(), 100), Err(CommandError::Timeout { .. })));
}
