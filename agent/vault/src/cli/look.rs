//! `status` and `generations`: what lies in the store by its journals. They only read, beside a vault at work.

use std::path::{Path, PathBuf};

use serde::Serialize;
use tenure_link::BundleStore;
use tenure_policy::bundles::VaultPolicy;
use tenure_sys::lock::{Lock, LockError};
use tenure_sys::{clock, text};
use tenure_trust::vault_wire::{AsideReason, GenerationFacts, GenerationState};
use tenure_trust::{SeriesId, Verified};

use super::output::{Output, size};
use super::{Exit, Failure};
use crate::config::Config;
use crate::policy::is_unheld;
use crate::run::Paths;
use crate::store::{self, Seen};

/// The way back for what was set aside.
const CLEARED: &str = "what is set aside with an accepted slot becomes current by `tenure clear SERIES GENERATION \
    --reason TEXT`, where the order keys are";

#[derive(Serialize)]
struct Status {
    running: bool,
    vault: String,
    version: Option<u64>,
    until: Option<jiff::Timestamp>,
    store: PathBuf,
    free_bytes: Option<u64>,
    keep_free_bytes: u64,
    series: Vec<Row>,
}

#[derive(Serialize)]
struct Row {
    series: String,
    /// Cells with a copy.
    cells: usize,
    generations: usize,
    /// When the last slot was accepted.
    last: Option<jiff::Timestamp>,
    aside: usize,
    bytes: u64,
    /// Why nothing of it is changed, if that is so.
    damaged: Option<String>,
}

/// How everything stands.
pub(super) fn status(config: &Path, paths: &Paths, out: Output) -> Result<Exit, Failure> {
    let policy = policy(config, paths)?;
    let root = PathBuf::from(policy.store.as_str());
    let seen = store::look(&root, &policy.vault).map_err(|e| Failure::of("cannot read the store", &e))?;
    // A series of the policy in which nothing was ever put is shown too.
    let missing = policy.series.iter().map(|s| &s.series).filter(|id| !seen.iter().any(|s| s.id == **id));
    let mut rows: Vec<Row> = seen.iter().map(row).collect();
    rows.extend(missing.map(Row::empty));
    rows.sort_by(|a, b| a.series.cmp(&b.series));
    let running = matches!(Lock::take(&paths.state.join("lock")), Err(LockError::Held { .. }));
    let free = rustix::fs::statvfs(&root).ok().map(|s| s.f_bavail.saturating_mul(s.f_frsize));
    let status = Status {
        running,
        vault: policy.vault.to_string(),
        version: policy.version().map(|v| v.0),
        until: policy.until(),
        store: root,
        free_bytes: free,
        keep_free_bytes: policy.keep_free_bytes,
        series: rows,
    };
    let clean = running && status.series.iter().all(|r| r.cells > 0 && r.damaged.is_none());
    out.document(&status);
    let state = if running { "running" } else { "not running" };
    let version = status.version.map_or("unsigned".into(), |v| format!("policy version {v}"));
    out.line(&format!("vault {} {state}, {version}", status.vault));
    out.line(&format!(
        "store {}: {} free, {} stay free",
        text::path(&status.store),
        status.free_bytes.map_or("unknown".into(), size),
        size(status.keep_free_bytes)
    ));
    let cells = |r: &Row| match &r.damaged {
        Some(why) => vec![r.series.clone(), "unknown".into(), "-".into(), "-".into(), why.clone()],
        None => vec![
            r.series.clone(),
            format!("{} of 7", r.cells),
            r.last.map_or("never".into(), |at| at.to_string()),
            size(r.bytes),
            if r.aside > 0 { format!("{} set aside", r.aside) } else { String::new() },
        ],
    };
    let rows: Vec<Vec<String>> = status.series.iter().map(cells).collect();
    out.table(&["SERIES", "CELLS", "LAST ACCEPTED", "BYTES", ""], &rows);
    if status.series.iter().any(|r| r.aside > 0) {
        out.line(CLEARED);
    }
    Ok(if clean { Exit::Clean } else { Exit::Unknown })
}

#[derive(Serialize)]
struct Series<'a> {
    series: &'a SeriesId,
    generations: Vec<GenerationFacts>,
}

/// Every generation, or those of one series.
pub(super) fn generations(
    config: &Path,
    paths: &Paths,
    series: Option<&str>,
    out: Output,
) -> Result<Exit, Failure> {
    let policy = policy(config, paths)?;
    let root = PathBuf::from(policy.store.as_str());
    let mut seen = store::look(&root, &policy.vault).map_err(|e| Failure::of("cannot read the store", &e))?;
    if let Some(wanted) = series {
        let known: Vec<String> = seen.iter().map(|s| s.id.path()).collect();
        seen.retain(|s| s.id.path() == wanted);
        if seen.is_empty() {
            let hint = format!("series here: {}", known.join(", "));
            return Err(Failure::new(format!("there is no series {wanted}")).hint(hint));
        }
    }
    let all: Vec<Series<'_>> =
        seen.iter().map(|s| Series { series: &s.id, generations: s.ring.facts(&s.id, |_| None) }).collect();
    out.document(&all);
    let rows: Vec<Vec<String>> = all
        .iter()
        .flat_map(|s| {
            s.generations.iter().map(|g| {
                let slots: Vec<String> = g.slots.iter().map(|slot| slot.slot.at.to_string()).collect();
                let slots = if slots.is_empty() { "none".into() } else { slots.join(" ") };
                vec![s.series.path(), g.id.to_string(), word(g.state).into(), slots, size(g.bytes)]
            })
        })
        .collect();
    out.table(&["SERIES", "GENERATION", "STATE", "ACCEPTED", "BYTES"], &rows);
    if seen.iter().map(row).any(|r| r.aside > 0) {
        out.line(CLEARED);
    }
    Ok(Exit::Clean)
}

fn word(state: GenerationState) -> &'static str {
    match state {
        GenerationState::Candidate => "open",
        GenerationState::Current => "current",
        GenerationState::Aside(AsideReason::Failed) => "set aside: nothing accepted",
        GenerationState::Aside(AsideReason::Partial) => "set aside: files unread",
        GenerationState::Aside(AsideReason::Anomalous) => "set aside: far smaller",
        GenerationState::Aside(AsideReason::Replaced) => "set aside: key lost",
        GenerationState::Aside(AsideReason::Spoilt) => "set aside: a part is lost on this disk",
        GenerationState::Trash => "superseded",
        GenerationState::Erasing => "being erased",
    }
}

fn row(seen: &Seen) -> Row {
    let facts = seen.ring.facts(&seen.id, |_| None);
    let with = |wanted: fn(&GenerationState) -> bool| facts.iter().filter(|g| wanted(&g.state)).count();
    Row {
        series: seen.id.path(),
        cells: with(|state| matches!(state, GenerationState::Current)),
        generations: facts.len(),
        last: facts.iter().flat_map(|g| &g.slots).map(|slot| slot.received).max(),
        aside: with(|state| matches!(state, GenerationState::Aside(_))),
        bytes: facts.iter().map(|g| g.bytes).sum(),
        damaged: seen.damaged.clone(),
    }
}

impl Row {
    fn empty(id: &SeriesId) -> Self {
        let series = id.path();
        Self { series, cells: 0, generations: 0, last: None, aside: 0, bytes: 0, damaged: None }
    }
}

fn policy(config: &Path, paths: &Paths) -> Result<Verified<VaultPolicy>, Failure> {
    let config = Config::read(config)?;
    let places = paths.places();
    let held = BundleStore::open(&places, config.host)
        .and_then(|store| store.held::<VaultPolicy>(clock::wall()))
        .map_err(|e| match is_unheld(&e) {
            true => Failure::of("this vault goes without a policy: the one that was taken is not kept", &e)
                .hint("publish a set signed under the root that stands here: the vault takes it by itself")
                .exit(Exit::Unknown),
            false => {
                Failure::of("cannot read the policy that was taken", &e).hint(e.hint()).exit(Exit::Config)
            }
        })?;
    held.ok_or_else(|| {
        Failure::new("this vault has taken no policy yet")
            .hint("start it with `systemctl start tenure-vault`; it takes what lies in its drop directory")
            .exit(Exit::Unknown)
    })
}
