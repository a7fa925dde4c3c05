//! An SSH public key as admissions have it: one line of text, and what is in it (RFC 4253 §6.6, RFC 8709 §4).

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};

use crate::hash::Hash;
use crate::keys::{KeyFault, PublicKey};

/// What stands before the 32 bytes of the key: the length of the name, the name, the length of the key.
const BEFORE: [u8; 19] = *b"\0\0\0\x0bssh-ed25519\0\0\0\x20";

crate::name_type! {
    /// An OpenSSH public key without options and comment: `ssh-ed25519 BASE64`.
    SshKeyText, "SSH key", 200, "ssh-ed25519, a space and base64",
    |t| t.strip_prefix("ssh-ed25519 ").is_some_and(|b| {
        b.len() == 68 && b.bytes().all(|c| c.is_ascii_alphanumeric() || matches!(c, b'+' | b'/' | b'='))
    })
}

impl SshKeyText {
    /// The key in it.
    ///
    /// # Errors
    /// `Length` when the text holds something else, `Weak` for bytes that are no usable key.
    pub fn key(&self) -> Result<PublicKey, KeyFault> {
        let blob = self.blob()?;
        let key = blob.strip_prefix(&BEFORE).and_then(|key| key.try_into().ok()).ok_or(KeyFault::Length)?;
        PublicKey::from_bytes(key)
    }

    /// As `ssh-keygen -l` shows it: `SHA256:` and base64.
    ///
    /// # Errors
    /// `Length` when the text is no base64.
    pub fn fingerprint(&self) -> Result<String, KeyFault> {
        Ok(format!("SHA256:{}", STANDARD_NO_PAD.encode(Hash::of(&self.blob()?).as_bytes())))
    }

    fn blob(&self) -> Result<Vec<u8>, KeyFault> {
        let encoded = self.as_str().split(' ').next_back().unwrap_or_default();
        STANDARD.decode(encoded).map_err(|_| KeyFault::Length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Made by OpenSSH 9.2: `ssh-keygen -t ed25519`, fingerprint by `ssh-keygen -l`, key by a foreign base64.
    const LINE: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGZDi3lLasHHAdiWSi+sEEFyFYxGR7ZVCwggBQGSaokW";
    const PRINT: &str = "SHA256:tmkF11S/jJCpTxlByQV7xzkeTQlIeh4BidiPDQ/DaUw";
    const KEY: &str = "ZkOLeUtqwccB2JZKL6wQQXIVjEZHtlULCCAFAZJqiRY=";

    #[test]
    fn a_key_of_openssh_is_read_and_named_as_openssh_does() {
        let text = SshKeyText::new(LINE).unwrap();
        assert_eq!(text.fingerprint().unwrap(), PRINT);
        assert_eq!(text.key().unwrap().to_string(), format!("tenure-ed25519 {KEY}"));
    }

    #[test]
    fn what_only_looks_like_a_key_is_none() {
        let other = STANDARD.encode([&b"\0\0\0\x0bssh-ed25518\0\0\0\x20"[..], &[7; 32]].concat());
        let weak = STANDARD.encode([&BEFORE[..], &[0; 32]].concat());
        for (encoded, fault) in
            [("=".repeat(68), KeyFault::Length), (other, KeyFault::Length), (weak, KeyFault::Weak)]
        {
            let text = SshKeyText::new(format!("ssh-ed25519 {encoded}")).unwrap();
            assert_eq!(text.key(), Err(fault), "{encoded}");
        }
    }
}
