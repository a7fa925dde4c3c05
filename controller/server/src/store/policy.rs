//! The signed set that is handed on, and the floor below which nothing is taken.

use std::collections::BTreeMap;

use jiff::Timestamp;
use sqlx::Row;
use tenure_trust::{Floor, HostName, Kind, SeriesId};

use super::{Access, Store, StoreError, Stored, doing};

/// The files of a set, as they were signed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PolicyFiles {
    /// The index.
    pub index: Vec<u8>,
    /// The bundles, by kind and machine.
    pub bundles: BTreeMap<(Kind, HostName), Vec<u8>>,
}

/// Since when each series is in the policy, as far as this controller has seen it come.
pub type SeriesSince = BTreeMap<SeriesId, Timestamp>;

const FLOOR: &str = "policy_floor";
const SERIES: &str = "series_since";

impl Store {
    /// Replaces the set, raises the floor and notes since when there is which series, in one transaction.
    ///
    /// # Errors
    /// `Denied`, or the database.
    pub async fn put_policy(
        &self,
        access: &Access,
        files: &PolicyFiles,
        floor: &Floor,
        series: &SeriesSince,
    ) -> Stored<()> {
        access.operator("publish policy")?;
        const DOING: &str = "keeping the policy";
        let mut write = self.write(DOING).await?;
        sqlx::query("DELETE FROM policy").execute(&mut *write).await.map_err(doing(DOING))?;
        let index = std::iter::once((Kind::Index.word(), "", &files.index));
        let bundles = files.bundles.iter().map(|((kind, host), bytes)| (kind.word(), host.as_str(), bytes));
        for (kind, machine, bytes) in index.chain(bundles) {
            sqlx::query("INSERT INTO policy (kind, machine, bytes) VALUES (?1, ?2, ?3)")
                .bind(kind)
                .bind(machine)
                .bind(&bytes[..])
                .execute(&mut *write)
                .await
                .map_err(doing(DOING))?;
        }
        let floor = serde_json::to_string(floor).map_err(|_| StoreError::Damaged("floor"))?;
        let series: Vec<_> = series.iter().collect();
        let series = serde_json::to_string(&series).map_err(|_| StoreError::Damaged("list of series"))?;
        for (key, value) in [(FLOOR, floor), (SERIES, series)] {
            sqlx::query(
                "INSERT INTO settings (key, value) VALUES (?1, ?2) \
                 ON CONFLICT (key) DO UPDATE SET value = excluded.value",
            )
            .bind(key)
            .bind(value)
            .execute(&mut *write)
            .await
            .map_err(doing(DOING))?;
        }
        write.commit().await.map_err(doing(DOING))
    }

    /// The set that is held, and its floor; none when none was published.
    ///
    /// # Errors
    /// The database.
    pub async fn policy(&self, _access: &Access) -> Stored<Option<(PolicyFiles, Floor)>> {
        const DOING: &str = "reading the policy";
        let Some(floor) = self.setting(FLOOR).await? else { return Ok(None) };
        let floor = serde_json::from_str(&floor).map_err(|_| StoreError::Damaged("floor"))?;
        let rows = sqlx::query("SELECT kind, machine, bytes FROM policy")
            .fetch_all(&self.pool)
            .await
            .map_err(doing(DOING))?;
        let mut files = PolicyFiles::default();
        for row in rows {
            let (kind, machine, bytes): (String, String, Vec<u8>) = (row.get(0), row.get(1), row.get(2));
            let kind = Kind::ALL.into_iter().find(|k| k.word() == kind);
            let kind = kind.ok_or(StoreError::Damaged("policy set"))?;
            if kind == Kind::Index {
                files.index = bytes;
            } else {
                let host = HostName::new(machine).map_err(|_| StoreError::Damaged("policy set"))?;
                files.bundles.insert((kind, host), bytes);
            }
        }
        Ok(Some((files, floor)))
    }

    /// Since when there is which series.
    ///
    /// # Errors
    /// The database.
    pub async fn series_since(&self, _access: &Access) -> Stored<SeriesSince> {
        let Some(text) = self.setting(SERIES).await? else { return Ok(SeriesSince::new()) };
        let read: Vec<(SeriesId, Timestamp)> =
            serde_json::from_str(&text).map_err(|_| StoreError::Damaged("list of series"))?;
        Ok(read.into_iter().collect())
    }

    async fn setting(&self, key: &str) -> Stored<Option<String>> {
        let value = sqlx::query_scalar("SELECT value FROM settings WHERE key = ?1").bind(key);
        value.fetch_optional(&self.pool).await.map_err(doing("reading the policy"))
    }
}
