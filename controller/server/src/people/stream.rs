//! An answer that is written while it is read, so that its length costs no memory. One that breaks off is told by how the
//! connection ends, never by a shorter answer.

use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::{Body, Bytes, HttpBody};
use hyper::body::Frame;
use tokio::sync::mpsc;

use crate::store::StoreError;

/// Parts that wait for the reader at most.
const WAITING: usize = 2;

/// A body whose parts come from a task.
#[derive(Debug)]
struct Parts(mpsc::Receiver<Result<Bytes, StoreError>>);

impl HttpBody for Parts {
    type Data = Bytes;
    type Error = StoreError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, StoreError>>> {
        self.0.poll_recv(context).map(|part| part.map(|part| part.map(Frame::data)))
    }
}

/// The way to the reader.
#[derive(Debug)]
pub(super) struct Writer(mpsc::Sender<Result<Bytes, StoreError>>);

/// The reader has gone.
#[derive(Debug)]
pub(super) struct Gone;

impl Writer {
    /// Waits until there is room for the next part.
    pub(super) async fn write(&self, part: String) -> Result<(), Gone> {
        self.0.send(Ok(Bytes::from(part))).await.map_err(|_| Gone)
    }

    /// Breaks the answer off.
    pub(super) async fn fail(&self, error: StoreError) {
        // A reader that has gone needs not be told.
        let _ = self.0.send(Err(error)).await;
    }
}

/// A body, and the way to write it.
pub(super) fn body() -> (Writer, Body) {
    let (sender, parts) = mpsc::channel(WAITING);
    (Writer(sender), Body::new(Parts(parts)))
}
