//! The SSH server: who is let in, how much of everything, and one task for each connection, so that a fault in it ends
//! only that connection. What strangers can reach before they prove a key is kept small.

mod channel;
mod frames;
mod line;
mod locks;
mod seen;
mod session;
mod sftp;
mod view;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use russh::keys::{Algorithm, PrivateKey};
use russh::server::{Config, run_stream};
use russh::{MethodKind, MethodSet, Preferred, SshId, cipher, kex, mac};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{Semaphore, watch};

use crate::in_force::Peer;
use crate::journal;
use crate::vault::Vault;
use session::Session;

pub use view::{Inside, Place, Walk};

/// How much of everything.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Connections in all.
    pub connections: usize,
    /// Connections from one address.
    pub per_address: usize,
    /// Channels of one connection.
    pub channels: usize,
    /// Until a key must have been proved.
    pub handshake: Duration,
    /// A connection ends after so long.
    pub lifetime: Duration,
    /// Nothing came for so long: it ends.
    pub idle: Duration,
    /// A frame or a piece of an object that has begun must come within this.
    pub frame: Duration,
    /// A connection that was refused so often is told nothing more.
    pub refusals: u32,
    /// Objects of one generation: small ones cost the disk more than their bytes.
    pub objects: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 64,
            per_address: 8,
            channels: 8,
            handshake: Duration::from_secs(20),
            lifetime: Duration::from_secs(24 * 3600),
            idle: Duration::from_secs(1800),
            frame: Duration::from_secs(120),
            refusals: 100,
            objects: 1 << 18,
        }
    }
}

/// Listens on every address of the machine.
///
/// # Errors
/// When the port is taken or not allowed.
pub fn listen(port: u16) -> std::io::Result<TcpListener> {
    let v6 = TcpSocket::new_v6().and_then(|socket| {
        socket.set_reuseaddr(true)?;
        socket.bind(SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)))?;
        socket.listen(128)
    });
    v6.or_else(|_| {
        let socket = TcpSocket::new_v4()?;
        socket.set_reuseaddr(true)?;
        socket.bind(SocketAddr::from(([0, 0, 0, 0], port)))?;
        socket.listen(128)
    })
}

/// How the server speaks: one host key, public keys only, no algorithm that OpenSSH 9.2 would not choose itself, the
/// fast cipher first.
fn config(key: PrivateKey, limits: &Limits) -> Config {
    const KEX: &[kex::Name] = &[
        kex::MLKEM768X25519_SHA256,
        kex::CURVE25519,
        kex::CURVE25519_PRE_RFC_8731,
        kex::EXTENSION_SUPPORT_AS_SERVER,
        kex::EXTENSION_OPENSSH_STRICT_KEX_AS_SERVER,
    ];
    const CIPHERS: &[cipher::Name] = &[cipher::AES_256_GCM, cipher::CHACHA20_POLY1305, cipher::AES_256_CTR];
    const MACS: &[mac::Name] = &[mac::HMAC_SHA512_ETM, mac::HMAC_SHA256_ETM];
    let preferred = Preferred {
        kex: Cow::Borrowed(KEX),
        key: Cow::Owned(vec![Algorithm::Ed25519]),
        cipher: Cow::Borrowed(CIPHERS),
        mac: Cow::Borrowed(MACS),
        ..Preferred::DEFAULT
    };
    Config {
        server_id: SshId::Standard(Cow::Borrowed("SSH-2.0-Tenure")),
        methods: MethodSet::from(&[MethodKind::PublicKey][..]),
        auth_rejection_time: Duration::from_secs(1),
        auth_rejection_time_initial: Some(Duration::ZERO),
        max_auth_attempts: 4,
        keys: vec![key],
        window_size: 2 << 20,
        maximum_packet_size: 65_535,
        channel_buffer_size: 16,
        // Every channel's longest answer at once, so that an answer never waits for what is still coming in.
        event_buffer_size: 64 * limits.channels,
        preferred,
        inactivity_timeout: Some(limits.idle),
        keepalive_interval: Some(Duration::from_secs(30)),
        keepalive_max: 4,
        nodelay: true,
        ..Config::default()
    }
}

/// Serves until told to stop. The caller has opened the listener.
pub async fn serve(
    vault: Arc<Vault>,
    key: PrivateKey,
    listener: TcpListener,
    limits: Limits,
    mut stop: watch::Receiver<bool>,
) {
    let config = Arc::new(config(key, &limits));
    let places = Arc::new(Semaphore::new(limits.connections));
    let addresses: Arc<Mutex<BTreeMap<IpAddr, usize>>> = Arc::default();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stop.changed() => return,
        };
        let (stream, from) = match accepted {
            Ok((stream, from)) => (stream, from.ip().to_canonical()),
            Err(error) => {
                journal::warning(&format!("cannot take a connection: {error}"));
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        // A stranger gets not one byte.
        if !vault.in_force().lets_in(from) {
            continue;
        }
        let Ok(place) = places.clone().try_acquire_owned() else { continue };
        let Some(counted) = Counted::take(&addresses, from, limits.per_address) else { continue };
        let (vault, config, limits, stop) = (vault.clone(), config.clone(), limits.clone(), stop.clone());
        tokio::spawn(async move {
            connection(vault, config, stream, from, limits, stop).await;
            drop((place, counted));
        });
    }
}

/// One connection, from its first byte to its end.
async fn connection(
    vault: Arc<Vault>,
    config: Arc<Config>,
    stream: TcpStream,
    from: IpAddr,
    limits: Limits,
    mut stop: watch::Receiver<bool>,
) {
    // Kept to end the connection from outside, whatever its own task is doing.
    let Ok(line) = rustix::io::dup(&stream) else { return };
    let mut changes = vault.changes();
    let proved: Arc<OnceLock<Peer>> = Arc::default();
    let handler = Session::new(vault, from, limits.clone(), proved.clone());
    let greeted = tokio::time::timeout(limits.handshake, run_stream(config, stream, handler)).await;
    let Ok(Ok(mut running)) = greeted else { return };
    let end = tokio::time::sleep(limits.lifetime);
    let deadline = tokio::time::sleep(limits.handshake);
    tokio::pin!(end, deadline);
    let mut waiting = true;
    loop {
        tokio::select! {
            // Whatever ended it, a fault in its own code too: only this connection is gone.
            _ = &mut running => return,
            () = &mut deadline, if waiting => {
                waiting = false;
                if proved.get().is_none() {
                    cut(&line);
                }
            }
            Ok(()) = changes.changed() => {
                let held = changes.borrow_and_update().clone();
                if let Some(peer) = proved.get().filter(|peer| !held.holds(peer, from)) {
                    journal::notice(&format!("{} from {from} may come no more: its connection ends", peer.name));
                    cut(&line);
                }
            }
            () = &mut end => cut(&line),
            _ = stop.changed() => {
                cut(&line);
                return;
            }
        }
        if !waiting && end.is_elapsed() {
            return;
        }
    }
}

fn cut(line: &OwnedFd) {
    // Fails only when the other side has ended it already.
    let _ = rustix::net::shutdown(line, rustix::net::Shutdown::Both);
}

/// A connection that counts for its address while it lives.
struct Counted {
    all: Arc<Mutex<BTreeMap<IpAddr, usize>>>,
    from: IpAddr,
}

impl Counted {
    fn take(all: &Arc<Mutex<BTreeMap<IpAddr, usize>>>, from: IpAddr, most: usize) -> Option<Self> {
        let mut counts = all.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(from).or_default();
        if *count >= most {
            return None;
        }
        *count += 1;
        Some(Self { all: all.clone(), from })
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let mut counts = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&self.from) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                counts.remove(&self.from);
            }
        }
    }
}
