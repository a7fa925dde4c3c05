//! Who can log in, as whom, how: now from the facts, afterwards from the policy, and what is lost between them.

use std::fmt;

use jiff::Timestamp;
use serde::Serialize;

use super::accounts::Account as Entry;
use super::effective::{Settings, may_try};
use super::facts::{Account, Facts, OtherKey};
use super::observe::expand;
use super::plan::holding;
use super::{Desired, KEYS, keys};

/// One way in.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct WayIn {
    /// As whom.
    pub account: String,
    /// How.
    pub by: By,
    /// From where: networks, or `anywhere` as far as sshd was asked.
    pub from: String,
}

/// How somebody gets in.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum By {
    /// A password (also through keyboard-interactive).
    Password,
    /// A key.
    Key {
        /// `SHA256:…`.
        fingerprint: String,
        /// Who it belongs to, as the policy or its comment says.
        who: String,
        /// Where it stands: `file:line`; empty for one that the policy is going to place.
        place: String,
    },
}

impl fmt::Display for WayIn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let account = &self.account;
        match &self.by {
            By::Password => write!(f, "{account} by password"),
            By::Key { place, who, .. } if place.is_empty() => write!(f, "{account} by {who}'s key"),
            By::Key { place, .. } => write!(f, "{account} (key in {place})"),
        }?;
        if self.from != ANYWHERE {
            write!(f, " from {}", self.from)?;
        }
        Ok(())
    }
}

const ANYWHERE: &str = "anywhere";

/// Who can log in as the facts show it.
pub fn now(facts: &Facts) -> Vec<WayIn> {
    let mut ways = Vec::new();
    for (name, account) in &facts.accounts {
        if let Some(from) = by_password(facts, name, account) {
            ways.push(WayIn { account: name.clone(), by: By::Password, from });
        }
        ways.extend(by_managed_key(facts, name));
    }
    for key in facts.other_keys.iter().filter(|key| is_read(facts, key)) {
        let place = format!("{}:{}", key.path, key.line);
        let by = By::Key { fingerprint: key.fingerprint.clone(), who: key.comment.clone(), place };
        let from = key.from.clone().unwrap_or_else(|| ANYWHERE.into());
        ways.push(WayIn { account: key.account.clone(), by, from });
    }
    ways.sort();
    ways
}

/// Who could log in once the policy is enforced.
pub fn after(desired: &Desired, facts: &Facts, at: Timestamp) -> Vec<WayIn> {
    let mut ways = Vec::new();
    for login in holding(desired, facts, at) {
        let from: Vec<String> = login.from.iter().map(ToString::to_string).collect();
        for key in login.keys.iter().filter_map(|k| keys::parse_line(k.as_bytes())) {
            let by =
                By::Key { fingerprint: key.fingerprint(), who: login.who.to_string(), place: String::new() };
            ways.push(WayIn { account: login.account.to_string(), by, from: from.join(", ") });
        }
    }
    ways.sort();
    ways
}

/// Ways that are open now and will not be: an account and key, or an account's password. A key that stays for the
/// same account but from fewer addresses is not among them; `from` in [`now`] and [`after`] shows that.
pub fn lost(desired: &Desired, facts: &Facts, at: Timestamp) -> Vec<WayIn> {
    let stays: Vec<WayIn> = after(desired, facts, at);
    let same = |a: &WayIn, b: &WayIn| match (&a.by, &b.by) {
        (By::Key { fingerprint: a_key, .. }, By::Key { fingerprint: b_key, .. }) => {
            a.account == b.account && a_key == b_key
        }
        _ => false,
    };
    now(facts).into_iter().filter(|way| !stays.iter().any(|s| same(way, s))).collect()
}

/// Would sshd read this key for its account from anywhere it was asked about?
pub fn is_read(facts: &Facts, key: &OtherKey) -> bool {
    let Some(account) = facts.accounts.get(&key.account) else { return false };
    facts.settings_of(&key.account).any(|(probe, settings)| {
        may_try(settings, &key.account, probe.addr)
            && by_key(settings, account)
            && key_paths(settings, &key.account, account).any(|path| path == key.path)
    })
}

fn by_password(facts: &Facts, name: &str, account: &Account) -> Option<String> {
    if !account.password {
        return None;
    }
    let opens = |settings: &Settings| {
        let on = |keyword: &str| value(settings, keyword) == "yes";
        let password = on("passwordauthentication") || (on("kbdinteractiveauthentication") && on("usepam"));
        let methods = value(settings, "authenticationmethods");
        let root = account.uid != 0 || on("permitrootlogin");
        password
            && root
            && (methods == "any"
                || methods.is_empty()
                || methods.contains("password")
                || methods.contains("keyboard"))
    };
    let mut open = facts.settings_of(name).filter(|(p, s)| opens(s) && may_try(s, name, p.addr));
    let (probe, _) = open.next()?;
    Some(if probe.listed { probe.addr.to_string() } else { ANYWHERE.into() })
}

fn by_managed_key(facts: &Facts, name: &str) -> Vec<WayIn> {
    let reads = facts.settings_of(name).any(|(_, settings)| {
        value(settings, "authorizedkeysfile").split_whitespace().any(|p| p == format!("{KEYS}/%u"))
    });
    let text = facts.key_files.get(name).and_then(|m| m.text()).filter(|_| reads).unwrap_or_default();
    let lines = keys::parse(text.as_bytes()).into_iter();
    let way = |(line, key): (u32, keys::KeyLine)| {
        let from = key.option("from").unwrap_or(ANYWHERE).replace(',', ", ");
        let place = format!("{KEYS}/{name}:{line}");
        let who = tenure_trust::neutral_bytes(key.comment.as_bytes(), 100);
        WayIn { account: name.to_owned(), by: By::Key { fingerprint: key.fingerprint(), who, place }, from }
    };
    lines.map(way).collect()
}

fn by_key(settings: &Settings, account: &Account) -> bool {
    value(settings, "pubkeyauthentication") == "yes"
        && (account.uid != 0 || value(settings, "permitrootlogin") != "no")
}

fn key_paths<'a>(settings: &'a Settings, name: &str, account: &Account) -> impl Iterator<Item = String> + 'a {
    let entry =
        Entry { name: name.to_owned(), uid: account.uid, home: account.home.clone(), shell: String::new() };
    value(settings, "authorizedkeysfile").split_whitespace().filter_map(move |p| expand(p, &entry))
}

fn value<'a>(settings: &'a Settings, keyword: &str) -> &'a str {
    settings.get(keyword).and_then(|v| v.first()).map_or("", String::as_str)
}
