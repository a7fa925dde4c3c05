//! The set's names: one name space for networks, hosts, profiles and bridges (rule 3), one for people, machine keys
//! and groups, one for services. Every address list is merged once here, however many hosts use it.

use std::collections::{BTreeMap, BTreeSet};

use tenure_trust::{HostName, PersonName};

use crate::addresses;
use crate::fault::{Fault, FaultCode, Faults, Place, Spanned};
use crate::names::{NetworkName, ProfileName};
use crate::resolved::{Addresses, Ports};
use crate::scalars::Service;
use crate::services;
use crate::written::{Network, Peers, Written};

/// Words of the language that no name may be.
const RESERVED: [&str; 2] = ["anywhere", "person"];

/// The most DNS names of one network (rule 8).
const MOST_DNS_NAMES: usize = 64;

/// All names of a set.
#[derive(Debug)]
pub(crate) struct Book {
    networks: BTreeMap<NetworkName, Entry>,
    people: BTreeMap<PersonName, (Who, Place)>,
    services: BTreeMap<String, Vec<Ports>>,
    defined: Defined,
}

/// Names that the files define, also where the definition could not be read: its fault is reported already.
#[derive(Debug)]
pub(crate) struct Defined {
    /// By section.
    pub(crate) names: BTreeMap<String, BTreeSet<String>>,
    /// A whole file could not be read: any name may stand there.
    pub(crate) partial: bool,
    /// Everything could be read: what is not there is nowhere.
    pub(crate) all: bool,
}

/// Something that can be the other end of a rule.
#[derive(Debug)]
pub(crate) struct Entry {
    /// What it is.
    pub(crate) kind: Kind,
    /// Where it is named.
    pub(crate) at: Place,
    /// Its addresses; empty for those that have none of their own.
    pub(crate) addresses: Addresses,
}

/// What a name of the one name space is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Of `networks`, with addresses.
    Network,
    /// Of `networks`, with DNS names.
    ByNames,
    /// A host.
    Host,
    /// All hosts that have the profile.
    Profile,
    /// A bridge of `containers`.
    Bridge,
}

impl Kind {
    /// In words.
    pub(crate) fn say(self) -> &'static str {
        match self {
            Self::Network | Self::ByNames => "network",
            Self::Host => "host",
            Self::Profile => "profile",
            Self::Bridge => "bridge",
        }
    }
}

/// What a name of `who` is.
#[derive(Debug)]
pub(crate) enum Who {
    /// A person.
    Person,
    /// A machine key.
    Machine,
    /// A group: its members, sorted.
    Group(Vec<PersonName>),
}

impl Book {
    /// Collects the names of a set and reports what is wrong with them.
    pub(crate) fn new(written: &Written, defined: Defined, faults: &mut Faults) -> Self {
        let mut book =
            Self { networks: BTreeMap::new(), people: BTreeMap::new(), services: BTreeMap::new(), defined };
        book.add_networks(written, faults);
        book.add_hosts_and_profiles(written, faults);
        book.add_people(written, faults);
        book.add_services(written, faults);
        book
    }

    /// What a name of the one name space stands for.
    pub(crate) fn entry(&self, name: &NetworkName) -> Option<&Entry> {
        self.networks.get(name)
    }

    /// Everything could be read: what is missing is missing.
    pub(crate) fn is_whole(&self) -> bool {
        self.defined.all
    }

    /// Reports an unknown name, unless one of these sections has it and it only could not be read.
    pub(crate) fn unknown(&self, sections: &[&str], name: &str, fault: Fault, faults: &mut Faults) {
        let may_be =
            |section: &&str| self.defined.names.get(*section).is_some_and(|names| names.contains(name));
        if !self.defined.partial && !sections.iter().any(may_be) {
            faults.push(fault);
        }
    }

    /// The other end of a rule or a `from`: addresses that nothing else decides. Reports names that are no such thing.
    pub(crate) fn must_have_addresses(&self, name: &Spanned<NetworkName>, faults: &mut Faults) {
        if name.as_str() == "anywhere" {
            let what = "anywhere cannot stand here";
            faults.push(Fault::new(&name.at, FaultCode::Rule, what).hint("name the networks; see networks:"));
            return;
        }
        let Some(entry) = self.entry(name) else {
            if faults.is_full() {
                return;
            }
            let known = self.networks.keys().map(NetworkName::as_str).take(suggestions(faults));
            let fault = Fault::unknown(&name.at, "network", name.as_str(), known);
            let fault = fault.hint("networks, hosts and profiles are one name space");
            self.unknown(&["networks", "hosts", "profiles"], name.as_str(), fault, faults);
            return;
        };
        match entry.kind {
            Kind::Network | Kind::Host => {}
            Kind::Profile if entry.addresses.is_empty() && self.is_whole() => {
                let what =
                    format!("no host has the profile {:?}, so it stands for no address", name.as_str());
                faults.push(
                    Fault::new(&name.at, FaultCode::Rule, what)
                        .hint("give the profile to a host, or name a network"),
                );
            }
            Kind::Profile => {}
            Kind::ByNames => {
                let what =
                    format!("the network {:?} is by DNS names, which cannot be enforced yet", name.as_str());
                faults.push(Fault::new(&name.at, FaultCode::NotYet, what).hint("write its addresses"));
            }
            Kind::Bridge => {
                let what =
                    format!("{:?} is a bridge, which can only stand in rules of containers", name.as_str());
                faults.push(
                    Fault::new(&name.at, FaultCode::Rule, what).hint("name a network, host or profile"),
                );
            }
        }
    }

    /// The same for both forms of a rule's other end.
    pub(crate) fn must_be_peers(&self, peers: &Peers, faults: &mut Faults) {
        match peers {
            Peers::Anywhere => {}
            Peers::Named(names) => names.iter().for_each(|name| self.must_have_addresses(name, faults)),
        }
    }

    /// What a name of `who` stands for; reports an unknown one.
    pub(crate) fn who(&self, name: &Spanned<PersonName>, faults: &mut Faults) -> Option<&Who> {
        let found = self.people.get(&name.value).map(|(who, _)| who);
        if found.is_none() && !faults.is_full() {
            let known = self.people.keys().map(PersonName::as_str).take(suggestions(faults));
            let fault = Fault::unknown(&name.at, "person, machine key or group", name.as_str(), known);
            let fault = fault.hint("see people:, machines: and groups:");
            self.unknown(&["people", "machines", "groups"], name.as_str(), fault, faults);
        }
        found
    }

    /// The people and machine keys that a name of `who` means, sorted; none when it is unknown.
    pub(crate) fn members(&self, name: &PersonName) -> Vec<PersonName> {
        match self.people.get(name) {
            Some((Who::Group(members), _)) => members.clone(),
            Some(_) => vec![name.clone()],
            None => Vec::new(),
        }
    }

    /// The ports of a service; reports an unknown one.
    pub(crate) fn ports(&self, service: &Spanned<Service>, faults: &mut Faults) -> Vec<Ports> {
        if faults.is_full() {
            return Vec::new();
        }
        match self.ports_of(service) {
            Ok(ports) => ports,
            Err(error) => {
                let fault =
                    Fault::new(&service.at, FaultCode::UnknownName, error.to_string()).hint(error.hint());
                self.unknown(&["services"], &service.value.to_string(), fault, faults);
                Vec::new()
            }
        }
    }

    /// The ports of a service.
    pub(crate) fn ports_of(&self, service: &Service) -> Result<Vec<Ports>, services::ServiceError> {
        match service {
            Service::Ports(ports) => Ok(vec![*ports]),
            Service::Named(name) => services::lookup(name.as_str(), &self.services),
        }
    }

    fn add(&mut self, name: &str, entry: Entry, faults: &mut Faults) {
        if RESERVED.contains(&name) {
            let what = format!(
                "{name:?} is a word of the language and cannot be the name of a {}",
                entry.kind.say()
            );
            faults.push(Fault::new(&entry.at, FaultCode::Rule, what).hint("choose another name"));
            return;
        }
        let Ok(name) = NetworkName::new(name) else { return };
        if let Some(first) = self.networks.get(&name) {
            let what = format!(
                "{:?} is the name of a {} here and of a {} at {}",
                name.as_str(),
                entry.kind.say(),
                first.kind.say(),
                first.at
            );
            let hint = "networks, hosts, profiles and bridges are one name space: rename one of them";
            faults.push(Fault::new(&entry.at, FaultCode::DefinedTwice, what).hint(hint));
            return;
        }
        self.networks.insert(name, entry);
    }

    fn add_networks(&mut self, written: &Written, faults: &mut Faults) {
        for (name, network) in &written.networks {
            let (kind, addresses) = match &network.value {
                Network::Addresses(list) => {
                    (Kind::Network, addresses::merge(list.iter().map(|address| address.value)))
                }
                Network::Names(names) => {
                    if names.names.len() > MOST_DNS_NAMES {
                        let what =
                            format!("{} names in one network, at most {MOST_DNS_NAMES}", names.names.len());
                        faults.push(
                            Fault::new(&network.at, FaultCode::TooMany, what).hint("split the network"),
                        );
                    }
                    let what =
                        format!("networks by DNS names cannot be enforced yet (network {:?})", name.as_str());
                    faults.push(Fault::new(&network.at, FaultCode::NotYet, what).hint("write its addresses"));
                    (Kind::ByNames, Addresses::default())
                }
            };
            if addresses.is_everything() {
                let what = format!("the addresses of {:?} together are everywhere", name.as_str());
                let hint = "only the word anywhere means everywhere; write it in the rule";
                faults.push(Fault::new(&network.at, FaultCode::Rule, what).hint(hint));
            }
            self.add(name.as_str(), Entry { kind, at: network.at.clone(), addresses }, faults);
        }
    }

    fn add_hosts_and_profiles(&mut self, written: &Written, faults: &mut Faults) {
        let mut owner: BTreeMap<std::net::IpAddr, (&HostName, &Place)> = BTreeMap::new();
        let mut of_profile: BTreeMap<&ProfileName, Vec<ipnet::IpNet>> = BTreeMap::new();
        for (name, host) in &written.hosts {
            for address in &host.addresses {
                if let Some((other, at)) = owner.insert(address.value, (name, &address.at)) {
                    let what = format!("{} is an address of {other} too, at {at}", address.value);
                    let hint = "an address belongs to one host; a shared one needs a network of its own";
                    faults.push(Fault::new(&address.at, FaultCode::Rule, what).hint(hint));
                }
                if let Err(error) = addresses::check_host(address.value) {
                    faults.push(
                        Fault::new(&address.at, FaultCode::BadValue, error.to_string()).hint(error.hint()),
                    );
                }
            }
            let nets: Vec<ipnet::IpNet> =
                host.addresses.iter().map(|a| ipnet::IpNet::from(a.value)).collect();
            for profile in &host.profiles {
                of_profile.entry(&profile.value).or_default().extend(&nets);
            }
            let entry = Entry { kind: Kind::Host, at: host.at.clone(), addresses: addresses::merge(nets) };
            self.add(name.as_str(), entry, faults);
        }
        for (name, profile) in &written.profiles {
            let addresses = addresses::merge(of_profile.remove(name).unwrap_or_default());
            self.add(name.as_str(), Entry { kind: Kind::Profile, at: profile.at.clone(), addresses }, faults);
        }
        let profiles = written.profiles.values().map(|p| &p.firewall);
        for firewall in profiles.chain(written.hosts.values().map(|h| &h.firewall)).flatten() {
            for (name, bridge) in firewall.containers.iter().flat_map(|containers| &containers.bridges) {
                let entry =
                    Entry { kind: Kind::Bridge, at: bridge.at.clone(), addresses: Addresses::default() };
                self.add(name.as_str(), entry, faults);
            }
        }
    }

    fn add_people(&mut self, written: &Written, faults: &mut Faults) {
        let people = written.people.iter().map(|(name, person)| (name, Who::Person, &person.at));
        let machines = written.machines.iter().map(|(name, machine)| (name, Who::Machine, &machine.at));
        for (name, who, at) in people.chain(machines) {
            self.add_who(name, who, at, faults);
        }
        for (name, group) in &written.groups {
            let mut members = Vec::new();
            for member in group.value.iter() {
                match self.who(member, faults) {
                    Some(Who::Person | Who::Machine) => members.push(member.value.clone()),
                    Some(Who::Group(_)) => {
                        let what = format!("{:?} is a group, and groups do not hold groups", member.as_str());
                        faults.push(Fault::new(&member.at, FaultCode::Rule, what).hint("name its people"));
                    }
                    None => {}
                }
            }
            members.sort();
            members.dedup();
            self.add_who(name, Who::Group(members), &group.at, faults);
        }
    }

    fn add_who(&mut self, name: &PersonName, who: Who, at: &Place, faults: &mut Faults) {
        if RESERVED.contains(&name.as_str()) {
            let what = format!("{:?} is a word of the language and cannot be a name", name.as_str());
            faults.push(Fault::new(at, FaultCode::Rule, what).hint("choose another name"));
            return;
        }
        if let Some((_, first)) = self.people.get(name) {
            let what = format!("{:?} is already a name at {first}", name.as_str());
            let hint = "people, machine keys and groups are one name space: rename one of them";
            faults.push(Fault::new(at, FaultCode::DefinedTwice, what).hint(hint));
            return;
        }
        self.people.insert(name.clone(), (who, at.clone()));
    }

    fn add_services(&mut self, written: &Written, faults: &mut Faults) {
        for (name, ports) in &written.services {
            if services::is_shipped(name.as_str()) {
                let what = format!("{:?} is a shipped service and cannot mean something else", name.as_str());
                faults.push(Fault::new(&ports.at, FaultCode::DefinedTwice, what).hint("choose another name"));
                continue;
            }
            let merged = services::merge(ports.value.iter().map(|range| range.value.0).collect());
            self.services.insert(name.as_str().to_owned(), merged);
        }
    }
}

/// How many known names an unknown one is compared with: after a hundred faults nobody reads what may have been meant.
fn suggestions(faults: &Faults) -> usize {
    if faults.len() < 100 { usize::MAX } else { 0 }
}
