//! The few programs of PostgreSQL that are run: as the user `postgres` through the socket of the policy, or behind the walls
//! of a scratch server.

use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tenure_policy::bundles::{DatabasePlace, DumpSection};
use tenure_sys::command::{self, CommandError, Program};
use tenure_sys::files::{BaseDir, Expect};

use crate::error::BackupError;
use crate::scratch;
use crate::session::Session;

/// Debian's place of the servers' programs, a directory a version.
const LIB: &str = "/usr/lib/postgresql";
/// How long one dump or count may take.
const LONG: Duration = Duration::from_secs(6 * 3600);

/// Where the server's programs are and how they are run.
#[derive(Debug, Clone)]
pub struct Postgres {
    /// `…/bin`.
    bin: PathBuf,
    runs: Runs,
}

#[derive(Debug, Clone)]
enum Runs {
    /// As user and group `postgres`.
    As(u32, u32),
    /// Behind the walls of a scratch server, without these directories.
    Walled(Vec<String>),
}

impl Postgres {
    /// The programs of the newest installed version, for the server of this host.
    ///
    /// # Errors
    /// `Database` when there is none.
    pub fn find() -> Result<Self, BackupError> {
        let (uid, gid) = user("postgres").ok_or_else(|| none("there is no user postgres"))?;
        Ok(Self { bin: newest()?, runs: Runs::As(uid, gid) })
    }

    /// The same programs for a scratch server, which do not see these directories.
    ///
    /// # Errors
    /// `Database` when there is none.
    pub(crate) fn behind_walls(hidden: Vec<String>) -> Result<Self, BackupError> {
        Ok(Self { bin: newest()?, runs: Runs::Walled(hidden) })
    }

    fn program(&self, name: &str, args: Vec<String>) -> Program {
        let path = self.bin.join(name);
        let program = match &self.runs {
            Runs::As(uid, gid) => Program::new(path, args).user(*uid, *gid),
            Runs::Walled(hidden) => scratch::walled(&path, args, hidden, &["--pipe", "--wait"]),
        };
        program.timeout(LONG)
    }

    /// A session on a database; it is gone when this goes.
    ///
    /// # Errors
    /// When it cannot be started, or the server says no.
    pub fn session(&self, socket: &Path, database: &str) -> Result<Session, BackupError> {
        let args =
            ["-X", "-A", "-t", "-q", "-v", "ON_ERROR_STOP=1", "-U", "postgres", "-h"].map(str::to_owned);
        let mut args = Vec::from(args);
        args.extend([socket.display().to_string(), "-d".into(), database.into()]);
        Session::begin(self.program("psql", args), database)
    }

    /// Dumps what a section names, as it stood in the session's snapshot, into an open file of at most `quota` bytes. Its
    /// bytes.
    ///
    /// # Errors
    /// When the program does not end with 0, or the file grows beyond the quota.
    pub fn dump(
        &self,
        place: &DatabasePlace,
        section: &DumpSection,
        snapshot: &str,
        to: File,
        quota: u64,
    ) -> Result<(), BackupError> {
        let mut args: Vec<String> = vec!["-Fc".into(), format!("--snapshot={snapshot}")];
        args.extend(["-h".into(), place.socket.as_str().to_owned()]);
        // A pattern in double quotes is that name and no other.
        args.extend(section.only.iter().flat_map(|schema| ["-n".to_owned(), format!("\"{schema}\"")]));
        args.extend(section.without.iter().flat_map(|schema| ["-N".to_owned(), format!("\"{schema}\"")]));
        args.push(place.postgresql.as_str().to_owned());
        let program = self.program("pg_dump", args).cap(64 << 10);
        command::stream(&program, to, quota).and_then(|out| out.success()).map(drop).map_err(doing("dump"))
    }

    /// Is the dump whole? Its list is read, and then all of it, so that one that was cut short is found.
    ///
    /// # Errors
    /// When it is not.
    pub fn check(&self, dump: &Path) -> Result<(), BackupError> {
        let open = || File::open(dump).map_err(BackupError::io("open", dump));
        let list = self.program("pg_restore", vec!["-l".into()]).cap(64 << 20);
        let list = command::capture_from(&list, open()?).and_then(|out| out.success());
        let list = list.map_err(doing("read the dump's list"))?;
        if !String::from_utf8_lossy(&list).contains("; Archive created at") {
            let database = dump.display().to_string();
            return Err(BackupError::Database { database, what: "its dump has no list".into() });
        }
        let all = self.program("pg_restore", vec!["--file=/dev/null".into()]).cap(64 << 10);
        let all = command::capture_from(&all, open()?).and_then(|out| out.success());
        all.map(drop).map_err(doing("read the whole dump"))
    }

    /// Restores a dump into a database; roles and grants of the old server are left out.
    ///
    /// # Errors
    /// When the program finds any fault.
    pub fn restore(&self, socket: &Path, database: &str, dump: File) -> Result<(), BackupError> {
        let args =
            ["--no-owner", "--no-privileges", "--exit-on-error", "-U", "postgres", "-h"].map(str::to_owned);
        let mut args = Vec::from(args);
        args.extend([socket.display().to_string(), "-d".into(), database.into()]);
        let program = self.program("pg_restore", args);
        let restored = command::capture_from(&program, dump).and_then(|out| out.success());
        restored.map(drop).map_err(doing("restore the dump"))
    }

    /// Runs another program of the server, such as `initdb`.
    ///
    /// # Errors
    /// When it does not end with 0.
    pub fn run(&self, what: &'static str, name: &str, args: Vec<String>) -> Result<(), BackupError> {
        let program = self.program(name, args).timeout(Duration::from_secs(300));
        command::capture(&program).and_then(|out| out.success()).map(drop).map_err(doing(what))
    }

    /// Starts a scratch server; it serves once this returns.
    ///
    /// # Errors
    /// When it does not in time, or this is for the server of the host.
    pub(crate) fn serve(&self, what: &'static str, args: Vec<String>) -> Result<(), BackupError> {
        let Runs::Walled(hidden) = &self.runs else { return Err(none("it serves by itself")) };
        let own = [
            "--unit=tenure-drill",
            "--description=Tenure drill: the scratch server",
            "--service-type=notify",
        ];
        let own = [&own[..], &["--property=RemoveIPC=yes", "--property=TimeoutStartSec=120"]].concat();
        let program = scratch::walled(&self.bin.join("postgres"), args, hidden, &own);
        let started = command::capture(&program.timeout(Duration::from_secs(150)));
        started.and_then(|out| out.success()).map(drop).map_err(doing(what))
    }
}

fn none(what: &str) -> BackupError {
    BackupError::Database { database: "postgresql".into(), what: what.into() }
}

fn newest() -> Result<PathBuf, BackupError> {
    let versions = BaseDir::open(Path::new(LIB)).and_then(|dir| dir.list(Path::new("."), 100));
    let versions = versions.map_err(|_| none("no server is installed"))?;
    let number = |name: &std::ffi::OsStr| name.to_str()?.parse::<u32>().ok();
    let newest = versions.iter().filter_map(|e| number(&e.name)).max();
    let newest = newest.ok_or_else(|| none("no server is installed"))?;
    Ok(Path::new(LIB).join(newest.to_string()).join("bin"))
}

pub(crate) fn doing(doing: &'static str) -> impl FnOnce(CommandError) -> BackupError {
    move |source| BackupError::Command { doing, source }
}

/// User and group of an account.
pub fn user(name: &str) -> Option<(u32, u32)> {
    let etc = BaseDir::open(Path::new("/etc")).ok()?;
    let file = etc.read(Path::new("passwd"), &Expect::roots(4 << 20)).ok()?;
    let text = String::from_utf8_lossy(&file.bytes).into_owned();
    text.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next() == Some(name)).then_some(())?;
        let (uid, gid) = (fields.nth(1)?.parse().ok()?, fields.next()?.parse().ok()?);
        Some((uid, gid))
    })
}

/// Device and inode of what stands at a path.
pub fn place_of(path: &Path) -> Option<(u64, u64)> {
    let meta = std::fs::symlink_metadata(path).ok()?;
    Some((meta.dev(), meta.ino()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use tenure_policy::scalars::{AbsolutePath, SqlName};

    use super::*;

    #[test]
    fn a_dump_counts_when_its_program_ended_well_within_its_room() {
        let dir = tempfile::tempdir().unwrap();
        let bin = dir.path().join("pg_dump");
        let postgres = Postgres { bin: dir.path().into(), runs: Runs::As(0, 0) };
        let place = DatabasePlace {
            postgresql: SqlName::new("app").unwrap(),
            socket: AbsolutePath::new("/run/postgresql").unwrap(),
        };
        let section =
            DumpSection { database: SqlName::new("main").unwrap(), only: Vec::new(), without: Vec::new() };
        let dumped = |script: &str, quota| {
            std::fs::write(&bin, format!("#!/bin/sh\n{script}\n")).unwrap();
            std::fs::set_permissions(&bin, std::fs::Permissions::from_mode(0o755)).unwrap();
            let to = File::create(dir.path().join("out")).unwrap();
            postgres.dump(&place, &section, "00000003-1", to, quota).map_err(|why| why.told())
        };
        assert_eq!(dumped("echo all of it", 100), Ok(()));
        let why = dumped("echo all of it; echo connection lost >&2; exit 1", 100).unwrap_err();
        assert!(why.contains("exit code 1: connection lost"), "whole, as it seems, and not: {why}");
        let why = dumped("cat /dev/zero", 100).unwrap_err();
        assert!(why.contains("wrote more than 100 bytes"), "{why}");
    }
}
