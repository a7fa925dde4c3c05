//! The agent on web1: its configuration, its policy, its unit, what it says, and the person who confirms.

use std::time::Duration;

use serde_json::Value;
use tenure_lab::{Family, Host, Login, Output, Running, SshAs, wait_for};

use crate::fleet::{Fleet, MARIT};
use crate::{Policy, Result};

/// Where a standalone policy set lies on web1.
pub const SET: &str = "/etc/tenure/set";
/// Where systemd takes what the journal's entries mean from.
const CATALOGUES: &str = "/usr/lib/systemd/catalog";
/// Where it takes the accounts of packages from.
const ACCOUNTS: &str = "/usr/lib/sysusers.d";
const NO_RESTART: &str = "/run/systemd/system/tenure-agent.service.d/lab.conf";
/// How long a pass, a start or a new policy may take to show on a busy machine.
pub const SOON: Duration = Duration::from_secs(60);

/// Starts the agent; what its unit said goes with an error.
fn started(host: &Host, how: &str) -> Result<()> {
    host.must(&["systemctl", how, "tenure-agent.service"]).map(drop).map_err(|why| {
        let said = host.exec(&["journalctl", "-b", "-u", "tenure-agent", "-n", "30", "--no-pager"]);
        format!("{why}\n{}", said.map(|output| output.stdout).unwrap_or_default()).into()
    })
}

impl Fleet {
    /// Brings up a fleet whose web1 enforces marit's signed policy, version 1, and nothing is left to do.
    ///
    /// # Errors
    /// When anything of that does not hold.
    pub fn signed(topic: &str) -> Result<Self> {
        let fleet = Self::up(topic)?;
        fleet.enforce_signed()?;
        Ok(fleet)
    }

    /// Enforces marit's signed policy, version 1, confirms it and waits until nothing is left to do.
    ///
    /// # Errors
    /// When anything of that does not hold.
    pub fn enforce_signed(&self) -> Result<()> {
        self.make_operator("marit", "lab")?;
        self.place_root("marit")?;
        self.configure_signed()?;
        self.sign("marit", &self.usual(), 1)?;
        self.deliver()?;
        self.start_agent()?;
        self.confirm_soon()?;
        self.await_rest()
    }

    /// Brings up a fleet on which `policy` is enforced, confirmed by marit, and nothing is left to do.
    ///
    /// # Errors
    /// When anything of that does not hold.
    pub fn enforced(topic: &str, policy: impl FnOnce(&Self) -> Policy) -> Result<Self> {
        let fleet = Self::up(topic)?;
        fleet.enforce(&policy(&fleet))?;
        Ok(fleet)
    }

    /// The usual policy for this fleet's key.
    #[must_use]
    pub fn usual(&self) -> Policy {
        Policy::new(&self.marit_public, &self.until)
    }

    /// Enforces an unsigned set, as the administrator of one host does, confirms it and waits until all is compliant.
    ///
    /// # Errors
    /// When the agent does not start or does not come to rest.
    pub fn enforce(&self, policy: &Policy) -> Result<()> {
        self.place_set(policy)?;
        self.configure_standalone()?;
        self.start_agent()?;
        self.confirm_soon()?;
        self.await_rest()
    }

    /// Tells the agent on web1 to take its policy from the standalone set.
    ///
    /// # Errors
    /// When the lab fails.
    pub fn configure_standalone(&self) -> Result<()> {
        let text = format!("host: web1\npolicy: {{ from: directory, path: {SET} }}\n");
        Ok(self.web1.put("/etc/tenure/agent.yaml", text.as_bytes(), "600")?)
    }

    /// Replaces the standalone set on web1.
    ///
    /// # Errors
    /// When the lab fails.
    pub fn place_set(&self, policy: &Policy) -> Result<()> {
        let new = format!("{SET}.new");
        self.web1.must(&["rm", "-rf", &new])?;
        for (name, text) in &policy.files {
            self.web1.put(&format!("{new}/{name}"), text.as_bytes(), "600")?;
        }
        self.web1.must(&["sh", "-c", "mkdir -p $1 && rm -rf $1/* && mv $0/* $1/ && rmdir $0", &new, SET])?;
        Ok(())
    }

    /// Installs the agent's units, account and journal's catalogue as its package does, and starts the agent.
    ///
    /// # Errors
    /// When it is not ready in time.
    pub fn start_agent(&self) -> Result<()> {
        self.start_agent_on(&self.web1)
    }

    /// The same on another host.
    ///
    /// # Errors
    /// When it is not ready in time.
    pub fn start_agent_on(&self, host: &Host) -> Result<()> {
        let units = tenure_lab::repository().join("agent/daemon/units");
        for entry in std::fs::read_dir(&units).map_err(|e| format!("read {}: {e}", units.display()))? {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let to = match name.split_once('.') {
                Some((_, "catalog")) => format!("{CATALOGUES}/{name}"),
                Some((stem, "sysusers")) => format!("{ACCOUNTS}/{stem}.conf"),
                _ => format!("/etc/systemd/system/{name}"),
            };
            host.put(&to, &std::fs::read(&path)?, "644")?;
        }
        host.must(&["systemd-sysusers"])?;
        host.must(&["journalctl", "--update-catalog"])?;
        host.must(&["systemctl", "daemon-reload"])?;
        host.must(&["systemctl", "enable", "-q", "tenure-firewall.service", "tenure-agent.service"])?;
        started(host, "restart")
    }

    /// Kills the agent (SIGKILL) and keeps systemd from starting it again.
    ///
    /// # Errors
    /// When the lab fails or the agent still runs.
    pub fn kill_agent(&self) -> Result<()> {
        self.web1.put(NO_RESTART, b"[Service]\nRestart=no\n", "644")?;
        self.web1.must(&["systemctl", "daemon-reload"])?;
        self.web1.must(&["systemctl", "kill", "-s", "KILL", "tenure-agent"])?;
        // Jobs are of the same program and stay.
        let is_active = ["systemctl", "is-active", "-q", "tenure-agent"];
        let gone = || self.web1.exec(&is_active).is_ok_and(|output| !output.ok());
        wait_for("the end of the agent", SOON, gone).map(drop).map_err(Into::into)
    }

    /// Starts an agent that was killed.
    ///
    /// # Errors
    /// When it is not ready in time.
    pub fn revive_agent(&self) -> Result<()> {
        self.web1.must(&["rm", "-f", NO_RESTART])?;
        self.web1.must(&["systemctl", "daemon-reload"])?;
        self.web1.sh("systemctl reset-failed tenure-agent")?;
        started(&self.web1, "start")
    }

    /// Runs the agent's command line on web1.
    ///
    /// # Errors
    /// When the lab fails; what the program said is in the output.
    pub fn agent(&self, words: &[&str]) -> Result<Output> {
        Ok(self.web1.exec(&[&["tenure-agent"], words].concat())?)
    }

    /// `tenure-agent apply`, not waited for: it waits for whoever confirms.
    ///
    /// # Errors
    /// When the lab fails.
    pub fn apply_beside(&self) -> Result<Running> {
        Ok(self.web1.spawn(&["tenure-agent", "apply"])?)
    }

    /// What `tenure-agent WORDS --json` answers.
    ///
    /// # Errors
    /// When it answers no JSON.
    pub fn agent_json(&self, words: &[&str]) -> Result<Value> {
        let output = self.agent(&[words, &["--json"]].concat())?;
        serde_json::from_str(&output.stdout)
            .map_err(|e| format!("{words:?} --json: {e}: {}", output.said()).into())
    }

    /// What `status` says of one area, if it says anything.
    #[must_use]
    pub fn area(&self, area: &str) -> Value {
        let status = self.agent_json(&["status"]).unwrap_or_default();
        let areas = status["board"]["areas"].as_array().cloned().unwrap_or_default();
        areas.into_iter().find(|a| a["area"] == area).unwrap_or_default()
    }

    /// Waits until what `status` says of an area is as wanted.
    ///
    /// # Errors
    /// When it is not in time; with what it says then.
    pub fn await_area(&self, area: &str, what: &str, wanted: impl Fn(&Value) -> bool) -> Result<Duration> {
        wait_for(&format!("{area}: {what}"), SOON, || wanted(&self.area(area)))
            .map_err(|why| format!("{why}: {:#}\n{}", self.area(area), self.journal()).into())
    }

    /// Waits until firewall and ssh_access keep their policy and nothing is under way.
    ///
    /// # Errors
    /// When they do not in time.
    pub fn await_rest(&self) -> Result<()> {
        for area in ["firewall", "ssh_access"] {
            self.await_area(area, "at rest", at_rest)?;
        }
        Ok(())
    }

    /// Waits for a trial and confirms it as marit in a new session from the office, by which her login is proved too.
    ///
    /// # Errors
    /// When no trial starts, or confirming is refused.
    pub fn confirm_soon(&self) -> Result<()> {
        self.await_trial()?;
        // Who comes before the policy's logins are tried proves nothing about them.
        self.await_area("ssh_access", "on trial or at rest", |a| a["pending"].is_object() || at_rest(a))?;
        let mut last = None;
        // While sshd reads its new configuration it does not listen: a person tries again too.
        let confirmed = wait_for("to confirm", SOON, || {
            last = Some(self.confirm(Family::V4));
            !matches!(last, Some(Ok(Login::Unreachable(_))))
        });
        match last {
            Some(Ok(Login::In(output))) if output.ok() && confirmed.is_ok() => Ok(()),
            other => Err(format!("confirm: {other:?}\n{}", self.journal()).into()),
        }
    }

    /// Waits until logins are on trial.
    ///
    /// # Errors
    /// When none are in time.
    pub fn await_login_trial(&self) -> Result<Duration> {
        self.await_area("ssh_access", "a trial", |a| a["pending"].is_object())
    }

    /// Waits until a ruleset is on trial.
    ///
    /// # Errors
    /// When none is in time.
    pub fn await_trial(&self) -> Result<Duration> {
        self.await_area("firewall", "a trial", |a| a["pending"].is_object())
    }

    /// Waits until the firewall keeps the policy, and confirms as marit whatever comes on trial meanwhile.
    ///
    /// # Errors
    /// When it does not in time.
    pub fn settle(&self, limit: Duration) -> Result<()> {
        let settled = || {
            let area = self.area("firewall");
            if area["pending"].is_object() {
                let _ = self.confirm(Family::V4);
            }
            matches!(area["verdict"].as_str(), Some("compliant" | "remediated"))
        };
        let told = wait_for("the policy's ruleset", limit, settled);
        told.map(drop).map_err(|why| format!("{why}: {:#}\n{}", self.area("firewall"), self.journal()).into())
    }

    /// `tenure-agent confirm` by marit in a new session from the office.
    ///
    /// # Errors
    /// When the lab fails.
    pub fn confirm(&self, family: Family) -> Result<Login> {
        let line = "sudo tenure-agent confirm";
        Ok(self.office.ssh_run(&self.web1, "admin", SshAs::Key(MARIT), family, line)?)
    }

    /// The end of the agent's journal.
    #[must_use]
    pub fn journal(&self) -> String {
        let argv = ["journalctl", "--no-pager", "-n", "60", "-u", "tenure-agent", "-u", "tenure-firewall"];
        self.web1.exec(&argv).map(|output| output.said()).unwrap_or_default()
    }
}

/// Keeps its policy, and nothing is under way.
fn at_rest(area: &Value) -> bool {
    matches!(area["verdict"].as_str(), Some("compliant" | "remediated")) && area["pending"].is_null()
}
