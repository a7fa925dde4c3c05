//! The week of copies: a row for each owner on each host, a cell for each slot, and what each vault holds.

use jiff::ToSpan;
use tenure_trust::vault_wire::GenerationState;
use tenure_trust::{HostName, Owner, SetName, VaultName};

use crate::copies::{Series, Slot};
use crate::drills;
use crate::judge::{Context, HostSeen};
use crate::reason::{Reason, SlotFault};
use crate::slots::SlotSeen;
use crate::state::State;
use crate::view::{BackupRow, Backups, Cell, Drilled, Sign, VaultRow};

/// The last seven days, today last.
pub(crate) fn grid(context: &Context<'_>) -> Backups {
    let today = context.zone.date_of(context.now());
    let days = (0..7).rev().map(|back| today.checked_sub(back.days()).unwrap_or(today)).collect();
    let mut backups = Backups { days, rows: Vec::new(), vaults: vaults(context) };
    for (host, seen) in context.hosts() {
        let Some(backup) = seen.policy.and_then(|policy| policy.backup.as_ref()) else { continue };
        let mut owners: Vec<(&Owner, &VaultName)> =
            backup.series.iter().map(|one| (&one.series.owner, &one.series.vault)).collect();
        owners.sort();
        owners.dedup();
        for (owner, vault) in owners {
            let drilled = match &seen.backups {
                Err(_) => Drilled::Unknown,
                Ok(told) => drills::cell(backup, owner, &told.drills, context.now()),
            };
            let row = row(context, (host, seen), (owner, vault), &backups.days, drilled);
            backups.rows.push(row);
        }
    }
    backups.rows.sort_by(|a, b| {
        b.state.cmp(&a.state).then_with(|| (&b.owner, &a.host, &a.vault).cmp(&(&a.owner, &b.host, &b.vault)))
    });
    backups
}

fn row(
    context: &Context<'_>,
    (host, seen): (&HostName, &HostSeen<'_>),
    (owner, vault): (&Owner, &VaultName),
    days: &[jiff::civil::Date],
    drilled: Drilled,
) -> BackupRow {
    let sets = [SetName::Server, SetName::Nightly];
    let series: Vec<&Series<'_>> = sets
        .iter()
        .flat_map(|set| context.series_of(host, owner, *set))
        .filter(|one| one.section.series.vault == *vault)
        .collect();
    let mut state = State::Met;
    let mut rows = Vec::with_capacity(days.len());
    for day in days {
        let mut cells = Vec::new();
        for one in &series {
            for slot in one.of_date(*day) {
                state = state.max(slot.seen.fault().map_or(State::Met, |(state, _)| state));
                cells.push(cell(one, slot));
            }
        }
        rows.push(cells);
    }
    let copied = rows.iter().flatten().any(|cell| cell.sign == Sign::Sealed);
    if state == State::Met && !copied {
        // Nothing is wrong, and nothing is there yet.
        state = State::Due;
    }
    // What both said before stays in the cells; nothing of it is green while one of them cannot be believed.
    let why = context.silence(seen, &series);
    if !why.is_empty() {
        state = state.max(State::Unknown);
    }
    let held = || series.iter().filter_map(|one| one.vault).flat_map(|facts| &facts.generations);
    let slots = || held().flat_map(|generation| generation.slots.iter().map(|slot| slot.received));
    BackupRow {
        owner: owner.clone(),
        host: host.clone(),
        vault: vault.clone(),
        state,
        why,
        days: rows,
        bytes: held().map(|generation| generation.bytes).reduce(u64::saturating_add),
        newest: slots().max(),
        oldest: slots().min(),
        drilled,
    }
}

fn cell(series: &Series<'_>, slot: &Slot) -> Cell {
    let sign = match &slot.seen {
        SlotSeen::NotExpected => Sign::Blank,
        SlotSeen::ToCome | SlotSeen::Open | SlotSeen::Trying(_) => Sign::ToCome,
        SlotSeen::Done { .. } => Sign::Sealed,
        SlotSeen::Partial(_) => Sign::Partial,
        SlotSeen::Aside(_) | SlotSeen::Spoilt => Sign::Kept,
        SlotSeen::Lacks(State::Overdue, SlotFault::Missed | SlotFault::Failed(_)) => {
            if set_aside(series, slot) { Sign::Kept } else { Sign::Missed }
        }
        SlotSeen::Lacks(..) => Sign::Unknown,
    };
    let why = slot.seen.fault().map(|(_, fault)| Reason::Slot {
        series: series.section.series.clone(),
        date: slot.date,
        at: slot.at,
        fault,
    });
    Cell { set: series.section.series.set, at: slot.at, sign, why }
}

/// Was the generation of this slot's date set aside, so that the week before's is kept?
fn set_aside(series: &Series<'_>, slot: &Slot) -> bool {
    let generations = series.vault.iter().flat_map(|facts| &facts.generations);
    let newest = generations.filter(|generation| generation.id.date == slot.date).max_by_key(|g| g.id.number);
    newest.is_some_and(|generation| matches!(generation.state, GenerationState::Aside(_)))
}

fn vaults(context: &Context<'_>) -> Vec<VaultRow> {
    let row = |vault: &crate::judge::VaultSeen<'_>| {
        let facts = vault.facts.as_ref();
        let copies = facts.map_or(0, |_| vault.series.values().map(|(one, _)| one.generations.len()).sum());
        VaultRow {
            vault: vault.policy.vault.clone(),
            host: vault.policy.host.clone(),
            why: facts.err().cloned(),
            used_bytes: facts.ok().map(|facts| facts.total_bytes.saturating_sub(facts.free_bytes)),
            total_bytes: facts.ok().map(|facts| facts.total_bytes),
            copies: u32::try_from(copies).unwrap_or(u32::MAX),
            record: vault.record.clone(),
        }
    };
    context.vaults().map(row).collect()
}
