//! `lift` gives back exactly what stood there before the first `apply`.

use tenure_lab::{Family, SshAs, wait_for};
use tenure_scenarios::agent::SOON;
use tenure_scenarios::fleet::{MARIT, PASSWORD};
use tenure_scenarios::{Fleet, Reach, Result, all_held, reach};

#[test]
fn both_areas_are_given_back_and_taken_again() -> Result<()> {
    let fleet = Fleet::up("lift")?;
    // What stood there: somebody's own ruleset beside, and a file where ours will be.
    fleet.web1.put("/etc/nftables.conf", b"table inet theirs {\n\tchain input {\n\t\ttype filter hook input priority 10; policy accept;\n\t\ttcp dport 9000 drop\n\t}\n}\n", "644")?;
    fleet.web1.must(&["nft", "-f", "/etc/nftables.conf"])?;
    fleet.web1.put(
        "/etc/ssh/sshd_config.d/00-tenure.conf",
        b"# somebody's own\nPermitEmptyPasswords no\n",
        "640",
    )?;
    fleet.web1.must(&["systemctl", "reload", "ssh"])?;
    let state = || -> Result<String> {
        Ok(fleet.web1.must(&["sh", "-c", "nft -s list ruleset; sshd -T -C user=admin,addr=192.0.2.77,host=x,laddr=198.51.100.11,lport=22 | sort; \
            stat -c '%a %u %g' /etc/ssh/sshd_config.d/00-tenure.conf; cat /etc/ssh/sshd_config.d/*; find /etc/ssh/tenure -type f 2>/dev/null; true"])?)
    };
    let before = state()?;
    fleet.enforce(&fleet.usual().with("    firewall:\n", "    firewall:\n      neighbours: [theirs]\n"))?;
    assert_ne!(state()?, before);
    all_held("enforced", &fleet.login_differences())?;

    let lifted = fleet.agent(&["lift"])?;
    assert!(lifted.ok(), "{}", lifted.said());
    wait_for("the state before", SOON, || state().is_ok_and(|now| now == before))
        .map_err(|why| format!("{why}:\n{}\nbefore:\n{before}", state().unwrap_or_default()))?;
    for family in Family::BOTH {
        assert_eq!(reach(&fleet.stranger, &fleet.web1, 5432, family)?, Reach::Answers);
        assert!(fleet.login(&fleet.stranger, SshAs::Password(PASSWORD), family)?.is_in());
        assert!(fleet.login(&fleet.stranger, SshAs::Key(MARIT), family)?.is_in());
    }
    // It stays given back over a restart, and is only observed.
    fleet.web1.must(&["systemctl", "restart", "tenure-agent"])?;
    for area in ["firewall", "ssh_access"] {
        fleet.await_area(area, "lifted", |a| a["lifted"] == true && a["mode"] == "observe")?;
    }
    assert_eq!(state()?, before);
    // Nor does a boot take it again.
    fleet.web1.must(&["systemctl", "enable", "-q", "nftables"])?;
    fleet.web1.reboot()?;
    assert_eq!(reach(&fleet.stranger, &fleet.web1, 5432, Family::V4)?, Reach::Answers);

    let applying = fleet.apply_beside()?;
    fleet.confirm_soon()?;
    drop(applying);
    fleet.await_rest()?;
    all_held("enforced again", &fleet.login_differences())
}

#[test]
fn giving_one_area_back_without_an_agent_leaves_the_others_kept() -> Result<()> {
    let fleet = Fleet::enforced("liftone", Fleet::usual)?;
    fleet.web1.must(&["systemctl", "stop", "tenure-agent"])?;
    let lifted = fleet.agent(&["lift", "firewall"])?;
    assert!(lifted.ok(), "{}", lifted.said());
    let marks = fleet.web1.must(&["ls", "/var/lib/tenure/lifted"])?;
    assert_eq!(marks.split_whitespace().collect::<Vec<_>>(), ["firewall.json"]);
    fleet.web1.must(&["systemctl", "start", "tenure-agent"])?;
    fleet.web1.must(&[
        "sh",
        "-c",
        "echo 'PasswordAuthentication yes' >/etc/ssh/sshd_config.d/00-tenure.conf",
    ])?;
    tenure_lab::wait_for("the drop-in", tenure_scenarios::agent::SOON, || {
        fleet.web1.get("/etc/ssh/sshd_config.d/00-tenure.conf").is_ok_and(|text| text.contains("AllowUsers"))
    })?;
    Ok(())
}
