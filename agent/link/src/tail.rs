//! Reads the chain from its end: what this machine stated last, for whoever goes on where it ended.

use std::path::{Path, PathBuf};

use tenure_trust::{ExportLine, PublicKey, Record};

use crate::chain::{ChainError, read_segment, segments};
use crate::identity::read_public;
use crate::segment;

/// Segments that are read at most, at 4 MiB each.
const SEGMENTS: usize = 8;

/// The records of the chain below a directory of state with their payloads, the newest first, through all epochs. Lines
/// that are not this machine's, or whose payload is not the one that was signed, are left out, as is everything before the
/// last eight segments.
///
/// It only reads, and may run beside the process that appends.
///
/// # Errors
/// When key or directory cannot be read; in the middle, when a segment cannot be. Nothing follows such an error.
pub fn newest_first(
    state: &Path,
) -> Result<impl Iterator<Item = Result<(Record, Vec<u8>), ChainError>>, ChainError> {
    let dir = state.join("chain");
    let mut names: Vec<String> =
        segments(&dir)?.into_iter().map(|(epoch, first)| segment::name(epoch, first)).collect();
    let names = names.split_off(names.len().saturating_sub(SEGMENTS));
    let key = read_public(state)?;
    Ok(Backwards { dir, names, key, bytes: Vec::new() })
}

struct Backwards {
    dir: PathBuf,
    /// Of the segments that have not been read, the newest last.
    names: Vec<String>,
    key: PublicKey,
    /// What is left of the segment that is being read: whole lines.
    bytes: Vec<u8>,
}

impl Iterator for Backwards {
    type Item = Result<(Record, Vec<u8>), ChainError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            while let Some(whole) = self.bytes.strip_suffix(b"\n") {
                let begins = whole.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
                let read = read(&whole[begins..], &self.key);
                self.bytes.truncate(begins);
                if let Some(record) = read {
                    return Some(Ok(record));
                }
            }
            let name = self.names.pop()?;
            match read_segment(&self.dir, &name) {
                Ok(bytes) => self.bytes = bytes,
                Err(error) => {
                    self.names.clear();
                    return Some(Err(error));
                }
            }
            // A half line at the end never counted.
            self.bytes.truncate(self.bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1));
        }
    }
}

fn read(line: &[u8], key: &PublicKey) -> Option<(Record, Vec<u8>)> {
    let line = ExportLine::parse(line).ok()?;
    let record = line.verified(key).ok()?;
    let payload = line.payload.filter(|payload| payload.opens(&record.payload))?;
    Some((record, payload.bytes().to_vec()))
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use tenure_trust::{About, Draft, Epoch, EventName, HostName, JudgeVersion};

    use super::*;
    use crate::chain::ChainStore;

    fn append(state: &Path, epoch: u32, number: u32, size: usize) {
        let host = HostName::new("web1").unwrap();
        let (mut store, _) = ChainStore::open(state, host, Epoch(epoch)).unwrap();
        let draft = Draft {
            about: About::Event(EventName::new("start").unwrap()),
            policy: None,
            judge: JudgeVersion::new("tenure 0.1.0").unwrap(),
            observed_at: Timestamp::UNIX_EPOCH,
            verdict: None,
            reason: None,
        };
        store.append(draft, format!("{number}{}", " ".repeat(size)).into_bytes()).unwrap();
    }

    /// The numbers in the payloads.
    fn told(state: &Path) -> Vec<Option<u32>> {
        let number = |one: Result<(Record, Vec<u8>), ChainError>| {
            String::from_utf8(one.ok()?.1).ok()?.trim().parse().ok()
        };
        newest_first(state).unwrap().map(number).collect()
    }

    #[test]
    fn the_newest_comes_first_through_segments_and_epochs_until_one_cannot_be_read() {
        let state = tempfile::tempdir_in("/run").expect("these tests run as root");
        let state = state.path();
        drop(ChainStore::open(state, HostName::new("web1").unwrap(), Epoch(1)).unwrap());
        assert_eq!(told(state), [], "a chain that has not begun");
        for number in 1..=40 {
            append(state, 1, number, 200_000);
        }
        append(state, 2, 41, 0);
        append(state, 2, 42, 0);
        let files = segments(&state.join("chain")).unwrap();
        assert!(files.len() >= 4, "{files:?}");
        assert_eq!(told(state), (1..=42).rev().map(Some).collect::<Vec<_>>());

        // A half line, one that somebody else wrote, and one with another payload than was signed.
        let newest =
            state.join("chain").join(segment::name(files.last().unwrap().0, files.last().unwrap().1));
        let text = std::fs::read_to_string(&newest).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        let mut other = ExportLine::parse(lines[1].as_bytes()).unwrap();
        other.payload = ExportLine::parse(lines[0].as_bytes()).unwrap().payload;
        std::fs::write(&newest, format!("{}\n{}\n{{}}\n{}", lines[0], other.to_json(), lines[1])).unwrap();
        assert_eq!(told(state), (1..=41).rev().map(Some).collect::<Vec<_>>());

        // What stands before a segment that cannot be read is not taken for what stands before the one behind it.
        let middle = state.join("chain").join(segment::name(files[1].0, files[1].1));
        std::fs::set_permissions(&middle, std::os::unix::fs::PermissionsExt::from_mode(0o666)).unwrap();
        let (left, first) = (told(state), u32::try_from(files[2].1.0).unwrap());
        assert_eq!(left, (first..=41).rev().map(Some).chain([None]).collect::<Vec<_>>());
    }

    #[test]
    fn no_more_than_the_last_segments_are_read() {
        let state = tempfile::tempdir_in("/run").expect("these tests run as root");
        let state = state.path();
        for epoch in 1..=20 {
            append(state, epoch, epoch, 0);
        }
        assert_eq!(told(state), (13..=20).rev().map(Some).collect::<Vec<_>>());
    }
}
