//! `tenure`, the operator's tool: reads the arguments, runs one command, ends with its exit code.

mod checked;
mod clock;
mod cmd_check;
mod cmd_completions;
mod cmd_explain;
mod cmd_fmt;
mod cmd_key;
mod cmd_man;
mod cmd_root;
mod cmd_schema;
mod cmd_sign;
mod cmd_verify;
mod failure;
mod files;
mod keyfile;
mod output;
mod passphrase;
mod set_files;

use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{Parser, Subcommand};

use crate::failure::Failure;
use crate::output::{Exit, Output};

/// Writes, checks and signs policy, and verifies what hosts state.
#[derive(Debug, Parser)]
#[command(name = "tenure", version, about, max_term_width = 110, after_help = Exit::table())]
struct Cli {
    /// Print JSON on standard output instead of text
    #[arg(long, global = true)]
    json: bool,
    /// Print only what went wrong
    #[arg(long, short, global = true)]
    quiet: bool,
    #[command(subcommand)]
    command: Command,
}

/// One variant for each command; its module has arguments and `run`.
#[derive(Debug, Subcommand)]
enum Command {
    /// Check a policy set: every fault at once, with place and hint
    Check(cmd_check::Args),
    /// Make and list operators' keys
    Key(cmd_key::Args),
    /// Make and show the root: which keys may sign what
    Root(cmd_root::Args),
    /// Check a policy set, resolve it and sign it: one index, one bundle for each machine
    Sign(cmd_sign::Args),
    /// Verify an exported chain, a root, an index or a bundle with public keys alone
    Verify(cmd_verify::Args),
    /// Write a policy set in its one canonical form; comments are kept
    Fmt(cmd_fmt::Args),
    /// Print the JSON Schema of the policy language
    Schema(cmd_schema::Args),
    /// Print a completion script for a shell
    Completions(cmd_completions::Args),
    /// Write the man pages into a directory
    #[command(hide = true)]
    Man(cmd_man::Args),
    /// Explain the values that a host gets: where each comes from and why
    Explain(cmd_explain::Args),
}

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // The parser's own text and colours; its exit code 2 means "changes found" here, so usage is 64.
            let shown = error.print();
            let usage = !matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
            return if usage || shown.is_err() { Exit::Usage } else { Exit::Clean }.into();
        }
    };
    let mut out = Output::new(cli.json, cli.quiet);
    let exit = run(cli.command, &mut out).unwrap_or_else(|failure| out.failure(&failure));
    out.finish(exit).into()
}

fn run(command: Command, out: &mut Output) -> Result<Exit, Failure> {
    match command {
        Command::Check(args) => cmd_check::run(&args, out),
        Command::Key(args) => cmd_key::run(&args, out),
        Command::Root(args) => cmd_root::run(&args, out),
        Command::Sign(args) => cmd_sign::run(&args, out),
        Command::Verify(args) => cmd_verify::run(&args, out),
        Command::Fmt(args) => cmd_fmt::run(&args, out),
        Command::Schema(args) => cmd_schema::run(&args, out),
        Command::Completions(args) => cmd_completions::run(&args, out),
        Command::Man(args) => cmd_man::run(&args, out),
        Command::Explain(args) => cmd_explain::run(&args, out),
    }
}
