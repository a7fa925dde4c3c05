//! Why a backup, a restore or a drill did not do what it was asked: a closed list, each with what to do next.

use std::path::PathBuf;

use tenure_sys::command::CommandError;
use tenure_sys::files::FileError;
use tenure_sys::lock::LockError;
use tenure_trust::vault_wire::VaultRefusal;
use tenure_trust::{HostName, Refused, SeriesId};

use crate::engine::EngineError;

/// Why it did not work.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// A file of ours.
    #[error("cannot keep what a run needs")]
    File(#[from] FileError),
    /// A file or directory, by the kernel's words.
    #[error("cannot {doing} {}", tenure_sys::text::path(path))]
    Io {
        /// What was being done.
        doing: &'static str,
        /// To which path.
        path: PathBuf,
        /// Why it failed.
        source: std::io::Error,
    },
    /// The engine.
    #[error("cannot write or read the repository")]
    Engine(#[from] EngineError),
    /// A program of the database.
    #[error("cannot {doing}")]
    Command {
        /// What was being done.
        doing: &'static str,
        /// What the program said.
        source: CommandError,
    },
    /// Something of the database is not as it must be.
    #[error("database {database}: {what}")]
    Database {
        /// Its name in the policy.
        database: String,
        /// In words.
        what: String,
    },
    /// A database server of this host holds something that no dump takes.
    #[error("{what} would not be in the copy of the whole server")]
    Undumped {
        /// What.
        what: String,
    },
    /// The kernel gave no randomness.
    #[error("cannot get randomness")]
    Random(#[from] getrandom::Error),
    /// A recipient is none, or nothing could be encrypted to it.
    #[error("cannot encrypt the password to {recipient}: {why}")]
    Escrow {
        /// Which.
        recipient: String,
        /// Why.
        why: String,
    },
    /// A key file of this host.
    #[error("{} is not what it must be", tenure_sys::text::path(.0))]
    BadKey(PathBuf),
    /// No admission names the vault's keys.
    #[error("no admission names the keys of the vault on {0}")]
    NotAdmitted(HostName),
    /// The vault cannot be reached, or the connection broke.
    #[error("{doing}: {why}")]
    Transport {
        /// What was being done.
        doing: &'static str,
        /// Why it failed, neutralised.
        why: String,
    },
    /// The vault said no.
    #[error("the vault refuses: {0}")]
    Refused(VaultRefusal),
    /// What the vault signed does not hold.
    #[error("the vault's receipt does not hold")]
    Receipt(#[source] Refused),
    /// The vault answered with something else.
    #[error("the vault's answer is not right: {0}")]
    Answer(String),
    /// A journal or specification of this host.
    #[error("the job's own record cannot be used: {0}")]
    Record(String),
    /// There is nothing to restore from.
    #[error("there is no copy of {0} that this host can open")]
    NoCopy(SeriesId),
    /// Another drill runs, or its lock cannot be used.
    #[error("cannot begin a drill")]
    Drilling(#[from] LockError),
    /// The account of the scratch server is missing or is not what it must be.
    #[error("cannot begin a drill as the account tenure-drill: {why}")]
    DrillAccount {
        /// What is wrong with it.
        why: &'static str,
    },
    /// The place to restore to.
    #[error("{} {why}", tenure_sys::text::path(path))]
    Target {
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        why: &'static str,
    },
}

impl BackupError {
    /// What to do next.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::File(_) | Self::Io { .. } => "see to the disk and to the permissions of /var/lib/tenure",
            Self::Engine(e) => e.hint(),
            Self::Command { .. } | Self::Database { .. } => {
                "see to the database server; the files alone do not count"
            }
            Self::Undumped { .. } => "name the database in the policy's sets, so that it is dumped",
            Self::Random(_) => "see to /dev/urandom on this machine",
            Self::Escrow { .. } => "mend the recovery recipients in the policy",
            Self::BadKey(_) => {
                "restore it from a backup, or remove it and enrol this host anew: `tenure-agent enrol FILE`"
            }
            Self::NotAdmitted(_) => "admit the vault, and let the admissions reach this host",
            Self::Transport { .. } => {
                "see to the network between this host and the vault, and whether the vault runs"
            }
            Self::Refused(refusal) => refusal.code.hint(),
            Self::Receipt(_) | Self::Answer(_) => "look at the vault: it does not say what it must",
            Self::Record(_) => "remove the run's files in /var/lib/tenure/jobs; the slot is tried again",
            Self::NoCopy(_) => {
                "look at `tenure-agent backup list`; without this host's key use `tenure recover`"
            }
            Self::Drilling(_) => "wait for the other drill's end",
            Self::DrillAccount { .. } => {
                "give the host an account of that name, of a group of its own and of no other: put tenure-agent.sysusers at \
                 /usr/lib/sysusers.d/tenure-agent.conf and run systemd-sysusers"
            }
            Self::Target { .. } => "name an empty directory",
        }
    }

    /// The whole chain of causes in one line, with the hint, neutralised.
    pub fn told(&self) -> String {
        let mut text = self.to_string();
        let mut source = std::error::Error::source(self);
        while let Some(cause) = source {
            text.push_str(": ");
            text.push_str(&cause.to_string());
            source = cause.source();
        }
        tenure_sys::text::neutral(format!("{text}; {}", self.hint()).as_bytes(), 1000)
    }

    pub(crate) fn io(doing: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { doing, path, source }
    }

    pub(crate) fn transport(doing: &'static str, why: impl std::fmt::Display) -> Self {
        Self::Transport { doing, why: tenure_sys::text::neutral(why.to_string().as_bytes(), 300) }
    }
}
