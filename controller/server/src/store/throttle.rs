//! Slows down whoever tries passwords or tokens: per account and per address, doubling, and it survives a restart.

use jiff::{SignedDuration, Timestamp};
use sqlx::Row;

use super::{Access, Store, Stored, doing, ms, time};

/// Failures that cost nothing.
const FREE: i64 = 5;
/// The longest wait.
const LONGEST: SignedDuration = SignedDuration::from_mins(15);
/// After this without a failure everything is forgiven.
const FORGIVEN: SignedDuration = SignedDuration::from_hours(1);

impl Store {
    /// Until when this account or address must wait; none when it need not.
    ///
    /// # Errors
    /// The database.
    pub async fn must_wait(
        &self,
        _access: &Access,
        who: &[&str],
        now: Timestamp,
    ) -> Stored<Option<Timestamp>> {
        let mut latest = None;
        for who in who {
            let until: Option<i64> =
                sqlx::query_scalar("SELECT until FROM throttle WHERE who = ?1 AND until > ?2")
                    .bind(*who)
                    .bind(ms(now))
                    .fetch_optional(&self.pool)
                    .await
                    .map_err(doing("looking at failed tries"))?;
            latest = latest.max(until.map(time));
        }
        Ok(latest)
    }

    /// Counts a failure against each of these, before the try is judged, so that many at once count as many.
    ///
    /// # Errors
    /// The database.
    pub async fn count_failure(&self, _access: &Access, who: &[&str], now: Timestamp) -> Stored<()> {
        const DOING: &str = "counting a failed try";
        let mut write = self.write(DOING).await?;
        let forgiven = now.saturating_sub(FORGIVEN).unwrap_or(Timestamp::MIN);
        sqlx::query("DELETE FROM throttle WHERE last_at < ?1")
            .bind(ms(forgiven))
            .execute(&mut *write)
            .await
            .map_err(doing(DOING))?;
        for who in who {
            let row = sqlx::query(
                "INSERT INTO throttle (who, failures, last_at, until) VALUES (?1, 1, ?2, 0) \
                 ON CONFLICT (who) DO UPDATE SET failures = failures + 1, last_at = excluded.last_at \
                 RETURNING failures",
            )
            .bind(*who)
            .bind(ms(now))
            .fetch_one(&mut *write)
            .await
            .map_err(doing(DOING))?;
            let wait = wait(row.get(0));
            let until = now.saturating_add(wait).unwrap_or(now);
            sqlx::query("UPDATE throttle SET until = ?2 WHERE who = ?1")
                .bind(*who)
                .bind(ms(until))
                .execute(&mut *write)
                .await
                .map_err(doing(DOING))?;
        }
        write.commit().await.map_err(doing(DOING))
    }

    /// Forgets the failures of these after a success.
    ///
    /// # Errors
    /// The database.
    pub async fn forgive(&self, _access: &Access, who: &[&str]) -> Stored<()> {
        for who in who {
            sqlx::query("DELETE FROM throttle WHERE who = ?1")
                .bind(*who)
                .execute(&self.pool)
                .await
                .map_err(doing("forgiving failed tries"))?;
        }
        Ok(())
    }
}

/// 1, 2, 4 … seconds after the free ones.
fn wait(failures: i64) -> SignedDuration {
    match failures - FREE {
        ..=0 => SignedDuration::ZERO,
        over => SignedDuration::from_secs(1_i64 << (over - 1).min(20)).min(LONGEST),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_doubles_to_a_limit() {
        let seconds: Vec<i64> = [1, 5, 6, 7, 8, 15, 16, 1000].map(|n| wait(n).as_secs()).into();
        assert_eq!(seconds, [0, 0, 1, 2, 4, 512, 900, 900]);
    }
}
