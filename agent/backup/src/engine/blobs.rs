//! Blobs out of a repository: by the index, through a small cache of what was last read, checked against their names.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use tenure_trust::Hash;
use tenure_trust::backup::ObjectKind;

use super::error::{EngineError, Fault};
use super::index::{BlobKind, Index, Place};
use super::repository::Repository;
use super::tree::{self, MAX_TREE, Node};

/// Bytes that are asked of the store at once: files and trees that are read one behind the other stand so in the packs.
const SEGMENT: usize = 1 << 20;
/// Segments that are kept.
const KEPT: usize = 24;
/// Bytes of the largest data blob that is read: restic's are at most 8 MiB.
const MAX_DATA: usize = 64 << 20;

/// Reads blobs; several threads use one.
pub(crate) struct Blobs<'r> {
    pub(crate) repository: &'r Repository<'r>,
    pub(crate) index: Arc<Index>,
    /// Where the last known blob of each pack ends: nothing behind it is asked for.
    ends: Vec<u32>,
    segments: Mutex<VecDeque<Segment>>,
}

type Slot = Arc<OnceLock<Option<Vec<u8>>>>;

struct Segment {
    pack: u32,
    number: u32,
    bytes: Slot,
}

/// Buffers that a thread uses again and again.
#[derive(Default)]
pub(crate) struct Scratch {
    sealed: Vec<u8>,
    plain: Vec<u8>,
    zstd: Option<zstd::bulk::Decompressor<'static>>,
}

impl<'r> Blobs<'r> {
    /// Loads the index.
    pub(crate) fn of(repository: &'r Repository<'r>) -> Result<Self, EngineError> {
        Ok(Self::with(repository, Arc::new(Index::load(repository)?)))
    }

    /// Over an index that is there.
    pub(crate) fn with(repository: &'r Repository<'r>, index: Arc<Index>) -> Self {
        let mut ends = vec![0; index.packs.len()];
        for place in [BlobKind::Data, BlobKind::Tree].iter().flat_map(|kind| index.all(*kind)) {
            let end = &mut ends[place.pack as usize];
            *end = place.offset.saturating_add(place.length).max(*end);
        }
        Self { repository, index, ends, segments: Mutex::default() }
    }

    /// The contents of a blob, which have its hash.
    pub(crate) fn get<'s>(
        &self,
        kind: BlobKind,
        id: &Hash,
        scratch: &'s mut Scratch,
    ) -> Result<&'s [u8], EngineError> {
        let missing = || EngineError::Missing { what: format!("blob {id}") };
        let place = *self.index.find(kind, id).ok_or_else(missing)?;
        self.fill(&place, &mut scratch.sealed)?;
        unpack(&self.repository.cipher, kind, &place, scratch)
    }

    /// A directory.
    pub(crate) fn tree(&self, id: &Hash, scratch: &mut Scratch) -> Result<Vec<Node>, EngineError> {
        let json = self.get(BlobKind::Tree, id, scratch)?;
        tree::parse(json).map_err(|fault| EngineError::damaged(format!("tree {id}"), fault))
    }

    /// The sealed bytes of a place.
    fn fill(&self, place: &Place, into: &mut Vec<u8>) -> Result<(), EngineError> {
        into.clear();
        let (start, end) = (place.offset as usize, place.offset as usize + place.length as usize);
        if place.length as usize > MAX_TREE {
            return Err(EngineError::Limit { what: "a blob", limit: MAX_TREE as u64 });
        }
        if end - start > SEGMENT * KEPT / 2 {
            into.resize(end - start, 0);
            let name = &self.index.packs[place.pack as usize];
            self.repository.source.read(ObjectKind::Data, name, start as u64, into)?;
            return Ok(());
        }
        let mut at = start;
        while at < end {
            let number = at / SEGMENT;
            let bytes = self.segment(place.pack, number)?;
            let bytes = bytes.get().and_then(Option::as_ref).map_or(&[][..], Vec::as_slice);
            let from = at - number * SEGMENT;
            let to = (end - number * SEGMENT).min(SEGMENT);
            let part = bytes.get(from..to);
            into.extend_from_slice(part.ok_or_else(|| EngineError::blob(&place.id, Fault::Short))?);
            at = number * SEGMENT + to;
        }
        Ok(())
    }

    /// One segment of a pack; threads that want the same one wait for the one that reads it.
    fn segment(&self, pack: u32, number: usize) -> Result<Slot, EngineError> {
        let wanted = u32::try_from(number).unwrap_or(u32::MAX);
        let slot = {
            let mut kept = self.segments.lock().unwrap_or_else(PoisonError::into_inner);
            let found = kept.iter().position(|s| s.pack == pack && s.number == wanted);
            let segment = match found.and_then(|at| kept.remove(at)) {
                Some(segment) => segment,
                None => Segment { pack, number: wanted, bytes: Arc::default() },
            };
            let slot = segment.bytes.clone();
            kept.push_back(segment);
            if kept.len() > KEPT {
                kept.pop_front();
            }
            slot
        };
        let mut failed = None;
        slot.get_or_init(|| {
            let start = number * SEGMENT;
            let end = (self.ends[pack as usize] as usize).min(start + SEGMENT);
            let mut bytes = vec![0; end.saturating_sub(start)];
            let name = &self.index.packs[pack as usize];
            match self.repository.source.read(ObjectKind::Data, name, start as u64, &mut bytes) {
                Ok(()) => Some(bytes),
                Err(why) => {
                    failed = Some(why);
                    None
                }
            }
        });
        if slot.get().is_some_and(Option::is_none) {
            // whoever comes next reads again
            let mut kept = self.segments.lock().unwrap_or_else(PoisonError::into_inner);
            kept.retain(|s| !Arc::ptr_eq(&s.bytes, &slot));
            let name = &self.index.packs[pack as usize];
            return Err(match failed {
                Some(why) => why.into(),
                None => EngineError::damaged(format!("data/{name}"), Fault::Short),
            });
        }
        Ok(slot)
    }
}

/// Opens, decompresses and hashes what stands in `scratch.sealed`.
fn unpack<'s>(
    cipher: &super::seal::Cipher,
    kind: BlobKind,
    place: &Place,
    scratch: &'s mut Scratch,
) -> Result<&'s [u8], EngineError> {
    let Scratch { sealed, plain, zstd } = scratch;
    let contents = open_blob(cipher, kind, place.plain, sealed, plain, zstd)
        .map_err(|fault| EngineError::blob(&place.id, fault))?;
    if Hash::of(contents) != place.id {
        return Err(EngineError::blob(&place.id, Fault::Hash));
    }
    Ok(contents)
}

/// Opens in place and decompresses into `plain` if it is compressed.
pub(crate) fn open_blob<'s>(
    cipher: &super::seal::Cipher,
    kind: BlobKind,
    size: u32,
    sealed: &'s mut [u8],
    plain: &'s mut Vec<u8>,
    zstd: &mut Option<zstd::bulk::Decompressor<'static>>,
) -> Result<&'s [u8], Fault> {
    let contents = cipher.open(sealed)?;
    if size == 0 {
        return Ok(contents);
    }
    let limit = if kind == BlobKind::Tree { MAX_TREE } else { MAX_DATA };
    let size = size as usize;
    if size > limit {
        return Err(Fault::Compression);
    }
    if zstd.is_none() {
        *zstd = Some(zstd::bulk::Decompressor::new().map_err(|_| Fault::Compression)?);
    }
    let zstd = zstd.as_mut().ok_or(Fault::Compression)?;
    plain.clear();
    plain.reserve(size);
    let written = zstd.decompress_to_buffer(contents, plain).map_err(|_| Fault::Compression)?;
    if written != size { Err(Fault::Compression) } else { Ok(&plain[..]) }
}
