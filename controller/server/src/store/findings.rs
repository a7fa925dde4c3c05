//! What was found wrong: each kind at each place once, with how often and when.

use jiff::Timestamp;
use serde::Serialize;
use sqlx::{Row, Sqlite, Transaction};
use tenure_trust::enrol::IngestFinding;
use tenure_trust::{HostName, MachineRole};

use super::{Access, Store, Stored, doing, ms, number, time};

/// What kind of fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum FindingKind {
    /// Records were not taken.
    Ingest(IngestFinding),
    /// A machine sent more records than it may in a day.
    TooMuch,
    /// The controller's own judgement of the facts is another than the host's word.
    ClaimsOtherwise,
}

impl FindingKind {
    /// Its word.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Ingest(IngestFinding::Gap) => "gap",
            Self::Ingest(IngestFinding::Fork) => "fork",
            Self::Ingest(IngestFinding::Replay) => "replay",
            Self::Ingest(IngestFinding::Reset) => "reset",
            Self::Ingest(IngestFinding::Foreign) => "foreign",
            Self::Ingest(IngestFinding::Malformed) => "malformed",
            Self::TooMuch => "too much",
            Self::ClaimsOtherwise => "claims otherwise",
        }
    }
}

/// A finding as it is shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FindingRow {
    /// Whose.
    pub machine: String,
    /// In which role.
    pub role: String,
    /// Which kind, a word.
    pub kind: String,
    /// Where: an epoch, or an area.
    pub place: String,
    /// What was seen last, in words; already harmless.
    pub what: String,
    /// How often.
    pub count: u64,
    /// When first.
    pub first_at: Timestamp,
    /// When last.
    pub last_at: Timestamp,
}

/// Counts a finding inside a transaction.
pub(super) async fn count(
    write: &mut Transaction<'static, Sqlite>,
    whose: (&HostName, MachineRole),
    kind: FindingKind,
    place: &str,
    what: &str,
    now: Timestamp,
) -> Stored<()> {
    sqlx::query(
        "INSERT INTO findings (machine, role, kind, place, what, count, first_at, last_at) \
         VALUES (?1, ?2, ?3, ?4, ?5, 1, ?6, ?6) ON CONFLICT (machine, role, kind, place) \
         DO UPDATE SET count = count + 1, what = excluded.what, last_at = excluded.last_at",
    )
    .bind(whose.0.as_str())
    .bind(whose.1.word())
    .bind(kind.word())
    .bind(place)
    .bind(tenure_trust::neutral_bytes(what.as_bytes(), 500))
    .bind(ms(now))
    .execute(&mut **write)
    .await
    .map_err(doing("keeping a finding"))?;
    Ok(())
}

impl Store {
    /// Counts a finding.
    ///
    /// # Errors
    /// The database.
    pub async fn add_finding(
        &self,
        _access: &Access,
        whose: (&HostName, MachineRole),
        kind: FindingKind,
        place: &str,
        what: &str,
        now: Timestamp,
    ) -> Stored<()> {
        let mut write = self.write("keeping a finding").await?;
        count(&mut write, whose, kind, place, what, now).await?;
        write.commit().await.map_err(doing("keeping a finding"))
    }

    /// The findings, latest first, at most 1000; of one machine when a name is given.
    ///
    /// # Errors
    /// `Denied`, or the database.
    pub async fn findings(&self, access: &Access, machine: Option<&str>) -> Stored<Vec<FindingRow>> {
        access.operator("list findings")?;
        let rows = sqlx::query(
            "SELECT machine, role, kind, place, what, count, first_at, last_at FROM findings \
             WHERE ?1 IS NULL OR machine = ?1 ORDER BY last_at DESC, id LIMIT 1000",
        )
        .bind(machine)
        .fetch_all(&self.pool)
        .await
        .map_err(doing("listing findings"))?;
        let row = |row: &sqlx::sqlite::SqliteRow| FindingRow {
            machine: row.get(0),
            role: row.get(1),
            kind: row.get(2),
            place: row.get(3),
            what: row.get(4),
            count: number(row.get(5)),
            first_at: time(row.get(6)),
            last_at: time(row.get(7)),
        };
        Ok(rows.iter().map(row).collect())
    }
}
