//! The controller on ctl1: installed as its package does, an operator who logs in to it, machines that enrol.

use serde_json::Value;
use tenure_lab::{Host, wait_for};
pub use tenure_trust::MachineRole;

use crate::agent::SOON;
use crate::fleet::Fleet;
use crate::operator::DESK;
use crate::{Policy, Result, programs};

/// The usual hosts and one for the controller.
pub const HOSTS: [&str; 5] = [
    "web1=198.51.100.11,2001:db8:1::11",
    "vault1=198.51.100.7,2001:db8:1::7",
    "office=203.0.113.9,2001:db8:10::9",
    "stranger=192.0.2.77,2001:db8:ff::77",
    "ctl1=198.51.100.20,2001:db8:1::20",
];
/// The controller's state.
pub const STATE: &str = "/var/lib/tenure-controller";
/// Keeps systemd from starting a controller that was killed.
const NO_RESTART: &str = "/run/systemd/system/tenure-controller.service.d/lab.conf";
const CONFIG: &str = "host: ctl1\n\
    machines: { listen: \"[::]:8441\", names: [ctl1, 198.51.100.20, \"2001:db8:1::20\"] }\n\
    people: { listen: \"[::]:8443\" }\n";

impl Fleet {
    /// The controller's host.
    #[must_use]
    pub fn ctl1(&self) -> Host {
        self.lab.host("ctl1")
    }

    /// The usual policy with the controller in it.
    #[must_use]
    pub fn controlled(&self) -> Policy {
        self.usual()
            .with("profiles:\n", "controller: { host: ctl1, port: 8441, site: \"Utrecht\" }\nprofiles:\n")
            .with(
                "hosts:\n",
                "hosts:\n  ctl1: { profiles: [web], addresses: [198.51.100.20, \"2001:db8:1::20\"], \
                 environment: production, site: \"Utrecht\" }\n",
            )
    }

    /// Makes marit's key and a root in which it signs everything, at her desk.
    ///
    /// # Errors
    /// When the tool refuses.
    pub fn make_chief(&self) -> Result<()> {
        self.make_chief_of("lab")
    }

    /// The same for a fleet of this name.
    ///
    /// # Errors
    /// When the tool refuses.
    pub fn make_chief_of(&self, fleet: &str) -> Result<()> {
        self.office.put(&format!("{DESK}/pass"), b"a long enough passphrase", "600")?;
        self.tenure_must(&["key", "create", "marit", "--passphrase-file", "pass"])?;
        let mut words = vec!["root", "create", "--fleet", fleet];
        for role in ["--root-key", "--policy-key", "--admission-key", "--order-key"] {
            words.extend([role, "marit.pub"]);
        }
        words.extend(["--key", "marit.key", "--out", "marit-root.json", "--passphrase-file", "pass"]);
        self.tenure_must(&words).map(drop)
    }

    /// Installs the controller, prepares and starts it, and lets marit log in from her desk.
    ///
    /// # Errors
    /// When any step does not work.
    pub fn start_controller(&self) -> Result<()> {
        let ctl1 = self.ctl1();
        ctl1.put("/usr/sbin/tenure-controller", &programs::bytes("tenure-controller")?, "755")?;
        ctl1.must(&["useradd", "-r", "-M", "-s", "/usr/sbin/nologin", "tenure-controller"])?;
        ctl1.put("/etc/tenure/controller.yaml", CONFIG.as_bytes(), "644")?;
        let root = self.office.get(&format!("{DESK}/marit-root.json"))?;
        ctl1.put("/etc/tenure/trust/root.json", root.as_bytes(), "644")?;
        let unit = tenure_lab::repository().join("controller/server/units/tenure-controller.service");
        ctl1.put("/etc/systemd/system/tenure-controller.service", &std::fs::read(unit)?, "644")?;
        ctl1.must(&["tenure-controller", "init", "--user", "marit", "--password-file", "/root/password"])?;
        ctl1.must(&["systemctl", "daemon-reload"])?;
        ctl1.must(&["systemctl", "start", "tenure-controller"])?;
        for (from, to) in [(format!("{STATE}/ca.crt"), "ca.crt"), ("/root/password".into(), "password")] {
            self.office.put(&format!("{DESK}/{to}"), ctl1.get(&from)?.as_bytes(), "600")?;
        }
        self.log_in()
    }

    /// Kills the controller (SIGKILL) and lets it lie.
    ///
    /// # Errors
    /// When it does not end.
    pub fn kill_controller(&self) -> Result<()> {
        let ctl1 = self.ctl1();
        ctl1.put(NO_RESTART, b"[Service]\nRestart=no\n", "644")?;
        ctl1.must(&["systemctl", "daemon-reload"])?;
        ctl1.must(&["systemctl", "kill", "-s", "KILL", "tenure-controller"])?;
        wait_for("the end of the controller", SOON, || !self.controller_runs()).map(drop).map_err(Into::into)
    }

    /// Starts a controller that was killed.
    ///
    /// # Errors
    /// When it does not start.
    pub fn revive_controller(&self) -> Result<()> {
        let ctl1 = self.ctl1();
        ctl1.must(&["rm", "-f", NO_RESTART])?;
        ctl1.must(&["systemctl", "daemon-reload"])?;
        ctl1.sh("systemctl reset-failed tenure-controller")?;
        ctl1.must(&["systemctl", "start", "tenure-controller"]).map(drop).map_err(Into::into)
    }

    /// Is it at work?
    #[must_use]
    pub fn controller_runs(&self) -> bool {
        let active = self.ctl1().exec(&["systemctl", "is-active", "-q", "tenure-controller"]);
        active.is_ok_and(|output| output.ok())
    }

    /// Marit logs in to the controller.
    ///
    /// # Errors
    /// When she is not let in.
    pub fn log_in(&self) -> Result<()> {
        let place = ["login", "--server", "198.51.100.20:8443", "--ca", "ca.crt", "--name", "ctl1"];
        let who = ["--user", "marit", "--password-file", "password"];
        self.tenure_must(&[place.as_slice(), &who].concat()).map(drop)
    }

    /// Carries a new invitation for web1 there and lets it state its keys; gives the fingerprint that its screen shows.
    ///
    /// # Errors
    /// When a step does not work.
    pub fn enrol_web1(&self) -> Result<String> {
        self.enrol(&self.web1, MachineRole::Host)
    }

    /// Tells a machine in a role to take its policy from the controller, carries a new invitation there and lets it state
    /// its keys; gives the fingerprint that its screen shows.
    ///
    /// # Errors
    /// When a step does not work.
    pub fn enrol(&self, machine: &Host, role: MachineRole) -> Result<String> {
        let (name, role) = (machine.name(), role.word());
        let (program, config, mode) = match role {
            "vault" => ("tenure-vault", "/etc/tenure/vault.yaml", "644"),
            _ => ("tenure-agent", "/etc/tenure/agent.yaml", "600"),
        };
        let text = format!("host: {name}\npolicy: {{ from: controller }}\n");
        machine.put(config, text.as_bytes(), mode)?;
        let file = format!("{name}-{role}.invitation");
        self.office.must(&["rm", "-f", &format!("{DESK}/{file}")])?;
        self.tenure_must(&["token", "create", name, "--role", role, "--out", &file])?;
        let invitation = self.office.get(&format!("{DESK}/{file}"))?;
        let there = format!("/root/{name}.invitation");
        machine.put(&there, invitation.as_bytes(), "600")?;
        let mut words = vec![program, "enrol", &there, "--json"];
        if program == "tenure-agent" {
            words.push("--no-wait");
        }
        let said = machine.exec(&words)?;
        let told: Value = serde_json::from_str(&said.stdout).unwrap_or_default();
        told["fingerprint"]
            .as_str()
            .map(str::to_owned)
            .ok_or_else(|| format!("enrol: {}", said.said()).into())
    }

    /// Marit compares and admits web1.
    ///
    /// # Errors
    /// When the tool refuses.
    pub fn admit_web1(&self, fingerprint: &str) -> Result<()> {
        self.admit("web1", MachineRole::Host, fingerprint)
    }

    /// Marit compares what a machine's screen shows and admits it.
    ///
    /// # Errors
    /// When the tool refuses.
    pub fn admit(&self, name: &str, role: MachineRole, fingerprint: &str) -> Result<()> {
        let keys = ["--key", "marit.key", "--passphrase-file", "pass"];
        let words = ["admit", name, "--role", role.word(), "--fingerprint", fingerprint];
        self.tenure_must(&[words.as_slice(), &keys].concat()).map(drop)
    }

    /// Signs a set and publishes it.
    ///
    /// # Errors
    /// When the tool or the controller refuses.
    pub fn publish(&self, policy: &Policy, version: u32) -> Result<()> {
        self.sign("marit", policy, version)?;
        self.tenure_must(&["publish", "signed"]).map(drop)
    }

    /// What the link says of itself on web1.
    #[must_use]
    pub fn link(&self) -> Value {
        self.agent_json(&["status"]).unwrap_or_default()["link"].clone()
    }

    /// What the controller holds of a machine's chain; 0 when nothing.
    #[must_use]
    pub fn held_of(&self, machine: &str, role: &str) -> u64 {
        let status = self.controller_status();
        let chains = status["chains"].as_array().cloned().unwrap_or_default();
        let own = chains.iter().find(|chain| chain["machine"] == machine && chain["role"] == role);
        own.and_then(|chain| chain["seq"].as_u64()).unwrap_or(0)
    }

    /// What `tenure-controller status --json` says.
    #[must_use]
    pub fn controller_status(&self) -> Value {
        let said = self.ctl1().exec(&["tenure-controller", "status", "--json"]);
        said.ok().and_then(|output| serde_json::from_str(&output.stdout).ok()).unwrap_or_default()
    }

    /// Waits until the controller holds everything that web1 has recorded by now.
    ///
    /// # Errors
    /// When it does not in time.
    pub fn await_reported(&self) -> Result<u64> {
        let last = || self.agent_json(&["status"]).unwrap_or_default()["board"]["evidence"]["last"].as_u64();
        let wanted = last().ok_or("the agent does not say how many records there are")?;
        wait_for(&format!("record {wanted} at the controller"), SOON, || {
            self.held_of("web1", "host") >= wanted
        })
        .map_err(|why| {
            format!("{why}: {:#}\n{:#}\n{}", self.link(), self.controller_status(), self.journal())
        })?;
        Ok(wanted)
    }

    /// Brings up a fleet with a controller whose web1 is enrolled, admitted, and keeps published version 1.
    ///
    /// # Errors
    /// When anything of that does not hold.
    pub fn linked(topic: &str) -> Result<Self> {
        let name = format!("{topic}-{}", std::process::id());
        let fleet = Self::up_with(&name, &HOSTS, &tenure_lab::Options::default())?;
        fleet.make_chief()?;
        fleet.start_controller()?;
        let fingerprint = fleet.enrol_web1()?;
        fleet.admit_web1(&fingerprint)?;
        fleet.publish(&fleet.controlled(), 1)?;
        fleet.start_agent()?;
        fleet.confirm_soon()?;
        fleet.await_rest()?;
        Ok(fleet)
    }
}
