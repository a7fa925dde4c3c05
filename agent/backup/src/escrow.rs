//! A generation's password for when the host is gone: encrypted to each offline recipient of the policy.

use std::io::Write;
use std::str::FromStr;

use age::armor::{ArmoredWriter, Format};
use age::{Encryptor, x25519};
use tenure_trust::vault_wire::Escrow;

use crate::engine::Password;
use crate::error::BackupError;

/// Encrypts the password to one age recipient, as an armored age file.
///
/// # Errors
/// `Escrow` when the recipient is none.
pub fn encrypt(password: &Password, recipient: &str) -> Result<Escrow, BackupError> {
    let failed = |why: String| BackupError::Escrow { recipient: recipient.to_owned(), why };
    let key = x25519::Recipient::from_str(recipient).map_err(|why| failed(why.to_owned()))?;
    let recipients = std::iter::once(&key as &dyn age::Recipient);
    let encryptor = Encryptor::with_recipients(recipients).map_err(|e| failed(e.to_string()))?;
    let mut text = Vec::new();
    let io = |e: std::io::Error| failed(e.to_string());
    let armor = ArmoredWriter::wrap_output(&mut text, Format::AsciiArmor).map_err(io)?;
    let mut writer = encryptor.wrap_output(armor).map_err(io)?;
    writer.write_all(password.text().as_bytes()).map_err(io)?;
    writer.finish().and_then(ArmoredWriter::finish).map_err(io)?;
    let text = String::from_utf8(text).map_err(|e| failed(e.to_string()))?;
    Ok(Escrow { recipient: recipient.to_owned(), text })
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use age::armor::ArmoredReader;

    use super::*;

    #[test]
    fn whoever_holds_the_identity_reads_the_password_and_nobody_else() {
        let (ours, other) = (x25519::Identity::generate(), x25519::Identity::generate());
        let password = Password::draw().unwrap();
        let escrow = encrypt(&password, &ours.to_public().to_string()).unwrap();
        assert!(escrow.text.starts_with("-----BEGIN AGE ENCRYPTED FILE-----\n"), "{}", escrow.text);
        let open = |identity: &x25519::Identity| {
            let file = age::Decryptor::new(ArmoredReader::new(escrow.text.as_bytes())).unwrap();
            let mut text = String::new();
            file.decrypt(std::iter::once(identity as &dyn age::Identity))
                .ok()?
                .read_to_string(&mut text)
                .ok()?;
            Some(text)
        };
        assert_eq!(open(&ours).as_deref(), Some(password.text()));
        assert_eq!(open(&other), None);
        assert!(matches!(encrypt(&password, "age1nonsense"), Err(BackupError::Escrow { .. })));
    }
}
