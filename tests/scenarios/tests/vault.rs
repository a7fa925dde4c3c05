//! A real vault on a host of its own: what a host brought is read back by stock restic over SFTP, and nothing that a host
//! can send changes or removes it. Killed at any point it goes on; a full disk refuses and loses nothing; one that is not
//! mounted is asked for.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};
use tenure_lab::{Host, Lab, Options, Output, repository, wait_for};
use tenure_policy::bundles::VaultPolicy;
use tenure_scenarios::{Result, all_held, programs};
use tenure_trust::{
    Admission, AdmissionList, Index, KeyName, NamedKey, Root, Signed, SigningKey, Statement, statement,
};

const HOSTS: [&str; 4] = [
    "web1=198.51.100.11,2001:db8:1::11",
    "vault1=198.51.100.7,2001:db8:1::7",
    "office=203.0.113.9,2001:db8:10::9",
    "stranger=192.0.2.77,2001:db8:ff::77",
];
const PORT: &str = "7722";
const VAULT: &str = "198.51.100.7";
const KEY: &str = "/root/vault.key";
const BRING: &str = "/usr/local/lib/tenure-bring";
const SOON: Duration = Duration::from_secs(60);
/// Of the operator and of web1's identity.
const OPERATOR: u8 = 1;
const WEB1: u8 = 10;

struct Vaulted {
    _lab: Lab,
    web1: Host,
    vault1: Host,
    office: Host,
    stranger: Host,
    host_key: String,
}

fn key(seed: u8) -> SigningKey {
    SigningKey::from_seed(&[seed; 32])
}

fn read<T: serde::de::DeserializeOwned>(value: Value) -> Result<T> {
    Ok(serde_json::from_value(value)?)
}

fn signed<T: Statement>(value: &T) -> String {
    Signed::new(value, &[&key(OPERATOR)]).to_json()
}

/// A key of OpenSSH's on a host: its public half as an admission has it.
fn ssh_key(host: &Host) -> Result<String> {
    host.must(&["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", KEY])?;
    let text = host.get(&format!("{KEY}.pub"))?;
    Ok(text.split(' ').take(2).collect::<Vec<_>>().join(" ").trim().to_owned())
}

fn admission(name: &str, role: &str, identity: &str, ssh: &str, reads: &[&str]) -> Result<String> {
    let admission: Admission = read(json!({
        "schema": 1, "fleet": "acme", "name": name, "role": role, "identity": identity, "ssh": ssh,
        "tls": "00".repeat(32), "epoch": 1, "replaces": null, "reads": reads, "issued": "2026-01-01T00:00:00Z",
    }))?;
    Ok(signed(&admission))
}

fn policy(keep_free: u64) -> Result<VaultPolicy> {
    let series = |owner: Value| {
        json!({
            "series": { "vault": "vault1", "host": "web1", "owner": owner, "set": "server" },
            "at": ["06:00", "14:00", "22:00"], "catch_up_seconds": 21600, "ring": "weekday",
            "erase_after_seconds": 0,
        })
    };
    read(json!({
        "schema": 1, "fleet": "acme", "host": "vault1", "vault": "vault1", "timezone": "Europe/Amsterdam",
        "heartbeat_seconds": 900, "port": 7722, "store": "/srv/backups", "keep_free_bytes": keep_free,
        "quota_bytes": 1u64 << 32, "series": [series(json!("host")), series(json!({ "tenant": "bakery" }))],
        "hosts": { "web1": ["198.51.100.11", "2001:db8:1::11"] }, "recovery_from": ["203.0.113.0/24"],
        "recipients": ["age1first", "age1second"], "controller": null,
    }))
}

impl Vaulted {
    /// A vault at work, with a disk of its own of so many megabytes if one is asked for.
    fn up(topic: &str, disk: Option<u32>) -> Result<Self> {
        let options = Options { packages: vec!["restic".into(), "ssh-audit".into()], keep: false };
        let lab = Lab::up_with(&format!("{topic}-{}", std::process::id()), &HOSTS, &options)?;
        let [web1, vault1, office, stranger] = ["web1", "vault1", "office", "stranger"].map(|n| lab.host(n));
        vault1.must(&["useradd", "--system", "--home-dir", "/var/lib/tenure-vault", "tenure-vault"])?;
        if let Some(megabytes) = disk {
            vault1.disk("/srv/backups", megabytes)?;
        }
        for dir in ["/var/lib/tenure-vault", "/srv/backups"] {
            vault1.must(&["install", "-d", "-o", "tenure-vault", "-g", "tenure-vault", "-m", "700", dir])?;
        }
        vault1.put("/usr/sbin/tenure-vault", &programs::bytes("tenure-vault")?, "755")?;
        let unit = std::fs::read(repository().join("agent/vault/units/tenure-vault.service"))?;
        vault1.put("/etc/systemd/system/tenure-vault.service", &unit, "644")?;
        let config = b"host: vault1\npolicy: { from: bundles, path: /etc/tenure/policy }\n";
        vault1.put("/etc/tenure/vault.yaml", config, "644")?;
        let one = NamedKey { name: KeyName::new("marit")?, key: key(OPERATOR).public() }.to_string();
        let keys = json!({ "threshold": 1, "keys": [one] });
        let root: Root = read(json!({
            "schema": 1, "version": 1, "fleet": "acme", "issued": "2026-01-01T00:00:00Z",
            "expires": "2090-01-01T00:00:00Z",
            "roles": { "root": keys, "policy": keys, "admission": keys, "order": keys },
        }))?;
        vault1.put("/etc/tenure/trust/root.json", signed(&root).as_bytes(), "644")?;
        let own: Value = serde_json::from_str(&vault1.must(&["tenure-vault", "identity", "--json"])?)?;
        let word = |name: &str| own[name].as_str().unwrap_or_default().to_owned();
        let (host_key, identity) = (word("ssh"), word("key"));
        let identity = identity.split(' ').take(2).collect::<Vec<_>>().join(" ");
        let list = AdmissionList {
            admissions: vec![
                admission("vault1", "vault", &identity, &host_key, &[])?,
                admission("web1", "host", &key(WEB1).public().to_string(), &ssh_key(&web1)?, &[])?,
                admission(
                    "offline",
                    "recovery",
                    &key(20).public().to_string(),
                    &ssh_key(&office)?,
                    &["web1"],
                )?,
            ],
            revocations: vec![],
        };
        vault1.put("/etc/tenure/policy/admissions.json", &serde_json::to_vec(&list)?, "644")?;
        let vaulted = Self { _lab: lab, web1, vault1, office, stranger, host_key };
        vaulted.deliver(1, 0)?;
        vaulted.web1.put(BRING, &std::fs::read(example("bring")?)?, "755")?;
        for host in [&vaulted.web1, &vaulted.office] {
            let known = format!("[{VAULT}]:{PORT} {}\n", vaulted.host_key);
            host.put("/root/known_hosts", known.as_bytes(), "644")?;
        }
        vaulted.vault1.must(&["systemctl", "daemon-reload"])?;
        vaulted.vault1.must(&["systemctl", "start", "tenure-vault"])?;
        vaulted.await_port()?;
        Ok(vaulted)
    }

    fn deliver(&self, version: u64, keep_free: u64) -> Result<()> {
        let policy = policy(keep_free)?;
        let hash = tenure_trust::Hash::of(&statement::bytes(&policy));
        let index: Index = read(json!({
            "schema": 1, "fleet": "acme", "version": version, "issued": "2026-01-01T00:00:00Z",
            "expires": "2089-01-01T00:00:00Z", "machines": {}, "vaults": { "vault1": hash },
        }))?;
        self.vault1.put("/etc/tenure/policy/vault1.vault.json", signed(&policy).as_bytes(), "644")?;
        Ok(self.vault1.put("/etc/tenure/policy/index.json", signed(&index).as_bytes(), "644")?)
    }

    fn await_port(&self) -> Result<()> {
        let listens = || {
            let probe =
                format!("exec 3<>/dev/tcp/{VAULT}/{PORT} && read -rt2 -u3 line && [[ $line == SSH-* ]]");
            self.web1.exec(&["bash", "-c", &probe]).is_ok_and(|o| o.ok())
        };
        wait_for("the vault to listen", SOON, listens).map_err(|why| format!("{why}\n{}", self.journal()))?;
        Ok(())
    }

    fn journal(&self) -> String {
        self.vault1
            .sh("journalctl -u tenure-vault --no-pager | tail -60")
            .map(|o| o.said())
            .unwrap_or_default()
    }

    fn bring(&self, series: &str, repository: &str, stop_after: Option<u32>) -> Result<Output> {
        let (address, stop) = (format!("{VAULT}:{PORT}"), stop_after.map(|n| n.to_string()));
        let seed = WEB1.to_string();
        let mut words = vec![BRING, &address, &self.host_key, KEY, &seed, series, repository];
        words.extend(stop.as_deref());
        Ok(self.web1.exec(&words)?)
    }

    /// Brings the whole and gives the view's path. A slot by hand is a minute: one that is taken is waited out.
    fn must_bring(&self, series: &str, repository: &str) -> Result<String> {
        let mut brought = self.bring(series, repository, None)?;
        if brought.said().contains("Refused(SlotTaken)") {
            wait_for("the next slot by hand", SOON * 2, || match self.bring(series, repository, None) {
                Ok(again) => {
                    brought = again;
                    !brought.said().contains("Refused(SlotTaken)")
                }
                Err(_) => false,
            })?;
        }
        match brought.ok() {
            true => Ok(brought.stdout.trim().to_owned()),
            false => Err(format!("{}\n{}", brought.said(), self.journal()).into()),
        }
    }

    /// Stock restic on a view.
    fn restic(&self, host: &Host, view: &str, words: &[&str]) -> Result<Output> {
        let command = format!("sftp.command={} tenure@{VAULT} -s sftp", ssh("ssh"));
        let repository = format!("sftp:tenure@{VAULT}:{view}");
        let mut all =
            vec!["env", "RESTIC_PASSWORD=secret", "HOME=/root", "restic", "-o", &command, "-r", &repository];
        all.extend(words);
        Ok(host.exec_fed(&all, None, 110)?)
    }

    /// Lines of a batch for sftp, one after the other; each answer with its exit status.
    fn sftp(&self, line: &str) -> Result<Output> {
        let command = format!("{} -b - tenure@{VAULT}", ssh("sftp").replace("-p ", "-P "));
        Ok(self.web1.exec_fed(&["sh", "-c", &command], Some(format!("{line}\n").as_bytes()), 60)?)
    }
}

fn ssh(program: &str) -> String {
    format!("{program} -i {KEY} -p {PORT} -o UserKnownHostsFile=/root/known_hosts -o BatchMode=yes")
}

/// A repository that stock restic makes on web1, of a tree with odd names, links and modes.
fn repository_on(web1: &Host, megabytes: u32) -> Result<()> {
    let make = format!(
        "set -e; mkdir -p /data/deep/er && cd /data && echo one >one && ln -s one link &&
         printf 'x%.0s' $(seq 5000) >'deep/er/näme with space' && chmod 640 one &&
         dd if=/dev/urandom of=deep/big bs=1M count={megabytes} status=none &&
         export RESTIC_PASSWORD=secret HOME=/root && restic -q init -r /root/repo && restic -q backup -r /root/repo /data"
    );
    web1.must(&["bash", "-c", &make])?;
    Ok(())
}

fn example(name: &str) -> Result<std::path::PathBuf> {
    let running = std::env::current_exe()?;
    let found = running.ancestors().map(|dir| dir.join("examples").join(name)).find(|path| path.is_file());
    found.ok_or_else(|| {
        format!("example {name} is not built beside {}: make test builds all first", running.display()).into()
    })
}

#[test]
fn stock_restic_reads_what_a_host_brought_and_nothing_can_change_it() -> Result<()> {
    let v = Vaulted::up("vault", None)?;
    repository_on(&v.web1, 20)?;
    let view = v.must_bring("web1/web1/server", "/root/repo")?;
    let mut wrong = Vec::new();
    let mut holds = |what: &str, held: bool, said: &Output| {
        if !held {
            wrong.push(format!("{what}: {}", said.said()));
        }
    };
    let check = v.restic(&v.web1, &view, &["check", "--read-data"])?;
    holds("restic check --read-data", check.ok() && check.said().contains("no errors were found"), &check);
    let restored = v.restic(&v.web1, &view, &["restore", "latest", "--target", "/back"])?;
    holds("restic restore", restored.ok(), &restored);
    let same = v.web1.sh("diff -r --no-dereference /data /back/data && stat -c '%a %n' /back/data/one")?;
    holds("the tree is the same", same.ok() && same.stdout.contains("640"), &same);
    let again = v.restic(&v.web1, &view, &["check"])?;
    holds("no lock is left behind", again.ok(), &again);
    // the person with the recovery key, from the management network, with web1 gone
    v.web1.link_down()?;
    let recovered = v.restic(&v.office, &view, &["restore", "latest", "--target", "/back"])?;
    holds("restored elsewhere", recovered.ok(), &recovered);
    v.web1.link_up()?;

    let before =
        v.vault1.must(&["sh", "-c", "cd /srv/backups && find . -type f | sort | xargs sha256sum"])?;
    let pack = v.web1.must(&["sh", "-c", "cd /root/repo/data && ls -d */* | head -1"])?;
    let pack = format!("{view}/data/{}", pack.trim());
    v.web1.put("/root/evil", b"evil", "644")?;
    for line in [
        format!("rm {pack}"),
        format!("rm {view}/config"),
        format!("rename {pack} {view}/index/x"),
        format!("rename {view}/config {view}/locks/x"),
        format!("put /root/evil {pack}"),
        format!("put /root/evil {view}/index/{}", "0".repeat(64)),
        format!("put /root/evil {view}/../evil"),
        "put /root/evil /srv/backups/evil".to_owned(),
        format!("mkdir {view}/x"),
        format!("rmdir {view}/data"),
        format!("chmod 777 {pack}"),
        format!("ln -s /etc/passwd {view}/index/x"),
        "get /etc/passwd".to_owned(),
        format!("get {view}/../../../../../etc/passwd"),
        format!("get {view}/objects.journal"),
    ] {
        let tried = v.sftp(&line)?;
        holds(&format!("`{line}` is refused"), !tried.ok(), &tried);
    }
    for words in [
        &["forget", "--keep-last", "1", "--prune"][..],
        &["backup", "/etc"],
        &["key", "add"],
        &["rebuild-index"],
    ] {
        let tried = v.restic(&v.web1, &view, words)?;
        // `forget --keep-last 1` finds nothing to remove: then it must have changed nothing
        holds(&format!("restic {words:?} is refused"), !tried.ok() || words[0] == "forget", &tried);
    }
    for command in ["id", "cat /etc/passwd", ""] {
        let tried = v.web1.sh(&format!("{} tenure@{VAULT} {command} </dev/null", ssh("ssh")))?;
        holds(&format!("no shell for {command:?}"), !tried.ok(), &tried);
    }
    let after = v.vault1.must(&["sh", "-c", "cd /srv/backups && find . -type f | sort | xargs sha256sum"])?;
    // journals of series move on by themselves when a date closes
    let plain = |text: &str| -> BTreeMap<String, String> {
        let lines = text.lines().filter(|line| !line.ends_with("series.journal"));
        lines.filter_map(|line| line.split_once("  ")).map(|(h, n)| (n.into(), h.into())).collect()
    };
    if plain(&before) != plain(&after) {
        wrong.push(format!("the store changed:\n{before}\n{after}"));
    }
    let banner = v.stranger.exec(&[
        "bash",
        "-c",
        &format!("exec 3<>/dev/tcp/{VAULT}/{PORT}; head -c1 <&3 | wc -c"),
    ])?;
    let mut holds = |what: &str, held: bool, said: &Output| {
        if !held {
            wrong.push(format!("{what}: {}", said.said()));
        }
    };
    holds("a stranger gets no byte", banner.stdout.trim() == "0", &banner);
    let audit = v.web1.exec(&["ssh-audit", "-n", "-p", PORT, VAULT])?;
    let failed = audit.stdout.lines().any(|line| line.contains("[fail]"));
    holds("ssh-audit finds nothing that fails", !failed && audit.stdout.contains("aes256-gcm"), &audit);
    let status = v.vault1.exec(&["tenure-vault", "status", "--json"])?;
    let said: Value = serde_json::from_str(&status.stdout).unwrap_or_default();
    holds("status knows that it runs", said["running"] == json!(true), &status);
    holds("an empty series is told by the exit code", status.status == 3, &status);
    let listed = v.vault1.exec(&["tenure-vault", "generations", "web1/web1/server"])?;
    holds("generations lists it", listed.ok() && listed.stdout.contains("web1/web1/server"), &listed);
    let exported = v.vault1.sh("tenure-vault evidence export --out /root/chain && head -c300 /root/chain")?;
    holds(
        "its records are a vault's",
        exported.ok() && exported.stdout.contains("\"role\":\"vault\""),
        &exported,
    );
    let score = v.vault1.sh("systemd-analyze security --no-pager tenure-vault | tail -1")?;
    holds("the sandbox is tight", score.said().contains("OK"), &score);
    if !wrong.is_empty() {
        wrong.push(v.journal());
    }
    all_held("what stands in a vault stays", &wrong)
}

#[test]
fn killed_at_any_point_it_goes_on_and_nothing_answered_is_lost() -> Result<()> {
    let v = Vaulted::up("vkill", None)?;
    repository_on(&v.web1, 60)?;
    let objects: u32 = v
        .web1
        .must(&["sh", "-c", "cd /root/repo && find data index snapshots -type f | wc -l"])?
        .trim()
        .parse()?;
    for stop in [0, 1, objects / 2, objects] {
        let brought = v.bring("bakery/web1/server", "/root/repo", Some(stop))?;
        if !brought.ok() {
            return Err(format!("stopped after {stop}: {}\n{}", brought.said(), v.journal()).into());
        }
        v.vault1.must(&["systemctl", "kill", "-s", "KILL", "tenure-vault"])?;
        v.await_port()?;
    }
    // and in the middle of the work, again and again
    for _ in 0..4 {
        let (address, seed) = (format!("{VAULT}:{PORT}"), WEB1.to_string());
        let mut running =
            v.web1.spawn(&[BRING, &address, &v.host_key, KEY, &seed, "web1/web1/server", "/root/repo"])?;
        let tmp = || v.vault1.sh("ls /srv/backups/.tmp | wc -l").is_ok_and(|o| o.stdout.trim() != "0");
        // It may be through already.
        let _ = wait_for("work under way", Duration::from_secs(5), || tmp() || !running.runs());
        v.vault1.must(&["systemctl", "kill", "-s", "KILL", "tenure-vault"])?;
        v.await_port()?;
        wait_for("the client to see it", SOON, || !running.runs())?;
    }
    let mut wrong = Vec::new();
    for series in ["bakery/web1/server", "web1/web1/server"] {
        let view = v.must_bring(series, "/root/repo")?;
        let check = v.restic(&v.web1, &view, &["check", "--read-data"])?;
        if !check.ok() {
            wrong.push(format!("{series}: {}", check.said()));
        }
    }
    let half = v.vault1.must(&["sh", "-c", "ls -A /srv/backups/.tmp"])?;
    if !half.trim().is_empty() {
        wrong.push(format!("halves are left: {half}"));
    }
    if !wrong.is_empty() {
        wrong.push(v.journal());
    }
    all_held("a killed vault", &wrong)
}

#[test]
fn a_full_disk_refuses_and_the_next_run_succeeds() -> Result<()> {
    let v = Vaulted::up("vfull", Some(96))?;
    repository_on(&v.web1, 24)?;
    let view = v.must_bring("web1/web1/server", "/root/repo")?;
    v.vault1.must(&[
        "sh",
        "-c",
        "cd /srv/backups && dd if=/dev/zero of=.filler bs=1M 2>/dev/null; sync; df . | tail -1",
    ])?;
    let refused = v.bring("bakery/web1/server", "/root/repo", None)?;
    let mut wrong = Vec::new();
    if refused.ok() || !refused.said().contains("NoRoom") {
        wrong.push(format!("with a full disk: {}", refused.said()));
    }
    let check = v.restic(&v.web1, &view, &["check", "--read-data"])?;
    if !check.ok() {
        wrong.push(format!("what was there is read all the same: {}", check.said()));
    }
    let alive = v.vault1.must(&["systemctl", "is-active", "tenure-vault"])?;
    if alive.trim() != "active" {
        wrong.push(format!("it is {alive}"));
    }
    v.vault1.must(&["rm", "/srv/backups/.filler"])?;
    let view = v.must_bring("bakery/web1/server", "/root/repo")?;
    let check = v.restic(&v.web1, &view, &["check", "--read-data"])?;
    if !check.ok() {
        wrong.push(format!("with room again: {}", check.said()));
    }
    if !wrong.is_empty() {
        wrong.push(v.journal());
    }
    all_held("a full disk", &wrong)
}

#[test]
fn a_disk_that_is_not_mounted_is_not_a_new_store() -> Result<()> {
    let v = Vaulted::up("vmount", Some(96))?;
    repository_on(&v.web1, 24)?;
    let view = v.must_bring("web1/web1/server", "/root/repo")?;
    // Bound elsewhere the disk lives on: the lab's loop device ends with its last mount.
    let away = "systemctl stop tenure-vault && mkdir /mnt/kept && mount --bind /srv/backups /mnt/kept && umount /srv/backups";
    v.vault1.must(&["sh", "-c", away])?;
    let mut wrong = Vec::new();
    for owner in ["root", "tenure-vault"] {
        let asked = || -> u32 {
            let count = v.vault1.sh("journalctl -u tenure-vault --no-pager | grep -c 'is the disk mounted?'");
            count.ok().and_then(|o| o.stdout.trim().parse().ok()).unwrap_or(0)
        };
        let before = asked();
        v.vault1.must(&[
            "sh",
            "-c",
            &format!("chown {owner} /srv/backups && systemctl start tenure-vault"),
        ])?;
        wait_for("the vault to ask for its disk", SOON, || asked() > before)
            .map_err(|why| format!("below a directory of {owner}: {why}\n{}", v.journal()))?;
        let made = v.vault1.must(&["ls", "-A", "/srv/backups"])?;
        if !made.trim().is_empty() {
            wrong.push(format!("made in the mount point of {owner}: {made}"));
        }
    }
    v.vault1.must(&["mount", "--bind", "/mnt/kept", "/srv/backups"])?;
    // By itself, as soon as the disk is there.
    v.await_port()?;
    let check = v.restic(&v.web1, &view, &["check", "--read-data"])?;
    if !check.ok() {
        wrong.push(format!("mounted again: {}", check.said()));
    }
    if !wrong.is_empty() {
        wrong.push(v.journal());
    }
    all_held("a store whose disk is away", &wrong)
}
