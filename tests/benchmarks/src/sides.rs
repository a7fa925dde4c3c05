//! The two sides: our agent on one host, cfengine3 on another that keeps a copy of the very same state.

use std::fmt::Write as _;

use serde_json::Value;
use tenure_lab::{Host, Options};
use tenure_scenarios::fleet::HOSTS;
use tenure_scenarios::{Fleet, Policy, Result};

const MEASURE: &[u8] = include_bytes!("measure.py");
const PROMISES: &[u8] = include_bytes!("promises.cf");
/// Rules of the policy beside the usual ones.
const RULES: u16 = 200;
/// People of the policy beside marit.
const PEOPLE: usize = 49;

/// Who is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    /// tenure-agent.
    Ours,
    /// cfengine3.
    Peer,
}

/// Both, ready.
#[derive(Debug)]
pub(crate) struct Sides {
    fleet: Fleet,
    peer: Host,
}

/// Processes with nothing to do.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Idle {
    /// Bytes.
    pub(crate) resident: f64,
    /// Share of one core, 0 to 1.
    pub(crate) cpu: f64,
}

impl Sides {
    /// Brings both hosts to the same state, each kept by its own program.
    pub(crate) fn up() -> Result<Self> {
        let mut hosts = HOSTS.to_vec();
        hosts.push("peer=198.51.100.12,2001:db8:1::12");
        let options = Options { packages: vec!["cfengine3".to_owned()], keep: false };
        let fleet = Fleet::up_with(&format!("bench-{}", std::process::id()), &hosts, &options)?;
        let peer = fleet.lab.host("peer");
        fleet.enforce(&policy(&fleet)?)?;
        let sides = Self { fleet, peer };
        sides.copy_state()?;
        for host in [&sides.fleet.web1, &sides.peer] {
            host.put("/root/measure.py", MEASURE, "644")?;
        }
        Ok(sides)
    }

    /// The peer gets ruleset, drop-in and key files as they stand on our host, and promises to keep them.
    fn copy_state(&self) -> Result<()> {
        let (ours, peer) = (&self.fleet.web1, &self.peer);
        let listing = ours.must(&["nft", "-s", "list", "table", "inet", "tenure"])?;
        let load = format!("table inet tenure\ndelete table inet tenure\n{listing}");
        peer.put("/srv/wanted/ruleset.nft", load.as_bytes(), "600")?;
        peer.must(&["useradd", "-m", "-s", "/bin/bash", "admin"])?;
        let drop_in = ours.get("/etc/ssh/sshd_config.d/00-tenure.conf")?;
        peer.put("/srv/wanted/00-tenure.conf", drop_in.as_bytes(), "600")?;
        for name in ours.must(&["ls", "/etc/ssh/tenure/keys"])?.lines() {
            let keys = ours.get(&format!("/etc/ssh/tenure/keys/{name}"))?;
            peer.put(&format!("/srv/wanted/keys/{name}"), keys.as_bytes(), "644")?;
        }
        peer.put("/var/lib/cfengine3/inputs/promises.cf", PROMISES, "600")?;
        peer.sh("sed -i s/=0/=1/ /etc/default/cfengine3; systemctl restart cfengine3")?;
        peer.must(&["nft", "-f", "/srv/wanted/ruleset.nft"])?;
        // What the kernel lists is what the peer compares with: the listing of its own load.
        peer.must(&["sh", "-c", "nft -s list table inet tenure >/srv/wanted/ruleset.listing"])?;
        peer.must(&["cf-agent", "-K"])?;
        Ok(())
    }

    /// Makes foreign changes on one side; what `measure.py changes` prints.
    pub(crate) fn changes(&self, side: Side, count: usize) -> Result<Value> {
        let looping = match side {
            Side::Ours => None,
            Side::Peer => {
                Some(self.peer.spawn(&["sh", "-c", "while :; do cf-agent -K >/dev/null 2>&1; done"])?)
            }
        };
        let answer = self.measure(side, &["changes", &count.to_string()]);
        drop(looping);
        answer
    }

    /// CPU milliseconds of one pass over everything with nothing to change.
    pub(crate) fn pass(&self, side: Side, count: usize) -> Result<f64> {
        let count = count.to_string();
        let number = |answer: Value| answer.as_f64().ok_or_else(|| format!("no number: {answer}"));
        match side {
            Side::Ours => {
                let command = ["passes", &count, "tenure-agent.service", "/usr/sbin/tenure-agent", "apply"];
                let before = self.passes_made();
                let spent = number(self.measure(side, &command)?)?;
                // Bells that ring while a pass runs are answered by one pass: the agent's own count divides.
                let made = self.passes_made() - before;
                if made > 0.0 { Ok(spent / made) } else { Err("apply made no pass".into()) }
            }
            Side::Peer => Ok(number(self.measure(side, &["command", &count, "/usr/bin/cf-agent", "-K"])?)?),
        }
    }

    /// Passes over every area since the agent started: the area with the fewest counts.
    fn passes_made(&self) -> f64 {
        let count = |area| self.fleet.area(area)["passes"].as_f64().unwrap_or_default();
        ["firewall", "ssh_access", "patch"].map(count).into_iter().fold(f64::INFINITY, f64::min)
    }

    /// Memory and CPU of what runs all the time.
    pub(crate) fn idle(&self, side: Side, seconds: usize) -> Result<Idle> {
        let units: &[&str] = match side {
            Side::Ours => &["tenure-agent.service"],
            Side::Peer => &["cf-execd.service", "cf-monitord.service"],
        };
        let seconds = seconds.to_string();
        let answer = self.measure(side, &[&["idle", seconds.as_str()], units].concat())?;
        let number = |name: &str| answer[name].as_f64().ok_or_else(|| format!("no {name}: {answer}"));
        Ok(Idle { resident: number("resident")?, cpu: number("cpu_share")? })
    }

    fn measure(&self, side: Side, words: &[&str]) -> Result<Value> {
        let host = match side {
            Side::Ours => &self.fleet.web1,
            Side::Peer => &self.peer,
        };
        let argv = [&["python3", "/root/measure.py"], words].concat();
        let output = host.exec_fed(&argv, None, 900)?;
        if !output.ok() {
            return Err(format!("{side:?} {words:?}: {}\n{}", output.said(), self.fleet.journal()).into());
        }
        Ok(serde_json::from_str(&output.stdout)?)
    }
}

/// The usual policy with 50 people and 200 more rules.
fn policy(fleet: &Fleet) -> Result<Policy> {
    let make = format!(
        "mkdir -p /root/keys/many && for n in $(seq {PEOPLE}); do \
         ssh-keygen -q -t ed25519 -N '' -C p$n -f /root/keys/many/p$n; cat /root/keys/many/p$n.pub; done"
    );
    let (mut people, mut group) = (String::from("people:\n"), String::from("groups: { ops: [marit"));
    for (number, key) in fleet.office.must(&["sh", "-c", &make])?.lines().enumerate() {
        writeln!(people, "  p{number}: {{ keys: [\"{key}\"], from: [office], until: \"{}\" }}", fleet.until)?;
        write!(group, ", p{number}")?;
    }
    let mut rules = String::from("      inbound:\n");
    for port in 20_000..20_000 + RULES {
        let from = if port % 2 == 0 { "office" } else { "archive" };
        writeln!(rules, "        - {{ allow: [tcp/{port}], from: [{from}] }}")?;
    }
    Ok(fleet
        .usual()
        .with("people:\n", &people)
        .with("groups: { ops: [marit", &group)
        .with("      inbound:\n", &rules))
}
