//! People: accounts with hashed passwords, and their sessions, of which only hashes are kept.

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use sqlx::Row;
use tenure_trust::Hash;

use super::{Access, Store, Stored, doing, ms, time};

/// A browser that nobody uses for this long is logged out.
const IDLE: SignedDuration = SignedDuration::from_hours(2);

/// What a secret is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionKind {
    /// A browser's cookie.
    Browser,
    /// A program's bearer token.
    Api,
}

impl SessionKind {
    const fn word(self) -> &'static str {
        match self {
            Self::Browser => "browser",
            Self::Api => "api",
        }
    }
}

/// A session as it is shown; never its secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SessionRow {
    /// By which it is named: the beginning of its secret's hash, which opens nothing.
    pub id: String,
    /// Whose.
    pub user: String,
    /// `browser` or `api`.
    pub kind: String,
    /// What for, in the user's words.
    pub label: String,
    /// Last use.
    pub seen_at: Timestamp,
    /// When it ends.
    pub until: Timestamp,
}

impl Store {
    /// Makes an account or gives it another password; its sessions end.
    ///
    /// # Errors
    /// `Denied`, or the database.
    pub async fn put_user(&self, access: &Access, name: &str, password: &str, now: Timestamp) -> Stored<()> {
        access.operator("change a password")?;
        const DOING: &str = "keeping an account";
        let mut write = self.write(DOING).await?;
        sqlx::query(
            "INSERT INTO users (name, password, changed_at) VALUES (?1, ?2, ?3) \
             ON CONFLICT (name) DO UPDATE SET password = excluded.password, changed_at = excluded.changed_at",
        )
        .bind(name)
        .bind(password)
        .bind(ms(now))
        .execute(&mut *write)
        .await
        .map_err(doing(DOING))?;
        sqlx::query("DELETE FROM sessions WHERE user = ?1")
            .bind(name)
            .execute(&mut *write)
            .await
            .map_err(doing(DOING))?;
        // Whoever was kept waiting by others' tries begins anew with the new password.
        sqlx::query("DELETE FROM throttle WHERE who = 'account ' || ?1 OR who LIKE 'login % as ' || ?1")
            .bind(name)
            .execute(&mut *write)
            .await
            .map_err(doing(DOING))?;
        write.commit().await.map_err(doing(DOING))
    }

    /// The hash of an account's password; none when there is no such account.
    ///
    /// # Errors
    /// The database.
    pub async fn password_of(&self, _access: &Access, name: &str) -> Stored<Option<String>> {
        sqlx::query_scalar("SELECT password FROM users WHERE name = ?1")
            .bind(name)
            .fetch_optional(&self.pool)
            .await
            .map_err(doing("looking for an account"))
    }

    /// How many accounts there are.
    ///
    /// # Errors
    /// The database.
    pub async fn user_count(&self, access: &Access) -> Stored<u64> {
        access.operator("count the accounts")?;
        let count: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM users")
            .fetch_one(&self.pool)
            .await
            .map_err(doing("counting accounts"))?;
        Ok(super::number(count))
    }

    /// Keeps a session of the caller.
    ///
    /// # Errors
    /// `Denied`, or the database.
    pub async fn add_session(
        &self,
        access: &Access,
        secret: Hash,
        (kind, label): (SessionKind, &str),
        now: Timestamp,
        until: Timestamp,
    ) -> Stored<()> {
        access.operator("begin a session")?;
        const DOING: &str = "keeping a session";
        let mut write = self.write(DOING).await?;
        sqlx::query("DELETE FROM sessions WHERE until < ?1")
            .bind(ms(now))
            .execute(&mut *write)
            .await
            .map_err(doing(DOING))?;
        sqlx::query(
            "INSERT INTO sessions (secret_hash, user, kind, label, made_at, seen_at, until) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?5, ?6)",
        )
        .bind(&secret.as_bytes()[..])
        .bind(access.label())
        .bind(kind.word())
        .bind(label)
        .bind(ms(now))
        .bind(ms(until))
        .execute(&mut *write)
        .await
        .map_err(doing(DOING))?;
        write.commit().await.map_err(doing(DOING))
    }

    /// Whose session this secret is, if it holds still. A browser's ends when nobody uses it.
    ///
    /// # Errors
    /// The database.
    pub async fn session(
        &self,
        _access: &Access,
        secret: Hash,
        kind: SessionKind,
        now: Timestamp,
    ) -> Stored<Option<String>> {
        const DOING: &str = "looking for a session";
        let idle = match kind {
            SessionKind::Browser => now.saturating_sub(IDLE).unwrap_or(Timestamp::MIN),
            SessionKind::Api => Timestamp::MIN,
        };
        let row = sqlx::query(
            "SELECT user, seen_at FROM sessions WHERE secret_hash = ?1 AND kind = ?2 AND until > ?3 AND seen_at > ?4",
        )
        .bind(&secret.as_bytes()[..])
        .bind(kind.word())
        .bind(ms(now))
        .bind(ms(idle))
        .fetch_optional(&self.pool)
        .await
        .map_err(doing(DOING))?;
        let Some(row) = row else { return Ok(None) };
        // Once a minute is exact enough, and reading a page need not write.
        if ms(now) - row.get::<i64, _>(1) > 60_000 {
            sqlx::query("UPDATE sessions SET seen_at = ?2 WHERE secret_hash = ?1")
                .bind(&secret.as_bytes()[..])
                .bind(ms(now))
                .execute(&self.pool)
                .await
                .map_err(doing(DOING))?;
        }
        Ok(Some(row.get(0)))
    }

    /// Ends a session.
    ///
    /// # Errors
    /// The database.
    pub async fn end_session(&self, _access: &Access, secret: Hash) -> Stored<()> {
        sqlx::query("DELETE FROM sessions WHERE secret_hash = ?1")
            .bind(&secret.as_bytes()[..])
            .execute(&self.pool)
            .await
            .map_err(doing("ending a session"))?;
        Ok(())
    }

    /// Ends the session that has this name; false when there is none.
    ///
    /// # Errors
    /// `Denied`, or the database.
    pub async fn end_named(&self, access: &Access, id: &str) -> Stored<bool> {
        access.operator("end a session")?;
        let ended = sqlx::query("DELETE FROM sessions WHERE lower(hex(substr(secret_hash, 1, 8))) = ?1")
            .bind(id)
            .execute(&self.pool)
            .await
            .map_err(doing("ending a session"))?;
        Ok(ended.rows_affected() > 0)
    }

    /// Removes an account with all its sessions and tokens; false when there is none.
    ///
    /// # Errors
    /// `Denied`, or the database.
    pub async fn remove_user(&self, access: &Access, name: &str) -> Stored<bool> {
        access.operator("remove an account")?;
        const DOING: &str = "removing an account";
        let mut write = self.write(DOING).await?;
        sqlx::query("DELETE FROM sessions WHERE user = ?1")
            .bind(name)
            .execute(&mut *write)
            .await
            .map_err(doing(DOING))?;
        let removed = sqlx::query("DELETE FROM users WHERE name = ?1")
            .bind(name)
            .execute(&mut *write)
            .await
            .map_err(doing(DOING))?;
        write.commit().await.map_err(doing(DOING))?;
        Ok(removed.rows_affected() > 0)
    }

    /// The accounts' names.
    ///
    /// # Errors
    /// `Denied`, or the database.
    pub async fn users(&self, access: &Access) -> Stored<Vec<String>> {
        access.operator("list the accounts")?;
        sqlx::query_scalar("SELECT name FROM users ORDER BY name")
            .fetch_all(&self.pool)
            .await
            .map_err(doing("listing accounts"))
    }

    /// The sessions that hold.
    ///
    /// # Errors
    /// `Denied`, or the database.
    pub async fn sessions(&self, access: &Access, now: Timestamp) -> Stored<Vec<SessionRow>> {
        access.operator("list sessions")?;
        let rows = sqlx::query(
            "SELECT user, kind, label, seen_at, until, lower(hex(substr(secret_hash, 1, 8))) FROM sessions \
             WHERE until > ?1 ORDER BY seen_at DESC LIMIT 1000",
        )
        .bind(ms(now))
        .fetch_all(&self.pool)
        .await
        .map_err(doing("listing sessions"))?;
        let row = |row: &sqlx::sqlite::SqliteRow| SessionRow {
            id: row.get(5),
            user: row.get(0),
            kind: row.get(1),
            label: row.get(2),
            seen_at: time(row.get(3)),
            until: time(row.get(4)),
        };
        Ok(rows.iter().map(row).collect())
    }
}
