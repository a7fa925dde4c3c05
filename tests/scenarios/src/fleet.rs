//! Four hosts: web1 (under policy), vault1 (a server elsewhere), office (the operator's place), stranger (anywhere else).

use tenure_lab::{Family, Host, Lab, Login, Options, SshAs};

use crate::clients::{LISTENER, listener_unit};
use crate::{Result, programs};

/// Debian packages of hosts that run the role, dump and restore, beside the lab's usual ones: one root image for all of them.
pub const PACKAGES: [&str; 3] = ["ansible-core", "postgresql", "restic"];
/// Names and addresses, as the policies of examples and scenarios write them.
pub const HOSTS: [&str; 4] = [
    "web1=198.51.100.11,2001:db8:1::11",
    "vault1=198.51.100.7,2001:db8:1::7",
    "office=203.0.113.9,2001:db8:10::9",
    "stranger=192.0.2.77,2001:db8:ff::77",
];

/// Private key of marit, the operator, on `office` and (stolen) on `stranger`.
pub const MARIT: &str = "/root/keys/marit";
/// A key that no policy names, on `office`.
pub const UNKNOWN: &str = "/root/keys/unknown";
/// Password of `admin` and `old-dev` on web1, known to everybody.
pub const PASSWORD: &str = "summer-2019";

/// Days since the update that is pending on web1 came out.
pub const UPDATE_DAYS: u32 = 3;

/// A running fleet.
#[derive(Debug)]
pub struct Fleet {
    /// The lab below.
    pub lab: Lab,
    /// Under policy.
    pub web1: Host,
    /// A server elsewhere.
    pub vault1: Host,
    /// The operator's place.
    pub office: Host,
    /// Anywhere else.
    pub stranger: Host,
    /// Marit's public key, as a policy writes it.
    pub marit_public: String,
    /// A day some months ahead, `YYYY-MM-DD`: when logins of the policy end.
    pub until: String,
}

impl Fleet {
    /// Brings a fleet up in a lab of this process: the programs are on it, nothing is under policy yet.
    ///
    /// # Errors
    /// When a lab, an account, a key or a program cannot be made.
    pub fn up(topic: &str) -> Result<Self> {
        Self::furnish(Lab::up(topic, &HOSTS)?)
    }

    /// Brings a fleet up in a lab called exactly `name`, which stays when this value is dropped.
    ///
    /// # Errors
    /// As [`Fleet::up`].
    pub fn up_kept(name: &str) -> Result<Self> {
        Self::up_with(name, &HOSTS, &Options { packages: Vec::new(), keep: true })
    }

    /// Brings a fleet with more hosts or packages up in a lab called exactly `name`.
    ///
    /// # Errors
    /// As [`Fleet::up`].
    pub fn up_with(name: &str, hosts: &[&str], options: &Options) -> Result<Self> {
        Self::furnish(Lab::up_with(name, hosts, options)?)
    }

    fn furnish(lab: Lab) -> Result<Self> {
        let [web1, vault1, office, stranger] =
            ["web1", "vault1", "office", "stranger"].map(|name| lab.host(name));
        for key in [MARIT, UNKNOWN] {
            office.must(&[
                "sh",
                "-c",
                "mkdir -p /root/keys && ssh-keygen -q -t ed25519 -N '' -C marit -f $0",
                key,
            ])?;
        }
        stranger.put(MARIT, office.get(MARIT)?.as_bytes(), "600")?;
        let marit_public = office.get(&format!("{MARIT}.pub"))?.trim().to_owned();
        for host in [&web1, &vault1, &stranger] {
            let postgresql = host.exec(&["test", "-d", "/etc/postgresql"])?.ok();
            host.put("/usr/local/lib/lab-listener.py", LISTENER.as_bytes(), "644")?;
            host.put(
                "/etc/systemd/system/lab-listener.service",
                listener_unit(host.name(), postgresql).as_bytes(),
                "644",
            )?;
            host.must(&["systemctl", "enable", "-q", "--now", "lab-listener"])?;
        }
        lab.archive("vault1", &["web1"], UPDATE_DAYS)?;
        people(&web1, &marit_public)?;
        web1.put("/usr/sbin/tenure-agent", &programs::bytes("tenure-agent")?, "755")?;
        office.put("/usr/bin/tenure", &programs::bytes("tenure")?, "755")?;
        let until = office.must(&["date", "-d", "200 days", "+%F"])?.trim().to_owned();
        Ok(Self { lab, web1, vault1, office, stranger, marit_public, until })
    }

    /// Tries to log in to web1 as admin.
    ///
    /// # Errors
    /// When the lab itself fails.
    pub fn login(&self, from: &Host, with: SshAs<'_>, family: Family) -> Result<Login> {
        Ok(from.ssh(&self.web1, "admin", with, family)?)
    }

    /// The whole matrix of logins to web1 as admin at one moment; returns what went otherwise than an enforced policy
    /// says: in from the office with marit's key on both families, and in no other way.
    #[must_use]
    pub fn login_differences(&self) -> Vec<String> {
        let tries = [
            ("marit's key from the office", &self.office, SshAs::Key(MARIT), true),
            ("marit's key from elsewhere", &self.stranger, SshAs::Key(MARIT), false),
            ("an unknown key from the office", &self.office, SshAs::Key(UNKNOWN), false),
            ("the password from the office", &self.office, SshAs::Password(PASSWORD), false),
            ("the password from elsewhere", &self.stranger, SshAs::Password(PASSWORD), false),
        ];
        let judged = std::thread::scope(|scope| {
            let running: Vec<_> = tries
                .iter()
                .flat_map(|line| Family::BOTH.map(|family| (line, family)))
                .map(|((what, from, with, expected), family)| {
                    scope.spawn(move || match self.login(from, *with, family) {
                        Ok(login) if login.is_in() == *expected => None,
                        Ok(login) => Some(format!("{what}, {family:?}: {login:?}")),
                        Err(why) => Some(format!("{what}, {family:?}: {why}")),
                    })
                })
                .collect();
            running.into_iter().map(|t| t.join().expect("a client thread does not panic")).collect::<Vec<_>>()
        });
        judged.into_iter().flatten().collect()
    }
}

/// web1 as hosts are found: an admin with a key in the home and a password, sudo without asking, somebody who left.
fn people(web1: &Host, marit: &str) -> Result<()> {
    for user in ["admin", "deploy", "old-dev"] {
        web1.must(&["useradd", "-m", "-s", "/bin/bash", user])?;
        let keys = format!("/home/{user}/.ssh/authorized_keys");
        web1.put(&keys, format!("{marit}\n").as_bytes(), "600")?;
        web1.must(&["chown", "-R", user, &format!("/home/{user}/.ssh")])?;
    }
    let passwords = format!("admin:{PASSWORD}\nold-dev:{PASSWORD}\n");
    let set = web1.exec_fed(&["chpasswd"], Some(passwords.as_bytes()), 30)?;
    if !set.ok() {
        return Err(format!("chpasswd: {}", set.said()).into());
    }
    web1.put("/etc/sudoers.d/lab", b"admin ALL=(ALL) NOPASSWD: ALL\n", "440")?;
    Ok(())
}
