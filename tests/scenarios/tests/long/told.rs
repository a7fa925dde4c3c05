//! What web1's own records tell of its backups, beside what it remembers: each thing once, also over restarts of the agent.

use std::collections::BTreeSet;

use serde_json::Value;
use tenure_lab::wait_for;
use tenure_scenarios::agent::SOON;
use tenure_scenarios::chains::events;
use tenure_scenarios::vaulted::Vaulted;
use tenure_scenarios::{Fleet, Result};

const SEALED: &str = "backup_sealed";
const FAILED: &str = "backup_failed";
const MISSED: &str = "backup_missed";
const DRILLED: &str = "drill_done";

/// Waits until everything that web1 remembers of slots and drills stands in its records, and nothing else but failures
/// and drills that later ones have followed. Nothing may stand there twice. Gives what does, as [`of_slot`] names it.
pub(crate) fn once(v: &Vaulted) -> Result<BTreeSet<String>> {
    let (mut told, mut known) = (Vec::new(), BTreeSet::new());
    let whole = wait_for("each thing that web1 remembers, in its records", SOON, || {
        told = records(&v.fleet).unwrap_or_default();
        known = memory(&v.fleet);
        let lasts = |one: &&String| one.starts_with(SEALED) || one.starts_with(MISSED);
        let lasting: BTreeSet<&String> = told.iter().filter(lasts).collect();
        let expected: BTreeSet<&String> = known.iter().filter(lasts).collect();
        lasting == expected && known.iter().all(|one| told.contains(one))
    });
    let all: BTreeSet<String> = told.iter().cloned().collect();
    match whole.is_ok() && all.len() == told.len() {
        true => Ok(all),
        false => Err(format!("{whole:?}\ntold: {told:#?}\nremembered: {known:#?}").into()),
    }
}

/// That a run of the host's was sealed, by its specification.
pub(crate) fn sealed(fleet: &Fleet, run: &str) -> Result<String> {
    let spec: Value = serde_json::from_str(&fleet.web1.get(&format!("{}/{run}.json", crate::runs::JOBS))?)?;
    Ok(of_slot(SEALED, &spec["slot"], &Value::Null))
}

/// That slots of a set were missed, among what was told; of this owner as JSON has it.
pub(crate) fn missed<'t>(told: &'t BTreeSet<String>, owner: &str, set: &str) -> Vec<&'t String> {
    let (owner, set) = (format!("\"owner\":{owner}"), format!("\"set\":\"{set}\""));
    told.iter().filter(|one| one.starts_with(MISSED) && one.contains(&owner) && one.contains(&set)).collect()
}

fn of_slot(event: &str, slot: &Value, tries: &Value) -> String {
    match event {
        FAILED => format!("{event} {slot} {tries}"),
        _ => format!("{event} {slot}"),
    }
}

fn of_drill(drill: &Value) -> String {
    format!("{DRILLED} {} {}", drill["at"], drill["dump"])
}

fn records(fleet: &Fleet) -> Result<Vec<String>> {
    let chain = fleet.own_chain("web1", "host")?;
    let mut told = Vec::new();
    for name in [SEALED, FAILED, MISSED] {
        told.extend(events(&chain, name)?.iter().map(|one| of_slot(name, &one["slot"], &one["tries"])));
    }
    told.extend(events(&chain, DRILLED)?.iter().map(of_drill));
    Ok(told)
}

fn memory(fleet: &Fleet) -> BTreeSet<String> {
    let ledger = fleet.web1.get("/var/lib/tenure/backup/ledger.json").unwrap_or_default();
    let ledger: Value = serde_json::from_str(&ledger).unwrap_or_default();
    let slot = |fact: &Value| {
        let event = match &fact["state"] {
            Value::String(_) => MISSED,
            state if state["sealed"].is_object() => SEALED,
            _ => FAILED,
        };
        of_slot(event, &fact["slot"], &fact["tries"])
    };
    let slots = ledger["slots"].as_array().into_iter().flatten().map(slot);
    let drills =
        "for one in /var/lib/tenure/backup/drills/*.json; do test ! -e $one || { cat $one; echo; }; done";
    let drills = fleet.web1.sh(drills).map(|output| output.stdout).unwrap_or_default();
    let drills = drills.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    slots.chain(drills.map(|drill| of_drill(&drill))).collect()
}
