//! `tenure fmt SET`: writes every file of a set in its one canonical form, comments kept.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use tenure_policy::{Faults, fmt};
use tenure_trust::neutral;

use crate::checked::{count, tell};
use crate::failure::Failure;
use crate::output::{Exit, Output};
use crate::set_files;

/// Arguments of `fmt`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The policy's file, or its directory
    #[arg(value_name = "SET", default_value = ".")]
    set: PathBuf,
    /// Write nothing; end with 2 when a file is not in its form
    #[arg(long)]
    check: bool,
}

/// Formats the set: all of it, or nothing when a file cannot be read.
pub(crate) fn run(args: &Args, out: &mut Output) -> Result<Exit, Failure> {
    let files = set_files::load(&args.set)?;
    let mut faults = Faults::new();
    let mut changed: BTreeMap<&str, String> = BTreeMap::new();
    for (path, text) in &files {
        match fmt::canonical(path, text) {
            Ok(form) if form == *text => {}
            Ok(form) => {
                changed.insert(path, form);
            }
            Err(more) => faults.extend(more),
        }
    }
    if !faults.is_empty() {
        tell(&faults.with_sources(&files), files.len(), out);
        return Ok(Exit::Config);
    }
    out.value(&serde_json::json!({ "changed": changed.keys().collect::<Vec<_>>(), "written": !args.check }));
    for (path, form) in &changed {
        if !args.check {
            let file = if args.set.is_dir() { args.set.join(path) } else { args.set.clone() };
            replace(&file, form)?;
        }
        out.line(neutral(path));
    }
    let unchanged = files.len() - changed.len();
    match (args.check, changed.len()) {
        (_, 0) => out.line(format_args!("{} in canonical form", count(unchanged, "file"))),
        (true, n) => out.line(format_args!("{} to be formatted; nothing was written", count(n, "file"))),
        (false, n) => out.line(format_args!("{} written, {unchanged} unchanged", count(n, "file"))),
    }
    Ok(if args.check && !changed.is_empty() { Exit::Changes } else { Exit::Clean })
}

/// Writes a file whole or not at all: beside it, then in its place, with its permissions.
fn replace(file: &Path, text: &str) -> Result<(), Failure> {
    let failed =
        |error: &std::io::Error| Failure::file("write", file, error).hint("the file stands as it was");
    let real = fs::canonicalize(file).map_err(|error| failed(&error))?;
    let mut name = real.file_name().unwrap_or_default().to_owned();
    name.push(".tenure-fmt");
    let beside = real.with_file_name(name);
    let write = || {
        let mut new = fs::File::options().write(true).create_new(true).open(&beside)?;
        new.set_permissions(fs::metadata(&real)?.permissions())?;
        new.write_all(text.as_bytes())?;
        new.sync_all()?;
        fs::rename(&beside, &real)
    };
    write().map_err(|error| {
        if error.kind() != std::io::ErrorKind::AlreadyExists {
            // What is left of it; the first error is the one to tell.
            let _ = fs::remove_file(&beside);
        }
        failed(&error)
    })
}
