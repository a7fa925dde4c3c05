//! A machine's SSH key in OpenSSH's own file format (PROTOCOL.key), made once with the program's randomness: a host's
//! client key, a vault's host key. OpenSSH and russh read it.

use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use tenure_sys::files::{CheckedDir, FileError, Put, Roots};
use tenure_trust::{SigningKey, SshKeyText};
use zeroize::Zeroizing;

use crate::chain::ChainError;

const MAGIC: &[u8] = b"openssh-key-v1\0";
const KIND: &[u8] = b"ssh-ed25519";
const BEGIN: &str = "-----BEGIN OPENSSH PRIVATE KEY-----\n";
const END: &str = "-----END OPENSSH PRIVATE KEY-----\n";
/// A real one has about 400 bytes.
const LIMIT: u64 = 4096;

/// The public half of the key in this file; the key is made when there is none.
///
/// # Errors
/// When others could read or change it, it is no ed25519 key without a passphrase, or it cannot be made.
pub fn ensure(path: &Path, comment: &str) -> Result<SshKeyText, ChainError> {
    let bad = || ChainError::BadKey { path: path.into() };
    match CheckedDir::read_file(path, LIMIT) {
        Ok(file) => {
            if file.stat.mode & 0o077 != 0 {
                let mend = format!("chmod 600 {}", path.display());
                let path = path.into();
                return Err(FileError::Unsafe { path, why: "can be read by others".into(), mend }.into());
            }
            public(&Zeroizing::new(file.bytes)).ok_or_else(bad)
        }
        Err(error) if error.is_missing() => {
            let mut seed = Zeroizing::new([0u8; 32]);
            let mut check = [0u8; 4];
            getrandom::fill(&mut *seed).map_err(ChainError::Random)?;
            getrandom::fill(&mut check).map_err(ChainError::Random)?;
            let dir = path.parent().ok_or_else(bad)?;
            let text = write(&seed, check, comment);
            Roots::new([dir])?.put(&Put::own(path, text.as_bytes(), 0o600))?;
            public(text.as_bytes()).ok_or_else(bad)
        }
        Err(error) => Err(error.into()),
    }
}

/// The file of a key: cipher and key derivation `none`, one key (PROTOCOL.key, sections 1 to 3).
fn write(seed: &[u8; 32], check: [u8; 4], comment: &str) -> Zeroizing<String> {
    let point = *SigningKey::from_seed(seed).public().as_bytes();
    let mut secret = Zeroizing::new(Vec::with_capacity(512));
    secret.extend_from_slice(&check);
    secret.extend_from_slice(&check);
    text(&mut secret, KIND);
    text(&mut secret, &point);
    let both = Zeroizing::new([&seed[..], &point[..]].concat());
    text(&mut secret, &both);
    text(&mut secret, comment.as_bytes());
    for pad in 1..=8u8 {
        if secret.len() % 8 == 0 {
            break;
        }
        secret.push(pad);
    }
    let mut out = Zeroizing::new(Vec::with_capacity(1024));
    out.extend_from_slice(MAGIC);
    for part in [&b"none"[..], b"none", b""] {
        text(&mut out, part);
    }
    out.extend_from_slice(&1u32.to_be_bytes());
    text(&mut out, &blob(&point));
    text(&mut out, &secret);
    let encoded = Zeroizing::new(STANDARD.encode(&*out));
    let mut file = Zeroizing::new(String::from(BEGIN));
    for line in encoded.as_bytes().chunks(70) {
        file.push_str(&String::from_utf8_lossy(line));
        file.push('\n');
    }
    file.push_str(END);
    file
}

fn blob(point: &[u8; 32]) -> Vec<u8> {
    let mut out = Vec::new();
    text(&mut out, KIND);
    text(&mut out, point);
    out
}

/// A string of SSH (RFC 4251, 5): its length and its bytes.
fn text(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(&u32::try_from(bytes.len()).unwrap_or(0).to_be_bytes());
    out.extend_from_slice(bytes);
}

fn public(file: &[u8]) -> Option<SshKeyText> {
    let inner =
        std::str::from_utf8(file).ok()?.strip_prefix(BEGIN)?.trim_end().strip_suffix(END.trim_end())?;
    let encoded: Zeroizing<String> = Zeroizing::new(inner.split_ascii_whitespace().collect());
    let bytes = Zeroizing::new(STANDARD.decode(&*encoded).ok()?);
    let mut rest = bytes.strip_prefix(MAGIC)?;
    for expected in [&b"none"[..], b"none", b""] {
        (take(&mut rest)? == expected).then_some(())?;
    }
    rest = rest.strip_prefix(&1u32.to_be_bytes())?;
    let found = take(&mut rest)?;
    let mut point = found;
    (take(&mut point)? == KIND).then_some(())?;
    (take(&mut point)?.len() == 32 && point.is_empty()).then_some(())?;
    SshKeyText::new(format!("ssh-ed25519 {}", STANDARD.encode(found))).ok()
}

fn take<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (length, after) = rest.split_first_chunk::<4>()?;
    let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
    let (found, after) = after.split_at_checked(length)?;
    *rest = after;
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_what_ssh_keygen_writes() {
        // ssh-keygen -t ed25519 -N '' -C web1, and its .pub
        let made = include_str!("ssh_key/openssh-9.2.key");
        let expected = include_str!("ssh_key/openssh-9.2.pub");
        let (kind, rest) = expected.split_once(' ').unwrap();
        let key = rest.split(' ').next().unwrap();
        assert_eq!(public(made.as_bytes()).unwrap().as_str(), format!("{kind} {key}"));
        // The same seed, check and comment written by ours are the same file.
        let encoded: String = made.lines().filter(|line| !line.starts_with('-')).collect();
        let bytes = STANDARD.decode(encoded).unwrap();
        let mut rest = bytes.strip_prefix(MAGIC).unwrap();
        for _ in 0..3 {
            take(&mut rest).unwrap();
        }
        rest = &rest[4..];
        take(&mut rest).unwrap();
        let mut secret = take(&mut rest).unwrap();
        let check: [u8; 4] = secret[..4].try_into().unwrap();
        secret = &secret[8..];
        let [_, _, both] = [(); 3].map(|()| take(&mut secret).unwrap());
        assert_eq!(*write(both[..32].try_into().unwrap(), check, "web1"), made);
    }

    #[test]
    fn it_is_made_once_and_refused_when_others_can_read_it() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir_in("/run").unwrap();
        let path = dir.path().join("ssh.key");
        let first = ensure(&path, "web1").unwrap();
        assert_eq!(ensure(&path, "web1").unwrap(), first);
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(ensure(&path, "web1"), Err(ChainError::File(FileError::Unsafe { .. }))));
        std::fs::write(&path, "x").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        assert!(matches!(ensure(&path, "web1"), Err(ChainError::BadKey { .. })));
    }
}
