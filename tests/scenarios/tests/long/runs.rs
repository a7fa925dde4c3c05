//! Runs of a fleet with a vault that are stopped on their way: their step journals, what they should hold, what was accepted.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::Value;
use tenure_areas::backup::journal::{self, Line, RunStep, Standing};
use tenure_lab::{Running, wait_for};
use tenure_scenarios::Result;
use tenure_scenarios::held::{Guard, Held, Moment};
use tenure_scenarios::vaulted::{RUN, STORE, Vaulted};

use crate::backup_faults::word;

/// Where the step journals are.
pub(crate) const JOBS: &str = "/var/lib/tenure/jobs";
/// What each series has of its own, by turns: one series has a slot by hand a minute.
pub(crate) const SERIES: [(&str, &str); 4] = [
    ("client/web1/nightly", "/srv/app/client"),
    ("client/web1/server", "/srv/app/client"),
    ("web1/web1/nightly", "/srv/app/shared"),
    ("web1/web1/server", "/srv/app/shared"),
];
/// A moment that was missed is tried again so often.
pub(crate) const TRIES: usize = 6;

/// A run that goes on beside.
#[derive(Debug)]
pub(crate) struct Begun {
    /// Of which series.
    pub(crate) series: &'static str,
    /// The run's name.
    pub(crate) run: String,
    /// What its copy is to hold, as hashes.
    pub(crate) there: String,
    /// Who asked for it.
    _asked: Running,
}

/// The fleet with the turns of its series.
#[derive(Debug)]
pub(crate) struct Runs {
    pub(crate) v: Vaulted,
    turn: usize,
    /// What the last accepted copy of each series holds.
    pub(crate) last: BTreeMap<&'static str, String>,
}

/// What is stopped, and where.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Stop<'a> {
    /// The job when this is its journal's last step.
    Job(&'a str),
    /// The agent when it has written down what is to be run, before anything runs.
    Agent,
    /// The vault at a file that comes, or whose last line is this; both are regular expressions, `SERIES` is the series.
    Vault(&'a str, &'a str),
}

impl Runs {
    /// After a first run of everything.
    pub(crate) fn new(v: Vaulted) -> Result<Self> {
        v.must_run(&[])?;
        let mut runs = Self { v, turn: 0, last: BTreeMap::new() };
        for (series, place) in SERIES {
            let there = runs.hashes(place)?;
            runs.last.insert(series, there);
            runs.holds("the first", series)?;
        }
        Ok(runs)
    }

    /// The next series, with something new in what it has.
    fn change(&mut self) -> Result<(&'static str, String)> {
        let (series, place) = SERIES[self.turn % SERIES.len()];
        self.turn += 1;
        let line = "date +%s%N > $0/now && dd if=/dev/urandom of=$0/more bs=1M count=2 status=none";
        self.v.fleet.web1.must(&["sh", "-c", line, place])?;
        Ok((series, self.hashes(place)?))
    }

    /// What a directory of the host holds.
    pub(crate) fn hashes(&self, place: &str) -> Result<String> {
        let line = "cd $0 && find . -type f | sort | xargs -d '\\n' sha256sum";
        Ok(self.v.fleet.web1.must(&["sh", "-c", line, place])?)
    }

    /// Every run's journal.
    pub(crate) fn journals(&self) -> Result<BTreeMap<String, Vec<Line>>> {
        let line = format!("cd {JOBS} && for run in *.jsonl; do echo \"= $run\"; cat $run; done");
        let said = self.v.fleet.web1.must(&["sh", "-c", &line])?;
        let mut all = BTreeMap::new();
        for part in format!("\n{said}").split("\n= ").skip(1) {
            let (name, lines) = part.split_once('\n').unwrap_or((part, ""));
            // The line between two journals ends the first of them.
            let whole =
                if lines.is_empty() || lines.ends_with('\n') { lines.into() } else { format!("{lines}\n") };
            all.insert(name.trim_end_matches(".jsonl").to_owned(), journal::parse(whole.as_bytes())?);
        }
        Ok(all)
    }

    /// The journal of one run.
    pub(crate) fn lines(&self, run: &str) -> Result<Vec<Line>> {
        Ok(self.journals()?.remove(run).unwrap_or_default())
    }

    /// Begins a run of the next series beside and stops something at a moment of it.
    pub(crate) fn stopped(&mut self, at: Stop<'_>) -> Result<(Begun, Held)> {
        for _ in 0..TRIES {
            let (series, there) = self.change()?;
            let guard = self.guard(at, series)?;
            let before: BTreeSet<String> = self.runs()?;
            let asked = self.v.fleet.web1.spawn(&["tenure-agent", "backup", "run", series])?;
            let held = guard.holds(RUN).map_err(|why| format!("{at:?}: {why}\n{}", self.v.journals()))?;
            let run = self.runs()?.difference(&before).next().cloned();
            let run = run.ok_or_else(|| format!("{at:?}: no run was begun\n{}", self.v.journals()))?;
            let begun = Begun { series, run, there, _asked: asked };
            match held {
                Some(held) => return Ok((begun, held)),
                None => {
                    // The moment was missed: it is tried again.
                    let sealed = self.ended(&begun, RUN)?;
                    self.last.insert(series, begun.there);
                    assert!(sealed, "nothing was in its way: {}", self.v.journals());
                }
            }
        }
        Err(format!("{at:?} was missed {TRIES} times").into())
    }

    /// The same at a moment of the vault's at which this is the last step that the host knows of; none when the vault had
    /// answered before it stood still, which its own files do not tell: that run is through then.
    pub(crate) fn stopped_after(&mut self, at: Stop<'_>, step: &str) -> Result<Option<(Begun, Held)>> {
        let (begun, held) = self.stopped(at)?;
        let lines = self.lines(&begun.run)?;
        let last = lines.last().map(|line| word(&line.step));
        if last == Some(step) {
            return Ok(Some((begun, held)));
        }
        held.go_on()?;
        self.sealed("a run that was let go on", &begun)?;
        Ok(None)
    }

    fn guard(&self, at: Stop<'_>, series: &str) -> Result<Guard> {
        let (owner, set) = (series.split('/').next(), series.rsplit('/').next());
        let (owner, set) = (owner.unwrap_or_default(), set.unwrap_or_default());
        let run = |end: &str| format!("^[0-9]+-[0-9]+m-{set}-{owner}-.*\\.{end}$");
        let (web1, vault1) = (&self.v.fleet.web1, &self.v.fleet.vault1);
        match at {
            Stop::Job(step) => self.guard_of(&run("jsonl"), step),
            Stop::Agent => {
                let (path, program) = (run("json"), "tenure-agent");
                Guard::set(web1, &Moment { root: JOBS, path: &path, line: "", unit: program, program })
            }
            Stop::Vault(path, line) => {
                let (path, program) = (path.replace("SERIES", series), "tenure-vault");
                let unit = "tenure-vault*";
                Guard::set(vault1, &Moment { root: STORE, path: &path, line, unit, program })
            }
        }
    }

    /// Stops whichever job writes this step next.
    pub(crate) fn guard_all(&self, step: &str) -> Result<Guard> {
        self.guard_of("\\.jsonl$", step)
    }

    fn guard_of(&self, path: &str, step: &str) -> Result<Guard> {
        let line = format!("\"step\":(\"{step}\"|\\{{\"{step}\")");
        let (unit, program) = ("tenure-job-*", "tenure-agent");
        Guard::set(&self.v.fleet.web1, &Moment { root: JOBS, path, line: &line, unit, program })
    }

    /// The names of all runs that were ever written down.
    fn runs(&self) -> Result<BTreeSet<String>> {
        let said = self.v.fleet.web1.must(&["sh", "-c", &format!("cd {JOBS} && ls")])?;
        Ok(said.lines().filter_map(|name| name.strip_suffix(".json")).map(str::to_owned).collect())
    }

    /// Waits for the end of a run; true when it was sealed.
    pub(crate) fn ended(&self, begun: &Begun, limit: Duration) -> Result<bool> {
        let mut standing = None;
        wait_for("the end of the run", limit, || {
            standing = self.lines(&begun.run).ok().map(|lines| journal::standing(&lines));
            matches!(standing, Some(Standing::Sealed(_) | Standing::Failed { .. }))
        })
        .map_err(|why| format!("{}: {why}\n{}", begun.run, self.v.journals()))?;
        Ok(matches!(standing, Some(Standing::Sealed(_))))
    }

    /// The run has to be sealed, and its copy to hold what was there.
    pub(crate) fn sealed(&mut self, what: &str, begun: &Begun) -> Result<Vec<Line>> {
        let sealed = self.ended(begun, RUN)?;
        let held = self.accepted(begun.series)?;
        if !sealed || held != begun.there {
            return Err(format!("{what}: sealed {sealed}, holds {held}\n{}", self.v.journals()).into());
        }
        self.last.insert(begun.series, begun.there.clone());
        self.lines(&begun.run)
    }

    /// The run has to fail, with why; the last accepted copy has to be there as it was.
    pub(crate) fn failed(&self, what: &str, begun: &Begun, limit: Duration) -> Result<String> {
        let sealed = self.ended(begun, limit)?;
        let lines = self.lines(&begun.run)?;
        match lines.last().map(|line| &line.step) {
            Some(RunStep::Failed { why }) if !sealed => Ok(why.clone()),
            other => Err(format!("{what}: ended with {other:?}\n{}", self.v.journals()).into()),
        }
    }

    /// The last accepted copy of a series has to be there, byte for byte.
    pub(crate) fn holds(&self, what: &str, series: &str) -> Result<()> {
        let (held, last) = (self.accepted(series)?, self.last.get(series));
        if last == Some(&held) {
            return Ok(());
        }
        Err(format!("{what}: {held}, not {last:?}\n{}", self.v.journals()).into())
    }

    /// A run of a series without any fault has to succeed.
    pub(crate) fn next(&mut self, what: &str, series: &'static str) -> Result<()> {
        let place = SERIES.iter().find(|(name, _)| *name == series).map_or("", |(_, place)| place);
        self.v.must_run(&[series]).map_err(|why| format!("the run after {what}: {why}"))?;
        let there = self.hashes(place)?;
        self.last.insert(series, there);
        self.holds(&format!("the run after {what}"), series)
    }

    /// A whole run of the next series that says why it failed; nothing else may come of it.
    pub(crate) fn refused(&mut self, what: &str) -> Result<(&'static str, String)> {
        let (series, _) = self.change()?;
        let ran = self.v.run(&[series])?;
        match ran[0]["failed"].as_str() {
            Some(why) if ran[0]["sealed"].is_null() => Ok((series, why.to_owned())),
            _ => Err(format!("{what}: {ran:#?}").into()),
        }
    }

    /// What the newest accepted copy of a series holds, as hashes.
    fn accepted(&self, series: &str) -> Result<String> {
        let list = self.v.fleet.agent_json(&["backup", "list"])?;
        let of = |one: &&Value| one["series"] == series;
        let newest = list.as_array().and_then(|all| all.iter().rfind(of).cloned()).unwrap_or_default();
        let generation = newest["generation"].as_str().unwrap_or_default();
        let id = newest["snapshot"].as_str().unwrap_or_default();
        let place = SERIES.iter().find(|(name, _)| *name == series).map_or("", |(_, place)| place);
        self.v.fleet.web1.must(&["rm", "-rf", "/back"])?;
        let restored =
            self.v.restic(series, generation, &["restore", id, "--target", "/back", "--include", place])?;
        match restored.ok() {
            true => self.hashes(&format!("/back{place}")),
            false => Err(format!("{}\n{}", restored.said(), self.v.journals()).into()),
        }
    }

    /// Every receipt that this host ever had is one for a copy that the vault still lists.
    pub(crate) fn nothing_lost(&self) -> Result<usize> {
        let list = self.v.fleet.agent_json(&["backup", "list"])?;
        let listed: BTreeSet<&str> =
            list.as_array().into_iter().flatten().filter_map(|one| one["snapshot"].as_str()).collect();
        let mut receipts = 0;
        for (run, lines) in self.journals()? {
            if let Standing::Sealed(seal) = journal::standing(&lines) {
                receipts += 1;
                if !listed.contains(seal.snapshot.to_string().as_str()) {
                    return Err(format!("{run} has a receipt, and the vault lists {listed:?}").into());
                }
            }
        }
        Ok(receipts)
    }
}

/// How often a journal has a step.
pub(crate) fn count(lines: &[Line], of: impl Fn(&RunStep) -> bool) -> usize {
    lines.iter().filter(|line| of(&line.step)).count()
}

/// How often a process began with a run.
pub(crate) fn starts(lines: &[Line]) -> usize {
    count(lines, |step| *step == RunStep::Planned)
}
