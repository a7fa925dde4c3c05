//! What stood on the host before the first act: the ruleset's listing, kept with its hash, so that `lift` can show that
//! everything of others is as it was. (The area `ssh_access` keeps the files at its own places itself.) And the mark of
//! an area that was given back.

use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tenure_areas::area::{Done, Now};
use tenure_areas::port::{
    Beneath, Command, HostRead, HostWrite, ManagedFile, ManagedPath, Owner, PortError, PortResult,
};
use tenure_trust::Hash;

use crate::areas::Area;
use crate::host::Host;

const STATE: &str = "/var/lib/tenure";
const LISTING: &str = "before/firewall.nft";
const KEPT: &str = "before/firewall.json";
/// Largest note of ours that is read, in bytes.
const LIMIT: usize = 4096;

/// Lists the whole ruleset as text that `nft -f` reads back; stateless, so that counters make no difference.
pub type Listing = dyn Fn() -> Result<Vec<u8>, String> + Send + Sync;

/// Keeps and compares. Clones are the same.
#[derive(Clone)]
pub struct Before {
    listing: Arc<Listing>,
}

/// What was kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kept {
    /// When.
    pub at: Timestamp,
    /// The hash of the ruleset's listing.
    pub ruleset: Hash,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Lifted {
    at: Timestamp,
}

impl std::fmt::Debug for Before {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Before")
    }
}

impl Before {
    /// Keeps rulesets as `listing` tells them.
    pub fn new(listing: Arc<Listing>) -> Self {
        Self { listing }
    }

    /// Was the area given back and not applied again since? A mark that cannot be looked at counts: whoever gave the
    /// host back does not want it taken again.
    pub fn is_lifted(&self, area: Area, read: &dyn HostRead) -> bool {
        !matches!(read.stat(&place(&mark(area))), Err(PortError::Absent { .. }))
    }

    /// Marks the area as given back.
    ///
    /// # Errors
    /// When the mark cannot be written.
    pub fn mark_lifted(&self, area: Area, write: &dyn HostWrite, at: Timestamp) -> PortResult<()> {
        put(write, &mark(area), &json(&Lifted { at }))
    }

    /// Takes the mark away: the area enforces again.
    ///
    /// # Errors
    /// When the mark cannot be removed.
    pub fn unmark_lifted(&self, area: Area, write: &dyn HostWrite) -> PortResult<()> {
        write.remove(&managed(&mark(area))?)
    }

    /// Keeps the ruleset as it is now, unless one is kept already.
    ///
    /// # Errors
    /// When it cannot be listed or kept; then nothing may be changed.
    pub fn keep(&self, area: Area, host: &dyn Host, at: Timestamp) -> PortResult<()> {
        if area != Area::Firewall {
            return Ok(());
        }
        match host.stat(&place(KEPT)) {
            Ok(_) => return Ok(()),
            Err(PortError::Absent { .. }) => {}
            Err(e) => return Err(e),
        }
        let listing = self.list()?;
        put(host, LISTING, &listing)?;
        // Last, since it says that the rest is there.
        put(host, KEPT, &json(&Kept { at, ruleset: Hash::of(&listing) }))
    }

    /// After the area took its own away: is the ruleset the one that was kept? What was kept is forgotten then; the next
    /// apply keeps anew.
    ///
    /// # Errors
    /// When that cannot be told.
    pub fn compare(&self, area: Area, host: &dyn Host) -> PortResult<Vec<Done>> {
        if area != Area::Firewall {
            return Ok(Vec::new());
        }
        let kept: Kept = match host.file(&place(KEPT), Owner::Root, LIMIT) {
            Err(PortError::Absent { .. }) => return Ok(Vec::new()),
            Err(e) => return Err(e),
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|e| PortError::Failed {
                doing: format!("reading {}", place(KEPT).path()),
                why: e.to_string(),
            })?,
        };
        let same = Hash::of(&self.list()?) == kept.ruleset;
        let step = if same {
            format!("compare the ruleset with the one kept at {}: identical", kept.at)
        } else {
            format!(
                "compare the ruleset with the one kept at {}: tables of other programs differ, which Tenure never \
                 touched; the listing of then is in {}",
                kept.at,
                place(LISTING).path()
            )
        };
        host.remove(&managed(KEPT)?)?;
        Ok(vec![Done { step, error: None }])
    }

    fn list(&self) -> PortResult<Vec<u8>> {
        (self.listing)().map_err(|why| PortError::Failed { doing: "listing the ruleset".into(), why })
    }
}

/// The write port that a lane gets: before the first thing that changes the host, what stands there is kept.
pub struct KeepFirst<'a> {
    host: &'a dyn Host,
    area: Area,
    before: &'a Before,
    now: &'a dyn Fn() -> Now,
}

impl<'a> KeepFirst<'a> {
    /// Around a host.
    pub fn new(host: &'a dyn Host, area: Area, before: &'a Before, now: &'a dyn Fn() -> Now) -> Self {
        Self { host, area, before, now }
    }
}

impl HostWrite for KeepFirst<'_> {
    fn put(&self, file: &ManagedFile) -> PortResult<()> {
        self.host.put(file)
    }

    fn replace(&self, from: &ManagedPath, to: &ManagedPath) -> PortResult<()> {
        self.host.replace(from, to)
    }

    fn remove(&self, path: &ManagedPath) -> PortResult<()> {
        self.host.remove(path)
    }

    fn tell(&self, command: &Command) -> PortResult<()> {
        self.before.keep(self.area, self.host, (self.now)().wall)?;
        self.host.tell(command)
    }
}

fn mark(area: Area) -> String {
    format!("lifted/{area}.json")
}

fn place(beneath: &str) -> Beneath {
    Beneath::new(STATE, beneath)
}

fn managed(beneath: &str) -> PortResult<ManagedPath> {
    ManagedPath::new(format!("{STATE}/{beneath}"))
}

fn put(write: &dyn HostWrite, beneath: &str, bytes: &[u8]) -> PortResult<()> {
    write.put(&ManagedFile { path: managed(beneath)?, bytes: bytes.to_vec(), mode: 0o600 })
}

fn json<T: Serialize>(value: &T) -> Vec<u8> {
    serde_json::to_vec(value).expect("plain data with text keys")
}
