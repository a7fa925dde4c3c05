//! Pushes the chain that lies on the disk, from the last acknowledged record on. What is acknowledged is remembered
//! durably; nothing else moves it, and nothing on the disk is removed.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use tenure_sys::files::{CheckedDir, FileError, Put, Roots};
use tenure_trust::enrol::{IngestAnswer, IngestFinding, paths};
use tenure_trust::{Epoch, ExportLine, Hash, Seq};

use super::http::Line;
use super::{LinkError, Setup};
use crate::chain::{read_segment, segments};
use crate::segment;

/// The most lines and bytes of one request; one line of the largest kind always goes.
const LINES: usize = 512;
const BYTES: usize = 2 << 20;
/// The most bytes while the controller has no room for more: it still takes what a heartbeat is.
const FEW: usize = 32 << 10;
/// The largest answer in bytes.
const ANSWER: usize = 4 << 10;
const DIRECTORY: &str = "spool";
const CURSOR: &str = "cursor.json";

/// The last record that the controller has acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Cursor {
    schema: u32,
    epoch: Epoch,
    seq: Seq,
}

/// Where the next line lies: which segment, how far into it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    segment: Seq,
    offset: u64,
}

/// Lines of one request.
#[derive(Debug, Default)]
struct Parcel {
    body: Vec<u8>,
    /// Place and hash of the last record in it.
    last: Option<(Seq, Hash)>,
    next: Option<Place>,
}

/// Pushes one machine's chain.
#[derive(Debug)]
pub(super) struct Pusher {
    setup: Setup,
    epoch: Epoch,
    cursor: Option<Cursor>,
    place: Option<Place>,
    /// The most bytes of a request: few from a refusal for want of room until nothing waits any more.
    most: usize,
}

impl Pusher {
    pub(super) fn new(setup: Setup, epoch: Epoch) -> Self {
        Self { setup, epoch, cursor: None, place: None, most: BYTES }
    }

    /// Whose records are pushed: those of this chain.
    pub(super) fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// The last record that was acknowledged.
    pub(super) fn sent(&self) -> Seq {
        self.cursor.map_or(Seq(0), |cursor| cursor.seq)
    }

    /// Is there anything that was not acknowledged yet?
    pub(super) fn waits(&mut self) -> Result<bool, LinkError> {
        let place = self.place()?;
        let Some(place) = place else { return Ok(false) };
        let path = self.path(place.segment);
        let length = std::fs::metadata(&path).map_err(|e| io(&path, e))?.len();
        Ok(length > place.offset || self.after(place.segment)?.is_some())
    }

    /// Pushes until nothing is left.
    pub(super) async fn push(&mut self, line: &mut Line) -> Result<(), LinkError> {
        let mut back = false;
        loop {
            let parcel = self.parcel()?;
            let Some((seq, hash)) = parcel.last else {
                self.most = BYTES;
                return Ok(());
            };
            let answer = line.post(paths::RECORDS, parcel.body, "records", ANSWER).await;
            if answer.as_ref().is_err_and(LinkError::has_no_room) {
                self.most = FEW;
            }
            let answer = answer?;
            let nonsense = |why: String| LinkError::Nonsense { what: "records", why };
            match serde_json::from_slice(&answer).map_err(|e| nonsense(e.to_string()))? {
                IngestAnswer::Taken { epoch, seq: taken, hash: named } => {
                    if (epoch, taken, named) != (self.epoch, seq, hash) {
                        return Err(nonsense("it acknowledges another record than was sent".into()));
                    }
                    self.acknowledged(seq)?;
                    self.place = parcel.next;
                    back = false;
                }
                IngestAnswer::Refused { finding, seq: held, .. } => {
                    // It has less than it once acknowledged (restored from a backup), or more (an answer was lost).
                    let moves = match finding {
                        IngestFinding::Gap => held < self.sent(),
                        IngestFinding::Replay => held > self.sent() && held <= self.last()?,
                        _ => false,
                    };
                    if !moves || back {
                        return Err(LinkError::Chained(finding));
                    }
                    back = true;
                    self.acknowledged(held)?;
                    self.place = None;
                }
            }
        }
    }

    /// The next lines.
    fn parcel(&mut self) -> Result<Parcel, LinkError> {
        let mut parcel = Parcel::default();
        let Some(mut place) = self.place()? else { return Ok(parcel) };
        let mut lines = 0;
        let mut last: Option<Vec<u8>> = None;
        loop {
            let bytes = self.read(place)?;
            for line in bytes.split_inclusive(|byte| *byte == b'\n') {
                // A half line at the end is being written, or never counted.
                let full = lines >= LINES || (lines > 0 && parcel.body.len() + line.len() > self.most);
                if line.last() != Some(&b'\n') || full {
                    break;
                }
                lines += 1;
                place.offset += line.len() as u64;
                parcel.body.extend_from_slice(line);
                last = Some(line.to_vec());
            }
            if lines >= LINES || parcel.body.len() >= self.most / 2 {
                break;
            }
            let Some(next) = self.after(place.segment)? else { break };
            let whole = std::fs::metadata(self.path(place.segment)).map(|m| m.len()).unwrap_or_default();
            if whole > place.offset {
                break;
            }
            place = Place { segment: next, offset: 0 };
        }
        parcel.next = Some(place);
        if let Some(line) = last {
            let damaged = |why: String| LinkError::Damaged { path: self.path(place.segment), why };
            let read = ExportLine::parse(line.strip_suffix(b"\n").unwrap_or(&line));
            let read = read.map_err(|e| damaged(e.to_string()))?;
            let record = read.unverified().map_err(|e| damaged(e.to_string()))?;
            parcel.last = Some((record.seq, read.record.hash()));
        }
        Ok(parcel)
    }

    /// Where the next line lies; none while there is no record at all.
    fn place(&mut self) -> Result<Option<Place>, LinkError> {
        if self.place.is_some() {
            return Ok(self.place);
        }
        let sent = self.load()?.seq;
        let next = Seq(sent.0.saturating_add(1));
        let Some(segment) = self.segments()?.into_iter().rev().find(|first| *first <= next) else {
            return Ok(None);
        };
        let mut place = Place { segment, offset: 0 };
        let mut here = segment;
        // The lines before it in its segment, by the places that they name.
        loop {
            let bytes = self.read(place)?;
            let Some(end) = bytes.iter().position(|byte| *byte == b'\n') else { break };
            let mut offset = 0;
            let mut found = false;
            for line in bytes.split_inclusive(|byte| *byte == b'\n').filter(|l| l.last() == Some(&b'\n')) {
                let named = ExportLine::parse(&line[..line.len() - 1]).ok().and_then(|l| l.unverified().ok());
                here = named.map_or(here, |record| record.seq);
                if here >= next {
                    found = true;
                    break;
                }
                offset += line.len() as u64;
                here = Seq(here.0.saturating_add(1));
            }
            place.offset += offset;
            if found || offset == 0 || end == bytes.len() {
                break;
            }
        }
        self.place = Some(place);
        Ok(self.place)
    }

    /// Bytes from a place on, at most about a request's worth and one whole line.
    fn read(&self, place: Place) -> Result<Vec<u8>, LinkError> {
        let path = self.path(place.segment);
        let limit = (BYTES + ExportLine::MAX + 1) as u64;
        let mut bytes = Vec::new();
        let read = File::open(&path).and_then(|mut file| {
            file.seek(SeekFrom::Start(place.offset))?;
            file.take(limit).read_to_end(&mut bytes)
        });
        read.map_err(|e| io(&path, e))?;
        Ok(bytes)
    }

    fn segments(&self) -> Result<Vec<Seq>, LinkError> {
        let dir = self.setup.places.state.join("chain");
        match segments(&dir) {
            Ok(found) => Ok(found.into_iter().filter(|(e, _)| *e == self.epoch).map(|(_, s)| s).collect()),
            // Before the first record there is no directory.
            Err(crate::chain::ChainError::File(error)) if error.is_missing() => Ok(Vec::new()),
            Err(error) => Err(error.into()),
        }
    }

    /// The place of the last record on the disk.
    fn last(&self) -> Result<Seq, LinkError> {
        let Some(segment) = self.segments()?.pop() else { return Ok(Seq(0)) };
        let name = segment::name(self.epoch, segment);
        let bytes = read_segment(&self.setup.places.state.join("chain"), &name)?;
        let mut lines = bytes.split_inclusive(|byte| *byte == b'\n').rev();
        let named =
            lines.find_map(|line| ExportLine::parse(line.strip_suffix(b"\n")?).ok()?.unverified().ok());
        Ok(named.map_or(Seq(segment.0.saturating_sub(1)), |record| record.seq))
    }

    fn after(&self, segment: Seq) -> Result<Option<Seq>, LinkError> {
        Ok(self.segments()?.into_iter().find(|first| *first > segment))
    }

    fn path(&self, segment: Seq) -> PathBuf {
        self.setup.places.state.join("chain").join(segment::name(self.epoch, segment))
    }

    fn load(&mut self) -> Result<Cursor, LinkError> {
        if let Some(cursor) = self.cursor {
            return Ok(cursor);
        }
        let path = self.setup.places.state.join(DIRECTORY).join(CURSOR);
        let fresh = Cursor { schema: 1, epoch: self.epoch, seq: Seq(0) };
        let cursor = match CheckedDir::read_file(&path, 4096) {
            // A damaged one costs a repetition and nothing else: the controller says what it has.
            Ok(file) => serde_json::from_slice(&file.bytes).unwrap_or(fresh),
            Err(error) if error.is_missing() => fresh,
            Err(error) => return Err(error.into()),
        };
        let cursor = if cursor.epoch == self.epoch { cursor } else { fresh };
        self.cursor = Some(cursor);
        Ok(cursor)
    }

    fn acknowledged(&mut self, seq: Seq) -> Result<(), LinkError> {
        let state = &self.setup.places.state;
        let cursor = Cursor { schema: 1, epoch: self.epoch, seq };
        let text = serde_json::to_vec(&cursor).map_err(|e| LinkError::Key(e.to_string()))?;
        let writable = Roots::new([state])?;
        writable.make_dir(&state.join(DIRECTORY), 0o700)?;
        writable.put(&Put::own(&state.join(DIRECTORY).join(CURSOR), &text, 0o600))?;
        self.cursor = Some(cursor);
        Ok(())
    }
}

fn io(path: &std::path::Path, source: std::io::Error) -> LinkError {
    FileError::Io { doing: "read", path: path.into(), source }.into()
}
