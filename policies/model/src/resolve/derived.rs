//! What follows from other parts of a set without being written as a rule (rule 6): where controller, vaults and probers
//! are, and the openings to and from them, each under an id `implied:*` and with its reason.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use tenure_trust::{HostName, VaultName};

use crate::bundles::{ControllerPlace, PROBER_PORT, Prober, ProberSection, VaultPlace};
use crate::fault::Place;
use crate::names::{NetworkName, RuleId, UnixUser};
use crate::resolve::explain::Explanation;
use crate::resolve::merge;
use crate::resolved::{FirewallSection, InboundRule, OutboundRule, Peers, Ports, Protocol, Users};
use crate::services;
use crate::written::{ModeWord, Vault, Written};

/// Which machine has to do with which, found once for a set.
#[derive(Debug)]
pub(crate) struct Links {
    /// Vault → hosts that back up to it.
    to_vault: BTreeMap<VaultName, BTreeSet<HostName>>,
    /// Hosts whose firewall is enforced: those that have trials.
    on_trial: BTreeSet<HostName>,
}

impl Links {
    /// Looks through the set.
    pub(crate) fn of(written: &Written) -> Self {
        let mut to_vault: BTreeMap<VaultName, BTreeSet<HostName>> = BTreeMap::new();
        let mut on_trial = BTreeSet::new();
        for (name, host) in &written.hosts {
            let sources = merge::sources(written, name, host);
            let vaults = sources.iter().flat_map(|s| s.backup.iter()).flat_map(|b| &b.to).flatten();
            for vault in vaults {
                to_vault.entry(vault.value.clone()).or_default().insert(name.clone());
            }
            let enforced = sources.iter().any(|source| {
                let mode = source.mode.and_then(|modes| modes.firewall.as_ref());
                mode.is_some_and(|mode| mode.value == ModeWord::Enforce)
            });
            if enforced {
                on_trial.insert(name.clone());
            }
        }
        Self { to_vault, on_trial }
    }
}

/// A set with the links between its machines.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Derived<'w> {
    pub(crate) written: &'w Written,
    pub(crate) links: &'w Links,
}

impl Derived<'_> {
    /// Where the controller is.
    pub(crate) fn controller(&self) -> Option<ControllerPlace> {
        let controller = self.written.controller.as_ref()?;
        let host = controller.host.value.clone();
        Some(ControllerPlace { addresses: self.addresses(&host), host, port: controller.port.value.0 })
    }

    /// Where a vault is.
    pub(crate) fn vault(&self, name: &VaultName) -> Option<VaultPlace> {
        let vault = self.written.vaults.get(name)?;
        let host = vault.host.value.clone();
        Some(VaultPlace { addresses: self.addresses(&host), host, port: vault.port.value.0 })
    }

    /// The hosts that back up to a vault, with their addresses.
    pub(crate) fn hosts_of(&self, vault: &VaultName) -> BTreeMap<HostName, Vec<IpAddr>> {
        let hosts = self.links.to_vault.get(vault).into_iter().flatten();
        hosts.map(|host| (host.clone(), self.addresses(host))).collect()
    }

    /// The hosts that confirm trials of this one: those that the policy names, without itself.
    pub(crate) fn probers(&self, host: &HostName) -> Vec<Prober> {
        let by = self.written.management.iter().flat_map(|m| &m.confirm.by);
        let mut found: Vec<Prober> = by
            .filter_map(|name| self.written.hosts.get_key_value(&HostName::new(name.as_str()).ok()?))
            .filter(|(name, _)| *name != host)
            .map(|(name, _)| Prober {
                host: name.clone(),
                addresses: self.addresses(name),
                port: PROBER_PORT,
            })
            .collect();
        found.sort_by(|a, b| a.host.cmp(&b.host));
        found.dedup();
        found
    }

    /// Whose trials this host confirms.
    pub(crate) fn prober(&self, host: &HostName) -> Option<ProberSection> {
        let by = self.written.management.iter().flat_map(|m| &m.confirm.by);
        by.into_iter().find(|name| name.as_str() == host.as_str())?;
        let hosts: BTreeMap<_, _> = (self.links.on_trial.iter())
            .filter(|other| *other != host)
            .map(|other| (other.clone(), self.addresses(other)))
            .collect();
        (!hosts.is_empty()).then_some(ProberSection { port: PROBER_PORT, hosts })
    }

    /// The addresses of a host, sorted.
    pub(crate) fn addresses(&self, host: &HostName) -> Vec<IpAddr> {
        let mut found: Vec<IpAddr> = (self.written.hosts.get(host).into_iter())
            .flat_map(|host| host.addresses.iter().map(|address| address.value))
            .collect();
        found.sort_unstable();
        found
    }

    /// Adds every opening of this host that follows from controller, vaults and probers. `management` are the networks
    /// from which a recovery key may read a vault.
    pub(crate) fn openings(
        &self,
        host: &HostName,
        at: &Place,
        management: &[NetworkName],
        section: &mut FirewallSection,
        why: &mut Explanation,
    ) {
        let mut add = Openings { section, why };
        let vault_here = self.written.vaults.iter().find(|(_, vault)| vault.host.value == *host);
        if let Some(controller) = &self.written.controller {
            let port = tcp(controller.port.value.0);
            let place = &controller.at;
            if controller.host.value == *host {
                let others = self.written.hosts.keys().filter(|other| *other != host);
                add.inbound(
                    "controller",
                    port,
                    names(others),
                    place,
                    "every machine reports to the controller here",
                );
            } else {
                // the vault's own user does not exist before it is installed, so its machine opens to every local user
                let users = if vault_here.is_some() { Users::Every } else { root() };
                let to = names([&controller.host.value]);
                add.outbound("controller", port, to, users, place, "this machine reports to the controller");
            }
        }
        self.vault_openings(host, vault_here, management, &mut add);
        self.prober_openings(host, at, &mut add);
    }

    fn vault_openings(
        &self,
        host: &HostName,
        vault_here: Option<(&VaultName, &crate::fault::Spanned<Vault>)>,
        management: &[NetworkName],
        add: &mut Openings<'_>,
    ) {
        if let Some((name, vault)) = vault_here {
            let hosts = self.links.to_vault.get(name).into_iter().flatten();
            let mut from = names(hosts.filter(|other| *other != host));
            from.extend(management.iter().cloned());
            from.sort();
            from.dedup();
            let reason = "hosts back up to the vault here, and those who manage may recover from it";
            add.inbound(&format!("vault/{name}"), tcp(vault.port.value.0), from, &vault.at, reason);
        }
        for (name, vault) in &self.written.vaults {
            let backs_up = self.links.to_vault.get(name).is_some_and(|hosts| hosts.contains(host));
            if backs_up && vault.host.value != *host {
                let (id, to) = (format!("vault/{name}"), names([&vault.host.value]));
                add.outbound(&id, tcp(vault.port.value.0), to, root(), &vault.at, "this host backs up there");
            }
        }
    }

    fn prober_openings(&self, host: &HostName, at: &Place, add: &mut Openings<'_>) {
        if self.links.on_trial.contains(host) {
            for prober in self.probers(host) {
                let (id, peer) = (format!("confirm/{}", prober.host), names([&prober.host]));
                let reason = "it is asked to confirm this host's trials";
                add.outbound(&id, tcp(prober.port), peer.clone(), root(), at, reason);
                let reason = "it connects anew to confirm this host's trials; no account lets it log in";
                add.inbound(&id, services::SSH, peer, at, reason);
            }
        }
        if let Some(prober) = self.prober(host) {
            let peers = || names(prober.hosts.keys());
            let reason = "these hosts ask here to have their trials confirmed";
            add.inbound("confirm", tcp(prober.port), peers(), at, reason);
            let reason = "trials of these hosts are confirmed by connecting to them anew";
            add.outbound("confirm", services::SSH, peers(), root(), at, reason);
        }
    }
}

struct Openings<'a> {
    section: &'a mut FirewallSection,
    why: &'a mut Explanation,
}

impl Openings<'_> {
    fn inbound(&mut self, what: &str, ports: Ports, from: Vec<NetworkName>, at: &Place, reason: &str) {
        let Ok(id) = RuleId::new(format!("implied:{what}/in")) else { return };
        if from.is_empty() {
            return;
        }
        self.why.say(&format!("firewall.inbound.{id}"), &say(ports, "from", &from), at, reason);
        self.section.inbound.push(InboundRule { id, ports: vec![ports], from: Peers::Networks(from) });
    }

    fn outbound(
        &mut self,
        what: &str,
        ports: Ports,
        to: Vec<NetworkName>,
        users: Users,
        at: &Place,
        reason: &str,
    ) {
        let Ok(id) = RuleId::new(format!("implied:{what}/out")) else { return };
        if to.is_empty() {
            return;
        }
        self.why.say(&format!("firewall.outbound.{id}"), &say(ports, "to", &to), at, reason);
        self.section.outbound.push(OutboundRule { id, ports: vec![ports], to: Peers::Networks(to), users });
    }
}

fn say(ports: Ports, word: &str, peers: &[NetworkName]) -> String {
    let peers = peers.iter().map(NetworkName::as_str).collect::<Vec<_>>().join(", ");
    format!("{} {word} {peers}", services::say(ports))
}

fn names<'a>(hosts: impl IntoIterator<Item = &'a HostName>) -> Vec<NetworkName> {
    let mut found: Vec<NetworkName> =
        hosts.into_iter().filter_map(|host| NetworkName::new(host.as_str()).ok()).collect();
    found.sort();
    found.dedup();
    found
}

fn tcp(port: u16) -> Ports {
    Ports { protocol: Protocol::Tcp, first: port, last: port }
}

fn root() -> Users {
    Users::Named(vec![UnixUser::new("root").expect("a valid literal")])
}
