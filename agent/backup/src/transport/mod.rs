//! The way to a vault: one SSH connection with a pinned host key, several channels on it, blocking to whoever uses them.

mod typed;
mod view;

use std::borrow::Cow;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use russh::client::{self, Handle};
use russh::keys::{PrivateKeyWithHashAlg, PublicKey, PublicKeyOrCertificate};
use russh::{Preferred, cipher};
use tenure_policy::bundles::VaultPlace;
use tenure_trust::View;
use tenure_trust::vault_wire::{SSH_USER, SUBSYSTEM};
use tokio::net::TcpStream;
use tokio::runtime::{Builder, Runtime};

use crate::error::BackupError;
use crate::machine::Machine;
pub(crate) use typed::unexpected;
pub use typed::{Books, Typed, Writing};
pub use view::RemoteView;

/// Until a connection stands.
const CONNECT: Duration = Duration::from_secs(20);
/// Until an answer comes. A seal is answered when the vault has read everything back.
pub(crate) const ANSWER: Duration = Duration::from_secs(1800);
/// Until a piece of an object is taken or a block is read.
pub(crate) const PIECE: Duration = Duration::from_secs(120);
/// Silence after which the other side is asked whether it is there, and how often.
const KEEPALIVE: (Duration, usize) = (Duration::from_secs(10), 3);

/// Until the kernel gives a connection up whose other side takes nothing of what was sent (TCP_USER_TIMEOUT, tcp(7)). While a
/// write waits nobody is asked whether it is there.
const UNTAKEN_MS: u32 = 60_000;

/// A connection to a vault.
pub struct Link {
    runtime: Runtime,
    handle: Handle<Pinned>,
}

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Link")
    }
}

/// Believes the one key that the admission names.
struct Pinned(PublicKey);

impl client::Handler for Pinned {
    type Error = russh::Error;
    async fn check_server_key(&mut self, key: &PublicKeyOrCertificate) -> Result<bool, russh::Error> {
        Ok(match key {
            PublicKeyOrCertificate::PublicKey { key, .. } => key.key_data() == self.0.key_data(),
            PublicKeyOrCertificate::Certificate(_) => false,
        })
    }
}

impl Link {
    /// Connects to the first address that answers.
    ///
    /// # Errors
    /// `NotAdmitted`, or `Transport` with the last address's words.
    pub fn connect(machine: &Machine, place: &VaultPlace) -> Result<Self, BackupError> {
        let doing = "connecting to the vault";
        let pinned = PublicKey::from_openssh(machine.vault(place)?.ssh.as_str())
            .map_err(|e| BackupError::transport(doing, e))?;
        let runtime = Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .map_err(|e| BackupError::transport(doing, e))?;
        let mut last = BackupError::transport(doing, "the policy gives it no address");
        for address in &place.addresses {
            let to = SocketAddr::new(*address, place.port);
            let connected = runtime.block_on(async {
                match tokio::time::timeout(CONNECT, dial(machine, to, Pinned(pinned.clone()))).await {
                    Ok(connected) => {
                        connected.map_err(|e| BackupError::transport(doing, format!("{to}: {e}")))
                    }
                    Err(_) => Err(BackupError::transport(doing, format!("{to} does not answer"))),
                }
            });
            match connected {
                Ok(handle) => return Ok(Self { runtime, handle }),
                Err(why) => last = why,
            }
        }
        Err(last)
    }

    /// A channel for writing.
    ///
    /// # Errors
    /// `Transport`.
    pub fn typed(&self) -> Result<Typed<'_>, BackupError> {
        let stream = self.runtime.block_on(self.channel(SUBSYSTEM))?;
        Ok(Typed::new(&self.runtime, &self.handle, stream))
    }

    /// A view, for reading.
    ///
    /// # Errors
    /// `Transport`; also when there is no such view.
    pub fn view(&self, view: &View) -> Result<RemoteView<'_>, BackupError> {
        let stream = self.runtime.block_on(self.channel("sftp"))?;
        RemoteView::new(&self.runtime, stream, view)
    }

    async fn channel(&self, subsystem: &str) -> Result<russh::ChannelStream<client::Msg>, BackupError> {
        let doing = "opening a channel to the vault";
        let open = async {
            let channel = self.handle.channel_open_session().await?;
            channel.request_subsystem(true, subsystem).await?;
            Ok::<_, russh::Error>(channel.into_stream())
        };
        match tokio::time::timeout(CONNECT, open).await {
            Ok(opened) => opened.map_err(|e| BackupError::transport(doing, e)),
            Err(_) => Err(BackupError::transport(doing, "it does not answer")),
        }
    }
}

async fn dial(machine: &Machine, to: SocketAddr, pinned: Pinned) -> Result<Handle<Pinned>, russh::Error> {
    const CIPHERS: &[cipher::Name] = &[cipher::AES_256_GCM, cipher::CHACHA20_POLY1305];
    let preferred = Preferred { cipher: Cow::Borrowed(CIPHERS), ..Preferred::DEFAULT };
    let config = client::Config {
        preferred,
        window_size: 4 << 20,
        maximum_packet_size: 65_535,
        keepalive_interval: Some(KEEPALIVE.0),
        keepalive_max: KEEPALIVE.1,
        nodelay: true,
        ..client::Config::default()
    };
    let stream = TcpStream::connect(to).await?;
    rustix::net::sockopt::set_tcp_user_timeout(&stream, UNTAKEN_MS).map_err(std::io::Error::from)?;
    let mut handle = client::connect_stream(Arc::new(config), stream, pinned).await?;
    let key = PrivateKeyWithHashAlg::new(Arc::new(machine.ssh.clone()), None);
    match handle.authenticate_publickey(SSH_USER, key).await?.success() {
        true => Ok(handle),
        false => Err(russh::Error::NotAuthenticated),
    }
}
