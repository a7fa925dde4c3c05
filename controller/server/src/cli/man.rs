//! Man pages from the one definition of the command line.

use std::path::Path;

use clap_mangen::Man;

use super::{Exit, Failure};

/// Writes `tenure-controller.8` and one page per command.
pub(super) fn write(mut command: clap::Command, dir: &Path) -> Result<Exit, Failure> {
    command.build();
    let name = command.get_name().to_owned();
    page(command.clone(), &name, dir)?;
    for sub in command.get_subcommands().filter(|c| !c.is_hide_set() && c.get_name() != "help") {
        let title = format!("{name}-{}", sub.get_name());
        page(sub.clone(), &title, dir)?;
    }
    Ok(Exit::Clean)
}

fn page(command: clap::Command, name: &str, dir: &Path) -> Result<(), Failure> {
    let path = dir.join(format!("{name}.8"));
    let mut bytes = Vec::new();
    let failed = |e: std::io::Error| Failure::of(&format!("cannot write {}", path.display()), &e);
    Man::new(command).section("8").render(&mut bytes).map_err(failed)?;
    std::fs::write(&path, bytes).map_err(failed)
}
