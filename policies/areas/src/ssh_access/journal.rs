//! What sshd wrote to the journal about logins by key. Who can write there as somebody else than root is not believed,
//! and the text is hostile all the same: names and addresses in it are a client's.

use std::collections::BTreeMap;
use std::net::IpAddr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tenure_trust::neutral_bytes;

/// Logins that are kept; the newest count.
const MAX_SEEN: usize = 200;
/// The programs that say it: one until OpenSSH 9.7, others since.
const PROGRAMS: [&str; 4] = [
    "/usr/sbin/sshd",
    "/usr/lib/openssh/sshd-session",
    "/usr/libexec/openssh/sshd-session",
    "/usr/lib/ssh/sshd-session",
];

/// A login by key that sshd let in.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Seen {
    /// When.
    pub at: Timestamp,
    /// As whom.
    pub account: String,
    /// From where.
    pub from: IpAddr,
    /// `SHA256:…`.
    pub fingerprint: String,
    /// The file in which sshd found the key, `path:line`, where its log says so (LogLevel VERBOSE).
    pub found: Option<String>,
}

/// One entry as `journalctl -o json` prints it; all values are texts there.
#[derive(Debug, Deserialize)]
struct Entry {
    #[serde(rename = "MESSAGE")]
    message: Option<serde_json::Value>,
    #[serde(rename = "_PID")]
    pid: Option<String>,
    #[serde(rename = "_UID")]
    uid: Option<String>,
    #[serde(rename = "_EXE")]
    exe: Option<String>,
    #[serde(rename = "__REALTIME_TIMESTAMP")]
    at: Option<String>,
}

/// Reads entries, oldest first; what is none is skipped.
pub fn parse(bytes: &[u8]) -> Vec<Seen> {
    let mut found: BTreeMap<(String, String), String> = BTreeMap::new();
    let mut seen = Vec::new();
    for line in bytes.split(|b| *b == b'\n').filter(|line| !line.is_empty()) {
        let Ok(entry) = serde_json::from_slice::<Entry>(line) else { continue };
        let (Some(pid), Some("0")) = (&entry.pid, entry.uid.as_deref()) else { continue };
        // A process that has ended meanwhile has no program any more; what is root's own is believed then too.
        if entry.exe.as_deref().is_some_and(|exe| !PROGRAMS.contains(&exe)) {
            continue;
        }
        // An array of numbers is a message with bytes that are no text: not one of these.
        let Some(message) = entry.message.as_ref().and_then(serde_json::Value::as_str) else { continue };
        if let Some((fingerprint, place)) = key_found(message) {
            found.insert((pid.clone(), fingerprint), place);
        } else if let Some((account, from, fingerprint)) = accepted(message) {
            let micros = entry.at.as_deref().and_then(|text| text.parse::<i64>().ok());
            let Some(at) = micros.and_then(|micros| Timestamp::from_microsecond(micros).ok()) else {
                continue;
            };
            let found = found.get(&(pid.clone(), fingerprint.clone())).cloned();
            seen.push(Seen { at, account, from, fingerprint, found });
        }
    }
    seen.drain(..seen.len().saturating_sub(MAX_SEEN));
    seen
}

/// `Accepted key ED25519 SHA256:… found at /etc/ssh/tenure/keys/admin:2` (auth2-pubkeyfile.c, at VERBOSE).
fn key_found(message: &str) -> Option<(String, String)> {
    let rest = message.strip_prefix("Accepted key ")?;
    let (key, place) = rest.split_once(" found at ")?;
    let (_, fingerprint) = key.split_once(' ')?;
    Some((print(fingerprint)?, neutral_bytes(place.as_bytes(), 300)))
}

/// `Accepted publickey for admin from 203.0.113.9 port 51000 ssh2: ED25519 SHA256:…` (auth.c, at INFO).
fn accepted(message: &str) -> Option<(String, IpAddr, String)> {
    let rest = message.strip_prefix("Accepted publickey for ")?;
    let (account, rest) = rest.split_once(" from ")?;
    let (from, rest) = rest.split_once(" port ")?;
    let (_, key) = rest.split_once(": ")?;
    let (_, fingerprint) = key.split_once(' ')?;
    let from: IpAddr = from.parse().ok()?;
    Some((neutral_bytes(account.as_bytes(), 64), from.to_canonical(), print(fingerprint)?))
}

/// `SHA256:` and 43 letters of base64, whatever stands behind.
fn print(text: &str) -> Option<String> {
    let print = text.split(' ').next()?;
    let code = print.strip_prefix("SHA256:")?;
    let base64 = |c: u8| c.is_ascii_alphanumeric() || c == b'+' || c == b'/';
    (code.len() == 43 && code.bytes().all(base64)).then(|| print.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PRINT: &str = "SHA256:WH1fUB/GsBZnMBTVZXnP01xrC/i53d/qC5rPOncZeno";

    fn entry(pid: u32, uid: u32, exe: &str, message: &str) -> String {
        serde_json::json!({
            "__CURSOR": "s=1", "__REALTIME_TIMESTAMP": "1795348800000000", "__MONOTONIC_TIMESTAMP": "1",
            "_BOOT_ID": "b", "_PID": pid.to_string(), "_UID": uid.to_string(), "_EXE": exe, "MESSAGE": message,
        })
        .to_string()
    }

    fn login(from: &str) -> String {
        format!("Accepted publickey for admin from {from} port 51000 ssh2: ED25519 {PRINT}")
    }

    #[test]
    fn a_login_is_read_with_the_file_of_its_key() {
        let place = "/etc/ssh/tenure/keys/admin:2";
        let lines = [
            entry(7, 0, "/usr/sbin/sshd", &format!("Accepted key ED25519 {PRINT} found at {place}")),
            entry(8, 0, "/usr/sbin/sshd", &login("2001:db8:10::9")),
            entry(7, 0, "/usr/sbin/sshd", &login("203.0.113.9")),
        ];
        let seen = parse(lines.join("\n").as_bytes());
        let told: Vec<_> = seen.iter().map(|s| (s.from.to_string(), s.found.as_deref())).collect();
        assert_eq!(told, [("2001:db8:10::9".into(), None), ("203.0.113.9".into(), Some(place))]);
        assert_eq!((seen[0].account.as_str(), seen[0].fingerprint.as_str()), ("admin", PRINT));
        assert_eq!(seen[0].at.to_string(), "2026-11-22T12:00:00Z");
    }

    #[test]
    fn what_others_write_is_no_login() {
        let good = login("203.0.113.9");
        for line in [
            entry(7, 1000, "/usr/sbin/sshd", &good),
            entry(7, 0, "/usr/bin/logger", &good),
            entry(7, 0, "/usr/sbin/sshd", &format!("x {good}")),
            entry(7, 0, "/usr/sbin/sshd", &good.replace("publickey", "password")),
            entry(7, 0, "/usr/sbin/sshd", &good.replace("203.0.113.9", "office")),
            entry(7, 0, "/usr/sbin/sshd", &good.replace("SHA256:", "MD5:")),
            entry(7, 0, "/usr/sbin/sshd", &good.replace("WH1f", "WH1")),
            r#"{"_PID":"7","_UID":"0","__REALTIME_TIMESTAMP":"1","MESSAGE":[65,66]}"#.into(),
            r#"{"_PID":7}"#.into(),
            "no JSON".into(),
        ] {
            assert_eq!(parse(line.as_bytes()), [], "{line}");
        }
        assert_eq!(parse(entry(7, 0, "/usr/sbin/sshd", &good).as_bytes()).len(), 1);
    }

    #[test]
    fn a_flood_is_bounded() {
        let line = entry(7, 0, "/usr/sbin/sshd", &login("203.0.113.9"));
        assert_eq!(parse(vec![line; 1000].join("\n").as_bytes()).len(), MAX_SEEN);
    }
}
