//! The fake host's sshd: what `sshd -T -C` prints for the settings that decide who gets in, and who does get in by what
//! the running daemon has read. Its rules were measured with OpenSSH 9.2; a conformance test holds it to the real one.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

use super::files::{Files, Node, NodeKind};
use crate::port::{PortError, PortResult};
use crate::ssh_access::accounts::{self, Account};
use crate::ssh_access::config::{MAIN, absolute, directives, names};
use crate::ssh_access::effective::{Settings, glob, host_matches, may_try, parse};
use crate::ssh_access::keys;

/// Keyword, default as printed, kind of value.
const KEYWORDS: [(&str, &str, Value); 30] = [
    ("allowgroups", "", Value::List),
    ("allowusers", "", Value::Users),
    ("authenticationmethods", "any", Value::Text),
    ("authorizedkeyscommand", "none", Value::Text),
    ("authorizedkeysfile", ".ssh/authorized_keys .ssh/authorized_keys2", Value::Text),
    ("authorizedprincipalscommand", "none", Value::Text),
    ("authorizedprincipalsfile", "none", Value::Text),
    ("chrootdirectory", "none", Value::Text),
    ("denygroups", "", Value::List),
    ("denyusers", "", Value::Users),
    ("forcecommand", "none", Value::Text),
    ("gssapiauthentication", "no", Value::Flag),
    ("hostbasedauthentication", "no", Value::Flag),
    ("kbdinteractiveauthentication", "yes", Value::Flag),
    ("kerberosauthentication", "no", Value::Flag),
    ("listenaddress", "", Value::Listen),
    ("loglevel", "", Value::Text),
    ("passwordauthentication", "yes", Value::Flag),
    ("permitemptypasswords", "no", Value::Flag),
    ("permitrootlogin", "without-password", Value::Root),
    ("permituserenvironment", "no", Value::Text),
    ("port", "22", Value::List),
    ("printmotd", "yes", Value::Flag),
    ("pubkeyacceptedalgorithms", ACCEPTED, Value::Text),
    ("pubkeyauthentication", "yes", Value::Flag),
    ("revokedkeys", "none", Value::Text),
    ("strictmodes", "yes", Value::Flag),
    ("trustedusercakeys", "none", Value::Text),
    ("usepam", "no", Value::Flag),
    ("x11forwarding", "no", Value::Flag),
];
const ACCEPTED: &str = "ssh-ed25519-cert-v01@openssh.com,ecdsa-sha2-nistp256-cert-v01@openssh.com,\
    ecdsa-sha2-nistp384-cert-v01@openssh.com,ecdsa-sha2-nistp521-cert-v01@openssh.com,\
    sk-ssh-ed25519-cert-v01@openssh.com,sk-ecdsa-sha2-nistp256-cert-v01@openssh.com,\
    rsa-sha2-512-cert-v01@openssh.com,rsa-sha2-256-cert-v01@openssh.com,ssh-ed25519,ecdsa-sha2-nistp256,\
    ecdsa-sha2-nistp384,ecdsa-sha2-nistp521,sk-ssh-ed25519@openssh.com,sk-ecdsa-sha2-nistp256@openssh.com,\
    rsa-sha2-512,rsa-sha2-256";
/// Accepted in a configuration and without meaning here.
const OTHERS: [&str; 3] = ["acceptenv", "subsystem", "banner"];

#[derive(Clone, Copy, PartialEq)]
enum Value {
    Flag,
    Root,
    Text,
    List,
    Users,
    Listen,
}

/// The files that a daemon has read, or could have: path and text of every regular file.
#[derive(Debug, Clone, Default)]
pub(super) struct Config(BTreeMap<String, Vec<u8>>);

/// servconf.c, SERVCONF_MAX_DEPTH.
const MAX_DEPTH: usize = 16;

/// What the port puts into sshd's argument: nothing in it may be another condition.
pub(super) fn argument<'a>(user: &'a str, addr: &str, local: &str, port: u16) -> PortResult<Connection<'a>> {
    let parts = |c: char| c.is_control() || c.is_whitespace() || c == ',' || c == '=';
    let untrusted = |what: &str, why: &str| PortError::Untrusted { what: what.into(), why: why.into() };
    if user.is_empty() || user.len() > 256 || user.starts_with('-') || user.contains(parts) {
        return Err(untrusted(user, "sshd cannot be asked about an account of this name"));
    }
    let parse = |text: &str| text.parse().map_err(|_| untrusted(text, "it is not an address"));
    Ok(Connection { user, addr: parse(addr)?, local: parse(local)?, port })
}

/// Whose connection a configuration is asked for.
#[derive(Clone, Copy)]
pub(super) struct Connection<'a> {
    user: &'a str,
    addr: IpAddr,
    local: IpAddr,
    port: u16,
}

impl<'a> Connection<'a> {
    /// To port 22 of any address.
    fn plain(user: &'a str, addr: IpAddr) -> Self {
        let local = if addr.is_ipv4() { [0, 0, 0, 0].into() } else { [0u16; 8].into() };
        Self { user, addr, local, port: 22 }
    }
}

impl Config {
    /// As the files stand now.
    pub(super) fn read(files: &Files) -> Self {
        let text = |(path, node): (&String, &Node)| match &node.kind {
            NodeKind::File(bytes) => Some((path.clone(), bytes.clone())),
            _ => None,
        };
        Self(files.all().iter().filter_map(text).collect())
    }

    /// Where a daemon with this configuration listens.
    pub(super) fn listens(&self) -> Vec<SocketAddr> {
        let connection = Connection::plain("root", IpAddr::from([127, 0, 0, 1]));
        self.found(&connection).map(|found| listen(&found)).unwrap_or_default()
    }

    fn found(&self, connection: &Connection<'_>) -> Result<Found, String> {
        let mut found = Found::default();
        let main = self.0.get(MAIN).map_or(&[][..], Vec::as_slice);
        self.file((MAIN, main, 0), true, false, connection, &mut found)?;
        Ok(found)
    }

    /// `sshd -T -C user=…,addr=…,laddr=…,lport=…`.
    pub(super) fn effective(&self, connection: &Connection<'_>) -> Result<String, String> {
        let found = self.found(connection)?;
        let mut out = String::new();
        for (keyword, default, kind) in KEYWORDS {
            let values = found.matched.get(keyword).or_else(|| found.global.get(keyword));
            let mut line =
                |value: &str| writeln!(out, "{keyword} {value}").expect("writing to a String cannot fail");
            match values {
                _ if kind == Value::Listen => listen(&found).iter().for_each(|at| line(&at.to_string())),
                Some(values) if matches!(kind, Value::List | Value::Users) => {
                    values.iter().for_each(|v| line(v))
                }
                Some(values) => line(&values.join(" ")),
                None if default.is_empty() => {}
                None => line(default),
            }
        }
        Ok(out)
    }

    /// `sshd -t`.
    pub(super) fn test(&self) -> Result<(), String> {
        self.found(&Connection::plain("root", IpAddr::from([127, 0, 0, 1]))).map(|_| ())
    }

    fn file(
        &self,
        (path, text, depth): (&str, &[u8], usize),
        active: bool,
        in_match: bool,
        connection: &Connection<'_>,
        found: &mut Found,
    ) -> Result<(), String> {
        if depth > MAX_DEPTH {
            return Err("Too many recursive configuration includes".into());
        }
        let (outer, mut active, mut in_match) = (active, active, in_match);
        for (line, keyword, args) in directives(text) {
            let bad = |why: &str| Err(format!("{path} line {line}: {why}"));
            match keyword.as_str() {
                "match" => {
                    in_match = true;
                    active = outer
                        && criteria(&args, connection)
                            .ok_or(format!("{path} line {line}: unsupported Match"))?;
                }
                "include" => {
                    for pattern in args.iter().map(|pattern| absolute(pattern)) {
                        if pattern.contains(['[', '\\']) {
                            return bad("the fake host knows no such pattern");
                        }
                        for (file, text) in self.0.iter().filter(|(path, _)| names(&pattern, path)) {
                            self.file((file, text, depth + 1), active, in_match, connection, found)?;
                        }
                    }
                }
                other if OTHERS.contains(&other) => {}
                other => {
                    let Some((keyword, _, kind)) = KEYWORDS.iter().find(|(k, _, _)| *k == other) else {
                        return bad(&format!("Bad configuration option: {other}"));
                    };
                    valid(*kind, &args).or_else(|why| bad(&why))?;
                    if active {
                        let into = if in_match { &mut found.matched } else { &mut found.global };
                        let adds = matches!(kind, Value::List | Value::Users | Value::Listen);
                        match into.get_mut(*keyword) {
                            Some(values) if adds => values.extend(args.iter().map(|v| printed(*kind, v))),
                            Some(_) => {}
                            None => {
                                into.insert(keyword, args.iter().map(|v| printed(*kind, v)).collect());
                            }
                        }
                    }
                }
            }
        }
        Ok(())
    }
}

/// Values in Match blocks win over the others; among either the first does, lists add up (measured).
#[derive(Default)]
struct Found {
    global: BTreeMap<&'static str, Vec<String>>,
    matched: BTreeMap<&'static str, Vec<String>>,
}

fn valid(kind: Value, args: &[String]) -> Result<(), String> {
    let first = args.first().ok_or("missing argument.")?;
    match kind {
        Value::Flag if !matches!(first.as_str(), "yes" | "no") => Err("bad yes/no argument".into()),
        Value::Root if !matches!(first.as_str(), "yes" | "no" | "prohibit-password" | "without-password") => {
            Err("unsupported option".into())
        }
        Value::Users => {
            let host_bits = |p: &&String| {
                let net = p.split_once('@').and_then(|(_, host)| host.parse::<ipnet::IpNet>().ok());
                net.is_some_and(|net| net.trunc() != net)
            };
            match args.iter().find(host_bits) {
                Some(pattern) => Err(format!("invalid AllowUsers pattern: \"{pattern}\"")),
                None => Ok(()),
            }
        }
        Value::Listen if first.parse::<IpAddr>().is_err() && first.parse::<SocketAddr>().is_err() => {
            Err("the fake host knows no such address".into())
        }
        _ => Ok(()),
    }
}

/// Addresses and ports: every ListenAddress without a port has all of Port's.
fn listen(found: &Found) -> Vec<SocketAddr> {
    let values = |keyword: &str| found.global.get(keyword).cloned().unwrap_or_default();
    let mut ports: Vec<u16> = values("port").iter().filter_map(|port| port.parse().ok()).collect();
    if ports.is_empty() {
        ports.push(22);
    }
    let mut addresses = values("listenaddress");
    if addresses.is_empty() {
        addresses = vec!["::".into(), "0.0.0.0".into()];
    }
    let mut out: Vec<SocketAddr> = Vec::new();
    for address in addresses {
        match address.parse::<SocketAddr>() {
            Ok(whole) => out.push(whole),
            Err(_) => out.extend(
                address
                    .parse::<IpAddr>()
                    .into_iter()
                    .flat_map(|ip| ports.iter().map(move |p| SocketAddr::new(ip, *p))),
            ),
        }
    }
    out
}

fn printed(kind: Value, value: &str) -> String {
    if kind == Value::Root && value == "prohibit-password" { "without-password".into() } else { value.into() }
}

fn criteria(args: &[String], connection: &Connection<'_>) -> Option<bool> {
    if args.len() == 1 && args[0].eq_ignore_ascii_case("all") {
        return Some(true);
    }
    let mut all = true;
    for pair in args.chunks(2) {
        let [name, list] = pair else { return None };
        all &= match name.to_ascii_lowercase().as_str() {
            "user" => list.split(',').any(|p| glob(p, connection.user)),
            "address" => host_matches(list, connection.addr),
            "localaddress" => host_matches(list, connection.local),
            "localport" => list.split(',').any(|port| port.parse() == Ok(connection.port)),
            _ => return None,
        };
    }
    Some(all)
}

/// Who gets in, by what the running daemon has read and by the files as they are now.
pub(super) struct Door<'a> {
    pub(super) running: &'a Config,
    pub(super) files: &'a Files,
    pub(super) now: Timestamp,
}

impl Door<'_> {
    /// Where the key stands by which somebody gets in, `path:line`.
    pub(super) fn by_key(&self, user: &str, blob: &[u8], addr: IpAddr) -> Option<String> {
        let (account, settings) = self.asked(user, addr)?;
        let on = |keyword: &str| settings.get(keyword).and_then(|v| v.first()).map_or("", String::as_str);
        if on("pubkeyauthentication") != "yes" || (account.uid == 0 && on("permitrootlogin") == "no") {
            return None;
        }
        let methods = on("authenticationmethods");
        if !methods.is_empty() && !methods.split_whitespace().any(|m| matches!(m, "any" | "publickey")) {
            return None;
        }
        let mut paths = on("authorizedkeysfile").split_whitespace().map(|pattern| {
            let path = pattern.replace("%h", &account.home).replace("%u", user);
            if path.starts_with('/') { path } else { format!("{}/{path}", account.home) }
        });
        paths.find_map(|path| {
            let lines = keys::parse(&self.readable(&path, &account)?);
            let (line, _) = lines.iter().find(|(_, key)| key.blob == blob && self.admits(key, addr))?;
            Some(format!("{path}:{line}"))
        })
    }

    /// Does sshd's log of this connection name the files of keys?
    pub(super) fn is_verbose(&self, user: &str, addr: IpAddr) -> bool {
        let said = self.running.effective(&Connection::plain(user, addr)).unwrap_or_default();
        said.lines().any(|line| matches!(line, "loglevel VERBOSE" | "loglevel DEBUG"))
    }

    pub(super) fn by_password(&self, user: &str, addr: IpAddr) -> bool {
        let Some((account, settings)) = self.asked(user, addr) else { return false };
        let on = |keyword: &str| settings.get(keyword).and_then(|v| v.first()).map_or("", String::as_str);
        let methods = on("authenticationmethods");
        let asked = on("passwordauthentication") == "yes"
            || (on("kbdinteractiveauthentication") == "yes" && on("usepam") == "yes");
        let root = account.uid != 0 || on("permitrootlogin") == "yes";
        asked
            && root
            && methods == "any"
            && accounts::with_password(&self.bytes("/etc/shadow")).contains(user)
    }

    fn asked(&self, user: &str, addr: IpAddr) -> Option<(Account, Settings)> {
        let account = accounts::passwd(&self.bytes("/etc/passwd")).into_iter().find(|a| a.name == user)?;
        let connection = Connection::plain(user, addr);
        let settings = parse(self.running.effective(&connection).ok()?.as_bytes()).ok()?;
        may_try(&settings, user, addr).then_some((account, settings))
    }

    fn bytes(&self, path: &str) -> Vec<u8> {
        match self.files.get(path).map(|n| &n.kind) {
            Some(NodeKind::File(bytes)) => bytes.clone(),
            _ => Vec::new(),
        }
    }

    /// As auth2-pubkeyfile.c opens it: as the account, its own or root's, not writable by others.
    fn readable(&self, path: &str, account: &Account) -> Option<Vec<u8>> {
        let node = self.files.get(path)?;
        let open = node.mode & 0o004 != 0 || (node.uid == account.uid && node.mode & 0o400 != 0);
        let strict = (node.uid == 0 || node.uid == account.uid) && node.mode & 0o022 == 0;
        match &node.kind {
            NodeKind::File(bytes) if (open || account.uid == 0) && strict && self.passes(path, account) => {
                Some(bytes.clone())
            }
            _ => None,
        }
    }

    /// All directories above it are root's or the account's, can be changed by nobody else, and let the account pass.
    fn passes(&self, path: &str, account: &Account) -> bool {
        let above = path.match_indices('/').skip(1).map(|(at, _)| &path[..at]);
        above.filter_map(|dir| self.files.get(dir)).all(|node| {
            let own = node.uid == account.uid;
            let lets = account.uid == 0 || node.mode & if own { 0o100 } else { 0o001 } != 0;
            (node.uid == 0 || own) && node.mode & 0o022 == 0 && lets
        })
    }

    fn admits(&self, key: &keys::KeyLine, addr: IpAddr) -> bool {
        let from = key.option("from").is_none_or(|list| host_matches(list, addr));
        let lasts = key.option("expiry-time").is_none_or(|text| {
            let text = text.strip_suffix('Z').unwrap_or_default();
            let end = DateTime::strptime("%Y%m%d%H%M%S", text).and_then(|t| t.to_zoned(TimeZone::UTC));
            end.is_ok_and(|end| self.now <= end.timestamp())
        });
        from && lasts
    }
}

/// An entry of the journal.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) at: Timestamp,
    pub(super) since_boot_ms: u64,
    pub(super) pid: u32,
    pub(super) uid: u32,
    pub(super) exe: String,
    pub(super) message: String,
}

/// As `journalctl -o json` prints them.
pub(super) fn journal<'a>(entries: impl Iterator<Item = &'a Entry>) -> Vec<u8> {
    let line = |entry: &Entry| {
        let value = serde_json::json!({
            "__REALTIME_TIMESTAMP": entry.at.as_microsecond().to_string(),
            "_PID": entry.pid.to_string(),
            "_UID": entry.uid.to_string(),
            "_EXE": entry.exe,
            "MESSAGE": entry.message,
        });
        format!("{value}\n").into_bytes()
    };
    entries.flat_map(line).collect()
}

/// A login by key.
pub(super) struct Login<'a> {
    pub(super) user: &'a str,
    pub(super) key: &'a keys::KeyLine,
    pub(super) addr: IpAddr,
    pub(super) place: &'a str,
    pub(super) pid: u32,
}

impl Login<'_> {
    /// What sshd writes of it (OpenSSH 9.2).
    pub(super) fn entries(&self, verbose: bool, at: Timestamp, since_boot_ms: u64) -> Vec<Entry> {
        let Self { user, key, addr, place, pid } = self;
        let kind = key.kind.strip_prefix("ssh-").unwrap_or(&key.kind).to_uppercase();
        let print = key.fingerprint();
        let found = format!("Accepted key {kind} {print} found at {place}");
        let accepted = format!("Accepted publickey for {user} from {addr} port 51000 ssh2: {kind} {print}");
        let entry =
            |message| Entry { at, since_boot_ms, pid: *pid, uid: 0, exe: "/usr/sbin/sshd".into(), message };
        verbose.then_some(found).into_iter().chain([accepted]).map(entry).collect()
    }
}
