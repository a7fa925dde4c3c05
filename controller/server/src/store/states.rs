//! How each duty stood when it was judged last, and since when.

use sqlx::{QueryBuilder, Row};
use tenure_obligations::{Standing, State};
use tenure_trust::TenantId;

use super::{Access, Store, StoreError, Stored, doing, ms, time};

/// Rows of one statement.
const ROWS: usize = 500;

impl Store {
    /// All that is remembered.
    ///
    /// # Errors
    /// `Denied`, or the database.
    pub async fn states(&self, access: &Access) -> Stored<Vec<Standing>> {
        access.operator("see the duties")?;
        let rows = sqlx::query("SELECT tenant, promise, waived, duty, state, since FROM states")
            .fetch_all(&self.pool)
            .await
            .map_err(doing("reading how duties stood"))?;
        let damaged = || StoreError::Damaged("state of a duty");
        rows.iter()
            .map(|row| {
                let word: String = row.get(4);
                Ok(Standing {
                    tenant: TenantId::new(row.get::<String, _>(0)).map_err(|_| damaged())?,
                    promise: u32::try_from(row.get::<i64, _>(1)).map_err(|_| damaged())?,
                    waived: row.get(2),
                    duty: row.get(3),
                    state: State::WORST_FIRST
                        .into_iter()
                        .find(|state| state.word() == word)
                        .ok_or_else(damaged)?,
                    since: row.get::<Option<i64>, _>(5).map(time),
                })
            })
            .collect()
    }

    /// Forgets these rows and remembers those, at once.
    ///
    /// # Errors
    /// `Denied`, or the database.
    pub async fn put_states(&self, access: &Access, gone: &[Standing], put: &[Standing]) -> Stored<()> {
        access.operator("judge the duties")?;
        const DOING: &str = "keeping how duties stand";
        let mut write = self.write(DOING).await?;
        for row in gone {
            sqlx::query(
                "DELETE FROM states WHERE tenant = ?1 AND promise = ?2 AND waived = ?3 AND duty = ?4",
            )
            .bind(row.tenant.as_str())
            .bind(i64::from(row.promise))
            .bind(row.waived)
            .bind(&row.duty)
            .execute(&mut *write)
            .await
            .map_err(doing(DOING))?;
        }
        for rows in put.chunks(ROWS) {
            let mut query = QueryBuilder::new(
                "INSERT OR REPLACE INTO states (tenant, promise, waived, duty, state, since) ",
            );
            query.push_values(rows, |mut one, row| {
                one.push_bind(row.tenant.as_str())
                    .push_bind(i64::from(row.promise))
                    .push_bind(row.waived)
                    .push_bind(&row.duty)
                    .push_bind(row.state.word())
                    .push_bind(row.since.map(ms));
            });
            query.build().execute(&mut *write).await.map_err(doing(DOING))?;
        }
        write.commit().await.map_err(doing(DOING))
    }
}
