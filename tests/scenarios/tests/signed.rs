//! A signed policy comes to a host: what is believed, and what is refused with the floor unchanged.

use tenure_scenarios::operator::{DESK, DROP, ROOT};
use tenure_scenarios::{Fleet, Result, all_held};
use tenure_trust::record::{About, ExportLine};

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

    // There is one agent on a host: another one is told who it is, and ends.
    let agent = || fleet.web1.must(&["systemctl", "show", "-P", "MainPID", "tenure-agent"]);
    let one = agent()?;
    let second = fleet.web1.exec(&["timeout", "20", "tenure-agent", "run"])?;
    let holder = format!("is held by process {} (tenure-agent)", one.trim());
    assert!(second.status == 1 && second.stderr.contains(&holder), "{holder}: {second:?}");
    assert_eq!(agent()?, one, "the first goes on");
    fleet.await_rest()
}

#[test]
fn forged_replayed_foreign_and_older_policies_are_refused_and_change_nothing() -> Result<()> {
    let fleet = Fleet::signed("forged")?;
    let ruleset = || fleet.web1.must(&["nft", "-s", "list", "ruleset"]);

    // Version 2 is taken; everything below is refused while it stays in force.
    fleet.sign("marit", &fleet.usual(), 2)?;
    fleet.deliver()?;
    tenure_lab::wait_for("version 2", tenure_scenarios::agent::SOON, || {
        fleet.agent_json(&["status"]).is_ok_and(|s| s["board"]["policy"]["version"] == 2)
    })?;
    fleet.await_rest()?;
    let before = ruleset()?;
    let floor = || fleet.web1.must(&["sh", "-c", "cat /var/lib/tenure/policy/*floor* | sha256sum"]);
    let floor_before = floor()?;
    // Every case has a refusal of its own in the chain, after everything that was there when it was offered.
    let refused = |what: &str, words: &[&str], offer: &dyn Fn() -> Result<()>| -> Result<()> {
        let after = records(&fleet)?.last().map_or(0, |record| record.seq);
        offer()?;
        let own = |record: &Seen| {
            record.seq > after && record.refusal.as_ref().is_some_and(|r| words.iter().all(|w| r.contains(w)))
        };
        let mut seen = Vec::new();
        tenure_lab::wait_for(what, tenure_scenarios::agent::SOON, || {
            seen = records(&fleet).unwrap_or_default();
            seen.iter().any(own)
        })
        .map_err(|why| {
            let since: Vec<_> = seen.iter().filter(|record| record.seq > after).collect();
            format!("{why}: no refusal with {words:?} after record {after}: {since:#?}")
        })?;
        assert!(
            seen.iter().all(|r| r.refusal.as_ref().is_none_or(|text| !text.contains('\u{1b}'))),
            "{what}"
        );
        let taken: Vec<_> = seen.iter().filter(|record| record.seq > after && record.taken).collect();
        assert_eq!(taken, Vec::<&Seen>::new(), "{what}: a policy was taken");
        let status = fleet.agent_json(&["status"])?;
        assert_eq!(ruleset()?, before, "{what}: the ruleset changed");
        assert_eq!(floor()?, floor_before, "{what}: the version floor changed");
        assert_eq!(status["board"]["policy"]["version"], 2, "{what}: {status:#}");
        Ok(())
    };
    let wider = || fleet.usual().with("allow: [https]", "allow: [http, https]");

    let words = ["version 1 was offered", "version 2 has already been taken"];
    refused("an older version", &words, &|| {
        fleet.sign("marit", &fleet.usual(), 1)?;
        fleet.deliver()
    })?;
    refused("the same version with another content", &["version 2 was offered a second time"], &|| {
        fleet.sign("marit", &wider(), 2)?;
        fleet.deliver()
    })?;
    fleet.make_operator("mallory", "lab")?;
    refused("a key that the root does not name", &["which the root does not name"], &|| {
        fleet.sign("mallory", &wider(), 9)?;
        fleet.deliver()
    })?;
    refused("a bundle with another byte", &["does not"], &|| {
        fleet.sign("marit", &fleet.usual(), 3)?;
        fleet.office.must(&[
            "sh",
            "-c",
            "sed -i 's/\"payload\": *\"\\(.\\{40\\}\\)./\"payload\":\"\\1A/' \"$0\"",
            &format!("{DESK}/signed/web1.bundle.json"),
        ])?;
        fleet.deliver()
    })?;
    refused("another machine's bundle", &["it is for the host web2, and this is web1"], &|| {
        let two = fleet.usual().with(
            "hosts:\n",
            "hosts:\n  web2: { profiles: [web], addresses: [198.51.100.12], \
            environment: production, site: \"Amsterdam\" }\n",
        );
        fleet.sign("marit", &two, 4)?;
        fleet.office.must(&["sh", "-c", "cd \"$0/signed\" && cp web2.bundle.json web1.bundle.json", DESK])?;
        fleet.deliver()
    })?;
    for (what, text) in
        [("nothing", ""), ("not JSON", "{"), ("hostile", "\u{1b}[2J"), ("deep", &"[".repeat(100_000))]
    {
        refused(what, &["index.json"], &|| {
            Ok(fleet.web1.put(&format!("{DROP}/index.json"), text.as_bytes(), "644")?)
        })?;
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

/// A record of web1's chain, as far as policies go.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Seen {
    seq: u64,
    /// A policy was put in force.
    taken: bool,
    /// Why one was not.
    refusal: Option<String>,
}

/// The whole chain as it is now, in its order.
fn records(fleet: &Fleet) -> Result<Vec<Seen>> {
    fleet.web1.must(&["rm", "-f", "/root/records"])?;
    let exported = fleet.agent(&["evidence", "export", "--out", "/root/records"])?;
    if !exported.ok() {
        return Err(exported.said().into());
    }
    let text = fleet.web1.get("/root/records")?;
    // The first line is the header.
    let lines = text.lines().skip(1).map(|line| -> Result<Seen> {
        let line = ExportLine::parse(line.as_bytes())?;
        let record = line.unverified()?;
        let event = match &record.about {
            About::Event(name) => name.to_string(),
            About::Area(_) => String::new(),
        };
        let payload: Option<serde_json::Value> =
            line.payload.as_ref().and_then(|payload| serde_json::from_slice(payload.bytes()).ok());
        let what = payload.and_then(|payload| payload["what"].as_str().map(str::to_owned));
        let refusal = (event == "policy_refused").then(|| what.unwrap_or_default());
        Ok(Seen { seq: record.seq.0, taken: event == "policy", refusal })
    });
    lines.collect()
}

#[test]
fn an_expired_policy_is_not_taken_anew_and_keeps_being_enforced_if_it_was() -> Result<()> {
    let fleet = Fleet::signed("expired")?;
    // The lab's hosts cannot set the clock; libfaketime shows the agent another one.
    tenure_scenarios::clock::shift(&fleet.web1, "tenure-agent", "+120d")?;
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
    fleet.await_refusal("expire").map(drop)?;
    // Somebody sets the clock right: what it said meanwhile is not remembered against it.
    tenure_scenarios::clock::set_right(&fleet.web1, "tenure-agent")?;
    tenure_lab::wait_for("version 2", tenure_scenarios::agent::SOON, || {
        fleet.agent_json(&["status"]).is_ok_and(|s| s["board"]["policy"]["version"] == 2)
    })
    .map_err(|why| format!("{why}: {:#}", fleet.agent_json(&["status"]).unwrap_or_default()))?;
    fleet.await_rest()
}

#[test]
fn looking_at_bundles_that_were_never_taken_makes_nothing_on_the_host() -> Result<()> {
    let fleet = Fleet::up("look")?;
    fleet.make_operator("marit", "lab")?;
    fleet.place_root("marit")?;
    fleet.sign("marit", &fleet.usual(), 1)?;
    fleet.deliver()?;
    let files = "find / -xdev -newer /root/before -not -path '/proc/*' -not -path '/var/log/*' -not -path '/run/log/*'";
    let made = format!("{files} -path '*tenure*' -not -path '{DROP}*'");
    fleet.web1.must(&["touch", "/root/before"])?;
    let plan = fleet.agent(&["plan", "--bundles", DROP, "--host", "web1"])?;
    assert_eq!(plan.status, 2, "{}", plan.said());
    for place in ["/var/lib/tenure", "/run/tenure"] {
        assert!(!fleet.web1.exec(&["test", "-e", place])?.ok(), "{place} was made");
    }
    assert_eq!(fleet.web1.must(&["sh", "-c", &made])?, "");
    Ok(())
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
