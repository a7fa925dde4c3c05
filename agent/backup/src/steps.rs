//! The step journal of a run: each step is on disk before the next begins, and what of it a run that goes on may take up.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use tenure_areas::backup::journal::{self, JOURNAL_LIMIT, Line, RunStep};
use tenure_sys::clock;
use tenure_trust::{GenerationId, Hash, RunId, SealClaims};

use crate::error::BackupError;

/// The step journal of a run.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    file: File,
    /// What was done before.
    pub lines: Vec<Line>,
}

impl Journal {
    /// Opens it; a last line that was never whole is cut off.
    ///
    /// # Errors
    /// When it cannot be read, or a whole line is not of its form.
    pub fn open(state: &Path, run: &RunId) -> Result<Self, BackupError> {
        let path = state.join("jobs").join(format!("{run}.jsonl"));
        let mut options = OpenOptions::new();
        let options = options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let io = |doing| BackupError::io(doing, path.clone());
        let mut file = options.open(&path).map_err(io("open"))?;
        let mut bytes = Vec::new();
        Read::by_ref(&mut file).take(JOURNAL_LIMIT as u64).read_to_end(&mut bytes).map_err(io("read"))?;
        let whole = bytes.iter().rposition(|b| *b == b'\n').map_or(0, |end| end + 1);
        let lines = journal::parse(&bytes[..whole]).map_err(BackupError::Record)?;
        file.set_len(whole as u64).map_err(io("cut"))?;
        file.seek(SeekFrom::End(0)).map_err(io("read"))?;
        Ok(Self { path, file, lines })
    }

    /// Writes a step down; it is on disk when this returns.
    ///
    /// # Errors
    /// When there is no room.
    pub fn step(&mut self, step: RunStep) -> Result<(), BackupError> {
        let line = Line { at: clock::wall(), step };
        let mut bytes = serde_json::to_vec(&line).map_err(|e| BackupError::Record(e.to_string()))?;
        bytes.push(b'\n');
        let written = self.file.write_all(&bytes).and_then(|()| self.file.sync_all());
        written.map_err(BackupError::io("write", self.path.clone()))?;
        self.lines.push(line);
        Ok(())
    }

    /// The last step that is something.
    pub fn find<T>(&self, what: impl Fn(&RunStep) -> Option<T>) -> Option<T> {
        find(&self.lines, what)
    }
}

/// What was stored, as the seal says it.
#[derive(Debug, Clone)]
pub struct Stored {
    /// In which generation.
    pub generation: GenerationId,
    /// restic's id.
    pub snapshot: Hash,
    /// The vault's number of it.
    pub upto: u64,
    /// What the host says of its run.
    pub claims: SealClaims,
}

/// What a run stored in this generation before it was killed. A step that was made in another generation counts for nothing:
/// a run whose keys were lost goes on in the next number of its date.
pub fn stored(lines: &[Line], generation: GenerationId) -> Option<Stored> {
    let opened = |line: &Line| match line.step {
        RunStep::Opened { generation, .. } => Some(generation),
        _ => None,
    };
    let other = |line: &Line| opened(line).is_some_and(|of| of != generation);
    let lines = &lines[lines.iter().rposition(other).map_or(0, |place| place + 1)..];
    let lines = &lines[lines.iter().position(|line| opened(line).is_some())?..];
    let dumps = find(lines, |step| match step {
        RunStep::Dumped { dumps, .. } => Some(*dumps),
        _ => None,
    })?;
    find(lines, |step| match step {
        RunStep::Stored { snapshot, upto, files, source_bytes, unreadable, changed, .. } => Some(Stored {
            generation,
            snapshot: *snapshot,
            upto: *upto,
            claims: SealClaims {
                files: *files,
                source_bytes: *source_bytes,
                unreadable: *unreadable,
                changed: *changed,
                dumps,
                read_back: false,
            },
        }),
        _ => None,
    })
}

fn find<T>(lines: &[Line], what: impl Fn(&RunStep) -> Option<T>) -> Option<T> {
    lines.iter().rev().find_map(|line| what(&line.step))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(steps: &[RunStep]) -> Vec<Line> {
        steps.iter().map(|step| Line { at: jiff::Timestamp::UNIX_EPOCH, step: step.clone() }).collect()
    }

    fn generation(number: u32) -> GenerationId {
        GenerationId { date: jiff::civil::date(2026, 11, 29), number }
    }

    #[test]
    fn what_was_stored_counts_in_its_own_generation_only() {
        let opened = |number| RunStep::Opened { generation: generation(number), sequence: 2 };
        let dumped = |dumps| RunStep::Dumped { dumps, bytes: 10 };
        let put = |upto| RunStep::Stored {
            snapshot: Hash::of(b"snapshot"),
            upto,
            files: 1,
            source_bytes: 1,
            unreadable: 0,
            changed: 0,
            lacks: Vec::new(),
        };
        let upto = |steps: &[RunStep], number| stored(&lines(steps), generation(number)).map(|s| s.upto);
        let killed = [RunStep::Planned, opened(1), dumped(2), put(7), RunStep::Planned, opened(1)];
        assert_eq!(upto(&killed, 1), Some(7), "it goes on where it was");
        let lost = [&killed[..4], &[RunStep::Planned, opened(2)]].concat();
        assert_eq!(upto(&lost, 2), None, "nothing of the first number is in the second");
        let again = [&lost[..], &[dumped(3), put(9), RunStep::Planned, opened(2)]].concat();
        assert_eq!(upto(&again, 2), Some(9));
        let half = [&lost[..], &[dumped(3), RunStep::Planned, opened(2)]].concat();
        assert_eq!(upto(&half, 2), None);
        assert_eq!(upto(&[&again[..], &[opened(1)]].concat(), 1), None, "nor after a way back");
    }
}
