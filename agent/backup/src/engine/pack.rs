//! restic's packs: sealed blobs one behind another, then a sealed header that tells what they are, then its length.

use tenure_trust::Hash;

use super::error::{EngineError, Fault};
use super::index::{BlobKind, Entry};
use super::seal::{Cipher, NONCE, OVERHEAD};

/// Blobs of one pack at most, when ours are written: their header stays below a mebibyte.
pub(crate) const MAX_BLOBS: usize = 20_000;
/// Bytes of the largest header that is read, as restic has it.
const MAX_HEADER: usize = 16 << 20;
/// Bytes of the length behind the header.
pub(crate) const LENGTH: usize = 4;

/// Appends header and length to sealed blobs.
pub(crate) fn close(cipher: &Cipher, bytes: &mut Vec<u8>, blobs: &[Entry]) -> Result<(), EngineError> {
    let mut header = vec![0; NONCE];
    header.reserve(blobs.len() * 41 + NONCE);
    for blob in blobs {
        let kind = match blob.kind {
            BlobKind::Data => 0,
            BlobKind::Tree => 1,
        };
        header.push(if blob.plain.is_some() { kind | 2 } else { kind });
        header.extend_from_slice(&blob.length.to_le_bytes());
        if let Some(plain) = blob.plain {
            header.extend_from_slice(&plain.to_le_bytes());
        }
        header.extend_from_slice(blob.id.as_bytes());
    }
    cipher.seal(&mut header)?;
    let length = u32::try_from(header.len()).map_err(|_| EngineError::Unfaithful)?;
    bytes.extend_from_slice(&header);
    bytes.extend_from_slice(&length.to_le_bytes());
    Ok(())
}

/// Bytes of the sealed header, by what stands at the very end of a pack.
pub(crate) fn header_length(end: [u8; LENGTH], pack: u64) -> Result<usize, Fault> {
    let length = u32::from_le_bytes(end) as usize;
    if length > MAX_HEADER {
        return Err(Fault::Form);
    }
    if length < OVERHEAD || (length + LENGTH) as u64 > pack {
        return Err(Fault::Short);
    }
    Ok(length)
}

/// The blobs that an opened header tells of, in the order in which they stand in the pack.
pub(crate) fn parse(mut header: &[u8]) -> Result<Vec<Entry>, Fault> {
    let mut blobs = Vec::new();
    let mut offset = 0u32;
    while let Some((code, rest)) = header.split_first() {
        header = rest;
        let kind = match code {
            0 | 2 => BlobKind::Data,
            1 | 3 => BlobKind::Tree,
            _ => return Err(Fault::Version),
        };
        let length = number(&mut header)?;
        let plain = if *code >= 2 { Some(number(&mut header)?) } else { None };
        let (id, rest) = header.split_first_chunk::<32>().ok_or(Fault::Short)?;
        header = rest;
        blobs.push(Entry { id: Hash::from_bytes(*id), kind, offset, length, plain });
        offset = offset.checked_add(length).ok_or(Fault::Form)?;
    }
    Ok(blobs)
}

fn number(bytes: &mut &[u8]) -> Result<u32, Fault> {
    let (number, rest) = bytes.split_first_chunk::<4>().ok_or(Fault::Short)?;
    *bytes = rest;
    Ok(u32::from_le_bytes(*number))
}

/// What an opened pack header holds, for whoever only wants to know whether it is read: ids and sealed lengths.
///
/// # Errors
/// `Short`, `Form`, `Version`.
pub fn parse_pack_header(header: &[u8]) -> Result<Vec<(Hash, u32)>, Fault> {
    Ok(parse(header)?.into_iter().map(|blob| (blob.id, blob.length)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_read_as_it_was_written() {
        let cipher = Cipher::new(&[3; 64]);
        let entry =
            |n: u8, kind, offset, plain| Entry { id: Hash::of(&[n]), kind, offset, length: 40, plain };
        let blobs = vec![entry(1, BlobKind::Data, 0, None), entry(2, BlobKind::Tree, 40, Some(900))];
        let mut bytes = vec![9; 80];
        close(&cipher, &mut bytes, &blobs).unwrap();
        let end = *bytes.last_chunk::<LENGTH>().unwrap();
        let length = header_length(end, bytes.len() as u64).unwrap();
        assert_eq!(80 + length + LENGTH, bytes.len());
        let header = cipher.open(&mut bytes[80..80 + length]).unwrap();
        assert_eq!(parse(header).unwrap(), blobs);
        for cut in 1..header.len() {
            // between two entries a header is whole, and the seal tells
            assert!(parse(&header[..cut]).is_err() || cut == 37, "{cut}");
        }
    }

    #[test]
    fn hostile_lengths_are_refused() {
        assert_eq!(header_length([255; 4], u64::MAX), Err(Fault::Form));
        assert_eq!(header_length(31u32.to_le_bytes(), 4000), Err(Fault::Short));
        assert_eq!(header_length(97u32.to_le_bytes(), 100), Err(Fault::Short));
        let mut header = Vec::new();
        for _ in 0..2 {
            header.push(0);
            header.extend_from_slice(&[255; 4]);
            header.extend_from_slice(&[1; 32]);
        }
        assert_eq!(parse(&header), Err(Fault::Form), "offsets beyond four gibibytes");
        assert_eq!(parse(&[7]), Err(Fault::Version));
    }
}
