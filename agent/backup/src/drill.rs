//! A drill: a dump out of the vault, restored into a scratch server that only this drill can reach, and every table's rows
//! compared with those that were counted in the dump's own snapshot.

use std::fs::{DirBuilder, File, OpenOptions};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use tenure_areas::backup::facts::DrillFact;
use tenure_policy::bundles::{DrillExpectation, DumpSection, VaultPlace};
use tenure_sys::clock;
use tenure_sys::files::{Put, Roots};
use tenure_trust::{Hash, SeriesId};

use crate::dump::FOLDER;
use crate::engine;
use crate::error::BackupError;
use crate::keys::private_dir;
use crate::machine::Machine;
use crate::postgres::{Counts, Postgres, Session, quoted};
use crate::reading::{self, Which};
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
    /// What the restored data must show beside the counts.
    pub expect: &'a [DrillExpectation],
}

/// Restores the newest dump and compares. That something differs is a result and no error.
///
/// # Errors
/// Whatever keeps the drill from comparing; it counts as not held, and is written down too.
pub fn drill(machine: &Machine, drill: &Drill<'_>) -> Result<DrillFact, BackupError> {
    let began = clock::monotonic();
    let link = Link::connect(machine, drill.place)?;
    let copies = reading::copies(&link, machine, drill.series)?;
    let copy =
        reading::choose(&copies, &Which::Newest).ok_or_else(|| BackupError::NoCopy(drill.series.clone()))?;
    let result = reading::with_copy(&link, machine, drill.series, copy, |repository, snapshot| {
        restored(repository, snapshot, drill)
    });
    let took_ms = u64::try_from((clock::monotonic() - began).as_millis()).unwrap_or(u64::MAX);
    let (held, what, tables, rows) = match &result {
        Ok(Compared { differences, tables, rows }) if differences.is_empty() => (
            true,
            format!("{}: {tables} tables with {rows} rows are as they were dumped", drill.dump.database),
            *tables,
            *rows,
        ),
        Ok(Compared { differences, tables, rows }) => {
            let named: Vec<&str> = differences.iter().take(NAMED).map(String::as_str).collect();
            let what =
                format!("{}: {} differences: {}", drill.dump.database, differences.len(), named.join("; "));
            (false, what, *tables, *rows)
        }
        Err(why) => (false, format!("{}: {}", drill.dump.database, why.told()), 0, 0),
    };
    let fact = DrillFact {
        at: clock::wall(),
        held,
        what: tenure_sys::text::neutral(what.as_bytes(), 500),
        took_ms,
        slot: copy.sealed.slot.clone(),
        tables,
        rows,
    };
    note(&machine.state, &fact)?;
    result.map(|_| fact)
}

struct Compared {
    differences: Vec<String>,
    tables: u64,
    rows: u64,
}

fn restored(
    repository: &engine::Repository<'_>,
    snapshot: &Hash,
    drill: &Drill<'_>,
) -> Result<Compared, BackupError> {
    let postgres = Postgres::find()?;
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
    let scratch = Scratch::make(&postgres)?;
    let dump = scratch.dir.join("dump");
    let mut file = OpenOptions::new();
    let mut file =
        file.write(true).create_new(true).mode(0o600).open(&dump).map_err(BackupError::io("make", &dump))?;
    engine::dump(repository, snapshot, &inside(format!("{name}.pgdump")), &mut file)?;
    scratch.start()?;
    let dump = File::open(&dump).map_err(BackupError::io("open", &dump))?;
    postgres.restore(&scratch.dir, "postgres", dump)?;
    let mut session = postgres.session(&scratch.dir, "postgres")?;
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
    let names: std::collections::BTreeSet<&String> = dumped.keys().chain(found.keys()).collect();
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
            "SELECT coalesce(ceil(extract(epoch FROM now() - max({})))::bigint::text, 'none') FROM {from}",
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

/// A server of its own: no TCP, a socket in its own directory, gone when this goes.
struct Scratch<'a> {
    postgres: &'a Postgres,
    dir: PathBuf,
}

impl<'a> Scratch<'a> {
    fn make(postgres: &'a Postgres) -> Result<Self, BackupError> {
        let mut tag = [0; 8];
        getrandom::fill(&mut tag)?;
        let dir = PathBuf::from(format!("/var/tmp/tenure-drill-{}", hex::encode(tag)));
        DirBuilder::new().mode(0o700).create(&dir).map_err(BackupError::io("make", &dir))?;
        let scratch = Self { postgres, dir };
        let (uid, gid) = postgres.user;
        std::os::unix::fs::chown(&scratch.dir, Some(uid), Some(gid))
            .map_err(BackupError::io("give away", &scratch.dir))?;
        Ok(scratch)
    }

    fn data(&self) -> String {
        self.dir.join("data").display().to_string()
    }

    fn start(&self) -> Result<(), BackupError> {
        let text = |list: &[&str]| list.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>();
        let mut init = text(&["--auth=peer", "--encoding=UTF8", "--no-sync", "-D"]);
        init.push(self.data());
        self.postgres.run("make a scratch server", "initdb", init)?;
        let options = format!(
            "-c listen_addresses='' -c fsync=off -c unix_socket_directories='{}'",
            self.dir.display()
        );
        let mut start = text(&["start", "-w", "-s", "-l", "/dev/null", "-t", "120", "-o", &options, "-D"]);
        start.push(self.data());
        self.postgres.run("start the scratch server", "pg_ctl", start)
    }
}

impl Drop for Scratch<'_> {
    fn drop(&mut self) {
        let stop = ["stop", "-w", "-s", "-m", "immediate", "-D"].map(str::to_owned);
        let mut stop = Vec::from(stop);
        stop.push(self.data());
        // It fails when it never ran.
        let _ = self.postgres.run("end the scratch server", "pg_ctl", stop);
        // What cannot be removed stays in /var/tmp, readable by the database's user only.
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

fn note(state: &Path, fact: &DrillFact) -> Result<(), BackupError> {
    private_dir(state, "backup")?;
    let dir = private_dir(&state.join("backup"), "drills")?;
    let bytes = serde_json::to_vec(fact).map_err(|e| BackupError::Record(e.to_string()))?;
    let path = dir.join(format!("{}.json", fact.at.as_second()));
    Ok(Roots::new([&dir])?.put(&Put::own(&path, &bytes, 0o600))?)
}
