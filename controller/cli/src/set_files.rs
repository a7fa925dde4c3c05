//! The files of a policy set from disk: one file, or a directory's `*.yaml`, read with bounds.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read;
use std::path::Path;

use tenure_policy::read::{MAX_FILES, MAX_SET};
use tenure_policy::tree::MAX_FILE;

use crate::failure::Failure;
use crate::output::Exit;

/// Reads a set: relative path → text. Hidden files and files that are not YAML by their names are left out.
pub(crate) fn load(set: &Path) -> Result<BTreeMap<String, String>, Failure> {
    let about = fs::metadata(set).map_err(|error| {
        let hint = "give the policy's file (fleet.yaml) or its directory";
        Failure::file("read policy set", set, &error).hint(hint).exit(Exit::Config)
    })?;
    let mut files = BTreeMap::new();
    if about.is_dir() {
        collect(set, "", &mut files)?;
    } else {
        let name = set
            .file_name()
            .map_or_else(|| "fleet.yaml".to_owned(), |name| name.to_string_lossy().into_owned());
        files.insert(name, text(set)?);
    }
    Ok(files)
}

/// Takes a directory and those in it; what does not belong there is named by the reader of the set, not here.
fn collect(directory: &Path, prefix: &str, files: &mut BTreeMap<String, String>) -> Result<(), Failure> {
    let failed =
        |error: &std::io::Error| Failure::file("list policy directory", directory, error).exit(Exit::Config);
    let mut entries = fs::read_dir(directory)
        .and_then(|entries| entries.collect::<Result<Vec<_>, _>>())
        .map_err(|error| failed(&error))?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = entry.path();
        let about =
            fs::metadata(&path).map_err(|error| Failure::file("read", &path, &error).exit(Exit::Config))?;
        let relative = format!("{prefix}{name}");
        if name.starts_with('.') {
            continue;
        }
        if about.is_dir() {
            if relative.matches('/').count() < 4 {
                collect(&path, &format!("{relative}/"), files)?;
            }
        } else if name.ends_with(".yaml") || name.ends_with(".yml") {
            files.insert(relative, text(&path)?);
        }
        let bytes: usize = files.values().map(String::len).sum();
        if files.len() > MAX_FILES || bytes > MAX_SET {
            break;
        }
    }
    Ok(())
}

/// The text of one file, at most a byte more than a set's file may have: the reader of the set refuses the rest.
fn text(path: &Path) -> Result<String, Failure> {
    let failed = |error: &std::io::Error| Failure::file("read policy file", path, error).exit(Exit::Config);
    let about = fs::metadata(path).map_err(|error| failed(&error))?;
    if !about.is_file() {
        return Err(Failure::because(
            format_args!("read policy file {}", path.display()),
            "it is not a regular file",
        )
        .exit(Exit::Config));
    }
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(MAX_FILE as u64 + 1).read_to_end(&mut bytes))
        .map_err(|error| failed(&error))?;
    let whole = bytes.len() <= MAX_FILE;
    String::from_utf8(bytes).or_else(|error| match whole {
        // Cut in the middle of a character: too large anyway.
        false => Ok(String::from_utf8_lossy(error.as_bytes()).into_owned()),
        true => {
            let at = error.utf8_error().valid_up_to();
            let line = error.as_bytes()[..at].iter().filter(|b| **b == b'\n').count() + 1;
            let doing = format!("read policy file {}", path.display());
            let why = format!("line {line} is not UTF-8 text");
            Err(Failure::because(doing, why).hint("save the file as UTF-8").exit(Exit::Config))
        }
    })
}
