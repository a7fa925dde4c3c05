//! The one envelope around everything signed: DSSE v1.0.2 (secure-systems-lab/dsse, protocol.md and envelope.md).

use std::collections::BTreeSet;
use std::marker::PhantomData;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use crate::hash::Hash;
use crate::keys::{KeyId, PublicKey, Signature, SigningKey};
use crate::kind::Kind;
use crate::refused::Refused;
use crate::statement::{self, Statement};

/// The most signatures that an envelope may carry.
const MAX_SIGNATURES: usize = 32;

/// An envelope as it was read: its bytes are not yet believed, and it cannot hand out what is in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    kind: Kind,
    payload: Vec<u8>,
    signatures: Vec<(KeyId, Signature)>,
}

/// An envelope that claims to carry a `T`; nothing in it is believed before it is verified.
#[derive(Debug, PartialEq, Eq)]
pub struct Signed<T> {
    envelope: Envelope,
    of: PhantomData<T>,
}

/// The JSON form (DSSE envelope.md).
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Written {
    #[serde(rename = "payloadType")]
    payload_type: String,
    payload: String,
    signatures: Vec<WrittenSignature>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct WrittenSignature {
    keyid: KeyId,
    sig: Signature,
}

impl Envelope {
    /// Signs payload bytes of a kind with each of the keys.
    pub fn sign(kind: Kind, payload: Vec<u8>, keys: &[&SigningKey]) -> Self {
        let message = pae(&kind.payload_type(), &payload);
        let signatures = keys.iter().map(|key| (key.public().id(), key.sign(&message))).collect();
        Self { kind, payload, signatures }
    }

    /// Reads the JSON form. Nothing is verified by this.
    ///
    /// # Errors
    /// `TooLarge` for more bytes than the kind may have, `Malformed` for anything that is not exactly the form.
    pub fn parse(bytes: &[u8]) -> Result<Self, Refused> {
        let most = Kind::ALL.iter().map(|kind| written_limit(*kind)).max().unwrap_or_default();
        refuse_large(bytes.len(), most)?;
        let envelope = Self::from_written(serde_json::from_slice(bytes).map_err(Refused::malformed)?)?;
        refuse_large(bytes.len(), written_limit(envelope.kind))?;
        Ok(envelope)
    }

    /// The same for an envelope that stands inside another JSON text, whose size its reader has limited.
    pub(crate) fn from_written(written: Written) -> Result<Self, Refused> {
        let kind: Kind = written.payload_type.parse().map_err(Refused::malformed)?;
        refuse_large(written.payload.len(), written_limit(kind))?;
        let payload = STANDARD.decode(&written.payload).map_err(Refused::malformed)?;
        refuse_large(payload.len(), kind.max_payload())?;
        if written.signatures.len() > MAX_SIGNATURES {
            return Err(Refused::malformed(format_args!("more than {MAX_SIGNATURES} signatures")));
        }
        let signatures = written.signatures.into_iter().map(|s| (s.keyid, s.sig)).collect();
        Ok(Self { kind, payload, signatures })
    }

    /// The JSON form, on one line.
    pub fn to_json(&self) -> String {
        serde_json::to_string(&self.written()).expect("an envelope is only texts")
    }

    /// The JSON form with one signature of each signer, in order: of however it was spelled the same text.
    pub fn canonical(&self) -> String {
        let mut signatures = self.signatures.clone();
        signatures.sort_by_key(|(id, _)| *id);
        signatures.dedup_by_key(|(id, _)| *id);
        Self { kind: self.kind, payload: self.payload.clone(), signatures }.to_json()
    }

    pub(crate) fn written(&self) -> Written {
        let signatures =
            self.signatures.iter().map(|(keyid, sig)| WrittenSignature { keyid: *keyid, sig: *sig });
        Written {
            payload_type: self.kind.payload_type(),
            payload: STANDARD.encode(&self.payload),
            signatures: signatures.collect(),
        }
    }

    /// The kind that it claims to be.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The hash of its payload bytes: the name under which an index or the next record speaks of it.
    pub fn hash(&self) -> Hash {
        Hash::of(&self.payload)
    }

    /// The ids under which signatures stand, unverified.
    pub fn claimed_keys(&self) -> impl Iterator<Item = KeyId> {
        self.signatures.iter().map(|(keyid, _)| *keyid)
    }

    /// Checks **every** signature with the key that `find` gives for its id and returns the different keys that
    /// signed. One bad, unknown or unfitting signature refuses the whole: a holder has no use for what it cannot check.
    pub(crate) fn check(
        &self,
        find: impl Fn(KeyId) -> Result<PublicKey, Refused>,
    ) -> Result<BTreeSet<KeyId>, Refused> {
        let message = pae(&self.kind.payload_type(), &self.payload);
        let mut signers = BTreeSet::new();
        for (keyid, signature) in &self.signatures {
            if !find(*keyid)?.verifies(&message, signature) {
                return Err(Refused::BadSignature { key: *keyid });
            }
            signers.insert(*keyid);
        }
        Ok(signers)
    }

    /// The payload, for readers in this crate that have checked it.
    pub(crate) fn payload(&self) -> &[u8] {
        &self.payload
    }
}

impl<T> Clone for Signed<T> {
    fn clone(&self) -> Self {
        Self { envelope: self.envelope.clone(), of: PhantomData }
    }
}

impl<T: Statement> Signed<T> {
    /// Writes the statement down once and signs those bytes with each of the keys.
    pub fn new(statement: &T, keys: &[&SigningKey]) -> Self {
        Self { envelope: Envelope::sign(T::KIND, statement::bytes(statement), keys), of: PhantomData }
    }

    /// Reads the JSON form of an envelope that must carry a `T`. Nothing is verified by this.
    ///
    /// # Errors
    /// As `Envelope::parse`, and `KindMismatch` for another kind.
    pub fn parse(bytes: &[u8]) -> Result<Self, Refused> {
        refuse_large(bytes.len(), written_limit(T::KIND))?;
        Self::of(Envelope::parse(bytes)?)
    }

    /// Takes an envelope whose kind fits.
    pub(crate) fn of(envelope: Envelope) -> Result<Self, Refused> {
        if envelope.kind != T::KIND {
            return Err(Refused::KindMismatch { wanted: T::KIND, found: envelope.kind });
        }
        Ok(Self { envelope, of: PhantomData })
    }

    /// The JSON form, on one line.
    pub fn to_json(&self) -> String {
        self.envelope.to_json()
    }

    /// The hash of the payload bytes.
    pub fn hash(&self) -> Hash {
        self.envelope.hash()
    }

    /// Adds one more person's signature to the same bytes.
    pub fn add_signature(&mut self, key: &SigningKey) {
        let message = pae(&self.envelope.kind.payload_type(), &self.envelope.payload);
        self.envelope.signatures.push((key.public().id(), key.sign(&message)));
    }

    /// The same bytes with the signatures of these keys alone, for a signer who proves her own.
    pub fn only_by(&self, keys: &[SigningKey]) -> Self {
        let mut only = self.clone();
        let ours = |id: &KeyId| keys.iter().any(|key| key.public().id() == *id);
        only.envelope.signatures.retain(|(id, _)| ours(id));
        only
    }

    /// The statement inside, **not verified**: for a signer who numbers the next version. Nothing may be enforced or
    /// believed from it.
    ///
    /// # Errors
    /// `Refused`, when it is not a `T`.
    pub fn unverified(&self) -> Result<T, Refused> {
        statement::read(&self.envelope.payload)
    }

    /// The envelope itself.
    pub fn envelope(&self) -> &Envelope {
        &self.envelope
    }
}

/// DSSE's pre-authentication encoding: what is signed is the type and the bytes, each with its length.
/// `PAE(type, body) = "DSSEv1" SP LEN(type) SP type SP LEN(body) SP body`
pub(crate) fn pae(payload_type: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("DSSEv1 {} {} {} ", payload_type.len(), payload_type, body.len());
    let mut message = Vec::with_capacity(head.len() + body.len());
    message.extend_from_slice(head.as_bytes());
    message.extend_from_slice(body);
    message
}

/// The most bytes that the JSON form of a kind may have: base64 is 4/3, and the rest is type and signatures.
fn written_limit(kind: Kind) -> usize {
    kind.max_payload() / 3 * 4 + (16 << 10)
}

fn refuse_large(size: usize, limit: usize) -> Result<(), Refused> {
    if size > limit { Err(Refused::TooLarge { size, limit }) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pae_is_the_example_of_the_specification() {
        // secure-systems-lab/dsse protocol.md, "Test Vectors"
        let expected = b"DSSEv1 29 http://example.com/HelloWorld 11 hello world";
        assert_eq!(pae("http://example.com/HelloWorld", b"hello world"), expected);
    }

    #[test]
    fn what_is_not_exactly_the_form_is_refused() {
        let key = SigningKey::from_seed(&[1; 32]);
        let good = Envelope::sign(Kind::Record, b"{}".to_vec(), &[&key]).to_json();
        assert!(Envelope::parse(good.as_bytes()).is_ok());
        let faults = [
            String::new(),
            "null".into(),
            good.replace("\"payload\"", "\"payloads\""),
            good.replacen('{', "{\"more\":1,", 1),
            good.replacen('{', "{\"payload\":\"e30=\",", 1),
            good.replace("e30=", "e30"),
            good.replace("e30=", "e31="),
            good.replace("record", "run"),
            good.replace("\"sig\":\"", "\"sig\":\"AA"),
            format!("{good}{good}"),
        ];
        for text in faults {
            assert!(matches!(Envelope::parse(text.as_bytes()), Err(Refused::Malformed(_))), "{text}");
        }
    }

    #[test]
    fn too_large_is_refused_before_it_is_read() {
        let big = vec![b' '; written_limit(Kind::HostPolicy) + 1];
        assert!(matches!(Envelope::parse(&big), Err(Refused::TooLarge { .. })));
        let key = SigningKey::from_seed(&[1; 32]);
        let record = Envelope::sign(Kind::Record, vec![b' '; Kind::Record.max_payload() + 1], &[&key]);
        assert!(matches!(Envelope::parse(record.to_json().as_bytes()), Err(Refused::TooLarge { .. })));
    }

    #[test]
    fn more_signatures_than_any_role_has_are_refused() {
        let key = SigningKey::from_seed(&[1; 32]);
        let many = Envelope::sign(Kind::Record, b"{}".to_vec(), &[&key; MAX_SIGNATURES + 1]);
        assert!(matches!(Envelope::parse(many.to_json().as_bytes()), Err(Refused::Malformed(_))));
    }
}
