//! The confirm rule: only somebody who got in after the switch proves that people still get in.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use tenure_areas::addresses;
use tenure_areas::port::HostRead;
use tenure_policy::resolved::Protocol;
use tenure_sys::proc::Process;
use tenure_sys::text;
use tenure_trust::HostName;

use crate::sockets::{self, Socket};

/// Clock ticks of `/proc/PID/stat` are hundredths of a second on every Linux (proc(5): sysconf(_SC_CLK_TCK)).
const MS_PER_TICK: u64 = 10;

/// Who confirms.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Confirmer {
    /// The account, as sshd or the console knows it; neutralised.
    pub account: Option<String>,
    /// From which address; none at the console.
    pub from: Option<IpAddr>,
    /// The host that connected anew instead of a person.
    pub prober: Option<HostName>,
}

impl std::fmt::Display for Confirmer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let Some(prober) = &self.prober {
            return write!(f, "{prober}, which connected anew");
        }
        let account = self.account.as_deref().unwrap_or("root");
        match self.from {
            Some(from) => write!(f, "{account} from {from}"),
            None => write!(f, "{account} at the console"),
        }
    }
}

/// Why somebody may not confirm.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotNew {
    /// The process ended before it was looked at.
    #[error("the process that asks (pid {pid}) cannot be looked at")]
    Gone {
        /// Its id.
        pid: u32,
    },
    /// The SSH session is older than the switch: it would live on behind any ruleset.
    #[error(
        "this SSH session was opened {before_ms} ms before the switch and would have survived a lock-out too"
    )]
    OldSession {
        /// How much older it is, in milliseconds.
        before_ms: u64,
    },
    /// The session comes from the host itself.
    #[error("this SSH session comes from the host itself ({from}), so it did not pass the new rules")]
    FromItself {
        /// The address.
        from: IpAddr,
    },
    /// The client's address is not known.
    #[error("the address that this SSH session comes from cannot be told")]
    NoAddress,
    /// A console session that is older than the switch.
    #[error("this console session was opened before the switch")]
    OldConsole,
    /// Neither an SSH session nor a console.
    #[error(
        "this is neither an SSH session nor a console (a terminal inside tmux or screen, a job, a service)"
    )]
    Neither,
}

impl NotNew {
    /// What to do next.
    pub fn hint(&self) -> &'static str {
        "open a new SSH session from where you will need to reach this host, and run `tenure-agent confirm` there; if \
         it does not open, do nothing: the kernel falls back by itself"
    }
}

/// Looks up who the process `pid` belongs to and whether they came in after the switch (milliseconds since boot).
///
/// # Errors
/// [`NotNew`] that says why it proves nothing.
pub fn confirmer(pid: u32, switched_ms: u64, host: &dyn HostRead) -> Result<Confirmer, NotNew> {
    let process = Process::read(pid).map_err(|_| NotNew::Gone { pid })?;
    let mut line = vec![member(&process)];
    line.extend(process.ancestors().iter().map(member));
    let leader = Process::read(process.session).ok().map(|p| member(&p));
    // Where they cannot be told any address might be this host's own.
    let own = addresses::own(host).ok();
    let is_own = |from: IpAddr| own.as_ref().is_none_or(|own| own.contains(&from));
    judge(&line, leader.as_ref(), switched_ms, &|pid| sockets::connection_of(pid), &is_own)
}

/// A process as the rule sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Member {
    pid: u32,
    comm: String,
    title: String,
    started_ms: u64,
    /// Device number of its terminal, 0 for none.
    terminal: i32,
}

fn member(process: &Process) -> Member {
    let cmdline = process.cmdline().unwrap_or_default();
    Member {
        pid: process.pid,
        comm: text::neutral(&process.comm, 32),
        // sshd writes what it does over its arguments.
        title: text::neutral(cmdline.split(|b| *b == 0).next().unwrap_or_default(), 200),
        started_ms: process.started.saturating_mul(MS_PER_TICK),
        terminal: process.terminal,
    }
}

impl Member {
    /// One of the processes that serve one SSH connection: not the one that listens for all.
    fn serves_ssh(&self) -> bool {
        let listener = self.title.contains("[listener]") || !self.title.starts_with("sshd: ");
        matches!(self.comm.as_str(), "sshd" | "sshd-session") && !listener
    }

    /// `sshd: admin@pts/0` or `sshd: admin [priv]`.
    fn account(&self) -> Option<String> {
        let name = self.title.strip_prefix("sshd: ")?.split([' ', '@', '[']).next()?;
        (!name.is_empty()).then(|| name.to_owned())
    }

    /// A real console: the terminals of the kernel's major numbers 4 (tty, ttyS), 5 (console), 204 (ttyAMA), 229 (hvc);
    /// pseudo terminals, which anybody can make at any time, have 136 to 143 (devices.txt).
    fn on_console(&self) -> bool {
        let major = (self.terminal >> 8) & 0xfff;
        matches!(major, 4 | 5 | 204 | 229)
    }
}

fn judge(
    line: &[Member],
    leader: Option<&Member>,
    switched_ms: u64,
    connection: &dyn Fn(u32) -> Option<Socket>,
    is_own: &dyn Fn(IpAddr) -> bool,
) -> Result<Confirmer, NotNew> {
    let sessions: Vec<&Member> = line.iter().filter(|m| m.serves_ssh()).collect();
    let Some(oldest) = sessions.iter().map(|m| m.started_ms).min() else {
        let leader = leader.filter(|l| l.on_console()).ok_or(NotNew::Neither)?;
        return if leader.started_ms > switched_ms {
            Ok(Confirmer { account: None, from: None, prober: None })
        } else {
            Err(NotNew::OldConsole)
        };
    };
    if oldest <= switched_ms {
        return Err(NotNew::OldSession { before_ms: switched_ms - oldest });
    }
    let socket = sessions
        .iter()
        .find_map(|m| connection(m.pid).filter(|s| s.protocol == Protocol::Tcp))
        .ok_or(NotNew::NoAddress)?;
    let from = socket.remote.ip();
    if from.is_loopback() || from == socket.local.ip() || is_own(from) {
        return Err(NotNew::FromItself { from });
    }
    let account = sessions.iter().find_map(|m| m.account());
    Ok(Confirmer { account, from: Some(from), prober: None })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sockets::State;

    const PTS: i32 = 136 << 8;
    const TTY1: i32 = 4 << 8 | 1;

    fn one(pid: u32, comm: &str, title: &str, started_ms: u64, terminal: i32) -> Member {
        Member { pid, comm: comm.into(), title: title.into(), started_ms, terminal }
    }

    fn by_ssh(opened_ms: u64) -> Vec<Member> {
        vec![
            one(50, "tenure-agent", "tenure-agent confirm", opened_ms + 900, PTS),
            one(40, "bash", "-bash", opened_ms + 500, PTS),
            one(31, "sshd", "sshd: admin@pts/0", opened_ms + 400, 0),
            one(30, "sshd", "sshd: admin [priv]", opened_ms, 0),
            one(10, "sshd", "sshd: /usr/sbin/sshd -D [listener] 0 of 10-100 startups", 20, 0),
            one(1, "systemd", "/sbin/init", 1, 0),
        ]
    }

    fn own(address: IpAddr) -> bool {
        address.to_string() == "198.51.100.11"
    }

    fn from(remote: &str, local: &str) -> impl Fn(u32) -> Option<Socket> {
        let (remote, local) = (remote.parse().expect("address"), local.parse().expect("address"));
        move |pid| {
            (pid == 31).then_some(Socket {
                protocol: Protocol::Tcp,
                local,
                remote,
                state: State::Established,
                inode: 1,
            })
        }
    }

    #[test]
    fn a_session_opened_after_the_switch_from_elsewhere_confirms() {
        let elsewhere = from("10.77.0.1:51000", "10.77.0.11:22");
        let who = judge(&by_ssh(5000), None, 4000, &elsewhere, &own).expect("new");
        assert_eq!(who.to_string(), "admin from 10.77.0.1");
    }

    #[test]
    fn an_older_session_does_not_even_with_a_younger_shell() {
        let elsewhere = from("10.77.0.1:51000", "10.77.0.11:22");
        assert_eq!(
            judge(&by_ssh(5000), None, 5200, &elsewhere, &own),
            Err(NotNew::OldSession { before_ms: 200 }),
            "authenticated after the switch, but connected before"
        );
        assert!(matches!(judge(&by_ssh(5000), None, 5000, &elsewhere, &own), Err(NotNew::OldSession { .. })));
    }

    #[test]
    fn a_session_from_the_host_to_itself_proves_nothing() {
        for (remote, local) in [
            ("127.0.0.1:4000", "127.0.0.1:22"),
            ("[::1]:4000", "[::1]:22"),
            ("10.77.0.11:4000", "10.77.0.11:22"),
            ("198.51.100.11:4000", "10.77.0.11:22"),
        ] {
            let result = judge(&by_ssh(5000), None, 4000, &from(remote, local), &own);
            assert!(matches!(result, Err(NotNew::FromItself { .. })), "{remote}: {result:?}");
        }
        assert_eq!(judge(&by_ssh(5000), None, 4000, &|_| None, &own), Err(NotNew::NoAddress));
    }

    #[test]
    fn a_console_counts_and_a_terminal_of_somebodys_making_does_not() {
        let line = |terminal| vec![one(50, "tenure-agent", "tenure-agent confirm", 6000, terminal)];
        let shell = |started, terminal| one(40, "bash", "-bash", started, terminal);
        let none = |_| None;
        let confirmed = judge(&line(TTY1), Some(&shell(5000, TTY1)), 4000, &none, &own).expect("new console");
        assert_eq!(confirmed, Confirmer { account: None, from: None, prober: None });
        assert_eq!(judge(&line(TTY1), Some(&shell(3000, TTY1)), 4000, &none, &own), Err(NotNew::OldConsole));
        assert_eq!(
            judge(&line(PTS), Some(&shell(5000, PTS)), 4000, &none, &own),
            Err(NotNew::Neither),
            "a window of tmux opened after the switch by somebody who got in before it"
        );
        assert_eq!(judge(&line(0), Some(&shell(5000, 0)), 4000, &none, &own), Err(NotNew::Neither), "a job");
        assert_eq!(judge(&line(0), None, 4000, &none, &own), Err(NotNew::Neither));
    }

    #[test]
    fn a_listener_is_no_session() {
        assert!(!one(1, "sshd", "/usr/sbin/sshd -D", 1, 0).serves_ssh());
        assert!(!one(1, "bash", "sshd: admin@pts/0", 1, 0).serves_ssh(), "a name that it gave itself");
        assert!(one(1, "sshd-session", "sshd: admin@pts/0", 1, 0).serves_ssh());
    }
}
