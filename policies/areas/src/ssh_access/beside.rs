//! The texts of a trial: what stood there stays as it is, and behind it the policy's logins are let in too. Each only for
//! its account from its sources, so that for everybody else sshd's configuration is the old one to the letter.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use ipnet::IpNet;
use tenure_policy::resolved::Login;

use super::config;
use super::effective::Settings;
use super::facts::{Answer, Facts};
use super::{KEYS, render};

/// The line between what stood there and what the trial adds.
pub const MARK: &str = "# Trial by tenure-agent: what stands above is as it was, what follows lets the policy's logins in beside it.";

/// The drop-in of a trial: `old`, and a Match block for each account. In a Match block a value wins over those outside
/// (measured), so each says the old value with ours beside it. sshd names the file in which it found a key only at VERBOSE.
pub fn drop_in(old: Option<&str>, logins: &[&Login], facts: &Facts) -> String {
    let mut text = old.unwrap_or_default().to_owned();
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
    writeln!(text, "{MARK}").expect("writing to a String cannot fail");
    let mut accounts: BTreeMap<&str, BTreeSet<IpNet>> = BTreeMap::new();
    for login in logins {
        let nets = login.from.iter().map(IpNet::trunc);
        accounts.entry(login.account.as_str()).or_default().extend(nets);
    }
    for (account, nets) in accounts {
        let nets: Vec<String> = nets.iter().map(ToString::to_string).collect();
        writeln!(text, "Match User {account} Address {}", nets.join(","))
            .expect("writing to a String cannot fail");
        for line in added(account, facts) {
            writeln!(text, "  {line}").expect("writing to a String cannot fail");
        }
    }
    text
}

/// Whether a drop-in of a trial lets this login in from one of its sources.
pub fn lets_in(drop_in: &str, login: &Login) -> bool {
    let nets: BTreeSet<String> = login.from.iter().map(|net| net.trunc().to_string()).collect();
    config::directives(drop_in.as_bytes()).iter().any(|(_, keyword, args)| {
        let [user, account, address, list] = args.as_slice() else { return false };
        keyword == "match"
            && user == "User"
            && address == "Address"
            && account == login.account.as_str()
            && list.split(',').any(|net| nets.contains(net))
    })
}

/// The key file of an account during a trial: the old lines, then those of its logins that are not among them.
pub fn key_file(old: Option<&str>, logins: &[&Login]) -> String {
    let Some(old) = old else { return render::key_file(logins) };
    let mut text = old.to_owned();
    if !text.ends_with('\n') {
        text.push('\n');
    }
    let known: BTreeSet<&str> = old.lines().collect();
    for line in logins.iter().flat_map(|login| render::lines(login)) {
        if !known.contains(line.as_str()) {
            text.push_str(&line);
            text.push('\n');
        }
    }
    text
}

/// What sshd said of connections of the account from where its logins come.
fn added(account: &str, facts: &Facts) -> Vec<String> {
    let listed = facts.probes.iter().filter(|probe| probe.account == account && probe.listed);
    let said: Vec<&Settings> = listed
        .filter_map(|probe| match facts.answer(probe) {
            Some(Answer::Settings(settings)) => Some(settings),
            _ => None,
        })
        .collect();
    let values = |keyword: &str| -> BTreeSet<&str> {
        said.iter().filter_map(|s| s.get(keyword)).flatten().map(String::as_str).collect()
    };
    let ours = format!("{KEYS}/%u");
    let mut files = vec![ours.as_str()];
    for path in values("authorizedkeysfile").into_iter().flat_map(str::split_whitespace) {
        if path != "none" && !files.contains(&path) {
            files.push(path);
        }
    }
    let mut lines = vec![
        "LogLevel VERBOSE".to_owned(),
        "PubkeyAuthentication yes".to_owned(),
        format!("AuthorizedKeysFile {}", files.join(" ")),
        // For this connection alone: whoever it names elsewhere is named for other connections.
        format!("AllowUsers {account}"),
    ];
    let methods = values("authenticationmethods");
    let by_key = |list: &&str| *list == "any" || list.split_whitespace().any(|m| m == "publickey");
    if !methods.iter().all(by_key) {
        let old: Vec<&str> = methods.into_iter().filter(|list| *list != "any").collect();
        lines.push(format!("AuthenticationMethods publickey {}", old.join(" ")));
    }
    let root = values("permitrootlogin");
    if account == "root"
        && root.iter().any(|value| !matches!(*value, "yes" | "without-password" | "prohibit-password"))
    {
        lines.push("PermitRootLogin prohibit-password".into());
    }
    lines
}
