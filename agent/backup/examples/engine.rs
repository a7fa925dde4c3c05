//! Drives the engine on a repository in a local directory, for benchmarks and for trying it against stock restic. Not
//! shipped. `engine create|backup|restore|check|ls|dump …`; the time is an argument, as everywhere.

use std::error::Error;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use jiff::Timestamp;
use tenure_backup::engine::{
    self, BackupRequest, LocalRepository, MasterKey, Password, Repository, RestoreRequest, Sample, Unlock,
    VirtualFile,
};

const USAGE: &str = "\
engine create REPOSITORY PASSWORD-FILE KEY-FILE SECONDS
engine backup REPOSITORY KEY-FILE CACHE-FILE SECONDS PATH... [-- NAME FILE]
engine restore REPOSITORY KEY-FILE TARGET [PATH...]
engine check REPOSITORY KEY-FILE
engine ls REPOSITORY KEY-FILE
engine dump REPOSITORY KEY-FILE PATH";

type Done = Result<(), Box<dyn Error>>;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match words[..] {
        ["create", repository, password, key, at] => create(repository, password, key, at),
        ["backup", repository, key, cache, at, ref rest @ ..] => backup(repository, key, cache, at, rest),
        ["restore", repository, key, target, ref paths @ ..] => restore(repository, key, target, paths),
        ["check", repository, key] => check(repository, key),
        ["ls", repository, key] => ls(repository, key),
        ["dump", repository, key, path] => dump(repository, key, path),
        _ => Err(USAGE.into()),
    };
    let Err(why) = done else { return ExitCode::SUCCESS };
    let mut text = format!("engine: {why}");
    let mut cause = why.source();
    while let Some(why) = cause {
        text.push_str(&format!(": {why}"));
        cause = why.source();
    }
    let _ = writeln!(io::stderr(), "{text}");
    ExitCode::FAILURE
}

fn moment(seconds: &str) -> Result<Timestamp, Box<dyn Error>> {
    Ok(Timestamp::from_second(seconds.parse()?)?)
}

fn say(line: &str) {
    let _ = writeln!(io::stdout(), "{line}");
}

fn create(repository: &str, password_file: &str, key: &str, at: &str) -> Done {
    let password = Password::new(fs::read_to_string(password_file)?.trim_end().to_owned());
    let made = engine::create(&password, moment(at)?, "bench", "root")?;
    LocalRepository::found(repository, &made)?;
    fs::write(key, made.master.bytes())?;
    Ok(())
}

fn with<T>(
    repository: &str,
    key: &str,
    act: impl FnOnce(&LocalRepository, &Repository<'_>) -> Result<T, Box<dyn Error>>,
) -> Result<T, Box<dyn Error>> {
    let local = LocalRepository::at(repository);
    let master = MasterKey::from_bytes(&fs::read(key)?)?;
    let open = engine::open(&local, Unlock::Master(&master))?;
    act(&local, &open)
}

fn backup(repository: &str, key: &str, cache: &str, at: &str, rest: &[&str]) -> Done {
    let (paths, given) = rest.split_at(rest.iter().position(|word| *word == "--").unwrap_or(rest.len()));
    let virtual_files = match given {
        ["--", name, file] => {
            vec![VirtualFile { path: PathBuf::from(name), file: File::open(file)?, mode: 0o600 }]
        }
        _ => Vec::new(),
    };
    let request = BackupRequest {
        started: moment(at)?,
        hostname: "bench".to_owned(),
        username: "root".to_owned(),
        paths: paths.iter().map(PathBuf::from).collect(),
        virtual_files,
        cache: fs::read(cache).ok(),
        ..BackupRequest::default()
    };
    let report = with(repository, key, |local, open| Ok(engine::backup(open, local, &request)?))?;
    fs::write(cache, &report.cache)?;
    for lack in &report.lacks {
        say(&format!("lack {:?} {}: {}", lack.kind, lack.path.display(), lack.why));
    }
    say(&format!(
        "snapshot {} files {} directories {} bytes {} read {} objects {} stored {} left out {}",
        report.snapshot,
        report.files,
        report.directories,
        report.source_bytes,
        report.read_bytes,
        report.new_objects,
        report.new_bytes,
        report.left_out.len(),
    ));
    Ok(())
}

fn last(open: &Repository<'_>) -> Result<engine::Snapshot, Box<dyn Error>> {
    engine::snapshots(open)?.pop().ok_or_else(|| "no snapshot".into())
}

fn restore(repository: &str, key: &str, target: &str, paths: &[&str]) -> Done {
    fs::create_dir_all(target)?;
    let subset = paths.iter().map(PathBuf::from).collect();
    let request = RestoreRequest { subset, target: PathBuf::from(target), writers: None };
    let report = with(repository, key, |_, open| Ok(engine::restore(open, &last(open)?.id, &request)?))?;
    for lack in &report.lacks {
        say(&format!("lack {:?} {}: {}", lack.kind, lack.path.display(), lack.why));
    }
    say(&format!("files {} directories {} bytes {}", report.files, report.directories, report.bytes));
    if report.failed > 0 { Err("not everything was restored".into()) } else { Ok(()) }
}

fn check(repository: &str, key: &str) -> Done {
    let report = with(repository, key, |_, open| Ok(engine::check(open, Sample::All)?))?;
    say(&format!("{report:?}"));
    Ok(())
}

fn ls(repository: &str, key: &str) -> Done {
    with(repository, key, |_, open| {
        engine::ls(open, &last(open)?.id, Path::new("/"), &mut |entry| {
            say(&format!("{:?} {:>12} {}", entry.kind, entry.size, entry.path.display()));
            std::ops::ControlFlow::Continue(())
        })?;
        Ok(())
    })
}

fn dump(repository: &str, key: &str, path: &str) -> Done {
    with(repository, key, |_, open| {
        engine::dump(open, &last(open)?.id, Path::new(path), &mut io::stdout().lock())?;
        Ok(())
    })
}
