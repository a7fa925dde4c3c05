//! A table for a terminal: columns as wide as their widest cell, two blanks apart; the last column is not cut.

use crate::output::Output;

/// Rows of texts. The caller has made outside text neutral.
#[derive(Debug)]
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
    widest: usize,
}

impl Table {
    /// With these heads.
    pub(crate) fn new(heads: &[&str]) -> Self {
        Self { rows: vec![heads.iter().map(|head| (*head).to_owned()).collect()], widest: 60 }
    }

    /// One more row.
    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().collect());
    }

    /// The lines.
    pub(crate) fn lines(&self) -> Vec<String> {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0).min(self.widest)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        let line = |row: &Vec<String>| {
            let cells = row.iter().enumerate().map(|(column, cell)| {
                if column + 1 == columns { cell.clone() } else { padded(cell, widths[column]) }
            });
            cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
        };
        self.rows.iter().map(line).collect()
    }

    /// Says it.
    pub(crate) fn print(&self, out: &mut Output) {
        for line in self.lines() {
            out.line(line);
        }
    }
}

/// Filled up, or cut with `…`.
fn padded(cell: &str, width: usize) -> String {
    let length = cell.chars().count();
    match length > width {
        true => cell.chars().take(width.saturating_sub(1)).chain(['…']).collect(),
        false => format!("{cell}{}", " ".repeat(width - length)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_stand_under_each_other_and_long_ones_are_cut() {
        let mut table = Table::new(&["A", "LONG", "REST"]);
        table.row(["über".into(), "x".repeat(100), "y".repeat(100)]);
        let lines = table.lines();
        assert_eq!(lines[0], format!("A     LONG{}  REST", " ".repeat(56)));
        assert_eq!(lines[1], format!("über  {}…  {}", "x".repeat(59), "y".repeat(100)));
    }
}
