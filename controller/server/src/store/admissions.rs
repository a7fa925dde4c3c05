//! Enrolments, admissions and revocations: what machines stated of their keys, and what operators signed about them.

use jiff::Timestamp;
use serde::Serialize;
use sqlx::Row;
use tenure_trust::enrol::{Enrolment, fingerprint};
use tenure_trust::{Admission, AdmissionList, Hash, Verified};

use super::{Access, Store, StoreError, Stored, doing, hash, ms, time};

/// An enrolment as operators see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Enrolled {
    /// The machine's name.
    pub name: String,
    /// Its role.
    pub role: String,
    /// Which chain begins with these keys.
    pub epoch: u32,
    /// What both sides compare.
    pub fingerprint: String,
    /// From which address it came.
    pub address: String,
    /// When.
    pub received_at: Timestamp,
    /// The statement, as the machine signed it.
    pub enrolment: String,
}

/// What came of a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Redeemed {
    /// This enrolment redeemed it, now or when it asked before and the answer was lost.
    Yes,
    /// Unknown, over, redeemed, or for another name or role: the answer tells no difference.
    No,
}

/// A machine's try to redeem a token.
#[derive(Debug, Clone, Copy)]
pub struct Redemption<'a> {
    /// Hash of the secret that it brings.
    pub secret: Hash,
    /// What it states of its keys, verified.
    pub enrolment: &'a Enrolment,
    /// Hash of the signed bytes.
    pub payload: Hash,
    /// The statement as it was signed.
    pub envelope: &'a str,
    /// From where it comes.
    pub address: &'a str,
}

impl Store {
    /// Redeems a token for an enrolment: one conditional update decides who was first, in one transaction with keeping
    /// the enrolment.
    ///
    /// # Errors
    /// The database.
    pub async fn redeem(&self, _access: &Access, offer: &Redemption<'_>, now: Timestamp) -> Stored<Redeemed> {
        let Redemption { secret, enrolment, payload, envelope, address } = *offer;
        const DOING: &str = "redeeming a token";
        let mut write = self.write(DOING).await?;
        let redeemed = sqlx::query(
            "UPDATE tokens SET redeemed_at = ?1, enrolment = ?2 \
             WHERE secret_hash = ?3 AND name = ?4 AND role = ?5 AND until > ?1 AND redeemed_at IS NULL",
        )
        .bind(ms(now))
        .bind(&payload.as_bytes()[..])
        .bind(&secret.as_bytes()[..])
        .bind(enrolment.name.as_str())
        .bind(enrolment.role.word())
        .execute(&mut *write)
        .await
        .map_err(doing(DOING))?;
        if redeemed.rows_affected() != 1 {
            let again =
                sqlx::query("SELECT 1 FROM tokens WHERE secret_hash = ?1 AND enrolment = ?2 AND until > ?3")
                    .bind(&secret.as_bytes()[..])
                    .bind(&payload.as_bytes()[..])
                    .bind(ms(now))
                    .fetch_optional(&mut *write)
                    .await
                    .map_err(doing(DOING))?;
            return Ok(if again.is_some() { Redeemed::Yes } else { Redeemed::No });
        }
        sqlx::query(
            "INSERT INTO enrolments (hash, name, role, epoch, envelope, address, received_at) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT (hash) DO NOTHING",
        )
        .bind(&payload.as_bytes()[..])
        .bind(enrolment.name.as_str())
        .bind(enrolment.role.word())
        .bind(i64::from(enrolment.epoch.0))
        .bind(envelope)
        .bind(address)
        .bind(ms(now))
        .execute(&mut *write)
        .await
        .map_err(doing(DOING))?;
        write.commit().await.map_err(doing(DOING))?;
        Ok(Redeemed::Yes)
    }

    /// Has this very enrolment redeemed a token?
    ///
    /// # Errors
    /// The database.
    pub async fn is_enrolled(&self, _access: &Access, payload: Hash) -> Stored<bool> {
        let row = sqlx::query("SELECT 1 FROM enrolments WHERE hash = ?1")
            .bind(&payload.as_bytes()[..])
            .fetch_optional(&self.pool)
            .await
            .map_err(doing("looking for an enrolment"))?;
        Ok(row.is_some())
    }

    /// The enrolments, newest first, at most 1000; of one machine when a name is given.
    ///
    /// # Errors
    /// `Denied`, or the database.
    pub async fn enrolments(&self, access: &Access, name: Option<&str>) -> Stored<Vec<Enrolled>> {
        access.operator("list enrolments")?;
        let rows = sqlx::query(
            "SELECT hash, name, role, epoch, address, received_at, envelope FROM enrolments \
             WHERE ?1 IS NULL OR name = ?1 ORDER BY received_at DESC LIMIT 1000",
        )
        .bind(name)
        .fetch_all(&self.pool)
        .await
        .map_err(doing("listing enrolments"))?;
        rows.iter()
            .map(|row| {
                Ok(Enrolled {
                    fingerprint: fingerprint(&hash(row.get(0))?),
                    name: row.get(1),
                    role: row.get(2),
                    epoch: u32::try_from(row.get::<i64, _>(3)).map_err(|_| StoreError::Damaged("epoch"))?,
                    address: row.get(4),
                    received_at: time(row.get(5)),
                    enrolment: row.get(6),
                })
            })
            .collect()
    }

    /// Keeps an admission that the caller has verified. False when it was held already.
    ///
    /// # Errors
    /// `Denied`, or the database.
    pub async fn add_admission(
        &self,
        access: &Access,
        admission: &Verified<Admission>,
        envelope: &str,
        now: Timestamp,
    ) -> Stored<bool> {
        access.operator("admit a machine")?;
        let added = sqlx::query(
            "INSERT INTO admissions (hash, name, role, epoch, envelope, received_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6) \
             ON CONFLICT (hash) DO NOTHING",
        )
        .bind(&admission.hash().as_bytes()[..])
        .bind(admission.name.as_str())
        .bind(admission.role.word())
        .bind(i64::from(admission.epoch.0))
        .bind(envelope)
        .bind(ms(now))
        .execute(&self.pool)
        .await
        .map_err(doing("keeping an admission"))?;
        Ok(added.rows_affected() == 1)
    }

    /// Keeps a revocation that the caller has verified. False when it was held already.
    ///
    /// # Errors
    /// `Denied`, or the database.
    pub async fn add_revocation(
        &self,
        access: &Access,
        order: Hash,
        envelope: &str,
        now: Timestamp,
    ) -> Stored<bool> {
        access.operator("revoke a key")?;
        let added = sqlx::query(
            "INSERT INTO revocations (hash, envelope, received_at) VALUES (?1, ?2, ?3) ON CONFLICT (hash) DO NOTHING",
        )
        .bind(&order.as_bytes()[..])
        .bind(envelope)
        .bind(ms(now))
        .execute(&self.pool)
        .await
        .map_err(doing("keeping a revocation"))?;
        Ok(added.rows_affected() == 1)
    }

    /// All admissions and revocations, as they were signed.
    ///
    /// # Errors
    /// The database.
    pub async fn admission_list(&self, _access: &Access) -> Stored<AdmissionList> {
        const DOING: &str = "reading the admissions";
        let admissions = sqlx::query_scalar("SELECT envelope FROM admissions ORDER BY received_at, hash");
        let revocations = sqlx::query_scalar("SELECT envelope FROM revocations ORDER BY received_at, hash");
        Ok(AdmissionList {
            admissions: admissions.fetch_all(&self.pool).await.map_err(doing(DOING))?,
            revocations: revocations.fetch_all(&self.pool).await.map_err(doing(DOING))?,
        })
    }
}
