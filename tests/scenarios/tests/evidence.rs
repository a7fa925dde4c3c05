//! What passes leave is signed and chained; `tenure verify` checks an export with the public key alone.

use serde_json::Value;
use tenure_scenarios::operator::DESK;
use tenure_scenarios::{Fleet, Result, all_held};
use tenure_trust::record::{About, ExportLine, VerdictTag};

/// Exports web1's chain and carries it with the public key to the operator's desk.
fn export(fleet: &Fleet, name: &str) -> Result<Vec<String>> {
    let path = format!("/root/{name}");
    let exported = fleet.agent(&["evidence", "export", "--out", &path])?;
    assert!(exported.ok(), "{}", exported.said());
    let chain = fleet.web1.get(&path)?;
    let key = fleet.agent(&["--quiet", "identity"])?;
    fleet.office.put(&format!("{DESK}/{name}"), chain.as_bytes(), "644")?;
    fleet.office.put(&format!("{DESK}/web1.pub"), key.stdout.as_bytes(), "644")?;
    Ok(chain.lines().map(str::to_owned).collect())
}

#[test]
fn a_whole_chain_verifies_and_a_planted_change_is_named() -> Result<()> {
    let fleet = Fleet::enforced("evidence", Fleet::usual)?;
    for _ in 0..3 {
        fleet.web1.must(&["nft", "flush", "ruleset"])?;
        fleet.await_rest()?;
    }
    let lines = export(&fleet, "chain")?;
    restored_flushes_stand_in_it(&lines)?;
    no_person_stands_in_it(&fleet, &lines)?;
    let whole = fleet.tenure(&["verify", "chain", "--key", "web1.pub"])?;
    assert!(whole.ok() && whole.stdout.contains("whole"), "{}", whole.said());

    let middle = lines.len() / 2;
    let spoilt = |name: &str, changed: Vec<String>| -> Result<Option<String>> {
        fleet.office.put(&format!("{DESK}/{name}"), (changed.join("\n") + "\n").as_bytes(), "644")?;
        let output = fleet.tenure(&["verify", name, "--key", "web1.pub", "--json"])?;
        let json: Value = serde_json::from_str(&output.stdout)?;
        let places: Vec<u64> = json["report"]["findings"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|f| f["line"].as_u64())
            .collect();
        let near = places.iter().any(|line| line.abs_diff(middle as u64 + 1) <= 1);
        let told = output.status == 1 && json["clean"] == false && near;
        Ok((!told).then(|| format!("{name}: status {} {json:#}", output.status)))
    };
    let mut wrong = Vec::new();
    let with = |at: usize, line: String| {
        let mut changed = lines.clone();
        changed[at] = line;
        changed
    };
    wrong.extend(spoilt("byte", with(middle, one_digit_changed(&lines[middle])))?);
    let mut gap = lines.clone();
    gap.remove(middle);
    wrong.extend(spoilt("gap", gap)?);
    let mut swapped = lines.clone();
    swapped.swap(middle, middle + 1);
    wrong.extend(spoilt("order", swapped)?);
    wrong.extend(spoilt("twice", with(middle, lines[middle - 1].clone()))?);
    wrong.extend(spoilt("garbage", with(middle, "{".to_owned()))?);
    all_held("a planted change is found and its place named", &wrong)?;

    // Another host's key verifies nothing of it.
    fleet.make_operator("other", "lab")?;
    let foreign = fleet.tenure(&["verify", "chain", "--key", "other.pub"])?;
    assert_eq!(foreign.status, 1, "{}", foreign.said());
    Ok(())
}

/// Of the three flushes at least one has a record of its own (the others may have come before it was written): what was
/// mended, when, and by which process.
fn restored_flushes_stand_in_it(lines: &[String]) -> Result<()> {
    let mut seen = Vec::new();
    for line in &lines[1..] {
        let line = ExportLine::parse(line.as_bytes())?;
        let record = line.unverified()?;
        if matches!(&record.about, About::Area(area) if area.as_str() == "firewall") {
            let payload = line.payload.as_ref().ok_or("a record without its payload")?;
            let report: Value = serde_json::from_slice(payload.bytes())?;
            seen.push((record.verdict, report["mended"].clone()));
        }
    }
    let flushed = |mended: &Value| {
        mended.as_array().into_iter().flatten().any(|finding| {
            finding["by"]["comm"] == "nft"
                && finding["by"]["pid"].as_u64().is_some_and(|pid| pid > 1)
                && !finding["at"].is_null()
        })
    };
    let told =
        seen.iter().any(|(verdict, mended)| *verdict == Some(VerdictTag::Remediated) && flushed(mended));
    assert!(told, "no record says who flushed the ruleset: {seen:#?}");
    Ok(())
}

/// The chain has commitments: what may have to be deleted, names, accounts, addresses and keys, stands in the payloads alone.
fn no_person_stands_in_it(fleet: &Fleet, lines: &[String]) -> Result<()> {
    let print =
        fleet.office.must(&["ssh-keygen", "-lf", &format!("{}.pub", tenure_scenarios::fleet::MARIT)])?;
    let print = print.split_whitespace().nth(1).ok_or("ssh-keygen shows no fingerprint")?;
    let (mut records, mut payloads) = (String::new(), String::new());
    for line in &lines[1..] {
        let line = ExportLine::parse(line.as_bytes())?;
        records += &serde_json::to_string(&line.unverified()?)?;
        let payload = line.payload.as_ref().ok_or("a record without its payload")?;
        payloads += std::str::from_utf8(payload.bytes())?;
    }
    let mut wrong = Vec::new();
    for word in ["marit", "admin", "203.0.113.9", "2001:db8:10::9", print] {
        if records.contains(word) {
            wrong.push(format!("{word} stands in the chain itself"));
        }
        if !payloads.contains(word) {
            wrong.push(format!("{word} stands in no payload: its absence would prove nothing"));
        }
    }
    all_held("no personal data in the chain", &wrong)
}

#[test]
fn the_chain_goes_on_over_restarts_power_loss_and_repeats_nothing() -> Result<()> {
    let fleet = Fleet::up("chain")?;
    // The lab's root is mounted volatile: only on a disk of its own does fsync count.
    fleet.web1.disk("/var/lib/tenure", 64)?;
    fleet.web1.must(&["chmod", "700", "/var/lib/tenure"])?;
    fleet.enforce(&fleet.usual())?;
    let first = export(&fleet, "first")?.len();
    fleet.web1.must(&["systemctl", "kill", "-s", "KILL", "tenure-agent"])?;
    fleet.web1.must(&["systemctl", "restart", "tenure-agent"])?;
    fleet.await_rest()?;
    fleet.web1.kill()?;
    fleet.web1.start()?;
    tenure_lab::wait_for("the agent after a power loss", tenure_scenarios::agent::SOON, || {
        fleet.agent_json(&["status"]).is_ok()
    })?;
    fleet.await_rest()?;
    let last = export(&fleet, "last")?;
    assert!(last.len() > first, "{first} then {}", last.len());
    let output = fleet.tenure(&["verify", "last", "--key", "web1.pub"])?;
    assert!(output.ok(), "{}", output.said());
    Ok(())
}

#[test]
fn no_secret_is_in_an_export() -> Result<()> {
    let fleet = Fleet::enforced("secrets", Fleet::usual)?;
    let text = export(&fleet, "chain")?.join("\n");
    let secret = fleet.web1.get("/var/lib/tenure/identity.key")?;
    let words: Vec<&str> = secret.split_whitespace().filter(|word| word.len() > 30).collect();
    assert!(!words.is_empty(), "the host's secret key was not read");
    for word in words {
        assert!(!text.contains(word), "the host's secret key is in the export");
    }
    let hashes = fleet.web1.must(&["sh", "-c", "cut -d: -f2 /etc/shadow | grep '^\\$'"])?;
    assert!(!hashes.trim().is_empty(), "no password's hash was read");
    for hash in hashes.lines() {
        assert!(!text.contains(hash), "a password's hash");
    }
    Ok(())
}

/// What the records of logins say, oldest first.
fn on_logins(fleet: &Fleet) -> Result<Vec<Value>> {
    fleet.web1.must(&["rm", "-f", "/root/flood"])?;
    let mut reports = Vec::new();
    // The first line is the header.
    for line in export(fleet, "flood")?.iter().skip(1) {
        let line = ExportLine::parse(line.as_bytes())?;
        if matches!(line.unverified()?.about, About::Area(area) if area.as_str() == "ssh_access") {
            let payload = line.payload.as_ref().ok_or("a record without its payload")?;
            reports.push(serde_json::from_slice(payload.bytes())?);
        }
    }
    Ok(reports)
}

#[test]
fn who_owns_a_watched_file_cannot_fill_the_chain() -> Result<()> {
    let fleet = Fleet::enforced("flood", Fleet::usual)?;
    let home = "/home/admin/.ssh/authorized_keys";
    let public = fleet.office.get(&format!("{}.pub", tenure_scenarios::fleet::UNKNOWN))?;
    let looked_after = |change: &str| -> Result<()> {
        let passes = |area: &Value| area["passes"].as_u64().unwrap_or_default();
        let before = passes(&fleet.area("ssh_access"));
        fleet.web1.must(&["su", "-s", "/bin/sh", "admin", "-c", change])?;
        fleet.await_area("ssh_access", "a pass", |area| passes(area) > before).map(drop)
    };
    fleet.web1.must(&["sh", "-c", "chown -R admin /home/admin/.ssh"])?;
    looked_after(&format!("echo '{}' >>{home}", public.trim()))?;
    fleet.await_area("ssh_access", "the planted key", |area| {
        area["findings"].to_string().contains("unmanaged-key")
    })?;
    let before = on_logins(&fleet)?.len();
    for day in 1..=6 {
        looked_after(&format!("touch -d 2026-01-0{day} {home}"))?;
    }
    assert_eq!(on_logins(&fleet)?.len(), before, "a touch is no news");

    // Now every pass sees something new: another line, another finding.
    for number in 0..45 {
        looked_after(&format!("seq {number} >{home}; echo '{}' >>{home}", public.trim()))?;
    }
    let reports = on_logins(&fleet)?;
    let count = reports.len() - before;
    assert!(count < 40, "{count} records of 45 changes");
    let held = |report: &&Value| report["findings"].to_string().contains("records-held-back");
    let held: Vec<_> = reports.iter().filter(held).collect();
    assert!(!held.is_empty(), "what was held back is said: {:#?}", reports.last());
    assert!(
        held.iter().any(|report| report["mended"].to_string().contains("unmanaged-key")),
        "and what was seen meanwhile: {held:#?}"
    );
    Ok(())
}

/// The same line with the last digit of its payload's bytes another one: still JSON.
fn one_digit_changed(line: &str) -> String {
    let mut bytes = line.as_bytes().to_vec();
    let at = bytes.iter().rposition(u8::is_ascii_digit).unwrap_or_default();
    bytes[at] = if bytes[at] == b'1' { b'2' } else { b'1' };
    String::from_utf8_lossy(&bytes).into_owned()
}
