//! The typed channel: one host, one generation, closed messages. Puts overlap, so that several share one sync; answers
//! come in the order of the requests.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use tenure_trust::vault_wire::{Answer, Open, RefusalCode, Request, VaultRefusal};
use tenure_trust::{Object, SeriesId};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{Semaphore, mpsc, oneshot};

use super::Limits;
use super::frames::{self, Stop};
use crate::in_force::Peer;
use crate::store::{Fault, Incoming, Opened};
use crate::vault::Vault;

/// Puts of one channel that are being written at once.
const OVERLAP: u32 = 4;
/// Answers that wait for their turn.
const WAITING: usize = 8;
/// Bytes of an object that are taken at once.
const PIECE: usize = 1 << 20;

/// An answer, now or when a put is done.
enum Pending {
    Now(Answer),
    Later(oneshot::Receiver<Answer>),
}

/// Serves one channel to its end. `refusals` are those of its whole connection.
pub(super) async fn serve<R, W>(
    vault: Arc<Vault>,
    peer: Peer,
    mut from: R,
    to: W,
    limits: &Limits,
    refusals: Arc<AtomicU32>,
) where
    R: AsyncRead + Unpin + Send,
    W: AsyncWrite + Unpin + Send + 'static,
{
    let (answers, waiting) = mpsc::channel(WAITING);
    let writer = tokio::spawn(write(to, waiting, limits.clone()));
    let mut desk = Desk {
        vault,
        peer,
        opened: None,
        answers,
        puts: Arc::new(Semaphore::new(OVERLAP as usize)),
        refusals,
    };
    loop {
        let request = match frames::request(&mut from, limits).await {
            Ok(request) => request,
            Err(Stop::End) => break,
            Err(Stop::Refused(refusal)) => {
                desk.refuse(refusal).await;
                break;
            }
        };
        if !desk.take(request, &mut from, limits).await {
            break;
        }
    }
    drop(desk);
    // A fault in it ends this channel, as every end does.
    let _ = writer.await;
}

/// Writes answers in order until there are no more or nobody takes them.
async fn write<W: AsyncWrite + Unpin>(mut to: W, mut waiting: mpsc::Receiver<Pending>, limits: Limits) {
    while let Some(pending) = waiting.recv().await {
        let answer = match pending {
            Pending::Now(answer) => answer,
            Pending::Later(answer) => answer.await.unwrap_or_else(|_| broken()),
        };
        if !frames::answer(&mut to, &answer, limits.frame).await {
            return;
        }
    }
}

struct Desk {
    vault: Arc<Vault>,
    peer: Peer,
    opened: Option<Arc<Opened>>,
    answers: mpsc::Sender<Pending>,
    puts: Arc<Semaphore>,
    refusals: Arc<AtomicU32>,
}

impl Desk {
    /// Deals with one request; false when the channel is to end.
    async fn take<R: AsyncRead + Unpin>(&mut self, request: Request, from: &mut R, limits: &Limits) -> bool {
        if let Request::Put { object } = request {
            return self.put(object, from, limits).await;
        }
        // Every other message comes after the puts before it.
        let puts = self.puts.clone();
        let Ok(_all) = puts.acquire_many(OVERLAP).await else { return false };
        let answer = match request {
            Request::Open(open) => self.open(open).await,
            Request::Have { objects } => self.have(&objects),
            Request::Seal { seal } => self.seal(seal).await,
            Request::Inventory { series } => self.inventory(series).await,
            Request::Order { order } => {
                let vault = self.vault.clone();
                blocking(move || vault.order(&order)).await.map(|()| Answer::Taken)
            }
            Request::Put { .. } => return false,
        };
        match answer {
            Ok(answer) => self.answers.send(Pending::Now(answer)).await.is_ok(),
            Err(fault) => self.fail(&fault, limits).await,
        }
    }

    async fn open(&mut self, open: Open) -> Result<Answer, Fault> {
        if self.opened.is_some() {
            return Err(Fault::refused(RefusalCode::Order, "this channel has opened a generation already"));
        }
        let (vault, peer) = (self.vault.clone(), self.peer.clone());
        let opened = blocking(move || vault.open(&peer, &open)).await?;
        let answer = Answer::Opened {
            generation: opened.generation,
            sequence: opened.books.last(),
            sealed: opened.sealed.clone(),
        };
        self.opened = Some(Arc::new(opened));
        Ok(answer)
    }

    fn have(&self, objects: &[Object]) -> Result<Answer, Fault> {
        let opened = self.opened()?;
        Ok(Answer::Have { there: objects.iter().map(|object| opened.books.has(object)).collect() })
    }

    async fn seal(&self, seal: String) -> Result<Answer, Fault> {
        let opened = self.opened()?;
        let (vault, peer) = (self.vault.clone(), self.peer.clone());
        let receipt = blocking({
            let opened = opened.clone();
            move || vault.seal(&peer, &opened, &seal)
        })
        .await?;
        let vault = self.vault.clone();
        // It may have been the last slot of its date. The answer does not wait for what follows.
        tokio::task::spawn_blocking(move || vault.turn_series(&opened.series));
        Ok(Answer::Sealed { receipt })
    }

    async fn inventory(&self, series: SeriesId) -> Result<Answer, Fault> {
        if !self.vault.in_force().reads(&self.peer, &series.host) {
            return Err(Fault::refused(RefusalCode::ForeignSeries, "this series is another host's"));
        }
        let vault = self.vault.clone();
        let generations =
            blocking(move || Ok(vault.store.get(&series).map(|s| s.facts()).unwrap_or_default())).await?;
        Ok(Answer::Inventory { generations })
    }

    /// Takes an object. What is refused is read to its end all the same, so that the next frame is found.
    async fn put<R: AsyncRead + Unpin>(&mut self, object: Object, from: &mut R, limits: &Limits) -> bool {
        let Some(opened) = self.opened.clone() else {
            // What follows is as long as it says; who sends objects before `open` is not listened to.
            let what = "no generation was opened on this channel";
            self.refuse(VaultRefusal { code: RefusalCode::Order, what: what.into() }).await;
            return false;
        };
        let Ok(turn) = self.puts.clone().acquire_owned().await else { return false };
        let full = opened.books.last() >= limits.objects && !opened.books.has(&object);
        let begun = if full {
            Err(Fault::refused(RefusalCode::TooLarge, "this generation holds as many objects as one may"))
        } else {
            let (vault, peer, opened, object) =
                (self.vault.clone(), self.peer.clone(), opened.clone(), object.clone());
            blocking(move || {
                vault.with_terms(&peer, &opened, |terms, _| vault.store.begin_put(terms, &opened, &object))
            })
            .await
        };
        let mut incoming = begun;
        let mut left = usize::try_from(object.size).unwrap_or(usize::MAX);
        while left > 0 {
            let mut piece = vec![0; left.min(PIECE)];
            if frames::exact(from, &mut piece, limits.frame).await.is_err() {
                return false;
            }
            left -= piece.len();
            incoming = match incoming {
                Ok(incoming) => blocking(move || written(incoming, &piece)).await,
                Err(fault) => Err(fault),
            };
        }
        let incoming = match incoming {
            Ok(incoming) => incoming,
            Err(fault) => return self.fail(&fault, limits).await,
        };
        let (done, answer) = oneshot::channel();
        let (vault, peer) = (self.vault.clone(), self.peer.clone());
        tokio::task::spawn_blocking(move || {
            let _turn = turn;
            let kept = vault
                .with_terms(&peer, &opened, |_, now| vault.store.finish_put(&opened, incoming, now))
                .map_or_else(
                    |fault| {
                        let refusal = fault.told();
                        note(&vault, &peer, &fault, &refusal);
                        Answer::Refused(refusal)
                    },
                    |sequence| Answer::Stored { sequence },
                );
            // The channel may have ended meanwhile.
            let _ = done.send(kept);
        });
        self.answers.send(Pending::Later(answer)).await.is_ok()
    }

    fn opened(&self) -> Result<Arc<Opened>, Fault> {
        self.opened
            .clone()
            .ok_or_else(|| Fault::refused(RefusalCode::Order, "no generation was opened on this channel"))
    }

    async fn fail(&mut self, fault: &Fault, limits: &Limits) -> bool {
        let refusal = fault.told();
        note(&self.vault, &self.peer, fault, &refusal);
        let so_far = self.refusals.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        let told = self.answers.send(Pending::Now(Answer::Refused(refusal))).await.is_ok();
        told && so_far < limits.refusals
    }

    async fn refuse(&mut self, refusal: VaultRefusal) {
        self.vault.note_refusal(&self.peer, &refusal);
        self.refusals.fetch_add(1, Ordering::Relaxed);
        // Nobody may be left to tell.
        let _ = self.answers.send(Pending::Now(Answer::Refused(refusal))).await;
    }
}

fn note(vault: &Vault, peer: &Peer, fault: &Fault, refusal: &VaultRefusal) {
    if !matches!(fault, Fault::Refused(_)) {
        crate::journal::error(&format!("{}; {}", crate::journal::chain(fault), fault.hint()));
    }
    vault.note_refusal(peer, refusal);
}

fn written(mut incoming: Incoming, piece: &[u8]) -> Result<Incoming, Fault> {
    incoming.write(piece)?;
    Ok(incoming)
}

/// Runs what blocks on a thread for it; its own fault ends in a refusal.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Fault> + Send + 'static,
) -> Result<T, Fault> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(_) => Err(Fault::refused(RefusalCode::Busy, "the vault failed in this request")),
    }
}

fn broken() -> Answer {
    let what = "the vault failed in this request".to_owned();
    Answer::Refused(VaultRefusal { code: RefusalCode::Busy, what })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_fault_in_a_request_is_answered_and_the_next_is_served() {
        let failed =
            blocking::<()>(|| panic!("as a fault of ours would")).await.map_err(|fault| fault.told());
        assert_eq!(failed.map_err(|refusal| refusal.code), Err(RefusalCode::Busy));
        assert!(blocking(|| Ok(())).await.is_ok());
    }
}
