//! What is seen of SSH access on a host: normalised, sorted, every text of the host neutralised.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::num::NonZeroU32;

use serde::{Deserialize, Serialize};
use tenure_trust::Hash;

use super::config::{Reading, Setting};
use super::effective::Settings;
use super::others::OtherServer;
use super::state::Record;
use crate::ssh_servers::SshServer;

/// The facts of the area.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Facts {
    /// How sshd reads our drop-in.
    pub reading: Reading,
    /// Settings of other files that concern us and stand before ours or in a Match block.
    pub rivals: Vec<Setting>,
    /// Settings about logins in Match blocks of files that are not ours.
    pub in_match: Vec<Setting>,
    /// How many more of them there are.
    pub in_match_more: u32,
    /// Includes of files outside of the drop-ins' directory.
    pub elsewhere: Vec<String>,
    /// Includes that could not be followed, and why.
    pub unread: Vec<String>,
    /// Where the system's sshd listens.
    pub servers: Vec<SshServer>,
    /// Other SSH servers.
    pub other_servers: Vec<OtherServer>,
    /// Our drop-in.
    pub drop_in: Managed,
    /// Our key files by name (which is the account's).
    pub key_files: BTreeMap<String, Managed>,
    /// Owner and mode of our directories and those above where sshd would not believe key files below them.
    pub directories: Vec<Place>,
    /// With which drop-in sshd last read its configuration at our asking.
    pub reloaded: Option<Hash>,
    /// What stood at our places before the first change; absent before that.
    pub before: Option<Before>,
    /// The trial under way, what was proved and what was given up.
    pub record: Record,
    /// Accounts of logins, and others that could log in: those with a shell and a password or a key.
    pub accounts: BTreeMap<String, Account>,
    /// Accounts that could log in but were too many to ask sshd about.
    pub not_asked: u32,
    /// Networks of logins from which sshd was not asked about their accounts: there are too many. Facts of earlier agents do
    /// not tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub networks_not_asked: Option<NonZeroU32>,
    /// What sshd says for each account and address.
    pub probes: Vec<Probe>,
    /// The distinct answers, by the name that [`Probe::answer`] gives.
    pub answers: BTreeMap<String, Answer>,
    /// Keys outside of our directory.
    pub other_keys: Vec<OtherKey>,
    /// Files that would hold keys or settings and are not to be trusted or not to be read.
    pub untrusted: Vec<Place>,
}

/// A file in a place of ours.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Managed {
    /// There is none.
    Absent,
    /// Something that is not a file of root's that root alone can write.
    Untrusted(Place),
    /// A file.
    Seen(Seen),
}

/// A file of ours as seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Seen {
    /// SHA-256 of its bytes.
    pub hash: Hash,
    /// Its text; bytes that are not UTF-8 are replaced.
    pub text: String,
    /// Permission bits.
    pub mode: u32,
    /// Last modification, seconds since 1970.
    pub mtime: i64,
}

impl Managed {
    /// Last modification, where something stands there.
    pub fn mtime(&self) -> Option<i64> {
        match self {
            Self::Absent => None,
            Self::Untrusted(place) => place.mtime,
            Self::Seen(seen) => Some(seen.mtime),
        }
    }

    /// The text, of a file that can be believed.
    pub fn text(&self) -> Option<&str> {
        match self {
            Self::Seen(seen) => Some(&seen.text),
            _ => None,
        }
    }

    /// The permission bits, of a file that can be believed.
    pub fn mode(&self) -> Option<u32> {
        match self {
            Self::Seen(seen) => Some(seen.mode),
            _ => None,
        }
    }
}

/// A place with something wrong about it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Place {
    /// Path.
    pub path: String,
    /// What is wrong.
    pub why: String,
    /// Last modification, seconds since 1970.
    pub mtime: Option<i64>,
}

/// What stood at our places before the first change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub struct Before {
    /// The drop-in's text.
    pub drop_in: Option<String>,
    /// The drop-in's permission bits.
    #[serde(default)]
    pub drop_in_mode: Option<u32>,
    /// Key files by name.
    pub key_files: BTreeMap<String, String>,
}

/// An account that could log in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Account {
    /// User id.
    pub uid: u32,
    /// Home directory.
    pub home: String,
    /// Is its shell one?
    pub login_shell: bool,
    /// Has it a password that can be typed?
    pub password: bool,
}

/// One question to sshd.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Probe {
    /// Account.
    pub account: String,
    /// Client's address.
    pub addr: IpAddr,
    /// This end's address.
    pub local: IpAddr,
    /// This end's port.
    pub port: u16,
    /// Should the policy let this account in from there (while its login lasts)?
    pub listed: bool,
    /// Name in [`Facts::answers`].
    pub answer: String,
}

/// sshd's answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// Its effective settings.
    Settings(Settings),
    /// None: it does not accept its own configuration, or it could not be asked.
    Refused(String),
}

/// A key that sshd could read outside of our directory.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OtherKey {
    /// Whose home or key file.
    pub account: String,
    /// File.
    pub path: String,
    /// Line, from 1.
    pub line: u32,
    /// Key type.
    pub kind: String,
    /// `SHA256:…`.
    pub fingerprint: String,
    /// Comment.
    pub comment: String,
    /// Its `from=` option.
    pub from: Option<String>,
    /// Last modification of the file, seconds since 1970.
    pub mtime: Option<i64>,
}

impl Facts {
    /// The answer to a probe.
    pub fn answer(&self, probe: &Probe) -> Option<&Answer> {
        self.answers.get(&probe.answer)
    }

    /// What sshd says for an account from anywhere it was asked about, strangers first.
    pub fn settings_of<'a>(&'a self, account: &'a str) -> impl Iterator<Item = (&'a Probe, &'a Settings)> {
        let mut probes: Vec<_> = self.probes.iter().filter(|p| p.account == account).collect();
        probes.sort_by_key(|p| p.listed);
        probes.into_iter().filter_map(|probe| match self.answer(probe) {
            Some(Answer::Settings(settings)) => Some((probe, settings)),
            _ => None,
        })
    }
}
