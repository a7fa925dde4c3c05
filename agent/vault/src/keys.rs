//! The vault's SSH host key: made once, readable by the vault alone. Hosts know its public half from the admission.

use std::path::{Path, PathBuf};

use russh::keys::ssh_key::LineEnding;
use russh::keys::ssh_key::private::Ed25519Keypair;
use russh::keys::{Algorithm, PrivateKey};
use tenure_sys::files::{CheckedDir, FileError, Put, Roots};
use tenure_trust::SshKeyText;

const DIR: &str = "identity";
const FILE: &str = "ssh_host_ed25519_key";

/// Why there is no host key.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file cannot be read or written safely.
    #[error("cannot keep the SSH host key")]
    File(#[from] FileError),
    /// It is not a key of this kind.
    #[error("{} is not an unencrypted ed25519 key of OpenSSH", .0.display())]
    Bad(PathBuf),
    /// The kernel gave no randomness.
    #[error("cannot get randomness")]
    Random(#[from] getrandom::Error),
}

/// Reads the key, and makes it first when there is none.
///
/// # Errors
/// [`KeyError`].
pub fn host_key(state: &Path) -> Result<PrivateKey, KeyError> {
    let path = state.join(DIR).join(FILE);
    let writable = Roots::new([state])?;
    writable.make_dir(&state.join(DIR), 0o700)?;
    let file = match CheckedDir::read_file(&path, 4096) {
        Ok(file) => file,
        Err(error) if error.is_missing() => return make(&path, &writable),
        Err(error) => return Err(error.into()),
    };
    if file.stat.mode & 0o077 != 0 {
        let mend = format!("chmod 600 {}", path.display());
        return Err(FileError::Unsafe { path, why: "can be read by others".into(), mend }.into());
    }
    let key = PrivateKey::from_openssh(&file.bytes).map_err(|_| KeyError::Bad(path.clone()))?;
    if key.algorithm() != Algorithm::Ed25519 || key.is_encrypted() {
        return Err(KeyError::Bad(path));
    }
    Ok(key)
}

/// Its public half as an admission has it.
///
/// # Errors
/// [`KeyError::Bad`] for a key that no admission can name.
pub fn public_text(key: &PrivateKey) -> Result<SshKeyText, KeyError> {
    let bad = || KeyError::Bad(FILE.into());
    let text = key.public_key().to_openssh().map_err(|_| bad())?;
    let words: Vec<&str> = text.split(' ').take(2).collect();
    SshKeyText::new(words.join(" ")).map_err(|_| bad())
}

fn make(path: &Path, writable: &Roots) -> Result<PrivateKey, KeyError> {
    let mut seed = [0u8; 32];
    getrandom::fill(&mut seed)?;
    let key = PrivateKey::from(Ed25519Keypair::from_seed(&seed));
    let text = key.to_openssh(LineEnding::LF).map_err(|_| KeyError::Bad(path.into()))?;
    writable.put(&Put::own(path, text.as_bytes(), 0o600))?;
    Ok(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_is_made_once_and_refused_when_others_can_read_it() {
        let dir = tempfile::tempdir_in("/run").expect("these tests run as root");
        let first = host_key(dir.path()).expect("made");
        let again = host_key(dir.path()).expect("read");
        assert_eq!(public_text(&first).unwrap(), public_text(&again).unwrap());
        let path = dir.path().join(DIR).join(FILE);
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
        assert!(matches!(host_key(dir.path()), Err(KeyError::File(_))));
    }
}
