//! One host without a controller: `plan`, `apply` and `status` with a policy directory.

use std::collections::BTreeSet;

use tenure_lab::{Family, SshAs};
use tenure_scenarios::agent::SET;
use tenure_scenarios::fleet::MARIT;
use tenure_scenarios::{Fleet, Reach, Result, all_held, reach};

const HERE: [&str; 4] = ["--policy", SET, "--host", "web1"];

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
    let mut missing = Vec::new();
    for word in ["22", "5432", "9000", "443", "admin", "old-dev", "marit"] {
        if !plan.stdout.contains(word) {
            missing.push(word.to_owned());
        }
    }
    all_held(&format!("the plan does not say\n{}", plan.stdout), &missing)?;
    assert_eq!(reach(&fleet.stranger, &fleet.web1, 5432, Family::V4)?, Reach::Answers);

    let json = fleet.agent_json(&[&["plan"], HERE.as_slice()].concat())?;
    let steps = |area: &str| {
        let areas = json["areas"].as_array().cloned().unwrap_or_default();
        let steps = |a: &serde_json::Value| a["look"]["plan"]["steps"].as_array().map_or(0, Vec::len);
        areas.iter().any(|a| a["area"] == area && steps(a) > 0)
    };
    assert!(steps("firewall") && steps("ssh_access"), "{json:#}");
    Ok(())
}

#[test]
fn it_is_refused_without_root_and_with_a_directory_that_others_can_write() -> Result<()> {
    let fleet = Fleet::up("refused")?;
    fleet.place_set(&fleet.usual())?;
    let unprivileged = fleet
        .web1
        .exec(&[&["runuser", "-u", "admin", "--", "tenure-agent", "plan"], HERE.as_slice()].concat())?;
    assert!(!unprivileged.ok() && unprivileged.said().contains("root"), "{}", unprivileged.said());
    let mut wrong = Vec::new();
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
        for verb in ["plan", "apply"] {
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
