//! One host's resolved policy, built together with the explanation of every value in it.

use std::collections::{BTreeMap, BTreeSet};

use tenure_trust::{HostName, PersonName};

use crate::addresses;
use crate::calendar::{Period, Zone};
use crate::fault::{Fault, FaultCode, Faults, Place, Spanned};
use crate::names::{NetworkName, RuleId};
use crate::resolve::access::{self, LoginRule};
use crate::resolve::backup;
use crate::resolve::book::Book;
use crate::resolve::bundles;
use crate::resolve::derived::Derived;
use crate::resolve::explain::{Explained, Explanation};
use crate::resolve::merge::{self, Said, Source};
use crate::resolved::{
    Confirm, ConfirmBy, FirewallSection, HostPolicy, InboundRule, Login, ManagementPath, Mode, Modes,
    OutboundRule, PatchSection, Peers, Ports, SCHEMA, SshAccessSection, UnmanagedKeys, Users,
};
use crate::resolved_backup::HostBackup;
use crate::services;
use crate::written::{self, Host, ModeWord, Written};

/// A heartbeat when the policy does not say (DESIGN §6).
pub(crate) const HEARTBEAT_SECONDS: u32 = 15 * 60;
/// A trial when the policy does not say.
const CONFIRM_SECONDS: u32 = 60;

/// Everything that a host's policy is made of.
pub(crate) struct Parts<'w> {
    pub(crate) written: &'w Written,
    pub(crate) book: &'w Book,
    pub(crate) zone: &'w Zone,
    pub(crate) derived: Derived<'w>,
}

/// Whether to keep why each value is what it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reasons {
    /// Keep it.
    Give,
    /// Leave it: nobody asks.
    Leave,
}

/// What a host gets.
pub(crate) struct Built {
    /// Its sections.
    pub(crate) policy: HostPolicy,
    /// Its backups as promises are judged by them.
    pub(crate) backup: Option<HostBackup>,
    /// Why each value is what it is.
    pub(crate) reasons: Vec<Explained>,
}

/// A host's policy. Faults are those that only the merged host shows.
pub(crate) fn build(
    parts: &Parts<'_>,
    name: &HostName,
    host: &Spanned<Host>,
    faults: &mut Faults,
    reasons: Reasons,
) -> Built {
    let sources = merge::sources(parts.written, name, host);
    let mut building = Building {
        parts,
        host,
        because: host.because.as_ref().map(|because| because.as_str()),
        sources: &sources,
        faults,
        why: Explanation::new(reasons == Reasons::Give),
    };
    let modes = building.modes();
    let rules = access::rules(parts.written, parts.book, &sources);
    let logins = access::logins(parts.written, parts.book, parts.zone, &rules);
    let management = access::management(parts.written, parts.book, &logins);
    let firewall = building.firewall(name, &rules, &management);
    let ssh_access = building.ssh_access(&logins, &management);
    let patch = building.patch();
    building.check_lockout(name, modes, &management);
    building.why.say("timezone", parts.zone.name(), &parts.written.timezone.at, "the set");
    let heartbeat_seconds = building.heartbeat();
    let backup = building.backup();
    let policy = HostPolicy {
        schema: SCHEMA,
        fleet: parts.written.fleet.value.clone(),
        host: name.clone(),
        timezone: parts.zone.name().to_owned(),
        heartbeat_seconds,
        modes,
        firewall,
        ssh_access,
        patch,
        backup: backup.as_ref().map(|backup| {
            bundles::backup_section(parts.written, parts.derived, &sources, name, host, backup)
        }),
        controller: parts.derived.controller(),
        prober: parts.derived.prober(name),
    };
    Built { policy, backup, reasons: building.why.sorted() }
}

struct Building<'a, 'w> {
    parts: &'a Parts<'w>,
    host: &'a Spanned<Host>,
    because: Option<&'a str>,
    sources: &'a [Source<'w>],
    faults: &'a mut Faults,
    why: Explanation,
}

impl<'w> Building<'_, 'w> {
    fn scalar<T: PartialEq>(
        &mut self,
        key: &str,
        get: impl Fn(&Source<'w>) -> Option<&'w Spanned<T>>,
        say: impl Fn(&T) -> String,
    ) -> Option<Said<'w, T>> {
        let said = merge::scalar(key, self.sources, self.because, get, &say, self.faults)?;
        self.why.say(key, &say(&said.value.value), &said.value.at, &said.reason);
        Some(said)
    }

    fn mode(&mut self, key: &str, get: impl Fn(&'w written::Modes) -> Option<&'w Spanned<ModeWord>>) -> Mode {
        let said =
            self.scalar(key, |source| source.mode.and_then(|modes| get(&modes.value)), ModeWord::to_string);
        match said.map(|said| said.value.value) {
            Some(ModeWord::Enforce) => Mode::Enforce,
            // permissive is refused by name before anything is resolved
            Some(ModeWord::Observe | ModeWord::Permissive) => Mode::Observe,
            None => {
                self.why.say(key, "observe", &self.host.at, "nothing sets it, and absent means observe");
                Mode::Observe
            }
        }
    }

    fn modes(&mut self) -> Modes {
        Modes {
            firewall: self.mode("mode.firewall", |modes| modes.firewall.as_ref()),
            ssh_access: self.mode("mode.access", |modes| modes.access.as_ref()),
            patch: self.mode("mode.patch", |modes| modes.patch.as_ref()),
            backup: self.mode("mode.backup", |modes| modes.backup.as_ref()),
        }
    }

    fn heartbeat(&mut self) -> u32 {
        let Some(heartbeat) = &self.parts.written.heartbeat else {
            self.why.say(
                "heartbeat",
                "15min",
                &self.parts.written.fleet.at,
                "nothing sets it; 15min when left out",
            );
            return HEARTBEAT_SECONDS;
        };
        self.why.say("heartbeat", &heartbeat.value.to_string(), &heartbeat.at, "the set");
        heartbeat.exact_seconds().and_then(|seconds| u32::try_from(seconds).ok()).unwrap_or(HEARTBEAT_SECONDS)
    }

    fn firewall(
        &mut self,
        name: &HostName,
        rules: &[LoginRule<'w>],
        management: &[(ManagementPath, &LoginRule<'w>)],
    ) -> Option<FirewallSection> {
        let stated = |source: &Source<'w>| {
            source.firewall.is_some() || source.mode.is_some_and(|modes| modes.firewall.is_some())
        };
        if !self.sources.iter().any(stated) {
            return None;
        }
        let mut section = FirewallSection {
            networks: BTreeMap::new(),
            inbound: Vec::new(),
            outbound: Vec::new(),
            blocks: Vec::new(),
            management: management.iter().map(|(path, _)| path.clone()).collect(),
            confirm: self.confirm(name),
            neighbours: Vec::new(),
        };
        for source in self.sources {
            let Some(firewall) = source.firewall else { continue };
            self.inbound(source, firewall, &mut section);
            self.outbound(source, firewall, &mut section);
            for network in firewall.block.iter().flatten() {
                let key = format!("firewall.block.{}", network.value);
                self.why.say(&key, "never let in or reached", &network.at, &source.say());
                section.blocks.push(network.value.clone());
            }
            for table in &firewall.neighbours {
                self.why.say("firewall.neighbours", table.as_str(), &table.at, &source.say());
                section.neighbours.push(table.as_str().to_owned());
            }
        }
        self.ssh_openings(rules, &mut section);
        let managed: BTreeSet<NetworkName> =
            management.iter().flat_map(|(path, _)| path.from.iter().cloned()).collect();
        let managed: Vec<NetworkName> = managed.into_iter().collect();
        let at = self.parts.written.management.as_ref().map_or(&self.host.at, |m| &m.at);
        self.parts.derived.openings(name, at, &managed, &mut section, &mut self.why);
        for (path, rule) in management {
            let key = format!("firewall.management.{}/{}", path.account, path.person);
            let value = format!("tcp/22 from {} must stay open", join(&path.from));
            let reason = format!("management.who, and a login of {} ({})", rule.source, rule.id);
            self.why.say(&key, &value, rule.at, &reason);
        }
        sort_once(&mut section.blocks);
        sort_once(&mut section.neighbours);
        self.networks(&mut section);
        Some(section)
    }

    fn inbound(
        &mut self,
        source: &Source<'w>,
        firewall: &'w written::Firewall,
        section: &mut FirewallSection,
    ) {
        for (index, rule) in firewall.inbound.iter().enumerate() {
            let Ok(id) = RuleId::new(format!("{}/inbound/{}", source.name, index + 1)) else { continue };
            let resolved = InboundRule { id, ports: self.ports(&rule.allow), from: peers(&rule.from) };
            let value = format!("{} from {}", say_ports(&resolved.ports), say_peers(&resolved.from));
            self.why.say(&format!("firewall.inbound.{}", resolved.id), &value, &rule.at, &source.say());
            section.inbound.push(resolved);
        }
    }

    fn outbound(
        &mut self,
        source: &Source<'w>,
        firewall: &'w written::Firewall,
        section: &mut FirewallSection,
    ) {
        for (index, rule) in firewall.outbound.iter().enumerate() {
            let Ok(id) = RuleId::new(format!("{}/outbound/{}", source.name, index + 1)) else { continue };
            let users = match &rule.users {
                None => Users::Every,
                Some(users) => {
                    let mut users: Vec<_> = users.iter().map(|user| user.value.clone()).collect();
                    sort_once(&mut users);
                    Users::Named(users)
                }
            };
            let resolved = OutboundRule { id, ports: self.ports(&rule.allow), to: peers(&rule.to), users };
            let users = match &resolved.users {
                Users::Every => "every local user".to_owned(),
                Users::Named(users) => join(users),
            };
            let value = format!("{} to {} for {users}", say_ports(&resolved.ports), say_peers(&resolved.to));
            self.why.say(&format!("firewall.outbound.{}", resolved.id), &value, &rule.at, &source.say());
            section.outbound.push(resolved);
        }
    }

    /// Port 22 is opened to where the people of a login come from, and by nothing else (rule 6).
    fn ssh_openings(&mut self, rules: &[LoginRule<'w>], section: &mut FirewallSection) {
        for rule in rules.iter().filter(|rule| !rule.from.is_empty()) {
            let from: Vec<NetworkName> = rule.from.iter().cloned().collect();
            let value = format!("{} from {}", services::say(services::SSH), join(&from));
            let reason = format!(
                "{} lets {} log in as {} ({})",
                rule.source,
                rule.who.join(", "),
                rule.account,
                rule.id
            );
            self.why.say(&format!("firewall.inbound.{}", rule.opening), &value, rule.at, &reason);
            section.inbound.push(InboundRule {
                id: rule.opening.clone(),
                ports: vec![services::SSH],
                from: Peers::Networks(from),
            });
        }
    }

    /// The addresses of every network that the section names.
    fn networks(&mut self, section: &mut FirewallSection) {
        let mut names: BTreeSet<&NetworkName> = section.blocks.iter().collect();
        let peers =
            section.inbound.iter().map(|rule| &rule.from).chain(section.outbound.iter().map(|rule| &rule.to));
        for peers in peers {
            if let Peers::Networks(networks) = peers {
                names.extend(networks);
            }
        }
        names.extend(section.management.iter().flat_map(|path| &path.from));
        let mut networks = BTreeMap::new();
        let mut intervals = 0;
        for name in names {
            let Some(entry) = self.parts.book.entry(name) else { continue };
            intervals += entry.addresses.len();
            self.why.lazy(&format!("firewall.networks.{name}"), &entry.at, entry.kind.say(), || {
                join(entry.addresses.iter())
            });
            networks.insert(name.clone(), entry.addresses.clone());
        }
        if intervals > addresses::MOST_INTERVALS {
            let what = format!(
                "{intervals} intervals in the networks of one host, at most {}",
                addresses::MOST_INTERVALS
            );
            let hint = "name fewer or larger networks: the kernel takes minutes to replace such sets";
            self.faults.push(Fault::new(&self.host.at, FaultCode::TooLarge, what).hint(hint));
        }
        section.networks = networks;
    }

    fn confirm(&mut self, name: &HostName) -> Confirm {
        let Some(management) = &self.parts.written.management else {
            return Confirm { within_seconds: CONFIRM_SECONDS, by: ConfirmBy::Person };
        };
        let within = &management.confirm.within;
        let probers = self.parts.derived.probers(name);
        self.why.say(
            "firewall.confirm",
            &match probers.as_slice() {
                [] => format!("by a person within {}", within.value),
                some => format!(
                    "by {} or a person within {}",
                    join(some.iter().map(|prober| &prober.host)),
                    within.value
                ),
            },
            &within.at,
            "management.confirm",
        );
        let within = within.exact_seconds().and_then(|seconds| u32::try_from(seconds).ok());
        Confirm {
            within_seconds: within.unwrap_or(CONFIRM_SECONDS),
            by: if probers.is_empty() { ConfirmBy::Person } else { ConfirmBy::Hosts(probers) },
        }
    }

    /// Hosts cannot log in as people do: a change of logins always waits for one of them.
    fn confirm_within(&mut self) -> u32 {
        let Some(management) = &self.parts.written.management else { return CONFIRM_SECONDS };
        let within = &management.confirm.within;
        let value = format!("by a login within {}", within.value);
        self.why.say("access.confirm", &value, &within.at, "management.confirm");
        let seconds = within.exact_seconds().and_then(|seconds| u32::try_from(seconds).ok());
        seconds.unwrap_or(CONFIRM_SECONDS)
    }

    fn ports(&self, allow: &[Spanned<crate::scalars::Service>]) -> Vec<Ports> {
        let ports = allow.iter().filter_map(|service| self.parts.book.ports_of(service).ok()).flatten();
        services::merge(ports.collect())
    }

    fn ssh_access(
        &mut self,
        logins: &[(Login, &LoginRule<'w>)],
        management: &[(ManagementPath, &LoginRule<'w>)],
    ) -> Option<SshAccessSection> {
        if self.sources.iter().all(|source| source.access.is_none()) {
            return None;
        }
        let get = |source: &Source<'w>| source.access.and_then(|access| access.unmanaged_keys.as_ref());
        if self.scalar("access.unmanaged_keys", get, ToString::to_string).is_none() {
            self.why.say(
                "access.unmanaged_keys",
                "report",
                &self.host.at,
                "nothing sets it; report when left out",
            );
        }
        for (login, rule) in logins {
            let key = format!("access.logins.{}/{}", login.account, login.who);
            let keys =
                if login.keys.len() == 1 { "1 key".to_owned() } else { format!("{} keys", login.keys.len()) };
            let command =
                login.command.as_ref().map_or_else(String::new, |command| format!(", only {command}"));
            let value = format!("{keys}, from {}, until {}{command}", join(&login.from), login.until);
            let reason = format!("{} lets {} log in ({})", rule.source, rule.who.join(", "), rule.id);
            self.why.say(&key, &value, rule.at, &reason);
        }
        let mut managers: Vec<PersonName> = management.iter().map(|(path, _)| path.person.clone()).collect();
        sort_once(&mut managers);
        let confirm_within_seconds = self.confirm_within();
        Some(SshAccessSection {
            logins: logins.iter().map(|(login, _)| login.clone()).collect(),
            management: managers,
            confirm_within_seconds,
            unmanaged_keys: UnmanagedKeys::Report,
        })
    }

    fn patch(&mut self) -> Option<PatchSection> {
        let first = self.sources.iter().find_map(|source| source.patch)?;
        let at = first.at.clone();
        let security = self.deadline("patch.security_within", &at, |patch| patch.security_within.as_ref());
        let reboot = self.deadline("patch.reboot_within", &at, |patch| patch.reboot_within.as_ref());
        let lists = self.deadline("patch.lists_within", &at, |patch| patch.lists_within.as_ref());
        Some(PatchSection {
            security_within_seconds: security?,
            reboot_within_seconds: reboot?,
            lists_within_seconds: lists?,
        })
    }

    fn deadline(
        &mut self,
        key: &str,
        section: &Place,
        get: impl Fn(&'w written::Patch) -> Option<&'w Spanned<Period>>,
    ) -> Option<u64> {
        let before = self.faults.len();
        let said =
            self.scalar(key, |source| source.patch.and_then(|patch| get(&patch.value)), Period::to_string);
        if said.is_none() && self.faults.len() == before && self.parts.book.is_whole() {
            let name = key.trim_start_matches("patch.");
            let what = format!("patch needs the key {name:?}, in the profile or in another of the host's");
            self.faults.push(
                Fault::new(section, FaultCode::MissingKey, what).hint(format!("for example {name}: 7d")),
            );
        }
        said.map(|said| said.value.deadline_seconds())
    }

    /// A host that is enforced without a way in for those who manage it would lock everybody out.
    fn check_lockout(
        &mut self,
        name: &HostName,
        modes: Modes,
        management: &[(ManagementPath, &LoginRule<'w>)],
    ) {
        let enforced = modes.firewall == Mode::Enforce || modes.ssh_access == Mode::Enforce;
        if !enforced || !management.is_empty() || !self.parts.book.is_whole() {
            return;
        }
        let (what, hint) = match &self.parts.written.management {
            None => (
                format!("host {name} is enforced, and no management path is declared"),
                "add management: { who: [ops], confirm: { by: [person], within: 60s } }",
            ),
            Some(_) => (
                format!("host {name} is enforced, and nobody of management.who can log in to it"),
                "give one of its profiles a login for them under access.logins, or let the host observe",
            ),
        };
        self.faults.push(Fault::new(&self.host.at, FaultCode::Rule, what).hint(hint));
    }

    fn backup(&mut self) -> Option<HostBackup> {
        let host = self.host;
        let whole = self.parts.book.is_whole();
        let merged = backup::merge(self.sources, self.because, host, whole, self.faults, &mut self.why);
        let said = self.scalar(
            "mode.backup",
            |s| s.mode.and_then(|modes| modes.backup.as_ref()),
            ModeWord::to_string,
        );
        if merged.is_some() && said.is_none() {
            self.why.say("mode.backup", "observe", &host.at, "nothing sets it, and absent means observe");
        }
        merged
    }
}

fn peers(peers: &written::Peers) -> Peers {
    match peers {
        written::Peers::Anywhere => Peers::Anywhere,
        written::Peers::Named(names) => {
            let mut names: Vec<NetworkName> = names.iter().map(|name| name.value.clone()).collect();
            sort_once(&mut names);
            Peers::Networks(names)
        }
    }
}

fn sort_once<T: Ord>(list: &mut Vec<T>) {
    list.sort();
    list.dedup();
}

fn join<T: std::fmt::Display>(list: impl IntoIterator<Item = T>) -> String {
    list.into_iter().map(|item| item.to_string()).collect::<Vec<_>>().join(", ")
}

fn say_ports(ports: &[Ports]) -> String {
    join(ports.iter().map(|ports| services::say(*ports)))
}

fn say_peers(peers: &Peers) -> String {
    match peers {
        Peers::Anywhere => "anywhere".to_owned(),
        Peers::Networks(names) => join(names),
    }
}
