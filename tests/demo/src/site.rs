//! The hosts before anything is under policy: a platform with a real database and a client's data, accounts for the
//! people who manage, the programs in their places.

use tenure_lab::Options;
use tenure_scenarios::fleet::{PACKAGES, UPDATE_DAYS};
use tenure_scenarios::{Fleet, Result, controller, programs};

use crate::local::{self, STORE};

/// Rows of the client's table.
pub(crate) const ROWS: u32 = 4000;

/// Brings the hosts up in a lab called `name`, which stays if it is to be kept.
pub(crate) fn up(name: &str, keep: bool) -> Result<Fleet> {
    let options = Options { packages: PACKAGES.map(str::to_owned).to_vec(), keep };
    let fleet = Fleet::up_with(name, &controller::HOSTS, &options)?;
    local::prepare(&fleet)?;
    platform(&fleet)?;
    let ctl1 = fleet.ctl1();
    for host in [&fleet.vault1, &ctl1] {
        host.put("/usr/sbin/tenure-agent", &programs::bytes("tenure-agent")?, "755")?;
        // As hosts are found: who manages has a key in the home.
        host.must(&["useradd", "-m", "-s", "/bin/bash", "admin"])?;
        host.put("/home/admin/.ssh/authorized_keys", fleet.marit_public.as_bytes(), "600")?;
        host.must(&["chown", "-R", "admin", "/home/admin/.ssh"])?;
    }
    for host in [&fleet.vault1, &ctl1, &fleet.office, &fleet.stranger] {
        host.must(&["systemctl", "disable", "-q", "--now", "postgresql"])?;
    }
    // Every host knows what updates there are.
    fleet.lab.archive("vault1", &["web1", "vault1", "ctl1"], UPDATE_DAYS)?;
    vault(&fleet)?;
    Ok(fleet)
}

/// web1's platform: PostgreSQL, open to all as such hosts are found, with a schema of one client's, and its uploads.
fn platform(fleet: &Fleet) -> Result<()> {
    let make = format!(
        "set -e
        echo \"listen_addresses = '*'\" > $(ls -d /etc/postgresql/*/main/conf.d)/open.conf
        systemctl restart postgresql
        useradd -m -s /usr/sbin/nologin client42
        mkdir -p /srv/app/uploads/client42/deep /srv/app/uploads/shared /srv/scratch
        dd if=/dev/urandom of=/srv/app/uploads/client42/deep/photo bs=1M count=6 status=none
        printf 'x%.0s' $(seq 5000) > '/srv/app/uploads/client42/näme with space'
        ln -s deep/photo /srv/app/uploads/client42/link
        chown -R client42: /srv/app/uploads/client42
        for n in $(seq 200); do echo page $n > /srv/app/uploads/shared/page-$n; done
        dd if=/dev/zero of=/srv/scratch/nothing bs=1M count=64 status=none
        for n in $(seq 60); do pg_isready -q && break; sleep 0.5; done
        cd /
        su postgres -c 'createdb app'
        su postgres -c 'psql -q -v ON_ERROR_STOP=1 app' <<'SQL'
          CREATE TABLE public.settings (name text PRIMARY KEY, value text);
          INSERT INTO public.settings SELECT 'setting ' || n, md5(n::text) FROM generate_series(1, 500) n;
          CREATE SCHEMA client_42;
          CREATE TABLE client_42.campaigns (id int PRIMARY KEY, what text, created_at timestamptz);
          INSERT INTO client_42.campaigns SELECT n, repeat(md5(n::text), 20), now() - n * interval '4 hours'
            FROM generate_series(1, {ROWS}) n;
SQL
        "
    );
    let made = fleet.web1.exec_fed(&["bash", "-c", &make], None, 120)?;
    if made.ok() { Ok(()) } else { Err(format!("making the platform: {}", made.said()).into()) }
}

/// The vault's user, places, program and unit, as its package makes them.
fn vault(fleet: &Fleet) -> Result<()> {
    let vault1 = &fleet.vault1;
    vault1.must(&["useradd", "--system", "--home-dir", "/var/lib/tenure-vault", "tenure-vault"])?;
    for dir in ["/var/lib/tenure-vault", STORE] {
        vault1.must(&["install", "-d", "-o", "tenure-vault", "-g", "tenure-vault", "-m", "700", dir])?;
    }
    vault1.put("/usr/sbin/tenure-vault", &programs::bytes("tenure-vault")?, "755")?;
    let unit = std::fs::read(tenure_lab::repository().join("agent/vault/units/tenure-vault.service"))?;
    vault1.put("/etc/systemd/system/tenure-vault.service", &unit, "644")?;
    vault1.must(&["systemctl", "daemon-reload"])?;
    Ok(())
}
