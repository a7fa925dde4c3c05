//! The dumps of a run: each into a spool of its own from one held snapshot, checked whole before it counts, with the row
//! counts of that same snapshot beside it.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use tenure_areas::backup::spec::JobSpec;
use tenure_sys::files::{Put, Roots};

use crate::engine::VirtualFile;
use crate::error::BackupError;
use crate::keys::private_dir;
use crate::postgres::{Postgres, place_of};
use crate::session::Counts;

/// Where dumps stand in a snapshot.
pub const FOLDER: &str = "/tenure-dumps";
/// This share of the spool's free space is left free.
const LEFT_FREE: u64 = 10;

/// Dumps of a run, in its spool until this goes.
#[derive(Debug)]
pub struct Dumps {
    dir: PathBuf,
    /// Names of the databases in the policy.
    names: Vec<String>,
    /// Bytes of all dumps.
    pub bytes: u64,
}

impl Dumps {
    /// Makes every dump of the run; all or none count.
    ///
    /// # Errors
    /// Whatever keeps one of them from being whole.
    pub fn make(state: &Path, spec: &JobSpec) -> Result<Self, BackupError> {
        let spool = private_dir(state, "spool")?;
        let roots = Roots::new([&spool])?;
        let dir = spool.join(spec.run.as_str());
        let mut dumps = Self { dir: dir.clone(), names: Vec::new(), bytes: 0 };
        // What a run that was killed left is begun anew.
        let _ = std::fs::remove_dir_all(&dir);
        roots.make_dir(&dir, 0o700)?;
        if spec.series.dumps.is_empty() {
            return Ok(dumps);
        }
        let postgres = Postgres::find()?;
        for section in &spec.series.dumps {
            let name = section.database.as_str().to_owned();
            let place = spec.databases.get(&section.database).ok_or_else(|| {
                BackupError::Record(format!("it does not say where the database {name} is"))
            })?;
            let mut session =
                postgres.session(Path::new(place.socket.as_str()), place.postgresql.as_str())?;
            let snapshot = session.hold_snapshot()?;
            let path = dir.join(format!("{name}.pgdump"));
            let file = create(&path)?;
            postgres.dump(place, section, &snapshot, file, quota(&dir)?)?;
            let tables = session.tables(section)?;
            let counts: Counts = session.count(&tables)?;
            drop(session);
            postgres.check(&path)?;
            let text = serde_json::to_vec(&counts).map_err(|e| BackupError::Record(e.to_string()))?;
            roots.put(&Put::own(&dir.join(format!("{name}.counts.json")), &text, 0o600))?;
            dumps.bytes += std::fs::metadata(&path).map_err(BackupError::io("look at", &path))?.len();
            dumps.names.push(name);
        }
        Ok(dumps)
    }

    /// How many.
    pub fn count(&self) -> u32 {
        u32::try_from(self.names.len()).unwrap_or(u32::MAX)
    }

    /// As files of the snapshot.
    ///
    /// # Errors
    /// When one of them cannot be opened.
    pub fn files(&self) -> Result<Vec<VirtualFile>, BackupError> {
        let names =
            self.names.iter().flat_map(|name| [format!("{name}.pgdump"), format!("{name}.counts.json")]);
        let open = |name: String| {
            let path = self.dir.join(&name);
            let file = File::open(&path).map_err(BackupError::io("open", &path))?;
            Ok(VirtualFile { path: Path::new(FOLDER).join(name), file, mode: 0o600 })
        };
        names.map(open).collect()
    }
}

impl Drop for Dumps {
    fn drop(&mut self) {
        // What cannot be removed now goes with the next run of the slot.
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

fn create(path: &Path) -> Result<File, BackupError> {
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .map_err(BackupError::io("make", path))
}

/// Bytes that a dump may have.
fn quota(dir: &Path) -> Result<u64, BackupError> {
    let stat = rustix::fs::statvfs(dir).map_err(|e| BackupError::io("look at", dir)(e.into()))?;
    let free = stat.f_bavail.saturating_mul(stat.f_frsize);
    Ok(free - free / LEFT_FREE)
}

/// What no file set takes: data of database servers (their dumps are taken), swap, core dumps, other hosts' backups, and
/// Tenure's own keys and spool.
pub const NEVER: [&str; 16] = [
    "/var/lib/postgresql",
    "/var/lib/mysql",
    "/var/lib/mongodb",
    "/var/lib/redis",
    "/var/lib/systemd/coredump",
    "/var/crash",
    "/var/lib/tenure-vault",
    "/var/lib/tenure-drill",
    "/var/lib/tenure/keys",
    "/var/lib/tenure/spool",
    "/var/lib/tenure/jobs",
    "/swapfile",
    "/swap.img",
    "/proc",
    "/sys",
    "/dev",
];

/// Servers whose databases this release cannot dump: their data directories, by the server's name.
const UNKNOWN_SERVERS: [(&str, &str); 3] = [
    ("MySQL or MariaDB", "/var/lib/mysql/ibdata1"),
    ("MongoDB", "/var/lib/mongodb/WiredTiger"),
    ("Redis", "/var/lib/redis/dump.rdb"),
];

/// Refuses a server set of a host that has a database which no series dumps.
///
/// # Errors
/// `Undumped`, or when the server that is asked does not answer.
pub fn all_dumped(spec: &JobSpec) -> Result<(), BackupError> {
    for (server, file) in UNKNOWN_SERVERS {
        if place_of(Path::new(file)).is_some() {
            return Err(BackupError::Undumped { what: format!("the data of a {server} server") });
        }
    }
    if place_of(Path::new("/var/run/postgresql")).is_none() || !has_cluster() {
        return Ok(());
    }
    let socket = spec.dumped.first().map_or("/var/run/postgresql", |place| place.socket.as_str());
    let mut session = Postgres::find()?.session(Path::new(socket), "postgres")?;
    let names = session.texts(
        "SELECT pg_catalog.to_json(d.datname::pg_catalog.text) FROM pg_catalog.pg_database d \
         WHERE d.datallowconn AND NOT d.datistemplate AND d.datname <> 'postgres' ORDER BY d.datname",
    )?;
    match names.into_iter().find(|name| !spec.dumped.iter().any(|place| place.postgresql.as_str() == name)) {
        Some(name) => {
            let name = tenure_sys::text::neutral(name.as_bytes(), 100);
            Err(BackupError::Undumped { what: format!("the database {name}") })
        }
        None => Ok(()),
    }
}

/// Is there a cluster of Debian's making?
fn has_cluster() -> bool {
    let dir = tenure_sys::files::BaseDir::open(Path::new("/etc/postgresql"));
    dir.and_then(|dir| dir.list(Path::new("."), 100)).is_ok_and(|list| !list.is_empty())
}
