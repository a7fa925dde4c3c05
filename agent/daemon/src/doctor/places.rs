//! Files of a host: configuration, root, state, its disk, the clock's floor, sshd's main file.

use std::path::Path;

use jiff::{SignedDuration, Timestamp};
use tenure_areas::area::Now;
use tenure_areas::ssh_access::config::{MAIN, Reading, scan};
use tenure_sys::files::{BaseDir, CheckedDir, Expect};
use tenure_sys::{clock, text};
use tenure_trust::Root;

use super::Check;
use crate::config::{Config, Source};
use crate::journal;
use crate::paths::Paths;
use crate::time_floor::TimeFloor;

/// Largest file that is read, in bytes.
const LIMIT: u64 = 1 << 20;
/// Room below which the agent's state is in danger, and below which a person should look, in bytes.
const ROOM: (u64, u64) = (64 << 20, 512 << 20);
/// How long before its end something that expires is told.
const SOON: SignedDuration = SignedDuration::from_hours(30 * 24);

/// The configuration, and what it says.
pub(super) fn config(path: &Path) -> (Check, Option<Config>) {
    match Config::read(path) {
        Ok(config) => {
            let from = format!("{}: {}", config.policy.from.word(), text::path(&config.policy.path));
            (Check::ok("config", format!("host {}, policy from {from}", config.host)), Some(config))
        }
        Err(e) => {
            let remedy = e.hint();
            (Check::config("config", journal::chain(&e), remedy), None)
        }
    }
}

/// The anchor of trust; a standalone host needs none.
pub(super) fn root(paths: &Paths, config: Option<&Config>) -> Option<Check> {
    if config.is_some_and(|config| config.policy.from == Source::Directory) {
        return None;
    }
    Some(judge_root(&paths.root, clock::wall()))
}

fn judge_root(path: &Path, now: Timestamp) -> Check {
    let place = text::path(path);
    let again = format!("a person carries the fleet's root.json to {place} (owner root, mode 644)");
    let bytes = match CheckedDir::read_file(path, LIMIT) {
        Ok(file) => file.bytes,
        Err(e) if e.is_missing() => return Check::config("root", format!("there is none at {place}"), again),
        Err(e) => return Check::config("root", journal::chain(&e), again),
    };
    let root = match Root::anchor(&bytes) {
        Ok(root) => root,
        Err(e) => {
            return Check::config("root", format!("{place}: {}", journal::chain(&e)), again);
        }
    };
    let root = root.value();
    let what = format!("{} of fleet {}, until {}", root.version, root.fleet, root.expires);
    let sign = "an operator makes the next version with `tenure root`, and a person places it";
    match root.expires.duration_since(now) {
        left if left.is_negative() => {
            Check::fail("root", format!("{what}: nothing new is taken under it"), sign)
        }
        left if left < SOON => Check::warn("root", format!("{what}: it ends soon"), sign),
        _ => Check::ok("root", what),
    }
}

/// The directory of state.
pub(super) fn state(paths: &Paths) -> Check {
    let place = text::path(&paths.state);
    let dir = match CheckedDir::open(&paths.state) {
        Ok(dir) => dir,
        Err(e) if e.is_missing() => {
            let what = format!("{place} is not there: no agent has run on this host");
            return Check::warn("state", what, "`systemctl enable --now tenure-firewall tenure-agent`");
        }
        Err(e) => {
            return Check::config(
                "state",
                journal::chain(&e),
                "the agent works in a directory of root's alone",
            );
        }
    };
    let mode =
        BaseDir::open(dir.path()).and_then(|dir| dir.stat(Path::new("."))).map(|stat| stat.mode & 0o777);
    match mode {
        Ok(0o700) => Check::ok("state", place),
        Ok(mode) => {
            let what = format!("{place} has mode {mode:o}: others can look into it");
            Check::warn("state", what, format!("`chmod 700 {}`", text::shell_word(&paths.state)))
        }
        Err(e) => Check::unknown("state", journal::chain(&e), "look at it as root"),
    }
}

/// Room for the state.
pub(super) fn disk(paths: &Paths) -> Check {
    let place = paths.state.ancestors().find(|dir| dir.exists()).unwrap_or(Path::new("/"));
    match rustix::fs::statvfs(place) {
        Ok(stat) => {
            let free = stat.f_bavail.saturating_mul(stat.f_frsize);
            judge_room(place, free, stat.f_files, stat.f_favail)
        }
        Err(e) => Check::unknown("disk", format!("{}: {e}", text::path(place)), "look at it as root"),
    }
}

fn judge_room(place: &Path, free: u64, files: u64, files_free: u64) -> Check {
    let what = format!("{} MiB free at {}", free >> 20, text::path(place));
    let remedy = "make room: what cannot be recorded is lost, though the host is kept all the same";
    // Some file systems count no inodes.
    let no_inodes = files > 0 && files_free < 100;
    if free < ROOM.0 || no_inodes {
        let inodes = if no_inodes { format!(", {files_free} inodes free") } else { String::new() };
        return Check::fail("disk", format!("{what}{inodes}"), remedy);
    }
    if free < ROOM.1 { Check::warn("disk", what, remedy) } else { Check::ok("disk", what) }
}

/// The clock against the latest time that this host has seen.
pub(super) fn clock(paths: &Paths) -> Check {
    let now = Now { wall: clock::wall(), since_boot_ms: 0, boot_id: String::new() };
    let place = paths.state("time-floor");
    match TimeFloor::open(place.clone()) {
        Ok(floor) => match floor.judge(now) {
            (now, None) => Check::ok("clock", format!("{:.0}, not before what was seen", now.wall)),
            (_, Some(unknown)) => Check::fail("clock", unknown.reason, "set the clock, and keep it by NTP"),
        },
        Err(e) => {
            let remedy = format!("set the clock right, then remove {}", text::path(&place));
            Check::fail("clock", journal::chain(&e), remedy)
        }
    }
}

/// Does sshd read our drop-in before everything else?
pub(super) fn sshd_config() -> Check {
    let path = Path::new(MAIN);
    let (dir, name) = (path.parent().unwrap_or(path), path.file_name().unwrap_or_default());
    match BaseDir::open(dir).and_then(|dir| dir.read(Path::new(name), &Expect::roots(LIMIT))) {
        Ok(file) => judge_sshd_config(&file.bytes),
        Err(e) if e.is_missing() => Check::config(
            "sshd_config",
            format!("there is no {MAIN}"),
            "install openssh-server, or leave `access` out of this host's policy",
        ),
        Err(e) => Check::unknown("sshd_config", journal::chain(&e), "look at it as root"),
    }
}

fn judge_sshd_config(main: &[u8]) -> Check {
    // Our own drop-in stands for all: whether it is read before the main file's settings depends on the main file.
    let ours = (tenure_areas::ssh_access::DROP_IN.to_owned(), Vec::new());
    let line = "put `Include /etc/ssh/sshd_config.d/*.conf` before every other line of /etc/ssh/sshd_config: sshd takes \
                the first value that it meets";
    let scanned = scan(main, &[ours]);
    match scanned.reading {
        Reading::First => Check::ok("sshd_config", "sshd_config.d is read before everything else"),
        Reading::Late => {
            let before: Vec<String> = scanned
                .settings
                .iter()
                .filter(|(_, before)| *before)
                .map(|(s, _)| s.keyword.clone())
                .collect();
            let what = format!("sshd_config.d is read after {}, which therefore win", before.join(", "));
            Check::config("sshd_config", text::neutral(what.as_bytes(), 500), line)
        }
        Reading::Sometimes => {
            Check::config("sshd_config", "sshd_config.d is read inside a Match block only", line)
        }
        Reading::Never => Check::config("sshd_config", "sshd_config.d is not read at all", line),
        Reading::Unseen => Check::unknown("sshd_config", "it cannot be told what sshd reads", line),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Level;

    #[test]
    fn a_main_file_that_reads_the_drop_ins_late_or_never_is_found() {
        let level = |main: &str| judge_sshd_config(main.as_bytes()).level;
        assert_eq!(level("# x\n\nInclude /etc/ssh/sshd_config.d/*.conf\nPort 22\n"), Level::Ok);
        assert_eq!(level("Port 22\n"), Level::FailConfig);
        let late = judge_sshd_config(b"PermitRootLogin yes\nInclude /etc/ssh/sshd_config.d/*.conf\n");
        assert_eq!(late.level, Level::FailConfig);
        assert!(late.what.contains("permitrootlogin"), "{}", late.what);
        assert_eq!(level("Match User a\nInclude /etc/ssh/sshd_config.d/*.conf\n"), Level::FailConfig);
    }

    #[test]
    fn little_room_warns_and_no_room_fails() {
        let level = |free, files, left| judge_room(Path::new("/var"), free, files, left).level;
        assert_eq!(level(10 << 30, 0, 0), Level::Ok);
        assert_eq!(level(500 << 20, 1000, 900), Level::Warn);
        assert_eq!(level(10 << 20, 1000, 900), Level::Fail);
        assert_eq!(level(10 << 30, 1000, 5), Level::Fail);
    }

    #[test]
    fn no_root_no_state_and_a_broken_floor_are_told_with_a_remedy() {
        let dir = tempfile::tempdir_in("/run").expect("root's directory");
        let paths = Paths::below(dir.path());
        assert_eq!(state(&paths).level, Level::Warn);
        assert_eq!(clock(&paths).level, Level::Ok, "no floor yet");
        let missing = root(&paths, None).expect("it is wanted");
        assert_eq!(missing.level, Level::FailConfig);
        assert!(missing.remedy.is_some_and(|r| r.contains("root.json")));
        std::fs::write(&paths.root, "{}").expect("write");
        assert_eq!(root(&paths, None).expect("it is wanted").level, Level::FailConfig);

        std::fs::create_dir(&paths.state).expect("mkdir");
        let open = state(&paths);
        assert_eq!(open.level, Level::Warn, "{}", open.what);
        assert!(open.remedy.is_some_and(|r| r.starts_with("`chmod 700")));
        std::fs::write(paths.state("time-floor"), "2099-01-01T00:00:00Z").expect("write");
        assert_eq!(clock(&paths).level, Level::Fail, "the clock is before the floor");
        std::fs::write(paths.state("time-floor"), "soon").expect("write");
        assert_eq!(clock(&paths).level, Level::Fail);
    }
}
