//! The one place that prints for a person or a program: tables, lines, JSON. Hostile text is made harmless here.

use std::io::Write;

use comfy_table::{ContentArrangement, Table};
use serde::Serialize;
use tenure_sys::text;

/// Longest cell or line in characters.
const LIMIT: usize = 2000;
/// Columns: no table is squeezed into fewer.
const NARROW: u16 = 20;

/// How a command prints. Nothing is coloured.
#[derive(Debug, Clone, Copy)]
pub(super) struct Output {
    /// One JSON document on standard output and nothing else.
    pub(super) json: bool,
    /// Only what was asked for.
    pub(super) quiet: bool,
}

impl Output {
    /// A line that answers the question.
    pub(super) fn line(self, line: &str) {
        if !self.json {
            print(&text::neutral(line.as_bytes(), LIMIT));
        }
    }

    /// A line that explains.
    pub(super) fn note(self, line: &str) {
        if !self.quiet {
            self.line(line);
        }
    }

    /// A table with aligned columns and without lines.
    pub(super) fn table(self, header: &[&str], rows: &[Vec<String>]) {
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
    pub(super) fn document<T: Serialize>(self, value: &T) {
        if self.json {
            // JSON escapes control characters itself.
            print(&serde_json::to_string_pretty(value).expect("answers are plain data with text keys"));
        }
    }

    /// Text that a program made for another, as it is.
    pub(super) fn product(self, text: &str) {
        print(text.trim_end());
    }

    /// An error with what to do next, on standard error.
    pub(super) fn error(self, what: &str, hint: Option<&str>) {
        complain(&format!("error: {}", text::neutral(what.as_bytes(), LIMIT)));
        if let Some(hint) = hint {
            complain(&format!("  → {}", text::neutral(hint.as_bytes(), LIMIT)));
        }
    }
}

/// Bytes as people read them.
pub(super) fn size(bytes: u64) -> String {
    let mut value = bytes;
    let mut rest = 0;
    for unit in ["B", "KiB", "MiB", "GiB", "TiB"] {
        if value < 1024 || unit == "TiB" {
            let tenth = rest * 10 / 1024;
            return if unit == "B" { format!("{value} B") } else { format!("{value}.{tenth} {unit}") };
        }
        (value, rest) = (value / 1024, value % 1024);
    }
    format!("{bytes} B")
}

fn print(line: &str) {
    // Whoever reads it may have closed the pipe: nobody is left to tell.
    let _ = writeln!(std::io::stdout().lock(), "{line}");
}

fn complain(line: &str) {
    // As above.
    let _ = writeln!(std::io::stderr().lock(), "{line}");
}

#[cfg(test)]
mod tests {
    use super::size;

    #[test]
    fn sizes_are_said_in_the_unit_that_fits() {
        let said = [0, 1023, 1024, 1536, 5 << 30, 3 << 50].map(size);
        assert_eq!(said, ["0 B", "1023 B", "1.0 KiB", "1.5 KiB", "5.0 GiB", "3072.0 TiB"]);
    }
}
