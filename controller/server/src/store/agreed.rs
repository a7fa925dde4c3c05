//! Slots on which host and vault have agreed, as far as the hosts will not say so again.

use jiff::civil::Date;
use sqlx::{QueryBuilder, Row};
use tenure_obligations::input::{Agreed, AgreedSeal};
use tenure_trust::{SeriesId, SlotTime, VaultName};

use super::{Access, Store, StoreError, Stored, doing, hash, kept, number};

/// Rows of one statement.
const ROWS: usize = 500;

/// A slot and what both said of it.
pub(crate) type AgreedSlot<'a> = (&'a SeriesId, (Date, SlotTime), AgreedSeal);

impl Store {
    /// All that is remembered.
    ///
    /// # Errors
    /// `Denied`, or the database.
    pub async fn agreed(&self, access: &Access) -> Stored<Agreed> {
        access.operator("see the duties")?;
        let rows = sqlx::query("SELECT vault, series, date, at, seal, unreadable FROM agreed")
            .fetch_all(&self.pool)
            .await
            .map_err(doing("reading what host and vault agreed on"))?;
        let mut agreed = Agreed::new();
        for row in rows {
            let damaged = || StoreError::Damaged("agreed slot");
            let vault = VaultName::new(row.get::<String, _>(0)).map_err(|_| damaged())?;
            let series = SeriesId::from_path(vault, row.get(1)).map_err(|_| damaged())?;
            let date: Date = row.get::<&str, _>(2).parse().map_err(|_| damaged())?;
            let at: SlotTime = row.get::<&str, _>(3).parse().map_err(|_| damaged())?;
            let both = AgreedSeal { seal: hash(row.get(4))?, unreadable: number(row.get(5)) };
            agreed.entry(series).or_default().insert((date, at), both);
        }
        Ok(agreed)
    }

    /// Forgets these slots and remembers those, at once.
    ///
    /// # Errors
    /// `Denied`, or the database.
    pub(crate) async fn put_agreed(
        &self,
        access: &Access,
        gone: &[AgreedSlot<'_>],
        put: &[AgreedSlot<'_>],
    ) -> Stored<()> {
        access.operator("judge the duties")?;
        const DOING: &str = "keeping what host and vault agreed on";
        let mut write = self.write(DOING).await?;
        for (series, (date, at), _) in gone {
            sqlx::query("DELETE FROM agreed WHERE vault = ?1 AND series = ?2 AND date = ?3 AND at = ?4")
                .bind(series.vault.as_str())
                .bind(series.path())
                .bind(date.to_string())
                .bind(at.to_string())
                .execute(&mut *write)
                .await
                .map_err(doing(DOING))?;
        }
        for rows in put.chunks(ROWS) {
            let mut query =
                QueryBuilder::new("INSERT INTO agreed (vault, series, date, at, seal, unreadable) ");
            query.push_values(rows, |mut one, (series, (date, at), both)| {
                one.push_bind(series.vault.as_str())
                    .push_bind(series.path())
                    .push_bind(date.to_string())
                    .push_bind(at.to_string())
                    .push_bind(both.seal.as_bytes().to_vec())
                    .push_bind(kept(both.unreadable));
            });
            query.build().execute(&mut *write).await.map_err(doing(DOING))?;
        }
        write.commit().await.map_err(doing(DOING))
    }
}
