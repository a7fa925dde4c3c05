//! The command line: definitions, exit codes, and which command does what.

mod failure;
mod init;
mod man;
mod output;
mod run;
mod session;
mod status;
mod token;
mod user;
mod who;

#[cfg(test)]
mod json_tests;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, CommandFactory, Parser, Subcommand};
use clap_complete::Shell;
use tenure_trust::HostName;

pub use failure::{Exit, Failure};

use crate::app::Places;
use crate::config;
use output::Output;

/// Enrols machines, passes signed policy on, takes their evidence in, judges it and shows it.
#[derive(Debug, Parser)]
#[command(name = "tenure-controller", version, about, max_term_width = 110, after_help = EXIT_CODES)]
struct Cli {
    /// Print one JSON document on standard output instead of text
    #[arg(long, global = true)]
    json: bool,
    /// Print only what was asked for
    #[arg(long, short, global = true)]
    quiet: bool,
    /// The configuration file
    #[arg(long, global = true, value_name = "FILE", default_value = config::CONFIG)]
    config: PathBuf,
    #[command(flatten)]
    places: PlaceArgs,
    #[command(subcommand)]
    command: Command,
}

/// Where things stand; other places are for a second controller or a test.
#[derive(Debug, Args)]
struct PlaceArgs {
    /// The directory of state
    #[arg(long, global = true, value_name = "DIR", default_value = config::STATE)]
    state: PathBuf,
    /// The root of trust that a person placed
    #[arg(long, global = true, value_name = "FILE", default_value = config::ROOT)]
    root: PathBuf,
}

impl PlaceArgs {
    fn places(&self) -> Places {
        Places { root: self.root.clone(), state: self.state.clone() }
    }
}

const EXIT_CODES: &str = "Exit codes: 0 clean · 1 error · 64 usage · 78 configuration";

#[derive(Debug, Subcommand)]
enum Command {
    /// Prepare this machine as the controller: check the root, make the certificate authority, the database and the
    /// first account
    Init(InitArgs),
    /// Serve machines and people until told to stop (what the service runs)
    Run,
    /// Make one-time invitations for machines
    #[command(subcommand)]
    Token(TokenCommand),
    /// Look after accounts
    #[command(subcommand)]
    User(UserCommand),
    /// Look after sessions of browsers and tokens of programs
    #[command(subcommand)]
    Session(SessionCommand),
    /// Show what this controller holds
    Status,
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

#[derive(Debug, Args)]
struct InitArgs {
    /// Name of the first account
    #[arg(long, value_name = "NAME", default_value = "operator")]
    user: String,
    /// Write its generated password into this new file, readable by its owner alone
    #[arg(long, value_name = "FILE")]
    password_file: PathBuf,
}

#[derive(Debug, Subcommand)]
enum TokenCommand {
    /// Make an invitation: it enrols one machine once
    Create(TokenArgs),
}

#[derive(Debug, Args)]
struct TokenArgs {
    /// The machine's name in the policy
    name: HostName,
    /// What its keys are for
    #[arg(long, value_parser = ["host", "vault"], default_value = "host")]
    role: String,
    /// How long it is worth anything
    #[arg(long, value_name = "MINUTES", default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=1440))]
    minutes: u32,
    /// Write it into this new file, readable by its owner alone
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

#[derive(Debug, Subcommand)]
enum UserCommand {
    /// Make an account, or give it a new generated password; its sessions end
    Password {
        /// The account
        name: String,
        /// Write the password into this new file, readable by its owner alone
        #[arg(long, value_name = "FILE")]
        password_file: PathBuf,
    },
    /// Remove an account; its sessions and tokens end at once
    Remove {
        /// The account
        name: String,
    },
    /// Show the accounts
    List,
}

#[derive(Debug, Subcommand)]
enum SessionCommand {
    /// Show the sessions and tokens that hold; never their secrets
    List,
    /// End one at once
    End {
        /// Its name in the list
        id: String,
    },
}

/// Reads the arguments, runs one command, ends with its exit code.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let shown = error.print();
            // The parser's own exit code 2 means "changes found" in this family of programs.
            let exit = if error.use_stderr() || shown.is_err() { Exit::Usage } else { Exit::Clean };
            return exit.into();
        }
    };
    let out = Output { json: cli.json, quiet: cli.quiet };
    match command(&cli, out) {
        Ok(exit) => exit.into(),
        Err(failure) => {
            out.error(&failure);
            failure.exit.into()
        }
    }
}

fn command(cli: &Cli, out: Output) -> Result<Exit, Failure> {
    let places = cli.places.places();
    match &cli.command {
        Command::Init(args) => init::run(&cli.config, &places, args, out),
        Command::Run => run::run(&cli.config, &places),
        Command::Token(TokenCommand::Create(args)) => token::create(&cli.config, &places, args, out),
        Command::User(UserCommand::Password { name, password_file }) => {
            user::password(&places, name, password_file, out)
        }
        Command::User(UserCommand::Remove { name }) => user::remove(&places, name, out),
        Command::User(UserCommand::List) => user::list(&places, out),
        Command::Session(SessionCommand::List) => session::list(&places, out),
        Command::Session(SessionCommand::End { id }) => session::end(&places, id, out),
        Command::Status => status::run(&cli.config, &places, out),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(*shell, &mut Cli::command(), "tenure-controller", &mut script);
            out.product(&script);
            Ok(Exit::Clean)
        }
        Command::Man { dir } => man::write(Cli::command(), dir),
    }
}

/// A runtime for a command that ends.
fn block_on<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| Failure::of("cannot start", &e))?;
    runtime.block_on(work)
}
