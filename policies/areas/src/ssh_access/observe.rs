//! Looks at everything that decides who gets in. Reads only; what is not to be trusted is told and not followed.

use std::collections::{BTreeMap, BTreeSet};

use tenure_trust::{Hash, neutral, neutral_bytes};

use super::accounts::{self, Account as Entry};
use super::config::{self, MAIN, Reading, Setting};
use super::effective;
use super::facts::{Account, Answer, Before, Facts, Managed, OtherKey, Place, Probe, Seen};
use super::include::{self, Included};
use super::questions::{Ends, Question, questions};
use super::state::Record;
use super::{BEFORE, DROP_IN, Desired, KEYS, RELOADED, keys, others};
use crate::addresses;
use crate::area::{Look, Unknown};
use crate::port::{Beneath, EntryKind, HostRead, Owner, PortError, PortResult, Query};
use crate::ssh_servers;

const FILE_LIMIT: usize = 64 * 1024;
const CONFIG_LIMIT: usize = 256 * 1024;
const LIST_LIMIT: usize = 4096;
const PASSWD_LIMIT: usize = 4 * 1024 * 1024;
const KEYS_PER_FILE: usize = 100;
const KEYS_IN_ALL: usize = 500;
const ASKED_LIMIT: usize = 200;
const RIVALS_LIMIT: usize = 200;
const IN_MATCH_LIMIT: usize = 50;
/// Where sshd looks when nobody says otherwise (sshd_config(5), AuthorizedKeysFile).
const IN_HOMES: [&str; 2] = [".ssh/authorized_keys", ".ssh/authorized_keys2"];

pub(super) fn observe(host: &dyn HostRead, desired: &Desired) -> Result<Facts, Unknown> {
    let (record, untrusted) = Record::look(host)?;
    look(host, desired, record, untrusted, Extent::Whole)
}

/// Sshd is asked one thing only, where it listens, when somebody changed the drop-in of a policy in force: what else it
/// would say is about settings that are put back at once, and asking takes longer than that.
pub(super) fn first_look(host: &dyn HostRead, desired: &Desired) -> Result<Look<Facts>, Unknown> {
    let (record, untrusted) = Record::look(host)?;
    let at_rest = record.trial.is_none()
        && record.refused.is_none()
        && record.proved.as_ref().is_some_and(|proved| proved.section == desired.section);
    let seer = Seer::new(host, Vec::new());
    let stands = |reloaded| matches!(seer.managed(DROP_IN), Managed::Seen(seen) if seen.hash == reloaded);
    if at_rest && seer.reloaded().is_some_and(|reloaded| !stands(reloaded)) {
        return look(host, desired, record, untrusted, Extent::OneQuestion).map(Look::Part);
    }
    look(host, desired, record, untrusted, Extent::Whole).map(Look::Whole)
}

/// How much sshd is asked.
#[derive(Clone, Copy, PartialEq)]
enum Extent {
    Whole,
    OneQuestion,
}

fn look(
    host: &dyn HostRead,
    desired: &Desired,
    record: Record,
    untrusted: Vec<Place>,
    extent: Extent,
) -> Result<Facts, Unknown> {
    let desired = &record.in_play(desired);
    let mut seer = Seer::new(host, untrusted);
    let passwd = accounts::passwd(&seer.system_file("/etc/passwd")?);
    let passwords = accounts::with_password(&seer.system_file("/etc/shadow")?);
    let configuration = seer.configuration();
    let servers = ssh_servers::seen(host)?;
    let ends = Ends::of(configuration.asks_for_this_end(), &servers, &addresses::reachable(host)?);
    for entry in &passwd {
        seer.keys_in_home(entry);
    }
    let managed: BTreeSet<&str> = desired.section.logins.iter().map(|l| l.account.as_str()).collect();
    let with_keys: BTreeSet<String> = seer.other_keys.iter().map(|k| k.account.clone()).collect();
    let counts = |e: &&Entry| {
        managed.contains(e.name.as_str())
            || e.uid == 0
            || passwords.contains(&e.name)
            || with_keys.contains(&e.name)
    };
    let could: Vec<&Entry> = passwd.iter().filter(counts).collect();
    let mut asked: Vec<&Entry> =
        could.iter().filter(|e| can_be_asked(&e.name)).take(ASKED_LIMIT).copied().collect();
    let not_asked = u32::try_from(could.len() - asked.len()).unwrap_or(u32::MAX);
    let names = asked.iter().map(|e| e.name.as_str());
    let (mut questions, networks_not_asked) = questions(names, &desired.section.logins, &ends);
    if extent == Extent::OneQuestion {
        asked.truncate(1);
        questions.truncate(1);
    }
    let (probes, answers) = seer.ask_sshd(&questions)?;
    let (servers, other_servers) = others::part(host, servers, &answers);
    seer.keys_elsewhere(&asked, &answers, &probes);
    let key_files = seer.key_files();
    let account = |e: &&Entry| {
        let account = Account {
            uid: e.uid,
            home: neutral_bytes(e.home.as_bytes(), 200),
            login_shell: e.has_login_shell(),
            password: passwords.contains(&e.name),
        };
        (neutral_bytes(e.name.as_bytes(), 64), account)
    };
    let before = seer.before();
    let Configuration { reading, rivals, in_match, in_match_more, elsewhere, unread } = configuration;
    let mut facts = Facts {
        reading,
        rivals,
        in_match,
        in_match_more,
        elsewhere,
        unread,
        drop_in: seer.managed(DROP_IN),
        key_files,
        directories: seer.directories(),
        reloaded: seer.reloaded(),
        before,
        record,
        accounts: could.iter().map(account).collect(),
        not_asked,
        networks_not_asked,
        servers,
        other_servers,
        probes,
        answers,
        other_keys: seer.other_keys,
        untrusted: seer.untrusted,
    };
    facts.other_keys.sort();
    facts.untrusted.sort();
    facts.untrusted.dedup();
    Ok(facts)
}

/// Names go into `sshd -T -C user=…,addr=…`: what could be read as more than a name is not asked about.
fn can_be_asked(name: &str) -> bool {
    name.len() <= 64 && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
}

/// What the configuration's files say.
struct Configuration {
    reading: Reading,
    rivals: Vec<Setting>,
    in_match: Vec<Setting>,
    in_match_more: u32,
    elsewhere: Vec<String>,
    unread: Vec<String>,
}

impl Configuration {
    fn unseen() -> Self {
        let (rivals, in_match, elsewhere, unread) = Default::default();
        Self { reading: Reading::Unseen, rivals, in_match, in_match_more: 0, elsewhere, unread }
    }

    /// Does a Match block ask to which address or port of this host somebody connects?
    fn asks_for_this_end(&self) -> bool {
        let asks = |s: &Setting| {
            s.within.as_deref().is_some_and(|criteria| criteria.to_ascii_lowercase().contains("local"))
        };
        self.in_match.iter().chain(&self.rivals).any(asks)
    }
}

struct Seer<'a> {
    host: &'a dyn HostRead,
    untrusted: Vec<Place>,
    other_keys: Vec<OtherKey>,
    seen: BTreeSet<String>,
}

impl<'a> Seer<'a> {
    fn new(host: &'a dyn HostRead, untrusted: Vec<Place>) -> Self {
        Self { host, untrusted, other_keys: Vec::new(), seen: BTreeSet::new() }
    }
}

impl Seer<'_> {
    /// Read whoever may write it, as sshd does; that others may is told.
    fn system_file(&mut self, path: &str) -> Result<Vec<u8>, Unknown> {
        let at = Beneath::of(path);
        self.writable_by_others(&at);
        let read = self.host.file(&at, Owner::Any, PASSWD_LIMIT);
        read.map_err(|error| Unknown::from_port(format!("reading {path}"), &error))
    }

    fn mtime(&self, at: &Beneath) -> Option<i64> {
        self.host.stat(at).ok().map(|stat| stat.mtime)
    }

    fn distrust(&mut self, at: &Beneath, error: &PortError) {
        let place = Place {
            path: neutral_bytes(at.path().as_bytes(), 300),
            why: neutral_bytes(error.to_string().as_bytes(), 300),
            mtime: self.mtime(at),
        };
        self.untrusted.push(place);
    }

    // ---- sshd's configuration ----------------------------------------------------------------------------------

    /// Read whoever may write them: refusing to look because of a mode would let that mode switch the area off.
    fn configuration(&mut self) -> Configuration {
        let Some(main) = self.config_file(&Beneath::of(MAIN)) else {
            return Configuration::unseen();
        };
        let Included { files, unread } = include::collect(&main, self);
        let scan = config::scan(&main, &files);
        let adds_up = ["allowusers", "denyusers", "allowgroups", "denygroups", "port", "listenaddress"];
        let concerns = |s: &Setting, before: bool| {
            effective::KEYWORDS.contains(&s.keyword.as_str())
                && (before || s.within.is_some() || adds_up.contains(&s.keyword.as_str()))
        };
        let short = |mut s: Setting| {
            s.args.truncate(4);
            s
        };
        let in_match = |s: &&Setting| s.within.is_some() && config::decides_login(&s.keyword);
        let in_match: Vec<Setting> = scan.settings.iter().map(|(s, _)| s).filter(in_match).cloned().collect();
        let rivals = scan.settings.into_iter().filter(|(s, before)| concerns(s, *before)).map(|(s, _)| s);
        Configuration {
            reading: scan.reading,
            rivals: rivals.take(RIVALS_LIMIT).collect(),
            in_match_more: u32::try_from(in_match.len().saturating_sub(IN_MATCH_LIMIT)).unwrap_or(u32::MAX),
            in_match: in_match.into_iter().take(IN_MATCH_LIMIT).map(short).collect(),
            elsewhere: scan.elsewhere.into_iter().take(50).collect(),
            unread: unread.into_iter().chain(scan.unread).take(50).collect(),
        }
    }

    fn config_file(&mut self, at: &Beneath) -> Option<Vec<u8>> {
        match self.host.file(at, Owner::Any, CONFIG_LIMIT) {
            Ok(bytes) => {
                if at.path() != DROP_IN {
                    self.writable_by_others(at);
                }
                Some(bytes)
            }
            Err(error) => {
                if at.path() != DROP_IN {
                    self.distrust(at, &error);
                }
                None
            }
        }
    }

    fn writable_by_others(&mut self, at: &Beneath) {
        if let Ok(stat) = self.host.stat(at)
            && (stat.uid != 0 || stat.mode & 0o022 != 0)
        {
            let why = format!("others than root can write it (uid {}, mode {:04o})", stat.uid, stat.mode);
            self.untrusted.push(Place { path: neutral(&at.path()), why, mtime: Some(stat.mtime) });
        }
    }

    // ---- our own places ----------------------------------------------------------------------------------------

    fn managed(&self, path: &str) -> Managed {
        let at = Beneath::of(path);
        match (self.host.file(&at, Owner::Root, FILE_LIMIT), self.host.stat(&at)) {
            (Ok(bytes), Ok(stat)) => Managed::Seen(Seen {
                hash: Hash::of(&bytes),
                text: String::from_utf8_lossy(&bytes).into_owned(),
                mode: stat.mode,
                mtime: stat.mtime,
            }),
            (Err(PortError::Absent { .. }), _) => Managed::Absent,
            (Err(error), _) | (_, Err(error)) => Managed::Untrusted(Place {
                path: neutral(path),
                why: neutral_bytes(error.to_string().as_bytes(), 300),
                mtime: self.mtime(&at),
            }),
        }
    }

    fn key_files(&mut self) -> BTreeMap<String, Managed> {
        let directory = Beneath::new(KEYS, "");
        let entries = match self.host.dir(&directory, LIST_LIMIT) {
            Ok(entries) => entries,
            Err(PortError::Absent { .. }) => return BTreeMap::new(),
            Err(error) => {
                self.distrust(&directory, &error);
                return BTreeMap::new();
            }
        };
        let mut files = BTreeMap::new();
        for entry in entries {
            let path = format!("{KEYS}/{}", entry.name);
            let plain = entry.name.bytes().all(|b| b.is_ascii_graphic()) && entry.kind != EntryKind::Dir;
            if plain && crate::port::ManagedPath::new(path.clone()).is_ok() {
                files.insert(entry.name, self.managed(&path));
            } else {
                let why = "is nothing that belongs into the directory of keys".to_owned();
                self.untrusted.push(Place { path: neutral_bytes(path.as_bytes(), 300), why, mtime: None });
            }
        }
        files
    }

    /// sshd's StrictModes wants them and all above root's (else it takes no key: measured); the account must be able to pass.
    fn directories(&self) -> Vec<Place> {
        let looks = ["/etc", "/etc/ssh", "/etc/ssh/tenure", KEYS].into_iter().filter_map(|path| {
            let stat = match self.host.stat(&Beneath::of(path)) {
                Ok(stat) => stat,
                Err(_) => return None,
            };
            let good = stat.kind == EntryKind::Dir
                && stat.uid == 0
                && stat.mode & 0o022 == 0
                && stat.mode & 0o111 == 0o111;
            let why = format!(
                "uid {}, mode {:04o}; mend it with `chown root: {path} && chmod 755 {path}`",
                stat.uid, stat.mode
            );
            (!good).then(|| Place { path: path.into(), why, mtime: Some(stat.mtime) })
        });
        looks.collect()
    }

    fn reloaded(&self) -> Option<Hash> {
        let bytes = self.host.file(&Beneath::of(RELOADED), Owner::Root, 200).ok()?;
        std::str::from_utf8(&bytes).ok()?.trim().parse().ok()
    }

    /// What cannot be read counts as "nothing stood there", so that it is never overwritten with what is ours.
    fn before(&mut self) -> Option<Before> {
        let at = Beneath::of(BEFORE);
        match self.host.file(&at, Owner::Root, 1024 * 1024) {
            Ok(bytes) => Some(serde_json::from_slice(&bytes).unwrap_or_else(|error| {
                let error = PortError::Failed { doing: format!("reading {BEFORE}"), why: error.to_string() };
                self.distrust(&at, &error);
                Before::default()
            })),
            Err(PortError::Absent { .. }) => None,
            Err(error) => {
                self.distrust(&at, &error);
                Some(Before::default())
            }
        }
    }

    // ---- keys outside of our directory -------------------------------------------------------------------------

    fn keys_in_home(&mut self, entry: &Entry) {
        if entry.home.len() < 2 || !entry.home.starts_with('/') {
            return;
        }
        for below in IN_HOMES {
            self.keys_at(&Beneath::new(entry.home.as_str(), below), entry);
        }
    }

    /// Files that sshd reads for an account besides those in homes, as it says itself.
    fn keys_elsewhere(&mut self, asked: &[&Entry], answers: &BTreeMap<String, Answer>, probes: &[Probe]) {
        for entry in asked {
            let theirs = probes.iter().filter(|p| p.account == entry.name);
            let settings = theirs.filter_map(|p| match answers.get(&p.answer) {
                Some(Answer::Settings(settings)) => settings.get("authorizedkeysfile"),
                _ => None,
            });
            let patterns: BTreeSet<String> =
                settings.flatten().flat_map(|v| v.split_whitespace().map(ToOwned::to_owned)).collect();
            for path in patterns.iter().filter_map(|p| expand(p, entry)) {
                if !path.starts_with(&format!("{KEYS}/")) {
                    self.keys_at(&Beneath::new("/", path.trim_start_matches('/')), entry);
                }
            }
        }
    }

    fn keys_at(&mut self, at: &Beneath, entry: &Entry) {
        if !self.seen.insert(at.path()) {
            return;
        }
        let found = match self.host.file(at, Owner::Uid(entry.uid), FILE_LIMIT) {
            Ok(bytes) => keys::parse(&bytes),
            Err(PortError::Absent { .. }) => return,
            Err(error) => return self.distrust(at, &error),
        };
        let room = KEYS_IN_ALL.saturating_sub(self.other_keys.len()).min(KEYS_PER_FILE);
        if found.len() > room {
            let why = format!("has {} keys, of which only {room} are looked at", found.len());
            self.untrusted.push(Place {
                path: neutral_bytes(at.path().as_bytes(), 300),
                why,
                mtime: self.mtime(at),
            });
        }
        let mtime = if found.is_empty() { None } else { self.mtime(at) };
        for (line, key) in found.into_iter().take(room) {
            let fingerprint = key.fingerprint();
            let from = key.option("from").map(|from| neutral_bytes(from.as_bytes(), 200));
            self.other_keys.push(OtherKey {
                account: neutral_bytes(entry.name.as_bytes(), 64),
                path: neutral_bytes(at.path().as_bytes(), 300),
                line,
                kind: neutral_bytes(key.kind.as_bytes(), 60),
                fingerprint,
                comment: neutral_bytes(key.comment.as_bytes(), 100),
                from,
                mtime,
            });
        }
    }

    // ---- asking sshd -------------------------------------------------------------------------------------------

    fn ask_sshd(
        &self,
        questions: &[Question<'_>],
    ) -> Result<(Vec<Probe>, BTreeMap<String, Answer>), Unknown> {
        let mut probes = Vec::new();
        let mut answers = BTreeMap::new();
        // One configuration for all: when sshd refuses it once it refuses it always.
        let mut refused: Option<Answer> = None;
        for question in questions {
            let answer = match &refused {
                Some(answer) => answer.clone(),
                None => self.ask_once(question)?,
            };
            if matches!(answer, Answer::Refused(_)) {
                refused = Some(answer.clone());
            }
            let name = Hash::of(&serde_json::to_vec(&answer).expect("an answer is plain data")).short();
            answers.insert(name.clone(), answer);
            let Question { account, addr, listed, local, port } = *question;
            probes.push(Probe { account: account.to_owned(), addr, local, port, listed, answer: name });
        }
        probes.sort();
        Ok((probes, answers))
    }

    fn ask_once(&self, question: &Question<'_>) -> Result<Answer, Unknown> {
        let Question { account, addr, local, port, .. } = *question;
        let (user, addr, local) = (account.to_owned(), addr.to_string(), local.to_string());
        let query = Query::SshdEffective { user, addr, local, port };
        let answer: PortResult<Vec<u8>> = self.host.ask(&query);
        match answer {
            Ok(bytes) => Ok(effective::parse(&bytes).map_or_else(Answer::Refused, Answer::Settings)),
            Err(error @ PortError::Absent { .. }) => {
                Err(Unknown::from_port("asking sshd for its settings", &error))
            }
            Err(error) => Ok(Answer::Refused(neutral_bytes(error.to_string().as_bytes(), 500))),
        }
    }
}

impl include::Files for Seer<'_> {
    fn names(&mut self, directory: &str) -> Result<Vec<String>, String> {
        match self.host.dir(&Beneath::new(directory, ""), LIST_LIMIT) {
            Ok(entries) => Ok(entries.into_iter().map(|entry| entry.name).collect()),
            Err(PortError::Absent { .. }) => Ok(Vec::new()),
            Err(error) => Err(error.to_string()),
        }
    }

    fn text(&mut self, path: &str) -> Result<Option<Vec<u8>>, String> {
        let at = Beneath::of(path);
        match self.host.file(&at, Owner::Any, CONFIG_LIMIT) {
            Ok(bytes) => {
                if path != DROP_IN {
                    self.writable_by_others(&at);
                }
                Ok(Some(bytes))
            }
            Err(PortError::Absent { .. }) => Ok(None),
            // Ours is told apart, and put in order.
            Err(_) if path == DROP_IN => Ok(None),
            Err(error) => Err(error.to_string()),
        }
    }
}

/// TOKENS of sshd_config(5) for AuthorizedKeysFile: `%h`, `%u`, `%U`, `%%`; relative paths are beneath the home.
pub(super) fn expand(pattern: &str, entry: &Entry) -> Option<String> {
    if pattern == "none" {
        return None;
    }
    let mut path = String::new();
    let mut chars = pattern.chars();
    while let Some(c) = chars.next() {
        match c {
            '%' => match chars.next()? {
                'h' => path.push_str(&entry.home),
                'u' => path.push_str(&entry.name),
                'U' => path.push_str(&entry.uid.to_string()),
                '%' => path.push('%'),
                _ => return None,
            },
            c => path.push(c),
        }
    }
    Some(if path.starts_with('/') { path } else { format!("{}/{path}", entry.home.trim_end_matches('/')) })
}
