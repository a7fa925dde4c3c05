//! `tenure obligations`: every duty of every tenant as the controller judges it, the worst first.

use tenure_obligations::State;
use tenure_obligations::say::{self, Saying};
use tenure_obligations::view::ObligationsView;
use tenure_trust::TenantId;

use crate::failure::Failure;
use crate::output::{Exit, Output};
use crate::remote::{Remote, escaped};
use crate::table::Table;

/// Characters of a reason inside the table; longer ones stand whole below it.
const WHY: usize = 58;

/// Arguments of `obligations`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only this tenant
    #[arg(long, value_name = "NAME")]
    tenant: Option<TenantId>,
    #[command(flatten)]
    remote: Remote,
}

/// Asks and shows.
pub(crate) fn run(args: &Args, out: &mut Output) -> Result<Exit, Failure> {
    let path = match &args.tenant {
        Some(tenant) => format!("/api/v1/obligations?tenant={}", escaped(tenant.as_str())),
        None => "/api/v1/obligations".to_owned(),
    };
    let view: ObligationsView = args.remote.get("see the obligations", &path)?;
    out.value(&view);
    for line in lines(&view, args.tenant.is_none()) {
        out.line(line);
    }
    Ok(if view.head.counts.any_bad() { Exit::Broken } else { Exit::Clean })
}

pub(crate) fn lines(view: &ObligationsView, with_tenant: bool) -> Vec<String> {
    let saying = Saying::of(&view.head);
    let mut heads = vec!["STATE", "DUTY", "PROMISE (their words)", "SINCE/DUE", "WHY", "EVIDENCE"];
    if with_tenant {
        heads.insert(1, "TENANT");
    }
    let mut table = Table::new(&heads);
    for row in &view.obligations {
        let mut cells = vec![
            row.state.word().to_owned(),
            say::text(&row.duty),
            cut(&format!("\"{}\"", say::text(&row.says)), 36),
            saying.since_or_due(row),
            cut(&say::why(row), WHY),
            say::evidence(row),
        ];
        if with_tenant {
            cells.insert(1, row.tenant.to_string());
        }
        table.row(cells);
    }
    let mut lines = vec![format!("{}, as of {}", view.head.fleet, saying.as_of())];
    lines.extend(table.lines());
    for row in view.obligations.iter().filter(|row| row.state > State::Waived) {
        let why = say::why(row);
        if why.chars().count() > WHY {
            let tenant = if with_tenant { format!("{} ", row.tenant) } else { String::new() };
            lines.push(format!("{tenant}{}: {why}", say::text(&row.duty)));
        }
    }
    lines.push(view.head.counts.to_string());
    lines
}

/// At most so many characters.
fn cut(text: &str, most: usize) -> String {
    tenure_trust::text::shortened(text.to_owned(), most)
}

#[cfg(test)]
mod tests {
    use super::*;

    const VIEW: &str = include_str!("../tests/obligations.json");

    #[test]
    fn the_worst_stands_first_with_its_words_and_no_row_steers_the_terminal() {
        let view: ObligationsView = serde_json::from_str(VIEW).unwrap();
        let lines = lines(&view, false);
        assert_eq!(lines[0], "soworker, as of 2026-11-22 14:03 Amsterdam");
        let cells = |line: &str| -> Vec<String> {
            line.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).map(str::to_owned).collect()
        };
        assert_eq!(
            cells(&lines[1]),
            ["STATE", "DUTY", "PROMISE (their words)", "SINCE/DUE", "WHY", "EVIDENCE"]
        );
        assert_eq!(
            cells(&lines[2]),
            [
                "overdue",
                "patch.security",
                "\"Server software wordt actief onder…",
                "2 d over",
                "web1: openssl\\u{1b}[2J waits, limit 7 d",
                "web1#202"
            ]
        );
        assert!(lines[3].starts_with("unknown  backup.offhost"), "{}", lines[3]);
        assert!(lines[3].contains("web1 and vault1 are one machine"), "{}", lines[3]);
        assert!(lines[4].contains("23 Nov 02:00  web1 server: 1 of 3 (06:00 ok)"), "{}", lines[4]);
        assert_eq!(lines[5], "1 overdue · 1 unknown · 1 due");
        assert!(lines.iter().all(|line| !line.contains('\u{1b}')));
        // What does not fit stands whole below the table.
        let longer =
            VIEW.replace("openssl\\u001b[2J", &format!("openssl\\u001b[2J{}", "-and-more".repeat(8)));
        let view: ObligationsView = serde_json::from_str(&longer).unwrap();
        let below = &super::lines(&view, false)[5];
        assert!(below.starts_with("patch.security: web1: openssl\\u{1b}[2J-and-more"), "{below}");
        assert!(below.ends_with("waits, limit 7 d"), "{below}");
    }
}
