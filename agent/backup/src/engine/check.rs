//! Whether a repository is whole: its index, every tree of its snapshots, the place of every blob, and a sample of its
//! packs decrypted and hashed.

use std::collections::{BTreeMap, HashMap, HashSet};

use sha2::{Digest as _, Sha256};
use tenure_trust::Hash;
use tenure_trust::backup::ObjectKind;

use super::blobs::{Blobs, Scratch, open_blob};
use super::error::{EngineError, Fault};
use super::index::{BlobKind, Index, Place};
use super::pack;
use super::repository::Repository;
use super::request::{CheckReport, Sample};
use super::snapshot::snapshots;
use super::tree::NodeKind;

/// Bytes of the largest pack that is read whole: a pack with one very large tree.
const MAX_PACK: u64 = 512 << 20;

/// Checks a repository. The first thing that is out of order ends it as an error.
///
/// # Errors
/// `Damaged`, `Missing`, `Limit`, `Store`.
pub fn check(repository: &Repository<'_>, sample: Sample) -> Result<CheckReport, EngineError> {
    let blobs = Blobs::of(repository)?;
    let index = blobs.index.clone();
    let mut report = CheckReport {
        blobs: (index.all(BlobKind::Data).len() + index.all(BlobKind::Tree).len()) as u64,
        packs: index.packs.len() as u64,
        ..CheckReport::default()
    };
    let sizes = places(repository, &index)?;
    trees(repository, &blobs, &mut report)?;
    let drawn = draw(&index, sample);
    if drawn.is_empty() {
        return Ok(report);
    }
    let mut by_pack: HashMap<u32, Vec<Place>> = drawn.iter().map(|number| (*number, Vec::new())).collect();
    for place in [BlobKind::Data, BlobKind::Tree].iter().flat_map(|kind| index.all(*kind)) {
        if let Some(list) = by_pack.get_mut(&place.pack) {
            list.push(*place);
        }
    }
    let mut scratch = Buffers::default();
    for number in drawn {
        let name = index.packs[number as usize];
        let size = sizes.get(&name).copied().unwrap_or_default();
        let places = by_pack.remove(&number).unwrap_or_default();
        whole_pack(repository, &name, size, &places, &mut scratch)?;
        report.packs_read += 1;
        report.bytes_read += size;
    }
    Ok(report)
}

/// Every pack of the index is there, and long enough for what stands in it; the sizes of all packs.
fn places(repository: &Repository<'_>, index: &Index) -> Result<HashMap<Hash, u64>, EngineError> {
    let listed = repository.source.list(ObjectKind::Data)?;
    let sizes: HashMap<Hash, u64> = listed.into_iter().map(|object| (object.name, object.size)).collect();
    for place in [BlobKind::Data, BlobKind::Tree].iter().flat_map(|kind| index.all(*kind)) {
        let name = &index.packs[place.pack as usize];
        let size = sizes.get(name).ok_or_else(|| EngineError::Missing { what: format!("data/{name}") })?;
        if u64::from(place.offset) + u64::from(place.length) > *size {
            return Err(EngineError::damaged(format!("data/{name}"), Fault::Short));
        }
    }
    Ok(sizes)
}

/// Every tree of every snapshot opens, and the index knows every blob of its files.
fn trees(
    repository: &Repository<'_>,
    blobs: &Blobs<'_>,
    report: &mut CheckReport,
) -> Result<(), EngineError> {
    let mut scratch = Scratch::default();
    let mut seen = HashSet::new();
    let mut waiting = Vec::new();
    for snapshot in snapshots(repository)? {
        report.snapshots += 1;
        waiting.push(snapshot.tree);
        while let Some(tree) = waiting.pop() {
            if !seen.insert(tree) {
                continue;
            }
            report.trees += 1;
            for node in blobs.tree(&tree, &mut scratch)? {
                match node.kind {
                    NodeKind::Dir(tree) => waiting.push(tree),
                    NodeKind::File(content) => {
                        let absent = content.iter().find(|id| blobs.index.find(BlobKind::Data, id).is_none());
                        if let Some(id) = absent {
                            return Err(EngineError::Missing { what: format!("blob {id}") });
                        }
                    }
                    _ => {}
                }
            }
        }
    }
    Ok(())
}

/// Numbers of the packs that are read.
fn draw(index: &Index, sample: Sample) -> Vec<u32> {
    let count = u32::try_from(index.packs.len()).unwrap_or(u32::MAX);
    let (share, seed) = match sample {
        Sample::Nothing => return Vec::new(),
        Sample::All => return (0..count).collect(),
        Sample::Share { share, seed } => (share.clamp(0.0, 1.0), seed),
    };
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a share from 0 to 1 of a number of 32 bits"
    )]
    let wanted = ((f64::from(count) * share).ceil() as u32).max(1).min(count);
    // in the order of a hash over seed and name: whoever stores the packs cannot know which ones
    let ticket = |number: &u32| -> [u8; 32] {
        let name = &index.packs[*number as usize];
        Sha256::new().chain_update(seed.to_le_bytes()).chain_update(name.as_bytes()).finalize().into()
    };
    let mut numbers: Vec<u32> = (0..count).collect();
    numbers.sort_by_cached_key(ticket);
    numbers.truncate(wanted as usize);
    numbers
}

#[derive(Default)]
struct Buffers {
    pack: Vec<u8>,
    plain: Vec<u8>,
    zstd: Option<zstd::bulk::Decompressor<'static>>,
}

/// Reads one pack: it has its name's hash, its header says what the index says, and every blob opens to its id.
fn whole_pack(
    repository: &Repository<'_>,
    name: &Hash,
    size: u64,
    places: &[Place],
    buffers: &mut Buffers,
) -> Result<(), EngineError> {
    let damaged = |fault| EngineError::damaged(format!("data/{name}"), fault);
    let len = usize::try_from(size).ok().filter(|_| size <= MAX_PACK);
    let len = len.ok_or(EngineError::Limit { what: "a pack", limit: MAX_PACK })?;
    let Buffers { pack, plain, zstd } = buffers;
    pack.clear();
    pack.resize(len, 0);
    repository.source.read(ObjectKind::Data, name, 0, pack)?;
    if Hash::of(pack) != *name {
        return Err(damaged(Fault::Hash));
    }
    let (rest, end) = pack.split_last_chunk_mut::<{ pack::LENGTH }>().ok_or_else(|| damaged(Fault::Short))?;
    let length = pack::header_length(*end, size).map_err(damaged)?;
    let (bodies, header) = rest.split_at_mut(rest.len() - length);
    let header = repository.cipher.open(header).map_err(damaged)?;
    let blobs = pack::parse(header).map_err(damaged)?;
    let told: BTreeMap<(Hash, u32), &Place> = places.iter().map(|p| ((p.id, p.offset), p)).collect();
    let mut agreed = 0;
    for blob in &blobs {
        if let Some(place) = told.get(&(blob.id, blob.offset)) {
            if (place.length, place.plain) != (blob.length, blob.plain.unwrap_or_default()) {
                return Err(damaged(Fault::Header));
            }
            agreed += 1;
        }
        let (from, to) = (blob.offset as usize, blob.offset as usize + blob.length as usize);
        let sealed = bodies.get_mut(from..to).ok_or_else(|| damaged(Fault::Header))?;
        let contents =
            open_blob(&repository.cipher, blob.kind, blob.plain.unwrap_or_default(), sealed, plain, zstd)
                .map_err(|fault| EngineError::blob(&blob.id, fault))?;
        if Hash::of(contents) != blob.id {
            return Err(EngineError::blob(&blob.id, Fault::Hash));
        }
    }
    if agreed != told.len() { Err(damaged(Fault::Header)) } else { Ok(()) }
}
