//! The two primitive, blocking ports to a host: one reads, one writes. Answers are bytes; parsers live in the areas.
//! All of it has a JSON form, so that a test can ask a host that is elsewhere.

use serde::{Deserialize, Serialize};

/// Why a port could not answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PortError {
    /// The thing does not exist.
    #[error("{what} does not exist")]
    Absent {
        /// Path, table, package, …
        what: String,
    },
    /// Larger than the limit that the caller gave.
    #[error("{what} is larger than {limit} bytes")]
    TooLarge {
        /// Path or query.
        what: String,
        /// Bytes.
        limit: usize,
    },
    /// Not what it must be to be believed: a symbolic link, another owner, several hard links, a FIFO, writable by others.
    #[error("{what} is not to be trusted: {why}")]
    Untrusted {
        /// Path.
        what: String,
        /// In words.
        why: String,
    },
    /// Everything else.
    #[error("{doing} failed: {why}")]
    Failed {
        /// What was being done.
        doing: String,
        /// Why it failed, neutralised.
        why: String,
    },
}

/// What a port answers.
pub type PortResult<T> = Result<T, PortError>;

/// Whose file it must be to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Owner {
    /// root (uid 0), not writable by group or others.
    Root,
    /// This uid or root.
    Uid(u32),
    /// Anybody's, with any number of hard links: what counts whoever may write it (accounts, sshd's configuration, the
    /// kernel's files).
    Any,
}

/// A path in two parts: a trusted absolute directory, and a relative path below it that is opened without following any link.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Beneath {
    /// Absolute, e.g. `/home/app`.
    pub root: String,
    /// Relative, e.g. `.ssh/authorized_keys`; empty means the root itself.
    pub below: String,
}

impl Beneath {
    /// `root` joined with `below`.
    pub fn new(root: impl Into<String>, below: impl Into<String>) -> Self {
        Self { root: root.into(), below: below.into() }
    }
    /// The parent directory and the name of an absolute path.
    pub fn of(path: &str) -> Self {
        match path.rsplit_once('/') {
            Some(("", name)) => Self::new("/", name),
            Some((parent, name)) => Self::new(parent, name),
            None => Self::new("/", path),
        }
    }
    /// The whole path, for messages.
    pub fn path(&self) -> String {
        if self.below.is_empty() {
            self.root.clone()
        } else {
            format!("{}/{}", self.root.trim_end_matches('/'), self.below)
        }
    }
}

/// What kind of thing a directory entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EntryKind {
    /// Regular file.
    File,
    /// Directory.
    Dir,
    /// Anything else: symbolic link, FIFO, socket, device.
    Other,
}

/// One entry of a directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// File name (lossy UTF-8).
    pub name: String,
    /// Kind.
    pub kind: EntryKind,
}

/// Metadata of a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stat {
    /// Kind.
    pub kind: EntryKind,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Permission bits, 0o7777.
    pub mode: u32,
    /// Size in bytes.
    pub size: u64,
    /// Last modification, seconds since 1970.
    pub mtime: i64,
}

/// Reads a host. Code that holds only this cannot write.
pub trait HostRead {
    /// The bytes of a regular file of the given owner, with one hard link unless it may be anybody's, at most `limit`.
    fn file(&self, path: &Beneath, owner: Owner, limit: usize) -> PortResult<Vec<u8>>;
    /// The entries of a directory, sorted by name, at most `limit`.
    fn dir(&self, path: &Beneath, limit: usize) -> PortResult<Vec<Entry>>;
    /// Metadata, without following a link.
    fn stat(&self, path: &Beneath) -> PortResult<Stat>;
    /// The answer to a question, as bytes in the form that the [`Query`] documents.
    fn ask(&self, query: &Query) -> PortResult<Vec<u8>>;
}

/// Writes a host. Closed: nothing here takes a shell, a script or a path of the caller's choice outside the managed places.
pub trait HostWrite {
    /// Puts a whole file in place: temporary, fsync, rename, fsync of the directory.
    fn put(&self, file: &ManagedFile) -> PortResult<()>;
    /// Puts a managed regular file in the place of another in the same directory, durably; needs no room on the disk.
    fn replace(&self, from: &ManagedPath, to: &ManagedPath) -> PortResult<()>;
    /// Removes a managed file; absent is fine.
    fn remove(&self, path: &ManagedPath) -> PortResult<()>;
    /// Does something.
    fn tell(&self, command: &Command) -> PortResult<()>;
}

/// Questions. Each maps to one argv or netlink message in the shell, in one `match`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Query {
    /// The kernel's nf_tables generation of this network namespace: decimal digits.
    NftGeneration,
    /// `nft -j list table inet tenure`; [`PortError::Absent`] when there is none. The shell may cache it by generation.
    NftOwnTable,
    /// `nft -j list set inet tenure <name>`: elements of a trial's live set with `expires` (never cached: expiry bumps no generation).
    NftSet {
        /// Set name, `g<N>_live`.
        name: String,
    },
    /// `nft -j list chains` without ours being special: every base chain of every table.
    NftChains,
    /// Changes of the ruleset by others that the watcher saw, as JSON `[{"at": RFC 3339, "generation": n, "pid": n|null, "comm": "…"|null}]`, oldest first, after `since`.
    NftChanges {
        /// Generation after which to tell.
        since: u32,
    },
    /// Connection tracking entries, JSON lines of [`Flow`].
    Flows,
    /// Network interfaces that exist, one name a line (container engines' bridges are recognised by name).
    Interfaces,
    /// TCP sockets that wait for connections, JSON lines of [`Waiting`], sorted.
    TcpListeners,
    /// `sshd -T -C user=…,addr=…,host=…,laddr=…,lport=…`: effective configuration for one connection.
    SshdEffective {
        /// Account.
        user: String,
        /// Client's address.
        addr: String,
        /// This end's address.
        local: String,
        /// This end's port.
        port: u16,
    },
    /// What sshd wrote to the journal since that moment of this boot, as root: `journalctl -o json` with MESSAGE, _PID,
    /// _UID and _EXE of each entry, oldest first; the newest when there are very many.
    SshdJournal {
        /// Milliseconds since boot (CLOCK_BOOTTIME).
        since_boot_ms: u64,
    },
    /// Installed packages: `dpkg-query -W` as `name\tversion\tarch\tstatus` lines.
    Packages,
    /// `apt-get --simulate dist-upgrade` without locks: its `Inst` lines tell pending upgrades with their archive.
    PendingUpgrades,
    /// `uname -r`, one line.
    Kernel,
    /// The job that runs on this host (there is one at most): JSON `{"run": "…", "since": RFC 3339}`, or `null`. It is told by the
    /// lock that a job's process holds, so a job that was killed is none.
    Job,
}

/// Things to do. Each maps to one argv or netlink message in the shell, in one `match`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Command {
    /// One nftables transaction: `nft -j -f -`. All of it or nothing.
    NftLoad {
        /// libnftables-json(5).
        json: String,
    },
    /// The same for restoring a state that was loaded before; the shell may replay what it recorded for `hash`.
    NftRestore {
        /// libnftables-json(5).
        json: String,
        /// Identity of the wanted ruleset.
        hash: String,
    },
    /// Enters every established TCP socket into connection tracking (before a first enforcement). It hooks nothing: only a
    /// loaded ruleset that looks at `ct state` does.
    ConntrackWarm,
    /// Deletes these tracked connections.
    ConntrackDelete {
        /// As [`Query::Flows`] told them.
        flows: Vec<Flow>,
    },
    /// `sshd -t`: does the whole configuration parse?
    SshdTest,
    /// Asks the running sshd to read its configuration again and waits, for seconds at most, until it listens with what
    /// it has read; open sessions stay. Fails when it is not there then.
    SshdReload,
    /// Gives one of the directories above the key files to root with mode 0755. Fails when it is none.
    OpenDirectory {
        /// Which.
        which: KeyDirectory,
    },
    /// Starts `tenure-agent job RUN` as a process of its own, which outlives the agent. Its specification stands in
    /// `/var/lib/tenure/jobs/RUN.json`. Refused while another job runs.
    StartJob {
        /// The run.
        run: tenure_trust::RunId,
    },
}

/// The directories that sshd passes on the way to our key files, as the account that logs in. No other one's mode is ever
/// changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum KeyDirectory {
    /// The system's own: `/etc/ssh`.
    System,
    /// `/etc/ssh/tenure`.
    Own,
    /// `/etc/ssh/tenure/keys`.
    Keys,
}

impl KeyDirectory {
    /// All of them, from the top down.
    pub const ALL: [Self; 3] = [Self::System, Self::Own, Self::Keys];
    /// Where it is.
    pub fn path(self) -> &'static str {
        match self {
            Self::System => "/etc/ssh",
            Self::Own => "/etc/ssh/tenure",
            Self::Keys => "/etc/ssh/tenure/keys",
        }
    }
}

/// A tracked connection in its original direction.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Flow {
    /// IP protocol number.
    pub protocol: u8,
    /// Source address.
    pub src: std::net::IpAddr,
    /// Destination address.
    pub dst: std::net::IpAddr,
    /// Source port, 0 where the protocol has none.
    pub sport: u16,
    /// Destination port, 0 where the protocol has none.
    pub dport: u16,
}

/// A TCP socket that waits for connections.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Waiting {
    /// Port.
    pub port: u16,
    /// Address; the unspecified ones mean all.
    pub address: std::net::IpAddr,
    /// The process with the lowest id that holds it, where that can be told.
    pub by: Option<Holder>,
}

/// A process that holds a socket, raw as the kernel shows it (lossy UTF-8).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Holder {
    /// Process id.
    pub pid: u32,
    /// The name that it gave itself.
    pub comm: String,
    /// The file that it runs.
    pub exe: String,
    /// Its arguments as it shows them, at most 4096 bytes, separated by blanks.
    pub args: String,
}

/// A place that Tenure owns on a host; nothing else is ever written.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct ManagedPath(String);

/// Directories below which (and files at which) Tenure writes.
const MANAGED: [&str; 3] = ["/etc/ssh/tenure/keys/", "/var/lib/tenure/", "/run/tenure/"];
const MANAGED_FILES: [&str; 1] = ["/etc/ssh/sshd_config.d/00-tenure.conf"];

impl ManagedPath {
    /// Parses an absolute path that lies in a managed place, without `.`, `..` or empty components.
    ///
    /// # Errors
    /// [`PortError::Untrusted`] when it lies elsewhere.
    pub fn new(path: impl Into<String>) -> PortResult<Self> {
        let path = path.into();
        let clean = path.split('/').skip(1).all(|part| !part.is_empty() && part != "." && part != "..")
            && !path.chars().any(char::is_control);
        let inside =
            MANAGED_FILES.contains(&path.as_str()) || MANAGED.iter().any(|dir| path.starts_with(dir));
        if clean && inside {
            Ok(Self(path))
        } else {
            Err(PortError::Untrusted { what: path, why: "not one of the places that Tenure writes".into() })
        }
    }
    /// The path.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl<'de> Deserialize<'de> for ManagedPath {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::new(String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

/// A whole file to put in place, owned by root.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ManagedFile {
    /// Where.
    pub path: ManagedPath,
    /// What.
    pub bytes: Vec<u8>,
    /// Permission bits, e.g. 0o600.
    pub mode: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_managed_places_parse() {
        for good in [
            "/etc/ssh/tenure/keys/admin",
            "/etc/ssh/sshd_config.d/00-tenure.conf",
            "/var/lib/tenure/firewall/trial.json",
        ] {
            assert!(ManagedPath::new(good).is_ok(), "{good}");
        }
        for bad in [
            "/etc/passwd",
            "/home/a/.ssh/authorized_keys",
            "/var/lib/tenure/../../etc/passwd",
            "/etc/ssh/tenure/keys//a",
            "/var/lib/tenure/",
            "etc/ssh/tenure/keys/a",
        ] {
            assert!(ManagedPath::new(bad).is_err(), "{bad}");
        }
    }
}
