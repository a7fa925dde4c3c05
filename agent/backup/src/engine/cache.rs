//! Which tree each directory had, by a hash over what `stat` says of all in it: a directory that has not changed is not
//! read. Believed only for the repository and the index files it was made with, and only when its own hash is right.

use std::collections::{BTreeSet, HashMap};

use tenure_trust::Hash;

/// Bytes of a file of ours begin so.
const MAGIC: &[u8] = b"tenure directory cache 1\n";
/// Directories that are taken in at most.
const MOST: usize = 8_000_000;

/// The first half of the hash of a directory's path.
pub(crate) type PathKey = [u8; 16];

/// The cache of one run.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Cache {
    /// When the run began, in seconds: what changed later, or just before, may look unchanged.
    pub(crate) started: i64,
    entries: HashMap<PathKey, Known>,
}

/// What was seen of a directory, and what was made of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Known {
    /// Hash over what `stat` said.
    pub(crate) print: Hash,
    /// Its tree.
    pub(crate) tree: Hash,
}

/// The key of a path.
pub(crate) fn key(path: &[u8]) -> PathKey {
    let mut key = [0; 16];
    key.copy_from_slice(&Hash::of(path).as_bytes()[..16]);
    key
}

impl Cache {
    pub(crate) fn get(&self, path: &[u8]) -> Option<Known> {
        if self.entries.is_empty() { None } else { self.entries.get(&key(path)).copied() }
    }

    /// Reads one; empty unless it is whole, of this repository, and every index file that it builds on is there.
    pub(crate) fn read(bytes: &[u8], repository: &str, indexes: &BTreeSet<Hash>) -> Self {
        Self::parse(bytes, repository, indexes).unwrap_or_default()
    }

    fn parse(bytes: &[u8], repository: &str, indexes: &BTreeSet<Hash>) -> Option<Self> {
        let rest = bytes.strip_prefix(MAGIC)?;
        let (hash, mut rest) = rest.split_first_chunk::<32>()?;
        if Hash::of(rest) != Hash::from_bytes(*hash) {
            return None;
        }
        let id = take::<64>(&mut rest)?;
        if id != *repository.as_bytes() {
            return None;
        }
        let started = i64::from_le_bytes(take(&mut rest)?);
        for _ in 0..u32::from_le_bytes(take(&mut rest)?) {
            if !indexes.contains(&Hash::from_bytes(take(&mut rest)?)) {
                return None;
            }
        }
        let count = usize::try_from(u32::from_le_bytes(take(&mut rest)?)).ok()?;
        if count > MOST || rest.len() != count * 80 {
            return None;
        }
        let mut entries = HashMap::with_capacity(count);
        for _ in 0..count {
            let key = take(&mut rest)?;
            let print = Hash::from_bytes(take(&mut rest)?);
            entries.insert(key, Known { print, tree: Hash::from_bytes(take(&mut rest)?) });
        }
        Some(Self { started, entries })
    }

    /// The bytes of one.
    pub(crate) fn write(
        repository: &str,
        started: i64,
        indexes: &BTreeSet<Hash>,
        entries: &[(PathKey, Known)],
    ) -> Vec<u8> {
        let entries = &entries[..entries.len().min(MOST)];
        let mut body = Vec::with_capacity(entries.len() * 80 + indexes.len() * 32 + 200);
        body.extend_from_slice(repository.as_bytes());
        body.extend_from_slice(&started.to_le_bytes());
        body.extend_from_slice(&u32::try_from(indexes.len()).unwrap_or(u32::MAX).to_le_bytes());
        for index in indexes {
            body.extend_from_slice(index.as_bytes());
        }
        body.extend_from_slice(&u32::try_from(entries.len()).unwrap_or(u32::MAX).to_le_bytes());
        for (key, known) in entries {
            body.extend_from_slice(key);
            body.extend_from_slice(known.print.as_bytes());
            body.extend_from_slice(known.tree.as_bytes());
        }
        [MAGIC, Hash::of(&body).as_bytes(), &body].concat()
    }
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (part, behind) = rest.split_first_chunk::<N>()?;
    *rest = behind;
    Some(*part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_its_own_repository_and_index_believe_it_and_only_when_whole() {
        let id = "ab".repeat(32);
        let indexes = BTreeSet::from([Hash::of(b"i"), Hash::of(b"j")]);
        let known = Known { print: Hash::of(b"p"), tree: Hash::of(b"t") };
        let bytes = Cache::write(&id, 77, &indexes, &[(key(b"/srv"), known)]);
        let cache = Cache::read(&bytes, &id, &indexes);
        assert_eq!((cache.started, cache.get(b"/srv"), cache.get(b"/srw")), (77, Some(known), None));
        let none = Cache::default();
        assert_eq!(Cache::read(&bytes, &"cd".repeat(32), &indexes), none);
        assert_eq!(Cache::read(&bytes, &id, &BTreeSet::from([Hash::of(b"i")])), none);
        for at in 0..bytes.len() {
            let mut broken = bytes.clone();
            broken[at] ^= 1;
            assert_eq!(Cache::read(&broken, &id, &indexes), none, "byte {at}");
            assert_eq!(Cache::read(&bytes[..at], &id, &indexes), none, "cut at {at}");
        }
    }
}
