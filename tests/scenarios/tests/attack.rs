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
