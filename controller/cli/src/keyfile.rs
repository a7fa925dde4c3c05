//! An operator's key on disk: PKCS#8 (RFC 5958) encrypted with scrypt and AES-256-CBC (RFC 8018, RFC 7914) as PEM,
//! which `openssl pkey` opens too, and the public half beside it as one line of text.

use std::fs;
use std::path::{Path, PathBuf};

use ed25519_dalek::pkcs8::KeypairBytes;
use pkcs8::{DecodePrivateKey, EncodePrivateKey, LineEnding};
use tenure_trust::{KeyName, NamedKey, SigningKey};
use zeroize::Zeroizing;

use crate::failure::Failure;
use crate::files;
use crate::output::progress;
use crate::passphrase::Source;

/// A key file is a few hundred bytes.
const LIMIT: u64 = 16 << 10;

/// What is not right with a key file.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KeyFileError {
    /// The wrong passphrase, or a damaged file: the two cannot be told apart.
    #[error("the passphrase is wrong, or the file is damaged")]
    Passphrase,
    /// It is not an encrypted PKCS#8 file in PEM.
    #[error("it is not an encrypted private key (PKCS#8 in PEM)")]
    Form,
    /// It could not be written down.
    #[error("the key could not be encrypted: {0}")]
    Encrypt(pkcs8::Error),
}

/// A new key: where its two halves were written.
#[derive(Debug)]
pub(crate) struct Created {
    /// The encrypted secret half.
    pub(crate) secret: PathBuf,
    /// The public half.
    pub(crate) public_file: PathBuf,
    /// The public half itself.
    pub(crate) public: NamedKey,
}

/// Makes a key and writes both halves into a directory; nothing that stands there is replaced.
pub(crate) fn create(directory: &Path, name: &KeyName, source: &Source) -> Result<Created, Failure> {
    let (secret, public_file) =
        (directory.join(format!("{name}.key")), directory.join(format!("{name}.pub")));
    for path in [&secret, &public_file] {
        if path.symlink_metadata().is_ok() {
            let doing = format!("make the key {name}");
            let why = format!("{} stands there already", path.display());
            return Err(Failure::because(doing, why).hint("choose another name or directory"));
        }
    }
    let passphrase = source.new_one()?;
    let _making = progress("making the key and encrypting it");
    let mut seed = Zeroizing::new([0u8; 32]);
    getrandom::fill(&mut *seed).map_err(|error| Failure::because("make a key", error))?;
    let text = encrypt(&seed, &passphrase)
        .map_err(|error| Failure::new(format_args!("make the key {name}"), &error))?;
    let public = NamedKey { name: name.clone(), key: SigningKey::from_seed(&seed).public() };
    files::write_new(&secret, text.as_bytes(), 0o600)?;
    files::write_new(&public_file, format!("{public}\n").as_bytes(), 0o644)?;
    Ok(Created { secret, public_file, public })
}

/// Opens the secret half; `number` is its place among the keys of the command.
pub(crate) fn open(path: &Path, source: &Source, number: usize) -> Result<SigningKey, Failure> {
    let doing = || format!("open the key {}", path.display());
    let text = Zeroizing::new(files::read(path, LIMIT)?);
    let text = std::str::from_utf8(&text).map_err(|_| Failure::new(doing(), &KeyFileError::Form))?;
    if !text.trim_start().starts_with("-----BEGIN ENCRYPTED PRIVATE KEY-----") {
        return Err(Failure::new(doing(), &KeyFileError::Form).hint("`tenure key create` makes one"));
    }
    let passphrase = source.existing(path, number)?;
    let _opening = progress("opening the key");
    decrypt(text, &passphrase).map_err(|error| Failure::new(doing(), &error))
}

/// Reads a public half.
pub(crate) fn read_public(path: &Path) -> Result<NamedKey, Failure> {
    let bytes = files::read(path, LIMIT)?;
    let text = String::from_utf8_lossy(&bytes);
    text.trim_end().parse().map_err(|fault| {
        Failure::new(format_args!("read the public key {}", path.display()), &fault)
            .hint("it is the file that ends in .pub")
    })
}

/// The public halves in a directory with whether the secret half lies beside, by name.
pub(crate) fn list(directory: &Path) -> Result<Vec<(NamedKey, bool)>, Failure> {
    let failed = |error: &std::io::Error| Failure::file("list the keys in", directory, error);
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).map_err(|error| failed(&error))? {
        let path = entry.map_err(|error| failed(&error))?.path();
        if path.extension().is_some_and(|extension| extension == "pub")
            && let Ok(named) = read_public(&path)
        {
            found.push((named, path.with_extension("key").is_file()));
        }
    }
    found.sort_by(|a, b| a.0.name.cmp(&b.0.name));
    Ok(found)
}

fn encrypt(seed: &[u8; 32], passphrase: &str) -> Result<Zeroizing<String>, KeyFileError> {
    // Without the public half: version 1 of the form, which every OpenSSL reads.
    let pair = KeypairBytes { secret_key: *seed, public_key: None };
    pair.to_pkcs8_encrypted_pem(passphrase, LineEnding::LF).map_err(KeyFileError::Encrypt)
}

fn decrypt(text: &str, passphrase: &str) -> Result<SigningKey, KeyFileError> {
    let pair =
        KeypairBytes::from_pkcs8_encrypted_pem(text, passphrase).map_err(|_| KeyFileError::Passphrase)?;
    Ok(SigningKey::from_seed(&Zeroizing::new(pair.secret_key)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_opens_with_its_passphrase_only() {
        let text = encrypt(&[7; 32], "correct horse").unwrap();
        assert!(text.starts_with("-----BEGIN ENCRYPTED PRIVATE KEY-----\n"));
        assert_eq!(
            decrypt(&text, "correct horse").unwrap().public(),
            SigningKey::from_seed(&[7; 32]).public()
        );
        assert!(matches!(decrypt(&text, "correct horsf"), Err(KeyFileError::Passphrase)));
        assert_ne!(*text, *encrypt(&[7; 32], "correct horse").unwrap(), "salt and IV are fresh");
    }

    /// Made by `openssl genpkey -algorithm ed25519 | openssl pkcs8 -topk8 -v2 aes-256-cbc -scrypt`.
    #[test]
    fn a_key_that_openssl_made_opens() {
        let text = include_str!("../tests/openssl-scrypt.pem");
        let public = include_str!("../tests/openssl-scrypt.pub");
        assert_eq!(decrypt(text, "correct horse").unwrap().public(), public.trim_end().parse().unwrap());
    }
}
