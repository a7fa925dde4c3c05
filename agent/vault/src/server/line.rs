//! Both directions of a channel as one stream with an end: idle too long, stuck too long, or broken.

use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

/// Both directions of a channel as one stream that ends when either fails or nothing has come for too long: the library
/// goes on reading after every other error.
pub(super) struct Line<R, W> {
    pub(super) from: R,
    pub(super) to: W,
    pub(super) quiet: Pin<Box<Sleep>>,
    pub(super) idle: std::time::Duration,
    /// Until when an answer must be taken: of a connection that has died nobody says that it never will be.
    pub(super) stuck: Option<Pin<Box<Sleep>>>,
    pub(super) frame: std::time::Duration,
    pub(super) over: bool,
}

impl<R: AsyncRead + Unpin, W: Unpin> AsyncRead for Line<R, W> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let line = self.get_mut();
        if line.over {
            return Poll::Ready(Ok(()));
        }
        let before = buf.filled().len();
        match Pin::new(&mut line.from).poll_read(cx, buf) {
            Poll::Ready(Ok(())) if buf.filled().len() > before => {
                line.quiet.as_mut().reset(soon(line.idle));
                Poll::Ready(Ok(()))
            }
            Poll::Ready(_) => {
                line.over = true;
                Poll::Ready(Ok(()))
            }
            Poll::Pending => match line.quiet.as_mut().poll(cx) {
                Poll::Ready(()) => {
                    line.over = true;
                    Poll::Ready(Ok(()))
                }
                Poll::Pending => Poll::Pending,
            },
        }
    }
}

/// The moment so far from now on the runtime's clock.
fn soon(after: std::time::Duration) -> tokio::time::Instant {
    tokio::time::sleep(after).deadline()
}

impl<R: Unpin, W: AsyncWrite + Unpin> AsyncWrite for Line<R, W> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<std::io::Result<usize>> {
        let line = self.get_mut();
        let written = Pin::new(&mut line.to).poll_write(cx, buf);
        if written.is_ready() {
            line.stuck = None;
            line.over |= matches!(written, Poll::Ready(Err(_)));
            return written;
        }
        let frame = line.frame;
        let stuck = line.stuck.get_or_insert_with(|| Box::pin(tokio::time::sleep(frame)));
        match stuck.as_mut().poll(cx) {
            Poll::Ready(()) => {
                line.over = true;
                Poll::Ready(Err(std::io::ErrorKind::TimedOut.into()))
            }
            Poll::Pending => Poll::Pending,
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.get_mut().to).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.get_mut().to).poll_shutdown(cx)
    }
}
