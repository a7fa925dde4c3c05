//! The journal and the doctor on a real host: foreign journalctl reads kinds and fields, the doctor finds what was broken.

use serde_json::Value;
use tenure_lab::wait_for;
use tenure_scenarios::agent::SOON;
use tenure_scenarios::{Fleet, Result, all_held};

/// Entries of one kind, as journalctl tells them.
fn entries(fleet: &Fleet, kind: &str) -> Vec<Value> {
    let wanted = format!("MESSAGE_ID={kind}");
    let output = fleet.web1.exec(&["journalctl", "--no-pager", "-o", "json", &wanted]);
    let text = output.map(|output| output.stdout).unwrap_or_default();
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

#[test]
fn entries_carry_their_kind_and_who_changed_what() -> Result<()> {
    let fleet = Fleet::signed("journal")?;
    let in_force = entries(&fleet, "3e38488a39204ebe96b39721939b7cd6");
    let entry = in_force.first().ok_or("no entry about the policy in force")?;
    assert_eq!(entry["TENURE_VERSION"], "1", "{entry:#}");
    assert_eq!(entry["SYSLOG_IDENTIFIER"], "tenure-agent");
    assert_eq!(entry["_SYSTEMD_UNIT"], "tenure-agent.service", "journald knows the sender itself");
    assert_eq!(entry["PRIORITY"], "5");

    fleet.web1.must(&["nft", "flush", "ruleset"])?;
    let restored = || {
        let found = entries(&fleet, "e963938ecad44cd1844fbab27a903e19");
        found.into_iter().find(|e| e["TENURE_AREA"] == "firewall")
    };
    wait_for("the entry about the restored ruleset", SOON, || restored().is_some())
        .map_err(|why| format!("{why}\n{}", fleet.journal()))?;
    let entry = restored().ok_or("it was there")?;
    assert_eq!(entry["TENURE_ACTOR_COMM"], "nft", "{entry:#}");
    assert!(entry["TENURE_ACTOR_PID"].as_str().is_some_and(|pid| pid.parse::<u32>().is_ok()), "{entry:#}");
    assert_eq!(entry["TENURE_VERSION"], "1");

    // A rule of the policy that somebody takes out is named by the policy's own name for it.
    let chains = fleet.web1.must(&["nft", "list", "table", "inet", "tenure"])?;
    let chain = chains.lines().find_map(|line| line.trim().strip_prefix("chain g")?.strip_suffix("_input {"));
    let chain = format!("g{}_input", chain.ok_or("no chain of rules")?);
    fleet.web1.must(&["nft", "flush", "chain", "inet", "tenure", &chain])?;
    let named = || {
        let found = entries(&fleet, "e963938ecad44cd1844fbab27a903e19");
        found.iter().find_map(|e| e["TENURE_RULE"].as_str().map(str::to_owned))
    };
    wait_for("an entry that names the rule", SOON, || named().is_some())
        .map_err(|why| format!("{why}\n{}", fleet.journal()))?;
    let rule = named().ok_or("it was there")?;
    assert!(rule.contains("/inbound/") || rule.starts_with("implied:"), "{rule}");

    let kind = "MESSAGE_ID=e963938ecad44cd1844fbab27a903e19";
    let explained = fleet.web1.must(&["journalctl", "--no-pager", "-x", kind])?;
    assert!(explained.contains("What somebody changed is again as the policy says"), "{explained}");
    assert!(explained.contains("Area firewall."), "the catalogue fills fields in: {explained}");
    Ok(())
}

/// The check of this name, as `doctor --json` tells it, and the exit code.
fn check(fleet: &Fleet, name: &str) -> Result<(String, i32)> {
    let output = fleet.agent(&["doctor", "--json"])?;
    let checks: Value =
        serde_json::from_str(&output.stdout).map_err(|e| format!("{e}: {}", output.said()))?;
    let found = checks.as_array().and_then(|list| list.iter().find(|check| check["name"] == name).cloned());
    let level = found.as_ref().and_then(|check| check["level"].as_str()).unwrap_or("absent").to_owned();
    if level != "ok" && level != "absent" {
        let remedy = found.as_ref().and_then(|check| check["remedy"].as_str());
        assert!(remedy.is_some_and(|r| !r.is_empty()), "no remedy: {found:?}");
    }
    Ok((level, output.status))
}

#[test]
fn the_doctor_finds_what_was_broken_and_nothing_on_a_sound_host() -> Result<()> {
    let fleet = Fleet::signed("doctor")?;
    let sound = fleet.agent(&["doctor"])?;
    assert_eq!(sound.status, 0, "{}", sound.said());

    // (what breaks it, what mends it, the check that tells, how it stands, the exit code)
    let include = "s|^Include /etc/ssh/sshd_config.d|#&|";
    let cases: [(&str, String, String, &str, i32); 8] = [
        (
            "config",
            "chmod 666 /etc/tenure/agent.yaml".into(),
            "chmod 600 /etc/tenure/agent.yaml".into(),
            "fail-config",
            78,
        ),
        (
            "root",
            "mv /etc/tenure/trust/root.json /root/kept".into(),
            "mv /root/kept /etc/tenure/trust/root.json".into(),
            "fail-config",
            78,
        ),
        (
            "sshd_config",
            format!("cp -p /etc/ssh/sshd_config /root/sshd; sed -i '{include}' /etc/ssh/sshd_config"),
            "cp -p /root/sshd /etc/ssh/sshd_config".into(),
            "fail-config",
            78,
        ),
        ("state", "chmod 755 /var/lib/tenure".into(), "chmod 700 /var/lib/tenure".into(), "warn", 2),
        (
            "nftables.service",
            "systemctl enable -q nftables".into(),
            "systemctl disable -q nftables".into(),
            "warn",
            2,
        ),
        (
            "tenure-firewall.service",
            "systemctl disable -q tenure-firewall".into(),
            "systemctl enable -q tenure-firewall".into(),
            "fail",
            1,
        ),
        ("nft", "mv /usr/sbin/nft /root/nft".into(), "mv /root/nft /usr/sbin/nft".into(), "fail", 1),
        ("agent", "systemctl stop tenure-agent".into(), "systemctl start tenure-agent".into(), "fail", 1),
    ];
    let mut wrong = Vec::new();
    for (name, broken, mended, standing, code) in cases {
        fleet.web1.must(&["sh", "-c", &broken])?;
        let seen = check(&fleet, name)?;
        fleet.web1.must(&["sh", "-c", &mended])?;
        if seen != (standing.to_owned(), code) {
            wrong.push(format!("{name}: {seen:?} instead of {standing}, {code}"));
        }
    }
    all_held("what the doctor found", &wrong)?;
    fleet.await_rest()?;
    let again = fleet.agent(&["doctor"])?;
    assert_eq!(again.status, 0, "{}", again.said());
    Ok(())
}
