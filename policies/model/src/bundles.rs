//! What machines beside a host's firewall and logins get of a policy set: a host's backups, a vault's bundle, and the
//! duty book of the controller. Version and expiry stand in the index.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;
use jiff::Timestamp;
use jiff::civil::Date;
use serde::{Deserialize, Serialize};
use tenure_trust::{
    Bundle, FleetName, HostName, Kind, PersonName, SeriesId, SlotTime, Statement, TenantId, VaultName,
};

use crate::calendar::Period;
use crate::duties::Judged;
use crate::names::UnixUser;
use crate::scalars::{AbsolutePath, ClassName, EnvironmentName, SqlName, StoreName};
use crate::written::{BackupKeys, Ring};

/// Where the controller's machines' listener is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ControllerPlace {
    /// The host it runs on.
    pub host: HostName,
    /// That host's addresses, sorted.
    pub addresses: Vec<IpAddr>,
    /// TCP port.
    pub port: u16,
}

/// A host that confirms others' firewall trials by connecting to them anew.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Prober {
    /// The host.
    pub host: HostName,
    /// Its addresses, sorted: it is asked at one of them and connects from them.
    pub addresses: Vec<IpAddr>,
    /// TCP port at which it is asked.
    pub port: u16,
}

/// That this host is a prober: whom it answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProberSection {
    /// TCP port at which it is asked.
    pub port: u16,
    /// The hosts that may ask, with their addresses: it connects to these and to no others.
    pub hosts: BTreeMap<HostName, Vec<IpAddr>>,
}

/// The TCP port at which probers are asked.
pub const PROBER_PORT: u16 = 8442;

/// What a host backs up, when and where to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BackupSection {
    /// One entry per owner, set and vault: the host's own first, then tenants by name.
    pub series: Vec<SeriesSection>,
    /// The vaults that series name.
    pub vaults: BTreeMap<VaultName, VaultPlace>,
    /// Databases of the host that are dumped.
    pub databases: BTreeMap<SqlName, DatabasePlace>,
    /// Seconds after its time within which a missed run is caught up.
    pub catch_up_seconds: u64,
    /// How copies are kept.
    pub ring: Ring,
    /// How long the host keeps the key of a copy.
    pub keys: BackupKeys,
    /// Bytes a second, where limited.
    pub upload_bytes_per_second: Option<u64>,
    /// age recipients of the generations' passwords, at least two, sorted.
    pub recipients: Vec<String>,
    /// How restoring is proved; none when the policy says nothing.
    pub drill: Option<DrillSection>,
}

/// One series of a host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SeriesSection {
    /// Which.
    pub series: SeriesId,
    /// At which local times, sorted, never empty.
    pub at: Vec<SlotTime>,
    /// Which paths, sorted. May be empty when there are dumps.
    pub paths: Vec<AbsolutePath>,
    /// What is left out below those paths: what the policy excludes, and for the host's own series the places of
    /// tenants. Sorted.
    pub exclude: Vec<AbsolutePath>,
    /// Which databases, with the schemas that belong to this owner.
    pub dumps: Vec<DumpSection>,
}

/// A dump in a series.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DumpSection {
    /// The database's name in the policy (a key of [`BackupSection::databases`]).
    pub database: SqlName,
    /// Only these schemas (a tenant's); empty: all but `without`.
    pub only: Vec<SqlName>,
    /// Without these schemas (those of tenants).
    pub without: Vec<SqlName>,
}

/// A database server's database on the host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DatabasePlace {
    /// The PostgreSQL database's name.
    pub postgresql: SqlName,
    /// The directory of the server's socket.
    pub socket: AbsolutePath,
}

/// Where a vault is reached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VaultPlace {
    /// The host it runs on (its admission in the role `vault` has its SSH host key).
    pub host: HostName,
    /// Its addresses, sorted.
    pub addresses: Vec<IpAddr>,
    /// TCP port.
    pub port: u16,
}

/// How restoring is proved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DrillSection {
    /// How often, in seconds at most between two.
    pub every_seconds: u64,
    /// What the restored data must show beside the counts taken at the dump.
    pub expect: Vec<DrillExpectation>,
}

/// What a restored table must show.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DrillExpectation {
    /// The database's name in the policy.
    pub database: SqlName,
    /// The table.
    pub table: SqlName,
    /// How many rows at least.
    pub at_least_rows: Option<u64>,
    /// The newest value of this column is at most so many seconds old.
    pub newest: Option<(SqlName, u64)>,
}

/// The bundle of a vault.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VaultPolicy {
    /// Schema of this statement.
    pub schema: u32,
    /// The fleet.
    pub fleet: FleetName,
    /// The host it runs on.
    pub host: HostName,
    /// Its name.
    pub vault: VaultName,
    /// IANA zone in which dates of slots are meant.
    pub timezone: String,
    /// Seconds between heartbeat records.
    pub heartbeat_seconds: u32,
    /// TCP port of its SSH listener.
    pub port: u16,
    /// The directory that holds the series.
    pub store: AbsolutePath,
    /// Bytes that stay free on its file system.
    pub keep_free_bytes: u64,
    /// Bytes for each owner.
    pub quota_bytes: u64,
    /// The series that it takes; no other exists for it.
    pub series: Vec<VaultSeries>,
    /// The hosts that may connect, each with its addresses: a source address that is none of these gets no handshake.
    pub hosts: BTreeMap<HostName, Vec<IpAddr>>,
    /// From where a recovery key may read: the networks of management.
    pub recovery_from: Vec<IpNet>,
    /// Recovery recipients that every generation must bring the password for, sorted.
    pub recipients: Vec<String>,
    /// Where the controller is, if there is one.
    pub controller: Option<ControllerPlace>,
}

/// A series as its vault keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VaultSeries {
    /// Which.
    pub series: SeriesId,
    /// Its local times, sorted.
    pub at: Vec<SlotTime>,
    /// Seconds after its time within which a slot can be filled.
    pub catch_up_seconds: u64,
    /// How copies are kept.
    pub ring: Ring,
    /// Seconds that a superseded copy stays. (Trash comes with purging; until then it is erased after promotion.)
    pub erase_after_seconds: u64,
}

impl Statement for VaultPolicy {
    const KIND: Kind = Kind::VaultPolicy;
    const SCHEMA: u32 = 1;
}

impl Bundle for VaultPolicy {
    fn fleet(&self) -> &FleetName {
        &self.fleet
    }
    fn machine(&self) -> &HostName {
        &self.host
    }
}

/// The bundle of the controller: what is promised to whom. What each host must keep stands in the hosts' own bundles,
/// which the controller holds too and verifies in the same way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DutyBook {
    /// Schema of this statement.
    pub schema: u32,
    /// The fleet.
    pub fleet: FleetName,
    /// The host that the controller runs on.
    pub host: HostName,
    /// IANA zone in which dates and months are meant.
    pub timezone: String,
    /// Seconds between heartbeat records; a machine is silent after three.
    pub heartbeat_seconds: u32,
    /// Every machine of the set.
    pub machines: BTreeMap<HostName, MachineFacts>,
    /// Whose data the fleet holds.
    pub tenants: BTreeMap<TenantId, TenantDuties>,
    /// Duties suspended for a while.
    pub waivers: Vec<WaiverFacts>,
    /// Where the controller listens for machines, if it is told.
    pub controller: Option<ControllerPlace>,
}

impl Statement for DutyBook {
    const KIND: Kind = Kind::DutyBook;
    const SCHEMA: u32 = 1;
}

impl Bundle for DutyBook {
    fn fleet(&self) -> &FleetName {
        &self.fleet
    }
    fn machine(&self) -> &HostName {
        &self.host
    }
}

/// A machine as the duty book names it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MachineFacts {
    /// Where it stands, if said.
    pub site: Option<String>,
    /// What it is for, if said.
    pub environment: Option<EnvironmentName>,
    /// The vault on it, if any.
    pub vault: Option<VaultName>,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
}

/// What one tenant was promised.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TenantDuties {
    /// The contract's first day.
    pub started: Date,
    /// Its last day; none while it runs.
    pub ends: Option<Date>,
    /// After the end all data is gone within this.
    pub purge_within: Period,
    /// Their sentences, in the order of the contract.
    pub promises: Vec<PromiseDuty>,
    /// Where the data lives.
    pub stores: BTreeMap<StoreName, StoreFacts>,
    /// Kinds of data and how long they are kept.
    pub classes: BTreeMap<ClassName, ClassFacts>,
}

/// One sentence and the duty that it means.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PromiseDuty {
    /// Their words.
    pub says: String,
    /// The duty (a name of [`crate::duties::DUTIES`]).
    pub means: String,
    /// How it is judged.
    pub judged: Judged,
    /// For counted duties: at least so many times …
    pub at_least_times: Option<u32>,
    /// … in so many days.
    pub at_least_days: Option<u32>,
    /// For duties with a deadline.
    pub within: Option<Period>,
    /// The hosts on which this tenant's data lives, sorted: where the duty is looked at.
    pub hosts: Vec<HostName>,
}

/// A place of a tenant's data.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoreFacts {
    /// On which host.
    pub host: HostName,
    /// Which directory.
    pub path: Option<AbsolutePath>,
    /// The local user who owns it.
    pub user: Option<UnixUser>,
    /// Which database of the host.
    pub database: Option<SqlName>,
    /// Which schema.
    pub schema: Option<SqlName>,
    /// Others' rows stand in the same tables.
    pub shared: bool,
}

/// A kind of a tenant's data.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClassFacts {
    /// In which store.
    pub store: StoreName,
    /// Kept at least this long.
    pub keep_at_least: Option<Period>,
    /// Kept at most this long.
    pub keep_at_most: Option<Period>,
}

/// A duty suspended for a while.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WaiverFacts {
    /// The duty or value (`backup.server`, `patch.security_within`).
    pub what: String,
    /// On which hosts.
    pub hosts: Vec<HostName>,
    /// Until when.
    pub until: Timestamp,
    /// Who answers for it.
    pub owner: PersonName,
    /// Why.
    pub because: String,
}
