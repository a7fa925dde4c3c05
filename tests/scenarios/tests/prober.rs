//! A firewall trial is confirmed by another host that the policy names: by new connections, and by nothing less.

use std::time::Duration;

use tenure_lab::{Family, Host, wait_for};
use tenure_scenarios::admissions::{self, Machine};
use tenure_scenarios::agent::SOON;
use tenure_scenarios::operator::{DESK, DROP, ROOT};
use tenure_scenarios::{Fleet, Policy, Result, all_held};
use tenure_trust::MachineRole;

/// web1 as usual; vault1 confirms its trials and enforces nothing itself.
fn policy(fleet: &Fleet) -> Policy {
    fleet
        .usual()
        .with("confirm: { by: [person], within: 60s }", "confirm: { by: [vault1], within: 20s }")
        .with(
            "hosts:\n",
            "hosts:\n  vault1: { profiles: [quiet], addresses: [198.51.100.7, \"2001:db8:1::7\"], site: \"Delft\" }\n",
        )
        .with(
            "profiles:\n",
            "profiles:\n  quiet:\n    patch: { security_within: 7d, reboot_within: 14d, lists_within: 2d }\n",
        )
}

/// The policy, admissions and root on a machine, and its agent.
fn deliver(fleet: &Fleet, host: &Host, admissions: &str) -> Result<()> {
    host.put(ROOT, fleet.office.get(&format!("{DESK}/marit-root.json"))?.as_bytes(), "644")?;
    host.put(&format!("{DROP}/admissions.json"), admissions.as_bytes(), "644")?;
    for name in [format!("{}.bundle.json", host.name()), "index.json".into()] {
        let bytes = fleet.office.get(&format!("{DESK}/signed/{name}"))?;
        host.put(&format!("{DROP}/{name}"), bytes.as_bytes(), "644")?;
    }
    Ok(())
}

/// The identity keys of both machines, made by their agents.
fn admitted(fleet: &Fleet) -> Result<String> {
    let identity = |host: &Host| -> Result<String> {
        let text = format!("host: {}\npolicy: {{ from: bundles, path: {DROP} }}\n", host.name());
        host.put("/etc/tenure/agent.yaml", text.as_bytes(), "600")?;
        host.must(&["tenure-agent", "identity"])?;
        Ok(host.get("/var/lib/tenure/identity.pub")?)
    };
    let (web1, vault1) = (identity(&fleet.web1)?, identity(&fleet.vault1)?);
    let machine = |name, identity| Machine { name, role: MachineRole::Host, identity, ssh: None, reads: &[] };
    admissions::list("lab", &[machine("web1", Some(web1.as_str())), machine("vault1", Some(vault1.as_str()))])
}

/// A fleet with a prober that runs; web1's agent is not started yet.
fn prepared(topic: &str) -> Result<Fleet> {
    let fleet = Fleet::up(topic)?;
    fleet.vault1.put("/usr/sbin/tenure-agent", &tenure_scenarios::programs::bytes("tenure-agent")?, "755")?;
    fleet.make_operator("marit", "lab")?;
    fleet.sign("marit", &policy(&fleet), 1)?;
    let admissions = admitted(&fleet)?;
    deliver(&fleet, &fleet.web1, &admissions)?;
    deliver(&fleet, &fleet.vault1, &admissions)?;
    fleet.start_agent_on(&fleet.vault1)?;
    wait_for("the prober's port", SOON, || {
        fleet.vault1.exec(&["ss", "-Hltn", "sport = :8442"]).is_ok_and(|o| !o.stdout.is_empty())
    })?;
    Ok(fleet)
}

fn trial_of(fleet: &Fleet) -> serde_json::Value {
    fleet.area("firewall")["pending"].clone()
}

#[test]
fn a_prober_that_gets_in_anew_confirms_without_a_person() -> Result<()> {
    let fleet = prepared("prober")?;
    fleet.start_agent()?;
    fleet.await_area("firewall", "confirmed by the prober", |area| {
        matches!(area["verdict"].as_str(), Some("compliant" | "remediated")) && area["pending"].is_null()
    })?;
    assert!(fleet.journal().contains("confirmed by vault1, which connected anew"), "{}", fleet.journal());
    // the derived openings are what the policy says, and no more: vault1 reaches SSH and gets no login
    let ruleset = fleet.web1.must(&["nft", "list", "table", "inet", "tenure"])?;
    assert!(ruleset.contains("rule:implied:confirm/vault1/in"), "{ruleset}");
    let from_vault1 = fleet.vault1.exec(&["nc", "-z", "-w", "3", "198.51.100.11", "22"])?;
    assert!(from_vault1.ok(), "{from_vault1:?}");
    let stranger = fleet.stranger.exec(&["nc", "-z", "-w", "3", "198.51.100.11", "22"])?;
    assert!(!stranger.ok(), "the way of the prober is nobody else's");
    Ok(())
}

#[test]
fn a_prober_that_cannot_get_in_confirms_nothing_and_the_kernel_falls_back() -> Result<()> {
    let fleet = prepared("unproved")?;
    // vault1's packets towards web1's SSH are lost on one family only: that is not a way in that people can rely on
    fleet.vault1.must(&["nft", "add table inet lost"])?;
    fleet.vault1.must(&["nft", "add chain inet lost out { type filter hook output priority 0; }"])?;
    fleet.vault1.must(&["nft", "add rule inet lost out ip6 daddr 2001:db8:1::11 tcp dport 22 drop"])?;
    fleet.start_agent()?;
    fleet.await_trial()?;
    fleet.await_area("firewall", "fallen back", |area| {
        area["pending"].is_null() && area["verdict"] == "drifted"
    })?;
    assert!(fleet.journal().contains("cannot connect to 2001:db8:1::11 anew"), "{}", fleet.journal());
    // what stood before stands again: the host is open as it was
    let open = fleet.stranger.exec(&["nc", "-z", "-w", "3", "198.51.100.11", "9000"])?;
    assert!(open.ok(), "{open:?}");
    // mended, and asked for by the operator: the next trial is confirmed
    fleet.vault1.must(&["nft", "delete table inet lost"])?;
    let _apply = fleet.apply_beside()?;
    fleet.await_area("firewall", "confirmed by the prober", |area| {
        matches!(area["verdict"].as_str(), Some("compliant" | "remediated")) && area["pending"].is_null()
    })?;
    Ok(())
}

#[test]
fn a_machine_with_another_key_in_the_probers_place_is_not_believed() -> Result<()> {
    let fleet = prepared("impostor")?;
    // somebody has taken vault1's place and address, and has not its key
    fleet.vault1.must(&["systemctl", "stop", "tenure-agent"])?;
    fleet.vault1.must(&["rm", "-rf", "/var/lib/tenure"])?;
    fleet.vault1.must(&["systemctl", "start", "tenure-agent"])?;
    wait_for("the impostor's port", SOON, || {
        fleet.vault1.exec(&["ss", "-Hltn", "sport = :8442"]).is_ok_and(|o| !o.stdout.is_empty())
    })?;
    fleet.start_agent()?;
    fleet.await_trial()?;
    wait_for("what the agent says of it", Duration::from_secs(30), || {
        fleet.journal().contains("its answer is refused")
    })?;
    // a person can confirm all the same, from where people come from
    if trial_of(&fleet).is_object() {
        let login = fleet.confirm(Family::V4)?;
        assert!(login.is_in(), "{login:?}");
    }
    fleet.await_rest()?;
    all_held("logins", &fleet.login_differences())
}
