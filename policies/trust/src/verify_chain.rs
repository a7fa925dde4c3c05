//! Checks an exported chain with the host's public key alone and names the place of every fault.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::hash::Hash;
use crate::ids::{Epoch, HostName, Seq};
use crate::keys::PublicKey;
use crate::record::{Chain, ExportHeader, ExportLine, Payload, Record};
use crate::refused::Refused;

/// The most findings that are kept; the rest is counted.
const MAX_FINDINGS: usize = 1000;

/// A fault at a place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Line of the file, from 1.
    pub line: usize,
    /// The record's place in the chain as it says, where it could be read.
    pub seq: Option<Seq>,
    /// What is wrong.
    pub fault: ChainFault,
}

/// What can be wrong with a chain.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ChainFault {
    /// The line is not what a line should be.
    #[error("the line cannot be read: {0}")]
    Malformed(String),
    /// The file has no records.
    #[error("there is no record in it")]
    Empty,
    /// The record was changed, or its signature.
    #[error("the record is not what the host signed")]
    BadSignature,
    /// Another key signed it.
    #[error("another key than the one given signed the record")]
    OtherKey,
    /// It is another host's record.
    #[error("the record is of the host {found}")]
    WrongHost {
        /// The host it names.
        found: HostName,
    },
    /// The chain does not start where it should.
    #[error("the chain should start at record {expected}: the records before this one are missing")]
    StartsLate {
        /// Where it should start.
        expected: Seq,
    },
    /// Records are missing.
    #[error("records {from} to {to} are missing before it")]
    Gap {
        /// First missing.
        from: Seq,
        /// Last missing.
        to: Seq,
    },
    /// Two different records with one place: two chains were written.
    #[error("another record stands at the same place, on line {other}: the chain forks")]
    Fork {
        /// Line of the other.
        other: usize,
    },
    /// The same record a second time.
    #[error("the same record stands on line {other} already")]
    Replay {
        /// Line of the first.
        other: usize,
    },
    /// An earlier record after a later one.
    #[error("it stands after record {after}: the order was changed")]
    OutOfOrder {
        /// The one before it in the file.
        after: Seq,
    },
    /// A new chain of the same host begins.
    #[error("the host's chain of epoch {from} ends and epoch {to} begins")]
    Reset {
        /// Epoch that ends.
        from: Epoch,
        /// Epoch that begins.
        to: Epoch,
    },
    /// It does not name the record before it.
    #[error("it does not follow the record before it")]
    PrevMismatch,
    /// The payload is not the one committed to.
    #[error("the payload beside it was changed")]
    PayloadMismatch,
    /// A record known from before is not in it.
    #[error("the record with the hash {hash}, known from before, is not in it")]
    KnownMissing {
        /// Hash known from before.
        hash: Hash,
    },
}

/// What the verifier knows beforehand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expected {
    /// The first record that should be in it.
    pub from: Seq,
    /// A hash seen earlier (the head of an older export): it must be in it.
    pub known: Option<Hash>,
}

impl Default for Expected {
    fn default() -> Self {
        Self { from: Seq(1), known: None }
    }
}

/// What was found in a chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ChainReport {
    /// Whose chain, when the header could be read.
    pub host: Option<HostName>,
    /// Records whose signature held.
    pub records: u64,
    /// Place of the first and of the last of them.
    pub first: Option<Seq>,
    /// Place of the last.
    pub last: Option<Seq>,
    /// Hash of the last: keep it and give it to the next verification.
    pub head: Option<Hash>,
    /// Records whose payload was deleted; allowed.
    pub payloads_missing: u64,
    /// Line of the first of those.
    pub first_missing_line: Option<usize>,
    /// Records that the host says it could not write.
    pub lost: u64,
    /// Faults, by line.
    pub findings: Vec<Finding>,
    /// Faults beyond those listed.
    pub more: u64,
}

impl ChainReport {
    /// True when nothing is wrong with it.
    pub fn is_clean(&self) -> bool {
        self.findings.is_empty() && self.more == 0
    }
}

/// Takes a file line by line, so that its size does not matter.
#[derive(Debug)]
pub struct ChainVerifier {
    key: PublicKey,
    expected: Expected,
    line: usize,
    header: Option<ExportHeader>,
    last: Option<Place>,
    seen: BTreeMap<(Epoch, Seq), (Hash, usize)>,
    /// Lines since the last good record in which a record could not be believed: they explain as many missing places.
    unread: u64,
    report: ChainReport,
}

#[derive(Debug, Clone, Copy)]
struct Place {
    epoch: Epoch,
    seq: Seq,
    hash: Hash,
}

impl ChainVerifier {
    /// A verifier with the host's public key as the admission names it.
    pub fn new(key: PublicKey, expected: Expected) -> Self {
        let report = ChainReport {
            host: None,
            records: 0,
            first: None,
            last: None,
            head: None,
            payloads_missing: 0,
            first_missing_line: None,
            lost: 0,
            findings: Vec::new(),
            more: 0,
        };
        Self { key, expected, line: 0, header: None, last: None, seen: BTreeMap::new(), unread: 0, report }
    }

    /// Takes the next line, without its line end, and gives the record when its signature holds, with its payload when
    /// that is the one committed to.
    pub fn line(&mut self, bytes: &[u8]) -> Option<(Record, Option<Payload>)> {
        self.line += 1;
        if self.line == 1 {
            self.take_header(bytes);
            return None;
        }
        let line = match ExportLine::parse(bytes) {
            Ok(line) => line,
            Err(refused) => return self.unbelieved(None, ChainFault::Malformed(refused.to_string())),
        };
        let claimed = line.unverified().ok().map(|record| record.seq);
        let record = match line.verified(&self.key) {
            Ok(record) => record,
            Err(Refused::UnknownKey { .. }) => return self.unbelieved(claimed, ChainFault::OtherKey),
            Err(Refused::BadSignature { .. }) => return self.unbelieved(claimed, ChainFault::BadSignature),
            Err(refused) => return self.unbelieved(claimed, ChainFault::Malformed(refused.to_string())),
        };
        self.report.records += 1;
        self.take_place(&record, line.record.hash());
        let payload = self.take_payload(&record, line.payload);
        Some((record, payload))
    }

    /// A line that its reader could not even give whole (longer than `ExportLine::MAX`).
    pub fn oversized_line(&mut self) {
        self.line += 1;
        let refused = Refused::malformed(format_args!("it is longer than {} bytes", ExportLine::MAX));
        self.unbelieved(None, ChainFault::Malformed(refused.to_string()));
    }

    /// The report after the last line.
    pub fn finish(mut self) -> ChainReport {
        if self.report.records == 0 && self.report.findings.is_empty() {
            self.find(None, ChainFault::Empty);
        }
        if let Some(hash) = self.expected.known
            && !self.seen.values().any(|(seen, _)| *seen == hash)
        {
            self.find(None, ChainFault::KnownMissing { hash });
        }
        self.report
    }

    fn take_header(&mut self, bytes: &[u8]) {
        match ExportHeader::parse(bytes) {
            Ok(header) => {
                if header.key != self.key {
                    self.find(None, ChainFault::OtherKey);
                }
                self.report.host = Some(header.host.clone());
                self.header = Some(header);
            }
            Err(refused) => self.find(None, ChainFault::Malformed(refused.to_string())),
        }
    }

    fn unbelieved(&mut self, seq: Option<Seq>, fault: ChainFault) -> Option<(Record, Option<Payload>)> {
        self.find(seq, fault);
        self.unread += 1;
        None
    }

    /// Judges where the record stands. Order goes by epoch and place only, never by a clock.
    fn take_place(&mut self, record: &Record, hash: Hash) {
        let (epoch, seq) = (record.epoch, record.seq);
        if let Some(header) = &self.header
            && (&header.host, header.role) != (&record.host, record.role)
        {
            self.find(Some(seq), ChainFault::WrongHost { found: record.host.clone() });
            return;
        }
        if let Some((other_hash, other)) = self.seen.get(&(epoch, seq)).copied() {
            let fault =
                if other_hash == hash { ChainFault::Replay { other } } else { ChainFault::Fork { other } };
            self.find(Some(seq), fault);
            return;
        }
        self.seen.insert((epoch, seq), (hash, self.line));
        match self.last {
            Some(last) if (epoch, seq) < (last.epoch, last.seq) => {
                self.find(Some(seq), ChainFault::OutOfOrder { after: last.seq });
                return;
            }
            Some(last) if epoch == last.epoch => {
                self.follow(record, Seq(last.seq.0.saturating_add(1)), last.hash, false)
            }
            Some(last) => {
                self.find(Some(seq), ChainFault::Reset { from: last.epoch, to: epoch });
                self.follow(record, Seq(1), Chain::genesis_as(&record.host, record.role, epoch), false);
            }
            None => self.follow(
                record,
                self.expected.from,
                Chain::genesis_as(&record.host, record.role, epoch),
                true,
            ),
        }
        self.unread = 0;
        self.report.first.get_or_insert(seq);
        self.report.last = Some(seq);
        self.report.head = Some(hash);
        self.report.lost += u64::from(record.lost);
        self.last = Some(Place { epoch, seq, hash });
    }

    /// Compares with what should stand here. `prev` can be compared only when nothing is missing in between.
    fn follow(&mut self, record: &Record, expected: Seq, prev: Hash, first: bool) {
        let seq = record.seq;
        if seq == expected && (!first || seq == Seq(1)) {
            if record.prev != prev {
                self.find(Some(seq), ChainFault::PrevMismatch);
            }
        } else if seq < expected {
            // Only the start of a file can come here: it holds more than was asked for.
            if seq == Seq(1) && record.prev != prev {
                self.find(Some(seq), ChainFault::PrevMismatch);
            }
        } else if seq.0 > expected.0.saturating_add(self.unread) {
            let fault = match first {
                true => ChainFault::StartsLate { expected },
                false => ChainFault::Gap { from: expected, to: Seq(seq.0 - 1) },
            };
            self.find(Some(seq), fault);
        }
    }

    fn take_payload(&mut self, record: &Record, payload: Option<Payload>) -> Option<Payload> {
        match payload {
            Some(payload) if payload.opens(&record.payload) => Some(payload),
            Some(_) => {
                self.find(Some(record.seq), ChainFault::PayloadMismatch);
                None
            }
            None => {
                self.report.payloads_missing += 1;
                self.report.first_missing_line.get_or_insert(self.line);
                None
            }
        }
    }

    fn find(&mut self, seq: Option<Seq>, fault: ChainFault) {
        if self.report.findings.len() < MAX_FINDINGS {
            self.report.findings.push(Finding { line: self.line, seq, fault });
        } else {
            self.report.more += 1;
        }
    }
}
