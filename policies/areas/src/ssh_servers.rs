//! SSH servers that wait for connections, whatever they are called in the policy: which process, where, by whose configuration.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use tenure_trust::neutral_bytes;

use crate::area::Unknown;
use crate::port::{HostRead, Query, Waiting};

/// The port that the policy opens for SSH (docs/policy.md, rule 6).
pub const SSH: u16 = 22;
/// The system's own server.
const SSHD: &str = "/usr/sbin/sshd";
/// Sockets that are looked at, and servers that are kept.
const MAX_SOCKETS: usize = 20_000;
const MAX_SERVERS: usize = 100;

/// An SSH server on one address and port.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SshServer {
    /// Port.
    pub port: u16,
    /// Address; the unspecified ones mean all.
    pub address: IpAddr,
    /// Process id.
    pub pid: u32,
    /// The process's name, neutralised.
    pub comm: String,
    /// The file that it runs, neutralised.
    pub exe: String,
    /// The configuration file or setting (`-f`, `-o`) that it was started with besides the system's.
    pub other_config: Option<String>,
}

impl SshServer {
    /// Is it the system's sshd with the system's configuration?
    pub fn is_system(&self) -> bool {
        self.other_config.is_none() && self.exe.strip_suffix(" (deleted)").unwrap_or(&self.exe) == SSHD
    }
}

/// The servers that wait now, sorted. One that systemd holds the socket for is not seen: nothing tells what it would start.
///
/// # Errors
/// [`Unknown`] when the kernel's sockets cannot be read.
pub fn seen(host: &dyn HostRead) -> Result<Vec<SshServer>, Unknown> {
    const DOING: &str = "looking which SSH servers listen";
    let bytes = host.ask(&Query::TcpListeners).map_err(|error| Unknown::from_port(DOING, &error))?;
    parse(&bytes).map_err(|error| Unknown::new(DOING, error))
}

/// Reads the answer to [`Query::TcpListeners`].
///
/// # Errors
/// When a line has not the documented form.
pub fn parse(bytes: &[u8]) -> Result<Vec<SshServer>, serde_json::Error> {
    let lines = bytes.split(|b| *b == b'\n').filter(|line| !line.is_empty()).take(MAX_SOCKETS);
    let mut servers = Vec::new();
    for line in lines {
        servers.extend(server(serde_json::from_slice(line)?));
    }
    servers.sort();
    servers.dedup();
    servers.truncate(MAX_SERVERS);
    Ok(servers)
}

/// On which ports management can come in, as far as sshd goes: those of the system's sshd that others can reach; where it does not
/// listen at all, those of any other server. Empty when none listens.
pub fn ports(servers: &[SshServer]) -> Vec<u16> {
    let outward = |server: &&SshServer| !server.address.is_loopback();
    let of = |system: bool| -> Vec<u16> {
        servers.iter().filter(outward).filter(|s| !system || s.is_system()).map(|s| s.port).collect()
    };
    let mut ports = of(true);
    if ports.is_empty() {
        ports = of(false);
    }
    ports.sort_unstable();
    ports.dedup();
    ports
}

fn server(socket: Waiting) -> Option<SshServer> {
    let Waiting { port, address, by } = socket;
    let by = by?;
    let file = by.exe.rsplit('/').next().unwrap_or_default();
    let named = |name: &str| ["sshd", "dropbear", "lshd"].iter().any(|word| name.contains(word));
    if !named(&by.comm) && !named(file) {
        return None;
    }
    // A session's forwarded port (X11, -R) is no server; only the one that waits calls itself a listener (measured, 9.2).
    if by.args.starts_with("sshd: ") && !by.args.contains("[listener]") {
        return None;
    }
    let text = |text: &str| neutral_bytes(text.as_bytes(), 200);
    let other_config = other_config(&by.args).map(|config| text(&config));
    Some(SshServer { port, address, pid: by.pid, comm: text(&by.comm), exe: text(&by.exe), other_config })
}

/// `-f FILE` or `-o OPTION`, also written in one word.
fn other_config(args: &str) -> Option<String> {
    let mut words = args.split_whitespace();
    while let Some(word) = words.next() {
        let Some(letters) = word.strip_prefix('-').filter(|l| !l.starts_with('-')) else { continue };
        // Flags without a value may stand before it: `-Def FILE`.
        let Some(at) = letters.find(['f', 'o']) else { continue };
        if !letters[..at]
            .chars()
            .all(|c| matches!(c, '4' | '6' | 'D' | 'd' | 'e' | 'i' | 'q' | 't' | 'T' | 'G'))
        {
            continue;
        }
        let (flag, value) = letters[at..].split_at(1);
        let value = if value.is_empty() { words.next().unwrap_or_default() } else { value };
        return Some(format!("-{flag} {value}"));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::port::Holder;

    fn line(address: &str, port: u16, exe: &str, args: &str) -> String {
        let comm = exe.rsplit('/').next().unwrap().into();
        let by = Some(Holder { pid: 7, comm, exe: exe.into(), args: args.into() });
        let socket = Waiting { port, address: address.parse().unwrap(), by };
        serde_json::to_string(&socket).unwrap() + "\n"
    }

    const TITLE: &str = "sshd: /usr/sbin/sshd -D [listener] 0 of 10-100 startups";

    #[test]
    fn servers_are_told_from_sessions_and_from_others() {
        let lines = [
            line("0.0.0.0", 22, SSHD, TITLE),
            line("::", 22, SSHD, TITLE),
            line("127.0.0.1", 6010, SSHD, "sshd: admin@pts/0"),
            line(
                "0.0.0.0",
                2222,
                SSHD,
                "sshd: /usr/sbin/sshd -Df /etc/ssh/two [listener] 0 of 10-100 startups",
            ),
            line("0.0.0.0", 2223, "/usr/sbin/dropbear", "/usr/sbin/dropbear -p 2223 -W 65536"),
            line("0.0.0.0", 443, "/usr/sbin/nginx", "nginx: master process"),
            "{\"port\":80,\"address\":\"::\",\"by\":null}\n".into(),
        ];
        let servers = parse(lines.concat().as_bytes()).unwrap();
        let shown: Vec<_> =
            servers.iter().map(|s| (s.port, s.is_system(), s.other_config.as_deref())).collect();
        let two = Some("-f /etc/ssh/two");
        assert_eq!(shown, [(22, true, None), (22, true, None), (2222, false, two), (2223, false, None)]);
        assert_eq!(ports(&servers), [22]);
        assert_eq!(ports(&servers[2..]), [2222, 2223], "without the system's sshd any may be the way in");
        assert!(parse(b"{}").is_err());
    }

    #[test]
    fn options_that_bring_another_configuration_are_seen() {
        for (args, other) in [
            (TITLE, None),
            ("/usr/sbin/sshd -p 2222", None),
            ("/usr/sbin/sshd -ddf two", Some("-f two")),
            ("/usr/sbin/sshd -oPasswordAuthentication=yes", Some("-o PasswordAuthentication=yes")),
            ("/usr/sbin/sshd -E /var/log/fo", None),
            ("/usr/sbin/sshd --foo", None),
        ] {
            assert_eq!(other_config(args).as_deref(), other, "{args}");
        }
    }
}
