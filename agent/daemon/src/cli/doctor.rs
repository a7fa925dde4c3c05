//! `doctor`: what is commonly wrong on a host, with what mends it.

use std::path::Path;

use super::Exit;
use crate::doctor::{Standing, examine};
use crate::output::Output;
use crate::paths::Paths;

/// Looks, tells, and ends with the worst that was found.
pub(super) fn doctor(config: &Path, out: Output) -> Exit {
    let progress = out.progress("looking at the host");
    let checks = examine(config, &Paths::of_host());
    drop(progress);
    out.document(&checks);
    for check in &checks {
        let line = format!("{:<8} {:<24} {}", check.standing.word(), check.name, check.what);
        if check.standing == Standing::Ok {
            out.note(line.trim_end())
        } else {
            out.line(&line)
        }
        if let Some(remedy) = &check.remedy {
            out.line(&format!("{:<33} → {remedy}", ""));
        }
    }
    checks.iter().map(|check| exit_of(check.standing)).max().unwrap_or(Exit::Clean)
}

fn exit_of(standing: Standing) -> Exit {
    match standing {
        Standing::Ok => Exit::Clean,
        Standing::Warn => Exit::Changes,
        Standing::Unknown => Exit::Unknown,
        Standing::Fail => Exit::Error,
        Standing::FailConfig => Exit::Config,
    }
}
