//! The example fleet with everything in order at 14:03 on Sunday 22 November 2026 in Amsterdam; tests take away from it.
#![allow(dead_code, reason = "each test file uses its own part of this")]

use std::collections::BTreeMap;
use std::path::Path;

use jiff::civil::{Date, Time};
use jiff::{SignedDuration, Timestamp, ToSpan};
use tenure_areas::area::AreaSpec;
use tenure_areas::backup::facts::{DrilledDump, Facts, RunningJob, SealFact, Since, SlotFact, SlotState};
use tenure_areas::backup::run_id;
use tenure_areas::fake::FakeHost;
use tenure_areas::firewall::{Firewall, state};
use tenure_areas::pass::{Report, Verdict, pass};
use tenure_areas::patch::{self, Patch};
use tenure_areas::ssh_access::SshAccess;
use tenure_obligations::history::PastDrift;
use tenure_obligations::input::{Agreed, Content, HostBackups, HostDrill, HostSeal, HostSlot, HostSlotState};
use tenure_obligations::view::Judgement;
use tenure_obligations::{Input, Newest, Obligation, RecordRef, Reported, State};
use tenure_policy::bundles::{BackupSection, DumpSection, DutyBook, SeriesSection, VaultPolicy};
use tenure_policy::calendar::Zone;
use tenure_policy::resolved::{HostPolicy, Mode};
use tenure_trust::vault_wire::{GenerationFacts, GenerationState, SealedSlot, SeriesFacts, VaultFacts};
use tenure_trust::{
    AreaName, Epoch, GenerationId, Hash, HostName, MachineRole, PolicyVersion, Seq, SeriesId, SlotId,
    SlotTime, VerdictTag,
};

/// The moment of SCREENS.
pub(crate) fn sunday() -> Timestamp {
    at("2026-11-22T13:03:00Z")
}

pub(crate) fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

pub(crate) fn host(name: &str) -> HostName {
    HostName::new(name).unwrap()
}

/// Policies and what was reported.
#[derive(Debug, Clone)]
pub(crate) struct Fleet {
    pub(crate) book: DutyBook,
    pub(crate) hosts: BTreeMap<HostName, HostPolicy>,
    pub(crate) vaults: BTreeMap<HostName, VaultPolicy>,
    pub(crate) machines: BTreeMap<(HostName, MachineRole), Reported>,
    pub(crate) series_since: BTreeMap<SeriesId, Timestamp>,
    pub(crate) version: Option<PolicyVersion>,
    pub(crate) issued: Option<Timestamp>,
    pub(crate) agreed: Agreed,
    pub(crate) history: Vec<PastDrift>,
    pub(crate) now: Timestamp,
}

impl Fleet {
    /// The example's policy; nothing reported.
    pub(crate) fn of_policy(now: Timestamp) -> Self {
        let mut files = BTreeMap::new();
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/soworker");
        for name in ["fleet.yaml", "local.yaml", "tenants/example-client.yaml"] {
            files.insert(name.to_owned(), std::fs::read_to_string(folder.join(name)).unwrap());
        }
        let set = tenure_policy::load(&files).unwrap_or_else(|faults| panic!("{faults}"));
        let set = match set.duty_book() {
            Some(_) => set,
            None => {
                files.insert("controller.yaml".into(), CONTROLLER.into());
                tenure_policy::load(&files).unwrap_or_else(|faults| panic!("{faults}"))
            }
        };
        Self {
            book: set.duty_book().unwrap(),
            hosts: set.hosts().map(|host| (host.clone(), set.host_policy(host).unwrap())).collect(),
            vaults: set.vault_policies(),
            machines: BTreeMap::new(),
            series_since: BTreeMap::new(),
            version: Some(PolicyVersion(7)),
            issued: Some(now.checked_sub(SignedDuration::from_hours(24)).unwrap()),
            agreed: Agreed::new(),
            history: Vec::new(),
            now,
        }
    }

    /// Everything in order at that moment, for weeks.
    pub(crate) fn in_order(now: Timestamp) -> Self {
        let mut fleet = Self::of_policy(now);
        let admitted = now.checked_sub(SignedDuration::from_hours(24 * 40)).unwrap();
        for name in fleet.hosts.keys().cloned().collect::<Vec<_>>() {
            let policy = fleet.hosts[&name].clone();
            let mut areas = vec![
                ("firewall", Content::Report(Box::new(firewall(&policy)))),
                ("ssh_access", Content::Report(Box::new(ssh_access(&policy)))),
                ("patch", Content::Report(Box::new(patched(now, Vec::new())))),
            ];
            if let Some(backup) = &policy.backup {
                let backups = fleet.backups(backup, admitted);
                let facts = fleet.backup_facts(backup, &backups, admitted);
                let content = report("backup", now, Some(serde_json::to_value(facts).unwrap()));
                areas.push(("backup", Content::Backups(Box::new(content), Box::new(backups))));
            }
            fleet.report(&name, MachineRole::Host, admitted, areas);
        }
        for (name, policy) in fleet.vaults.clone() {
            let facts = fleet.vault_facts(&policy);
            let content = Content::Vault(Box::new(facts));
            fleet.report(&name, MachineRole::Vault, admitted, vec![("vault", content)]);
        }
        fleet
    }

    fn report(
        &mut self,
        name: &HostName,
        role: MachineRole,
        admitted: Timestamp,
        areas: Vec<(&str, Content)>,
    ) {
        let received = self.now.checked_sub(SignedDuration::from_secs(60)).unwrap();
        let mut reported = Reported {
            admitted: Some(admitted),
            last_contact: Some(received),
            findings: Vec::new(),
            areas: BTreeMap::new(),
        };
        for (number, (area, content)) in areas.into_iter().enumerate() {
            let newest = Newest {
                record: RecordRef {
                    host: name.clone(),
                    role,
                    epoch: Epoch(1),
                    seq: Seq(200 + number as u64),
                    hash: Hash::of(format!("{name} {area}").as_bytes()),
                },
                observed_at: received,
                received_at: received,
                policy: self.version,
                verdict: Some(VerdictTag::Compliant),
                content,
            };
            reported.areas.insert(AreaName::new(area).unwrap(), newest);
        }
        self.machines.insert((name.clone(), role), reported);
    }

    /// Every slot of the last days sealed, one good drill of each dump.
    fn backups(&self, backup: &BackupSection, _admitted: Timestamp) -> HostBackups {
        let mut slots = Vec::new();
        for (slot, due) in self.past_slots(backup, 10) {
            slots.push(HostSlot { state: HostSlotState::Sealed(seal(&slot, due)), slot });
        }
        let owners = backup.series.iter().flat_map(|one| one.dumps.iter().map(move |dump| (one, dump)));
        let drill = |(one, dump): (&SeriesSection, &DumpSection)| HostDrill {
            at: self.now.checked_sub(SignedDuration::from_hours(24 * 3)).unwrap(),
            held: true,
            what: "4,000 = 4,000 rows".into(),
            took_ms: 6100,
            dump: Some(DrilledDump { series: one.series.clone(), database: dump.database.clone() }),
        };
        let drills = owners.map(drill).collect();
        HostBackups {
            slots,
            drills,
            since: Vec::new(),
            machine: Some(Hash::of(b"machine of web1")),
            boot: Some(Hash::of(b"boot of web1")),
        }
    }

    /// The same as the area's own facts; what came due a moment ago runs.
    fn backup_facts(&self, backup: &BackupSection, told: &HostBackups, admitted: Timestamp) -> Facts {
        let series = &backup.series;
        let slots = told.slots.iter().map(|told| {
            let HostSlotState::Sealed(seal) = &told.state else { panic!("{told:?}") };
            let seal = SealFact {
                seal: seal.seal,
                snapshot: seal.snapshot,
                root: seal.root,
                receipt: seal.seal,
                generation: GenerationId { date: told.slot.date, number: 1 },
                at: seal.at,
                unreadable: seal.unreadable,
            };
            SlotFact { slot: told.slot.clone(), at: seal.at, state: SlotState::Sealed(seal), tries: 1 }
        });
        let mut slots: Vec<SlotFact> = slots.collect();
        slots.sort_by_key(|told| std::cmp::Reverse((told.slot.date, told.slot.at)));
        let zone = Zone::named(&self.book.timezone).unwrap();
        let date = zone.date_of(self.now);
        let times = series.iter().flat_map(|one| one.at.iter().map(|at| (one.series.clone(), *at)));
        let begun = times.map(|(series, at)| (SlotId { series, date, at, manual: false }, at));
        let mut begun = begun.map(|(slot, at)| (slot, moment(&zone, date, at)));
        let young = |due: Timestamp| {
            due <= self.now && self.now < due.checked_add(SignedDuration::from_mins(5)).unwrap()
        };
        let running = begun.find(|(_, due)| young(*due));
        Facts {
            slots,
            since: series.iter().map(|one| Since { series: one.series.clone(), since: admitted }).collect(),
            running: running.map(|(slot, since)| RunningJob { run: run_id(&slot, 1), since }),
            machine: told.machine,
            boot: told.boot,
            ..Facts::default()
        }
    }

    /// The slots of the last days whose time has come, with their moments.
    pub(crate) fn past_slots(&self, backup: &BackupSection, days: i32) -> Vec<(SlotId, Timestamp)> {
        let zone = Zone::named(&self.book.timezone).unwrap();
        let today = zone.date_of(self.now);
        let mut slots = Vec::new();
        for section in &backup.series {
            for back in (0..days).rev() {
                let date = today.checked_sub(back.days()).unwrap();
                for at in &section.at {
                    let due = moment(&zone, date, *at);
                    let slot = SlotId { series: section.series.clone(), date, at: *at, manual: false };
                    if due.checked_add(SignedDuration::from_mins(5)).unwrap() <= self.now {
                        slots.push((slot, due));
                    }
                }
            }
        }
        slots
    }

    /// The same as the vault sees it: the newest seven dates current, the rest erased.
    fn vault_facts(&self, policy: &VaultPolicy) -> VaultFacts {
        let mut series: BTreeMap<SeriesId, BTreeMap<Date, GenerationFacts>> = BTreeMap::new();
        let today = Zone::named(&self.book.timezone).unwrap().date_of(self.now);
        let backups = self.hosts.values().filter_map(|policy| policy.backup.as_ref());
        for (slot, due) in backups.flat_map(|backup| self.past_slots(backup, 7)) {
            let generations = series.entry(slot.series.clone()).or_default();
            let state =
                if slot.date == today { GenerationState::Candidate } else { GenerationState::Current };
            let generation = generations.entry(slot.date).or_insert_with(|| GenerationFacts {
                id: GenerationId { date: slot.date, number: 1 },
                state,
                opened: due,
                closed: None,
                slots: Vec::new(),
                objects: 10,
                bytes: 1 << 20,
            });
            generation.slots.push(sealed(&slot, due));
        }
        let facts = |(series, generations): (SeriesId, BTreeMap<Date, GenerationFacts>)| SeriesFacts {
            series,
            generations: generations.into_values().collect(),
        };
        VaultFacts {
            schema: 1,
            series: series.into_iter().map(facts).collect(),
            free_bytes: 3 << 40,
            total_bytes: 4 << 40,
            machine: Hash::of(format!("machine of {}", policy.host).as_bytes()),
            boot: Hash::of(format!("boot of {}", policy.host).as_bytes()),
            pages: Vec::new(),
        }
    }

    pub(crate) fn input(&self) -> Input<'_> {
        Input {
            book: &self.book,
            version: self.version,
            hosts: &self.hosts,
            vaults: &self.vaults,
            machines: &self.machines,
            issued: self.issued,
            series_since: &self.series_since,
            agreed: &self.agreed,
            history: &self.history,
            now: self.now,
        }
    }

    pub(crate) fn judge(&self) -> Judgement {
        tenure_obligations::judge(&self.input()).unwrap()
    }

    /// The one row of a duty.
    pub(crate) fn row(&self, duty: &str) -> Obligation {
        let rows: Vec<_> = self.judge().obligations.into_iter().filter(|row| row.duty == duty).collect();
        assert!(!rows.is_empty(), "no row of {duty}");
        rows.into_iter().next().unwrap()
    }

    pub(crate) fn state(&self, duty: &str) -> State {
        self.row(duty).state
    }

    /// The reasons of a duty in words.
    pub(crate) fn why(&self, duty: &str) -> String {
        self.row(duty).why.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
    }

    pub(crate) fn machine(&mut self, name: &str, role: MachineRole) -> &mut Reported {
        self.machines.get_mut(&(host(name), role)).unwrap()
    }

    pub(crate) fn newest(&mut self, name: &str, role: MachineRole, area: &str) -> &mut Newest {
        self.machine(name, role).areas.get_mut(&AreaName::new(area).unwrap()).unwrap()
    }

    pub(crate) fn web_backups(&mut self) -> &mut HostBackups {
        match &mut self.newest("web1", MachineRole::Host, "backup").content {
            Content::Backups(_, backups) => backups,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn vault(&mut self) -> &mut VaultFacts {
        match &mut self.newest("vault1", MachineRole::Vault, "vault").content {
            Content::Vault(facts) => facts,
            other => panic!("{other:?}"),
        }
    }

    /// Time passes; nobody says anything more.
    pub(crate) fn later(&mut self, seconds: i64) {
        self.now = self.now.checked_add(SignedDuration::from_secs(seconds)).unwrap();
    }

    /// What the host says of slots, changed where `change` gives something.
    pub(crate) fn host_slots(&mut self, change: impl Fn(&SlotId) -> Option<HostSlotState>) {
        for slot in &mut self.web_backups().slots {
            if let Some(state) = change(&slot.slot) {
                slot.state = state;
            }
        }
    }

    /// Takes slots out of the vault.
    pub(crate) fn vault_forgets(&mut self, which: impl Fn(&SlotId) -> bool) {
        for generation in self.vault().series.iter_mut().flat_map(|series| &mut series.generations) {
            generation.slots.retain(|slot| !which(&slot.slot));
        }
        for series in &mut self.vault().series {
            series.generations.retain(|generation| !generation.slots.is_empty());
        }
    }

    /// Takes slots out of the host's word.
    pub(crate) fn host_forgets(&mut self, which: impl Fn(&SlotId) -> bool) {
        self.web_backups().slots.retain(|slot| !which(&slot.slot));
    }
}

/// The file that gives the example a controller, as long as it has none.
const CONTROLLER: &str = r#"controller: { host: ctl1, port: 8441 }
hosts:
  ctl1: { profiles: [base], addresses: [198.51.100.5], environment: production, site: "Amsterdam" }
"#;

pub(crate) fn moment(zone: &Zone, date: Date, at: SlotTime) -> Timestamp {
    zone.moment(date, Time::new(at.hour() as i8, at.minute() as i8, 0, 0).unwrap())
}

fn named(slot: &SlotId, what: &str) -> Hash {
    Hash::of(format!("{what} of {slot}").as_bytes())
}

/// The seal of a slot as the host knows it.
pub(crate) fn seal(slot: &SlotId, due: Timestamp) -> HostSeal {
    let at = due.checked_add(SignedDuration::from_mins(4)).unwrap();
    HostSeal {
        seal: named(slot, "seal"),
        snapshot: named(slot, "snapshot"),
        root: named(slot, "root"),
        at,
        unreadable: 0,
    }
}

/// The same as the vault knows it.
pub(crate) fn sealed(slot: &SlotId, due: Timestamp) -> SealedSlot {
    let HostSeal { seal, snapshot, root, at, unreadable } = seal(slot, due);
    SealedSlot { slot: slot.clone(), seal, snapshot, root, sequence: 17, received: at, unreadable }
}

/// A report as an agent sends it for its backups.
pub(crate) fn backup_content(backups: HostBackups, observed_at: Timestamp) -> Content {
    let report = report("backup", observed_at, None);
    Content::Backups(Box::new(report), Box::new(backups))
}

pub(crate) fn report(area: &str, observed_at: Timestamp, facts: Option<serde_json::Value>) -> Report {
    Report {
        area: AreaName::new(area).unwrap(),
        mode: Mode::Enforce,
        observed_at,
        verdict: Verdict::Compliant,
        facts,
        plan: None,
        findings: Vec::new(),
        mended: Vec::new(),
        done: Vec::new(),
        pending: None,
        refusal: None,
        unknown: None,
    }
}

/// What a host reports whose firewall was tried and confirmed.
pub(crate) fn firewall(policy: &HostPolicy) -> Report {
    let fake = FakeHost::debian();
    firewall_on(&fake, policy)
}

pub(crate) fn firewall_on(fake: &FakeHost, policy: &HostPolicy) -> Report {
    fake.write_as(
        "/etc/passwd",
        "root:x:0:0:root:/root:/bin/bash\n_apt:x:42:65534::/nonexistent:/usr/sbin/nologin\n\
         admin:x:1000:1000::/home/admin:/bin/bash\n",
        0,
        0o644,
    );
    let section = policy.firewall.as_ref().unwrap();
    let turn = || pass::<Firewall>(&Firewall::desired(section), Mode::Enforce, fake, fake, &|| fake.now());
    for _ in 0..12 {
        let report = turn();
        if report.verdict == Verdict::Compliant {
            return report;
        }
        fake.advance_ms(1000);
        if let Some(bytes) = fake.content(state::TRIAL) {
            let state::Kept::Some(trial) = state::parse::<state::Trial>(&bytes) else { continue };
            let request = state::ConfirmRequest {
                number: trial.new.number,
                hash: trial.new.hash,
                by: "marit".into(),
                at: fake.now().wall,
            };
            fake.write_as(state::CONFIRM, serde_json::to_vec(&request).unwrap(), 0, 0o600);
        }
    }
    panic!("the fake host's firewall does not converge: {:#?}", turn());
}

/// What a host reports whose logins are as the policy says, after somebody logged in during the trial.
pub(crate) fn ssh_access(policy: &HostPolicy) -> Report {
    let fake = FakeHost::debian();
    let section = policy.ssh_access.as_ref().unwrap();
    let desired = SshAccess::desired(section);
    let turn = || pass::<SshAccess>(&desired, Mode::Enforce, &fake, &fake, &|| fake.now());
    for _ in 0..8 {
        let report = turn();
        if report.verdict == Verdict::Compliant {
            return report;
        }
        fake.advance_ms(1000);
        fake.log_in("admin", &section.logins[0].keys[0], "203.0.113.9");
    }
    panic!("the fake host's logins do not converge: {:#?}", turn());
}

/// What a host reports with these security updates waiting: package and since when.
pub(crate) fn patched(now: Timestamp, waiting: Vec<(&str, Timestamp)>) -> Report {
    let upgrade = |package: &str| patch::facts::Upgrade {
        package: package.to_owned(),
        installed: Some("1".into()),
        candidate: "2".into(),
        origins: vec!["Debian-Security:12/stable-security".into()],
        security: true,
        listed: None,
    };
    let seen = patch::facts::Seen {
        upgrades: waiting
            .iter()
            .map(|(package, since)| {
                let waiting =
                    patch::facts::Waiting { installed: Some("1".into()), since: *since, listed: None };
                ((*package).to_owned(), waiting)
            })
            .collect(),
        reboot: None,
    };
    let facts = patch::Facts {
        installed: 400,
        broken: Vec::new(),
        held: Vec::new(),
        upgrades: waiting.iter().map(|(package, _)| upgrade(package)).collect(),
        lists: Some(now.checked_sub(SignedDuration::from_hours(1)).unwrap()),
        reboot: Vec::new(),
        reboot_marked: None,
        kernel: "6.1.0-28-amd64".into(),
        seen,
    };
    report(Patch::NAME, now, Some(serde_json::to_value(facts).unwrap()))
}
