//! `tenure backups`: the week of copies, a sign for each slot that host and vault speak of.

use tenure_obligations::State;
use tenure_obligations::say::{self, Saying};
use tenure_obligations::view::{Backups, BackupsView, Drilled, Sign};

use crate::failure::Failure;
use crate::output::{Exit, Output};
use crate::remote::Remote;
use crate::surroundings;
use crate::table::Table;

/// Arguments of `backups`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    remote: Remote,
}

/// Asks and shows.
pub(crate) fn run(args: &Args, out: &mut Output) -> Result<Exit, Failure> {
    let view: BackupsView = args.remote.get("see the backups", "/api/v1/backups")?;
    out.value(&view);
    for line in lines(&view, surroundings::has_signs()) {
        out.line(line);
    }
    Ok(exit(&view))
}

fn exit(view: &BackupsView) -> Exit {
    let bad = view.backups.rows.iter().any(|row| row.state.is_bad());
    let silent = view.backups.vaults.iter().any(|vault| vault.why.is_some());
    if bad || silent { Exit::Broken } else { Exit::Clean }
}

pub(crate) fn lines(view: &BackupsView, signs: bool) -> Vec<String> {
    let saying = Saying::of(&view.head);
    let Backups { days, rows, vaults } = &view.backups;
    let days: Vec<String> = days.iter().map(|day| format!("{} {}", say::weekday(*day), day.day())).collect();
    let mut heads = vec!["TENANT/HOST"];
    heads.extend(days.iter().map(String::as_str));
    heads.extend(["SIZE", "NEWEST", "DRILLED", "OLDEST COPY", "VAULT"]);
    let mut table = Table::new(&heads);
    let sign = |sign: Sign| if signs { sign.symbol() } else { sign.letter() };
    let missing = || "–".to_owned();
    for row in rows {
        let alone = rows.iter().filter(|other| other.owner == row.owner).count() == 1;
        let mut cells = vec![say::owner(row, alone)];
        cells.extend(row.days.iter().map(|day| day.iter().map(|cell| sign(cell.sign)).collect::<String>()));
        cells.extend([
            row.bytes.map_or_else(missing, say::bytes),
            row.newest.map_or_else(missing, |at| saying.age(at)),
            match &row.drilled {
                Drilled::Unknown => "unknown".to_owned(),
                Drilled::Nothing => missing(),
                Drilled::Never => "never".to_owned(),
                Drilled::Last(drill) if drill.held => {
                    format!(
                        "ok {} {}.{} s",
                        saying.day(drill.at),
                        drill.took_ms / 1000,
                        drill.took_ms % 1000 / 100
                    )
                }
                Drilled::Last(drill) => format!("FAILED {}", saying.day(drill.at)),
            },
            row.oldest.map_or_else(missing, |at| saying.age(at)),
            row.vault.to_string(),
        ]);
        table.row(cells);
    }
    let mut lines =
        vec![format!("{}, as of {}; server and nightly in a day", view.head.fleet, saying.as_of())];
    lines.extend(table.lines());
    let shown = [Sign::Sealed, Sign::Partial, Sign::Missed, Sign::Kept, Sign::Unknown, Sign::ToCome];
    let legend: Vec<String> = shown.iter().map(|one| format!("{} {}", sign(*one), one.word())).collect();
    lines.push(legend.join("   "));
    for row in rows {
        lines.extend(
            row.why.iter().map(|why| format!("{}: {}: {why}", say::owner(row, false), State::Unknown)),
        );
        let whys = row.days.iter().flatten().filter_map(|cell| cell.why.as_ref());
        lines.extend(whys.map(|why| format!("{}: {why}", say::owner(row, true))));
    }
    for vault in vaults {
        lines.push(match (&vault.why, vault.used_bytes, vault.total_bytes) {
            (None, Some(used), Some(total)) => format!(
                "{}: {} of {}, {} copies",
                vault.vault,
                say::bytes(used),
                say::bytes(total),
                vault.copies
            ),
            (why, ..) => {
                let why = why.as_ref().map(ToString::to_string).unwrap_or_default();
                format!("{}: {}: {why}", vault.vault, State::Unknown)
            }
        });
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use tenure_obligations::Reason;
    use tenure_obligations::reason::Machine;

    #[test]
    fn a_silent_host_is_named_and_ends_with_three() {
        let mut view: BackupsView = serde_json::from_str(include_str!("../tests/backups.json")).unwrap();
        let state = |view: &mut BackupsView, state| {
            view.backups.vaults.clear();
            view.backups.rows.iter_mut().for_each(|row| row.state = state);
        };
        state(&mut view, State::Met);
        assert_eq!(exit(&view), Exit::Clean);
        assert!(!lines(&view, true).join("\n").contains("unknown"));
        state(&mut view, State::Unknown);
        let machine =
            Machine { host: view.backups.rows[0].host.clone(), role: tenure_trust::MachineRole::Host };
        let why = Reason::Silent { machine, last: None, seconds: None };
        view.backups.rows[0].why = vec![why];
        view.backups.rows[0].drilled = Drilled::Unknown;
        let said = lines(&view, true);
        assert_eq!(exit(&view), Exit::Broken);
        let named = "example-client on web1: unknown: nothing was ever heard of web1";
        assert!(said.iter().any(|line| line == named), "{said:#?}");
        assert!(said.iter().any(|line| line.contains(" unknown ")), "DRILLED: {said:#?}");
    }

    #[test]
    fn signs_become_letters_where_there_are_none() {
        let view: BackupsView = serde_json::from_str(include_str!("../tests/backups.json")).unwrap();
        let with = lines(&view, true).join("\n");
        let without = lines(&view, false).join("\n");
        assert!(with.contains("●○·●") && with.contains("○ missed"), "{with}");
        assert!(without.contains("SM.S") && without.contains("M missed"), "{without}");
        assert!(!without.contains('●') && !without.contains('○'), "{without}");
        assert!(with.contains("web1 server 2026-11-22 14:00: missed"), "{with}");
        assert!(with.contains("vault1: 1 TiB of 4 TiB, 28 copies"), "{with}");
    }
}
