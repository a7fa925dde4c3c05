//! A drill: a dump out of the vault, restored into a scratch server that only this drill can reach, and every table's rows
//! compared with those that were counted in the dump's own snapshot.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use tenure_areas::backup::facts::{DrillFact, DrilledDump};
use tenure_policy::bundles::{DatabasePlace, DrillExpectation, DumpSection, VaultPlace};
use tenure_policy::scalars::SqlName;
use tenure_sys::clock;
use tenure_sys::files::{Put, Roots};
use tenure_trust::{Hash, SeriesId, SlotId};

use crate::dump::FOLDER;
use crate::engine;
use crate::error::BackupError;
use crate::keys::private_dir;
use crate::machine::Machine;
use crate::reading::{self, Which};
use crate::scratch::Scratch;
use crate::session::{Counts, Session, quoted};
use crate::transport::Link;

/// The largest list of counts that is read.
const COUNTS: usize = 64 << 20;
/// Differences that a result names.
const NAMED: usize = 5;

/// What is to be tried.
#[derive(Debug, Clone)]
pub struct Drill<'a> {
    /// Out of which series.
    pub series: &'a SeriesId,
    /// Where its vault is.
    pub place: &'a VaultPlace,
    /// Which dump of it.
    pub dump: &'a DumpSection,
    /// The databases of the host, which the scratch server never reaches.
    pub databases: &'a BTreeMap<SqlName, DatabasePlace>,
    /// What the restored data must show beside the counts.
    pub expect: &'a [DrillExpectation],
}

/// Restores the newest dump and compares. That something differs, or keeps the drill from comparing, is a result and no
/// error: it is written down as not held, and the drills of other dumps go on.
///
/// # Errors
/// When the result cannot be written down.
pub fn drill(machine: &Machine, drill: &Drill<'_>) -> Result<DrillFact, BackupError> {
    let began = clock::monotonic();
    let mut slot = None;
    let result = tried(machine, drill, &mut slot);
    let took_ms = u64::try_from((clock::monotonic() - began).as_millis()).unwrap_or(u64::MAX);
    let (held, what, tables, rows) = match result {
        Ok(Compared { differences, tables, rows }) if differences.is_empty() => (
            true,
            format!("{}: {tables} tables with {rows} rows are as they were dumped", drill.dump.database),
            tables,
            rows,
        ),
        Ok(Compared { differences, tables, rows }) => {
            let named: Vec<&str> = differences.iter().take(NAMED).map(String::as_str).collect();
            let what =
                format!("{}: {} differences: {}", drill.dump.database, differences.len(), named.join("; "));
            (false, what, tables, rows)
        }
        Err(why) => (false, format!("{}: {}", drill.dump.database, why.told()), 0, 0),
    };
    let fact = DrillFact {
        at: clock::wall(),
        held,
        what: tenure_sys::text::neutral(what.as_bytes(), 500),
        took_ms,
        dump: Some(DrilledDump { series: drill.series.clone(), database: drill.dump.database.clone() }),
        slot,
        tables,
        rows,
    };
    note(&machine.state, &fact)?;
    Ok(fact)
}

/// Finds the newest copy, whose slot is given as soon as it is known, and restores out of it.
fn tried(machine: &Machine, drill: &Drill<'_>, slot: &mut Option<SlotId>) -> Result<Compared, BackupError> {
    let link = Link::connect(machine, drill.place)?;
    let copies = reading::copies(&link, machine, drill.series)?;
    let copy =
        reading::choose(&copies, &Which::Newest).ok_or_else(|| BackupError::NoCopy(drill.series.clone()))?;
    *slot = Some(copy.sealed.slot.clone());
    reading::with_copy(&link, machine, drill.series, copy, |repository, snapshot| {
        restored(&machine.state, repository, snapshot, drill)
    })
}

struct Compared {
    differences: Vec<String>,
    tables: u64,
    rows: u64,
}

fn restored(
    state: &Path,
    repository: &engine::Repository<'_>,
    snapshot: &Hash,
    drill: &Drill<'_>,
) -> Result<Compared, BackupError> {
    let name = drill.dump.database.as_str();
    let mut counts = Vec::new();
    let inside = |name: String| Path::new(FOLDER).join(name);
    engine::dump(repository, snapshot, &inside(format!("{name}.counts.json")), &mut counts)?;
    if counts.len() > COUNTS {
        return Err(BackupError::Database {
            database: name.into(),
            what: "its list of counts is too long".into(),
        });
    }
    let counts: Counts = serde_json::from_slice(&counts)
        .map_err(|e| BackupError::Database { database: name.into(), what: format!("its counts: {e}") })?;
    let scratch = Scratch::start(state, drill.databases.values())?;
    let spool = Spool::make(state)?;
    engine::dump(repository, snapshot, &inside(format!("{name}.pgdump")), &mut spool.write()?)?;
    scratch.postgres.restore(Scratch::socket(), "postgres", spool.read()?)?;
    let mut session = scratch.postgres.session(Scratch::socket(), "postgres")?;
    let all = DumpSection { database: drill.dump.database.clone(), only: Vec::new(), without: Vec::new() };
    let tables = session.tables(&all)?;
    let found = session.count(&tables)?;
    let mut differences = differences(&counts, &found);
    for expected in drill.expect {
        if let Some(table) = concerns(drill.dump, expected, &found) {
            differences.extend(missed(&mut session, expected, &table, &found)?);
        }
    }
    Ok(Compared { differences, tables: found.len() as u64, rows: found.values().sum() })
}

fn differences(dumped: &Counts, found: &Counts) -> Vec<String> {
    let names: BTreeSet<&String> = dumped.keys().chain(found.keys()).collect();
    let rows =
        |counts: &Counts, name: &String| counts.get(name).map_or("no table".to_owned(), ToString::to_string);
    let differ = names.into_iter().filter(|name| dumped.get(*name) != found.get(*name));
    differ
        .map(|name| format!("{name}: {} dumped, {} restored", rows(dumped, name), rows(found, name)))
        .collect()
}

/// Whether an expectation is about this dump: about a whole database always, about a tenant's part of one when that has
/// such a table. Where it stands: in the first schema of the dump that has it, else in `public`.
fn concerns(dump: &DumpSection, expected: &DrillExpectation, found: &Counts) -> Option<String> {
    let ends = format!(".{}", expected.table);
    let known = found.keys().find(|name| name.ends_with(&ends)).cloned();
    let about = expected.database == dump.database && (dump.only.is_empty() || known.is_some());
    about.then(|| known.unwrap_or_else(|| format!("public{ends}")))
}

/// How an expectation of the policy is not met.
fn missed(
    session: &mut Session,
    expected: &DrillExpectation,
    full: &str,
    found: &Counts,
) -> Result<Vec<String>, BackupError> {
    let (schema, name) = full.split_once('.').unwrap_or(("public", full));
    let Some(rows) = found.get(full) else { return Ok(vec![format!("{full}: no table")]) };
    let mut missed = Vec::new();
    if let Some(least) = expected.at_least_rows.filter(|least| rows < least) {
        missed.push(format!("{full}: {rows} rows, at least {least} expected"));
    }
    if let Some((column, within)) = &expected.newest {
        let from = format!("{}.{}", quoted(schema), quoted(name));
        let age = format!(
            "SELECT coalesce(pg_catalog.ceil(extract(epoch FROM pg_catalog.now() - pg_catalog.max({})))\
             ::pg_catalog.int8::pg_catalog.text, 'none') FROM {from}",
            quoted(column.as_str())
        );
        let age = session.value(&age)?;
        let fresh =
            age.trim().parse::<i64>().is_ok_and(|age| age <= i64::try_from(*within).unwrap_or(i64::MAX));
        if !fresh {
            let age = tenure_sys::text::neutral(age.as_bytes(), 40);
            missed.push(format!("{full}.{column}: the newest is {age} s old, {within} s at most expected"));
        }
    }
    Ok(missed)
}

/// Where the dump stands meanwhile: root's, so that nothing which the dump brings along ever moves it.
struct Spool(PathBuf);

impl Spool {
    fn make(state: &Path) -> Result<Self, BackupError> {
        let spool = private_dir(state, "spool")?;
        let dir = spool.join("drill");
        // A drill that was killed left it; this one holds the lock.
        let _ = std::fs::remove_dir_all(&dir);
        Roots::new([&spool])?.make_dir(&dir, 0o700)?;
        Ok(Self(dir))
    }

    fn write(&self) -> Result<File, BackupError> {
        let path = self.0.join("dump");
        let mut new = OpenOptions::new();
        new.write(true).create_new(true).mode(0o600).open(&path).map_err(BackupError::io("make", &path))
    }

    fn read(&self) -> Result<File, BackupError> {
        let path = self.0.join("dump");
        File::open(&path).map_err(BackupError::io("open", &path))
    }
}

impl Drop for Spool {
    fn drop(&mut self) {
        // What cannot be removed now goes with the next drill.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn note(state: &Path, fact: &DrillFact) -> Result<(), BackupError> {
    private_dir(state, "backup")?;
    let dir = private_dir(&state.join("backup"), "drills")?;
    let bytes = serde_json::to_vec(fact).map_err(|e| BackupError::Record(e.to_string()))?;
    // Drills of two dumps may end within one second.
    let dump = serde_json::to_vec(&fact.dump).map_err(|e| BackupError::Record(e.to_string()))?;
    let tag = Hash::of(&dump).to_string();
    let path = dir.join(format!("{}-{}.json", fact.at.as_second(), tag.get(..8).unwrap_or(&tag)));
    Ok(Roots::new([&dir])?.put(&Put::own(&path, &bytes, 0o600))?)
}
