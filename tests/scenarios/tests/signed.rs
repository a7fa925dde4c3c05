//! A signed policy comes to a host: what is believed, and what is refused with the floor unchanged.

use tenure_scenarios::operator::{DESK, DROP, ROOT};
use tenure_scenarios::{Fleet, Result, all_held};

#[test]
fn a_signed_policy_is_verified_enforced_and_survives_a_restart() -> Result<()> {
    let fleet = Fleet::signed("signed")?;
    all_held("logins", &fleet.login_differences())?;
    let status = fleet.agent_json(&["status"])?;
    assert_eq!(status["board"]["policy"]["version"], 1, "{status:#}");
    fleet.web1.must(&["rm", "-r", DROP])?;
    fleet.web1.must(&["systemctl", "restart", "tenure-agent"])?;
    fleet.await_rest()?;
    assert_eq!(fleet.agent_json(&["status"])?["board"]["policy"]["version"], 1, "what was taken is kept");
    Ok(())
}

#[test]
fn forged_replayed_foreign_and_older_policies_are_refused_and_change_nothing() -> Result<()> {
    let fleet = Fleet::signed("forged")?;
    let ruleset = || fleet.web1.must(&["nft", "-s", "list", "ruleset"]);
    let before = ruleset()?;
    let kept = |what: &str| -> Result<()> {
        let status = fleet.agent_json(&["status"])?;
        assert_eq!(ruleset()?, before, "{what}: the ruleset changed");
        assert!(!status["board"]["policy"].is_null(), "{what}: {status:#}");
        Ok(())
    };

    // Version 2 is taken; version 1, honestly signed, is then refused with both numbers.
    fleet.sign("marit", &fleet.usual(), 2)?;
    fleet.deliver()?;
    tenure_lab::wait_for("version 2", tenure_scenarios::agent::SOON, || {
        fleet.agent_json(&["status"]).is_ok_and(|s| s["board"]["policy"]["version"] == 2)
    })?;
    fleet.sign("marit", &fleet.usual(), 1)?;
    fleet.deliver()?;
    let said = fleet.await_refusal("version 1 was offered")?;
    assert!(said.contains('1') && said.contains('2'), "a refusal names both numbers: {said}");
    kept("an older version")?;

    // The same number for another content.
    fleet.sign("marit", &fleet.usual().with("allow: [https]", "allow: [http, https]"), 2)?;
    fleet.deliver()?;
    fleet.await_refusal("2")?;
    kept("the same version with another content")?;

    // Another operator's key, honestly used, that the root does not name.
    fleet.make_operator("mallory", "lab")?;
    fleet.sign("mallory", &fleet.usual().with("allow: [https]", "allow: [http, https]"), 9)?;
    fleet.deliver()?;
    fleet.await_refusal("sign")?;
    kept("a key that the root does not name")?;

    // One byte of a signed bundle is another one.
    fleet.sign("marit", &fleet.usual(), 3)?;
    fleet.office.must(&[
        "sh",
        "-c",
        "sed -i 's/\"payload\": *\"\\(.\\{40\\}\\)./\"payload\":\"\\1A/' \"$0\"",
        &format!("{DESK}/signed/web1.bundle.json"),
    ])?;
    fleet.deliver()?;
    tenure_lab::wait_for("a refusal", tenure_scenarios::agent::SOON, || {
        fleet.agent_json(&["status"]).is_ok_and(|s| s["board"]["policy_fault"].is_string())
    })?;
    kept("a bundle with another byte")?;

    // A bundle for another machine under this machine's name.
    let two = fleet.usual().with(
        "hosts:\n",
        "hosts:\n  web2: { profiles: [web], addresses: [198.51.100.12], \
        environment: production, site: \"Amsterdam\" }\n",
    );
    fleet.sign("marit", &two, 4)?;
    fleet.office.must(&["sh", "-c", "cd \"$0/signed\" && cp web2.bundle.json web1.bundle.json", DESK])?;
    fleet.deliver()?;
    fleet.await_refusal("web1")?;
    kept("another machine's bundle")?;

    for (what, text) in
        [("nothing", ""), ("not JSON", "{"), ("hostile", "\u{1b}[2J"), ("deep", &"[".repeat(100_000))]
    {
        fleet.web1.put(&format!("{DROP}/index.json"), text.as_bytes(), "644")?;
        tenure_lab::wait_for(what, tenure_scenarios::agent::SOON, || {
            let status = fleet.agent_json(&["status"]).unwrap_or_default();
            status["board"]["policy_fault"]
                .as_str()
                .is_some_and(|f| !f.contains("web2") && !f.contains('\u{1b}'))
        })?;
        kept(what)?;
    }

    // And an honest next version ends all that.
    fleet.sign("marit", &fleet.usual(), 5)?;
    fleet.deliver()?;
    tenure_lab::wait_for("version 5", tenure_scenarios::agent::SOON, || {
        fleet
            .agent_json(&["status"])
            .is_ok_and(|s| s["board"]["policy"]["version"] == 5 && s["board"]["policy_fault"].is_null())
    })
    .map_err(|why| format!("{why}: {:#}", fleet.agent_json(&["status"]).unwrap_or_default()))?;
    Ok(())
}

#[test]
fn an_expired_policy_is_not_taken_anew_and_keeps_being_enforced_if_it_was() -> Result<()> {
    let fleet = Fleet::signed("expired")?;
    // The lab's hosts cannot set the clock; libfaketime shows the agent another one.
    fleet.web1.put("/etc/systemd/system/tenure-agent.service.d/time.conf",
        b"[Service]\nEnvironment=LD_PRELOAD=/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1 FAKETIME=+120d FAKETIME_DONT_FAKE_MONOTONIC=1\n", "644")?;
    fleet.web1.must(&["systemctl", "daemon-reload"])?;
    fleet.web1.must(&["systemctl", "restart", "tenure-agent"])?;
    tenure_lab::wait_for("a word on expiry", tenure_scenarios::agent::SOON, || {
        fleet.agent_json(&["status"]).is_ok_and(|s| s["notes"].to_string().contains("expired"))
    })
    .map_err(|why| format!("{why}: {:#}", fleet.agent_json(&["status"]).unwrap_or_default()))?;
    fleet.web1.must(&["nft", "flush", "ruleset"])?;
    tenure_lab::wait_for("the ruleset", tenure_scenarios::agent::SOON, || {
        fleet.web1.exec(&["nft", "list", "table", "inet", "tenure"]).is_ok_and(|o| o.ok())
    })?;
    fleet.sign("marit", &fleet.usual(), 2)?;
    fleet.deliver()?;
    fleet.await_refusal("expire").map(drop)
}

#[test]
fn files_that_others_can_write_are_refused_with_the_command_that_mends_it() -> Result<()> {
    let fleet = Fleet::signed("writable")?;
    fleet.web1.must(&["systemctl", "stop", "tenure-agent"])?;
    let mut wrong = Vec::new();
    for (spoil, mend, path) in [
        ("chmod 666 /etc/tenure/agent.yaml", "chmod 600 /etc/tenure/agent.yaml", "/etc/tenure/agent.yaml"),
        ("chmod 777 /etc/tenure", "chmod 755 /etc/tenure", "/etc/tenure"),
        ("chown admin /etc/tenure/agent.yaml", "chown root /etc/tenure/agent.yaml", "/etc/tenure/agent.yaml"),
        ("chmod 666 /etc/tenure/trust/root.json", "chmod 644 /etc/tenure/trust/root.json", ROOT),
        ("chmod 777 /etc/tenure/trust", "chmod 755 /etc/tenure/trust", "/etc/tenure/trust"),
    ] {
        fleet.web1.sh(spoil)?;
        let output = fleet.web1.exec(&["timeout", "10", "tenure-agent", "run"])?;
        let said = output.said();
        if output.status == 0 || output.status == 124 {
            wrong.push(format!("{spoil}: it runs ({})", output.status));
        }
        if !said.contains(path) || !(said.contains("chmod") || said.contains("chown")) {
            wrong.push(format!("{spoil}: {said}"));
        }
        fleet.web1.sh(mend)?;
    }
    all_held("what others can write is not believed", &wrong)?;
    fleet.web1.must(&["systemctl", "reset-failed", "tenure-agent"])?;
    fleet.web1.must(&["systemctl", "start", "tenure-agent"])?;
    fleet.await_rest()
}
