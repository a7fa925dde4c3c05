//! How long the controller's judge takes for ten thousand tenants with twenty duties each, on a fleet with everything
//! reported: no peer does this, so the row has a target and no ratio.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp, ToSpan};
use tenure_lab::Stopwatch;
use tenure_obligations::input::{Content, HostBackups, HostSeal, HostSlot, HostSlotState};
use tenure_obligations::view::Judgement;
use tenure_obligations::{Input, Newest, RecordRef, Reported, judge};
use tenure_policy::bundles::{DutyBook, PromiseDuty, SeriesSection, VaultPolicy};
use tenure_policy::calendar::Zone;
use tenure_policy::duties::DUTIES;
use tenure_policy::resolved::HostPolicy;
use tenure_scenarios::Result;
use tenure_trust::vault_wire::{GenerationFacts, GenerationState, SealedSlot, SeriesFacts, VaultFacts};
use tenure_trust::{
    AreaName, Epoch, GenerationId, Hash, HostName, MachineRole, Owner, PolicyVersion, Seq, SlotId, TenantId,
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
        };
        (book.machines, book.tenants) = (BTreeMap::new(), BTreeMap::new());
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
            held.extend(series);
            policy.backup = Some(own);
            fleet.machines.insert((name.clone(), MachineRole::Host), host(&name, slots, now)?);
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
fn slots(sections: &[SeriesSection], zone: &Zone, now: Timestamp) -> (Vec<HostSlot>, Vec<SeriesFacts>) {
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
                let seal = HostSeal { seal: hash, snapshot: hash, root: hash, at: now, unreadable: 0 };
                told.push(HostSlot { slot: slot.clone(), state: HostSlotState::Sealed(seal) });
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

/// A host that reports its software and its backups.
fn host(name: &HostName, slots: Vec<HostSlot>, now: Timestamp) -> Result<Reported> {
    let backups = HostBackups {
        slots,
        machine: Some(Hash::of(name.as_str().as_bytes())),
        boot: Some(Hash::of(format!("boot of {name}").as_bytes())),
        ..HostBackups::default()
    };
    let report = |area: &str, facts: serde_json::Value| -> Result<Vec<u8>> {
        let text = serde_json::json!({
            "area": area, "mode": "observe", "observed_at": now, "verdict": "compliant", "facts": facts,
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
    reported(now, [("patch", patch), ("backup", backup)])
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
        fleet.judge(now).expect("each tenant's duties are judged");
    }
}
