//! The host's identity key: made once, readable by root alone, never leaves the machine.

use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use tenure_sys::files::{CheckedDir, FileError, Put, Roots};
use tenure_trust::{HostName, KeyName, NamedKey, PublicKey, Signed, SigningKey, Statement};
use zeroize::Zeroizing;

use crate::chain::ChainError;

const SECRET: &str = "identity.key";
const PUBLIC: &str = "identity.pub";
/// The word before the seed.
const SCHEME: &str = "tenure-ed25519-secret ";

/// The key with which a host signs its records.
#[derive(Debug)]
pub struct Identity {
    key: SigningKey,
    host: HostName,
}

impl Identity {
    /// Reads the key in the directory of state. None when there is none.
    ///
    /// # Errors
    /// When others could read or change it, or it is damaged.
    pub fn read(state: &Path, host: &HostName) -> Result<Option<Self>, ChainError> {
        let file = match CheckedDir::open(state)?.read(Path::new(SECRET), 256) {
            Ok(file) => file,
            Err(error) if error.is_missing() => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let path = state.join(SECRET);
        if file.stat.mode & 0o077 != 0 {
            let mend = format!("chmod 600 {}", path.display());
            return Err(FileError::Unsafe { path, why: "can be read by others".into(), mend }.into());
        }
        let text = Zeroizing::new(file.bytes);
        let seed = parse(&text).ok_or(ChainError::BadKey { path })?;
        Ok(Some(Self { key: SigningKey::from_seed(&seed), host: host.clone() }))
    }

    /// Makes the key and writes it down durably, the public half beside it for whoever will admit this host.
    ///
    /// # Errors
    /// When there is no randomness or no room.
    pub fn create(state: &Path, writable: &Roots, host: &HostName) -> Result<Self, ChainError> {
        let mut seed = Zeroizing::new([0u8; 32]);
        getrandom::fill(&mut *seed).map_err(ChainError::Random)?;
        let made = Self { key: SigningKey::from_seed(&seed), host: host.clone() };
        let text = Zeroizing::new(format!("{SCHEME}{}\n", STANDARD.encode(*seed)));
        writable.put(&Put::own(&state.join(SECRET), text.as_bytes(), 0o600))?;
        made.publish(state, writable)?;
        Ok(made)
    }

    /// Writes the public half again, if it is missing or not this key's.
    pub(crate) fn publish(&self, state: &Path, writable: &Roots) -> Result<(), ChainError> {
        let text = format!("{}\n", self.public());
        let path = state.join(PUBLIC);
        let stands = CheckedDir::open(state)?.read(Path::new(PUBLIC), 256);
        if stands.is_ok_and(|file| file.bytes == text.as_bytes()) {
            return Ok(());
        }
        writable.put(&Put::own(&path, text.as_bytes(), 0o644))?;
        Ok(())
    }

    /// The public half under the host's name.
    pub fn public(&self) -> NamedKey {
        let name = KeyName::new(self.host.as_str()).expect("a host name and a key name follow one rule");
        NamedKey { name, key: self.key.public() }
    }

    /// A statement of this machine, signed.
    pub fn sign<T: Statement>(&self, statement: &T) -> Signed<T> {
        Signed::new(statement, &[&self.key])
    }

    pub(crate) fn key(&self) -> &SigningKey {
        &self.key
    }
}

/// Reads the public half alone, for an export by a process that does not hold the key.
pub(crate) fn read_public(state: &Path) -> Result<PublicKey, ChainError> {
    let path: PathBuf = state.join(PUBLIC);
    let file = CheckedDir::open(state)?.read(Path::new(PUBLIC), 256)?;
    let text = std::str::from_utf8(&file.bytes).unwrap_or_default();
    text.trim_end().parse::<NamedKey>().map(|named| named.key).map_err(|_| ChainError::BadKey { path })
}

fn parse(text: &[u8]) -> Option<Zeroizing<[u8; 32]>> {
    let encoded = std::str::from_utf8(text).ok()?.strip_prefix(SCHEME)?.strip_suffix('\n')?;
    let mut seed = Zeroizing::new([0u8; 32]);
    let bytes = Zeroizing::new(STANDARD.decode(encoded).ok()?);
    if bytes.len() != seed.len() {
        return None;
    }
    seed.copy_from_slice(&bytes);
    Some(seed)
}
