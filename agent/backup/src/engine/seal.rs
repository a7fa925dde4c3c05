//! restic's authenticated encryption: AES-256-CTR and Poly1305-AES, as `nonce ‖ ciphertext ‖ code`.

use aes256ctr_poly1305aes::aead::AeadInPlace;
use aes256ctr_poly1305aes::{Aes256CtrPoly1305Aes, Key, Nonce, Tag};
use zeroize::Zeroizing;

use super::error::{EngineError, Fault};

/// Bytes in front of the ciphertext.
pub(crate) const NONCE: usize = 16;
/// Bytes that sealing adds.
pub(crate) const OVERHEAD: usize = 32;

/// A ready cipher. Prints nothing; the key in it is wiped when it goes.
pub(crate) struct Cipher(Aes256CtrPoly1305Aes);

impl Cipher {
    /// From encryption key (32), Poly1305's k (16) and r (16).
    pub(crate) fn new(key: &[u8; 64]) -> Self {
        let mut copy = Zeroizing::new([0; 64]);
        copy.copy_from_slice(key);
        Self(Aes256CtrPoly1305Aes::new(Key::from_slice(&copy[..])))
    }

    /// Seals in place what stands behind the first [`NONCE`] bytes of `bytes`, and appends the code.
    pub(crate) fn seal(&self, bytes: &mut Vec<u8>) -> Result<(), EngineError> {
        let mut nonce = [0; NONCE];
        getrandom::fill(&mut nonce).map_err(EngineError::Random)?;
        bytes[..NONCE].copy_from_slice(&nonce);
        let plain = &mut bytes[NONCE..];
        let code = self.0.encrypt_in_place_detached(Nonce::from_slice(&nonce), &[], plain);
        bytes.extend_from_slice(&code.map_err(|_| EngineError::Unfaithful)?);
        Ok(())
    }

    /// Opens in place: what is returned is the plaintext inside `bytes`.
    pub(crate) fn open<'b>(&self, bytes: &'b mut [u8]) -> Result<&'b mut [u8], Fault> {
        let body = bytes.len().checked_sub(OVERHEAD).ok_or(Fault::Short)?;
        let (nonce, rest) = bytes.split_at_mut(NONCE);
        let (body, code) = rest.split_at_mut(body);
        self.0
            .decrypt_in_place_detached(Nonce::from_slice(nonce), &[], body, Tag::from_slice(code))
            .map_err(|_| Fault::Authentication)?;
        Ok(body)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sealed_opens_and_nothing_else_does() {
        let cipher = Cipher::new(&[7; 64]);
        let mut sealed = vec![0; NONCE];
        sealed.extend_from_slice(b"text");
        cipher.seal(&mut sealed).unwrap();
        assert_eq!(sealed.len(), 4 + OVERHEAD);
        assert_eq!(cipher.open(&mut sealed.clone()).unwrap(), b"text");
        for at in 0..sealed.len() {
            let mut broken = sealed.clone();
            broken[at] ^= 1;
            assert_eq!(cipher.open(&mut broken), Err(Fault::Authentication), "byte {at}");
        }
        assert_eq!(cipher.open(&mut sealed[..31]), Err(Fault::Short));
        assert!(Cipher::new(&[8; 64]).open(&mut sealed).is_err());
    }
}
