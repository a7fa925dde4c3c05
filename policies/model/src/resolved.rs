//! What one host gets of a policy set: resolved sections, the content of its signed bundle.
//! Version and expiry stand in the index, so that an unchanged bundle keeps its hash.

use std::collections::BTreeMap;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use tenure_trust::{Bundle, FleetName, HostName, Kind, PersonName, Statement};

use crate::bundles::{BackupSection, ControllerPlace, Prober, ProberSection};
use crate::names::{NetworkName, RuleId, UnixUser};

/// How long before its end a login of management is told.
pub const TOLD_BEFORE: SignedDuration = SignedDuration::from_hours(30 * 24);

/// The schema number of [`HostPolicy`] that this code writes and reads.
pub const SCHEMA: u32 = 1;

/// The resolved policy of one host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HostPolicy {
    /// [`SCHEMA`].
    pub schema: u32,
    /// Whose policy this is.
    pub fleet: FleetName,
    /// Which host it is for.
    pub host: HostName,
    /// IANA zone in which times of the policy are meant.
    pub timezone: String,
    /// Seconds between heartbeat records when nothing changes.
    pub heartbeat_seconds: u32,
    /// What each area may do.
    pub modes: Modes,
    /// Section of the area `firewall`.
    pub firewall: Option<FirewallSection>,
    /// Section of the area `ssh_access`.
    pub ssh_access: Option<SshAccessSection>,
    /// Section of the area `patch`.
    pub patch: Option<PatchSection>,
    /// Section of the area `backup`.
    pub backup: Option<BackupSection>,
    /// Where the controller is; none when the fleet has none.
    pub controller: Option<ControllerPlace>,
    /// Whose trials this host confirms; none when it is no prober.
    pub prober: Option<ProberSection>,
}

impl Statement for HostPolicy {
    const KIND: Kind = Kind::HostPolicy;
    const SCHEMA: u32 = SCHEMA;
}

impl Bundle for HostPolicy {
    fn fleet(&self) -> &FleetName {
        &self.fleet
    }
    fn machine(&self) -> &HostName {
        &self.host
    }
}

/// What an area may do on a host; absent in the policy means `observe`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// Looks and reports, touches nothing.
    #[default]
    Observe,
    /// Keeps the host as the policy says.
    Enforce,
}

/// One [`Mode`] per area.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub struct Modes {
    /// Area `firewall`.
    pub firewall: Mode,
    /// Area `ssh_access` (the policy's `access`).
    pub ssh_access: Mode,
    /// Area `patch`.
    pub patch: Mode,
    /// Area `backup`.
    pub backup: Mode,
}

/// Default drop both ways, and what is let through.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FirewallSection {
    /// Every network that a rule names, resolved: one interval set per network and family.
    pub networks: BTreeMap<NetworkName, Addresses>,
    /// What may be reached on this host; the port is the one the client used. SSH openings are here as `implied:ssh/…`.
    pub inbound: Vec<InboundRule>,
    /// What this host may reach.
    pub outbound: Vec<OutboundRule>,
    /// Networks that are never let in or reached; wins over every rule.
    pub blocks: Vec<NetworkName>,
    /// Ways by which people must stay able to reach this host; the guard proves them open.
    pub management: Vec<ManagementPath>,
    /// How a trial of a new ruleset is confirmed.
    pub confirm: Confirm,
    /// Tables of other programs that may exist beside ours (by table name); others are findings.
    pub neighbours: Vec<String>,
}

/// Addresses of a network: CIDRs merged (no overlap, none adjacent), sorted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub struct Addresses {
    /// IPv4.
    pub v4: Vec<Ipv4Net>,
    /// IPv6.
    pub v6: Vec<Ipv6Net>,
}

/// The other end of a rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Peers {
    /// The policy's word `anywhere`: both families, every address.
    Anywhere,
    /// These networks, never empty.
    Networks(Vec<NetworkName>),
}

/// Whose processes an outbound rule lets through.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Users {
    /// Every local user.
    Every,
    /// These accounts, never empty; looked up on the host.
    Named(Vec<UnixUser>),
}

/// Transport protocol, by its number in IP (numeric on purpose: a host may lack /etc/protocols).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Protocol {
    /// 6.
    Tcp,
    /// 17.
    Udp,
}

/// A range of ports, inclusive; `first <= last`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ports {
    /// Transport protocol.
    pub protocol: Protocol,
    /// First port.
    pub first: u16,
    /// Last port.
    pub last: u16,
}

/// Lets something in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InboundRule {
    /// Stable id.
    pub id: RuleId,
    /// Ports, sorted, never empty.
    pub ports: Vec<Ports>,
    /// From where.
    pub from: Peers,
}

/// Lets something out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OutboundRule {
    /// Stable id.
    pub id: RuleId,
    /// Ports, sorted, never empty.
    pub ports: Vec<Ports>,
    /// To where.
    pub to: Peers,
    /// For whom.
    pub users: Users,
}

/// A person's way in that must survive every change: SSH (tcp/22) from these networks as this account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ManagementPath {
    /// Who.
    pub person: PersonName,
    /// From which networks (names in [`FirewallSection::networks`]).
    pub from: Vec<NetworkName>,
    /// As whom.
    pub account: UnixUser,
}

/// How a trial is confirmed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Confirm {
    /// Seconds until the kernel falls back by itself, 5 to 3600.
    pub within_seconds: u32,
    /// Who confirms.
    pub by: ConfirmBy,
}

/// Who confirms a trial.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ConfirmBy {
    /// A person who types `tenure-agent confirm` in a session opened after the switch.
    Person,
    /// One of these hosts, which connects anew; a person can always confirm too. Never empty.
    Hosts(Vec<Prober>),
}

/// Who may log in by SSH, as whom, from where.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SshAccessSection {
    /// One entry per person or machine key and account, sorted by account, then person.
    pub logins: Vec<Login>,
    /// The people of the policy's `management` who log in here: one of them must always be able to. Sorted.
    pub management: Vec<PersonName>,
    /// How long a change that takes a way in away waits for a login of management by a key of it, in seconds, 5 to 3600.
    pub confirm_within_seconds: u32,
    /// What to do about keys in homes that the policy does not name.
    pub unmanaged_keys: UnmanagedKeys,
}

impl SshAccessSection {
    /// Is it one of those by which people keep their way in? Those of the people that the policy names, else everybody's.
    pub fn is_managements(&self, login: &Login) -> bool {
        login.command.is_none() && (self.management.is_empty() || self.management.contains(&login.who))
    }
}

/// Lasts something that ends at `until` at `now`, but no longer than [`TOLD_BEFORE`]?
pub fn ends_soon(until: Timestamp, now: Timestamp) -> bool {
    now < until && until.duration_since(now) <= TOLD_BEFORE
}

/// What to do about keys in homes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum UnmanagedKeys {
    /// Report them; sshd does not read them while the area enforces.
    Report,
}

/// One way in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Login {
    /// Stable id.
    pub id: RuleId,
    /// The person, or the machine key's name.
    pub who: PersonName,
    /// As whom; the account must exist on the host.
    pub account: UnixUser,
    /// Public keys as `type base64` (OpenSSH format, no options, no comment), sorted, never empty.
    pub keys: Vec<String>,
    /// Source addresses, merged and sorted, never empty.
    pub from: Vec<IpNet>,
    /// The moment after which the login is gone.
    pub until: Timestamp,
    /// For machine keys: the one command.
    pub command: Option<String>,
}

/// How current the software must be kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PatchSection {
    /// Seconds within which a security update must be installed.
    pub security_within_seconds: u64,
    /// Seconds within which a needed reboot must have happened.
    pub reboot_within_seconds: u64,
    /// Seconds within which the package lists must have been refreshed.
    pub lists_within_seconds: u64,
}
