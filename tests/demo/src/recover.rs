//! Step 11: web1 is gone. A person's key is admitted for its copies, an offline identity opens the password, stock restic
//! restores at the office: every file and every row as they were.

use serde_json::Value;
use tenure_lab::{Host, wait_for};
use tenure_scenarios::agent::SOON;
use tenure_scenarios::operator::DESK;
use tenure_scenarios::vaulted::VAULT;
use tenure_scenarios::{Fleet, Result};

use crate::backup::{NIGHTLY, UPLOADS};
use crate::centre::{at_rest, journal};
use crate::local::{PORT, RECOVERY};
use crate::screen::{Screen, Stopped};

/// The person's key, made at the office.
const KEY: &str = "/root/recovery.key";
/// The admissions, kept for the day on which nobody can be asked.
const KEPT: &str = "kept-admissions.json";
/// Files with owners, modes, times and targets, and what is in them.
const FILES: &str = "cd \"$1\" && find . ! -type d -printf '%P %y %m %U %G %l %T@\\n' | sort \
                     && find . -type f | sort | xargs -d '\\n' sha256sum";
/// The client's rows as text, from the database and from the dump.
const ROWS: &str =
    "cd / && su postgres -c 'psql -qAt app' <<< 'COPY (SELECT * FROM client_42.campaigns) TO STDOUT' | sort";
const DUMPED: &str =
    "pg_restore -a -f - -t campaigns \"$1\" | sed -n '/^COPY /,/^\\\\\\.$/p' | sed '1d;$d' | sort";

/// Shows a recovery.
pub(crate) fn show(screen: &mut Screen, fleet: &Fleet) -> std::result::Result<(), Stopped> {
    screen.section(
        11,
        "Recover",
        "web1 is gone: its client's copy is opened at the office, with nothing of web1's",
    );
    let (mut was, mut view) = (Vec::new(), String::new());
    screen.step("gone", "web1 loses power", || {
        view = newest(fleet)?;
        was = [text(&fleet.web1, FILES, UPLOADS)?, text(&fleet.web1, ROWS, "")?].into();
        fleet.web1.kill()?;
        Ok(format!("web1 loses power; {view} is the client's last copy"))
    })?;
    screen.step("admit", "a recovery key is compared and admitted, the vault pulls it", || {
        admitted(fleet, &view)
    })?;
    screen.step(
        "recover",
        "tenure recover verifies web1's seal and opens the password, restic restores",
        || {
            let recovered = restored(fleet, &view);
            let compared = recovered.and_then(|snapshot| {
            let dump = "/root/back/tenure-dumps/main.pgdump";
            let found = [
                text(&fleet.office, FILES, &format!("/root/back{UPLOADS}"))?,
                text(&fleet.office, DUMPED, dump)?,
            ];
            match was == found {
                true => Ok(format!(
                    "web1's own seal names {snapshot}; stock restic restores it: {} files, {} rows identical",
                    was[0].lines().count() / 2,
                    was[1].lines().count()
                )),
                false => Err(format!("it is not the same: {found:#?}\nbut was {was:#?}").into()),
            }
        });
            fleet.web1.start()?;
            compared
        },
    )?;
    screen.step("back", "web1 comes back", || {
        at_rest(&fleet.web1).map_err(|why| format!("{why}\n{}", journal(&fleet.web1)))?;
        Ok("web1 is back, closed from its boot on".to_owned())
    })
}

/// The view of the client's newest sealed nightly copy.
fn newest(fleet: &Fleet) -> Result<String> {
    let listed = fleet.agent_json(&["backup", "list"])?;
    let all = listed.as_array().cloned().unwrap_or_default();
    let own = all.iter().filter(|one| one["series"] == NIGHTLY).filter_map(|one| one["generation"].as_str());
    let generation = own.max().ok_or_else(|| format!("no copy of {NIGHTLY}: {listed:#}"))?;
    Ok(format!("/{NIGHTLY}/{generation}@last-seal"))
}

fn text(host: &Host, line: &str, word: &str) -> Result<String> {
    Ok(host.must(&["bash", "-c", line, "look", word])?)
}

/// The vault lets the key in once its admission has come down, and not before.
fn admitted(fleet: &Fleet, view: &str) -> Result<String> {
    let office = &fleet.office;
    office.must(&["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", KEY])?;
    let shown = office.must(&["ssh-keygen", "-lf", KEY])?;
    let print = shown.split(' ').nth(1).unwrap_or_default();
    let public = format!("{KEY}.pub");
    let who = ["admit", "offline", "--role", "recovery", "--ssh-key", &public, "--reads", "web1"];
    let with = ["--root", "marit-root.json", "--key", "marit.key", "--passphrase-file", "pass", "--json"];
    let said = fleet.tenure_must(&[&who[..], &["--fingerprint", print, "--keep", KEPT], &with].concat())?;
    let said: Value = serde_json::from_str(&said)?;
    let host_key = said["vaults"]["vault1"].as_str().unwrap_or_default();
    office.put(&format!("{DESK}/known_hosts"), format!("[{VAULT}]:{PORT} {host_key}\n").as_bytes(), "644")?;
    let list = format!(
        "cd {DESK} && echo 'ls {view}' | sftp -i {KEY} -P {PORT} -o UserKnownHostsFile=known_hosts -o BatchMode=yes -b - tenure@{VAULT}"
    );
    wait_for("the vault to let the key in", SOON, || office.sh(&list).is_ok_and(|said| said.ok()))
        .map_err(|why| format!("{why}\n{}", journal(&fleet.vault1)))?;
    Ok(format!("{print} compared, admitted by marit, pulled by the vault"))
}

/// Gives the snapshot that its host sealed, shortened.
fn restored(fleet: &Fleet, view: &str) -> Result<String> {
    let vault = format!("{VAULT}:{PORT}");
    let words = ["recover", view, "--identity", RECOVERY[0], "--vault", &vault, "--ssh-key", KEY, "--json"];
    let told: Value = serde_json::from_str(&fleet.tenure_must(&words)?)?;
    let desk = |line: &str| fleet.office.exec_fed(&["sh", "-c", &format!("cd {DESK} && {line}")], None, 120);
    for fetch in [&told["fetch"][0], &told["fetch_seals"]] {
        let fetched = desk(fetch.as_str().unwrap_or("false"))?;
        if !fetched.ok() {
            return Err(fetched.said().into());
        }
    }
    let sealed = ["--seals", "seals", "--root", "marit-root.json", "--admissions", KEPT];
    let told = fleet.tenure_must(&[&words[..], &["--escrow", "escrow.age"], &sealed].concat())?;
    let told: Value = serde_json::from_str(&told)?;
    let (restic, snapshot) = (told["restic"].as_str(), told["snapshot"].as_str());
    let (Some(restic), Some(snapshot)) = (restic, snapshot) else { return Err(told.to_string().into()) };
    let said = desk(&format!("HOME=/root {restic} restore {snapshot} --target /root/back"))?;
    if said.ok() { Ok(snapshot[..8].to_owned()) } else { Err(said.said().into()) }
}
