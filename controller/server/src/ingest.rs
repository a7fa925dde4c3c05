//! The one writer of records: takes the requests that wait, keeps them all in one transaction, and answers after the
//! commit, so that one flush of the disk serves many machines.

use jiff::Timestamp;
use tenure_sys::room;
use tokio::sync::{mpsc, oneshot};

use crate::journal;
use crate::limits::Limits;
use crate::store::{Access, Batch, Outcome, Room, Space, Store};

/// Requests that wait at most; beyond that senders are told to come again.
const QUEUE: usize = 64;
/// Records of one transaction at most, so that nobody waits long.
const GROUP: usize = 4096;

type Waiting = (Batch, oneshot::Sender<Option<Outcome>>);

/// The way to the writer. Clones lead to the same one.
#[derive(Debug, Clone)]
pub struct Ingest {
    queue: mpsc::Sender<Waiting>,
}

/// The records were not kept: the queue is full, or the database failed. Nothing of the request was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("records cannot be kept now")]
pub struct NotKept;

impl Ingest {
    /// Starts the writer.
    pub fn start(store: Store, limits: Limits, clock: fn() -> Timestamp) -> Self {
        let (queue, waiting) = mpsc::channel(QUEUE);
        tokio::spawn(write(store, limits, clock, waiting));
        Self { queue }
    }

    /// False when the writer has ended by a fault of its own: nothing will be kept any more.
    pub fn lives(&self) -> bool {
        !self.queue.is_closed()
    }

    /// Offers a batch and waits until it is on disk or refused. Nothing of it was kept when there is no room for it.
    ///
    /// # Errors
    /// [`NotKept`]: send it again later.
    pub async fn take(&self, batch: Batch) -> Result<Outcome, NotKept> {
        let (answer, wait) = oneshot::channel();
        self.queue.send((batch, answer)).await.map_err(|_| NotKept)?;
        wait.await.ok().flatten().ok_or(NotKept)
    }
}

async fn write(store: Store, limits: Limits, clock: fn() -> Timestamp, mut waiting: mpsc::Receiver<Waiting>) {
    let mut told = Space::Enough;
    while let Some((first, answer)) = waiting.recv().await {
        let mut count = first.lines.len();
        let (mut batches, mut answers) = (vec![first], vec![answer]);
        while count < GROUP
            && let Ok((batch, answer)) = waiting.try_recv()
        {
            count += batch.lines.len();
            batches.push(batch);
            answers.push(answer);
        }
        let space = space(&store, limits.floor);
        tell(told, space);
        told = space;
        let room = Room { budget: limits.budget, space };
        let taken = match store.take(&Access::Itself, &batches, room, clock()).await {
            Ok(taken) => taken.into_iter().map(Some).collect(),
            Err(error) => {
                journal::error(&format!("records were not taken: {}", journal::chain(&error)));
                vec![None; answers.len()]
            }
        };
        for (answer, taken) in answers.into_iter().zip(taken) {
            // A sender that has gone asks again and is told the same.
            let _ = answer.send(taken);
        }
    }
}

/// How much room the database has. Where the kernel does not tell, the database itself fails when there is none.
fn space(store: &Store, floor: u64) -> Space {
    room::at(store.path()).map_or(Space::Enough, |room| Space::of(room.free, floor))
}

fn tell(before: Space, now: Space) {
    if before == now {
        return;
    }
    match now {
        Space::Enough => journal::notice("the disk has room again: records are taken"),
        Space::Low => {
            journal::error("the disk is nearly full: only heartbeats are taken; make room for /var/lib")
        }
        Space::None => journal::error("the disk is full: no record is taken; make room for /var/lib"),
    }
}
