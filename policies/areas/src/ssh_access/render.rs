//! The texts that Tenure writes: key files and the drop-in.

use std::fmt::Write as _;

use ipnet::IpNet;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use tenure_policy::resolved::Login;

use super::keys::parse_line;

const HEAD: &str = "# Written by tenure-agent from the signed policy. Changes made here are undone; `tenure-agent lift ssh_access` gives it back.\n";

/// Permission bits of key files and drop-in: sshd reads the key files as the account that logs in.
pub const MODE: u32 = 0o644;

/// Does the login last at `now`?
pub fn lasts(login: &Login, now: Timestamp) -> bool {
    now < login.until
}

/// The text of an account's key file. A person gets a terminal and nothing else (no forwarding, no agent, no rc file);
/// a machine key gets its one command without a terminal.
pub fn key_file(logins: &[&Login]) -> String {
    let mut text = HEAD.to_owned();
    for login in logins {
        for line in lines(login) {
            text.push_str(&line);
            text.push('\n');
        }
    }
    text
}

/// The lines of one login, one per key; none when it cannot be written so that sshd reads it as meant.
pub fn lines(login: &Login) -> Vec<String> {
    let what = match &login.command {
        None => "restrict,pty".to_owned(),
        Some(command) => match quoted(command) {
            Some(command) => format!("restrict,command={command}"),
            None => return Vec::new(),
        },
    };
    let from: Vec<String> = login.from.iter().map(|net| net.trunc().to_string()).collect();
    let until = login.until.to_zoned(TimeZone::UTC).strftime("%Y%m%d%H%M%SZ").to_string();
    let line = |key: &String| {
        let line = format!(
            "{what},from=\"{}\",expiry-time=\"{until}\" {key} tenure:{}:{}",
            from.join(","),
            login.id,
            login.who
        );
        parse_line(line.as_bytes())
            .filter(|parsed| !from.is_empty() && parsed.options.len() > 2)
            .map(|_| line)
    };
    login.keys.iter().filter(|key| !key.contains(['\n', '\r', '\0'])).filter_map(line).collect()
}

/// In double quotes as sshd unquotes: `\"` is a quote and nothing else is an escape.
/// A backslash at the end has no form in which sshd reads it as meant.
fn quoted(command: &str) -> Option<String> {
    let bad = command.is_empty() || command.chars().any(char::is_control) || command.ends_with('\\');
    (!bad).then(|| format!("\"{}\"", command.replace('"', "\\\"")))
}

/// The drop-in for these logins (of accounts that exist). With none it lets nobody in; the guard keeps that from a host.
pub fn drop_in(logins: &[&Login]) -> String {
    let root =
        if logins.iter().any(|login| login.account.as_str() == "root") { "prohibit-password" } else { "no" };
    let mut text = format!(
        "{HEAD}\
         PubkeyAuthentication yes\n\
         AuthenticationMethods publickey\n\
         AuthorizedKeysFile /etc/ssh/tenure/keys/%u\n\
         AuthorizedKeysCommand none\n\
         AuthorizedPrincipalsCommand none\n\
         TrustedUserCAKeys none\n\
         HostbasedAuthentication no\n\
         PasswordAuthentication no\n\
         KbdInteractiveAuthentication no\n\
         GSSAPIAuthentication no\n\
         KerberosAuthentication no\n\
         PermitEmptyPasswords no\n\
         PermitUserEnvironment no\n\
         PermitRootLogin {root}\n\
         StrictModes yes\n"
    );
    let patterns = allow_users(logins);
    if patterns.is_empty() {
        text.push_str("DenyUsers *\n");
    }
    for pattern in patterns {
        writeln!(text, "AllowUsers {pattern}").expect("writing to a String cannot fail");
    }
    text
}

/// `user@network` for every account and source, sorted, each once.
pub fn allow_users(logins: &[&Login]) -> Vec<String> {
    let mut pairs: Vec<(&str, IpNet)> =
        logins.iter().flat_map(|l| l.from.iter().map(|net| (l.account.as_str(), net.trunc()))).collect();
    pairs.sort();
    pairs.dedup();
    pairs.into_iter().map(|(account, net)| format!("{account}@{net}")).collect()
}

/// Keyword → value that `sshd -T` must print for every account and address, AllowUsers apart.
pub fn expected(logins: &[&Login]) -> Vec<(&'static str, &'static [&'static str])> {
    let root: &[&str] = if logins.iter().any(|login| login.account.as_str() == "root") {
        &["without-password", "prohibit-password"]
    } else {
        &["no"]
    };
    vec![
        ("authenticationmethods", &["publickey"]),
        ("authorizedkeyscommand", &["none"]),
        ("authorizedkeysfile", &["/etc/ssh/tenure/keys/%u"]),
        ("authorizedprincipalscommand", &["none"]),
        ("gssapiauthentication", &["no"]),
        ("hostbasedauthentication", &["no"]),
        ("kbdinteractiveauthentication", &["no"]),
        ("kerberosauthentication", &["no"]),
        ("passwordauthentication", &["no"]),
        ("permitemptypasswords", &["no"]),
        ("permitrootlogin", root),
        ("permituserenvironment", &["no"]),
        ("pubkeyauthentication", &["yes"]),
        ("strictmodes", &["yes"]),
        ("trustedusercakeys", &["none"]),
    ]
}
