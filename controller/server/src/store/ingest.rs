//! Takes records in: the batches of several machines in one transaction, each whole or not at all, answered after the
//! commit. What is held already, sent again because its answer was lost, is taken without being kept twice.

use jiff::Timestamp;
use sqlx::{QueryBuilder, Row, Sqlite, Transaction};
use tenure_trust::enrol::{IngestAnswer, IngestFinding};
use tenure_trust::ingest::{Held, Sound, Stand, behind, stand};
use tenure_trust::record::VerdictTag;
use tenure_trust::{About, Epoch, HostName, MachineRole, Seq};

use super::drifts;
use super::findings::{FindingKind, count};
use super::spent::{Full, Room, Spent};
use super::{Access, Store, StoreError, Stored, doing, hash, kept, ms, number};

const DOING: &str = "taking records in";
/// Rows of one statement.
const ROWS: usize = 32;

/// The lines of one request, each sound in itself.
#[derive(Debug)]
pub struct Batch {
    /// Who sends them.
    pub access: Access,
    /// Whose chain it is.
    pub name: HostName,
    /// In which role.
    pub role: MachineRole,
    /// The chain that the admission of these keys begins.
    pub epoch: Epoch,
    /// In the order of the request.
    pub lines: Vec<Sound>,
    /// Bytes of the request.
    pub bytes: u64,
    /// Why the line after these was not sound; then none of them is taken.
    pub broken: Option<IngestFinding>,
}

/// What came of one batch.
pub type Outcome = Result<IngestAnswer, Full>;

impl Store {
    /// Judges the batches one after the other against what is held and keeps those that follow. When this returns, all
    /// that is answered as taken is on disk.
    ///
    /// # Errors
    /// `Denied` when a batch is not its sender's own, or the database; then nothing of any batch was taken.
    pub async fn take(
        &self,
        _access: &Access,
        batches: &[Batch],
        room: Room,
        now: Timestamp,
    ) -> Stored<Vec<Outcome>> {
        for batch in batches {
            batch.access.machine(&batch.name, batch.role, "send these records")?;
        }
        let mut write = self.write(DOING).await?;
        let last: i64 = sqlx::query_scalar("SELECT COALESCE(MAX(id), 0) FROM records")
            .fetch_one(&mut *write)
            .await
            .map_err(doing(DOING))?;
        let mut next_id = last + 1;
        let mut answers = Vec::with_capacity(batches.len());
        for batch in batches {
            answers.push(one(&mut write, batch, room, &mut next_id, now).await?);
        }
        write.commit().await.map_err(doing(DOING))?;
        Ok(answers)
    }
}

/// Where a chain stands, which row it is, and what its machine has sent of late.
struct Head {
    id: Option<i64>,
    held: Held,
    spent: Spent,
}

async fn one(
    write: &mut Transaction<'static, Sqlite>,
    batch: &Batch,
    room: Room,
    next_id: &mut i64,
    now: Timestamp,
) -> Stored<Outcome> {
    let head = head(write, batch).await?;
    let mut held = head.held;
    let mut fault = None;
    // How many lines at the beginning are held already, each as it was sent: the answer to them was lost.
    let mut again = 0;
    for (n, line) in batch.lines.iter().enumerate() {
        match stand(&held, &line.record, line.hash) {
            Stand::Next(next) => held = next,
            Stand::Refused(finding) => fault = Some((finding, line.record.seq)),
            Stand::Behind => {
                let stored = stored_hash(write, head.id, line.record.seq).await?;
                // A place that this very request has just filled is held by none yet: the same line twice in it.
                let twin = batch.lines.iter().find(|other| other.record.seq == line.record.seq);
                let stored_or_twin = stored.or(twin.map(|other| other.hash));
                let follows = n == 0 || batch.lines[n - 1].record.seq.0 + 1 == line.record.seq.0;
                if stored == Some(line.hash) && follows && again == n {
                    again += 1;
                } else {
                    fault = Some((behind(&line.record, line.hash, stored_or_twin), line.record.seq));
                }
            }
        }
        if fault.is_some() {
            break;
        }
    }
    let fault = fault.or(batch.broken.map(|finding| (finding, Seq(held.seq.0.saturating_add(1)))));
    let Held { epoch, seq, hash } = head.held;
    if let Some((finding, at)) = fault {
        let what = format!("record {at} of epoch {}; held up to {seq}", batch.epoch);
        let place = format!("epoch {}", batch.epoch);
        let kind = FindingKind::Ingest(finding);
        count(write, (&batch.name, batch.role), kind, &place, &what, now).await?;
        return Ok(Ok(IngestAnswer::Refused { finding, epoch, seq }));
    }
    let new = &batch.lines[again..];
    if new.is_empty() {
        // What was sent last is what is acknowledged, also when more is held after it.
        let last = batch.lines.last();
        let (seq, hash) = last.map_or((seq, hash), |last| (last.record.seq, last.hash));
        return Ok(Ok(IngestAnswer::Taken { epoch, seq, hash }));
    }
    let spent = match head.spent.with(batch.bytes, room, now) {
        Ok(spent) => spent,
        Err(full) => {
            if full == Full::Budget {
                let what =
                    format!("more than {} MiB of records in a day; held up to {seq}", room.budget >> 20);
                let whose = (&batch.name, batch.role);
                count(write, whose, FindingKind::TooMuch, "budget of a day", &what, now).await?;
            }
            return Ok(Err(full));
        }
    };
    let chain = advance(write, batch, new, (head.id, &held, spent), now).await?;
    let first = *next_id;
    insert(write, chain, new, next_id, now).await?;
    drifts::keep(write, chain, (first..).zip(new)).await?;
    Ok(Ok(IngestAnswer::Taken { epoch: held.epoch, seq: held.seq, hash: held.hash }))
}

async fn head(write: &mut Transaction<'static, Sqlite>, batch: &Batch) -> Stored<Head> {
    let row = sqlx::query(
        "SELECT id, seq, hash, day, day_bytes, minute, minute_bytes FROM chains \
         WHERE machine = ?1 AND role = ?2 AND epoch = ?3",
    )
    .bind(batch.name.as_str())
    .bind(batch.role.word())
    .bind(i64::from(batch.epoch.0))
    .fetch_optional(&mut **write)
    .await
    .map_err(doing(DOING))?;
    let Some(row) = row else {
        let held = Held::nothing(&batch.name, batch.role, batch.epoch);
        return Ok(Head { id: None, held, spent: Spent::default() });
    };
    let held = Held { epoch: batch.epoch, seq: Seq(number(row.get(1))), hash: hash(row.get(2))? };
    let spent = Spent {
        day: row.get(3),
        day_bytes: number(row.get(4)),
        minute: row.get(5),
        minute_bytes: number(row.get(6)),
    };
    Ok(Head { id: Some(row.get(0)), held, spent })
}

async fn stored_hash(
    write: &mut Transaction<'static, Sqlite>,
    chain: Option<i64>,
    seq: Seq,
) -> Stored<Option<tenure_trust::Hash>> {
    let found = sqlx::query("SELECT hash FROM records WHERE chain = ?1 AND seq = ?2")
        .bind(chain)
        .bind(kept(seq.0))
        .fetch_optional(&mut **write)
        .await
        .map_err(doing(DOING))?;
    found.map(|row| hash(row.get(0))).transpose()
}

async fn advance(
    write: &mut Transaction<'static, Sqlite>,
    batch: &Batch,
    new: &[Sound],
    (id, held, spent): (Option<i64>, &Held, Spent),
    now: Timestamp,
) -> Stored<i64> {
    let lost: i64 = new.iter().map(|line| i64::from(line.record.lost)).sum();
    let row = match id {
        Some(_) => sqlx::query(
            "UPDATE chains SET seq = ?1, hash = ?2, received_at = ?3, lost = lost + ?4, day = ?5, day_bytes = ?6, \
             minute = ?7, minute_bytes = ?8 WHERE id = ?9 RETURNING id",
        ),
        None => sqlx::query(
            "INSERT INTO chains (seq, hash, received_at, lost, day, day_bytes, minute, minute_bytes, machine, role, \
             epoch) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11) RETURNING id",
        ),
    };
    let row = row
        .bind(kept(held.seq.0))
        .bind(held.hash.as_bytes().to_vec())
        .bind(ms(now))
        .bind(lost)
        .bind(spent.day)
        .bind(kept(spent.day_bytes))
        .bind(spent.minute)
        .bind(kept(spent.minute_bytes));
    let row = match id {
        Some(id) => row.bind(id),
        None => row.bind(batch.name.as_str()).bind(batch.role.word()).bind(i64::from(batch.epoch.0)),
    };
    let row = row.fetch_optional(&mut **write).await.map_err(doing(DOING))?;
    row.map(|row| row.get(0)).ok_or(StoreError::Damaged("chain"))
}

async fn insert(
    write: &mut Transaction<'static, Sqlite>,
    chain: i64,
    lines: &[Sound],
    next_id: &mut i64,
    now: Timestamp,
) -> Stored<()> {
    for rows in lines.chunks(ROWS) {
        let first = *next_id;
        *next_id += i64::try_from(rows.len()).unwrap_or(0);
        let mut records = QueryBuilder::new(
            "INSERT INTO records (id, chain, seq, hash, envelope, area, about, policy, verdict, reason, observed_at, \
             received_at) ",
        );
        records.push_values((first..).zip(rows), |mut row, (id, line)| {
            let record = &line.record;
            let (area, about) = match &record.about {
                About::Area(name) => (true, name.as_str()),
                About::Event(name) => (false, name.as_str()),
            };
            row.push_bind(id)
                .push_bind(chain)
                .push_bind(kept(record.seq.0))
                .push_bind(line.hash.as_bytes().to_vec())
                .push_bind(line.line.record.to_json())
                .push_bind(area)
                .push_bind(about.to_owned())
                .push_bind(record.policy.map(|version| kept(version.0)))
                .push_bind(record.verdict.map(word))
                .push_bind(record.reason.as_ref().map(ToString::to_string))
                .push_bind(ms(record.observed_at))
                .push_bind(ms(now));
        });
        records.build().execute(&mut **write).await.map_err(doing(DOING))?;
        let with_payload: Vec<_> =
            (first..).zip(rows).filter_map(|(id, line)| Some((id, line.payload()?))).collect();
        if with_payload.is_empty() {
            continue;
        }
        let mut payloads = QueryBuilder::new("INSERT INTO payloads (record, salt, bytes) ");
        payloads.push_values(with_payload, |mut row, (id, payload)| {
            row.push_bind(id).push_bind(payload.salt().to_vec()).push_bind(payload.bytes().to_vec());
        });
        payloads.build().execute(&mut **write).await.map_err(doing(DOING))?;
    }
    Ok(())
}

/// The verdict's word as it is kept.
const fn word(verdict: VerdictTag) -> &'static str {
    match verdict {
        VerdictTag::Compliant => "compliant",
        VerdictTag::Remediated => "remediated",
        VerdictTag::Pending => "pending",
        VerdictTag::Drifted => "drifted",
        VerdictTag::Unknown => "unknown",
        VerdictTag::Refused => "refused",
    }
}
