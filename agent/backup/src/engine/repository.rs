//! A repository: made, or opened with what opens it.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tenure_trust::Hash;
use tenure_trust::backup::ObjectKind;

use super::error::{EngineError, Fault};
use super::keys::{MasterKey, Password, key_file, open_key_file};
use super::polynomial;
use super::seal::{Cipher, NONCE};
use super::store::{MAX_CONFIG, ObjectSource};

/// restic's number of the format.
const VERSION: u32 = 2;
/// Key files that are tried at most: ours have one.
const KEY_FILES: usize = 16;

/// A new repository, not yet stored anywhere.
#[derive(Debug)]
pub struct Created {
    /// Bytes of `config`.
    pub config: Vec<u8>,
    /// Bytes of the one key file; its name is their hash.
    pub key_file: Vec<u8>,
    /// What opens it.
    pub master: MasterKey,
    /// The repository's id, 64 hexadecimal digits.
    pub id: String,
}

/// What opens a repository.
#[derive(Clone, Copy, Debug)]
pub enum Unlock<'a> {
    /// Costs a tenth of a second and 32 MiB.
    Password(&'a Password),
    /// Costs nothing.
    Master(&'a MasterKey),
}

/// An open repository.
pub struct Repository<'s> {
    pub(crate) source: &'s dyn ObjectSource,
    pub(crate) master: MasterKey,
    pub(crate) cipher: Cipher,
    id: String,
}

#[derive(Serialize, Deserialize)]
struct Config {
    version: u32,
    id: String,
    chunker_polynomial: String,
}

/// Makes a repository: `config` and key file are to be stored together, before anything else, and never changed.
///
/// # Errors
/// `Random` when the machine gives no random bytes.
pub fn create(
    password: &Password,
    created: Timestamp,
    hostname: &str,
    username: &str,
) -> Result<Created, EngineError> {
    let mut id = [0; 32];
    getrandom::fill(&mut id).map_err(EngineError::Random)?;
    let id = hex::encode(id);
    let master = MasterKey::draw()?;
    let config =
        Config { version: VERSION, id: id.clone(), chunker_polynomial: format!("{:x}", polynomial::draw()?) };
    let mut bytes = vec![0; NONCE];
    serde_json::to_writer(&mut bytes, &config).map_err(|_| EngineError::Unfaithful)?;
    master.cipher().seal(&mut bytes)?;
    let key_file = key_file(password, &master, created, hostname, username)?;
    Ok(Created { config: bytes, key_file, master, id })
}

/// Opens a repository and reads its `config`; the index is loaded when it is needed.
///
/// # Errors
/// `WrongKey`; `Damaged` when key file or `config` are not what they must be; `Store`.
pub fn open<'s>(source: &'s dyn ObjectSource, with: Unlock<'_>) -> Result<Repository<'s>, EngineError> {
    let master = match with {
        Unlock::Master(key) => key.clone(),
        Unlock::Password(password) => by_password(source, password)?,
    };
    let cipher = master.cipher();
    let mut bytes = source.config()?;
    if bytes.len() > MAX_CONFIG {
        return Err(EngineError::damaged("config", Fault::Form));
    }
    let json = match (cipher.open(&mut bytes), with) {
        (Ok(json), _) => json,
        // a key from elsewhere and a damaged config look alike; a password has shown that it is the right one
        (Err(Fault::Authentication), Unlock::Master(_)) => return Err(EngineError::WrongKey),
        (Err(fault), _) => return Err(EngineError::damaged("config", fault)),
    };
    let config: Config =
        serde_json::from_slice(json).map_err(|_| EngineError::damaged("config", Fault::Form))?;
    if config.version != VERSION {
        return Err(EngineError::damaged("config", Fault::Version));
    }
    let id: Result<Hash, _> = config.id.parse();
    id.map_err(|_| EngineError::damaged("config", Fault::Form))?;
    Ok(Repository { source, master, cipher, id: config.id })
}

fn by_password(source: &dyn ObjectSource, password: &Password) -> Result<MasterKey, EngineError> {
    let files = source.list(ObjectKind::Key)?;
    if files.len() > KEY_FILES {
        return Err(EngineError::Limit { what: "the number of key files", limit: KEY_FILES as u64 });
    }
    for file in files {
        let damaged = |fault| EngineError::damaged(format!("keys/{}", file.name), fault);
        let size = usize::try_from(file.size).ok().filter(|size| *size <= MAX_CONFIG);
        let mut bytes = vec![0; size.ok_or_else(|| damaged(Fault::Form))?];
        source.read(ObjectKind::Key, &file.name, 0, &mut bytes)?;
        if Hash::of(&bytes) != file.name {
            return Err(damaged(Fault::Hash));
        }
        if let Some(master) = open_key_file(&bytes, password).map_err(damaged)? {
            return Ok(master);
        }
    }
    Err(EngineError::WrongKey)
}

impl Repository<'_> {
    /// The repository's id, 64 hexadecimal digits.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// What opens it without its password.
    pub const fn master(&self) -> &MasterKey {
        &self.master
    }
}

impl fmt::Debug for Repository<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Repository").field("id", &self.id).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::LocalRepository;

    #[test]
    fn a_new_repository_opens_by_password_and_by_master_key_and_by_no_other() {
        let dir = tempfile::tempdir().unwrap();
        let password = Password::draw().unwrap();
        let made = create(&password, Timestamp::UNIX_EPOCH, "web1", "root").unwrap();
        let local = LocalRepository::found(dir.path(), &made).unwrap();
        let by_password = open(&local, Unlock::Password(&password)).unwrap();
        assert_eq!(by_password.id(), made.id);
        assert_eq!(by_password.master().bytes(), made.master.bytes());
        open(&local, Unlock::Master(&made.master)).unwrap();
        let other = Password::draw().unwrap();
        assert!(matches!(open(&local, Unlock::Password(&other)), Err(EngineError::WrongKey)));
        let other = MasterKey::draw().unwrap();
        assert!(matches!(open(&local, Unlock::Master(&other)), Err(EngineError::WrongKey)));
    }
}
