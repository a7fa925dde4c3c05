//! `tenure-bench`: enforcement beside cfengine3 on the same state, backups beside restic and borg, alternating, and the
//! controller's judge, in one run; prints ratios and targets.

mod backups;
mod ingestion;
mod judging;
mod numbers;
mod sides;

use std::io::Write as _;
use std::process::ExitCode;

use numbers::Times;
use sides::{Side, Sides};
use tenure_scenarios::Result;

/// Foreign changes on each side, half of them of the ruleset, half of a managed file.
const CHANGES: usize = 400;
/// They alternate between the sides in so many rounds.
const ROUNDS: usize = 4;
/// Passes with nothing to change, on each side.
const PASSES: usize = 100;
/// Seconds of looking at idle processes.
const IDLE: usize = 30;

/// What can be measured; all when none is named.
const ROWS: [&str; 6] = ["changes", "pass", "idle", "backups", "ingestion", "judging"];

fn main() -> ExitCode {
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    if let Some(other) = wanted.iter().find(|word| !ROWS.contains(&word.as_str())) {
        let _ = writeln!(std::io::stderr(), "bench: {other} is none of {}", ROWS.join(", "));
        return ExitCode::FAILURE;
    }
    match bench(&|row| wanted.is_empty() || wanted.iter().any(|word| word == row)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            let _ = writeln!(std::io::stderr(), "bench: {why}");
            ExitCode::FAILURE
        }
    }
}

fn bench(wanted: &dyn Fn(&str) -> bool) -> Result<()> {
    if ["changes", "pass", "idle"].into_iter().any(wanted) {
        enforcement(wanted)?;
    }
    if wanted("backups") {
        backups::backups()?;
    }
    if wanted("ingestion") {
        ingestion::ingestion()?;
    }
    if wanted("judging") {
        judging::judging()?;
    }
    Ok(())
}

fn enforcement(wanted: &dyn Fn(&str) -> bool) -> Result<()> {
    say(
        "Tenure beside cfengine3 (Debian 12): 50 people, 200 rules, sshd drop-in and key files, in a lab of two hosts.",
    );
    say("cfengine3 runs back to back here, its best case; as shipped it runs every 300 s.");
    let sides = Sides::up()?;

    if wanted("changes") {
        changes(&sides)?;
    }
    if wanted("pass") {
        pass(&sides)?;
    }
    if wanted("idle") {
        idle(&sides)?;
    }
    Ok(())
}

fn changes(sides: &Sides) -> Result<()> {
    let (mut ours, mut peer) = (Times::default(), Times::default());
    for _ in 0..ROUNDS {
        for (side, times) in [(Side::Ours, &mut ours), (Side::Peer, &mut peer)] {
            times.add(&sides.changes(side, CHANGES / ROUNDS)?)?;
        }
    }
    row(&["foreign change → restored", "ours", "cfengine3", "ratio", "target"]);
    for (what, of) in [
        ("ruleset", Times::ruleset as fn(&Times) -> &[f64]),
        ("managed file", Times::file),
        ("all", Times::all),
    ] {
        for (name, share) in [("p50", 0.50), ("p99", 0.99), ("max", 1.0)] {
            let (a, b) = (numbers::quantile(of(&ours), share), numbers::quantile(of(&peer), share));
            let target = if name == "p99" { "≤ 50 ms" } else { "" };
            row(&[&format!("{what} {name} of {}", of(&ours).len()), &ms(a), &ms(b), &ratio(a, b), target]);
        }
    }

    Ok(())
}

fn pass(sides: &Sides) -> Result<()> {
    let (a, b) = (sides.pass(Side::Ours, PASSES)?, sides.pass(Side::Peer, PASSES)?);
    row(&[
        &format!("CPU of a pass with nothing to change, mean of {PASSES}"),
        &ms(a),
        &ms(b),
        &ratio(a, b),
        "≤ 10 ms",
    ]);
    Ok(())
}

fn idle(sides: &Sides) -> Result<()> {
    let (a, b) = (sides.idle(Side::Ours, IDLE)?, sides.idle(Side::Peer, IDLE)?);
    row(&["idle, resident", &mb(a.resident), &mb(b.resident), &ratio(a.resident, b.resident), "≤ 20 MB"]);
    let share = |x: f64| format!("{:.3} %", x * 100.0);
    row(&[&format!("idle, share of a core over {IDLE} s"), &share(a.cpu), &share(b.cpu), "", "≤ 0.1 %"]);
    Ok(())
}

fn ms(value: f64) -> String {
    format!("{value:.1} ms")
}

fn mb(bytes: f64) -> String {
    format!("{:.1} MB", bytes / 1e6)
}

fn ratio(ours: f64, peer: f64) -> String {
    if peer > 0.0 { format!("{:.3}", ours / peer) } else { "–".to_owned() }
}

fn row(cells: &[&str]) {
    let mut line = format!("{:<58}", cells[0]);
    for cell in &cells[1..] {
        line.push_str(&format!("{cell:>14}"));
    }
    say(line.trim_end());
}

fn say(line: &str) {
    // A reader who has gone away ends nothing.
    let _ = writeln!(std::io::stdout(), "{line}");
}
