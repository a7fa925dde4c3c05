//! Who this host is to a vault, and which keys the vault must show: both from admissions, never from first sight.

use std::path::{Path, PathBuf};

use russh::keys::{Algorithm, PrivateKey};
use tenure_link::Identity;
use tenure_policy::bundles::VaultPlace;
use tenure_sys::files::CheckedDir;
use tenure_trust::{AdmissionBook, HostName, MachineRole, PublicKey, SshKeyText};
use zeroize::Zeroizing;

use crate::error::BackupError;

/// The name of the client key below the directory of state.
pub const SSH_KEY: &str = "ssh.key";

/// This machine with its keys and what it believes of others.
#[derive(Debug)]
pub struct Machine {
    /// The directory of state.
    pub state: PathBuf,
    /// Its name.
    pub host: HostName,
    /// Signs seals.
    pub identity: Identity,
    /// Its key as an SSH client.
    pub ssh: PrivateKey,
    /// Whose keys hold.
    pub admitted: AdmissionBook,
}

/// What a vault must show.
#[derive(Debug, Clone)]
pub struct VaultKeys {
    /// Its SSH host key.
    pub ssh: SshKeyText,
    /// Signs its receipts.
    pub identity: PublicKey,
}

impl Machine {
    /// Reads this machine's keys.
    ///
    /// # Errors
    /// When a key is missing, damaged, or could be read by others.
    pub fn open(state: &Path, host: &HostName, admitted: AdmissionBook) -> Result<Self, BackupError> {
        let identity = Identity::read(state, host)
            .map_err(|e| BackupError::Record(e.to_string()))?
            .ok_or_else(|| BackupError::BadKey(state.join("identity.key")))?;
        let ssh = client_key(state, host)?;
        Ok(Self { state: state.to_owned(), host: host.clone(), identity, ssh, admitted })
    }

    /// The keys of a vault.
    ///
    /// # Errors
    /// `NotAdmitted`.
    pub fn vault(&self, place: &VaultPlace) -> Result<VaultKeys, BackupError> {
        let admission = self.admitted.of(&place.host, MachineRole::Vault);
        let admission = admission.ok_or_else(|| BackupError::NotAdmitted(place.host.clone()))?;
        Ok(VaultKeys { ssh: admission.ssh.clone(), identity: admission.identity })
    }
}

/// Reads the host's key as an SSH client, and makes it first when there is none.
///
/// # Errors
/// When it is damaged, can be read by others, or cannot be made.
pub fn client_key(state: &Path, host: &HostName) -> Result<PrivateKey, BackupError> {
    let path = state.join(SSH_KEY);
    tenure_link::ssh_key::ensure(&path, host.as_str()).map_err(|e| BackupError::Record(e.to_string()))?;
    let file = CheckedDir::read_file(&path, 4096)?;
    let bytes = Zeroizing::new(file.bytes);
    let key = PrivateKey::from_openssh(&bytes[..]).map_err(|_| BackupError::BadKey(path.clone()))?;
    match key.algorithm() == Algorithm::Ed25519 && !key.is_encrypted() {
        true => Ok(key),
        false => Err(BackupError::BadKey(path)),
    }
}
