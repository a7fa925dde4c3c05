//! The programs and the kernel that the areas need, with their versions.

use std::path::Path;

use tenure_sys::command::{self, Program, capture};
use tenure_sys::text;

use super::Check;
use crate::journal;
use crate::linux::nftables;

/// A program that is needed.
struct Need {
    name: &'static str,
    path: &'static str,
    /// What makes it tell its version.
    ask: &'static str,
    /// What stands before the version.
    before: &'static str,
    /// The oldest version that the lab's hosts have shown to work.
    tried: (u32, u32, u32),
    without: &'static str,
}

const NEEDS: [Need; 3] = [
    Need {
        name: "nft",
        path: "/usr/sbin/nft",
        ask: "--version",
        before: "nftables v",
        tried: (1, 0, 6),
        without: "install nftables: without it no ruleset can be loaded",
    },
    Need {
        name: "sshd",
        path: "/usr/sbin/sshd",
        // Not an option of older ones, which then tell it with their usage.
        ask: "-V",
        before: "OpenSSH_",
        tried: (9, 2, 0),
        without: "install openssh-server, or leave `access` out of this host's policy",
    },
    Need {
        name: "apt",
        path: "/usr/bin/apt-get",
        ask: "--version",
        before: "apt ",
        tried: (2, 6, 0),
        without: "only Debian's package lists are read today: leave `patch` out of this host's policy",
    },
];

/// Every program.
pub(super) fn all() -> Vec<Check> {
    NEEDS.iter().map(look).collect()
}

fn look(need: &Need) -> Check {
    if !command::exists(Path::new(need.path)) {
        return Check::fail(need.name, format!("there is no {}", need.path), need.without);
    }
    match capture(&Program::new(need.path, [need.ask])) {
        Ok(out) => judge(need, &[out.stdout, out.stderr].concat()),
        Err(e) => Check::unknown(need.name, journal::chain(&e), "start it by hand and see"),
    }
}

fn judge(need: &Need, said: &[u8]) -> Check {
    let said = String::from_utf8_lossy(said);
    let at = said.find(need.before).map(|at| &said[at + need.before.len()..]);
    let word = at.and_then(|rest| rest.split([' ', ',', '\n']).next()).unwrap_or_default();
    let Some(version) = version(word) else {
        let what = format!("{} does not tell its version", need.path);
        return Check::unknown(need.name, what, "start it by hand and see");
    };
    let word = text::neutral(word.as_bytes(), 40);
    if version < need.tried {
        let (a, b, c) = need.tried;
        let what = format!("{word}: nothing older than {a}.{b}.{c} was ever tried");
        return Check::warn(need.name, what, "try it on a host that does not matter first");
    }
    Check::ok(need.name, word)
}

/// `1.0.6`, `9.2p1`, `2.6.1`: the numbers in front.
fn version(word: &str) -> Option<(u32, u32, u32)> {
    let end = word.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(word.len());
    let mut numbers = word[..end].split('.').map(str::parse::<u32>);
    let first = numbers.next()?.ok()?;
    let mut next = || numbers.next().and_then(Result::ok).unwrap_or(0);
    Some((first, next(), next()))
}

/// Does the kernel answer about its packet filter?
pub(super) fn kernel() -> Check {
    match nftables::generation() {
        Ok(_) => Check::ok("kernel", "nf_tables answers"),
        Err(e) => Check::fail(
            "kernel",
            format!("nf_tables does not answer: {}", journal::chain(&e)),
            "`modprobe nf_tables`; in a container the machine around it must give CAP_NET_ADMIN",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Level;

    #[test]
    fn versions_are_read_as_debian_programs_tell_them() {
        for (at, said, level, what) in [
            (0, "nftables v1.0.6 (Lester Gooch #5)\n", Level::Ok, "1.0.6"),
            (0, "nftables v0.9.8 (E.D.S.)\n", Level::Warn, "0.9.8"),
            (
                1,
                "unknown option -- V\nOpenSSH_9.2p1 Debian-2+deb12u3, OpenSSL 3.0\nusage: sshd",
                Level::Ok,
                "9.2p1",
            ),
            (1, "OpenSSH_8.4p1 Debian", Level::Warn, "8.4p1"),
            (2, "apt 2.6.1 (amd64)\nSupported modules:", Level::Ok, "2.6.1"),
            (2, "\u{1b}[2J", Level::Unknown, "does not tell"),
            (0, "nftables v\u{1b}[2J", Level::Unknown, "does not tell"),
        ] {
            let check = judge(&NEEDS[at], said.as_bytes());
            assert_eq!(check.level, level, "{said:?}: {check:?}");
            assert!(check.what.contains(what), "{check:?}");
        }
    }
}
