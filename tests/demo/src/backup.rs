//! Step 8: web1's copies go to vault1 as jobs, stock restic judges them, nothing sent from web1 changes what stands there,
//! and a drill restores the dump.

use std::time::Duration;

use serde_json::Value;
use tenure_lab::{Output, wait_for};
use tenure_scenarios::copies::{self, Filled};
use tenure_scenarios::vaulted::{KNOWN, VAULT};
use tenure_scenarios::{Fleet, Result};

use crate::local::{PORT, STORE, zone};
use crate::screen::{Screen, Stopped};
use crate::site::ROWS;

const KEY: &str = "/var/lib/tenure/ssh.key";
/// Until a copy's time comes, or a copy is made.
const LONG: Duration = Duration::from_secs(150);
pub(crate) const NIGHTLY: &str = "example-client/web1/nightly";
const SERVER: &str = "web1/web1/server";
pub(crate) const UPLOADS: &str = "/srv/app/uploads/client42";

/// Shows backups: those that the policy schedules for this minute.
pub(crate) fn show(screen: &mut Screen, fleet: &Fleet, at: &str) -> std::result::Result<(), Stopped> {
    screen.section(
        8,
        "Backup",
        "web1 to vault1, by jobs of the agent's; the vault has no key to what it keeps",
    );
    screen.step("due", &format!("server and nightly copies are due at {at}; it is waited for"), || {
        let line = format!("[ \"$(TZ={} date +%H%M)\" -ge {} ]", zone(fleet)?, at.replace(':', ""));
        wait_for("the time of the copies", LONG, || fleet.web1.sh(&line).is_ok_and(|said| said.ok()))?;
        Ok(format!(
            "it is {at}: server and nightly copies are due by the signed schedule, nobody starts them"
        ))
    })?;
    let mut ran = Vec::new();
    for (set, what) in [
        ("server", "the whole server and the client's data on it"),
        ("nightly", "databases and uploads, the host's and the client's"),
    ] {
        screen.step(set, what, || {
            let told = wait_for(&format!("{set} copies at {at}"), LONG, || {
                ran = copies::filled(&fleet.web1, at);
                of_set(&ran, set).count() == 2
            });
            told.map_err(|why| format!("{why}: {ran:#?}\n{}", crate::centre::journal(&fleet.web1)))?;
            Ok(sealed(of_set(&ran, set)))
        })?;
    }
    screen.step("restic", "stock restic reads the copies through the read-only view", || {
        let vault1 = fleet.vault1.must(&["tenure-vault", "identity", "--json"])?;
        let identity: Value = serde_json::from_str(&vault1)?;
        let line = format!("[{VAULT}]:{PORT} {}\n", identity["ssh"].as_str().unwrap_or_default());
        fleet.web1.put(KNOWN, line.as_bytes(), "644")?;
        for series in [SERVER, NIGHTLY] {
            let check = restic(fleet, series, &ran, &["check", "--read-data"])?;
            if !check.ok() || !check.said().contains("no errors were found") {
                return Err(format!("{series}: {}", check.said()).into());
            }
        }
        let version = fleet.web1.must(&["restic", "version"])?;
        let version = version.split_whitespace().take(2).collect::<Vec<_>>().join(" ");
        Ok(format!("stock {version} over SFTP: check --read-data of 2 repositories, no errors"))
    })?;
    screen.step("restore", "restic restores, diff -r compares", || {
        let words = ["restore", "latest", "--target", "/srv/scratch/back"];
        let restored = restic(fleet, NIGHTLY, &ran, &words)?;
        let line = format!(
            "diff -r --no-dereference {UPLOADS} /srv/scratch/back{UPLOADS} \
             && list() {{ cd $1 && find . -printf '%P %y %m %u %g %l %T@\\n' | sort; }} \
             && [ \"$(list {UPLOADS})\" = \"$(list /srv/scratch/back{UPLOADS})\" ] \
             && pg_restore -l /srv/scratch/back/tenure-dumps/main.pgdump | grep -c 'TABLE DATA client_42 campaigns'"
        );
        let same = fleet.web1.sh(&line)?;
        if !restored.ok() || !same.ok() {
            return Err(format!("{}\n{}", restored.said(), same.said()).into());
        }
        Ok("the client's nightly copy: diff -r identical, with owners, modes, times; dump readable".to_owned())
    })?;
    screen.step("refused", "writes from web1 to what stands there", || {
        refused(fleet, generation(&ran, NIGHTLY))
    })?;
    screen.step("drill", "the dump is restored into a scratch PostgreSQL", || {
        let said = fleet.web1.exec_fed(&["tenure-agent", "backup", "drill", "--json"], None, 300)?;
        let facts: Vec<Value> = serde_json::from_str(&said.stdout).map_err(|_| said.said())?;
        let held = !facts.is_empty() && facts.iter().all(|fact| fact["held"] == true);
        let rows: Vec<String> = facts.iter().map(|fact| fact["rows"].to_string()).collect();
        if !said.ok() || !held || !rows.contains(&ROWS.to_string()) {
            return Err(said.said().into());
        }
        Ok(format!(
            "{} dumps into a scratch PostgreSQL: {} rows, as many as were dumped",
            facts.len(),
            rows.join(" and ")
        ))
    })
}

fn of_set<'r>(ran: &'r [Filled], set: &'r str) -> impl Iterator<Item = &'r Filled> {
    ran.iter().filter(move |one| one.series.ends_with(set))
}

fn sealed<'r>(ran: impl Iterator<Item = &'r Filled>) -> String {
    let one = |one: &Filled| {
        let short = one.receipt.rsplit(':').next().unwrap_or_default();
        let owner = one.series.rsplit_once('/').map_or(one.series.as_str(), |(owner, _)| owner);
        format!("{owner} receipt {}", short.get(..8).unwrap_or(short))
    };
    format!("sealed and receipted: {}", ran.map(one).collect::<Vec<_>>().join(" · "))
}

/// The generation that holds a series' copy.
fn generation<'r>(ran: &'r [Filled], series: &str) -> &'r str {
    ran.iter().find(|one| one.series == series).map_or("", |one| one.generation.as_str())
}

fn restic(fleet: &Fleet, series: &str, ran: &[Filled], words: &[&str]) -> Result<Output> {
    copies::restic(&fleet.web1, PORT, series, generation(ran, series), words)
}

fn refused(fleet: &Fleet, generation: &str) -> Result<String> {
    let view = format!("/{NIGHTLY}/{generation}@last-seal");
    let store = || {
        // series' journals move on by themselves when a date closes
        let line = format!("cd {STORE} && find . -type f ! -name series.journal | sort | xargs sha256sum");
        fleet.vault1.must(&["sh", "-c", &line])
    };
    let sftp = |line: &str| {
        let command = format!(
            "sftp -i {KEY} -P {PORT} -o UserKnownHostsFile={KNOWN} -o BatchMode=yes -b - tenure@{VAULT}"
        );
        fleet.web1.exec_fed(&["sh", "-c", &command], Some(format!("{line}\n").as_bytes()), 60)
    };
    let before = store()?;
    fleet.web1.put("/root/evil", b"evil", "644")?;
    if !sftp(&format!("get {view}/config /root/config"))?.ok() {
        return Err("not even reading works: the refusals would say nothing".into());
    }
    let tries = [
        format!("put /root/evil {view}/config"),
        format!("put /root/evil {view}/index/{}", "0".repeat(64)),
        format!("rename {view}/config {view}/locks/x"),
        format!("rm {view}/config"),
        format!("rmdir {view}/data"),
        format!("chmod 777 {view}/config"),
    ];
    for line in &tries {
        if sftp(line)?.ok() {
            return Err(format!("`{line}` was not refused").into());
        }
    }
    if store()? != before {
        return Err("the store has changed".into());
    }
    Ok(format!(
        "overwrite, add, rename, delete from web1: refused {0} of {0}, not a byte changed",
        tries.len()
    ))
}
