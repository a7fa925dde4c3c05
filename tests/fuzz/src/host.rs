//! A host whose every answer is given: the read port over maps.

use std::collections::BTreeMap;

use jiff::Timestamp;
use tenure_areas::area::Now;
use tenure_areas::port::{Beneath, Entry, EntryKind, HostRead, Owner, PortError, PortResult, Query, Stat};

/// Files by path and answers by [`key`].
#[derive(Debug, Clone, Default)]
pub struct Host {
    /// Regular files of root's.
    pub files: BTreeMap<String, Vec<u8>>,
    /// What is answered; what is not here is absent.
    pub answers: BTreeMap<&'static str, Vec<u8>>,
}

impl Host {
    /// The same with another file.
    #[must_use]
    pub fn file(mut self, path: &str, bytes: impl Into<Vec<u8>>) -> Self {
        self.files.insert(path.to_owned(), bytes.into());
        self
    }

    /// The same with another answer.
    #[must_use]
    pub fn answer(mut self, key: &'static str, bytes: impl Into<Vec<u8>>) -> Self {
        self.answers.insert(key, bytes.into());
        self
    }
}

/// The word under which the answer to a question stands.
pub fn key(query: &Query) -> &'static str {
    match query {
        Query::NftGeneration => "generation",
        Query::NftOwnTable => "own-table",
        Query::NftSet { .. } => "set",
        Query::NftChains => "chains",
        Query::NftChanges { .. } => "changes",
        Query::Flows => "flows",
        Query::Interfaces => "interfaces",
        Query::TcpListeners => "listeners",
        Query::SshdEffective { .. } => "sshd",
        Query::SshdJournal { .. } => "journal",
        Query::Packages => "packages",
        Query::PendingUpgrades => "upgrades",
        Query::Kernel => "kernel",
        Query::Job => "job",
    }
}

/// A moment at which policies of the tests hold.
pub fn now() -> Now {
    Now { wall: at(1_800_000_000), since_boot_ms: 500_000, boot_id: "b".into() }
}

/// Seconds since 1970 as a time.
pub fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(seconds).expect("a time of this century")
}

impl HostRead for Host {
    fn file(&self, path: &Beneath, _: Owner, limit: usize) -> PortResult<Vec<u8>> {
        let what = path.path();
        match self.files.get(&what) {
            None => Err(PortError::Absent { what }),
            Some(bytes) if bytes.len() > limit => Err(PortError::TooLarge { what, limit }),
            Some(bytes) => Ok(bytes.clone()),
        }
    }

    fn dir(&self, path: &Beneath, limit: usize) -> PortResult<Vec<Entry>> {
        let inside = format!("{}/", path.path());
        let names = self.files.keys().filter_map(|file| file.strip_prefix(&inside));
        let names: Vec<&str> = names.filter(|name| !name.contains('/')).take(limit).collect();
        if names.is_empty() {
            return Err(PortError::Absent { what: path.path() });
        }
        Ok(names.into_iter().map(|name| Entry { name: name.to_owned(), kind: EntryKind::File }).collect())
    }

    fn stat(&self, path: &Beneath) -> PortResult<Stat> {
        let what = path.path();
        let (kind, mode) = match self.files.contains_key(&what) {
            true => (EntryKind::File, 0o644),
            false if self.files.keys().any(|file| file.starts_with(&format!("{what}/"))) => {
                (EntryKind::Dir, 0o755)
            }
            false => return Err(PortError::Absent { what }),
        };
        Ok(Stat { kind, uid: 0, gid: 0, mode, size: 1, mtime: 1_790_000_000 })
    }

    fn ask(&self, query: &Query) -> PortResult<Vec<u8>> {
        let answer = self.answers.get(key(query)).cloned();
        answer.ok_or_else(|| PortError::Absent { what: key(query).to_owned() })
    }
}
