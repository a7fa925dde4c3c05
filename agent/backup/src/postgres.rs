//! The few programs of PostgreSQL that are run, as the user `postgres`, through the socket of the policy: dump, check,
//! counts in one snapshot, and a scratch server for drills.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tenure_policy::bundles::{DatabasePlace, DumpSection};
use tenure_sys::command::{self, CommandError, Program};
use tenure_sys::conversation::Conversation;
use tenure_sys::files::{BaseDir, Expect};

use crate::error::BackupError;

/// Debian's place of the servers' programs, a directory a version.
const LIB: &str = "/usr/lib/postgresql";
/// How long one dump or count may take.
const LONG: Duration = Duration::from_secs(6 * 3600);
/// Tables of one database.
const TABLES: usize = 100_000;
/// The end of a list in the conversation.
const END: &str = "[]";

/// Rows of tables, by `schema.table` as JSON names them.
pub type Counts = BTreeMap<String, u64>;

/// The user of the database server and where its programs are.
#[derive(Debug, Clone)]
pub struct Postgres {
    /// `…/bin`.
    pub bin: PathBuf,
    /// User and group `postgres`.
    pub user: (u32, u32),
}

impl Postgres {
    /// Looks for the newest installed version and the user.
    ///
    /// # Errors
    /// `Database` when there is none.
    pub fn find() -> Result<Self, BackupError> {
        let none = |what: &str| BackupError::Database { database: "postgresql".into(), what: what.into() };
        let versions = BaseDir::open(Path::new(LIB)).and_then(|dir| dir.list(Path::new("."), 100));
        let versions = versions.map_err(|_| none("no server is installed"))?;
        let number = |name: &std::ffi::OsStr| name.to_str()?.parse::<u32>().ok();
        let newest = versions.iter().filter_map(|e| number(&e.name)).max();
        let newest = newest.ok_or_else(|| none("no server is installed"))?;
        let user = user("postgres").ok_or_else(|| none("there is no user postgres"))?;
        Ok(Self { bin: Path::new(LIB).join(newest.to_string()).join("bin"), user })
    }

    fn program(&self, name: &str, args: Vec<String>) -> Program {
        Program::new(self.bin.join(name), args).user(self.user.0, self.user.1).timeout(LONG)
    }

    /// A session on a database; it is gone when this goes.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn session(&self, socket: &Path, database: &str) -> Result<Session, BackupError> {
        let args = ["-X", "-A", "-t", "-q", "-v", "ON_ERROR_STOP=1", "-h"].map(str::to_owned);
        let mut args = Vec::from(args);
        args.extend([socket.display().to_string(), "-d".into(), database.into()]);
        let conversation = Conversation::start(self.program("psql", args));
        Ok(Session { database: database.into(), conversation: conversation.map_err(doing("start psql"))? })
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
        let args = ["--no-owner", "--no-privileges", "--exit-on-error", "-h"].map(str::to_owned);
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
}

fn doing(doing: &'static str) -> impl FnOnce(CommandError) -> BackupError {
    move |source| BackupError::Command { doing, source }
}

/// A session of psql in which one snapshot can be held.
#[derive(Debug)]
pub struct Session {
    database: String,
    conversation: Conversation,
}

/// A table's name in its database.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Table(pub String, pub String);

impl Session {
    /// Begins a transaction whose snapshot others can take over; its name.
    ///
    /// # Errors
    /// When the server says no.
    pub fn hold_snapshot(&mut self) -> Result<String, BackupError> {
        self.say(
            "BEGIN TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY;\nSELECT pg_export_snapshot();\n",
        )?;
        let name = self.line()?;
        let plain = |b: u8| b.is_ascii_hexdigit() || b == b'-';
        match !name.is_empty() && name.len() < 64 && name.bytes().all(plain) {
            true => Ok(name),
            false => Err(self.wrong("it gives no snapshot")),
        }
    }

    /// The tables with rows of their own, not of the system and of no extension; of these schemas, or of all but those.
    ///
    /// # Errors
    /// When the server says no.
    pub fn tables(&mut self, section: &DumpSection) -> Result<Vec<Table>, BackupError> {
        self.say(&format!(
            "SELECT json_build_array(n.nspname, c.relname) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
             WHERE c.relkind = 'r' AND c.relpersistence <> 't' AND n.nspname <> 'information_schema' \
             AND n.nspname !~ '^pg_' AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass \
             AND d.objid = c.oid AND d.deptype = 'e') ORDER BY n.nspname, c.relname;\nSELECT '{END}';\n"
        ))?;
        let mut tables = Vec::new();
        loop {
            let line = self.line()?;
            if line == END {
                break;
            }
            let table: Table = serde_json::from_str(&line)
                .map_err(|_| self.wrong("it names a table that cannot be read"))?;
            let named = |list: &[tenure_policy::scalars::SqlName]| list.iter().any(|s| s.as_str() == table.0);
            if (section.only.is_empty() || named(&section.only)) && !named(&section.without) {
                tables.push(table);
            }
            if tables.len() > TABLES {
                return Err(self.wrong("it has more tables than are counted"));
            }
        }
        Ok(tables)
    }

    /// The rows of each table.
    ///
    /// # Errors
    /// When the server says no.
    pub fn count(&mut self, tables: &[Table]) -> Result<Counts, BackupError> {
        let mut counts = Counts::new();
        for table in tables {
            self.say(&format!("SELECT count(*) FROM {}.{};\n", quoted(&table.0), quoted(&table.1)))?;
            let rows = self.line()?.parse().map_err(|_| self.wrong("it gives no count"))?;
            counts.insert(format!("{}.{}", table.0, table.1), rows);
        }
        Ok(counts)
    }

    /// One value of one row, as text.
    ///
    /// # Errors
    /// When the server says no.
    pub fn value(&mut self, query: &str) -> Result<String, BackupError> {
        self.say(&format!("{query};\n"))?;
        self.line()
    }

    /// Every line of a query of one column.
    ///
    /// # Errors
    /// When the server says no.
    pub fn values(&mut self, query: &str) -> Result<Vec<String>, BackupError> {
        self.say(&format!("{query};\nSELECT '{END}';\n"))?;
        let mut values = Vec::new();
        loop {
            match self.line()? {
                line if line == END => return Ok(values),
                line => values.push(line),
            }
        }
    }

    fn say(&mut self, words: &str) -> Result<(), BackupError> {
        self.conversation.say(words).map_err(doing("ask the database"))
    }

    fn line(&mut self) -> Result<String, BackupError> {
        self.conversation.line().map_err(doing("ask the database"))
    }

    fn wrong(&self, what: &str) -> BackupError {
        BackupError::Database { database: self.database.clone(), what: what.into() }
    }
}

/// A name as SQL takes it.
pub fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
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
