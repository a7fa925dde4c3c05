//! "Did you mean …": the known name that a mistyped one was most likely meant to be.

/// The name among `known` that is nearest to `text`, when it is near enough to be a slip: at most one edit for short
/// words, two for words of six letters and more (an edit is a letter added, lost, changed, or two swapped).
pub fn nearest<'a>(text: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let text: Vec<char> = text.chars().take(LONGEST).collect();
    let allowed = if text.len() < 6 { 1 } else { 2 };
    known
        .into_iter()
        .filter(|name| name.chars().count().abs_diff(text.len()) <= allowed)
        .map(|name| (distance(&text, &name.chars().collect::<Vec<_>>()), name))
        .filter(|(edits, _)| *edits <= allowed)
        .min()
        .map(|(_, name)| name)
}

/// Names longer than this are not compared (hostile input must not cost time).
const LONGEST: usize = 80;

/// Edits between two words, swapped neighbours counted as one (optimal string alignment).
fn distance(a: &[char], b: &[char]) -> usize {
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let same = usize::from(a[i - 1] != b[j - 1]);
            let mut cost = (last[j - 1] + same).min(last[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                cost = cost.min(before[j - 2] + 1);
            }
            row.push(cost);
        }
        before = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_finds_its_word_and_a_stranger_does_not() {
        let known = ["office", "resolvers", "mirrors", "db", "web"];
        for (text, found) in [
            ("offce", Some("office")),
            ("ofifce", Some("office")),
            ("resolver", Some("resolvers")),
            ("wbe", Some("web")),
            ("dbx", Some("db")),
            ("kitchen", None),
            ("", None),
            ("zz", None),
        ] {
            assert_eq!(nearest(text, known), found, "{text}");
        }
    }

    #[test]
    fn a_huge_word_costs_nothing() {
        assert_eq!(nearest(&"x".repeat(1_000_000), ["office"]), None);
    }
}
