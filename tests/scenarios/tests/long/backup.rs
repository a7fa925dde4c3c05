//! Backups from a host with a real database to a vault on another: made by hand and by schedule, read by stock restic,
//! restored, drilled, and opened elsewhere when the host is gone.

use age::secrecy::ExposeSecret;
use age::x25519::Identity;
use serde_json::Value;
use tenure_scenarios::vaulted::{KNOWN, PORT, RECOVERY, VAULT, Vaulted};
use tenure_scenarios::{Result, all_held, copies, planted};

use crate::busy::Busy;
use crate::told;

const OWN: &str = "web1/web1/server";
const TENANT: &str = "client/web1/nightly";

fn word<'v>(value: &'v Value, name: &str) -> &'v str {
    value[name].as_str().unwrap_or_default()
}

fn of<'r>(ran: &'r [Value], series: &str) -> &'r Value {
    ran.iter().find(|one| one["series"] == series).unwrap_or(&Value::Null)
}

/// `2026-11-25.1` of a sealed run.
fn generation(one: &Value) -> String {
    let id = &one["sealed"]["generation"];
    format!("{}.{}", word(id, "date"), id["number"])
}

#[test]
fn copies_are_made_read_restored_drilled_and_recovered() -> Result<()> {
    let (ours, other) = (Identity::generate(), Identity::generate());
    let recipients = [&ours, &other].map(|id| id.to_public().to_string());
    let mut v = Vaulted::up("backup", &recipients, None)?;
    v.fleet.start_agent()?;
    let web1 = v.fleet.web1.clone();
    planted::plant(&web1)?;
    let mut wrong: Vec<String> = Vec::new();
    let mut holds = |what: &str, held: bool, said: &str| {
        if !held {
            wrong.push(format!("{what}: {said}"));
        }
    };

    let ran = v.must_run(&[])?;
    holds("every series of the host and the tenant", ran.len() == 4, &format!("{ran:#?}"));
    let (own, tenant) = (generation(of(&ran, OWN)), generation(of(&ran, TENANT)));
    for (series, generation) in [(OWN, &own), (TENANT, &tenant)] {
        let check = v.restic(series, generation, &["check", "--read-data"])?;
        holds(
            "restic check --read-data",
            check.ok() && check.said().contains("no errors were found"),
            &check.said(),
        );
    }
    let restored = v.restic(TENANT, &tenant, &["restore", "latest", "--target", "/back"])?;
    holds("restic restores the tenant's", restored.ok(), &restored.said());
    let same = web1.sh("diff -r --no-dereference -x pipe /srv/app/client /back/srv/app/client \
         && list() { cd $1 && find . -printf '%P %y %m %u %g %l %T@\\n' | sort; } \
         && [ \"$(list /srv/app/client)\" = \"$(list /back/srv/app/client)\" ]")?;
    holds("byte for byte, with owners, modes and times", same.ok(), &same.said());
    let listed = v.restic(OWN, &own, &["ls", "latest"])?;
    let theirs = listed.stdout.lines().any(|line| line.starts_with("/srv/app/client/"));
    holds("the host's own copy", listed.stdout.contains("/srv/app/shared/page-200"), &listed.said());
    holds("has nothing of the tenant's files", !theirs, &listed.said());
    // A dump holds its owner's schema and no other.
    let dumped = "cd / && for of in own tenant; do pg_restore -l /dump-$of > /list-$of; done; cat /list-own; echo =; cat /list-tenant";
    for (series, generation, file) in [(OWN, &own, "/dump-own"), (TENANT, &tenant, "/dump-tenant")] {
        let target = format!("{file}-tree");
        let out = v.restic(
            series,
            generation,
            &["restore", "latest", "--target", &target, "--include", "/tenure-dumps"],
        )?;
        holds("restic restores the dump", out.ok(), &out.said());
        web1.must(&["cp", &format!("{target}/tenure-dumps/main.pgdump"), file])?;
    }
    let lists = web1.sh(dumped)?;
    let (own_list, tenant_list) = lists.stdout.split_once("\n=\n").unwrap_or_default();
    holds("the host's dump", own_list.contains("orders") && !own_list.contains("odd Name"), own_list);
    holds(
        "the tenant's dump",
        tenant_list.contains("odd Name") && !tenant_list.contains("orders"),
        tenant_list,
    );

    // A second run of the day goes into the same generation and sends little.
    web1.must(&["sh", "-c", "echo changed > /srv/app/shared/page-7"])?;
    let again = v.must_run(&["server"])?;
    holds("the same generation", generation(of(&again, OWN)) == own, &format!("{again:#?}"));
    let snapshots = v.restic(OWN, &own, &["snapshots", "--json"])?;
    let count =
        serde_json::from_str::<Vec<Value>>(&snapshots.stdout).map(|all| all.len()).unwrap_or_default();
    holds("two snapshots", count == 2, &snapshots.said());
    let listed = v.fleet.agent_json(&["backup", "list"])?;
    holds("list tells them all", listed.as_array().is_some_and(|all| all.len() == 6), &listed.to_string());

    // Our own restore: the newest, the one before, a part; never into a directory with something in it.
    let first = word(&of(&ran, OWN)["sealed"], "snapshot").to_owned();
    for (to, words, expected) in
        [("/r1", vec![], "changed"), ("/r2", vec!["--snapshot", &first[..8]], "page 7")]
    {
        let line =
            [&["backup", "restore", OWN, "--to", to, "--path", "/srv/app/shared"], &words[..]].concat();
        let output = v.fleet.agent(&line)?;
        let page = web1.get(&format!("{to}/srv/app/shared/page-7")).unwrap_or_default();
        holds(&format!("restore {words:?}"), output.ok() && page.trim() == expected, &output.said());
    }
    let refused = v.fleet.agent(&["backup", "restore", OWN, "--to", "/srv"])?;
    holds(
        "a directory that is not empty",
        !refused.ok() && refused.said().contains("not empty"),
        &refused.said(),
    );

    // What is dumped changes meanwhile: rows are counted in the dump's own snapshot, or the drill finds others.
    let busy = Busy::on(&web1)?;
    let before = busy.rows()?;
    v.must_run(&["nightly"])?;
    let after = busy.calm()?;
    let drill = v.fleet.web1.exec_fed(&["tenure-agent", "backup", "drill", "--json"], None, 300)?;
    let facts: Vec<Value> = serde_json::from_str(&drill.stdout).unwrap_or_default();
    let held = facts.len() == 2 && facts.iter().all(|fact| fact["held"] == true);
    holds("drills hold", drill.ok() && held, &drill.said());
    let rows = facts.iter().find(|fact| fact["dump"]["series"]["owner"] != "host");
    let rows = rows.and_then(|fact| fact["rows"].as_u64()?.checked_sub(4000)).unwrap_or_default();
    let between = before <= rows && rows <= after && before < after;
    holds("with every row", between, &format!("{before}, {rows}, {after}: {}", drill.said()));
    let left = web1.sh("ls -d /var/lib/tenure-drill/* /var/lib/tenure/spool/*; pgrep -u tenure-drill")?;
    holds("a drill and a run leave nothing behind", left.stdout.is_empty(), &left.said());
    all_held("copies", &wrong)?;
    planted::no_strike(&web1)?;
    planted::strikes(&web1)?;
    trapped(&v)?;

    caught_up(&mut v)?;
    recovered(&v, &ours, &tenant)?;
    records(&v)
}

/// What a dump brings along runs in the drill and reaches nothing of the host; without the account there is no drill.
fn trapped(v: &Vaulted) -> Result<()> {
    let web1 = &v.fleet.web1;
    planted::trap(web1)?;
    v.must_run(&[])?;
    let drill = |expected: &str| -> Result<()> {
        let drill = web1.exec_fed(&["tenure-agent", "backup", "drill", "--json"], None, 300)?;
        let told = !drill.ok() && drill.said().contains(expected);
        if told { Ok(()) } else { Err(format!("{expected}: {}", drill.said()).into()) }
    };
    // A row of `reached` beside `ran` is something that it reached.
    drill("1 differences: client.reached: 0 dumped, 1 restored")?;
    planted::no_strike(web1)?;
    let left = web1.sh("ls -d /var/lib/tenure-drill/* /var/lib/tenure/spool/*; pgrep -u tenure-drill")?;
    if !left.stdout.is_empty() {
        return Err(format!("left by the drill: {}", left.said()).into());
    }
    web1.must(&["usermod", "--append", "--groups", "postgres", "tenure-drill"])?;
    drill("it is a member of further groups")?;
    web1.must(&["userdel", "tenure-drill"])?;
    drill("there is no such account")?;
    Ok(())
}

/// The host is gone: its tenant's copy is opened and restored elsewhere, with an offline identity and the recovery key.
fn recovered(v: &Vaulted, ours: &Identity, generation: &str) -> Result<()> {
    let office = &v.fleet.office;
    let expected =
        v.fleet.web1.must(&["sh", "-c", "cd /srv/app/client && sha256sum deep/photo 'näme with space'"])?;
    v.fleet.web1.kill()?;
    office.put("/root/marit.age", format!("{}\n", ours.to_string().expose_secret()).as_bytes(), "600")?;
    let view = format!("/{TENANT}/{generation}@last-seal");
    let vault = format!("{VAULT}:{PORT}");
    let common = [
        "tenure",
        "recover",
        &view,
        "--identity",
        "/root/marit.age",
        "--vault",
        &vault,
        "--ssh-key",
        RECOVERY,
        "--known-hosts",
        KNOWN,
        "--out",
        "/root/password",
        "--json",
    ];
    let said: Value = serde_json::from_str(&office.must(&common)?)?;
    let fetch = said["fetch"][0].as_str().unwrap_or_default().to_owned();
    let fetched = office.sh(&format!("cd /root && {fetch}"))?;
    if !fetched.ok() {
        return Err(format!("{fetch}: {}\n{}", fetched.said(), v.vault_journal()).into());
    }
    let opened = [&common[..], &["--escrow", "/root/escrow.age"]].concat();
    let asked = office.exec(&opened)?;
    if asked.ok() || !asked.said().contains("--seals, --root and --admissions are needed") {
        return Err(format!("nobody believes the vault unasked: {}", asked.said()).into());
    }
    let said: Value = serde_json::from_str(&office.must(&[&opened[..], &["--believe-vault"]].concat())?)?;
    let restic = said["restic"].as_str().unwrap_or_default();
    let restored =
        office.sh(&format!("cd /root && HOME=/root {restic} restore latest --target /recovered"))?;
    let found = office.sh("cd /recovered/srv/app/client && sha256sum deep/photo 'näme with space'")?;
    v.fleet.web1.start()?;
    match restored.ok() && found.stdout == expected {
        true => Ok(()),
        false => Err(format!("{restic}: {}\n{}", restored.said(), found.said()).into()),
    }
}

/// There is no agent when the nightly slots' time comes: the one that is started later fills them.
fn caught_up(v: &mut Vaulted) -> Result<()> {
    let at = v.coming(Vaulted::renew)?;
    let web1 = v.fleet.web1.clone();
    web1.must(&["systemctl", "stop", "tenure-agent"])?;
    v.passed(&at, 1)?;
    let filled = copies::filled(&web1, &at);
    assert!(filled.is_empty(), "nobody was there: {filled:?}");
    web1.must(&["systemctl", "start", "tenure-agent"])?;
    v.filled(&at)
}

/// Everything stands in the host's records, once for each slot and each drill.
fn records(v: &Vaulted) -> Result<()> {
    let told = told::once(v)?;
    let count = |what: &str| told.iter().filter(|one| one.starts_with(what)).count();
    let (sealed, drilled) = (count("backup_sealed "), count("drill_done "));
    assert!(sealed >= 4 && drilled >= 1, "sealed {sealed}, drills {drilled}: {told:#?}");
    Ok(())
}
