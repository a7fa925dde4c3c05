//! `evidence export` and `identity`: what leaves this host for whoever verifies it.

use std::fs::OpenOptions;
use std::io::{BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use serde::Serialize;
use tenure_link::Identity;
use tenure_link::uplink::Ticket;
use tenure_sys::files::Roots;
use tenure_sys::lock::Lock;
use tenure_sys::text;
use tenure_trust::Seq;

use super::{Exit, Failure};
use crate::agent::{StartError, make_dirs};
use crate::config::Config;
use crate::output::Output;
use crate::paths::Paths;
use crate::socket::client::{AskError, ask};
use crate::socket::wire::Request;

#[derive(Serialize)]
struct Exported<'a> {
    file: &'a Path,
    records: u64,
}

/// Writes the whole chain. A running agent first writes down what it has seen so far.
pub(super) fn export(file: &Path, out: Output) -> Result<Exit, Failure> {
    let paths = Paths::of_host();
    let progress = out.progress("waiting until the agent has written down what it has seen");
    match ask(&paths.socket(), &Request::Settle) {
        Ok(_) | Err(AskError::NotRunning { .. }) => {}
        Err(e) => return Err(e.into()),
    }
    let doing = format!("cannot write {}", text::path(file));
    let copy = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(file)
        .map_err(|e| Failure::of(&doing, &e).hint("name a file that does not exist yet"))?;
    let mut copy = BufWriter::new(copy);
    progress.say("exporting the records");
    let written = chain(&paths, &mut copy).and_then(|records| {
        copy.flush().and_then(|()| copy.get_ref().sync_all()).map_err(|e| Failure::of(&doing, &e))?;
        Ok(records)
    });
    let records = match written {
        Ok(records) => records,
        Err(failure) => {
            // Half a file is no evidence; that it could not be removed adds nothing to what is told.
            let _ = std::fs::remove_file(file);
            return Err(failure);
        }
    };
    drop(progress);
    out.document(&Exported { file, records });
    out.line(&format!("{records} records in {}", text::path(file)));
    out.note(
        "verify it elsewhere with `tenure verify` and the key that `tenure-agent identity` printed here",
    );
    Ok(Exit::Clean)
}

fn chain(paths: &Paths, copy: &mut dyn Write) -> Result<u64, Failure> {
    let host = known_host(paths)?;
    let epoch = Ticket::epoch_in(&paths.state).map_err(|e| {
        Failure::of("cannot tell which chain of records is this host's now", &e).hint(e.hint())
    })?;
    tenure_link::export(&paths.state, &host, epoch, Seq(1), None, copy)
        .map_err(|e| Failure::of("cannot export the records", &e))
}

#[derive(Serialize)]
struct Public {
    key: String,
    fingerprint: String,
}

/// Prints the public key, and makes it first when there is none.
pub(super) fn identity(config: &Path, out: Output) -> Result<Exit, Failure> {
    let paths = Paths::of_host();
    make_dirs(&paths).map_err(|e| Failure::of("cannot prepare the agent's state", &e))?;
    let host = known_host(&paths).or_else(|_| Ok::<_, Failure>(Config::read(config)?.host))?;
    let failed = |e: &dyn std::error::Error| Failure::of("cannot make this host's key", e);
    let read = || {
        Identity::read(&paths.state, &host)
            .map_err(|e| Failure::of("cannot read this host's key", &e).hint(e.hint()))
    };
    let identity = match read()? {
        Some(identity) => identity,
        None => {
            let _lock = Lock::take(&paths.lock()).map_err(StartError::from)?;
            let writable = Roots::new([&paths.state]).map_err(|e| failed(&e))?;
            match read()? {
                Some(identity) => identity,
                None => Identity::create(&paths.state, &writable, &host).map_err(|e| failed(&e))?,
            }
        }
    };
    let public = identity.public();
    let (key, fingerprint) = (public.to_string(), public.key.id().to_string());
    out.line(&key);
    out.note(&format!("fingerprint {fingerprint}"));
    out.document(&Public { key, fingerprint });
    Ok(Exit::Clean)
}

/// The host's name as its key has it: also where a standalone host has no configuration.
fn known_host(paths: &Paths) -> Result<tenure_trust::HostName, Failure> {
    let file = tenure_sys::files::CheckedDir::read_file(&paths.state("identity.pub"), 512)
        .map_err(|e| Failure::of("this host has no key yet", &e).hint("`tenure-agent identity` makes it"))?;
    let text = String::from_utf8_lossy(&file.bytes);
    let named: tenure_trust::NamedKey =
        text.trim().parse().map_err(|e| Failure::of("cannot read this host's public key", &e))?;
    tenure_trust::HostName::new(named.name.as_str())
        .map_err(|e| Failure::of("this host's key has no host's name", &e))
}
