//! POLICY.md rule 2 as a table: texts that no policy may hold, each with its fault and place.

use crate::fault::{FaultCode, Faults};
use crate::tree::{Kind, MAX_DEPTH, MAX_FILE, parse};

/// Every fault of a text as (code, line, column), in the order of the file.
fn faults_of(text: &str) -> Vec<(FaultCode, u32, u32)> {
    let mut faults = Faults::new();
    let tree = parse("a.yaml", text, &mut faults);
    assert!(tree.is_some() || !faults.is_empty(), "nothing read and nothing said: {text:?}");
    let mut found: Vec<_> = faults.iter().map(|f| (f.code, f.place.line, f.place.column)).collect();
    found.sort_by_key(|(_, line, column)| (*line, *column));
    found
}

#[test]
fn each_text_that_two_parsers_could_read_differently_is_refused_at_its_place() {
    use FaultCode::*;
    let table: &[(&str, FaultCode, u32, u32)] = &[
        // Values that YAML 1.1 and 1.2 read differently.
        ("at: 22:00\n", MustQuote, 1, 5),
        ("at: [06:00]\n", MustQuote, 1, 6),
        ("at: 190:20:30\n", MustQuote, 1, 5),
        ("a: on\n", MustQuote, 1, 4),
        ("a: off\n", MustQuote, 1, 4),
        ("a: yes\n", MustQuote, 1, 4),
        ("a: No\n", MustQuote, 1, 4),
        ("a:\n  - y\n", MustQuote, 2, 5),
        ("a: N\n", MustQuote, 1, 4),
        ("a: True\n", MustQuote, 1, 4),
        ("a: 010\n", MustQuote, 1, 4),
        ("a: 0o10\n", MustQuote, 1, 4),
        ("a: 0x1F\n", MustQuote, 1, 4),
        ("a: 0b11\n", MustQuote, 1, 4),
        ("a: 1_000\n", MustQuote, 1, 4),
        ("a: 1e3\n", MustQuote, 1, 4),
        ("a: +12\n", MustQuote, 1, 4),
        ("a: .inf\n", MustQuote, 1, 4),
        ("a: .NaN\n", MustQuote, 1, 4),
        ("a: ~\n", MustQuote, 1, 4),
        ("a: NULL\n", MustQuote, 1, 4),
        ("until: 2027-06-30\n", MustQuote, 1, 8),
        ("until: 2027-06-30T10:00:00Z\n", MustQuote, 1, 8),
        ("a: =\n", MustQuote, 1, 4),
        // Keys are values too.
        ("on: 1\n", MustQuote, 1, 1),
        ("a: { no: 1 }\n", MustQuote, 1, 6),
        ("1: a\n", MustQuote, 1, 1),
        ("true: a\n", MustQuote, 1, 1),
        // Parts of YAML that no policy needs.
        ("a: &x 1\n", Anchor, 1, 4),
        ("a: &x { b: 1 }\n", Anchor, 1, 4),
        ("a: *x\n", Alias, 1, 4),
        ("<<: { a: 1 }\n", Merge, 1, 1),
        ("a: !!str 1\n", Tag, 1, 4),
        ("a: !secret b\n", Tag, 1, 4),
        ("a: ! b\n", Tag, 1, 4),
        ("a: !!map { b: 1 }\n", Tag, 1, 4),
        ("!!python/object:os.system a: 1\n", Tag, 1, 1),
        ("%YAML 1.1\n---\na: 1\n", Directive, 1, 1),
        ("# head\n%TAG ! tag:x,2026:\n---\na: 1\n", Directive, 2, 1),
        ("%FOO bar\n---\na: 1\n", Directive, 1, 1),
        ("a: 1\n---\nb: 2\n", SecondDocument, 2, 1),
        ("a: 1\n...\n---\nb: 2\n", SecondDocument, 3, 1),
        ("a: 1\nb: 2\na: 3\n", DuplicateKey, 3, 1),
        ("a: { b: 1, \"b\": 2 }\n", DuplicateKey, 1, 12),
        ("? [a, b]\n: 1\n", BadKey, 1, 3),
        ("{ { a: 1 }: 2 }\n", BadKey, 1, 3),
        (": 1\n", BadKey, 1, 1),
        // Nothing where something must stand.
        ("from:\n", NoValue, 1, 5),
        ("a: { from: , to: [b] }\n", NoValue, 1, 10),
        ("a:\n  -\n  - b\n", NoValue, 2, 4),
        ("", EmptyFile, 1, 1),
        ("# only a comment\n", EmptyFile, 1, 1),
        ("---\n", EmptyFile, 1, 1),
        // Characters.
        ("a:\tb\n", Tab, 1, 3),
        ("a:\n\tb: 1\n", Tab, 2, 1),
        ("a: [b,\tc]\n", Tab, 1, 7),
        ("a: \"\u{0}\"\n", Character, 1, 5),
        ("a: \"\u{1b}[2J\"\n", Character, 1, 5),
        ("a: b\r\n", Character, 1, 5),
        ("\u{feff}a: b\n", Character, 1, 1),
        ("a: offi\u{202e}ce\n", Character, 1, 8),
        ("a: offi\u{200b}ce\n", Character, 1, 8),
        ("a: b # \u{2066}c\n", Character, 1, 8),
        ("a: \u{85}\n", Character, 1, 4),
        // Not YAML at all.
        ("a: [b\n", Syntax, 1, 4),
        ("a: b: c\n", Syntax, 1, 5),
        ("a: \"b\n", Syntax, 2, 1),
        ("a: 1\n b: 2\n", Syntax, 2, 3),
        ("- a\nb: 1\n", Syntax, 2, 1),
    ];
    assert!(table.len() >= 40);
    let mut wrong = Vec::new();
    for (text, code, line, column) in table {
        let found = faults_of(text);
        if found != [(*code, *line, *column)] {
            wrong.push(format!("{text:?}: expected {code:?} {line}:{column}, found {found:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn what_is_quoted_or_plain_to_all_is_taken() {
    for text in [
        "at: [\"22:00\", '06:00']\n",
        "a: \"on\"\n",
        "a: null\n",
        "a: true\n",
        "a: 12\n",
        "a: [203.0.113.0/24, \"2001:db8::/32\"]\n",
        "a: \"\tb\" # a\tcomment\n",
        "---\na: 1\n",
        "a: 'it''s'\n",
        "a: \"100 % sure\"\n%b: 1\n".trim_end_matches("%b: 1\n"),
        "a: |\n  % no directive\n",
    ] {
        assert_eq!(faults_of(text), [], "{text:?}");
    }
}

#[test]
fn all_faults_of_a_file_come_at_once() {
    let text = "a: on\nb: &x 1\nc: *x\na: 2\nd: !!str 3\n<<: { e: 1 }\nf: [22:00,\n  010]\n";
    use FaultCode::*;
    let codes: Vec<FaultCode> = faults_of(text).into_iter().map(|(code, ..)| code).collect();
    assert_eq!(codes, [MustQuote, Anchor, Alias, DuplicateKey, Tag, Merge, MustQuote, MustQuote]);
}

#[test]
fn nesting_has_an_end() {
    let nested = |depth: usize| format!("{}a{}\n", "[".repeat(depth), "]".repeat(depth));
    assert_eq!(faults_of(&nested(MAX_DEPTH)), []);
    assert_eq!(faults_of(&nested(MAX_DEPTH + 1)), [(FaultCode::TooDeep, 1, MAX_DEPTH as u32 + 1)]);
    for hostile in ["[".repeat(500_000), "{a: ".repeat(200_000), "- ".repeat(300_000), "? ".repeat(300_000)] {
        let found = faults_of(&hostile);
        assert!(matches!(found[..], [(FaultCode::TooDeep | FaultCode::Syntax, ..)]), "{found:?}");
    }
}

#[test]
fn a_file_has_an_end() {
    let text = format!("a: {}\n", "b".repeat(MAX_FILE));
    assert_eq!(faults_of(&text), [(FaultCode::TooLarge, 1, 1)]);
}

#[test]
fn a_billion_laughs_are_not_laughed() {
    let mut text = "a0: &a0 [lol, lol]\n".to_owned();
    for i in 1..30 {
        text.push_str(&format!("a{i}: &a{i} [*a{}, *a{}]\n", i - 1, i - 1));
    }
    let found = faults_of(&text);
    assert!(found.iter().all(|(code, ..)| matches!(code, FaultCode::Anchor | FaultCode::Alias)), "{found:?}");
    assert_eq!(found.len(), 30 + 2 * 29);
}

#[test]
fn many_keys_cost_no_more_than_their_bytes() {
    let text: String = (0..100_000).map(|i| format!("k{i}: 1\n")).collect();
    let mut faults = Faults::new();
    let tree = parse("a.yaml", &text, &mut faults).expect("is good YAML");
    assert!(matches!(tree.root.kind, Kind::Map(entries) if entries.len() == 100_000));
}

#[test]
fn many_tabs_comments_and_quotes_cost_no_more_than_their_bytes() {
    let line = "- \"\t\" #\tc\n";
    let text = line.repeat(MAX_FILE / line.len());
    assert_eq!(faults_of(&text), []);
    let wrong = "- \"\t\"\t#\tc\n".repeat(MAX_FILE / (line.len() + 1));
    assert_eq!(faults_of(&wrong).len(), crate::fault::MAX_FAULTS);
}

#[test]
fn comments_are_kept_with_their_places() {
    let mut faults = Faults::new();
    let tree = parse("a.yaml", "# one\na: 1 # two\n", &mut faults).expect("is good YAML");
    let comments: Vec<_> = tree.comments.iter().map(|c| (c.line, c.column, c.text.as_str())).collect();
    assert_eq!(comments, [(1, 1, " one"), (2, 6, " two")]);
}
