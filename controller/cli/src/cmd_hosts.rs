//! `tenure hosts`: every machine of the policy: which are missing, silent, drifted, behind; those that need a person first.

use tenure_obligations::State;
use tenure_obligations::say::{self, Saying};
use tenure_obligations::view::{AreaRow, HostRow, HostsView};
use tenure_trust::enrol::IngestFinding;

use crate::failure::Failure;
use crate::output::{Exit, Output};
use crate::remote::Remote;
use crate::table::Table;

/// Arguments of `hosts`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    remote: Remote,
}

/// Asks and shows.
pub(crate) fn run(args: &Args, out: &mut Output) -> Result<Exit, Failure> {
    let view: HostsView = args.remote.get("see the hosts", "/api/v1/hosts")?;
    out.value(&view);
    for line in lines(&view) {
        out.line(line);
    }
    let any = |bad: &dyn Fn(&HostRow) -> bool| view.hosts.iter().any(bad);
    Ok(match (any(&|row| row.state == State::Unknown), any(&|row| row.state != State::Met)) {
        (true, _) => Exit::Broken,
        (false, true) => Exit::Changes,
        (false, false) => Exit::Clean,
    })
}

pub(crate) fn lines(view: &HostsView) -> Vec<String> {
    let saying = Saying::of(&view.head);
    let mut table = Table::new(&["STATE", "HOST", "SITE", "HEARD", "POLICY", "AREAS", "CHAIN", "WHY"]);
    for row in &view.hosts {
        table.row([
            row.state.word().to_owned(),
            match &row.vault {
                Some(vault) => format!("{} (vault {vault})", row.host),
                None => row.host.to_string(),
            },
            row.site.as_deref().map_or_else(|| "–".to_owned(), say::text),
            row.last_contact.map_or_else(|| "never".to_owned(), |at| format!("{} ago", saying.age(at))),
            policy(row, view),
            row.areas.iter().filter_map(area).collect::<Vec<_>>().join(" "),
            chain(row),
            row.why.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "),
        ]);
    }
    let mut lines = vec![format!("{}, as of {}", view.head.fleet, saying.as_of())];
    lines.extend(table.lines());
    let in_order = view.hosts.iter().filter(|row| row.state == State::Met).count();
    lines.push(format!("{in_order} of {} in order", view.hosts.len()));
    lines
}

fn policy(row: &HostRow, view: &HostsView) -> String {
    match (row.policy, view.head.version) {
        (Some(own), Some(newest)) if own < newest => format!("g{own}, behind g{newest}"),
        (Some(own), _) => format!("g{own}"),
        (None, _) => "–".to_owned(),
    }
}

/// `firewall:drifted(observe)`; nothing for an area that the policy does not have.
fn area(row: &AreaRow) -> Option<String> {
    let mode = row.mode.as_deref()?;
    let verdict = row.verdict.map_or("unknown", |verdict| verdict.word());
    let observes = if mode == "observe" { "(observe)" } else { "" };
    let claimed = row.claimed.as_deref().map(|said| format!(" says {}", say::text(said))).unwrap_or_default();
    Some(format!("{}:{verdict}{observes}{claimed}", say::text(&row.area)))
}

fn chain(row: &HostRow) -> String {
    let word = |finding| match finding {
        IngestFinding::Gap => "gap",
        IngestFinding::Fork => "fork",
        IngestFinding::Replay => "replay",
        IngestFinding::Reset => "reset",
        IngestFinding::Foreign => "foreign",
        IngestFinding::Malformed => "malformed",
    };
    match row.chain.as_slice() {
        [] => "whole".to_owned(),
        some => {
            some.iter().map(|(what, count)| format!("{}×{count}", word(*what))).collect::<Vec<_>>().join(" ")
        }
    }
}
