//! SSH servers besides the one that the policy keeps: who they are, where they wait, who reaches them.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::effective;
use super::facts::{Answer, Facts};
use crate::area::{Actor, Finding, Weight};
use crate::firewall::in_force::{InForce, Reached, in_force, reached};
use crate::port::HostRead;
use crate::ssh_servers::{self, SSH, SshServer};

/// An SSH server that the policy does not know.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OtherServer {
    /// Which.
    pub server: SshServer,
    /// Who reaches it.
    pub reached: Reached,
}

/// The ports that sshd's configuration names, as sshd itself says.
pub(super) fn configured(answers: &BTreeMap<String, Answer>) -> BTreeSet<u16> {
    let settings = answers.values().filter_map(|answer| match answer {
        Answer::Settings(settings) => Some(settings),
        Answer::Refused(_) => None,
    });
    settings.flat_map(effective::ports).collect()
}

/// Parts the servers into those of the system's sshd with its configuration, and others.
pub(super) fn part(
    host: &dyn HostRead,
    servers: Vec<SshServer>,
    answers: &BTreeMap<String, Answer>,
) -> (Vec<SshServer>, Vec<OtherServer>) {
    let configured = configured(answers);
    let ours = |s: &SshServer| s.is_system() && (configured.is_empty() || configured.contains(&s.port));
    let (ours, others): (Vec<_>, Vec<_>) = servers.into_iter().partition(ours);
    if others.is_empty() {
        return (ours, Vec::new());
    }
    // Whether somebody reaches them only adds to what is told: that it cannot be said does not hide them.
    let ruleset = in_force(host).unwrap_or(InForce::Strange);
    let other =
        |server: SshServer| OtherServer { reached: reached(&ruleset, server.address, server.port), server };
    (ours, others.into_iter().map(other).collect())
}

/// What is told of them, and of an sshd that does not listen where the policy lets people in.
pub(super) fn findings(facts: &Facts, findings: &mut Vec<Finding>) {
    for OtherServer { server, reached } in &facts.other_servers {
        let SshServer { port, address, pid, comm, exe, other_config } = server;
        let weight = match reached {
            Reached::Here | Reached::Nowhere => Weight::Note,
            Reached::From(_) | Reached::Anywhere | Reached::Unfiltered | Reached::Unknown => Weight::Drift,
        };
        let why = match (server.is_system(), other_config) {
            (true, _) => " on a port that sshd's configuration does not have".to_owned(),
            (false, Some(config)) => format!(" with a configuration of its own ({config})"),
            (false, None) => String::new(),
        };
        findings.push(Finding {
            kind: "other-ssh-server".into(),
            place: format!("tcp/{port} on {address}"),
            what: format!(
                "{comm} (pid {pid}, {exe}) is an SSH server that the policy does not keep{why}; {reached}"
            ),
            weight,
            at: None,
            by: Some(Actor { pid: *pid, comm: comm.clone() }),
        });
    }
    let ports = ssh_servers::ports(&facts.servers);
    if !ports.is_empty() && !ports.contains(&SSH) {
        findings.push(Finding {
            kind: "sshd-elsewhere".into(),
            place: "sshd".into(),
            what: format!(
                "sshd listens on {} and the policy lets people in on tcp/{SSH} only: set `Port {SSH}`",
                named(&ports)
            ),
            weight: Weight::Drift,
            at: None,
            by: None,
        });
    }
}

/// Would reading its configuration take sshd away from every port where it listens, to others than the policy opens?
pub(super) fn would_move(facts: &Facts) -> Option<String> {
    let all = facts.servers.iter().chain(facts.other_servers.iter().map(|o| &o.server));
    let system: Vec<SshServer> = all.filter(|s| s.is_system()).cloned().collect();
    let now = ssh_servers::ports(&system);
    let then = configured(&facts.answers);
    let stays = then.contains(&SSH) || now.iter().any(|port| then.contains(port));
    (!now.is_empty() && !then.is_empty() && !stays).then(|| {
        let then: Vec<u16> = then.into_iter().collect();
        format!("sshd listens on {} and its configuration says {}", named(&now), named(&then))
    })
}

fn named(ports: &[u16]) -> String {
    ports.iter().map(|port| format!("tcp/{port}")).collect::<Vec<_>>().join(", ")
}
