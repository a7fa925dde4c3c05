//! Slows down whoever tries passwords or tokens: per address, and per account from an address, doubling, and it survives
//! a restart. An account alone is only slowed a little, so that strangers cannot keep its owner out.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use sqlx::Row;

use super::{Access, Store, Stored, doing, ms};

/// Failures that cost nothing.
const FREE: i64 = 5;
/// The longest wait.
const LONGEST: SignedDuration = SignedDuration::from_mins(15);
/// The longest that a try waits because of what others tried on its account.
const SOFTLY: SignedDuration = SignedDuration::from_secs(4);
/// After this without a failure everything is forgiven.
const FORGIVEN: SignedDuration = SignedDuration::from_hours(1);

/// Who tries.
#[derive(Debug, Clone, Copy)]
pub struct Tried<'a> {
    /// Whoever has failed too often waits.
    pub hard: &'a [&'a str],
    /// Its tries are slowed a little, and never refused.
    pub soft: Option<&'a str>,
}

/// What becomes of a try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// It is judged, after this.
    Go(Duration),
    /// It is too early.
    Wait,
}

impl Store {
    /// Judges whether a try may be made, and counts it as a failure at once: of any number at the same time only so many
    /// pass as are free.
    ///
    /// # Errors
    /// The database.
    pub async fn may_try(&self, _access: &Access, tried: Tried<'_>, now: Timestamp) -> Stored<Turn> {
        const DOING: &str = "counting a try";
        let mut write = self.write(DOING).await?;
        let forgiven = now.saturating_sub(FORGIVEN).unwrap_or(Timestamp::MIN);
        sqlx::query("DELETE FROM throttle WHERE last_at < ?1")
            .bind(ms(forgiven))
            .execute(&mut *write)
            .await
            .map_err(doing(DOING))?;
        for who in tried.hard {
            let until: Option<i64> =
                sqlx::query_scalar("SELECT until FROM throttle WHERE who = ?1 AND until > ?2")
                    .bind(*who)
                    .bind(ms(now))
                    .fetch_optional(&mut *write)
                    .await
                    .map_err(doing(DOING))?;
            if until.is_some() {
                // Nothing is counted: who waits is not made to wait longer by asking.
                write.commit().await.map_err(doing(DOING))?;
                return Ok(Turn::Wait);
            }
        }
        let mut slowed = SignedDuration::ZERO;
        for (who, soft) in
            tried.hard.iter().map(|who| (who, false)).chain(tried.soft.iter().map(|who| (who, true)))
        {
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
            if soft {
                slowed = wait.min(SOFTLY);
                continue;
            }
            let until = now.saturating_add(wait).unwrap_or(now);
            sqlx::query("UPDATE throttle SET until = ?2 WHERE who = ?1")
                .bind(*who)
                .bind(ms(until))
                .execute(&mut *write)
                .await
                .map_err(doing(DOING))?;
        }
        write.commit().await.map_err(doing(DOING))?;
        Ok(Turn::Go(slowed.unsigned_abs()))
    }

    /// Takes back one try of this one, which was no failure; those before it stay counted.
    ///
    /// # Errors
    /// The database.
    pub async fn was_right(&self, _access: &Access, who: &str) -> Stored<()> {
        sqlx::query("UPDATE throttle SET failures = MAX(failures - 1, 0), until = 0 WHERE who = ?1")
            .bind(who)
            .execute(&self.pool)
            .await
            .map_err(doing("taking a try back"))?;
        Ok(())
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
