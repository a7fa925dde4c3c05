//! No secret reaches a log, an argument or an environment: agent, jobs, vault, controller and operator's tool at work, their
//! processes looked at all the while, and then everything that was seen searched for the secrets themselves.

use age::secrecy::ExposeSecret;
use age::x25519::Identity;
use tenure_lab::{Host, Running, wait_for};
use tenure_scenarios::agent::SOON;
use tenure_scenarios::controller::MachineRole;
use tenure_scenarios::operator::{DESK, PASSPHRASE};
use tenure_scenarios::vaulted::Vaulted;
use tenure_scenarios::{Result, all_held, programs};

const SEEN: &str = "/run/seen";
/// Writes down every command line and environment of every process, each once.
const WATCH: &str = "
import os, time
known = set()
with open('/run/seen', 'wb', buffering=0) as out:
    while True:
        for pid in os.listdir('/proc'):
            if pid.isdigit():
                for what in ('cmdline', 'environ'):
                    try:
                        with open('/proc/%s/%s' % (pid, what), 'rb') as file:
                            text = what.encode() + b' ' + file.read().replace(b'\\0', b' ') + b'\\n'
                    except OSError:
                        continue
                    if text not in known:
                        known.add(text)
                        out.write(text)
        time.sleep(0.002)
";

/// Everything of ours that is secret on a host: path, blank, base64 of the file.
const FILES: &str = "find /var/lib/tenure /var/lib/tenure-vault /var/lib/tenure-controller -type f \
    \\( -name '*.key' -o -name '*secret*' -o -path '*/keys/*/password' -o -path '*/keys/*/key' -o -path '*/keys/*/master' \\) \
    2>/dev/null | while read -r path; do echo \"$path $(base64 -w0 \"$path\")\"; done";

/// A host whose processes are looked at.
struct Watched {
    host: Host,
    _watch: Running,
}

fn watch(host: &Host) -> Result<Watched> {
    host.must(&["rm", "-f", SEEN])?;
    let running = host.spawn(&["python3", "-c", WATCH])?;
    // What is looked for later is found when it is there: in an argument, in an environment, in the log.
    let plant = "logger planted-message; env PLANTED=planted-environment tail -f /dev/null /planted-argument";
    let _plant = host.spawn(&["sh", "-c", plant])?;
    let watched = Watched { host: host.clone(), _watch: running };
    let all = [
        ("cmdline tail -f ", "/planted-argument"),
        ("environ ", "PLANTED=planted-environment"),
        ("{", "planted-message"),
    ];
    wait_for("the watch", SOON, || {
        let text = watched.everything().unwrap_or_default();
        all.iter().all(|(kind, what)| text.lines().any(|l| l.starts_with(kind) && l.contains(what)))
    })?;
    Ok(watched)
}

impl Watched {
    /// What stood in a command line, an environment or the journal.
    fn everything(&self) -> Result<String> {
        let line = format!("cat {SEEN}; journalctl --no-pager --all -o json");
        Ok(self.host.must(&["sh", "-c", &line])?)
    }
}

/// A secret and its name.
struct Secret {
    name: String,
    /// Any of these gives it away.
    forms: Vec<String>,
}

impl Secret {
    fn text(name: &str, text: &str) -> Self {
        Self { name: name.to_owned(), forms: vec![text.trim().to_owned()] }
    }

    /// As the words of a file, and its bytes in hexadecimal digits and base64.
    fn bytes(name: &str, bytes: &[u8]) -> Self {
        let Ok(text) = std::str::from_utf8(bytes) else { return Self::raw(name, bytes) };
        let mut forms = Vec::new();
        let words = text.split(|c: char| c.is_whitespace() || "\"',{}[]:".contains(c));
        for word in words.filter(|word| word.len() >= 24) {
            forms.push(word.to_owned());
            let digits = base64(word).filter(|bytes| bytes.len() >= 16).map(|bytes| hex(&bytes));
            forms.extend(digits.into_iter().flat_map(|digits| [digits.to_ascii_uppercase(), digits]));
        }
        Self { name: name.to_owned(), forms }
    }

    /// Bytes that are no text.
    fn raw(name: &str, bytes: &[u8]) -> Self {
        let digits = hex(bytes);
        Self { name: name.to_owned(), forms: vec![encoded(bytes), digits.to_ascii_uppercase(), digits] }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

fn encoded(bytes: &[u8]) -> String {
    let group = |three: &[u8]| {
        let number = three.iter().fold(0u32, |n, b| n << 8 | u32::from(*b)) << (8 * (3 - three.len()));
        let digits = (0..=three.len()).map(|n| char::from(DIGITS[(number >> (18 - 6 * n)) as usize & 63]));
        digits.collect::<String>()
    };
    bytes.chunks(3).map(group).collect()
}

fn base64(text: &str) -> Option<Vec<u8>> {
    let (mut bits, mut number, mut bytes) = (0, 0u32, Vec::new());
    for digit in text.trim_end_matches('=').bytes() {
        let value = DIGITS.iter().position(|d| *d == digit)?;
        number = (number << 6 | value as u32) & 0xffff;
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            bytes.push((number >> bits) as u8);
        }
    }
    Some(bytes)
}

fn secrets_of(host: &Host) -> Result<Vec<Secret>> {
    let told = host.must(&["sh", "-c", FILES])?;
    let each = told.lines().filter_map(|line| line.split_once(' '));
    let each =
        each.map(|(path, text)| Some(Secret::bytes(&format!("{}:{path}", host.name()), &base64(text)?)));
    each.collect::<Option<Vec<_>>>().ok_or_else(|| "base64 -w0 gave no base64".into())
}

#[test]
fn no_secret_is_in_a_log_an_argument_or_an_environment() -> Result<()> {
    let (ours, other) = (Identity::generate(), Identity::generate());
    let recipients = [&ours, &other].map(|id| id.to_public().to_string());
    let mut v = Vaulted::linked("secrets", &recipients)?;
    let ctl1 = v.fleet.ctl1();
    let stranger = v.fleet.stranger.clone();
    stranger.put("/usr/sbin/tenure-agent", &programs::bytes("tenure-agent")?, "755")?;
    let hosts = [
        v.fleet.web1.clone(),
        v.fleet.vault1.clone(),
        ctl1.clone(),
        v.fleet.office.clone(),
        stranger.clone(),
    ];
    let watched = hosts.iter().map(watch).collect::<Result<Vec<_>>>()?;

    // Everything that has a secret in its hands does its work: the daemons start anew, a person logs in, makes keys, signs
    // and publishes, a machine enrols with a token, copies and drills are made, records are exported.
    ctl1.must(&["systemctl", "restart", "tenure-controller"])?;
    v.fleet.vault1.must(&["systemctl", "restart", "tenure-vault"])?;
    v.fleet.web1.must(&["systemctl", "restart", "tenure-agent"])?;
    v.fleet.await_rest()?;
    v.fleet.log_in()?;
    v.fleet.tenure_must(&["key", "create", "jeroen", "--passphrase-file", "pass"])?;
    v.publish("03:31")?;
    let by_descriptor =
        "tenure sign set --key marit.key --root marit-root.json --out again --passphrase-fd 7 7<pass";
    let signed = v.fleet.office.sh(&format!("cd {DESK} && {by_descriptor}"))?;
    assert!(signed.ok(), "{}", signed.said());
    v.fleet.enrol(&stranger, MachineRole::Host)?;
    let ran = v.must_run(&[])?;
    assert_eq!(ran.len(), 4, "{ran:#?}");
    let drill = v.fleet.web1.exec_fed(&["tenure-agent", "backup", "drill"], None, 300)?;
    assert!(drill.ok(), "{}", drill.said());
    v.fleet.agent(&["evidence", "export", "--out", "/root/chain"])?;
    v.fleet.agent(&["doctor"])?;
    v.fleet.await_reported()?;
    // What goes wrong tells no more: a wrong passphrase, a wrong password, a token that was used.
    v.fleet.office.put(&format!("{DESK}/wrong"), format!("{PASSPHRASE} not\n").as_bytes(), "600")?;
    let wrong = v.fleet.tenure(&[
        "sign",
        "set",
        "--key",
        "marit.key",
        "--out",
        "no",
        "--passphrase-file",
        "wrong",
    ])?;
    let login =
        ["login", "--server", "198.51.100.20:8443", "--ca", "ca.crt", "--name", "ctl1", "--user", "marit"];
    let refused = v.fleet.tenure(&[login.as_slice(), &["--password-file", "wrong"]].concat())?;
    let used = stranger.exec(&["tenure-agent", "enrol", "/root/stranger.invitation", "--no-wait"])?;
    assert!(!wrong.ok() && !refused.ok(), "{wrong:?} {refused:?}");
    let said = format!("{}{}{}", wrong.said(), refused.said(), used.said());

    let mut secrets = Vec::new();
    for host in &hosts {
        secrets.extend(secrets_of(host)?);
    }
    let office = &v.fleet.office;
    secrets.push(Secret::text("passphrase", PASSPHRASE));
    secrets.push(Secret::text("password", &office.get(&format!("{DESK}/password"))?));
    for operator in ["marit", "jeroen"] {
        let name = format!("{operator}'s secret key");
        secrets.push(Secret::raw(&name, &v.fleet.secret_seed(operator)?));
    }
    let session = office.must(&["sh", "-c", "cat ~/.local/state/tenure/session.json"])?;
    let session: serde_json::Value = serde_json::from_str(&session)?;
    secrets.push(Secret::text("session", session["token"].as_str().ok_or("no token in the session")?));
    for (host, file) in [(&v.fleet.web1, "web1"), (&stranger, "stranger")] {
        let invitation: serde_json::Value =
            serde_json::from_str(&host.get(&format!("/root/{file}.invitation"))?)?;
        let token = invitation["secret"].as_str().ok_or("no secret in the invitation")?;
        secrets.push(Secret::text(&format!("{file}'s token"), token));
    }
    secrets.push(Secret::text("recovery identity", ours.to_string().expose_secret()));
    let named =
        |part: &str| secrets.iter().any(|s| s.name.contains(part) && s.forms.iter().any(|f| f.len() >= 16));
    for part in [
        "web1:/var/lib/tenure/identity.key",
        "web1:/var/lib/tenure/ssh.key",
        "/server/",
        "vault1:/var/lib/tenure-vault/",
        "ctl1:/var/lib/tenure-controller/",
        "marit's secret key",
    ] {
        let names: Vec<_> = secrets.iter().map(|s| &s.name).collect();
        assert!(named(part), "the secret {part} is not among {names:#?}");
    }

    let mut all = vec![("what was said".to_owned(), said)];
    for watched in &watched {
        all.push((watched.host.name().to_owned(), watched.everything()?));
    }
    for (host, seen) in [
        ("web1", "/usr/sbin/tenure-agent run"),
        ("web1", "/usr/sbin/tenure-agent job "),
        ("web1", "pg_dump"),
        ("vault1", "/usr/sbin/tenure-vault run"),
        ("ctl1", "/usr/sbin/tenure-controller run"),
        ("office", "tenure sign set "),
        ("stranger", "tenure-agent enrol"),
    ] {
        let (_, text) = all.iter().find(|(name, _)| name == host).ok_or("a host is missing")?;
        assert!(text.contains(seen), "{host}: {seen:?} was not seen, so nothing is known of it");
    }
    let mut found = Vec::new();
    for (place, text) in &all {
        for Secret { name, forms } in &secrets {
            for form in forms.iter().filter(|form| form.len() >= 8 && text.contains(form.as_str())) {
                let line = text.lines().find(|line| line.contains(form.as_str())).unwrap_or_default();
                found.push(format!(
                    "{place}: {name} stands in: {}",
                    line.chars().take(300).collect::<String>()
                ));
            }
        }
    }
    all_held("secrets", &found)
}

#[test]
fn forms_of_a_secret_are_what_they_say() {
    assert_eq!((encoded(b"hello").as_str(), hex(b"\x00\xfe").as_str()), ("aGVsbG8", "00fe"));
    assert_eq!(base64("aGVsbG8=").as_deref(), Some(&b"hello"[..]));
    assert_eq!(base64("a b"), None);
    let key = Secret::bytes("key", b"ed25519 AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n");
    assert!(
        key.forms.contains(&"0".repeat(64)) && key.forms.iter().any(|f| f.starts_with("AAAA")),
        "{:?}",
        key.forms
    );
    let raw = Secret::bytes("raw", &[0xff; 32]);
    assert!(raw.forms.contains(&"ff".repeat(32)) && raw.forms.contains(&"FF".repeat(32)));
}
