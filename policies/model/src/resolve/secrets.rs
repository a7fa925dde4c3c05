//! No secret stands in a policy (rule 16): what looks like one is refused before it is signed and sent to every host.

use std::collections::BTreeMap;

use crate::fault::{Fault, FaultCode, Faults, Place};

/// Beginnings that only secrets have.
const MARKS: [(&str, &str); 4] = [
    ("PRIVATE KEY-----", "a private key"),
    ("AGE-SECRET-KEY-", "an age secret key"),
    ("b3BlbnNzaC1rZXktdjE", "an OpenSSH private key"),
    ("$y$", "a password hash"),
];

/// Looks through the texts of a set, comments too.
pub(crate) fn check(files: &BTreeMap<String, String>, faults: &mut Faults) {
    for (file, text) in files {
        for (number, line) in text.lines().enumerate() {
            let found = MARKS.iter().filter_map(|(mark, kind)| Some((line.find(mark)?, *kind)));
            let found = found.chain(password_in_url(line).map(|at| (at, "a password in an address")));
            if let Some((at, kind)) = found.min() {
                let column = u32::try_from(line[..at].chars().count() + 1).unwrap_or(u32::MAX);
                let place = Place::new(file, u32::try_from(number + 1).unwrap_or(u32::MAX), column);
                let hint = "a policy holds no secret: put it into a systemd credential on the host, and replace it, \
                            since it has been written down here";
                faults.push(
                    Fault::new(&place, FaultCode::Rule, format!("{kind} stands in the policy")).hint(hint),
                );
            }
        }
    }
}

/// `scheme://user:password@`.
fn password_in_url(line: &str) -> Option<usize> {
    line.match_indices("://").find_map(|(at, _)| {
        let rest = line.get(at + 3..)?;
        let authority = rest.split(['/', ' ', '"', '\'', ']', '}']).next()?;
        let (user, _) = authority.rsplit_once('@')?;
        user.contains(':').then_some(at)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_seen_and_public_things_are_not() {
        let look = |line: &str| {
            let mut faults = Faults::new();
            check(&BTreeMap::from([("fleet.yaml".to_owned(), format!("a: 1\n{line}\n"))]), &mut faults);
            faults.len()
        };
        for secret in [
            "# -----BEGIN OPENSSH PRIVATE KEY-----",
            "x: AGE-SECRET-KEY-1ABC",
            "command: psql postgresql://app:hunter2@db/main",
            "x: $y$j9T$abc",
        ] {
            assert_eq!(look(secret), 1, "{secret}");
        }
        for public in [
            "contact: dpo@client.example",
            "see: https://example.net/a:b@c",
            "k: ssh-ed25519 AAAAC3Nz x@y",
            "u: ssh://git@host/x",
        ] {
            assert_eq!(look(public), 0, "{public}");
        }
    }
}
