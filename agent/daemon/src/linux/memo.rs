//! Remembers what slow programs answered, for as long as every file that they read stays the same one.
//!
//! Change times cannot be set by anybody, so a file that is another one shows it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tenure_areas::port::{PortResult, Query};
use tenure_sys::clock;
use tenure_sys::files::{BaseDir, FileError, Kind, Stat};

/// Answers kept; more begin anew.
const ANSWERS: usize = 4096;
/// So many files are looked at for one answer; more are not remembered.
const FILES: usize = 2000;
/// One look at the files serves the questions that one pass asks in a row. Own writes end it at once.
const ONE_LOOK: Duration = Duration::from_millis(20);

/// What an answer is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Source {
    /// dpkg's database.
    Packages,
    /// dpkg's database, apt's lists and configuration.
    Upgrades,
    /// sshd, its configuration, users and groups.
    Sshd,
}

impl Source {
    fn places(self) -> &'static [&'static str] {
        const PACKAGES: [&str; 2] = ["/var/lib/dpkg/status", "/var/lib/dpkg/updates"];
        const UPGRADES: [&str; 6] = [
            "/var/lib/dpkg/status",
            "/var/lib/dpkg/updates",
            "/var/lib/apt/lists",
            "/var/lib/apt/extended_states",
            "/etc/apt",
            "/usr/bin/apt-get",
        ];
        const SSHD: [&str; 6] = [
            "/etc/ssh/sshd_config",
            "/etc/ssh/sshd_config.d",
            "/etc/passwd",
            "/etc/group",
            "/etc/nsswitch.conf",
            "/usr/sbin/sshd",
        ];
        match self {
            Self::Packages => &PACKAGES,
            Self::Upgrades => &UPGRADES,
            Self::Sshd => &SSHD,
        }
    }
}

/// What is remembered.
#[derive(Debug, Default)]
pub(super) struct Memo(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    answers: BTreeMap<Query, (Files, Vec<u8>)>,
    looked: BTreeMap<Source, (Duration, Option<Files>)>,
}

/// Every file of a source with what it is; `None` where there is none.
type Files = BTreeMap<PathBuf, Option<Stat>>;

impl Memo {
    /// The remembered answer, or a new one.
    pub(super) fn answer(
        &self,
        query: &Query,
        source: Source,
        ask: impl FnOnce() -> PortResult<Vec<u8>>,
    ) -> PortResult<Vec<u8>> {
        let before = self.look(source);
        if let Some(files) = &before
            && let Some((then, bytes)) = self.inner().answers.get(query)
            && then == files
        {
            return Ok(bytes.clone());
        }
        let bytes = ask()?;
        let mut inner = self.inner();
        if inner.answers.len() >= ANSWERS {
            inner.answers.clear();
        }
        match before {
            // The look may be a little old: what was read was read after it, so it is never newer than the answer,
            // and a file that changed in between differs from now on.
            Some(files) => drop(inner.answers.insert(query.clone(), (files, bytes.clone()))),
            None => drop(inner.answers.remove(query)),
        }
        Ok(bytes)
    }

    /// Looks at the files again before the next answer: something of ours was written.
    pub(super) fn look_again(&self) {
        self.inner().looked.clear();
    }

    fn look(&self, source: Source) -> Option<Files> {
        let now = clock::monotonic();
        let mut inner = self.inner();
        if let Some((at, files)) = inner.looked.get(&source)
            && now.saturating_sub(*at) < ONE_LOOK
        {
            return files.clone();
        }
        let files = look(source);
        inner.looked.insert(source, (now, files.clone()));
        files
    }

    fn inner(&self) -> std::sync::MutexGuard<'_, Inner> {
        // Nothing panics while it holds the lock, and both maps are whole at any moment.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// `None` when it cannot be told whether the answer will stay the same.
fn look(source: Source) -> Option<Files> {
    let mut files = Files::new();
    for place in source.places() {
        collect(Path::new(place), &mut files).ok()?;
    }
    if files.len() > FILES || (source == Source::Sshd && !closed(&files)) {
        return None;
    }
    Some(files)
}

fn collect(place: &Path, out: &mut Files) -> Result<(), FileError> {
    let (Some(parent), Some(name)) = (place.parent(), place.file_name()) else { return Ok(()) };
    let look = || {
        let dir = BaseDir::open(parent)?;
        let stat = dir.stat(Path::new(name))?;
        let below = if stat.kind == Kind::Directory { dir.list(Path::new(name), FILES)? } else { Vec::new() };
        Ok((stat, below))
    };
    match look() {
        Err(e) if FileError::is_missing(&e) => drop(out.insert(place.into(), None)),
        Err(e) => return Err(e),
        Ok((stat, below)) => {
            out.insert(place.into(), Some(stat));
            for entry in below.iter().take(FILES.saturating_sub(out.len())) {
                collect(&place.join(&entry.name), out)?;
            }
        }
    }
    Ok(())
}

/// Whether sshd's configuration is only in these files: no `Include` of others, no `Match exec`.
fn closed(files: &Files) -> bool {
    let config = files.iter().filter(|(path, stat)| {
        path.starts_with("/etc/ssh") && stat.as_ref().is_some_and(|s| s.kind != Kind::Directory)
    });
    for (path, _) in config {
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { return false };
        let expect = tenure_sys::files::Expect::roots(1 << 20);
        let Ok(file) = BaseDir::open(parent).and_then(|dir| dir.read(Path::new(name), &expect)) else {
            return false;
        };
        let text = String::from_utf8_lossy(&file.bytes).to_lowercase();
        let elsewhere = |line: &str| {
            let mut words = line.split([' ', '\t', '=', '"', ',']).filter(|w| !w.is_empty());
            match words.next() {
                Some("include") => {
                    words.any(|w| w != "/etc/ssh/sshd_config.d/*.conf" && w != "sshd_config.d/*.conf")
                }
                Some("match") => words.any(|w| w == "exec"),
                _ => false,
            }
        };
        if text.lines().any(|line| elsewhere(line.trim())) {
            return false;
        }
    }
    true
}
