//! The command line: definitions, exit codes, and which command does what.

mod enrol;
mod evidence;
mod failure;
mod look;
mod man;
mod output;

#[cfg(test)]
mod json_tests;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

use crate::config::CONFIG;
use crate::run::{self, Paths};
pub use failure::{Exit, Failure};
use output::Output;

/// Keeps other hosts' backups: takes them in, turns the ring, shows read-only views. It cannot read what it keeps.
#[derive(Debug, Parser)]
#[command(name = "tenure-vault", version, about, max_term_width = 110, after_help = Exit::table())]
struct Cli {
    /// Print one JSON document on standard output instead of text
    #[arg(long, global = true)]
    json: bool,
    /// Print only what was asked for
    #[arg(long, short, global = true)]
    quiet: bool,
    /// The configuration file
    #[arg(long, global = true, value_name = "FILE", default_value = CONFIG)]
    config: PathBuf,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve until told to stop (what the service runs)
    Run,
    /// Show how everything stands: policy, space, and for each series its cells and last copy
    Status,
    /// Show every generation, or those of one series (OWNER/HOST/SET)
    Generations {
        /// The series, as `status` prints it
        series: Option<String>,
    },
    /// What this vault states about itself
    #[command(subcommand)]
    Evidence(EvidenceCommand),
    /// Make this vault's keys and hand their public halves to the controller, with the invitation from the operator
    Enrol {
        /// The invitation
        file: PathBuf,
    },
    /// Print this vault's public keys, by which receipts and records are verified; makes them when there are none
    Identity,
    /// Write the man pages into a directory
    #[command(hide = true)]
    Man {
        /// The directory
        dir: PathBuf,
    },
    /// Print completions for a shell
    Completions {
        /// Which shell
        shell: clap_complete::Shell,
    },
}

#[derive(Debug, Subcommand)]
enum EvidenceCommand {
    /// Write the chain of records to a file that `tenure verify` reads
    Export {
        /// The file; it must not exist
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
    },
}

/// Reads the arguments, runs one command, ends with its exit code.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let shown = error.print();
            // The parser's own exit code 2 means "changes found" elsewhere.
            let exit = if error.use_stderr() || shown.is_err() { Exit::Usage } else { Exit::Clean };
            return exit.into();
        }
    };
    let out = Output { json: cli.json, quiet: cli.quiet };
    match command(&cli, out) {
        Ok(exit) => exit.into(),
        Err(failure) => {
            out.error(&failure.what, failure.hint.as_deref());
            failure.exit.into()
        }
    }
}

fn command(cli: &Cli, out: Output) -> Result<Exit, Failure> {
    let paths = Paths::default();
    match &cli.command {
        Command::Man { dir } => return man::write(Cli::command(), dir),
        Command::Completions { shell } => return man::completions(Cli::command(), *shell, out),
        _ => {}
    }
    let evidence = match &cli.command {
        // Opened while it is still the caller's to open.
        Command::Evidence(EvidenceCommand::Export { out: file }) => Some(evidence::create(file)?),
        _ => None,
    };
    let invitation = match &cli.command {
        // The anchor of trust is root's to place, and a person runs this.
        Command::Enrol { file } => Some(enrol::invitation(file, &paths)?),
        _ => None,
    };
    become_own_user(&paths)?;
    match &cli.command {
        Command::Run => run::run(&cli.config, &paths),
        Command::Status => look::status(&cli.config, &paths, out),
        Command::Generations { series } => look::generations(&cli.config, &paths, series.as_deref(), out),
        Command::Evidence(EvidenceCommand::Export { out: file }) => {
            evidence::export(&cli.config, &paths, file, evidence, out)
        }
        Command::Enrol { .. } => enrol::enrol(&cli.config, &paths, invitation, out),
        Command::Identity => evidence::identity(&cli.config, &paths, out),
        Command::Man { .. } | Command::Completions { .. } => Ok(Exit::Clean),
    }
}

/// Root's hands are not needed and would leave files that the vault cannot change: work on as the vault's own user, who
/// owns its state.
fn become_own_user(paths: &Paths) -> Result<(), Failure> {
    use nix::unistd::{Gid, Uid, setgid, setgroups, setuid};
    use std::os::unix::fs::MetadataExt;
    if !Uid::effective().is_root() {
        return Ok(());
    }
    let Ok(state) = std::fs::symlink_metadata(&paths.state) else {
        return Err(Failure::new(format!("there is no {}", paths.state.display()))
            .hint("make it with `install -d -o tenure-vault -g tenure-vault -m 700 DIR`; the package does"));
    };
    let (uid, gid) = (Uid::from_raw(state.uid()), Gid::from_raw(state.gid()));
    if uid.is_root() {
        return Err(Failure::new(format!(
            "{} is root's, and a vault never works as root",
            paths.state.display()
        ))
        .hint(format!("chown -R tenure-vault: {}", paths.state.display())));
    }
    setgroups(&[gid])
        .and_then(|()| setgid(gid))
        .and_then(|()| setuid(uid))
        .map_err(|e| Failure::of("cannot become the vault's own user", &e))
}
