//! Events of backups over restarts of the agent, whenever the one before ended or was killed.

use std::sync::Arc;

use serde_json::json;
use tenure_areas::backup::facts::{Remembered, Since};
use tenure_areas::backup::{LEDGER, Scheduled};
use tenure_areas::fake::FakeHost;
use tenure_areas::pass::{Verdict, pass};
use tenure_policy::resolved::{HostPolicy, Mode};
use tenure_trust::{About, SeriesId};

use super::*;
use crate::bell::Reason;
use crate::board::AreaStatus;
use crate::lane::Lane;
use crate::lane::tests::{Bench, policy};

/// At noon: the server set of 11:00 is due, the nightly one of 03:30 was missed.
fn backed_up() -> HostPolicy {
    let series = |set: &str, at: &str| json!({ "series": series(set), "at": [at], "paths": ["/srv"], "exclude": [], "dumps": [] });
    let mut written = serde_json::to_value(policy()).expect("plain data");
    written["modes"]["backup"] = json!("enforce");
    written["backup"] = json!({
        "series": [series("server", "11:00"), series("nightly", "03:30")],
        "vaults": { "vault1": { "host": "vault1", "addresses": [], "port": 8022 } },
        "databases": {}, "catch_up_seconds": 14400, "ring": "weekday", "keys": "keep-with-copy",
        "upload_bytes_per_second": null, "recipients": ["age1a", "age1b"], "drill": null
    });
    serde_json::from_value(written).expect("a policy")
}

fn series(set: &str) -> SeriesId {
    let series = json!({ "vault": "vault1", "host": "web1", "owner": "host", "set": set });
    serde_json::from_value(series).expect("a series")
}

/// A host that had this policy since midnight.
fn host() -> Arc<FakeHost> {
    let fake = FakeHost::debian();
    let since = |set| Since { series: series(set), since: "2026-11-22T00:00:00Z".parse().expect("a time") };
    let memory = Remembered { since: vec![since("nightly"), since("server")], slots: Vec::new() };
    fake.write_as(LEDGER, serde_json::to_vec(&memory).expect("plain data"), 0, 0o600);
    Arc::new(fake)
}

/// One life of an agent: it starts, makes a pass or two, and ends.
fn life(fake: &Arc<FakeHost>, dir: &Arc<tempfile::TempDir>) -> AreaStatus {
    let bench = Bench::with(fake.clone(), dir.clone(), backed_up());
    let lane = Lane::start(Area::Backup, bench.tools.clone()).expect("a thread");
    let status = bench.pass(&lane, Reason::Start);
    bench.pass(&lane, Reason::Operator);
    drop(bench.end(lane));
    status
}

/// The names of all events of backups in the chain, the newest last.
fn told(dir: &tempfile::TempDir) -> Vec<String> {
    let records =
        tenure_link::newest_first(dir.path()).expect("a chain").map(|one| one.expect("whole").0.about);
    let event = |about| match about {
        About::Event(name) => Some(name.to_string()),
        About::Area(_) => None,
    };
    let mut names: Vec<String> = records.filter_map(event).collect();
    names.reverse();
    names
}

fn dir() -> Arc<tempfile::TempDir> {
    Arc::new(tempfile::tempdir_in("/run").expect("root's directory"))
}

#[test]
fn what_ended_while_no_agent_ran_is_told_once() {
    let (fake, dir) = (host(), dir());
    life(&fake, &dir);
    assert_eq!(told(&dir), ["backup_missed"], "it is found in the very first pass");
    assert!(fake.end_job(None), "the job outlives its agent");
    life(&fake, &dir);
    assert_eq!(told(&dir), ["backup_missed", "backup_sealed"]);
    life(&fake, &dir);
    assert_eq!(told(&dir), ["backup_missed", "backup_sealed"]);
    // The host was off over two slots.
    fake.advance_ms(28 * 3_600_000);
    fake.reboot();
    life(&fake, &dir);
    assert_eq!(told(&dir), ["backup_missed", "backup_sealed", "backup_missed", "backup_missed"]);
}

#[test]
fn an_agent_killed_before_it_recorded_what_it_remembers_leaves_that_to_the_next() {
    let (fake, dir) = (host(), dir());
    life(&fake, &dir);
    fake.end_job(Some("no vault"));
    // The pass of an agent that was killed before anything of it reached the chain.
    let desired = Scheduled::of(&backed_up()).expect("a section");
    let report = pass::<Backup>(&desired, Mode::Enforce, &*fake, &*fake, &|| fake.now());
    assert!(
        String::from_utf8_lossy(&fake.content(LEDGER).expect("a memory")).contains("no vault"),
        "{report:?}"
    );
    life(&fake, &dir);
    assert_eq!(told(&dir), ["backup_missed", "backup_failed"]);
}

#[test]
fn an_agent_killed_between_an_event_and_its_report_leaves_no_second_event() {
    let (fake, dir) = (host(), dir());
    life(&fake, &dir);
    fake.end_job(None);
    life(&fake, &dir);
    let segments = std::fs::read_dir(dir.path().join("chain")).expect("a chain");
    let segments: Vec<_> = segments.map(|one| one.expect("an entry").path()).collect();
    let [segment] = segments.as_slice() else { panic!("{segments:?}") };
    let text = std::fs::read_to_string(segment).expect("lines");
    let mut lines: Vec<&str> = text.split_inclusive('\n').collect();
    let is_event = |line: &&str| {
        let line = tenure_trust::ExportLine::parse(line.trim_end().as_bytes()).expect("a line");
        line.unverified().expect("a record").about.to_string() == "backup_sealed"
    };
    let last = lines.iter().rposition(is_event).expect("it was told");
    assert!(last + 1 < lines.len(), "its report follows");
    lines.truncate(last + 1);
    std::fs::write(segment, lines.concat()).expect("written");
    life(&fake, &dir);
    assert_eq!(told(&dir), ["backup_missed", "backup_sealed"]);
}

#[test]
fn a_memory_that_cannot_be_read_or_is_gone_floods_nothing() {
    let (fake, dir) = (host(), dir());
    life(&fake, &dir);
    fake.end_job(None);
    life(&fake, &dir);
    let known = told(&dir);
    fake.write_as(LEDGER, "{", 0, 0o600);
    assert_eq!(life(&fake, &dir).verdict, Verdict::Unknown);
    fake.delete(LEDGER);
    life(&fake, &dir);
    assert_eq!(told(&dir), known, "its files are there still, and what they say was told");
    // Without a chain and without a memory nothing is news.
    fake.delete(LEDGER);
    let other = self::dir();
    life(&fake, &other);
    assert_eq!(told(&other), [""; 0]);
}
