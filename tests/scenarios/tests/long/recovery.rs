//! A host is gone for good. A person's key was admitted through the controller; with it, an offline identity and stock
//! restic the host's copies are opened elsewhere: every file and every row as they were.

use age::secrecy::ExposeSecret;
use age::x25519::Identity;
use serde_json::Value;
use tenure_lab::wait_for;
use tenure_scenarios::agent::SOON;
use tenure_scenarios::operator::DESK;
use tenure_scenarios::vaulted::{PORT, RECOVERY, VAULT, Vaulted};
use tenure_scenarios::{Result, all_held};

const TENANT: &str = "client/web1/nightly";
const OWN: &str = "web1/web1/nightly";
/// A seal says more bytes than its host signed.
const CHANGED: &str = r#"python3 -c '
import base64, glob, json
for path in glob.glob("seals/*"):
    seal = json.load(open(path))
    payload = base64.b64decode(seal["payload"]).replace(b"\"bytes\":", b"\"bytes\":1")
    seal["payload"] = base64.b64encode(payload).decode()
    json.dump(seal, open(path, "w"))
'"#;
/// The admissions as the person kept them.
const KEPT: &str = "/root/kept-admissions.json";
/// Files with owners, modes, times and targets, and the tenant's rows as text.
const FILES: &str = "cd \"$1\" && find . ! -type d -printf '%P %y %m %U %G %l %T@\\n' | sort && find . -type f | sort | xargs -d '\\n' sha256sum";
const ROWS: &str =
    "cd / && su postgres -c 'psql -qAt app' <<< 'COPY (SELECT * FROM client.\"odd Name\") TO STDOUT' | sort";
const RECOVERED: &str =
    "pg_restore -a -f - -t 'odd Name' \"$1\" | sed -n '/^COPY /,/^\\\\\\.$/p' | sed '1d;$d' | sort";

#[test]
fn a_key_admitted_through_the_controller_opens_what_a_dead_host_left() -> Result<()> {
    let (ours, other) = (Identity::generate(), Identity::generate());
    let recipients = [&ours, &other].map(|id| id.to_public().to_string());
    let v = Vaulted::linked("recovery", &recipients)?;
    let (web1, office) = (v.fleet.web1.clone(), v.fleet.office.clone());
    let mut wrong: Vec<String> = Vec::new();
    let mut holds = |what: &str, held: bool, said: &str| {
        if !held {
            wrong.push(format!("{what}: {said}"));
        }
    };
    let ran = v.must_run(&["nightly"])?;
    let sealed = ran.iter().find(|one| one["series"] == TENANT).map(|one| &one["sealed"]["generation"]);
    let generation = sealed.map(|id| format!("{}.{}", id["date"].as_str().unwrap_or_default(), id["number"]));
    let view = format!("/{TENANT}/{}@last-seal", generation.unwrap_or_default());

    office.must(&["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", RECOVERY])?;
    office.put("/root/marit.age", format!("{}\n", ours.to_string().expose_secret()).as_bytes(), "600")?;
    let shown = office.must(&["ssh-keygen", "-lf", RECOVERY])?;
    let print = shown.split(' ').nth(1).unwrap_or_default();
    let public = format!("{RECOVERY}.pub");
    let admit = |reads: &str, print: &str| {
        let who = ["admit", "offline", "--role", "recovery", "--ssh-key", &public, "--reads", reads];
        let with = ["--root", "marit-root.json", "--key", "marit.key", "--passphrase-file", "pass", "--json"];
        v.fleet.tenure(&[&who[..], &["--fingerprint", print, "--keep", KEPT], &with].concat())
    };
    let typo = admit("wbe1", print)?;
    holds("a host that no policy has", typo.said().contains("no host wbe1"), &typo.said());
    let swapped = admit("web1", "SHA256:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA")?;
    holds("another key", !swapped.ok() && swapped.said().contains("another key"), &swapped.said());
    let before = sftp(&v, &view)?;
    let said: Value = serde_json::from_str(&admit("web1", print)?.stdout)?;
    let host_key = said["vaults"]["vault1"].as_str().unwrap_or_default().to_owned();
    office.put("/root/known_hosts", format!("[{VAULT}]:{PORT} {host_key}\n").as_bytes(), "644")?;
    holds("nobody reads before", !before, "the vault let a key in that nobody had admitted");
    wait_for("the vault to pull the admission", SOON, || sftp(&v, &view).unwrap_or(false))
        .map_err(|why| format!("{why}\n{}", v.journals()))?;

    let files = web1.must(&["bash", "-c", FILES, "files", "/srv/app/client"])?;
    let rows = web1.must(&["bash", "-c", ROWS])?;
    holds("what is compared is there", files.lines().count() > 4 && rows.lines().count() == 4000, &files);
    web1.kill()?;
    let vault = format!("{VAULT}:{PORT}");
    let common = [
        &[
            "tenure",
            "recover",
            &view,
            "--identity",
            "/root/marit.age",
            "--vault",
            &vault,
            "--ssh-key",
            RECOVERY,
        ][..],
        &["--known-hosts", "/root/known_hosts", "--out", "/root/restic.password", "--json"],
    ]
    .concat();
    let told: Value = serde_json::from_str(&office.must(&common)?)?;
    for fetch in [&told["fetch"][0], &told["fetch_seals"]] {
        office.must(&["sh", "-c", &format!("cd /root && {}", fetch.as_str().unwrap_or_default())])?;
    }
    let opened = [&common[..], &["--escrow", "/root/escrow.age"]].concat();
    let root = format!("{DESK}/marit-root.json");
    let sealed = ["--seals", "/root/seals", "--root", &root, "--admissions", KEPT];
    let others = told["fetch_seals"].as_str().unwrap_or_default().replace(TENANT, OWN);
    for (what, said) in forged(&v, &opened, &sealed, &others)? {
        holds(what, false, &said);
    }
    let told = office.must(&[&opened[..], &sealed].concat())?;
    let told: Value = serde_json::from_str(&told)?;
    holds("the host's own seal", told["sealed"]["slot"]["series"]["host"] == "web1", &told.to_string());
    let line = format!(
        "cd /root && HOME=/root {} restore {} --target /back",
        told["restic"].as_str().unwrap_or_default(),
        told["snapshot"].as_str().unwrap_or_default()
    );
    let restored = office.exec_fed(&["sh", "-c", &line], None, 120)?;
    holds("stock restic restores elsewhere", restored.ok(), &restored.said());
    let found = office.exec(&["bash", "-c", FILES, "files", "/back/srv/app/client"])?;
    holds("every file is the same", found.stdout == files, &format!("{}\n--- was\n{files}", found.said()));
    let found = office.exec(&["bash", "-c", RECOVERED, "rows", "/back/tenure-dumps/main.pgdump"])?;
    holds("every row of the dump is the same", found.stdout == rows, &found.stderr);

    let keys = ["--key", "marit.key", "--passphrase-file", "pass"];
    let revoke = ["revoke", "offline", "--role", "recovery", "--reason", "lost", "--yes", "offline"];
    v.fleet.tenure_must(&[&revoke[..], &keys].concat())?;
    wait_for("the vault to pull the revocation", SOON, || sftp(&v, &view).is_ok_and(|read| !read))
        .map_err(|why| format!("{why}\n{}", v.vault_journal()))?;
    all_held("recovery", &wrong)
}

/// What a vault that lies could lay before the person: each is refused before the escrow is opened. Gives what was not.
/// `others` fetches the seals of another series of the same host.
fn forged(
    v: &Vaulted,
    opened: &[&str],
    sealed: &[&str],
    others: &str,
) -> Result<Vec<(&'static str, String)>> {
    let office = &v.fleet.office;
    let mut wrong = Vec::new();
    let others = format!("rm -r seals && {others}");
    let cases = [
        ("no seals", "rm seals/*", "there is no seal"),
        ("a number in it changed", CHANGED, "was signed with a key of this host"),
        ("another series' seals", &others, "this host's seals are for other copies"),
    ];
    for (what, change, words) in cases {
        office.must(&["sh", "-c", &format!("cd /root && cp -a seals kept && {change}")])?;
        let said = office.exec(&[opened, sealed].concat())?;
        let left = office.exec(&["test", "-e", "/root/restic.password"])?;
        office.must(&["sh", "-c", "cd /root && rm -rf seals && mv kept seals"])?;
        if said.ok() || !said.said().contains(words) || left.ok() {
            wrong.push((what, said.said()));
        }
    }
    Ok(wrong)
}

/// Does the vault let the recovery key list a view?
fn sftp(v: &Vaulted, view: &str) -> Result<bool> {
    let line = format!(
        "echo 'ls {view}' | sftp -i {RECOVERY} -P {PORT} -o UserKnownHostsFile=/root/known_hosts \
         -o StrictHostKeyChecking=no -o BatchMode=yes -b - tenure@{VAULT}"
    );
    Ok(v.fleet.office.sh(&format!("cd {DESK} && {line}"))?.stdout.contains("snapshots"))
}
