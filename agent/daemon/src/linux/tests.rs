//! The real kernel, in a network namespace of each test's own. They run as root.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc;
use std::time::Duration;

use nix::sched::{CloneFlags, unshare};
use serde_json::Value;
use tenure_areas::port::{
    Beneath, Command, EntryKind, Flow, HostRead, HostWrite, ManagedFile, ManagedPath, Owner, PortError, Query,
};
use tenure_sys::clock;
use tenure_sys::command::{Program, capture};

use super::nftables::{generation, replay, snapshot_batch};
use super::ruleset::{By, Ruleset};
use super::*;

/// Everything that our compiler makes, in nft's language: the verified ruleset of docs/FIREWALL.md in small.
const RULESET: &str = include_str!("test-ruleset.nft");

/// Runs in a thread with a network namespace of its own, with loopback up.
fn apart<T: Send>(test: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET).expect("tests run as root");
            ip("link set lo up");
            test()
        });
        thread.join().expect("the test itself")
    })
}

fn ip(args: &str) {
    let program = Program::new("/usr/sbin/ip", args.split(' '));
    capture(&program).expect("ip runs").success().expect("ip");
}

fn nft(text: &str) {
    let program = Program::new("/usr/sbin/nft", ["-f", "-"]).stdin(text.into());
    capture(&program).expect("nft runs").success().expect("nft");
}

fn listed(table: &str) -> Value {
    let program = Program::new("/usr/sbin/nft", ["-j", "list", "table", "inet", table]).cap(16 << 20);
    let out = capture(&program).expect("nft runs").success().expect("listed");
    plain(serde_json::from_slice(&out).expect("JSON"))
}

/// Without handles and counts, which a restore does not keep.
fn plain(value: Value) -> Value {
    match value {
        Value::Object(map) => {
            let kept = map.into_iter().filter(|(k, _)| !["handle", "packets", "bytes"].contains(&k.as_str()));
            Value::Object(kept.map(|(k, v)| (k, plain(v))).collect())
        }
        Value::Array(list) => Value::Array(list.into_iter().map(plain).collect()),
        other => other,
    }
}

fn json_of(listed: &Value) -> String {
    let objects = listed["nftables"].as_array().expect("list").iter().filter(|o| o.get("metainfo").is_none());
    let mut commands = vec![
        serde_json::json!({"add": {"table": {"family": "inet", "name": "tenure"}}}),
        serde_json::json!({"delete": {"table": {"family": "inet", "name": "tenure"}}}),
    ];
    commands.extend(objects.map(|o| serde_json::json!({ "add": o })));
    serde_json::json!({ "nftables": commands }).to_string()
}

const ATTACKS: [&str; 6] = [
    "flush ruleset",
    "insert rule inet tenure input accept",
    "flush chain inet tenure g12_input",
    "add rule inet tenure g12_output counter accept comment \"planted\"",
    "add chain inet tenure input { policy accept ; }",
    "add set inet tenure more { type ipv4_addr ; flags interval ; auto-merge ; elements = { 0.0.0.0/0 } ; }",
];

#[test]
fn every_transaction_is_one_generation() {
    apart(|| {
        let before = generation().expect("generation");
        nft("table inet a { }");
        nft("table inet b { chain c { accept ; } ; }");
        assert_eq!(generation().expect("generation"), before + 2);
    });
}

#[test]
fn a_replayed_batch_makes_the_same_table() {
    apart(|| {
        assert_eq!(snapshot_batch("tenure").expect("no table yet"), None);
        nft(RULESET);
        nft("table ip other { chain c { tcp dport 1 accept ; } ; }");
        let wanted = listed("tenure");
        let (at, batch) = snapshot_batch("tenure").expect("snapshot").expect("there is one");
        assert_eq!(at, generation().expect("generation"));
        for attack in ATTACKS {
            nft(attack);
            assert!(
                snapshot_batch("tenure").expect("snapshot").is_none_or(|(_, b)| b != batch),
                "{attack}: unseen"
            );
            let before = generation().expect("generation");
            replay(&batch).expect("replay");
            assert_eq!(generation().expect("generation"), before + 1, "{attack}: one transaction");
            assert_eq!(listed("tenure"), wanted, "{attack}");
            let (_, again) = snapshot_batch("tenure").expect("snapshot").expect("there is one");
            assert!(again == batch, "{attack}: another content");
        }
    });
}

#[test]
fn ten_thousand_intervals_are_replayed() {
    apart(|| {
        let elements: Vec<String> = (0..10_000).map(|n| format!("10.{}.{}.0/25", n / 250, n % 250)).collect();
        nft(&format!(
            "table inet tenure {{\n set s {{ type ipv4_addr; flags constant, interval; elements = {{ {} }}; }}\n }}",
            elements.join(", ")
        ));
        let wanted = listed("tenure");
        let (_, batch) = snapshot_batch("tenure").expect("snapshot").expect("there is one");
        nft("flush ruleset");
        replay(&batch).expect("replay");
        assert_eq!(listed("tenure"), wanted);
    });
}

#[test]
fn what_a_batch_cannot_carry_is_refused() {
    apart(|| {
        for other in [
            "set s { type ipv4_addr; flags timeout; elements = { 10.0.0.1 timeout 60s }; }",
            "set s { type ipv4_addr; flags dynamic; size 10; }",
            "quota q { 10 mbytes }",
            "chain c { tcp dport 1 jump { accept; }; }",
        ] {
            nft(&format!("table inet tenure\ndelete table inet tenure\ntable inet tenure {{\n {other}\n }}"));
            assert!(matches!(snapshot_batch("tenure"), Err(NetlinkError::Unsupported { .. })), "{other}");
        }
    });
}

#[test]
fn a_refused_batch_changes_nothing() {
    apart(|| {
        nft("table inet tenure { chain target { accept ; } ; chain from { jump target ; } ; }");
        let (_, batch) = snapshot_batch("tenure").expect("snapshot").expect("there is one");
        nft("flush ruleset");
        let broken = batch.broken_for_test();
        let before = generation().expect("generation");
        assert!(matches!(replay(&broken), Err(NetlinkError::Refused { .. })));
        assert_eq!(generation().expect("generation"), before);
        assert_eq!(snapshot_batch("tenure").expect("still none"), None);
    });
}

#[test]
fn the_watcher_tells_who_and_rings() {
    apart(|| {
        let log = ChangeLog::new();
        let (ring, rung) = mpsc::channel();
        let watcher =
            Watcher::start(log.clone(), move || ring.send(()).unwrap_or_default()).expect("watcher");
        let host = LinuxHost::new(log.clone());
        let start = generation().expect("generation");
        let before = clock::wall();
        nft("table inet foreign { }");
        rung.recv_timeout(Duration::from_secs(5)).expect("a bell");
        let seen = log.since(start);
        assert_eq!(seen.len(), 1, "{seen:?}");
        assert_eq!((seen[0].generation, seen[0].comm.as_deref()), (start + 1, Some("nft")));
        assert!(seen[0].pid.is_some_and(|pid| pid > 1) && seen[0].at >= before);

        host.tell(&Command::NftLoad {
            json: r#"{"nftables":[{"add":{"table":{"family":"inet","name":"own"}}}]}"#.into(),
        })
        .expect("loaded");
        rung.recv_timeout(Duration::from_secs(5)).expect("a bell");
        assert_eq!(log.since(start).len(), 1, "our own change is not foreign");
        nft("delete table inet own");
        rung.recv_timeout(Duration::from_secs(5)).expect("a bell");
        assert_eq!(log.since(start + 1).len(), 1);
        let told = host.ask(&Query::NftChanges { since: start + 1 }).expect("told");
        let told: Value = serde_json::from_slice(&told).expect("JSON");
        assert_eq!(
            (&told[0]["generation"], &told[0]["comm"]),
            (&Value::from(start + 3), &Value::from("nft"))
        );
        assert!(watcher.is_listening());
    });
}

#[test]
fn lost_notifications_are_a_change_by_somebody_unknown() {
    apart(|| {
        let log = ChangeLog::new();
        let (ring, rung) = mpsc::channel();
        let (release, gate) = mpsc::channel::<()>();
        // A bell that waits, which none may: it keeps the watcher from reading.
        let bell = move || {
            ring.send(()).unwrap_or_default();
            gate.recv().unwrap_or_default();
        };
        let watcher = Watcher::start_with_room(1, log.clone(), bell).expect("watcher");
        nft("table inet a { }");
        rung.recv_timeout(Duration::from_secs(5)).expect("a bell");
        nft(RULESET);
        for _ in 0..5 {
            nft("table inet a { }\ndelete table inet a\ntable inet a { }");
        }
        drop(release);
        let deadline = clock::monotonic() + Duration::from_secs(5);
        while log.since(0).iter().all(|c| c.pid.is_some()) && clock::monotonic() < deadline {
            std::thread::yield_now();
        }
        let unknown: Vec<Change> = log.since(0).into_iter().filter(|c| c.pid.is_none()).collect();
        assert!(
            unknown.iter().any(|c| c.generation == generation().expect("generation") && c.comm.is_none()),
            "{unknown:?}"
        );
        drop(watcher);
    });
}

#[test]
fn a_known_content_is_not_listed_again() {
    apart(|| {
        nft(RULESET);
        let (_, batch) = snapshot_batch("tenure").expect("snapshot").expect("there is one");
        let host = LinuxHost::new(ChangeLog::new());
        let (table, chains) =
            (host.ask(&Query::NftOwnTable).expect("table"), host.ask(&Query::NftChains).expect("chains"));
        // Handles of a table that was replaced are other ones: the very same bytes were kept, not listed anew.
        replay(&batch).expect("replay");
        assert_eq!(host.ask(&Query::NftOwnTable).expect("table"), table);
        assert_eq!(host.ask(&Query::NftChains).expect("chains"), chains);
        nft("add chain inet tenure input { policy accept ; }");
        assert_ne!(host.ask(&Query::NftOwnTable).expect("table"), table);
        assert_ne!(host.ask(&Query::NftChains).expect("chains"), chains);
        replay(&batch).expect("replay");
        nft("table ip6 input { chain input { type filter hook input priority 0; } ; }");
        assert_eq!(host.ask(&Query::NftOwnTable).expect("table"), table);
        assert_ne!(host.ask(&Query::NftChains).expect("chains"), chains);
    });
}

#[test]
fn the_own_table_is_listed_once_per_content() {
    apart(|| {
        let host = LinuxHost::new(ChangeLog::new());
        let table = || host.ask(&Query::NftOwnTable);
        assert!(matches!(table(), Err(PortError::Absent { .. })));
        nft(RULESET);
        let first = table().expect("there");
        let json: Value = serde_json::from_slice(&first).expect("JSON");
        assert_eq!(plain(json), listed("tenure"));
        let start = clock::monotonic();
        for _ in 0..1000 {
            assert_eq!(table().expect("there"), first);
        }
        let each = (clock::monotonic() - start) / 1000;
        assert!(each < Duration::from_millis(1), "{each:?} for a table that has not changed");
        nft("add rule inet tenure input accept");
        assert_ne!(table().expect("there"), first);
        nft("flush ruleset");
        assert!(matches!(table(), Err(PortError::Absent { .. })));
    });
}

#[test]
fn restoring_replays_what_it_loaded_before() {
    apart(|| {
        let ruleset = Ruleset::new(ChangeLog::new());
        nft(RULESET);
        let wanted = listed("tenure");
        let json = json_of(&wanted);
        for (round, attack) in ATTACKS.iter().chain(&ATTACKS).enumerate() {
            nft(attack);
            let before = generation().expect("generation");
            let by = ruleset.restore(&json, "h").expect("restored");
            assert_eq!(by, if round == 0 { By::Nft } else { By::Batch }, "{attack}");
            assert_eq!(generation().expect("generation"), before + 1, "{attack}");
            assert_eq!(listed("tenure"), wanted, "{attack}");
        }
        // Another text with the same name is another ruleset.
        let empty = r#"{"nftables":[{"add":{"table":{"family":"inet","name":"tenure"}}},{"delete":{"table":{"family":"inet","name":"tenure"}}}]}"#;
        assert_eq!(ruleset.restore(empty, "h").expect("restored"), By::Nft);
        assert_eq!(snapshot_batch("tenure").expect("none"), None);
        // A trial's live set must run out when it would have: never by a batch.
        let trial = r#"{"nftables":[{"add":{"table":{"family":"inet","name":"tenure"}}},{"add":{"set":{"family":"inet","table":"tenure","name":"g2_live","type":"ipv4_addr","flags":["timeout"]}}}]}"#;
        for _ in 0..2 {
            assert_eq!(ruleset.restore(trial, "t").expect("restored"), By::Nft);
        }
    });
}

#[test]
fn a_ruleset_that_nft_refuses_says_why_and_changes_nothing() {
    apart(|| {
        let host = LinuxHost::new(ChangeLog::new());
        let before = generation().expect("generation");
        let json = r#"{"nftables":[{"add":{"table":{"family":"inet","name":"tenure"}}},{"delete":{"chain":{"family":"inet","table":"tenure","name":"none"}}}]}"#;
        let Err(PortError::Failed { doing, why }) = host.tell(&Command::NftLoad { json: json.into() }) else {
            panic!("loaded")
        };
        assert_eq!(doing, "loading a ruleset");
        assert!(why.contains("No such file or directory"), "{why}");
        assert_eq!(generation().expect("generation"), before);
    });
}

#[test]
fn live_sets_are_listed_with_what_is_left() {
    apart(|| {
        let host = LinuxHost::new(ChangeLog::new());
        let set = |name: &str| host.ask(&Query::NftSet { name: name.into() });
        assert!(matches!(set("g2_live"), Err(PortError::Absent { .. })));
        nft(
            "table inet tenure { set g2_live { typeof meta nfproto; flags timeout; elements = { ipv4 timeout 60s } ; } ; }",
        );
        assert!(String::from_utf8_lossy(&set("g2_live").expect("set")).contains("\"expires\""));
        assert!(matches!(set("g2_none"), Err(PortError::Absent { .. })));
        for bad in ["", "a b", "a;flush ruleset", "-f"] {
            assert!(matches!(set(bad), Err(PortError::Untrusted { .. })), "{bad}");
        }
        let chains = String::from_utf8(host.ask(&Query::NftChains).expect("chains")).expect("text");
        assert!(!chains.contains("\"hook\""));
        nft("table ip other { chain c { type filter hook input priority 5; policy drop; } ; }");
        let chains = String::from_utf8(host.ask(&Query::NftChains).expect("chains")).expect("text");
        assert!(
            chains.contains("\"hook\": \"input\"") && chains.contains("\"policy\": \"drop\""),
            "{chains}"
        );
    });
}

fn pair(listener: &TcpListener) -> (TcpStream, TcpStream) {
    let address = listener.local_addr().expect("bound");
    let deadline = clock::monotonic() + Duration::from_secs(5);
    let client = loop {
        match TcpStream::connect(address) {
            // The kernel makes the route of a new IPv6 address in the background.
            Err(e) if e.kind() == std::io::ErrorKind::NetworkUnreachable && clock::monotonic() < deadline => {
                std::thread::yield_now();
            }
            client => break client.expect("connected"),
        }
    };
    let (server, _) = listener.accept().expect("accepted");
    (client, server)
}

#[test]
fn open_connections_are_entered_and_deleted() {
    apart(|| {
        ip("addr add 192.0.2.1/24 dev lo");
        ip("addr add 2001:db8::1/64 dev lo nodad");
        let four = TcpListener::bind("192.0.2.1:0").expect("bound");
        let six = TcpListener::bind("[2001:db8::1]:0").expect("bound");
        let dual = TcpListener::bind("[::]:0").expect("bound");
        let loopback = TcpListener::bind("127.0.0.1:0").expect("bound");
        let port = |l: &TcpListener| l.local_addr().expect("bound").port();
        let _open = [pair(&four), pair(&six), pair(&loopback)];
        let mapped = TcpStream::connect(("192.0.2.1", port(&dual))).expect("connected");

        let host = LinuxHost::new(ChangeLog::new());
        let told = || -> BTreeSet<Flow> {
            let bytes = host.ask(&Query::Flows).expect("flows");
            bytes
                .split(|b| *b == b'\n')
                .filter(|l| !l.is_empty())
                .map(|l| serde_json::from_slice(l).expect("flow"))
                .collect()
        };
        assert_eq!(told(), BTreeSet::new(), "nothing hooks connection tracking here");
        host.tell(&Command::ConntrackWarm).expect("warm");
        let flows = told();
        let to: BTreeSet<(String, u16)> = flows.iter().map(|f| (f.dst.to_string(), f.dport)).collect();
        let want = [("192.0.2.1", port(&four)), ("2001:db8::1", port(&six)), ("192.0.2.1", port(&dual))];
        assert_eq!(
            to,
            want.map(|(a, p)| (a.to_string(), p)).into(),
            "each once, from the client to the server"
        );
        let client = flows.iter().find(|f| f.dport == port(&dual)).expect("mapped");
        assert_eq!(client.sport, mapped.local_addr().expect("bound").port());
        assert_eq!(conntrack::warm().expect("again"), conntrack::Warmed { entered: 0, known: 3 });

        // The kernel takes them for established: a ruleset that allows nothing else lets them go on.
        nft(
            "table inet t { chain c { type filter hook input priority 0; policy drop; iifname lo ct state established accept ; } ; }",
        );
        let (mut client, mut server) = (mapped, dual.accept().expect("accepted").0);
        client.set_read_timeout(Some(Duration::from_secs(5))).expect("set");
        server.set_read_timeout(Some(Duration::from_secs(5))).expect("set");
        let mut got = [0; 2];
        client.write_all(b"hi").expect("write");
        server.read_exact(&mut got).expect("through");

        let six_only: Vec<Flow> = flows.iter().filter(|f| f.dst.is_ipv6()).cloned().collect();
        host.tell(&Command::ConntrackDelete { flows: six_only.clone() }).expect("deleted");
        assert!(told().iter().all(|f| f.dst.is_ipv4()) && told().len() == 2);
        host.tell(&Command::ConntrackDelete { flows: six_only }).expect("what is gone is fine");
        assert_eq!(conntrack::delete(10, |_| true).expect("all"), 2);
        assert!(matches!(conntrack::flows(0), Ok(list) if list.is_empty()));
    });
}

#[test]
fn files_and_facts_of_this_machine() {
    let host = LinuxHost::new(ChangeLog::new());
    let etc = |below: &str| Beneath::new("/etc", below);
    let passwd = host.file(&etc("passwd"), Owner::Root, 1 << 20).expect("passwd");
    assert!(passwd.starts_with(b"root:"));
    assert!(matches!(host.file(&etc("passwd"), Owner::Root, 10), Err(PortError::TooLarge { limit: 10, .. })));
    assert!(
        matches!(host.file(&etc("none"), Owner::Root, 10), Err(PortError::Absent { what }) if what == "/etc/none")
    );
    let nowhere = Beneath::new("/nowhere", "none");
    assert!(
        matches!(host.file(&nowhere, Owner::Root, 10), Err(PortError::Absent { what }) if what == "/nowhere/none")
    );
    assert!(matches!(host.file(&etc("../root/x"), Owner::Any, 10), Err(PortError::Untrusted { .. })));
    assert!(matches!(
        host.file(&Beneath::new("/dev", "zero"), Owner::Any, 10),
        Err(PortError::Untrusted { .. })
    ));
    let home = Beneath::new("/dev/null", ".ssh/authorized_keys");
    assert!(matches!(host.file(&home, Owner::Uid(1), 10), Err(PortError::Absent { .. })));
    let linked = Beneath::new("/bin", ".ssh/authorized_keys");
    assert!(matches!(host.file(&linked, Owner::Uid(1), 10), Err(PortError::Absent { .. })));
    assert_eq!(host.stat(&etc("")).expect("stat").kind, EntryKind::Dir);
    assert!(host.dir(&Beneath::new("/", "etc"), 10_000).expect("list").iter().any(|e| e.name == "passwd"));
    assert!(
        host.file(&Beneath::new("/proc/net", "tcp"), Owner::Any, 1 << 24).expect("tcp").starts_with(b"  sl")
    );
    let kernel = host.ask(&Query::Kernel).expect("kernel");
    assert!(kernel.ends_with(b"\n") && kernel.first().is_some_and(u8::is_ascii_digit));
    let lo = apart(|| LinuxHost::new(ChangeLog::new()).ask(&Query::Interfaces).expect("interfaces"));
    assert!(String::from_utf8_lossy(&lo).lines().any(|name| name == "lo"), "{lo:?}");
}

#[test]
fn packages_are_asked_once_while_the_database_stands() {
    let host = LinuxHost::new(ChangeLog::new());
    let packages = || host.ask(&Query::Packages).expect("packages");
    let first = packages();
    let bash = first.split(|b| *b == b'\n').find(|l| l.starts_with(b"bash\t")).expect("bash");
    let fields: Vec<&str> = std::str::from_utf8(bash).expect("text").split('\t').collect();
    assert_eq!((fields.len(), fields[3]), (4, "ii "));
    let start = clock::monotonic();
    for _ in 0..100 {
        assert_eq!(packages(), first);
    }
    assert!((clock::monotonic() - start) / 100 < Duration::from_millis(3));
}

/// Also with a mount namespace of its own, where /run, /var/lib and a copy of /etc/ssh may be written to.
fn apart_with_files<T: Send>(test: impl FnOnce() -> T + Send) -> T {
    let mount = |args: &[&str]| {
        let program = Program::new("/usr/bin/mount", args.iter().copied());
        capture(&program).expect("mount runs").success().expect("mounted");
    };
    apart(|| {
        unshare(CloneFlags::CLONE_NEWNS).expect("tests run as root");
        mount(&["--make-rprivate", "/"]);
        mount(&["-t", "tmpfs", "-o", "mode=755", "none", "/run"]);
        let copy = Program::new("/usr/bin/cp", ["-a", "/etc/ssh", "/run/ssh"]);
        capture(&copy).expect("cp runs").success().expect("copied");
        mount(&["--bind", "/run/ssh", "/etc/ssh"]);
        mount(&["-t", "tmpfs", "-o", "mode=755", "none", "/var/lib"]);
        std::fs::create_dir("/run/sshd").expect("made");
        test()
    })
}

fn managed(path: &str, text: &str) -> ManagedFile {
    ManagedFile { path: ManagedPath::new(path).expect("managed"), bytes: text.into(), mode: 0o644 }
}

#[test]
fn sshd_is_asked_again_when_its_configuration_changes() {
    apart_with_files(|| {
        let host = LinuxHost::new(ChangeLog::new());
        let ask = |addr: &str| {
            let local = "0.0.0.0".into();
            let query = Query::SshdEffective { user: "root".into(), addr: addr.into(), local, port: 22 };
            String::from_utf8(host.ask(&query).expect("effective")).expect("text")
        };
        let drop_in = "/etc/ssh/sshd_config.d/00-tenure.conf";
        let text = "MaxSessions 7\nMatch Address 192.0.2.0/24\n  MaxSessions 3\n";
        host.put(&managed(drop_in, text)).expect("put");
        host.tell(&Command::SshdTest).expect("valid");
        assert!(
            ask("192.0.2.1").contains("\nmaxsessions 3\n")
                && ask("2001:db8::1").contains("\nmaxsessions 7\n")
        );
        let start = clock::monotonic();
        for _ in 0..100 {
            ask("192.0.2.1");
        }
        assert!((clock::monotonic() - start) / 100 < Duration::from_millis(3), "remembered");

        // By somebody else, so nothing tells us but the files: the look at them is 20 ms old at most.
        // The second time it is the same file, as large as before.
        for n in [5, 6] {
            std::fs::write("/etc/ssh/sshd_config.d/00-first.conf", format!("MaxSessions {n}\n"))
                .expect("written");
            let deadline = clock::monotonic() + Duration::from_secs(5);
            while !ask("2001:db8::1").contains(&format!("\nmaxsessions {n}\n")) {
                assert!(clock::monotonic() < deadline, "a foreign change is never seen");
            }
        }
        std::fs::remove_file("/etc/ssh/sshd_config.d/00-first.conf").expect("removed");

        // What other files decide is never remembered.
        host.put(&managed(drop_in, "Include /run/more.conf\n")).expect("put");
        for n in [11, 12] {
            std::fs::write("/run/more.conf", format!("MaxSessions {n}\n")).expect("written");
            assert!(ask("192.0.2.1").contains(&format!("\nmaxsessions {n}\n")));
        }
        host.put(&managed(drop_in, "Nonsense yes\n")).expect("put");
        let Err(PortError::Failed { why, .. }) = host.tell(&Command::SshdTest) else { panic!("valid") };
        assert!(why.contains("Bad configuration option: Nonsense"), "{why}");
        host.remove(&managed(drop_in, "").path).expect("removed");
        host.remove(&managed(drop_in, "").path).expect("absent is fine");
        host.tell(&Command::SshdTest).expect("valid again");
    });
}

#[test]
fn managed_files_bring_their_directories() {
    apart_with_files(|| {
        let host = LinuxHost::new(ChangeLog::new());
        for (path, dir_mode) in [
            ("/etc/ssh/tenure/keys/admin", 0o755),
            ("/var/lib/tenure/firewall/trial.json", 0o700),
            ("/run/tenure/x", 0o700),
        ] {
            host.put(&managed(path, "text")).expect("put");
            let (dir, name) = path.rsplit_once('/').expect("a path");
            assert_eq!(host.file(&Beneath::new(dir, name), Owner::Root, 10).expect("read"), b"text");
            let stat = host.stat(&Beneath::new(dir, "")).expect("stat");
            assert_eq!((stat.kind, stat.uid, stat.mode), (EntryKind::Dir, 0, dir_mode), "{dir}");
        }
        // Somebody may write beside our file: then it is not written.
        capture(&Program::new("/usr/bin/chmod", ["777", "/etc/ssh/tenure/keys"])).expect("chmod runs");
        let refused = host.put(&managed("/etc/ssh/tenure/keys/deploy", "text"));
        let Err(PortError::Untrusted { why, .. }) = refused else { panic!("{refused:?}") };
        assert!(why.ends_with("mend it with `chmod go-w /etc/ssh/tenure/keys`"), "{why}");
        capture(&Program::new("/usr/bin/chmod", ["666", "/etc/ssh/tenure/keys/admin"])).expect("chmod runs");
        let key = Beneath::new("/etc/ssh/tenure/keys", "admin");
        assert!(matches!(host.file(&key, Owner::Root, 10), Err(PortError::Untrusted { .. })));
    });
}

#[test]
fn hostile_arguments_do_not_reach_sshd() {
    let host = LinuxHost::new(ChangeLog::new());
    for (user, addr, local) in [
        ("a,addr=1", "10.0.0.1", "10.0.0.2"),
        ("", "10.0.0.1", "10.0.0.2"),
        ("-T", "10.0.0.1", "10.0.0.2"),
        ("a b", "10.0.0.1", "10.0.0.2"),
        ("a", "10.0.0.1,user=root", "10.0.0.2"),
        ("a", "", "10.0.0.2"),
        ("a", "10.0.0.1", "10.0.0.2,user=root"),
        ("a", "10.0.0.1", ""),
    ] {
        let query =
            Query::SshdEffective { user: user.into(), addr: addr.into(), local: local.into(), port: 22 };
        assert!(matches!(host.ask(&query), Err(PortError::Untrusted { .. })), "{user:?} {addr:?}");
    }
}
