//! `seal`: a slot is accepted when the host's admitted key signed it, its root is that of the vault's own books, every
//! object was read back and hashed, and the host read it back too. Then the receipt, the same for the same seal.

use std::fs::{self, File};
use std::io::Read;
use std::path::Path;

use jiff::Timestamp;
use sha2::{Digest, Sha256};
use tenure_link::Identity;
use tenure_trust::admission::verify_machine;
use tenure_trust::vault_wire::RefusalCode;
use tenure_trust::{Hash, ObjectKind, PublicKey, Receipt, Seal, Signed, Statement, VaultName};

use super::books::Books;
use super::entry::What;
use super::fault::Fault;
use super::opening::Opened;
use super::series::sync_dir;
use super::{Store, Terms, opening, place};
use crate::ring::Event;

/// What signs receipts.
#[derive(Debug, Clone, Copy)]
pub struct Signer<'a> {
    /// The vault's own key.
    pub identity: &'a Identity,
    /// Seconds of uptime that the vault has witnessed in all.
    pub uptime: u64,
}

/// A seal that was taken.
#[derive(Debug, Clone)]
pub struct Taken {
    /// The receipt, as DSSE JSON.
    pub receipt: String,
    /// What was written down; none when the same seal was taken before.
    pub event: Option<Event>,
}

impl Store {
    /// Accepts a seal.
    ///
    /// # Errors
    /// A refusal by the first rule that it breaks, or the disk. Nothing counts then.
    pub fn seal(
        &self,
        terms: &Terms,
        opened: &Opened,
        text: &str,
        host: &PublicKey,
        signer: Signer<'_>,
        now: Timestamp,
    ) -> Result<Taken, Fault> {
        let bad = |why: tenure_trust::Refused| Fault::refused(RefusalCode::BadSeal, why.to_string());
        let seal: Seal = verify_machine(host, text.as_bytes()).map_err(bad)?;
        let hash = Signed::<Seal>::parse(text.as_bytes()).map_err(bad)?.hash();
        let place = (&seal.fleet, &seal.slot.series, seal.slot.date, seal.generation);
        let ours = (&terms.fleet, &opened.series.id, opened.generation.date, opened.generation);
        if place != ours {
            return Err(Fault::refused(RefusalCode::BadSeal, "the seal is for another generation"));
        }
        let slot = crate::ring::SlotKey::of(&seal.slot);
        if let Some(known) = opened
            .series
            .with_ring(|ring| ring.seal(opened.generation, slot, hash).map(|known| known.is_some()))
            .map(|known| known.then(|| opened.series.receipt(opened.generation, slot)))?
        {
            return Ok(Taken { receipt: known?, event: None });
        }
        if !seal.claims.read_back {
            let what = "the host did not read back what it sealed";
            return Err(Fault::refused(RefusalCode::BadSeal, what));
        }
        let books = &opened.books;
        compare(&seal, books)?;
        self.read_back(opened, seal.upto)?;
        let taken = opened.series.change(now, |ring| {
            if ring.seal(opened.generation, slot, hash)?.is_some() {
                return Ok((Vec::new(), None));
            }
            let sequence = match books.seal_entry(&hash) {
                Some(sequence) => sequence,
                None => books.add(What::Seal(hash), now)?,
            };
            let receipt = Receipt {
                schema: Receipt::SCHEMA,
                fleet: terms.fleet.clone(),
                vault: self.vault_name(),
                seal: hash,
                slot: seal.slot.clone(),
                generation: seal.generation,
                snapshot: seal.snapshot,
                root: seal.root,
                objects: seal.objects,
                bytes: seal.bytes,
                sequence,
                received: now,
                uptime_seconds: signer.uptime,
                gone: ring.gone(),
            };
            let receipt = signer.identity.sign(&receipt).to_json();
            let dir = opened.series.place(opened.generation);
            replace(&self.temporary("seal"), &dir.join(place::seal(slot)), text.as_bytes())?;
            replace(&self.temporary("receipt"), &dir.join(place::receipt(slot)), receipt.as_bytes())?;
            sync_dir(&dir.join("seals"))?;
            let event = Event::Seal {
                generation: opened.generation,
                slot,
                seal: hash,
                snapshot: seal.snapshot,
                root: seal.root,
                upto: seal.upto,
                objects: seal.objects,
                bytes: seal.bytes,
                sequence,
                unreadable: seal.claims.unreadable,
            };
            Ok((vec![event.clone()], Some((receipt, event))))
        })?;
        match taken {
            Some((receipt, event)) => Ok(Taken { receipt, event: Some(event) }),
            // Another channel was faster with the same seal.
            None => Ok(Taken { receipt: opened.series.receipt(opened.generation, slot)?, event: None }),
        }
    }

    fn vault_name(&self) -> VaultName {
        self.vault().clone()
    }

    /// Reads every object up to there that was not read back yet, and hashes it.
    fn read_back(&self, opened: &Opened, upto: u64) -> Result<(), Fault> {
        let repo = opened.series.place(opened.generation).join("repo");
        let done = usize::try_from(opened.books.verified()).unwrap_or(usize::MAX);
        // Entries that are no objects only make this skip less than it could.
        let seals_before = opened.books.objects(opened.books.verified()).len().min(done);
        for (object, _) in opened.books.objects(upto).iter().skip(seals_before) {
            let path = repo.join(place::beneath(object));
            let (hash, size) = hash_file(&path)?;
            if (hash, size) != (object.name, object.size) {
                opened.books.spoilt(object);
                let what = "an object on the vault's disk is not what came: bring it again";
                return Err(Fault::refused(RefusalCode::RootMismatch, what));
            }
        }
        opened.books.set_verified(upto);
        Ok(())
    }
}

/// Do the seal's numbers follow from the vault's own books?
fn compare(seal: &Seal, books: &Books) -> Result<(), Fault> {
    let differs = |what: &str| Err(Fault::refused(RefusalCode::RootMismatch, what));
    if seal.upto == 0 || seal.upto > books.last() {
        return differs("the seal counts more than the vault has taken");
    }
    let (root, objects, bytes) = books.root(seal.upto);
    if (root, objects, bytes) != (seal.root, seal.objects, seal.bytes) {
        return differs("the seal's root, count or bytes differ from the vault's journal");
    }
    match books.look(ObjectKind::Snapshot, &seal.snapshot, seal.upto) {
        Some(_) => Ok(()),
        None => differs("the snapshot that the seal names is not there"),
    }
}

pub(super) fn hash_file(path: &Path) -> Result<(Hash, u64), Fault> {
    let failed = || Fault::disk("read back", path);
    let mut file = File::open(path).map_err(failed())?;
    let (mut hash, mut size) = (Sha256::new(), 0);
    let mut buffer = vec![0; 256 << 10];
    loop {
        let read = file.read(&mut buffer).map_err(failed())?;
        if read == 0 {
            return Ok((Hash::from_bytes(hash.finalize().into()), size));
        }
        hash.update(&buffer[..read]);
        size += read as u64;
    }
}

/// Puts a file in place, whole; its directory is synced by the caller.
fn replace(tmp: &Path, to: &Path, bytes: &[u8]) -> Result<(), Fault> {
    opening::write(tmp, bytes)?;
    fs::rename(tmp, to).map_err(Fault::disk("place", to))
}
