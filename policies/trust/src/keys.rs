//! Ed25519 keys as values (RFC 8032): public keys with their id and name, signing keys that never show themselves.

use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::Signer;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::hash::Hash;
use crate::ids::KeyName;

/// The word before a public key in its text form.
const SCHEME: &str = "tenure-ed25519";

/// The id of a key: SHA-256 of its 32 public bytes. It is computed, never assigned.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct KeyId(Hash);

impl KeyId {
    /// The first 16 hexadecimal digits, for people.
    pub fn short(&self) -> String {
        self.0.short()
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyId({})", self.short())
    }
}

/// A public key that is a point of the curve and not one of its weak points.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct PublicKey(ed25519_dalek::VerifyingKey);

/// 64 bytes of a signature.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Signature([u8; 64]);

/// A text or bytes that are not a usable public key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyFault {
    /// Not `tenure-ed25519 <base64> <name>`.
    #[error("a public key is written `tenure-ed25519 BASE64 NAME`")]
    Form,
    /// The base64 is not 32 bytes.
    #[error("the key is not 32 bytes in base64")]
    Length,
    /// The bytes are no point of the curve, not written canonically, or of small order.
    #[error("the bytes are not a usable ed25519 public key")]
    Weak,
    /// The name breaks the rule for names.
    #[error("a key's name is lower-case letters, digits and inner hyphens")]
    Name,
}

impl PublicKey {
    /// Takes 32 bytes.
    ///
    /// # Errors
    /// `KeyFault::Weak` for bytes that are no canonical point of the curve or a point of small order.
    pub fn from_bytes(bytes: &[u8; 32]) -> Result<Self, KeyFault> {
        let key = ed25519_dalek::VerifyingKey::from_bytes(bytes).map_err(|_| KeyFault::Weak)?;
        if key.is_weak() || key.to_edwards().compress().as_bytes() != bytes {
            return Err(KeyFault::Weak);
        }
        Ok(Self(key))
    }

    /// The 32 bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        self.0.as_bytes()
    }

    /// The key's id.
    pub fn id(&self) -> KeyId {
        KeyId(Hash::of(self.0.as_bytes()))
    }

    /// True when `signature` over `message` is this key's, by the strict rules (no malleable or small-order parts).
    pub fn verifies(&self, message: &[u8], signature: &Signature) -> bool {
        self.0.verify_strict(message, &ed25519_dalek::Signature::from_bytes(&signature.0)).is_ok()
    }
}

impl fmt::Display for PublicKey {
    /// `tenure-ed25519 <base64>`, the text form without a name.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SCHEME} {}", STANDARD.encode(self.as_bytes()))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({})", self.id().short())
    }
}

impl FromStr for PublicKey {
    type Err = KeyFault;
    /// Parses `tenure-ed25519 <base64>`; a name may follow and is not kept.
    fn from_str(text: &str) -> Result<Self, KeyFault> {
        let mut words = text.split_ascii_whitespace();
        let (Some(SCHEME), Some(encoded), name, None) =
            (words.next(), words.next(), words.next(), words.next())
        else {
            return Err(KeyFault::Form);
        };
        if let Some(name) = name {
            KeyName::new(name).map_err(|_| KeyFault::Name)?;
        }
        let bytes = STANDARD.decode(encoded).map_err(|_| KeyFault::Length)?;
        Self::from_bytes(&bytes.try_into().map_err(|_| KeyFault::Length)?)
    }
}

impl Serialize for PublicKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for PublicKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// A public key with the name of who holds it; text form `tenure-ed25519 <base64> <name>`, one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedKey {
    /// Who holds it.
    pub name: KeyName,
    /// The key.
    pub key: PublicKey,
}

impl fmt::Display for NamedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.key, self.name)
    }
}

impl FromStr for NamedKey {
    type Err = KeyFault;
    fn from_str(text: &str) -> Result<Self, KeyFault> {
        let key = text.parse()?;
        let name = text.split_ascii_whitespace().nth(2).ok_or(KeyFault::Form)?;
        Ok(Self { name: KeyName::new(name).map_err(|_| KeyFault::Name)?, key })
    }
}

impl Serialize for NamedKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for NamedKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// A signing key. Its memory is cleared when it is dropped and `Debug` shows the public id only.
pub struct SigningKey(ed25519_dalek::SigningKey);

impl SigningKey {
    /// The key of a 32-byte seed (RFC 8032, 5.1.5); the seed comes from the shell's random source or a key file.
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self(ed25519_dalek::SigningKey::from_bytes(seed))
    }

    /// The public half.
    pub fn public(&self) -> PublicKey {
        PublicKey(self.0.verifying_key())
    }

    /// Signs the bytes.
    pub fn sign(&self, message: &[u8]) -> Signature {
        Signature(self.0.sign(message).to_bytes())
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey(of {})", self.public().id().short())
    }
}

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Signature")
    }
}

impl Serialize for Signature {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(self.0))
    }
}

impl<'de> Deserialize<'de> for Signature {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let bytes = STANDARD.decode(String::deserialize(deserializer)?).map_err(serde::de::Error::custom)?;
        bytes.try_into().map(Self).map_err(|_| serde::de::Error::custom("a signature is 64 bytes in base64"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signs_as_rfc_8032_says() {
        // RFC 8032, 7.1, TEST 1
        let seed = "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60";
        let mut bytes = [0u8; 32];
        hex::decode_to_slice(seed, &mut bytes).unwrap();
        let key = SigningKey::from_seed(&bytes);
        assert_eq!(
            hex::encode(key.public().as_bytes()),
            "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"
        );
        assert!(hex::encode(key.sign(b"").0).starts_with("e5564300c360ac729086e2cc806e828a84877f1eb8e5d974"));
        assert!(key.public().verifies(b"", &key.sign(b"")));
        assert!(!key.public().verifies(b"x", &key.sign(b"")));
    }

    #[test]
    fn weak_and_uncanonical_points_are_refused() {
        let mut identity = [0u8; 32];
        identity[0] = 1;
        assert_eq!(PublicKey::from_bytes(&identity), Err(KeyFault::Weak));
        assert_eq!(PublicKey::from_bytes(&[0u8; 32]), Err(KeyFault::Weak));
        let mut uncanonical = [0xff; 32]; // y = p + 3: y = 3 written a second way
        uncanonical[0] = 0xf0;
        uncanonical[31] = 0x7f;
        assert_eq!(PublicKey::from_bytes(&uncanonical), Err(KeyFault::Weak));
    }

    #[test]
    fn the_text_form_comes_back() {
        let named =
            NamedKey { name: KeyName::new("marit").unwrap(), key: SigningKey::from_seed(&[7; 32]).public() };
        let text = named.to_string();
        assert_eq!(text.parse::<NamedKey>(), Ok(named.clone()));
        assert_eq!(text.parse::<PublicKey>(), Ok(named.key));
        assert_eq!(named.key.to_string().parse::<NamedKey>(), Err(KeyFault::Form));
        assert_eq!(format!("{text} more").parse::<NamedKey>(), Err(KeyFault::Form));
        assert_eq!(text.replace("marit", "Ma\u{1b}rit").parse::<NamedKey>(), Err(KeyFault::Name));
        assert_eq!(text.replace("tenure-ed25519", "ssh-ed25519").parse::<NamedKey>(), Err(KeyFault::Form));
    }

    #[test]
    fn a_signing_key_does_not_show_itself() {
        let seen = format!("{:?}", SigningKey::from_seed(&[7; 32]));
        assert!(seen.starts_with("SigningKey(of ") && seen.len() < 40, "{seen}");
    }
}
