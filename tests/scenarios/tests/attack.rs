//! Somebody is root on the host: what is managed comes back, what is not is reported, with time and, where the kernel
//! tells, pid and command.

use serde_json::Value;
use tenure_lab::{Family, Login, SshAs, wait_for};
use tenure_scenarios::agent::SOON;
use tenure_scenarios::fleet::UNKNOWN;
use tenure_scenarios::{Fleet, Reach, Result, all_held, reach};

const DROP_IN: &str = "/etc/ssh/sshd_config.d/00-tenure.conf";

#[test]
fn the_ruleset_is_restored_and_the_changer_is_named() -> Result<()> {
    let fleet = Fleet::enforced("ruleset", Fleet::usual)?;
    let wanted = fleet.web1.must(&["nft", "-s", "list", "table", "inet", "tenure"])?;
    let mut wrong = Vec::new();
    for change in [
        "flush ruleset",
        "insert rule inet tenure input accept",
        "delete table inet tenure",
        "flush chain inet tenure output",
        "add chain inet tenure door { type filter hook input priority -300 ; policy accept ; }",
        "add rule inet tenure prerouting accept",
    ] {
        let known = events(&fleet).len();
        let pid = change_ruleset(&fleet, change)?;
        let is_back = || {
            let now = fleet.web1.must(&["nft", "-s", "list", "table", "inet", "tenure"]);
            now.is_ok_and(|text| text == wanted)
        };
        let told = || {
            events(&fleet).iter().skip(known).any(|event| {
                let by = &event["finding"]["by"];
                event["outcome"] == "restored"
                    && by["pid"] == pid
                    && by["comm"] == "nft"
                    && !event["at"].is_null()
            })
        };
        if wait_for("the event", SOON, told).is_err() {
            let events = events(&fleet);
            wrong.push(format!(
                "{change} by pid {pid} is not told: {:#?}",
                events.iter().skip(known).collect::<Vec<_>>()
            ));
        }
        if let Err(why) = wait_for("the ruleset", SOON, is_back) {
            wrong.push(format!("{change}: {why}"));
        }
    }
    all_held("changes of the ruleset", &wrong)?;
    assert_eq!(reach(&fleet.stranger, &fleet.web1, 5432, Family::V4)?, Reach::Silent);
    fleet.await_rest()
}

#[test]
fn the_drop_in_and_the_keys_are_restored() -> Result<()> {
    let fleet = Fleet::enforced("dropin", Fleet::usual)?;
    let managed = [DROP_IN, "/etc/ssh/tenure/keys/admin"];
    let mut wrong = Vec::new();
    for path in managed {
        let wanted = fleet.web1.get(path)?;
        for change in [
            format!("echo 'PasswordAuthentication yes' >>{path}"),
            format!("rm {path}"),
            format!("echo evil >/etc/ssh/lab.tmp && mv /etc/ssh/lab.tmp {path}"),
            format!("chmod 666 {path}"),
            format!("chown admin {path}"),
            format!("ln -s /etc/passwd /etc/ssh/lab.tmp && mv -T /etc/ssh/lab.tmp {path}"),
        ] {
            let known = events(&fleet).len();
            let stat = fleet.web1.must(&["stat", "-c", "%a %u %g %F", path])?;
            fleet.web1.must(&["sh", "-c", &change])?;
            let is_back = || {
                fleet.web1.must(&["stat", "-c", "%a %u %g %F", path]).is_ok_and(|now| now == stat)
                    && fleet.web1.get(path).is_ok_and(|text| text == wanted)
            };
            if let Err(why) = wait_for("the file", SOON, is_back) {
                wrong.push(format!("{change}: {why}"));
                continue;
            }
            let told =
                |e: &&Value| e["outcome"] == "restored" && !e["at"].is_null() && e["finding"]["by"].is_null();
            if wait_for("an event", SOON, || events(&fleet).iter().skip(known).any(|e| told(&e))).is_err() {
                wrong.push(format!("{change}: no event"));
            }
        }
    }
    all_held("changes of managed files", &wrong)?;
    fleet.await_rest()?;
    all_held("logins afterwards", &fleet.login_differences())
}

#[test]
fn directories_that_keep_every_key_out_are_opened_again() -> Result<()> {
    let fleet = Fleet::enforced("closed", Fleet::usual)?;
    let mut wrong = Vec::new();
    for path in ["/etc/ssh", "/etc/ssh/tenure", "/etc/ssh/tenure/keys"] {
        for change in ["chmod -R og=", "chmod 775", "chown deploy"] {
            let known = events(&fleet).len();
            fleet.web1.must(&["sh", "-c", &format!("{change} {path}")])?;
            let is_back = || {
                fleet.web1.must(&["stat", "-c", "%a %u %g", path]).is_ok_and(|now| now.trim() == "755 0 0")
            };
            if let Err(why) = wait_for("the directory", SOON, is_back) {
                wrong.push(format!("{change} {path}: {why}"));
            }
            let told = |e: &&Value| e["outcome"] == "restored" && e["finding"]["place"] == path;
            if wait_for("an event", SOON, || events(&fleet).iter().skip(known).any(|e| told(&e))).is_err() {
                wrong.push(format!("{change} {path}: no event"));
            }
            // What else the change has closed is back as well.
            fleet.await_rest()?;
            wrong.extend(fleet.login_differences().into_iter().map(|why| format!("{change} {path}: {why}")));
        }
    }
    all_held("directories on the way to the keys", &wrong)
}

#[test]
fn a_planted_key_is_reported_and_opens_nothing() -> Result<()> {
    let fleet = Fleet::enforced("planted", Fleet::usual)?;
    let known = events(&fleet).len();
    let public = fleet.office.get(&format!("{UNKNOWN}.pub"))?;
    fleet.web1.must(&["sh", "-c", "printf %s \"$0\" >>/home/admin/.ssh/authorized_keys", &public])?;
    wait_for("the report", SOON, || {
        events(&fleet).iter().skip(known).any(|event| {
            event["outcome"] == "reported"
                && event["finding"]["kind"] == "unmanaged-key"
                && event["finding"]["place"]
                    .as_str()
                    .is_some_and(|p| p.starts_with("/home/admin/.ssh/authorized_keys"))
        })
    })
    .map_err(|why| format!("{why}: {:#?}", events(&fleet)))?;
    assert!(
        fleet.web1.get("/home/admin/.ssh/authorized_keys")?.contains(public.trim()),
        "homes are never written"
    );
    for family in Family::BOTH {
        let login = fleet.login(&fleet.office, SshAs::Key(UNKNOWN), family)?;
        assert!(matches!(login, Login::Refused(_)), "{family:?}: {login:?}");
    }
    Ok(())
}

#[test]
fn homes_with_traps_are_read_without_harm() -> Result<()> {
    let fleet = Fleet::enforced("traps", Fleet::usual)?;
    // A FIFO hangs a plain open; a hard link passes openat2; a link leads elsewhere; escapes reach terminals.
    for (user, trap) in [
        ("fifo", "mkfifo .ssh/authorized_keys"),
        ("link", "ln -s /etc/shadow .ssh/authorized_keys"),
        ("dir", "mkdir .ssh/authorized_keys"),
        ("huge", "truncate -s 3G .ssh/authorized_keys"),
        ("bytes", "printf 'ssh-ed25519 AAAA \\033[2J\\033]0;x\\007\\377\\n' >.ssh/authorized_keys"),
    ] {
        fleet.web1.must(&["useradd", "-m", user])?;
        let line = format!("cd /home/{user} && mkdir .ssh && {trap} && chown -hR {user} .ssh");
        fleet.web1.must(&["sh", "-c", &line])?;
    }
    let passes = fleet.area("ssh_access")["passes"].as_u64().unwrap_or_default();
    let applied = fleet.agent(&["apply"])?;
    assert!(!applied.said().contains('\u{1b}'), "escapes reached the terminal: {:?}", applied.said());
    fleet.await_area("ssh_access", "another pass", |a| a["passes"].as_u64() > Some(passes))?;
    let status = fleet.agent(&["status"])?;
    assert!(!status.said().contains('\u{1b}'), "{:?}", status.said());
    assert!(!status.said().contains("root:"), "nothing of /etc/shadow is shown");
    all_held("logins afterwards", &fleet.login_differences())
}

#[test]
fn hard_links_are_told_and_neither_read_nor_kept() -> Result<()> {
    let fleet = Fleet::enforced("links", Fleet::usual)?;
    let public = fleet.office.get(&format!("{UNKNOWN}.pub"))?;
    let key = "/etc/ssh/tenure/keys/admin";
    let wanted = fleet.web1.get(key)?;
    // Somebody's key under a second name, and our own key file under a name in a home, where its owner could write it.
    fleet.web1.must(&[
        "sh",
        "-c",
        "cd /home/admin/.ssh && printf %s \"$0\" >other && ln -f other authorized_keys && ln -f $1 authorized_keys2 \
           && chown admin other authorized_keys2 && stat -c %h authorized_keys2",
        &public,
        key,
    ])?;
    let finds = |kind: &str, place: &str| {
        let area = fleet.area("ssh_access");
        area["findings"].as_array().is_some_and(|all| {
            all.iter().any(|f| f["kind"] == kind && f["place"].as_str().is_some_and(|p| p.starts_with(place)))
        })
    };
    let home = "/home/admin/.ssh/authorized_keys";
    fleet.await_area("ssh_access", "the linked file is told", |_| finds("untrusted-file", home))?;
    let read = format!("{home}:");
    assert!(!finds("unmanaged-key", &read), "what has two names is not read: {:#}", fleet.area("ssh_access"));
    let is_back = || {
        fleet.web1.must(&["stat", "-c", "%h %u", key]).is_ok_and(|now| now.trim() == "1 0")
            && fleet.web1.get(key).is_ok_and(|text| text == wanted)
    };
    wait_for("a key file of its own", SOON, is_back)
        .map_err(|why| format!("{why}: {:#}", fleet.area("ssh_access")))?;
    let left = fleet.web1.must(&[
        "sh",
        "-c",
        "cd /home/admin/.ssh && stat -c '%n %h' other authorized_keys authorized_keys2",
    ])?;
    assert_eq!(left, "other 2\nauthorized_keys 2\nauthorized_keys2 1\n", "homes are never written");
    let login = fleet.login(&fleet.office, SshAs::Key(UNKNOWN), Family::V4)?;
    assert!(matches!(login, Login::Refused(_)), "{login:?}");
    all_held("logins afterwards", &fleet.login_differences())
}

#[test]
fn a_burst_that_overflows_the_watcher_is_compared_whole_and_nobody_is_named() -> Result<()> {
    let fleet = Fleet::enforced("burst", Fleet::usual)?;
    let wanted = fleet.web1.must(&["nft", "-s", "list", "table", "inet", "tenure"])?;
    let known = events(&fleet).len();
    let pid = fleet.web1.must(&["systemctl", "show", "-P", "MainPID", "tenure-agent"])?;
    let pid = pid.trim();
    // What the kernel could not hand over it counts, in the column before the last (net/netlink/af_netlink.c).
    let lost = "n=0; for f in /proc/PID/fd/*; do i=$(readlink $f); i=${i#socket:[}; i=${i%]}; \
        n=$((n + $(awk -v i=$i '$NF == i { d += $(NF - 1) } END { print d + 0 }' /proc/PID/net/netlink))); done; echo $n"
        .replace("PID", pid);
    let lost = || -> Result<u64> { Ok(fleet.web1.must(&["sh", "-c", &lost])?.trim().parse()?) };
    assert_eq!(lost()?, 0, "nothing is lost before");
    // The agent is slower than whoever changes the ruleset; not so long that its watchdog ends it.
    fleet.web1.must(&["kill", "-STOP", pid])?;
    let burst = "import subprocess
elements = ','.join(str(n) for n in range(60000))
text = 'add table inet burst\\nadd set inet burst s { type mark; }\\n'
text += 'add element inet burst s { %s }\\n' % elements
subprocess.run(['nft', '-f', '-'], input=text.encode(), check=True)
";
    let mut rounds = 0;
    while lost()? == 0 && rounds < 40 {
        fleet.web1.must(&["python3", "-c", burst])?;
        fleet.web1.must(&["nft", "delete", "table", "inet", "burst"])?;
        rounds += 1;
    }
    let overflowed = lost()? > 0;
    fleet.web1.must(&["nft", "flush", "chain", "inet", "tenure", "input"])?;
    fleet.web1.must(&["kill", "-CONT", pid])?;
    assert!(overflowed, "{rounds} rounds did not fill the watcher's room");
    let is_back =
        || fleet.web1.must(&["nft", "-s", "list", "table", "inet", "tenure"]).is_ok_and(|now| now == wanted);
    wait_for("the ruleset", SOON, is_back).map_err(|why| format!("{why}: {:#}", fleet.area("firewall")))?;
    let restored = || {
        let all = events(&fleet);
        let mut restored =
            all.into_iter().skip(known).filter(|e| e["outcome"] == "restored" && e["area"] == "firewall");
        restored.find(|e| e["finding"]["kind"] == "ruleset-changed")
    };
    wait_for("the event", SOON, || restored().is_some())?;
    let event = restored().ok_or("no event")?;
    assert!(event["finding"]["by"].is_null(), "nobody is named for what nobody told: {event:#}");
    let again = fleet.web1.must(&["systemctl", "show", "-P", "MainPID", "tenure-agent"])?;
    assert_eq!(again.trim(), pid, "it is the same agent");
    fleet.await_rest()
}

#[test]
fn planted_match_blocks_and_other_ssh_servers_are_told() -> Result<()> {
    let fleet = Fleet::enforced("servers", Fleet::usual)?;
    let find = |kind: &'static str, place: &'static str| {
        let what = format!("{kind} at {place}");
        fleet.await_area("ssh_access", &what, move |area| {
            area["findings"].as_array().is_some_and(|all| {
                all.iter()
                    .any(|f| f["kind"] == kind && f["place"].as_str().is_some_and(|p| p.starts_with(place)))
            })
        })
    };
    // For nobody whom sshd is asked about, in a file that a drop-in's Include leads to.
    fleet.web1.put("/etc/ssh/deeper/x", b"Match LocalPort 2222\n  PasswordAuthentication yes\n", "644")?;
    fleet.web1.put("/etc/ssh/sshd_config.d/60-x.conf", b"Include deeper/*\n", "644")?;
    find("match-block", "/etc/ssh/deeper/x:2 in `Match LocalPort 2222`")?;

    // A second sshd that lets in by password on another port: nft does not let anybody reach it, and it is told.
    let two = "Port 2222\nPidFile /run/two.pid\nPasswordAuthentication yes\nUsePAM yes\n";
    fleet.web1.put("/etc/ssh/two", two.as_bytes(), "644")?;
    fleet.web1.must(&["/usr/sbin/sshd", "-f", "/etc/ssh/two"])?;
    fleet.web1.must(&["rm", "/etc/ssh/sshd_config.d/60-x.conf"])?;
    find("other-ssh-server", "tcp/2222 on")?;
    let area = fleet.area("ssh_access");
    let servers: Vec<&Value> = area["findings"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|f| f["kind"] == "other-ssh-server")
        .collect();
    assert_eq!(servers.len(), 2, "one on each family: {servers:#?}");
    for server in servers {
        assert_eq!(
            (&server["by"]["comm"], &server["weight"]),
            (&"sshd".into(), &"note".into()),
            "{server:#}"
        );
        let what = server["what"].as_str().unwrap_or_default();
        assert!(what.contains("(-f /etc/ssh/two)") && what.contains("nobody from elsewhere"), "{server:#}");
    }
    assert_eq!(reach(&fleet.stranger, &fleet.web1, 2222, Family::V4)?, Reach::Silent);
    assert_eq!(reach(&fleet.office, &fleet.web1, 2222, Family::V6)?, Reach::Silent);
    Ok(())
}

#[test]
fn a_host_whose_sshd_listens_elsewhere_is_not_closed() -> Result<()> {
    let fleet = Fleet::up("elsewhere")?;
    fleet.web1.put("/etc/ssh/sshd_config.d/90-port.conf", b"Port 2222\n", "644")?;
    fleet.web1.must(&["systemctl", "restart", "ssh"])?;
    fleet.place_set(&fleet.usual())?;
    fleet.configure_standalone()?;
    fleet.start_agent()?;
    fleet.await_area("firewall", "the refusal", |area| area["refusal"]["kind"] == "ssh-listens-elsewhere")?;
    assert_eq!(reach(&fleet.office, &fleet.web1, 2222, Family::V4)?, Reach::Answers, "nothing was loaded");
    assert!(!fleet.web1.exec(&["nft", "list", "table", "inet", "tenure"])?.ok());
    // Where the policy lets people in it is enforced.
    fleet.web1.must(&["rm", "/etc/ssh/sshd_config.d/90-port.conf"])?;
    fleet.web1.must(&["systemctl", "restart", "ssh"])?;
    let _applying = fleet.apply_beside()?;
    fleet.confirm_soon()?;
    fleet.await_rest()
}

/// Runs `nft` with one change on web1 and gives its process id as the kernel tells it: the machine's, because the lab's
/// hosts have process namespaces of their own. The shell that waits becomes `nft` and keeps its id.
fn change_ruleset(fleet: &Fleet, change: &str) -> Result<u64> {
    let mark = format!("lab-mark-{}-{}", std::process::id(), change.len());
    fleet.web1.sh("rm -f /run/go; mkfifo /run/go")?;
    let line = "read go </run/go; exec nft \"$0\"";
    let mut running = fleet.web1.spawn(&["sh", "-c", line, change, &mark])?;
    let mut found = None;
    wait_for("the shell that becomes nft", SOON, || {
        found = waiting_shell(&mark);
        found.is_some()
    })?;
    fleet.web1.sh("echo go >/run/go")?;
    // Dropped earlier it would be killed before it has changed anything.
    wait_for("the end of nft", SOON, || !running.runs())?;
    found.ok_or_else(|| "no shell".into())
}

fn waiting_shell(mark: &str) -> Option<u64> {
    let entries = std::fs::read_dir("/proc").ok()?;
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u64>().ok());
    pids.into_iter().find(|pid| {
        let read = |name| std::fs::read_to_string(format!("/proc/{pid}/{name}")).unwrap_or_default();
        read("comm").trim() == "sh" && read("cmdline").contains(mark)
    })
}

fn events(fleet: &Fleet) -> Vec<Value> {
    fleet.agent_json(&["drift"]).ok().and_then(|d| d["events"].as_array().cloned()).unwrap_or_default()
}
