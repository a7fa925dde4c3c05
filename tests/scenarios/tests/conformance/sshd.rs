//! What sshd says of connections, with our drop-in and others', and with configurations that do not parse.

use tenure_areas::port::{Beneath, Command, Holder, Owner, Query, Waiting};
use tenure_areas::ssh_access::render;
use tenure_policy::names::{RuleId, UnixUser};
use tenure_policy::resolved::Login;
use tenure_trust::PersonName;

use crate::script::Script;
use crate::wire::Request;

const OURS: &str = "/etc/ssh/sshd_config.d/00-tenure.conf";
const THEIRS: &str = "/etc/ssh/sshd_config.d/50-site.conf";
const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8g";

pub(crate) fn situations() -> Script {
    let mut script = crate::fresh("sshd");
    script.situation(
        "files that an Include of a drop-in leads to",
        "mkdir -p /etc/ssh/deeper; printf 'Match Address 192.0.2.0/24\n  PasswordAuthentication yes\nInclude last\n' \
           >/etc/ssh/deeper/1.conf; echo PermitRootLogin yes >/etc/ssh/last; echo UsePAM maybe >/etc/ssh/deeper/.no.conf",
        |fake| {
            let text = "Match Address 192.0.2.0/24\n  PasswordAuthentication yes\nInclude last\n";
            fake.write_as("/etc/ssh/deeper/1.conf", text, 0, 0o644);
            fake.write_as("/etc/ssh/last", "PermitRootLogin yes\n", 0, 0o644);
            fake.write_as("/etc/ssh/deeper/.no.conf", "UsePAM maybe\n", 0, 0o644);
        },
    );
    look(&mut script);
    for (user, addr) in [
        ("", "192.0.2.1"),
        ("a,b", "192.0.2.1"),
        ("-x", "192.0.2.1"),
        ("a b", "192.0.2.1"),
        ("admin", "office"),
        ("admin", ""),
        ("admin", "192.0.2.0/24"),
        ("admin", "192.0.2.1,user=root"),
    ] {
        script.ask(effective(user, addr, "198.51.100.11", 22));
    }
    for local in ["", "web1", "198.51.100.11,lport=1", "198.51.100.0/24"] {
        script.ask(effective("admin", "192.0.2.1", local, 22));
    }

    let person = login("marit", "admin", &["203.0.113.0/24", "2001:db8:10::/48"]);
    let machine = login("deploy-bot", "deploy", &["203.0.113.40/32"]);
    let root = login("jeroen", "root", &["2001:db8:10::9/128"]);
    for (what, logins) in [
        ("our drop-in", vec![&person, &machine]),
        ("our drop-in with root", vec![&person, &root]),
        ("our drop-in that lets nobody in", vec![]),
    ] {
        script.situation(what, "true", |_| {});
        script.put(OURS, render::drop_in(&logins), 0o644);
        look(&mut script);
    }
    for text in [
        "PasswordAuthentication yes\n",
        "AllowUsers deploy\nDenyUsers admin@192.0.2.*\n",
        "Match User deploy\n  PasswordAuthentication yes\n  AllowUsers deploy@192.0.2.1\n",
        "Match Address 203.0.113.0/24\n  PermitRootLogin yes\nMatch all\n  X11Forwarding no\n",
        "AuthorizedKeysFile .ssh/authorized_keys /etc/keys/%u\nPermitRootLogin without-password\n",
        "passwordauthentication=no\n  # a remark\nAllowGroups sudo adm\nDenyGroups lp\n",
        "ForceCommand /bin/false now\nChrootDirectory /srv/%u\nPort 22\nPort 2222\n",
        "Match LocalPort 2222\n  PasswordAuthentication yes\nMatch LocalAddress 198.51.100.12\n  PermitRootLogin yes\n",
        "Match LocalAddress 2001:db8:1::/48,!2001:db8:1::12 User admin\n  KbdInteractiveAuthentication yes\n",
        "Include deeper/*.conf /etc/ssh/absent/*.conf\nUsePAM no\n",
        "ListenAddress 0.0.0.0\nListenAddress [::]:22\nListenAddress 127.0.0.1:2222\n",
    ] {
        site(&mut script, text);
    }
    // Without ours, theirs are in force alone.
    script.situation("our drop-in is removed", "true", |_| {});
    script.remove(OURS);
    look(&mut script);
    for text in [
        "AllowUsers deploy\nDenyUsers admin@192.0.2.*\n",
        "Match User deploy\n  PasswordAuthentication no\n  AllowUsers deploy@192.0.2.1\nMatch all\nUsePAM no\n",
        "PasswordAuthentication no\nPasswordAuthentication yes\nAllowUsers a\nAllowUsers b c\n",
    ] {
        site(&mut script, text);
    }
    for broken in [
        "NoSuchOption yes\n",
        "PasswordAuthentication perhaps\n",
        "PermitRootLogin sometimes\n",
        "AllowUsers admin@192.0.2.1/24\n",
        "PasswordAuthentication\n",
        "Match User deploy\n  NoSuchOption yes\n",
    ] {
        site(&mut script, broken);
        script.situation("ours over a broken one", "true", |_| {});
        script.put(OURS, render::drop_in(&[&person]), 0o644);
        look(&mut script);
        script.remove(OURS);
    }
    script.situation("a broken drop-in of ours", format!("rm {THEIRS}"), |fake| fake.delete(THEIRS));
    look(&mut script);
    script.put(OURS, "PubkeyAuthentication maybe\n", 0o644);
    look(&mut script);
    script.remove(OURS);
    look(&mut script);
    on_trial(&mut script, &render::drop_in(&[&person, &machine]));
    others(&mut script);
    script
}

/// What a trial writes behind another text, and what sshd tells the journal of who comes then.
fn on_trial(script: &mut Script, old: &str) {
    for (what, old) in [("a trial over nothing", ""), ("a trial over our drop-in", old)] {
        script.situation(what, "true", |_| {});
        let text = format!(
            "{old}{}\nMatch User admin Address 203.0.113.0/24,2001:db8:10::/48,127.0.0.1/32\n  LogLevel VERBOSE\n  \
             PubkeyAuthentication yes\n  AuthorizedKeysFile /etc/ssh/tenure/keys/%u .ssh/authorized_keys\n  AllowUsers admin\n  \
             AuthenticationMethods publickey publickey,password\nMatch User root Address 2001:db8:10::9/128\n  \
             AllowUsers root\n  PermitRootLogin prohibit-password\n",
            tenure_areas::ssh_access::beside::MARK
        );
        script.put(OURS, text, 0o644);
        look(script);
    }
    let shell = "set -e; rm -f /root/k; ssh-keygen -q -t ed25519 -N '' -f /root/k; install -d -m 755 /etc/ssh/tenure/keys
        install -m 644 /root/k.pub /etc/ssh/tenure/keys/admin
        ssh -i /root/k -o BatchMode=yes -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null admin@127.0.0.1 true
        ! ssh -i /root/k -o BatchMode=yes -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null deploy@127.0.0.1 true
        logger -t sshd 'Accepted publickey for root from 192.0.2.1 port 1 ssh2: ED25519 SHA256:x'; journalctl --sync";
    script.situation("a login by a key of ours", shell, |fake| {
        fake.write_as("/etc/ssh/tenure/keys/admin", KEY, 0, 0o644);
        assert!(fake.log_in("admin", KEY, "127.0.0.1"));
        assert!(!fake.log_in("deploy", KEY, "127.0.0.1"));
    });
    script.ask(Query::SshdJournal { since_boot_ms: 0 });
    script.aside("rm -r /root/k /root/k.pub /etc/ssh/tenure/keys/admin");
    script.situation("its key is gone", "true", |fake| fake.delete("/etc/ssh/tenure/keys/admin"));
}

/// A second sshd with a configuration of its own.
fn others(script: &mut Script) {
    let start = "printf 'Port 2200\nListenAddress 127.0.0.1\nPidFile /run/two.pid\n' >/etc/ssh/two
        /usr/sbin/sshd -f /etc/ssh/two
        n=0; until [ -s /run/two.pid ]; do n=$((n + 1)); [ $n -lt 500 ] || exit 1; sleep .02; done";
    script.situation("a second sshd", start, |fake| {
        let by = Some(Holder {
            pid: 900,
            comm: "sshd".into(),
            exe: "/usr/sbin/sshd".into(),
            args: "sshd: /usr/sbin/sshd -f /etc/ssh/two [listener] 0 of 10-100 startups".into(),
        });
        fake.listen(Waiting { port: 2200, address: [127, 0, 0, 1].into(), by });
    });
    script.ask(Query::TcpListeners);
}

fn effective(user: &str, addr: &str, local: &str, port: u16) -> Query {
    Query::SshdEffective { user: user.into(), addr: addr.into(), local: local.into(), port }
}

/// The whole matrix of accounts and addresses, whether it parses, and whether the running one takes it.
fn look(script: &mut Script) {
    for user in ["root", "admin", "deploy", "app", "ghost"] {
        for addr in ["203.0.113.9", "203.0.113.40", "192.0.2.1", "2001:db8:10::9", "2001:db8:ff::1"] {
            let local = if addr.contains(':') { "2001:db8:1::11" } else { "198.51.100.11" };
            script.ask(effective(user, addr, local, 22));
        }
        for (addr, local, port) in
            [("192.0.2.1", "198.51.100.12", 2222), ("2001:db8:ff::1", "2001:db8:1::12", 22)]
        {
            script.ask(effective(user, addr, local, port));
        }
    }
    script.tell(Command::SshdTest);
    // sshd takes its pid file away when it is told and writes it when it has read its configuration: a change of that
    // before then would meet a daemon that starts.
    script.aside("rm -f /run/sshd.pid");
    script.tell(Command::SshdReload);
    script.aside(
        "sshd -t 2>/dev/null || exit 0; n=0
         until [ -s /run/sshd.pid ]; do n=$((n + 1)); [ $n -lt 500 ] || exit 1; sleep .02; done",
    );
    script.ask(Query::TcpListeners);
    script.file(Beneath::of(OURS), Owner::Root, 1 << 16);
    script.request(Request::Dir { path: Beneath::of("/etc/ssh/sshd_config.d"), limit: 10 });
}

fn site(script: &mut Script, text: &'static str) {
    let shell = format!("cat >{THEIRS} <<'END'\n{text}END");
    script.situation(text, shell, move |fake| fake.write_as(THEIRS, text, 0, 0o644));
    look(script);
}

fn login(who: &str, account: &str, from: &[&str]) -> Login {
    Login {
        id: RuleId::new(format!("base/ssh/{who}")).expect("a valid literal"),
        who: PersonName::new(who).expect("a valid literal"),
        account: UnixUser::new(account).expect("a valid literal"),
        keys: vec![KEY.into()],
        from: from.iter().map(|net| net.parse().expect("a valid literal")).collect(),
        until: "2027-06-30T00:00:00Z".parse().expect("a valid literal"),
        command: None,
    }
}
