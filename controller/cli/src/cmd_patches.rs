//! `tenure patches`: how long security updates wait on each host, against the policy's deadline.

use tenure_obligations::say::{self, Saying};
use tenure_obligations::view::PatchesView;

use crate::failure::Failure;
use crate::output::{Exit, Output};
use crate::remote::Remote;
use crate::table::Table;

/// Arguments of `patches`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    remote: Remote,
}

/// Asks and shows.
pub(crate) fn run(args: &Args, out: &mut Output) -> Result<Exit, Failure> {
    let view: PatchesView = args.remote.get("see the patches", "/api/v1/patches")?;
    out.value(&view);
    for line in lines(&view) {
        out.line(line);
    }
    Ok(if view.patches.iter().any(|row| row.state.is_bad()) { Exit::Broken } else { Exit::Clean })
}

pub(crate) fn lines(view: &PatchesView) -> Vec<String> {
    let saying = Saying::of(&view.head);
    let missing = || "–".to_owned();
    let mut table = Table::new(&[
        "STATE", "HOST", "SECURITY", "OLDEST", "WAITS", "DEADLINE", "OTHERS", "REBOOT", "LISTS", "EVIDENCE",
        "WHY",
    ]);
    for row in &view.patches {
        table.row([
            row.state.word().to_owned(),
            row.host.to_string(),
            say::updates(row, row.security),
            row.oldest.as_deref().map_or_else(missing, say::text),
            row.since.map_or_else(missing, |at| saying.age(at)),
            row.deadline.map_or_else(missing, |at| saying.moment(at)),
            say::updates(row, row.others),
            saying.reboot(row),
            row.lists.map_or_else(missing, |at| format!("{} old", saying.age(at))),
            row.record.as_ref().map_or_else(missing, ToString::to_string),
            row.why.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "),
        ]);
    }
    let mut lines = vec![format!("{}, as of {}", view.head.fleet, saying.as_of())];
    lines.extend(table.lines());
    lines
}
