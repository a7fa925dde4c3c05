//! sshd told to read its configuration, and waited for until it has: it reads late (it closes its sockets, starts itself
//! anew and opens them again), and a file that somebody breaks in that moment ends it.

use std::collections::BTreeSet;
use std::time::Duration;

use tenure_areas::port::{PortError, PortResult};
use tenure_sys::clock;
use tenure_sys::command::{Program, capture};

use super::{fault, sock_diag};
use crate::sockets::{self, State};

/// How long it is waited for; a busy machine needs a second or two.
const PATIENCE: Duration = Duration::from_secs(15);
/// Sockets that are still the same after this time are systemd's own, handed to sshd (ssh.socket): then it is enough that
/// somebody listens.
const SAME_SOCKETS: Duration = Duration::from_secs(5);
const LOOK: Duration = Duration::from_millis(20);
const DOING: &str = "asking sshd to read its configuration again";

/// Reloads sshd and returns once it listens with what it has read.
pub(super) fn reload() -> PortResult<()> {
    let pid = main_pid()?;
    let before = listening(pid);
    // Debian's name of the unit; sshd.service is only an alias there.
    systemctl(&["reload", "ssh.service"])?;
    let asked = clock::monotonic();
    loop {
        let waited = clock::monotonic().saturating_sub(asked);
        if pid == 0 || is_back(waited, &before, &listening(pid)) {
            return Ok(());
        }
        if waited >= PATIENCE {
            let why = format!(
                "sshd does not listen {} s after it was told to: look at `systemctl status ssh` and `sshd -t`",
                waited.as_secs()
            );
            return Err(PortError::Failed { doing: DOING.into(), why });
        }
        std::thread::sleep(LOOK);
    }
}

/// Has it read its configuration? Then it listens again, on other sockets.
fn is_back(waited: Duration, before: &BTreeSet<u64>, now: &BTreeSet<u64>) -> bool {
    !now.is_empty() && (now.is_disjoint(before) || waited >= SAME_SOCKETS)
}

/// The inodes of the sockets on which a process waits for connections.
fn listening(pid: u32) -> BTreeSet<u64> {
    let waiting = sock_diag::listening().or_else(|_| sockets::tcp()).unwrap_or_default();
    let waiting: BTreeSet<u64> =
        waiting.iter().filter(|s| s.state == State::Listening).map(|s| s.inode).collect();
    sockets::inodes(pid).into_iter().map(|(_, inode)| inode).filter(|inode| waiting.contains(inode)).collect()
}

/// 0 when systemd starts one sshd for each connection, which reads its configuration anew every time.
fn main_pid() -> PortResult<u32> {
    let out = systemctl(&["show", "--property=MainPID", "--value", "ssh.service"])?;
    Ok(String::from_utf8_lossy(&out).trim().parse().unwrap_or(0))
}

fn systemctl(args: &[&str]) -> PortResult<Vec<u8>> {
    let program = Program::new("/usr/bin/systemctl", args).timeout(Duration::from_secs(30));
    capture(&program).and_then(|out| out.success()).map_err(|e| fault::command(DOING, &e))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_back_when_other_sockets_listen() {
        let (soon, late) = (Duration::from_millis(50), SAME_SOCKETS);
        let old = BTreeSet::from([10, 11]);
        for (what, now, waited, back) in [
            ("not told yet", vec![10, 11], soon, false),
            ("one of two opened again", vec![20, 11], soon, false),
            ("gone", vec![], soon, false),
            ("gone for good", vec![], late, false),
            ("back", vec![20, 21], soon, true),
            ("systemd's own sockets", vec![10, 11], late, true),
        ] {
            assert_eq!(is_back(waited, &old, &now.into_iter().collect()), back, "{what}");
        }
    }
}
