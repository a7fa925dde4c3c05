//! A file of lines that only grows: what was appended is durable, or it is taken back.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// The file, open at its end.
#[derive(Debug)]
pub(super) struct LineFile {
    file: File,
    path: PathBuf,
    /// Bytes that are whole and believed.
    length: u64,
    /// True while bytes behind `length` may stand in the file.
    torn: bool,
}

impl LineFile {
    /// Opens or makes the file and gives its bytes. The maker syncs the directory.
    ///
    /// # Errors
    /// When it cannot be opened or is larger than `limit` bytes.
    pub(super) fn open(path: &Path, limit: u64) -> io::Result<(Self, Vec<u8>)> {
        let mut file = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .mode(0o600)
            .custom_flags(rustix::fs::OFlags::NOFOLLOW.bits().cast_signed())
            .open(path)?;
        let mut bytes = Vec::new();
        Read::by_ref(&mut file).take(limit + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > limit {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        let length = bytes.len() as u64;
        Ok((Self { file, path: path.into(), length, torn: false }, bytes))
    }

    /// Cuts everything behind this length, durably.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub(super) fn cut(&mut self, length: u64) -> io::Result<()> {
        self.length = length;
        self.torn = true;
        self.take_back()
    }

    /// Adds whole lines durably, or leaves the file as it was; what could not be taken back now is taken back before
    /// the next lines.
    ///
    /// # Errors
    /// Most often: the disk is full.
    pub(super) fn append(&mut self, lines: &[u8]) -> io::Result<()> {
        self.take_back()?;
        self.torn = true;
        if let Err(error) = self.file.write_all(lines).and_then(|()| self.file.sync_data()) {
            // The first error is the one to tell; `torn` stays when this fails too.
            let _ = self.take_back();
            return Err(error);
        }
        self.torn = false;
        self.length += lines.len() as u64;
        Ok(())
    }

    /// Its path.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    fn take_back(&mut self) -> io::Result<()> {
        if self.torn {
            self.file.set_len(self.length)?;
            self.file.sync_data()?;
            self.torn = false;
        }
        Ok(())
    }
}

/// The bytes up to and with the last line end, split into lines, and what stands behind them.
pub(super) fn whole_lines(bytes: &[u8]) -> (impl Iterator<Item = &[u8]>, &[u8]) {
    let end = bytes.iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
    let (whole, rest) = bytes.split_at(end);
    (whole.split_inclusive(|b| *b == b'\n').map(|line| line.strip_suffix(b"\n").unwrap_or(line)), rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_appended_reads_back_and_a_cut_end_is_gone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("j");
        let (mut lines, bytes) = LineFile::open(&path, 100).unwrap();
        assert_eq!(bytes, b"");
        lines.append(b"one\n").unwrap();
        lines.append(b"two\nthree\n").unwrap();
        drop(lines);
        let (mut lines, bytes) = LineFile::open(&path, 100).unwrap();
        assert_eq!(whole_lines(&bytes).0.collect::<Vec<_>>(), [&b"one"[..], b"two", b"three"]);
        lines.cut(4).unwrap();
        lines.append(b"2\n").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"one\n2\n");
        assert!(LineFile::open(&path, 3).is_err(), "too large");
        assert_eq!(whole_lines(b"a\nb").1, b"b");
        assert_eq!(whole_lines(b"b").0.count(), 0);
    }
}
