//! restic's small files (`index/`, `snapshots/`): JSON, compressed, sealed, named by their hash.

use super::seal::{Cipher, NONCE, OVERHEAD};
use tenure_trust::Hash;
use tenure_trust::backup::{Object, ObjectKind};

use super::error::{EngineError, Fault};
use super::repository::Repository;
use super::store::Folder;

/// Bytes of the largest such file that is read, sealed or decompressed.
pub(crate) const MAX_FILE: usize = 64 << 20;
/// What stands in front of compressed JSON; JSON itself begins with a bracket.
const COMPRESSED: u8 = 2;
/// zstd's level for them: they are small.
const LEVEL: i32 = 3;

/// JSON as an object that can be stored.
pub(crate) fn encode(
    cipher: &Cipher,
    kind: ObjectKind,
    json: &[u8],
) -> Result<(Object, Vec<u8>), EngineError> {
    let packed = zstd::bulk::compress(json, LEVEL).map_err(|_| EngineError::Unfaithful)?;
    let mut bytes = Vec::with_capacity(packed.len() + OVERHEAD + 1);
    bytes.resize(NONCE, 0);
    bytes.push(COMPRESSED);
    bytes.extend_from_slice(&packed);
    cipher.seal(&mut bytes)?;
    Ok((Object { kind, name: Hash::of(&bytes), size: bytes.len() as u64 }, bytes))
}

/// The JSON of an object's bytes.
pub(crate) fn decode(cipher: &Cipher, bytes: &mut [u8]) -> Result<Vec<u8>, Fault> {
    let plain = cipher.open(bytes)?;
    match plain.first() {
        Some(&COMPRESSED) => decompress(&plain[1..], MAX_FILE),
        Some(b'{' | b'[') => Ok(plain.to_vec()),
        _ => Err(Fault::Form),
    }
}

/// Decompresses at most `limit` bytes, whatever the frame says of itself.
pub(crate) fn decompress(packed: &[u8], limit: usize) -> Result<Vec<u8>, Fault> {
    use std::io::Read as _;
    let mut reader = zstd::Decoder::with_buffer(packed).map_err(|_| Fault::Compression)?;
    let mut out = Vec::new();
    reader.by_ref().take(limit as u64 + 1).read_to_end(&mut out).map_err(|_| Fault::Compression)?;
    if out.len() > limit { Err(Fault::Compression) } else { Ok(out) }
}

impl Repository<'_> {
    /// Reads one of these files and takes nothing for granted.
    pub(crate) fn file(&self, object: &Object) -> Result<Vec<u8>, EngineError> {
        let damaged = |fault| EngineError::damaged(format!("{}/{}", Folder(object.kind), object.name), fault);
        let size = usize::try_from(object.size).ok().filter(|size| *size <= MAX_FILE);
        let size =
            size.ok_or(EngineError::Limit { what: "a file of the repository", limit: MAX_FILE as u64 })?;
        let mut bytes = vec![0; size];
        self.source.read(object.kind, &object.name, 0, &mut bytes)?;
        if Hash::of(&bytes) != object.name {
            return Err(damaged(Fault::Hash));
        }
        decode(&self.cipher, &mut bytes).map_err(damaged)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bomb_is_cut_off() {
        let bomb = zstd::bulk::compress(&vec![0; 8 << 20], 3).unwrap();
        assert!(bomb.len() < 2000);
        assert_eq!(decompress(&bomb, 1 << 20), Err(Fault::Compression));
        assert_eq!(decompress(&bomb, 8 << 20).unwrap().len(), 8 << 20);
    }

    #[test]
    fn every_changed_byte_is_noticed() {
        let cipher = Cipher::new(&[1; 64]);
        let (object, bytes) = encode(&cipher, ObjectKind::Index, b"{}").unwrap();
        assert_eq!((object.size, object.name), (bytes.len() as u64, Hash::of(&bytes)));
        assert_eq!(decode(&cipher, &mut bytes.clone()).unwrap(), b"{}");
        for at in 0..bytes.len() {
            let mut broken = bytes.clone();
            broken[at] ^= 0x40;
            assert!(decode(&cipher, &mut broken).is_err(), "byte {at}");
        }
    }
}
