//! Orders for vaults: what operators signed, until its time is over.

use jiff::Timestamp;
use tenure_trust::order::MAX_ORDERS;
use tenure_trust::{Clear, OrderList};

use super::{Access, Store, Stored, doing, ms};

impl Store {
    /// Keeps an order that the caller has verified. False when it was held already.
    ///
    /// # Errors
    /// `Denied`, or the database.
    pub async fn add_order(
        &self,
        access: &Access,
        clear: &Clear,
        envelope: &str,
        now: Timestamp,
    ) -> Stored<bool> {
        access.operator("order a vault")?;
        let added = sqlx::query(
            "INSERT INTO orders (hash, envelope, until, received_at) VALUES (?1, ?2, ?3, ?4) \
             ON CONFLICT (hash) DO NOTHING",
        )
        .bind(&clear.order.as_bytes()[..])
        .bind(envelope)
        .bind(ms(clear.until))
        .bind(ms(now))
        .execute(&self.pool)
        .await
        .map_err(doing("keeping an order"))?;
        Ok(added.rows_affected() == 1)
    }

    /// The orders whose time is not over, as they were signed, the newest first; as many as a vault looks at.
    ///
    /// # Errors
    /// The database.
    pub async fn orders(&self, _access: &Access, now: Timestamp) -> Stored<OrderList> {
        let rows = sqlx::query_scalar(
            "SELECT envelope FROM orders WHERE until > ?1 ORDER BY received_at DESC, hash LIMIT ?2",
        );
        let limit = i64::try_from(MAX_ORDERS).unwrap_or(i64::MAX);
        let orders = rows.bind(ms(now)).bind(limit).fetch_all(&self.pool).await;
        Ok(OrderList { orders: orders.map_err(doing("reading the orders"))? })
    }
}
