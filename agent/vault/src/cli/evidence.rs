//! `evidence export` and `identity`: what leaves this vault for whoever verifies it.

use std::fs::{File, OpenOptions};
use std::io::{BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use serde::Serialize;
use tenure_link::uplink::Ticket;
use tenure_link::{BundleStore, Identity};
use tenure_sys::files::Roots;
use tenure_sys::{clock, text};
use tenure_trust::{Epoch, MachineRole, Seq};

use super::output::Output;
use super::{Exit, Failure};
use crate::config::Config;
use crate::keys;
use crate::run::Paths;

/// The copy, before the process gives up the caller's rights.
pub(super) fn create(file: &Path) -> Result<File, Failure> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(0o600);
    options.open(file).map_err(|e| {
        let doing = format!("cannot write {}", text::path(file));
        Failure::of(&doing, &e).hint("name a file that does not exist yet")
    })
}

#[derive(Serialize)]
struct Exported<'a> {
    file: &'a Path,
    records: u64,
}

/// Writes the whole chain of the vault's current epoch.
pub(super) fn export(
    config: &Path,
    paths: &Paths,
    file: &Path,
    copy: Option<File>,
    out: Output,
) -> Result<Exit, Failure> {
    let config = Config::read(config)?;
    let copy = copy.ok_or_else(|| Failure::new("there is no file to write to"))?;
    let mut copy = BufWriter::new(copy);
    let chain = (&config.host, MachineRole::Vault);
    let epoch = epoch(&config, paths)?;
    let doing = format!("cannot write {}", text::path(file));
    let records = tenure_link::export_as(&paths.state, chain, epoch, Seq(1), None, &mut copy)
        .map_err(|e| Failure::of("cannot export the records", &e))?;
    copy.flush().and_then(|()| copy.get_ref().sync_all()).map_err(|e| Failure::of(&doing, &e))?;
    out.document(&Exported { file, records });
    out.line(&format!("{records} records in {}", text::path(file)));
    out.note(
        "verify it elsewhere with `tenure verify` and the key that `tenure-vault identity` printed here",
    );
    Ok(Exit::Clean)
}

/// The chain that goes on now; the first when no admission is known.
fn epoch(config: &Config, paths: &Paths) -> Result<Epoch, Failure> {
    let places = paths.places();
    let admitted = BundleStore::open(&places, config.host.clone())
        .and_then(|store| store.admissions(&config.drop_dir(&places), clock::wall()));
    let epoch = admitted.ok().and_then(|a| a.book.of(&config.host, MachineRole::Vault).map(|v| v.epoch));
    epoch
        .map_or_else(|| Ticket::epoch_in(&paths.state), Ok)
        .map_err(|e| Failure::of("cannot tell which chain of records is this vault's now", &e).hint(e.hint()))
}

#[derive(Serialize)]
struct Public {
    key: String,
    fingerprint: String,
    ssh: String,
}

/// Prints the public keys, and makes them first when there are none.
pub(super) fn identity(config: &Path, paths: &Paths, out: Output) -> Result<Exit, Failure> {
    let config = Config::read(config)?;
    let failed = |e: &dyn std::error::Error| Failure::of("cannot keep this vault's keys", e);
    let identity = match Identity::read(&paths.state, &config.host).map_err(|e| failed(&e))? {
        Some(identity) => identity,
        None => {
            let writable = Roots::new([&paths.state]).map_err(|e| failed(&e))?;
            Identity::create(&paths.state, &writable, &config.host).map_err(|e| failed(&e))?
        }
    };
    let ssh = keys::host_key(&paths.state).and_then(|key| keys::public_text(&key)).map_err(|e| failed(&e))?;
    let public = identity.public();
    let (key, fingerprint) = (public.to_string(), public.key.id().to_string());
    out.line(&key);
    out.line(ssh.as_str());
    out.note(&format!("fingerprint {fingerprint}"));
    out.document(&Public { key, fingerprint, ssh: ssh.to_string() });
    Ok(Exit::Clean)
}
