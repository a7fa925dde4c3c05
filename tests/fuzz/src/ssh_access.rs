//! What sshd, its files and the accounts say to the area `ssh_access`.

use std::net::IpAddr;
use std::sync::LazyLock;

use tenure_areas::ssh_access::accounts;
use tenure_areas::ssh_access::config::{self as sshd, MAIN};
use tenure_areas::ssh_access::effective::{self as sshd_t, LIMIT};
use tenure_areas::ssh_access::facts::Before;
use tenure_areas::ssh_access::journal;
use tenure_areas::ssh_access::state::{
    Closing, PROVED, Proof, Proved, REFUSED, Refused, TRIAL, Trial, hash_of,
};
use tenure_areas::ssh_access::{BEFORE, DROP_IN, KEYS, RELOADED, SshAccess, keys as lines, render};
use tenure_areas::ssh_servers;
use tenure_policy::resolved::{Login, SshAccessSection};
use tenure_trust::{Hash, PersonName};

use crate::check::{self, printable};
use crate::host::{Host, at, now};
use crate::policy::WEB;

static SECTION: LazyLock<SshAccessSection> =
    LazyLock::new(|| WEB.ssh_access.clone().expect("the example has logins"));

const EFFECTIVE: &str = "port 22\npermitrootlogin no\nstrictmodes yes\nusepam yes\npubkeyauthentication yes\npasswordauthentication no\nkbdinteractiveauthentication no\nauthorizedkeysfile /etc/ssh/tenure/keys/%u .ssh/authorized_keys\nauthorizedkeyscommand none\nforcecommand none\nallowusers admin@203.0.113.0/24\nallowusers *@!10.0.0.1,10.*,2001:db8::/32\ndenyusers ro?t\nauthenticationmethods publickey\n";
const CONFIG: &str = "# comment\nInclude /etc/ssh/sshd_config.d/*.conf\nPort 22\nPasswordAuthentication=yes # why\nAllowUsers \"b c\" d\nMatch User admin Address 10.0.0.0/8\n  AuthorizedKeysFile .ssh/keys\nMatch all\nInclude /home/a/x\n";
const PASSWD: &str = "root:x:0:0:root:/root:/bin/bash\ndaemon:x:1:1:daemon:/usr/sbin:/usr/sbin/nologin\nadmin:x:1000:1000::/home/admin:/bin/bash\n+::::::\n";
const SHADOW: &str = "root:*:19000:0:99999:7:::\nadmin:!:19000::::::\nold:$y$j9T$x:19000::::::\n";
const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIEtrZXkga2V5IGtleSBrZXkga2V5IGtleSBrZXkga2V5";

const LISTENERS: &str = "{\"port\":22,\"address\":\"::\",\"by\":{\"pid\":700,\"comm\":\"sshd\",\"exe\":\"/usr/sbin/sshd\",\"args\":\"sshd: /usr/sbin/sshd -D [listener] 0 of 10-100 startups\"}}\n{\"port\":2222,\"address\":\"0.0.0.0\",\"by\":{\"pid\":9,\"comm\":\"sshd\",\"exe\":\"/usr/sbin/sshd (deleted)\",\"args\":\"/usr/sbin/sshd -Def /x\"}}\n{\"port\":80,\"address\":\"10.0.0.1\",\"by\":null}\n";

const PRINT: &str = "SHA256:WH1f0xoZqzsYKdbyq5qKRkPfxCOsm4D9aTr7ZkZcO6M";
const JOURNAL: &str = r#"{"MESSAGE":"Accepted key ED25519 SHA256:WH1f0xoZqzsYKdbyq5qKRkPfxCOsm4D9aTr7ZkZcO6M found at /etc/ssh/tenure/keys/admin:1","_PID":"812","_UID":"0","_EXE":"/usr/sbin/sshd","__REALTIME_TIMESTAMP":"1799999950000000"}
{"MESSAGE":"Accepted publickey for admin from 203.0.113.9 port 51000 ssh2: ED25519 SHA256:WH1f0xoZqzsYKdbyq5qKRkPfxCOsm4D9aTr7ZkZcO6M","_PID":"812","_UID":"0","_EXE":"/usr/sbin/sshd","__REALTIME_TIMESTAMP":"1799999950100000"}
{"MESSAGE":"Accepted publickey for admin from ::ffff:10.0.0.1 port 1 ssh2: ED25519 SHA256:WH1f0xoZqzsYKdbyq5qKRkPfxCOsm4D9aTr7ZkZcO6M","_PID":"9","_UID":"1000","_EXE":"/usr/bin/logger","__REALTIME_TIMESTAMP":"1799999950200000"}
{"MESSAGE":[255,1],"_PID":"9","_UID":"0","_EXE":"/usr/sbin/sshd","__REALTIME_TIMESTAMP":"1799999950200000"}
"#;

/// The facts that carry files as they are, for giving them back.
const RAW: [&str; 3] = ["drop_in", "key_files", "before"];

/// A host that is kept.
fn calm() -> Host {
    let logins: Vec<&Login> = SECTION.logins.iter().collect();
    let drop_in = render::drop_in(&logins);
    Host::default()
        .file("/etc/passwd", PASSWD)
        .file("/etc/shadow", SHADOW)
        .file(MAIN, CONFIG)
        .file(RELOADED, Hash::of(drop_in.as_bytes()).to_string())
        .file(DROP_IN, drop_in)
        .file(&format!("{KEYS}/admin"), render::key_file(&logins))
        .file("/home/admin/.ssh/authorized_keys", format!("{KEY} marit@laptop\n"))
        .answer("sshd", EFFECTIVE)
        .answer("listeners", LISTENERS)
}

fn judge(host: &Host) {
    check::area::<SshAccess>(host, &SECTION, &now(), &RAW);
}

/// The same with notes of Tenure's own on the disk: they carry files too, and what people read of them is findings.
fn judge_noted(host: &Host) {
    check::area::<SshAccess>(host, &SECTION, &now(), &[&RAW[..], &["record"]].concat());
}

/// A trial in which nobody has been seen yet, or one that closes the old ways in.
fn trial(closing: Option<Closing>) -> Vec<u8> {
    let trial = Trial {
        section: SECTION.clone(),
        old: Before {
            drop_in: Some("PermitRootLogin no\n".into()),
            drop_in_mode: None,
            key_files: [].into(),
        },
        drop_in: "# both\n".into(),
        from: at(1_799_999_900),
        from_boot_ms: 400_000,
        until: at(1_800_000_060),
        until_boot_ms: 560_000,
        boot_id: "b".into(),
        closing,
    };
    serde_json::to_vec(&trial).expect("plain data")
}

fn proof() -> Proof {
    let login = SECTION.logins.first().expect("the example has a login");
    Proof {
        who: PersonName::new(login.who.as_str()).expect("a name"),
        account: login.account.clone(),
        fingerprint: PRINT.into(),
        from: "203.0.113.9".parse().expect("an address"),
        at: at(1_799_999_950),
    }
}

/// What `sshd -T` prints.
pub fn effective(hostile: &[u8]) {
    match sshd_t::parse(hostile) {
        Err(why) => printable(&why, 400),
        Ok(settings) => {
            let addresses: [IpAddr; 2] =
                ["203.0.113.9", "2001:db8::9"].map(|text| text.parse().expect("an address"));
            for (keyword, values) in &settings {
                printable(keyword, 100);
                values.iter().for_each(|value| printable(value, 16 << 10));
            }
            for address in addresses {
                for user in settings.get("denyusers").into_iter().flatten() {
                    let denied = sshd_t::user_matches(user, "admin", address);
                    assert!(!(denied && sshd_t::may_try(&settings, "admin", address)), "denied and let in");
                }
            }
        }
    }
    assert!(hostile.len() <= LIMIT || sshd_t::parse(hostile).is_err());
    judge(&calm().answer("sshd", hostile));
}

/// sshd's configuration, as the main file and as a drop-in.
pub fn config(hostile: &[u8]) {
    for (line, keyword, _) in sshd::directives(hostile) {
        assert!(line >= 1 && !keyword.is_empty());
    }
    let drop_in = |name: &str| (format!("{}/{name}", sshd::DIRECTORY), hostile.to_vec());
    for scan in [sshd::scan(hostile, &[]), sshd::scan(hostile, &[drop_in("a.conf"), drop_in("b.conf")])] {
        for (setting, _) in &scan.settings {
            printable(&setting.keyword, 400);
            printable(&setting.place(), 4000);
            setting.args.iter().for_each(|argument| printable(argument, 1000));
        }
        scan.elsewhere.iter().chain(&scan.unread).for_each(|place| printable(place, 2000));
        assert!(scan.settings.len() <= sshd::MAX_SETTINGS && scan.elsewhere.len() <= sshd::MAX_SETTINGS);
    }
    judge(&calm().file(MAIN, hostile));
    judge(&calm().file("/etc/ssh/sshd_config.d/50-x.conf", hostile));
    judge(&calm().file("/home/a/x", hostile));
}

/// Who waits for connections.
pub fn listeners(hostile: &[u8]) {
    if let Ok(servers) = ssh_servers::parse(hostile) {
        assert!(servers.windows(2).all(|pair| pair[0] < pair[1]), "sorted, each once");
        for server in &servers {
            [&server.comm, &server.exe]
                .into_iter()
                .chain(&server.other_config)
                .for_each(|t| printable(t, 2000));
        }
        assert!(ssh_servers::ports(&servers).len() <= servers.len());
    }
    judge(&calm().answer("listeners", hostile));
}

/// Lines of keys in a home and in our own directory.
pub fn keys(hostile: &[u8]) {
    let mut last = 0;
    for (line, key) in lines::parse(hostile) {
        assert!(line > last, "lines are counted upwards");
        last = line;
        assert!(key.fingerprint().starts_with("SHA256:"));
        let length = key.blob.first_chunk().map(|length| u32::from_be_bytes(*length));
        assert_eq!(length, u32::try_from(key.kind.len()).ok(), "the key is of the kind that it says");
        assert!(!key.comment.contains('\n'));
    }
    judge(&calm().file("/home/admin/.ssh/authorized_keys", hostile));
    judge(&calm().file(&format!("{KEYS}/admin"), hostile));
}

/// Accounts.
pub fn passwd(hostile: &[u8]) {
    let found = accounts::passwd(hostile);
    for (number, account) in found.iter().enumerate() {
        assert!(!account.name.is_empty() && !account.name.contains([':', '\n']));
        assert!(number > 200 || found[..number].iter().all(|other| other.name != account.name), "twice");
    }
    for name in accounts::with_password(hostile) {
        assert!(!name.is_empty() && !name.contains([':', '\n']));
    }
    judge(&calm().file("/etc/passwd", hostile));
    judge(&calm().file("/etc/shadow", hostile));
}

/// What stood at our places before.
pub fn before(hostile: &[u8]) {
    judge(&calm().file(BEFORE, hostile));
    judge(&calm().file(RELOADED, hostile));
}

/// What sshd says in the journal, and what others say there.
pub fn sshd_journal(hostile: &[u8]) {
    let seen = journal::parse(hostile);
    assert!(seen.len() <= 200, "what is kept is bounded");
    for login in &seen {
        printable(&login.account, 300);
        login.found.iter().for_each(|place| printable(place, 2000));
        assert!(login.fingerprint.starts_with("SHA256:") && login.fingerprint.len() == 50);
    }
    for line in hostile.split(|byte| *byte == b'\n') {
        let Ok(entry) = serde_json::from_slice::<serde_json::Value>(line) else { continue };
        let roots = entry.get("_UID").and_then(|uid| uid.as_str()) == Some("0");
        assert!(roots || journal::parse(line).is_empty(), "who is not root is believed");
    }
    judge_noted(&calm().file(TRIAL, trial(None)).answer("journal", hostile));
}

/// The notes of a trial, of what was proved and of what was given up.
pub fn notes(hostile: &[u8]) {
    for path in [TRIAL, PROVED, REFUSED] {
        judge_noted(&calm().file(path, hostile).answer("journal", JOURNAL));
    }
}

/// With and without the place of the key, and from somebody who is not sshd.
pub fn journals() -> Vec<Vec<u8>> {
    vec![JOURNAL.as_bytes().to_vec()]
}

/// Each of them.
pub fn note_files() -> Vec<Vec<u8>> {
    let closing =
        Closing { proof: proof(), until: at(1_800_000_001), until_boot_ms: 501_000, boot_id: "b".into() };
    let proved = Proved { section: SECTION.clone(), by: vec![proof()], at: at(1_799_999_960) };
    let refused = Refused { hash: hash_of(&SECTION), why: "nobody came in".into(), at: at(1_799_999_970) };
    vec![
        trial(None),
        trial(Some(closing)),
        serde_json::to_vec(&proved).expect("plain data"),
        serde_json::to_vec(&refused).expect("plain data"),
    ]
}

/// As OpenSSH 9.2 prints it.
pub fn effectives() -> Vec<Vec<u8>> {
    vec![EFFECTIVE.as_bytes().to_vec()]
}

/// Of sshd, of another one and of somebody that the kernel does not name.
pub fn listener_lists() -> Vec<Vec<u8>> {
    vec![LISTENERS.as_bytes().to_vec()]
}

/// With every form of line.
pub fn configs() -> Vec<Vec<u8>> {
    let logins: Vec<&Login> = SECTION.logins.iter().collect();
    vec![CONFIG.as_bytes().to_vec(), render::drop_in(&logins).into_bytes()]
}

/// Of a person and of ours.
pub fn key_files() -> Vec<Vec<u8>> {
    let logins: Vec<&Login> = SECTION.logins.iter().collect();
    let person = format!(
        "# mine\n{KEY} marit@laptop\nrestrict,COMMAND=\"echo \\\"a, b\\\" x\",from=\"10.0.0.0/8,::1\" {KEY} b\n"
    );
    vec![person.into_bytes(), render::key_file(&logins).into_bytes()]
}

/// passwd(5) and shadow(5).
pub fn passwds() -> Vec<Vec<u8>> {
    vec![PASSWD.as_bytes().to_vec(), SHADOW.as_bytes().to_vec()]
}

/// With a drop-in and a key file of before.
pub fn befores() -> Vec<Vec<u8>> {
    let before = Before {
        drop_in: Some("PermitRootLogin no\n".into()),
        drop_in_mode: Some(0o644),
        key_files: [("admin".to_owned(), format!("{KEY} a\n"))].into(),
    };
    vec![serde_json::to_vec(&before).expect("plain data"), Hash::of(b"any").to_string().into_bytes()]
}
