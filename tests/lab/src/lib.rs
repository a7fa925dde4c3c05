//! A lab of real Debian hosts on one machine, for scenarios, the demo and benchmarks: drives `lab.sh` beside it.
//!
//! A [`Lab`] is brought down when it is dropped, unless it was [kept](Lab::keep).

mod forward;
mod host;
mod run;
mod ssh;
mod stopwatch;

use std::path::{Path, PathBuf};

pub use forward::Forward;
pub use host::{Host, Running};
pub use run::{LabError, Output, run, run_in};
pub use ssh::{Family, Login, SshAs};
pub use stopwatch::{Stopwatch, wait_for};

use run::{LIMIT, call};

/// The script that makes hosts.
#[must_use]
pub fn script() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("lab.sh")
}

/// The root of the repository that these tests were built from.
#[must_use]
pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// A running lab: named hosts behind one switch.
#[derive(Debug)]
pub struct Lab {
    name: String,
    kept: bool,
}

/// How a lab differs from the usual one.
#[derive(Debug, Default, Clone)]
pub struct Options {
    /// Debian packages beside the usual ones, installed once into a second cached layer.
    pub packages: Vec<String>,
    /// True: the lab belongs to nobody and stays when this process ends.
    pub keep: bool,
}

impl Lab {
    /// Starts hosts, each `NAME` or `NAME=IPV4,IPV6`, in a lab of this process called `topic`.
    ///
    /// Labs whose process was killed before it could tidy up are removed first.
    pub fn up(topic: &str, hosts: &[&str]) -> Result<Self, LabError> {
        let options = Options::default();
        Self::up_with(&format!("{topic}-{}", std::process::id()), hosts, &options)
    }

    /// Starts hosts in a lab called exactly `name`; an older lab of that name is brought down first.
    pub fn up_with(name: &str, hosts: &[&str], options: &Options) -> Result<Self, LabError> {
        let lab = Self { name: name.to_owned(), kept: options.keep };
        let owner = if options.keep { String::new() } else { std::process::id().to_string() };
        let settings = [("LAB_OWNER", owner.as_str()), ("LAB_EXTRA", &options.packages.join(","))];
        call(name, &settings, &["prune"], None, LIMIT)?.done("prune")?;
        call(name, &settings, &["down"], None, LIMIT)?.done("down")?;
        let mut words = vec!["up"];
        words.extend(hosts);
        // The first lab on a machine also builds the cached root, from the package archive.
        call(name, &settings, &words, None, 900)?.done("up")?;
        Ok(lab)
    }

    /// The lab called `name` that somebody else has brought up; it stays when this value is dropped.
    #[must_use]
    pub fn attach(name: &str) -> Self {
        Self { name: name.to_owned(), kept: true }
    }

    /// Leaves the lab running when this value is dropped.
    pub fn keep(&mut self) {
        self.kept = true;
    }

    /// The lab's name, as `LAB=` for `lab.sh`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The host called `name`; commands on a name that does not exist fail.
    #[must_use]
    pub fn host(&self, name: &str) -> Host {
        Host::new(&self.name, name)
    }

    /// Runs a command at the switch, where no host's firewall is in between.
    pub fn at_switch(&self, argv: &[&str]) -> Result<Output, LabError> {
        let mut words = vec!["net"];
        words.extend(argv);
        call(&self.name, &[], &words, None, LIMIT)
    }

    /// Cuts two hosts off from each other, both ways.
    pub fn part(&self, one: &str, other: &str) -> Result<(), LabError> {
        self.order(&["part", one, other])
    }

    /// Undoes every cut and plugs every cable.
    pub fn heal(&self) -> Result<(), LabError> {
        self.order(&["heal"])
    }

    /// Makes `server` serve a Debian-Security archive in which each client has one pending update, which came out
    /// `days` ago; the clients' package lists are fresh.
    pub fn archive(&self, server: &str, clients: &[&str], days: u32) -> Result<(), LabError> {
        let mut words = vec!["archive", server];
        words.extend(clients);
        let age = days.to_string();
        call(&self.name, &[("LAB_ARCHIVE_AGE", age.as_str())], &words, None, LIMIT)?.done("archive")
    }

    /// Removes the lab and everything it made on this machine, the cached root excepted.
    pub fn down(self) -> Result<(), LabError> {
        self.order(&["down"])
    }

    fn order(&self, words: &[&str]) -> Result<(), LabError> {
        call(&self.name, &[], words, None, LIMIT)?.done(words[0])
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if !self.kept {
            // A lab that cannot be removed now is removed by the next `up` (prune).
            let _ = call(&self.name, &[], &["down"], None, LIMIT);
        }
    }
}
