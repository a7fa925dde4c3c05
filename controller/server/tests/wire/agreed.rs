//! What host and vault agreed on is remembered where the host has more slots than it can tell, over restarts too.

use jiff::{Timestamp, ToSpan};
use serde_json::{Value, json};
use tenure_controller::store::Access;
use tenure_obligations::input::{HostBackups, HostSeal, HostSlot, HostSlotState, SLOTS_TOLD};
use tenure_policy::bundles::SeriesSection;
use tenure_policy::calendar::Zone;
use tenure_trust::vault_wire::{GenerationFacts, GenerationState, SealedSlot, SeriesFacts, VaultFacts};
use tenure_trust::{About, AreaName, GenerationId, Hash, MachineRole, SlotId};

use crate::judged::publish;
use crate::world::{Machine, World, example_set, host};

/// Days of copies before today.
const DAYS: i32 = 6;

fn sections() -> Vec<SeriesSection> {
    example_set().host_policy(&host("web1")).unwrap().backup.unwrap().series
}

fn slots(section: &SeriesSection, back: i32, now: Timestamp) -> impl Iterator<Item = SlotId> {
    let date = Zone::named("Europe/Amsterdam").unwrap().date_of(now).checked_sub(back.days()).unwrap();
    let series = section.series.clone();
    section.at.iter().map(move |at| SlotId { series: series.clone(), date, at: *at, manual: false })
}

fn seal(slot: &SlotId) -> Hash {
    Hash::of(slot.to_string().as_bytes())
}

/// What the host tells: the copies of so many days, and a list that copies by hand have filled.
fn told(days: i32, now: Timestamp) -> Value {
    let sealed = |slot: SlotId| {
        let (seal, at, unreadable) = (seal(&slot), now, 0);
        let state = HostSlotState::Sealed(HostSeal { seal, snapshot: seal, root: seal, at, unreadable });
        HostSlot { slot, state }
    };
    let sections = sections();
    let days = (1..=days).flat_map(|back| sections.iter().flat_map(move |one| slots(one, back, now)));
    let mut all: Vec<HostSlot> = days.map(sealed).collect();
    let first = slots(&sections[0], 0, now).next().unwrap();
    all.extend((0..SLOTS_TOLD).map(|n| {
        let at = format!("{:02}:{:02}", n / 60, n % 60).parse().unwrap();
        HostSlot { slot: SlotId { at, manual: true, ..first.clone() }, state: HostSlotState::Missed }
    }));
    let machine = |what: &str| Some(Hash::of(what.as_bytes()));
    let facts = HostBackups {
        slots: all,
        machine: machine("web1"),
        boot: machine("boot of web1"),
        ..HostBackups::default()
    };
    json!({
        "area": "backup", "mode": "enforce", "observed_at": now, "verdict": "compliant", "facts": facts,
        "plan": null, "findings": [], "mended": [], "done": [], "pending": null, "refusal": null, "unknown": null,
    })
}

/// What the vault holds, every seal in it named so.
fn held(now: Timestamp, seal: impl Fn(&SlotId) -> Hash) -> Value {
    let generation = |section: &SeriesSection, back| {
        let sealed = |slot: SlotId| SealedSlot {
            seal: seal(&slot),
            snapshot: seal(&slot),
            root: seal(&slot),
            slot,
            sequence: 17,
            received: now,
            unreadable: 0,
        };
        let slots: Vec<SealedSlot> = slots(section, back, now).map(sealed).collect();
        let id = GenerationId { date: slots[0].slot.date, number: 1 };
        let state = GenerationState::Current;
        GenerationFacts { id, state, opened: now, closed: Some(now), slots, objects: 1, bytes: 1 }
    };
    let series = |section: &SeriesSection| SeriesFacts {
        series: section.series.clone(),
        generations: (1..=DAYS).rev().map(|back| generation(section, back)).collect(),
    };
    let facts = VaultFacts {
        schema: 1,
        series: sections().iter().map(series).collect(),
        free_bytes: 1 << 40,
        total_bytes: 4 << 40,
        machine: Hash::of(b"vault1"),
        boot: Hash::of(b"boot of vault1"),
        pages: Vec::new(),
    };
    json!({ "facts": facts })
}

async fn send(machine: &mut Machine, area: &str, payload: &Value) {
    let about = About::Area(AreaName::new(area).unwrap());
    let line = machine.about(about, payload.to_string().as_bytes());
    assert_eq!(machine.send(&[line]).await.status, 200);
}

/// How many cells of the week have this sign.
async fn cells(world: &World, sign: &str) -> usize {
    let view = world.operator().await.get("/api/v1/backups").await.json();
    let rows = view["backups"]["rows"].as_array().unwrap_or_else(|| panic!("{view}"));
    let days = rows.iter().flat_map(|row| row["days"].as_array().unwrap());
    days.flat_map(|day| day.as_array().unwrap()).filter(|cell| cell["sign"] == sign).count()
}

#[tokio::test]
async fn what_a_host_cannot_say_again_stays_agreed_over_restarts() {
    let mut world = World::new().await;
    publish(&world).await;
    let mut web1 = world.admitted("web1", MachineRole::Host).await;
    let mut vault = world.admitted("vault1", MachineRole::Vault).await;
    let now = world.app.now();
    let slots: usize = sections().iter().map(|one| one.at.len()).sum::<usize>() * DAYS as usize;

    // The host's list has room for two days only, and nobody has heard more of it.
    send(&mut vault, "vault", &held(now, seal)).await;
    send(&mut web1, "backup", &told(2, now)).await;
    let two_days = slots / DAYS as usize * 2;
    assert_eq!((cells(&world, "sealed").await, cells(&world, "unknown").await), (two_days, slots - two_days));

    // It has told of all of them once.
    send(&mut web1, "backup", &told(DAYS, now)).await;
    assert_eq!((cells(&world, "sealed").await, cells(&world, "unknown").await), (slots, 0));
    send(&mut web1, "backup", &told(2, now)).await;
    assert_eq!((cells(&world, "sealed").await, cells(&world, "unknown").await), (slots, 0));
    world.restart().await;
    assert_eq!((cells(&world, "sealed").await, cells(&world, "unknown").await), (slots, 0));
    let kept = world.app.store.agreed(&Access::Itself).await.unwrap();
    assert_eq!(kept.values().map(std::collections::BTreeMap::len).sum::<usize>(), slots);

    // The vault shows another copy of each under the old name.
    vault.certify(&world).await;
    send(&mut vault, "vault", &held(now, |slot| Hash::of(seal(slot).as_bytes()))).await;
    assert_eq!((cells(&world, "sealed").await, cells(&world, "unknown").await), (0, slots));
    assert!(world.app.store.agreed(&Access::Itself).await.unwrap().is_empty(), "each was denied");
}
