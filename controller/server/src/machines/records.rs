//! Takes records in: lines as they lie in the machine's own chain, verified while they come, kept whole or not at all.

use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http_body_util::BodyExt;
use hyper::StatusCode;
use hyper::header::RETRY_AFTER;
use tenure_trust::enrol::IngestFinding;
use tenure_trust::ingest::{Sound, sound};
use tenure_trust::{Admission, ExportLine};

use super::Machine;
use crate::app::App;
use crate::problem::{Problem, json};
use crate::store::{Batch, Full};

/// The most lines of one request.
const LINES: usize = 1024;
/// The most bytes of one request: room for the largest line, and for many usual ones.
const BYTES: usize = 8 << 20;

/// Takes the lines of a request.
pub(super) async fn take(
    State(app): State<Arc<App>>,
    machine: Machine,
    body: Body,
) -> Result<Response, Problem> {
    let enter = app.gate.enter((machine.0.name.clone(), machine.0.role));
    let Some(_turn) = tokio::time::timeout(app.limits.body, enter).await.ok().flatten() else {
        let problem =
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, "busy", "too many of these requests at once")
                .hint("they are kept on the machine, which comes again by itself");
        return Ok(([(RETRY_AFTER, "5")], problem).into_response());
    };
    let read = tokio::time::timeout(app.limits.body, read(body, &machine.0)).await;
    let Read { lines, bytes, broken } = read.map_err(|_| Problem::too_slow())??;
    let batch = Batch {
        access: machine.access(),
        name: machine.0.name.clone(),
        role: machine.0.role,
        epoch: machine.0.epoch,
        lines,
        bytes,
        broken,
    };
    match app.ingest.take(batch).await {
        Ok(Ok(answer)) => Ok(json(&answer)),
        Ok(Err(full)) => {
            let (status, word, hint, seconds) = match full {
                Full::Budget => (
                    StatusCode::TOO_MANY_REQUESTS,
                    "budget",
                    "they are kept on the machine and go on tomorrow (UTC); what writes so many?",
                    "600",
                ),
                Full::Space => (
                    StatusCode::INSUFFICIENT_STORAGE,
                    "space",
                    "make room on the controller's disk; records are kept on the machine meanwhile",
                    "60",
                ),
            };
            let problem = Problem::new(status, word, "records are not taken now").detail(full).hint(hint);
            Ok(([(RETRY_AFTER, seconds)], problem).into_response())
        }
        Err(_) => {
            let problem =
                Problem::new(StatusCode::SERVICE_UNAVAILABLE, "store", "records cannot be kept now");
            Ok(([(RETRY_AFTER, "5")], problem).into_response())
        }
    }
}

/// What a request holds.
struct Read {
    lines: Vec<Sound>,
    bytes: u64,
    broken: Option<IngestFinding>,
}

/// Splits the body into lines as it comes and judges each by itself. After the first that is not sound nothing more is
/// read.
async fn read(mut body: Body, of: &Admission) -> Result<Read, Problem> {
    let (mut lines, mut rest, mut bytes) = (Vec::new(), Vec::new(), 0);
    let whole = |lines, bytes: usize, broken| Read { lines, bytes: bytes as u64, broken };
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(Problem::malformed)?;
        let Ok(data): Result<Bytes, _> = frame.into_data() else { continue };
        bytes += data.len();
        if bytes > BYTES {
            return Err(Problem::too_large());
        }
        // What lay there before has no end of a line.
        let (mut start, mut from) = (0, rest.len());
        rest.extend_from_slice(&data);
        while let Some(end) = rest[from..].iter().position(|byte| *byte == b'\n').map(|at| from + at) {
            match sound(&rest[start..end], of) {
                Ok(line) => lines.push(line),
                Err(finding) => return Ok(whole(lines, bytes, Some(finding))),
            }
            if lines.len() > LINES {
                return Err(Problem::too_large());
            }
            start = end + 1;
            from = start;
        }
        rest.drain(..start);
        if rest.len() > ExportLine::MAX {
            return Ok(whole(lines, bytes, Some(IngestFinding::Malformed)));
        }
    }
    // Half a line never counted at its machine either.
    Ok(whole(lines, bytes, (!rest.is_empty()).then_some(IngestFinding::Malformed)))
}
