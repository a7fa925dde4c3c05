//! What a host is after a boot: the last confirmed ruleset before the network, else the baseline, never nothing.

use tenure_lab::{Family, Host, SshAs};
use tenure_scenarios::agent::SOON;
use tenure_scenarios::fleet::MARIT;
use tenure_scenarios::{Fleet, Reach, Result, all_held, reach};

#[test]
fn the_confirmed_ruleset_is_there_without_the_agent() -> Result<()> {
    let fleet = Fleet::enforced("boot", Fleet::usual)?;
    let confirmed = fleet.web1.must(&["nft", "-s", "list", "table", "inet", "tenure"])?;
    fleet.web1.must(&["systemctl", "disable", "-q", "tenure-agent"])?;
    fleet.web1.reboot()?;
    let agent = fleet.web1.exec(&["pgrep", "-x", "tenure-agent"])?;
    assert!(!agent.ok(), "the agent runs: this shows nothing of the boot unit");
    assert_eq!(
        rules(&fleet.web1.must(&["nft", "-s", "list", "table", "inet", "tenure"])?),
        rules(&confirmed)
    );
    all_held("logins", &fleet.login_differences())?;
    let order = fleet.web1.must(&["systemctl", "show", "-P", "Before", "tenure-firewall.service"])?;
    assert!(order.contains("network-pre.target"), "{order}");

    // Where systemd can make no mount namespace, as happens early in a boot, the ruleset is loaded all the same.
    fleet
        .web1
        .sh("systemctl stop tenure-firewall; rm -rf /run/systemd/unit-root; touch /run/systemd/unit-root")?;
    fleet.web1.must(&["nft", "flush", "ruleset"])?;
    let agent = fleet.web1.exec(&["systemctl", "start", "tenure-agent"])?;
    assert!(!agent.ok(), "systemd makes one: this shows nothing of the boot unit");
    let loaded = fleet.web1.exec(&["systemctl", "start", "tenure-firewall"])?;
    assert!(loaded.ok(), "{}\n{}", loaded.said(), fleet.journal());
    assert_eq!(
        rules(&fleet.web1.must(&["nft", "-s", "list", "table", "inet", "tenure"])?),
        rules(&confirmed)
    );
    fleet.web1.sh("rm /run/systemd/unit-root; systemctl reset-failed tenure-agent")?;
    fleet.web1.must(&["systemctl", "enable", "-q", "--now", "tenure-agent"])?;
    fleet.await_rest()
}

#[test]
fn missing_or_spoilt_state_loads_the_baseline_with_the_management_path() -> Result<()> {
    let fleet = Fleet::signed("baseline")?;
    let mut wrong = Vec::new();
    for spoil in [
        "find /var/lib/tenure/firewall -name 'confirmed*' -exec truncate -s 100 {} +",
        "find /var/lib/tenure/firewall -name 'confirmed*' -exec sh -c 'echo garbage >$0' {} ';'",
        "find /var/lib/tenure/firewall -name 'confirmed*' -exec sed -i 's/443/444/g' {} +",
        "find /var/lib/tenure/firewall -name 'confirmed*' -delete",
    ] {
        fleet.web1.must(&["systemctl", "disable", "-q", "--now", "tenure-agent"])?;
        fleet.web1.must(&["sh", "-c", spoil])?;
        fleet.web1.reboot()?;
        let loaded = fleet.web1.exec(&["nft", "list", "table", "inet", "tenure"])?;
        if !loaded.ok() {
            wrong.push(format!("{spoil}: no table after boot: {}", fleet.journal()));
        }
        for family in Family::BOTH {
            if !fleet.office.ssh(&fleet.web1, "admin", SshAs::Key(MARIT), family)?.is_in() {
                wrong.push(format!("{spoil}: the management path is cut on {family:?}"));
            }
            let port = |port| reach(&fleet.stranger, &fleet.web1, port, family);
            if port(5432)? != Reach::Silent || port(22)? != Reach::Silent {
                wrong.push(format!("{spoil}: open to strangers on {family:?}"));
            }
        }
        fleet.web1.must(&["systemctl", "enable", "-q", "--now", "tenure-agent"])?;
        if let Err(why) = fleet.settle(SOON) {
            wrong.push(format!("{spoil}: {why}"));
        }
    }
    all_held("spoilt state at boot", &wrong)
}

#[test]
fn a_ruleset_that_does_not_load_at_first_is_tried_again_and_not_for_ever() -> Result<()> {
    let fleet = Fleet::enforced("again", Fleet::usual)?;
    let show = |what: &str| fleet.web1.must(&["systemctl", "show", "-P", what, "tenure-firewall"]);
    let begin = || {
        fleet
            .web1
            .sh("systemctl stop tenure-agent tenure-firewall; systemctl reset-failed tenure-firewall")?;
        fleet.web1.must(&["nft", "flush", "ruleset"])?;
        fleet.web1.must(&["rm", "-f", "/run/tries"])
    };
    // A filter program that fails so many times and is then the real one.
    let broken = "#!/bin/sh\necho >>/run/tries\n[ $(wc -l </run/tries) -le LIMIT ] && exit 1\nexec /usr/sbin/nft.real \"$@\"\n";
    fleet.web1.must(&["mv", "/usr/sbin/nft", "/usr/sbin/nft.real"])?;
    fleet.web1.must(&["cp", "-p", "/usr/sbin/nft.real", "/usr/sbin/nft"])?;
    let place =
        |limit: &str| fleet.web1.put("/usr/sbin/nft", broken.replace("LIMIT", limit).as_bytes(), "755");
    begin()?;
    place("2")?;
    fleet.web1.sh("systemctl start tenure-firewall")?;
    tenure_lab::wait_for("the ruleset", SOON, || {
        fleet.web1.exec(&["nft.real", "list", "table", "inet", "tenure"]).is_ok_and(|o| o.ok())
    })
    .map_err(|why| format!("{why}: {}", fleet.journal()))?;
    tenure_lab::wait_for("rest", SOON, || show("ActiveState").is_ok_and(|state| state.trim() == "active"))?;

    fleet.web1.must(&["cp", "-p", "/usr/sbin/nft.real", "/usr/sbin/nft"])?;
    begin()?;
    place("100000")?;
    fleet.web1.sh("systemctl start tenure-firewall")?;
    tenure_lab::wait_for("the end of trying", SOON, || {
        show("ActiveState").is_ok_and(|state| state.trim() == "failed")
            && show("Result").is_ok_and(|why| why.trim() == "start-limit-hit" || why.trim() == "exit-code")
            && show("SubState").is_ok_and(|state| state.trim() == "failed")
    })
    .map_err(|why| format!("{why}: {}", show("SubState").unwrap_or_default()))?;
    assert_eq!(show("NRestarts")?.trim().parse::<u32>()?, 3, "tried a bounded number of times");
    fleet.web1.must(&["mv", "/usr/sbin/nft.real", "/usr/sbin/nft"])?;
    fleet.web1.must(&["systemctl", "reset-failed", "tenure-firewall"])?;
    fleet.web1.must(&["systemctl", "start", "tenure-firewall", "tenure-agent"])?;
    fleet.await_rest()
}

#[test]
fn a_host_that_never_confirmed_is_left_as_it_is() -> Result<()> {
    let fleet = Fleet::up("never")?;
    fleet.place_set(&fleet.usual())?;
    fleet.configure_standalone()?;
    fleet.start_agent()?;
    fleet.await_trial()?;
    fleet.web1.must(&["systemctl", "disable", "-q", "tenure-agent"])?;
    fleet.web1.kill()?;
    fleet.web1.start()?;
    open_to_all(&fleet.stranger, &fleet.web1)
}

fn open_to_all(stranger: &Host, web1: &Host) -> Result<()> {
    for family in Family::BOTH {
        assert_eq!(
            reach(stranger, web1, 5432, family)?,
            Reach::Answers,
            "an unconfirmed ruleset came back after a boot"
        );
    }
    Ok(())
}

/// A listing without what may differ from load to load: the number in names stays, comments on state go.
fn rules(listing: &str) -> Vec<&str> {
    listing.lines().filter(|line| !line.contains("comment \"tenure ")).collect()
}
