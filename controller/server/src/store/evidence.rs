//! Reads the records that were taken in: where chains stand, what a machine last said of each area, its events.

use jiff::Timestamp;
use serde::Serialize;
use sqlx::Row;
use sqlx::sqlite::SqliteRow;
use tenure_trust::{Hash, Payload, vault_pages};

use super::{Access, Store, Stored, doing, hash, kept, number, time};

/// Where a chain stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ChainHead {
    /// Whose.
    pub machine: String,
    /// In which role.
    pub role: String,
    /// Which of its chains.
    pub epoch: u64,
    /// Place of the last record that is held.
    pub seq: u64,
    /// Its hash.
    pub hash: Hash,
    /// Records that the machine says it could not write.
    pub lost: u64,
    /// When the last came, by the controller's clock.
    pub received_at: Timestamp,
}

/// A record that is held.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct HeldRecord {
    /// Whose.
    pub machine: String,
    /// In which role.
    pub role: String,
    /// Which of its chains.
    pub epoch: u64,
    /// Its place.
    pub seq: u64,
    /// Its name: the hash of its signed bytes.
    pub hash: Hash,
    /// True for a pass of an area, false for an event.
    pub area: bool,
    /// Which area or event.
    pub about: String,
    /// The policy version judged against.
    pub policy: Option<u64>,
    /// The machine's verdict.
    pub verdict: Option<String>,
    /// Why, in fixed words.
    pub reason: Option<String>,
    /// When the facts were seen, by the machine's clock.
    pub observed_at: Timestamp,
    /// When it came, by the controller's.
    pub received_at: Timestamp,
    /// The facts; none when they were deleted or were not asked for.
    #[serde(skip)]
    pub payload: Option<Vec<u8>>,
}

/// Which records of a machine.
#[derive(Debug, Clone, Copy, Default)]
pub struct RecordQuery<'a> {
    /// Only of this role.
    pub role: Option<&'a str>,
    /// Only about this area or event.
    pub about: Option<&'a str>,
    /// Only those before this place, for the next page.
    pub before: Option<u64>,
    /// With the facts.
    pub payloads: bool,
    /// At most so many, newest first.
    pub limit: u32,
}

/// A page of events, from the newest on.
#[derive(Debug, Clone, Copy)]
pub struct Page {
    /// Only what is before this.
    pub before: Option<u64>,
    /// At most so many.
    pub limit: u32,
    /// The one with which their facts pass so many bytes is the last.
    pub bytes: u64,
}

const COLUMNS: &str = "c.machine, c.role, c.epoch, r.seq, r.hash, r.area, r.about, r.policy, r.verdict, r.reason, \
                       r.observed_at, r.received_at";

impl Store {
    /// Where every chain stands.
    ///
    /// # Errors
    /// `Denied`, or the database.
    pub async fn heads(&self, access: &Access) -> Stored<Vec<ChainHead>> {
        access.operator("see the chains")?;
        let rows = sqlx::query(
            "SELECT machine, role, epoch, seq, hash, lost, received_at FROM chains ORDER BY machine, role, epoch",
        )
        .fetch_all(&self.pool)
        .await
        .map_err(doing("reading the chains"))?;
        rows.iter()
            .map(|row| {
                Ok(ChainHead {
                    machine: row.get(0),
                    role: row.get(1),
                    epoch: number(row.get(2)),
                    seq: number(row.get(3)),
                    hash: hash(row.get(4))?,
                    lost: number(row.get(5)),
                    received_at: time(row.get(6)),
                })
            })
            .collect()
    }

    /// Records of one machine, newest first.
    ///
    /// # Errors
    /// `Denied`, or the database.
    pub async fn records(
        &self,
        access: &Access,
        machine: &str,
        query: RecordQuery<'_>,
    ) -> Stored<Vec<HeldRecord>> {
        access.operator("read records")?;
        let text = format!(
            "SELECT {COLUMNS}, p.salt, p.bytes FROM records r JOIN chains c ON c.id = r.chain \
             LEFT JOIN payloads p ON p.record = r.id AND ?5 \
             WHERE c.machine = ?1 AND (?2 IS NULL OR c.role = ?2) AND (?3 IS NULL OR r.about = ?3) \
             AND (?4 IS NULL OR r.seq < ?4) ORDER BY c.epoch DESC, r.seq DESC LIMIT ?6"
        );
        let rows = sqlx::query(sqlx::AssertSqlSafe(text))
            .bind(machine)
            .bind(query.role)
            .bind(query.about)
            .bind(query.before.map(kept))
            .bind(query.payloads)
            .bind(i64::from(query.limit.clamp(1, 1000)))
            .fetch_all(&self.pool)
            .await
            .map_err(doing("reading records"))?;
        rows.iter().map(record).collect()
    }

    /// The newest record of every area that is judged of every machine, with its facts. What a machine calls otherwise is
    /// kept, and not looked at.
    ///
    /// # Errors
    /// `Denied`, or the database.
    pub async fn newest(&self, access: &Access) -> Stored<Vec<HeldRecord>> {
        access.operator("judge the records")?;
        let text = format!(
            "SELECT {COLUMNS}, p.salt, p.bytes FROM chains c \
             JOIN json_each(CASE c.role WHEN 'vault' THEN ?2 ELSE ?1 END) AS name \
             JOIN records r ON r.chain = c.id AND r.seq = (SELECT one.seq FROM records AS one \
               WHERE one.chain = c.id AND one.about = name.value AND one.area = 1 ORDER BY one.seq DESC LIMIT 1) \
             LEFT JOIN payloads p ON p.record = r.id \
             WHERE c.epoch = (SELECT MAX(epoch) FROM chains AS all_ \
               WHERE all_.machine = c.machine AND all_.role = c.role) \
             ORDER BY c.machine, c.role, r.about"
        );
        let of_hosts = serde_json::Value::from(tenure_areas::AREAS.as_slice()).to_string();
        let pages = (0..).map_while(vault_pages::page_area).map(|area| area.to_string());
        let of_vaults: Vec<String> = std::iter::once(vault_pages::AREA.to_owned()).chain(pages).collect();
        let rows = sqlx::query(sqlx::AssertSqlSafe(text))
            .bind(of_hosts)
            .bind(serde_json::Value::from(of_vaults).to_string())
            .fetch_all(&self.pool)
            .await
            .map_err(doing("reading the newest records"))?;
        rows.iter().map(record).collect()
    }

    /// The events with these names that came since, of every machine, oldest first, with what they say: the latest, at
    /// most so many and so many bytes of facts. Beside them what the next page is before, if there are more.
    ///
    /// # Errors
    /// `Denied`, or the database.
    pub async fn events_since(
        &self,
        access: &Access,
        names: &[&str],
        since: Timestamp,
        page: Page,
    ) -> Stored<(Vec<HeldRecord>, Option<u64>)> {
        access.operator("judge the records")?;
        const DOING: &str = "reading events";
        const WHICH: &str = "FROM records r JOIN chains c ON c.id = r.chain LEFT JOIN payloads p ON p.record = r.id \
                             WHERE r.area = 0 AND r.received_at >= ?1 AND r.about IN (SELECT value FROM json_each(?2)) \
                             AND (?3 IS NULL OR r.id < ?3)";
        let names = serde_json::Value::from(names).to_string();
        let sizes = format!("SELECT r.id, COALESCE(LENGTH(p.bytes), 0) {WHICH} ORDER BY r.id DESC LIMIT ?4");
        let sizes = sqlx::query(sqlx::AssertSqlSafe(sizes))
            .bind(super::ms(since))
            .bind(&names)
            .bind(page.before.map(kept))
            .bind(i64::from(page.limit) + 1)
            .fetch_all(&self.pool)
            .await
            .map_err(doing(DOING))?;
        let mut left = page.bytes;
        let fits = |row: &&SqliteRow| {
            let fits = left > 0;
            left = left.saturating_sub(number(row.get(1)));
            fits
        };
        let fitting: Vec<i64> =
            sizes.iter().take(page.limit as usize).take_while(fits).map(|row| row.get(0)).collect();
        let Some(first) = fitting.last() else { return Ok((Vec::new(), None)) };
        let whole = format!("SELECT {COLUMNS}, p.salt, p.bytes {WHICH} AND r.id >= ?4 ORDER BY r.id");
        let rows = sqlx::query(sqlx::AssertSqlSafe(whole))
            .bind(super::ms(since))
            .bind(names)
            .bind(page.before.map(kept))
            .bind(first)
            .fetch_all(&self.pool)
            .await
            .map_err(doing(DOING))?;
        let more = (fitting.len() < sizes.len()).then(|| number(*first));
        Ok((rows.iter().map(record).collect::<Stored<_>>()?, more))
    }

    /// How many records are held.
    ///
    /// # Errors
    /// `Denied`, or the database.
    pub async fn record_count(&self, access: &Access) -> Stored<u64> {
        access.operator("count the records")?;
        let count: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM records")
            .fetch_one(&self.pool)
            .await
            .map_err(doing("counting records"))?;
        Ok(number(count))
    }

    /// The signed lines of one chain from one place to another, both included, as they came: for an export.
    ///
    /// # Errors
    /// `Denied`, or the database.
    pub async fn lines(
        &self,
        access: &Access,
        machine: &str,
        role: &str,
        epoch: u64,
        (from, to): (u64, u64),
    ) -> Stored<Vec<(String, Option<Payload>)>> {
        access.operator("export records")?;
        let rows = sqlx::query(
            "SELECT r.envelope, p.salt, p.bytes FROM records r JOIN chains c ON c.id = r.chain \
             LEFT JOIN payloads p ON p.record = r.id \
             WHERE c.machine = ?1 AND c.role = ?2 AND c.epoch = ?3 AND r.seq BETWEEN ?4 AND ?5 ORDER BY r.seq",
        )
        .bind(machine)
        .bind(role)
        .bind(kept(epoch))
        .bind(kept(from))
        .bind(kept(to))
        .fetch_all(&self.pool)
        .await
        .map_err(doing("reading a chain"))?;
        Ok(rows.iter().map(|row| (row.get(0), payload(row, 1))).collect())
    }
}

fn payload(row: &SqliteRow, at: usize) -> Option<Payload> {
    let (salt, bytes): (Option<Vec<u8>>, Option<Vec<u8>>) = (row.get(at), row.get(at + 1));
    Payload::new(salt?.try_into().ok()?, bytes?).ok()
}

fn record(row: &SqliteRow) -> Stored<HeldRecord> {
    Ok(HeldRecord {
        machine: row.get(0),
        role: row.get(1),
        epoch: number(row.get(2)),
        seq: number(row.get(3)),
        hash: hash(row.get(4))?,
        area: row.get(5),
        about: row.get(6),
        policy: row.get::<Option<i64>, _>(7).map(number),
        verdict: row.get(8),
        reason: row.get(9),
        observed_at: time(row.get(10)),
        received_at: time(row.get(11)),
        payload: row.get(13),
    })
}
