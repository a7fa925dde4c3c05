//! What goes wrong while a copy is made: job, agent or vault killed at each step, the cable cut, a dump that is not whole, a
//! full disk. Each fault is seen to hit; the last accepted state restores byte for byte, and the next run succeeds.

use std::time::Duration;

use age::x25519::Identity;
use tenure_areas::backup::journal::RunStep;
use tenure_lab::wait_for;
use tenure_scenarios::Result;
use tenure_scenarios::agent::SOON;
use tenure_scenarios::half_dump::HalfDump;
use tenure_scenarios::vaulted::{RUN, STORE, Vaulted};

use crate::runs::{JOBS, Runs, SERIES, Stop, TRIES, count, starts};
use crate::told;

const SLOW: Duration = Duration::from_secs(240);

/// What has to come of a run whose process is killed at a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum After {
    /// Another process goes on with it and fills the slot.
    GoesOn,
    /// It is over: the slot is filled, and nothing begins with it again.
    Filled,
    /// The same, at a step that only comes when a copy has left the ring ([`week`]).
    FilledAWeekLater,
    /// It is over: it failed, and nothing begins with it again ([`half_a_dump`]).
    Failed,
}

macro_rules! steps {
    ($($step:ident $word:literal $after:ident,)+) => {
        /// Every step of a run, as its journal writes it.
        const STEPS: &[(&str, After)] = &[$(($word, After::$after)),+];
        /// A step that is new and is killed nowhere does not compile.
        pub(crate) fn word(step: &RunStep) -> &'static str {
            match step { $(RunStep::$step { .. } => $word,)+ }
        }
    };
}
steps! {
    Planned "planned" GoesOn,
    KeyMade "key_made" GoesOn,
    Opened "opened" GoesOn,
    Dumped "dumped" GoesOn,
    Stored "stored" GoesOn,
    SelfChecked "self_checked" GoesOn,
    SealSent "seal_sent" GoesOn,
    Receipted "receipted" Filled,
    Forgot "forgot" FilledAWeekLater,
    Failed "failed" Failed,
}

#[test]
fn whatever_breaks_the_last_copy_holds_and_the_next_run_succeeds() -> Result<()> {
    let recipients = [Identity::generate(), Identity::generate()].map(|id| id.to_public().to_string());
    let v = Vaulted::up("backup-faults", &recipients, Some(400))?;
    // On a disk of its own a line that is synced takes the time that it takes: the kill comes before the next.
    v.fleet.web1.disk(JOBS, 24)?;
    v.fleet.web1.must(&["chmod", "700", JOBS])?;
    v.fleet.start_agent()?;
    let mut runs = Runs::new(v)?;
    for (step, after) in STEPS {
        match after {
            After::GoesOn | After::Filled => job_killed(&mut runs, step, *after)?,
            After::Failed => half_a_dump(&mut runs, step)?,
            After::FilledAWeekLater => {}
        }
    }
    answer_lost(&mut runs)?;
    agent_killed(&mut runs)?;
    for point in &VAULT {
        vault_killed(&mut runs, point)?;
    }
    vault_gone(&mut runs)?;
    cable_cut(&mut runs)?;
    disk_full(&mut runs)?;
    for (series, _) in SERIES {
        runs.holds("after all of that", series)?;
    }
    let receipts = runs.nothing_lost()?;
    assert!(receipts > STEPS.len(), "{receipts} receipts");
    told::once(&runs.v)?;
    for (step, _) in STEPS.iter().filter(|(_, after)| *after == After::FilledAWeekLater) {
        week(&mut runs, step)?;
    }
    Ok(())
}

/// The job is killed when a step is its journal's last line.
fn job_killed(runs: &mut Runs, step: &str, after: After) -> Result<()> {
    let what = format!("the job killed at {step}");
    let (begun, held) = runs.stopped(Stop::Job(step))?;
    let lines = runs.lines(&begun.run)?;
    let last = lines.last().map(|line| word(&line.step));
    assert_eq!((last, starts(&lines)), (Some(step), 1), "{what}: {lines:#?}");
    held.kill()?;
    let lines = runs.sealed(&what, &begun)?;
    let again = if after == After::GoesOn { 2 } else { 1 };
    assert_eq!(starts(&lines), again, "{what}: {lines:#?}");
    let second = lines.iter().rposition(|line| line.step == RunStep::Planned).unwrap_or_default();
    if after == After::GoesOn {
        assert_eq!(
            word(&lines[second - 1].step),
            step,
            "{what}: what came between was not written: {lines:#?}"
        );
    }
    // What was brought before is not brought again.
    assert_eq!(count(&lines, |step| matches!(step, RunStep::Stored { .. })), 1, "{what}: {lines:#?}");
    assert_eq!(count(&lines, |step| matches!(step, RunStep::Receipted(_))), 1, "{what}: {lines:#?}");
    Ok(())
}

/// The job is killed when the vault has accepted its seal and has not answered: the next process gets the receipt.
fn answer_lost(runs: &mut Runs) -> Result<()> {
    let what = "a lost answer to the seal";
    for _ in 0..TRIES {
        let Some((begun, held)) = runs.stopped_after(Stop::Vault(JOURNAL, "\"seal\":"), "seal_sent")? else {
            continue;
        };
        let unit = format!("tenure-job-{}", begun.run);
        runs.v.fleet.web1.must(&["systemctl", "kill", "-s", "KILL", &unit])?;
        held.go_on()?;
        let lines = runs.sealed(what, &begun)?;
        if starts(&lines) == 1 {
            // The answer was on its way already.
            continue;
        }
        let sent = count(&lines, |step| matches!(step, RunStep::SealSent { .. }));
        assert_eq!((starts(&lines), sent), (2, 1), "{what}: {lines:#?}");
        return Ok(());
    }
    Err(format!("{what}: missed {TRIES} times").into())
}

/// The agent is killed before it has begun what it wrote down; while a job runs, which does not notice; and the agent that
/// is started then leaves that job alone.
fn agent_killed(runs: &mut Runs) -> Result<()> {
    let web1 = runs.v.fleet.web1.clone();
    let what = "the agent killed before the job";
    let (begun, held) = runs.stopped(Stop::Agent)?;
    runs.v.fleet.let_it_lie()?;
    held.kill()?;
    assert_eq!(runs.lines(&begun.run)?, [], "{what}: nothing has begun with it");
    runs.v.fleet.revive_agent()?;
    let lines = runs.sealed(what, &begun)?;
    assert_eq!(starts(&lines), 1, "{what}: {lines:#?}");

    let what = "the agent killed beside a job";
    let (begun, held) = runs.stopped(Stop::Job("opened"))?;
    runs.v.fleet.kill_agent()?;
    held.go_on()?;
    let lines = runs.sealed(what, &begun)?;
    assert!(!web1.exec(&["systemctl", "is-active", "-q", "tenure-agent"])?.ok(), "{what}: it was away");
    assert_eq!(starts(&lines), 1, "{what}: {lines:#?}");
    runs.v.fleet.revive_agent()?;
    let ended = told::sealed(&runs.v.fleet, &begun.run)?;

    let what = "an agent that finds a job";
    let (begun, held) = runs.stopped(Stop::Job("stored"))?;
    runs.v.fleet.kill_agent()?;
    runs.v.fleet.revive_agent()?;
    let found = || runs.v.fleet.area("backup")["pending"]["what"] == format!("job {}", begun.run);
    wait_for("the job in the new agent's status", SOON, found)
        .map_err(|why| format!("{what}: {why}\n{}", runs.v.journals()))?;
    held.go_on()?;
    let lines = runs.sealed(what, &begun)?;
    assert_eq!(starts(&lines), 1, "{what}: {lines:#?}");
    let told = told::once(&runs.v)?;
    assert!(told.contains(&ended), "what ended while no agent was there: {ended}: {told:#?}");
    Ok(())
}

/// A moment of the vault's.
struct Point {
    what: &'static str,
    /// The file and its last line at which the vault is stopped.
    at: Stop<'static>,
    /// The last step that the host knows of then.
    step: &'static str,
    /// The copy is accepted: the answer alone is missing.
    accepted: bool,
}

const JOURNAL: &str = "^SERIES/series\\.journal$";
const VAULT: [Point; 5] = [
    Point {
        what: "the vault killed before it answers that a generation is open",
        at: Stop::Vault(JOURNAL, "\"begin\":"),
        step: "key_made",
        accepted: false,
    },
    Point {
        what: "the vault killed while an object comes in",
        at: Stop::Vault("^\\.tmp/object-", ""),
        step: "dumped",
        accepted: false,
    },
    Point {
        what: "the vault killed when a seal is down and no receipt",
        at: Stop::Vault("^SERIES/.*/seals/[0-9]{4}-manual\\.dsse$", ""),
        step: "seal_sent",
        accepted: false,
    },
    Point {
        what: "the vault killed when a receipt is down and the journal does not know it",
        at: Stop::Vault("^SERIES/.*/seals/[0-9]{4}-manual\\.receipt\\.dsse$", ""),
        step: "seal_sent",
        accepted: false,
    },
    Point {
        what: "the vault killed between accepting a copy and its answer",
        at: Stop::Vault(JOURNAL, "\"seal\":"),
        step: "seal_sent",
        accepted: true,
    },
];

fn vault_killed(runs: &mut Runs, point: &Point) -> Result<()> {
    let Point { what, at, step, accepted } = point;
    for _ in 0..TRIES {
        let Some((begun, held)) = runs.stopped_after(*at, step)? else { continue };
        let journal = format!("tail -n 1 {STORE}/{}/series.journal", begun.series);
        let told = runs.v.fleet.vault1.sh(&journal)?.stdout.contains("\"seal\":");
        if *step == "seal_sent" && told != *accepted {
            // It had gone further before it stood still.
            held.go_on()?;
            runs.sealed("a run that was let go on", &begun)?;
            continue;
        }
        held.kill()?;
        let sealed = runs.ended(&begun, SLOW)?;
        runs.v.start_vault()?;
        if *accepted {
            runs.last.insert(begun.series, begun.there.clone());
        }
        if sealed && *accepted {
            // The answer was on its way already.
            continue;
        }
        let why = runs.failed(what, &begun, SLOW)?;
        assert!(why.contains("vault"), "{what}: {why}");
        runs.holds(what, begun.series)?;
        assert_eq!(starts(&runs.lines(&begun.run)?), 1, "{what}: one run, one process");
        return runs.next(what, begun.series);
    }
    Err(format!("{what}: missed {TRIES} times").into())
}

/// The vault is killed when everything is brought, before the host has read it back: what nobody has looked at is not sealed.
fn vault_gone(runs: &mut Runs) -> Result<()> {
    let what = "the vault killed before the copy is read back";
    let (begun, held) = runs.stopped(Stop::Job("stored"))?;
    runs.v.kill_vault()?;
    held.go_on()?;
    let why = runs.failed(what, &begun, SLOW)?;
    assert!(why.contains("vault") && why.contains("see to the"), "{what}: {why}");
    let lines = runs.lines(&begun.run)?;
    let before = lines.iter().rev().nth(1).map(|line| word(&line.step));
    assert_eq!((before, starts(&lines)), (Some("stored"), 1), "{what}: {lines:#?}");
    runs.v.start_vault()?;
    runs.holds(what, begun.series)?;
    runs.next(what, begun.series)
}

/// The cable is cut while an object comes in.
fn cable_cut(runs: &mut Runs) -> Result<()> {
    let what = "a cut cable";
    let (begun, held) = runs.stopped(Stop::Vault("^\\.tmp/object-", ""))?;
    let lines = runs.lines(&begun.run)?;
    assert_eq!(lines.last().map(|line| word(&line.step)), Some("dumped"), "{what}: {lines:#?}");
    runs.v.fleet.vault1.link_down()?;
    held.go_on()?;
    let why = runs.failed(what, &begun, SLOW)?;
    assert!(why.contains("see to the vault and the network"), "{what}: {why}");
    runs.v.fleet.vault1.link_up()?;
    runs.holds(what, begun.series)?;
    assert_eq!(starts(&runs.lines(&begun.run)?), 1, "{what}: one run, one process");
    runs.next(what, begun.series)
}

/// A dump that ends half-way and says that all is well does not count; the job is killed when it has said so.
fn half_a_dump(runs: &mut Runs, step: &str) -> Result<()> {
    let what = "half a dump";
    let broken = HalfDump::on(&runs.v.fleet.web1)?;
    let (begun, held) = runs.stopped(Stop::Job(step))?;
    held.kill()?;
    let why = runs.failed(what, &begun, RUN)?;
    assert!(why.contains("dump") && why.contains("pg_restore"), "{what}: {why}");
    runs.holds(what, begun.series)?;
    broken.mend()?;
    runs.next(what, begun.series)?;
    let lines = runs.lines(&begun.run)?;
    assert_eq!(
        (starts(&lines), lines.last().map(|line| word(&line.step))),
        (1, Some(step)),
        "{what}: {lines:#?}"
    );
    Ok(())
}

/// The vault's disk is full.
fn disk_full(runs: &mut Runs) -> Result<()> {
    let what = "a full disk";
    let vault1 = runs.v.fleet.vault1.clone();
    vault1.sh(&format!("dd if=/dev/zero of={STORE}/.fill bs=1M status=none; true"))?;
    let (series, why) = runs.refused(what)?;
    assert!(why.contains("no room"), "{what}: {why}");
    runs.holds(what, series)?;
    vault1.must(&["rm", &format!("{STORE}/.fill")])?;
    runs.next(what, series)?;

    // It fills while an object comes in.
    let what = "a disk that fills in mid-object";
    let (begun, held) = runs.stopped(Stop::Vault("^\\.tmp/object-", ""))?;
    vault1.sh(&format!("dd if=/dev/zero of={STORE}/.fill bs=64k status=none; true"))?;
    held.go_on()?;
    let why = runs.failed(what, &begun, SLOW)?;
    // The write finds no room, or the next object is refused before it is begun.
    let told = ["the vault's disk is full", "the vault's disk has no room"];
    assert!(told.iter().any(|words| why.contains(words)), "{what}: {why}");
    runs.holds(what, begun.series)?;
    vault1.must(&["rm", &format!("{STORE}/.fill")])?;
    assert_eq!(vault1.must(&["sh", "-c", &format!("ls -A {STORE}/.tmp")])?, "", "{what}: no half is left");
    runs.next(what, begun.series)
}

/// A week later the copy of a weekday is replaced, and a day after that its keys are forgotten: the job is killed then.
fn week(runs: &mut Runs, step: &str) -> Result<()> {
    let what = "the job killed when it has forgotten keys";
    runs.v.ahead(7)?;
    runs.v.must_run(&[])?;
    let mut killed = None;
    for (series, _) in SERIES {
        let guard = runs.guard_all(step)?;
        runs.v.ahead(8)?;
        let _asked = runs.v.fleet.web1.spawn(&["tenure-agent", "backup", "run", series])?;
        if let Some(held) = guard.holds(RUN)? {
            killed = Some(held.path.clone());
            held.kill()?;
            break;
        }
    }
    let path = killed.ok_or("no job was stopped when it had forgotten keys")?;
    let run = path.rsplit('/').next().unwrap_or_default().trim_end_matches(".jsonl");
    // With the next run of everything the agent has looked at what was killed.
    runs.v.must_run(&[])?;
    let lines = runs.lines(run)?;
    assert_eq!(
        (lines.last().map(|line| word(&line.step)), starts(&lines)),
        (Some(step), 1),
        "{what}: {lines:#?}"
    );
    for (series, place) in SERIES {
        runs.last.insert(series, runs.hashes(place)?);
        runs.holds(what, series)?;
    }
    Ok(())
}
