//! `doctor`: what is commonly wrong on a host, with what mends it.

use std::path::Path;

use super::Exit;
use crate::doctor::{Level, examine};
use crate::output::Output;
use crate::paths::Paths;

/// Looks, tells, and ends with the worst that was found.
pub(super) fn doctor(config: &Path, out: Output) -> Exit {
    let progress = out.progress("looking at the host");
    let checks = examine(config, &Paths::of_host());
    drop(progress);
    out.document(&checks);
    for check in &checks {
        let line = format!("{:<8} {:<24} {}", check.level.word(), check.name, check.what);
        if check.level == Level::Ok {
            out.note(line.trim_end())
        } else {
            out.line(&line)
        }
        if let Some(remedy) = &check.remedy {
            out.line(&format!("{:<33} → {remedy}", ""));
        }
    }
    checks.iter().map(|check| exit_of(check.level)).max().unwrap_or(Exit::Clean)
}

fn exit_of(level: Level) -> Exit {
    match level {
        Level::Ok => Exit::Clean,
        Level::Warn => Exit::Changes,
        Level::Unknown => Exit::Unknown,
        Level::Fail => Exit::Error,
        Level::FailConfig => Exit::Config,
    }
}
