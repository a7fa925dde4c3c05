//! The chain of records on disk: what was appended is durable, and the head survives a restart and a crash.

use std::io;
use std::path::{Path, PathBuf};

use tenure_sys::files::{BaseDir, CheckedDir, FileError, Roots};
use tenure_sys::room::{self, Room};
use tenure_trust::{
    About, Chain, Draft, Envelope, Epoch, ExportLine, HostName, MachineRole, NamedKey, Payload, Refused, Seq,
};

use crate::identity::Identity;
use crate::segment::{self, SEGMENT_LIMIT, Segment};

/// The most segments that are listed: at 4 MiB each 400 GB.
const MAX_SEGMENTS: usize = 100_000;

/// Bytes of the disk that records of passes leave free, so that evidence cannot take the room that a change needs: its trial
/// is written down before anything is loaded. Of a small disk an eighth.
const RESERVE: u64 = 64 << 20;

/// Why a record was not kept, or the chain not opened.
#[derive(Debug, thiserror::Error)]
pub enum ChainError {
    /// A file or directory is not as it must be.
    #[error("cannot keep the record chain")]
    File(#[from] FileError),
    /// The disk said no: most often it is full.
    #[error("cannot {doing} {}", path.display())]
    Io {
        /// What was being done, as a verb.
        doing: &'static str,
        /// With which file.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// What is left of the disk is kept for enforcing.
    #[error(
        "less than {} MiB are free at {}, and those are kept for changes of the host",
        kept.div_ceil(1 << 20),
        path.display()
    )]
    Reserve {
        /// The directory of records.
        path: PathBuf,
        /// Bytes that are kept.
        kept: u64,
    },
    /// There are records and the key that signed them is gone.
    #[error("there are records in {}, and the key that signed them is missing", .0.display())]
    KeyMissing(PathBuf),
    /// The key file is not one.
    #[error("{} is not a key", path.display())]
    BadKey {
        /// Where it lies.
        path: PathBuf,
    },
    /// Records of a later epoch stand there already.
    #[error("records of epoch {found} stand in {}, and epoch {ours} was asked for", path.display())]
    EpochPast {
        /// The directory.
        path: PathBuf,
        /// The epoch asked for.
        ours: Epoch,
        /// The latest epoch found.
        found: Epoch,
    },
    /// The records are another host's.
    #[error("the records in {} are of the host {found}, and this is {ours}", path.display())]
    OtherHost {
        /// The directory.
        path: PathBuf,
        /// Ours.
        ours: HostName,
        /// The one in the records.
        found: HostName,
    },
    /// The kernel gave no randomness.
    #[error("cannot get randomness")]
    Random(#[source] getrandom::Error),
    /// The payload is larger than a record may carry.
    #[error("cannot keep the payload of a record")]
    Payload(#[source] Refused),
}

impl ChainError {
    /// What a person can do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::File(_) => "check owner, mode and free space of the path named",
            Self::Io { .. } | Self::Reserve { .. } => {
                "make room on the disk; enforcement goes on, and the next record says how many were lost"
            }
            Self::KeyMissing(_) => {
                "restore identity.key from a backup, or stop the service and enrol with a new invitation"
            }
            Self::BadKey { .. } => "restore the key from a backup",
            Self::EpochPast { .. } => "start with the later epoch",
            Self::OtherHost { .. } => "check --host, or begin with an empty directory of state",
            Self::Random(_) => "wait until the machine has gathered randomness",
            Self::Payload(_) => "report the facts as too large",
        }
    }
}

/// What was found not whole when the chain was opened. The caller states it as an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Repair {
    /// The machine stopped while a record was being written; the half line was cut. It had never counted.
    TornTail {
        /// The segment.
        segment: PathBuf,
        /// Bytes that were cut.
        bytes: u64,
    },
    /// Whole lines at the end are not records of this host. They stay where they are, for the verifier to name.
    Damaged {
        /// The segment.
        segment: PathBuf,
        /// How many lines.
        lines: u64,
    },
}

/// The chain of this host, open at its end. One process has it at a time (the caller holds the state's lock).
#[derive(Debug)]
pub struct ChainStore {
    dir: PathBuf,
    state: PathBuf,
    identity: Identity,
    chain: Chain,
    segment: Option<Segment>,
    lost: u32,
    room: fn(&Path) -> io::Result<Room>,
}

impl ChainStore {
    /// Opens the chain below the directory of state, makes key and chain when there are none, and says what was found
    /// damaged.
    ///
    /// # Errors
    /// When key or records are not this host's, or the directory cannot be used.
    pub fn open(state: &Path, host: HostName, epoch: Epoch) -> Result<(Self, Vec<Repair>), ChainError> {
        Self::open_as(state, host, MachineRole::Host, epoch)
    }

    /// The same for a machine in a role: a vault's chain stands beside its machine's agent's.
    ///
    /// # Errors
    /// As `open`.
    pub fn open_as(
        state: &Path,
        host: HostName,
        role: MachineRole,
        epoch: Epoch,
    ) -> Result<(Self, Vec<Repair>), ChainError> {
        let writable = Roots::new([state])?;
        let dir = state.join("chain");
        writable.make_dir(&dir, 0o700)?;
        let segments = segments(&dir)?;
        if let Some((found, _)) = segments.last().copied().filter(|(last, _)| *last > epoch) {
            return Err(ChainError::EpochPast { path: dir, ours: epoch, found });
        }
        let identity = match Identity::read(state, &host)? {
            Some(identity) => identity,
            None if segments.is_empty() => Identity::create(state, &writable, &host)?,
            None => return Err(ChainError::KeyMissing(dir)),
        };
        identity.publish(state, &writable)?;
        let mut repairs = Vec::new();
        let ours: Vec<_> = segments.into_iter().filter(|(e, _)| *e == epoch).collect();
        let (chain, segment) =
            find_head(&dir, &ours, &identity, Chain::begin_as(host, role, epoch), &mut repairs)?;
        Ok((Self { dir, state: state.into(), identity, chain, segment, lost: 0, room: room::at }, repairs))
    }

    /// Writes a record and its payload down durably. On an error nothing counts, the caller goes on, and the next
    /// record that can be written says how many were lost. What the agent itself says, which is little, may use what is
    /// kept free of records of passes.
    ///
    /// # Errors
    /// Most often `Io`: the disk is full.
    pub fn append(&mut self, draft: Draft, facts: Vec<u8>) -> Result<Seq, ChainError> {
        let kept = self.try_append(draft, facts);
        self.lost = if kept.is_ok() { 0 } else { self.lost.saturating_add(1) };
        kept
    }

    /// Records that could not be written since the last one that could.
    pub fn lost(&self) -> u32 {
        self.lost
    }

    /// Counts records that the caller could not even offer, so that the next record says so.
    pub fn note_lost(&mut self, count: u32) {
        self.lost = self.lost.saturating_add(count);
    }

    /// Where the chain stands: host, epoch, next place, hash of the last.
    pub fn head(&self) -> &Chain {
        &self.chain
    }

    /// The host's public identity key.
    pub fn public_key(&self) -> NamedKey {
        self.identity.public()
    }

    /// The directory of state that this chain lies in, for `export`.
    pub fn state(&self) -> &Path {
        &self.state
    }

    fn try_append(&mut self, draft: Draft, facts: Vec<u8>) -> Result<Seq, ChainError> {
        // A file system that does not tell is tried.
        if let (About::Area(_), Ok(Room { free, all })) = (&draft.about, (self.room)(&self.dir)) {
            let kept = RESERVE.min(all / 8);
            if free < kept {
                return Err(ChainError::Reserve { path: self.dir.clone(), kept });
            }
        }
        let mut salt = [0u8; Payload::SALT];
        getrandom::fill(&mut salt).map_err(ChainError::Random)?;
        let payload = Payload::new(salt, facts).map_err(ChainError::Payload)?;
        let link = self.chain.link(draft, payload, self.lost, self.identity.key());
        let segment = match self.segment.take().filter(|segment| !segment.is_full()) {
            Some(segment) => segment,
            None => {
                let path = self.dir.join(segment::name(self.chain.epoch, self.chain.next));
                Segment::fresh(path.clone()).map_err(|source| ChainError::Io {
                    doing: "make",
                    path,
                    source,
                })?
            }
        };
        let segment = self.segment.insert(segment);
        segment.append(&link.line()).map_err(|source| ChainError::Io {
            doing: "add a record to",
            path: segment.path().into(),
            source,
        })?;
        self.chain.advance(&link);
        Ok(link.record.seq)
    }

    #[cfg(test)]
    pub(crate) fn replace_room(&mut self, room: fn(&Path) -> io::Result<Room>) {
        self.room = room;
    }

    #[cfg(test)]
    pub(crate) fn replace_segment(&mut self, segment: Segment) {
        self.segment = Some(segment);
    }
}

/// The segments of a directory, by epoch and place.
pub(crate) fn segments(dir: &Path) -> Result<Vec<(Epoch, Seq)>, ChainError> {
    let entries = BaseDir::open(dir)?.list(Path::new("."), MAX_SEGMENTS)?;
    let mut found: Vec<_> =
        entries.iter().filter_map(|entry| segment::parse_name(entry.name.to_str()?)).collect();
    found.sort_unstable();
    Ok(found)
}

/// The bytes of a segment.
pub(crate) fn read_segment(dir: &Path, name: &str) -> Result<Vec<u8>, ChainError> {
    // The last line may begin just below the limit.
    let limit = SEGMENT_LIMIT + ExportLine::MAX as u64 + 1;
    Ok(CheckedDir::open(dir)?.read(Path::new(name), limit)?.bytes)
}

/// Looks for the last record from the end, cuts a half line and counts lines that cannot be believed. Those keep their
/// places: the next record follows behind them.
fn find_head(
    dir: &Path,
    segments: &[(Epoch, Seq)],
    identity: &Identity,
    begin: Chain,
    repairs: &mut Vec<Repair>,
) -> Result<(Chain, Option<Segment>), ChainError> {
    let mut chain = begin;
    let mut open = None;
    let mut damaged_lines = 0;
    for (number, (epoch, first)) in segments.iter().enumerate().rev() {
        let name = segment::name(*epoch, *first);
        let path = dir.join(&name);
        let bytes = read_segment(dir, &name)?;
        let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |place| place + 1);
        if number + 1 == segments.len() {
            let failed = |source| ChainError::Io { doing: "open", path: path.clone(), source };
            let mut segment = Segment::open(path.clone(), whole as u64).map_err(failed)?;
            if whole < bytes.len() {
                segment.take_back().map_err(failed)?;
                let cut = (bytes.len() - whole) as u64;
                repairs.push(Repair::TornTail { segment: path.clone(), bytes: cut });
            }
            open = Some(segment);
        }
        let mut here = 0;
        let found = bytes[..whole].split(|byte| *byte == b'\n').rev().skip(1).find_map(|line| {
            let read = believed(line, identity);
            here += u64::from(read.is_none());
            read
        });
        if here > 0 {
            repairs.push(Repair::Damaged { segment: path, lines: here });
        }
        damaged_lines += here;
        if let Some((record_host, seq, envelope)) = found {
            if record_host != chain.host {
                return Err(ChainError::OtherHost { path: dir.into(), ours: chain.host, found: record_host });
            }
            chain.next = Seq(seq.0.saturating_add(1 + damaged_lines));
            chain.prev = envelope.hash();
            return Ok((chain, open));
        }
    }
    chain.next = Seq(1 + damaged_lines);
    Ok((chain, open))
}

fn believed(line: &[u8], identity: &Identity) -> Option<(HostName, Seq, Envelope)> {
    let line = ExportLine::parse(line).ok()?;
    let record = line.verified(&identity.public().key).ok()?;
    Some((record.host, record.seq, line.record))
}

#[cfg(test)]
mod tests;
