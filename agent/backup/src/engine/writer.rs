//! Blobs into packs, packs and their index into the store: shared by all threads of one run.

use std::collections::HashSet;
use std::hash::{BuildHasher, Hasher};
use std::mem;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use tenure_trust::Hash;
use tenure_trust::backup::{Object, ObjectKind};

use super::error::EngineError;
use super::file;
use super::index::{self, BlobKind, Entry, FULL, Index, PackEntries};
use super::pack::{self, MAX_BLOBS};
use super::queue::Queue;
use super::repository::Repository;
use super::sealer::Sealer;
use super::store::ObjectSink;

/// Bytes of blobs at which a pack is closed, as restic has it; of trees sooner, there are few.
pub(crate) const PACK: usize = 16 << 20;
const TREE_PACK: usize = 4 << 20;
/// Bytes of a header, about.
const HEADER: usize = 1 << 20;
/// Threads that hash packs and hand them to the sink.
pub(crate) const STORERS: usize = 2;
/// Buffers of packs: two are filled, one with data and one with trees, while the others are stored.
const BUFFERS: usize = STORERS + 2;
/// Parts of the set of known blobs, each with its own lock.
const SHARDS: usize = 64;

/// Takes blobs from any thread.
pub(crate) struct Writer<'a> {
    pub(crate) repository: &'a Repository<'a>,
    sink: &'a dyn ObjectSink,
    /// Bytes of blobs at which a pack is closed.
    pack: usize,
    old: OnceLock<Arc<Index>>,
    loading: Mutex<()>,
    new: Vec<Mutex<HashSet<Hash, Prehashed>>>,
    data: Mutex<Filling>,
    trees: Mutex<Filling>,
    full: Queue<Filling>,
    spare: Queue<Vec<u8>>,
    index: Mutex<Vec<PackEntries>>,
    indexes: Mutex<Vec<Hash>>,
    objects: AtomicU64,
    bytes: AtomicU64,
    stopped: AtomicBool,
    why: Mutex<Option<EngineError>>,
}

/// A pack before it is closed.
#[derive(Default)]
struct Filling {
    bytes: Vec<u8>,
    blobs: Vec<Entry>,
}

/// What a run has stored.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stored {
    pub(crate) objects: u64,
    pub(crate) bytes: u64,
}

impl<'a> Writer<'a> {
    pub(crate) fn new(repository: &'a Repository<'a>, sink: &'a dyn ObjectSink, pack: usize) -> Self {
        let spare = Queue::new(BUFFERS);
        for _ in 0..BUFFERS {
            let _ = spare.push(Vec::new());
        }
        Self {
            repository,
            sink,
            pack,
            old: OnceLock::new(),
            loading: Mutex::new(()),
            new: (0..SHARDS).map(|_| Mutex::default()).collect(),
            data: Mutex::default(),
            trees: Mutex::default(),
            full: Queue::new(1),
            spare,
            index: Mutex::default(),
            indexes: Mutex::default(),
            objects: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            stopped: AtomicBool::new(false),
            why: Mutex::default(),
        }
    }

    /// The index as it was when the run began; loaded when the first blob asks for it.
    pub(crate) fn old(&self) -> Result<&Arc<Index>, EngineError> {
        if self.old.get().is_none() {
            let _one = lock(&self.loading);
            if self.old.get().is_none() {
                let _ = self.old.set(Arc::new(Index::load(self.repository)?));
            }
        }
        self.old.get().ok_or(EngineError::Worker)
    }

    /// Stores a blob unless the repository has it; its id.
    pub(crate) fn blob(
        &self,
        kind: BlobKind,
        contents: &[u8],
        sealer: &mut Sealer,
    ) -> Result<Hash, EngineError> {
        let id = Hash::of(contents);
        if self.old()?.find(kind, &id).is_some() || !lock(self.shard(kind, &id)).insert(id) {
            return Ok(id);
        }
        let (sealed, plain) = sealer.seal(&self.repository.cipher, kind, contents)?;
        let length = u32::try_from(sealed.len()).map_err(|_| EngineError::Unfaithful)?;
        let (filling, most) = match kind {
            BlobKind::Data => (&self.data, self.pack),
            BlobKind::Tree => (&self.trees, TREE_PACK),
        };
        let mut filling = lock(filling);
        if !filling.blobs.is_empty()
            && (filling.bytes.len() + sealed.len() > most || filling.blobs.len() >= MAX_BLOBS)
        {
            self.hand_over(&mut filling)?;
        }
        if filling.bytes.capacity() == 0 {
            filling.bytes = self.spare.pop().ok_or(EngineError::Worker)?;
            // what is not touched costs nothing
            filling.bytes.reserve(self.pack + HEADER);
        }
        let offset = u32::try_from(filling.bytes.len()).map_err(|_| EngineError::Unfaithful)?;
        filling.bytes.extend_from_slice(sealed);
        filling.blobs.push(Entry { id, kind, offset, length, plain });
        Ok(id)
    }

    fn shard(&self, kind: BlobKind, id: &Hash) -> &Mutex<HashSet<Hash, Prehashed>> {
        let half = usize::from(kind == BlobKind::Tree) * SHARDS / 2;
        &self.new[half + usize::from(id.as_bytes()[31]) % (SHARDS / 2)]
    }

    fn hand_over(&self, filling: &mut Filling) -> Result<(), EngineError> {
        if filling.blobs.is_empty() {
            return Ok(());
        }
        self.full.push(mem::take(filling)).map_err(|_| EngineError::Worker)
    }

    /// The work of a thread that stores packs; ends after [`Writer::finish_packs`].
    pub(crate) fn store(&self) {
        while let Some(pack) = self.full.pop() {
            if let Err(why) = self.store_pack(pack) {
                return self.stop(why);
            }
        }
    }

    fn store_pack(&self, pack: Filling) -> Result<(), EngineError> {
        let Filling { mut bytes, blobs } = pack;
        pack::close(&self.repository.cipher, &mut bytes, &blobs)?;
        let object = Object { kind: ObjectKind::Data, name: Hash::of(&bytes), size: bytes.len() as u64 };
        self.put(&object, &bytes)?;
        bytes.clear();
        if bytes.capacity() > self.pack + self.pack / 4 {
            bytes = Vec::new();
        }
        let _ = self.spare.push(bytes);
        let mut index = lock(&self.index);
        index.push(PackEntries { id: object.name, blobs });
        if index.iter().map(|pack| pack.blobs.len()).sum::<usize>() >= FULL {
            let packs = mem::take(&mut *index);
            drop(index);
            self.store_index(&packs)?;
        }
        Ok(())
    }

    fn store_index(&self, packs: &[PackEntries]) -> Result<(), EngineError> {
        if packs.is_empty() {
            return Ok(());
        }
        let name = self.file(ObjectKind::Index, &index::encode(packs))?.0;
        lock(&self.indexes).push(name);
        Ok(())
    }

    /// Stores one of restic's small files; its name and the store's sequence number.
    pub(crate) fn file(&self, kind: ObjectKind, json: &[u8]) -> Result<(Hash, u64), EngineError> {
        let (object, bytes) = file::encode(&self.repository.cipher, kind, json)?;
        Ok((object.name, self.put(&object, &bytes)?))
    }

    fn put(&self, object: &Object, bytes: &[u8]) -> Result<u64, EngineError> {
        let sequence = self.sink.put(object, bytes)?;
        self.objects.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(object.size, Ordering::Relaxed);
        Ok(sequence)
    }

    /// No more blobs will come: what is begun goes to the storing threads, which then end.
    pub(crate) fn finish_packs(&self) -> Result<(), EngineError> {
        self.hand_over(&mut lock(&self.data))?;
        self.hand_over(&mut lock(&self.trees))?;
        self.full.close();
        Ok(())
    }

    /// Stores the rest of the index, after every pack is stored; the names of all index files of this run.
    pub(crate) fn finish_index(&self) -> Result<Vec<Hash>, EngineError> {
        let packs = mem::take(&mut *lock(&self.index));
        self.store_index(&packs)?;
        Ok(mem::take(&mut *lock(&self.indexes)))
    }

    /// What was stored so far.
    pub(crate) fn stored(&self) -> Stored {
        Stored { objects: self.objects.load(Ordering::Relaxed), bytes: self.bytes.load(Ordering::Relaxed) }
    }

    /// Ends the run; the first reason stays.
    pub(crate) fn stop(&self, why: EngineError) {
        lock(&self.why).get_or_insert(why);
        self.stopped.store(true, Ordering::Release);
        self.full.stop();
        self.spare.stop();
    }

    /// Whether the run has been ended.
    pub(crate) fn stopped(&self) -> bool {
        self.stopped.load(Ordering::Acquire)
    }

    /// Why it was.
    pub(crate) fn why(&self) -> Option<EngineError> {
        lock(&self.why).take()
    }
}

/// A lock whose holder cannot leave it half done: what is under ours is changed in one step or belongs to a run that ends.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Ids are hashes already.
#[derive(Clone, Default)]
struct Prehashed;

impl BuildHasher for Prehashed {
    type Hasher = First;
    fn build_hasher(&self) -> First {
        First(0)
    }
}

struct First(u64);

impl Hasher for First {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        if let Some(first) = bytes.first_chunk::<8>() {
            self.0 = u64::from_le_bytes(*first);
        }
    }
    fn write_usize(&mut self, _: usize) {}
}
