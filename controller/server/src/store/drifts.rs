//! What records told of drift: written while they are taken in, the newest of each chain.

use sqlx::{Row, Sqlite, Transaction};
use tenure_obligations::RecordRef;
use tenure_obligations::history::{KEPT, PastDrift, Told};
use tenure_trust::ingest::Sound;
use tenure_trust::{Epoch, Hash, HostName, MachineRole, Payload, Seq};

use super::{Access, Store, StoreError, Stored, doing, hash, ms, number, time};

const DOING: &str = "keeping what records tell of drift";

/// Keeps what these records of one chain tell, each with the number of its row, and forgets what is older than the
/// newest.
pub(super) async fn keep(
    write: &mut Transaction<'static, Sqlite>,
    chain: i64,
    records: impl Iterator<Item = (i64, &Sound)>,
) -> Stored<()> {
    let mut any = false;
    for (id, line) in records {
        let payload = line.payload().map(Payload::bytes);
        let Some((told, same)) = Told::of(&line.record, payload) else { continue };
        put(write, (chain, id), line, &told, same).await?;
        any = true;
    }
    if any {
        sqlx::query(
            "DELETE FROM drifts WHERE chain = ?1 AND record NOT IN \
             (SELECT record FROM drifts WHERE chain = ?1 ORDER BY record DESC LIMIT ?2)",
        )
        .bind(chain)
        .bind(i64::try_from(KEPT).unwrap_or(i64::MAX))
        .execute(&mut **write)
        .await
        .map_err(doing(DOING))?;
    }
    Ok(())
}

/// A row of its own, or the one before of this area when it told the same.
async fn put(
    write: &mut Transaction<'static, Sqlite>,
    (chain, id): (i64, i64),
    line: &Sound,
    told: &Told,
    same: Hash,
) -> Stored<()> {
    let area = line.record.about.to_string();
    let before = sqlx::query(
        "SELECT record, same FROM drifts WHERE chain = ?1 AND area = ?2 ORDER BY record DESC LIMIT 1",
    )
    .bind(chain)
    .bind(&area)
    .fetch_optional(&mut **write)
    .await
    .map_err(doing(DOING))?;
    let told = serde_json::to_string(told).expect("plain data with text keys");
    let again = match before {
        Some(row) if hash(row.get(1))? == same => Some(row.get::<i64, _>(0)),
        _ => None,
    };
    let query = match again {
        Some(before) => {
            let text = "UPDATE drifts SET record = ?1, told = ?2, times = times + 1 WHERE record = ?3";
            sqlx::query(text).bind(id).bind(told).bind(before)
        }
        None => sqlx::query(
            "INSERT INTO drifts (record, told, chain, area, same, first_at, times) VALUES (?1, ?2, ?3, ?4, ?5, ?6, 1)",
        )
        .bind(id)
        .bind(told)
        .bind(chain)
        .bind(area)
        .bind(same.as_bytes().to_vec())
        .bind(ms(line.record.observed_at)),
    };
    query.execute(&mut **write).await.map_err(doing(DOING))?;
    Ok(())
}

impl Store {
    /// What records told of drift, newest first: of each chain the newest, whoever's it is.
    ///
    /// # Errors
    /// `Denied`, or the database.
    pub async fn drift_history(&self, access: &Access) -> Stored<Vec<PastDrift>> {
        access.operator("see what differed before")?;
        let rows = sqlx::query(
            "SELECT c.machine, c.epoch, r.seq, r.hash, r.observed_at, r.received_at, d.area, d.first_at, d.times, d.told \
             FROM drifts d JOIN records r ON r.id = d.record JOIN chains c ON c.id = d.chain ORDER BY d.record DESC",
        )
        .fetch_all(&self.pool)
        .await
        .map_err(doing("reading what differed before"))?;
        rows.iter()
            .map(|row| {
                let damaged = || StoreError::Damaged("word of drift");
                let host = HostName::new(row.get::<String, _>(0)).map_err(|_| damaged())?;
                let told: Option<String> = row.get(9);
                let told = told.map(|text| serde_json::from_str(&text)).transpose().map_err(|_| damaged())?;
                Ok(PastDrift {
                    area: row.get(6),
                    times: u32::try_from(row.get::<i64, _>(8)).unwrap_or(u32::MAX),
                    first_at: time(row.get(7)),
                    observed_at: time(row.get(4)),
                    received_at: time(row.get(5)),
                    told: told.unwrap_or_default(),
                    record: RecordRef {
                        host: host.clone(),
                        role: MachineRole::Host,
                        epoch: Epoch(u32::try_from(row.get::<i64, _>(1)).map_err(|_| damaged())?),
                        seq: Seq(number(row.get(2))),
                        hash: hash(row.get(3))?,
                    },
                    host,
                })
            })
            .collect()
    }
}
