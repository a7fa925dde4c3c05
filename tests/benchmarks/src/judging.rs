//! How long the controller's judge takes for ten thousand tenants with twenty duties each, on a fleet with everything
//! reported: no peer does this, so the row has a target and no ratio.

use std::collections::BTreeMap;

use jiff::civil::Date;
use jiff::{SignedDuration, Timestamp, ToSpan};
use tenure_areas::area::AreaSpec;
use tenure_areas::backup::facts::{Facts, SealFact, Since, SlotFact, SlotState};
use tenure_areas::fake::FakeHost;
use tenure_areas::firewall::{Firewall, state};
use tenure_areas::pass::{Report, Verdict, pass};
use tenure_areas::ssh_access::SshAccess;
use tenure_lab::Stopwatch;
use tenure_obligations::input::{Agreed, AgreedSeal, Content};
use tenure_obligations::view::Judgement;
use tenure_obligations::{Input, Newest, RecordRef, Reported, judge};
use tenure_policy::bundles::{DutyBook, PromiseDuty, SeriesSection, VaultPolicy};
use tenure_policy::calendar::Zone;
use tenure_policy::duties::DUTIES;
use tenure_policy::resolved::{HostPolicy, Mode};
use tenure_scenarios::Result;
use tenure_trust::vault_wire::{GenerationFacts, GenerationState, SealedSlot, SeriesFacts, VaultFacts};
use tenure_trust::{
    AreaName, Epoch, GenerationId, Hash, HostName, MachineRole, Owner, PolicyVersion, Seq, SeriesId, SlotId,
    SlotTime, TenantId,
};

const HOSTS: usize = 500;
const TENANTS_A_HOST: usize = 20;
const DUTIES_A_TENANT: usize = 20;
const ROUNDS: usize = 5;

/// One row: the median of some rounds.
pub(crate) fn judging() -> Result<()> {
    let now: Timestamp = "2026-11-22T13:03:00Z".parse()?;
    let fleet = Fleet::new(HOSTS, now)?;
    let mut times = Vec::new();
    let mut counts = String::new();
    for _ in 0..ROUNDS {
        let watch = Stopwatch::start();
        let judgement = fleet.judge(now)?;
        times.push(watch.elapsed().as_secs_f64() * 1000.0);
        counts = judgement.head.counts.to_string();
    }
    let median = crate::numbers::quantile(&times, 0.5);
    let what = format!(
        "judging {} tenants × {DUTIES_A_TENANT} duties on {HOSTS} hosts, p50 of {ROUNDS}",
        HOSTS * TENANTS_A_HOST
    );
    crate::row(&[&what, &crate::ms(median), "", "", "≤ 1 s"]);
    crate::say(&format!("  {counts}"));
    Ok(())
}

struct Fleet {
    book: DutyBook,
    hosts: BTreeMap<HostName, HostPolicy>,
    vaults: BTreeMap<HostName, VaultPolicy>,
    machines: BTreeMap<(HostName, MachineRole), Reported>,
    agreed: Agreed,
}

impl Fleet {
    fn new(hosts: usize, now: Timestamp) -> Result<Self> {
        let folder = tenure_lab::repository().join("policies/examples/soworker");
        let mut texts = BTreeMap::new();
        for name in ["fleet.yaml", "local.yaml", "tenants/example-client.yaml"] {
            texts.insert(name.to_owned(), std::fs::read_to_string(folder.join(name))?);
        }
        let set = tenure_policy::load(&texts).map_err(|faults| faults.to_string())?;
        let mut book = set.duty_book().ok_or("the example has no controller")?;
        let zone = Zone::named(&book.timezone)?;
        let web1 = HostName::new("web1")?;
        let template = set.host_policy(&web1).ok_or("the example has no web1")?;
        let mut backup = template.backup.clone().ok_or("web1 is not backed up")?;
        let sections = std::mem::take(&mut backup.series);
        let (machine, tenant) = (book.machines[&web1].clone(), first(&book)?);
        let mut vaults = set.vault_policies();
        let vault = vaults.values_mut().next().ok_or("the example has no vault")?;
        let mut fleet = Self {
            book: book.clone(),
            hosts: BTreeMap::new(),
            vaults: BTreeMap::new(),
            machines: BTreeMap::new(),
            agreed: Agreed::new(),
        };
        (book.machines, book.tenants) = (BTreeMap::new(), BTreeMap::new());
        // What a host of this policy says of itself, from passes of the areas themselves.
        let kept = [firewall(&template)?, ssh_access(&template)?];
        let mut held = Vec::new();
        for number in 0..hosts {
            let name = HostName::new(format!("web{number}"))?;
            let owners: Vec<TenantId> = (0..TENANTS_A_HOST)
                .map(|n| TenantId::new(format!("tenant-{number}-{n}")))
                .collect::<std::result::Result<_, _>>()?;
            let mut policy = HostPolicy { host: name.clone(), ..template.clone() };
            let mut own = backup.clone();
            for owner in std::iter::once(Owner::Host).chain(owners.iter().cloned().map(Owner::Tenant)) {
                for section in sections.iter().filter(|section| section.series.owner == Owner::Host) {
                    let mut section: SeriesSection = section.clone();
                    (section.series.host, section.series.owner) = (name.clone(), owner.clone());
                    own.series.push(section);
                }
            }
            let (slots, series) = slots(&own.series, &zone, now);
            fleet.agreed.extend(series.iter().map(agreed));
            held.extend(series);
            fleet
                .machines
                .insert((name.clone(), MachineRole::Host), host(&name, &own.series, slots, &kept, now)?);
            policy.backup = Some(own);
            fleet.hosts.insert(name.clone(), policy);
            book.machines.insert(name.clone(), machine.clone());
            for owner in owners {
                let mut duties = tenant.clone();
                duties.promises = promises(&name);
                book.tenants.insert(owner, duties);
            }
        }
        let facts = VaultFacts {
            schema: 1,
            series: held,
            free_bytes: 1 << 40,
            total_bytes: 4 << 40,
            machine: Hash::of(b"the vault"),
            boot: Hash::of(b"its boot"),
            pages: Vec::new(),
        };
        let newest = newest(&vault.host, MachineRole::Vault, 1, Content::Vault(Box::new(facts)), now);
        let reported = reported(now, [("vault", newest)])?;
        let vault_machine = fleet.book.machines[&vault.host].clone();
        book.machines.insert(vault.host.clone(), vault_machine);
        fleet.machines.insert((vault.host.clone(), MachineRole::Vault), reported);
        fleet.vaults = vaults;
        fleet.book = book;
        Ok(fleet)
    }
}

impl Fleet {
    fn judge(&self, now: Timestamp) -> Result<Judgement> {
        let series_since = BTreeMap::new();
        let judgement = judge(&Input {
            book: &self.book,
            version: Some(PolicyVersion(7)),
            hosts: &self.hosts,
            vaults: &self.vaults,
            machines: &self.machines,
            issued: None,
            series_since: &series_since,
            agreed: &self.agreed,
            history: &[],
            now,
        })?;
        let asked = self.book.tenants.len() * DUTIES_A_TENANT;
        match judgement.obligations.len() {
            judged if judged == asked => Ok(judgement),
            judged => Err(format!("{judged} duties were judged instead of {asked}").into()),
        }
    }
}

fn first(book: &DutyBook) -> Result<tenure_policy::bundles::TenantDuties> {
    Ok(book.tenants.values().next().ok_or("the example has no tenant")?.clone())
}

/// Every duty that there is, and one twice.
fn promises(host: &HostName) -> Vec<PromiseDuty> {
    let one = |duty: &tenure_policy::duties::Duty| PromiseDuty {
        says: duty.asks.to_owned(),
        means: duty.name.to_owned(),
        judged: duty.judged,
        at_least_times: None,
        at_least_days: None,
        within: None,
        hosts: vec![host.clone()],
    };
    DUTIES.iter().cycle().take(DUTIES_A_TENANT).map(one).collect()
}

/// A week of slots as the host tells them, newest first and no more than it may, and as the vault holds them.
fn slots(sections: &[SeriesSection], zone: &Zone, now: Timestamp) -> (Vec<SlotFact>, Vec<SeriesFacts>) {
    let today = zone.date_of(now);
    let (mut told, mut held) = (Vec::new(), Vec::new());
    for section in sections {
        let mut generations = Vec::new();
        for back in (0..7).rev() {
            let date = today.checked_sub(back.days()).unwrap_or(today);
            let mut sealed = Vec::new();
            for at in &section.at {
                let slot = SlotId { series: section.series.clone(), date, at: *at, manual: false };
                if back == 0 && at.hour() > 12 {
                    continue;
                }
                let hash = Hash::of(slot.to_string().as_bytes());
                let seal = SealFact {
                    seal: hash,
                    snapshot: hash,
                    root: hash,
                    receipt: hash,
                    generation: GenerationId { date, number: 1 },
                    at: now,
                    unreadable: 0,
                };
                told.push(SlotFact { slot: slot.clone(), at: now, state: SlotState::Sealed(seal), tries: 1 });
                sealed.push(SealedSlot {
                    slot,
                    seal: hash,
                    snapshot: hash,
                    root: hash,
                    sequence: 1,
                    received: now,
                    unreadable: 0,
                });
            }
            if sealed.is_empty() {
                continue;
            }
            let state = if back == 0 { GenerationState::Candidate } else { GenerationState::Current };
            let id = GenerationId { date, number: 1 };
            let (opened, closed) = (now, None);
            generations.push(GenerationFacts {
                id,
                state,
                opened,
                closed,
                slots: sealed,
                objects: 1,
                bytes: 1,
            });
        }
        held.push(SeriesFacts { series: section.series.clone(), generations });
    }
    told.sort_by_key(|slot| std::cmp::Reverse((slot.slot.date, slot.slot.at)));
    told.truncate(tenure_obligations::input::SLOTS_TOLD);
    (told, held)
}

/// A host's list is full: what fell out of it is remembered.
fn agreed(series: &SeriesFacts) -> (SeriesId, BTreeMap<(Date, SlotTime), AgreedSeal>) {
    let sealed = series.generations.iter().flat_map(|generation| &generation.slots);
    let both = |one: &SealedSlot| AgreedSeal { seal: one.seal, unreadable: one.unreadable };
    (series.series.clone(), sealed.map(|one| ((one.slot.date, one.slot.at), both(one))).collect())
}

/// A host that reports every area, in the areas' own forms.
fn host(
    name: &HostName,
    sections: &[SeriesSection],
    slots: Vec<SlotFact>,
    kept: &[Report; 2],
    now: Timestamp,
) -> Result<Reported> {
    let month = now.checked_sub(SignedDuration::from_hours(24 * 30))?;
    let since = |one: &SeriesSection| Since { series: one.series.clone(), since: month };
    let backups = Facts {
        slots,
        since: sections.iter().map(since).collect(),
        machine: Some(Hash::of(name.as_str().as_bytes())),
        boot: Some(Hash::of(format!("boot of {name}").as_bytes())),
        ..Facts::default()
    };
    let report = |area: &str, facts: serde_json::Value| -> Result<Vec<u8>> {
        let text = serde_json::json!({
            "area": area, "mode": "enforce", "observed_at": now, "verdict": "compliant", "facts": facts,
            "plan": null, "findings": [], "mended": [], "done": [], "pending": null, "refusal": null,
            "unknown": null,
        });
        Ok(serde_json::to_vec(&text)?)
    };
    let patch = serde_json::json!({
        "installed": 400, "broken": [], "held": [], "upgrades": [], "lists": now, "reboot": [],
        "reboot_marked": null, "kernel": "6.1", "seen": { "upgrades": {}, "reboot": null },
    });
    let content = |bytes: Vec<u8>| Content::of_agent(Some(&bytes));
    let role = MachineRole::Host;
    let patch = newest(name, role, 1, content(report("patch", patch)?), now);
    let backup = newest(name, role, 2, content(report("backup", serde_json::to_value(&backups)?)?), now);
    let [firewall, ssh_access] = kept;
    let firewall = newest(name, role, 3, content(serde_json::to_vec(firewall)?), now);
    let ssh_access = newest(name, role, 4, content(serde_json::to_vec(ssh_access)?), now);
    reported(now, [("patch", patch), ("backup", backup), ("firewall", firewall), ("ssh_access", ssh_access)])
}

/// A firewall that was tried and confirmed.
fn firewall(policy: &HostPolicy) -> Result<Report> {
    let fake = FakeHost::debian();
    let passwd = "root:x:0:0:root:/root:/bin/bash\n_apt:x:42:65534::/nonexistent:/usr/sbin/nologin\n\
                  admin:x:1000:1000::/home/admin:/bin/bash\n";
    fake.write_as("/etc/passwd", passwd, 0, 0o644);
    let section = policy.firewall.as_ref().ok_or("the example's web1 has no firewall")?;
    for _ in 0..12 {
        let desired = Firewall::desired(section);
        let report = pass::<Firewall>(&desired, Mode::Enforce, &fake, &fake, &|| fake.now());
        if report.verdict == Verdict::Compliant {
            return Ok(report);
        }
        fake.advance_ms(1000);
        if let Some(bytes) = fake.content(state::TRIAL)
            && let state::Kept::Some(trial) = state::parse::<state::Trial>(&bytes)
        {
            let (number, hash) = (trial.new.number, trial.new.hash);
            let request = state::ConfirmRequest { number, hash, by: "marit".into(), at: fake.now().wall };
            fake.write_as(state::CONFIRM, serde_json::to_vec(&request)?, 0, 0o600);
        }
    }
    Err("the fake host's firewall does not come to rest".into())
}

/// Logins as the policy says, after somebody logged in during the trial.
fn ssh_access(policy: &HostPolicy) -> Result<Report> {
    let fake = FakeHost::debian();
    let section = policy.ssh_access.as_ref().ok_or("the example's web1 has no logins")?;
    let desired = SshAccess::desired(section);
    let key = section.logins.first().and_then(|login| login.keys.first()).ok_or("nobody logs in to web1")?;
    for _ in 0..8 {
        let report = pass::<SshAccess>(&desired, Mode::Enforce, &fake, &fake, &|| fake.now());
        if report.verdict == Verdict::Compliant {
            return Ok(report);
        }
        fake.advance_ms(1000);
        fake.log_in("admin", key, "203.0.113.9");
    }
    Err("the fake host's logins do not come to rest".into())
}

fn newest(host: &HostName, role: MachineRole, seq: u64, content: Content, now: Timestamp) -> Newest {
    let hash = Hash::of(host.as_str().as_bytes());
    Newest {
        record: RecordRef { host: host.clone(), role, epoch: Epoch(1), seq: Seq(seq), hash },
        observed_at: now,
        received_at: now,
        policy: Some(PolicyVersion(7)),
        verdict: None,
        content,
    }
}

fn reported(now: Timestamp, areas: impl IntoIterator<Item = (&'static str, Newest)>) -> Result<Reported> {
    let mut reported = Reported {
        admitted: now.checked_sub(SignedDuration::from_hours(24 * 40)).ok(),
        last_contact: Some(now),
        ..Reported::default()
    };
    for (area, newest) in areas {
        reported.areas.insert(AreaName::new(area)?, newest);
    }
    Ok(reported)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_fleet_of_the_example_is_judged() {
        let now: Timestamp = "2026-11-22T13:03:00Z".parse().expect("a time");
        let fleet = Fleet::new(2, now).expect("the example serves as a template");
        assert_eq!(fleet.book.tenants.len(), 2 * TENANTS_A_HOST);
        let judgement = fleet.judge(now).expect("each tenant's duties are judged");
        let unknown = |area: &str| {
            judgement
                .obligations
                .iter()
                .filter(|one| one.duty.contains(area))
                .all(|one| one.state.word() == "unknown")
        };
        assert!(
            !unknown("backup.server") && !unknown("access") && !unknown("patch"),
            "facts are in the areas' own forms"
        );
    }
}
