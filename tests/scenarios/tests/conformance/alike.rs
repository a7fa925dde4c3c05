//! When two answers mean the same: compared by what the areas' own parsers make of them. No match here has a wildcard
//! over queries or commands: a new one does not compile until somebody has said what its answer means.

use std::collections::BTreeSet;

use serde_json::Value;
use tenure_areas::backup::facts::RunningJob;
use tenure_areas::firewall::listing::{Listing, live_families};
use tenure_areas::patch::parse::{packages, upgrades};
use tenure_areas::port::{Command, EntryKind, Flow, PortError, PortResult, Query, Stat};
use tenure_areas::ssh_access::accounts::{Account, passwd, with_password};
use tenure_areas::ssh_access::config::directives;
use tenure_areas::ssh_access::{effective, journal};
use tenure_areas::ssh_servers::{self, SshServer};

use crate::wire::{Answer, Request};

/// Names every variant once: the list and the match come from the same words, and the match has no wildcard.
macro_rules! kinds {
    ($list:ident, $name:ident, $of:ident, $count:literal: $($variant:ident)*) => {
        pub(crate) const $list: [&str; $count] = [$(stringify!($variant)),*];
        pub(crate) fn $name(of: &$of) -> &'static str {
            match of {
                $($of::$variant { .. } => stringify!($variant),)*
            }
        }
    };
}

kinds!(QUERIES, query_kind, Query, 14:
    NftGeneration NftOwnTable NftSet NftChains NftChanges Flows Interfaces TcpListeners SshdEffective SshdJournal Packages PendingUpgrades Kernel
    Job);
kinds!(COMMANDS, command_kind, Command, 8:
    NftLoad NftRestore ConntrackWarm ConntrackDelete SshdTest SshdReload OpenDirectory StartJob);

/// Elements of a trial's live set may differ by so many seconds: the lab host needs time between two requests.
const SLACK_S: u64 = 20;
/// Accounts that both hosts have; the real one has more of its services'.
const ACCOUNTS: [&str; 5] = ["root", "daemon", "admin", "deploy", "app"];
/// Files placed here have the same time on both hosts.
const SAME_TIME: &str = "/srv/";

/// The generation that each host had when it was first asked in a script.
#[derive(Debug, Default)]
pub(crate) struct Bases(Option<(u64, u64)>);

pub(crate) fn is_refused(answer: &Answer) -> bool {
    match answer {
        Answer::Bytes(result) => result.is_err(),
        Answer::Entries(result) => result.is_err(),
        Answer::Stat(result) => result.is_err(),
        Answer::Done(result) => result.is_err(),
        Answer::Outsider(result) => result.is_err(),
    }
}

/// In words, how the fake's answer means something else than the real one's.
pub(crate) fn difference(
    request: &Request,
    real: &Answer,
    fake: &Answer,
    bases: &mut Bases,
) -> Option<String> {
    match (real, fake) {
        (Answer::Bytes(real), Answer::Bytes(fake)) => results(real, fake, |real, fake| match request {
            Request::Ask(query) => query_differs(query, real, fake, bases),
            Request::File { path, .. } => file_differs(&path.path(), real, fake),
            Request::Dir { .. }
            | Request::Stat(_)
            | Request::Put(_)
            | Request::Replace(..)
            | Request::Remove(_)
            | Request::Tell(_) => Some("answered with bytes".into()),
        }),
        (Answer::Entries(real), Answer::Entries(fake)) => results(real, fake, unequal),
        (Answer::Stat(real), Answer::Stat(fake)) => {
            let timed = matches!(request, Request::Stat(path) if path.path().starts_with(SAME_TIME));
            results(real, fake, |real, fake| unequal(&comparable(real, timed), &comparable(fake, timed)))
        }
        (Answer::Done(real), Answer::Done(fake)) => results(real, fake, unequal),
        _ => Some(format!("answers of other kinds: {real:?}, {fake:?}")),
    }
}

fn results<T: std::fmt::Debug>(
    real: &PortResult<T>,
    fake: &PortResult<T>,
    differ: impl FnOnce(&T, &T) -> Option<String>,
) -> Option<String> {
    match (real, fake) {
        (Ok(real), Ok(fake)) => differ(real, fake),
        (Err(real), Err(fake)) if error_kind(real) == error_kind(fake) => None,
        (real, fake) => Some(format!("host {}, fake {}", short(real), short(fake))),
    }
}

/// Kind of misbehaviour, with the limit that was passed.
fn error_kind(error: &PortError) -> (&'static str, usize) {
    match error {
        PortError::Absent { .. } => ("absent", 0),
        PortError::TooLarge { limit, .. } => ("too large", *limit),
        PortError::Untrusted { .. } => ("untrusted", 0),
        PortError::Failed { .. } => ("failed", 0),
    }
}

fn unequal<T: PartialEq + std::fmt::Debug>(real: &T, fake: &T) -> Option<String> {
    if real == fake {
        return None;
    }
    let (real, fake) = (format!("{real:?}"), format!("{fake:?}"));
    let same = real.chars().zip(fake.chars()).take_while(|(a, b)| a == b).count().saturating_sub(80);
    let from = |text: &str| text.chars().skip(same).take(400).collect::<String>();
    Some(format!("host {}\n  fake {}", from(&real), from(&fake)))
}

fn short(what: &impl std::fmt::Debug) -> String {
    format!("{what:?}").chars().take(400).collect()
}

/// Sizes of what is no file are the file system's own; a link has all permission bits and they mean nothing.
fn comparable(stat: &Stat, timed: bool) -> Stat {
    let file = stat.kind == EntryKind::File;
    Stat {
        size: if file { stat.size } else { 0 },
        mtime: if file && timed { stat.mtime } else { 0 },
        mode: if stat.kind == EntryKind::Other { 0 } else { stat.mode },
        ..stat.clone()
    }
}

fn file_differs(path: &str, real: &[u8], fake: &[u8]) -> Option<String> {
    let accounts = |bytes: &[u8]| -> Vec<Account> {
        passwd(bytes).into_iter().filter(|a| ACCOUNTS.contains(&a.name.as_str())).collect()
    };
    match path {
        "/etc/passwd" => unequal(&accounts(real), &accounts(fake)),
        "/etc/shadow" => unequal(&with_password(real), &with_password(fake)),
        "/etc/ssh/sshd_config" => {
            let words =
                |bytes: &[u8]| directives(bytes).into_iter().map(|(_, k, v)| (k, v)).collect::<Vec<_>>();
            unequal(&words(real), &words(fake))
        }
        _ => unequal(&String::from_utf8_lossy(real), &String::from_utf8_lossy(fake)),
    }
}

fn query_differs(query: &Query, real: &[u8], fake: &[u8], bases: &mut Bases) -> Option<String> {
    match query {
        Query::NftGeneration => generations(real, fake, bases),
        Query::NftOwnTable => unequal(&Listing::parse(real), &Listing::parse(fake))
            .or_else(|| unequal(&lasting(plain_listing(real)), &lasting(plain_listing(fake)))),
        Query::NftSet { .. } => unequal(&live_families(real), &live_families(fake))
            .or_else(|| unequal(&plain_listing(real), &plain_listing(fake)))
            .or_else(|| times(real, fake)),
        Query::NftChains => unequal(&plain_listing(real), &plain_listing(fake)),
        Query::NftChanges { .. } => changes(real, fake, bases),
        Query::Flows => unequal(&flows(real), &flows(fake)),
        Query::Interfaces => unequal(&lines(real), &lines(fake)),
        Query::TcpListeners => unequal(&servers(real), &servers(fake)),
        Query::SshdEffective { .. } => unequal(&effective::parse(real), &effective::parse(fake)),
        Query::SshdJournal { .. } => unequal(&logins(real), &logins(fake)),
        Query::Packages => unequal(&packages(real), &packages(fake)),
        Query::PendingUpgrades => unequal(&upgrades(real), &upgrades(fake)),
        Query::Kernel => unequal(&String::from_utf8_lossy(real), &String::from_utf8_lossy(fake)),
        Query::Job => unequal(&job(real), &job(fake)),
    }
}

/// Times are each host's own, and so are the keys, of which only the real host has the private half.
fn logins(bytes: &[u8]) -> Vec<(String, std::net::IpAddr, usize, Option<String>)> {
    let told = |seen: journal::Seen| (seen.account, seen.from, seen.fingerprint.len(), seen.found);
    journal::parse(bytes).into_iter().map(told).collect()
}

/// SSH servers; process ids are the kernel's affair.
fn servers(bytes: &[u8]) -> Result<Vec<SshServer>, String> {
    let servers = ssh_servers::parse(bytes).map_err(|e| e.to_string())?;
    Ok(servers.into_iter().map(|server| SshServer { pid: 0, ..server }).collect())
}

fn number(bytes: &[u8]) -> Option<u64> {
    std::str::from_utf8(bytes).ok()?.parse().ok()
}

/// Both count by one a transaction; where they begin is the kernel's affair.
fn generations(real: &[u8], fake: &[u8], bases: &mut Bases) -> Option<String> {
    let (Some(real), Some(fake)) = (number(real), number(fake)) else {
        return Some(format!("not both are numbers: {real:?}, {fake:?}"));
    };
    let (real_base, fake_base) = *bases.0.get_or_insert((real, fake));
    unequal(&(real - real_base), &(fake - fake_base))
}

/// Generation since the first question, whether the process is known, and its name.
fn changes(real: &[u8], fake: &[u8], bases: &Bases) -> Option<String> {
    let (real_base, fake_base) = bases.0.unwrap_or_default();
    let told = |bytes: &[u8], base: u64| -> Option<Vec<(u64, bool, Value)>> {
        let list: Vec<Value> = serde_json::from_slice(bytes).ok()?;
        list.iter()
            .map(|change| {
                change["at"].as_str()?;
                let generation = change["generation"].as_u64()?.checked_sub(base)?;
                Some((generation, change["pid"].is_u64(), change["comm"].clone()))
            })
            .collect()
    };
    let (real, fake) = (told(real, real_base), told(fake, fake_base));
    if real.is_none() {
        Some("the host's changes are not as documented".into())
    } else {
        unequal(&real, &fake)
    }
}

/// Without what every listing has anew: handles, counts, the time that an element has left, nft's own version.
fn plain_listing(bytes: &[u8]) -> Option<Value> {
    fn plain(value: Value) -> Value {
        match value {
            Value::Object(map) => {
                let anew = ["handle", "packets", "bytes", "expires", "metainfo"];
                let kept = map.into_iter().filter(|(key, _)| !anew.contains(&key.as_str()));
                Value::Object(kept.map(|(key, value)| (key, plain(value))).collect())
            }
            Value::Array(list) => Value::Array(list.into_iter().map(plain).collect()),
            other => other,
        }
    }
    serde_json::from_slice(bytes).ok().map(plain)
}

/// Without elements that end by themselves: a listing that is remembered by its generation may still have them.
fn lasting(listing: Option<Value>) -> Option<Value> {
    listing.map(|mut listing| {
        for object in listing["nftables"].as_array_mut().into_iter().flatten() {
            let set = object.get_mut("set").and_then(Value::as_object_mut);
            let timed = set.filter(|set| {
                set.get("flags").and_then(Value::as_array).is_some_and(|f| f.contains(&"timeout".into()))
            });
            timed.map(|set| set.remove("elem"));
        }
        listing
    })
}

/// Elements with the time they have left: about the same.
fn times(real: &[u8], fake: &[u8]) -> Option<String> {
    fn collect(value: &Value, into: &mut Vec<u64>) {
        match value {
            Value::Object(map) => {
                into.extend(map.get("expires").and_then(Value::as_u64));
                map.values().for_each(|v| collect(v, into));
            }
            Value::Array(list) => list.iter().for_each(|v| collect(v, into)),
            _ => {}
        }
    }
    let of = |bytes: &[u8]| {
        let mut found = Vec::new();
        collect(&serde_json::from_slice(bytes).unwrap_or_default(), &mut found);
        found
    };
    let (real, fake) = (of(real), of(fake));
    let near = real.len() == fake.len() && real.iter().zip(&fake).all(|(a, b)| a.abs_diff(*b) <= SLACK_S);
    (!near).then(|| format!("seconds left: host {real:?}, fake {fake:?}"))
}

fn flows(bytes: &[u8]) -> Result<BTreeSet<Flow>, String> {
    lines(bytes).iter().map(|line| serde_json::from_str(line).map_err(|e| e.to_string())).collect()
}

fn lines(bytes: &[u8]) -> BTreeSet<String> {
    String::from_utf8_lossy(bytes).lines().filter(|l| !l.is_empty()).map(str::to_owned).collect()
}

/// The run that goes on; since when differs, for the lab host needs time between two requests.
fn job(bytes: &[u8]) -> Result<Option<String>, String> {
    let job: Option<RunningJob> = serde_json::from_slice(bytes).map_err(|e| e.to_string())?;
    Ok(job.map(|job| job.run.to_string()))
}
