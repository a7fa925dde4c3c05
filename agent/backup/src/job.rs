//! One run of one slot, step by step, each step durable before the next: key and escrow first, then the vault's word that
//! the generation is open, dumps, the copy, reading it back, seal and receipt. A run that was killed goes on; whatever was
//! not sealed counts for nothing.

use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use tenure_areas::backup::facts::SealFact;
use tenure_areas::backup::journal::RunStep;
use tenure_areas::backup::spec::{JobSpec, SPEC_LIMIT};
use tenure_sys::clock;
use tenure_sys::files::CheckedDir;
use tenure_trust::admission::verify_machine;
use tenure_trust::backup::object_root;
use tenure_trust::vault_wire::{Answer, Open, RefusalCode, Request};
use tenure_trust::{Hash, Object, Point, Receipt, RunId, Seal, SealClaims, SetName, Signed, Statement, View};

use crate::dump::{self, Dumps};
use crate::engine::{self, BackupRequest, LackKind, Sample, Unlock};
use crate::error::BackupError;
use crate::keys::{GenerationKeys, KeyStore};
use crate::machine::Machine;
use crate::source;
use crate::steps::{Journal, Stored, stored};
use crate::transport::{self, Link, Typed, Writing};

/// Channels on which objects go to the vault side by side.
const CHANNELS: usize = 3;
/// This share of the packs is read back and decrypted before a seal.
const READ_BACK: f64 = 0.05;
/// Numbers of one date that are tried when its keys are lost.
const MOST_NUMBERS: u32 = 8;
/// What of the lacks a journal names.
const LACKS: usize = 20;

/// Reads a run's specification.
///
/// # Errors
/// When it is missing or not one of this host's.
pub fn read_spec(state: &Path, run: &RunId) -> Result<JobSpec, BackupError> {
    let path = state.join("jobs").join(format!("{run}.json"));
    let file = CheckedDir::read_file(&path, SPEC_LIMIT as u64)?;
    let spec: JobSpec =
        serde_json::from_slice(&file.bytes).map_err(|e| BackupError::Record(e.to_string()))?;
    match spec.run == *run {
        true => Ok(spec),
        false => Err(BackupError::Record("it is another run's".into())),
    }
}

/// Runs a job to its end. What it did stands in its journal, a failure too.
///
/// # Errors
/// Why it failed.
pub fn run(machine: &Machine, spec: &JobSpec) -> Result<SealFact, BackupError> {
    let mut journal = Journal::open(&machine.state, &spec.run)?;
    if let Some(seal) = journal.find(|step| match step {
        RunStep::Receipted(seal) => Some(seal.clone()),
        _ => None,
    }) {
        return Ok(seal);
    }
    journal.step(RunStep::Planned)?;
    let done = Run { machine, spec, journal: &mut journal }.reach_receipt();
    if let Err(why) = &done {
        journal.step(RunStep::Failed { why: why.told() })?;
    }
    done
}

/// Writes down why a run failed before its work began, so that it is not begun again and again.
///
/// # Errors
/// When the journal cannot be written.
pub fn note_failure(state: &Path, run: &RunId, why: &str) -> Result<(), BackupError> {
    let mut journal = Journal::open(state, run)?;
    match journal.lines.last().map(|line| &line.step) {
        Some(RunStep::Failed { .. } | RunStep::Receipted(_) | RunStep::Forgot { .. }) => Ok(()),
        _ => journal.step(RunStep::Failed { why: tenure_sys::text::neutral(why.as_bytes(), 1000) }),
    }
}

struct Run<'a> {
    machine: &'a Machine,
    spec: &'a JobSpec,
    journal: &'a mut Journal,
}

impl Run<'_> {
    fn reach_receipt(&mut self) -> Result<SealFact, BackupError> {
        let started = self.journal.lines.first().map_or_else(clock::wall, |line| line.at);
        let series = &self.spec.series.series;
        let store = KeyStore::open(&self.machine.state)?;
        if series.set == SetName::Server {
            dump::all_dumped(self.spec)?;
        }
        // Before anything goes out: keys on disk, and dumps that are whole.
        let mut lost = 0;
        let first = store.of_date(series, self.spec.slot.date, lost, &self.spec.recipients, clock::wall())?;
        self.journal.step(RunStep::KeyMade { generation: first.generation })?;
        let link = Link::connect(self.machine, &self.spec.vault)?;
        let (keys, mut channel, sequence) = loop {
            let keys =
                store.of_date(series, self.spec.slot.date, lost, &self.spec.recipients, clock::wall())?;
            let mut channel = link.typed()?;
            match channel.ask(&self.open(&keys, &store)) {
                Ok(Answer::Opened { generation, sequence, sealed: Some(receipt) }) => {
                    // The answer to the seal was lost, or another run was faster: the slot is filled, perhaps in a number
                    // whose keys this host has no more; recipients can open it still.
                    self.journal.step(RunStep::Opened { generation, sequence })?;
                    return self.receipted(&receipt, None, &store);
                }
                Ok(Answer::Opened { generation, sequence, sealed: None })
                    if generation == keys.generation =>
                {
                    break (keys, channel, sequence);
                }
                Ok(other) => return Err(transport::unexpected(&other)),
                Err(BackupError::Refused(refusal))
                    if refusal.code == RefusalCode::Frozen && lost < MOST_NUMBERS =>
                {
                    // The vault has opened this number with a key that this host has lost.
                    lost = keys.generation.number;
                }
                Err(why) => return Err(why),
            }
        };
        self.journal.step(RunStep::Opened { generation: keys.generation, sequence })?;
        let stored = match stored(&self.journal.lines, keys.generation) {
            Some(stored) => stored,
            None => self.store(&link, &keys, &store, sequence)?,
        };
        let objects = self.read_back(&link, &keys, &stored)?;
        let seal = Seal {
            schema: Seal::SCHEMA,
            fleet: self.spec.fleet.clone(),
            slot: self.spec.slot.clone(),
            generation: keys.generation,
            run: self.spec.run.clone(),
            snapshot: stored.snapshot,
            upto: stored.upto,
            objects: objects.len() as u64,
            bytes: objects.iter().map(|object| object.size).sum(),
            root: object_root(&objects),
            claims: SealClaims { read_back: true, ..stored.claims },
            started,
            ended: clock::wall(),
        };
        let signed = self.machine.identity.sign(&seal);
        let envelope = signed.to_json();
        self.journal.step(RunStep::SealSent { seal: signed.hash(), envelope: envelope.clone() })?;
        let receipt = match channel.ask(&Request::Seal { seal: envelope })? {
            Answer::Sealed { receipt } => receipt,
            other => return Err(transport::unexpected(&other)),
        };
        self.receipted(&receipt, Some((signed.hash(), &seal)), &store)
    }

    fn open(&self, keys: &GenerationKeys, store: &KeyStore) -> Request {
        Request::Open(Open {
            schema: tenure_trust::vault_wire::SCHEMA,
            slot: self.spec.slot.clone(),
            number: keys.generation.number,
            config: STANDARD.encode(&keys.config),
            key: STANDARD.encode(&keys.key_file),
            escrow: keys.escrow.clone(),
            estimate: store.last_size(&self.spec.series.series),
        })
    }

    /// Dumps, and the copy with them.
    fn store(
        &mut self,
        link: &Link,
        keys: &GenerationKeys,
        store: &KeyStore,
        sequence: u64,
    ) -> Result<Stored, BackupError> {
        let spec = self.spec;
        let series = &spec.series.series;
        let dumps = Dumps::make(&self.machine.state, spec)?;
        self.journal.step(RunStep::Dumped { dumps: dumps.count(), bytes: dumps.bytes })?;
        let point = Point::Sequence(sequence);
        let view = link.view(&View { series: series.clone(), generation: keys.generation, point })?;
        let repository = engine::open(&view, Unlock::Master(&keys.master))?;
        let mut channels: Vec<Typed<'_>> = Vec::new();
        for _ in 0..CHANNELS {
            let mut channel = link.typed()?;
            match channel.ask(&self.open(keys, store))? {
                Answer::Opened { .. } => channels.push(channel),
                other => return Err(transport::unexpected(&other)),
            }
        }
        let writing = Writing::over(channels, sequence, spec.upload_bytes_per_second);
        let request = BackupRequest {
            started: clock::wall(),
            hostname: series.host.to_string(),
            username: "root".into(),
            tags: vec![format!("slot-{}-{}", spec.slot.date, spec.slot.at.digits())],
            paths: source::paths(spec),
            exclude: source::exclude(spec),
            virtual_files: dumps.files()?,
            cache: store.cache(series, keys.generation),
            workers: None,
        };
        let report = engine::backup(&repository, &writing, &request)?;
        // A cache that cannot be kept makes the next run slower and nothing else.
        let _ = store.keep_cache(series, keys.generation, &report.cache);
        let claims = SealClaims {
            files: report.files,
            source_bytes: report.source_bytes,
            unreadable: report.unreadable,
            changed: report.changed,
            dumps: dumps.count(),
            read_back: false,
        };
        let upto = writing.books().last.max(report.sequence);
        let lacks = report.lacks.iter().filter(|lack| lack.kind != LackKind::Vanished).take(LACKS);
        let lacks = lacks.map(|lack| {
            tenure_sys::text::neutral(format!("{}: {}", lack.path.display(), lack.why).as_bytes(), 300)
        });
        self.journal.step(RunStep::Stored {
            snapshot: report.snapshot,
            upto,
            files: report.files,
            source_bytes: report.source_bytes,
            unreadable: report.unreadable,
            changed: report.changed,
            lacks: lacks.collect(),
        })?;
        Ok(Stored { generation: keys.generation, snapshot: report.snapshot, upto, claims })
    }

    /// Reads back what the vault would give: everything listed, index and trees whole, a sample decrypted. Returns what
    /// the view holds.
    fn read_back(
        &mut self,
        link: &Link,
        keys: &GenerationKeys,
        stored: &Stored,
    ) -> Result<Vec<Object>, BackupError> {
        let point = Point::Sequence(stored.upto);
        let series = self.spec.series.series.clone();
        let view = link.view(&View { series, generation: stored.generation, point })?;
        let repository = engine::open(&view, Unlock::Master(&keys.master))?;
        let mut seed = [0; 8];
        getrandom::fill(&mut seed)?;
        engine::check(&repository, Sample::Share { share: READ_BACK, seed: u64::from_le_bytes(seed) })?;
        engine::snapshot(&repository, &stored.snapshot)?;
        let objects = view.objects().map_err(engine::EngineError::from)?;
        self.journal.step(RunStep::SelfChecked { upto: stored.upto })?;
        Ok(objects)
    }

    /// Verifies the receipt and writes it down: the slot is filled. Then keys that nothing needs any more go.
    fn receipted(
        &mut self,
        text: &str,
        sent: Option<(Hash, &Seal)>,
        store: &KeyStore,
    ) -> Result<SealFact, BackupError> {
        let vault = self.machine.vault(&self.spec.vault)?;
        let receipt: Receipt =
            verify_machine(&vault.identity, text.as_bytes()).map_err(BackupError::Receipt)?;
        let hash = Signed::<Receipt>::parse(text.as_bytes()).map_err(BackupError::Receipt)?.hash();
        let differs = || BackupError::Answer("its receipt is for something else".into());
        if (&receipt.fleet, &receipt.slot) != (&self.spec.fleet, &self.spec.slot) {
            return Err(differs());
        }
        if let Some((seal, sent)) = sent
            && (receipt.seal, receipt.snapshot, receipt.root, receipt.generation, receipt.objects)
                != (seal, sent.snapshot, sent.root, sent.generation, sent.objects)
        {
            return Err(differs());
        }
        let fact = SealFact {
            seal: receipt.seal,
            snapshot: receipt.snapshot,
            root: receipt.root,
            receipt: hash,
            generation: receipt.generation,
            at: clock::wall(),
            unreadable: sent.map_or_else(|| self.unreadable(), |(_, seal)| seal.claims.unreadable),
        };
        self.journal.step(RunStep::Receipted(fact.clone()))?;
        let series = &self.spec.series.series;
        store.note_size(series, receipt.bytes);
        // The slot is filled whatever comes of this; the next run tries again.
        let forgotten = store
            .note_accepted(series, receipt.generation)
            .and_then(|()| store.forget_gone(series, &receipt.gone, self.spec.slot.date));
        if let Ok(generations) = forgotten
            && !generations.is_empty()
        {
            self.journal.step(RunStep::Forgot { generations })?;
        }
        Ok(fact)
    }

    fn unreadable(&self) -> u64 {
        let of = |step: &RunStep| match step {
            RunStep::Stored { unreadable, .. } => Some(*unreadable),
            _ => None,
        };
        self.journal.find(of).unwrap_or(0)
    }
}
