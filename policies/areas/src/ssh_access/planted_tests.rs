//! What somebody plants beside the policy: Match blocks and includes that only some connections meet, other SSH servers, other ports.

use super::tests::{EVIL, section, turn};
use super::*;
use crate::area::{Finding, Weight};
use crate::fake::FakeHost;
use crate::firewall::compile::{HostBits, compile};
use crate::firewall::in_force::Reached;
use crate::firewall::nft::Shown;
use crate::firewall::samples::{inbound, tcp, web};
use crate::firewall::state::{self, Confirmed, Ruleset};
use crate::firewall::transaction::replace;
use crate::pass::{Report, Verdict};
use crate::port::{Holder, Waiting};
use tenure_policy::resolved::{Mode, SshAccessSection};

const PLANTED: &str = "/etc/ssh/sshd_config.d/60-x.conf";

fn enforce(host: &FakeHost) -> Report {
    turn(host, &section(), Mode::Enforce)
}

fn enforced() -> FakeHost {
    let host = super::tests::enforced();
    let trie = "     |-- 198.51.100.11\n        /32 host LOCAL\n     |-- 127.0.0.1\n        /32 host LOCAL\n";
    host.write_as("/proc/net/fib_trie", trie, 0, 0o444);
    host.write_as("/proc/net/if_inet6", "20010db8000100000000000000000011 02 40 00 80 eth0\n", 0, 0o444);
    let report = enforce(&host);
    assert_eq!(report.verdict, Verdict::Compliant, "{report:#?}");
    host
}

fn of<'a>(report: &'a Report, kind: &str) -> Vec<&'a Finding> {
    report.findings.iter().filter(|f| f.kind == kind).collect()
}

fn places<'a>(report: &'a Report, kind: &str) -> Vec<&'a str> {
    of(report, kind).into_iter().map(|f| f.place.as_str()).collect()
}

fn waits(address: &str, port: u16, exe: &str, args: &str) -> Waiting {
    let comm = exe.rsplit('/').next().unwrap().to_owned();
    let by = Some(Holder { pid: 812, comm, exe: exe.into(), args: args.into() });
    Waiting { address: address.parse().unwrap(), port, by }
}

#[test]
fn every_match_block_about_logins_is_drift_whoever_it_is_for() {
    for criteria in [
        "LocalPort 2222",
        "LocalAddress 10.9.9.9",
        "Address 192.0.2.200",
        "User nobody-asked",
        "LocalPort 22 User app",
    ] {
        for setting in [
            "PasswordAuthentication yes",
            "AuthorizedKeysFile /tmp/keys",
            "AuthorizedKeysCommandUser nobody",
            "TrustedUserCAKeys /tmp/ca",
            "GSSAPIStrictAcceptorCheck no",
            "PermitRootLogin yes",
        ] {
            let host = enforced();
            host.write_as(PLANTED, format!("# x\nMatch {criteria}\n  {setting}\n"), 0, 0o644);
            let report = enforce(&host);
            let place = format!("{PLANTED}:3 in `Match {criteria}`");
            let unknown_to_the_fake = of(&report, "sshd-refuses");
            assert_eq!(places(&report, "match-block"), [place], "{unknown_to_the_fake:?}");
            assert_eq!(report.verdict, Verdict::Drifted, "{criteria} {setting}");
        }
    }
    let host = enforced();
    host.write_as(PLANTED, "Match User app\n  X11Forwarding no\n  ForceCommand internal-sftp\n", 0, 0o644);
    let report = enforce(&host);
    assert_eq!((report.verdict, of(&report, "match-block").len()), (Verdict::Compliant, 0), "{report:#?}");
}

/// Every keyword of [`render::expected`] with what nobody wants of it.
const OPPOSITES: [(&str, &str); 15] = [
    ("AuthenticationMethods", "any"),
    ("AuthorizedKeysCommand", "/opt/keys"),
    ("AuthorizedKeysFile", ".ssh/authorized_keys"),
    ("AuthorizedPrincipalsCommand", "/opt/principals"),
    ("GSSAPIAuthentication", "yes"),
    ("HostbasedAuthentication", "yes"),
    ("KbdInteractiveAuthentication", "yes"),
    ("KerberosAuthentication", "yes"),
    ("PasswordAuthentication", "yes"),
    ("PermitEmptyPasswords", "yes"),
    ("PermitRootLogin", "yes"),
    ("PermitUserEnvironment", "yes"),
    ("PubkeyAuthentication", "no"),
    ("StrictModes", "no"),
    ("TrustedUserCAKeys", "/tmp/ca"),
];

#[test]
fn every_other_way_in_that_an_earlier_file_opens_is_told_with_its_place() {
    let section = section();
    let logins: Vec<_> = section.logins.iter().collect();
    let keywords: Vec<String> = OPPOSITES.iter().map(|(keyword, _)| keyword.to_ascii_lowercase()).collect();
    assert_eq!(keywords, render::expected(&logins).iter().map(|(k, _)| *k).collect::<Vec<_>>());
    for (keyword, opposite) in OPPOSITES {
        let host = enforced();
        // sshd takes the first value, and this name sorts before ours.
        host.write_as("/etc/ssh/sshd_config.d/00-a.conf", format!("# x\n{keyword} {opposite}\n"), 0, 0o644);
        let report = enforce(&host);
        assert_eq!(report.verdict, Verdict::Drifted, "{keyword}");
        let overridden = of(&report, "sshd-overridden");
        assert_eq!(overridden.len(), 1, "{keyword}: {overridden:#?}");
        assert_eq!(overridden[0].place, "/etc/ssh/sshd_config.d/00-a.conf:2", "{keyword}");
        let is = format!("{} is `{opposite}` and must be `", keyword.to_ascii_lowercase());
        assert!(overridden[0].what.starts_with(&is), "{}", overridden[0].what);
        assert_eq!(overridden[0].weight, Weight::Drift);
    }
}

#[test]
fn includes_are_followed_to_where_the_block_stands() {
    let host = enforced();
    host.write_as(PLANTED, "Include /opt/*/ssh.conf\n", 0, 0o644);
    host.write_as("/opt/app/ssh.conf", "\nInclude deep/x", 0, 0o644);
    host.write_as(
        "/etc/ssh/deep/x",
        "UsePAM yes\nMatch Address 192.0.2.200\nUsePAM no\nAllowUsers app\n",
        0,
        0o644,
    );
    host.place("/opt/link/ssh.conf", crate::fake::NodeKind::Symlink("/home/app/x".into()), 0);
    let report = enforce(&host);
    let block = "in `Match Address 192.0.2.200`";
    assert_eq!(
        places(&report, "match-block"),
        [format!("/etc/ssh/deep/x:3 {block}"), format!("/etc/ssh/deep/x:4 {block}")]
    );
    assert_eq!(of(&report, "include-elsewhere").len(), 2);
    let unread = of(&report, "include-unread");
    assert_eq!((unread.len(), unread[0].weight), (1, Weight::Drift), "{unread:?}");
    assert!(unread[0].place.starts_with("/opt/link/ssh.conf: "), "{unread:?}");

    // Who may write what is included may write the policy of who gets in.
    host.delete("/opt");
    host.write_as(PLANTED, "Include /home/app/x\n", 0, 0o644);
    host.write_as("/home/app/x", "X11Forwarding no\n", 1002, 0o644);
    assert_eq!(places(&enforce(&host), "untrusted-file"), ["/home/app/x"]);
}

#[test]
fn a_block_for_this_end_is_asked_about_at_this_end() {
    let host = enforced();
    let ends = |host: &FakeHost| {
        let facts = SshAccess::observe(host, &SshAccess::desired(&section())).unwrap();
        let ends = facts.probes.iter().map(|p| (p.local.to_string(), p.port));
        ends.collect::<std::collections::BTreeSet<_>>().into_iter().collect::<Vec<_>>()
    };
    let both = [("198.51.100.11".to_owned(), 22), ("2001:db8:1::11".to_owned(), 22)];
    assert_eq!(ends(&host), both, "the host's own addresses and port");
    let trie =
        "     |-- 198.51.100.11\n        /32 host LOCAL\n     |-- 198.51.100.12\n        /32 host LOCAL\n";
    host.write_as("/proc/net/fib_trie", trie, 0, 0o444);
    assert_eq!(ends(&host), both, "one end of each family is enough while nothing asks for it");
    host.write_as(PLANTED, "Match LocalAddress 198.51.100.12\n  PasswordAuthentication yes\n", 0, 0o644);
    assert_eq!(ends(&host).len(), 3);
    let report = enforce(&host);
    let overridden = of(&report, "sshd-overridden");
    assert_eq!(overridden.len(), 1, "{overridden:#?}");
    assert!(overridden[0].what.contains("to 198.51.100.12 port 22"), "{}", overridden[0].what);
    assert!(!overridden[0].what.contains("198.51.100.11"), "{}", overridden[0].what);
}

#[test]
fn sshd_is_asked_for_every_network_and_for_strangers_of_both_families() {
    let mut section = section();
    section.logins[1].from.push("198.51.100.0/24".parse().unwrap());
    let host = enforced();
    let report = turn(&host, &section, Mode::Enforce);
    assert_eq!(report.verdict, Verdict::Remediated, "{report:#?}");
    for (criteria, connection) in [
        ("User admin Address 198.51.100.0/24", "admin from 198.51.100.1"),
        ("User admin Address 203.0.113.0/24", "admin from 203.0.113.1"),
        ("User app Address ::/0", "app from 2001:db8:ffff::77"),
        ("User app Address 0.0.0.0/0", "app from 192.0.2.77"),
    ] {
        host.write_as(PLANTED, format!("Match {criteria}\n  PasswordAuthentication yes\n"), 0, 0o644);
        let report = turn(&host, &section, Mode::Enforce);
        let overridden = of(&report, "sshd-overridden");
        assert_eq!(overridden.len(), 1, "{criteria}: {overridden:#?}");
        assert_eq!(overridden[0].place, format!("{PLANTED}:2 in `Match {criteria}`"));
        assert!(overridden[0].what.contains(connection), "{criteria}: {}", overridden[0].what);
    }
}

#[test]
fn networks_that_are_too_many_to_ask_about_are_told() {
    let host = enforced();
    let mut section = section();
    let told = |section: &SshAccessSection| of(&turn(&host, section, Mode::Observe), "not-all-asked").len();
    assert_eq!(told(&section), 0);
    for n in 0..600 {
        section.logins[1].from.push(format!("10.{}.{}.0/24", n / 256, n % 256).parse().unwrap());
    }
    let report = turn(&host, &section, Mode::Observe);
    let [found] = of(&report, "not-all-asked")[..] else { panic!("{report:#?}") };
    assert_eq!((found.place.as_str(), found.weight), (DROP_IN, Weight::Note));
    assert!(found.what.contains("200 more networks"), "{}", found.what);
}

#[test]
fn another_ssh_server_is_named_with_whoever_reaches_it() {
    let host = enforced();
    host.listen(waits("0.0.0.0", 2222, "/usr/sbin/dropbear", "/usr/sbin/dropbear -p 2222"));
    host.listen(waits("127.0.0.1", 2223, "/opt/tinysshd", "tinysshd"));
    host.listen(waits(
        "::",
        2224,
        "/usr/sbin/sshd",
        "sshd: /usr/sbin/sshd -f /x [listener] 0 of 10-100 startups",
    ));
    host.listen(waits(
        "::",
        2225,
        "/usr/sbin/sshd",
        "sshd: /usr/sbin/sshd -p 2225 [listener] 0 of 10-100 startups",
    ));
    host.listen(waits("127.0.0.1", 6010, "/usr/sbin/sshd", "sshd: admin@pts/0"));
    let report = enforce(&host);
    let found = of(&report, "other-ssh-server");
    let shown: Vec<_> = found.iter().map(|f| (f.place.as_str(), f.weight)).collect();
    let (drift, note) = (Weight::Drift, Weight::Note);
    assert_eq!(
        shown,
        [
            ("tcp/2222 on 0.0.0.0", drift),
            ("tcp/2223 on 127.0.0.1", note),
            ("tcp/2224 on ::", drift),
            ("tcp/2225 on ::", drift)
        ]
    );
    assert!(found[0].what.contains("dropbear (pid 812, /usr/sbin/dropbear)"), "{}", found[0].what);
    assert!(found[0].what.ends_with("no ruleset of ours stands before it"), "{}", found[0].what);
    assert!(found[2].what.contains("(-f /x)"), "{}", found[2].what);
    assert_eq!(found[0].by.as_ref().map(|by| by.pid), Some(812));
    assert_eq!(report.verdict, Verdict::Drifted);

    // The ruleset in force decides how much it matters.
    let mut policy = web();
    policy.inbound.push(inbound("x/1", vec![tcp(2224)], &["office"]));
    let table = compile(&policy, &HostBits::assumed(&policy)).unwrap();
    let confirmed = Confirmed { at: host.now().wall, ruleset: Ruleset::new(3, table) };
    host.nft_as(1, "nft", &replace(&Shown::Confirmed(confirmed.ruleset.numbered()))).unwrap();
    host.write_as(state::CONFIRMED, serde_json::to_vec(&confirmed).unwrap(), 0, 0o600);
    let report = enforce(&host);
    let facts = report.facts_of::<SshAccess>().unwrap();
    let reached: Vec<_> = facts.other_servers.iter().map(|o| o.reached.clone()).collect();
    let office = Reached::From(vec!["office".into()]);
    assert_eq!(reached, [Reached::Nowhere, Reached::Here, office, Reached::Nowhere]);
    let weights: Vec<_> = of(&report, "other-ssh-server").iter().map(|f| f.weight).collect();
    assert_eq!(weights, [note, note, drift, note]);
    // A table that is none of ours lets nobody say who reaches it.
    host.nft_as(1, "nft", r#"{"nftables":[{"flush":{"table":{"family":"inet","name":"tenure"}}}]}"#).unwrap();
    let facts = enforce(&host).facts_of::<SshAccess>().unwrap();
    assert_eq!(facts.other_servers[0].reached, Reached::Unknown);
}

#[test]
fn a_reload_that_would_take_sshd_to_another_port_is_refused() {
    let host = enforced();
    host.write_as(PLANTED, "Port 2222\n", 0, 0o644);
    let report = enforce(&host);
    assert_eq!(report.verdict, Verdict::Drifted);
    assert_eq!(places(&report, "sshd-setting"), [format!("{PLANTED}:1")]);
    // The ports in the end are what counts: a pass that must reload is refused, and the drift stays for a person.
    host.write_as(DROP_IN, "PasswordAuthentication yes\n", 0, 0o644);
    let refusal = enforce(&host).refusal.expect("refused");
    assert_eq!(refusal.kind, "sshd-would-move");
    assert!(
        refusal.what.contains("listens on tcp/22 and its configuration says tcp/2222"),
        "{}",
        refusal.what
    );
    // With port 22 kept nothing moves away.
    host.write_as(PLANTED, "ListenAddress 0.0.0.0:2222\nListenAddress 0.0.0.0:22\n", 0, 0o644);
    assert_eq!(enforce(&host).refusal, None);
    assert!(enforce(&host).findings.iter().all(|f| f.weight == Weight::Note));

    // It listens elsewhere already: the reload changes nothing about that, and it is told.
    let host = enforced();
    host.write_as(PLANTED, "Port 2222\n", 0, 0o644);
    host.reload_sshd();
    host.write_as(DROP_IN, "PasswordAuthentication yes\n", 0, 0o644);
    let report = enforce(&host);
    assert_eq!(report.refusal, None);
    assert_eq!(places(&report, "sshd-elsewhere"), ["sshd"]);
    assert_eq!(report.verdict, Verdict::Drifted);
}

#[test]
fn a_host_whose_sockets_cannot_be_read_is_unknown() {
    let host = enforced();
    host.refuse_to_answer("TcpListeners", "not today");
    assert_eq!(enforce(&host).verdict, Verdict::Unknown);
}

#[test]
fn a_touch_is_no_news_and_another_key_is() {
    let host = enforced();
    let key = |comment: &str| format!("{} {comment}\n", EVIL);
    let keys = "/home/app/.ssh/authorized_keys";
    host.write_as(keys, key("a"), 1002, 0o600);
    let before = enforce(&host);
    assert_eq!(places(&before, "unmanaged-key").len(), 1, "{before:#?}");
    host.advance_ms(60_000);
    host.write_as(keys, key("a"), 1002, 0o600);
    let touched = enforce(&host);
    assert_ne!(touched.facts, before.facts, "the facts have the file's time");
    assert!(touched.repeats(&before), "whoever owns the file must not make records by touching it");
    host.write_as(keys, key("b"), 1002, 0o600);
    assert!(!enforce(&host).repeats(&touched));
}
