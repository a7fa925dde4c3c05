//! A fleet with a vault at work on vault1 and data on web1: a PostgreSQL database of which a tenant has a schema, the
//! tenant's uploads, and files of the host's own.

use std::time::Duration;

use serde_json::Value;
use tenure_lab::{Options, Output, wait_for};
use tenure_trust::MachineRole;

use crate::admissions::{self, Machine};
use crate::agent::SOON;
use crate::copies::{self, AMSTERDAM};
use crate::fleet::{Fleet, HOSTS, PACKAGES};
use crate::operator::{DESK, DROP, ROOT};
use crate::{Policy, Result, clock};

/// Where the vault listens.
pub const PORT: &str = "8022";
/// Its address.
pub const VAULT: &str = "198.51.100.7";
/// The recovery key on `office`.
pub const RECOVERY: &str = "/root/recovery.key";
/// The vault's host key for ssh, on web1 and office.
pub const KNOWN: &str = "/root/known_hosts";
/// The store on vault1.
pub const STORE: &str = "/srv/backups";

/// The unit of a vault that the lab itself starts.
const LAB_UNIT: &str = "tenure-vault-lab";

/// How long one run may take here.
pub const RUN: Duration = Duration::from_secs(110);

/// On top of another policy, in the days of `zone`: web1 backs up to vault1, the server set at 06:00, 14:00 and 22:00, the
/// nightly set at `nightly`.
#[must_use]
pub fn backed_up(policy: Policy, recipients: &[String], zone: &str, nightly: &str) -> Policy {
    let backup = format!(
        "    backup:
      server: {{ at: [\"06:00\", \"14:00\", \"22:00\"], paths: [/srv, /etc], databases: [main] }}
      nightly: {{ at: [\"{nightly}\"], paths: [/srv/app], databases: [main] }}
      catch_up: 2h
      to: [vault1]
      ring: weekday
      erase_after: 3d
      drill: {{ every: month, expect: [ {{ database: main, table: orders, rows: \">= 500\" }} ] }}
"
    );
    let tenant = "tenants:
  client:
    contract: { role: processor, started: \"2021-03-01\", ends: null, purge_within: 1 month, breach_notice_within: 48h, contact: dpo@client.example, terms: \"2021-03-01\" }
    promises:
      - { says: \"elke nacht\", means: backup.nightly, at_least: 1 per day }
    stores:
      files: { host: web1, path: /srv/app/client, user: client }
      data: { host: web1, database: main, schema: client }
    classes:
      uploads: { in: files, keep_at_most: 2 years }
";
    policy
        .with(AMSTERDAM, zone)
        .with("mode: { firewall: enforce, access: enforce, patch: observe }", "mode: { backup: enforce }")
        .with("    patch: { security_within", &format!("{backup}    patch: {{ security_within"))
        .with(
            "profiles:\n",
            &format!(
                "recovery: {{ recipients: [{}] }}\nvaults:\n  vault1: {{ host: vault1, port: {PORT}, store: {STORE}, keep_free: 10 MiB, quota: 4 GiB }}\nprofiles:\n  quiet:\n    patch: {{ security_within: 7d, reboot_within: 14d, lists_within: 2d }}\n",
                recipients.join(", ")
            ),
        )
        .with("hosts:\n", "hosts:\n  vault1: { profiles: [quiet], addresses: [198.51.100.7, \"2001:db8:1::7\"], site: \"Delft\" }\n")
        .with(
            "environment: production, site: \"Amsterdam\" }",
            "environment: production, site: \"Amsterdam\", databases: { main: { postgresql: app, socket: /run/postgresql } } }",
        )
        .with("tests:\n", &format!("{tenant}tests:\n"))
}

/// A fleet with a vault.
#[derive(Debug)]
pub struct Vaulted {
    /// The fleet.
    pub fleet: Fleet,
    pub(crate) recipients: Vec<String>,
    pub(crate) version: u32,
    pub(crate) unit: &'static str,
    /// The zone of its days.
    pub(crate) zone: &'static str,
}

impl Vaulted {
    /// Brings it up: data on web1, the vault at work, both machines admitted, the agent not started yet. With a disk of
    /// its own of so many megabytes for the store, if one is asked for.
    ///
    /// # Errors
    /// When anything of that cannot be made.
    pub fn up(topic: &str, recipients: &[String], disk: Option<u32>) -> Result<Self> {
        let options = Options { packages: PACKAGES.map(str::to_owned).to_vec(), keep: false };
        let fleet = Fleet::up_with(&format!("{topic}-{}", std::process::id()), &HOSTS, &options)?;
        data(&fleet)?;
        fleet.make_operator("marit", "lab")?;
        let vault1 = &fleet.vault1;
        vault1.must(&["useradd", "--system", "--home-dir", "/var/lib/tenure-vault", "tenure-vault"])?;
        if let Some(megabytes) = disk {
            vault1.disk(STORE, megabytes)?;
        }
        for dir in ["/var/lib/tenure-vault", STORE] {
            vault1.must(&["install", "-d", "-o", "tenure-vault", "-g", "tenure-vault", "-m", "700", dir])?;
        }
        vault1.put("/usr/sbin/tenure-vault", &crate::programs::bytes("tenure-vault")?, "755")?;
        let config = format!("host: vault1\npolicy: {{ from: bundles, path: {DROP} }}\n");
        vault1.put("/etc/tenure/vault.yaml", config.as_bytes(), "644")?;
        for host in [&fleet.web1, vault1] {
            host.put(ROOT, fleet.office.get(&format!("{DESK}/marit-root.json"))?.as_bytes(), "644")?;
            host.must(&["install", "-d", "-m", "755", DROP])?;
        }
        fleet.configure_signed()?;
        let zone = copies::zone(&fleet.web1)?;
        let vaulted = Self { fleet, recipients: recipients.to_vec(), version: 1, unit: LAB_UNIT, zone };
        vaulted.admit()?;
        vaulted.deliver("03:30")?;
        vaulted.start_vault()?;
        Ok(vaulted)
    }

    fn admit(&self) -> Result<()> {
        let Fleet { web1, vault1, office, .. } = &self.fleet;
        web1.must(&["tenure-agent", "identity"])?;
        let ssh = |path: &str| {
            ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f"]
                .map(str::to_owned)
                .into_iter()
                .chain([path.to_owned()])
                .collect::<Vec<_>>()
        };
        let make = |host: &tenure_lab::Host, path: &str| -> Result<String> {
            let words = ssh(path);
            host.must(&words.iter().map(String::as_str).collect::<Vec<_>>())?;
            Ok(host.get(&format!("{path}.pub"))?)
        };
        let (web1_ssh, office_ssh) = (make(web1, "/var/lib/tenure/ssh.key")?, make(office, RECOVERY)?);
        let own: Value = serde_json::from_str(&vault1.must(&[
            "runuser",
            "-u",
            "tenure-vault",
            "--",
            "tenure-vault",
            "identity",
            "--json",
        ])?)?;
        let host_key = own["ssh"].as_str().unwrap_or_default().to_owned();
        let (web1_id, vault1_id) =
            (web1.get("/var/lib/tenure/identity.pub")?, vault1.get("/var/lib/tenure-vault/identity.pub")?);
        let list = admissions::list(
            "lab",
            &[
                Machine {
                    name: "web1",
                    role: MachineRole::Host,
                    identity: Some(&web1_id),
                    ssh: Some(&web1_ssh),
                    reads: &[],
                },
                Machine {
                    name: "vault1",
                    role: MachineRole::Vault,
                    identity: Some(&vault1_id),
                    ssh: Some(&host_key),
                    reads: &[],
                },
                Machine {
                    name: "offline",
                    role: MachineRole::Recovery,
                    identity: None,
                    ssh: Some(&office_ssh),
                    reads: &["web1"],
                },
            ],
        )?;
        for host in [web1, vault1] {
            host.put(&format!("{DROP}/admissions.json"), list.as_bytes(), "644")?;
        }
        for host in [web1, office] {
            host.put(KNOWN, format!("[{VAULT}]:{PORT} {host_key}\n").as_bytes(), "644")?;
        }
        Ok(())
    }

    fn deliver(&self, nightly: &str) -> Result<()> {
        let fleet = &self.fleet;
        let policy = backed_up(fleet.usual(), &self.recipients, self.zone, nightly);
        fleet.sign("marit", &policy, self.version)?;
        for (host, name) in [(&fleet.web1, "web1.bundle.json"), (&fleet.vault1, "vault1.vault.json")] {
            for name in [name, "index.json"] {
                let bytes = fleet.office.get(&format!("{DESK}/signed/{name}"))?;
                host.put(&format!("{DROP}/{name}"), bytes.as_bytes(), "644")?;
            }
        }
        Ok(())
    }

    /// Signs and delivers the policy anew, with the nightly set at this time.
    ///
    /// # Errors
    /// When the lab or the tool says no.
    pub fn renew(&mut self, nightly: &str) -> Result<()> {
        self.version += 1;
        self.deliver(nightly)
    }

    /// Starts the vault and waits until it listens.
    ///
    /// # Errors
    /// When it does not in time.
    pub fn start_vault(&self) -> Result<()> {
        let vault1 = &self.fleet.vault1;
        vault1.sh("systemctl reset-failed tenure-vault-lab 2>/dev/null")?;
        vault1.must(&[
            "systemd-run",
            "--quiet",
            "--unit=tenure-vault-lab",
            "--uid=tenure-vault",
            "--gid=tenure-vault",
            "--",
            "/usr/sbin/tenure-vault",
            "run",
        ])?;
        wait_for("the vault to listen", SOON, || {
            vault1.exec(&["ss", "-Hltn", &format!("sport = :{PORT}")]).is_ok_and(|o| !o.stdout.is_empty())
        })
        .map_err(|why| format!("{why}\n{}", self.vault_journal()))?;
        Ok(())
    }

    /// Kills the vault (SIGKILL).
    ///
    /// # Errors
    /// When the lab fails.
    pub fn kill_vault(&self) -> Result<()> {
        self.fleet.vault1.sh(&format!(
            "systemctl kill -s KILL {}; while pgrep -x tenure-vault >/dev/null; do sleep 0.1; done",
            self.unit
        ))?;
        Ok(())
    }

    /// Lets the clocks of web1 and vault1 be so many days ahead, for every program that systemd starts there, and starts
    /// agent and vault anew. The vault is told to believe its clock, as a person does.
    ///
    /// # Errors
    /// When one of them does not start.
    pub fn ahead(&self, days: u32) -> Result<()> {
        let Fleet { web1, vault1, .. } = &self.fleet;
        self.kill_vault()?;
        vault1.must(&["rm", "-f", "/var/lib/tenure-vault/clock.json"])?;
        for host in [web1, vault1] {
            clock::all_ahead(host, days)?;
        }
        self.start_vault()?;
        web1.must(&["systemctl", "restart", "tenure-agent"])?;
        Ok(())
    }

    /// The end of the vault's journal.
    #[must_use]
    pub fn vault_journal(&self) -> String {
        let line = format!("journalctl --no-pager -n 40 -u {}", self.unit);
        self.fleet.vault1.sh(&line).map(|output| output.said()).unwrap_or_default()
    }

    /// The end of the agent's and its jobs' journals, and the runs' own step journals.
    #[must_use]
    pub fn journals(&self) -> String {
        let line = "journalctl --no-pager -n 60 | tail -60; tail -n 5 /var/lib/tenure/jobs/*.jsonl; tenure-agent status | tail -30";
        let said = self.fleet.web1.sh(line).map(|output| output.said()).unwrap_or_default();
        format!("{said}\n--- vault\n{}", self.vault_journal())
    }

    /// `tenure-agent backup run [WHICH]`, to its end: what it answers.
    ///
    /// # Errors
    /// When it answers no JSON.
    pub fn run(&self, which: &[&str]) -> Result<Vec<Value>> {
        let words = [&["tenure-agent", "backup", "run", "--json"], which].concat();
        let output = self.fleet.web1.exec_fed(&words, None, 600)?;
        serde_json::from_str(&output.stdout)
            .map_err(|e| format!("{e}: {}\n{}", output.said(), self.journals()).into())
    }

    /// The same; every series has to be sealed.
    ///
    /// # Errors
    /// When one is not.
    pub fn must_run(&self, which: &[&str]) -> Result<Vec<Value>> {
        let ran = self.run(which)?;
        match !ran.is_empty() && ran.iter().all(|one| one["sealed"].is_object()) {
            true => Ok(ran),
            false => Err(format!("{ran:#?}\n{}", self.journals()).into()),
        }
    }

    /// Stock restic with a series' view, as web1 can.
    ///
    /// # Errors
    /// When the lab fails.
    pub fn restic(&self, series: &str, generation: &str, words: &[&str]) -> Result<Output> {
        copies::restic(&self.fleet.web1, PORT, series, generation, words)
    }

    /// Brings a policy (`renew`, `publish`) in which the nightly set's time is about to come; gives that time.
    ///
    /// # Errors
    /// When it cannot be brought.
    pub fn coming(&mut self, bring: impl FnOnce(&mut Self, &str) -> Result<()>) -> Result<String> {
        let at = copies::coming(&self.fleet.web1, self.zone, 90)?;
        bring(self, &at)?;
        Ok(at)
    }

    /// Waits until it is this many seconds after a minute of the policy's day; it comes within the next minutes.
    ///
    /// # Errors
    /// When it does not.
    pub fn passed(&self, at: &str, seconds: u32) -> Result<()> {
        let limit = RUN + RUN + Duration::from_secs(seconds.into());
        let passed = || copies::passed(&self.fleet.web1, self.zone, at, seconds);
        wait_for(&format!("{seconds} s after {at}"), limit, passed).map(drop).map_err(Into::into)
    }

    /// Brings a policy (`renew`, `publish`) in which the nightly set's time is about to come, and waits until its slots
    /// are filled without anybody's word; gives that time.
    ///
    /// # Errors
    /// When they are not in time.
    pub fn scheduled(&mut self, bring: impl FnOnce(&mut Self, &str) -> Result<()>) -> Result<String> {
        let at = self.coming(bring)?;
        self.filled(&at)?;
        Ok(at)
    }

    /// Waits until the nightly slots of this time are filled.
    ///
    /// # Errors
    /// When they are not in time.
    pub fn filled(&self, at: &str) -> Result<()> {
        let told =
            wait_for("the nightly slots", RUN + RUN, || copies::filled(&self.fleet.web1, at).len() == 2);
        told.map(drop).map_err(|why| format!("{why}\n{}", self.journals()).into())
    }
}

/// What web1 has: files of its own, a tenant's uploads, a database with a schema of the tenant's.
pub(crate) fn data(fleet: &Fleet) -> Result<()> {
    let make = "set -e
        useradd -m -s /usr/sbin/nologin client
        mkdir -p /srv/app/client/deep /srv/app/shared
        dd if=/dev/urandom of=/srv/app/client/deep/photo bs=1M count=6 status=none
        printf 'x%.0s' $(seq 5000) > '/srv/app/client/näme with space'
        ln -s deep/photo /srv/app/client/link
        mkfifo /srv/app/client/pipe
        chown -R client:client /srv/app/client
        for n in $(seq 200); do echo page $n > /srv/app/shared/page-$n; done
        chmod 640 /srv/app/shared/page-1
        for n in $(seq 60); do pg_isready -q && break; sleep 0.5; done
        cd /
        su postgres -c 'createdb app'
        su postgres -c 'psql -q -v ON_ERROR_STOP=1 app' <<'SQL'
          CREATE TABLE public.orders (id int PRIMARY KEY, what text, at timestamptz DEFAULT now());
          INSERT INTO public.orders SELECT n, md5(n::text) FROM generate_series(1, 1000) n;
          CREATE SCHEMA client;
          CREATE TABLE client.\"odd Name\" (id int, data text);
          INSERT INTO client.\"odd Name\" SELECT n, repeat(md5(n::text), 20) FROM generate_series(1, 4000) n;
SQL
        ";
    fleet.web1.exec_fed(&["bash", "-c", make], None, 120).map_err(Into::into).and_then(|output| match output
        .ok()
    {
        true => Ok(()),
        false => Err(format!("making data: {}", output.said()).into()),
    })
}
