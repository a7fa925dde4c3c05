//! A whole policy set as a person wrote it, typed, every value with its place. No name is looked up here.
//!
//! Each section is declared once (`section!`): reader, JSON Schema and canonical order follow from it.

mod hosts;
mod networks;
mod people;
mod profiles;
mod tenants;
mod tests;

pub use hosts::{Database, Host};
pub use networks::{Network, NetworkNames, Peers};
pub use people::{Confirm, Controller, MachineKey, Management, Person, Recovery, Vault};
pub use profiles::{
    Access, Account, Backup, BackupKeys, BackupSet, ContainerRule, Containers, Drill, Expectation, Firewall,
    Inbound, Limits, LoginRule, ModeWord, Modes, Newest, Outbound, Patch, Profile, Ring, Sudo, SudoWord,
    UnmanagedKeys,
};
pub use tenants::{
    Action, Class, Contract, ContractRole, Filter, FilterValue, Like, Literal, Promise, Store, Tenant,
};
pub use tests::{Expect, LoginTest, PacketTest, Test, Waiver};

use tenure_trust::{FleetName, HostName, PersonName, TenantId};

use crate::calendar::Period;
use crate::fault::Spanned;
use crate::names::{NetworkName, ProfileName};
use crate::scalars::{PortRange, ServiceName, VaultName, ZoneName};
use crate::shape::{Map, NonEmpty, section};

section! {
    /// A policy set: everything that one fleet's machines and people shall keep to.
    Written = "the policy" {
        /// The version of the language: 1.
        tenure / "tenure": Spanned<u32>,
        /// The fleet's name.
        fleet / "fleet": Spanned<FleetName>,
        /// IANA zone in which every time and month is meant.
        timezone / "timezone": Spanned<ZoneName>,
        /// After this hosts keep enforcing and say "expired".
        valid_for / "valid_for": Spanned<Period>,
        /// How often a machine speaks when nothing changes; 15min when left out.
        heartbeat / "heartbeat": Option<Spanned<Period>>,
        /// Addresses by name; one name space with hosts, profiles and bridges.
        networks / "networks": Map<NetworkName, Network>,
        /// People and their keys.
        people / "people": Map<PersonName, Person>,
        /// Keys that no person holds.
        machines / "machines": Map<PersonName, MachineKey>,
        /// People by the names of groups.
        groups / "groups": Map<PersonName, NonEmpty<Spanned<PersonName>>>,
        /// Own names for ports, beside those shipped.
        services / "services": Map<ServiceName, NonEmpty<Spanned<PortRange>>>,
        /// Where the controller listens.
        controller / "controller": Option<Spanned<Controller>>,
        /// The way in that every change must leave open, and who confirms.
        management / "management": Option<Spanned<Management>>,
        /// Who can open backups when a host is dead.
        recovery / "recovery": Option<Spanned<Recovery>>,
        /// Where backups go.
        vaults / "vaults": Map<VaultName, Vault>,
        /// What hosts have in common.
        profiles / "profiles": Map<ProfileName, Profile>,
        /// The machines.
        hosts / "hosts": Map<HostName, Host>,
        /// The parties whose data the fleet holds under contract.
        tenants / "tenants": Map<TenantId, Tenant>,
        /// Duties that are suspended for a while, with owner and reason.
        waivers / "waivers": Vec<Spanned<Waiver>>,
        /// What must hold, with literal addresses.
        tests / "tests": Vec<Spanned<Test>>,
    }
}
