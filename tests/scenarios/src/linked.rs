//! A fleet with everything at work together: web1 with data, a vault on vault1 and the controller on ctl1; both machines
//! enrolled and admitted by the tool, policy published and pulled.

use serde_json::Value;
use tenure_lab::{Host, Options, wait_for};
use tenure_trust::MachineRole;

use crate::agent::SOON;
use crate::clock::{all_ahead, program_ahead};
use crate::controller::HOSTS;
use crate::copies;
use crate::fleet::{Fleet, PACKAGES};
use crate::vaulted::{self, KNOWN, PORT, STORE, VAULT, Vaulted};
use crate::{Policy, Result, programs};

/// The promises beside the nightly copy, in the tenant's words.
const PROMISES: &str = "promises:
      - { says: \"op een fysiek andere server\", means: backup.offhost }
      - { says: \"voor elke dag van de week\", means: backup.ring }
      - { says: \"2 jaar bewaard\", means: retention }
      - { says: \"private keys en toegestane ip adressen\", means: access.key_and_address }
      - { says: \"actueel gehouden waar nodig\", means: patch.security }
      - { says: \"uiterlijk 1 maand na beëindiging verwijderd\", means: purge, within: 1 month }
      - { says: \"een verwerkersovereenkomst\", means: agreement }
";

/// What is published: backups, the controller, more promises, and a heartbeat that a test can wait for.
#[must_use]
pub fn policy(fleet: &Fleet, recipients: &[String], zone: &str, nightly: &str) -> Policy {
    vaulted::backed_up(fleet.controlled(), recipients, zone, nightly)
        .with("valid_for: 90d\n", "valid_for: 90d\nheartbeat: 20s\n")
        .with("ctl1: { profiles: [web]", "ctl1: { profiles: [quiet]")
        .with(
            "mode: { backup: enforce }",
            "mode: { firewall: enforce, access: enforce, patch: observe, backup: enforce }",
        )
        .with("promises:\n", PROMISES)
}

impl Vaulted {
    /// Brings everything up and waits until both agents and the vault have reported.
    ///
    /// # Errors
    /// When anything of that does not hold.
    pub fn linked(topic: &str, recipients: &[String]) -> Result<Self> {
        Self::linked_on(topic, recipients, None)
    }

    /// The same, with a disk of its own of so many megabytes for the store, if one is asked for.
    ///
    /// # Errors
    /// As [`Vaulted::linked`].
    pub fn linked_on(topic: &str, recipients: &[String], disk: Option<u32>) -> Result<Self> {
        let options = Options { packages: PACKAGES.map(str::to_owned).to_vec(), keep: false };
        let fleet = Fleet::up_with(&format!("{topic}-{}", std::process::id()), &HOSTS, &options)?;
        vaulted::data(&fleet)?;
        fleet.make_chief()?;
        fleet.start_controller()?;
        if let Some(megabytes) = disk {
            fleet.vault1.disk(STORE, megabytes)?;
        }
        install(&fleet.vault1)?;
        let roles = [
            (&fleet.web1, MachineRole::Host),
            (&fleet.vault1, MachineRole::Host),
            (&fleet.vault1, MachineRole::Vault),
        ];
        for (machine, role) in roles {
            let fingerprint = fleet.enrol(machine, role)?;
            fleet.admit(machine.name(), role, &fingerprint)?;
        }
        let zone = copies::zone(&fleet.web1)?;
        let recipients = recipients.to_vec();
        let mut linked = Self { fleet, recipients, version: 0, unit: "tenure-vault", zone };
        linked.publish("03:30")?;
        linked.fleet.vault1.must(&["systemctl", "start", "tenure-vault"])?;
        linked.fleet.start_agent_on(&linked.fleet.vault1)?;
        linked.fleet.start_agent()?;
        linked.fleet.confirm_soon()?;
        linked.fleet.await_rest()?;
        for (machine, role) in [("web1", "host"), ("vault1", "host"), ("vault1", "vault")] {
            wait_for(&format!("records of {machine} as {role}"), SOON, || {
                linked.fleet.held_of(machine, role) > 0
            })
            .map_err(|why| format!("{why}\n{}\n{:#}", linked.journals(), linked.fleet.controller_status()))?;
        }
        Ok(linked)
    }

    /// Signs and publishes the next version, with the nightly set at this time.
    ///
    /// # Errors
    /// When the tool or the controller refuses.
    pub fn publish(&mut self, nightly: &str) -> Result<()> {
        self.publish_as(nightly, |policy| policy)
    }

    /// The same with a change.
    ///
    /// # Errors
    /// When the tool or the controller refuses.
    pub fn publish_as(&mut self, nightly: &str, change: impl FnOnce(Policy) -> Policy) -> Result<()> {
        self.version += 1;
        let policy = policy(&self.fleet, &self.recipients, self.zone, nightly);
        self.fleet.publish(&change(policy), self.version)
    }

    /// Lets days go by for controller, vault, hosts and marit's desk: every program of ours is started anew, with clocks so
    /// many days ahead of this machine's. The vault is told to believe its clock, as a person does.
    ///
    /// # Errors
    /// When one of them does not start.
    pub fn days_later(&self, days: u32) -> Result<()> {
        let (ctl1, Fleet { web1, vault1, .. }) = (self.fleet.ctl1(), &self.fleet);
        vault1.must(&["systemctl", "stop", "tenure-vault"])?;
        vault1.must(&["rm", "-f", "/var/lib/tenure-vault/clock.json"])?;
        for host in [&ctl1, vault1, web1] {
            all_ahead(host, days)?;
        }
        for program in ["/usr/bin/tenure", "/usr/bin/curl"] {
            program_ahead(&self.fleet.office, program, days)?;
        }
        ctl1.must(&["systemctl", "restart", "tenure-controller"])?;
        vault1.must(&["systemctl", "restart", "tenure-vault", "tenure-agent"])?;
        web1.must(&["systemctl", "restart", "tenure-agent"])?;
        Ok(())
    }

    /// Shows web1's own ssh the vault's host key, as [`Vaulted::up`] does, so that stock restic can be used there.
    ///
    /// # Errors
    /// When the vault does not tell it.
    pub fn know_vault(&self) -> Result<()> {
        let ask = ["runuser", "-u", "tenure-vault", "--", "tenure-vault", "identity", "--json"];
        let own: Value = serde_json::from_str(&self.fleet.vault1.must(&ask)?)?;
        let line = format!("[{VAULT}]:{PORT} {}\n", own["ssh"].as_str().unwrap_or_default());
        Ok(self.fleet.web1.put(KNOWN, line.as_bytes(), "644")?)
    }

    /// `tenure NOUN --json` at marit's desk: what it shows, and its exit code.
    ///
    /// # Errors
    /// When it answers no JSON.
    pub fn shown(&self, noun: &str) -> Result<(Value, i32)> {
        let output = self.fleet.tenure(&[noun, "--json"])?;
        let value =
            serde_json::from_str(&output.stdout).map_err(|e| format!("tenure {noun}: {e}: {output:?}"))?;
        Ok((value, output.status))
    }

    /// The row of a duty as it is judged now; null when there is none.
    #[must_use]
    pub fn duty(&self, duty: &str) -> Value {
        let view = self.shown("obligations").map(|(view, _)| view).unwrap_or_default();
        let rows = view["obligations"].as_array().cloned().unwrap_or_default();
        rows.into_iter().find(|row| row["duty"] == duty).unwrap_or_default()
    }

    /// Waits until a duty is in this state; gives its row.
    ///
    /// # Errors
    /// When it is not in time.
    pub fn await_duty(&self, duty: &str, state: &str) -> Result<Value> {
        let mut row = Value::Null;
        let told = wait_for(&format!("{duty} to be {state}"), SOON * 2, || {
            row = self.duty(duty);
            row["state"] == state
        });
        told.map(|_| ()).map_err(|why| format!("{why}, and it is {row:#}\n{}", self.journals()))?;
        Ok(row)
    }
}

/// The vault's user, places, program and unit, as its package makes them; and the agent beside it.
fn install(vault1: &Host) -> Result<()> {
    vault1.must(&["useradd", "--system", "--home-dir", "/var/lib/tenure-vault", "tenure-vault"])?;
    for dir in ["/var/lib/tenure-vault", STORE] {
        vault1.must(&["install", "-d", "-o", "tenure-vault", "-g", "tenure-vault", "-m", "700", dir])?;
    }
    for program in ["tenure-vault", "tenure-agent"] {
        vault1.put(&format!("/usr/sbin/{program}"), &programs::bytes(program)?, "755")?;
    }
    let unit = std::fs::read(tenure_lab::repository().join("agent/vault/units/tenure-vault.service"))?;
    vault1.put("/etc/systemd/system/tenure-vault.service", &unit, "644")?;
    vault1.must(&["systemctl", "daemon-reload"])?;
    Ok(())
}
