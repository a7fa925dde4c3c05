//! One SSH connection: its key, its channels, and which subsystem each of them runs. Everything else that SSH can do is
//! refused. Bytes of a channel go through a pipe of bounded size to the task that reads them.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};

use russh::keys::PublicKey;
use russh::server::{
    Auth, ChannelOpenHandle, Handler, Msg, PublicKeyOffer, Session as Ssh, VerifiedPublicKey,
};
use russh::{Channel, ChannelId, ChannelOpenFailure, Pty};
use tenure_trust::vault_wire::{SSH_USER, SUBSYSTEM};
use tenure_trust::{MachineRole, SshKeyText};
use tokio::io::{AsyncWriteExt, DuplexStream};

use super::{Limits, channel, sftp};
use crate::in_force::Peer;
use crate::journal;
use crate::vault::Vault;

/// Bytes of one channel that wait to be read; then the connection waits.
const PIPE: usize = 1 << 20;

/// A connection.
pub(super) struct Session {
    vault: Arc<Vault>,
    from: IpAddr,
    limits: Limits,
    /// Set once, when the key is proved.
    peer: Arc<OnceLock<Peer>>,
    channels: HashMap<ChannelId, Open>,
    refusals: Arc<AtomicU32>,
}

enum Open {
    /// It has no subsystem yet.
    Fresh(Box<Channel<Msg>>),
    /// What comes goes here; none after its end. The flag says that its task has ended.
    Runs(Option<DuplexStream>, Arc<AtomicBool>),
}

/// Why a connection ends.
#[derive(Debug, thiserror::Error)]
pub(super) enum End {
    /// SSH itself.
    #[error(transparent)]
    Ssh(#[from] russh::Error),
    /// It sends what nobody asked for.
    #[error("data on a channel without a subsystem")]
    NotAsked,
    /// Nobody reads what it sends.
    #[error("what was sent could not be taken in time")]
    Stuck,
}

impl Session {
    pub(super) fn new(vault: Arc<Vault>, from: IpAddr, limits: Limits, peer: Arc<OnceLock<Peer>>) -> Self {
        let (channels, refusals) = (HashMap::new(), Arc::default());
        Self { vault, from, limits, peer, channels, refusals }
    }

    fn who(&self, user: &str, key: &PublicKey) -> Option<Peer> {
        if user != SSH_USER {
            return None;
        }
        let text = key.to_openssh().ok()?;
        let mut words = text.split(' ');
        let text = format!("{} {}", words.next()?, words.next()?);
        self.vault.in_force().who(&SshKeyText::new(text).ok()?, self.from)
    }

    fn start(&mut self, id: ChannelId, name: &str, ssh: &mut Ssh) -> Result<(), End> {
        let writes = name == SUBSYSTEM;
        let peer = match self.peer.get() {
            Some(peer) if name == "sftp" || (writes && peer.role == MachineRole::Host) => peer.clone(),
            _ => {
                ssh.channel_failure(id)?;
                return Ok(());
            }
        };
        let Some(Open::Fresh(channel)) = self.channels.remove(&id) else {
            ssh.channel_failure(id)?;
            return Ok(());
        };
        let (input, output) = tokio::io::duplex(PIPE);
        let over = Arc::new(AtomicBool::new(false));
        self.channels.insert(id, Open::Runs(Some(input), over.clone()));
        ssh.channel_success(id)?;
        let (vault, limits, handle) = (self.vault.clone(), self.limits.clone(), ssh.handle());
        let refusals = self.refusals.clone();
        tokio::spawn(async move {
            // The read half was for messages that come through the pipe instead.
            let (_, write) = channel.split();
            let to = write.make_writer();
            let run = async move {
                if writes {
                    channel::serve(vault, peer, output, to, &limits, refusals).await;
                } else {
                    sftp::serve(vault, peer, output, to, &limits).await;
                }
            };
            apart(run).await;
            // Without these three restic takes the end for a failure. Nobody may be left to tell.
            let _ = handle.exit_status_request(id, 0).await;
            let _ = handle.eof(id).await;
            let _ = handle.close(id).await;
            over.store(true, Ordering::Relaxed);
        });
        Ok(())
    }
}

/// Runs in a task of its own and ends when that ends, also by a fault, so that what follows is never left out.
async fn apart(run: impl Future<Output = ()> + Send + 'static) {
    if tokio::spawn(run).await.is_err_and(|end| end.is_panic()) {
        journal::error("a channel ended by a fault of ours; all others go on");
    }
}

impl Handler for Session {
    type Error = End;

    async fn auth_publickey_offered(&mut self, user: &str, offer: PublicKeyOffer<'_>) -> Result<Auth, End> {
        Ok(match self.who(user, offer.public_key) {
            Some(_) => Auth::Accept,
            None => Auth::reject(),
        })
    }

    async fn auth_publickey(&mut self, user: &str, key: VerifiedPublicKey<'_>) -> Result<Auth, End> {
        let Some(peer) = self.who(user, key.public_key) else { return Ok(Auth::reject()) };
        // A connection proves one key and stays with it. What was revoked just now is looked for once more: from here on
        // each change finds this peer.
        let first = self.peer.set(peer.clone()).is_ok();
        if !first || !self.vault.in_force().holds(&peer, self.from) {
            return Ok(Auth::reject());
        }
        journal::notice(&format!("{} from {}", peer.name, self.from));
        Ok(Auth::Accept)
    }

    async fn channel_open_session(
        &mut self,
        channel: Channel<Msg>,
        reply: ChannelOpenHandle,
        _ssh: &mut Ssh,
    ) -> Result<(), End> {
        // Of a channel that we closed ourselves the client's own close is not told.
        self.channels.retain(|_, open| !matches!(open, Open::Runs(_, over) if over.load(Ordering::Relaxed)));
        let hostile = self.refusals.load(Ordering::Relaxed) >= self.limits.refusals;
        if hostile || self.peer.get().is_none() || self.channels.len() >= self.limits.channels {
            reply.reject(ChannelOpenFailure::ResourceShortage).await;
            return Ok(());
        }
        self.channels.insert(channel.id(), Open::Fresh(Box::new(channel)));
        reply.accept().await;
        Ok(())
    }

    async fn subsystem_request(&mut self, id: ChannelId, name: &str, ssh: &mut Ssh) -> Result<(), End> {
        self.start(id, name, ssh)
    }

    async fn data(&mut self, id: ChannelId, data: &[u8], _ssh: &mut Ssh) -> Result<(), End> {
        match self.channels.get_mut(&id) {
            Some(Open::Runs(input @ Some(_), _)) => {
                let Some(pipe) = input else { return Ok(()) };
                match tokio::time::timeout(self.limits.frame, pipe.write_all(data)).await {
                    Ok(Ok(())) => Ok(()),
                    // Its reader has ended; the channel is being closed.
                    Ok(Err(_)) => {
                        *input = None;
                        Ok(())
                    }
                    Err(_) => Err(End::Stuck),
                }
            }
            Some(Open::Runs(None, _)) => Ok(()),
            // Still on its way when we closed the channel.
            None => Ok(()),
            Some(Open::Fresh(_)) => Err(End::NotAsked),
        }
    }

    async fn extended_data(&mut self, _: ChannelId, _: u32, _: &[u8], _ssh: &mut Ssh) -> Result<(), End> {
        Err(End::NotAsked)
    }

    async fn channel_eof(&mut self, id: ChannelId, _ssh: &mut Ssh) -> Result<(), End> {
        if let Some(Open::Runs(input, _)) = self.channels.get_mut(&id) {
            *input = None;
        }
        Ok(())
    }

    async fn channel_close(&mut self, id: ChannelId, _ssh: &mut Ssh) -> Result<(), End> {
        self.channels.remove(&id);
        Ok(())
    }

    async fn exec_request(&mut self, id: ChannelId, _command: &[u8], ssh: &mut Ssh) -> Result<(), End> {
        Ok(ssh.channel_failure(id)?)
    }

    async fn shell_request(&mut self, id: ChannelId, ssh: &mut Ssh) -> Result<(), End> {
        Ok(ssh.channel_failure(id)?)
    }

    async fn pty_request(
        &mut self,
        id: ChannelId,
        _term: &str,
        _columns: u32,
        _rows: u32,
        _width: u32,
        _height: u32,
        _modes: &[(Pty, u32)],
        ssh: &mut Ssh,
    ) -> Result<(), End> {
        Ok(ssh.channel_failure(id)?)
    }

    async fn env_request(&mut self, id: ChannelId, _: &str, _: &str, ssh: &mut Ssh) -> Result<(), End> {
        Ok(ssh.channel_failure(id)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_fault_in_a_channel_ends_it_and_what_follows_is_done() {
        apart(async { panic!("as a fault of ours would") }).await;
        apart(async {}).await;
    }
}
