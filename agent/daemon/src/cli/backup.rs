//! `backup run|list|restore|drill`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, Subcommand};
use jiff::Timestamp;
use serde::Serialize;
use tenure_areas::backup::NAMES;
use tenure_areas::backup::facts::{RunRequest, SealFact};
use tenure_areas::backup::journal::{self, Standing};
use tenure_areas::backup::spec::{JOBS, JobSpec};
use tenure_areas::port::{Beneath, HostRead, Owner, PortError};
use tenure_backup::drill::{Drill, drill};
use tenure_backup::machine::Machine;
use tenure_backup::reading::{self, Which};
use tenure_backup::transport::Link;
use tenure_policy::bundles::{BackupSection, DumpSection, SeriesSection, VaultPlace};
use tenure_policy::resolved::HostPolicy;
use tenure_sys::clock;
use tenure_sys::progress::Progress;
use tenure_trust::{SeriesId, SetName};

use super::job::{failed, machine};
use super::look::{configured, unexpected};
use super::{Exit, Failure};
use crate::config::Config;
use crate::linux::{ChangeLog, LinuxHost};
use crate::output::Output;
use crate::paths::Paths;
use crate::socket::client::ask;
use crate::socket::wire::{Answer, Request};

/// How often a run's journal is looked at.
const LOOK: Duration = Duration::from_millis(200);
/// A request that no pass has begun for so long is not waited for.
const BEGIN: Duration = Duration::from_secs(13 * 3600);

#[derive(Debug, Subcommand)]
pub(super) enum BackupCommand {
    /// Make a copy now: of a series, of a set, or of everything; waits for its end
    Run {
        /// `server`, `nightly`, or a series as OWNER/HOST/SET
        which: Option<String>,
    },
    /// Show the copies that the vault holds of this host
    List,
    /// Restore a copy, or a part of it, into an empty directory
    Restore(RestoreArgs),
    /// Restore the newest dump into a scratch server and compare it with what was dumped; the server runs as the account
    /// tenure-drill and reaches nothing else of the host
    Drill {
        /// The database's name in the policy; every dumped one when none is named
        #[arg(long, value_name = "NAME")]
        database: Option<String>,
    },
}

#[derive(Debug, Args)]
pub(super) struct RestoreArgs {
    /// The series as OWNER/HOST/SET; the host's own server set when none is named
    series: Option<String>,
    /// restic's id of the snapshot, or its beginning; the newest when none is named
    #[arg(long, value_name = "ID", conflicts_with = "at")]
    snapshot: Option<String>,
    /// The newest copy that the vault had taken by then, RFC 3339
    #[arg(long, value_name = "TIME")]
    at: Option<Timestamp>,
    /// Only this path and what is below it; can be repeated
    #[arg(long, value_name = "PATH")]
    path: Vec<PathBuf>,
    /// An empty directory, or one that does not exist yet
    #[arg(long, value_name = "DIR")]
    to: PathBuf,
}

pub(super) fn backup(config: &Path, command: &BackupCommand, out: Output) -> Result<Exit, Failure> {
    match command {
        BackupCommand::Run { which } => run(which.as_deref(), out),
        BackupCommand::List => list(&Host::of(config)?, out),
        BackupCommand::Restore(args) => restore(&Host::of(config)?, args, out),
        BackupCommand::Drill { database } => drills(&Host::of(config)?, database.as_deref(), out),
    }
}

/// What the commands that read need.
struct Host {
    machine: Machine,
    policy: HostPolicy,
}

impl Host {
    fn of(config: &Path) -> Result<Self, Failure> {
        let policy = configured(config)?.policy();
        Ok(Self { machine: machine(&Config::read(config)?, &Paths::of_host())?, policy })
    }

    fn section(&self) -> Result<&BackupSection, Failure> {
        self.policy.backup.as_ref().ok_or_else(|| Failure::new("the policy backs up nothing on this host"))
    }

    fn place(&self, series: &SeriesId) -> Result<&VaultPlace, Failure> {
        let place = self.section()?.vaults.get(&series.vault);
        place.ok_or_else(|| {
            Failure::new(format!("the policy does not say where the vault {} is", series.vault))
        })
    }

    fn series(&self, path: Option<&str>) -> Result<&SeriesSection, Failure> {
        let all = &self.section()?.series;
        let found = match path {
            Some(path) => all.iter().find(|s| s.series.path() == path),
            None => all.first(),
        };
        found.ok_or_else(|| {
            let names: Vec<String> = all.iter().map(|s| s.series.path()).collect();
            Failure::new("no such series on this host").hint(format!("there are: {}", names.join(", ")))
        })
    }
}

#[derive(Serialize)]
struct Ran {
    series: String,
    run: Option<String>,
    sealed: Option<SealFact>,
    failed: Option<String>,
}

fn run(which: Option<&str>, out: Output) -> Result<Exit, Failure> {
    let request = Request::Backup { which: which.map(str::to_owned) };
    let requests = match ask(&Paths::of_host().socket(), &request)? {
        Answer::Asked { requests } => requests,
        answer => return Err(unexpected(answer)),
    };
    let host = LinuxHost::new(ChangeLog::new());
    let progress = out.progress("waiting for the agent");
    let mut ran = Vec::new();
    for request in &requests {
        ran.push(follow(&host, request, &progress)?);
    }
    drop(progress);
    out.document(&ran);
    for one in &ran {
        match (&one.sealed, &one.failed) {
            (Some(seal), _) => {
                let lacks = match seal.unreadable {
                    0 => String::new(),
                    n => format!(", WITHOUT {n} files that could not be read"),
                };
                let line = format!(
                    "{}: snapshot {} in {}{lacks}",
                    one.series,
                    short(&seal.snapshot),
                    seal.generation
                );
                out.line(&line);
            }
            (None, why) => {
                out.line(&format!("{}: FAILED: {}", one.series, why.as_deref().unwrap_or("unknown")))
            }
        }
    }
    Ok(if ran.iter().all(|one| one.sealed.is_some()) { Exit::Clean } else { Exit::Error })
}

/// Waits for the end of the run that fills a request.
fn follow(host: &LinuxHost, request: &RunRequest, progress: &Progress) -> Result<Ran, Failure> {
    let series = request.series.path();
    let until = clock::monotonic() + BEGIN;
    let gone = |why: &str| Ran { series: series.clone(), run: None, sealed: None, failed: Some(why.into()) };
    let mut others = BTreeSet::new();
    while clock::monotonic() < until {
        let waits = request_waits(host, request)?;
        if let Some(spec) = spec_of(host, request, &mut others)? {
            let lines = read_journal(host, &spec)?;
            let step = lines.last().map_or("beginning", |line| line.step.word());
            progress.say(&format!("{series}: {step}"));
            let run = Some(spec.run.to_string());
            match journal::standing(&lines) {
                Standing::Sealed(seal) => {
                    return Ok(Ran { series, run, sealed: Some(seal), failed: None });
                }
                Standing::Failed { why, .. } => {
                    return Ok(Ran { series, run, sealed: None, failed: Some(why) });
                }
                Standing::Begun { .. } => {}
            }
        } else if !waits {
            return Ok(gone("the agent gave the request up; look at `tenure-agent status`"));
        } else {
            progress.say(&format!("{series}: waiting for its turn"));
        }
        std::thread::sleep(LOOK);
    }
    Ok(gone("nothing came of it"))
}

fn request_waits(host: &LinuxHost, request: &RunRequest) -> Result<bool, Failure> {
    let path = Beneath::new(tenure_areas::backup::REQUESTS, format!("{}.json", request.id));
    match host.stat(&path) {
        Ok(_) => Ok(true),
        Err(PortError::Absent { .. }) => Ok(false),
        Err(e) => Err(Failure::of("cannot look at the request", &e)),
    }
}

/// The run of a request, the newest first; what is another's is read once.
fn spec_of(
    host: &LinuxHost,
    request: &RunRequest,
    others: &mut BTreeSet<String>,
) -> Result<Option<JobSpec>, Failure> {
    let entries = match host.dir(&Beneath::new(JOBS, ""), NAMES) {
        Ok(entries) => entries,
        Err(PortError::Absent { .. }) => return Ok(None),
        Err(e) => return Err(Failure::of("cannot list the jobs", &e)),
    };
    let names = entries.into_iter().rev().map(|e| e.name);
    for name in names.filter(|name| name.ends_with(".json") && !name.starts_with('.')) {
        if others.contains(&name) {
            continue;
        }
        let Ok(bytes) = host.file(&Beneath::new(JOBS, name.clone()), Owner::Root, 1 << 20) else { continue };
        match serde_json::from_slice::<JobSpec>(&bytes) {
            Ok(spec) if spec.request.as_ref() == Some(&request.id) => return Ok(Some(spec)),
            Ok(_) => drop(others.insert(name)),
            Err(_) => {}
        }
    }
    Ok(None)
}

fn read_journal(host: &LinuxHost, spec: &JobSpec) -> Result<Vec<journal::Line>, Failure> {
    match host.file(&Beneath::of(&JobSpec::journal(&spec.run)), Owner::Root, journal::JOURNAL_LIMIT) {
        Ok(bytes) => journal::parse(&bytes).map_err(Failure::new),
        Err(PortError::Absent { .. }) => Ok(Vec::new()),
        Err(e) => Err(Failure::of("cannot read the job's journal", &e)),
    }
}

#[derive(Serialize)]
struct Listed {
    series: String,
    slot: String,
    by_hand: bool,
    generation: String,
    snapshot: String,
    received: Timestamp,
    unreadable: u64,
    openable: bool,
}

fn list(host: &Host, out: Output) -> Result<Exit, Failure> {
    let mut listed = Vec::new();
    let progress = out.progress("asking the vault");
    for (vault, place) in &host.section()?.vaults {
        let link = Link::connect(&host.machine, place).map_err(failed)?;
        let series = host.section()?.series.iter().filter(|s| s.series.vault == *vault);
        for series in series {
            for copy in reading::copies(&link, &host.machine, &series.series).map_err(failed)? {
                listed.push(Listed {
                    series: series.series.path(),
                    slot: format!("{} {}", copy.sealed.slot.date, copy.sealed.slot.at),
                    by_hand: copy.sealed.slot.manual,
                    generation: copy.generation.to_string(),
                    snapshot: copy.sealed.snapshot.to_string(),
                    received: copy.sealed.received,
                    unreadable: copy.sealed.unreadable,
                    openable: copy.openable,
                });
            }
        }
    }
    drop(progress);
    out.document(&listed);
    let row = |l: &Listed| {
        let mut notes = Vec::new();
        if l.by_hand {
            notes.push("by hand".to_owned());
        }
        if l.unreadable > 0 {
            notes.push(format!("{} files unreadable", l.unreadable));
        }
        if !l.openable {
            notes.push("no key on this host".into());
        }
        let id = l.snapshot.get(..8).unwrap_or_default().to_owned();
        vec![l.series.clone(), l.slot.clone(), id, l.received.to_string(), notes.join(", ")]
    };
    let rows: Vec<Vec<String>> = listed.iter().map(row).collect();
    out.table(&["SERIES", "SLOT", "SNAPSHOT", "TAKEN BY THE VAULT", ""], &rows);
    if listed.is_empty() {
        out.line("the vault holds no copy of this host yet");
    }
    Ok(Exit::Clean)
}

#[derive(Serialize)]
struct Restored {
    series: String,
    snapshot: String,
    files: u64,
    bytes: u64,
    failed: u64,
}

fn restore(host: &Host, args: &RestoreArgs, out: Output) -> Result<Exit, Failure> {
    let series = &host.series(args.series.as_deref())?.series;
    let which = match (&args.snapshot, args.at) {
        (Some(id), _) => Which::Snapshot(id.clone()),
        (None, Some(at)) => Which::At(at),
        (None, None) => Which::Newest,
    };
    let to = super::look::absolute(&args.to)?;
    let progress = out.progress("restoring");
    let (copy, report) =
        reading::restore(&host.machine, host.place(series)?, series, &which, &args.path, &to)
            .map_err(failed)?;
    drop(progress);
    let restored = Restored {
        series: series.path(),
        snapshot: copy.sealed.snapshot.to_string(),
        files: report.files,
        bytes: report.bytes,
        failed: report.failed,
    };
    out.document(&restored);
    for lack in report.lacks.iter().take(20) {
        out.line(&format!("not as it was: {}: {}", lack.path.display(), lack.why));
    }
    out.line(&format!(
        "{} files, {} bytes of {} {} in {}",
        report.files,
        report.bytes,
        series.path(),
        short(&copy.sealed.snapshot),
        to.display()
    ));
    Ok(if report.failed == 0 { Exit::Clean } else { Exit::Error })
}

fn drills(host: &Host, database: Option<&str>, out: Output) -> Result<Exit, Failure> {
    let section = host.section()?;
    let expect = section.drill.as_ref().map(|drill| drill.expect.as_slice()).unwrap_or_default();
    // Of a database that both sets dump, the nightly one is taken: it is the one that is promised.
    let is_nightly = |one: &&SeriesSection| one.series.set == SetName::Nightly;
    let (nightly, server): (Vec<_>, Vec<_>) = section.series.iter().rev().partition(is_nightly);
    let mut found = Vec::new();
    for series in nightly.into_iter().chain(server) {
        for dump in &series.dumps {
            let named = database.is_none_or(|name| name == dump.database.as_str());
            let known = |(s, d): &(&SeriesSection, &DumpSection)| {
                d.database == dump.database && s.series.owner == series.series.owner
            };
            if named && !found.iter().any(known) {
                found.push((series, dump));
            }
        }
    }
    if found.is_empty() {
        return Err(Failure::new("no such database is dumped on this host"));
    }
    let mut facts = Vec::new();
    for (series, dump) in found {
        let progress = out.progress(&format!("drilling {} of {}", dump.database, series.series.path()));
        let (place, databases) = (host.place(&series.series)?, &section.databases);
        let asked = Drill { series: &series.series, place, dump, databases, expect };
        facts.push(drill(&host.machine, &asked).map_err(failed)?);
        drop(progress);
    }
    out.document(&facts);
    for fact in &facts {
        let word = if fact.held { "held" } else { "NOT HELD" };
        out.line(&format!("{word}: {} ({:.1} min)", fact.what, fact.took_ms as f64 / 60_000.0));
    }
    Ok(if facts.iter().all(|fact| fact.held) { Exit::Clean } else { Exit::Error })
}

fn short(hash: &tenure_trust::Hash) -> String {
    hash.to_string().get(..8).unwrap_or_default().to_owned()
}
