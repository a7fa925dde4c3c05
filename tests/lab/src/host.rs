//! One host of a lab: commands, files, power, cable.

use std::process::{Child, Stdio};

use crate::run::{LIMIT, LabError, Output, call, script_command};
use crate::ssh::Family;

/// A host of a running lab.
#[derive(Debug, Clone)]
pub struct Host {
    lab: String,
    name: String,
}

/// A command that goes on inside a host; it ends when this value is dropped.
#[derive(Debug)]
pub struct Running {
    child: Child,
}

impl Host {
    pub(crate) fn new(lab: &str, name: &str) -> Self {
        Self { lab: lab.to_owned(), name: name.to_owned() }
    }

    /// The lab that it is in.
    pub(crate) fn lab(&self) -> &str {
        &self.lab
    }

    /// The host's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Runs a command as root inside the host and waits for its end, at most two minutes.
    pub fn exec(&self, argv: &[&str]) -> Result<Output, LabError> {
        self.exec_fed(argv, None, LIMIT)
    }

    /// Runs a command as root inside the host with `input` on its standard input, at most `limit` seconds.
    pub fn exec_fed(&self, argv: &[&str], input: Option<&[u8]>, limit: u32) -> Result<Output, LabError> {
        let mut words = vec!["exec", self.name.as_str()];
        words.extend(argv);
        call(&self.lab, &[], &words, input, limit)
    }

    /// Runs a line of shell as root inside the host.
    pub fn sh(&self, line: &str) -> Result<Output, LabError> {
        self.exec(&["sh", "-c", line])
    }

    /// Runs a command that has to succeed, and gives its standard output.
    pub fn must(&self, argv: &[&str]) -> Result<String, LabError> {
        let output = self.exec(argv)?;
        if output.ok() {
            return Ok(output.stdout);
        }
        Err(LabError::Failed {
            place: self.name.clone(),
            command: argv.join(" "),
            status: output.status,
            said: output.said(),
        })
    }

    /// Starts a command as root inside the host and does not wait.
    pub fn spawn(&self, argv: &[&str]) -> Result<Running, LabError> {
        self.start_by("exec", argv)
    }

    /// Starts a program of this machine in the host's network and does not wait. It has a `/tmp` of its own; whatever it
    /// has started ends with it.
    pub fn beside(&self, argv: &[&str]) -> Result<Running, LabError> {
        self.start_by("beside", argv)
    }

    fn start_by(&self, entrance: &str, argv: &[&str]) -> Result<Running, LabError> {
        let mut words = vec![entrance, self.name.as_str()];
        words.extend(argv);
        let child = script_command(&self.lab, &words)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|source| LabError::Start { program: argv.join(" "), source })?;
        Ok(Running { child })
    }

    /// Places a file inside the host in one rename, owned by root; folders above it are made. `mode` is octal text.
    pub fn put(&self, path: &str, bytes: &[u8], mode: &str) -> Result<(), LabError> {
        call(&self.lab, &[], &["push", &self.name, path, mode], Some(bytes), LIMIT)?.done("push")
    }

    /// The text of a file inside the host.
    pub fn get(&self, path: &str) -> Result<String, LabError> {
        self.must(&["cat", path])
    }

    /// The host's address.
    pub fn address(&self, family: Family) -> Result<String, LabError> {
        let number = match family {
            Family::V4 => "4",
            Family::V6 => "6",
        };
        let output = call(&self.lab, &[], &["address", &self.name, number], None, LIMIT)?;
        let text = output.stdout.trim().to_owned();
        output.done("address")?;
        Ok(text)
    }

    /// Cuts the power: every process of the host dies at once.
    pub fn kill(&self) -> Result<(), LabError> {
        self.order(&["kill", &self.name])
    }

    /// Shuts the host down in order.
    pub fn stop(&self) -> Result<(), LabError> {
        self.order(&["stop", &self.name])
    }

    /// Boots a host that is off and waits until it is up.
    pub fn start(&self) -> Result<(), LabError> {
        self.order(&["start", &self.name])
    }

    /// Shuts down and boots.
    pub fn reboot(&self) -> Result<(), LabError> {
        self.order(&["reboot", &self.name])
    }

    /// Pulls the cable.
    pub fn link_down(&self) -> Result<(), LabError> {
        self.order(&["linkdown", &self.name])
    }

    /// Plugs the cable.
    pub fn link_up(&self) -> Result<(), LabError> {
        self.order(&["linkup", &self.name])
    }

    /// Mounts a small ext4 of its own at `path`: to fill it, or where fsync has to count.
    pub fn disk(&self, path: &str, megabytes: u32) -> Result<(), LabError> {
        self.order(&["disk", &self.name, path, &megabytes.to_string()])
    }

    fn order(&self, words: &[&str]) -> Result<(), LabError> {
        call(&self.lab, &[], words, None, LIMIT)?.done(&words.join(" "))
    }
}

impl Running {
    /// True while the command has not ended.
    pub fn runs(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Already ended is as good as killed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
