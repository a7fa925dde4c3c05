//! Everything that the controller keeps: one SQLite database, durable before anything is answered. Every method takes the
//! caller's access first.

mod access;
mod admissions;
mod agreed;
mod drifts;
mod evidence;
mod findings;
mod ingest;
mod orders;
mod people;
mod policy;
mod spent;
mod states;
mod throttle;
mod tokens;

use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};
use sqlx::{Sqlite, Transaction};
use tenure_trust::Hash;

pub use access::{Access, Denied};
pub use admissions::{Enrolled, Redeemed, Redemption};
pub(crate) use agreed::AgreedSlot;
pub use evidence::{ChainHead, HeldRecord, Page, RecordQuery};
pub use findings::{FindingKind, FindingRow};
pub use ingest::{Batch, Outcome};
pub use people::{SessionKind, SessionRow};
pub use policy::{PolicyFiles, SeriesSince};
pub use spent::{Full, Room, Space};
pub use throttle::{Tried, Turn};
pub use tokens::TokenRow;

/// How long a writer waits for another.
const BUSY: Duration = Duration::from_secs(10);
/// Connections at once; reads go beside a write.
const CONNECTIONS: u32 = 8;

/// Why the database did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The caller may not do this.
    #[error(transparent)]
    Denied(#[from] Denied),
    /// The database refused; most often the disk is full.
    #[error("the database failed while {doing}")]
    Database {
        /// What was being done.
        doing: &'static str,
        /// What it said.
        source: sqlx::Error,
    },
    /// The database is of another version, or cannot be made.
    #[error("cannot use the database {}", path.display())]
    Open {
        /// Where it lies.
        path: PathBuf,
        /// What it said.
        source: sqlx::Error,
    },
    /// Something in the database is not what was written there.
    #[error("the database holds a damaged {0}")]
    Damaged(&'static str),
}

impl StoreError {
    /// What a person can do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Denied(_) => "log in as an operator",
            Self::Database { .. } => "check free space and the journal of tenure-controller",
            Self::Open { .. } => {
                "check owner and mode of the state directory, and that this program is not older than it"
            }
            Self::Damaged(_) => {
                "restore the database from a backup; hosts keep their records and send them again"
            }
        }
    }
}

/// The result of a store method.
pub type Stored<T> = Result<T, StoreError>;

/// Turns a database error into one that says what was being done.
pub(crate) fn doing(what: &'static str) -> impl Fn(sqlx::Error) -> StoreError {
    move |source| StoreError::Database { doing: what, source }
}

/// The database.
#[derive(Debug, Clone)]
pub struct Store {
    pool: SqlitePool,
    path: PathBuf,
}

impl Store {
    /// Opens the database in the directory of state, makes it when there is none, and brings its tables up to date.
    ///
    /// # Errors
    /// `Open` when it cannot be used.
    pub async fn open(state: &Path) -> Stored<Self> {
        let path = state.join("controller.db");
        let failed = |source| StoreError::Open { path: path.clone(), source };
        let options = SqliteConnectOptions::new()
            .filename(&path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .pragma("secure_delete", "ON")
            .foreign_keys(true)
            .statement_cache_capacity(256)
            .busy_timeout(BUSY);
        let pool = SqlitePoolOptions::new()
            .max_connections(CONNECTIONS)
            .acquire_timeout(BUSY)
            .connect_with(options)
            .await
            .map_err(failed)?;
        sqlx::migrate!("./migrations").run(&pool).await.map_err(|e| failed(e.into()))?;
        Ok(Self { pool, path })
    }

    /// Where it lies.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Closes it; what was answered is on disk already.
    pub async fn close(&self) {
        self.pool.close().await;
    }

    /// Begins a transaction that writes: it waits for other writers here and not in its middle.
    pub(crate) async fn write(&self, what: &'static str) -> Stored<Transaction<'static, Sqlite>> {
        self.pool.begin_with("BEGIN IMMEDIATE").await.map_err(doing(what))
    }
}

/// A time as it is kept.
pub(crate) fn ms(time: Timestamp) -> i64 {
    time.as_millisecond()
}

/// A kept time.
pub(crate) fn time(ms: i64) -> Timestamp {
    Timestamp::from_millisecond(ms).unwrap_or(Timestamp::UNIX_EPOCH)
}

/// A kept hash.
pub(crate) fn hash(bytes: &[u8]) -> Stored<Hash> {
    bytes.try_into().map(Hash::from_bytes).map_err(|_| StoreError::Damaged("hash"))
}

/// A kept number that is never negative.
pub(crate) fn number(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}

/// A number as it is kept; SQLite has no larger ones.
pub(crate) fn kept(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
