//! Frames of the typed channel off a stream: bounded in size and time, whatever pieces they come in.

use std::time::Duration;

use tenure_trust::vault_wire::{Answer, RefusalCode, VaultRefusal, frame, frame_length};
use tenure_trust::{Refused, vault_wire::Request};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::Limits;

/// Why no further frame is read.
#[derive(Debug)]
pub(super) enum Stop {
    /// The other side has ended, or came to nothing for too long.
    End,
    /// What came is no frame: it is answered, and the channel ends, because nobody knows where the next begins.
    Refused(VaultRefusal),
}

/// The next request.
pub(super) async fn request<R: AsyncRead + Unpin>(from: &mut R, limits: &Limits) -> Result<Request, Stop> {
    let mut head = [0u8; 4];
    exact(from, &mut head[..1], limits.idle).await?;
    exact(from, &mut head[1..], limits.frame).await?;
    let length = frame_length(head).map_err(refused)?;
    let mut json = vec![0; length];
    exact(from, &mut json, limits.frame).await?;
    Request::parse(&json).map_err(refused)
}

/// Exactly so many bytes.
pub(super) async fn exact<R: AsyncRead + Unpin>(
    from: &mut R,
    bytes: &mut [u8],
    within: Duration,
) -> Result<(), Stop> {
    match tokio::time::timeout(within, from.read_exact(bytes)).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(_)) | Err(_) => Err(Stop::End),
    }
}

/// Writes an answer; false when nobody takes it.
pub(super) async fn answer<W: AsyncWrite + Unpin>(to: &mut W, answer: &Answer, within: Duration) -> bool {
    let bytes = match frame(answer) {
        Ok(bytes) => bytes,
        // Only an inventory can be that long.
        Err(_) => match frame(&Answer::Refused(VaultRefusal {
            code: RefusalCode::TooLarge,
            what: "the answer is too long".into(),
        })) {
            Ok(bytes) => bytes,
            Err(_) => return false,
        },
    };
    let written = async {
        to.write_all(&bytes).await?;
        to.flush().await
    };
    matches!(tokio::time::timeout(within, written).await, Ok(Ok(())))
}

fn refused(why: Refused) -> Stop {
    let code = match why {
        Refused::TooLarge { .. } => RefusalCode::TooLarge,
        _ => RefusalCode::Malformed,
    };
    Stop::Refused(VaultRefusal { code, what: why.to_string() })
}
