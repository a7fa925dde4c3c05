//! One-time tokens: kept as hashes, bound to a name and a role, worth nothing after minutes.

use jiff::Timestamp;
use serde::Serialize;
use sqlx::Row;
use tenure_trust::{Hash, HostName, MachineRole};

use super::{Access, Store, Stored, doing, ms, time};

/// A token as operators see it: never its secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TokenRow {
    /// For which machine.
    pub name: String,
    /// In which role.
    pub role: String,
    /// Who made it.
    pub made_by: String,
    /// When it ends.
    pub until: Timestamp,
    /// When it was redeemed.
    pub redeemed_at: Option<Timestamp>,
}

impl Store {
    /// Keeps a new token.
    ///
    /// # Errors
    /// `Denied`, or the database.
    pub async fn add_token(
        &self,
        access: &Access,
        secret: Hash,
        name: &HostName,
        role: MachineRole,
        now: Timestamp,
        until: Timestamp,
    ) -> Stored<()> {
        access.operator("make a token")?;
        let mut write = self.write("keeping a token").await?;
        // Old ones are of no use to anybody.
        sqlx::query("DELETE FROM tokens WHERE until < ?1")
            .bind(ms(now) - 86_400_000)
            .execute(&mut *write)
            .await
            .map_err(doing("removing old tokens"))?;
        sqlx::query(
            "INSERT INTO tokens (secret_hash, name, role, made_by, made_at, until) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        )
        .bind(&secret.as_bytes()[..])
        .bind(name.as_str())
        .bind(role.word())
        .bind(access.label())
        .bind(ms(now))
        .bind(ms(until))
        .execute(&mut *write)
        .await
        .map_err(doing("keeping a token"))?;
        write.commit().await.map_err(doing("keeping a token"))
    }

    /// The tokens that are known, newest first.
    ///
    /// # Errors
    /// `Denied`, or the database.
    pub async fn tokens(&self, access: &Access) -> Stored<Vec<TokenRow>> {
        access.operator("list tokens")?;
        let rows = sqlx::query(
            "SELECT name, role, made_by, until, redeemed_at FROM tokens ORDER BY made_at DESC LIMIT 1000",
        )
        .fetch_all(&self.pool)
        .await
        .map_err(doing("listing tokens"))?;
        Ok(rows
            .iter()
            .map(|row| TokenRow {
                name: row.get(0),
                role: row.get(1),
                made_by: row.get(2),
                until: time(row.get(3)),
                redeemed_at: row.get::<Option<i64>, _>(4).map(time),
            })
            .collect())
    }
}
