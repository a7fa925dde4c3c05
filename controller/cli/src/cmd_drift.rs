//! `tenure drift`: what is not as the policy says on which host, what was mended, and what differed before, with who did
//! it where the kernel told.

use tenure_obligations::State;
use tenure_obligations::history;
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
    Ok(exit(&view))
}

/// What is not known comes before what is known to differ.
fn exit(view: &DriftView) -> Exit {
    match (view.unjudged.is_empty(), view.drift.iter().any(|row| !row.mended)) {
        (false, _) => Exit::Broken,
        (true, true) => Exit::Changes,
        (true, false) => Exit::Clean,
    }
}

pub(crate) fn lines(view: &DriftView) -> Vec<String> {
    let saying = Saying::of(&view.head);
    let mut lines = vec![format!("{}, as of {}", view.head.fleet, saying.as_of())];
    let mut table = Table::new(&["STATE", "HOST", "AREA", "WHEN", "WHERE", "WHAT", "WHO", "EVIDENCE"]);
    for row in &view.unjudged {
        let none = || "–".to_owned();
        let areas: Vec<String> = row.areas.iter().map(|area| say::text(area)).collect();
        table.row([
            State::Unknown.word().to_owned(),
            row.host.to_string(),
            if areas.is_empty() { none() } else { areas.join(" ") },
            none(),
            none(),
            row.why.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "),
            none(),
            String::new(),
        ]);
    }
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
    if !view.drift.is_empty() || !view.unjudged.is_empty() {
        lines.extend(table.lines());
    }
    let open = view.drift.iter().filter(|row| !row.mended).count();
    let unknown = match view.unjudged.len() {
        0 => String::new(),
        1 => ", 1 host unknown".to_owned(),
        hosts => format!(", {hosts} hosts unknown"),
    };
    lines.push(format!("{open} not as the policy says, {} mended{unknown}", view.drift.len() - open));
    lines.extend(past(view, &saying));
    lines
}

/// What older records tell, the newest first.
fn past(view: &DriftView, saying: &Saying) -> Vec<String> {
    if view.history.is_empty() {
        return Vec::new();
    }
    let (shown, older) = history::shown(&view.history);
    let mut table =
        Table::new(&["DONE", "HOST", "AREA", "SEEN", "RECEIVED", "WHERE", "WHAT", "WHO", "EVIDENCE"]);
    for row in shown {
        for said in row.said() {
            let done = match said.mended {
                Some(true) => "mended",
                Some(false) => "reported only",
                None => "",
            };
            table.row([
                done.to_owned(),
                row.host.to_string(),
                say::text(&row.area),
                row.seen(saying),
                saying.moment(row.received_at),
                said.place,
                said.what,
                said.who,
                row.record.to_string(),
            ]);
        }
    }
    let head =
        format!("What differed before, the last {} of each host as its own records tell it:", history::KEPT);
    let mut lines = vec![String::new(), head];
    lines.extend(table.lines());
    if older > 0 {
        lines.push(format!("{older} records more: --json has them"));
    }
    lines
}

fn who(row: &DriftRow) -> String {
    match &row.by {
        Some(actor) => format!("pid {} {}", actor.pid, say::text(&actor.comm)),
        None => "not told".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tenure_obligations::Reason;
    use tenure_obligations::reason::Machine;
    use tenure_obligations::view::UnjudgedRow;

    const JUDGEMENT: &str = include_str!("../../server/tests/judgement.json");

    fn view() -> DriftView {
        serde_json::from_str(JUDGEMENT).unwrap()
    }

    #[test]
    fn what_was_mended_long_ago_stands_below_with_who_and_the_record() {
        let lines = lines(&view());
        let at = lines.iter().position(|line| line.starts_with("What differed before, the last 20")).unwrap();
        let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
        let below: Vec<String> = lines[at + 1..].iter().map(|line| words(line)).collect();
        assert_eq!(
            below,
            [
                "DONE HOST AREA SEEN RECEIVED WHERE WHAT WHO EVIDENCE",
                "mended web1 firewall today 13:58 today 13:58 table inet tenure the table is gone pid 4711 nft web1#150",
                "reported only web1 ssh_access 21 Nov 18:30, 3 times since 20 Nov 09:00 21 Nov 18:30 \
                 /etc/ssh/sshd_config.d/00-tenure.conf not as the policy says: PasswordAuthentication yes not told \
                 web1#140",
                "web1 ssh_access 21 Nov 18:30, 3 times since 20 Nov 09:00 21 Nov 18:30 – 2 findings more: the record \
                 has them – web1#140",
                "web1 ssh_access 21 Nov 18:30, 3 times since 20 Nov 09:00 21 Nov 18:30 – reload sshd: exit 1 – web1#140",
            ]
        );
    }

    #[test]
    fn a_host_that_cannot_be_judged_is_a_line_and_never_ends_clean() {
        let mut view = view();
        view.unjudged.clear();
        assert_eq!(exit(&view), Exit::Changes);
        view.drift.clear();
        assert_eq!(exit(&view), Exit::Clean);
        let host = tenure_trust::HostName::new("web1").unwrap();
        let machine = Machine { host: host.clone(), role: tenure_trust::MachineRole::Host };
        let why = vec![Reason::Silent { machine, last: None, seconds: Some(2760) }];
        view.unjudged = vec![UnjudgedRow { host, areas: vec!["firewall".into()], why }];
        assert_eq!(exit(&view), Exit::Broken);
        let lines = lines(&view);
        let words = |line: &String| line.split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(words(&lines[2]), "unknown web1 firewall – – nothing was ever heard of web1 –");
        assert_eq!(lines[3], "0 not as the policy says, 0 mended, 1 host unknown");
    }

    #[test]
    fn a_long_history_ends_with_how_much_is_left_out_and_a_controller_of_before_has_none() {
        let mut view = view();
        let one = view.history[0].clone();
        view.history = vec![one; history::KEPT + 7];
        let last = lines(&view).pop().unwrap();
        assert_eq!(last, "7 records more: --json has them");
        let mut value = serde_json::to_value(&view).unwrap();
        value.as_object_mut().unwrap().remove("history").unwrap();
        let older: DriftView = serde_json::from_value(value).unwrap();
        assert!(lines(&older).iter().all(|line| !line.contains("before")));
    }
}
