//! What `sshd -T -C …` says of one connection, and whether it lets somebody try at all. The text may be hostile.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;
use tenure_trust::neutral_bytes;

/// `sshd -T` prints about 10 KiB; long AllowUsers lists make more of it.
pub const LIMIT: usize = 512 * 1024;
const VALUES_PER_KEYWORD: usize = 4096;

/// The keywords that decide who gets in; the rest of `sshd -T` is not kept.
pub const KEYWORDS: [&str; 27] = [
    "allowgroups",
    "allowusers",
    "authenticationmethods",
    "authorizedkeyscommand",
    "authorizedkeysfile",
    "authorizedprincipalscommand",
    "authorizedprincipalsfile",
    "chrootdirectory",
    "denygroups",
    "denyusers",
    "forcecommand",
    "gssapiauthentication",
    "hostbasedauthentication",
    "kbdinteractiveauthentication",
    "kerberosauthentication",
    "listenaddress",
    "passwordauthentication",
    "permitemptypasswords",
    "permitrootlogin",
    "permituserenvironment",
    "port",
    "pubkeyacceptedalgorithms",
    "pubkeyauthentication",
    "revokedkeys",
    "strictmodes",
    "trustedusercakeys",
    "usepam",
];

/// Keyword → values, each as printed; a keyword that is printed several times has several.
pub type Settings = BTreeMap<String, Vec<String>>;

/// Reads the output of `sshd -T`.
///
/// # Errors
/// In words, when it is not such an output.
pub fn parse(bytes: &[u8]) -> Result<Settings, String> {
    if bytes.len() > LIMIT {
        return Err(format!("sshd -T printed more than {LIMIT} bytes"));
    }
    let mut settings = Settings::new();
    for line in bytes.split(|b| *b == b'\n') {
        let text = String::from_utf8_lossy(line);
        let text = text.trim();
        let (keyword, value) = text.split_once(' ').unwrap_or((text, ""));
        if !KEYWORDS.contains(&keyword) {
            continue;
        }
        let values = settings.entry(keyword.to_owned()).or_default();
        if values.len() >= VALUES_PER_KEYWORD {
            return Err(format!("sshd -T printed {keyword} more than {VALUES_PER_KEYWORD} times"));
        }
        let most = if keyword == "pubkeyacceptedalgorithms" { 4096 } else { 512 };
        values.push(neutral_bytes(value.trim().as_bytes(), most));
    }
    for needed in ["authorizedkeysfile", "passwordauthentication", "pubkeyauthentication", "permitrootlogin"]
    {
        if !settings.contains_key(needed) {
            return Err(format!("sshd -T printed no {needed}"));
        }
    }
    // sshd prints them in an order of its own.
    if let Some(addresses) = settings.get_mut("listenaddress") {
        addresses.sort();
    }
    Ok(settings)
}

/// The ports on which sshd listens with these settings.
pub fn ports(settings: &Settings) -> BTreeSet<u16> {
    let port = |text: &String| text.rsplit(':').next().and_then(|port| port.parse().ok());
    let of = |keyword: &str| -> BTreeSet<u16> {
        settings.get(keyword).into_iter().flatten().filter_map(port).collect()
    };
    let addresses = of("listenaddress");
    if addresses.is_empty() { of("port") } else { addresses }
}

/// Do AllowUsers and DenyUsers let this account try from this address? Groups are not looked at.
pub fn may_try(settings: &Settings, account: &str, addr: IpAddr) -> bool {
    let any = |keyword: &str| {
        settings.get(keyword).is_some_and(|patterns| patterns.iter().any(|p| user_matches(p, account, addr)))
    };
    if any("denyusers") {
        return false;
    }
    settings.get("allowusers").is_none_or(Vec::is_empty) || any("allowusers")
}

/// One pattern `user` or `user@host` of sshd_config(5), against an account and a numeric address.
pub fn user_matches(pattern: &str, account: &str, addr: IpAddr) -> bool {
    match pattern.split_once('@') {
        None => glob(pattern, account),
        Some((user, host)) => glob(user, account) && host_matches(host, addr),
    }
}

/// A pattern list of networks and wildcards; a negated match loses at once.
pub fn host_matches(list: &str, addr: IpAddr) -> bool {
    let mut found = false;
    for pattern in list.split(',') {
        let (negated, pattern) = match pattern.strip_prefix('!') {
            Some(rest) => (true, rest),
            None => (false, pattern),
        };
        let hit = match (pattern.parse::<IpNet>(), pattern.parse::<IpAddr>()) {
            (Ok(net), _) => net.contains(&addr),
            (_, Ok(one)) => one == addr,
            _ => glob(&pattern.to_ascii_lowercase(), &addr.to_string()),
        };
        if hit && negated {
            return false;
        }
        found |= hit;
    }
    found
}

/// `*` and `?` of PATTERNS in ssh_config(5). Linear in the product of both lengths, whatever the pattern.
pub fn glob(pattern: &str, text: &str) -> bool {
    let pattern: Vec<char> = pattern.chars().collect();
    let mut reached = vec![false; pattern.len() + 1];
    reached[0] = true;
    let through_stars = |reached: &mut Vec<bool>| {
        for (at, c) in pattern.iter().enumerate() {
            if *c == '*' && reached[at] {
                reached[at + 1] = true;
            }
        }
    };
    through_stars(&mut reached);
    for c in text.chars() {
        let mut next = vec![false; pattern.len() + 1];
        for (at, p) in pattern.iter().enumerate() {
            if reached[at] {
                match p {
                    '*' => next[at] = true,
                    '?' => next[at + 1] = true,
                    p if *p == c => next[at + 1] = true,
                    _ => {}
                }
            }
        }
        through_stars(&mut next);
        reached = next;
    }
    reached[pattern.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(extra: &str) -> Settings {
        let base = "port 22\nauthorizedkeysfile .ssh/authorized_keys .ssh/authorized_keys2\npasswordauthentication yes\npubkeyauthentication yes\npermitrootlogin without-password\nciphers a,b\n";
        parse(format!("{base}{extra}").as_bytes()).unwrap()
    }

    #[test]
    fn reads_what_sshd_prints() {
        let found = settings("allowusers a@10.0.0.0/8\nallowusers b\n");
        assert_eq!(found["allowusers"], ["a@10.0.0.0/8", "b"]);
        assert_eq!(found["authorizedkeysfile"], [".ssh/authorized_keys .ssh/authorized_keys2"]);
        assert!(!found.contains_key("ciphers"));
        assert!(parse(b"").is_err());
        assert!(parse(b"sshd: no hostkeys available -- exiting.").is_err());
        assert!(parse(&vec![b'a'; LIMIT + 1]).is_err());
        let bidi = settings("forcecommand a\u{202e}b\u{1b}[2J\n");
        assert_eq!(bidi["forcecommand"], ["a\\u{202e}b\\u{1b}[2J"]);
    }

    #[test]
    fn allow_and_deny_as_sshd_judges_them() {
        let office: IpAddr = "203.0.113.9".parse().unwrap();
        let v6: IpAddr = "2001:db8:10::9".parse().unwrap();
        let table = [
            ("", "x", office, true),
            ("allowusers admin@203.0.113.0/24\n", "admin", office, true),
            ("allowusers admin@203.0.113.0/24\n", "admin", v6, false),
            ("allowusers admin@203.0.113.0/24\n", "root", office, false),
            ("allowusers admin@2001:db8:10::/48\n", "admin", v6, true),
            ("allowusers *@!203.0.113.9,203.0.113.0/24\n", "admin", office, false),
            ("allowusers ad?in@203.0.113.*\n", "admin", office, true),
            ("allowusers admin\ndenyusers ad*\n", "admin", office, false),
            ("allowusers a\nallowusers admin\n", "admin", office, true),
        ];
        for (extra, account, addr, expected) in table {
            assert_eq!(may_try(&settings(extra), account, addr), expected, "{extra} {account} {addr}");
        }
    }

    #[test]
    fn a_hostile_pattern_costs_no_time() {
        let pattern = "*a".repeat(200);
        assert!(!glob(&pattern, &"a".repeat(199)));
        assert!(glob(&pattern, &"a".repeat(200)));
        assert!(glob("", "") && glob("**", "") && !glob("?", ""));
    }
}
