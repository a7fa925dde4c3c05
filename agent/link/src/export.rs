//! Writes the chain out for whoever wants to verify it: the same lines that lie on the disk, under a header.

use std::io::{self, Write};
use std::path::Path;

use tenure_trust::{Epoch, ExportHeader, ExportLine, HostName, MachineRole, Seq};

use crate::chain::{ChainError, read_segment, segments};
use crate::identity::read_public;
use crate::segment;

/// Why an export stopped.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The chain could not be read.
    #[error("cannot read the record chain")]
    Chain(#[from] ChainError),
    /// The copy could not be written.
    #[error("cannot write the exported chain")]
    Write(#[source] io::Error),
    /// There is no record in this range.
    #[error("there are no records from {from} to {to} in epoch {epoch}", to = to.map_or("the last".into(), |to| to.to_string()))]
    Nothing {
        /// First asked for.
        from: Seq,
        /// Last asked for.
        to: Option<Seq>,
        /// In this epoch.
        epoch: Epoch,
    },
}

/// Writes the records `from` to `to` (or to the last) of one epoch, with their payloads, as lie below the directory of
/// state. Lines that cannot be read are written too: the verifier, not the host, says what they are. A half line at the
/// end is left out, as it never counted. Returns how many lines were written.
///
/// It only reads, and may run beside the process that appends.
///
/// # Errors
/// When the chain cannot be read or has nothing in the range, or the copy cannot be written.
pub fn export(
    state: &Path,
    host: &HostName,
    epoch: Epoch,
    from: Seq,
    to: Option<Seq>,
    out: &mut dyn Write,
) -> Result<u64, ExportError> {
    export_as(state, (host, MachineRole::Host), epoch, from, to, out)
}

/// The same for a machine in a role.
///
/// # Errors
/// As `export`.
pub fn export_as(
    state: &Path,
    (host, role): (&HostName, MachineRole),
    epoch: Epoch,
    from: Seq,
    to: Option<Seq>,
    out: &mut dyn Write,
) -> Result<u64, ExportError> {
    let dir = state.join("chain");
    let key = read_public(state)?;
    let ours: Vec<_> = segments(&dir)?.into_iter().filter(|(e, _)| *e == epoch).collect();
    let mut written = 0;
    for (number, (_, first)) in ours.iter().enumerate() {
        let ends_before = ours.get(number + 1).is_some_and(|(_, next)| *next <= from);
        if ends_before || to.is_some_and(|to| *first > to) {
            continue;
        }
        let bytes = read_segment(&dir, &segment::name(epoch, *first))?;
        let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |place| place + 1);
        let mut place = *first;
        for line in bytes[..whole].split_inclusive(|byte| *byte == b'\n') {
            place = place_of(line).unwrap_or(place);
            if place >= from && to.is_none_or(|to| place <= to) {
                if written == 0 {
                    let header = ExportHeader { role, ..ExportHeader::new(host.clone(), epoch, key) };
                    writeln!(out, "{}", header.to_json()).map_err(ExportError::Write)?;
                }
                out.write_all(line).map_err(ExportError::Write)?;
                written += 1;
            }
            place = Seq(place.0.saturating_add(1));
        }
    }
    if written == 0 {
        return Err(ExportError::Nothing { from, to, epoch });
    }
    out.flush().map_err(ExportError::Write)?;
    Ok(written)
}

/// The place that a line claims; it only chooses what is copied.
fn place_of(line: &[u8]) -> Option<Seq> {
    ExportLine::parse(line.strip_suffix(b"\n")?).ok()?.unverified().ok().map(|record| record.seq)
}
