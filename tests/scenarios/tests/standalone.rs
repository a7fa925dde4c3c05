//! One host without a controller: `plan`, `apply` and `status` with a policy directory.

use std::collections::BTreeSet;

use serde_json::Value;
use tenure_lab::{Family, SshAs};
use tenure_scenarios::agent::SET;
use tenure_scenarios::fleet::MARIT;
use tenure_scenarios::{Fleet, Reach, Result, all_held, reach};

const HERE: [&str; 4] = ["--policy", SET, "--host", "web1"];
const VERBS: [&str; 3] = ["plan", "apply", "status"];

#[test]
fn a_plan_shows_what_changes_and_changes_nothing() -> Result<()> {
    let fleet = Fleet::up("plan")?;
    fleet.place_set(&fleet.usual())?;
    let state = || -> Result<String> {
        Ok(fleet.web1.must(&[
            "sh",
            "-c",
            "nft list ruleset; conntrack -C; sshd -T; find /etc -type f -newer /etc/hostname | sort; \
            find /etc -type f -exec sha256sum {} + | sort; ls -la /run/tenure 2>&1; true",
        ])?)
    };
    let before = state()?;
    let plan = fleet.agent(&[&["plan"], HERE.as_slice()].concat())?;
    assert_eq!(plan.status, 2, "{}", plan.said());
    assert_eq!(state()?, before, "a plan changed something");
    let row = |words: &[&str]| {
        let says = |line: &str| words.iter().all(|word| line.split_whitespace().any(|said| said == *word));
        (!plan.stdout.lines().any(says)).then(|| words.join(" … "))
    };
    let rows = [
        row(&["tcp/5432", "anywhere", "nowhere"]),
        row(&["tcp/22", "anywhere", "office"]),
        row(&["old-dev", "password", "anywhere", "LOST"]),
        row(&["admin", "marit's", "203.0.113.9/32,", "after"]),
    ];
    all_held(
        &format!("the plan does not say\n{}", plan.stdout),
        &rows.into_iter().flatten().collect::<Vec<_>>(),
    )?;
    assert_eq!(reach(&fleet.stranger, &fleet.web1, 5432, Family::V4)?, Reach::Answers);

    let json = fleet.agent_json(&[&["plan"], HERE.as_slice()].concat())?;
    assert_eq!(plan_differences(&json), Vec::<String>::new(), "{json:#}");
    let steps = |area: &str| {
        let areas = json["areas"].as_array().cloned().unwrap_or_default();
        let steps = |a: &serde_json::Value| a["look"]["plan"]["steps"].as_array().map_or(0, Vec::len);
        areas.iter().any(|a| a["area"] == area && steps(a) > 0)
    };
    assert!(steps("firewall") && steps("ssh_access"), "{json:#}");

    let standing = fleet.agent(&[&["status"], HERE.as_slice()].concat())?;
    assert_eq!(standing.status, 2, "{}", standing.said());
    for area in ["firewall", "ssh_access"] {
        let row = |line: &str| line.starts_with(area) && line.contains("drifted");
        assert!(standing.stdout.lines().any(row), "{area}: {}", standing.said());
    }
    assert_eq!(state()?, before, "status changed something");
    Ok(())
}

/// Who reaches and who logs in, now and after, as `plan --json` of the untouched host has to say it.
fn plan_differences(json: &Value) -> Vec<String> {
    let texts = |value: &Value| -> Vec<String> {
        let all = value.as_array().into_iter().flatten();
        all.map(|text| text.as_str().unwrap_or("no text").to_owned()).collect()
    };
    let reached = |port: u16| {
        let found = json["reach"].as_array().into_iter().flatten();
        let mut found = found.filter(|r| r["listener"]["protocol"] == "tcp" && r["listener"]["port"] == port);
        found.next().map(|r| (texts(&r["now"]), texts(&r["after"])))
    };
    let mut wrong = Vec::new();
    for (port, now, after) in [
        (22, &["anywhere"][..], &["office"][..]),
        (443, &["anywhere"], &["anywhere"]),
        (5432, &["anywhere"], &[]),
        (9000, &["anywhere"], &[]),
    ] {
        let expected =
            Some((now.iter().map(|s| (*s).into()).collect(), after.iter().map(|s| (*s).into()).collect()));
        let found = reached(port);
        if found != expected {
            wrong.push(format!("port {port}: {found:?}, not {expected:?}"));
        }
    }
    // Account, by what, from where, as far as is the same on every run.
    let ways = |when: &str| -> BTreeSet<(String, String, String)> {
        let all = json["logins"][when].as_array().into_iter().flatten();
        let text = |way: &Value, name: &str| way[name].as_str().unwrap_or("no text").to_owned();
        let by = |way: &Value| text(way, "by").split(" SHA256:").next().unwrap_or_default().to_owned();
        all.map(|way| (text(way, "account"), by(way), text(way, "from"))).collect()
    };
    let set = |all: &[(&str, &str, &str)]| {
        all.iter().map(|(a, b, c)| ((*a).into(), (*b).into(), (*c).into())).collect::<BTreeSet<_>>()
    };
    let keys = ["admin", "deploy", "old-dev"].map(|account| (account, "marit's key", "anywhere"));
    let passwords = ["admin", "old-dev"].map(|account| (account, "password", "anywhere"));
    for (when, expected) in [
        ("now", set(&[&keys[..], &passwords].concat())),
        ("after", set(&[("admin", "marit's key", "203.0.113.9/32, 2001:db8:10::9/128")])),
        // Admin's key stays, from fewer places.
        ("lost", set(&[&keys[1..], &passwords].concat())),
    ] {
        let found = ways(when);
        if found != expected {
            wrong.push(format!("who logs in {when}: {found:?}, not {expected:?}"));
        }
    }
    wrong
}

#[test]
fn it_is_refused_without_root_and_with_a_directory_that_others_can_write() -> Result<()> {
    let fleet = Fleet::up("refused")?;
    fleet.place_set(&fleet.usual())?;
    let mut wrong = Vec::new();
    for verb in VERBS {
        let words = ["runuser", "-u", "admin", "--", "tenure-agent", verb];
        let output = fleet.web1.exec(&[&words, HERE.as_slice()].concat())?;
        if output.status != 1 || !output.stderr.contains("root") {
            wrong.push(format!("{verb} by admin: status {}: {}", output.status, output.said()));
        }
    }
    all_held("nobody but root is served", &wrong)?;
    for (spoil, mend) in [
        (format!("chmod 777 {SET}"), format!("chmod 755 {SET}")),
        (format!("chmod 666 {SET}/lab.yaml"), format!("chmod 600 {SET}/lab.yaml")),
        (format!("chown admin {SET}"), format!("chown root {SET}")),
        ("chmod 777 /etc/tenure".to_owned(), "chmod 755 /etc/tenure".to_owned()),
        (
            format!("mv {SET} /srv/set && ln -s /srv/set {SET} && chmod 777 /srv"),
            format!("chmod 755 /srv; rm {SET}; mv /srv/set {SET}"),
        ),
    ] {
        fleet.web1.must(&["sh", "-c", &spoil])?;
        for verb in VERBS {
            let output = fleet.agent(&[&[verb], HERE.as_slice()].concat())?;
            if output.status != 78
                || !(output.stderr.contains("chmod")
                    || output.stderr.contains("chown")
                    || output.stderr.contains("link"))
            {
                wrong.push(format!("{spoil}: {verb}: status {}: {}", output.status, output.said()));
            }
        }
        fleet.web1.must(&["sh", "-c", &mend])?;
    }
    all_held("a directory that others can write is not believed", &wrong)?;
    assert!(!fleet.web1.exec(&["nft", "list", "table", "inet", "tenure"])?.ok(), "nothing was applied");
    for (words, status) in [(&["plan", "--policy", SET][..], 64), (&["nonsense"][..], 64)] {
        assert_eq!(fleet.agent(words)?.status, status, "{words:?}");
    }
    let other = fleet.agent(&["plan", "--policy", SET, "--host", "web9"])?;
    assert!(!other.ok() && other.stderr.contains("web9"), "{}", other.said());
    Ok(())
}

/// On a terminal one line moves while one waits, and is wiped away before anything else is printed.
fn moved(screen: &str) {
    const WIPE: &str = "\r\u{1b}[2K";
    let lines: BTreeSet<&str> = screen.split(WIPE).filter(|line| line.contains(" left; ")).collect();
    let moving = |c: &char| ('\u{2800}'..='\u{28ff}').contains(c);
    let marks: BTreeSet<char> = lines.iter().filter_map(|line| line.chars().find(moving)).collect();
    assert!(marks.len() > 2, "the line of the trial stands still: {lines:?}\n{screen:?}");
    let last = screen.rsplit(WIPE).next().unwrap_or_default();
    let row = |line: &str| line.starts_with("firewall ") && line.contains("compliant");
    assert!(last.lines().any(row), "the line was not wiped, or the table is none: {last:?}");
    assert!(!last.chars().any(|c| moving(&c)), "the line moves on: {last:?}");
}

#[test]
fn apply_without_a_daemon_tries_and_is_confirmed_from_a_new_session() -> Result<()> {
    let fleet = Fleet::up("apply")?;
    fleet.place_set(&fleet.usual())?;
    fleet.web1.must(&["sh", "-c", "mkdir -p /var/log/lab"])?;
    let on_a_terminal = "TERM=xterm script -qefc 'stty rows 40 cols 200; exec tenure-agent apply --policy /etc/tenure/set --host web1 \
                         --confirm-within 30s' /var/log/lab/apply >/dev/null 2>&1 </dev/null; echo $? >/var/log/lab/status";
    let applying = fleet.web1.spawn(&["sh", "-c", on_a_terminal])?;
    tenure_lab::wait_for("the trial", tenure_scenarios::agent::SOON, || {
        reach(&fleet.stranger, &fleet.web1, 5432, Family::V4).is_ok_and(|r| r == Reach::Silent)
    })
    .map_err(|why| format!("{why}: {}", fleet.web1.get("/var/log/lab/apply").unwrap_or_default()))?;
    let confirmed = fleet.office.ssh_run(
        &fleet.web1,
        "admin",
        SshAs::Key(MARIT),
        Family::V4,
        "sudo tenure-agent confirm",
    )?;
    let said = || fleet.web1.get("/var/log/lab/apply").unwrap_or_default();
    assert!(matches!(&confirmed, tenure_lab::Login::In(o) if o.ok()), "{confirmed:?}\n{}", said());
    tenure_lab::wait_for("apply to end", tenure_scenarios::agent::SOON, || {
        fleet.web1.exec(&["test", "-s", "/var/log/lab/status"]).is_ok_and(|o| o.ok())
    })?;
    assert!(matches!(fleet.web1.get("/var/log/lab/status")?.trim(), "0" | "2"), "{}", said());
    drop(applying);
    moved(&said());
    all_held("logins afterwards", &fleet.login_differences())?;
    // Nobody is left who keeps the host: who looks only, looks by the directory.
    let state = || {
        fleet.web1.must(&["sh", "-c", "nft -s list ruleset; find /etc -type f -exec sha256sum {} + | sort"])
    };
    let before = state()?;
    let standing = fleet.agent(&[&["status"], HERE.as_slice()].concat())?;
    assert_eq!(standing.status, 0, "{}", standing.said());
    for area in ["firewall", "ssh_access", "patch"] {
        let row = |line: &str| line.starts_with(area) && line.contains("compliant");
        assert!(standing.stdout.lines().any(row), "{area}: {}", standing.said());
    }
    assert_eq!(state()?, before, "status changed something");
    let again = fleet.agent_json(&[&["plan"], HERE.as_slice()].concat())?;
    for area in again["areas"].as_array().into_iter().flatten() {
        assert!(area["unknown"].is_null(), "{area:#}");
        assert_eq!(
            area["look"]["plan"]["steps"].as_array().map_or(0, Vec::len),
            0,
            "nothing is left to do: {area:#}"
        );
    }
    Ok(())
}
