//! `tenure`, the operator's tool: reads the arguments, runs one command, ends with its exit code.

mod checked;
mod clock;
mod cmd_admit;
mod cmd_backups;
mod cmd_check;
mod cmd_clear;
mod cmd_completions;
mod cmd_drift;
mod cmd_explain;
mod cmd_fmt;
mod cmd_hosts;
mod cmd_key;
mod cmd_login;
mod cmd_man;
mod cmd_obligations;
mod cmd_patches;
mod cmd_publish;
mod cmd_recover;
mod cmd_root;
mod cmd_schema;
mod cmd_sign;
mod cmd_token;
mod cmd_verify;
mod failure;
mod files;
#[cfg(test)]
mod hostile_tests;
mod keyfile;
mod output;
mod passphrase;
mod remote;
mod set_files;
mod surroundings;
mod table;

#[cfg(test)]
mod json_tests;

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
    /// Begin a session with the controller
    Login(cmd_login::Args),
    /// Bring a signed policy set to the controller
    Publish(cmd_publish::Args),
    /// Make and list one-time invitations for machines
    Token(cmd_token::Args),
    /// Compare a machine's fingerprint and admit its keys
    Admit(cmd_admit::Args),
    /// Take an admission back: the keys count no longer
    Revoke(cmd_admit::RevokeArgs),
    /// Order a vault to take a copy that it set aside
    Clear(cmd_clear::Args),
    /// List every duty of every tenant with its state, the worst first
    Obligations(cmd_obligations::Args),
    /// List every machine, those that need a person first
    Hosts(cmd_hosts::Args),
    /// Show the week of copies, as host and vault agree on them
    Backups(cmd_backups::Args),
    /// List what is not as the policy says and what differed before, and who did it
    ///
    /// First what the hosts' newest records tell. Then the history, as the hosts' own records tell it: the last 20 of each
    /// host that differed, mended or only reported, also when newer records say that all is well. Records of one area that
    /// tell the same one after the other are one row, which says how many there were. --json has all rows, with the hash
    /// of each record. Exit 2 while something is not as the policy says; the history changes no exit code.
    Drift(cmd_drift::Args),
    /// List how long security updates wait
    Patches(cmd_patches::Args),
    /// Open the password of a copy whose host is gone, and say how restic restores it
    Recover(cmd_recover::Args),
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
        Command::Login(args) => cmd_login::run(&args, out),
        Command::Publish(args) => cmd_publish::run(&args, out),
        Command::Token(args) => cmd_token::run(&args, out),
        Command::Admit(args) => cmd_admit::run(&args, out),
        Command::Revoke(args) => cmd_admit::revoke(&args, out),
        Command::Clear(args) => cmd_clear::run(&args, out),
        Command::Obligations(args) => cmd_obligations::run(&args, out),
        Command::Hosts(args) => cmd_hosts::run(&args, out),
        Command::Backups(args) => cmd_backups::run(&args, out),
        Command::Drift(args) => cmd_drift::run(&args, out),
        Command::Patches(args) => cmd_patches::run(&args, out),
        Command::Recover(args) => cmd_recover::run(&args, out),
    }
}
