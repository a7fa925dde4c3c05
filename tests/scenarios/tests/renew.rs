//! Certificates of a day: renewed by the machine itself before they are over, asked for anew when they are, and worth
//! nothing from the moment at which an operator revokes the machine.

use std::time::Duration;

use serde_json::{Value, json};
use tenure_lab::{Host, Options, wait_for};
use tenure_scenarios::agent::SOON;
use tenure_scenarios::clock::shift;
use tenure_scenarios::controller::{HOSTS, MachineRole};
use tenure_scenarios::{Fleet, Policy, Result, all_held, programs};

const CERTIFICATE: &str = "/var/lib/tenure/tls.crt";
/// Where a test keeps the certificate before the last.
const OLD: &str = "/root/old.crt";

/// When the certificate on a host ends, in seconds, as openssl reads it.
fn ends(host: &Host) -> Result<i64> {
    let line = format!("date -u +%s -d \"$(openssl x509 -in {CERTIFICATE} -noout -enddate | cut -d= -f2)\"");
    Ok(host.must(&["sh", "-c", &line])?.trim().parse()?)
}

fn now(host: &Host) -> Result<i64> {
    Ok(host.must(&["date", "+%s"])?.trim().parse()?)
}

/// Everything that web1 enforces.
fn enforced(fleet: &Fleet) -> Result<String> {
    let line = "nft -s list ruleset; find /etc/ssh /etc/tenure -type f -exec sha256sum {} + | sort";
    Ok(fleet.web1.must(&["sh", "-c", line])?)
}

fn await_failing(fleet: &Fleet, word: &str) -> Result<()> {
    let failing = || fleet.link()["failing"].as_str().unwrap_or_default().to_owned();
    wait_for(&format!("a link that fails by {word:?}"), Duration::from_secs(120), || failing().contains(word))
        .map(drop)
        .map_err(|why| format!("{why}: {:#}\n{}", fleet.link(), fleet.journal()).into())
}

#[test]
fn a_certificate_is_renewed_by_itself_and_one_that_is_over_is_asked_for_anew() -> Result<()> {
    const HOURS: i64 = 3600;
    let fleet = Fleet::linked("renew")?;
    let ctl1 = fleet.ctl1();
    let first = ends(&fleet.web1)?;
    let left = first - now(&fleet.web1)?;
    assert!((23 * HOURS..=24 * HOURS).contains(&left), "a day: {left} s");
    let before = enforced(&fleet)?;

    // More than half of the day has passed: nobody does anything, and there is a new one.
    shift(&ctl1, "tenure-controller", "+13h")?;
    shift(&fleet.web1, "tenure-agent", "+13h")?;
    let renewed = || ends(&fleet.web1).is_ok_and(|end| end > first + 12 * HOURS);
    wait_for("a renewed certificate", SOON, renewed)
        .map_err(|why| format!("{why}: {:#}\n{}", fleet.link(), fleet.journal()))?;
    let second = ends(&fleet.web1)?;
    fleet.await_rest()?;
    fleet.await_reported()?;
    assert_eq!(enforced(&fleet)?, before, "nothing else changed");
    // One certificate is enough for half a day.
    fleet.web1.must(&["nft", "flush", "ruleset"])?;
    fleet.await_rest()?;
    fleet.await_reported()?;
    assert_eq!(ends(&fleet.web1)?, second, "no further one was asked for");

    // It is over, and there is no controller that could give another: the host keeps its policy, records wait.
    ctl1.must(&["systemctl", "stop", "tenure-controller"])?;
    shift(&fleet.web1, "tenure-agent", "+40h")?;
    await_failing(&fleet, "no controller can be reached")?;
    fleet.web1.must(&["nft", "flush", "ruleset"])?;
    fleet.await_rest()?;
    assert_eq!(enforced(&fleet)?, before, "what is enforced needs no certificate");
    all_held("logins", &fleet.login_differences())?;
    assert_eq!(ends(&fleet.web1)?, second, "an old certificate, and nobody to renew it");
    fleet.web1.must(&["cp", CERTIFICATE, OLD])?;

    // A controller that is back gives a new one to the key that is admitted; everything that waited is told.
    shift(&ctl1, "tenure-controller", "+40h")?;
    let renewed = || ends(&fleet.web1).is_ok_and(|end| end > second + 20 * HOURS);
    wait_for("a certificate instead of the old one", Duration::from_secs(120), renewed)
        .map_err(|why| format!("{why}: {:#}\n{}", fleet.link(), fleet.journal()))?;
    wait_for("all records", Duration::from_secs(120), || fleet.await_reported().is_ok())
        .map_err(|why| format!("{why}: {:#}\n{:#}", fleet.link(), fleet.controller_status()))?;
    let own = fleet.own_chain("web1", "host")?;
    let status = fleet.controller_status();
    let (held, hash) = (status["chains"][0]["seq"].as_u64(), status["chains"][0]["hash"].as_str());
    let same = own.iter().any(|(number, name, _)| Some(*number) == held && Some(name.as_str()) == hash);
    assert!(same && status["findings"] == json!([]), "one chain, whole: {status:#}");
    // The old one opens nothing.
    let answer = asked(&fleet, OLD)?;
    assert!(answer.contains("expired") && !answer.contains("200"), "{answer}");
    assert!(asked(&fleet, CERTIFICATE)?.ends_with(" 200"), "the new one does");
    Ok(())
}

/// The usual policy with the controller's host under an agent that only looks at its patches.
fn policy(fleet: &Fleet) -> Policy {
    let quiet =
        "profiles:\n  quiet:\n    patch: { security_within: 7d, reboot_within: 14d, lists_within: 2d }\n";
    fleet
        .controlled()
        .with("valid_for: 90d\n", "valid_for: 90d\nheartbeat: 20s\n")
        .with("profiles:\n", quiet)
        .with("ctl1: { profiles: [web]", "ctl1: { profiles: [quiet]")
}

/// web1 and ctl1 report to the controller.
fn two_hosts(topic: &str) -> Result<Fleet> {
    let fleet = Fleet::up_with(&format!("{topic}-{}", std::process::id()), &HOSTS, &Options::default())?;
    fleet.make_chief()?;
    fleet.start_controller()?;
    let ctl1 = fleet.ctl1();
    ctl1.put("/usr/sbin/tenure-agent", &programs::bytes("tenure-agent")?, "755")?;
    for host in [&fleet.web1, &ctl1] {
        let fingerprint = fleet.enrol(host, MachineRole::Host)?;
        fleet.admit(host.name(), MachineRole::Host, &fingerprint)?;
    }
    fleet.publish(&policy(&fleet), 1)?;
    fleet.start_agent_on(&ctl1)?;
    fleet.start_agent()?;
    fleet.confirm_soon()?;
    fleet.await_rest()?;
    fleet.await_reported()?;
    wait_for("records of ctl1", SOON, || fleet.held_of("ctl1", "host") > 0)?;
    Ok(fleet)
}

/// What the controller's listener answers to web1's key with a certificate, asked with a foreign client: a body, a status.
fn asked(fleet: &Fleet, certificate: &str) -> Result<String> {
    let line = "curl -sS -k -w ' %{http_code}' --cert $0 --key /var/lib/tenure/tls.key \
                https://198.51.100.20:8441/v1/policy/index";
    Ok(fleet.web1.exec(&["sh", "-c", line, certificate])?.said())
}

#[test]
fn a_revoked_host_is_let_in_no_more_keeps_its_policy_and_no_other_notices() -> Result<()> {
    let fleet = two_hosts("revoke")?;
    let (before, index) = (enforced(&fleet)?, asked(&fleet, CERTIFICATE)?);
    assert!(index.ends_with(" 200"), "its certificate is good until now: {index}");
    fleet.await_reported()?;
    let keys = ["--key", "marit.key", "--passphrase-file", "pass"];
    let words = ["revoke", "web1", "--reason", "its disk was copied", "--yes", "web1"];
    fleet.tenure_must(&[&words[..], &keys].concat())?;

    // The very same certificate opens nothing any more, and no other is given.
    let answer = asked(&fleet, CERTIFICATE)?;
    assert!(answer.contains("not-admitted") && answer.ends_with(" 403"), "{answer}");
    let held = fleet.held_of("web1", "host");
    fleet.web1.must(&["nft", "flush", "ruleset"])?;
    fleet.await_rest()?;
    await_failing(&fleet, "the controller refuses: no admission names the key")?;
    fleet.web1.must(&["rm", CERTIFICATE])?;
    await_failing(&fleet, "this key was revoked")?;
    assert!(fleet.web1.get(CERTIFICATE).is_err(), "no certificate for a revoked key");
    let last = fleet.agent_json(&["status"])?["board"]["evidence"]["last"].as_u64().unwrap_or(0);
    assert!(last > held, "it goes on recording: {held} were held, its last is {last}");
    assert_eq!(fleet.held_of("web1", "host"), held, "what it records from then on is taken no more");

    // It keeps what was signed for it, and says in its own records who refuses it.
    assert_eq!(enforced(&fleet)?, before, "nothing of what it enforces changed");
    all_held("logins", &fleet.login_differences())?;
    let notices = fleet.link()["notices"].to_string();
    assert!(notices.contains("this key was revoked"), "{notices}");
    let own = fleet.own_chain("web1", "host")?;
    let said = own.iter().any(|(number, _, line)| *number > held && says(line, "this key was revoked"));
    assert!(said, "the host's own chain does not say that it was refused");

    // Its row is unknown, the other's is as before and goes on.
    let row = |name: &str| -> Result<Value> {
        let view: Value = serde_json::from_str(&fleet.tenure(&["hosts", "--json"])?.stdout)?;
        let rows = view["hosts"].as_array().cloned().unwrap_or_default();
        Ok(rows.into_iter().find(|row| row["host"] == name).unwrap_or_default())
    };
    let (web1, ctl1) = (row("web1")?, row("ctl1")?);
    assert_eq!(web1["state"], "unknown", "{web1:#}");
    assert!(!ctl1["why"].to_string().contains("silent"), "{ctl1:#}");
    let seen = fleet.held_of("ctl1", "host");
    wait_for("the next record of ctl1", SOON, || fleet.held_of("ctl1", "host") > seen)?;
    let known = || fleet.ctl1().get("/var/lib/tenure/link/admissions.json").unwrap_or_default();
    wait_for("the revocation at ctl1", SOON, || known().contains("revocations\":[\""))
        .map(drop)
        .map_err(|why| format!("{why}: {}", known()).into())
}

/// Does the payload of a line say this?
fn says(line: &str, word: &str) -> bool {
    let read = tenure_trust::ExportLine::parse(line.as_bytes());
    let payload = read.ok().and_then(|line| line.payload);
    payload.is_some_and(|payload| String::from_utf8_lossy(payload.bytes()).contains(word))
}
