//! `tenure verify FILE`: the one verifier. An exported chain with a host's public key; a root, an index or a bundle
//! with a root.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use tenure_policy::resolved::HostPolicy;
use tenure_trust::record::ExportLine;
use tenure_trust::{
    Arrival, ChainReport, ChainVerifier, Envelope, Expected, Floor, Hash, Index, Kind, PublicKey, Root, Seq,
    Standing, Verified, neutral, statement, verify_bundle, verify_index,
};

use crate::failure::Failure;
use crate::output::{Exit, Output, progress};
use crate::{clock, cmd_root, files, keyfile};

/// The JSON form of the largest envelope.
const LIMIT: u64 = 16 << 20;

/// Arguments of `verify`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// An exported chain, or a root, index or bundle
    file: PathBuf,
    /// The host's public key (identity.pub), to verify a chain
    #[arg(long, value_name = "PUB")]
    key: Option<PathBuf>,
    /// The root, to verify an index or a bundle
    #[arg(long, value_name = "FILE")]
    root: Option<PathBuf>,
    /// The index that names the bundle
    #[arg(long, value_name = "FILE", requires = "root")]
    index: Option<PathBuf>,
    /// The record with which the chain should start
    #[arg(long, value_name = "SEQ", default_value_t = Seq(1), requires = "key")]
    from: Seq,
    /// Hash of a record known from an earlier verification, which must be in the chain
    #[arg(long, value_name = "HASH", requires = "key")]
    known: Option<Hash>,
}

/// Verifies the file; 1 when something is wrong with it.
pub(crate) fn run(args: &Args, out: &mut Output) -> Result<Exit, Failure> {
    match (&args.key, &args.root) {
        (Some(key), None) => {
            let key = keyfile::read_public(key)?.key;
            chain(args, key, out)
        }
        (None, Some(root)) => signed(args, &cmd_root::read(root)?, out),
        _ => Err(Failure::because("verify", "either --key or --root is needed")
            .hint("--key HOST.pub for an exported chain, --root root.json for an index or a bundle")
            .exit(Exit::Usage)),
    }
}

fn chain(args: &Args, key: PublicKey, out: &mut Output) -> Result<Exit, Failure> {
    let mut verifier = ChainVerifier::new(key, Expected { from: args.from, known: args.known });
    let failed = |error: &std::io::Error| Failure::file("read", &args.file, error);
    let file = File::open(&args.file).map_err(|error| failed(&error))?;
    let mut reader = BufReader::new(file);
    let mut line = Vec::new();
    let verifying = progress("verifying the chain");
    while let Some(whole) = next_line(&mut reader, &mut line).map_err(|error| failed(&error))? {
        if whole {
            verifier.line(&line);
        } else {
            verifier.oversized_line();
        }
    }
    let found = verifier.finish();
    drop(verifying);
    Ok(report(&found, &args.file, out))
}

fn report(report: &ChainReport, file: &Path, out: &mut Output) -> Exit {
    out.value(&serde_json::json!({ "clean": report.is_clean(), "report": report }));
    let file = neutral(&file.display().to_string());
    for finding in &report.findings {
        let record = finding.seq.map_or(String::new(), |seq| format!("record {seq}: "));
        out.fault(format_args!("{file}:{}: {record}{}", finding.line, neutral(&finding.fault.to_string())));
    }
    if report.more > 0 {
        out.fault(format_args!("{file}: {} more faults", report.more));
    }
    let host = report.host.as_ref().map_or("?", |host| host.as_str());
    let place = |seq: Option<Seq>| seq.map_or("-".to_owned(), |seq| seq.to_string());
    let places = format!("{} records, {} to {}", report.records, place(report.first), place(report.last));
    if report.payloads_missing > 0 {
        out.line(format_args!("payload {} deleted (allowed)", report.payloads_missing));
    }
    if report.lost > 0 {
        out.line(format_args!("lost    the host says that it could not write {} records", report.lost));
    }
    if report.is_clean() {
        out.line(format_args!("whole   chain of {host}: {places}"));
        if let Some(head) = report.head {
            out.line(format_args!("head    {head}   (next time: --known)"));
        }
        Exit::Clean
    } else {
        let faults = report.findings.len() as u64 + report.more;
        let word = if faults == 1 { "fault" } else { "faults" };
        out.fault(format_args!("broken  chain of {host}: {faults} {word}; {places}"));
        Exit::Error
    }
}

/// The next line without its end; `Some(false)` for one that is too long, which is passed over. None at the end.
fn next_line(reader: &mut impl BufRead, line: &mut Vec<u8>) -> std::io::Result<Option<bool>> {
    line.clear();
    let (mut some, mut whole) = (false, true);
    loop {
        let chunk = reader.fill_buf()?;
        if chunk.is_empty() {
            return Ok(some.then_some(whole));
        }
        some = true;
        let end = chunk.iter().position(|byte| *byte == b'\n');
        let part = &chunk[..end.unwrap_or(chunk.len())];
        if line.len() + part.len() <= ExportLine::MAX {
            line.extend_from_slice(part);
        } else {
            whole = false;
        }
        let used = end.map_or(chunk.len(), |end| end + 1);
        reader.consume(used);
        if end.is_some() {
            return Ok(Some(whole));
        }
    }
}

fn signed(args: &Args, root: &Verified<Root>, out: &mut Output) -> Result<Exit, Failure> {
    let doing = format!("believe {}", args.file.display());
    let refused = |refused| Failure::refused(&doing, &refused);
    let bytes = files::read(&args.file, LIMIT)?;
    let kind = Envelope::parse(&bytes).map_err(refused)?.kind();
    match kind {
        Kind::Root => {
            let new = Root::anchor(&bytes).map_err(refused)?;
            if new.hash() != root.hash() {
                root.accept(&bytes, clock::now()).map_err(refused)?;
            }
            tell(kind, &new, root, out);
        }
        Kind::Index => {
            let index = index(root, &bytes).map_err(refused)?;
            tell(kind, &index, root, out);
            for (machine, hash) in &index.machines {
                out.line(format_args!("bundle  {}  {machine}", hash.short()));
            }
        }
        Kind::HostPolicy => {
            let Some(path) = &args.index else {
                return Err(Failure::because(doing, "a bundle holds under its index only")
                    .hint("give --index index.json")
                    .exit(Exit::Usage));
            };
            let index = index(root, &files::read(path, LIMIT)?)
                .map_err(|r| Failure::refused(format_args!("believe {}", path.display()), &r))?;
            // The host that the bundle names: the index must name this bundle for it.
            let host = index
                .machines
                .iter()
                .find(|(_, hash)| Envelope::parse(&bytes).is_ok_and(|e| e.hash() == **hash));
            let Some((host, _)) = host else {
                return Err(Failure::because(doing, "the index names no such bundle")
                    .hint("take both from one signing"));
            };
            let bundle: Verified<HostPolicy> =
                verify_bundle(root, &index, &Floor::NONE, host, &bytes).map_err(refused)?;
            tell(kind, &bundle, root, out);
            out.line(format_args!("host    {host}"));
        }
        other => {
            let why = format!("a {other} is not verified with a root here");
            return Err(Failure::because(doing, why).exit(Exit::Usage));
        }
    }
    Ok(Exit::Clean)
}

fn index(root: &Verified<Root>, bytes: &[u8]) -> Result<Verified<Index>, tenure_trust::Refused> {
    verify_index(root, &Floor::NONE, Arrival::Offered, clock::now(), bytes)
}

fn tell<T: statement::Statement>(
    kind: Kind,
    verified: &Verified<T>,
    root: &Verified<Root>,
    out: &mut Output,
) {
    let Standing::Signed { version, by, until } = verified.standing() else { return };
    let names: Vec<_> = by
        .iter()
        .map(|id| root.name_of(*id).map_or_else(|| id.short(), |named| named.name.to_string()))
        .collect();
    out.value(&serde_json::json!({
        "kind": kind.word(), "version": version, "until": until, "by": names, "hash": verified.hash(),
        "statement": verified.value(),
    }));
    out.line(format_args!(
        "holds   {kind} version {version}, until {until}, by {}, hash {}",
        names.join(", "),
        verified.hash().short()
    ));
}
