//! What a backup is called and what is signed about it: series, slot, generation, objects, seal, receipt (BACKUP.md).

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use jiff::civil::Date;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::hash::Hash;
use crate::ids::{FleetName, HostName, IdError, RunId, TenantId, VaultName};
use crate::kind::Kind;
use crate::statement::Statement;

/// Whose data a series holds.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Owner {
    /// The host's own: all that belongs to no tenant.
    Host,
    /// A tenant's.
    Tenant(TenantId),
}

/// Which of a host's sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SetName {
    /// The whole server, several times a day.
    Server,
    /// Databases and uploads, each night.
    Nightly,
}

impl SetName {
    /// Its word in policies, paths and on screens.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Server => "server",
            Self::Nightly => "nightly",
        }
    }
}

impl fmt::Display for SetName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// A series of backups: where they go, whose they are, of which host and which set.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SeriesId {
    /// The vault that holds it.
    pub vault: VaultName,
    /// The host that is backed up.
    pub host: HostName,
    /// Whose data.
    pub owner: Owner,
    /// Which set.
    pub set: SetName,
}

impl SeriesId {
    /// Its directory below a vault's store: `<owner>/<host>/<set>`; the host's own data stands under the host's name
    /// (no tenant may have the name of a host: a rule of the policy).
    pub fn path(&self) -> String {
        let owner = match &self.owner {
            Owner::Host => self.host.as_str(),
            Owner::Tenant(tenant) => tenant.as_str(),
        };
        format!("{owner}/{}/{}", self.host, self.set)
    }

    /// Reads [`SeriesId::path`] back.
    ///
    /// # Errors
    /// When it is not three names of that form.
    pub fn from_path(vault: VaultName, path: &str) -> Result<Self, IdError> {
        let wrong = || IdError {
            kind: "series",
            text: crate::text::shortened(path.to_owned(), 100),
            rule: "OWNER/HOST/SET, the set server or nightly",
        };
        let mut parts = path.split('/');
        let (Some(owner), Some(host), Some(set), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(wrong());
        };
        let host = HostName::new(host)?;
        let owner = match owner == host.as_str() {
            true => Owner::Host,
            false => Owner::Tenant(TenantId::new(owner)?),
        };
        let set = match set {
            "server" => SetName::Server,
            "nightly" => SetName::Nightly,
            _ => return Err(wrong()),
        };
        Ok(Self { vault, host, owner, set })
    }
}

impl fmt::Display for SeriesId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.vault, self.path())
    }
}

/// A local time of day in whole minutes, written `HH:MM`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SlotTime(u16);

impl SlotTime {
    /// The time of day; none outside 00:00 to 23:59.
    pub fn new(hour: u8, minute: u8) -> Option<Self> {
        (hour < 24 && minute < 60).then(|| Self(u16::from(hour) * 60 + u16::from(minute)))
    }

    /// Hour, 0 to 23.
    pub fn hour(self) -> u8 {
        (self.0 / 60) as u8
    }

    /// Minute, 0 to 59.
    pub fn minute(self) -> u8 {
        (self.0 % 60) as u8
    }

    /// `HHMM`, for file names.
    pub fn digits(self) -> String {
        format!("{:02}{:02}", self.hour(), self.minute())
    }
}

impl fmt::Display for SlotTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02}:{:02}", self.hour(), self.minute())
    }
}

impl fmt::Debug for SlotTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for SlotTime {
    type Err = IdError;
    fn from_str(text: &str) -> Result<Self, IdError> {
        let wrong = || IdError {
            kind: "time of day",
            text: crate::text::shortened(text.to_owned(), 100),
            rule: "HH:MM, from 00:00 to 23:59",
        };
        let digits = |part: &str| part.len() == 2 && part.bytes().all(|b| b.is_ascii_digit());
        let (hour, minute) =
            text.split_once(':').filter(|(h, m)| digits(h) && digits(m)).ok_or_else(wrong)?;
        let (hour, minute) = (hour.parse().map_err(|_| wrong())?, minute.parse().map_err(|_| wrong())?);
        Self::new(hour, minute).ok_or_else(wrong)
    }
}

impl Serialize for SlotTime {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for SlotTime {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// A moment at which a backup is due: series, local date in the policy's zone, time as the policy has it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SlotId {
    /// Of which series.
    pub series: SeriesId,
    /// The local date.
    pub date: Date,
    /// The time of day as scheduled; of a manual slot the minute in which it was begun.
    pub at: SlotTime,
    /// Made by a person beside the schedule: a copy, and none of the "three a day".
    pub manual: bool,
}

impl fmt::Display for SlotId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let manual = if self.manual { " by hand" } else { "" };
        write!(f, "{} {} {}{manual}", self.series, self.date, self.at)
    }
}

/// A generation of a series: its local date, and a number above 1 only after a lost key or an abort.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GenerationId {
    /// The local date.
    pub date: Date,
    /// From 1.
    pub number: u32,
}

impl fmt::Display for GenerationId {
    /// `2026-11-23.1`, also its directory's name.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.date, self.number)
    }
}

impl FromStr for GenerationId {
    type Err = IdError;
    fn from_str(text: &str) -> Result<Self, IdError> {
        let wrong = || IdError {
            kind: "generation",
            text: crate::text::shortened(text.to_owned(), 100),
            rule: "YYYY-MM-DD.N, N from 1",
        };
        let (date, number) = text.rsplit_once('.').ok_or_else(wrong)?;
        let id =
            Self { date: date.parse().map_err(|_| wrong())?, number: number.parse().map_err(|_| wrong())? };
        // one spelling: what does not print as it was written is no name of a generation
        if id.number == 0 || id.to_string() != text { Err(wrong()) } else { Ok(id) }
    }
}

/// What kind of object of restic's repository format an object is; its place follows from kind and name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ObjectKind {
    /// `config`: one, brought by `open`, frozen.
    Config,
    /// `keys/<name>`: one, brought by `open`, frozen.
    Key,
    /// `data/<xx>/<name>`.
    Data,
    /// `index/<name>`.
    Index,
    /// `snapshots/<name>`.
    Snapshot,
}

/// One object as a journal and a seal count it. The name is the SHA-256 of the bytes, except for `config`, whose name
/// here is that hash too although restic gives the file none.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Object {
    /// Its kind.
    pub kind: ObjectKind,
    /// SHA-256 of its bytes.
    pub name: Hash,
    /// Bytes.
    pub size: u64,
}

/// The root over a set of objects: SHA-256 over `kind name size\n` lines, sorted. Host and vault compute it each from
/// their own books.
pub fn object_root<'a>(objects: impl IntoIterator<Item = &'a Object>) -> Hash {
    let mut sorted: Vec<&Object> = objects.into_iter().collect();
    sorted.sort_unstable();
    sorted.dedup();
    let mut text = String::new();
    for object in sorted {
        let kind = match object.kind {
            ObjectKind::Config => "config",
            ObjectKind::Key => "key",
            ObjectKind::Data => "data",
            ObjectKind::Index => "index",
            ObjectKind::Snapshot => "snapshot",
        };
        text.push_str(&format!("{kind} {} {}\n", object.name, object.size));
    }
    Hash::of(text.as_bytes())
}

/// What the host says of a run that it has stored and read back: signed with the host's identity key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Seal {
    /// Schema of this statement.
    pub schema: u32,
    /// The fleet.
    pub fleet: FleetName,
    /// Which slot it fills.
    pub slot: SlotId,
    /// In which generation.
    pub generation: GenerationId,
    /// By which run.
    pub run: RunId,
    /// restic's id of the snapshot that counts.
    pub snapshot: Hash,
    /// The vault's last acknowledged sequence number of this generation.
    pub upto: u64,
    /// Number of objects of the generation up to there.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
    /// [`object_root`] over them.
    pub root: Hash,
    /// What the host says of its own run; it can only ever add a stop.
    pub claims: SealClaims,
    /// When the run began, by the host's clock.
    pub started: Timestamp,
    /// When it ended.
    pub ended: Timestamp,
}

/// What the host says of its own run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SealClaims {
    /// Files and directories that were read.
    pub files: u64,
    /// Bytes of them.
    pub source_bytes: u64,
    /// Files that could not be read. Above 0 the run is partial.
    pub unreadable: u64,
    /// Files that changed while they were read, twice.
    pub changed: u64,
    /// Dumps that were checked before they counted.
    pub dumps: u32,
    /// Read back through a view: index and trees complete, a sample decrypted.
    pub read_back: bool,
}

impl Statement for Seal {
    const KIND: Kind = Kind::Seal;
    const SCHEMA: u32 = 1;
}

/// The vault's answer to a seal that it accepted: signed with the vault's identity key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Receipt {
    /// Schema of this statement.
    pub schema: u32,
    /// The fleet.
    pub fleet: FleetName,
    /// Which vault.
    pub vault: VaultName,
    /// Hash of the seal's payload bytes.
    pub seal: Hash,
    /// The slot that it fills.
    pub slot: SlotId,
    /// The generation.
    pub generation: GenerationId,
    /// The snapshot that counts.
    pub snapshot: Hash,
    /// The root by the vault's own journal.
    pub root: Hash,
    /// Objects by the vault's own journal.
    pub objects: u64,
    /// Bytes by the vault's own journal.
    pub bytes: u64,
    /// The vault's own sequence number of this receipt in the generation.
    pub sequence: u64,
    /// When it was accepted, by the vault's clock.
    pub received: Timestamp,
    /// Seconds of uptime that the vault has witnessed in all.
    pub uptime_seconds: u64,
    /// Generations of the series that have left their cell, the newest [`GONE`], oldest first: superseded, being erased
    /// or erased. Their keys open nothing any more. What the vault merely does not have does not stand here.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gone: Vec<GenerationId>,
}

/// The most generations that a receipt names as gone: of every cell some of the last.
pub const GONE: usize = 64;

impl Statement for Receipt {
    const KIND: Kind = Kind::Receipt;
    const SCHEMA: u32 = 1;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(owner: Owner) -> SeriesId {
        SeriesId {
            vault: VaultName::new("vault1").unwrap(),
            host: HostName::new("web1").unwrap(),
            owner,
            set: SetName::Server,
        }
    }

    #[test]
    fn a_series_path_reads_back_and_no_other_does() {
        for owner in [Owner::Host, Owner::Tenant(TenantId::new("acme").unwrap())] {
            let id = series(owner);
            assert_eq!(SeriesId::from_path(id.vault.clone(), &id.path()).unwrap(), id);
        }
        for bad in ["", "a/b", "a/b/server/x", "a/../server", "a/b/weekly", "/a/b/server", "a/b/server/"] {
            assert!(SeriesId::from_path(VaultName::new("v").unwrap(), bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn times_and_generations_have_one_spelling() {
        assert_eq!("06:05".parse::<SlotTime>().unwrap().digits(), "0605");
        for bad in ["6:05", "06:60", "24:00", "+6:05", "06:5", "06:05:00", "٠٦:٠٥"] {
            assert!(bad.parse::<SlotTime>().is_err(), "{bad}");
        }
        let id: GenerationId = "2026-11-23.1".parse().unwrap();
        assert_eq!(id.to_string(), "2026-11-23.1");
        for bad in
            ["2026-11-23", "2026-11-23.0", "2026-11-23.01", "2026-11-23.+1", "20261123.1", "2026-11-23.1/"]
        {
            assert!(bad.parse::<GenerationId>().is_err(), "{bad}");
        }
    }

    #[test]
    fn the_root_does_not_depend_on_order_and_tells_every_object() {
        let object = |n: u8, size| Object { kind: ObjectKind::Data, name: Hash::of(&[n]), size };
        let (a, b) = (object(1, 10), object(2, 20));
        assert_eq!(object_root([&a, &b]), object_root([&b, &a]));
        assert_ne!(object_root([&a, &b]), object_root([&a]));
        assert_ne!(object_root([&a]), object_root([&object(1, 11)]));
        assert_ne!(object_root([&a]), object_root([&Object { kind: ObjectKind::Index, ..a.clone() }]));
    }
}
