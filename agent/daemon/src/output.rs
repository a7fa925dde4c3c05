//! The one place that prints for a person or a program: tables, lines, JSON, progress. Hostile text is made harmless here.

use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};

use comfy_table::{ContentArrangement, Table};
use serde::Serialize;
use tenure_sys::progress::Progress;
use tenure_sys::text;

/// Longest cell or line in characters.
const LIMIT: usize = 2000;
/// Columns: no table is squeezed into fewer.
const NARROW: u16 = 20;

static SERVICE: AtomicBool = AtomicBool::new(false);

/// From now on errors go to a journal and not to a person (`tenure-agent run`).
pub fn set_service() {
    SERVICE.store(true, Ordering::Relaxed);
}

/// Do errors go to a journal?
pub fn is_service() -> bool {
    SERVICE.load(Ordering::Relaxed)
}

/// How a command prints. Nothing is coloured, so nothing is said by colour alone and `NO_COLOR` has nothing to take away.
#[derive(Debug, Clone, Copy)]
pub struct Output {
    /// One JSON document on standard output and nothing else.
    pub json: bool,
    /// Only what was asked for: no explanations, no progress.
    pub quiet: bool,
}

impl Output {
    /// A line that answers the question.
    pub fn line(self, line: &str) {
        if !self.json {
            print(&neutral_keeping_indent(line));
        }
    }

    /// A line that explains.
    pub fn note(self, line: &str) {
        if !self.quiet {
            self.line(line);
        }
    }

    /// A table with aligned columns and without lines; long cells wrap on a terminal.
    pub fn table(self, header: &[&str], rows: &[Vec<String>]) {
        if self.json || rows.is_empty() {
            return;
        }
        let mut table = Table::new();
        table.load_style(comfy_table::presets::NOTHING).set_content_arrangement(ContentArrangement::Dynamic);
        // No terminal, or one that does not know how wide it is, as a serial console.
        if table.width().is_none_or(|columns| columns < NARROW) {
            table.set_content_arrangement(ContentArrangement::Disabled);
        }
        table.set_header(header.iter().copied());
        for row in rows {
            table.add_row(row.iter().map(|cell| text::neutral(cell.as_bytes(), LIMIT)));
        }
        for column in table.column_iter_mut() {
            column.set_padding((0, 2));
        }
        for line in table.trim_fmt().lines() {
            print(line);
        }
    }

    /// The whole answer for a program.
    pub fn document<T: Serialize>(self, value: &T) {
        if self.json {
            // JSON escapes control characters itself.
            print(&serde_json::to_string_pretty(value).expect("answers are plain data with text keys"));
        }
    }

    /// The product itself (a script), whatever was asked; it is the program's own text.
    pub fn product(self, text: &str) {
        // As in `print`.
        let _ = std::io::stdout().lock().write_all(text.as_bytes());
    }

    /// An error with what to do next, on standard error.
    pub fn error(self, what: &str, hint: Option<&str>) {
        let mut lines = what.lines().filter(|line| !line.trim().is_empty());
        complain(&format!("error: {}", text::neutral(lines.next().unwrap_or("?").as_bytes(), LIMIT)));
        // Faults of a policy set come with their place and snippet on lines of their own.
        for line in lines {
            complain(&format!("  {}", neutral_keeping_indent(line)));
        }
        for line in hint.unwrap_or_default().lines() {
            complain(&format!("  → {}", text::neutral(line.as_bytes(), LIMIT)));
        }
    }

    /// A warning on standard error.
    pub fn warning(self, what: &str) {
        complain(&format!("warning: {}", text::neutral(what.as_bytes(), LIMIT)));
    }

    /// Something that may take longer than two seconds.
    pub fn progress(self, what: &str) -> Progress {
        if self.json || self.quiet { Progress::none() } else { Progress::new(what) }
    }
}

fn neutral_keeping_indent(line: &str) -> String {
    let body = line.trim_start_matches(' ');
    format!("{}{}", " ".repeat(line.len() - body.len()), text::neutral(body.as_bytes(), LIMIT))
}

fn print(line: &str) {
    // Whoever reads it may have closed the pipe: nobody is left to tell.
    let _ = writeln!(std::io::stdout().lock(), "{line}");
}

fn complain(line: &str) {
    // As above.
    let _ = writeln!(std::io::stderr().lock(), "{line}");
}
