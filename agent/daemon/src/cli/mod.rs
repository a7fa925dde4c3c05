//! The command line: definitions, exit codes, and which command does what.

mod backup;
mod boot;
mod change;
mod doctor;
mod duration;
mod enrol;
mod evidence;
mod failure;
mod job;
mod look;
mod man;
mod run;
mod show;

#[cfg(test)]
mod json_tests;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, CommandFactory, Parser, Subcommand};
use clap_complete::Shell;
use tenure_trust::HostName;

use crate::areas::Area;
use crate::output::Output;
use crate::paths;
pub use failure::{Exit, Failure};

/// Keeps this host as its signed policy says.
#[derive(Debug, Parser)]
#[command(name = "tenure-agent", version, about, max_term_width = 110, after_help = Exit::table())]
struct Cli {
    /// Print one JSON document on standard output instead of text
    #[arg(long, global = true)]
    json: bool,
    /// Print only what was asked for
    #[arg(long, short, global = true)]
    quiet: bool,
    /// The configuration file
    #[arg(long, global = true, value_name = "FILE", default_value = paths::CONFIG)]
    config: PathBuf,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Keep the host as its policy says until told to stop (what the service runs)
    Run,
    /// Show what would be done, what listens and who can log in, now and after; changes nothing
    Plan(PlanArgs),
    /// Make the host as its policy says; a new ruleset is a trial that somebody must confirm
    Apply(ApplyArgs),
    /// Keep the ruleset that is on trial; only from a session opened after the switch
    Confirm,
    /// Give up the ruleset that is on trial
    Revert,
    /// Show how everything stands
    Status(PolicyArgs),
    /// Show what others changed and what became of it
    Drift,
    /// Give an area (or all) back as it stood before the first apply; it is only observed until the next apply
    Lift(LiftArgs),
    /// What this host states about itself
    #[command(subcommand)]
    Evidence(EvidenceCommand),
    /// Enrol with a controller: make this host's keys, show their fingerprint, wait until an operator has admitted them
    Enrol(EnrolArgs),
    /// Copies in the vault: make, list, restore, prove
    #[command(subcommand)]
    Backup(backup::BackupCommand),
    /// Do the work of one run (what the agent starts)
    #[command(hide = true)]
    Job {
        /// The run
        run: tenure_trust::RunId,
    },
    /// Load the last confirmed ruleset before the network is up (what the boot unit runs)
    Boot,
    /// Print this host's public key, by which its records are verified; makes the key when there is none
    Identity,
    /// Look for what is commonly wrong on a host and say what mends it; changes nothing. Ends with 0 when all is well, 2 with
    /// warnings, 3 when something could not be looked at, 1 when something does not work, 78 when configuration is the reason
    Doctor,
    /// Print a completion script for a shell
    Completions {
        /// For which shell
        shell: Shell,
    },
    /// Write the man pages into a directory
    #[command(hide = true)]
    Man {
        /// The directory
        dir: PathBuf,
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

/// Which policy: an own directory on a standalone host, or what the configuration says.
#[derive(Debug, Args)]
struct PolicyArgs {
    /// A policy set in a directory that root alone can write (standalone)
    #[arg(long, value_name = "DIR", requires = "host")]
    policy: Option<PathBuf>,
    /// Which host of the set this is
    #[arg(long, value_name = "NAME")]
    host: Option<HostName>,
}

#[derive(Debug, Args)]
struct PlanArgs {
    #[command(flatten)]
    policy: PolicyArgs,
    /// Signed bundles in this directory, verified as on delivery but not taken
    #[arg(long, value_name = "DIR", conflicts_with = "policy")]
    bundles: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct ApplyArgs {
    #[command(flatten)]
    policy: PolicyArgs,
    /// Time for somebody to confirm a new ruleset, e.g. 60s or 5m (with --policy; else the policy says)
    #[arg(long, value_name = "TIME", value_parser = duration::seconds, requires = "policy")]
    confirm_within: Option<u32>,
}

#[derive(Debug, Args)]
struct EnrolArgs {
    /// The invitation that an operator handed over
    file: PathBuf,
    /// Do not wait for the admission: the running agent asks on
    #[arg(long)]
    no_wait: bool,
}

#[derive(Debug, Args)]
struct LiftArgs {
    /// The area; all when none is named
    #[arg(value_enum)]
    area: Option<Area>,
    #[command(flatten)]
    policy: PolicyArgs,
}

/// Reads the arguments, runs one command, ends with its exit code.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let shown = error.print();
            // The parser's own exit code 2 means "changes found" here.
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
    match &cli.command {
        Command::Man { dir } => return man::write(Cli::command(), dir),
        Command::Completions { shell } => return man::completions(Cli::command(), *shell, out),
        _ => {}
    }
    if !rustix::process::geteuid().is_root() {
        return Err(Failure::new("tenure-agent works as root only").hint("run it with sudo, or as root"));
    }
    match &cli.command {
        Command::Run => run::run(&cli.config),
        Command::Plan(args) => look::plan(&cli.config, args, out),
        Command::Apply(args) => change::apply(&cli.config, args, out),
        Command::Confirm => change::confirm(out),
        Command::Revert => change::revert(out),
        Command::Status(args) => look::status(&cli.config, args, out),
        Command::Drift => look::drift(out),
        Command::Lift(args) => change::lift(&cli.config, args, out),
        Command::Evidence(EvidenceCommand::Export { out: file }) => evidence::export(file, out),
        Command::Enrol(args) => enrol::enrol(&cli.config, args, out),
        Command::Backup(command) => backup::backup(&cli.config, command, out),
        Command::Job { run } => job::job(&cli.config, run),
        Command::Boot => boot::boot(&cli.config, out),
        Command::Identity => evidence::identity(&cli.config, out),
        Command::Doctor => Ok(doctor::doctor(&cli.config, out)),
        Command::Man { .. } | Command::Completions { .. } => Ok(Exit::Clean),
    }
}
