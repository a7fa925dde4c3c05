//! `tenure man DIR`: man pages from the one definition of the arguments.

use std::path::{Path, PathBuf};

use clap::CommandFactory;
use clap_mangen::Man;

use crate::Cli;
use crate::failure::Failure;
use crate::output::{Exit, Output};

/// What no argument tells, on the page of the program itself.
const SEE_ALSO: &str = ".SH \"SEE ALSO\"\n.BR tenure-agent (8)\n";

/// Arguments of `man`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The directory
    dir: PathBuf,
}

/// Writes `tenure.1` and one page per command.
pub(crate) fn run(args: &Args, _out: &mut Output) -> Result<Exit, Failure> {
    // The table of exit codes is a section of its own here.
    let mut command = Cli::command().after_help("");
    command.build();
    pages(&command, command.get_name(), SEE_ALSO, &args.dir)?;
    Ok(Exit::Clean)
}

fn pages(command: &clap::Command, name: &str, more: &str, dir: &Path) -> Result<(), Failure> {
    let path = dir.join(format!("{name}.1"));
    let failed = |cause: std::io::Error| Failure::file("write", &path, &cause);
    let mut page = Vec::new();
    Man::new(command.clone()).section("1").render(&mut page).map_err(failed)?;
    page.extend_from_slice(b".SH \"EXIT STATUS\"\n");
    for exit in Exit::ALL {
        page.extend_from_slice(format!(".TP\n{}\n{}\n", exit.code(), exit.meaning()).as_bytes());
    }
    page.extend_from_slice(more.as_bytes());
    std::fs::write(&path, page).map_err(failed)?;
    for sub in command.get_subcommands().filter(|c| !c.is_hide_set() && c.get_name() != "help") {
        pages(sub, &format!("{name}-{}", sub.get_name()), "", dir)?;
    }
    Ok(())
}
