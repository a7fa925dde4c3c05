//! restic's index: which blob stands in which pack, and where.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io::Write as _;

use serde::Deserialize;
use tenure_trust::Hash;
use tenure_trust::backup::ObjectKind;

use super::error::{EngineError, Fault};
use super::repository::Repository;

/// Blobs of one index file when ours are written: as restic, so that no file grows beyond reading.
pub(crate) const FULL: usize = 40_000;
/// Index files of one repository that are read at most.
const FILES: usize = 50_000;
/// Blobs of one repository that are held at most.
const BLOBS: usize = 64_000_000;

/// What a blob is part of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum BlobKind {
    Data,
    Tree,
}

/// Where in its pack a blob stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) id: Hash,
    pub(crate) kind: BlobKind,
    pub(crate) offset: u32,
    /// Sealed.
    pub(crate) length: u32,
    /// Of the contents when they are compressed, else none.
    pub(crate) plain: Option<u32>,
}

/// A pack and what stands in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PackEntries {
    pub(crate) id: Hash,
    pub(crate) blobs: Vec<Entry>,
}

/// The JSON of an index file.
pub(crate) fn encode(packs: &[PackEntries]) -> Vec<u8> {
    let mut out = b"{\"packs\":[".to_vec();
    for (number, pack) in packs.iter().enumerate() {
        let comma = if number > 0 { "," } else { "" };
        let _ = write!(out, "{comma}{{\"id\":\"{}\",\"blobs\":[", pack.id);
        for (number, blob) in pack.blobs.iter().enumerate() {
            let comma = if number > 0 { "," } else { "" };
            let kind = match blob.kind {
                BlobKind::Data => "data",
                BlobKind::Tree => "tree",
            };
            let (id, offset, length) = (blob.id, blob.offset, blob.length);
            let _ = write!(
                out,
                "{comma}{{\"id\":\"{id}\",\"type\":\"{kind}\",\"offset\":{offset},\"length\":{length}"
            );
            if let Some(plain) = blob.plain {
                let _ = write!(out, ",\"uncompressed_length\":{plain}");
            }
            out.push(b'}');
        }
        out.extend_from_slice(b"]}");
    }
    out.extend_from_slice(b"]}");
    out
}

#[derive(Deserialize)]
struct RawIndex<'a> {
    #[serde(borrow)]
    packs: Vec<RawPack<'a>>,
}

#[derive(Deserialize)]
struct RawPack<'a> {
    id: Hash,
    #[serde(borrow)]
    blobs: Vec<RawBlob<'a>>,
}

#[derive(Deserialize)]
struct RawBlob<'a> {
    id: Hash,
    #[serde(borrow, rename = "type")]
    kind: Cow<'a, str>,
    offset: u32,
    length: u32,
    #[serde(default)]
    uncompressed_length: u32,
}

/// Reads the JSON of an index file.
pub(crate) fn parse(text: &[u8]) -> Result<Vec<PackEntries>, Fault> {
    let raw: RawIndex<'_> = serde_json::from_slice(text).map_err(|_| Fault::Form)?;
    let blob = |raw: RawBlob<'_>| {
        let kind = match &*raw.kind {
            "data" => BlobKind::Data,
            "tree" => BlobKind::Tree,
            _ => return Err(Fault::Version),
        };
        raw.offset.checked_add(raw.length).ok_or(Fault::Form)?;
        let plain = (raw.uncompressed_length > 0).then_some(raw.uncompressed_length);
        Ok(Entry { id: raw.id, kind, offset: raw.offset, length: raw.length, plain })
    };
    let pack = |raw: RawPack<'_>| {
        let blobs = raw.blobs.into_iter().map(blob).collect::<Result<_, _>>()?;
        Ok(PackEntries { id: raw.id, blobs })
    };
    raw.packs.into_iter().map(pack).collect()
}

/// What an index file's JSON holds, for whoever only wants to know whether it is read: packs and their number of blobs.
///
/// # Errors
/// `Form`, `Version`.
pub fn parse_index(json: &[u8]) -> Result<Vec<(Hash, usize)>, Fault> {
    Ok(parse(json)?.into_iter().map(|pack| (pack.id, pack.blobs.len())).collect())
}

/// Every blob of a repository: 48 bytes each.
#[derive(Debug, Default)]
pub(crate) struct Index {
    pub(crate) packs: Vec<Hash>,
    data: Vec<Place>,
    trees: Vec<Place>,
}

/// Where a blob stands.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub(crate) id: Hash,
    /// Number in [`Index::packs`].
    pub(crate) pack: u32,
    pub(crate) offset: u32,
    pub(crate) length: u32,
    /// 0: not compressed.
    pub(crate) plain: u32,
}

impl Index {
    /// Reads every index file of the repository.
    pub(crate) fn load(repository: &Repository<'_>) -> Result<Self, EngineError> {
        let mut files = repository.source.list(ObjectKind::Index)?;
        if files.len() > FILES {
            return Err(EngineError::Limit { what: "the number of index files", limit: FILES as u64 });
        }
        files.sort_unstable();
        let mut index = Self::default();
        let mut numbers = BTreeMap::new();
        for file in files {
            let json = repository.file(&file)?;
            let packs =
                parse(&json).map_err(|fault| EngineError::damaged(format!("index/{}", file.name), fault))?;
            for pack in packs {
                let next = u32::try_from(index.packs.len()).unwrap_or(u32::MAX);
                let number = *numbers.entry(pack.id).or_insert(next);
                if number == next {
                    index.packs.push(pack.id);
                }
                for blob in pack.blobs {
                    index.list(blob.kind).push(Place {
                        id: blob.id,
                        pack: number,
                        offset: blob.offset,
                        length: blob.length,
                        plain: blob.plain.unwrap_or_default(),
                    });
                }
            }
            if index.data.len() + index.trees.len() > BLOBS {
                return Err(EngineError::Limit { what: "the number of blobs", limit: BLOBS as u64 });
            }
        }
        for list in [&mut index.data, &mut index.trees] {
            list.sort_unstable_by_key(|place| (place.id, place.pack, place.offset));
            list.dedup_by_key(|place| place.id);
            list.shrink_to_fit();
        }
        Ok(index)
    }

    fn list(&mut self, kind: BlobKind) -> &mut Vec<Place> {
        match kind {
            BlobKind::Data => &mut self.data,
            BlobKind::Tree => &mut self.trees,
        }
    }

    /// All of a kind, sorted by id, each once.
    pub(crate) fn all(&self, kind: BlobKind) -> &[Place] {
        match kind {
            BlobKind::Data => &self.data,
            BlobKind::Tree => &self.trees,
        }
    }

    /// Where a blob stands.
    pub(crate) fn find(&self, kind: BlobKind, id: &Hash) -> Option<&Place> {
        let list = self.all(kind);
        list.binary_search_by_key(id, |place| place.id).ok().map(|at| &list[at])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packs() -> Vec<PackEntries> {
        let blob =
            |n: u8, kind, plain| Entry { id: Hash::of(&[n]), kind, offset: 7, length: u32::from(n), plain };
        vec![
            PackEntries {
                id: Hash::of(b"p"),
                blobs: vec![blob(1, BlobKind::Data, None), blob(2, BlobKind::Data, Some(70_000))],
            },
            PackEntries { id: Hash::of(b"q"), blobs: vec![blob(3, BlobKind::Tree, Some(1))] },
        ]
    }

    #[test]
    fn what_is_written_is_read() {
        assert_eq!(parse(&encode(&packs())).unwrap(), packs());
        assert_eq!(parse(&encode(&[])).unwrap(), []);
        assert_eq!(parse(br#"{"supersedes":["x"],"packs":[]}"#).unwrap(), []);
    }

    #[test]
    fn hostile_indexes_are_refused() {
        let good = String::from_utf8(encode(&packs())).unwrap();
        for (from, to) in [
            ("\"offset\":7", "\"offset\":4294967295"),
            ("\"offset\":7", "\"offset\":-1"),
            ("\"length\":1", "\"length\":99999999999"),
            ("\"type\":\"data\"", "\"type\":\"door\""),
            ("\"packs\"", "\"sacks\""),
        ] {
            assert!(parse(good.replace(from, to).as_bytes()).is_err(), "{to}");
        }
    }
}
