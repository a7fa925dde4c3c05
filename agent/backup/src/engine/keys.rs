//! Passwords, key files and the master key: made as restic makes them, wiped when they go, printed never.

use std::fmt;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize as _, Zeroizing};

use super::error::{EngineError, Fault};
use super::seal::{Cipher, NONCE};
use super::store::MAX_CONFIG;

/// scrypt's cost in new key files, as restic makes them: 32 MiB and a tenth of a second.
const N: u64 = 32_768;
const R: u32 = 8;
const P: u32 = 1;
/// Bytes of memory that a key file may ask for at most.
const MEMORY: u64 = 256 << 20;

/// A repository's password.
pub struct Password(Zeroizing<String>);

impl Password {
    /// Takes one that stands somewhere.
    pub fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    /// Draws one of 256 bits, 64 hexadecimal digits.
    ///
    /// # Errors
    /// `Random` when the machine gives none.
    pub fn draw() -> Result<Self, EngineError> {
        let mut bytes = Zeroizing::new([0; 32]);
        getrandom::fill(&mut bytes[..]).map_err(EngineError::Random)?;
        Ok(Self::new(hex::encode(&bytes[..])))
    }

    /// The text, for its file and the escrow.
    pub fn text(&self) -> &str {
        &self.0
    }
}

/// What opens a repository without the cost of its password: encryption key, and both halves of the code's key.
#[derive(Clone)]
pub struct MasterKey(Zeroizing<[u8; 64]>);

impl MasterKey {
    /// Bytes of one.
    pub const LEN: usize = 64;

    /// Takes the bytes of a cached one.
    ///
    /// # Errors
    /// `WrongKey` when they are not [`MasterKey::LEN`] bytes.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, EngineError> {
        let mut key = Self::empty();
        match bytes.len() == Self::LEN {
            true => key.0.copy_from_slice(bytes),
            false => return Err(EngineError::WrongKey),
        }
        Ok(key)
    }

    /// The bytes, for the cache beside the password.
    pub fn bytes(&self) -> &[u8; Self::LEN] {
        &self.0
    }

    fn empty() -> Self {
        Self(Zeroizing::new([0; Self::LEN]))
    }

    pub(crate) fn draw() -> Result<Self, EngineError> {
        let mut key = Self::empty();
        getrandom::fill(&mut key.0[..]).map_err(EngineError::Random)?;
        // Poly1305 ignores these bits of r; restic writes it without them
        for at in [51, 55, 59, 63] {
            key.0[at] &= 0x0f;
        }
        for at in [52, 56, 60] {
            key.0[at] &= 0xfc;
        }
        Ok(key)
    }

    pub(crate) fn cipher(&self) -> Cipher {
        Cipher::new(&self.0)
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password")
    }
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MasterKey")
    }
}

/// A key file as it stands in `keys/`.
#[derive(Serialize, Deserialize)]
struct KeyFile {
    #[serde(default)]
    created: Option<String>,
    #[serde(default)]
    username: String,
    #[serde(default)]
    hostname: String,
    kdf: String,
    #[serde(rename = "N")]
    n: u64,
    r: u32,
    p: u32,
    salt: String,
    data: String,
}

/// What a key file seals.
#[derive(Serialize, Deserialize)]
struct Sealed {
    mac: Mac,
    encrypt: String,
}

#[derive(Serialize, Deserialize)]
struct Mac {
    k: String,
    r: String,
}

impl Drop for Mac {
    fn drop(&mut self) {
        self.k.zeroize();
        self.r.zeroize();
    }
}

impl Drop for Sealed {
    fn drop(&mut self) {
        self.encrypt.zeroize();
    }
}

/// A key file that gives the master key to whoever has the password.
pub(crate) fn key_file(
    password: &Password,
    master: &MasterKey,
    created: Timestamp,
    hostname: &str,
    username: &str,
) -> Result<Vec<u8>, EngineError> {
    let mut salt = [0; 64];
    getrandom::fill(&mut salt).map_err(EngineError::Random)?;
    let user = derive(password, &salt, N, R, P).map_err(|fault| EngineError::damaged("the key", fault))?;
    let part = |bytes: &[u8]| BASE64_STANDARD.encode(bytes);
    let inner = Sealed {
        mac: Mac { k: part(&master.0[32..48]), r: part(&master.0[48..]) },
        encrypt: part(&master.0[..32]),
    };
    let json = Zeroizing::new(serde_json::to_vec(&inner).map_err(|_| EngineError::Unfaithful)?);
    let mut sealed = vec![0; NONCE];
    sealed.reserve(json.len() + NONCE);
    sealed.extend_from_slice(&json);
    user.cipher().seal(&mut sealed)?;
    let file = KeyFile {
        created: Some(created.to_string()),
        username: username.to_owned(),
        hostname: hostname.to_owned(),
        kdf: "scrypt".to_owned(),
        n: N,
        r: R,
        p: P,
        salt: part(&salt),
        data: part(&sealed),
    };
    serde_json::to_vec(&file).map_err(|_| EngineError::Unfaithful)
}

/// The master key out of a key file; none when the password is another one's.
pub(crate) fn open_key_file(bytes: &[u8], password: &Password) -> Result<Option<MasterKey>, Fault> {
    if bytes.len() > MAX_CONFIG {
        return Err(Fault::Form);
    }
    let file: KeyFile = serde_json::from_slice(bytes).map_err(|_| Fault::Form)?;
    if file.kdf != "scrypt" {
        return Err(Fault::Version);
    }
    let part = |text: &str| BASE64_STANDARD.decode(text).map(Zeroizing::new).map_err(|_| Fault::Form);
    let user = derive(password, &part(&file.salt)?, file.n, file.r, file.p)?;
    let mut data = part(&file.data)?;
    let Ok(json) = user.cipher().open(&mut data) else { return Ok(None) };
    let inner: Sealed = serde_json::from_slice(json).map_err(|_| Fault::Form)?;
    let mut key = MasterKey::empty();
    for (text, at) in [(&inner.encrypt, 0..32), (&inner.mac.k, 32..48), (&inner.mac.r, 48..64)] {
        let bytes = part(text)?;
        if bytes.len() != at.len() {
            return Err(Fault::Form);
        }
        key.0[at].copy_from_slice(&bytes);
    }
    Ok(Some(key))
}

fn derive(password: &Password, salt: &[u8], n: u64, r: u32, p: u32) -> Result<MasterKey, Fault> {
    let memory = n.saturating_mul(u64::from(r)).saturating_mul(128);
    if !n.is_power_of_two() || n < 2 || r == 0 || p == 0 || p > 16 || memory > MEMORY {
        return Err(Fault::Form);
    }
    let log = u8::try_from(n.ilog2()).map_err(|_| Fault::Form)?;
    let params = scrypt::Params::new(log, r, p).map_err(|_| Fault::Form)?;
    let mut key = MasterKey::empty();
    scrypt::scrypt(password.0.as_bytes(), salt, &params, &mut key.0[..]).map_err(|_| Fault::Form)?;
    Ok(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_file_opens_with_its_password_only() {
        let (password, other) = (Password::draw().unwrap(), Password::new("x".to_owned()));
        let master = MasterKey::draw().unwrap();
        let file = key_file(&password, &master, Timestamp::UNIX_EPOCH, "web1", "root").unwrap();
        assert!(file.len() < 4096, "a vault takes at most 4 KiB");
        let opened = open_key_file(&file, &password).unwrap().expect("its password");
        assert_eq!(opened.bytes(), master.bytes());
        assert!(open_key_file(&file, &other).unwrap().is_none());
    }

    #[test]
    fn secrets_print_nothing() {
        let password = Password::new("swordfish".to_owned());
        let master = MasterKey::from_bytes(&[65; 64]).unwrap();
        assert_eq!(format!("{password:?} {master:?}"), "Password MasterKey");
    }

    #[test]
    fn a_hostile_key_file_costs_no_more_than_its_limit() {
        let key = |n: &str, r: u32, p: u32| {
            format!(r#"{{"kdf":"scrypt","N":{n},"r":{r},"p":{p},"salt":"AAAA","data":"AAAA"}}"#)
        };
        let password = Password::new("x".to_owned());
        for (n, r, p) in [
            ("18446744073709551615", 8, 1),
            ("9223372036854775808", 4_294_967_295, 1),
            ("4194304", 8, 1),
            ("0", 8, 1),
            ("3", 8, 1),
            ("32768", 0, 1),
            ("32768", 8, 0),
            ("32768", 8, 1000),
        ] {
            let opened = open_key_file(key(n, r, p).as_bytes(), &password);
            assert_eq!(opened.err(), Some(Fault::Form), "{n} {r} {p}");
        }
        let other = key("2", 8, 1).replace("scrypt", "argon2");
        assert_eq!(open_key_file(other.as_bytes(), &password).err(), Some(Fault::Version));
    }
}
