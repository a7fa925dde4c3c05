//! Copies as a host makes them when their time comes, and as stock restic reads them with the host's own key.

use serde_json::Value;
use tenure_lab::{Host, Output};
use tenure_trust::SeriesId;

use crate::Result;
use crate::vaulted::{KNOWN, VAULT};

/// The zone of the lab's policies.
pub const AMSTERDAM: &str = "Europe/Amsterdam";
/// From this hour on midnight may come before a test ends.
const LATE: u32 = 22;

/// A zone in which a day does not end within the next two hours: Amsterdam, and late in its evening another one. What
/// is counted by the day stays countable while a test runs.
///
/// # Errors
/// When the lab fails.
pub fn zone(host: &Host) -> Result<&'static str> {
    let hour: u32 = host.must(&["env", &format!("TZ={AMSTERDAM}"), "date", "+%H"])?.trim().parse()?;
    Ok(if hour < LATE { AMSTERDAM } else { "America/New_York" })
}

/// The minute of a zone, `HH:MM`, in which this many seconds from now will be.
///
/// # Errors
/// When the lab fails.
pub fn coming(host: &Host, zone: &str, seconds: u32) -> Result<String> {
    let ahead = format!("+{seconds} seconds");
    let at = host.must(&["env", &format!("TZ={zone}"), "date", "-d", &ahead, "+%H:%M"])?;
    Ok(at.trim().to_owned())
}

/// Is it this many seconds after a minute of today in a zone?
#[must_use]
pub fn passed(host: &Host, zone: &str, at: &str, seconds: u32) -> bool {
    let line = "test $(date +%s) -ge $(( $(date -d \"$1\" +%s) + $2 ))";
    let words = ["env", &format!("TZ={zone}"), "sh", "-c", line, "sh", at, &seconds.to_string()];
    host.exec(&words).is_ok_and(|output| output.ok())
}

/// A slot of the schedule that holds a copy, as the host knows it.
#[derive(Debug, Clone)]
pub struct Filled {
    /// `OWNER/HOST/SET`.
    pub series: String,
    /// `2026-11-25.1`.
    pub generation: String,
    /// Hash of the vault's receipt.
    pub receipt: String,
}

/// The slots of the schedule at this time of day for which the host holds receipts.
#[must_use]
pub fn filled(host: &Host, at: &str) -> Vec<Filled> {
    let ledger = host.get("/var/lib/tenure/backup/ledger.json").unwrap_or_default();
    let ledger: Value = serde_json::from_str(&ledger).unwrap_or_default();
    let slots = ledger["slots"].as_array().cloned().unwrap_or_default();
    let read = |slot: Value| {
        let (id, sealed) = (&slot["slot"], &slot["state"]["sealed"]);
        let series = serde_json::from_value::<SeriesId>(id["series"].clone()).ok()?.path();
        let made = (&sealed["generation"]["date"], &sealed["generation"]["number"]);
        let generation = format!("{}.{}", made.0.as_str()?, made.1.as_u64()?);
        let receipt = sealed["receipt"].as_str()?.to_owned();
        (id["manual"] == false && id["at"] == at).then_some(Filled { series, generation, receipt })
    };
    slots.into_iter().filter_map(read).collect()
}

/// Stock restic with a series' view, as a host can: its own admitted key, and the password that stands on it.
///
/// # Errors
/// When the lab fails.
pub fn restic(host: &Host, port: &str, series: &str, generation: &str, words: &[&str]) -> Result<Output> {
    let ssh = format!(
        "sftp.command=ssh -i /var/lib/tenure/ssh.key -p {port} -o UserKnownHostsFile={KNOWN} -o BatchMode=yes \
         tenure@{VAULT} -s sftp"
    );
    let repository = format!("sftp:tenure@{VAULT}:/{series}/{generation}@last-seal");
    let password = format!("/var/lib/tenure/keys/{series}/{generation}/password");
    let place = ["-o", &ssh, "-r", &repository, "--password-file", &password];
    let first = ["env", "HOME=/root", "restic", "--no-cache"];
    Ok(host.exec_fed(&[&first[..], &place, words].concat(), None, 300)?)
}
