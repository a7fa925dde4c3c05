//! A machine's chain from both sides: as it wrote it, and as the controller holds it.

use serde_json::Value;
use tenure_trust::{About, ExportLine};

use crate::Result;
use crate::controller::STATE;
use crate::fleet::Fleet;
use crate::operator::DESK;

/// A record of a chain: its number, its hash, its line.
pub type Line = (u64, String, String);

impl Fleet {
    /// What a machine has written.
    ///
    /// # Errors
    /// When it does not export it.
    pub fn own_chain(&self, machine: &str, role: &str) -> Result<Vec<Line>> {
        let program = program(role);
        let line = format!(
            "rm -f /root/chain && {program} -q evidence export --out /root/chain >/dev/null && cat /root/chain"
        );
        let text = self.lab.host(machine).must(&["sh", "-c", &line])?;
        text.lines().skip(1).map(read).collect()
    }

    /// The chain of a machine as the controller holds it, brought to marit's desk as `FILE`.
    ///
    /// # Errors
    /// When the controller does not give it.
    pub fn held_chain(&self, machine: &str, role: &str, file: &str) -> Result<Vec<Line>> {
        let login = "read -r password < password; printf '{\"user\":\"marit\",\"password\":\"%s\"}' \"$password\" \
                     | curl -sf --cacert ca.crt --data-binary @- https://198.51.100.20:8443/api/v1/login \
                     | python3 -c 'import json,sys; print(json.load(sys.stdin)[\"token\"])'";
        let ask = "curl -sf --cacert ca.crt -H \"Authorization: Bearer $session\" \
                   \"https://198.51.100.20:8443/api/v1/hosts/$1/export?role=$2\" > \"$3\" && cat \"$3\"";
        let line = format!("cd {DESK} && session=$({login}) && {ask}");
        let text = self.office.must(&["sh", "-c", &line, "sh", machine, role, file])?;
        text.lines().skip(1).map(read).collect()
    }

    /// What the controller holds of a chain is what the machine wrote, each line once and in order, and verifies with
    /// the machine's key alone; gives how many records that are.
    ///
    /// # Errors
    /// With the first line that differs.
    pub fn once_and_in_order(&self, machine: &str, role: &str) -> Result<usize> {
        let file = format!("{machine}-{role}.chain");
        let held = self.held_chain(machine, role, &file)?;
        let own = self.own_chain(machine, role)?;
        for ((seq, _, theirs), (number, (_, _, ours))) in held.iter().zip((1..).zip(&own)) {
            if *seq != number || theirs != ours {
                return Err(format!("{machine} as {role}: {number}: {theirs}\n{ours}").into());
            }
        }
        if held.len() > own.len() {
            return Err(format!("{machine} as {role}: {} of {} records", held.len(), own.len()).into());
        }
        let key = self.lab.host(machine).must(&[program(role), "-q", "identity"])?;
        let key = key.lines().next().unwrap_or_default();
        self.office.put(&format!("{DESK}/{machine}.pub"), format!("{key}\n").as_bytes(), "644")?;
        let said = self.tenure(&["verify", &file, "--key", &format!("{machine}.pub")])?;
        match said.ok() && said.stdout.contains("whole") {
            true => Ok(held.len()),
            false => Err(format!("{machine} as {role}: {}", said.said()).into()),
        }
    }

    /// Asks the controller's database, as whoever looks into it with a foreign tool: the first column of the first row.
    ///
    /// # Errors
    /// When the question is none.
    pub fn database(&self, question: &str) -> Result<String> {
        let ask = format!(
            "import sqlite3, sys; d = sqlite3.connect('file:{STATE}/controller.db?mode=ro', uri=True); \
             print(d.execute(sys.argv[1]).fetchone()[0])"
        );
        Ok(self.ctl1().must(&["python3", "-c", &ask, question])?.trim().to_owned())
    }
}

/// The payloads of the events of this name among records, in their order.
///
/// # Errors
/// When a line is no record.
pub fn events(lines: &[Line], name: &str) -> Result<Vec<Value>> {
    let mut found = Vec::new();
    for (_, _, line) in lines {
        let line = ExportLine::parse(line.as_bytes())?;
        let About::Event(event) = line.unverified()?.about else { continue };
        if event.as_str() == name {
            found.push(serde_json::from_slice(line.payload.as_ref().map_or(b"null", |p| p.bytes()))?);
        }
    }
    Ok(found)
}

fn program(role: &str) -> &'static str {
    if role == "vault" { "tenure-vault" } else { "tenure-agent" }
}

fn read(line: &str) -> Result<Line> {
    let parsed = ExportLine::parse(line.as_bytes())?;
    let record = parsed.unverified()?;
    Ok((record.seq.0, parsed.record.hash().to_string(), line.to_owned()))
}
