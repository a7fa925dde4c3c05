//! One file of the chain: lines are only added at its end, each durable before it counts, and a line that was only
//! half written is taken back.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use tenure_trust::{Epoch, Seq};

/// A segment above this size is followed by a new one.
pub(crate) const SEGMENT_LIMIT: u64 = 4 << 20;

/// What a segment needs of its file; a test stands in for a disk that fails.
pub(crate) trait Medium: std::fmt::Debug + Send {
    /// Adds all bytes at the end; on an error some may have been added.
    fn add(&mut self, bytes: &[u8]) -> io::Result<()>;
    /// Cuts the file to this length.
    fn cut(&mut self, length: u64) -> io::Result<()>;
    /// Returns when what was added or cut is on the disk.
    fn sync(&mut self) -> io::Result<()>;
}

impl Medium for File {
    fn add(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.write_all(bytes)
    }
    fn cut(&mut self, length: u64) -> io::Result<()> {
        self.set_len(length)
    }
    fn sync(&mut self) -> io::Result<()> {
        self.sync_data()
    }
}

/// The last segment, open at its end.
#[derive(Debug)]
pub(crate) struct Segment {
    medium: Box<dyn Medium>,
    path: PathBuf,
    /// Bytes that are whole lines.
    length: u64,
    /// True while bytes behind `length` may stand in the file.
    torn: bool,
}

impl Segment {
    /// Opens a segment whose first `length` bytes are whole lines, or makes it.
    pub(crate) fn open(path: PathBuf, length: u64) -> io::Result<Self> {
        let file = OpenOptions::new().append(true).create(true).mode(0o600).open(&path)?;
        file.set_permissions(std::fs::Permissions::from_mode(0o600))?;
        // The name must be as durable as what will be written under it.
        if let Some(dir) = path.parent() {
            File::open(dir)?.sync_all()?;
        }
        let torn = file.metadata()?.len() != length;
        Ok(Self { medium: Box::new(file), path, length, torn })
    }

    /// Makes a segment for records that do not exist yet; an empty file of that name is one whose first line failed.
    pub(crate) fn fresh(path: PathBuf) -> io::Result<Self> {
        let segment = Self::open(path, 0)?;
        if segment.torn { Err(io::ErrorKind::AlreadyExists.into()) } else { Ok(segment) }
    }

    #[cfg(test)]
    pub(crate) fn over(medium: Box<dyn Medium>, path: PathBuf) -> Self {
        Self { medium, path, length: 0, torn: false }
    }

    /// Adds one line durably, or leaves the segment as it was; what could not be taken back now is taken back before
    /// the next line.
    pub(crate) fn append(&mut self, line: &str) -> io::Result<()> {
        self.take_back()?;
        let mut bytes = Vec::with_capacity(line.len() + 1);
        bytes.extend_from_slice(line.as_bytes());
        bytes.push(b'\n');
        self.torn = true;
        if let Err(error) = self.medium.add(&bytes).and_then(|()| self.medium.sync()) {
            // The first error is the one to tell; `torn` stays when this fails too.
            let _ = self.take_back();
            return Err(error);
        }
        self.torn = false;
        self.length += bytes.len() as u64;
        Ok(())
    }

    /// Cuts what stands behind the last whole line.
    pub(crate) fn take_back(&mut self) -> io::Result<()> {
        if self.torn {
            self.medium.cut(self.length)?;
            self.medium.sync()?;
            self.torn = false;
        }
        Ok(())
    }

    pub(crate) fn is_full(&self) -> bool {
        self.length >= SEGMENT_LIMIT
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

/// The name of the segment that begins with this record: sorted by name is sorted by place.
pub(crate) fn name(epoch: Epoch, first: Seq) -> String {
    format!("{:010}-{:020}.jsonl", epoch.0, first.0)
}

/// What a name of ours says; none for any other file.
pub(crate) fn parse_name(text: &str) -> Option<(Epoch, Seq)> {
    let (epoch, first) = text.strip_suffix(".jsonl")?.split_once('-')?;
    let parsed = (Epoch(epoch.parse().ok()?), Seq(first.parse().ok()?));
    (name(parsed.0, parsed.1) == text).then_some(parsed)
}
