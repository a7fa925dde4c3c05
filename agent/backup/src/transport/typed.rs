//! The typed channel from the host's side, and the engine's sink over several of them.

use std::collections::BTreeSet;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use russh::client::{self, Handle};
use tenure_sys::clock;
use tenure_trust::Object;
use tenure_trust::vault_wire::{Answer, Request, frame, frame_length};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::runtime::Runtime;

use super::{ANSWER, PIECE, Pinned};
use crate::engine::{ObjectSink, StoreError};
use crate::error::BackupError;

/// Bytes that are sent at once.
const BLOCK: usize = 256 << 10;

/// How often a write that waits looks whether the connection is still there.
const LOOK: Duration = Duration::from_millis(200);

/// One channel: a question, its answer.
pub struct Typed<'l> {
    runtime: &'l Runtime,
    handle: &'l Handle<Pinned>,
    /// None only while it goes.
    stream: Option<russh::ChannelStream<client::Msg>>,
}

impl Drop for Typed<'_> {
    fn drop(&mut self) {
        // The stream closes its channel with a task, which has to belong to a runtime.
        let _inside = self.runtime.enter();
        drop(self.stream.take());
    }
}

impl std::fmt::Debug for Typed<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Typed")
    }
}

impl<'l> Typed<'l> {
    pub(super) fn new(
        runtime: &'l Runtime,
        handle: &'l Handle<Pinned>,
        stream: russh::ChannelStream<client::Msg>,
    ) -> Self {
        Self { runtime, handle, stream: Some(stream) }
    }

    /// Asks; a refusal is an error.
    ///
    /// # Errors
    /// `Transport`, `Refused`, `Answer`.
    pub fn ask(&mut self, request: &Request) -> Result<Answer, BackupError> {
        let runtime = self.runtime;
        runtime.block_on(async {
            self.send(&framed(request)?).await?;
            self.answer().await
        })
    }

    /// Brings an object; the vault's number of it.
    ///
    /// # Errors
    /// As [`Typed::ask`].
    pub fn put(&mut self, object: &Object, bytes: &[u8]) -> Result<u64, BackupError> {
        let runtime = self.runtime;
        let head = framed(&Request::Put { object: object.clone() })?;
        let answer = runtime.block_on(async {
            self.send(&head).await?;
            for block in bytes.chunks(BLOCK) {
                self.send(block).await?;
            }
            self.answer().await
        })?;
        match answer {
            Answer::Stored { sequence } => Ok(sequence),
            other => Err(unexpected(&other)),
        }
    }

    /// Is the object there already?
    ///
    /// # Errors
    /// As [`Typed::ask`].
    pub fn has(&mut self, object: &Object) -> Result<bool, BackupError> {
        match self.ask(&Request::Have { objects: vec![object.clone()] })? {
            Answer::Have { there } => Ok(there.first() == Some(&true)),
            other => Err(unexpected(&other)),
        }
    }

    fn stream(&mut self) -> Result<&mut russh::ChannelStream<client::Msg>, BackupError> {
        self.stream.as_mut().ok_or_else(|| BackupError::Answer("the channel is closed".into()))
    }

    async fn send(&mut self, bytes: &[u8]) -> Result<(), BackupError> {
        let doing = "sending to the vault";
        let handle = self.handle;
        // A write that waits for room is not told when the connection ends.
        let lost = async {
            while !handle.is_closed() {
                tokio::time::sleep(LOOK).await;
            }
        };
        tokio::select! {
            biased;
            sent = self.stream()?.write_all(bytes) => sent.map_err(|e| BackupError::transport(doing, e)),
            () = lost => Err(BackupError::transport(doing, "the connection is lost")),
            () = tokio::time::sleep(PIECE) => Err(BackupError::transport(doing, "it takes nothing any more")),
        }
    }

    async fn answer(&mut self) -> Result<Answer, BackupError> {
        let doing = "waiting for the vault's answer";
        let read = async {
            let mut head = [0; 4];
            self.stream()?.read_exact(&mut head).await.map_err(|e| BackupError::transport(doing, e))?;
            let length = frame_length(head).map_err(|e| BackupError::Answer(e.to_string()))?;
            let mut json = vec![0; length];
            self.stream()?.read_exact(&mut json).await.map_err(|e| BackupError::transport(doing, e))?;
            Answer::parse(&json).map_err(|e| BackupError::Answer(e.to_string()))
        };
        match tokio::time::timeout(ANSWER, read).await {
            Ok(Ok(Answer::Refused(refusal))) => Err(BackupError::Refused(refusal)),
            Ok(answer) => answer,
            Err(_) => Err(BackupError::transport(doing, "none came")),
        }
    }
}

/// An answer that does not belong to its question.
pub(crate) fn unexpected(answer: &Answer) -> BackupError {
    let text: String = format!("{answer:?}").chars().take(60).collect();
    BackupError::Answer(tenure_sys::text::neutral(text.as_bytes(), 200))
}

fn framed(request: &Request) -> Result<Vec<u8>, BackupError> {
    frame(request).map_err(|e| BackupError::Answer(e.to_string()))
}

/// What the vault has acknowledged of a run.
#[derive(Debug, Clone, Default)]
pub struct Books {
    /// Objects.
    pub objects: BTreeSet<Object>,
    /// The vault's highest number.
    pub last: u64,
}

/// The engine's sink: several channels side by side, each with one object on its way.
#[derive(Debug)]
pub struct Writing<'l> {
    free: Mutex<Vec<Typed<'l>>>,
    came_back: Condvar,
    books: Mutex<Books>,
    pace: Option<Mutex<Pace>>,
}

#[derive(Debug)]
struct Pace {
    bytes_per_second: u64,
    /// When the line is free again.
    next: Duration,
}

impl<'l> Writing<'l> {
    /// Over channels that have opened the same generation.
    pub fn over(channels: Vec<Typed<'l>>, opened_at: u64, bytes_per_second: Option<u64>) -> Self {
        let pace = bytes_per_second
            .map(|rate| Mutex::new(Pace { bytes_per_second: rate.max(1), next: clock::monotonic() }));
        let books = Books { objects: BTreeSet::new(), last: opened_at };
        Self { free: Mutex::new(channels), came_back: Condvar::new(), books: Mutex::new(books), pace }
    }

    /// What was acknowledged so far.
    pub fn books(&self) -> Books {
        held(&self.books).clone()
    }

    /// The channels, when the run is over.
    pub fn into_channels(self) -> Vec<Typed<'l>> {
        self.free.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait_for_the_line(&self, bytes: u64) {
        let Some(pace) = &self.pace else { return };
        let until = {
            let mut pace = held(pace);
            let from = pace.next.max(clock::monotonic());
            let takes = Duration::from_nanos(bytes.saturating_mul(1_000_000_000) / pace.bytes_per_second);
            pace.next = from.saturating_add(takes);
            from
        };
        std::thread::sleep(until.saturating_sub(clock::monotonic()));
    }
}

impl ObjectSink for Writing<'_> {
    fn put(&self, object: &Object, bytes: &[u8]) -> Result<u64, StoreError> {
        self.wait_for_the_line(object.size);
        let mut free = held(&self.free);
        let mut channel = loop {
            match free.pop() {
                Some(channel) => break channel,
                None => free = self.came_back.wait(free).unwrap_or_else(PoisonError::into_inner),
            }
        };
        drop(free);
        let put = channel.put(object, bytes);
        held(&self.free).push(channel);
        self.came_back.notify_one();
        let sequence = put.map_err(|e| StoreError::new("storing", object.kind, &object.name, e))?;
        let mut books = held(&self.books);
        books.objects.insert(object.clone());
        books.last = books.last.max(sequence);
        Ok(sequence)
    }
}

fn held<T>(lock: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing panics while it holds one of these locks.
    lock.lock().unwrap_or_else(PoisonError::into_inner)
}
