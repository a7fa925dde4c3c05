//! Where a passphrase comes from: the terminal, a file that only its owner can read, or an open descriptor. Never an
//! argument and never the environment, which other programs can read.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::failure::Failure;
use crate::output::Exit;

/// A passphrase longer than this is a mistake (a whole file, a device).
const LIMIT: u64 = 4096;
/// A new key's passphrase has at least so many bytes.
const SHORTEST: usize = 10;

/// Arguments of every command that opens or makes a key.
#[derive(Debug, clap::Args)]
pub(crate) struct Source {
    /// Read the passphrase from this file (mode 0600); with several keys once for each, in their order
    #[arg(long, value_name = "FILE", conflicts_with = "passphrase_fd")]
    passphrase_file: Vec<PathBuf>,
    /// Read the passphrase from this open file descriptor
    #[arg(long, value_name = "N")]
    passphrase_fd: Option<u32>,
}

impl Source {
    /// The passphrase of an existing key, the `number`th of the command (from 0).
    pub(crate) fn existing(&self, key: &Path, number: usize) -> Result<Zeroizing<String>, Failure> {
        match self.given(number)? {
            Some(passphrase) => Ok(passphrase),
            None => ask(&format!("Passphrase of {}: ", tenure_trust::neutral(&key.display().to_string()))),
        }
    }

    /// The passphrase for a new key; on the terminal it is typed twice.
    pub(crate) fn new_one(&self) -> Result<Zeroizing<String>, Failure> {
        let passphrase = match self.given(0)? {
            Some(passphrase) => passphrase,
            None => {
                let first = ask("New passphrase: ")?;
                if *first != *ask("The same again: ")? {
                    return Err(Failure::because("set the passphrase", "the two were not the same"));
                }
                first
            }
        };
        if passphrase.len() < SHORTEST {
            let why = format!("it has fewer than {SHORTEST} bytes");
            return Err(Failure::because("set the passphrase", why).hint("take a few words"));
        }
        Ok(passphrase)
    }

    fn given(&self, number: usize) -> Result<Option<Zeroizing<String>>, Failure> {
        if let Some(fd) = self.passphrase_fd {
            let path = PathBuf::from(format!("/proc/self/fd/{fd}"));
            let file = File::open(&path)
                .map_err(|error| Failure::file("read the passphrase from", &path, &error))?;
            return read(file, &path).map(Some);
        }
        let path = match self.passphrase_file.as_slice() {
            [] => return Ok(None),
            [one] => one,
            several => several.get(number).ok_or_else(|| {
                Failure::because("read the passphrases", "there are fewer --passphrase-file than --key")
                    .exit(Exit::Usage)
            })?,
        };
        let failed = |error: &std::io::Error| Failure::file("read the passphrase from", path, error);
        let file = File::open(path).map_err(|error| failed(&error))?;
        let about = file.metadata().map_err(|error| failed(&error))?;
        if !about.is_file() || about.mode() & 0o077 != 0 {
            let doing = format!("read the passphrase from {}", path.display());
            let why = format!("others can read it (mode {:04o})", about.mode() & 0o7777);
            let hint = format!("chmod 600 {}", path.display());
            return Err(Failure::because(doing, why).hint(hint).exit(Exit::Config));
        }
        read(file, path).map(Some)
    }
}

fn read(file: File, path: &Path) -> Result<Zeroizing<String>, Failure> {
    let mut text = Zeroizing::new(String::new());
    file.take(LIMIT + 1)
        .read_to_string(&mut text)
        .map_err(|error| Failure::file("read the passphrase from", path, &error))?;
    let line = text.strip_suffix('\n').unwrap_or(&text);
    if line.is_empty() || line.len() as u64 >= LIMIT || line.contains('\n') {
        let doing = format!("read the passphrase from {}", path.display());
        return Err(Failure::because(doing, "it must be one line of text"));
    }
    Ok(Zeroizing::new(line.to_owned()))
}

fn ask(prompt: &str) -> Result<Zeroizing<String>, Failure> {
    rpassword::prompt_password(prompt).map(Zeroizing::new).map_err(|error| {
        Failure::new("ask for the passphrase on the terminal", &error)
            .hint("give --passphrase-file FILE (mode 0600) or --passphrase-fd N")
    })
}

/// An account's password: from a file that only its owner can read, else from the terminal.
pub(crate) fn password(file: Option<&Path>, prompt: &str) -> Result<Zeroizing<String>, Failure> {
    let source =
        Source { passphrase_file: file.map(Path::to_owned).into_iter().collect(), passphrase_fd: None };
    match source.given(0)? {
        Some(password) => Ok(password),
        None => ask(prompt),
    }
}
