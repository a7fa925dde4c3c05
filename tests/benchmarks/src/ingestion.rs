//! How many reports the controller takes in: signed, over TLS with client certificates, on disk before the answer; the
//! machines that send run on the same cores.

use std::fs;
use std::path::PathBuf;

use serde_json::Value;
use tenure_lab::run;
use tenure_scenarios::Result;

use crate::{row, say};

/// Seconds of each row.
const SECONDS: &str = "5";
/// Seconds that the whole may take: signing the reports beforehand too.
const LIMIT: u32 = 300;

/// A directory that goes when the run ends. Beside this program: what is durable must lie on a disk.
struct Room(PathBuf);

impl Drop for Room {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Measures and prints.
pub(crate) fn ingestion() -> Result<()> {
    let here = std::env::current_exe()?;
    let beside = here.parent().ok_or("this program is nowhere")?;
    let driver = beside.join("examples/ingest");
    if !driver.is_file() {
        let missing = driver.display();
        return Err(format!(
            "{missing} is missing: cargo build --release -p tenure-controller --example ingest"
        )
        .into());
    }
    let room = Room(beside.join(format!("ingest-{}", std::process::id())));
    fs::create_dir_all(&room.0)?;
    say("");
    say(
        "The controller takes signed reports of 4 KiB in: 16 machines over TLS 1.3, the answer after the commit.",
    );
    let (driver, place) = (driver.display().to_string(), room.0.display().to_string());
    let output = run(&[&driver, &place, SECONDS], LIMIT)?;
    if !output.ok() {
        return Err(format!("ingest: {}", output.said()).into());
    }
    row(&["ingestion", "reports/s", "target"]);
    for line in output.stdout.lines() {
        let told: Value = serde_json::from_str(line)?;
        let lines = told["lines_of_a_request"].as_u64().unwrap_or_default();
        let what = match lines {
            1 => "each report by itself".to_owned(),
            _ => format!("{lines} reports a request, as after an outage"),
        };
        row(&[&what, &told["per_second"].to_string(), "≥ 5,000/s"]);
    }
    Ok(())
}
