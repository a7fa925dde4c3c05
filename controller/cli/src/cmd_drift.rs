//! `tenure drift`: what is not as the policy says on which host, and what was mended, with who did it where the kernel told.

use tenure_obligations::say::{self, Saying};
use tenure_obligations::view::{DriftRow, DriftView};

use crate::failure::Failure;
use crate::output::{Exit, Output};
use crate::remote::Remote;
use crate::table::Table;

/// Arguments of `drift`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    remote: Remote,
}

/// Asks and shows.
pub(crate) fn run(args: &Args, out: &mut Output) -> Result<Exit, Failure> {
    let view: DriftView = args.remote.get("see the drift", "/api/v1/drift")?;
    out.value(&view);
    for line in lines(&view) {
        out.line(line);
    }
    Ok(if view.drift.iter().any(|row| !row.mended) { Exit::Changes } else { Exit::Clean })
}

pub(crate) fn lines(view: &DriftView) -> Vec<String> {
    let saying = Saying::of(&view.head);
    let mut lines = vec![format!("{}, as of {}", view.head.fleet, saying.as_of())];
    let mut table = Table::new(&["STATE", "HOST", "AREA", "WHEN", "WHERE", "WHAT", "WHO", "EVIDENCE"]);
    for row in &view.drift {
        table.row([
            if row.mended { "mended" } else { "drifted" }.to_owned(),
            row.host.to_string(),
            say::text(&row.area),
            row.at.map_or_else(|| "–".to_owned(), |at| saying.moment(at)),
            say::text(&row.place),
            say::text(&row.what),
            who(row),
            row.record.as_ref().map(ToString::to_string).unwrap_or_default(),
        ]);
    }
    if !view.drift.is_empty() {
        lines.extend(table.lines());
    }
    let open = view.drift.iter().filter(|row| !row.mended).count();
    lines.push(format!("{open} not as the policy says, {} mended", view.drift.len() - open));
    lines
}

fn who(row: &DriftRow) -> String {
    match &row.by {
        Some(actor) => format!("pid {} {}", actor.pid, say::text(&actor.comm)),
        None => "not told".to_owned(),
    }
}
