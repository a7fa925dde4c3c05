//! Other processes as `/proc` shows them, raw: names are whatever the process calls itself.

use std::path::{Path, PathBuf};

use crate::files::{BaseDir, Expect, FileError, Kind, Owner};

/// Longest way up to process 1 that is walked.
const ANCESTORS: usize = 64;

/// One process at the moment of reading (proc(5)).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// Process id.
    pub pid: u32,
    /// Its parent's id; 0 for the first process.
    pub parent: u32,
    /// The name that the kernel has for it, at most 15 bytes, chosen by the process itself.
    pub comm: Vec<u8>,
    /// When it started, in clock ticks since boot; with the id it names one process for ever.
    pub started: u64,
    /// Effective user.
    pub uid: u32,
    /// The process that leads its session, by id; 0 when that one is outside of what is visible here.
    pub session: u32,
    /// Device number of its terminal; 0 for none.
    pub terminal: i32,
}

impl Process {
    /// Reads one process.
    ///
    /// # Errors
    /// `FileError::is_missing` when there is no such process.
    pub fn read(pid: u32) -> Result<Self, FileError> {
        let proc = BaseDir::open(Path::new("/proc"))?;
        let beneath = PathBuf::from(format!("{pid}/stat"));
        let file = proc.read(&beneath, &ANYBODYS)?;
        parse(pid, file.stat.uid, &file.bytes).ok_or_else(|| FileError::BadPath {
            path: proc.path().join(beneath),
            why: "its content is not of the form that proc(5) describes",
        })
    }

    /// Its arguments as it shows them, separated by NUL, at most 4096 bytes of them.
    ///
    /// # Errors
    /// `FileError::is_missing` when it has ended.
    pub fn cmdline(&self) -> Result<Vec<u8>, FileError> {
        let proc = BaseDir::open(Path::new("/proc"))?;
        match proc.read(&PathBuf::from(format!("{}/cmdline", self.pid)), &ANYBODYS) {
            Ok(mut file) => {
                file.bytes.truncate(4096);
                Ok(file.bytes)
            }
            Err(e) => Err(e),
        }
    }

    /// The file that it runs, as the kernel names it; ` (deleted)` follows when that one is gone.
    ///
    /// # Errors
    /// When it has ended or may not be looked at.
    pub fn exe(&self) -> Result<Vec<u8>, std::io::Error> {
        let path = rustix::fs::readlink(format!("/proc/{}/exe", self.pid), Vec::new())?;
        Ok(path.into_bytes())
    }

    /// Its parent, that one's parent and so on to process 1. Ends early when one of them has ended meanwhile.
    pub fn ancestors(&self) -> Vec<Self> {
        let mut out: Vec<Self> = Vec::new();
        let mut next = self.parent;
        while next != 0 && out.len() < ANCESTORS {
            let Ok(process) = Self::read(next) else { break };
            next = process.parent;
            out.push(process);
        }
        out
    }
}

/// All processes, by id; those that end meanwhile are left out.
///
/// # Errors
/// When `/proc` cannot be listed.
pub fn all() -> Result<Vec<Process>, FileError> {
    let proc = BaseDir::open(Path::new("/proc"))?;
    let mut pids: Vec<u32> = proc
        .list(Path::new("."), 1 << 20)?
        .iter()
        .filter(|entry| entry.kind == Kind::Directory)
        .filter_map(|entry| entry.name.to_str()?.parse().ok())
        .collect();
    pids.sort_unstable();
    Ok(pids.into_iter().filter_map(|pid| Process::read(pid).ok()).collect())
}

/// A file of the calling thread's own view of the network (`/proc/thread-self/net/NAME`), which has no link on its way.
///
/// # Errors
/// When it is missing or larger than `limit`.
pub fn net(name: &str, limit: u64) -> Result<Vec<u8>, FileError> {
    let (pid, thread) = (std::process::id(), nix::unistd::gettid().as_raw());
    let beneath = PathBuf::from(format!("{pid}/task/{thread}/net/{name}"));
    Ok(BaseDir::open(Path::new("/proc"))?.read(&beneath, &Expect::roots(limit))?.bytes)
}

const ANYBODYS: Expect<'static> = Expect { owner: Owner::Anybody, limit: 4 << 20, one_link: true };

/// `pid (comm) state ppid …`: the name may contain anything, so fields are counted after the last parenthesis.
fn parse(pid: u32, uid: u32, stat: &[u8]) -> Option<Process> {
    let (open, close) = (stat.iter().position(|b| *b == b'(')?, stat.iter().rposition(|b| *b == b')')?);
    let comm = stat.get(open + 1..close)?.to_vec();
    let rest = std::str::from_utf8(stat.get(close + 1..)?).ok()?;
    let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
    Some(Process {
        pid,
        uid,
        comm,
        parent: fields.get(1)?.parse().ok()?,
        session: fields.get(3)?.parse().ok()?,
        terminal: fields.get(4)?.parse().ok()?,
        started: fields.get(19)?.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_itself_and_its_parents() {
        let me = Process::read(std::process::id()).expect("self");
        assert_eq!(me.uid, rustix::process::geteuid().as_raw());
        assert_eq!(
            me.parent,
            rustix::process::getppid().expect("parent").as_raw_nonzero().get().unsigned_abs()
        );
        assert!(me.started > 0);
        assert!(!me.cmdline().expect("own").is_empty());
        assert_eq!(
            me.exe().expect("own"),
            std::env::current_exe().expect("exe").as_os_str().as_encoded_bytes()
        );
        assert_eq!(me.ancestors().first().map(|p| p.pid), Some(me.parent));
        assert!(all().expect("proc").iter().any(|p| p.pid == me.pid));
        assert!(Process::read(u32::MAX).expect_err("none").is_missing());
    }

    #[test]
    fn a_name_with_parentheses_deceives_nobody() {
        let line = b"7 (a) S 1 (b) R 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 99 23";
        let p = parse(7, 0, line).expect("parsed");
        assert_eq!((p.comm.as_slice(), p.parent, p.started), (&b"a) S 1 (b"[..], 3, 99));
        assert_eq!((p.session, p.terminal), (5, 6));
        assert_eq!(parse(7, 0, b"7 )("), None);
        assert_eq!(parse(7, 0, b""), None);
    }

    #[test]
    fn reads_the_network_of_its_own_namespace() {
        assert!(net("tcp", 1 << 20).expect("tcp").starts_with(b"  sl  local_address"));
    }
}
