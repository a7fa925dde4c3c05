//! What people see of plan, status and drift.

use jiff::Timestamp;
use tenure_areas::area::{Finding, Weight};
use tenure_link::LinkStatus;
use tenure_policy::resolved::{Mode, Protocol};

use super::duration::words;
use super::look::verdict;
use crate::board::{AreaStatus, Outcome, Overview};
use crate::itself::Itself;
use crate::logins::Way;
use crate::output::Output;
use crate::socket::wire::{AreaPlan, Drift, HostPlan, Status};
use crate::sockets::Listener;

/// Most findings that are shown of one area; `--json` has all.
const FINDINGS: usize = 20;

/// A plan.
pub(super) fn plan(plan: &HostPlan, out: Output) {
    out.note(&format!("Plan for {} by {}; nothing is changed by this", plan.host, plan.from));
    for area in &plan.areas {
        area_plan(area, out);
    }
    let rows: Vec<Vec<String>> = plan
        .reach
        .iter()
        .map(|r| {
            let after = r.after.as_ref().map_or_else(|| "?".to_owned(), |names| places(names));
            vec![port(&r.listener), r.listener.processes.join(" "), places(&r.now), after]
        })
        .collect();
    if !rows.is_empty() {
        out.line("");
        out.table(&["LISTENS", "PROCESS", "REACHED NOW FROM", "AFTER FROM"], &rows);
    }
    let logins = &plan.logins;
    let row = |way: &Way, mark: &str| {
        let place = way.place.clone().unwrap_or_default();
        vec![way.account.clone(), way.by.clone(), way.from.clone(), mark.to_owned(), place]
    };
    let same = |a: &Way, b: &Way| a.account == b.account && a.by == b.by && a.from == b.from;
    let now = logins.now.iter().map(|way| {
        let stays = logins.after.iter().any(|after| same(after, way));
        let mark = if logins.lost.contains(way) {
            "LOST"
        } else if stays {
            "stays"
        } else {
            "now"
        };
        row(way, mark)
    });
    let fresh = logins.after.iter().filter(|way| !logins.now.iter().any(|now| same(now, way)));
    let rows: Vec<Vec<String>> = now.chain(fresh.map(|way| row(way, "after"))).collect();
    if !rows.is_empty() {
        out.line("");
        out.table(&["LOGS IN AS", "BY", "FROM", "", "WHERE THE KEY STANDS"], &rows);
    }
}

fn area_plan(area: &AreaPlan, out: Output) {
    let Some(look) = &area.look else {
        let why = area.unknown.as_ref().map(ToString::to_string).unwrap_or_default();
        out.line(&format!("{}  {}  unknown: {why}", area.area, mode(area.mode)));
        return;
    };
    let steps = look.plan.steps.len();
    let what = match (steps, area.mode) {
        (0, _) => format!("nothing to do, {}", verdict(area)),
        (1, Mode::Enforce) => format!("1 step, plan {}", look.plan.hash.short()),
        (n, Mode::Enforce) => format!("{n} steps, plan {}", look.plan.hash.short()),
        (n, Mode::Observe) => {
            format!("{n} steps that the mode leaves undone, plan {}", look.plan.hash.short())
        }
    };
    out.line(&format!("{}  {}  {what}", area.area, mode(area.mode)));
    for (number, step) in look.plan.steps.iter().enumerate() {
        out.line(&format!("   {} {step}", number + 1));
    }
    if let Some(refusal) = &look.refusal {
        let rule = refusal.rule.as_ref().map(|r| format!(" (rule {r})")).unwrap_or_default();
        out.line(&format!("   REFUSED{rule}: {}", refusal.what));
        out.line(&format!("     → {}", refusal.hint));
    }
    if let Some(pending) = &look.pending {
        out.line(&format!("   under way until {}: {}", when(pending.until), pending.what));
    }
    findings(&look.findings, out);
}

/// How a host stands where no agent runs.
pub(super) fn standing(plan: &HostPlan, out: Output) {
    out.note(&format!("{} by {}", plan.host, plan.from));
    let rows: Vec<Vec<String>> = plan
        .areas
        .iter()
        .map(|area| {
            let why = match (&area.look, &area.unknown) {
                (_, Some(unknown)) => unknown.to_string(),
                (Some(look), None) => why(&look.findings, look.plan.steps.len()),
                (None, None) => String::new(),
            };
            vec![area.area.to_string(), mode(area.mode).into(), verdict(area).to_string(), why]
        })
        .collect();
    out.table(&["AREA", "MODE", "VERDICT", "WHY"], &rows);
}

/// How everything stands.
pub(super) fn status(status: &Status, out: Output) {
    let board = &status.board;
    match &board.policy {
        Some(policy) => {
            let version = policy.version.map_or_else(|| "unsigned".to_owned(), |v| format!("version {v}"));
            let until = policy.until.map(|u| format!(" until {}", when(u))).unwrap_or_default();
            out.note(&format!(
                "{}  policy {version}{until} ({}) from {}",
                status.host, policy.hash, policy.from
            ));
        }
        None => out.line(&format!("{}  no policy is in force", status.host)),
    }
    areas(board, status.now, out);
    for area in &board.areas {
        details(area, out);
    }
    if let Some(fault) = &board.policy_fault {
        for (number, line) in fault.lines().enumerate() {
            out.line(&format!("{}{line}", if number == 0 { "policy not taken: " } else { "  " }));
        }
    }
    let evidence = &board.evidence;
    let lost = match evidence.lost {
        0 => "none lost".to_owned(),
        n => format!("{n} LOST"),
    };
    out.note(&format!("records  {} written, {lost}", evidence.last));
    if let Some(why) = &evidence.failing {
        out.line(&format!("records cannot be written: {why}"));
    }
    out.note(&itself(&status.agent));
    if let Some(link) = &status.link {
        linked(link, out);
    }
    status.notes.iter().for_each(|note| out.line(&format!("note: {note}")));
}

/// How the link to the controller stands.
fn linked(link: &LinkStatus, out: Output) {
    let controller = link.controller.as_deref().unwrap_or("no controller reached yet");
    let contact = link.last_contact.map_or_else(|| "never".to_owned(), when);
    out.note(&format!("link  {controller}, last contact {contact}, acknowledged up to record {}", link.sent));
    if link.waiting {
        out.line("link: waiting until an operator has compared the fingerprint and admitted this host");
    }
    if let Some(why) = &link.failing {
        out.line(&format!("link does not work: {why}; the policy in force stays, records wait"));
    }
    link.notices.iter().for_each(|notice| out.line(&format!("controller: {notice}")));
}

/// The agent's own process, in a line.
fn itself(agent: &Itself) -> String {
    let memory = agent
        .resident_bytes
        .map_or_else(|| "unknown".to_owned(), |bytes| format!("{} MiB", bytes.div_ceil(1 << 20)));
    let cpu = agent.cpu_seconds.map_or_else(|| "unknown".to_owned(), |seconds| format!("{seconds:.1} s"));
    let up = words(i64::try_from(agent.uptime).unwrap_or(i64::MAX));
    format!("agent  {} pid {}, up {up}, memory {memory}, processor {cpu}", agent.version, agent.pid)
}

fn areas(board: &Overview, now: Timestamp, out: Output) {
    let rows: Vec<Vec<String>> = board
        .areas
        .iter()
        .map(|a| {
            let seen = words(now.duration_since(a.observed_at).as_secs());
            let mode = if a.lifted { "lifted" } else { mode(a.mode) };
            vec![a.area.to_string(), mode.into(), a.verdict.to_string(), format!("{seen} ago"), short(a, now)]
        })
        .collect();
    out.table(&["AREA", "MODE", "VERDICT", "SEEN", "WHY"], &rows);
    for area in &board.absent {
        out.note(&format!("{area}: the policy has no section for it"));
    }
}

fn short(area: &AreaStatus, now: Timestamp) -> String {
    if let Some(unknown) = &area.unknown {
        return unknown.to_string();
    }
    if let Some(refusal) = &area.refusal {
        return format!("refused: {}", refusal.what);
    }
    if let Some(pending) = &area.pending {
        let left = words(pending.until.duration_since(now).as_secs());
        return format!("{}, {left} left", pending.what);
    }
    if let Some(failed) = area.done.iter().find(|d| d.error.is_some()) {
        return format!("failed: {}", failed.step);
    }
    why(&area.findings, 0)
}

fn why(findings: &[Finding], steps: usize) -> String {
    let drift = findings.iter().filter(|f| f.weight == Weight::Drift).count();
    let unknown = findings.iter().filter(|f| f.weight == Weight::Unknown).count();
    let notes = findings.len() - drift - unknown;
    let count = |n: usize, one: &str| match n {
        0 => None,
        1 => Some(format!("1 {one}")),
        n => Some(format!("{n} {one}s")),
    };
    let unjudged = (unknown > 0).then(|| format!("{unknown} not judged"));
    let parts = [count(drift, "difference"), unjudged, count(steps, "step"), count(notes, "note")];
    parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

fn details(area: &AreaStatus, out: Output) {
    let nothing = area.findings.is_empty() && area.refusal.is_none() && area.pending.is_none();
    let errors: Vec<_> = area.done.iter().filter(|d| d.error.is_some()).collect();
    if nothing && errors.is_empty() {
        return;
    }
    out.note(&format!("{}:", area.area));
    if let Some(refusal) = &area.refusal {
        let rule = refusal.rule.as_ref().map(|r| format!(" (rule {r})")).unwrap_or_default();
        out.line(&format!("   refused{rule}: {}", refusal.what));
        out.line(&format!("     → {}", refusal.hint));
    }
    if let Some(pending) = &area.pending {
        let next = pending.next.as_ref().map(|n| format!(": {n}")).unwrap_or_default();
        out.note(&format!("   under way until {}: {}{next}", when(pending.until), pending.what));
    }
    for done in errors {
        out.line(&format!("   {}: FAILED: {}", done.step, done.error.as_deref().unwrap_or_default()));
    }
    findings(&area.findings, out);
}

fn findings(findings: &[Finding], out: Output) {
    for finding in findings.iter().take(FINDINGS) {
        let mark = match finding.weight {
            Weight::Drift => "differs",
            Weight::Unknown => "unknown",
            Weight::Note => "note",
        };
        let text = format!("   {mark}: {}: {}{}", finding.place, finding.what, by(finding));
        match finding.weight {
            Weight::Drift | Weight::Unknown => out.line(&text),
            Weight::Note => out.note(&text),
        }
    }
    if findings.len() > FINDINGS {
        out.line(&format!("   and {} more; --json shows all", findings.len() - FINDINGS));
    }
}

fn by(finding: &Finding) -> String {
    let at = finding.at.map(|at| format!(" at {}", when(at))).unwrap_or_default();
    let by = finding.by.as_ref().map(|a| format!(" by pid {} ({})", a.pid, a.comm)).unwrap_or_default();
    if at.is_empty() && by.is_empty() { String::new() } else { format!(" [changed{at}{by}]") }
}

/// What others changed.
pub(super) fn drift(drift: &Drift, out: Output) {
    if drift.events.is_empty() {
        out.line("nothing was changed by others since the agent started");
    }
    let rows: Vec<Vec<String>> = drift
        .events
        .iter()
        .map(|e| {
            let who = e.finding.by.as_ref().map_or_else(
                || "process unknown".to_owned(),
                |actor| format!("pid {} {}", actor.pid, actor.comm),
            );
            let outcome = match e.outcome {
                Outcome::Applied => "applied",
                Outcome::Restored => "restored",
                Outcome::Reported => "reported",
            };
            let after = e.after_ms.map(|ms| format!("{ms} ms")).unwrap_or_default();
            let at = e.finding.at.unwrap_or(e.at);
            vec![
                when(at),
                e.area.to_string(),
                outcome.into(),
                after,
                who,
                e.finding.place.clone(),
                e.finding.what.clone(),
            ]
        })
        .collect();
    out.table(&["WHEN", "AREA", "", "AFTER", "WHO", "WHERE", "WHAT"], &rows);
    let open: usize = drift.board.areas.iter().map(|a| a.findings.len()).sum();
    if open > 0 {
        out.note(&format!("{open} of these still stand; `tenure-agent status` shows them"));
    }
}

/// A moment to the second, in UTC.
fn when(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M:%SZ").to_string()
}

fn mode(mode: Mode) -> &'static str {
    match mode {
        Mode::Observe => "observe",
        Mode::Enforce => "enforce",
    }
}

fn places(names: &[String]) -> String {
    if names.is_empty() { "nowhere".into() } else { names.join(" ") }
}

fn port(listener: &Listener) -> String {
    let protocol = match listener.protocol {
        Protocol::Tcp => "tcp",
        Protocol::Udp => "udp",
    };
    format!("{protocol}/{}", listener.port)
}
