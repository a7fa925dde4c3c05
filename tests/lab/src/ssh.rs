//! Real logins from one host to another, by OpenSSH's own client.

use crate::host::Host;
use crate::run::{LabError, Output};

/// Which of a host's two addresses is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// Both, for matrices.
    pub const BOTH: [Self; 2] = [Self::V4, Self::V6];
}

/// What the client shows to the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SshAs<'a> {
    /// The private key at this path inside the client host.
    Key(&'a str),
    /// This password.
    Password(&'a str),
}

/// What became of a login.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Login {
    /// The command ran on the other side.
    In(Output),
    /// The server answered and said no.
    Refused(String),
    /// Nothing answered within the limit, or the connection was refused.
    Unreachable(String),
}

impl Login {
    /// True when the command ran on the other side.
    #[must_use]
    pub fn is_in(&self) -> bool {
        matches!(self, Self::In(_))
    }
}

impl Host {
    /// Logs in to `to` as `user` and runs `true`. The host key is known beforehand; a try ends after six seconds.
    pub fn ssh(&self, to: &Host, user: &str, with: SshAs<'_>, family: Family) -> Result<Login, LabError> {
        self.ssh_run(to, user, with, family, "true")
    }

    /// Logs in to `to` as `user` and runs a command line there.
    pub fn ssh_run(
        &self,
        to: &Host,
        user: &str,
        with: SshAs<'_>,
        family: Family,
        line: &str,
    ) -> Result<Login, LabError> {
        let target = format!("{user}@{}", to.address(family)?);
        let mut argv = vec!["timeout", "20"];
        match with {
            SshAs::Key(path) => argv.extend([
                "ssh",
                "-i",
                path,
                "-o",
                "BatchMode=yes",
                "-o",
                "PreferredAuthentications=publickey",
            ]),
            SshAs::Password(word) => argv.extend([
                "sshpass",
                "-p",
                word,
                "ssh",
                "-o",
                "PubkeyAuthentication=no",
                "-o",
                "NumberOfPasswordPrompts=1",
                "-o",
                "PreferredAuthentications=password,keyboard-interactive",
            ]),
        }
        argv.extend([
            "-o",
            "IdentitiesOnly=yes",
            "-o",
            "StrictHostKeyChecking=yes",
            "-o",
            "ConnectTimeout=6",
        ]);
        argv.extend(["-o", "LogLevel=ERROR", &target, line]);
        let output = self.exec(&argv)?;
        Ok(judge(output))
    }
}

/// ssh ends with 255 for its own failures, sshpass with 5 for a refused password; all else is the remote command's.
fn judge(output: Output) -> Login {
    let said = output.stderr.trim().to_owned();
    match output.status {
        255 if said.contains("Permission denied") || said.contains("Connection closed by") => {
            Login::Refused(said)
        }
        5 => Login::Refused(said),
        124 | 255 => Login::Unreachable(said),
        _ => Login::In(output),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(status: i32, stderr: &str) -> Login {
        judge(Output { status, stdout: String::new(), stderr: stderr.to_owned() })
    }

    #[test]
    fn a_refusal_is_told_from_silence() {
        assert!(ended(0, "").is_in());
        assert!(ended(3, "exit of the remote command").is_in());
        assert!(matches!(ended(255, "admin@10.77.0.11: Permission denied (publickey)."), Login::Refused(_)));
        assert!(matches!(ended(5, "Permission denied, please try again."), Login::Refused(_)));
        assert!(matches!(
            ended(255, "ssh: connect to host web1 port 22: Connection timed out"),
            Login::Unreachable(_)
        ));
        assert!(matches!(ended(124, ""), Login::Unreachable(_)));
    }
}
