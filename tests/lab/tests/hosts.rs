//! The lab itself: hosts are apart, real, and reach neither the machine's clock nor its network and firewall.

use std::time::Duration;

use tenure_lab::{Family, Host, Lab, Login, SshAs, run, wait_for};

#[test]
fn hosts_are_real_and_apart() {
    let untouched = machine();
    let lab = Lab::up("lab", &["web1", "office=203.0.113.9,2001:db8:10::9"]).expect("the lab starts");
    let (web1, office) = (lab.host("web1"), lab.host("office"));

    assert_eq!(web1.must(&["hostname"]).expect("hostname").trim(), "web1");
    assert_eq!(web1.must(&["cat", "/proc/1/comm"]).expect("comm").trim(), "systemd");
    assert_ne!(web1.get("/etc/machine-id").expect("id"), office.get("/etc/machine-id").expect("id"));
    assert_eq!(web1.address(Family::V4).expect("address"), "10.77.0.11");
    assert_eq!(office.address(Family::V6).expect("address"), "2001:db8:10::9");
    for family in ["-4", "-6"] {
        office
            .must(&["ping", family, "-c1", "-W2", "web1"])
            .expect("hosts with any address reach each other");
    }

    let clock = web1.exec(&["date", "-s", "2020-01-01"]).expect("runs");
    assert!(!clock.ok(), "a host must never be able to set the machine's clock");
    let inner = web1.exec(&["systemd-run", "-q", "--wait", "date", "-s", "2020-01-01"]).expect("runs");
    assert!(!inner.ok(), "nor may what its systemd starts");

    web1.put("/etc/lab/file", b"text\n", "640").expect("put");
    assert_eq!(web1.get("/etc/lab/file").expect("get"), "text\n");
    assert_eq!(web1.must(&["stat", "-c", "%a %U", "/etc/lab/file"]).expect("stat").trim(), "640 root");

    for change in [
        "nft flush ruleset",
        "nft add table inet theirs",
        "ip link add docker0 type bridge",
        "ip addr add 10.99.0.1/24 dev eth0",
        "ip route add 10.98.0.0/16 dev eth0",
        "sysctl -q -w net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1",
    ] {
        web1.must(&["sh", "-c", change]).expect("a host's network is its own");
    }
    assert_eq!(machine(), untouched, "while a lab is up");
    lab.down().expect("down");
    assert_eq!(machine(), untouched, "after it");
}

/// The machine's own firewall, interfaces with their addresses, routes, and whether it passes packets on; without what
/// counts or runs out. Labs that come and go beside are in namespaces too: none is left out here.
fn machine() -> Vec<String> {
    let said = |argv: &[&str]| {
        let output = run(argv, 20).expect("it starts");
        assert!(output.ok(), "{argv:?}: {}", output.said());
        output.stdout
    };
    let mut seen: Vec<String> = said(&["nft", "-s", "list", "ruleset"]).lines().map(str::to_owned).collect();
    for link in said(&["ip", "-br", "addr"]).lines() {
        let mut words: Vec<&str> = link.split_whitespace().collect();
        // Up or down is the cable's.
        words.remove(1);
        seen.push(words.join(" "));
    }
    for family in ["-4", "-6"] {
        let routes = said(&["ip", family, "route", "show", "table", "all"]);
        seen.extend(routes.lines().filter_map(|route| Some(route.split(" expires ").next()?.to_owned())));
    }
    for switch in ["ipv4/ip_forward", "ipv6/conf/all/forwarding"] {
        let path = format!("/proc/sys/net/{switch}");
        seen.push(format!("{switch} {}", std::fs::read_to_string(path).unwrap_or_default()));
    }
    seen
}

#[test]
fn logins_power_and_cables() {
    let lab = Lab::up("power", &["web1", "office"]).expect("the lab starts");
    let (web1, office) = (lab.host("web1"), lab.host("office"));
    office.must(&["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", "/root/key"]).expect("key");
    let public = office.get("/root/key.pub").expect("public key");
    web1.must(&["useradd", "-m", "-s", "/bin/sh", "admin"]).expect("user");
    web1.sh("echo admin:demo | chpasswd").expect("password");
    web1.put("/home/admin/.ssh/authorized_keys", public.as_bytes(), "644").expect("keys");

    let login = |with| office.ssh(&web1, "admin", with, Family::V4).expect("ssh runs");
    assert!(login(SshAs::Key("/root/key")).is_in());
    assert!(login(SshAs::Password("demo")).is_in());
    assert!(matches!(login(SshAs::Password("other")), Login::Refused(_)));

    lab.part("web1", "office").expect("part");
    assert!(matches!(login(SshAs::Key("/root/key")), Login::Unreachable(_)));
    lab.heal().expect("heal");
    assert!(login(SshAs::Key("/root/key")).is_in());
    web1.link_down().expect("pull");
    assert!(matches!(login(SshAs::Key("/root/key")), Login::Unreachable(_)));
    web1.link_up().expect("plug");

    web1.put("/root/kept", b"kept", "600").expect("put");
    web1.must(&["nft", "add", "table", "inet", "volatile"]).expect("table");
    web1.kill().expect("power loss");
    assert!(!web1.exec(&["true"]).expect("runs").ok(), "a host without power does nothing");
    web1.start().expect("boot");
    assert_eq!(web1.get("/root/kept").expect("files outlive a power loss"), "kept");
    let ruleset = web1.must(&["nft", "list", "ruleset"]).expect("ruleset");
    assert_eq!(ruleset, "", "the kernel's memory does not outlive a power loss");
    web1.reboot().expect("reboot");
    assert!(login(SshAs::Key("/root/key")).is_in());

    let mut sleeper = web1.spawn(&["sleep", "600"]).expect("spawn");
    wait_for("the sleeper", Duration::from_secs(30), || {
        web1.exec(&["pgrep", "-x", "sleep"]).is_ok_and(|o| o.ok())
    })
    .expect("runs");
    assert!(sleeper.runs());
    drop(sleeper);
    wait_for("its end", Duration::from_secs(30), || {
        web1.exec(&["pgrep", "-x", "sleep"]).is_ok_and(|o| !o.ok())
    })
    .expect("ending the entrance ends the command");
    beside(&web1);
}

/// A program of this machine sees the host's network, and neither it nor what it started nor its files outlive it.
fn beside(web1: &Host) {
    let mark = format!("{}77", std::process::id());
    let line = format!("touch /tmp/lab-{mark}; setsid sleep {mark} & exec 3<>/dev/tcp/127.0.0.1/22; wait");
    let program = web1.beside(&["bash", "-c", &line]).expect("beside");
    let asked = || web1.must(&["ss", "-Htn", "state", "established", "dport = :22"]).expect("ss");
    let sleeps = || run(&["pgrep", "-f", &format!("^sleep {mark}$")], 10).expect("pgrep").ok();
    let soon = Duration::from_secs(30);
    wait_for("a connection on the host's own loopback", soon, || !asked().is_empty()).expect("its network");
    wait_for("what it started", soon, sleeps).expect("runs");
    assert!(!std::env::temp_dir().join(format!("lab-{mark}")).exists(), "a /tmp of its own");
    drop(program);
    wait_for("the end of what it started", soon, || !sleeps()).expect("all ends with it");
    assert_eq!(asked(), "", "its connection too");
}

#[test]
fn a_small_disk_fills_and_an_update_is_pending() {
    let lab = Lab::up("disk", &["web1", "vault1"]).expect("the lab starts");
    let web1 = lab.host("web1");
    web1.disk("/srv/small", 8).expect("disk");
    let full = web1.sh("head -c 20000000 /dev/zero >/srv/small/file").expect("runs");
    assert!(full.stderr.contains("No space left on device"), "{full:?}");

    lab.archive("vault1", &["web1"], 9).expect("archive");
    let pending = web1.must(&["apt", "list", "--upgradable"]).expect("apt");
    assert!(pending.contains("lab-notes/stable-security 1.0-1+deb12u1"), "{pending}");
}
